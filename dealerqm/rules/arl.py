"""Average run lengths: how many points a chart takes to its first signal, and designs from them.

Points are independent and normal with known centre and σ unless a function says otherwise; shifts
are in σ and last. Run lengths of sets of zone rules are in ``design``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
NODES = 60
MEWMA_NODES = 36  # per direction; at 20 the run lengths are those of R's spc by default
TINY = 1e-8  # a product of radii below it has the limit of the density


def shewhart_arl(shift: ArrayLike, *, width: float = 3.0) -> Array:
    """Compute the average run length of a chart with limits alone.

    Parameters
    ----------
    shift : array_like
        Lasting shifts in standard errors.
    width : float
        Limits in standard errors.

    Returns
    -------
    ndarray
        Points to the first signal.

    Examples
    --------
    >>> shewhart_arl([0, 1]).round(2)
    array([370.4 ,  43.89])
    """
    away = np.asarray(shift, float)
    result: Array = 1 / (special.ndtr(away - width) + special.ndtr(-away - width))
    return result


def count_arl(mean: ArrayLike, *, width: float = 3.0) -> Array:
    """Compute the true run length of a c chart with sigma limits and no change.

    Parameters
    ----------
    mean : array_like
        Expected count of a point.
    width : float
        Limits in standard errors.

    Returns
    -------
    ndarray
        Points to the first false alarm; far from the normal value where counts are small.

    Examples
    --------
    >>> count_arl([0.5, 16]).round(1)
    array([ 69.5, 438.3])
    """
    expected = np.asarray(mean, float)
    half = width * np.sqrt(expected)
    above = stats.poisson.sf(np.floor(expected + half), expected)
    below = stats.poisson.cdf(np.ceil(expected - half) - 1, expected)
    result: Array = 1 / (above + below)
    return result


def ar1_arl(phi: ArrayLike, *, width: float = 3.0) -> Array:
    """Compute the run length of a chart of autocorrelated points with no change.

    Parameters
    ----------
    phi : array_like
        Autocorrelations of neighbouring points, above -1 and below 1.
    width : float
        Limits in standard deviations of the points.

    Returns
    -------
    ndarray
        Points to the first false alarm, from a stationary start.

    Notes
    -----
    L(x) = 1 + ∫ L(y) φ((y - ϕx)/√(1-ϕ²))/√(1-ϕ²) dy within the limits.

    Source: Schmid (1995), Journal of Applied Statistics 22, 1; reference case ``spc/arl``.

    Examples
    --------
    >>> ar1_arl([0, 0.5]).round(2)
    array([370.4 , 396.28])
    """
    phis = np.asarray(phi, float)
    return np.array([_ar1(float(value), width) for value in phis.ravel()]).reshape(phis.shape)


def _ar1(phi: float, width: float) -> float:
    if not -1 < phi < 1:
        raise MethodError(f"phi: {phi:g}; allowed: above -1 and below 1, or there is no mean")
    deviation = np.sqrt(1 - phi**2)
    y, weight = _legendre(-width, width, int(NODES / deviation))
    kernel = _density((y - phi * y[:, None]) / deviation) / deviation
    return float(1 + (_density(y) * weight) @ _solved(kernel * weight))


# ---------------------------------------------------------------- EWMA and CUSUM


def ewma_arl(shift: ArrayLike, *, weight: float, width: float) -> Array:
    """Compute the average run length of a two-sided EWMA chart with asymptotic limits.

    Parameters
    ----------
    shift : array_like
        Lasting shifts in σ.
    weight : float
        Share of the newest point, above 0 and up to 1.
    width : float
        Limits in standard deviations of the statistic.

    Returns
    -------
    ndarray
        Points to the first signal.

    Notes
    -----
    Source: Crowder (1987), Technometrics 29, 401; reference cases ``spc/arl``.

    Examples
    --------
    >>> ewma_arl([0, 1], weight=0.1, width=2.8143).round(2)
    array([499.99,  10.33])
    """
    shifts = np.asarray(shift, float)
    found = [_ewma(float(value), weight, width) for value in shifts.ravel()]
    return np.array(found).reshape(shifts.shape)


def _ewma(shift: float, weight: float, width: float) -> float:
    if not 0 < weight <= 1:
        raise MethodError(f"weight: {weight:g}; allowed: above 0 and up to 1, usually 0.1 to 0.3")
    limit = width * np.sqrt(weight / (2 - weight))
    y, step = _legendre(-limit, limit, max(NODES, int(8 * limit / weight)))
    kernel = _density((y - (1 - weight) * y[:, None]) / weight - shift) / weight
    first = _density(y / weight - shift) / weight
    return float(1 + (first * step) @ _solved(kernel * step))


def ewma_width(arl0: float, *, weight: float) -> float:
    """Find the width of an EWMA chart that gives a false alarm every so many points.

    Parameters
    ----------
    arl0 : float
        Points to a false alarm, above 1.
    weight : float
        As for :func:`ewma_arl`.

    Returns
    -------
    float
        Width in standard deviations of the statistic.

    Examples
    --------
    >>> round(ewma_width(500, weight=0.1), 4)
    2.8143
    """
    return _found(arl0, lambda width: _ewma(0.0, weight, width))


def cusum_arl(shift: ArrayLike, *, k: float, h: float, head_start: float = 0.0) -> Array:
    """Compute the average run length of a two-sided CUSUM chart.

    Parameters
    ----------
    shift : array_like
        Lasting shifts in σ.
    k, h : float
        Reference value and decision interval in σ.
    head_start : float
        Where both sums start, in σ; h/2 is the fast initial response.

    Returns
    -------
    ndarray
        Points to the first signal.

    Notes
    -----
    Each side solves L(s) = 1 + L(0)Φ(k-s-μ) + ∫ L(y)φ(y+k-s-μ)dy; the two join as
    (L₊(s)L₋(0) + L₋(s)L₊(0) - L₊(0)L₋(0)) / (L₊(0) + L₋(0)).

    Source: Lucas and Crosier (1982), Technometrics 24, 199; reference cases ``spc/arl``.

    Examples
    --------
    >>> cusum_arl([0, 1], k=0.5, h=5).round(2), cusum_arl(1, k=0.5, h=5, head_start=2.5).round(2)
    (array([465.44,  10.38]), np.float64(6.35))
    """
    shifts = np.asarray(shift, float)
    found = []
    for value in shifts.ravel():
        (high, high_0), (low, low_0) = (
            _one_sided(side * value, k, h, head_start) for side in (1.0, -1.0)
        )
        found.append((high * low_0 + low * high_0 - high_0 * low_0) / (high_0 + low_0))
    return np.array(found).reshape(shifts.shape)[()]


def _one_sided(shift: float, k: float, h: float, start: float) -> tuple[float, float]:
    """Run lengths of one side, from the head start and from 0."""
    y, weight = _legendre(0.0, h, max(NODES, int(4 * h)))
    states = np.concatenate([[0.0, start], y])[:, None]
    kernel = np.zeros((len(states), len(states)))
    kernel[:, 0] = special.ndtr(k - states[:, 0] - shift)
    kernel[:, 2:] = _density(y + k - states - shift) * weight
    length = _solved(kernel)
    return float(length[1]), float(length[0])


def cusum_h(arl0: float, *, k: float) -> float:
    """Find the decision interval of a CUSUM chart that gives a false alarm every so many points.

    Parameters
    ----------
    arl0 : float
        Points to a false alarm, above 1.
    k : float
        Reference value in σ.

    Returns
    -------
    float
        Decision interval in σ.

    Examples
    --------
    >>> round(cusum_h(370.4, k=0.5), 4)
    4.7749
    """
    return _found(arl0, lambda h: float(cusum_arl(0.0, k=k, h=h)))


# ---------------------------------------------------------------- MEWMA


def mewma_arl(
    distance: float, *, variables: int, weight: float, h: float, nodes: int = MEWMA_NODES
) -> float:
    """Compute the average run length of an MEWMA chart with asymptotic limits.

    Parameters
    ----------
    distance : float
        Mahalanobis length of a lasting shift.
    variables : int
        Variables watched together.
    weight, h : float
        Share of the newest point, and limit of the statistic.
    nodes : int
        Quadrature nodes per direction; 20 repeats the defaults of R's ``spc`` with their error
        (0.1 % for 2 variables, a shift of 1 and weight 0.1).

    Returns
    -------
    float
        Points to the first signal.

    Notes
    -----
    The state is the length of the statistic, or, with a shift, its part along the shift and the
    length of the rest, whose square is noncentral χ² with one variable less.

    Source: Rigdon (1995), Journal of Statistical Computation and Simulation 52, 351; Knoth (2017),
    Statistics in Medicine 36, 2796; reference cases ``spc/arl``.

    Examples
    --------
    >>> round(mewma_arl(0, variables=2, weight=0.1, h=8.6336), 1)
    200.0
    """
    if variables == 1:
        return _ewma(distance, weight, float(np.sqrt(h)))
    radius = float(np.sqrt(h * weight / (2 - weight)))
    if distance == 0:
        y, step = _legendre(0.0, radius, 2 * nodes)
        kernel = _radial(y, y[:, None], variables, weight) * step
        return float(1 + (_radial(y, 0 * y, variables, weight) * step) @ _solved(kernel))
    along, rest, step = _disc(radius, variables, nodes)
    moved = (along - (1 - weight) * along[:, None]) / weight - distance
    across = _radial(rest, rest[:, None], variables - 1, weight)
    length = _solved(_density(moved) / weight * across * step)
    first = _density(along / weight - distance) / weight
    return float(1 + (first * _radial(rest, 0 * rest, variables - 1, weight) * step) @ length)


def _disc(radius: float, variables: int, nodes: int) -> tuple[Array, Array, Array]:
    """Nodes along the shift and across it; the substitutions tame the rim of the disc."""
    if variables == 2:  # noqa: PLR2004
        angle, turn = _legendre(-np.pi / 2, np.pi / 2, nodes)
        line, step = radius * np.sin(angle), radius * np.cos(angle) * turn
    else:
        angle, turn = _legendre(-1.0, 1.0, nodes)
        scale = radius / np.sinh(1.0)
        line, step = scale * np.sinh(angle), scale * np.cosh(angle) * turn
    share, part = _legendre(0.0, 1.0, nodes)
    along = np.repeat(line, nodes)
    rim = np.sqrt(radius**2 - along**2)
    return along, np.tile(share, nodes) * rim, np.repeat(step, nodes) * np.tile(part, nodes) * rim


def _radial(y: Array, x: Array, freedom: int, weight: float) -> Array:
    """Density at y of the length of the next state when the present length is x."""
    r, a = y / weight, (1 - weight) * x / weight
    order = freedom / 2 - 1
    product = r * a
    near = product < TINY
    safe, start = np.where(near, 1.0, product), np.where(near, 1.0, a)
    bessel = special.ive(order, safe) * np.exp(-((r - a) ** 2) / 2)
    far = bessel * r ** (freedom / 2) * start ** (1 - freedom / 2)
    limit = r ** (freedom - 1) * np.exp(-(r**2 + a**2) / 2) / special.gamma(freedom / 2)
    result: Array = np.where(near, limit * 2 ** (1 - freedom / 2), far) / weight
    return result


def mewma_h(arl0: float, *, variables: int, weight: float) -> float:
    """Find the limit of an MEWMA chart that gives a false alarm every so many points.

    Parameters
    ----------
    arl0 : float
        Points to a false alarm, above 1.
    variables, weight
        As for :func:`mewma_arl`.

    Returns
    -------
    float
        Limit of the statistic.

    Examples
    --------
    >>> round(mewma_h(200, variables=2, weight=0.1), 3)
    8.634
    """
    return _found(arl0, lambda h: mewma_arl(0.0, variables=variables, weight=weight, h=h))


# ---------------------------------------------------------------- shared steps


def _density(x: Array) -> Array:
    result: Array = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return result


@lru_cache(maxsize=64)
def _nodes(count: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(count)


def _legendre(low: float, high: float, count: int) -> tuple[Array, Array]:
    x, weight = _nodes(count)
    return low + (high - low) * (x + 1) / 2, (high - low) / 2 * weight


def _solved(kernel: Array) -> Array:
    solved: Array = np.asarray(np.linalg.solve(np.eye(len(kernel)) - kernel, np.ones(len(kernel))))
    return solved


def _found(arl0: float, length: Callable[[float], float]) -> float:
    """Solve for the width: widen until the run length is passed, then close in."""
    if not 1 < arl0 < 1e6:  # noqa: PLR2004
        raise MethodError(f"arl0: {arl0:g}; allowed: above 1 and below 1,000,000 points")
    low, high = 1e-3, 0.1
    while length(high) < arl0:
        low, high = high, high * 1.5
    return float(optimize.brentq(lambda w: length(w) - arl0, low, high, xtol=1e-12, rtol=1e-12))
