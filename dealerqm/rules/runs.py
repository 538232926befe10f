"""Runs, windows and crossings of a centre line: the run chart and the tests of Anhøj.

Points on the centre are no useful observations and are passed over; a missing point ends a run, and
no crossing is counted across it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.base import Array, Limits, Mask

LEAST = 10  # useful points; below it the limits of the runs mean nothing
MOST = 100  # useful points for which boxes are computed, as published
TARGET, SHIFT = 0.925, 0.8  # the boxes: share of stable series inside, shift in σ they look for


class Runs(NamedTuple):
    """Runs of many charts.

    Attributes
    ----------
    useful : ndarray of bool, shape (periods, charts)
        Points off the centre.
    length, start : ndarray of int, same shape
        Length of the run up to a useful point, and its first period; 0 at other points.
    n_useful, longest, crossings : ndarray of int, shape (charts,)
        Counts.
    longest_limit, crossings_limit : ndarray of float, shape (charts,)
        A longer run, or fewer crossings, is a signal; NaN without useful points.
    """

    useful: Mask
    length: NDArray[np.intp]
    start: NDArray[np.intp]
    n_useful: NDArray[np.intp]
    longest: NDArray[np.intp]
    crossings: NDArray[np.intp]
    longest_limit: Array
    crossings_limit: Array

    @property
    def judged(self) -> Mask:
        """Charts with at least 10 useful points; the limits of fewer mean little."""
        result: Mask = self.n_useful >= LEAST
        return result

    @property
    def signal(self) -> Mask:
        """Too long a run or too few crossings, where judged."""
        few = self.crossings < self.crossings_limit
        return self.judged & ((self.longest > self.longest_limit) | few)


def count_runs(deviation: ArrayLike) -> Runs:
    """Count the runs on each side of a centre and its crossings.

    Parameters
    ----------
    deviation : array_like, shape (periods, charts) or (periods,)
        Distance from the centre in any unit; NaN is a missing point.

    Returns
    -------
    Runs
        One column per chart.

    Notes
    -----
    Limits for n useful points: longest run round(log₂ n) + 3, crossings the 5 % quantile of the
    binomial distribution of n - 1 (fewer by one per gap) chances of 1/2.

    Source: Anhøj and Olesen (2014), PLoS ONE 9, e113825; reference cases ``spc/runs``.

    Examples
    --------
    >>> found = count_runs([1, 2, 0, 1, -1, -2, 3])
    >>> found.n_useful[0], found.longest[0], found.crossings[0]
    (np.int64(6), np.int64(3), np.int64(2))
    """
    apart = base.matrix(deviation)
    side = np.sign(apart)
    place = np.arange(len(apart))[:, None]
    missing = np.isnan(apart)
    useful = ~missing & (side != 0)
    before = _shifted(np.maximum.accumulate(np.where(useful, place, -1), axis=0))
    gap = np.maximum.accumulate(np.where(missing, place, -1), axis=0)
    joined = useful & (before > gap)
    turned = side != np.take_along_axis(side, np.maximum(before, 0), axis=0)
    start = np.maximum.accumulate(np.where(useful & ~(joined & ~turned), place, 0), axis=0)
    order = useful.cumsum(axis=0)
    length = (order - np.take_along_axis(order, start, axis=0) + 1) * useful
    n_useful = useful.sum(axis=0)
    longest, fewest = run_limits(n_useful, joined.sum(axis=0))
    crossings = (joined & turned).sum(axis=0)
    most = length.max(axis=0, initial=0)
    return Runs(useful, length, start * useful, n_useful, most, crossings, longest, fewest)


def _shifted(place: NDArray[np.intp]) -> NDArray[np.intp]:
    result = np.full_like(place, -1)
    result[1:] = place[:-1]
    return result


def run_limits(n: ArrayLike, chances: ArrayLike | None = None) -> tuple[Array, Array]:
    """Compute the longest run and the fewest crossings that are no signal.

    Parameters
    ----------
    n : array_like of int
        Useful points.
    chances : array_like of int, or None
        Neighbouring pairs that may cross; None means n - 1.

    Returns
    -------
    tuple of two ndarrays
        NaN below 1 useful point.

    Examples
    --------
    >>> [limit.tolist() for limit in run_limits([10, 24])]
    [[6.0, 8.0], [2.0, 8.0]]
    """
    size = np.asarray(n, float)
    pairs = size - 1 if chances is None else np.asarray(chances, float)
    enough = size >= 1
    longest = np.round(np.log2(np.where(enough, size, 1))) + 3
    fewest = stats.binom.ppf(0.05, np.where(enough, np.maximum(pairs, 0), 0), 0.5)
    return np.where(enough, longest, np.nan), np.where(enough, fewest, np.nan)


def run_chart(x: ArrayLike, *, baseline: ArrayLike | None = None) -> Limits:
    """Draw run charts: values about their median, without limits.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    baseline : array_like of bool, same shape or (periods,), or None
        Points that set the median; None means all.

    Returns
    -------
    Limits
        The limits are infinite, the standard error is 1: only runs and crossings are judged, by
        :func:`count_runs` on ``value - centre`` or the rules ``anhoej``.

    Examples
    --------
    >>> run_chart([3, 1, 2]).centre[:, 0]
    array([2., 2., 2.])
    """
    value = base.checked("x", x)
    kept = np.where(base.chosen(value, baseline), value, np.nan)
    centre = np.broadcast_to(base.median(kept), value.shape).copy()
    flat = np.where(np.isfinite(centre), 1.0, np.nan)
    return Limits(value, centre, -np.inf * flat, np.inf * flat, base.mean(flat), flat)


# ---------------------------------------------------------------- windows


def full_windows(hit: Mask, hits: int, span: int) -> Mask:
    """Tell where a window of neighbouring points ends that holds enough hits.

    Parameters
    ----------
    hit : ndarray of bool, shape (periods, charts)
        Points that hit.
    hits, span : int
        Hits wanted, and length of the window.

    Returns
    -------
    ndarray of bool, same shape
        False before the first whole window.

    Examples
    --------
    >>> full_windows(np.array([[True], [False], [True], [False]]), 2, 3)[:, 0]
    array([False, False,  True, False])
    """
    ends = np.zeros_like(hit)
    if len(hit) < span:
        return ends
    if hits < span:
        total = hit[span - 1 :].astype(np.uint8)
        for lag in range(1, span):
            total += hit[span - 1 - lag : len(hit) - lag]
        np.greater_equal(total, hits, out=ends[span - 1 :])
        return ends
    run, length = hit, 1
    while length < span:
        step = min(length, span - length)
        run = run[step:] & run[:-step]
        length += step
    ends[span - 1 :] = run
    return ends


def marked_back(ends: Mask, span: int) -> Mask:
    """Mark all points of the windows that end here.

    Parameters
    ----------
    ends : ndarray of bool, shape (periods, charts)
        Last points of windows.
    span : int
        Length of the window.

    Returns
    -------
    ndarray of bool, same shape
        Each end and the span - 1 points before it.

    Examples
    --------
    >>> marked_back(np.array([[False], [False], [True]]), 2)[:, 0]
    array([False,  True,  True])
    """
    marked, length = ends.copy(), 1
    while length < span:
        step = min(length, span - length)
        marked[:-step] |= marked[step:]
        length += step
    return marked


# ---------------------------------------------------------------- boxes


class Box(NamedTuple):
    """Crossings and longest run of a series that is no signal.

    Attributes
    ----------
    crossings, longest : int
        Corner of the box: at least so many crossings, no longer run.
    from_crossings, to_longest : int
        Kept of the border with the longest run, and of the border with the fewest crossings; the
        whole borders where nothing is cut.
    """

    crossings: int
    longest: int
    from_crossings: int
    to_longest: int

    def signal(self, crossings: int, longest: int) -> bool:
        """Tell whether a series lies outside the box.

        Parameters
        ----------
        crossings, longest : int
            Of the series.

        Returns
        -------
        bool
            True is a signal.
        """
        if crossings < self.crossings or longest > self.longest:
            return True
        if longest == self.longest:
            return crossings < self.from_crossings
        return crossings == self.crossings and longest > self.to_longest


@lru_cache(maxsize=256)
def best_box(n: int) -> Box:
    """Find the box that a shifted series leaves most often.

    Parameters
    ----------
    n : int
        Useful points, 10 to 100.

    Returns
    -------
    Box
        Of all boxes that hold at least 92.5 % of the stable series, the one that holds the fewest
        series shifted by 0.8 σ.

    Raises
    ------
    MethodError
        Fewer than 10 or more than 100 useful points.

    Notes
    -----
    Source: Anhøj and Wentzel-Larsen (2020), PLoS ONE 15, e0233920; reference cases ``spc/runs``.

    Examples
    --------
    >>> best_box(24)
    Box(crossings=6, longest=7, from_crossings=6, to_longest=7)
    """
    if not LEAST <= n <= MOST:
        raise MethodError(
            f"best box: {n} useful points; allowed: {LEAST} to {MOST}; use the tests of Anhøj"
        )
    stable, shifted = (crossings_and_runs(n, share) for share in (0.5, special.ndtr(SHIFT)))
    inside, missed = (
        table[::-1].cumsum(axis=0)[::-1].cumsum(axis=1) for table in (stable, shifted)
    )
    allowed = (stable > 0) & (inside >= TARGET)
    fewest, longest = np.unravel_index(np.where(allowed, missed, np.inf).argmin(), missed.shape)
    return Box(int(fewest), int(longest) + 1, int(fewest), int(longest) + 1)


@lru_cache(maxsize=256)
def cut_box(n: int) -> Box:
    """Cut the corner of the best box as far as 92.5 % of the stable series stay inside.

    Parameters
    ----------
    n : int
        Useful points, 10 to 100.

    Returns
    -------
    Box
        Cells of the borders go one by one from the corner, those first that a shifted series
        visits most.

    Examples
    --------
    >>> cut_box(24)
    Box(crossings=6, longest=7, from_crossings=7, to_longest=6)
    """
    box = best_box(n)
    stable, shifted = (crossings_and_runs(n, share) for share in (0.5, special.ndtr(SHIFT)))
    spare = stable[box.crossings :, : box.longest].sum() - TARGET
    c, run = box.crossings, box.longest
    corner = stable[c, run - 1]
    if corner > spare:
        return box
    spare, box = spare - corner, box._replace(from_crossings=c + 1, to_longest=run - 1)
    while True:
        cells = {(box.from_crossings, run - 1), (c, box.to_longest - 1)}
        cells = {cell for cell in cells if 0 < stable[cell] <= spare}
        if not cells:
            return box
        cell = max(cells, key=lambda place: shifted[place])
        spare -= stable[cell]
        along = cell[0] == c
        box = Box(c, run, box.from_crossings + (not along), box.to_longest - along)


@lru_cache(maxsize=8)
def crossings_and_runs(n: int, share: float = 0.5) -> Array:
    """Compute the joint distribution of crossings and longest run of independent points.

    Parameters
    ----------
    n : int
        Points.
    share : float
        Probability of a point above the centre.

    Returns
    -------
    ndarray, shape (n, n)
        Row c: c crossings; column l - 1: the longest run has l points.

    Notes
    -----
    For each l, runs of at most l points above and below alternate; their lengths add up to n.

    Source: Wentzel-Larsen and Anhøj (2019), PLoS ONE 14, e0223233.

    Examples
    --------
    >>> crossings_and_runs(3)
    array([[0.  , 0.  , 0.25],
           [0.  , 0.5 , 0.  ],
           [0.25, 0.  , 0.  ]])
    """
    lag = np.arange(n + 1)[:, None] - np.arange(n + 1)
    allowed = (lag > 0) & (lag <= np.arange(1, n + 1)[:, None, None])
    steps = [np.where(allowed, chance ** np.maximum(lag, 0), 0.0) for chance in (share, 1 - share)]
    sides = [step[:, :, :1] for step in steps]
    at_most = np.zeros((n, n))
    for crossings in range(n):
        at_most[crossings] = (sides[0] + sides[1])[:, n, 0]
        sides = [step @ other for step, other in zip(steps, sides[::-1], strict=True)]
    return np.diff(at_most, axis=1, prepend=0.0)
