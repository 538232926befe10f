"""Intervals for shares, plain and under a sampling design.

Plain intervals take successes and trials. Under a design they take the share, its standard error,
the design's degrees of freedom and the number of answers. Arrays in, arrays out; n = 0 is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.stats.intervals import Interval, wilson

Array = NDArray[np.float64]
HALF = 0.5  # the continuity correction
JEFFREYS = 0.5  # both parameters of Jeffreys' prior
STEPS = 60  # halvings of a bracket: below 1e-17 of its width


def _share(k: ArrayLike, n: ArrayLike) -> tuple[Array, Array, Array]:
    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    return k, n, np.divide(k, n, out=np.full(k.shape, np.nan), where=n > 0)


def _z(confidence: float) -> float:
    return float(special.ndtri(0.5 + confidence / 2))


def student(level: float, df: ArrayLike) -> Array:
    """Return a point of Student's t for each number of degrees of freedom.

    Parameters
    ----------
    level : float
        Share of the distribution below the point.
    df : array_like
        Degrees of freedom; infinity is the normal distribution.

    Returns
    -------
    ndarray
        Points; the last few answers are remembered.

    Examples
    --------
    >>> student(0.975, [10, np.inf]).round(3)
    array([2.228, 1.96 ])
    """
    freedom = np.asarray(df, float)
    return _student_points(level, freedom.tobytes()).reshape(freedom.shape)


@lru_cache(maxsize=64)
def _student_points(level: float, df: bytes) -> Array:
    found: Array = np.asarray(special.stdtrit(np.frombuffer(df), level))
    found.flags.writeable = False
    return found


# ---------------------------------------------------------------- plain intervals


def wilson_corrected(k: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share with continuity correction.

    Parameters
    ----------
    k, n : array_like
        Successes and trials.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares in 0..1; NaN where n is 0.

    Notes
    -----
    The Wilson ends of p ± c/n, with c = ½ or, nearer to the middle, |k - n/2|.

    Source: Newcombe (1998), Statistics in Medicine 17, 857; R ``prop.test``.

    Examples
    --------
    >>> [round(float(v), 4) for v in wilson_corrected(7, 200)]
    [0.035, 0.0154, 0.0737]
    """
    k, n, p = _share(k, n)
    step = np.minimum(HALF, np.abs(k - n / 2))
    size = np.where(n > 0, n, np.nan)
    share = _z(confidence) ** 2 / size
    ends = []
    for sign in (-1, 1):
        moved = np.clip((k + sign * step) / size, 0, 1)
        half = np.sqrt(share * moved * (1 - moved) + share**2 / 4)
        ends.append((moved + share / 2 + sign * half) / (1 + share))
    low, high = np.where(k == 0, 0 * size, ends[0]), np.where(k == n, 0 * size + 1, ends[1])
    return Interval(p, np.maximum(low, 0), np.minimum(high, 1))


def clopper_pearson(k: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Exact interval of a share, never short of its level.

    Parameters
    ----------
    k, n
        As for :func:`wilson_corrected`; effective numbers may be fractions.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares in 0..1; NaN where n is 0.

    Notes
    -----
    Beta(k, n-k+1) and Beta(k+1, n-k) quantiles; 0 at k = 0 and 1 at k = n.

    Source: Clopper and Pearson (1934), Biometrika 26, 404; R ``binom.test``.

    Examples
    --------
    >>> [round(float(v), 4) for v in clopper_pearson(0, 10)]
    [0.0, 0.0, 0.3085]
    """
    k, n, p = _share(k, n)
    return _beta_ends((k, n, p), (0.0, 1.0), confidence)


def jeffreys(k: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Interval of a share from Jeffreys' prior.

    Parameters
    ----------
    k, n
        As for :func:`wilson_corrected`.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares in 0..1; NaN where n is 0.

    Notes
    -----
    Beta(k+½, n-k+½) quantiles; the low end is 0 at k = 0 and the high end 1 at k = n.

    Source: Brown, Cai and DasGupta (2001), Statistical Science 16, 101.

    Examples
    --------
    >>> [round(float(v), 4) for v in jeffreys(0, 10)]
    [0.0, 0.0, 0.2172]
    """
    k, n, p = _share(k, n)
    return _beta_ends((k, n, p), (JEFFREYS, JEFFREYS), confidence)


def _beta_ends(
    share: tuple[Array, Array, Array], more: tuple[float, float], confidence: float
) -> Interval:
    k, n, p = share
    tail, tiny = (1 - confidence) / 2, np.finfo(float).tiny
    less, known = np.maximum(n - k, 0), np.where(n > 0, 1.0, np.nan)
    low = special.betaincinv(np.maximum(k + more[0], tiny), less + more[1], tail)
    high = special.betaincinv(k + more[1], np.maximum(less + more[0], tiny), 1 - tail)
    return Interval(p, np.where(k <= 0, 0, low) * known, np.where(less <= 0, 1, high) * known)


def agresti_coull(k: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Wald interval of a share around Wilson's midpoint.

    Parameters
    ----------
    k, n
        As for :func:`wilson_corrected`.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares; the ends may lie below 0 or above 1. NaN where n is 0.

    Notes
    -----
    z² is added to n and z²/2 to k.

    Source: Agresti and Coull (1998), The American Statistician 52, 119.

    Examples
    --------
    >>> [round(float(v), 4) for v in agresti_coull(5, 10)]
    [0.5, 0.2366, 0.7634]
    """
    k, n, p = _share(k, n)
    z = _z(confidence)
    size = np.where(n > 0, n + z**2, np.nan)
    middle = (k + z**2 / 2) / size
    half = z * np.sqrt(middle * (1 - middle) / size)
    return Interval(p, middle - half, middle + half)


# ---------------------------------------------------------------- under a design


def effective(p: ArrayLike, se: ArrayLike, df: ArrayLike, n: ArrayLike) -> Array:
    """Find how many independent answers a share is worth.

    Parameters
    ----------
    p, se, df, n : array_like
        Share, its standard error, degrees of freedom of the design, answers.

    Returns
    -------
    ndarray
        Effective numbers; n itself, shrunk for the degrees of freedom, where the error is 0.

    Notes
    -----
    p(1-p)/se² · (t(n-1)/t(df))², t the 97.5 % points of Student's t.

    Source: Korn and Graubard (1998), Survey Methodology 24, 193; R survey ``svyciprop``.

    Examples
    --------
    >>> round(float(effective(0.5, 0.1, 99, 100)), 9)
    25.0
    """
    return _effective(p, se, df, n, 0.975)


def _effective(p: ArrayLike, se: ArrayLike, df: ArrayLike, n: ArrayLike, level: float) -> Array:
    p, se, df, n = np.broadcast_arrays(*(np.asarray(v, float) for v in (p, se, df, n)))
    simple = np.divide(p * (1 - p), se**2, out=np.array(n), where=se > 0)
    known = np.where(df >= 1, 1.0, np.nan) * np.where(np.isnan(se), np.nan, 1.0)
    t = [student(level, np.maximum(freedom, 1)) for freedom in (n - 1, df)]
    found: Array = np.asarray(simple * (t[0] / t[1]) ** 2 * known)
    return found


def share_interval(
    p: ArrayLike, se: ArrayLike, df: ArrayLike, n: ArrayLike, *, method: str,
    confidence: float = 0.95,
) -> Interval:  # fmt: skip
    """Give an interval of a share under a sampling design.

    Parameters
    ----------
    p, se, df, n : array_like
        Share, its standard error, degrees of freedom of the design, answers.
    method : str
        A name of :data:`METHODS`.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Shares; NaN with less than one degree of freedom or an unknown error.

    Raises
    ------
    MethodError
        If the method is not known.

    Notes
    -----
    ``t``: p ± t se. ``logit``, ``asin``: the same on logit p and arcsin √p. ``likelihood``:
    where the deviance of a share, scaled by the design effect, reaches t². ``beta`` is Korn and
    Graubard's exact interval, and the names of plain intervals use the :func:`effective` number.

    Source: R survey ``svyciprop``, reference cases ``survey/point_estimates``.

    Examples
    --------
    >>> [round(float(v), 4) for v in share_interval(0.2, 0.05, 30, 60, method="logit")]
    [0.2, 0.1167, 0.3212]
    """
    if method not in METHODS:
        raise MethodError(unknown("method", method, METHODS))
    p, se, df, n = np.broadcast_arrays(*(np.asarray(v, float) for v in (p, se, df, n)))
    known = np.where((df >= 1) & np.isfinite(se) & (n > 0), 1.0, np.nan)
    low, high = METHODS[method](p, se, df, n, confidence)
    return Interval(p, low * known, high * known)


Ends = tuple[Array, Array]


def _t(df: Array, confidence: float) -> Array:
    return student(0.5 + confidence / 2, np.maximum(df, 1))


def _student(p: Array, se: Array, df: Array, n: Array, confidence: float) -> Ends:
    half = _t(df, confidence) * se
    return p - half, p + half


def _logit(p: Array, se: Array, df: Array, n: Array, confidence: float) -> Ends:
    inner = np.clip(p, 1e-15, 1 - 1e-15)
    half = _t(df, confidence) * se / (inner * (1 - inner))
    return special.expit(special.logit(inner) - half), special.expit(special.logit(inner) + half)


def _asin(p: Array, se: Array, df: Array, n: Array, confidence: float) -> Ends:
    inner = np.clip(p, 1e-15, 1 - 1e-15)
    half = _t(df, confidence) * se / (2 * np.sqrt(inner * (1 - inner)))
    angle = np.arcsin(np.sqrt(inner))
    low, high = np.maximum(angle - half, 0), np.minimum(angle + half, np.pi / 2)
    return np.sin(low) ** 2, np.sin(high) ** 2


def _likelihood(p: Array, se: Array, df: Array, n: Array, confidence: float) -> Ends:
    inner = np.clip(p, 1e-15, 1 - 1e-15)
    effect = se**2 / (inner * (1 - inner)) * n
    aim = _t(df, confidence) ** 2 * effect * n / np.maximum(n - 1, 1)

    def solve(end: Array) -> Array:
        near, far = np.array(p), np.array(end)
        for _ in range(STEPS):
            middle = (near + far) / 2
            deviance = 2 * n * (special.rel_entr(p, middle) + special.rel_entr(1 - p, 1 - middle))
            inside = deviance < aim
            near, far = np.where(inside, middle, near), np.where(inside, far, middle)
        return near

    return solve(np.zeros(p.shape)), solve(np.ones(p.shape))


def _plain(interval: Callable[..., Interval]) -> Callable[..., Ends]:
    def ends(p: Array, se: Array, df: Array, n: Array, confidence: float) -> Ends:
        size = _effective(p, se, df, n, 0.5 + confidence / 2)
        found = interval(p * size, size, confidence=confidence)
        return found.low, found.high

    return ends


METHODS: dict[str, Callable[[Array, Array, Array, Array, float], Ends]] = {
    "t": _student, "logit": _logit, "asin": _asin, "likelihood": _likelihood,
    "beta": _plain(clopper_pearson), "wilson": _plain(wilson),
    "wilson_corrected": _plain(wilson_corrected), "jeffreys": _plain(jeffreys),
    "agresti_coull": _plain(agresti_coull),
}  # fmt: skip
