"""Kaplan-Meier with the intervals of survfit, medians, mean times, concordance of a risk."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.stats.intervals import Interval
from dealerqm.stats.survival import kaplan_meier

Array = NDArray[np.float64]
LEVEL = 1e-9  # a curve this close to a level has reached it


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


class _Scale(NamedTuple):
    """A scale on which an interval is symmetric: the way there, its slope, the way back."""

    to: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    back: Callable[[Array], Array]


KINDS = {
    "log": _Scale(np.log, lambda p: 1 / p, np.exp),
    "plain": _Scale(lambda p: p, np.ones_like, lambda y: y),
    "log-log": _Scale(
        lambda p: -np.log(-np.log(p)), lambda p: -1 / (p * np.log(p)), lambda y: np.exp(-np.exp(-y))
    ),
    "logit": _Scale(special.logit, lambda p: 1 / (p * (1 - p)), special.expit),
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
    kind : {"log", "plain", "log-log", "logit"}
        Scale on which the interval is symmetric.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Within 0..1; NaN where the scale has no value (p = 0; p = 1 for the last two).

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
        scale = KINDS[kind]
        half = z * error * scale.slope(p)
        low, high = scale.back(scale.to(p) - half), scale.back(scale.to(p) + half)
    return Interval(p, np.maximum(low, 0.0), np.minimum(high, 1.0))


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
    return Points(_watched(t, n, at), estimate, error, found.low, found.high)


def _watched(times: Array, counts: Array, ages: Array) -> Array:
    """Rows still watched just before each age."""
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


def concordance(
    times: ArrayLike,
    events: ArrayLike,
    risk: ArrayLike,
    *,
    counts: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> Mean:
    """Share of pairs in which the one at higher risk had the event first.

    Parameters
    ----------
    times, events, risk : array_like, shape (r,)
        End of watching, whether it was the event, and a risk: higher is sooner.
    counts, strata : array_like, shape (r,), or None
        How many rows are like this; pairs are of one stratum.

    Returns
    -------
    Mean
        Scalars; NaN without a pair whose order is known.

    Raises
    ------
    MethodError
        As ``checked``.

    Notes
    -----
    A pair counts when the earlier time is an event; rows censored at that time outlive it; ties
    of risk count half. Error: √Σ counts · influence².

    Source: Harrell et al. (1982), JAMA 247, 2543; R survival 3.5 ``concordance``.

    Examples
    --------
    >>> concordance([1, 2, 3], [1, 1, 0], [3, 1, 2]).estimate.round(4).tolist()
    0.6667
    """
    t, n = checked(times, counts)
    happened = np.asarray(events, bool)
    rank = np.asarray(risk, float)
    rank = np.unique((rank / max(1.0, np.abs(rank).max(initial=0))).round(12), return_inverse=True)[
        1
    ]
    place = 2 * np.unique(t, return_inverse=True)[1] + ~happened
    layer = np.zeros(t.size, np.intp)
    if strata is not None:
        layer = np.unique(np.asarray(strata), return_inverse=True)[1]
    right, pairs = np.zeros(t.size), np.zeros(t.size)
    for k in range(layer.max(initial=-1) + 1):
        q, s, m, e = (v[layer == k] for v in (place, rank, n, happened))
        right[layer == k] = e * _under(q, s, m) + _under(-q, -s, m * e)
        pairs[layer == k] = 2 * (e * _under(q, 0 * s, m) + _under(-q, 0 * s, m * e))
    total = float((n * pairs).sum()) / 2
    share = float((n * right).sum()) / 2 / total if total else float("nan")
    spread = np.sqrt((n * (right - share * pairs) ** 2).sum())
    return Mean(np.asarray(share), np.asarray(spread / total if total else np.nan))


def _under(q: Array, s: Array, n: Array) -> Array:
    """Rows with a larger q and a smaller s than each row, those with the same s half."""
    kinds, place = np.unique(np.stack([-q, -s], axis=1), axis=0, return_inverse=True)
    weight, level = np.bincount(place, n), -kinds[:, 1]  # within one q the larger s come first
    level = level - level.min(initial=0)
    found, at = np.zeros(weight.size), np.arange(weight.size)
    span, width = int(level.max(initial=0)) + 1, 1
    while width < at.size:  # merge neighbouring blocks: the left one has the larger q
        block, right = at // (2 * width), at // width % 2 == 1
        key = block * span + level
        order = np.flatnonzero(~right)[np.argsort(key[~right], kind="stable")]
        sums = np.append(0.0, np.cumsum(weight[order]))
        start = np.searchsorted(key[order], block[right] * span)
        for side in ("left", "right"):
            end = np.searchsorted(key[order], key[right], side=side)
            found[right] += (sums[end] - sums[start]) / 2
        width *= 2
    return found[place]
