"""Diagnosis of charts: over-dispersion, season and autocorrelation, and the chart they ask for.

Pure functions on matrices ``(periods, charts)``. Season and autocorrelation are judged per group
of charts (a KPI's stores), because one chart alone knows little of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.period import Period
from dealerqm.pooling import pool
from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Mask, Series

Index = NDArray[np.int64]
FESTIVAL, HOLIDAY_MIDDLE, MONTH_DAYS, WEEK_DAYS = 100, 3, 30.44, 7
ROUNDS = 8
YEARS = 2
NO_DOUBT = np.zeros((1, 1))


class Dispersion(NamedTuple):
    """How far counts scatter beyond their law; all of shape (charts,).

    Attributes
    ----------
    ratio : ndarray
        Variance over the binomial or Poisson one; 1 is what the law says.
    over, under : ndarray
        p-values for more and for less.
    expected : ndarray
        Events, or non-events when these are rarer, expected at a typical point.
    """

    ratio: Array
    over: Array
    under: Array
    expected: Array


def dispersion(
    k: ArrayLike, n: ArrayLike, *, share: ArrayLike = True, baseline: ArrayLike | None = None
) -> Dispersion:
    """Measure over-dispersion of counts.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts)
        Events, and trials or exposure.
    share : array_like of bool, shape (charts,)
        Whether n are trials (binomial) rather than exposure (Poisson).
    baseline : array_like of bool, shape (periods, charts), or None
        Points to use; None means all.

    Returns
    -------
    Dispersion
        NaN with fewer than two points or without any event.

    Notes
    -----
    Σ (k - n r)²/(n r (1 - r)) over n - 1, r = Σk/Σn; without (1 - r) for rates; p from χ²(n - 1).

    Source: Pearson dispersion test; Laney (2002) for what follows from it.

    Examples
    --------
    >>> found = dispersion([[5], [15], [5], [15]], [[100], [100], [100], [100]])
    >>> found.ratio.round(3), found.over.round(4)
    (array([3.704]), array([0.0111]))
    """
    k, n = np.asarray(k, float), np.asarray(n, float)
    used = np.isfinite(k) & (n > 0)
    if baseline is not None:
        used &= np.asarray(baseline, bool).reshape(used.shape)
    k, n = np.where(used, k, 0.0), np.where(used, n, 0.0)
    total, points = n.sum(axis=0), used.sum(axis=0)
    level = np.divide(k.sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0)
    other = np.where(np.asarray(share, bool), 1 - level, 1.0)
    usable = (points > 1) & (level > 0) & (other > 0)
    variance = n * np.where(usable, level * other, 1.0)
    terms = np.divide((k - n * level) ** 2, variance, out=np.zeros(k.shape), where=used)
    squares, freedom = terms.sum(axis=0), np.maximum(points - 1, 1)
    typical = total / np.maximum(points, 1)
    rarer = np.where(np.asarray(share, bool), np.minimum(level, other), level)
    over, under = stats.chi2.sf(squares, freedom), stats.chi2.cdf(squares, freedom)
    ratio, over, under = (np.where(usable, v, np.nan) for v in (squares / freedom, over, under))
    return Dispersion(ratio, over, under, typical * rarer)


def positions(periods: Sequence[Period], festivals: Sequence[date]) -> Index:
    """Give each period the number of its place in the year, aligned to Spring Festival.

    Parameters
    ----------
    periods : sequence of Period
        Months or weeks (or quarters, which are never moved).
    festivals : sequence of date
        First days of the Chinese year.

    Returns
    -------
    ndarray of int
        Calendar number, or 100 plus the distance to the festival: for the month in whose middle
        the holiday falls 100, for the months beside it 99 and 101; for weeks 96 to 104.

    Examples
    --------
    >>> from dealerqm.period import parse
    >>> days = [date(2023, 1, 22), date(2024, 2, 10)]
    >>> positions([parse("2023-01"), parse("2024-01"), parse("2024-02"), parse("2024-07")], days)
    array([100,  99, 100,   7])
    """
    return np.array([_position(period, festivals) for period in periods], np.int64)


def _position(period: Period, festivals: Sequence[date]) -> int:
    step, reach = {"month": (MONTH_DAYS, 1), "week": (WEEK_DAYS, 4)}.get(period.kind, (1.0, -1))
    middle = period.start + (period.end - period.start) / 2
    for festival in festivals:
        away = round((middle - festival - timedelta(days=HOLIDAY_MIDDLE)).days / step)
        if abs(away) <= reach:
            return FESTIVAL + away
    return period.number


class Season(NamedTuple):
    """What the place in the year does to the charts.

    Attributes
    ----------
    effect : ndarray, shape (periods, charts)
        Seasonal part on the working scale, shrunk; 0 where nothing is known.
    p : ndarray, shape (charts,)
        Chance of so much season by noise alone; NaN with less than two years.
    share : ndarray, shape (charts,)
        Share of the group's variance between periods that the season takes up.
    variance : ndarray, shape (periods, charts)
        Sampling variance of the effect on the working scale.
    """

    effect: Array
    p: Array
    share: Array
    variance: Array = NO_DOUBT


def season(
    points: Series, position: ArrayLike, groups: ArrayLike, *, baseline: ArrayLike | None = None
) -> Season:
    """Estimate the seasonal index that the charts of a group share.

    Parameters
    ----------
    points : Series
        Periods in order.
    position : array_like of int, shape (periods,)
        Place in the year (``positions``), or day of the week.
    groups : array_like of int, shape (charts,)
        Charts of one kind, such as a KPI's stores.
    baseline : array_like of bool, shape (periods, charts), or None
        Points that set the index; None means all.

    Returns
    -------
    Season
        One index per group, laid out over all periods.

    Notes
    -----
    y = level of the chart + index of the place, weighted least squares by turns; F of the places
    against what is left of the group's mean in each period, so that shocks that all stores share
    do not pass for season. The index is shrunk by 1 - 1/F; its variance
    is that share of the mean square within places over the place's weight. A place seen only once
    has index 0.

    Source: textbook additive seasonal index; shrinkage as James and Stein (1961).

    Examples
    --------
    >>> x = np.tile([0.0, 4.0], 12)[:, None] + np.resize([0.1, -0.1, -0.1, 0.1], 24)[:, None]
    >>> found = season(scales.value(x), np.tile([1, 2], 12), [0])
    >>> found.effect[:2].round(2).ravel(), bool(found.p[0] < 0.001)
    (array([-2.,  2.]), True)
    """
    used = np.isfinite(points.y)
    if baseline is not None:
        used &= np.asarray(baseline, bool).reshape(used.shape)
    place = np.unique(np.asarray(position), return_inverse=True)[1]
    effect, variance = np.zeros(points.y.shape), np.zeros(points.y.shape)
    p, share = np.full(used.shape[1], np.nan), np.full(used.shape[1], np.nan)
    index = np.asarray(groups)
    for group in np.unique(index):
        chosen = np.flatnonzero(index == group)
        part = Series(points.scale, points.y[:, chosen], points.se[:, chosen])
        found, doubt, *told = _index(part, used[:, chosen], place)
        effect[:, chosen], variance[:, chosen] = found[place][:, None], doubt[place][:, None]
        p[chosen], share[chosen] = told
    return Season(effect, p, share, variance)


def _index(points: Series, used: Mask, place: Index) -> tuple[Array, Array, float, float]:
    """Seasonal index of one group, its variance, its p-value and its share of the variance."""
    weight = np.where(used, 1 / np.where(used, points.se, 1.0) ** 2, 0.0)
    y = np.where(used, points.y, 0.0)
    per_chart, per_period = weight.sum(axis=0), weight.sum(axis=1)
    seen = np.bincount(place, weights=per_period > 0)
    total = np.bincount(place, weights=per_period)
    twice = seen >= YEARS
    found = np.zeros(seen.size)
    for _ in range(ROUNDS):
        off = weight * (y - found[place][:, None])
        level = off.sum(axis=0) / np.where(per_chart > 0, per_chart, 1.0)
        left = (weight * (y - level)).sum(axis=1)
        sums = np.bincount(place, weights=left)
        found = np.where(twice, sums / np.where(total > 0, total, 1.0), 0.0)
        found = np.where(twice, found - (total * found).sum() / max(total[twice].sum(), 1e-300), 0)
    mean = left / np.where(per_period > 0, per_period, 1.0)
    counted = twice[place] & (per_period > 0)
    between = float((total * found**2).sum())
    within = float((per_period * (mean - found[place]) ** 2)[counted].sum())
    top, bottom = int(twice.sum()) - 1, int(counted.sum() - twice.sum())
    if top < 1 or bottom < 1 or within <= 0:
        return np.zeros(seen.size), np.zeros(seen.size), float("nan"), float("nan")
    ratio = (between / top) / (within / bottom)
    p = float(special.fdtrc(top, bottom, ratio))
    kept = max(0.0, 1 - 1 / ratio) if ratio > 0 else 0.0
    doubt = np.where(twice, kept * within / bottom / np.where(total > 0, total, 1.0), 0.0)
    return found * kept, doubt, p, between / (between + within)


def without(points: Series, effect: ArrayLike) -> Series:
    """Take a seasonal effect out of points.

    Parameters
    ----------
    points : Series
        Points on the working scale.
    effect : array_like, shape (periods, charts)
        From ``season``.

    Returns
    -------
    Series
        Adjusted points with the noise they had.

    Examples
    --------
    >>> without(scales.value([1.0, 5.0]), [[-2.0], [2.0]]).y.ravel()
    array([3., 3.])
    """
    return points._replace(y=points.y - np.asarray(effect, float))


class Memory(NamedTuple):
    """Autocorrelation of the charts; all of shape (charts,).

    Attributes
    ----------
    own, pooled : ndarray
        The chart's own estimate (NaN when short), and that with what its group lends.
    p : ndarray
        Chance of so much in the whole group by noise alone.
    """

    own: Array
    pooled: Array
    p: Array


def memory(points: Series, groups: ArrayLike, *, baseline: ArrayLike | None = None) -> Memory:
    """Estimate the autocorrelation of charts, alone and pooled.

    Parameters
    ----------
    points : Series
        Points without season.
    groups : array_like of int, shape (charts,)
        Charts of one kind, such as a KPI's stores.
    baseline : array_like of bool, shape (periods, charts), or None
        Points to use; None means all.

    Returns
    -------
    Memory
        One-sided p-values: only positive autocorrelation raises false alarms.

    Notes
    -----
    ``series.autocorrelation`` per chart, ``pool.correlations`` over charts and groups; z of a
    group = mean of its charts over its standard error.

    Source: Kendall (1954), Biometrika 41, 403, for the bias that is taken out.

    Examples
    --------
    >>> found = memory(scales.value(np.resize([1.0, 1, 1, -1, -1, -1], 24)), [0])
    >>> found.own.round(2), bool(found.p[0] < 0.05)
    (array([0.5]), True)
    """
    used = np.isfinite(points.y)
    if baseline is not None:
        used &= np.asarray(baseline, bool).reshape(used.shape)
    n = used.sum(axis=0)
    mean = np.where(used, points.y, 0.0).sum(axis=0) / np.maximum(n, 1)
    z = np.where(used, (points.y - mean) / np.where(used, points.se, 1.0), np.nan)
    found = scales.autocorrelation(z)
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    known = np.isfinite(found.phi)
    weight = np.where(known, 1 / found.variance, 0.0)
    total = np.bincount(index, weights=weight)
    sums = np.bincount(index, weights=weight * np.nan_to_num(found.phi))
    score = np.divide(sums, np.sqrt(total), out=np.full(total.shape, np.nan), where=total > 0)
    pooled = pool.correlations(found.phi, found.variance, index)
    return Memory(found.phi, pooled, special.ndtr(-score)[index])


class Choice(NamedTuple):
    """The chart that the diagnosis asks for; all of shape (charts,).

    Attributes
    ----------
    chart : ndarray of str
        ``p, p_prime, u, u_prime, xmr``, or ``residual_xmr`` for autocorrelated values.
    limits : ndarray of str
        ``sigma``, or ``probability`` where counts are too small for symmetric limits.
    seasonal, correlated : ndarray of bool
        Whether season, and autocorrelation, are taken out first.
    reasons : tuple of tuple of str
        Per chart: ``overdispersed, as_counted, rare, seasonal, correlated, short``.
    """

    chart: NDArray[np.str_]
    limits: NDArray[np.str_]
    seasonal: Mask
    correlated: Mask
    reasons: tuple[tuple[str, ...], ...]


def choose(
    kind: ArrayLike, found: Dispersion, year: Season, lag: Memory, *, alpha: float = 0.05,
    rare: float = 5.0,
) -> Choice:  # fmt: skip
    """Choose the chart of each column from its kind and its diagnosis.

    Parameters
    ----------
    kind : array_like of str, shape (charts,)
        ``share``, ``rate`` or ``value``.
    found, year, lag : Dispersion, Season, Memory
        Diagnosis of the same charts; for values the dispersion is NaN.
    alpha : float
        Evidence needed before anything but the plain chart is drawn.
    rare : float
        Fewer events (or non-events) expected at a point call for probability limits.

    Returns
    -------
    Choice
        What to draw and why; the plain chart stays one call away by its name.

    Examples
    --------
    >>> one = np.ones(1)
    >>> choice = choose(["share"], Dispersion(3 * one, 0.01 * one, one, 9 * one),
    ...     Season(np.zeros((1, 1)), one, one), Memory(0 * one, 0 * one, one))
    >>> choice.chart, choice.reasons
    (array(['p_prime'], dtype='<U12'), (('overdispersed',),))
    """
    kinds = np.asarray(kind, str)
    counts = kinds != "value"
    dispersed = counts & (found.over < alpha)
    few = counts & (found.expected < rare) & ~dispersed
    seasonal, correlated = np.asarray(year.p < alpha), np.asarray(lag.p < alpha)
    plain = np.where(kinds == "share", "p", "u").astype("U12")
    primed = np.where(kinds == "share", "p_prime", "u_prime").astype("U12")
    values = np.where(correlated, "residual_xmr", "xmr")
    chart = np.where(counts, np.where(dispersed, primed, plain), values)
    flags = {
        "overdispersed": dispersed,
        "as_counted": counts & ~dispersed,
        "rare": few,
        "seasonal": seasonal,
        "correlated": correlated,
        "short": np.isnan(lag.own),
    }
    reasons = tuple(
        tuple(name for name, flag in flags.items() if flag[i]) for i in range(kinds.size)
    )
    return Choice(chart, np.where(few, "probability", "sigma"), seasonal, correlated, reasons)
