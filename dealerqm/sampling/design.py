"""Sampling designs: who was drawn, from which stratum and unit, with which weight.

Rows are respondents, or cells of a cube that stand for several respondents with the same answer.
PSU is the primary sampling unit, here mostly the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dealerqm.errors import MethodError, unknown
from dealerqm.weights.weighting import Calibration as Calibration
from dealerqm.weights.weighting import checked

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = ArrayLike | None
Fit = tuple[sparse.csr_array, sparse.csr_array, Array, Array]  # X'W, X'W times earlier X, …
LONELY = ("refuse", "remove", "adjust", "average")
SAME = 1e-13  # relative: weights of a cell that differ less are one weight
PINV = 1e-10  # relative: directions of calibrated variables that differ less are one
CERTAIN = 1e-7  # so small a share left out of the sample is no sampling error


class Bins(NamedTuple):
    """Groups of rows, for fast sums: ``code`` from 1 on, 0 for none, one per ``fold`` rows."""

    code: Codes
    size: int
    fold: int = 1

    def sum(self, values: Array) -> Array:
        """Add values of the rows up by group."""
        if self.fold > 1:
            values = values.reshape(-1, self.fold) @ np.ones(self.fold)
        return np.bincount(self.code, values, self.size + 1)[1:].astype(float, copy=False)

    def spread(self, values: Array, other: float = 0.0) -> Array:
        """Give each row the value of its group, another one where it has none."""
        found = np.append(other, values)[self.code]
        return found if self.fold == 1 else np.repeat(found, self.fold)

    def folded(self, rows: int) -> Bins:
        """Take so many neighbouring rows, all of one group, as one."""
        return Bins(self.code[::rows], self.size, rows)


class Stage(NamedTuple):
    """One stage of sampling.

    Attributes
    ----------
    unit : ndarray of int, shape (rows,), or None
        Unit of each row; None where every row is a unit of its own.
    stratum : ndarray of int, shape (units,)
        Stratum of each unit; of each row where ``unit`` is None.
    sampled, share : ndarray, shape (strata,)
        Units in the sample, and the product of sampling fractions down to this stage.
    scale : ndarray, shape (strata,)
        Factor of the squared deviations: (1 - n/N) n/(n-1), after the rule for lonely units.
    centred : ndarray of bool, shape (strata,)
        False where a lonely unit is measured from 0 and not from its stratum's mean.
    """

    unit: Codes | None
    stratum: Codes
    sampled: Array
    share: Array
    scale: Array
    centred: NDArray[np.bool_]

    @property
    def of_rows(self) -> Codes:
        """Stratum of each row."""
        return self.stratum if self.unit is None else self.stratum[self.unit]


@dataclass(frozen=True, eq=False, kw_only=True)
class Design:
    """A sampling design; never changed, and kept whole when a domain is estimated.

    Attributes
    ----------
    weights : ndarray, shape (rows,)
        Sum of the weights of the rows that each row stands for.
    stages : tuple of Stage
        At least one.
    count, squares : ndarray, shape (rows,), or None
        How many respondents a row stands for and the sum of their squared weights; None where
        every row is one respondent.
    calibrations : tuple of Calibration
        In the order in which they were made.
    """

    weights: Array
    stages: tuple[Stage, ...]
    count: Array | None = None
    squares: Array | None = None
    calibrations: tuple[Calibration, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.weights.size

    @cached_property
    def ones(self) -> Array:
        """How many respondents each row stands for."""
        return np.ones(self.rows) if self.count is None else self.count

    @cached_property
    def idle(self) -> bool:
        """Whether respondents with weight 0 are among the rows."""
        return bool(((self.weights == 0) & (self.ones > 0)).any())

    @cached_property
    def squared(self) -> Array:
        """Sum of squared weights of each row."""
        return self.weights**2 if self.squares is None else self.squares

    @cached_property
    def inner(self) -> Array:
        """Squared deviations of the weights inside each cell."""
        spread = self.squared - self.weights**2 / np.maximum(self.ones, 1)
        return np.where(spread > SAME * self.squared, spread, 0.0)

    @cached_property
    def explained(self) -> tuple[sparse.csr_array, tuple[Fit, ...]]:
        """What the weights were calibrated on, and its regressions, worked out once."""
        model, fits = sparse.csr_array((self.rows, 0)), []
        for known in self.calibrations:
            x = known.model()
            weighted = (x * known.start[:, None]).T.tocsr()
            gram = (weighted @ x).toarray()
            unit = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
            inverse = np.linalg.pinv(gram / np.outer(unit, unit), rcond=PINV, hermitian=True)
            fits.append((weighted, weighted @ model, unit, inverse))
            model = sparse.csr_array(sparse.hstack([model, x]))
        return model, tuple(fits)


# ---------------------------------------------------------------- building a design


def design(
    weights: Labels, *, psu: Labels | Sequence[Labels] = None,
    strata: Labels | Sequence[Labels] = None, size: Labels | Sequence[Labels] = None,
    lonely: str = "refuse", cells: tuple[ArrayLike, ArrayLike] | None = None,
) -> Design:  # fmt: skip
    """Describe how a sample was drawn.

    Parameters
    ----------
    weights : array_like, shape (rows,), or None
        One over the chance of selection; None takes it from the sampling fractions of ``size``.
    psu : array_like, shape (rows,), or sequence of them
        Primary sampling unit of each row, and the unit within it per further stage; an id counts
        within its stratum. None: every row is a unit of its own.
    strata : array_like, shape (rows,), or sequence of them
        Strata per stage; None is one stratum.
    size : array_like, shape (rows,), or sequence of them
        Units in the population of the row's stratum (further stages: of the row's unit above);
        None is a population without end.
    lonely : str
        A stratum with one unit is refused (``refuse``), adds nothing (``remove``), is measured
        from zero (``adjust``) or gets the average of the other strata (``average``).
    cells : (array_like, array_like) or None
        Number of respondents and sum of squared weights per row, where rows are cells.

    Returns
    -------
    Design
        Immutable.

    Raises
    ------
    MethodError
        If a weight is negative, missing or infinite or all are 0, an id is missing, a population
        is smaller than its sample or not one number per stratum, or a stratum is lonely.

    Notes
    -----
    Rows of weight 0 stay: their PSUs count. Without ``size`` only the first stage counts, because
    PSUs drawn with replacement carry the whole variance.

    Source: Lumley, Complex Surveys (2010), chapters 2-3; reference cases ``survey``.

    Examples
    --------
    >>> found = design([2, 2, 3, 3], psu=["a", "b", "c", "d"], strata=["x", "x", "y", "y"])
    >>> found.stages[0].sampled, found.stages[0].scale
    (array([2., 2.]), array([2., 2.]))
    """
    if lonely not in LONELY:
        raise MethodError(unknown("lonely", lonely, LONELY))
    ids, layers, sizes = _listed(psu), _listed(strata), _listed(size)
    rows = _rows(weights, *ids, *layers, *sizes)
    count, squares = (None, None) if cells is None else (_filled(c, rows) for c in cells)
    stages: list[Stage] = []
    above = np.zeros(rows, np.int64)
    for level in range(max(len(ids), 1)):
        if level and (not sizes or sizes[0] is None):
            break
        given = [part[level] if level < len(part) else None for part in (ids, layers, sizes)]
        shares = stages[-1].share[stages[-1].of_rows] if stages else np.ones(rows)
        stage = _stage(given, above, shares, count, (lonely, level + 1))
        stages.append(stage)
        above = np.arange(rows) if stage.unit is None else stage.unit
    if weights is None:
        if not sizes or sizes[0] is None:
            raise MethodError("weights: none given, and no size to find them from; give either.")
        weights = 1 / stages[-1].share[stages[-1].of_rows]
    weights = checked(weights).copy()
    for array in (weights, count, squares):
        if array is not None:
            array.flags.writeable = False
    return Design(weights=weights, stages=tuple(stages), count=count, squares=squares)


def calibrated(design: Design, weights: ArrayLike, *, on: Calibration) -> Design:
    """Give a design new weights that were calibrated to known totals.

    Parameters
    ----------
    design : Design
        With the weights before.
    weights : array_like, shape (rows,)
        The weights after.
    on : Calibration
        What they were calibrated on.

    Returns
    -------
    Design
        Its variances are those of the residuals from a regression on the calibration's variables.

    Examples
    --------
    >>> start = design([1, 1, 1])
    >>> on = Calibration(start.weights, margins=(np.array([0, 1, 1]),))
    >>> after = calibrated(start, [2, 1, 1], on=on)
    >>> after.weights, len(after.calibrations)
    (array([2., 1., 1.]), 1)
    """
    new = checked(weights).copy()
    ratio = np.divide(new, design.weights, out=np.zeros(new.size), where=design.weights > 0)
    squares = None if design.squares is None else design.squares * ratio**2
    new.flags.writeable = False
    return replace(design, weights=new, squares=squares, calibrations=(*design.calibrations, on))


def codes(labels: ArrayLike, *, where: str = "labels") -> tuple[Codes, NDArray[np.object_]]:
    """Give labels numbers 0, 1, 2 … in their sorted order.

    Parameters
    ----------
    labels : array_like, shape (rows,)
        Text, numbers or booleans.
    where : str
        Name for messages.

    Returns
    -------
    (ndarray of int, ndarray)
        Number of each row, and the labels.

    Raises
    ------
    MethodError
        If a label is missing.

    Examples
    --------
    >>> found, names = codes(["b", "a", "b"])
    >>> found.tolist(), names.tolist()
    ([1, 0, 1], ['a', 'b'])
    """
    given: Any = np.asarray(labels) if isinstance(labels, list | tuple) else labels
    found, names = pd.factorize(given)
    if (found < 0).any():
        gone = np.flatnonzero(found < 0)
        raise MethodError(
            f"{where}: {gone.size} rows have no value, the first is row {gone[0]}; every row needs "
            "one. Fill it, give missing a level of its own, or leave these rows out on purpose."
        )
    order = np.argsort(np.asarray(names))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    return place[found], np.asarray(names, object)[order]


def _listed(given: Labels | Sequence[Labels]) -> list[Any]:
    if given is None:
        return []
    parts = list(given) if isinstance(given, list | tuple) else []
    several = any(np.ndim(part) for part in parts)
    return parts if several else [given]


def _rows(*given: Labels) -> int:
    sizes = {np.asarray(part).size for part in given if part is not None and np.ndim(part)}
    if len(sizes) != 1:
        raise MethodError(f"design: arrays of {sorted(sizes)} rows; give one size of 1 or more.")
    if not (rows := sizes.pop()):
        raise MethodError("design: no rows; nothing can be estimated from an empty sample.")
    return rows


def _filled(values: ArrayLike, rows: int) -> Array:
    return np.array(np.broadcast_to(np.asarray(values, float), (rows,)))


def _stage(
    given: Sequence[Labels], above: Codes, shares: Array, count: Array | None, rule: tuple[str, int]
) -> Stage:
    """Build one stage below the units of the stage above."""
    ids, layers, size = given
    stratum, names = above, np.arange(_top(above)).astype(object)
    if layers is not None:
        inner, levels = codes(layers, where=f"strata of stage {rule[1]}")
        stratum = _crossed(above, inner)
        names = levels[_firsts(stratum, inner)]
    unit = None
    if ids is not None:
        unit = _crossed(stratum, codes(ids, where=f"psu of stage {rule[1]}")[0])
        unit = None if _top(unit) == above.size and count is None else unit
    of_unit = stratum if unit is None else _firsts(unit, stratum)
    times = count if unit is None else None
    sampled = np.bincount(of_unit, times, minlength=_top(stratum)).astype(float)
    fraction = sampled / _population(size, stratum, sampled, names)
    share = _firsts(stratum, shares)
    scale = share * (1 - fraction) * sampled / np.maximum(sampled - 1, 1)
    scale = np.where(scale > CERTAIN, scale, 0.0)
    scale, centred = _lonely((sampled == 1) & (scale > 0), scale, rule[0], names)
    return Stage(unit, of_unit, sampled, share * fraction, scale, centred)


def _population(size: Labels, stratum: Codes, sampled: Array, names: NDArray[np.object_]) -> Array:
    if size is None:
        return np.full(sampled.size, np.inf)
    given = _filled(size, stratum.size)
    found = _firsts(stratum, given)
    several = stratum[given != found[stratum]]
    if several.size:
        raise MethodError(
            f"size: stratum {names[several[0]]!r} has several population sizes; give the number "
            "of units in the population of the stratum, the same in each of its rows."
        )
    small = np.flatnonzero(~(found >= sampled))
    if small.size:
        raise MethodError(
            f"size: {sampled[small[0]]:g} units sampled of {found[small[0]]:g} in stratum "
            f"{names[small[0]]!r} ({small.size} strata); give the number of units in the "
            "population, not a fraction, at least as many as were sampled."
        )
    return found


def _lonely(
    lonely: NDArray[np.bool_], scale: Array, rule: str, names: NDArray[np.object_]
) -> tuple[Array, NDArray[np.bool_]]:
    if not lonely.any():
        return scale, ~lonely
    if rule == "refuse":
        first = names[np.flatnonzero(lonely)[0]]
        raise MethodError(
            f"strata: {int(lonely.sum())} of {lonely.size} have one sampled unit, the first is "
            f"{first!r}, so nothing tells how units differ there. Merge it with a like stratum, or "
            "choose lonely='adjust' (cautious), 'average' or 'remove' (adds nothing)."
        )
    if rule == "adjust":
        return scale, ~lonely
    if rule == "average" and not lonely.all():
        scale = scale * lonely.size / (lonely.size - lonely.sum())
    return np.where(lonely, 0.0, scale), np.ones(lonely.size, bool)


def _top(numbers: Codes) -> int:
    return int(numbers.max(initial=-1)) + 1


def _firsts(group: Codes, values: NDArray[Any]) -> NDArray[Any]:
    """Return the first value of each group."""
    found = np.empty(_top(group), values.dtype)
    found[group[::-1]] = values[::-1]
    return found


def _crossed(outer: Codes, inner: Codes) -> Codes:
    return inner if not outer.any() else codes(outer * np.int64(_top(inner)) + inner)[0]
