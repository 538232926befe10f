"""Confidence intervals on counts and moments; arrays in, ``estimate, low, high`` arrays out.

Every function takes arrays of one shape (or scalars), treats ``n = 0`` as "nothing known" (NaN)
and never raises for it. ``confidence`` is two-sided.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """Estimate with its interval.

    Attributes
    ----------
    estimate, low, high : ndarray
        One shape; NaN where nothing is known.
    """

    estimate: Array
    low: Array
    high: Array


def _z(confidence: float) -> float:
    return float(special.ndtri(0.5 + confidence / 2))


def _divide(top: ArrayLike, bottom: ArrayLike) -> Array:
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    empty = np.full(np.broadcast(top, bottom).shape, np.nan)
    result: Array = np.divide(top, bottom, out=empty, where=bottom > 0)
    return result


def wilson(k: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share.

    Parameters
    ----------
    k, n : array_like
        Successes and trials; n may be an effective size.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares in 0..1; NaN where n is 0.

    Notes
    -----
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Source: Wilson (1927), JASP 22, 209; R ``prop.test(correct = FALSE)``.

    Examples
    --------
    >>> [round(float(v), 6) for v in wilson(5, 10)]
    [0.5, 0.236593, 0.763407]
    """
    p, n = _divide(k, n), np.asarray(n, float)
    z2 = _z(confidence) ** 2
    share = _divide(z2, n)
    middle = (p + share / 2) / (1 + share)
    half = np.sqrt(share * p * (1 - p) + share**2 / 4) / (1 + share)
    low = np.where(p == 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(p == 1, 1.0, np.minimum(middle + half, 1.0))
    known = np.isfinite(p)
    return Interval(p, np.where(known, low, np.nan), np.where(known, high, np.nan))


def poisson_rate(
    k: ArrayLike, exposure: ArrayLike, *, times: float = 1.0, confidence: float = 0.95
) -> Interval:
    """Exact Poisson interval of a rate.

    Parameters
    ----------
    k, exposure : array_like
        Events, and what they are counted per.
    times : float
        Rates are per so many units of exposure.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Rates; NaN where the exposure is 0.

    Notes
    -----
    χ²(α/2; 2k)/2 and χ²(1-α/2; 2k+2)/2 over the exposure; the low end of k = 0 is 0.

    Source: Garwood (1936), Biometrika 28, 437; R ``poisson.test``.

    Examples
    --------
    >>> [round(float(v), 4) for v in poisson_rate(10, 2000, times=1000)]
    [5.0, 2.3977, 9.1952]
    """
    k = np.asarray(k, float)
    tail = (1 - confidence) / 2
    low = np.where(k > 0, special.gammaincinv(np.maximum(k, 1e-9), tail), 0 * k)
    high = special.gammaincinv(k + 1, 1 - tail)
    return Interval(*(times * _divide(v, exposure) for v in (k, low, high)))


def adjusted_wald_nps(
    promoters: ArrayLike, detractors: ArrayLike, n: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Adjusted-Wald interval of a net promoter score.

    Parameters
    ----------
    promoters, detractors, n : array_like
        Counts.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scores in -1..1; the estimate is not adjusted, the interval is.

    Notes
    -----
    3 is added to n and 3/4 to promoters and detractors each; variance (p + q - (p-q)²)/n.

    Source: Rocks (2016), The American Statistician 70, 365.

    Examples
    --------
    >>> [round(float(v), 4) for v in adjusted_wald_nps(60, 15, 100)]
    [0.45, 0.2934, 0.5804]
    """
    promoters, detractors, n = (np.asarray(v, float) for v in (promoters, detractors, n))
    score = _divide(promoters - detractors, n)
    size = n + 3
    p, q = (promoters + 0.75) / size, (detractors + 0.75) / size
    half = _z(confidence) * np.sqrt((p + q - (p - q) ** 2) / size)
    known = np.isfinite(score)
    low = np.where(known, np.maximum(p - q - half, -1.0), np.nan)
    return Interval(score, low, np.where(known, np.minimum(p - q + half, 1.0), np.nan))


def student_mean(
    n: ArrayLike, total: ArrayLike, squares: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Student interval of a mean from sums.

    Parameters
    ----------
    n, total, squares : array_like
        Count, sum, and sum of squared deviations from the mean.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Means; the interval is NaN where n < 2.

    Notes
    -----
    mean ± t(n-1) √(squares / (n-1) / n).

    Examples
    --------
    >>> [round(float(v), 4) for v in student_mean(4, 10.0, 5.0)]
    [2.5, 0.4457, 4.5543]
    """
    n = np.asarray(n, float)
    mean = _divide(total, n)
    variance = _divide(_divide(squares, n - 1), n)
    half = stats.t.ppf(0.5 + confidence / 2, np.maximum(n - 1, 1)) * np.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def order_quantile(
    values: ArrayLike, counts: ArrayLike, q: float, *, confidence: float = 0.95
) -> Interval:
    """Sample quantile with the binomial order-statistic interval.

    Parameters
    ----------
    values, counts : array_like, shape (m,)
        Distinct values in increasing order and how often each occurs.
    q : float
        Which quantile, 0-1.
    confidence : float
        Two-sided level, at least.

    Returns
    -------
    Interval
        Scalars. The estimate is the smallest value whose cumulative share reaches q; where the
        sample is too small for an end, that end is NaN.

    Notes
    -----
    Ends are the order statistics at the binomial quantiles of (n, q), so the level holds for any
    continuous distribution.

    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.

    Examples
    --------
    >>> [float(v) for v in order_quantile(range(1, 21), [1] * 20, 0.5)]
    [10.0, 6.0, 15.0]
    """
    values, counts = np.asarray(values, float), np.asarray(counts, float)
    n = counts.sum()
    if n <= 0:
        return Interval(*(np.asarray(np.nan),) * 3)
    cumulative = np.cumsum(counts)
    tail = (1 - confidence) / 2
    ends = stats.binom.ppf([tail, 1 - tail], n, q) + np.array([0, 1])
    ranks = np.array([max(np.ceil(q * n - 1e-9), 1), *ends])
    picked = values[np.searchsorted(cumulative, np.clip(ranks, 1, n) - 1e-9)]
    picked = np.where((ranks >= 1) & (ranks <= n), picked, np.nan)
    return Interval(*(np.asarray(v) for v in picked))


def lognormal_median(
    values: ArrayLike, counts: ArrayLike, q: float, *, confidence: float = 0.95
) -> Interval:
    """Quantile of a log-normal distribution with a large-sample interval.

    Parameters
    ----------
    values, counts : array_like, shape (m,)
        Distinct values and how often each occurs; values of 0 or less are taken as the smallest
        positive value.
    q : float
        Which quantile, 0-1.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scalars; NaN with fewer than two observations.

    Notes
    -----
    exp(m + z_q s ± t s √(1/n + z_q² / (2(n-1)))) with m, s of the logarithms.

    Examples
    --------
    >>> [round(float(v), 3) for v in lognormal_median([1, 10, 100], [1, 1, 1], 0.5)]
    [10.0, 0.033, 3048.862]
    """
    values, counts = np.asarray(values, float), np.asarray(counts, float)
    n = counts.sum()
    if n < 2 or not (values > 0).any():  # noqa: PLR2004
        return Interval(*(np.asarray(np.nan),) * 3)
    logs = np.log(np.maximum(values, values[values > 0].min()))
    mean = (logs * counts).sum() / n
    spread = np.sqrt((counts * (logs - mean) ** 2).sum() / (n - 1))
    z = float(special.ndtri(q))
    half = stats.t.ppf(0.5 + confidence / 2, n - 1) * spread
    half = half * np.sqrt(1 / n + z**2 / (2 * (n - 1)))
    middle = mean + z * spread
    return Interval(*(np.asarray(np.exp(v)) for v in (middle, middle - half, middle + half)))


def bootstrap_mean(
    values: ArrayLike, counts: ArrayLike, *, replicates: int, seed: int, confidence: float = 0.95
) -> Interval:
    """Mean with a bias-corrected and accelerated bootstrap interval.

    Parameters
    ----------
    values, counts : array_like, shape (m,)
        Distinct values and how often each occurs.
    replicates : int
        Bootstrap samples, drawn as multinomial counts.
    seed : int
        Seed; the same inputs give the same interval.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scalars; the interval is NaN with fewer than two observations.

    Notes
    -----
    The jackknife acceleration uses the third moment of the sample.

    Source: Efron (1987), JASP 82, 171.

    Examples
    --------
    >>> low, high = bootstrap_mean([0, 1], [50, 50], replicates=2000, seed=1)[1:]
    >>> bool(0.38 < low < 0.42 and 0.58 < high < 0.62)
    True
    """
    values, counts = np.asarray(values, float), np.asarray(counts, float)
    n = int(counts.sum())
    if n == 0:
        return Interval(*(np.asarray(np.nan),) * 3)
    mean = float((values * counts).sum() / n)
    centred = values - mean
    squares = float((counts * centred**2).sum())
    if n == 1 or squares == 0:
        end = np.asarray(mean if n > 1 else np.nan)
        return Interval(np.asarray(mean), end, end)
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=replicates)
    means = draws @ values / n
    below = (means < mean).mean() + (means == mean).mean() / 2
    bias = special.ndtri(np.clip(below, 1 / replicates, 1 - 1 / replicates))
    pull = float((counts * centred**3).sum()) / (6 * squares**1.5)
    z = np.array([-1, 1]) * _z(confidence)
    levels = special.ndtr(bias + (bias + z) / (1 - pull * (bias + z)))
    low, high = np.quantile(means, levels)
    return Interval(np.asarray(mean), np.asarray(low), np.asarray(high))


def difference(now: Interval, before: Interval) -> Interval:
    """Difference of two independent estimates from their own intervals.

    Parameters
    ----------
    now, before : Interval
        Two estimates of one shape.

    Returns
    -------
    Interval
        ``now - before``.

    Notes
    -----
    Method of variance estimates recovery; with Wilson intervals it is Newcombe's hybrid score.

    Source: Zou and Donner (2008), Statistics in Medicine 27, 1693; Newcombe (1998), 17, 873.

    Examples
    --------
    >>> [round(float(v), 6) for v in difference(wilson(56, 70), wilson(48, 80))]
    [0.2, 0.052431, 0.333873]
    """
    change = now.estimate - before.estimate
    down = np.hypot(now.estimate - now.low, before.high - before.estimate)
    up = np.hypot(now.high - now.estimate, before.estimate - before.low)
    return Interval(change, change - down, change + up)
