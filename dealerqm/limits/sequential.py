"""Charts with a memory, EWMA and CUSUM, and of several variables, T² and MEWMA.

EWMA and CUSUM take any chart of ``limits`` or ``measurements``: they smooth its points by its
centre and standard errors, so they serve XmR, p, c, u and p′ alike, with varying n. A missing
point leaves the statistic as it was. Every chart hands on its state; started from it, it goes on
bit for bit as if it had never stopped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.base import Array, Limits, Mask


def ewma(
    chart: Limits, *, weight: float = 0.2, width: float = 3.0, limits: str = "exact",
    start: ArrayLike | None = None,
) -> Limits:  # fmt: skip
    """Average the points of a chart exponentially.

    Parameters
    ----------
    chart : Limits
        Points, centre and standard errors.
    weight : float
        Share of the newest point, above 0 and up to 1.
    width : float
        Limits in standard errors of the average.
    limits : str
        ``exact``: narrower in the first periods; ``asymptotic``.
    start : array_like, shape (2, charts), or None
        ``extra["state"]`` of the chart of the periods before; None starts at the centre.

    Returns
    -------
    Limits
        What the chart does not judge is missing here; the limits are not cut.

    Raises
    ------
    MethodError
        An impossible weight or width.

    Notes
    -----
    y = weight x + (1-weight) y; var y = weight² sd² + (1-weight)² var y, or weight/(2-weight) sd².

    Source: Lucas and Saccucci (1990), Technometrics 32, 1; reference cases ``spc/time_weighted``.

    Examples
    --------
    >>> found = ewma(base.given([9.45, 7.99], centre=10, sd=1), weight=0.1, width=2.7)
    >>> found.value[:, 0], found.lower[:, 0].round(4)
    (array([9.945 , 9.7495]), array([9.73  , 9.6368]))
    """
    base.known("limits", limits, ("exact", "asymptotic"))
    if not (0 < weight <= 1 and width > 0):
        raise MethodError(
            f"weight, width: {weight:g}, {width:g}; allowed: weight above 0 and up to 1 (usually "
            "0.1 to 0.3), width above 0"
        )
    here = chart.judged
    apart = np.where(here, chart.value - chart.centre, 0.0)
    noise = np.where(here, chart.sd, 0.0)
    mean, variance = _started(start, (2, here.shape[1]))
    value, spread = np.empty(here.shape), np.empty(here.shape)
    for row, seen in enumerate(here):
        mean = np.where(seen, weight * apart[row] + (1 - weight) * mean, mean)
        newest = (weight * noise[row]) ** 2 + (1 - weight) ** 2 * variance
        variance = np.where(seen, newest, variance)
        value[row], spread[row] = mean, variance
    sd = np.sqrt(spread) if limits == "exact" else chart.sd * np.sqrt(weight / (2 - weight))
    value = np.where(here, chart.centre + value, np.nan)
    drawn = base.symmetric(value, chart.centre, sd, sigma=width, sigma_z=chart.sigma_z)
    return drawn._replace(extra={"state": np.stack([mean, variance])})


def cusum(chart: Limits, *, k: float = 0.5, h: float = 5.0, start: ArrayLike = 0.0) -> Limits:
    """Add up the standardised points of a chart, above and below its centre.

    Parameters
    ----------
    chart : Limits
        Points, centre and standard errors.
    k, h : float
        Reference value and decision interval in standard errors.
    start : float, or array_like of shape (2, charts)
        Head start of both sums (h/2 is the fast initial response), or ``extra["state"]`` of the
        chart of the periods before.

    Returns
    -------
    Limits
        The larger of both sums, negative where it is the lower one; limits ±h. ``extra`` holds
        ``above`` and ``below``. The sums are not reset at a signal.

    Notes
    -----
    above = max(0, above + z - k), below = max(0, below - z - k).

    Source: Page (1954), Biometrika 41, 100; reference cases ``spc/time_weighted``.

    Examples
    --------
    >>> found = cusum(base.given([9.45, 7.99], centre=10, sd=1), start=2.5)
    >>> found.extra["below"][:, 0].round(2), found.value[:, 0].round(2)
    (array([2.55, 4.06]), array([-2.55, -4.06]))
    """
    return _sums(chart.z - k, -chart.z - k, h, start)


def cusum_poisson(
    k: ArrayLike, n: ArrayLike, *, rate: ArrayLike, ratio: float = 2.0, h: float = 5.0,
    start: ArrayLike = 0.0,
) -> Limits:  # fmt: skip
    """Add up the evidence for a rate ratio times higher, and for one ratio times lower.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and exposure; exposure 0 or missing is no point.
    rate : array_like, scalar or (charts,)
        Events per exposure when nothing has changed, above 0.
    ratio : float
        Change to find, above 1.
    h : float
        Decision interval in units of log likelihood.
    start
        As for :func:`cusum`.

    Returns
    -------
    Limits
        As for :func:`cusum`.

    Notes
    -----
    Increments k ln R - n rate (R - 1) with R = ratio above, 1/ratio below.

    Source: Lucas (1985), Technometrics 27, 129.

    Examples
    --------
    >>> cusum_poisson([3, 5], [1, 1], rate=2, h=3).extra["above"][:, 0].round(4)
    array([0.0794, 1.5452])
    """
    k, n = base.counted(k, n, share=False)
    level = np.asarray(rate, float)
    if not (ratio > 1 and (level > 0).all()):
        raise MethodError("rate and ratio: allowed: a rate above 0 and a ratio above 1")
    up, down = (k * np.log(r) - n * level * (r - 1) for r in (ratio, 1 / ratio))
    return _sums(up, down, h, start)


def cusum_bernoulli(
    k: ArrayLike, n: ArrayLike, *, share: ArrayLike, ratio: float = 2.0, h: float = 5.0,
    start: ArrayLike = 0.0,
) -> Limits:  # fmt: skip
    """Add up the evidence for odds ratio times higher, and for odds ratio times lower.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and opportunities: single outcomes (n = 1) or groups of any sizes.
    share : array_like, scalar or (charts,)
        Share when nothing has changed, above 0 and below 1.
    ratio : float
        Odds ratio to find, above 1.
    h : float
        Decision interval in units of log likelihood.
    start
        As for :func:`cusum`.

    Returns
    -------
    Limits
        As for :func:`cusum`.

    Notes
    -----
    Increments k ln R - n ln(1 - share + R share) with R = ratio above, 1/ratio below.

    Source: Steiner, Cook, Farewell and Treasure (2000), Biostatistics 1, 441.

    Examples
    --------
    >>> cusum_bernoulli([0, 1, 1], [1, 1, 1], share=0.1, h=3).extra["above"][:, 0].round(4)
    array([0.    , 0.5978, 1.1957])
    """
    k, n = base.counted(k, n, share=True)
    level = np.asarray(share, float)
    if not (ratio > 1 and ((level > 0) & (level < 1)).all()):
        raise MethodError("share and ratio: allowed: a share inside 0 and 1, a ratio above 1")
    up, down = (k * np.log(r) - n * np.log(1 - level + r * level) for r in (ratio, 1 / ratio))
    return _sums(up, down, h, start)


def _sums(up: Array, down: Array, h: float, start: ArrayLike) -> Limits:
    if not h > 0:
        raise MethodError(f"h: {h:g}; allowed: a decision interval above 0, usually 4 to 5")
    high, low = _started(start, (2, up.shape[1]))
    above, below = np.empty(up.shape), np.empty(up.shape)
    for row, seen in enumerate(np.isfinite(up)):
        high = np.where(seen, np.maximum(high + up[row], 0.0), high)
        low = np.where(seen, np.maximum(low + down[row], 0.0), low)
        above[row], below[row] = high, low
    value = np.where(np.isfinite(up), np.where(above >= below, above, -below), np.nan)
    ones = np.ones(up.shape)
    extra = {"above": above, "below": below, "state": np.stack([high, low])}
    return Limits(value, 0.0 * ones, -h * ones, h * ones, np.ones(up.shape[1]), ones, extra)


def _started(start: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    begun = np.zeros(()) if start is None else np.asarray(start, float)
    if begun.ndim and begun.shape != shape:
        raise MethodError(f"start: shape {begun.shape}; allowed: one number, or {shape}")
    return np.broadcast_to(begun, shape).copy()


# ---------------------------------------------------------------- several variables


def t2_chart(x: ArrayLike, *, baseline: ArrayLike | None = None, alpha: float = 0.0027) -> Limits:
    """Watch several variables together by Hotelling's T² of single observations.

    Parameters
    ----------
    x : array_like, shape (periods, charts, variables) or (periods, variables)
        Values; a period with a missing variable is no point.
    baseline : array_like of bool, shape (periods, charts) or (periods,), or None
        Periods that set mean and covariance; None means all.
    alpha : float
        False-alarm rate of a point.

    Returns
    -------
    Limits
        T², which knows no side: only the limit is judged. It is that of phase 1 for baseline
        points, that of phase 2 for others.
        ``extra`` holds ``mean`` (charts, variables) and ``cov`` (charts, variables, variables).

    Raises
    ------
    MethodError
        Fewer baseline periods than variables + 2, dependent variables, an infinite value.

    Notes
    -----
    T² = (x - x̄)ᵀ S⁻¹ (x - x̄).

    Source: Tracy, Young and Mason (1992), Journal of Quality Technology 24, 88; reference case
    ``spc/multivariate``.

    Examples
    --------
    >>> t2_chart([[1, 2], [2, 1], [3, 5], [4, 4], [5, 9]]).value[0].round(4)
    array([2.1818])
    """
    cube, used = _cube(x, baseline)
    center, cov, inverse = _moments(cube, used)
    apart = cube - center
    value = np.einsum("tkv,kvw,tkw->tk", apart, inverse, apart)
    limits = [
        [t2_limit(m, cube.shape[2], alpha=alpha, phase=p) for m in used.sum(axis=0)] for p in (1, 2)
    ]
    ones = np.ones(value.shape)
    upper = np.where(used, limits[0], limits[1])
    extra = {"mean": center, "cov": cov}
    return Limits(value, cube.shape[2] * ones, 0 * ones, upper, ones[:1].sum(axis=0), ones, extra)


def t2_limit(periods: int, variables: int, *, alpha: float = 0.0027, phase: int = 2) -> float:
    """Compute the limit of T² of single observations.

    Parameters
    ----------
    periods, variables : int
        Of the baseline.
    alpha : float
        False-alarm rate of a point.
    phase : int
        1: the point is part of the baseline (beta), 2: it is not (F).

    Returns
    -------
    float
        Upper limit.

    Examples
    --------
    >>> round(t2_limit(40, 3, phase=1), 4), round(t2_limit(40, 3, phase=2), 4)
    (12.2303, 18.3464)
    """
    m, p = int(periods), int(variables)
    if m < p + 2:
        raise MethodError(
            f"T²: {m} periods for {p} variables; allowed: at least {p + 2}; lengthen the baseline "
            "or watch fewer variables"
        )
    if phase == 1:
        return float((m - 1) ** 2 / m * stats.beta.isf(alpha, p / 2, (m - p - 1) / 2))
    return float(p * (m + 1) * (m - 1) / (m * (m - p)) * stats.f.isf(alpha, p, m - p))


def mewma(
    x: ArrayLike, *, h: float, weight: float = 0.1, baseline: ArrayLike | None = None,
    limits: str = "exact", start: ArrayLike | None = None,
) -> Limits:  # fmt: skip
    """Average several variables exponentially and watch them together.

    Parameters
    ----------
    x, baseline
        As for :func:`t2_chart`.
    h : float
        Limit of the statistic; ``arl.mewma_h`` finds it.
    weight, limits
        As for :func:`ewma`.
    start : array_like, shape (variables + 1, charts), or None
        ``extra["state"]`` of the chart of the periods before.

    Returns
    -------
    Limits
        T² of the averages; the lower limit is 0.

    Notes
    -----
    y = weight (x - x̄) + (1-weight) y, T² = yᵀ S⁻¹ y / c, c = weight² + (1-weight)² c or
    weight/(2-weight).

    Source: Lowry, Woodall, Champ and Rigdon (1992), Technometrics 34, 46.

    Examples
    --------
    >>> mewma([[1, 2], [2, 1], [3, 5], [4, 4], [5, 9]], h=8.63).value[:2, 0].round(4)
    array([2.1818, 1.772 ])
    """
    base.known("limits", limits, ("exact", "asymptotic"))
    cube, used = _cube(x, baseline)
    center, _, inverse = _moments(cube, used)
    apart = np.moveaxis(cube - center, 2, 1)
    state = _started(start, (cube.shape[2] + 1, cube.shape[1]))
    value = np.full(cube.shape[:2], np.nan)
    for row, point in enumerate(apart):
        seen = np.isfinite(point).all(axis=0)
        mean = weight * point + (1 - weight) * state[:-1]
        share = weight**2 + (1 - weight) ** 2 * state[-1]
        state = np.where(seen, np.vstack([mean, share]), state)
        scale = share if limits == "exact" else weight / (2 - weight)
        value[row] = np.einsum("vk,kvw,wk->k", mean, inverse, mean) / scale
    ones = np.ones(value.shape)
    centre = cube.shape[2] * ones
    return Limits(value, centre, 0 * ones, h * ones, ones[0], ones, {"state": state})


def _cube(x: ArrayLike, baseline: ArrayLike | None) -> tuple[Array, Mask]:
    cube = np.asarray(x, float)
    cube = cube[:, None, :] if cube.ndim == 2 else cube  # noqa: PLR2004
    flat = base.checked("x", cube.reshape(len(cube), -1)).reshape(cube.shape)
    return flat, base.chosen(flat.sum(axis=2), baseline)


def _moments(cube: Array, used: Mask) -> tuple[Array, Array, Array]:
    centers, covs = [], []
    for chart in range(cube.shape[1]):
        kept = cube[used[:, chart], chart]
        t2_limit(len(kept), cube.shape[2])
        centers.append(kept.mean(axis=0))
        covs.append(np.atleast_2d(np.cov(kept.T)))
        if np.linalg.matrix_rank(covs[-1]) < cube.shape[2]:
            raise MethodError(
                f"T²: the variables of chart {chart} depend on each other; allowed: none that "
                "follows from the others, none constant; leave one out"
            )
    cov = np.array(covs)
    return np.array(centers), cov, np.linalg.inv(cov)
