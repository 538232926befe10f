"""Parts of people: k-means for many, k-medoids for mixed columns of few.

A partition has one order: largest part first, equal sizes by their centre. So the same people give
the same labels, whatever order the algorithm found them in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
CHUNK = 100_000  # people assigned at once
MOST_MEDOIDS = 5_000  # people whose distances still fit beside their working copies


class Partition(NamedTuple):
    """A partition by k-means.

    Attributes
    ----------
    labels : ndarray, shape (n,)
        Part of each person, 0 is the largest.
    centres : ndarray, shape (k, columns)
        Mean of each part.
    sizes : ndarray, shape (k,)
        People.
    within : ndarray, shape (k,)
        Sum of squared distances to the centre.
    fitted_on : int
        People of the sample that the centres were first found on.
    """

    labels: Codes
    centres: Array
    sizes: Codes
    within: Array
    fitted_on: int


def kmeans(
    x: ArrayLike, k: int, *, seed: int = 0, starts: int = 10, sample: int = 50_000
) -> Partition:
    """Divide people into k parts around their means.

    Parameters
    ----------
    x : array_like, shape (n, columns)
        Coordinates, complete and already scaled, see :func:`dealerqm.clustering.distance.design`.
    k : int
        Parts, from 1 to the number of different rows.
    seed : int
        Chooses the sample and the starts.
    starts : int
        Restarts; the one with the least sum of squares counts.
    sample : int
        The centres are found on at most so many people; everybody is then assigned, the centres
        are moved to the means of all, and everybody is assigned once more.

    Returns
    -------
    Partition

    Raises
    ------
    MethodError
        Missing or infinite values, or fewer different rows than parts.

    Notes
    -----
    Lloyd's algorithm from k-means++ starts. One thread fits, so that sums have one order.

    Source: Lloyd (1982), IEEE Trans. Inf. Theory 28, 129; Arthur and Vassilvitskii (2007), SODA,
    1027; reference case segment/07_silhouette_iris (optimum of R ``kmeans``).

    Examples
    --------
    >>> found = kmeans([[0.0], [1.0], [10.0], [11.0], [12.0]], 2)
    >>> found.labels.tolist(), found.centres.ravel().tolist(), found.within.tolist()
    ([1, 1, 0, 0, 0], [11.0, 0.5], [2.0, 0.5])
    """
    data = _finite(x)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(data), sample, replace=False) if len(data) > sample else slice(None)
    fitted = data[np.sort(chosen)] if not isinstance(chosen, slice) else data
    centres = _lloyd(fitted, k, starts, int(rng.integers(2**31)))[1]
    if len(fitted) < len(data):
        centres = _means(data, assign(data, centres), centres)
    return _ordered(data, assign(data, centres), centres, len(fitted))


def assign(x: ArrayLike, centres: ArrayLike) -> Codes:
    """Give each person the part with the nearest centre.

    Parameters
    ----------
    x : array_like, shape (n, columns)
        Coordinates.
    centres : array_like, shape (k, columns)
        Centres in the same units.

    Returns
    -------
    ndarray, shape (n,)
        Index of the nearest centre; the first of equally near ones.

    Examples
    --------
    >>> assign([[0.0], [9.0]], [[1.0], [8.0]]).tolist()
    [0, 1]
    """
    data, middle = np.asarray(x, float), np.asarray(centres, float)
    half = (middle**2).sum(axis=1) / 2
    steps = range(0, len(data), CHUNK)
    near = [(data[i : i + CHUNK] @ middle.T - half).argmax(axis=1) for i in steps]
    return np.concatenate(near) if near else np.zeros(0, np.int64)


def _lloyd(x: Array, k: int, starts: int, seed: int) -> tuple[Codes, Array]:
    """Labels and centres of the best of some starts."""
    from sklearn.cluster import KMeans  # takes a second to import
    from threadpoolctl import threadpool_limits

    if k < 1 or len(np.unique(x[: 50 * k + 1], axis=0)) < k:
        different = len(np.unique(x, axis=0))
        if not 1 <= k <= different:
            raise MethodError(
                f"kmeans: {k} parts of {different} different rows; allowed are 1 to {different}."
            )
    if k == 1:
        return np.zeros(len(x), np.int64), x.mean(axis=0, keepdims=True)
    with threadpool_limits(1):
        found = KMeans(k, n_init=starts, random_state=seed, tol=0.0, copy_x=True).fit(x)
    return found.labels_.astype(np.int64), np.asarray(found.cluster_centers_, float)


def _means(x: Array, labels: Codes, centres: Array) -> Array:
    """Means of the parts; an empty part keeps its centre."""
    sizes = np.bincount(labels, minlength=len(centres))
    total = np.stack([np.bincount(labels, c, minlength=len(centres)) for c in x.T], axis=1)
    return np.where(sizes[:, None] > 0, total / np.maximum(sizes, 1)[:, None], centres)


def _ordered(x: Array, labels: Codes, centres: Array, fitted_on: int) -> Partition:
    """Count the parts off by size, then by centre."""
    means = _means(x, labels, centres)
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.lexsort((*means.T[::-1], -sizes))
    labels = np.argsort(order)[labels]
    means = means[order]
    within = np.zeros(len(order))
    for column, middle in zip(x.T, means.T, strict=True):
        within += np.bincount(labels, (column - middle[labels]) ** 2, minlength=len(order))
    return Partition(labels, means, sizes[order], within, fitted_on)


class Medoids(NamedTuple):
    """A partition by k-medoids.

    Attributes
    ----------
    labels : ndarray, shape (n,)
        Part of each person, 0 is the largest.
    medoids : ndarray, shape (k,)
        Row of the person in the middle of each part.
    sizes : ndarray, shape (k,)
        People.
    objective : float
        Mean distance to the own medoid.
    built : float
        The same before any swap.
    """

    labels: Codes
    medoids: Codes
    sizes: Codes
    objective: float
    built: float


def pam(distances: ArrayLike, k: int) -> Medoids:
    """Divide people into k parts around one person each.

    Parameters
    ----------
    distances : array_like, shape (n, n)
        Any dissimilarities, such as :func:`dealerqm.clustering.distance.gower`; at most 5,000
        people.
    k : int
        Parts, from 1 to n.

    Returns
    -------
    Medoids

    Raises
    ------
    MethodError
        Not a square table, a missing distance, too many people, or k outside 1 to n.

    Notes
    -----
    Partitioning around medoids: build (add the person who lowers the total most), then the best
    swap of a medoid with another person until none lowers the total. No chance is used.

    Source: Kaufman and Rousseeuw (1990), chapter 2; swaps evaluated as in Schubert and Rousseeuw
    (2021), Information Systems 101, 101804; R ``cluster::pam``.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 2.0, 10.0, 11.0])
    >>> found = pam(abs(x[:, None] - x), 2)
    >>> found.labels.tolist(), found.medoids.tolist(), found.objective
    ([0, 0, 0, 1, 1], [1, 3], 0.6)
    """
    table = _square(distances)
    n = len(table)
    if not 1 <= k <= n:
        raise MethodError(f"pam: {k} parts of {n} people; allowed are 1 to {n}.")
    medoids = _build(table, k)
    built = float(table[:, medoids].min(axis=1).mean())
    for _ in range(10 * n):  # each swap lowers the total, so this never binds
        gain, out, new = _best_swap(table, medoids)
        if gain <= 1e-12 * n * max(built, 1e-300):
            break
        medoids[out] = new
    labels = table[:, medoids].argmin(axis=1)
    labels[medoids] = np.arange(k)
    sizes = np.bincount(labels, minlength=k)
    order = np.lexsort((medoids, -sizes))
    objective = float(table[np.arange(n), medoids[labels]].mean())
    return Medoids(np.argsort(order)[labels], medoids[order], sizes[order], objective, built)


def _square(distances: ArrayLike) -> Array:
    table = np.asarray(distances, float)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.size:  # noqa: PLR2004
        raise MethodError(f"pam: distances of shape {table.shape}; allowed is a square table.")
    if len(table) > MOST_MEDOIDS:
        raise MethodError(
            f"pam: {len(table)} people; allowed are {MOST_MEDOIDS}. Take a sample, or use kmeans."
        )
    if not np.isfinite(table).all():
        pair = np.argwhere(~np.isfinite(table))
        raise MethodError(
            f"pam: {len(pair)} missing distances, first between rows {pair[0][0]} and {pair[0][1]}"
            "; leave out people who share no known column."
        )
    return table


def _build(table: Array, k: int) -> Codes:
    """First medoids: each lowers the total distance most."""
    medoids = [int(table.sum(axis=0).argmin())]
    near = table[:, medoids[0]].copy()
    for _ in range(1, k):
        gain = np.maximum(near[:, None] - table, 0).sum(axis=0)
        gain[medoids] = -1.0
        medoids.append(int(gain.argmax()))
        near = np.minimum(near, table[:, medoids[-1]])
    return np.array(medoids, np.int64)


def _best_swap(table: Array, medoids: Codes) -> tuple[float, int, int]:
    """Gain of the best swap, the medoid's place, and who takes it."""
    to = table[:, medoids]
    mine = to.argmin(axis=1)
    first = to.min(axis=1)
    second = np.partition(to, 1, axis=1)[:, 1] if len(medoids) > 1 else np.full(len(to), np.inf)
    shared = np.minimum(table - first[:, None], 0).sum(axis=0)
    change = np.empty((len(medoids), len(table)))
    for place in range(len(medoids)):
        own = mine == place
        lost = np.minimum(table[own], second[own, None]) - first[own, None]
        kept = np.minimum(table[own] - first[own, None], 0)
        change[place] = shared + (lost - kept).sum(axis=0)
    change[:, medoids] = np.inf
    place, new = np.unravel_index(change.argmin(), change.shape)
    return -float(change[place, new]), int(place), int(new)


def _finite(x: ArrayLike) -> Array:
    data = np.asarray(x, float)
    if data.ndim != 2 or not data.size:  # noqa: PLR2004
        raise MethodError(f"kmeans: data of shape {data.shape}; allowed is people × columns.")
    if not np.isfinite(data).all():
        where = np.argwhere(~np.isfinite(data))
        raise MethodError(
            f"kmeans: {len(where)} missing or infinite values, first in row {where[0][0]}, column "
            f"{where[0][1]}; leave these people out, or use pam on Gower's distance."
        )
    return data
