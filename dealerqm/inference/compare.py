"""Units fairly compared: levels drawn together by what chance explains, outliers by a stated rule.

Arrays of shape (units,); a unit is a store or a person. A table of raw scores mostly orders noise;
ranks with their doubt are in ``pooling.levels``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.pooling import pool
from dealerqm.pooling.levels import LEAST, between_variance, counts, usable
from dealerqm.stats import multiple
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
ROUNDS = 20  # of leaving named outliers out; a few are enough
CAUTION = 10  # the first round names at a tenth of the rate
MIDDLE = 0.4549364231195724  # median of χ² on 1 degree of freedom


class Shrunken(NamedTuple):
    """Levels of units drawn towards their common level.

    Attributes
    ----------
    level : Interval
        Level of each unit; shape (units,).
    sd, own : ndarray, shape (units,)
        Its standard deviation, and the share of the unit's own data in it, 0..1.
    common, common_se : float
        Mean of the true levels, and its standard error.
    tau2 : float
        Variance of the true levels.
    q, i2 : float
        Cochran's Q, and the share of the spread that is no sampling noise (0..1).
    """

    level: Interval
    sd: Array
    own: Array
    common: float
    common_se: float
    tau2: float
    q: float
    i2: float


def shrink_means(
    values: ArrayLike, variances: ArrayLike, *, method: str = "REML", confidence: float = 0.95
) -> Shrunken:
    """Shrink means of units with known sampling variances.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        Estimates and their sampling variances; a unit with a missing one has no data of its own
        and gets the common level.
    method : str
        Estimator of the variance between units: ``REML``, ``DL`` (DerSimonian-Laird) or ``PM``
        (Paule-Mandel).
    confidence : float
        Two-sided level of each unit's interval.

    Returns
    -------
    Shrunken
        In the unit of the values.

    Raises
    ------
    MethodError
        Fewer than three units with data, a variance of 0 or below, or an unknown method.

    Notes
    -----
    w = 1/(v + τ²), common = Σwy/Σw, own = τ²w, level = own y + (1 - own) common, variance =
    own v + (1 - own)²/Σw. I² = τ²/(τ² + s²) with s² = (k-1)Σu/((Σu)² - Σu²), u = 1/v.

    Source: Morris (1983), JASP 78, 47; Viechtbauer (2005), Journal of Educational and Behavioral
    Statistics 30, 261; R ``metafor::rma``, ``blup``; reference cases
    ``survey/intervals_shrinkage``.

    Examples
    --------
    >>> found = shrink_means([0.0, 2.0, 4.0, np.nan], [1.0, 1.0, 1.0, np.nan])
    >>> found.level.estimate.round(3), found.own.round(3), round(found.tau2, 3)
    (array([0.5, 2. , 3.5, 2. ]), array([0.75, 0.75, 0.75, 0.  ]), 3.0)
    """
    y, v, known = usable(values, variances)
    tau2 = between_variance(y[known], v[known], method=method)
    w = np.where(known, 1 / (v + tau2), 0.0)
    common, own = float(w @ y / w.sum()), tau2 * w
    level = own * y + (1 - own) * common
    variance = np.where(known, own * v, tau2) + (1 - own) ** 2 / w.sum()
    half = special.ndtri(0.5 + confidence / 2) * np.sqrt(variance)
    u = 1 / v[known]
    noise = (u.size - 1) * u.sum() / (u.sum() ** 2 - (u**2).sum())
    q = float(u @ (y[known] - u @ y[known] / u.sum()) ** 2)
    return Shrunken(
        Interval(level, level - half, level + half), np.sqrt(variance), own, common,
        float(1 / np.sqrt(w.sum())), tau2, q, float(tau2 / (tau2 + noise)),
    )  # fmt: skip


def shrink_shares(
    k: ArrayLike, n: ArrayLike, *, dispersion: ArrayLike = 1.0, confidence: float = 0.95
) -> Shrunken:
    """Shrink shares of units.

    Parameters
    ----------
    k, n : array_like, shape (units,)
        Events and trials (weighted counts: effective ones); n = 0 is a unit without data.
    dispersion : array_like
        Variance over the binomial one within a unit (design effect).
    confidence : float
        Two-sided level of each unit's interval.

    Returns
    -------
    Shrunken
        Shares; ``q`` and ``i2`` are NaN.

    Raises
    ------
    MethodError
        Fewer than three units with data, or counts that cannot be.

    Notes
    -----
    ``pooling.pool.beta_binomial``; intervals are quantiles of each unit's beta distribution, the
    common distribution taken as known.

    Examples
    --------
    >>> found = shrink_shares([8, 40, 30, 0], [10, 80, 80, 0])
    >>> bool(found.level.estimate[0] < 0.8), bool(found.own[3] == 0)
    (True, True)
    """
    events, trials = counts(k, n)
    found = pool.beta_binomial(events, trials, dispersion=dispersion)
    size = np.broadcast_to(trials / np.asarray(dispersion, float), events.shape) + found.strength
    a, b = found.estimate * size, (1 - found.estimate) * size
    tail = (1 - confidence) / 2
    low, high = (special.betaincinv(a, b, level) for level in (tail, 1 - tail))
    tau2 = found.common * (1 - found.common) / (found.strength + 1)
    se = float(np.sqrt(tau2 / found.own.sum())) if found.own.sum() > 0 else np.nan
    return Shrunken(
        Interval(found.estimate, low, high), found.sd, found.own, found.common, se, tau2,
        np.nan, np.nan,
    )  # fmt: skip


class Outliers(NamedTuple):
    """Units tested against the others; all of shape (units,), NaN without data.

    Attributes
    ----------
    gap : ndarray
        Value minus the common level of the others.
    z, p, q : ndarray
        Score beyond the margin, its two-sided p-value, and the same under false-discovery control.
    outlier : ndarray of bool
        Units that stand out by the rule.
    """

    gap: Array
    z: Array
    p: Array
    q: Array
    outlier: NDArray[np.bool_]


def outliers(
    values: ArrayLike, variances: ArrayLike, *, rate: float, margin: float = 0.0,
    spread: str = "between",
) -> Outliers:  # fmt: skip
    """Find units that stand out from the others by a stated rule.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        As for :func:`shrink_means`.
    rate : float
        Expected share of false discoveries among the units named.
    margin : float
        Gaps up to this size do not matter (unit of the values).
    spread : str
        ``between``: units differ by nature, only one that does not fit their spread stands out;
        ``none``: every gap beyond the margin counts.

    Returns
    -------
    Outliers
        See there.

    Raises
    ------
    MethodError
        As for :func:`shrink_means`, or an unknown spread.

    Notes
    -----
    Each unit is left out of the common level and of the spread (DerSimonian-Laird, three steps)
    that it is tested against. Where a spread counts, so are units already named, from the misfits
    of the median on and until nothing changes: outliers cannot hide each other. p = P(T > z₋) +
    P(T > z₊) with z∓ = (|gap| ∓ margin)/se; T is Student's on (v + τ²)² Σ w² - 1 degrees, the doubt
    about the spread, or normal where none counts; q by Benjamini-Hochberg.

    Source: Viechtbauer and Cheung (2010), Research Synthesis Methods 1, 112 (deleted residuals).

    Examples
    --------
    >>> found = outliers([5, 5.1, 4.9, 5.05, 4.95, 9], [0.01] * 6, rate=0.05)
    >>> found.outlier.tolist(), found.gap[5].round(2)
    ([False, False, False, False, False, True], np.float64(4.0))
    """
    if spread not in ("between", "none"):
        raise MethodError(unknown("spread", spread, ("between", "none")))
    y, v, known = usable(values, variances, least=LEAST + 1)
    at = np.flatnonzero(known)
    y, v, between = y[at], v[at], spread == "between"
    least, company = max(LEAST + 1, at.size / 2), np.ones(at.size, bool)
    kept = _near_middle(y, v, rate / CAUTION) if between else company
    for _ in range(ROUNDS if between else 1):
        company = kept if kept.sum() >= least else company
        gap, se, freedom = _apart(y, v, company, between=between)
        near, far = (np.abs(gap) - margin) / se, (np.abs(gap) + margin) / se
        p = np.minimum(special.stdtr(freedom, -near) + special.stdtr(freedom, -far), 1.0)
        kept = multiple.benjamini_hochberg(p) > rate
        if (kept == company).all() or kept.sum() < least:
            break
    found = np.full((3, known.size), np.nan)
    found[:, at] = gap, np.sign(gap) * np.maximum(near, 0.0), p
    q = multiple.benjamini_hochberg(found[2])
    return Outliers(found[0], found[1], found[2], q, q <= rate)


def _near_middle(y: Array, v: Array, rate: float) -> NDArray[np.bool_]:
    """Units that fit the median and a spread at which the middle score has its size by chance."""
    off = (y - np.median(y)) ** 2

    def excess(tau2: float) -> float:
        return float(np.median(off / (v + tau2)) - MIDDLE)

    tau2 = optimize.brentq(excess, 0.0, off.max() / MIDDLE) if excess(0.0) > 0 else 0.0
    return multiple.benjamini_hochberg(2 * special.ndtr(-np.sqrt(off / (v + tau2)))) > rate


def _apart(
    y: Array, v: Array, company: NDArray[np.bool_], *, between: bool
) -> tuple[Array, Array, Array]:
    """Gap of each unit to the company without it, its error, and degrees of freedom."""
    others = company & ~np.eye(y.size, dtype=bool)
    tau2, w = np.zeros(y.size), others / v
    for _ in range(3 if between else 0):
        total = w.sum(axis=1)
        squares = (w * (y - (w @ y / total)[:, None]) ** 2).sum(axis=1)
        noise = w @ v - w**2 @ v / total
        tau2 = np.maximum((squares - noise) / (total - (w**2).sum(axis=1) / total), 0.0)
        w = others / (v + tau2[:, None])
    se = np.sqrt(v + tau2 + 1 / w.sum(axis=1))
    freedom = np.clip((v + tau2) ** 2 * (w**2).sum(axis=1) - 1, 1.0, others.sum(axis=1) - 1.0)
    return y - w @ y / w.sum(axis=1), se, freedom if between else np.full(y.size, np.inf)


class Clustering(NamedTuple):
    """How alike answers of one unit are; scalars.

    Attributes
    ----------
    icc : Interval
        Intraclass correlation.
    between, within : float
        Mean squares.
    size : float
        Mean answers a unit, corrected for unequal sizes.
    effect : float
        Design effect of drawing whole units.
    """

    icc: Interval
    between: float
    within: float
    size: float
    effect: float


def clustering(
    n: ArrayLike, mean: ArrayLike, squares: ArrayLike, *, confidence: float = 0.95
) -> Clustering:
    """Measure how alike answers of one unit are, from the moments of units.

    Parameters
    ----------
    n, mean, squares : array_like, shape (units,)
        Answers, their mean, and sum of squared deviations from it; units with n = 0 are left out.
    confidence : float
        Two-sided level.

    Returns
    -------
    Clustering
        See there.

    Raises
    ------
    MethodError
        Fewer than two units, no unit with two answers, or answers that never vary.

    Notes
    -----
    (MSB - MSW)/(MSB + (n₀-1)MSW), n₀ = (N - Σn²/N)/(k-1); the F interval is exact for equal sizes
    and normal answers. Effect 1 + (n₀-1) icc.

    Source: Donner (1986), International Statistical Review 54, 67; reference cases
    ``survey/intervals_shrinkage``.

    Examples
    --------
    >>> found = clustering([2, 2], [1.0, 3.0], [0.5, 0.5])
    >>> found.between, found.within, round(float(found.icc.estimate), 4)
    (4.0, 0.5, 0.7778)
    """
    size, m, s = (np.asarray(v, float) for v in (n, mean, squares))
    used = size > 0
    size, m, s = size[used], m[used], s[used]
    k, total = size.size, float(size.sum())
    if k < 2 or total <= k:  # noqa: PLR2004
        raise MethodError(
            f"n: {total:g} answers of {k} units; allowed: two units or more, and one of them with "
            "two answers or more."
        )
    between = float(size @ (m - size @ m / total) ** 2) / (k - 1)
    within = float(s.sum()) / (total - k)
    if between + within == 0:
        raise MethodError(f"mean: all {total:g} answers are {m[0]:g}; nothing varies to explain.")
    mid = (total - float(size @ size) / total) / (k - 1)
    tail = (1 - confidence) / 2
    ratio = between / within if within > 0 else np.inf
    cut = stats.f.isf([tail, 1 - tail], k - 1, total - k)
    f = np.array([ratio, *(ratio / cut)])
    value = np.where(np.isfinite(f), (f - 1) / (np.where(np.isfinite(f), f, 0) + mid - 1), 1.0)
    icc = Interval(*(np.asarray(v) for v in value))
    return Clustering(icc, between, within, mid, 1 + (mid - 1) * float(value[0]))
