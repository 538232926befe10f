"""Spread between units with the sampling noise taken out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]


def between_sd(values: ArrayLike, variances: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Estimate the standard deviation of the true values between units.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        Estimates and their sampling variances; units with a missing one, or a variance of 0 or
        less, are left out.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Scalars in the unit of the values; NaN with fewer than three units.

    Notes
    -----
    Q(τ²) = Σ w (y - ȳ_w)², w = 1/(v + τ²). The estimate solves Q = k - 1 (Paule-Mandel), the ends
    solve Q = χ²(k-1) quantiles (Q-profile); where Q(0) is below, the answer is 0.

    Source: Viechtbauer (2007), Statistics in Medicine 26, 37.

    Examples
    --------
    >>> [round(float(v), 3) for v in between_sd([0.7, 0.8, 0.9], [0.001, 0.001, 0.001])]
    [0.095, 0.041, 0.628]
    """
    values, variances = np.asarray(values, float), np.asarray(variances, float)
    used = np.isfinite(values) & np.isfinite(variances) & (variances > 0)
    y, v = values[used], variances[used]
    if y.size < 3:  # noqa: PLR2004
        return Interval(*(np.asarray(np.nan),) * 3)
    freedom = y.size - 1

    def spread(tau2: float) -> float:
        w = 1 / (v + tau2)
        centre = (w * y).sum() / w.sum()
        return float((w * (y - centre) ** 2).sum())

    tail = (1 - confidence) / 2
    aims = (freedom, stats.chi2.ppf(1 - tail, freedom), stats.chi2.ppf(tail, freedom))
    return Interval(*(np.asarray(np.sqrt(_solve(spread, float(aim)))) for aim in aims))


def _solve(spread: Callable[[float], float], aim: float) -> float:
    if spread(0.0) <= aim:
        return 0.0
    high = 1e-6
    while spread(high) > aim:
        high *= 4
    return float(optimize.brentq(lambda t: spread(t) - aim, 0.0, high, xtol=1e-15, rtol=1e-12))
