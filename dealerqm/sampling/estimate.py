"""Estimates of means, shares, totals, ratios and net promoter scores, and their differences.

Every estimate has one influence value per row; :mod:`dealerqm.sampling.variance` does the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Array, Codes, Design
from dealerqm.sampling.variance import Scores, added, support, variance

CONSTANT = 1e-12  # relative: answers that differ less are one answer


class Estimates(NamedTuple):
    """Estimates with their design-based errors; all of shape (estimates,).

    Attributes
    ----------
    estimate, se, low, high : ndarray
        NaN where nothing is known; an interval on Student's t.
    df : ndarray
        Degrees of freedom: PSUs less strata, among the domain's rows with weight.
    n, n_eff : ndarray
        Answers with weight, and Kish's effective number (Σw)²/Σw².
    deff : ndarray
        Variance over that of a simple random sample of n from as large a population.
    flag : ndarray of str
        ``no_answer``, ``no_weight``, ``one_answer``, ``one_psu`` (a standard error would be 0
        without meaning anything), ``no_freedom``: no error is given; ``constant``: all answers are
        the same, the error is 0; else empty.
    scores : Scores
        Influence values, for covariances.
    """

    estimate: Array
    se: Array
    low: Array
    high: Array
    df: Array
    n: Array
    n_eff: Array
    deff: Array
    flag: NDArray[np.str_]
    scores: Scores


def total(
    design: Design, values: ArrayLike, *, domain: ArrayLike | None = None, confidence: float = 0.95
) -> Estimates:
    """Estimate population totals.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        What is added up; a missing value (NaN) adds nothing.
    domain : array_like, shape (rows,), or None
        Domain of each row from 0 on, -1 for none; or a mask of one domain. None is everybody.
    confidence : float
        Two-sided level.

    Returns
    -------
    Estimates
        One per domain.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = total(design([10, 10]), [1, 3])
    >>> found.estimate, found.se
    (array([40.]), array([20.]))
    """
    y = _values(values, design)
    column, size = _domains(domain, design)
    known = np.where(np.isnan(y), -1, column)
    value = np.where(known >= 0, y, 0.0)
    found = added(known, design.weights * value, size)
    return _finished(design, found, (value, known, size), (column, False), confidence)


def mean(
    design: Design, values: ArrayLike, *, domain: ArrayLike | None = None, confidence: float = 0.95
) -> Estimates:
    """Estimate means, and shares where the values are 0 and 1.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        Answers or scores made of them; NaN where there is none.
    domain, confidence
        As for :func:`total`.

    Returns
    -------
    Estimates
        One per domain.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = mean(design([1, 1, 1, 1]), [4, 6, 8, float("nan")])
    >>> found.estimate, (found.se**2).round(3), found.n  # z = -2/3, 0, 2/3, 0; 4/3 · 8/9
    (array([6.]), array([1.185]), array([3.]))
    """
    y = _values(values, design)
    return ratio(design, y, np.ones(design.rows), domain=domain, confidence=confidence)


def ratio(
    design: Design, top: ArrayLike, bottom: ArrayLike, *, domain: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Estimates:  # fmt: skip
    """Estimate ratios of two totals.

    Parameters
    ----------
    design : Design
        The sample.
    top, bottom : array_like, shape (rows,)
        Numerator and denominator; rows where either is missing do not count.
    domain, confidence
        As for :func:`total`.

    Returns
    -------
    Estimates
        One per domain.

    Notes
    -----
    R = Σ w top / Σ w bottom; the influence of a row is (top - R bottom) / Σ w bottom. A domain
    without answers, or whose weights are all 0, is NaN.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = ratio(design([1, 1]), [1, 3], [2, 2])  # 4/4; z = -1/4 and 1/4
    >>> found.estimate, found.se
    (array([1.]), array([0.5]))
    """
    y, x = _values(top, design), _values(bottom, design)
    column, size = _domains(domain, design)
    known = np.where(np.isnan(y) | np.isnan(x), -1, column)
    y, x = (np.where(known >= 0, part, 0.0) for part in (y, x))
    up, down = (added(known, design.weights * part, size) for part in (y, x))
    found = np.divide(up, down, out=np.full(size, np.nan), where=down != 0)
    slope = np.append(np.nan_to_num(found), 0.0)[known]
    base = np.append(np.where(down != 0, down, 1.0), 1.0)[known]
    value = np.where(known >= 0, (y - slope * x) / base, 0.0)
    return _finished(design, found, (value, known, size), (column, True), confidence)


def _values(values: ArrayLike, design: Design) -> Array:
    found = np.asarray(values, float)
    if found.shape != (design.rows,):
        raise MethodError(
            f"values: shape {found.shape}; the design has {design.rows} rows; give one each."
        )
    if np.isinf(found).any():
        first = int(np.flatnonzero(np.isinf(found))[0])
        raise MethodError(f"values: row {first} is infinite; allowed: numbers, NaN for no answer.")
    return found


def _domains(domain: ArrayLike | None, design: Design) -> tuple[Codes, int]:
    if domain is None:
        return np.zeros(design.rows, np.int64), 1
    found = np.asarray(domain)
    if found.shape != (design.rows,) or found.dtype.kind not in "biu":
        raise MethodError(
            f"domain: {found.dtype} of shape {found.shape}; give a number from 0 on (-1: none) or "
            f"a mask for each of the {design.rows} rows; design.codes numbers labels."
        )
    if found.dtype.kind == "b":
        return np.where(found, 0, -1), 1
    return found.astype(np.int64, copy=False), max(int(found.max(initial=-1)) + 1, 1)


def _finished(
    design: Design, estimate: Array, scores: tuple[Array, Codes, int],
    domain: tuple[Codes, bool], confidence: float,
) -> Estimates:  # fmt: skip
    """Add errors, sizes and flags."""
    value, known, size = scores
    weighted, answered = (added(known, part, size) for part in (design.weights, design.ones))
    n = added(known, np.where(design.weights > 0, design.ones, 0.0), size)
    held, relative = Scores((value,), (known,), size), domain[1]
    psus, strata = support(design, domain[0], size)
    met = support(design, known, size)[0]
    df = psus - strata
    spread = _spread(design, value, known, weighted)
    even = relative & (np.sqrt(spread) * weighted <= CONSTANT * np.abs(estimate))
    flag = np.select(
        [answered == 0, weighted == 0, n == 1, (met == 1) & relative, df < 1, even],
        ["no_answer", "no_weight", "one_answer", "one_psu", "no_freedom", "constant"], "",
    )  # fmt: skip
    known_error = np.isin(flag, ["", "constant", "no_freedom"])
    found = np.where(even, 0.0, variance(design, held))
    se = np.where(known_error, np.sqrt(found), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = weighted**2 / added(known, design.squared, size)
        simple = weighted**2 * spread / (n - 1) * np.where(weighted > n, 1 - n / weighted, 1.0)
        deff = np.where(known_error, found / simple, np.nan)
        estimate = np.where(weighted > 0, estimate, np.nan)
    half = _t(confidence, df) * se
    return Estimates(
        estimate, se, estimate - half, estimate + half, df, n, n_eff, deff, flag, held
    )  # fmt: skip


def _spread(design: Design, value: Array, column: Codes, weighted: Array) -> Array:
    """Weighted variance of the influence values within each estimate."""
    size = np.where(weighted > 0, weighted, 1.0)
    middle = added(column, design.weights * value, size.size) / size
    away = value - np.append(middle, 0.0)[column]
    found: Array = added(column, design.weights * away**2, size.size) / size
    return found


def _t(confidence: float, df: Array) -> Array:
    quantile = special.stdtrit(np.maximum(df, 1), 0.5 + confidence / 2)
    found: Array = np.where(df >= 1, quantile, np.nan)
    return found
