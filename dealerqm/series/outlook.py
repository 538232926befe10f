"""What the current level of a chart says of the next quarter, and whether it meets the goal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Series
from dealerqm.stats.intervals import Interval

FEWEST = 3
EXACT = 1e-9


class Outlook(NamedTuple):
    """What the current level says of the next quarter; shape (charts,).

    Attributes
    ----------
    chance : ndarray
        Probability that the next quarter's value meets the goal; NaN where nothing is known.
    next : Interval
        The next quarter's value with its prediction interval, in the KPI's unit.
    """

    chance: Array
    next: Interval


class _Level(NamedTuple):
    """Mean, weight of all its points, σ², typical weight of a point, number of points."""

    mean: Array
    weight: Array
    variance: Array
    each: Array
    n: Array


def outlook(
    points: Series, goal: ArrayLike, *, since: ArrayLike = 0, phi: ArrayLike = 0.0,
    ahead: int = 3, confidence: float = 0.95,
) -> Outlook:  # fmt: skip
    """Predict the next quarter from the points since the last change, and judge it by the goal.

    Parameters
    ----------
    points : Series
        Periods in order; the size of the next points is taken from the newest ones.
    goal : array_like, shape (charts,)
        Goals in the KPI's unit: the value should reach the goal or more; NaN is no goal. Where
        less is better, the chance is 1 minus this one.
    since : array_like of int, shape (charts,)
        First period of the current level.
    phi : array_like, shape (charts,)
        Autocorrelation of neighbours.
    ahead : int
        Periods in the next quarter.
    confidence : float
        Of the prediction interval.

    Returns
    -------
    Outlook
        NaN with fewer than three points since the change.

    Notes
    -----
    m = mean of the points weighted by 1/se², σ² with n - 1 degrees of freedom; next value ~
    m + t √(σ² (c(n)/Σ 1/se² + c(h) se²/h)), h periods ahead; c(k) = 1 + 2 Σ (1 - j/k) φ^j is what
    autocorrelation adds to the variance of a mean of k points.

    Source: Student prediction interval; the goal is carried to the working scale.

    Examples
    --------
    >>> found = outlook(scales.value([1.0, 3, 1, 3, 2]), [2.0])
    >>> found.chance, found.next.estimate
    (array([0.5]), array([2.]))
    """
    level = _level(points, since, ahead)
    factor = np.broadcast_to(np.asarray(phi, float), level.n.shape)
    variance = _factor(factor, level.n) / level.weight
    variance = variance + _factor(factor, np.full(level.n.shape, ahead)) / (ahead * level.each)
    sd = np.sqrt(level.variance * variance)
    freedom = np.maximum(level.n - 1, 1).astype(float)
    gap = level.mean - scales.forward(points.scale, goal)
    certain = np.where(gap == 0, 0.5, np.where(gap > 0, 1.0, 0.0))
    t = np.divide(gap, sd, out=np.zeros(gap.shape), where=sd > 0)
    chance = np.where(sd > 0, special.stdtr(freedom, t), certain)
    half = special.stdtrit(freedom, 0.5 + confidence / 2) * sd
    exact = np.full(sd.shape, EXACT)
    ends = (
        scales.back(Series(points.scale, v, exact))
        for v in (level.mean, level.mean - half, level.mean + half)
    )
    return Outlook(np.where(np.isfinite(gap + sd), chance, np.nan), Interval(*ends))


def _level(points: Series, since: ArrayLike, ahead: int) -> _Level:
    rows = np.arange(len(points.y))[:, None]
    used = np.isfinite(points.y) & (rows >= np.asarray(since))
    n = used.sum(axis=0)
    enough = n >= FEWEST
    weight = np.where(used, 1 / np.where(used, points.se, 1.0) ** 2, 0.0)
    total = np.where(enough, weight.sum(axis=0), np.nan)
    mean = (weight * np.where(used, points.y, 0.0)).sum(axis=0) / total
    squares = (weight * np.where(used, points.y - mean, 0.0) ** 2).sum(axis=0)
    newest = used & (used[::-1].cumsum(axis=0)[::-1] <= ahead)
    each = np.where(newest, weight, 0.0).sum(axis=0) / np.maximum(newest.sum(axis=0), 1)
    variance = np.where(enough, squares, np.nan) / np.maximum(n - 1, 1)
    return _Level(mean, total, variance, np.where(enough, each, np.nan), n)


def _factor(phi: Array, k: Array) -> Array:
    """Variance of a mean of k correlated points over that of uncorrelated ones."""
    lag = np.arange(1, int(max(k.max(initial=1), 2)))[:, None]
    found: Array = 1 + 2 * (np.maximum(1 - lag / np.maximum(k, 1), 0) * phi**lag).sum(axis=0)
    return found
