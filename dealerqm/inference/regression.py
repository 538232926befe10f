"""Variables, linear regression and tests of terms with the errors of the sampling design.

The covariance of coefficients is that of their influence values, by the one routine of
``sampling``; logistic and ordinal models are in ``answers``. Rows outside the domain and rows
with a missing value add zeros and keep their place in the design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.inference.sample import Outcome, Subset, joint
from dealerqm.sampling.design import Design
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]
PIVOT = 1e-9  # share of a column's variation below which others determine it


class Matrix(NamedTuple):
    """Variables of a model, without a constant.

    Attributes
    ----------
    x : ndarray, shape (rows, columns)
        NaN where a value is missing.
    names : tuple of str
        Name of each column; a level is the variable's name followed by it.
    terms : dict of str to tuple of int
        Columns of each variable.
    """

    x: Array
    names: tuple[str, ...]
    terms: dict[str, tuple[int, ...]]


def matrix(variables: Mapping[str, ArrayLike]) -> Matrix:
    """Turn variables into columns: numbers as they are, words into one column per level.

    Parameters
    ----------
    variables : mapping of str to array_like, shape (rows,)
        Numbers, booleans or words; the first level in sorted order is the one compared with.

    Returns
    -------
    Matrix
        Columns in the order of the variables.

    Raises
    ------
    MethodError
        Words with a single level, which compare with nothing.

    Examples
    --------
    >>> found = matrix({"price": [1, 2, 3], "kind": ["a", "b", "c"]})
    >>> found.names, found.terms, found.x[2].tolist()
    (('price', 'kindb', 'kindc'), {'price': (0,), 'kind': (1, 2)}, [3.0, 0.0, 1.0])
    """
    columns: list[Any] = []
    names: list[str] = []
    terms: dict[str, tuple[int, ...]] = {}
    for name, values in variables.items():
        series = pd.Series(values)
        if pd.api.types.is_numeric_dtype(series):
            found: list[Any] = [series.to_numpy(float, na_value=np.nan)]
            labels = [name]
        else:
            levels = sorted(series.dropna().unique())
            if len(levels) < 2:  # noqa: PLR2004
                raise MethodError(
                    f"{name}: {len(levels)} level ({levels}); allowed: two or more, or there is "
                    "nothing to compare. Leave the variable out."
                )
            gone = series.isna()
            found = [np.where(gone, np.nan, series == level) for level in levels[1:]]
            labels = [f"{name}{level}" for level in levels[1:]]
        terms[name] = tuple(range(len(columns), len(columns) + len(found)))
        columns, names = columns + found, names + labels
    return Matrix(np.column_stack(columns).astype(float), tuple(names), terms)


class Fit(NamedTuple):
    """A fitted model; arrays of shape (coefficients,), the constant or the thresholds included.

    Attributes
    ----------
    names : tuple of str
        ``constant`` first; thresholds of an ordinal model (``low|high``) last.
    terms : dict of str to tuple of int
        Coefficients of each variable.
    coefficient : Interval
        Estimates with Student intervals.
    se, t, p : ndarray
        Standard errors, t and two-sided p-values that a coefficient is 0.
    covariance : ndarray, shape (coefficients, coefficients)
        Under the design.
    freedom : float
        PSUs less strata less coefficients (the constant or thresholds not counted).
    n : float
        Rows used.
    """

    names: tuple[str, ...]
    terms: dict[str, tuple[int, ...]]
    coefficient: Interval
    se: Array
    t: Array
    p: Array
    covariance: Array
    freedom: float
    n: float


def linear(
    x: ArrayLike | Matrix, y: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Fit:  # fmt: skip
    """Fit a linear regression with design-based errors.

    Parameters
    ----------
    x : Matrix or array_like, shape (rows, columns)
        Variables without a constant, which is added.
    y : array_like, shape (rows,)
        Outcome.
    design : Design
        The sample.
    domain : array_like of bool, shape (rows,), or None
        Rows that the model is about; None is all.
    confidence : float
        Two-sided level.

    Returns
    -------
    Fit
        See there.

    Raises
    ------
    MethodError
        A column that others determine (named), more coefficients than rows, or PSUs too few for
        the coefficients.

    Notes
    -----
    β = (X'WX)⁻¹X'Wy; influence of a row (X'WX)⁻¹ x (y - xβ); Student intervals on
    PSUs - strata + 1 - coefficients.

    Source: Binder (1983), International Statistical Review 51, 279; R ``survey::svyglm``;
    reference cases ``survey/tests_models``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = linear([[0], [0], [1], [1]], [1, 3, 5, 7], design([1, 1, 1, 1]))
    >>> found.coefficient.estimate.round(6), found.freedom
    (array([2., 4.]), 2.0)
    """
    model, target, sample = prepared(x, y, design, domain)
    full, w = model.x, sample.weights
    bread = np.linalg.inv(full.T @ (w[:, None] * full))
    beta = bread @ (full.T @ (w * target))
    influence = (target - full @ beta)[:, None] * full @ bread
    return finished(model, beta, influence, sample, confidence)


def wald(fit: Fit, term: str | Sequence[int]) -> Outcome:
    """Test a whole variable, or several coefficients, against 0.

    Parameters
    ----------
    fit : Fit
        The model.
    term : str or sequence of int
        Variable, or places of coefficients.

    Returns
    -------
    Outcome
        F.

    Raises
    ------
    MethodError
        An unknown variable, no coefficient, or more coefficients than the PSUs can tell apart.

    Notes
    -----
    β'V⁻¹β/q on q and the model's degrees of freedom.

    Source: R ``survey::regTermTest``; reference cases ``survey/tests_models``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> fit = linear([[0], [0], [1], [1]], [1, 3, 5, 7], design([1, 1, 1, 1]))
    >>> bool(np.isclose(wald(fit, [1]).statistic, fit.t[1] ** 2))
    True
    """
    if isinstance(term, str) and term not in fit.terms:
        raise MethodError(unknown("term", term, fit.terms))
    places = list(fit.terms[term]) if isinstance(term, str) else list(term)
    if not places:
        raise MethodError("term: no coefficient; name a variable or at least one place.")
    beta = fit.coefficient.estimate[places]
    return joint(beta, fit.covariance[np.ix_(places, places)], fit.freedom)


# ---------------------------------------------------------------- shared by the models


def prepared(
    x: ArrayLike | Matrix, y: ArrayLike, design: Design, domain: ArrayLike | None
) -> tuple[Matrix, Array, Subset]:
    """Add the constant, find the rows used, and refuse columns that others determine.

    Parameters
    ----------
    x, y, design, domain
        As for :func:`linear`.

    Returns
    -------
    (Matrix, ndarray, Subset)
        Variables, with the constant as first column, and outcome of the rows used; the sample.

    Raises
    ------
    MethodError
        No more rows than coefficients, or a column that others determine.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> prepared([1, 2, np.nan, 4], [1, 2, 3, 4], design([1] * 4), None)[1].tolist()
    [1.0, 2.0, 4.0]
    """
    if not isinstance(x, Matrix):
        body = np.asarray(x, float)
        body = body[:, None] if body.ndim == 1 else body
        names = tuple(f"column {i}" for i in range(body.shape[1]))
        x = Matrix(body, names, {name: (i,) for i, name in enumerate(names)})
    sample = Subset.of(design, domain, y, x.x)
    full = np.hstack([np.ones((int(sample.use.sum()), 1)), x.x[sample.use]])
    names = ("constant", *x.names)
    model = Matrix(full, names, {n: tuple(i + 1 for i in held) for n, held in x.terms.items()})
    rows = full[sample.weights > 0]
    if len(rows) <= len(names):
        raise MethodError(
            f"rows: {len(rows)} with all values for {len(names)} coefficients; allowed: more rows "
            "than coefficients. Leave variables out."
        )
    length = np.sqrt((rows**2).sum(axis=0))
    turned = np.linalg.qr(rows / np.where(length > 0, length, 1), mode="r")
    same = np.flatnonzero(np.abs(np.diag(turned)) < PIVOT)
    if same.size:
        raise MethodError(
            f"x: {same.size} columns are determined by those before them, the first is "
            f"{names[same[0]]!r} (constant, repeated, or a sum); leave it out."
        )
    return model, np.asarray(y, float)[sample.use], sample


def finished(
    model: Matrix, beta: Array, influence: Array, sample: Subset, confidence: float
) -> Fit:
    """Put errors to coefficients.

    Parameters
    ----------
    model : Matrix
        With the names of all coefficients.
    beta : ndarray, shape (coefficients,)
        Estimates.
    influence : ndarray, shape (rows used, coefficients)
        Per unit of weight.
    sample : Subset
        The rows used.
    confidence : float
        Two-sided level.

    Returns
    -------
    Fit
        The model.

    Raises
    ------
    MethodError
        As many columns as PSUs, or more.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> model = Matrix(np.ones((3, 1)), ("constant",), {})
    >>> sample = Subset.of(design([1, 1, 1]), None)
    >>> found = finished(model, np.array([2.0]), np.eye(3)[:, :1], sample, 0.95)
    >>> found.se.tolist(), found.freedom
    ([1.0], 2.0)
    """
    columns = sum(len(held) for held in model.terms.values())
    left = sample.freedom - columns
    if left < 1:
        raise MethodError(
            f"design: {left + columns:g} PSUs less strata for {columns} coefficients; allowed: "
            "more PSUs than that. Leave variables out."
        )
    variance = sample.spread(influence)
    se = np.sqrt(np.diag(variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = beta / se
    half = special.stdtrit(left, 0.5 + confidence / 2) * se
    interval = Interval(beta, beta - half, beta + half)
    p = 2 * special.stdtr(left, -np.abs(t))
    return Fit(model.names, model.terms, interval, se, t, p, variance, left, sample.n)
