"""Limits of charts of single values, shares and rates: XmR, p, np, c, u, Laney p′ and u′.

Matrices ``(periods, charts)`` in, centre and limits out. Missing points are never bridged unless
asked: a moving range needs two neighbouring points. A point with zero opportunities is no point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from dealerqm.limits import base
from dealerqm.limits.base import Array, Limits, Mask

D2 = 2 / np.sqrt(np.pi)  # constants(2): mean, standard deviation and median of a moving range
D3 = np.sqrt(2 - 4 / np.pi)
D4 = float(np.sqrt(2) * special.ndtri(0.75))
D4_R = 0.953872670717973  # where R's qtukey(.5, 2, Inf) stops, 1.2e-7 above D4
Pooled = tuple[Array, Array, Array]


def xmr(
    x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    estimator: str = "average_mr", screen: str = "none", missing: str = "gap",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of individual values.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    baseline : array_like of bool, same shape or (periods,), or None
        Points that set the limits; None means all. What is left out is a gap.
    sigma : float
        Width in standard deviations.
    estimator : str
        ``average_mr`` or ``median_mr`` moving range; ``median_mr_r`` has the constant as R's
        ``qtukey`` rounds it (1.2e-7 above the exact one).
    screen : str
        ``none``, or ``once``: leave out moving ranges beyond their own limit, once.
    missing : str
        ``gap``: no moving range across a gap; ``bridge``: from the last point before it.

    Returns
    -------
    Limits
        In the unit of x; ``sigma_z`` is the estimated standard deviation. One point gives no
        limits, a constant series limits of no width.

    Raises
    ------
    MethodError
        An infinite value, or an unknown choice.

    Notes
    -----
    σ = mean moving range / d2 with d2 = 2/√π, or median moving range / 0.954.

    Source: Wheeler and Chambers, Understanding Statistical Process Control, chapter 3; reference
    cases ``spc/individuals``.

    Examples
    --------
    >>> limits = xmr([310, 288, 297, 298, 307])
    >>> limits.centre[0, 0], limits.sigma_z.round(4)
    (np.float64(300.0), array([9.0838]))
    """
    value = base.checked("x", x)
    kept = np.where(base.chosen(value, baseline), value, np.nan)
    ranges = moving_range(kept, missing=missing)
    deviation = _sigma(ranges, estimator, screen)
    centre = np.broadcast_to(base.mean(kept), value.shape).copy()
    sd = np.broadcast_to(deviation, value.shape)
    return base.symmetric(value, centre, sd, sigma=sigma, sigma_z=deviation)


def mr_chart(
    x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0, missing: str = "gap"
) -> Limits:
    """Compute the limits of the moving ranges that belong to :func:`xmr`.

    Parameters
    ----------
    x, baseline, sigma, missing
        As for :func:`xmr`.

    Returns
    -------
    Limits
        Entry i is the range between points i-1 and i; the lower limit is cut at 0.

    Notes
    -----
    Centre = mean moving range, limits centre (1 ± sigma d3/d2). Neighbouring ranges share a point,
    so runs on this chart mean nothing.

    Examples
    --------
    >>> mr_chart([310, 288, 297, 298, 307]).upper[1, 0].round(3)
    np.float64(33.482)
    """
    value = base.checked("x", x)
    kept = np.where(base.chosen(value, baseline), value, np.nan)
    average = base.mean(moving_range(kept, missing=missing))
    ranges = moving_range(value, missing=missing)
    centre = np.broadcast_to(average, ranges.shape).copy()
    return base.symmetric(
        ranges, centre, centre * D3 / D2,
        sigma=sigma, sigma_z=average / D2, bounds=(0.0, np.inf),
    )  # fmt: skip


def moving_range(x: ArrayLike, *, missing: str = "gap") -> Array:
    """Take the absolute difference of each point and the one before.

    Parameters
    ----------
    x : array_like, shape (periods, charts)
        Values; NaN is no point.
    missing : str
        ``gap``: none where the neighbour is missing; ``bridge``: from the last point there is.

    Returns
    -------
    ndarray, shape (periods, charts)
        NaN in the first period.

    Examples
    --------
    >>> moving_range([[1.0], [np.nan], [4.0]], missing="bridge")[:, 0]
    array([nan, nan,  3.])
    """
    value = np.asarray(x, float)
    base.known("missing", missing, ("gap", "bridge"))
    before = value
    if missing == "bridge" and len(value):
        place = np.where(np.isfinite(value), np.arange(len(value))[:, None], 0)
        before = np.take_along_axis(value, np.maximum.accumulate(place, axis=0), axis=0)
    result = np.full(value.shape, np.nan)
    np.abs(value[1:] - before[:-1], out=result[1:])
    return result


# ---------------------------------------------------------------- shares and rates


def p_chart(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    limits: str = "sigma",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of shares.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and opportunities; n = 0 or missing is no point.
    baseline : array_like of bool, same shape or (periods,), or None
        Points that set the limits; None means all.
    sigma : float
        Width in standard errors.
    limits : str
        ``sigma``: p̄ ± sigma √(p̄(1-p̄)/n); ``probability``: binomial quantiles of Φ(∓sigma), which
        keep the false-alarm rate where counts are small.

    Returns
    -------
    Limits
        Shares, cut at 0 and 1. With no event, or only events, in the baseline nothing is judged.

    Raises
    ------
    MethodError
        A negative or infinite count, k above n, or n that is not whole for exact limits.

    Notes
    -----
    p̄ = Σk/Σn over the baseline; a signal lies strictly outside the limits.

    Source: Montgomery, Introduction to Statistical Quality Control, section 7.2; reference cases
    ``spc/attributes``.

    Examples
    --------
    >>> p_chart([12, 15, 8], [50, 50, 50]).upper[0, 0].round(6)
    np.float64(0.412777)
    """
    value, centre, n = _pooled(k, n, baseline, share=True)
    spread = np.sqrt(centre * (1 - centre) / n)
    plain = base.symmetric(value, centre, spread, sigma=sigma, bounds=(0.0, 1.0))
    return _exact(plain, limits, sigma, lambda q: stats.binom.ppf(q, _whole(n), centre) / n)


def np_chart(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    limits: str = "sigma",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of counts out of n: the p chart times n.

    Parameters
    ----------
    k, n, baseline, sigma, limits
        As for :func:`p_chart`.

    Returns
    -------
    Limits
        Counts; the centre moves with n.

    Examples
    --------
    >>> np_chart([5, 7], [100, 200]).centre[:, 0]
    array([4., 8.])
    """
    shares = p_chart(k, n, baseline=baseline, sigma=sigma, limits=limits)
    size = base.matrix(n)
    scaled = {name: getattr(shares, name) * size for name in ("centre", "lower", "upper", "sd")}
    return shares._replace(
        value=np.where(np.isfinite(shares.value), base.matrix(k), np.nan), **scaled
    )


def u_chart(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    limits: str = "sigma",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of events per exposure.

    Parameters
    ----------
    k, n, baseline, sigma
        As for :func:`p_chart`, with exposure for n.
    limits : str
        ``sigma``: ū ± sigma √(ū/n); ``probability``: Poisson quantiles of Φ(∓sigma).

    Returns
    -------
    Limits
        Events per unit of exposure, cut at 0.

    Examples
    --------
    >>> u_chart([14, 12], [10, 10]).upper[0, 0].round(4)
    np.float64(2.3817)
    """
    value, centre, n = _pooled(k, n, baseline)
    plain = base.symmetric(value, centre, np.sqrt(centre / n), sigma=sigma, bounds=(0.0, np.inf))
    return _exact(plain, limits, sigma, lambda q: stats.poisson.ppf(q, centre * n) / n)


def c_chart(
    k: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0, limits: str = "sigma",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of counts with one exposure for all.

    Parameters
    ----------
    k, baseline, sigma, limits
        As for :func:`u_chart`.

    Returns
    -------
    Limits
        Counts, cut at 0.

    Examples
    --------
    >>> c_chart([4, 4, 4], limits="probability").upper[0, 0]
    np.float64(11.0)
    """
    return u_chart(k, np.ones_like(base.matrix(k)), baseline=baseline, sigma=sigma, limits=limits)


def p_prime(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    screen: str = "none", missing: str = "gap",
) -> Limits:  # fmt: skip
    """Compute the limits of Laney p′ charts.

    Parameters
    ----------
    k, n, baseline, sigma
        As for :func:`p_chart`.
    screen, missing
        As for :func:`xmr`.

    Returns
    -------
    Limits
        Shares; the limits are cut at 0 and 1, σ_z is not floored at 1.

    Notes
    -----
    z = (p - p̄)/√(p̄(1-p̄)/n), σ_z = mean moving range of z / d2, limits p̄ ± sigma σ_z √(p̄(1-p̄)/n).

    Source: Laney (2002), Quality Engineering 14, 531; reference cases ``spc/laney``.

    Examples
    --------
    >>> limits = p_prime([5, 10, 5, 10], [100, 100, 100, 100])
    >>> limits.centre[0, 0].round(3), limits.sigma_z.round(4)
    (np.float64(0.075), array([1.6823]))
    """
    value, centre, n = _pooled(k, n, baseline, share=True)
    spread = np.sqrt(centre * (1 - centre) / n)
    plain = base.symmetric(value, centre, spread, sigma=sigma, bounds=(0.0, 1.0))
    return _laney(plain, base.chosen(value, baseline), sigma, (screen, missing), 1.0)


def u_prime(
    k: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    screen: str = "none", missing: str = "gap",
) -> Limits:  # fmt: skip
    """Compute the limits of Laney u′ charts: p′ with √(ū/n) for the standard error.

    Parameters
    ----------
    k, n, baseline, sigma, screen, missing
        As for :func:`p_prime`, with exposure for n.

    Returns
    -------
    Limits
        Rates per unit of exposure; the lower limit is cut at 0, σ_z is not floored at 1.

    Examples
    --------
    >>> u_prime([4, 6, 4, 6], [2, 2, 2, 2]).centre[0, 0]
    np.float64(2.5)
    """
    value, centre, n = _pooled(k, n, baseline)
    plain = base.symmetric(value, centre, np.sqrt(centre / n), sigma=sigma, bounds=(0.0, np.inf))
    return _laney(plain, base.chosen(value, baseline), sigma, (screen, missing), np.inf)


# ---------------------------------------------------------------- shared steps


def _pooled(k: ArrayLike, n: ArrayLike, baseline: ArrayLike | None, share: bool = False) -> Pooled:
    k, n = base.counted(k, n, share=share)
    value = k / n
    used = base.chosen(value, baseline)
    centre = base.divide(base.total(k, used), base.total(n, used))
    return value, np.broadcast_to(centre, value.shape).copy(), n


def _exact(plain: Limits, limits: str, sigma: float, quantile: Callable[[float], Array]) -> Limits:
    base.known("limits", limits, ("sigma", "probability"))
    if limits == "sigma":
        return plain
    low, high = (quantile(float(special.ndtr(side))) for side in (-sigma, sigma))
    return plain._replace(lower=np.maximum(low, 0.0), upper=high)


def _whole(n: Array) -> Array:
    base.refuse("n", n, n % 1 > 0, "whole numbers for exact binomial limits")
    return n


def _laney(
    plain: Limits, used: Mask, sigma: float, policy: tuple[str, str], ceiling: float
) -> Limits:
    screen, missing = policy
    ranges = moving_range(np.where(used, plain.z, np.nan), missing=missing)
    sigma_z = _sigma(ranges, "average_mr", screen)
    sd = np.where(plain.sd > 0, plain.sd * sigma_z, plain.sd)
    bounds = (0.0, ceiling)
    return base.symmetric(
        plain.value, plain.centre, sd, sigma=sigma, sigma_z=sigma_z, bounds=bounds
    )


# name -> σ from moving ranges
ESTIMATORS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "average_mr": lambda ranges: base.mean(ranges) / D2,
        "median_mr": lambda ranges: base.median(ranges) / D4,
        "median_mr_r": lambda ranges: base.median(ranges) / D4_R,
    }
)


def _sigma(ranges: Array, estimator: str, screen: str) -> Array:
    base.known("estimator", estimator, ESTIMATORS)
    base.known("screen", screen, ("none", "once"))
    if screen == "once":
        most = base.mean(ranges) * (1 + 3 * D3 / D2)
        ranges = np.where(ranges <= most, ranges, np.nan)
    result: Array = ESTIMATORS[estimator](ranges)
    return result
