"""Weights and how well they meet known totals: the record, its verdict, and trimming."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dealerqm.errors import MethodError, unknown

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
MODES = ("once", "repeat")
CYCLES = 500
TOLERANCE = 1e-10  # relative gap at which raking stops
AGREE = 1e-6  # relative: totals that differ by less are one total


class Calibration(NamedTuple):
    """What weights were calibrated on, for standard errors that know of it.

    Attributes
    ----------
    start : ndarray, shape (rows,)
        Weights before; they weight the regression whose residuals carry the variance.
    margins : tuple of ndarray of int
        Codes of each margin, shape (rows,) each.
    x : ndarray, shape (rows, columns), or None
        Variables whose totals were met.
    """

    start: Array
    margins: tuple[Codes, ...] = ()
    x: Array | None = None

    def model(self) -> sparse.csr_array:
        """Return all variables side by side, shape (rows, columns)."""
        rows = np.arange(self.start.size)
        parts = [
            sparse.csr_array((np.ones(rows.size), (rows, code)), (rows.size, int(code.max()) + 1))
            for code in self.margins
        ]
        if self.x is not None:
            parts.append(sparse.csr_array(self.x))
        return sparse.csr_array(sparse.hstack(parts))


class Gaps(NamedTuple):
    """Targets and what the weights give, shape (targets,).

    Attributes
    ----------
    margin, level : ndarray of object
        Names; a calibrated variable has no level.
    target, achieved, gap : ndarray
        Wanted total, weighted total, and their relative difference.
    """

    margin: NDArray[np.object_]
    level: NDArray[np.object_]
    target: Array
    achieved: Array
    gap: Array


class Weighting(NamedTuple):
    """Weights and how well they meet their targets.

    Attributes
    ----------
    weights : ndarray, shape (rows,)
        The new weights.
    iterations : int
        Cycles or steps taken.
    gaps : Gaps
        Every target.
    deff : float
        Design effect of unequal weights, 1 + cv², among rows with weight.
    verdict : str
        ``met`` or ``unmet``.
    on : Calibration
        For :func:`dealerqm.sampling.design.calibrated`.
    """

    weights: Array
    iterations: int
    gaps: Gaps
    deff: float
    verdict: str
    on: Calibration


def checked(weights: ArrayLike) -> Array:
    """Check start weights.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Weights.

    Returns
    -------
    ndarray, shape (rows,)
        The same.

    Raises
    ------
    MethodError
        If one is negative, missing or infinite, or all are 0.

    Examples
    --------
    >>> checked([1, 2])
    array([1., 2.])
    """
    found = np.asarray(weights, float)
    if found.size and found.min() >= 0 and 0 < found.max() < np.inf:
        return found
    for bad, what in (
        (np.isnan(found), "missing"), (found < 0, "negative"), (np.isinf(found), "infinite"),
    ):  # fmt: skip
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise MethodError(
                f"weights: {int(bad.sum())} {what}, the first in row {first} ({found[first]:g}); "
                "allowed: 0 and above. Correct them, or give rows that must not count weight 0."
            )
    raise MethodError("weights: all are 0; at least one row must stand for somebody.")


def weighed(weights: Array, steps: int, gaps: Gaps, rule: tuple[Calibration, float]) -> Weighting:
    """Put weights together with their design effect and verdict.

    Parameters
    ----------
    weights : ndarray, shape (rows,)
        New weights.
    steps : int
        Steps taken.
    gaps : Gaps
        Every target.
    rule : (Calibration, float)
        What was calibrated on, and the largest relative gap that counts as met.

    Returns
    -------
    Weighting
        All of it.
    """
    deff = float((weights > 0).sum() * (weights @ weights) / weights.sum() ** 2)
    met = bool((np.abs(gaps.gap) <= rule[1]).all())
    return Weighting(weights, steps, gaps, deff, "met" if met else "unmet", rule[0])


def relative(achieved: Array, target: Array) -> Array:
    """Measure gaps between totals and their targets.

    Parameters
    ----------
    achieved, target : ndarray
        Totals.

    Returns
    -------
    ndarray
        Relative gaps; a target of 0 is measured in units.

    Examples
    --------
    >>> relative(np.array([11.0, 2.0]), np.array([10.0, 0.0]))
    array([0.1, 2. ])
    """
    found: Array = (achieved - target) / np.where(target == 0, 1.0, np.abs(target))
    return found


def refusal(what: str, gaps: Gaps, steps: int, gap: float) -> str:
    """Word which targets are not met.

    Parameters
    ----------
    what : str
        Name of the method.
    gaps : Gaps
        Every target.
    steps : int
        Steps taken.
    gap : float
        Largest relative gap that counts as met.

    Returns
    -------
    str
        One sentence with the worst target.
    """
    worst = int(np.argmax(np.abs(gaps.gap)))
    level = "" if gaps.level[worst] is None else f"={gaps.level[worst]}"
    return (
        f"{what}: {(np.abs(gaps.gap) > gap).sum()} of {gaps.gap.size} targets unmet after {steps} "
        f"steps; the worst is {gaps.margin[worst]}{level}: {gaps.achieved[worst]:.6g} of "
        f"{gaps.target[worst]:.6g}, a gap of {abs(gaps.gap[worst]):.1%}. "
    )


def trim(
    weighting: Weighting, low: float, high: float, *, mode: str = "once", gap: float = 0.01
) -> Weighting:
    """Cut weights to bounds and share what was cut out over the others.

    Parameters
    ----------
    weighting : Weighting
        Weights and their targets.
    low, high : float
        Bounds of a weight.
    mode : str
        ``once``, after which a share may lift a weight over the bound; ``repeat`` until none is.
    gap : float
        Largest relative gap that counts as met; trimming opens gaps, so the verdict tells.

    Returns
    -------
    Weighting
        Same sum, gaps and design effect anew; never refused for its gaps.

    Raises
    ------
    MethodError
        If the bounds leave no room for the sum.

    Notes
    -----
    Each weight inside the bounds gets the same part of what was cut.

    Source: R survey ``trimWeights``, reference case ``trim_weights_clus1``.

    Examples
    --------
    >>> from dealerqm.weights.raking import poststratify
    >>> start = poststratify([1, 1, 1], ["a", "a", "b"], {"a": 2, "b": 7})
    >>> found = trim(start, 0, 5)
    >>> found.weights, found.verdict, found.gaps.gap.round(2)
    (array([2., 2., 5.]), 'unmet', array([ 1.  , -0.29]))
    """
    if mode not in MODES:
        raise MethodError(unknown("mode", mode, MODES))
    w, steps = weighting.weights.copy(), 0
    live = w > 0
    if not low * live.sum() <= w.sum() <= high * live.sum():
        raise MethodError(
            f"trim: {live.sum()} weights between {low:g} and {high:g} cannot sum to {w.sum():g}; "
            "widen the bounds."
        )
    while (out := live & ((w < low) | (w > high))).any() and (mode == "repeat" or not steps):
        cut = np.clip(w, low, high)
        free = live & ~out
        if not free.any():
            raise MethodError("trim: every weight is outside the bounds; widen them.")
        w = np.where(out, cut, w) + np.where(free, (w - cut)[out].sum() / free.sum(), 0.0)
        steps += 1
    old = weighting.gaps
    achieved = weighting.on.model().T @ w
    gaps = old._replace(achieved=achieved, gap=relative(achieved, old.target))
    return weighed(w, steps, gaps, (weighting.on, gap))


def lift(total: Array, sums: Array) -> Array:
    """Find the factors that lift sums to totals.

    Parameters
    ----------
    total, sums : ndarray
        What is wanted, and what is there.

    Returns
    -------
    ndarray
        Factors; 1 where nothing is there to lift, or nothing wanted.

    Examples
    --------
    >>> lift(np.array([6.0, 0.0]), np.array([2.0, 5.0]))
    array([3., 1.])
    """
    found: Array = np.divide(total, sums, out=np.ones(sums.shape), where=(sums > 0) & (total > 0))
    return found


class Table(NamedTuple):
    """Cell of each row of a raking, levels of the cells, and totals of the levels."""

    cell: Codes
    levels: tuple[Codes, ...]
    totals: tuple[Array, ...]


def recalled(known: Weighting) -> Table:
    """Recall the cells and totals of a raking, to rake other weights of the same rows to them.

    Parameters
    ----------
    known : Weighting
        Of ``raking``.

    Returns
    -------
    Table
        Cells that have rows.

    Raises
    ------
    MethodError
        If the weights were calibrated on numbers.

    Examples
    --------
    >>> from dealerqm.weights.raking import poststratify
    >>> recalled(poststratify([1, 1, 1], ["b", "a", "b"], {"a": 2, "b": 6})).totals
    (array([2., 6.]),)
    """
    if known.on.x is not None:
        raise MethodError("reweight: totals of numbers need a function that calibrates weights.")
    starts = np.flatnonzero(known.gaps.margin[1:] != known.gaps.margin[:-1]) + 1
    totals = np.split(known.gaps.target, starts)
    codes = tuple(np.asarray(margin) for margin in known.on.margins)
    cell = np.ravel_multi_index(codes, tuple(total.size for total in totals))
    _, first, cell = np.unique(cell, return_index=True, return_inverse=True)
    return Table(cell, tuple(code[first] for code in codes), tuple(totals))


def refitted(table: Table, cells: ArrayLike) -> Array:
    """Fit several weights of the cells at once; they are the replicates of a sample.

    Parameters
    ----------
    table : Table
        Cells and totals.
    cells : array_like, shape (cells, replicates)
        Weights of the cells.

    Returns
    -------
    ndarray, shape (cells, replicates)
        Factors of the weights.

    Raises
    ------
    MethodError
        If a replicate cannot meet the totals.

    Examples
    --------
    >>> from dealerqm.weights.raking import poststratify
    >>> table = recalled(poststratify([1, 1, 1], ["b", "a", "b"], {"a": 2, "b": 6}))
    >>> refitted(table, [[1, 2], [3, 2]])
    array([[2., 1.],
           [2., 3.]])
    """
    start = np.asarray(cells, float)
    pairs, places = list(zip(table.levels, table.totals, strict=True)), np.arange(len(start))
    ones, size = np.ones(len(start)), len(start)
    adds = [sparse.csr_array((ones, (code, places)), (t.size, size)) for code, t in pairs]
    fitted, worst, cycle = start.copy(), np.full(start.shape[1], np.inf), 0
    while worst.max() > TOLERANCE and cycle < CYCLES:
        worst, cycle = np.zeros(start.shape[1]), cycle + 1
        for add, (code, total) in zip(adds, pairs, strict=True):
            sums = add @ fitted
            ratio = lift(total[:, None], sums)
            lost = ((sums <= 0) & (total[:, None] > 0)).any(axis=0)
            if lost.any():
                raise MethodError(_lacking(int(lost.sum()), lost.size))
            worst = np.maximum(worst, np.abs(ratio - 1).max(axis=0))
            fitted *= ratio[code]
    if worst.max() > AGREE:
        raise MethodError(_lacking(int((worst > AGREE).sum()), worst.size))
    found: Array = np.divide(fitted, start, out=np.ones(start.shape), where=start > 0)
    return found


def _lacking(count: int, size: int) -> str:
    return (
        f"replicates: {count} of {size} cannot meet the totals without the units left out. Merge "
        "small levels, or take linearised errors."
    )
