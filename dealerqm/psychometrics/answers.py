"""Answers read as the instrument says, and the scores made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError, unknown

Array = NDArray[np.float64]
MISSING = ("complete", "available")


class IndexWeights(NamedTuple):
    """Weights of items that sum to 1, and what they summed to (1 = 100 %) before."""

    weight: Array
    total: Array


def answers(
    values: ArrayLike, *, scale: tuple[float, float], not_applicable: Sequence[float] = (),
    where: str = "answers",
) -> Array:  # fmt: skip
    """Read answers as the instrument says.

    Parameters
    ----------
    values : array_like, shape (rows,)
        As they were given; NaN where nothing was.
    scale : (float, float)
        Lowest and highest score.
    not_applicable : sequence of float
        Codes that mean "does not apply"; they become NaN.
    where : str
        Name of the item for messages.

    Returns
    -------
    ndarray, shape (rows,)
        Scores; NaN where there is no answer.

    Raises
    ------
    MethodError
        If an answer is neither on the scale nor a code.

    Examples
    --------
    >>> answers([1, 10, 99, float("nan")], scale=(1, 10), not_applicable=[98, 99])
    array([ 1., 10., nan, nan])
    """
    found = np.array(values, float)
    found[np.isin(found, np.asarray(not_applicable, float))] = np.nan
    off = np.flatnonzero((found < scale[0]) | (found > scale[1]))
    if off.size:
        raise MethodError(
            f"{where}: {off.size} answers off the scale, the first in row {off[0]} is "
            f"{found[off[0]]:g}; allowed: {scale[0]:g} to {scale[1]:g}. Correct them, or name the "
            "code as not applicable in the instrument."
        )
    return found


def repeated(respondents: ArrayLike) -> NDArray[np.bool_]:
    """Flag the second and later rows of a respondent, whose weight counts a person twice.

    Parameters
    ----------
    respondents : array_like, shape (rows,)
        Ids.

    Returns
    -------
    ndarray of bool
        True from a respondent's second row on.

    Examples
    --------
    >>> repeated(["R1", "R2", "R1"]).tolist()
    [False, False, True]
    """
    found: NDArray[np.bool_] = pd.Series(np.asarray(respondents)).duplicated().to_numpy()
    return found


def at_least(values: ArrayLike, lowest: float) -> Array:
    """Score answers from a value on as 1: top-2-box, easy effort.

    Parameters
    ----------
    values : array_like
        Answers; NaN stays NaN.
    lowest : float
        Lowest answer that counts: 9 of 10 for top-2-box, 5 of 7 for a customer effort score.

    Returns
    -------
    ndarray
        1, 0 or NaN.

    Examples
    --------
    >>> at_least([10, 9, 8, float("nan")], 9)
    array([ 1.,  1.,  0., nan])
    """
    given = np.asarray(values, float)
    return np.where(np.isnan(given), np.nan, given >= lowest)


def index_weights(
    weights: ArrayLike, *, slack: float = 0.01, where: str = "weights"
) -> IndexWeights:
    """Normalise the weights of an index, which may miss 100 % by rounding.

    Parameters
    ----------
    weights : array_like, shape (items,) or (versions, items)
        Shares or percentages, a row per version.
    slack : float
        How far a sum may lie from 100 %.
    where : str
        Name for messages.

    Returns
    -------
    IndexWeights
        Weights of each version, and the sums found, to be noted where they are not 1.

    Raises
    ------
    MethodError
        If a weight is negative or missing, or a sum is too far from 100 %.

    Examples
    --------
    >>> found = index_weights([24, 21, 21, 17, 18])  # rounded in print
    >>> found.total, found.weight[0].round(4)
    (array(1.01), np.float64(0.2376))
    """
    given = np.asarray(weights, float)
    if not (given >= 0).all():
        raise MethodError(f"{where}: a weight is negative or missing; allowed: 0 and above.")
    total = given.sum(axis=-1)
    total = np.where(total > 2, total / 100, total)  # noqa: PLR2004 - percentages
    far = np.atleast_1d(np.abs(total - 1) > slack + 1e-12)
    if far.any():
        found = np.atleast_1d(total)[far][0]
        raise MethodError(
            f"{where}: the weights sum to {found:.4g} of 1; allowed: {1 - slack:g} to "
            f"{1 + slack:g}. Correct the weights of this version."
        )
    return IndexWeights(given / given.sum(axis=-1, keepdims=True), total)


def index_scores(
    items: ArrayLike, weights: ArrayLike, *, version: ArrayLike = 0, top: float = 10,
    points: float = 1000, missing: str = "complete",
) -> Array:  # fmt: skip
    """Score rows on an index of weighted items.

    Parameters
    ----------
    items : array_like, shape (rows, items)
        Answers; NaN where there is none.
    weights : array_like, shape (items,) or (versions, items)
        They sum to 1; an item that a version does not have weighs 0. For items in factors: weight
        of the factor times weight in it.
    version : array_like of int, shape (rows,)
        Version of the weights that holds for the row's wave.
    top, points : float
        Highest answer, and the points that it is worth: 1000, 100, 10, 5.
    missing : str
        ``complete``: no score where an item lacks; ``available``: the others take its weight.

    Returns
    -------
    ndarray, shape (rows,)
        Points; NaN without a score.

    Notes
    -----
    points / top · Σ weight × answer.

    Examples
    --------
    >>> index_scores([[8, 9], [10, float("nan")]], [0.25, 0.75])
    array([875.,  nan])
    >>> index_scores([[10, float("nan")]], [0.25, 0.75], missing="available", points=5)
    array([5.])
    """
    if missing not in MISSING:
        raise MethodError(unknown("missing", missing, MISSING))
    given, table = np.asarray(items, float), np.atleast_2d(np.asarray(weights, float))
    if given.ndim != 2 or given.shape[1] != table.shape[1]:  # noqa: PLR2004
        raise MethodError(f"items: shape {given.shape}; weights are of {table.shape[1]} items.")
    weight = table[np.broadcast_to(np.asarray(version, np.int64), (len(given),))]
    known = np.where(np.isnan(given), 0.0, weight)
    whole = known.sum(axis=1)
    total = (known * np.nan_to_num(given)).sum(axis=1)
    needed = weight.sum(axis=1) if missing == "complete" else np.zeros(len(given))
    scored = (whole > 0) & (whole >= needed * (1 - 1e-12))
    score = np.divide(total, whole, out=np.full(len(given), np.nan), where=scored)
    found: Array = points / top * score
    return found
