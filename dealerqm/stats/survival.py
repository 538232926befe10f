"""Kaplan-Meier on counts: shares judged at an age, and censored quantiles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.stats.intervals import Interval, wilson

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """A Kaplan-Meier curve on its event times.

    Attributes
    ----------
    times : ndarray, shape (m,)
        Distinct event times, increasing.
    survival, variance : ndarray, shape (m,)
        Share without the event after each time, and its Greenwood variance.
    at_risk : ndarray, shape (m,)
        Rows still watched just before each time.
    """

    times: Array
    survival: Array
    variance: Array
    at_risk: Array


def kaplan_meier(times: ArrayLike, events: ArrayLike, counts: ArrayLike) -> Curve:
    """Estimate the share still without the event, with rows watched for unequal times.

    Parameters
    ----------
    times : array_like, shape (r,)
        Time of the event or of the end of watching.
    events : array_like of bool, shape (r,)
        Whether the event came at that time; else the row is censored.
    counts : array_like, shape (r,)
        How many rows are like this.

    Returns
    -------
    Curve
        At the event times; rows censored at an event time are still at risk for it.

    Notes
    -----
    S = Π (1 - d/n); Greenwood: S² Σ d / (n (n - d)), and 0 once S is 0.

    Source: Kaplan and Meier (1958), JASP 53, 457.

    Examples
    --------
    >>> curve = kaplan_meier([1, 2, 3, 4], [True, False, True, False], [1, 1, 1, 1])
    >>> curve.survival.tolist(), curve.at_risk.tolist()
    ([0.75, 0.375], [4.0, 2.0])
    """
    times, counts = np.asarray(times, float), np.asarray(counts, float)
    events = np.asarray(events, bool)
    grid, place = np.unique(times, return_inverse=True)
    died = np.bincount(place, weights=np.where(events, counts, 0.0), minlength=grid.size)
    left = np.bincount(place, weights=counts, minlength=grid.size)
    risk = np.cumsum(left[::-1])[::-1]
    hit = died > 0
    d, n = died[hit].astype(float), risk[hit].astype(float)
    survival = np.cumprod(1 - d / n)
    terms = np.divide(d, n * (n - d), out=np.zeros_like(d), where=n > d)
    return Curve(grid[hit].astype(float), survival, survival**2 * np.cumsum(terms), n)


def share_by(
    times: ArrayLike, events: ArrayLike, counts: ArrayLike, age: float, *, confidence: float = 0.95
) -> Interval:
    """Share of rows whose event came by an age, young rows censored.

    Parameters
    ----------
    times, events, counts : array_like, shape (r,)
        As in ``kaplan_meier``.
    age : float
        The age at which the share is judged, same unit as ``times``.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scalars; NaN with no rows, and where the curve ends before the age.

    Notes
    -----
    The interval is Wilson's at the effective size p(1-p)/variance, which is Wilson's own where
    nothing is censored; where p is 0 or 1 the size is the rows watched to the age or the event.

    Examples
    --------
    >>> [round(float(v), 4) for v in share_by([5, 10, 3], [True, False, False], [3, 6, 1], 8)]
    [0.3333, 0.1206, 0.6458]
    """
    times, counts = np.asarray(times, float), np.asarray(counts, float)
    events = np.asarray(events, bool) & (times <= age)
    curve = kaplan_meier(np.minimum(times, age), events, counts)
    survival = float(curve.survival[-1]) if curve.times.size else 1.0
    watched = counts[events | (times >= age)].sum()
    if watched == 0 or (survival > 0 and not counts[times >= age].any()):
        return wilson(0, 0)
    p = 1 - survival
    size = p * survival / float(curve.variance[-1]) if 0 < p < 1 else watched
    return wilson(p * size, size, confidence=confidence)


def quantile(
    times: ArrayLike, events: ArrayLike, counts: ArrayLike, q: float, *, confidence: float = 0.95
) -> Interval:
    """Quantile of the time to the event, unfinished rows censored.

    Parameters
    ----------
    times, events, counts : array_like, shape (r,)
        As in ``kaplan_meier``.
    q : float
        Which quantile, 0-1.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scalars; NaN where the curve, or a line of its interval, does not fall far enough to tell.

    Notes
    -----
    The interval holds the times at which the log-log interval of S covers 1 - q.

    Source: Brookmeyer and Crowley (1982), Biometrics 38, 29.

    Examples
    --------
    >>> float(quantile([1, 2, 3, 4, 5], [True] * 5, [1] * 5, 0.5).estimate)
    3.0
    """
    curve = kaplan_meier(times, events, counts)
    target = 1 - q
    if curve.times.size == 0:
        return Interval(*(np.asarray(np.nan),) * 3)
    inner = np.clip(curve.survival, 1e-12, 1 - 1e-12)
    spread = np.sqrt(curve.variance) / (inner * np.abs(np.log(inner)))
    z = float(special.ndtri(0.5 + confidence / 2))
    with np.errstate(over="ignore", under="ignore"):
        lower, upper = inner ** np.exp(z * spread), inner ** np.exp(-z * spread)
    ended = curve.survival <= 0  # no interval there: its upper line never falls to 0
    ends = [curve.survival, np.where(ended, 0.0, lower), np.where(ended, 1.0, upper)]
    return Interval(*(_first(curve.times, line <= target + 1e-12) for line in ends))


def _first(times: Array, reached: NDArray[np.bool_]) -> Array:
    return np.asarray(times[int(np.argmax(reached))] if reached.any() else np.nan)
