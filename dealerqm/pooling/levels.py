"""Levels of units that estimates and their noise leave open: spread, draws and ranks.

Arrays of shape (units,); a unit is a store or a person.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.pooling import pool, shrink
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
METHODS = ("REML", "DL", "PM")
GRID = 201  # spreads at which the likelihood is looked at
LEAST = 3  # units below which a spread between them cannot be told
FIRM = 1e6  # strength (in trials) from which all shares are the same


def between_variance(values: ArrayLike, variances: ArrayLike, *, method: str = "REML") -> float:
    """Estimate the variance of the true levels between units.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        As for :func:`usable`; units with a missing one are left out.
    method : str
        ``REML``, ``DL`` or ``PM``.

    Returns
    -------
    float
        0 where the values spread no more than noise.

    Raises
    ------
    MethodError
        As for :func:`usable`.

    Notes
    -----
    REML maximises -½(Σ log(v+τ²) + log Σw + Σ w (y-ȳ_w)²); DL: (Q - (k-1))/(Σu - Σu²/Σu);
    PM: ``shrink.between_sd``.

    Source: Veroniki et al. (2016), Research Synthesis Methods 7, 55.

    Examples
    --------
    >>> [round(between_variance([0, 2, 4], [1, 1, 1], method=m), 4) for m in ("REML", "DL", "PM")]
    [3.0, 3.0, 3.0]
    """
    if method not in METHODS:
        raise MethodError(unknown("method", method, METHODS))
    y, v, known = usable(values, variances)
    y, v = y[known], v[known]
    if method == "PM":
        return float(shrink.between_sd(y, v).estimate) ** 2
    if method == "DL":
        u = 1 / v
        excess = u @ (y - u @ y / u.sum()) ** 2 - (y.size - 1)
        return max(float(excess / (u.sum() - (u**2).sum() / u.sum())), 0.0)
    return _reml(y, v)


def _reml(y: Array, v: Array) -> float:
    grid = _grid(y, v) ** 2
    at = int(np.argmax(_likelihood(grid, y, v)[0]))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, GRID - 1)]
    if _slope(0.0, y, v) <= 0 and at <= 1:
        return 0.0
    while _slope(low, y, v) < 0 and low > 0:
        low /= 4
    return float(optimize.brentq(_slope, low, high, args=(y, v), xtol=1e-15, rtol=1e-12))


def _slope(tau2: float, y: Array, v: Array) -> float:
    w = 1 / (v + tau2)
    rest = y - w @ y / w.sum()
    return float((w * rest) @ (w * rest) - w.sum() + (w @ w) / w.sum())


def _grid(y: Array, v: Array) -> Array:
    """List standard deviations between units from none to far above any that is likely."""
    top = 4 * float(np.ptp(y)) + 4 * float(np.sqrt(v.min()))
    return np.linspace(0.0, 1.0, GRID) ** 2 * top


def _likelihood(tau2: Array, y: Array, v: Array) -> tuple[Array, Array, Array]:
    """Restricted log-likelihood, common level and its precision for each variance."""
    w = 1 / (v + tau2[:, None])
    total = w.sum(axis=1)
    common = w @ y / total
    squares = (w * (y - common[:, None]) ** 2).sum(axis=1)
    return (np.log(w).sum(axis=1) - np.log(total) - squares) / 2, common, total


class Ranks(NamedTuple):
    """Ranks of units, 1 the best; all of shape (units,).

    Attributes
    ----------
    rank : Interval
        Rank of the expected rank, and the interval of the true rank (whole numbers).
    expected : ndarray
        Mean of the rank over what the data leave open.
    """

    rank: Interval
    expected: Array


def draw_means(values: ArrayLike, variances: ArrayLike, *, draws: int, seed: int) -> Array:
    """Draw the true levels that means and their sampling variances leave open.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        As for :func:`usable`.
    draws : int
        Draws.
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    ndarray, shape (draws, units)
        True levels, in the unit of the values.

    Raises
    ------
    MethodError
        As for :func:`usable`.

    Notes
    -----
    Normal levels, flat priors on the common level and on the standard deviation between units,
    which is drawn too: intervals do not pretend that it is known.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 5.4.

    Examples
    --------
    >>> levels = draw_means([0.0, 2.0, 4.0], [0.1, 0.1, 0.1], draws=2000, seed=1)
    >>> levels.mean(axis=0).round(0)
    array([0., 2., 4.])
    """
    y, v, known = usable(values, variances)
    rng = np.random.default_rng(seed)
    spread = _grid(y[known], v[known])
    log, common, total = _likelihood(spread**2, y[known], v[known])
    chance = np.exp(log - log.max()) * np.gradient(spread)
    at = rng.choice(GRID, size=draws, p=chance / chance.sum())
    tau2 = spread[at, None] ** 2
    centre = common[at, None] + rng.standard_normal((draws, 1)) / np.sqrt(total[at, None])
    own = np.where(known, tau2 / (tau2 + v), 0.0)
    variance = np.where(known, own * v, tau2)
    noise = rng.standard_normal((draws, y.size))
    result: Array = own * y + (1 - own) * centre + np.sqrt(variance) * noise
    return result


def draw_shares(
    k: ArrayLike, n: ArrayLike, *, draws: int, seed: int, dispersion: ArrayLike = 1.0
) -> Array:
    """Draw the true shares that counts leave open.

    Parameters
    ----------
    k, n, dispersion
        As for :func:`counts`.
    draws, seed : int
        As for :func:`draw_means`.

    Returns
    -------
    ndarray, shape (draws, units)
        Shares.

    Raises
    ------
    MethodError
        As for :func:`counts`.

    Notes
    -----
    Beta levels about the common share; their strength s is drawn from its likelihood with a flat
    prior on 1/√(1+s), the standard deviation between units.

    Examples
    --------
    >>> draw_shares([90, 50, 10], [100, 100, 100], draws=1000, seed=1).mean(axis=0).round(1)
    array([0.9, 0.5, 0.1])
    """
    events, trials = counts(k, n)
    mean = pool.beta_binomial(events, trials, dispersion=dispersion).common
    factor = np.asarray(dispersion, float)
    e, size = events / factor, trials / factor
    spread = (np.arange(GRID) + 0.5) / GRID
    strength = np.minimum(1 / spread**2 - 1, FIRM)[:, None]
    a, b = mean * strength, (1 - mean) * strength
    log = (special.betaln(e + a, size - e + b) - special.betaln(a, b)).sum(axis=1)
    chance = np.exp(log - log.max())
    rng = np.random.default_rng(seed)
    s = strength[rng.choice(GRID, size=draws, p=chance / chance.sum())]
    result: Array = rng.beta(e + mean * s, size - e + (1 - mean) * s)
    return result


def places(values: ArrayLike, *, better: str = "up") -> Array:
    """Rank units, 1 the best; units that are equal share the middle of their ranks.

    Parameters
    ----------
    values : array_like, shape (units,)
        NaN has no rank.
    better : str
        ``up`` where more is better, else ``down``.

    Returns
    -------
    ndarray, shape (units,)
        Ranks.

    Raises
    ------
    MethodError
        An unknown direction.

    Examples
    --------
    >>> places([3, 1, 3, np.nan])
    array([1.5, 3. , 1.5, nan])
    """
    if better not in ("up", "down"):
        raise MethodError(unknown("better", better, ("up", "down")))
    x = np.asarray(values, float)
    return np.asarray(stats.rankdata(-x if better == "up" else x, nan_policy="omit"), float)


def rank_intervals(levels: ArrayLike, *, better: str = "up", confidence: float = 0.95) -> Ranks:
    """Rank units with intervals of their true ranks.

    Parameters
    ----------
    levels : array_like, shape (draws, units)
        From :func:`draw_means` or :func:`draw_shares`.
    better : str
        ``up`` where more is better, else ``down``.
    confidence : float
        Share of the true ranks that the intervals are to cover.

    Returns
    -------
    Ranks
        See there.

    Raises
    ------
    MethodError
        An unknown direction.

    Notes
    -----
    Quantiles of the rank over the draws, rounded outwards. Coverage holds on average over the
    units of a group, not for each place in the table; measured in ``docs/methods.md``.

    Source: Goldstein and Spiegelhalter (1996), JRSS A 159, 385.

    Examples
    --------
    >>> found = rank_intervals([[3, 1, 2], [3, 2, 1], [3, 1, 2]])
    >>> found.rank.estimate, found.rank.low, found.rank.high
    (array([1., 3., 2.]), array([1., 2., 2.]), array([1., 3., 3.]))
    """
    if better not in ("up", "down"):
        raise MethodError(unknown("better", better, ("up", "down")))
    x = np.asarray(levels, float)
    order = np.argsort(-x if better == "up" else x, axis=1, kind="stable")
    place = np.empty(x.shape, np.int32)
    np.put_along_axis(place, order, np.arange(1, x.shape[1] + 1, dtype=np.int32)[None, :], axis=1)
    tail = (1 - confidence) / 2
    low = np.quantile(place, tail, axis=0, method="inverted_cdf").astype(float)
    high = np.quantile(place, 1 - tail, axis=0, method="inverted_cdf").astype(float)
    expected = place.mean(axis=0)
    return Ranks(Interval(stats.rankdata(expected, method="average"), low, high), expected)


# ---------------------------------------------------------------- what can be used


def usable(
    values: ArrayLike, variances: ArrayLike, *, least: int = LEAST
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Tell which units have an estimate with a known noise, and refuse what cannot be compared.

    Parameters
    ----------
    values, variances : array_like, shape (units,)
        Estimates and their sampling variances, in the squared unit of the values; NaN or an
        infinite variance is a unit without data.
    least : int
        At least so many units with data.

    Returns
    -------
    (ndarray, ndarray, ndarray of bool)
        Values and variances with 0 and 1 where unknown, and which units are known.

    Raises
    ------
    MethodError
        A variance of 0 or below, or too few units with data.

    Examples
    --------
    >>> usable([1, 2, np.nan, 4], [1, 1, 1, 1])[2].tolist()
    [True, True, False, True]
    """
    y, v = np.asarray(values, float), np.asarray(variances, float)
    flat = np.flatnonzero(v <= 0)
    if flat.size:
        raise MethodError(
            f"variances: {flat.size} are not above 0, the first is {v[flat[0]]:g} of unit "
            f"{flat[0]} (one answer, or all alike?); pool them first by pooling.pool.variances."
        )
    known = np.isfinite(y) & np.isfinite(v)
    if known.sum() < least:
        raise MethodError(
            f"values: {int(known.sum())} units with data; allowed: at least {least}, or there is "
            "nobody to compare with. Show the unit alone."
        )
    return np.where(known, y, 0.0), np.where(known, v, 1.0), known


def counts(k: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    """Check events and trials of units that are to be compared.

    Parameters
    ----------
    k, n : array_like, shape (units,)
        Events and trials, whole or effective; n = 0 or missing is a unit without data.

    Returns
    -------
    (ndarray, ndarray)
        Both, 0 where missing.

    Raises
    ------
    MethodError
        Events below 0 or above the trials, or fewer than three units with data.

    Examples
    --------
    >>> counts([1, 0, 2, np.nan], [2, 1, 2, np.nan])[1].tolist()
    [2.0, 1.0, 2.0, 0.0]
    """
    events, trials = np.nan_to_num(np.asarray(k, float)), np.nan_to_num(np.asarray(n, float))
    wrong = np.flatnonzero((events < 0) | (events > trials * (1 + 1e-12)))
    if wrong.size:
        at = wrong[0]
        raise MethodError(
            f"k: {wrong.size} are below 0 or above n, the first is {events[at]:g} of "
            f"{trials[at]:g} of unit {at}."
        )
    if (trials > 0).sum() < LEAST:
        raise MethodError(
            f"n: {int((trials > 0).sum())} units with data; allowed: at least {LEAST}, or there is "
            "nobody to compare with. Show the unit alone."
        )
    return events, trials
