"""Charts of measured values: subgroups, weighted values, time between events, residuals.

Matrices ``(periods, charts)`` in, centre and limits out, as in ``limits``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from dealerqm.limits import base
from dealerqm.limits.attributes import xmr
from dealerqm.limits.base import Array, Limits
from dealerqm.limits.constants import NODES, Subgroups, c4, chart_constants, sigma_within

POWER = 1 / 3.6  # makes waiting times nearly normal
ROUNDING = 1e-6  # a distance from the centre below it is none


def xbar(
    groups: Subgroups, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    estimator: str = "mean_s_over_c4", nodes: int = NODES,
) -> Limits:  # fmt: skip
    """Compute the limits of charts of subgroup means.

    Parameters
    ----------
    groups : Subgroups
        From :func:`constants.subgroups`; sizes may differ.
    baseline : array_like of bool, shape (periods, charts) or (periods,), or None
        Subgroups that set the limits; None means all.
    sigma : float
        Width in standard errors.
    estimator, nodes
        As for :func:`constants.sigma_within`: ``mean_r_over_d2`` is the Xbar-R chart,
        ``mean_s_over_c4`` the Xbar-S chart.

    Returns
    -------
    Limits
        In the unit of the values; ``sigma_z`` is σ within subgroups.

    Notes
    -----
    Centre Σnx̄/Σn, limits centre ± sigma σ/√n.

    Source: Montgomery, Introduction to Statistical Quality Control, section 6.2; reference cases
    ``spc/subgroups``.

    Examples
    --------
    >>> from dealerqm.limits.constants import subgroups
    >>> found = xbar(subgroups([[1, 2, 3], [4, 6]]), estimator="mean_r_over_d2")
    >>> found.centre[0, 0], found.sigma_z.round(4)
    (np.float64(3.2), array([1.477]))
    """
    used = base.chosen(groups.mean, baseline)
    kept = Subgroups(*(np.where(used, part, np.nan) for part in groups))
    within = sigma_within(kept, estimator=estimator, nodes=nodes)
    centre = base.divide(base.total(groups.mean * groups.n, used), base.total(groups.n, used))
    sd = base.divide(within, np.sqrt(groups.n))
    lines = np.broadcast_to(centre, sd.shape).copy()
    return base.symmetric(groups.mean, lines, sd, sigma=sigma, sigma_z=within)


def r_chart(
    groups: Subgroups, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    estimator: str = "mean_r_over_d2", nodes: int = NODES,
) -> Limits:  # fmt: skip
    """Compute the limits of charts of subgroup ranges.

    Parameters
    ----------
    groups, baseline, sigma, estimator, nodes
        As for :func:`xbar`.

    Returns
    -------
    Limits
        Centre d2 σ and limits (d2 ± sigma d3) σ move with the size; the lower one is cut at 0.

    Examples
    --------
    >>> from dealerqm.limits.constants import subgroups
    >>> r_chart(subgroups([[1, 2, 3], [4, 8, 6]])).upper[0, 0].round(4)
    np.float64(7.7238)
    """
    within = xbar(groups, baseline=baseline, estimator=estimator, nodes=nodes).sigma_z
    d2, d3, *_ = chart_constants(np.where(np.isfinite(groups.range), groups.n, np.nan), nodes=nodes)
    return base.symmetric(
        groups.range, d2 * within, d3 * within,
        sigma=sigma, sigma_z=within, bounds=(0.0, np.inf),
    )  # fmt: skip


def s_chart(
    groups: Subgroups, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    estimator: str = "mean_s_over_c4",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of subgroup standard deviations.

    Parameters
    ----------
    groups, baseline, sigma, estimator
        As for :func:`xbar`.

    Returns
    -------
    Limits
        Centre c4 σ and limits (c4 ± sigma √(1-c4²)) σ; the lower one is cut at 0.

    Examples
    --------
    >>> from dealerqm.limits.constants import subgroups
    >>> s_chart(subgroups([[1, 2, 3], [4, 8, 6]])).upper[0, 0].round(4)
    np.float64(3.8523)
    """
    within = xbar(groups, baseline=baseline, estimator=estimator).sigma_z
    unbiased = c4(np.where(np.isfinite(groups.sd), groups.n, np.nan))
    return base.symmetric(
        groups.sd, unbiased * within, np.sqrt(1 - unbiased**2) * within,
        sigma=sigma, sigma_z=within, bounds=(0.0, np.inf),
    )  # fmt: skip


def i_prime(
    x: ArrayLike, n: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0
) -> Limits:
    """Compute the limits of I′ charts: individual values, each from an exposure of its own.

    Parameters
    ----------
    x, n : array_like, shape (periods, charts) or (periods,)
        Means, and the exposure behind each; exposure 0 or missing is no point.
    baseline : array_like of bool, same shape or (periods,), or None
        Points that set the limits; None means all.
    sigma : float
        Width in standard errors.

    Returns
    -------
    Limits
        In the unit of x; ``sigma_z`` is σ of one unit of exposure.

    Notes
    -----
    σ = √(π/2) times the mean of |xᵢ - xᵢ₋₁| / √(1/nᵢ + 1/nᵢ₋₁), limits Σnx/Σn ± sigma σ/√n; with
    equal n the XmR chart.

    Source: Taylor (2018), Statistical Procedures for the Medical Device Industry, STAT-12.

    Examples
    --------
    >>> i_prime([2, 4, 3], [1, 1, 4]).sigma_z.round(4)
    array([1.4467])
    """
    value, size = base.checked("x", x), base.checked("n", n)
    base.refuse("n", size, size < 0, "0 or more exposure")
    size = np.where((size > 0) & np.isfinite(value), size, np.nan)
    value = np.where(np.isfinite(size), value, np.nan)
    used = base.chosen(value, baseline)
    kept, share = np.where(used, value, np.nan), 1 / size
    apart = np.abs(np.diff(kept, axis=0)) / np.sqrt(share[1:] + share[:-1])
    deviation = np.sqrt(np.pi / 2) * base.mean(apart)
    centre = base.divide(base.total(value * size, used), base.total(size, used))
    lines = np.broadcast_to(centre, value.shape).copy()
    return base.symmetric(value, lines, deviation * np.sqrt(share), sigma=sigma, sigma_z=deviation)


def g_chart(
    x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    limits: str = "sigma", centre: str = "mean",
) -> Limits:  # fmt: skip
    """Compute the limits of charts of successes between rare events.

    Parameters
    ----------
    x : array_like, shape (events, charts) or (events,)
        Successes since the last event, 0 or more; two events in a row are a 0.
    baseline, sigma
        As for :func:`i_prime`.
    limits : str
        ``sigma``: x̄ ± sigma √(x̄(x̄+1)), cut at 0; ``probability``: geometric quantiles of
        Φ(∓sigma), which can show that events became more frequent.
    centre : str
        Line that runs are counted about: ``mean``, or ``median`` as the values are skewed.

    Returns
    -------
    Limits
        Up is better here: more successes between events.

    Raises
    ------
    MethodError
        A negative or infinite value, or an unknown choice.

    Notes
    -----
    x is geometric with mean x̄. qcc counts trials until the event and so has x̄(x̄-1).

    Source: Benneyan (2001), Health Care Management Science 4, 305; reference cases
    ``spc/rare_events``.

    Examples
    --------
    >>> g_chart([10, 20, 30]).upper[0, 0].round(4)
    np.float64(81.4817)
    """
    base.known("limits", limits, ("sigma", "probability"))
    base.known("centre", centre, ("mean", "median"))
    value = base.checked("x", x)
    base.refuse("x", value, value < 0, "0 or more successes between events")
    kept = np.where(base.chosen(value, baseline), value, np.nan)
    mean = np.broadcast_to(base.mean(kept), value.shape).copy()
    drawn = base.symmetric(
        value, mean, np.sqrt(mean * (mean + 1)), sigma=sigma, bounds=(0.0, np.inf)
    )
    if limits == "probability":
        low, high = (_geometric(float(special.ndtr(side)), mean) for side in (-sigma, sigma))
        drawn = drawn._replace(lower=low, upper=high)
    if centre == "median":
        drawn = drawn._replace(centre=np.broadcast_to(base.median(kept), value.shape).copy())
    return drawn


def _geometric(level: float, mean: Array) -> Array:
    """Smallest count whose distribution function reaches the level."""
    stay = np.log1p(-1 / (np.where(mean > 0, mean, np.nan) + 1))
    count = np.maximum(np.ceil(np.log1p(-level) / stay - 1), 0.0)
    result: Array = np.where(mean == 0, 0.0, count)
    return result


def t_chart(
    x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0,
    limits: str = "sigma", power: float = POWER,
) -> Limits:  # fmt: skip
    """Compute the limits of charts of time between rare events.

    Parameters
    ----------
    x : array_like, shape (events, charts) or (events,)
        Time since the last event, 0 or more.
    baseline, sigma
        As for :func:`i_prime`.
    limits : str
        ``sigma``: XmR of x to the power, carried back; ``probability``: exponential quantiles of
        Φ(∓sigma) about the median.
    power : float
        Above 0; 1/3.6 makes exponential times nearly normal.

    Returns
    -------
    Limits
        In the unit of x; the lower limit is cut at 0. ``sd`` is such that ``z`` is that of the
        transformed values.

    Raises
    ------
    MethodError
        A negative or infinite time, or an unknown choice.

    Notes
    -----
    Source: Nelson (1994), Journal of Quality Technology 26, 239; reference cases
    ``spc/rare_events``.

    Examples
    --------
    >>> t_chart([1, 16, 81], power=0.25).centre[0, 0]
    np.float64(16.0)
    """
    base.known("limits", limits, ("sigma", "probability"))
    value = base.checked("x", x)
    base.refuse("x", value, value < 0, "0 or more time between events")
    near = xmr(value**power, baseline=baseline, sigma=sigma)
    centre, lower, upper = (np.maximum(line, 0.0) ** (1 / power) for line in near[1:4])
    z = near.z
    if limits == "probability":
        kept = np.where(base.chosen(value, baseline), value, np.nan)
        mean = np.broadcast_to(base.mean(kept), value.shape)
        levels = [float(special.ndtr(level)) for level in (0.0, -sigma, sigma)]
        centre, lower, upper = (-mean * np.log1p(-level) for level in levels)
        z = np.clip(special.ndtri(-np.expm1(base.divide(-value, mean))), -9, 9)
    apart = np.where(np.abs(z) > ROUNDING, z, np.nan)
    sd = np.where(np.isfinite(apart), np.abs((value - centre) / apart), near.sd)
    return Limits(value, centre, lower, upper, near.sigma_z, np.where(near.sd > 0, sd, near.sd))


def residual_chart(
    x: ArrayLike, *, baseline: ArrayLike | None = None, sigma: float = 3.0
) -> Limits:
    """Compute the limits of the residuals of an autocorrelated series.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    baseline : array_like of bool, same shape or (periods,), or None
        Points that set mean, autocorrelation and limits; None means all.
    sigma : float
        Width in standard deviations.

    Returns
    -------
    Limits
        XmR chart of the standardised innovations in the unit of x. ``extra`` holds ``phi``,
        ``mean`` and ``sd`` of the innovations, shape (charts,).

    Notes
    -----
    x is first-order autoregressive; mean, phi and innovations are those of the exact likelihood,
    which steps over missing points by the power of phi. A constant series has no phi.

    Source: Alwan and Roberts (1988), Journal of Business and Economic Statistics 6, 87; reference
    case ``spc/individuals:parts_fill_ar1_residual_chart``.

    Examples
    --------
    >>> found = residual_chart([1, 2, 3, 2, 1, 0, 1, 2, 3, 2])
    >>> found.extra["phi"].round(2), found.extra["mean"].round(2)
    (array([0.4]), array([1.68]))
    """
    value = base.checked("x", x)
    used = base.chosen(value, baseline)
    kept = _followed(np.where(used, value, np.nan))
    phi = _most_likely(kept)
    level, noise = _profile(kept, np.nan_to_num(phi))[1:]
    here, before, gap = _followed(value)
    rho, variance = _step(gap, np.nan_to_num(phi))
    innovation = (here - level - rho * (before - level)) / np.sqrt(variance)
    drawn = xmr(innovation, baseline=used, sigma=sigma)
    return drawn._replace(extra={"phi": phi, "mean": level, "sd": noise})


def _followed(value: Array) -> tuple[Array, Array, Array]:
    """Values, the last value before each, and how long before; 0 and infinitely long: none."""
    place = np.arange(len(value))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(value), place, -1), axis=0)
    last = np.vstack([np.full((1, value.shape[1]), -1), last[:-1]])[: len(value)]
    before = np.take_along_axis(value, np.maximum(last, 0), axis=0) if len(value) else value
    return value, np.where(last < 0, 0.0, before), np.where(last < 0, np.inf, place - last)


def _step(gap: Array, phi: Array) -> tuple[Array, Array]:
    """Correlation with the value before, and variance of what is new, in units of innovations."""
    whole = np.where(np.isfinite(gap), gap, 1.0)
    rho = np.where(np.isfinite(gap), phi**whole, 0.0)
    return rho, (1 - rho**2) / (1 - phi**2)


def _profile(kept: tuple[Array, Array, Array], phi: Array) -> tuple[Array, Array, Array]:
    """Minus twice the log likelihood, and the mean and innovation sd that belong to phi."""
    value, before, gap = kept
    rho, variance = _step(gap, phi)
    seen = np.isfinite(value)
    weight = np.where(seen, (1 - rho) / variance, 0.0)
    top = base.total(weight * (value - rho * before), seen)
    level = base.divide(top, base.total(weight * (1 - rho), seen))
    new = np.where(seen, value - level - rho * (before - level), 0.0)
    count = seen.sum(axis=0)
    noise = np.sqrt(base.divide(base.total(new**2 / variance, seen), count))
    spread = base.total(np.log(variance), seen)
    width = np.log(noise, where=noise > 0, out=np.full(noise.shape, np.nan))
    return 2 * count * width + spread, level, noise


def _most_likely(kept: tuple[Array, Array, Array]) -> Array:
    """Search phi on a grid, then by golden section, for all charts at once."""
    charts = kept[0].shape[1]
    grid = np.linspace(-0.99, 0.99, 67)
    scores = np.array([_profile(kept, np.full(charts, phi))[0] for phi in grid])
    known = np.isfinite(scores).all(axis=0)
    middle = grid[np.where(known, scores, 0.0).argmin(axis=0)]
    low, high = np.maximum(middle - 0.03, -0.999), np.minimum(middle + 0.03, 0.999)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        lower = _profile(kept, left)[0] < _profile(kept, right)[0]
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    result: Array = np.where(known, (low + high) / 2, np.nan)
    return result
