"""Kaplan-Meier with the intervals of survfit, medians, mean times, and log-rank tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.stats.intervals import Interval
from dealerqm.stats.survival import kaplan_meier

Array = NDArray[np.float64]
LEVEL = 1e-9  # a curve this close to a level has reached it
SMALLEST = 1e-10  # eigenvalue of a correlation matrix: below it a direction is empty


class Points(NamedTuple):
    """A curve read at given ages; all of shape (ages,) or (ages, causes).

    Attributes
    ----------
    at_risk : ndarray, shape (ages,)
        Rows still watched just before the age.
    estimate, error, low, high : ndarray
        Share with its standard error and interval; NaN past the last row watched.
    """

    at_risk: Array
    estimate: Array
    error: Array
    low: Array
    high: Array


class Mean(NamedTuple):
    """A mean time up to a horizon, and its standard error.

    Attributes
    ----------
    estimate, error : ndarray
        In the unit of the times.
    """

    estimate: Array
    error: Array


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


def _plain(p: Array, se: Array) -> tuple[Array, Array]:
    return np.maximum(p - se, 0.0), np.minimum(p + se, 1.0)


def _log(p: Array, se: Array) -> tuple[Array, Array]:
    return p * np.exp(-se / p), np.minimum(p * np.exp(se / p), 1.0)


def _log_log(p: Array, se: Array) -> tuple[Array, Array]:
    middle, half = np.log(-np.log(p)), se / (p * -np.log(p))
    return np.exp(-np.exp(middle + half)), np.exp(-np.exp(middle - half))


def _logit(p: Array, se: Array) -> tuple[Array, Array]:
    middle, half = np.log(p / (1 - p)), se / (p * (1 - p))
    return special.expit(middle - half), special.expit(middle + half)


def _arcsin(p: Array, se: Array) -> tuple[Array, Array]:
    middle, half = np.arcsin(np.sqrt(p)), se / (2 * np.sqrt(p * (1 - p)))
    return np.sin(np.maximum(middle - half, 0)) ** 2, np.sin(
        np.minimum(middle + half, np.pi / 2)
    ) ** 2


KINDS: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "log": _log,
    "plain": _plain,
    "log-log": _log_log,
    "logit": _logit,
    "arcsin": _arcsin,
}


def checked(times: ArrayLike, counts: ArrayLike | None) -> tuple[Array, Array]:
    """Return times and counts as arrays, or refuse what no curve can use.

    Parameters
    ----------
    times : array_like, shape (r,)
        Time of the event or of the end of watching.
    counts : array_like, shape (r,), or None
        How many rows are like this; None is one each.

    Returns
    -------
    tuple of ndarray
        Times and counts.

    Raises
    ------
    MethodError
        Times or counts that are missing, infinite or negative, or of unequal length.

    Examples
    --------
    >>> checked([1, 2], None)[1].tolist()
    [1.0, 1.0]
    """
    t = np.asarray(times, float)
    n = np.ones(t.shape) if counts is None else np.asarray(counts, float)
    if t.ndim != 1 or t.shape != n.shape:
        raise MethodError(f"times and counts: shapes {t.shape} and {n.shape}; one count a time.")
    for name, values in (("times", t), ("counts", n)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if bad.size:
            raise MethodError(
                f"{name}: {bad.size} of {values.size} are missing or negative, the first at "
                f"{bad[0]} ({values[bad[0]]}); drop or repair these rows first."
            )
    return t, n


def limits(p: ArrayLike, error: ArrayLike, *, kind: str, confidence: float = 0.95) -> Interval:
    """Interval of a share that a curve shows, from its standard error.

    Parameters
    ----------
    p, error : array_like
        Share and its standard error.
    kind : {"log", "plain", "log-log", "logit", "arcsin"}
        Scale on which the interval is symmetric.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Within 0..1; NaN where the scale has no value (p = 0; p = 1 for the last three).

    Raises
    ------
    MethodError
        Unknown kind.

    Notes
    -----
    g(p) ± z · error · g'(p), mapped back.

    Source: R survival 3.5 ``survfit``, ``conf.type``; Kalbfleisch and Prentice (2002), 1.4.

    Examples
    --------
    >>> [round(float(v), 4) for v in limits(0.8, 0.1, kind="plain")]
    [0.8, 0.604, 0.996]
    """
    if kind not in KINDS:
        raise MethodError(unknown("kind of interval", kind, KINDS))
    p, error = np.asarray(p, float), np.asarray(error, float)
    z = float(special.ndtri(0.5 + confidence / 2))
    with np.errstate(all="ignore"):
        low, high = KINDS[kind](p, z * error)
    return Interval(p, low, high)


def survival_at(
    times: ArrayLike,
    events: ArrayLike,
    counts: ArrayLike | None,
    ages: ArrayLike,
    *,
    kind: str = "log",
    confidence: float = 0.95,
) -> Points:
    """Share still without the event at given ages.

    Parameters
    ----------
    times, events, counts : array_like, shape (r,)
        As in ``stats.survival.kaplan_meier``; counts None is one each.
    ages : array_like, shape (ages,)
        When the curve is read.
    kind, confidence
        As in ``limits``.

    Returns
    -------
    Points
        Shares. Past the last row watched NaN, unless the curve has come down to 0; the error of 0
        is not known.

    Raises
    ------
    MethodError
        As ``checked`` and ``limits``.

    Notes
    -----
    Source: R survival 3.5 ``summary(survfit(...), times)``.

    Examples
    --------
    >>> found = survival_at([1, 2, 3, 4], [1, 0, 1, 0], None, [2, 3], kind="plain")
    >>> found.estimate.tolist(), found.at_risk.tolist(), found.error.round(4).tolist()
    ([0.75, 0.375], [3.0, 2.0], [0.2165, 0.2864])
    """
    t, n = checked(times, counts)
    at = np.atleast_1d(np.asarray(ages, float))
    curve = kaplan_meier(t, events, n)
    place = np.searchsorted(curve.times, at, side="right")
    estimate = np.append(1.0, curve.survival)[place]
    error = np.sqrt(np.append(0.0, curve.variance)[place])
    known = (at <= (t.max() if t.size else -1.0)) | (estimate == 0)
    estimate = np.where(known, estimate, np.nan)
    error = np.where(known & (estimate > 0), error, np.nan)
    found = limits(estimate, error, kind=kind, confidence=confidence)
    return Points(watched_at(t, n, at), estimate, error, found.low, found.high)


def watched_at(times: Array, counts: Array, ages: Array) -> Array:
    """Rows still watched just before each age.

    Parameters
    ----------
    times, counts : ndarray, shape (r,)
        End of watching, and how many rows are like this.
    ages : ndarray, shape (ages,)
        When to look.

    Returns
    -------
    ndarray, shape (ages,)
        Counts.

    Examples
    --------
    >>> watched_at(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([1.0, 1.5])).tolist()
    [7.0, 4.0]
    """
    order = np.argsort(times, kind="stable")
    left = np.append(np.cumsum(counts[order][::-1])[::-1], 0.0)
    result: Array = left[np.searchsorted(times[order], ages, side="left")]
    return result


def time_at(
    times: ArrayLike,
    events: ArrayLike,
    counts: ArrayLike | None,
    share: float = 0.5,
    *,
    kind: str = "log",
    confidence: float = 0.95,
) -> Interval:
    """Time by which a share has had the event: the median by default.

    Parameters
    ----------
    times, events, counts : array_like, shape (r,)
        As in ``stats.survival.kaplan_meier``; counts None is one each.
    share : float
        Share with the event, 0-1.
    kind, confidence
        As in ``limits``.

    Returns
    -------
    Interval
        Scalars; NaN where the curve, or a line of its interval, does not fall far enough.

    Raises
    ------
    MethodError
        As ``checked`` and ``limits``.

    Notes
    -----
    First time at which the curve is at or below 1 - share; where it lies exactly there, the
    middle of that step. The limits are read from the lines of the interval in the same way.

    Source: R survival 3.5 ``quantile.survfit``; Brookmeyer and Crowley (1982), Biometrics 38, 29.

    Examples
    --------
    >>> float(time_at([1, 2, 3, 4], [1, 1, 1, 1], None).estimate)
    2.5
    """
    t, n = checked(times, counts)
    curve = kaplan_meier(t, events, n)
    error = np.sqrt(np.where(curve.survival > 0, curve.variance, np.nan))
    band = limits(curve.survival, error, kind=kind, confidence=confidence)
    lines = (curve.survival, band.low, band.high)
    return Interval(*(np.asarray(_crossing(curve.times, line, 1 - share)) for line in lines))


def _crossing(times: Array, line: Array, level: float) -> float:
    below = np.flatnonzero(line <= level + LEVEL)  # NaN is not
    if not below.size:
        return float("nan")
    first = int(below[0])
    lower = np.flatnonzero(line < level - LEVEL)
    if abs(line[first] - level) <= LEVEL and lower.size:
        return float((times[first] + times[lower[0]]) / 2)
    return float(times[first])


def mean_time(
    times: ArrayLike, events: ArrayLike, counts: ArrayLike | None, horizon: float
) -> Mean:
    """Mean time without the event up to a horizon.

    Parameters
    ----------
    times, events, counts : array_like, shape (r,)
        As in ``stats.survival.kaplan_meier``; counts None is one each.
    horizon : float
        Time that is counted at most.

    Returns
    -------
    Mean
        Scalars; NaN when watching ends before the horizon with the curve above 0.

    Raises
    ------
    MethodError
        As ``checked``.

    Notes
    -----
    Area under the curve; variance Σ area beyond t² d / (n (n - d)).

    Source: R survival 3.5 ``print(survfit(...), rmean = horizon)``.

    Examples
    --------
    >>> [round(float(v), 4) for v in mean_time([1, 2, 3], [1, 1, 1], None, 3)]
    [2.0, 0.4714]
    """
    t, n = checked(times, counts)
    curve = kaplan_meier(t, events, n)
    seen = curve.times < horizon
    at, survival, risk = curve.times[seen], curve.survival[seen], curve.at_risk[seen]
    steps = np.append(1.0, survival)
    areas = steps * np.diff(np.concatenate([[0.0], at, [float(horizon)]]))
    if not t.size or (t.max() < horizon and steps[-1] > 0):
        return Mean(np.asarray(np.nan), np.asarray(np.nan))
    beyond = np.cumsum(areas[::-1])[::-1][1:]
    died = risk * (1 - survival / steps[:-1])
    terms = np.divide(died, risk * (risk - died), out=np.zeros_like(died), where=survival > 0)
    return Mean(np.asarray(areas.sum()), np.sqrt((beyond**2 * terms).sum()))


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
