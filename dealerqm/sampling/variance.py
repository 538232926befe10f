"""From influence values to variances: the one routine behind every standard error of a survey.

A row's influence value is what it adds to an estimate per unit of its weight. The variance is that
between units within strata of weight times influence, stage by stage. Domains keep the whole
design: a unit without rows of the domain adds a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Array, Codes, Design, Stage

BLOCK = 4_000_000  # numbers held at once
COLUMNS = 64  # estimates whose covariance is found at once
SAME = 1e-13  # relative: weights of a cell that differ less are one weight


class Scores(NamedTuple):
    """Influence values in blocks: a row has at most one value per block.

    Attributes
    ----------
    value : tuple of ndarray, shape (rows,) each
        Influence per unit of weight.
    column : tuple of ndarray of int, shape (rows,) each
        Estimate that the value belongs to, -1 for none; no two blocks share an estimate.
    size : int
        Number of estimates.
    """

    value: tuple[Array, ...]
    column: tuple[Codes, ...]
    size: int

    @classmethod
    def of(cls, influence: ArrayLike) -> Scores:
        """Take a matrix of influence values, shape (rows, estimates)."""
        matrix = np.asarray(influence, float)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        columns = [np.full(len(matrix), c, np.int64) for c in range(matrix.shape[1])]
        return cls(tuple(matrix.T), tuple(columns), matrix.shape[1])

    def part(self, first: int, last: int) -> Scores:
        """Return the estimates from the first up to the last, not included."""
        columns = [np.where((c >= first) & (c < last), c - first, -1) for c in self.column]
        kept = [i for i, column in enumerate(columns) if (column >= 0).any()]
        return Scores(
            tuple(self.value[i] for i in kept), tuple(columns[i] for i in kept), last - first
        )

    def matrix(self, rows: int) -> sparse.csr_array:
        """Return the values as a sparse matrix, shape (rows, estimates)."""
        kept = [np.flatnonzero(column >= 0) for column in self.column]
        none = np.zeros(0, np.int64)
        column = [c[keep] for c, keep in zip(self.column, kept, strict=True)]
        value = [v[keep] for v, keep in zip(self.value, kept, strict=True)]
        places = (np.concatenate([none, *kept]), np.concatenate([none, *column]))
        values = np.concatenate([none.astype(float), *value])
        return sparse.csr_array((values, places), shape=(rows, self.size))


def added(column: Codes, values: Array | None, size: int) -> Array:
    """Add values up by column.

    Parameters
    ----------
    column : ndarray of int, shape (rows,)
        From 0 on; -1 belongs nowhere.
    values : ndarray, shape (rows,), or None
        What is added; None counts.
    size : int
        Number of columns.

    Returns
    -------
    ndarray, shape (size,)
        Sums.

    Examples
    --------
    >>> added(np.array([0, 1, -1, 0]), np.array([1.0, 2.0, 4.0, 8.0]), 2)
    array([9., 2.])
    """
    return np.bincount(column + 1, values, size + 1)[1:].astype(float)


def support(design: Design, column: Codes, size: int) -> tuple[Array, Array]:
    """Count the PSUs and the strata that have rows with weight.

    Parameters
    ----------
    design : Design
        The sample.
    column : ndarray of int, shape (rows,)
        Domain of each row, -1 for none.
    size : int
        Number of domains.

    Returns
    -------
    (ndarray, ndarray)
        PSUs and strata per domain; their difference is the degrees of freedom.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = design([1, 1, 1, 1], psu=["a", "a", "b", "c"])
    >>> support(found, np.array([0, 0, 0, 1]), 2)
    (array([2., 1.]), array([1., 1.]))
    """
    stage = design.stages[0]
    used = np.where(design.weights > 0, column, -1)
    strata = _distinct(stage.of_rows, used, size)
    if stage.unit is not None:
        return _distinct(stage.unit, used, size), strata
    return added(used, design.ones, size), strata


def variance(design: Design, scores: Scores) -> Array:
    """Turn influence values into variances.

    Parameters
    ----------
    design : Design
        The sample.
    scores : Scores
        Influence values.

    Returns
    -------
    ndarray, shape (estimates,)
        Variances.

    Notes
    -----
    Σ over stages and strata of f (1 - n/N) n/(n-1) Σ (z - z̄)², z the sum of weight times
    influence in a unit, f the product of the sampling fractions above. After calibration z are
    the residuals of a regression on the calibration's variables.

    Source: Lumley (2010), Complex Surveys, appendix C; Deville and Särndal (1992), JASP 87, 376.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> variance(design([10, 10], psu=["a", "b"]), Scores.of([1, 3]))  # z = 10, 30; 2/1 (100+100)
    array([400.])
    """
    found = np.zeros(scores.size)
    if design.calibrations:
        for first in range(0, scores.size, COLUMNS):
            last = min(first + COLUMNS, scores.size)
            found[first:last] = np.diag(covariance(design, scores.part(first, last)))
        return found
    for value, column in zip(scores.value, scores.column, strict=True):
        for stage in design.stages:
            found += _between(design, stage, value, column, scores.size)
    return found


def _between(design: Design, stage: Stage, value: Array, column: Codes, size: int) -> Array:
    """Variance between units of one stage, estimate by estimate."""
    total, count, inner = design.weights * value, design.ones, np.zeros(1)
    stratum, entry = stage.stratum, column
    if stage.unit is not None:
        code, pairs = _paired(stage.unit, column, size)
        total = added(code, total, pairs.size)
        stratum, entry, count = stratum[pairs // size], pairs % size, np.ones(pairs.size)
    elif design.count is not None:
        inner = _inner(design) * value**2
    code, pairs = _paired(stratum, entry, size)
    layer = pairs // size
    middle = added(code, total, pairs.size) / stage.sampled[layer] * stage.centred[layer]
    away = total / np.maximum(count, 1) - np.append(middle, 0.0)[code]
    inside = added(code, count * away**2 + inner, pairs.size)
    absent = (stage.sampled[layer] - added(code, count, pairs.size)) * middle**2
    return added(pairs % size, stage.scale[layer] * (inside + absent), size)


def _inner(design: Design) -> Array:
    """Squared deviations of the weights inside each cell."""
    even = design.weights**2 / np.maximum(design.ones, 1)
    spread = design.squared - even
    return np.where(spread > SAME * design.squared, spread, 0.0)


def _paired(outer: Codes, column: Codes, size: int) -> tuple[Codes, Codes]:
    """Give pairs of a unit and an estimate numbers; -1 where there is no estimate."""
    code = np.where(column >= 0, outer * size + column, -1)
    top = (int(outer.max(initial=-1)) + 1) * size
    if top <= BLOCK:
        return code, np.arange(top)
    pairs = np.unique(code[code >= 0])
    return np.where(code >= 0, np.searchsorted(pairs, code), -1), pairs


def _distinct(outer: Codes, column: Codes, size: int) -> Array:
    """Count the different units of each column."""
    code, pairs = _paired(outer, column, size)
    seen = added(code, None, pairs.size) > 0
    return added(pairs[seen] % size, None, size)


def covariance(design: Design, scores: Scores) -> Array:
    """Turn influence values into covariances.

    Parameters
    ----------
    design : Design
        The sample.
    scores : Scores
        Influence values.

    Returns
    -------
    ndarray, shape (estimates, estimates)
        Covariances; the diagonal is :func:`variance`.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> covariance(design([10, 10]), Scores.of([[1, 3], [3, 1]]))
    array([[ 400., -400.],
           [-400.,  400.]])
    """
    values = scores.matrix(design.rows)
    model, slopes = _explained(design, values)
    found = np.zeros((scores.size, scores.size))
    for stage in design.stages:
        for away, scale in _deviations(design, stage, values, model, slopes):
            found += away.T @ (away * scale[:, None])
    return found


def _deviations(
    design: Design, stage: Stage, values: sparse.csr_array, model: sparse.csr_array, slopes: Array
) -> Iterator[tuple[Array, Array]]:
    """Yield deviations of units from their stratum, all estimates side by side, and factors."""

    def summed(group: Codes, weights: Array, size: int) -> Array:
        add = sparse.csr_array((weights, (group, np.arange(group.size))), (size, group.size))
        total: Array = (add @ values).toarray() - (add @ model) @ slopes
        return total

    strata, mean = stage.sampled.size, stage.centred / stage.sampled
    middle = summed(stage.of_rows, design.weights, strata) * mean[:, None]
    if stage.unit is not None:
        totals = summed(stage.unit, design.weights, stage.stratum.size)
        yield totals - middle[stage.stratum], stage.scale[stage.stratum]
        return
    count, inner = design.ones, _inner(design)
    step = max(1, BLOCK // max(values.shape[1], 1))
    for first in range(0, design.rows, step):
        rows = slice(first, first + step)
        stratum = stage.stratum[rows]
        rest = values[rows].toarray() - model[rows] @ slopes
        each = design.weights[rows] / np.maximum(count[rows], 1)
        yield rest * each[:, None] - middle[stratum], stage.scale[stratum] * count[rows]
        yield rest, stage.scale[stratum] * inner[rows]


def _explained(design: Design, values: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
    """Regress influence on what the weights were calibrated on, one calibration after another."""
    model = sparse.csr_array((design.rows, 0))
    slopes = np.zeros((0, values.shape[1]))
    for known in design.calibrations:
        x = known.model()
        weighted = (x * known.start[:, None]).T.tocsr()
        left = (weighted @ values).toarray() - (weighted @ model) @ slopes
        gram = (weighted @ x).toarray()
        unit = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
        inverse = np.linalg.pinv(gram / np.outer(unit, unit), rcond=1e-10, hermitian=True)
        slopes = np.vstack([slopes, inverse @ (left / unit[:, None]) / unit[:, None]])
        model = sparse.csr_array(sparse.hstack([model, x]))
    return model, slopes


def row_values(design: Design, values: ArrayLike) -> Array:
    """Check that there is a finite number or NaN for each row of a design.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        Numbers.

    Returns
    -------
    ndarray, shape (rows,)
        The same numbers.
    """
    found = np.asarray(values, float)
    if found.shape != (design.rows,):
        raise MethodError(
            f"values: shape {found.shape}; the design has {design.rows} rows; give one each."
        )
    if np.isinf(found).any():
        first = int(np.flatnonzero(np.isinf(found))[0])
        raise MethodError(f"values: row {first} is infinite; allowed: numbers, NaN for no answer.")
    return found


def row_domains(design: Design, domain: ArrayLike | None) -> tuple[Codes, int]:
    """Check the domains of the rows and count them.

    Parameters
    ----------
    design : Design
        The sample.
    domain : array_like, shape (rows,), or None
        From 0 on, -1 for none; or a mask; None is one domain of everybody.

    Returns
    -------
    (ndarray of int, int)
        Domain of each row, -1 for none, and how many there are.
    """
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
