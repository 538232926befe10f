"""Partial pooling: what one unit does not know for itself it borrows from the others.

Each function returns the unit's own answer when its data are many, the common answer when they
are few, and the share of its own data in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.pooling import shrink
from dealerqm.stats import quantiles
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
FIRM = 1e6
FEWEST = 3  # units whose spread says something
GRID = 13  # strengths from which the search starts, a factor of four apart
NEWTON = 6  # steps; they reach the last digit


class Pooled(NamedTuple):
    """Levels of units after pooling; all of shape (units,).

    Attributes
    ----------
    estimate, sd : ndarray
        Level and its standard deviation.
    own : ndarray
        Share of the unit's own data in the estimate, 0..1.
    common, strength : float
        Level of all units, and how much data it is worth (trials, exposure; 1/τ² for values).
    """

    estimate: Array
    sd: Array
    own: Array
    common: float
    strength: float


def beta_binomial(k: ArrayLike, n: ArrayLike, *, dispersion: ArrayLike = 1.0) -> Pooled:
    """Pool shares of units.

    Parameters
    ----------
    k, n : array_like, shape (units,)
        Events and trials; n = 0 is a unit without data.
    dispersion : array_like
        Variance over the binomial one within a unit; counts are divided by it.

    Returns
    -------
    Pooled
        Shares.

    Notes
    -----
    True shares ~ Beta(m s, (1-m) s); m and s by maximum likelihood over all units; a unit's share
    is (k + m s)/(n + s).

    Source: Griffiths (1973), Biometrics 29, 637 (likelihood); conjugate posterior.

    Examples
    --------
    >>> found = beta_binomial([8, 40, 0], [10, 80, 0])
    >>> found.own.round(2)[2], bool(found.estimate[0] < 0.8)
    (np.float64(0.0), True)
    """
    k, n, size = _thin(k, n, dispersion)

    def loss(x: Array) -> float:
        mean, strength = float(special.expit(x[0])), float(np.exp(x[1]))
        a, b = mean * strength, (1 - mean) * strength
        return -float((special.betaln(k + a, n - k + b) - special.betaln(a, b)).sum())

    share = (k.sum() + 0.5) / (n.sum() + 1)
    x = _fit(loss, float(special.logit(share)))
    mean, strength = float(special.expit(x[0])), float(np.exp(x[1]))
    after = size + strength
    estimate = (k + mean * strength) / after
    return Pooled(
        estimate, np.sqrt(estimate * (1 - estimate) / (after + 1)), size / after, mean, strength
    )


def gamma_poisson(k: ArrayLike, exposure: ArrayLike, *, dispersion: ArrayLike = 1.0) -> Pooled:
    """Pool rates of units.

    Parameters
    ----------
    k, exposure : array_like, shape (units,)
        Events and what they are counted per; exposure 0 is a unit without data.
    dispersion : array_like
        Variance over the Poisson one within a unit; counts and exposure are divided by it.

    Returns
    -------
    Pooled
        Rates per unit of exposure.

    Notes
    -----
    True rates ~ Gamma(m s, s); m and s by maximum likelihood over all units; a unit's rate is
    (k + m s)/(exposure + s).

    Source: Clayton and Kaldor (1987), Biometrics 43, 671.

    Examples
    --------
    >>> found = gamma_poisson([2, 30, 12], [1, 10, 6])
    >>> bool(found.estimate[0] > 2), bool(found.own[1] > found.own[0])
    (True, True)
    """
    k, e, size = _thin(k, exposure, dispersion)
    used = e > 0

    def loss(x: Array) -> float:
        mean, strength = float(np.exp(x[0])), float(np.exp(x[1]))
        a = mean * strength
        terms = special.gammaln(k + a) - special.gammaln(a) - (k + a) * np.log1p(e / strength)
        return -float((terms - k * np.log(strength))[used].sum())

    x = _fit(loss, float(np.log((k.sum() + 0.5) / max(float(e.sum()), 1e-12))))
    mean, strength = float(np.exp(x[0])), float(np.exp(x[1]))
    after = size + strength
    estimate = (k + mean * strength) / after
    return Pooled(estimate, np.sqrt(estimate / after), size / after, mean, strength)


def normal(values: ArrayLike, variances: ArrayLike) -> Pooled:
    """Pool levels of units with known sampling variances.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        Estimates and their sampling variances; NaN or an infinite variance is a unit without
        data.

    Returns
    -------
    Pooled
        In the unit of the values; with fewer than three units every one stands for itself.

    Notes
    -----
    τ² by Paule-Mandel; w = 1/(v + τ²), common = Σ w y/Σ w, own = τ²/(τ² + v), estimate = own y +
    (1 - own) common, variance = own v + (1 - own)²/Σ w.

    Source: Morris (1983), JASP 78, 47; ``shrink.between_sd``.

    Examples
    --------
    >>> found = normal([0.0, 2.0, 4.0, np.nan], [1.0, 1.0, 1.0, np.inf])
    >>> found.estimate.round(3), found.own.round(3)
    (array([0.5, 2. , 3.5, 2. ]), array([0.75, 0.75, 0.75, 0.  ]))
    """
    y, v = np.asarray(values, float), np.asarray(variances, float)
    known = np.isfinite(y) & np.isfinite(v) & (v > 0)
    tau2 = float(shrink.between_sd(y[known], v[known]).estimate) ** 2
    if not np.isfinite(tau2):
        return Pooled(y, np.sqrt(v), np.where(known, 1.0, 0.0), float("nan"), 0.0)
    w = np.where(known, 1 / (np.where(known, v, 1.0) + tau2), 0.0)
    common = float((w[known] * y[known]).sum() / w.sum())
    own = np.where(known, tau2 * w, 0.0)
    level = own * np.where(known, y, 0.0) + (1 - own) * common
    variance = own * np.where(known, v, 0.0) + (1 - own) ** 2 / w.sum()
    variance = np.where(known, variance, tau2 + 1 / w.sum())
    return Pooled(level, np.sqrt(variance), own, common, 1 / max(tau2, 1 / FIRM))


class Variances(NamedTuple):
    """Variances after pooling.

    Attributes
    ----------
    variance, freedom : ndarray, shape (units,)
        Pooled variance and its degrees of freedom, own and borrowed.
    common, borrowed : ndarray, shape (units,)
        Variance of the unit's group, and the degrees of freedom it lends.
    """

    variance: Array
    freedom: Array
    common: Array
    borrowed: Array


def variances(
    variance: ArrayLike, freedom: ArrayLike, groups: ArrayLike | None = None
) -> Variances:
    """Pool variances of units within groups.

    Parameters
    ----------
    variance, freedom : array_like, shape (units,)
        Own variances and degrees of freedom; 0 degrees or a missing variance borrows all.
    groups : array_like of int, shape (units,), or None
        Units with the same number pool; None means all do.

    Returns
    -------
    Variances
        With fewer than three usable units in a group every one stands for itself.

    Notes
    -----
    True variances ~ scaled inverse χ²(d0, s0²); log s² has the mean log s0² + g(d) - g(d0) with
    g(d) = ψ(d/2) - log(d/2) and the variance ψ'(d/2) + ψ'(d0/2), which give d0 and s0² by
    moments; d0 is at most Σ d, where s0² is the plain mean. Pooled: (d0 s0² + d s²)/(d0 + d).

    Source: Smyth (2004), Statistical Applications in Genetics 3(1), 3; R ``limma::fitFDist``.

    Examples
    --------
    >>> found = variances([1.0, 1.1, 0.9, 1.0], [20, 20, 20, 20])
    >>> found.variance.round(3)
    array([1.  , 1.02, 0.98, 1.  ])
    """
    s2, d = np.asarray(variance, float), np.asarray(freedom, float)
    index = np.zeros(s2.shape, int) if groups is None else np.asarray(groups)
    usable = np.isfinite(s2) & (s2 > 0) & (d > 0)
    _, place = np.unique(index, return_inverse=True)
    common, borrowed = (part[place] for part in _prior(s2, d, place, usable))
    own = np.where(usable, d, 0.0)
    total = own + borrowed
    sums = own * np.where(usable, s2, 0.0) + borrowed * np.nan_to_num(common)
    pooled = np.divide(sums, total, out=np.full(s2.shape, np.nan), where=total > 0)
    return Variances(pooled, total, common, borrowed)


def _prior(
    s2: Array, d: Array, place: NDArray[np.int64], used: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Estimate each group's variance and the degrees of freedom it lends; numbered from 0."""
    groups = int(place.max(initial=-1)) + 1
    place, s2, d = place[used], s2[used], d[used]
    count = np.bincount(place, minlength=groups)
    some = count >= FEWEST

    def mean(x: Array) -> Array:
        total = np.bincount(place, weights=x, minlength=groups)
        return np.asarray(total / np.maximum(count, 1), np.float64)

    shifted = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    level = mean(shifted)
    spread = mean((shifted - level[place]) ** 2) * count / np.maximum(count - 1, 1)
    excess = spread - mean(special.zeta(2, d / 2))
    most = mean(d) * count
    plain = mean(d * s2) * count / np.where(most > 0, most, 1.0)
    own = excess > 0
    lent = np.where(own, 2 * _trigamma_inverse(np.where(own, excess, 1.0)), np.inf)
    kept = np.where(lent < most, lent, 1.0)
    own_level = np.exp(level + special.digamma(kept / 2) - np.log(kept / 2))
    common = np.where(lent < most, own_level, plain)
    return np.where(some, common, np.nan), np.where(some, np.minimum(lent, most), 0.0)


def _trigamma_inverse(y: Array) -> Array:
    """Solve ψ'(x) = y by Newton steps on 1/ψ', which is nearly a straight line."""
    x = (1 + np.sqrt(1 + 2 * y)) / (2 * y)
    for _ in range(NEWTON):
        now = special.zeta(2, x)
        x = x - now * (1 - now / y) / (2 * special.zeta(3, x))
    return x


def correlations(phi: ArrayLike, variance: ArrayLike, groups: ArrayLike) -> Array:
    """Pool autocorrelations of charts within groups, and the groups among each other.

    Parameters
    ----------
    phi, variance : array_like, shape (charts,)
        Estimates without small-sample bias and their sampling variances; NaN is unknown.
    groups : array_like of int, shape (charts,)
        Charts of one kind, such as a KPI.

    Returns
    -------
    ndarray, shape (charts,)
        Pooled autocorrelations, not below 0; 0 where nothing is known at all.

    Notes
    -----
    The variance between charts of a group, and between groups, is what the observed one exceeds
    the sampling variance by; each level is drawn to the one above in proportion.

    Source: the normal case of ``normal``, applied twice.

    Examples
    --------
    >>> correlations([0.9, -0.3, 0.3, 0.3], [0.1, 0.1, 0.1, 0.1], [0, 0, 1, 1]).round(3)
    array([0.733, 0.   , 0.3  , 0.3  ])
    """
    r, v = np.asarray(phi, float), np.asarray(variance, float)
    known = np.isfinite(r) & np.isfinite(v) & (v > 0)
    if not known.any():
        return np.zeros(r.shape)
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    weight = np.where(known, 1 / np.where(known, v, 1.0), 0.0)
    total = np.bincount(place, weights=weight)
    some = total > 0
    means = np.bincount(place, weights=weight * np.nan_to_num(r)) / np.where(some, total, 1.0)
    off = np.where(known, r - means[place], 0.0)
    within = _excess(float((weight * off**2).sum()), int(known.sum() - some.sum()))
    within /= float(weight[known].mean())
    sampling = np.where(some, 1 / np.where(some, total, 1.0), np.inf)
    sampling += within / np.maximum(np.bincount(place, weights=known), 1)
    grand = float((total * means).sum() / total.sum())
    spread = float(((means - grand)[some] ** 2 / sampling[some]).sum())
    between = _excess(spread, int(some.sum()) - 1) * float(sampling[some].mean())
    level = (grand + between / (between + sampling) * (means - grand))[place]
    own = within / (within + np.where(known, v, np.inf))
    return np.maximum(level + own * np.where(known, r - level, 0.0), 0.0)


def _excess(squares: float, freedom: int) -> float:
    """Share by which squares in units of the sampling variance exceed their expectation."""
    return max(squares / freedom - 1, 0.0) if freedom > 0 else 0.0


def predictive(
    family: str, pooled: Pooled, size: ArrayLike, *, alpha: float, dispersion: ArrayLike = 1.0
) -> Interval:
    """Limits between which the next share or rate of a unit falls.

    Parameters
    ----------
    family : str
        ``share`` or ``rate``.
    pooled : Pooled
        From ``beta_binomial`` or ``gamma_poisson``.
    size : array_like, shape (units,) or (periods, units)
        Trials or exposure of the next points.
    alpha : float
        Chance of a stable point beyond the limits, at most half on either side.
    dispersion : array_like
        Variance over the binomial or Poisson one within a unit.

    Returns
    -------
    Interval
        Level, lower and upper limit; a point on a limit is inside.

    Notes
    -----
    Quantiles of the beta-binomial or negative binomial distribution whose variance is that of a
    point (dispersed) plus that of the unit's level.

    Source: posterior predictive of the conjugate pair, matched to the dispersion by its variance.

    Examples
    --------
    >>> pooled = Pooled(np.array([0.9]), np.array([0.01]), np.ones(1), 0.9, 10.0)
    >>> [float(v[0]) for v in predictive("share", pooled, [20], alpha=0.05)]
    [0.9, 0.75, 1.0]
    """
    level, n = np.broadcast_arrays(pooled.estimate, np.asarray(size, float))
    known = (n > 0) & np.isfinite(level)
    n, m = np.where(known, n, 1.0), np.where(known, level, 0.5)
    noise = m * (1 - m) if family == "share" else m
    variance = noise / n * np.asarray(dispersion, float) + pooled.sd**2
    chances = (alpha / 2, 1 - alpha / 2)
    if family == "share":
        ratio = np.clip(variance * n / noise, 1 + 1e-9, np.maximum(n * (1 - 1e-9), 1 + 2e-9))
        strength = (n - 1) / (ratio - 1) - 1
        strength = np.clip(strength, 1e-6, FIRM)
        found = quantiles.beta_binomial(chances, np.round(n), m * strength, (1 - m) * strength)
    else:
        ratio = np.maximum(variance * n / noise, 1 + 1e-9)
        law = stats.nbinom(m * n / (ratio - 1), 1 / ratio)
        found = np.array([law.ppf(chance) for chance in chances])
    ends = (np.where(known, v / n, np.nan) for v in found)
    return Interval(np.where(known, level, np.nan), *ends)


def _thin(k: ArrayLike, n: ArrayLike, dispersion: ArrayLike) -> tuple[Array, Array, Array]:
    factor = np.maximum(np.asarray(dispersion, float), 1e-3)
    size = np.nan_to_num(np.asarray(n, float)) / factor
    return np.nan_to_num(np.asarray(k, float)) / factor, size, size


def _fit(loss: Callable[[Array], float], start: float) -> Array:
    """Search mean and strength from the best strength of a grid; no matrices, so no threads."""
    low, firm = -3.0, float(np.log(FIRM))
    best = min(np.linspace(low, firm, GRID), key=lambda s: loss(np.array([start, s])))
    found = optimize.minimize(
        loss, [start, best], method="Nelder-Mead", bounds=[(start - 6, start + 6), (low, firm)],
        options={"xatol": 1e-7, "fatol": 1e-9},
    )  # fmt: skip
    return np.asarray(found.x, np.float64)
