"""How well parts are apart, and how far two partitions of the same people agree.

Labels are any whole numbers or words; their order and spelling never change a result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
CHUNK = 4_000_000  # distances held at once


class Silhouette(NamedTuple):
    """How much nearer people are to their own part than to the next.

    Attributes
    ----------
    width : ndarray, shape (n,)
        From -1 (in the wrong part) to 1; 0 for the only member of a part.
    neighbour : ndarray, shape (n,)
        Code of the next nearest part.
    labels, sizes, by_part : ndarray, shape (parts,)
        Sorted labels, people, and average width of each part.
    mean : float
        Average width over people.
    """

    width: Array
    neighbour: Codes
    labels: NDArray[Any]
    sizes: Codes
    by_part: Array
    mean: float


def silhouette(x: ArrayLike, labels: ArrayLike, *, metric: str = "euclidean") -> Silhouette:
    """Measure how much nearer people are to their own part than to the next.

    Parameters
    ----------
    x : array_like, shape (n, columns) or (n, n)
        Coordinates, or the table of distances itself when ``metric`` is "precomputed".
    labels : array_like, shape (n,)
        Part of each person.
    metric : str
        "euclidean", another metric of ``scipy.spatial.distance.cdist``, or "precomputed".

    Returns
    -------
    Silhouette

    Raises
    ------
    MethodError
        Fewer than two parts, or lengths that differ.

    Notes
    -----
    (b - a)/max(a, b): a is the mean distance to the others of the own part, b the least mean
    distance to another part. 0 where both are 0.

    Source: Rousseeuw (1987), J. Comput. Appl. Math. 20, 53; R ``cluster::silhouette``; reference
    case segment/07_silhouette_iris.

    Examples
    --------
    >>> found = silhouette([[0.0], [1.0], [10.0]], [1, 1, 2])
    >>> found.width.round(4), round(found.mean, 4)
    (array([0.9   , 0.8889, 0.    ]), 0.5963)
    """
    data, names, codes = _coded(x, labels)
    sizes = np.bincount(codes)
    if sizes.size < 2:  # noqa: PLR2004
        raise MethodError(
            f"silhouette: 1 part ({names[0]!r}), at least 2 are needed; 'one part' has no width."
        )
    member = np.eye(sizes.size)[codes]
    rows = range(0, len(data), max(1, CHUNK // len(data)))
    total = np.vstack([_distances(data, i, rows.step, metric) @ member for i in rows])
    mine = np.arange(len(data)), codes
    own = total[mine] / np.maximum(sizes[codes] - 1, 1)
    others = total / sizes
    others[mine] = np.inf
    other = others.min(axis=1)
    longer = np.maximum(own, other)
    alone = (sizes[codes] == 1) | (longer == 0)
    width = np.where(alone, 0.0, (other - own) / np.where(longer == 0, 1.0, longer))
    by_part = np.bincount(codes, width) / sizes
    return Silhouette(width, others.argmin(axis=1), names, sizes, by_part, float(width.mean()))


def _distances(data: Array, first: int, rows: int, metric: str) -> Array:
    """Distances of some people to everybody."""
    if metric == "precomputed":
        return data[first : first + rows]
    from scipy.spatial.distance import cdist

    found: Array = cdist(data[first : first + rows], data, metric)
    return found


def calinski_harabasz(x: ArrayLike, labels: ArrayLike) -> float:
    """Compare the spread between parts with the spread inside them.

    Parameters
    ----------
    x : array_like, shape (n, columns)
        Coordinates.
    labels : array_like, shape (n,)
        Part of each person.

    Returns
    -------
    float
        Variance ratio; larger is better; infinite where the parts are points.

    Raises
    ------
    MethodError
        Fewer than two parts, as many parts as people, or lengths that differ.

    Notes
    -----
    (between/(parts - 1)) / (within/(n - parts)), sums of squares around the means.

    Source: Calinski and Harabasz (1974), Commun. Stat. 3, 1; R ``fpc::calinhara``; reference case
    segment/07_silhouette_iris.

    Examples
    --------
    >>> calinski_harabasz([[0.0], [2.0], [10.0], [12.0]], [1, 1, 2, 2])
    50.0
    """
    data, _, codes = _coded(x, labels)
    sizes = np.bincount(codes)
    if not 1 < sizes.size < len(data):
        raise MethodError(
            f"calinski_harabasz: {sizes.size} parts of {len(data)} people; allowed are 2 to n - 1."
        )
    means = np.stack([np.bincount(codes, c) / sizes for c in data.T], axis=1)
    within = float(((data - means[codes]) ** 2).sum())
    between = float((sizes[:, None] * (means - data.mean(axis=0)) ** 2).sum())
    if within == 0:
        return float("inf")
    return (between / (sizes.size - 1)) / (within / (len(data) - sizes.size))


def contingency(first: ArrayLike, second: ArrayLike) -> tuple[Codes, NDArray[Any], NDArray[Any]]:
    """Count people by their part in two partitions.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Part of each person in either partition.

    Returns
    -------
    table : ndarray, shape (parts of first, parts of second)
        People.
    rows, columns : ndarray
        Sorted labels of the two partitions.

    Raises
    ------
    MethodError
        Lengths that differ, or nobody.

    Examples
    --------
    >>> contingency(["a", "a", "b"], [1, 2, 2])[0].tolist()
    [[1, 1], [0, 1]]
    """
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape or not one.size:
        raise MethodError(
            f"contingency: partitions of shapes {one.shape} and {two.shape}; both need one label "
            "per person, in the same order, of at least one person."
        )
    rows, a = np.unique(one, return_inverse=True)
    columns, b = np.unique(two, return_inverse=True)
    flat = np.bincount(a * columns.size + b, minlength=rows.size * columns.size)
    return flat.reshape(rows.size, columns.size), rows, columns


class Agreement(NamedTuple):
    """How far two partitions of the same people agree.

    Attributes
    ----------
    adjusted_rand : float
        Pairs that both treat alike, corrected for chance: 1 equal, about 0 unrelated.
    rand : float
        Share of pairs that both treat alike.
    pair_jaccard : float
        Pairs together in both, of those together in either.
    variation : float
        Variation of information in nats: 0 equal.
    """

    adjusted_rand: float
    rand: float
    pair_jaccard: float
    variation: float


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Measure how far two partitions of the same people agree.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Part of each person in either partition.

    Returns
    -------
    Agreement

    Raises
    ------
    MethodError
        Lengths that differ, or nobody.

    Notes
    -----
    Where both put everybody together, or both everybody apart, nothing disagrees: 1, 1, 1 and 0.

    Source: Hubert and Arabie (1985), J. Classification 2, 193; Meila (2007), J. Multivariate
    Analysis 98, 873; R ``mclust::adjustedRandIndex``, ``fpc::cluster.stats``; reference case
    segment/11_partition_agreement.

    Examples
    --------
    >>> agreement([1, 1, 2, 2], ["x", "x", "y", "y"])
    Agreement(adjusted_rand=1.0, rand=1.0, pair_jaccard=1.0, variation=0.0)
    >>> round(agreement([1, 1, 2, 2], [1, 2, 1, 2]).variation, 4)
    1.3863
    """
    table = contingency(first, second)[0].astype(float)
    n = table.sum()
    a, b = table.sum(axis=1), table.sum(axis=0)
    both, one, two, pairs = (float((m * (m - 1) / 2).sum()) for m in (table, a, b, n))
    either = one + two - both
    chance = one * two / pairs if pairs else 0.0
    spread = (one + two) / 2 - chance
    filled = table > 0
    share = table[filled] / n
    expected = np.outer(a, b)[filled] / table[filled] ** 2
    return Agreement(
        (both - chance) / spread if spread else 1.0,
        (pairs - either + both) / pairs if pairs else 1.0,
        both / either if either else 1.0,
        max(0.0, float((share * np.log(expected)).sum())),
    )


def jaccard(table: ArrayLike) -> Array:
    """Measure how far each part of one partition is each part of another.

    Parameters
    ----------
    table : array_like, shape (rows, columns)
        People by their part in two partitions, see :func:`contingency`.

    Returns
    -------
    ndarray, shape (rows, columns)
        People in both parts, of those in either; 0 between two empty parts.

    Notes
    -----
    Reference case segment/15_cluster_label_matching.

    Examples
    --------
    >>> jaccard([[5, 80], [90, 4]]).round(4).tolist()
    [[0.0286, 0.8989], [0.9091, 0.023]]
    """
    both = np.asarray(table, float)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0) - both
    share: Array = both / np.where(either == 0, 1.0, either)
    return share


def partwise_jaccard(first: ArrayLike, second: ArrayLike) -> Array:
    """Look up, for each part of a partition, how much of it is found again in another.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Part of each person in either partition.

    Returns
    -------
    ndarray, shape (parts of first,)
        Largest Jaccard of each part of the first with any part of the second, labels sorted.

    Raises
    ------
    MethodError
        Lengths that differ, or nobody.

    Notes
    -----
    Source: Hennig (2007), Comput. Stat. Data Anal. 52, 258; R ``fpc::clujaccard``.

    Examples
    --------
    >>> partwise_jaccard([1, 1, 2, 2], [5, 5, 5, 6]).round(4).tolist()
    [0.6667, 0.5]
    """
    found: Array = jaccard(contingency(first, second)[0]).max(axis=1)
    return found


def _coded(x: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[Any], Codes]:
    """Read coordinates and labels of the same people."""
    data = np.asarray(x, float)
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    if data.ndim != 2 or len(data) != codes.size or not codes.size:  # noqa: PLR2004
        raise MethodError(
            f"parts: data of shape {data.shape} with {codes.size} labels; allowed is one row per "
            "label, of at least one person."
        )
    return data, names, codes
