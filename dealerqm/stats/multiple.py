"""Many tests at once: combined p-values, and the chance or rate of false findings held."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
SMALL = 1e-8
CEILING = 0.99


def cauchy(p: ArrayLike, weights: ArrayLike) -> Array:
    """Combine dependent p-values into one.

    Parameters
    ----------
    p, weights : array_like, shape (tests, charts)
        p-values and their weights, which sum to 1 per chart.

    Returns
    -------
    ndarray, shape (charts,)
        Combined p-values.

    Notes
    -----
    The weighted sum of tan((1/2 - p) π) is standard Cauchy in its tail under any dependence. A p
    near 1 counts as 0.99, so that one window cannot silence another.

    Source: Liu and Xie (2020), JASP 115, 393.

    Examples
    --------
    >>> cauchy([[0.01], [0.01]], [[0.5], [0.5]]).round(6)
    array([0.01])
    """
    kept = np.clip(np.asarray(p, float), 1e-300, CEILING)
    near = np.tan((0.5 - np.maximum(kept, SMALL)) * np.pi)
    tangent = np.where(kept < SMALL, 1 / (np.pi * kept), near)
    total = (np.asarray(weights, float) * tangent).sum(axis=0)
    far = total > 1 / SMALL
    near = 0.5 - np.arctan(np.where(far, 0.0, total)) / np.pi
    found: Array = np.where(far, 1 / (np.pi * np.where(far, total, 1.0)), near)
    return found


def holm(p: ArrayLike, families: ArrayLike | None = None) -> Array:
    """Adjust p-values so that a family holds a false finding with the stated chance at most.

    Parameters
    ----------
    p : array_like, shape (tests,)
        p-values under any dependence; NaN is no test.
    families : array_like, shape (tests,), or None
        Family of each test, words or numbers; None is one family.

    Returns
    -------
    ndarray, shape (tests,)
        The smallest chance at which each test would be a finding; NaN stays NaN.

    Notes
    -----
    max over j <= i of (m - j + 1) p(j), at most 1, within each family. The rate of false findings
    instead of their chance is held by :func:`benjamini_hochberg`.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65; R ``p.adjust``.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, np.nan]).round(3)
    array([0.03, 0.06, 0.06,  nan])
    """
    given = np.asarray(p, float)
    names = np.zeros(given.size, int) if families is None else np.asarray(families)
    adjusted = np.full(given.shape, np.nan)
    for family in np.unique(names):
        known = np.flatnonzero((names == family) & np.isfinite(given))
        order = known[np.argsort(given[known], kind="stable")]
        steps = given[order] * np.arange(order.size, 0, -1)
        adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjust p-values for the rate of false discoveries.

    Parameters
    ----------
    p : array_like, shape (tests,)
        p-values; NaN is no test.

    Returns
    -------
    ndarray
        The smallest rate at which each test would be a discovery; NaN stays NaN.

    Notes
    -----
    min over j >= i of m p(j)/j, at most 1.

    Source: Benjamini and Hochberg (1995), JRSS B 57, 289; R ``p.adjust(method = "BH")``.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, np.nan]).round(3)
    array([0.03, 0.04, 0.04,  nan])
    """
    p = np.asarray(p, float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * order.size / np.arange(1, order.size + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted


def simes(p: ArrayLike) -> float:
    """Combine p-values into one for "at least one of them is real".

    Parameters
    ----------
    p : array_like, shape (tests,)
        p-values; NaN is no test.

    Returns
    -------
    float
        min over i of m p(i)/i; NaN without any test.

    Notes
    -----
    Exact for independent tests, and not too small for positively dependent ones.

    Source: Simes (1986), Biometrika 73, 751.

    Examples
    --------
    >>> round(simes([0.01, 0.5, 0.9]), 4)
    0.03
    """
    adjusted = benjamini_hochberg(p)
    known = adjusted[np.isfinite(adjusted)]
    return float(known.min()) if known.size else float("nan")


def hierarchical(p: ArrayLike, families: ArrayLike) -> Array:
    """Adjust p-values in two steps: first which families hold something, then what.

    Parameters
    ----------
    p : array_like, shape (tests,)
        p-values; NaN is no test.
    families : array_like of int, shape (tests,)
        Family of each test.

    Returns
    -------
    ndarray
        The smallest rate q at which each test is a discovery; NaN stays NaN.

    Notes
    -----
    At rate q, families are chosen by Benjamini-Hochberg on their Simes p-values; within each of R
    chosen out of m families, Benjamini-Hochberg works at the rate q R/m. On a board where nothing
    changed the chance of any discovery is at most q.

    Source: Benjamini and Bogomolov (2014), JRSS B 76, 297.

    Examples
    --------
    >>> hierarchical([0.001, 0.02, 0.5, 0.7], [0, 0, 1, 1]).round(4)
    array([0.004, 0.04 , 0.7  , 0.7  ])
    """
    p = np.asarray(p, float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if not known.size:
        return adjusted
    place = np.unique(np.asarray(families)[known], return_inverse=True)[1]
    inner, whole = _within(p[known], place)
    outer = benjamini_hochberg(whole)
    steps, chosen = np.sort(outer), np.arange(1, outer.size + 1)
    possible = np.maximum(steps, inner[:, None] * (outer.size / chosen))
    possible = np.where(steps >= outer[place][:, None], possible, np.inf)
    adjusted[known] = np.minimum(possible.min(axis=1), 1.0)
    return adjusted


def _within(p: Array, place: NDArray[np.int64]) -> tuple[Array, Array]:
    """Adjust p-values inside families numbered from 0; also return each family's smallest."""
    order = np.lexsort((p, place))
    size = np.bincount(place)
    rank = np.arange(p.size) - np.repeat(np.cumsum(size) - size, size) + 1
    grid = np.full((size.size, int(size.max())), np.inf)  # the largest p of a family first
    grid[place[order], -rank] = p[order] * size[place[order]] / rank
    least = np.minimum(np.minimum.accumulate(grid, axis=1), 1.0)
    inner = np.empty(p.size)
    inner[order] = least[place[order], -rank]
    whole: Array = least[:, -1]
    return inner, whole
