"""Series on a scale where the noise keeps its size, and their autocorrelation.

Everything is a matrix ``(periods, charts)``; one chart is one column. Shares and rates are carried
to a scale (arcsine, square root) on which a point's noise depends on its size alone, so that the
same kernels serve all charts: noise of a point = σ of the chart x ``se`` of the point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_SHARE = (3 / 8, 3 / 4)  # Anscombe's constants: added to the events, and to the trials
MAX_PHI = 0.9
SNAP = 1e-9  # events; less than this beside 0 or all is rounding


class Series(NamedTuple):
    """Points on the working scale.

    Attributes
    ----------
    scale : str
        ``value``, ``share`` or ``rate``.
    y : ndarray, shape (periods, charts)
        Points; NaN is no point.
    se : ndarray, shape (periods, charts)
        Noise of a point in units of the chart's σ.
    """

    scale: str
    y: Array
    se: Array


def value(x: ArrayLike, *, size: ArrayLike = 1.0) -> Series:
    """Take values as they are, or means of so many rows each.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    size : array_like
        Rows behind each point; noise goes with 1/√size.

    Returns
    -------
    Series
        On the scale ``value``.

    Raises
    ------
    MethodError
        If a value or a size is infinite.

    Examples
    --------
    >>> value([1.0, 2.0], size=[4, 16]).se.ravel()
    array([0.5 , 0.25])
    """
    y = _matrix(x, "x")
    n = np.broadcast_to(_matrix(size, "size"), y.shape)
    known = np.isfinite(y) & (n > 0)
    se = np.divide(1.0, np.sqrt(np.maximum(n, 0)), out=np.full(y.shape, np.nan), where=known)
    return Series("value", np.where(known, y, np.nan), se)


def share(k: ArrayLike, n: ArrayLike) -> Series:
    """Carry shares to the arcsine scale.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events and trials; n = 0 or missing is no point.

    Returns
    -------
    Series
        On the scale ``share``; σ is 1 when the counts are binomial.

    Raises
    ------
    MethodError
        If a count is infinite, negative or above its denominator.

    Notes
    -----
    y = asin √((k + 3/8)/(n + 3/4)), se = 1/(2 √(n + 1/2)).

    Source: Anscombe (1948), Biometrika 35, 246.

    Examples
    --------
    >>> points = share([50], [100])
    >>> points.y.round(4), points.se.round(5), back(points).round(6)
    (array([[0.7854]]), array([[0.04988]]), array([[0.5]]))
    """
    k, n = _counts(k, n)
    _refuse(k > n, k, "events", "counts above their denominator")
    events, trials = _SHARE
    return Series("share", np.arcsin(np.sqrt((k + events) / (n + trials))), 0.5 / np.sqrt(n + 0.5))


def rate(k: ArrayLike, exposure: ArrayLike) -> Series:
    """Carry rates to the square-root scale.

    Parameters
    ----------
    k, exposure : array_like, shape (periods, charts) or (periods,)
        Events and what they are counted per; exposure 0 or missing is no point.

    Returns
    -------
    Series
        On the scale ``rate``; σ is 1 when the counts are Poisson.

    Raises
    ------
    MethodError
        If a count is infinite or negative.

    Notes
    -----
    y = √((k + 3/8)/exposure), se = 1/(2 √exposure).

    Source: Anscombe (1948), Biometrika 35, 246.

    Examples
    --------
    >>> points = rate([16], [4])
    >>> points.y.round(4), points.se, back(points)
    (array([[2.0233]]), array([[0.25]]), array([[4.]]))
    """
    k, exposure = _counts(k, exposure)
    return Series("rate", np.sqrt((k + _SHARE[0]) / exposure), 0.5 / np.sqrt(exposure))


def back(series: Series) -> Array:
    """Carry points from the working scale back to values, shares or rates.

    Parameters
    ----------
    series : Series
        Points, or lines drawn at the ``se`` of points.

    Returns
    -------
    ndarray
        In the KPI's unit; shares are cut at 0 and 1, rates at 0.

    Examples
    --------
    >>> round(float(back(share([3], [10]))[0, 0]), 12)
    0.3
    """
    return _BACK[series.scale](series.y, series.se)


def forward(scale: str, level: ArrayLike) -> Array:
    """Carry exact levels, such as goals, to a working scale.

    Parameters
    ----------
    scale : str
        ``value``, ``share`` or ``rate``.
    level : array_like
        In the KPI's unit; NaN stays NaN.

    Returns
    -------
    ndarray
        On the working scale.

    Examples
    --------
    >>> forward("share", 0.5).round(4), forward("rate", 4.0)
    (np.float64(0.7854), np.float64(2.0))
    """
    return _FORWARD[scale](np.asarray(level, float))


_FORWARD: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "value": lambda level: level,
        "share": lambda level: np.arcsin(np.sqrt(np.clip(level, 0, 1))),
        "rate": lambda level: np.sqrt(np.maximum(level, 0)),
    }
)


def _share_back(y: Array, se: Array) -> Array:
    n = 0.25 / se**2 - 0.5
    k = (n + _SHARE[1]) * np.sin(np.clip(y, 0, np.pi / 2)) ** 2 - _SHARE[0]
    k = np.where(np.abs(k) < SNAP, 0.0, np.where(np.abs(n - k) < SNAP, n, k))
    found: Array = np.clip(k / n, 0, 1)
    return found


def _rate_back(y: Array, se: Array) -> Array:
    exposure = 0.25 / se**2
    k = np.maximum(y, 0) ** 2 * exposure - _SHARE[0]
    found: Array = np.where(k < SNAP, 0.0, k) / exposure
    return found


_BACK: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"value": lambda y, _: y, "share": _share_back, "rate": _rate_back}
)


class Past(NamedTuple):
    """What the points before say of each point, for a process with autocorrelation φ.

    Attributes
    ----------
    before : ndarray of int, shape (periods, charts)
        Row of the newest earlier point; -1 where there is none.
    weight : ndarray, shape (periods, charts)
        φ to the power of the distance: share of the earlier deviation still felt.
    spread : ndarray, shape (periods, charts)
        Noise left, √(1 - weight²).
    """

    before: NDArray[np.int64]
    weight: Array
    spread: Array


def past(known: ArrayLike, phi: ArrayLike, rows: ArrayLike | None = None) -> Past:
    """Find for each point the newest earlier point and how much of it is still felt.

    Parameters
    ----------
    known : array_like of bool, shape (periods, charts)
        Where there is a point.
    phi : array_like, shape (charts,)
        Autocorrelation of neighbours; over a gap of g periods it is φ^g.
    rows : array_like of int, shape (periods, charts), or None
        When the rows were, where they are not one period apart.

    Returns
    -------
    Past
        Rows, weights and spreads.

    Examples
    --------
    >>> past([[True], [False], [True]], [0.5]).weight.ravel()
    array([0.  , 0.5 , 0.25])
    """
    seen = np.asarray(known, bool)
    index = np.arange(seen.shape[0])[:, None]
    newest = np.maximum.accumulate(np.where(seen, index, -1), axis=0)
    before = np.vstack([np.full((1, seen.shape[1]), -1), newest[:-1]])
    when = np.broadcast_to(index if rows is None else np.asarray(rows), seen.shape)
    gap = when - np.take_along_axis(when, np.maximum(before, 0), axis=0)
    weight = np.where(before < 0, 0.0, np.asarray(phi, float) ** np.maximum(gap, 1))
    return Past(before, weight, np.sqrt(1 - weight**2))


def whiten(v: Array, before: Past) -> Array:
    """Take out of each value what the earlier point says of it, and scale back to noise 1.

    Parameters
    ----------
    v : ndarray, shape (periods, charts)
        Deviations in units of the points' own noise.
    before : Past
        From ``past`` on the same pattern of points.

    Returns
    -------
    ndarray
        Uncorrelated values; NaN where there is no point.

    Examples
    --------
    >>> whiten(np.array([[1.0], [1.0]]), past([[True], [True]], [0.6])).ravel()
    array([1. , 0.5])
    """
    earlier = np.take_along_axis(np.nan_to_num(v), np.maximum(before.before, 0), axis=0)
    found: Array = (v - before.weight * earlier) / before.spread
    return found


class Correlation(NamedTuple):
    """Autocorrelation of neighbours.

    Attributes
    ----------
    phi, variance : ndarray, shape (charts,)
        Estimate without its small-sample bias and its sampling variance; NaN and infinity with
        fewer than six points or four pairs of neighbours.
    """

    phi: Array
    variance: Array


def autocorrelation(z: ArrayLike) -> Correlation:
    """Estimate the autocorrelation of neighbouring points of each chart.

    Parameters
    ----------
    z : array_like, shape (periods, charts)
        Points in units of their own noise; NaN is no point, and no pair reaches over it.

    Returns
    -------
    Correlation
        One value per chart.

    Notes
    -----
    r = Σ products of neighbours/Σ squares about the chart's mean (scaled up where pairs are
    missing) has the expectation φ - (1 + 4φ)/n to first order; φ̂ = (n r + 1)/(n - 4), kept within
    ±0.9, with the variance n/(n - 4)².

    Source: Kendall (1954), Biometrika 41, 403.

    Examples
    --------
    >>> found = autocorrelation(np.array([[1.0, 3, 2, 4, 3, 5, 4, 6, 5, 7]]).T)
    >>> found.phi.round(3), found.variance.round(3)
    (array([0.667]), array([0.278]))
    """
    z = np.asarray(z, float)
    known = np.isfinite(z)
    n = known.sum(axis=0)
    mean = np.divide(np.nansum(z, axis=0), n, out=np.zeros(z.shape[1]), where=n > 0)
    c = np.where(known, z - mean, 0.0)
    pairs = (known[1:] & known[:-1]).sum(axis=0)
    square = (c**2).sum(axis=0)
    usable = (pairs >= 4) & (n > 5) & (square > 0)  # noqa: PLR2004
    top = (c[1:] * c[:-1]).sum(axis=0) * (n - 1)
    r = np.divide(top, square * pairs, out=np.full(n.shape, np.nan), where=usable)
    left = np.where(usable, n - 4, 1)
    phi = np.clip((n * r + 1) / left, -MAX_PHI, MAX_PHI)
    return Correlation(phi, np.where(usable, n / left**2, np.inf))


def _matrix(x: ArrayLike, name: str) -> Array:
    array = np.asarray(x, float)
    array = array.reshape(-1, 1) if array.ndim <= 1 else array
    _refuse(np.isinf(array), array, name, "infinite values")
    return array


def _counts(k: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    events, size = _matrix(k, "events"), _matrix(n, "denominator")
    events, size = np.broadcast_arrays(events, size)
    _refuse(events < 0, events, "events", "negative counts")
    _refuse(size < 0, size, "denominator", "negative counts")
    known = (size > 0) & np.isfinite(events)
    return np.where(known, events, np.nan), np.where(known, size, np.nan)


def _refuse(bad: Mask, array: Array, name: str, what: str) -> None:
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise MethodError(
            f"series: {name} has {what}: {int(bad.sum())} of {bad.size}, the first is "
            f"{array[row, column]:g} in period {row}, chart {column} (counted from 0). "
            "Correct the points or set them to missing."
        )
