"""Differences of domains and waves with their covariance, and quantiles of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.sampling.design import Array, Design
from dealerqm.sampling.estimate import Estimates, mean, t_quantile
from dealerqm.sampling.variance import (
    Scores,
    covariance,
    domains,
    row_values,
    variance,
)
from dealerqm.stats.shares import share_interval

TIE = 1e-12  # a cumulative share so near to p is p


class Comparison(NamedTuple):
    """Differences of estimates; all of shape (comparisons,).

    Attributes
    ----------
    estimate, se, low, high, df, p : ndarray
        Difference with its error, degrees of freedom and two-sided p-value; NaN without an error.
    independent : ndarray
        The standard error that forgets the covariance.
    shared : ndarray
        PSUs with answers on both sides.
    """

    estimate: Array
    se: Array
    low: Array
    high: Array
    df: Array
    p: Array
    independent: Array
    shared: Array


def together(*estimates: Estimates) -> Estimates:
    """Put estimates of one design side by side, so that their covariance can be found.

    Parameters
    ----------
    *estimates : Estimates
        Of the same design.

    Returns
    -------
    Estimates
        All of them, in order.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> sample = design([1, 1])
    >>> both = together(mean(sample, [1, 3]), mean(sample, [5, 1]))
    >>> covariance(sample, both.scores)
    array([[ 1., -2.],
           [-2.,  4.]])
    """
    names = Estimates._fields[:-1]
    parts = {name: np.concatenate([getattr(one, name) for one in estimates]) for name in names}
    values = tuple(value for one in estimates for value in one.scores.value)
    held = tuple(domain for one in estimates for domain in one.scores.domain)
    return Estimates(**parts, scores=Scores(values, held))


def contrast(
    design: Design, estimates: Estimates, weights: ArrayLike, *, df: float | None = None,
    confidence: float = 0.95,
) -> Comparison:  # fmt: skip
    """Compare estimates of one design, with their covariance.

    Parameters
    ----------
    design : Design
        The sample.
    estimates : Estimates
        What is compared.
    weights : array_like, shape (contrasts, estimates)
        Weight of each estimate in each contrast; (-1, 1) is a difference.
    df : float or None
        Degrees of freedom; None is the fewest of the estimates that count, infinity the normal.
    confidence : float
        Two-sided level.

    Returns
    -------
    Comparison
        One per row of weights; ``shared`` is NaN.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> sample = design([1, 1, 1, 1])
    >>> both = mean(sample, [1, 3, 5, 9], domain=[0, 0, 1, 1])
    >>> found = contrast(sample, both, [[-1, 1]])
    >>> found.estimate, found.df
    (array([5.]), array([1.]))
    """
    used = np.atleast_2d(np.asarray(weights, float))
    known = covariance(design, estimates.scores)
    lost = ((used != 0) & np.isnan(estimates.se)).any(axis=1)
    found = np.where(lost, np.nan, used @ np.nan_to_num(estimates.estimate))
    least = np.where(used != 0, estimates.df, np.inf).min(axis=1)
    freedom = least if df is None else np.full(least.size, float(df))
    both = (used @ known * used).sum(axis=1)
    return _compared(
        found, both, used**2 @ np.diag(known), (freedom, 0 * both + np.nan, confidence)
    )


def change(
    design: Design, before: Estimates, after: Estimates, *, confidence: float = 0.95
) -> Comparison:
    """Estimate changes between waves, with the covariance of units that are in both.

    Parameters
    ----------
    design : Design
        Of both waves together.
    before, after : Estimates
        The same domains in the earlier and the later wave.
    confidence : float
        Two-sided level.

    Returns
    -------
    Comparison
        One per domain.

    Notes
    -----
    Var = V₁ + V₂ - 2C. What stores keep from wave to wave raises C and narrows the interval.

    Source: Kish (1965), Survey Sampling, section 12.4; reference case
    ``wave_change_osat_shared_psu``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> sample = design([1] * 4, psu=["a", "b", "a", "b"])
    >>> old, new = (mean(sample, [2, 6, 3, 7], domain=[d, d, -1 - d, -1 - d]) for d in (0, -1))
    >>> found = change(sample, old, new)  # both stores rise by 1
    >>> found.estimate, found.se, found.independent.round(3), found.shared
    (array([1.]), array([0.]), array([2.828]), array([2.]))
    """
    parts = [wave.scores.domain[0] or domains(design) for wave in (before, after)]
    old, new = (part.column for part in parts)
    if ((old >= 0) & (new >= 0) & (old != new)).any():
        raise MethodError("change: a row is in two domains; estimate the same ones in both waves.")
    both = domains(design, np.maximum(old, new))
    first, second = (_padded((wave.estimate, wave.se), both.size) for wave in (before, after))
    (was,), (now,) = before.scores.value, after.scores.value
    seen = sum((np.pad(part.psus, (0, both.size - part.size)) for part in parts), -both.psus)
    joint = variance(design, Scores((now - was,), (both,)))
    apart = first[1] ** 2 + second[1] ** 2
    return _compared(second[0] - first[0] + 0 * apart, joint, apart, (both.df, seen, confidence))


def _padded(parts: tuple[Array, ...], size: int) -> list[Array]:
    return [np.append(part, np.full(size - part.size, np.nan)) for part in parts]


def _compared(
    found: Array, both: Array, alone: Array, rest: tuple[Array, Array, float]
) -> Comparison:
    df, shared, confidence = rest
    known = np.where(np.isnan(found), np.nan, 1.0)
    se, independent = (np.sqrt(np.maximum(v, 0.0)) * known for v in (both, alone))
    half = t_quantile(confidence, df) * se
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(np.maximum(df, 1), -np.abs(found / se))
    p = np.where(df >= 1, p, np.nan)
    return Comparison(found, se, found - half, found + half, df, p, independent, shared)


# ---------------------------------------------------------------- quantiles


class Quantiles(NamedTuple):
    """Quantiles with Woodruff intervals, shape (probabilities,); NaN beyond the sample."""

    estimate: Array
    low: Array
    high: Array
    se: Array


def quantile(
    design: Design, values: ArrayLike, probs: ArrayLike, *, rule: str = "math", method: str = "t",
    confidence: float = 0.95,
) -> Quantiles:  # fmt: skip
    """Estimate quantiles of the answers.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        Answers; rows with NaN, so also rows outside a domain, do not count.
    probs : array_like, shape (probabilities,)
        Which quantiles, 0..1.
    rule : str
        A name of :data:`RULES`: ``math`` is the smallest value whose cumulative share reaches p,
        ``school`` the middle of two values where p falls between them, ``hf4`` to ``hf9`` are the
        continuous rules of Hyndman and Fan for weights.
    method : str
        Interval of the share at or below the quantile: a name of
        :data:`dealerqm.stats.shares.METHODS`.
    confidence : float
        Two-sided level.

    Returns
    -------
    Quantiles
        The standard error is the width of the interval over twice Student's t.

    Raises
    ------
    MethodError
        If the rule or method is not known, a probability is outside 0..1, or nobody answered.

    Notes
    -----
    Woodruff: the interval of the share at or below the quantile, carried over by the same rule.

    Source: Woodruff (1952), JASP 47, 635; Hyndman and Fan (1996), The American Statistician 50,
    361; R survey ``svyquantile``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = quantile(design([1.0] * 100), range(1, 101), [0.5])
    >>> [float(part[0]) for part in found[:3]]
    [50.0, 41.0, 60.0]
    """
    if rule not in RULES:
        raise MethodError(unknown("rule", rule, RULES))
    y, p = row_values(design, values), np.atleast_1d(np.asarray(probs, float))
    if not ((p >= 0) & (p <= 1)).all():
        raise MethodError(f"probs: {p[(p < 0) | (p > 1)][0]:g}; allowed: 0 to 1.")
    used = np.flatnonzero(~np.isnan(y) & (design.weights > 0))
    if not used.size:
        raise MethodError("values: nobody with weight answered, so there is no quantile.")
    order = used[np.argsort(y[used], kind="stable")]
    x, w = y[order], design.weights[order]
    found = RULES[rule](x, w, p)
    ends, t = np.full((3, p.size), np.nan), np.zeros(p.size)
    for i, middle in enumerate(found):
        below = mean(design, np.where(np.isnan(y), np.nan, y <= middle), confidence=confidence)
        near = share_interval(*below[:2], below.df, below.n, method=method, confidence=confidence)
        ends[:2, i] = [part[0] for part in near[1:]]
        t[i] = t_quantile(confidence, below.df)[0]
    inside = (ends[:2] >= 0) & (ends[:2] <= 1)
    low, high = (
        np.where(k, RULES[rule](x, w, np.where(k, e, 0.5)), np.nan)
        for k, e in zip(inside, ends[:2], strict=True)
    )
    return Quantiles(found, low, high, (high - low) / (2 * t))


def _step(tie: str) -> Callable[[Array, Array, Array], Array]:
    """Build a rule whose quantiles are answers; at a tie the lower one, the middle, or the even."""

    def rule(x: Array, w: Array, p: Array) -> Array:
        if tie == "even":
            x, place = np.unique(x, return_inverse=True)
            w = np.bincount(place, w).astype(float)
        share = np.cumsum(w) / w.sum()
        place = np.searchsorted(share, p - TIE).clip(0, x.size - 1)
        upper = x[np.minimum(place + 1, x.size - 1)]
        tied = (np.abs(share[place] - p) <= TIE) & (place + 1 < x.size)
        if tie == "middle":
            return np.where(tied, (x[place] + upper) / 2, x[place])
        if tie == "even":
            return np.where(tied & (place % 2 == 0), upper, x[place])
        return x[place]

    return rule


def _line(places: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], Array]:
    """Build a rule that draws lines between the answers, set at these cumulative shares."""

    def rule(x: Array, w: Array, p: Array) -> Array:
        found: Array = np.interp(p, places(w, np.cumsum(w)), x)
        return found

    return rule


RULES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "math": _step("lower"), "school": _step("middle"), "hf1": _step("lower"),
    "hf2": _step("middle"), "hf3": _step("even"),
    "hf4": _line(lambda w, c: c / c[-1]),
    "hf5": _line(lambda w, c: (c - w / 2) / c[-1]),
    "hf6": _line(lambda w, c: c / (c[-1] + w[-1])),
    "hf7": _line(lambda w, c: (c - w) / max(c[-1] - w[-1], np.finfo(float).tiny)),
    "hf8": _line(lambda w, c: (c - w / 3) / (c[-1] + w[-1] / 3)),
    "hf9": _line(lambda w, c: (c - 3 * w / 8) / (c[-1] + w[-1] / 4)),
}  # fmt: skip
