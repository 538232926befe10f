"""Funnels: units compared with each other at one time, with exact limits and over-dispersion.

Matrices ``(units, charts)``; everything else is as in ``limits``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.base import Array, Limits


def funnel_share(
    k: ArrayLike, n: ArrayLike, *, level: float = 0.998, adjust: str = "none",
    winsor: float = 0.1,
) -> Limits:  # fmt: skip
    """Compare the shares of units with their common share.

    Parameters
    ----------
    k, n : array_like, shape (units, charts) or (units,)
        Events and opportunities; n = 0 or missing is no point.
    level : float
        Share of units inside the limits when all are alike.
    adjust : str
        ``none``: exact binomial limits; ``phi``: standard errors widened by the winsorised
        over-dispersion, never narrowed; ``tau2``: spread between units added.
    winsor : float
        Share of the z-scores pulled in at each end before the over-dispersion is measured.

    Returns
    -------
    Limits
        Shares; ``centre`` is the common share, ``z`` the score under the adjustment. ``extra``
        holds ``phi`` and ``tau2`` (charts,), ``p`` two-sided and ``q`` (Benjamini-Hochberg over the
        units) of z.

    Raises
    ------
    MethodError
        Counts that cannot be, or an unknown choice.

    Notes
    -----
    Exact limits interpolate between the counts around the quantile. φ = mean of the squared
    winsorised z; τ² = (mφ - (m-1)) / (Σw - Σw²/Σw) with w = 1/se², cut at 0.

    Source: Spiegelhalter (2005), Statistics in Medicine 24, 1185, sections 5 and A.1; reference
    cases ``spc/funnel``.

    Examples
    --------
    >>> found = funnel_share([5, 9, 40], [100, 100, 100], level=0.95)
    >>> found.upper[0, 0].round(4), found.extra["phi"].round(2)
    (np.float64(0.2535), array([10.83]))
    """
    k, n = base.counted(k, n, share=True)
    base.refuse("n", n, n % 1 > 0, "whole numbers for exact binomial limits")
    share = np.broadcast_to(base.divide(np.nansum(k, axis=0), np.nansum(n, axis=0)), k.shape)

    def exact(tail: float) -> Array:
        return _between(stats.binom(n, share), tail) / n

    se = np.sqrt(share * (1 - share) / n)
    return _funnel(Limits(k / n, share, se, se, se, se), exact, (level, winsor), adjust)


def funnel_ratio(
    observed: ArrayLike, expected: ArrayLike, *, level: float = 0.998, adjust: str = "none",
    winsor: float = 0.1,
) -> Limits:  # fmt: skip
    """Compare ratios of observed to expected events with 1.

    Parameters
    ----------
    observed, expected : array_like, shape (units, charts) or (units,)
        Counts, and what a unit's mix of cases leads to expect, above 0.
    level, adjust, winsor
        As for :func:`funnel_share`, with exact Poisson limits.

    Returns
    -------
    Limits
        As for :func:`funnel_share`.

    Examples
    --------
    >>> funnel_ratio([23, 31], [19.54, 37.01], level=0.95).lower[:, 0].round(4)
    array([0.5559, 0.6775])
    """
    k, n = base.counted(observed, expected, share=False)

    def exact(tail: float) -> Array:
        return _between(stats.poisson(n), tail) / n

    se, one = 1 / np.sqrt(n), np.ones(k.shape)
    return _funnel(Limits(k / n, one, se, se, se, se), exact, (level, winsor), adjust)


def _between(law: stats.rv_frozen, level: float) -> Array:
    """Quantile of counts, interpolated between the counts around it; not below 0."""
    count = law.ppf(level)
    part = base.divide(law.cdf(count) - level, law.pmf(count))
    result: Array = np.maximum(count - part, 0.0)
    return result


def _funnel(
    plain: Limits, exact: Callable[[float], Array], policy: tuple[float, float], adjust: str
) -> Limits:
    """Limits about the centre of ``plain``, whose ``sd`` is the standard error of each unit."""
    base.known("adjust", adjust, ("none", "phi", "tau2"))
    (level, winsor), se = policy, plain.sd
    if not (0 < level < 1 and 0 <= winsor < 1 / 2):
        raise MethodError(
            f"level, winsor: {level:g}, {winsor:g}; allowed: inside 0 and 1, 0 up to below 0.5"
        )
    phi, tau2 = _overdispersion(plain.z, base.divide(1, se**2), winsor)
    sds = {"none": se, "phi": se * np.sqrt(np.maximum(phi, 1)), "tau2": np.sqrt(se**2 + tau2)}
    tail = (1 - level) / 2
    drawn = base.symmetric(
        plain.value, plain.centre, sds[adjust],
        sigma=float(-special.ndtri(tail)), sigma_z=np.sqrt(phi), bounds=(0.0, np.inf),
    )  # fmt: skip
    if adjust == "none":
        drawn = drawn._replace(lower=exact(tail), upper=exact(1 - tail))
    p = 2 * special.ndtr(-np.abs(drawn.z))
    return drawn._replace(extra={"phi": phi, "tau2": tau2, "p": p, "q": _adjusted(p)})


def _overdispersion(z: Array, weight: Array, winsor: float) -> tuple[Array, Array]:
    units = np.isfinite(z).sum(axis=0)
    ends = [[_quantile(column, q) for column in z.T] for q in (winsor, 1 - winsor)]
    phi = base.mean(np.clip(z, *(np.array(end) for end in ends)) ** 2)
    total, squares = (base.total(part, np.isfinite(z)) for part in (weight, weight**2))
    spread = base.divide(units * phi - (units - 1), total - base.divide(squares, total))
    return phi, np.maximum(spread, 0.0)


def _quantile(column: Array, level: float) -> float:
    known = column[np.isfinite(column)]
    return float(np.quantile(known, level)) if known.size else np.nan


def _adjusted(p: Array) -> Array:
    q = np.full(p.shape, np.nan)
    for chart, column in enumerate(p.T):
        known = np.isfinite(column)
        if known.any():
            q[known, chart] = stats.false_discovery_control(column[known])
    return q
