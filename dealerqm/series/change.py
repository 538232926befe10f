"""Changes of level: whether one came lately, when, how large, and what to expect next.

A chart's points are level + step + noise, noise = σ ``se`` with autocorrelation φ; every answer is
a weighted least-squares fit of that on the working scale of ``series``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Mask, Past, Series
from dealerqm.stats.intervals import Interval, difference
from dealerqm.stats.multiple import cauchy

EDGE = 2
PREFERRED = 1.05
EARLIEST = 8
ENOUGH = 1e6
LARGE = 1e-9


class _Points(NamedTuple):
    """Whitened points and the whitened column of a constant; no point is 0."""

    u: Array
    one: Array
    weight: Array
    before: Past
    origin: Array
    known: Mask


def _prepare(points: Series, phi: ArrayLike) -> _Points:
    known = np.isfinite(points.y)
    count = known.sum(axis=0)
    total = np.where(known, points.y, 0.0).sum(axis=0)
    origin = np.divide(total, count, out=np.zeros(count.shape), where=count > 0)
    weight = np.where(known, 1 / np.where(known, points.se, 1.0), 0.0)
    before = scales.past(known, phi)
    u, one = (
        np.where(known, scales.whiten(column, before), 0.0)
        for column in (np.where(known, points.y - origin, 0.0) * weight, weight)
    )
    return _Points(u, one, weight, before, origin, known)


def _step(points: _Points, start: int) -> Array:
    late = points.weight * (np.arange(len(points.u)) >= start)[:, None]
    return np.where(points.known, scales.whiten(late, points.before), 0.0)


class _Fit(NamedTuple):
    """Level before, step, their variances over σ², and the residual sum of squares."""

    level: Array
    step: Array
    level_variance: Array
    step_variance: Array
    covariance: Array
    rss: Array


def _fit(points: _Points, x: Array) -> _Fit:
    g00, g01, g11 = (
        (a * b).sum(axis=0) for a, b in ((points.one, points.one), (points.one, x), (x, x))
    )
    b0, b1 = ((a * points.u).sum(axis=0) for a in (points.one, x))
    determinant = g00 * g11 - g01**2
    bad = ~(determinant > LARGE * g00 * g11)
    determinant = np.where(bad, np.nan, determinant)
    step = (g00 * b1 - g01 * b0) / determinant
    level = (g11 * b0 - g01 * b1) / determinant
    rss = np.maximum((points.u**2).sum(axis=0) - b0 * level - b1 * step, 0.0)
    return _Fit(level, step, g11 / determinant, g00 / determinant, -g01 / determinant, rss)


class Recent(NamedTuple):
    """Steps at the start of each recent window against everything before it.

    Attributes
    ----------
    step, sd : ndarray, shape (windows, charts)
        Step on the working scale and its standard deviation over σ; NaN where a window has no
        point in the newest quarter or fewer than eight points before it.
    variance, freedom : ndarray, shape (charts,)
        σ² and its degrees of freedom from a fit with a level for each recent quarter.
    """

    step: Array
    sd: Array
    variance: Array
    freedom: Array


def recent(points: Series, *, phi: ArrayLike = 0.0, quarter: int = 3, quarters: int = 4) -> Recent:
    """Compare the newest one, two, three … quarters with everything before them.

    Parameters
    ----------
    points : Series
        Periods in order; the last row is the newest period.
    phi : array_like, shape (charts,)
        Autocorrelation of neighbours.
    quarter, quarters : int
        Periods in a quarter, and how many quarters back a change may have begun.

    Returns
    -------
    Recent
        One row per window, the shortest first.

    Raises
    ------
    MethodError
        If the series is not longer than the windows.

    Notes
    -----
    Window w: generalised least squares of level + step at the first of the newest w periods.

    Source: textbook two-sample comparison; whitening as Prais and Winsten (1954).

    Examples
    --------
    >>> x = np.concatenate([np.tile([1.0, 3.0], 12), [5.0, 7, 6]])
    >>> recent(scales.value(x), quarters=1).step
    array([[4.]])
    """
    length = len(points.y)
    if length <= quarter * quarters:
        raise MethodError(
            f"change: found {length} periods, expected more than the {quarter * quarters} of the "
            "recent quarters. Take a longer series."
        )
    prepared = _prepare(points, phi)
    starts = [length - quarter * (i + 1) for i in range(quarters)]
    seen = prepared.known[-quarter:].any(axis=0)
    columns = [_step(prepared, start) for start in starts]
    steps, sds = [], []
    for start, column in zip(starts, columns, strict=True):
        fit = _fit(prepared, column)
        usable = seen & (prepared.known[:start].sum(axis=0) >= EARLIEST)
        steps.append(np.where(usable, fit.step, np.nan))
        sds.append(np.where(usable, np.sqrt(fit.step_variance), np.nan))
    variance, freedom = _pure(prepared, columns)
    return Recent(np.array(steps), np.array(sds), variance, freedom)


def _pure(points: _Points, steps: Sequence[Array]) -> tuple[Array, Array]:
    """Residual variance with a level of its own in each window, by Gram-Schmidt."""
    columns: list[Array] = []
    rss, used = (points.u**2).sum(axis=0), np.zeros(points.u.shape[1])
    for column in [points.one, *steps]:
        size = (column**2).sum(axis=0)
        for other in columns:
            column = column - (other * column).sum(axis=0) * other
        left = (column**2).sum(axis=0)
        fits = left > LARGE * size
        column = np.where(fits, column / np.sqrt(np.where(fits, left, 1.0)), 0.0)
        rss = rss - (column * points.u).sum(axis=0) ** 2
        used, columns = used + fits, [*columns, column]
    freedom = points.known.sum(axis=0) - used
    enough = freedom > 0
    return np.where(enough, np.maximum(rss, 0) / np.where(enough, freedom, 1), np.nan), np.maximum(
        freedom, 0
    )


def p_values(
    found: Recent, variance: ArrayLike, freedom: ArrayLike, *, weights: Sequence[float]
) -> tuple[Array, Array]:
    """Combine the windows into one p-value per chart for a rise, and one for a fall.

    Parameters
    ----------
    found : Recent
        From ``recent``.
    variance, freedom : array_like, shape (charts,)
        σ² and its degrees of freedom, own or pooled.
    weights : sequence of float
        Weight of each window, the shortest first; windows that cannot be judged drop out.

    Returns
    -------
    (ndarray, ndarray)
        One-sided p-values, shape (charts,); NaN where nothing can be judged.

    Notes
    -----
    p of a window from Student's t; combined by the weighted sum of tan((1/2 - p) π), which is
    standard Cauchy in its tail under any dependence. Below 0.01 the combined value is within a
    tenth of the true one, at 0.05 it is a little too small (docs/methods.md).

    Source: Liu and Xie (2020), JASP 115, 393.

    Examples
    --------
    >>> found = Recent(np.array([[3.0]]), np.array([[1.0]]), np.ones(1), np.full(1, 10.0))
    >>> up, down = p_values(found, [1.0], [np.inf], weights=[1.0])
    >>> up.round(5), down.round(3)
    (array([0.00135]), array([0.99]))
    """
    s2, d = np.asarray(variance, float), np.asarray(freedom, float)
    known = np.isfinite(found.step) & (s2 > 0) & (d > 0)
    spread = np.sqrt(np.where(known, found.sd**2 * s2, 1.0))
    t = np.where(known, found.step, 0.0) / spread
    freedom_ = np.clip(np.broadcast_to(d, t.shape), 1e-3, ENOUGH)
    share = np.where(known, np.asarray(weights, float)[:, None], 0.0)
    total = share.sum(axis=0)
    share = share / np.where(total > 0, total, 1.0)
    return tuple(  # type: ignore[return-value]
        np.where(total > 0, cauchy(special.stdtr(freedom_, -sign * t), share), np.nan)
        for sign in (1, -1)
    )


class Onset(NamedTuple):
    """When the level changed, and by how much; one value per chart.

    Attributes
    ----------
    at, first, last : ndarray of int, shape (charts,)
        First period of the new level: the middle of the three likeliest periods in a row, and
        the ends of the confidence set; -1 where nothing can be said.
    chance : ndarray, shape (periods, charts)
        How likely each period is the first of the new level, given that there is one change.
    inside : ndarray of bool, shape (periods, charts)
        The confidence set.
    before, after, size : Interval
        Levels and their difference in the KPI's unit, with the doubt about the date in them.
    """

    at: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    chance: Array
    inside: Mask
    before: Interval
    after: Interval
    size: Interval


def onset(
    points: Series, *, phi: ArrayLike = 0.0, prior: tuple[ArrayLike, ArrayLike] = (1.0, 0.0),
    confidence: float = 0.95, earliest: ArrayLike = 0,
) -> Onset:  # fmt: skip
    """Date the one change of level in each chart.

    Parameters
    ----------
    points : Series
        Periods in order.
    phi : array_like, shape (charts,)
        Autocorrelation of neighbours.
    prior : (array_like, array_like), shape (charts,)
        Variance borrowed from other charts and its degrees of freedom (``pool.variances``).
    confidence : float
        Chance that the set holds the date, and the intervals the levels.
    earliest : array_like of int, shape (charts,)
        First period at which the change may have begun.

    Returns
    -------
    Onset
        A date needs two points on either side of it; without any, at, first and last are -1.

    Notes
    -----
    For each possible start the residual sum of squares R of level + step; its chance goes with
    (R + d0 s0²)^(-ν/2), ν = n - 2 + d0: the likelihood with the levels put at their best and σ
    integrated out. The set holds the likeliest starts up to the confidence. Levels are averaged
    over the starts; their variance is that within plus that between starts.

    Source: Hinkley (1970), Biometrika 57, 1; Siegmund (1988), International Statistical Review
    56, 31, for sets by likelihood.

    Examples
    --------
    >>> x = np.concatenate([np.tile([1.0, 3.0], 6), np.tile([9.0, 7.0], 6)])
    >>> found = onset(scales.value(x))
    >>> found.at, found.first, found.last, found.size.estimate.round(2)
    (array([12]), array([12]), array([12]), array([6.]))
    """
    prepared = _prepare(points, phi)
    length, charts = points.y.shape
    s0, d0 = (np.broadcast_to(np.asarray(v, float), (charts,)) for v in prior)
    s0 = np.where(d0 > 0, s0, 0.0)
    freedom = prepared.known.sum(axis=0) - 2 + d0
    fits = [_fit(prepared, _step(prepared, start)) for start in range(length)]
    stacked = _Fit(*(np.array(part) for part in zip(*fits, strict=True)))
    later = prepared.known[::-1].cumsum(axis=0)[::-1]
    enough = (prepared.known.sum(axis=0) - later >= EDGE) & (later >= EDGE)
    usable = prepared.known & enough & np.isfinite(stacked.step) & (freedom > 0)
    usable &= np.arange(length)[:, None] >= np.asarray(earliest)
    total = np.where(usable, stacked.rss + d0 * s0, np.inf)
    chance = _chances(total, freedom)
    inside = _smallest(chance, confidence)
    some = usable.any(axis=0)
    index = np.arange(length)[:, None]
    first = np.where(inside, index, length).min(axis=0)
    last = np.where(inside, index, -1).max(axis=0)
    at, first, last = (np.where(some, v, -1) for v in (_middle(chance), first, last))
    levels = _levels(prepared, stacked, chance, (total, freedom))
    half = special.stdtrit(np.clip(freedom, 1, ENOUGH), 0.5 + confidence / 2)
    before, after = (_interval(points, prepared.origin, level, half, some) for level in levels)
    return Onset(at, first, last, chance, inside, before, after, difference(after, before))


def _chances(total: Array, freedom: Array) -> Array:
    possible = np.isfinite(total)
    best = np.where(possible, total, np.inf).min(axis=0)
    noisy = np.isfinite(best) & (best > 0)
    ratio = np.divide(total, best, out=np.ones(total.shape), where=possible & noisy)
    power = np.where(noisy, np.exp(-freedom / 2 * np.log(ratio)), total == best) * possible
    sums = power.sum(axis=0)
    found: Array = np.divide(power, sums, out=np.zeros(power.shape), where=sums > 0)
    return found


def _middle(chance: Array) -> NDArray[np.int64]:
    """Middle of the three periods that most likely hold the date, itself a little preferred."""
    around = np.pad(chance, ((1, 1), (0, 0)))
    total = np.where(chance > 0, PREFERRED * chance + around[:-2] + around[2:], 0.0)
    return np.asarray(total.argmax(axis=0), np.int64)


def _smallest(chance: Array, confidence: float) -> Mask:
    order = np.argsort(-chance, axis=0, kind="stable")
    ranked = np.take_along_axis(chance, order, axis=0)
    taken = (np.cumsum(ranked, axis=0) - ranked < confidence) & (ranked > 0)
    inside = np.zeros(chance.shape, bool)
    np.put_along_axis(inside, order, taken, axis=0)
    return inside


def _levels(
    points: _Points, fits: _Fit, chance: Array, spread: tuple[Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Mean and variance of the levels before and after, over the possible starts."""
    sigma2 = np.where(chance > 0, spread[0], 0.0) / np.maximum(spread[1], 1.0)
    later = fits.level_variance + fits.step_variance + 2 * fits.covariance
    pairs = ((fits.level, fits.level_variance), (fits.level + fits.step, later))
    found = []
    for level, variance in pairs:
        level, variance = (np.where(chance > 0, v, 0.0) for v in (level, variance))
        mean = (chance * level).sum(axis=0)
        found.append((mean, (chance * (sigma2 * variance + (level - mean) ** 2)).sum(axis=0)))
    return found[0], found[1]


def _interval(
    points: Series, origin: Array, level: tuple[Array, Array], half: Array, some: Mask
) -> Interval:
    middle, width = origin + level[0], half * np.sqrt(level[1])
    exact = np.full(middle.shape, LARGE)
    ends = (
        scales.back(Series(points.scale, v, exact))
        for v in (middle, middle - width, middle + width)
    )
    return Interval(*(np.where(some, v, np.nan) for v in ends))
