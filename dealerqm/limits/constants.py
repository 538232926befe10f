"""What a sample of n says of σ: exact chart constants, and σ within subgroups of any sizes.

Constants come from integrals, not from tables, so they exist for every n ≥ 2 and are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from dealerqm.errors import MethodError, unknown
from dealerqm.limits import base

Array = NDArray[np.float64]

NODES = 40  # per panel of the inner integral; at 12 the constants are those of R's ptukey
_REACH = 8.0  # beyond it the normal density is 0 to rounding
_SPLIT, _WIDEST = 3.0, 16.0  # the inner integral has three panels below the split, two above


class Constants(NamedTuple):
    """Moments of samples of n from a normal distribution with σ = 1.

    Attributes
    ----------
    d2, d3 : ndarray
        Mean and standard deviation of the range.
    c4 : ndarray
        Mean of the standard deviation.
    d4 : ndarray
        Median of the range.
    """

    d2: Array
    d3: Array
    c4: Array
    d4: Array


def chart_constants(n: ArrayLike, *, nodes: int = NODES) -> Constants:
    """Compute the chart constants for any sample size.

    Parameters
    ----------
    n : array_like of int
        Sample sizes; below 2 and missing have no spread and give NaN.
    nodes : int
        Gauss-Legendre nodes per panel; more than the default changes nothing, 12 repeats R's
        ``ptukey`` with its error (1.4e-6 of d3 at n = 100).

    Returns
    -------
    Constants
        Arrays of the shape of n.

    Raises
    ------
    MethodError
        A sample size that is no whole number.

    Notes
    -----
    P(range ≤ w) = (2Φ(w/2) - 1)^n + 2n ∫_{w/2}^∞ φ(x) (Φ(x) - Φ(x-w))^(n-1) dx gives d2, d3 and
    d4; c4 = √(2/(n-1)) Γ(n/2) / Γ((n-1)/2).

    Source: Hartley (1942), Biometrika 32, 309; reference case ``spc/constants``.

    Examples
    --------
    >>> [round(float(v), 6) for v in chart_constants(5)]
    [2.325929, 0.864082, 0.939986, 2.256882]
    """
    sizes = np.asarray(n, float)
    unique, place = np.unique(sizes, return_inverse=True)
    odd = unique[np.isinf(unique) | (np.floor(unique) < unique)]
    if odd.size:
        raise MethodError(f"chart constants: n = {odd[0]:g}; allowed: whole numbers of values")
    none = (np.nan,) * 3
    known = [_moments(int(size), nodes) if size >= 2 else none for size in unique]  # noqa: PLR2004
    columns = np.array(known).reshape(-1, 3)[place.reshape(-1)].T
    d2, d3, d4 = (column.reshape(sizes.shape) for column in columns)
    return Constants(d2, d3, c4(sizes), d4)


def c4(n: ArrayLike) -> Array:
    """Compute the mean of the standard deviation of n normal values in units of σ.

    Parameters
    ----------
    n : array_like
        Sample sizes.

    Returns
    -------
    ndarray
        NaN below 2.

    Examples
    --------
    >>> c4([2, 25]).round(6)
    array([0.797885, 0.98964 ])
    """
    half = (np.asarray(n, float) - 1) / 2
    half = np.where(half > 0, half, np.nan)
    result: Array = special.poch(half, 0.5) / np.sqrt(half)
    return result


def factors(n: ArrayLike, *, sigma: float = 3.0, nodes: int = NODES) -> dict[str, Array]:
    """Compute the factors that printed tables list, from the exact constants.

    Parameters
    ----------
    n : array_like of int
        Sample sizes.
    sigma : float
        Width of the limits in standard errors.
    nodes : int
        As for :func:`chart_constants`.

    Returns
    -------
    dict of str to ndarray
        A2, A3 and E2 (mean and individual limits from R̄ and s̄), B3 and B4 (limits of s), D3 and
        D4 (limits of R); B3 and D3 are cut at 0.

    Notes
    -----
    A2 = 3/(d2 √n), A3 = 3/(c4 √n), E2 = 3/d2, D = 1 ± 3 d3/d2, B = 1 ± 3 √(1-c4²)/c4.

    Source: Montgomery, Introduction to Statistical Quality Control, appendix VI.

    Examples
    --------
    >>> {name: round(float(v), 3) for name, v in factors(5).items() if name[0] in "AD"}
    {'A2': 0.577, 'A3': 1.427, 'D3': 0.0, 'D4': 2.114}
    """
    size = np.asarray(n, float)
    d2, d3, unbiased, _ = chart_constants(n, nodes=nodes)
    spread = sigma * np.sqrt(1 - unbiased**2) / unbiased
    width = sigma * d3 / d2
    return {
        "A2": sigma / (d2 * np.sqrt(size)),
        "A3": sigma / (unbiased * np.sqrt(size)),
        "E2": sigma / d2,
        "B3": np.maximum(1 - spread, 0.0),
        "B4": 1 + spread,
        "D3": np.maximum(1 - width, 0.0),
        "D4": 1 + width,
    }


@lru_cache(maxsize=4096)
def _moments(n: int, nodes: int) -> tuple[float, float, float]:
    w, weight = _panels(np.array([[0.0, _SPLIT, _SPLIT + 5, _WIDEST]]), 64)
    beyond = (1 - _range_cdf(_inner(nodes), n)) * weight[0]
    d2 = float(beyond.sum())
    d3 = np.sqrt(2 * float((w[0] * beyond).sum()) - d2**2)

    def below(w: float) -> float:
        return float(_range_cdf(_inner_at(np.array([w]), nodes), n)[0]) - 0.5

    return d2, float(d3), float(optimize.brentq(below, 0.0, _WIDEST, xtol=1e-15))


@lru_cache(maxsize=16)
def _legendre(nodes: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(nodes)


@lru_cache(maxsize=4)
def _inner(nodes: int) -> tuple[Array, Array, Array]:
    w, _ = _panels(np.array([[0.0, _SPLIT, _SPLIT + 5, _WIDEST]]), 64)
    return _inner_at(w[0], nodes)


def _inner_at(w: Array, nodes: int) -> tuple[Array, Array, Array]:
    """Return 2Φ(w/2)-1, and base and weight of the inner integral at each w."""
    start = np.minimum(w / 2, _REACH)[:, None]
    cuts = np.where(w[:, None] > _SPLIT, [0, 1 / 2, 1, 1], [0, 1 / 3, 2 / 3, 1])
    x, weight = _panels(start + (_REACH - start) * cuts, nodes)
    base = special.ndtr(x) - special.ndtr(x - w[:, None])
    density = np.exp(-(x**2) / 2) * weight / np.sqrt(2 * np.pi)
    return 2 * special.ndtr(w / 2) - 1, base, density


def _panels(edges: Array, nodes: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights between neighbouring edges, shape (rows, nodes)."""
    t, weight = _legendre(nodes)
    half = np.diff(edges, axis=1)[..., None] / 2
    x = edges[:, :-1, None] + half * (t + 1)
    return x.reshape(len(edges), -1), (half * weight).reshape(len(edges), -1)


def _range_cdf(inner: tuple[Array, Array, Array], n: int) -> Array:
    centre, base, density = inner
    result: Array = centre**n + 2 * n * (base ** (n - 1) * density).sum(axis=1)
    return result


# ---------------------------------------------------------------- σ within subgroups


class Subgroups(NamedTuple):
    """Summary of subgroups; everything a chart needs of them.

    Attributes
    ----------
    mean, sd, range, n : ndarray, shape (periods, charts)
        NaN where a subgroup is empty; sd and range are NaN where it has one value.
    """

    mean: Array
    sd: Array
    range: Array
    n: Array


def subgroups(data: ArrayLike | Sequence[ArrayLike]) -> Subgroups:
    """Summarise the values of subgroups, which need not have equal sizes.

    Parameters
    ----------
    data : sequence of array_like, or array_like of shape (periods, charts, members)
        One chart as a list of subgroups, or many as a cube; NaN is no value.

    Returns
    -------
    Subgroups
        One row per subgroup.

    Raises
    ------
    MethodError
        An infinite value.

    Examples
    --------
    >>> found = subgroups([[1, 2, 3], [4, 6]])
    >>> found.mean[:, 0], found.range[:, 0], found.n[:, 0]
    (array([2., 5.]), array([2., 2.]), array([3., 2.]))
    """
    cube = _cube(data)
    if np.isinf(cube).any():
        period, chart = np.argwhere(np.isinf(cube))[0][:2]
        raise MethodError(
            f"subgroups: infinite value in period {period} of chart {chart}; allowed: finite "
            "values or missing; correct or leave out this value"
        )
    known = np.isfinite(cube)
    n = known.sum(axis=2)
    mean = np.divide(np.where(known, cube, 0.0).sum(axis=2), n, out=_nan(n), where=n > 0)
    squares = np.where(known, (cube - mean[..., None]) ** 2, 0.0).sum(axis=2)
    sd = np.sqrt(np.divide(squares, n - 1, out=_nan(n), where=n > 1))
    highest = np.where(known, cube, -np.inf).max(axis=2, initial=-np.inf)
    lowest = np.where(known, cube, np.inf).min(axis=2, initial=np.inf)
    spread = np.subtract(highest, lowest, out=_nan(n), where=n > 1)
    return Subgroups(mean, sd, spread, n.astype(float))


def _cube(data: ArrayLike | Sequence[ArrayLike]) -> Array:
    if isinstance(data, np.ndarray) and data.ndim == 3:  # noqa: PLR2004
        return data.astype(float)
    rows = [np.asarray(row, float).ravel() for row in data]  # type: ignore[union-attr]
    cube = np.full((len(rows), 1, max((row.size for row in rows), default=0)), np.nan)
    for place, row in enumerate(rows):
        cube[place, 0, : row.size] = row
    return cube


def _nan(like: NDArray[np.generic]) -> Array:
    return np.full(like.shape, np.nan)


def _average(estimates: Array, weights: ArrayLike = 1.0) -> Array:
    weights = np.broadcast_to(np.asarray(weights, float), estimates.shape)
    known = np.isfinite(estimates)
    return base.divide(base.total(estimates * weights, known), base.total(weights, known))


def _mean_r(groups: Subgroups, nodes: int) -> Array:
    return _average(groups.range / chart_constants(groups.n, nodes=nodes).d2)


def _mean_s(groups: Subgroups, nodes: int) -> Array:
    return _average(groups.sd / c4(groups.n))


def _mvlue_r(groups: Subgroups, nodes: int) -> Array:
    d2, d3, *_ = chart_constants(groups.n, nodes=nodes)
    return _average(groups.range / d2, (d2 / d3) ** 2)


def _mvlue_s(groups: Subgroups, nodes: int) -> Array:
    unbiased = c4(groups.n)
    return _average(groups.sd / unbiased, unbiased**2 / (1 - unbiased**2))


def _rmsdf(groups: Subgroups, nodes: int) -> Array:
    freedom = np.where(np.isfinite(groups.sd), groups.n - 1, 0.0)
    result: Array = np.sqrt(_average(groups.sd**2, freedom)) / c4(freedom.sum(axis=0) + 1)
    return result


# name -> σ within subgroups: unweighted average of R or s, minimum-variance linear unbiased
# estimator from R or s, root mean square by degrees of freedom
WITHIN: Mapping[str, Callable[[Subgroups, int], Array]] = MappingProxyType(
    {
        "mean_r_over_d2": _mean_r,
        "mean_s_over_c4": _mean_s,
        "mvlue_r": _mvlue_r,
        "mvlue_s": _mvlue_s,
        "pooled_sd_over_c4": _rmsdf,
    }
)


def sigma_within(
    groups: Subgroups, *, estimator: str = "mean_s_over_c4", nodes: int = NODES
) -> Array:
    """Estimate σ within subgroups of any sizes.

    Parameters
    ----------
    groups : Subgroups
        Their summary; subgroups of one value say nothing of σ and are passed over.
    estimator : str
        ``mean_r_over_d2`` and ``mean_s_over_c4`` (unweighted average), ``mvlue_r`` and ``mvlue_s``
        (minimum-variance linear unbiased), ``pooled_sd_over_c4`` (root mean square by degrees of
        freedom).
    nodes : int
        As for :func:`chart_constants`.

    Returns
    -------
    ndarray, shape (charts,)
        In the unit of the values; NaN where no subgroup has two values.

    Raises
    ------
    MethodError
        An unknown estimator.

    Notes
    -----
    With equal sizes the average and the MVLUE agree; with unequal sizes the average gives a
    subgroup of 3 the weight of one of 30.

    Source: Burr (1969), Journal of Quality Technology 1, 163; qcc 2.7 ``sd.xbar``.

    Examples
    --------
    >>> sigma_within(subgroups([[1, 2, 3], [4, 6]])).round(4)
    array([1.4504])
    """
    if estimator not in WITHIN:
        raise MethodError(unknown("estimator", estimator, WITHIN))
    return WITHIN[estimator](groups, nodes)
