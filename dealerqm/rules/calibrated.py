"""The calibrated chart: limits frozen on a baseline so that alarms keep to a budget.

The centre follows the earlier point where neighbours are correlated; runs are counted about that
centre. One function judges a whole chart or one more period, with the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.pooling import pool
from dealerqm.rules import design
from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Mask, Series

Index = NDArray[np.int64]
MINIMUM = 8
DOUBT = 0.5
ROUNDING = 1e-12
MOST = 400.0  # points; beyond this limits no longer move


class Frozen(NamedTuple):
    """Limits of charts, fixed until somebody accepts a rebase; all of shape (charts,).

    Attributes
    ----------
    scale : str
        Working scale of the points.
    centre, sigma : ndarray
        Level and noise on the working scale; NaN where a chart cannot be judged.
    phi : ndarray
        Autocorrelation of neighbours that is taken out; 0 gives straight limits.
    limit, run, n : ndarray
        Width in σ, run length, points of the baseline.
    reason : ndarray of str
        Why a chart is not judged: ``short``, ``constant``, or nothing.
    """

    scale: str
    centre: Array
    sigma: Array
    phi: Array
    limit: Array
    run: Array
    n: Array
    reason: NDArray[np.str_]


class State(NamedTuple):
    """All a chart must remember to judge its next period; all of shape (charts,).

    Attributes
    ----------
    z : ndarray
        Newest point as a deviation from the centre in its own noise; NaN before the first.
    age : ndarray
        Periods since that point.
    run : ndarray
        Points in a row on one side up to the newest period, negative below the centre.
    """

    z: Array
    age: Index
    run: Index


class Judged(NamedTuple):
    """Points and lines in the KPI's unit, and what the rules say; shape (periods, charts).

    Attributes
    ----------
    value, centre, lower, upper : ndarray
        NaN where there is no point or the chart is not judged.
    score : ndarray
        Distance from the centre in estimated standard deviations.
    beyond : ndarray of int
        1 above the upper limit, -1 below the lower one.
    run : ndarray of int
        Points in a row on one side, negative below.
    runs : ndarray of bool
        Whether the run has reached the rule's length.
    """

    value: Array
    centre: Array
    lower: Array
    upper: Array
    score: Array
    beyond: Index
    run: Index
    runs: Mask

    @property
    def alarm(self) -> Mask:
        """Where either rule signals."""
        found: Mask = (self.beyond != 0) | self.runs
        return found


def freeze(
    points: Series, baseline: ArrayLike | None = None, *, budget: float,
    phi: ArrayLike | None = None, groups: ArrayLike | None = None, fitted: ArrayLike = 0.0,
) -> Frozen:  # fmt: skip
    """Fix the limits of charts on their baselines.

    Parameters
    ----------
    points : Series
        Points on a working scale.
    baseline : array_like of bool, shape (periods, charts), or None
        Points that set the limits; None means all.
    budget : float
        Alarms that one stable new point may raise, such as 1/36.
    phi : array_like, shape (charts,), or None
        Autocorrelation, when known from elsewhere (pooled over stores, say). None estimates it
        per chart and takes it out when the estimate exceeds half its standard error.
    groups : array_like of int, shape (charts,), or None
        Charts of one KPI, whose centres and spreads are pooled in proportion to what each chart
        lacks. None lets each chart stand for itself.
    fitted : array_like, shape (periods, charts)
        Sampling variance of what was fitted to the same points and taken out of them before
        (``Season.variance``).

    Returns
    -------
    Frozen
        Limits; a chart without any spread, or with less than eight points of its own and
        borrowed ones, is not judged.

    Notes
    -----
    Centre: mean weighted by 1/se². σ² = Σ e²/(n - 1), n - 2 when φ is estimated, with e the
    deviations after ``whiten``. A fit takes the share h = Σ v/se² over the same plus Σ e² of the
    noise along: (1 - h) of the degrees of freedom are left, and a new point misses it by hσ²
    more. Pooled: ``pool.normal`` for centres, ``pool.variances`` for
    spreads; n is then the number of points that would give the pooled centre's precision. Width
    and run length from ``design.solve``. The bar for φ is a compromise: always taking it out
    makes straight limits wobble, testing it at 5 % leaves half of real autocorrelation in.

    Examples
    --------
    >>> points = scales.value([[310.0], [288], [297], [298], [307], [301], [295], [304]])
    >>> frozen = freeze(points, budget=1 / 36)
    >>> frozen.centre, frozen.sigma.round(3), frozen.run
    (array([300.]), array([7.051]), array([14.]))
    """
    known = np.isfinite(points.y)
    used = known if baseline is None else known & np.asarray(baseline, bool).reshape(known.shape)
    n = used.sum(axis=0).astype(float)
    weight = np.where(used, 1 / np.where(used, points.se, 1.0) ** 2, 0.0)
    total = weight.sum(axis=0)
    sums = (weight * np.where(used, points.y, 0.0)).sum(axis=0)
    centre = np.divide(sums, total, out=np.full(n.shape, np.nan), where=total > 0)
    z = np.where(used, (points.y - centre) / points.se, np.nan)
    taken = _memory(z, n, phi)
    own = np.where(taken != 0, 1.0, 0.0) if phi is None else np.zeros(n.shape)
    freedom = np.maximum(n - 1 - own, 0)
    squares = np.nansum(scales.whiten(z, scales.past(used, taken)) ** 2, axis=0)
    varies = (squares > 0) & _varies(np.where(used, scales.back(points), np.nan))
    gone = np.where(used, np.asarray(fitted, float) / np.where(used, points.se, 1.0) ** 2, 0.0)
    lost = gone.sum(axis=0) / np.where(varies, squares + gone.sum(axis=0), 1.0)
    freedom = freedom * (1 - np.where(varies, lost, 0.0))
    variance = np.where(varies, squares, np.nan) / np.where(freedom > 0, freedom, 1)
    extra = own / np.maximum(n, 1) + np.where(varies, lost, 0.0)
    if groups is not None:
        centre, variance, n, freedom = _borrow((centre, variance, n, freedom), total, groups)
    enough = (n >= MINIMUM) & (freedom >= MINIMUM - 2)
    reason = np.where(~enough, "short", np.where(variance > 0, "", "constant"))
    ready = reason == ""
    limit, run = _rules(budget, np.where(ready, [n, freedom, extra], np.nan))
    sigma = np.where(ready, np.sqrt(variance), np.nan)
    centre = np.where(ready, centre, np.nan)
    return Frozen(points.scale, centre, sigma, taken, limit, run, n, reason)


def _memory(z: Array, n: Array, phi: ArrayLike | None) -> Array:
    if phi is not None:
        return np.broadcast_to(np.asarray(phi, float), n.shape).copy()
    found = np.nan_to_num(scales.autocorrelation(z).phi)
    return np.where(found > DOUBT / np.sqrt(np.maximum(n, 1)), found, 0.0)


def _borrow(
    own: tuple[Array, Array, Array, Array], weight: Array, groups: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Pool centres and variances of charts; return them with the points that they are worth."""
    centre, variance, n, freedom = own
    pooled = pool.variances(variance, freedom, groups)
    index = np.asarray(groups)
    level, worth = centre.copy(), n.copy()
    for group in np.unique(index):
        chosen = index == group
        some = weight[chosen] > 0
        noise = np.where(some, pooled.variance[chosen] / np.where(some, weight[chosen], 1), np.inf)
        found = pool.normal(centre[chosen], noise)
        if not some.any():
            continue
        each = np.nanmedian(np.where(some, n[chosen] / np.where(some, weight[chosen], 1), np.nan))
        typical = np.where(some, n[chosen] / np.where(some, weight[chosen], 1), each)
        level[chosen] = found.estimate
        worth[chosen] = pooled.variance[chosen] * typical / found.sd**2
    lent = pooled.freedom > 0  # else the chart stands for itself, constant as it may be
    return (
        np.where(lent, level, centre), np.where(lent, pooled.variance, variance),
        np.where(lent, worth, n), np.where(lent, pooled.freedom, freedom),
    )  # fmt: skip


def _varies(value: Array) -> Mask:
    """Whether the points of a chart differ by more than rounding."""
    known = np.isfinite(value)
    high = np.where(known, value, -np.inf).max(axis=0, initial=-np.inf)
    low = np.where(known, value, np.inf).min(axis=0, initial=np.inf)
    return np.asarray(high - low > ROUNDING * np.maximum(np.abs(high), np.abs(low)), bool)


def _rules(budget: float, baselines: Array) -> tuple[Array, Array]:
    """Width and run length per column of points, degrees of freedom and further variance."""
    limit, run = np.full(baselines.shape[1], np.nan), np.full(baselines.shape[1], np.nan)
    known = np.isfinite(baselines[0])
    baselines = _about(baselines)
    different, place = np.unique(baselines[:, known], axis=1, return_inverse=True)
    rules = [design.solve(budget, design.Baseline(*map(float, b))) for b in different.T]
    limit[known] = np.array([r.limit for r in rules])[place.ravel()] if rules else []
    run[known] = np.array([float(r.run) for r in rules])[place.ravel()] if rules else []
    return limit, run


def _about(x: Array) -> Array:
    """Round to half a unit of the second digit, so that few different rule sets need solving."""
    kept = np.clip(np.nan_to_num(x), 0, MOST)
    size = 0.5 * 10.0 ** (np.floor(np.log10(np.where(kept > 0, kept, 1.0))) - 1)
    return np.asarray((np.round(kept / size) * size).round(6), np.float64)


def fresh(charts: int) -> State:
    """Return the state of charts that have seen no point yet.

    Parameters
    ----------
    charts : int
        How many.

    Returns
    -------
    State
        Nothing seen, no run.

    Examples
    --------
    >>> fresh(1).run
    array([0])
    """
    return State(np.full(charts, np.nan), np.zeros(charts, int), np.zeros(charts, int))


def judge(
    points: Series, frozen: Frozen, state: State | None = None, *, effect: ArrayLike = 0.0
) -> tuple[Judged, State]:
    """Judge all points of charts, or the next periods after a state, by frozen limits.

    Parameters
    ----------
    points : Series
        Periods in order, without gaps in time (a missing period is a row of NaN).
    frozen : Frozen
        From ``freeze`` on the same scale.
    state : State or None
        Where an earlier call ended; None starts anew.
    effect : array_like, shape (periods, charts)
        Season that was taken out of the points on the working scale; put back into what is drawn.

    Returns
    -------
    (Judged, State)
        The verdicts, and the state after the last period. Any way of cutting the periods into
        calls gives the same bits.

    Notes
    -----
    The expected point is centre + se φ^g z, z the newest deviation g periods before; the limits
    stand limit σ se √(1 - φ^2g) beside it. A missing period ends a run and is never bridged.

    Examples
    --------
    >>> points = scales.value([[310.0], [288], [297], [298], [307], [301], [295], [304]])
    >>> frozen = freeze(points, budget=1 / 36)
    >>> judged, state = judge(scales.value([[303.0], [340.0]]), frozen)
    >>> judged.beyond.ravel(), state.run
    (array([0, 1]), array([2]))
    """
    state = fresh(points.y.shape[1]) if state is None else state
    z = (points.y - frozen.centre) / points.se
    all_z = np.vstack([state.z[None], z])
    rows = np.vstack(
        [-state.age[None], np.broadcast_to(np.arange(1, len(z) + 1)[:, None], z.shape)]
    )
    before = scales.past(np.isfinite(all_z), frozen.phi, rows)
    earlier = np.take_along_axis(np.nan_to_num(all_z), np.maximum(before.before, 0), axis=0)
    expected = frozen.centre + points.se * (before.weight * earlier)[1:]
    noise = frozen.sigma * points.se * before.spread[1:]
    half = frozen.limit * noise
    beyond = (points.y > expected + half).astype(int) - (points.y < expected - half)
    side = (points.y > expected).astype(int) - (points.y < expected)
    run = _runs(side, state.run)
    lines = (points.y, expected, expected - half, expected + half)
    season = np.asarray(effect, float)
    drawn = [scales.back(Series(points.scale, line + season, points.se)) for line in lines]
    score = np.divide(points.y - expected, noise, out=np.full(z.shape, np.nan), where=noise > 0)
    value, middle, lower, upper = drawn
    long = np.abs(run) >= frozen.run
    judged = Judged(value, middle, lower, upper, score, beyond, run, long)
    return judged, _after(all_z, rows, run, state)


def _runs(side: Index, before: Index) -> Index:
    rows = np.arange(len(side))[:, None]
    sides = np.vstack([np.sign(before)[None], side])
    changed = sides[1:] != sides[:-1]
    start = np.maximum.accumulate(np.where(changed, rows, -1), axis=0)
    length = np.where(start < 0, np.abs(before) + rows + 1, rows - start + 1)
    found: Index = side * length
    return found


def _after(all_z: Array, rows: Index, run: Index, state: State) -> State:
    if not len(run):
        return state
    index = np.arange(len(all_z))[:, None]
    newest = np.where(np.isfinite(all_z), index, 0).max(axis=0)[None]
    z = np.take_along_axis(all_z, newest, axis=0)[0]
    age = rows[-1] - np.take_along_axis(rows, newest, axis=0)[0]
    return State(z, age, run[-1])
