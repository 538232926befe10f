"""Several causes and several groups: Aalen-Johansen shares, and log-rank tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dealerqm.errors import MethodError
from dealerqm.lifetimes.curves import Mean, Points, checked, limits

Array = NDArray[np.float64]
SMALLEST = 1e-10  # eigenvalue of a correlation matrix: below it a direction is empty
SPENT = 1e-12  # share left at which nobody is


class Test(NamedTuple):
    """A chi-square test.

    Attributes
    ----------
    statistic, df, p_value : float
        NaN where nothing can be tested.
    """

    statistic: float
    df: int
    p_value: float


class Ranks(NamedTuple):
    """A log-rank test.

    Attributes
    ----------
    statistic, df, p_value : float
        Chi-square test of equal curves.
    observed, expected : ndarray, shape (groups,)
        Events, weighted by the curve when rho is not 0; groups in sorted order.
    variance : ndarray, shape (groups, groups)
        Of observed - expected.
    """

    statistic: float
    df: int
    p_value: float
    observed: Array
    expected: Array
    variance: Array


def log_rank(
    times: ArrayLike,
    events: ArrayLike,
    groups: ArrayLike,
    *,
    counts: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    rho: float = 0.0,
) -> Ranks:
    """Test whether groups have the same curve.

    Parameters
    ----------
    times, events : array_like, shape (r,)
        As in ``stats.survival.kaplan_meier``.
    groups : array_like, shape (r,)
        Group of each row.
    counts : array_like, shape (r,), or None
        How many rows are like this; None is one each.
    strata : array_like, shape (r,), or None
        Groups are compared within strata only.
    rho : float
        Events weigh S(t-)^rho: 0 is log-rank, 1 is Peto-Peto (early differences count more).

    Returns
    -------
    Ranks
        df counts the groups with events to expect, less one; NaN with fewer than two of them.

    Raises
    ------
    MethodError
        As ``checked``.

    Notes
    -----
    Σ w (d_k - d n_k/n) against Σ w² d (n-d)/(n-1) (diag(n_k/n) - n_k n_l/n²).

    Source: Harrington and Fleming (1982), Biometrika 69, 553; R survival 3.5 ``survdiff``;
    reference case segment/03.

    Examples
    --------
    >>> found = log_rank([1, 2, 3, 4], [1, 1, 1, 1], ["a", "a", "b", "b"])
    >>> found.expected.round(4).tolist(), round(found.statistic, 4)
    ([0.8333, 3.1667], 2.8824)
    """
    t, n = checked(times, counts)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    happened = np.asarray(events, bool)
    layer = np.zeros(t.size, np.intp)
    if strata is not None:
        layer = np.unique(np.asarray(strata), return_inverse=True)[1]
    order = np.argsort(layer, kind="stable")
    size = names.size
    observed, expected, variance = np.zeros(size), np.zeros(size), np.zeros((size, size))
    for rows in np.split(order, np.flatnonzero(np.diff(layer[order])) + 1):
        found = _within(t[rows], happened[rows], group[rows], n[rows], rho, size)
        observed, expected, variance = observed + found[0], expected + found[1], variance + found[2]
    used = np.flatnonzero(expected > 0)
    test = chi_square((observed - expected)[used][1:], variance[np.ix_(used, used)][1:, 1:])
    return Ranks(*test, observed, expected, variance)


def _within(
    t: Array, happened: NDArray[np.bool_], group: NDArray[np.intp], n: Array, rho: float, size: int
) -> tuple[Array, Array, Array]:
    grid, place = np.unique(t, return_inverse=True)
    cell, shape = place * size + group, (grid.size, size)
    died = np.bincount(cell, happened * n, grid.size * size).reshape(shape)
    risk = np.cumsum(np.bincount(cell, n, grid.size * size).reshape(shape)[::-1], axis=0)[::-1]
    hit = died.sum(1) > 0
    died, risk = died[hit], risk[hit]
    d, m = died.sum(1), risk.sum(1)
    w = np.append(1.0, np.cumprod(1 - d / m))[:-1] ** rho
    share = risk / m[:, None]
    spread = w**2 * d * np.divide(m - d, m - 1, out=np.zeros_like(m), where=m > 1)
    variance = np.diag((spread[:, None] * share).sum(0)) - (spread[:, None] * share).T @ share
    return w @ died, (w * d) @ share, variance


def chi_square(score: Array, variance: Array) -> Test:
    """Test a vector of sums against its variance.

    Parameters
    ----------
    score : ndarray, shape (k,)
        Sums that are 0 on average when nothing is there.
    variance : ndarray, shape (k, k)
        Their covariance.

    Returns
    -------
    Test
        df = k; NaN when k is 0 or the variance is singular.

    Examples
    --------
    >>> chi_square(np.array([2.0]), np.array([[1.0]])).statistic
    4.0
    """
    scale = np.sqrt(np.diag(variance))
    if not score.size or not (scale > 0).all():
        return Test(float("nan"), score.size, float("nan"))
    shape = variance / np.outer(scale, scale)
    if np.linalg.eigvalsh(shape)[0] < SMALLEST:
        return Test(float("nan"), score.size, float("nan"))
    z = score / scale
    value = float(z @ np.linalg.solve(shape, z))
    return Test(value, score.size, float(stats.chi2.sf(value, score.size)))


class _Path(NamedTuple):
    """The estimate on the grid of times, and the running sums that its influence needs."""

    grid: Array  # (m,)
    cells: Array  # (m, causes + 1): rows by time and cause, cause 0 is censored
    share: Array  # (m, causes)
    own: Array  # (m,): S(t-) / at risk
    others: Array  # (m, causes): what being watched, and still free, up to t does to the share
    kept: Array  # (m, causes + 1): what a row changes in the curve that the later ones see


def _path(times: ArrayLike, causes: ArrayLike, counts: ArrayLike | None) -> _Path:
    t, n = checked(times, counts)
    why = np.asarray(causes)
    if why.shape != t.shape or not np.issubdtype(why.dtype, np.integer) or (why < 0).any():
        raise MethodError(
            f"causes: {why.dtype} of shape {why.shape} for {t.size} times; give one whole number "
            "a time, 0 for censored and 1, 2, … for the causes."
        )
    grid, place = np.unique(t, return_inverse=True)
    k = int(why.max(initial=0)) + 1
    cells = np.bincount(place * k + why, n, grid.size * k).reshape(grid.size, k).astype(float)
    risk = np.maximum(np.cumsum(cells.sum(1)[::-1])[::-1], np.finfo(float).tiny)
    hazards = cells[:, 1:] / risk[:, None]
    hazard = hazards.sum(1)
    before = np.append(1.0, np.cumprod(1 - hazard))[:-1]
    parts = before[:, None] * hazards
    left = risk * (1 - hazard)
    gone = np.divide(1.0, left, out=np.zeros_like(left), where=left > 0)
    free = np.cumsum(hazard * gone)  # what a row watched to t adds to log S(t)
    earlier = np.append(0.0, free)[:-1]
    others = np.cumsum((earlier - 1 / risk)[:, None] * parts, axis=0)
    kept = free[:, None] - gone[:, None] * (np.arange(k) > 0)
    return _Path(grid, cells, np.cumsum(parts, axis=0), before / risk, others, kept)


def _error(path: _Path, weights: Array) -> Array:
    """Find the standard error of the weighted sum of shares over the grid, per cause."""
    k = path.cells.shape[1]
    after = np.cumsum(weights[::-1])[::-1]
    moved = weights[:, None]
    before = np.cumsum(moved * path.others, axis=0) - moved * path.others
    later = np.cumsum((moved * path.share)[::-1], axis=0)[::-1] - path.share * after[:, None]
    common = before + path.others * after[:, None]
    result = np.zeros(k - 1)
    for cause in range(1, k):
        hits = (np.arange(k) == cause) * (path.own * after)[:, None]
        moves = common[:, [cause - 1]] + path.kept * later[:, [cause - 1]]
        result[cause - 1] = np.sqrt((path.cells * (hits + moves) ** 2).sum())
    return result


def incidence_at(
    times: ArrayLike,
    causes: ArrayLike,
    counts: ArrayLike | None,
    ages: ArrayLike,
    *,
    kind: str = "log",
    confidence: float = 0.95,
) -> Points:
    """Share that each of several competing causes has taken by given ages.

    Parameters
    ----------
    times : array_like, shape (r,)
        Time of the event or of the end of watching.
    causes : array_like of int, shape (r,)
        0 is censored; 1, 2, … are the causes.
    counts : array_like, shape (r,), or None
        How many rows are like this; None is one each.
    ages : array_like, shape (ages,)
        When the shares are read.
    kind, confidence
        As in ``curves.limits``.

    Returns
    -------
    Points
        Shares of shape (ages, causes); NaN past the last row watched while rows are left, and
        intervals of shares of 0 on the log scales.

    Raises
    ------
    MethodError
        Causes that are not whole numbers from 0 up; as ``curves.checked`` and ``curves.limits``.

    Notes
    -----
    F_k = Σ S(t-) d_k/n. One minus a Kaplan-Meier that censors the other causes overstates it.
    Error: √Σ counts · influence², the influence being the derivative of F_k by a row's weight.

    Source: Aalen and Johansen (1978), Scand. J. Statist. 5, 141; R survival 3.5 ``survfit`` with a
    factor status (infinitesimal jackknife); reference case segment/05.

    Examples
    --------
    >>> found = incidence_at([1, 2, 3, 4], [1, 2, 0, 1], None, [2, 4], kind="plain")
    >>> found.estimate.tolist(), found.error.round(4)[0].tolist()
    ([[0.25, 0.25], [0.75, 0.25]], [0.2165, 0.2165])
    """
    path = _path(times, causes, counts)
    at = np.atleast_1d(np.asarray(ages, float))
    place = np.searchsorted(path.grid, at, side="right")
    share = np.vstack([np.zeros(path.share.shape[1]), path.share])[place]
    error = np.zeros_like(share)
    for row, i in enumerate(place):
        if i:
            error[row] = _error(path, (np.arange(path.grid.size) == i - 1).astype(float))
    last = path.grid[-1] if path.grid.size else -np.inf
    known = ((at <= last) | (share.sum(1) >= 1 - SPENT))[:, None]
    share, error = np.where(known, share, np.nan), np.where(known, error, np.nan)
    band = limits(share, error, kind=kind, confidence=confidence)
    left = np.append(np.cumsum(path.cells.sum(1)[::-1])[::-1], 0.0)
    risk = left[np.searchsorted(path.grid, at)]
    return Points(risk, share, error, band.low, band.high)


def time_lost(
    times: ArrayLike, causes: ArrayLike, counts: ArrayLike | None, horizon: float
) -> Mean:
    """Mean time up to a horizon that each cause takes away.

    Parameters
    ----------
    times, causes, counts : array_like, shape (r,)
        As in ``incidence_at``.
    horizon : float
        Time that is counted at most.

    Returns
    -------
    Mean
        Shape (causes,); NaN when watching ends before the horizon while rows are left. Horizon
        less their sum is the mean time without any of the causes.

    Raises
    ------
    MethodError
        As ``incidence_at``.

    Notes
    -----
    ∫ F_k up to the horizon, with the influence integrated likewise.

    Source: Andersen (2013), Statistics in Medicine 32, 5278; R survival ``rmean`` of states.

    Examples
    --------
    >>> time_lost([1, 2, 3, 4], [1, 2, 0, 1], None, 4).estimate.tolist()
    [0.75, 0.5]
    """
    path = _path(times, causes, counts)
    free = 1 - path.share[-1].sum() if path.grid.size else 1.0
    if not path.grid.size or (path.grid[-1] < horizon and free > SPENT):
        empty = np.full(path.share.shape[1], np.nan)
        return Mean(empty, empty)
    ends = np.append(path.grid[1:], max(horizon, path.grid[-1]))
    weights = np.clip(ends, 0, horizon) - np.clip(path.grid, 0, horizon)
    return Mean(weights @ path.share, _error(path, weights))
