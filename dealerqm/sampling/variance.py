"""From influence values to variances: the one routine behind every standard error of a survey.

A row's influence value is what it adds to an estimate per unit of its weight. The variance is that
between units within strata of weight times influence, stage by stage. Domains keep the whole
design: a unit without rows of the domain adds a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Array, Bins, Codes, Design, Stage

BLOCK = 4_000_000  # numbers held at once


class Place(NamedTuple):
    """Where the rows stand in one stage: entries are units of a domain, groups their strata.

    Attributes
    ----------
    entry : Bins or None
        Entry of each row; None where every row is an entry.
    group : Bins
        Stratum and domain of each entry, as one number.
    units : ndarray, shape (entries,)
        Units that an entry stands for.
    stratum, domain, absent : ndarray, shape (groups,)
        Of each group, and the units of the stratum that have no row in the domain.
    """

    entry: Bins | None
    group: Bins
    units: Array
    stratum: Codes
    domain: Codes
    absent: Array


class Domains(NamedTuple):
    """Domains of a design's rows, worked out once for many estimates.

    Attributes
    ----------
    column : ndarray of int, shape (rows,)
        Domain of each row, -1 for none.
    bins : Bins
        The same for sums.
    size : int
        Number of domains.
    psus, strata : ndarray, shape (domains,)
        How many of them have rows with weight.
    places : tuple of Place
        One per stage.
    """

    column: Codes
    bins: Bins
    size: int
    psus: Array
    strata: Array
    places: tuple[Place, ...]

    @property
    def df(self) -> Array:
        """Degrees of freedom: PSUs less strata."""
        return self.psus - self.strata

    def met(self, design: Design, used: NDArray[np.bool_]) -> Array:
        """Count the PSUs of each domain that have some of these rows, with weight."""
        return _met(design, self.places[0], used, self.size)[0]


class Scores(NamedTuple):
    """Influence values of estimates, in blocks of one value per row.

    Attributes
    ----------
    value : tuple of ndarray, shape (rows,) each
        Influence per unit of weight; 0 for a row that does not count.
    domain : tuple of Domains or None
        Of each block, whose estimates are its domains; None is one estimate of all rows.
    """

    value: tuple[Array, ...]
    domain: tuple[Domains | None, ...]

    @classmethod
    def of(cls, influence: ArrayLike) -> Scores:
        """Take influence values of any estimates, shape (rows, estimates)."""
        matrix = np.asarray(influence, float)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        return cls(tuple(matrix.T), (None,) * matrix.shape[1])

    @property
    def size(self) -> int:
        """Number of estimates."""
        return sum(1 if part is None else part.size for part in self.domain)

    def matrix(self, rows: int) -> sparse.csr_array:
        """Return the values as a sparse matrix, shape (rows, estimates)."""
        places, values, shift = [np.zeros((2, 0), np.int64)], [np.zeros(0)], 0
        for value, domain in zip(self.value, self.domain, strict=True):
            column = np.zeros(rows, np.int64) if domain is None else domain.column
            held = np.flatnonzero(column >= 0)
            places.append(np.array([held, column[held] + shift]))
            values.append(value[held])
            shift += 1 if domain is None else domain.size
        where = np.concatenate(places, axis=1)
        return sparse.csr_array((np.concatenate(values), tuple(where)), shape=(rows, self.size))


# ---------------------------------------------------------------- rows and domains


def domains(design: Design, domain: ArrayLike | Domains | None = None) -> Domains:
    """Work out the domains of a design's rows.

    Parameters
    ----------
    design : Design
        The sample.
    domain : array_like, shape (rows,), or None
        Domain of each row from 0 on, -1 for none; or a mask of one domain. None is everybody.

    Returns
    -------
    Domains
        To be given to estimates in place of the array; itself where that was done already.

    Raises
    ------
    MethodError
        If there is not one whole number or boolean per row.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = domains(design([1, 1, 1, 1], psu=["a", "a", "b", "c"]), [0, 0, 0, 1])
    >>> found.psus, found.strata
    (array([2., 1.]), array([1., 1.]))
    """
    if isinstance(domain, Domains):
        return domain
    given = np.zeros(design.rows, np.int64) if domain is None else np.asarray(domain)
    if given.shape != (design.rows,) or given.dtype.kind not in "biu":
        raise MethodError(
            f"domain: {given.dtype} of shape {given.shape}; give a number from 0 on (-1: none) or "
            f"a mask for each of the {design.rows} rows; design.codes numbers labels."
        )
    column = np.where(given, 0, -1) if given.dtype.kind == "b" else given.astype(np.int64)
    size = max(int(column.max(initial=-1)) + 1, 1)
    places = tuple(_place(design, stage, column, size) for stage in design.stages)
    psus, strata = _met(design, places[0], True, size)
    return Domains(column, Bins(column + 1, size), size, psus, strata, places)


def _place(design: Design, stage: Stage, column: Codes, size: int) -> Place:
    entry, stratum, of, units = None, stage.stratum, column, design.ones
    if stage.unit is not None:
        entry, pairs = _paired(stage.unit, column, size)
        stratum, of, units = stratum[pairs // size], pairs % size, np.ones(pairs.size)
    group, pairs = _paired(stratum, of, size)
    layer = pairs // size
    return Place(entry, group, units, layer, pairs % size, stage.sampled[layer] - group.sum(units))


def _paired(outer: Codes, column: Codes, size: int) -> tuple[Bins, Codes]:
    """Give pairs of a unit and a domain numbers from 1 on; 0 where there is no domain."""
    code = np.where(column >= 0, outer * size + column + 1, 0)
    top = (int(outer.max(initial=-1)) + 1) * size
    if top <= BLOCK:
        return Bins(code, top), np.arange(top)
    pairs = np.unique(code[code > 0])
    place = np.where(code > 0, np.searchsorted(pairs, code) + 1, 0)
    return Bins(place, pairs.size), pairs - 1


def support(design: Design, column: ArrayLike, size: int) -> tuple[Array, Array]:
    """Count the PSUs and the strata of domains that have rows with weight.

    Parameters
    ----------
    design : Design
        The sample.
    column : array_like of int, shape (rows,)
        Domain of each row, -1 for none.
    size : int
        Number of domains.

    Returns
    -------
    (ndarray, ndarray), shape (domains,) each
        PSUs and strata; their difference is the degrees of freedom.
    """
    return _met(design, _place(design, design.stages[0], np.asarray(column), size), True, size)


def _met(
    design: Design, place: Place, rows: NDArray[np.bool_] | bool, size: int
) -> tuple[Array, Array]:
    """Count the units and the strata of a stage that have some of these rows, with weight."""
    used = np.where(rows & (design.weights > 0), design.ones, 0.0)
    if place.entry is not None:
        used = (place.entry.sum(used) > 0).astype(float)
    units, of = place.group.sum(used), Bins(place.domain + 1, size)
    return of.sum(units), of.sum((units > 0).astype(float))


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

    Raises
    ------
    MethodError
        If the number of rows differs or a value is infinite.
    """
    found = np.asarray(values, float)
    if found.shape != (design.rows,):
        raise MethodError(
            f"values: shape {found.shape}; the design has {design.rows} rows; give one each."
        )
    if (bad := np.isinf(found)).any():
        first = int(np.flatnonzero(bad)[0])
        raise MethodError(f"values: row {first} is infinite; allowed: numbers, NaN for no answer.")
    return found


# ---------------------------------------------------------------- variances


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
    >>> sample = design([10, 10], psu=["a", "b"])
    >>> variance(sample, Scores.of([1, 3]))  # z = 10 and 30; 2/1 · (100 + 100)
    array([400.])
    """
    if design.calibrations:
        parts = [(away**2).T @ scale for away, scale in _deviations(design, scores)]
        return np.asarray(np.sum(parts, axis=0), float)
    found = []
    for value, given in zip(scores.value, scores.domain, strict=True):
        domain = given or domains(design)
        each = zip(design.stages, domain.places, strict=True)
        inside = np.concatenate([_between(design, stage, place, value) for stage, place in each])
        column = np.concatenate([place.domain for place in domain.places])
        found.append(Bins(column + 1, domain.size).sum(inside))
    return np.concatenate(found)


def _between(design: Design, stage: Stage, place: Place, value: Array) -> Array:
    """Squared deviations of a stage's units from their stratum, by group."""
    total = design.weights * value
    if place.entry is not None:
        total = place.entry.sum(total)
    middle = place.group.sum(total) * (stage.centred / stage.sampled)[place.stratum]
    cells = place.entry is None and design.count is not None
    away = total / np.maximum(place.units, 1) if cells else total
    part = (away - place.group.spread(middle)) ** 2
    if cells:
        part = place.units * part + design.inner * value**2
    inside = place.group.sum(part) + place.absent * middle**2
    return stage.scale[place.stratum] * inside


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
    >>> sample = design([10, 10])
    >>> covariance(sample, Scores.of([[1, 3], [3, 1]]))
    array([[ 400., -400.],
           [-400.,  400.]])
    """
    found = np.zeros((scores.size, scores.size))
    for away, scale in _deviations(design, scores):
        found += away.T @ (away * scale[:, None])
    return found


def _deviations(design: Design, scores: Scores) -> Iterator[tuple[Array, Array]]:
    """Yield deviations of units from their stratum, all estimates side by side, and factors."""
    values = scores.matrix(design.rows)
    model, slopes = _explained(design, values)

    def gathered(group: Codes, weights: Array, size: int) -> Array:
        add = sparse.csr_array((weights, (group, np.arange(group.size))), (size, group.size))
        total: Array = (add @ values).toarray() - (add @ model) @ slopes
        return total

    for stage in design.stages:
        mean = stage.centred / stage.sampled
        middle = gathered(stage.of_rows, design.weights, mean.size) * mean[:, None]
        if stage.unit is not None:
            totals = gathered(stage.unit, design.weights, stage.stratum.size)
            yield totals - middle[stage.stratum], stage.scale[stage.stratum]
            continue
        step = max(1, BLOCK // max(scores.size, 1))
        for first in range(0, design.rows, step):
            rows = slice(first, first + step)
            stratum, count = stage.stratum[rows], design.ones[rows]
            rest = values[rows].toarray() - model[rows] @ slopes
            each = design.weights[rows] / np.maximum(count, 1)
            yield rest * each[:, None] - middle[stratum], stage.scale[stratum] * count
            yield rest, stage.scale[stratum] * design.inner[rows]


def _explained(design: Design, values: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
    """Regress influence on what the weights were calibrated on, one calibration after another."""
    model, fits = design.explained
    slopes = np.zeros((0, values.shape[1]))
    for weighted, earlier, unit, inverse in fits:
        left = (weighted @ values).toarray() - earlier @ slopes
        slopes = np.vstack([slopes, inverse @ (left / unit[:, None]) / unit[:, None]])
    return model, slopes
