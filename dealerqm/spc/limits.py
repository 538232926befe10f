"""Limits of control charts: matrices ``(periods, charts)`` in, centre and limits out.

One chart is one column. Missing points are never bridged: a moving range needs two neighbouring
points. Constants are exact: d2(2) = 2/√π.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]
D2 = 2 / np.sqrt(np.pi)


class Limits(NamedTuple):
    """What every chart returns.

    Attributes
    ----------
    value, centre, lower, upper : ndarray, shape (periods, charts)
        Points and limits; NaN where a chart has no usable baseline or a point has no data.
    sigma_z : ndarray, shape (charts,)
        Spread of the standardised points (p′, u′), or the σ of individuals (XmR).
    """

    value: Array
    centre: Array
    lower: Array
    upper: Array
    sigma_z: Array


def p_prime(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0
) -> Limits:
    """Compute the limits of Laney p′ charts.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and opportunities; n = 0 or missing is no point.
    baseline : array_like of bool, same shape, or None
        Points that set the limits; None means all.
    sigma : float
        Width in standard errors.

    Returns
    -------
    Limits
        Shares; the limits are cut at 0 and 1, σ_z is not floored at 1.

    Notes
    -----
    z = (p - p̄)/√(p̄(1-p̄)/n), σ_z = mean moving range of z / d2, limits p̄ ± sigma σ_z √(p̄(1-p̄)/n).

    Source: Laney (2002), Quality Engineering 14, 531.

    Examples
    --------
    >>> limits = p_prime([5, 10, 5, 10], [100, 100, 100, 100])
    >>> limits.centre[0, 0].round(3), limits.sigma_z.round(4)
    (np.float64(0.075), array([1.6823]))
    """
    value, centre, n = _pooled(k, n, baseline)
    spread = np.sqrt(centre * (1 - centre) / n)
    return _laney(value, centre, spread, baseline, (sigma, 1.0))


def u_prime(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0
) -> Limits:
    """Compute the limits of Laney u′ charts.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and exposure; exposure 0 or missing is no point.
    baseline : array_like of bool, same shape, or None
        Points that set the limits; None means all.
    sigma : float
        Width in standard errors.

    Returns
    -------
    Limits
        Rates per unit of exposure; the lower limit is cut at 0, σ_z is not floored at 1.

    Notes
    -----
    As p′ with √(ū/n) for the standard error.

    Source: Laney (2002), Quality Engineering 14, 531.

    Examples
    --------
    >>> u_prime([4, 6, 4, 6], [2, 2, 2, 2]).centre[0, 0]
    np.float64(2.5)
    """
    value, centre, n = _pooled(k, n, baseline)
    return _laney(value, centre, np.sqrt(centre / n), baseline, (sigma, np.inf))


def xmr(x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0) -> Limits:
    """Compute the limits of charts of individual values.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    baseline : array_like of bool, same shape, or None
        Points that set the limits; None means all.
    sigma : float
        Width in standard deviations.

    Returns
    -------
    Limits
        In the unit of x; ``sigma_z`` is the estimated standard deviation.

    Notes
    -----
    σ = mean moving range of neighbouring baseline points / d2; the range is not screened.

    Source: Wheeler and Chambers, Understanding Statistical Process Control, chapter 3.

    Examples
    --------
    >>> limits = xmr([310, 288, 297, 298, 307])
    >>> limits.centre[0, 0], limits.sigma_z.round(4)
    (np.float64(300.0), array([9.0838]))
    """
    value = _matrix(x)
    kept = np.where(_baseline(value, baseline), value, np.nan)
    centre = np.broadcast_to(_mean(kept), value.shape).copy()
    deviation = _mean(np.abs(np.diff(kept, axis=0))) / D2
    half = sigma * deviation
    return Limits(value, centre, centre - half, centre + half, deviation)


def false_alarm_chance(points: ArrayLike, *, sigma: float = 3.0) -> Array:
    """Return the chance that the next point of a stable process lies beyond estimated limits.

    Parameters
    ----------
    points : array_like
        Baseline points without gaps, 2 or more, that set the limits.
    sigma : float
        Width in standard errors.

    Returns
    -------
    ndarray
        Per judged point, for normal and independent points; with few points in the baseline it
        is several times the 2Φ(-sigma) of known limits.

    Notes
    -----
    With r = m-1 ranges, the mean range over d2 has the relative variance
    v = ((π/2-1)r + 2(r-1)(√3/2 + π/12 - 1))/r² about σ, like c4-corrected s with ν = 1/2v + 1/4
    degrees of freedom; so the chance is 2 T_ν(-(sigma/c4)/√(1 + 1/m)), within a tenth of the true
    one.

    Source: Cryer and Ryan (1990), Journal of Quality Technology 22, 187 (variance of the mean
    moving range); Student's t for a new observation.

    Examples
    --------
    >>> false_alarm_chance([12, 24, 1000]).round(4)
    array([0.02  , 0.0095, 0.0028])
    """
    m = np.asarray(points, float)
    ranges = m - 1
    neighbours = np.sqrt(3) / 2 + np.pi / 12 - 1
    variance = ((np.pi / 2 - 1) * ranges + 2 * (ranges - 1) * neighbours) / ranges**2
    freedom = 1 / (2 * variance) + 1 / 4
    halves = special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2)
    c4 = np.sqrt(2 / freedom) * np.exp(halves)
    chance: Array = 2 * stats.t.sf(sigma / c4 / np.sqrt(1 + 1 / m), freedom)
    return chance


def _matrix(x: ArrayLike) -> Array:
    array = np.asarray(x, float)
    return array[:, None] if array.ndim == 1 else array


def _baseline(value: Array, baseline: ArrayLike | None) -> NDArray[np.bool_]:
    chosen = np.ones(value.shape, bool) if baseline is None else np.asarray(baseline, bool)
    return chosen.reshape(value.shape) & np.isfinite(value)


def _mean(x: Array) -> Array:
    count = np.isfinite(x).sum(axis=0)
    total = np.nansum(x, axis=0)
    result: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return result


def _pooled(k: ArrayLike, n: ArrayLike, baseline: ArrayLike | None) -> tuple[Array, Array, Array]:
    k, n = _matrix(k), _matrix(n)
    n = np.where(n > 0, n, np.nan)
    value = k / n
    chosen = _baseline(value, baseline)
    events = np.where(chosen, k, 0.0).sum(axis=0)
    size = np.where(chosen, n, 0.0).sum(axis=0)
    centre = np.divide(events, size, out=np.full(events.shape, np.nan), where=size > 0)
    return value, np.broadcast_to(centre, value.shape).copy(), n


def _laney(
    value: Array, centre: Array, spread: Array, baseline: ArrayLike | None,
    width: tuple[float, float],
) -> Limits:  # fmt: skip
    sigma, ceiling = width
    z = np.divide(value - centre, spread, out=np.full(value.shape, np.nan), where=spread > 0)
    z = np.where(_baseline(value, baseline), z, np.nan)
    sigma_z = _mean(np.abs(np.diff(z, axis=0))) / D2
    half = sigma * sigma_z * spread
    lower, upper = np.maximum(centre - half, 0.0), np.minimum(centre + half, ceiling)
    return Limits(value, centre, lower, upper, sigma_z)
