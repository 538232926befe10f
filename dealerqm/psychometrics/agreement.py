"""How far items of one scale, or raters of the same objects, agree.

Rows with a missing value are left out and counted by ``n``. Items and raters are named in messages
by their column, counted from 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
SINGULAR = 1e-10  # smallest eigenvalue of a correlation matrix that still has an inverse
TINY = 1e-15  # share of the variance that rounding leaves where raters agree exactly
ICC_KINDS = ("one-way", "random", "fixed", "one-way, mean", "random, mean", "fixed, mean")


class Alpha(NamedTuple):
    """Internal consistency of items.

    Attributes
    ----------
    raw : Interval
        Cronbach's alpha with Feldt's interval; scalars.
    standardised, lambda6, average_r : float
        Alpha of standardised items, Guttman's λ6 (NaN where one item is a sum of others), mean
        correlation.
    item_rest, if_dropped : ndarray, shape (items,)
        Correlation of each item with the sum of the others (below 0: keyed the other way round?),
        and alpha without it (NaN with two items).
    n : int
        Complete rows.
    """

    raw: Interval
    standardised: float
    lambda6: float
    average_r: float
    item_rest: Array
    if_dropped: Array
    n: int


def alpha(answers: ArrayLike, *, confidence: float = 0.95) -> Alpha:
    """Measure the internal consistency of items.

    Parameters
    ----------
    answers : array_like, shape (rows, items)
        Answers, all keyed in one direction; NaN is missing.
    confidence : float
        Two-sided level of Feldt's interval.

    Returns
    -------
    Alpha
        See there.

    Raises
    ------
    MethodError
        Fewer than two items or three complete rows, or an item that never varies.

    Notes
    -----
    k/(k-1) (1 - Σ s²ᵢ/s²_sum); Feldt: 1 - (1-α) F quantiles on (n-1), (n-1)(k-1);
    λ6 = 1 - Σ (1 - smcᵢ)/Σ r.

    Source: Cronbach (1951), Psychometrika 16, 297; Feldt, Woodruff and Salih (1987), Applied
    Psychological Measurement 11, 93; reference cases ``survey/reliability_factor``.

    Examples
    --------
    >>> found = alpha([[1, 2], [2, 2], [3, 5], [4, 3]])
    >>> round(float(found.raw.estimate), 4), found.item_rest.round(4)  # 2 (1 - 11/17)
    (0.7059, array([0.5477, 0.5477]))
    """
    x = complete(answers)
    n, k = x.shape
    covariance, r = np.cov(x.T), np.corrcoef(x.T)
    value = _alpha(covariance)
    tail = (1 - confidence) / 2
    shrink = stats.f.ppf([1 - tail, tail], n - 1, (n - 1) * (k - 1))
    low, high = (np.asarray(end) for end in 1 - (1 - value) * shrink)
    rest = covariance.sum(axis=0) - covariance.diagonal()
    spread = covariance.sum() - 2 * rest - covariance.diagonal()
    others = [np.delete(np.delete(covariance, i, 0), i, 1) for i in range(k)]
    unexplained = (
        np.nan
        if np.linalg.eigvalsh(r)[0] < SINGULAR
        else float((1 / np.linalg.inv(r).diagonal()).sum())
    )
    return Alpha(
        Interval(np.asarray(value), low, high),
        _alpha(r),
        1 - unexplained / float(r.sum()),
        float((r.sum() - k) / (k * (k - 1))),
        _correlation(rest, covariance.diagonal() * spread),
        np.array([_alpha(part) for part in others]) if k > 2 else np.full(k, np.nan),  # noqa: PLR2004
        n,
    )


# ---------------------------------------------------------------- raters


class Agreement(NamedTuple):
    """Agreement of two raters beyond chance.

    Attributes
    ----------
    kappa : Interval
        Cohen's κ; scalars.
    observed, expected : float
        Share of (weighted) agreement, and what the margins alone would give.
    n : float
        Objects rated by both.
    """

    kappa: Interval
    observed: float
    expected: float
    n: float


def cross_table(first: ArrayLike, second: ArrayLike) -> tuple[Array, list[Any]]:
    """Count the pairs of codes that two raters gave.

    Parameters
    ----------
    first, second : array_like, shape (objects,)
        Codes; None or NaN is not rated, and such objects are left out.

    Returns
    -------
    (ndarray, list)
        Counts, shape (codes, codes), rows for the first rater; and the codes in sorted order, as
        either rater used them.

    Examples
    --------
    >>> counts, codes = cross_table(["a", "b", "b"], ["a", "a", "b"])
    >>> counts.tolist(), codes
    ([[1.0, 0.0], [1.0, 1.0]], ['a', 'b'])
    """
    pairs = [
        (a, b)
        for a, b in zip(_plain(first), _plain(second), strict=True)
        if a is not None and b is not None and a == a and b == b  # NaN differs from itself
    ]
    codes = sorted({code for pair in pairs for code in pair})
    place = {code: i for i, code in enumerate(codes)}
    table = np.zeros((len(codes), len(codes)))
    for a, b in pairs:
        table[place[a], place[b]] += 1
    return table, codes


def kappa(table: ArrayLike, *, weights: str = "none", confidence: float = 0.95) -> Agreement:
    """Measure the agreement of two raters beyond chance.

    Parameters
    ----------
    table : array_like, shape (codes, codes)
        Counts of the pairs of codes, as from :func:`cross_table`.
    weights : str
        ``none`` for names; ``linear`` or ``quadratic`` for ordered codes in the order given.
    confidence : float
        Two-sided level.

    Returns
    -------
    Agreement
        See there.

    Raises
    ------
    MethodError
        A table that is not square or empty, an unknown weight, or a single code used by both.

    Notes
    -----
    (p_o - p_e)/(1 - p_e) with agreement 1 - (|i-j|/(codes-1))^g, g = 1 or 2. The interval is the
    large-sample one, cut at -1 and 1.

    Source: Fleiss, Cohen and Everitt (1969), Psychological Bulletin 72, 323; R
    ``psych::cohen.kappa``.

    Examples
    --------
    >>> found = kappa([[20, 5], [10, 15]])
    >>> [round(float(v), 4) for v in found.kappa]
    [0.4, 0.1511, 0.6489]
    """
    counts = np.asarray(table, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.sum() > 0:  # noqa: PLR2004
        raise MethodError(
            f"table: found shape {counts.shape} with {counts.sum():g} objects; allowed: as many "
            "rows as columns and at least one object rated by both."
        )
    close = _closeness(len(counts), weights)
    n = float(counts.sum())
    p = counts / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float((close * p).sum()), float(rows @ close @ columns)
    if expected > 1 - 1e-12:
        raise MethodError(
            f"table: both raters gave one and the same code to all {n:g} objects, so chance "
            "explains everything; κ needs at least two codes in use."
        )
    value = (observed - expected) / (1 - expected)
    centred = close - (1 - value) * ((close @ columns)[:, None] + rows @ close)
    spread = float((p * centred**2).sum()) - (value - expected * (1 - value)) ** 2
    half = special.ndtri(0.5 + confidence / 2) * np.sqrt(max(spread, 0) / n) / (1 - expected)
    ends = np.clip([value - half, value + half], -1, 1)
    return Agreement(Interval(*(np.asarray(v) for v in (value, *ends))), observed, expected, n)


def _closeness(codes: int, weights: str) -> Array:
    powers = {"none": 0, "linear": 1, "quadratic": 2}
    if weights not in powers:
        raise MethodError(unknown("weights", weights, powers))
    place = np.arange(codes)
    gap = np.abs(place[:, None] - place) / max(codes - 1, 1)
    distance = (gap > 0).astype(float) if weights == "none" else gap ** powers[weights]
    result: Array = 1 - distance
    return result


class Icc(NamedTuple):
    """Intraclass correlations of raters; arrays of shape (6,) in the order of ``ICC_KINDS``.

    Attributes
    ----------
    icc : Interval
        One-way (each object its own raters), two-way with raters drawn at random (absolute
        agreement) and with these raters only (consistency); then the same of the raters' mean.
    f, freedom_1, freedom_2, p_value : ndarray
        Test that the correlation is 0.
    n : int
        Objects rated by all.
    """

    icc: Interval
    f: Array
    freedom_1: Array
    freedom_2: Array
    p_value: Array
    n: int


def icc(ratings: ArrayLike, *, confidence: float = 0.95) -> Icc:
    """Compute the intraclass correlations of raters.

    Parameters
    ----------
    ratings : array_like, shape (objects, raters)
        Ratings; an object with a missing one is left out.
    confidence : float
        Two-sided level.

    Returns
    -------
    Icc
        See there; values below 0 are left as they are.

    Raises
    ------
    MethodError
        Fewer than two raters or two complete objects, or ratings that never vary.

    Notes
    -----
    From the mean squares of objects, raters and residual.

    Source: Shrout and Fleiss (1979), Psychological Bulletin 86, 420; R ``psych::ICC``.

    Examples
    --------
    >>> x = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> icc(x).icc.estimate.round(2)  # Shrout and Fleiss, table 4
    array([0.17, 0.29, 0.71, 0.44, 0.62, 0.91])
    """
    x = complete(ratings, least=2, what="raters")
    n, k = x.shape
    if np.ptp(x) == 0:
        raise MethodError(f"raters: all {n * k} ratings are {x[0, 0]:g}; nothing to correlate.")
    objects = k * float(((x.mean(axis=1) - x.mean()) ** 2).sum()) / (n - 1)
    raters = n * float(((x.mean(axis=0) - x.mean()) ** 2).sum()) / (k - 1)
    total = float(((x - x.mean()) ** 2).sum())
    error = max(total - objects * (n - 1) - raters * (k - 1), TINY * total) / ((n - 1) * (k - 1))
    within = (raters + error * (n - 1)) / n
    single = np.array([
        _ratio(objects - within, objects + (k - 1) * within),
        _ratio(objects - error, objects + (k - 1) * error + k * (raters - error) / n),
        _ratio(objects - error, objects + (k - 1) * error),
    ])  # fmt: skip
    f = np.array([_ratio(objects, within), _ratio(objects, error), _ratio(objects, error)])
    freedom = np.array([n * (k - 1), (n - 1) * (k - 1), (n - 1) * (k - 1)], float)
    tail = (1 - confidence) / 2
    bottom, top = f / stats.f.isf(tail, n - 1, freedom), f * stats.f.isf(tail, freedom, n - 1)
    low, high = (bottom - 1) / (bottom + k - 1), (top - 1) / (top + k - 1)
    low[1], high[1] = _random((objects, raters, error), (n, k), single[1], tail)
    each = (np.concatenate([v, k * v / (1 + (k - 1) * v)]) for v in (single, low, high))
    f, freedom = np.tile(f, 2), np.tile(freedom, 2)
    return Icc(Interval(*each), f, np.full(6, n - 1.0), freedom, stats.f.sf(f, n - 1, freedom), n)


def _random(
    squares: tuple[float, float, float], shape: tuple[int, int], value: float, tail: float
) -> tuple[float, float]:
    """Interval of the correlation with raters drawn at random, by Satterthwaite's freedom."""
    (objects, raters, error), (n, k) = squares, shape
    ratio = _ratio(raters, error)
    part = n * (1 + (k - 1) * value) - k * value
    top = (k - 1) * (n - 1) * (k * value * ratio + part) ** 2
    freedom = _ratio(top, (n - 1) * k**2 * value**2 * ratio**2 + part**2)
    rest = k * raters + (k * n - k - n) * error
    upper, lower = stats.f.isf(tail, n - 1, freedom), stats.f.isf(tail, freedom, n - 1)
    low = n * (objects - upper * error) / (upper * rest + n * objects)
    return float(low), float(n * (lower * objects - error) / (rest + n * lower * objects))


# ---------------------------------------------------------------- shared


def complete(answers: ArrayLike, *, least: int = 3, what: str = "items") -> Array:
    """Keep the rows without a missing answer, and refuse what cannot be analysed.

    Parameters
    ----------
    answers : array_like, shape (rows, items)
        Answers.
    least : int
        At least so many complete rows.
    what : str
        ``items``, each of which must vary, or ``raters``.

    Returns
    -------
    ndarray, shape (n, items)
        Complete rows.

    Raises
    ------
    MethodError
        Fewer than two columns, too few rows, or an item that never varies.

    Examples
    --------
    >>> complete([[1, 2], [3, np.nan], [2, 5]], least=2).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    x = np.asarray(answers, float)
    if x.ndim != 2 or x.shape[1] < 2:  # noqa: PLR2004
        raise MethodError(f"{what}: found shape {x.shape}; allowed: rows by at least two {what}.")
    x = np.array(x[np.isfinite(x).all(axis=1)])
    if len(x) < least:
        raise MethodError(
            f"{what}: {len(x)} rows without a missing answer; allowed: at least {least}."
        )
    flat = np.flatnonzero(np.ptp(x, axis=0) == 0)
    if flat.size and what == "items":
        raise MethodError(
            f"items: {flat.size} never vary, the first is column {flat[0]} "
            f"({x[0, flat[0]]:g} in all {len(x)} rows); leave them out."
        )
    return x


def _alpha(matrix: ArrayLike) -> float:
    covariance = np.asarray(matrix, float)
    k = len(covariance)
    return k / (k - 1) * (1 - _ratio(float(np.trace(covariance)), float(covariance.sum())))


def _correlation(covariance: Array, product: Array) -> Array:
    known = product > 0
    result: Array = np.where(known, covariance / np.sqrt(np.where(known, product, 1)), np.nan)
    return result


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else float("nan")


def _plain(codes: ArrayLike) -> list[Any]:
    return list(np.asarray(codes, object))
