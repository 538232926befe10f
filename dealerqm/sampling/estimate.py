"""Estimates of means, shares, totals, ratios and net promoter scores.

Every estimate has one influence value per row; :mod:`dealerqm.sampling.variance` does the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Array, Design
from dealerqm.sampling.variance import Domains, Scores, domains, row_values, variance
from dealerqm.stats.intervals import adjusted_wald_nps
from dealerqm.stats.shares import effective, share_interval, student

CONSTANT = 1e-12  # relative: answers that differ less are one answer


class Estimates(NamedTuple):
    """Estimates with their design-based errors; all of shape (estimates,).

    Attributes
    ----------
    estimate, se, low, high : ndarray
        NaN where nothing is known; an interval on Student's t.
    df : ndarray
        Degrees of freedom: PSUs less strata, among the domain's rows with weight.
    n, n_eff : ndarray
        Answers with weight, and Kish's effective number (Σw)²/Σw².
    deff : ndarray
        Variance over that of a simple random sample of n from as large a population.
    flag : ndarray of str
        ``no_answer``, ``no_weight``, ``one_answer``, ``one_psu`` (a standard error would be 0
        without meaning anything), ``no_freedom``: no error is given; ``constant``: all answers are
        the same, the error is 0; else empty.
    scores : Scores
        Influence values, for covariances.
    """

    estimate: Array
    se: Array
    low: Array
    high: Array
    df: Array
    n: Array
    n_eff: Array
    deff: Array
    flag: NDArray[np.str_]
    scores: Scores


def total(
    design: Design,
    values: ArrayLike,
    *,
    domain: ArrayLike | Domains | None = None,
    confidence: float = 0.95,
) -> Estimates:
    """Estimate population totals.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        What is added up; a missing value (NaN) adds nothing.
    domain : array_like, shape (rows,), or None
        Domain of each row from 0 on, -1 for none; or a mask of one domain; or what
        :func:`dealerqm.sampling.variance.domains` made of them. None is everybody.
    confidence : float
        Two-sided level.

    Returns
    -------
    Estimates
        One per domain.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = total(design([10, 10]), [1, 3])
    >>> found.estimate, found.se
    (array([40.]), array([20.]))
    """
    y, parts = row_values(design, values), domains(design, domain)
    gone = np.isnan(y) | (parts.column < 0)
    y, w = np.where(gone, 0.0, y), np.where(gone, 0.0, design.weights)
    sums = (parts.bins.sum(w * y), parts.bins.sum(w))
    return _finished(design, sums, (y, gone, w), parts, (False, confidence))


def mean(
    design: Design, values: ArrayLike, *, domain: ArrayLike | Domains | None = None,
    method: str = "t", confidence: float = 0.95,
) -> Estimates:  # fmt: skip
    """Estimate means, and shares where the values are 0 and 1.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        Answers or scores made of them; NaN where there is none.
    domain, confidence
        As for :func:`total`.
    method : str
        ``t``, or for a share a name of :data:`dealerqm.stats.shares.METHODS`; ``wilson`` at the
        effective number of answers holds its level best under clusters.

    Returns
    -------
    Estimates
        One per domain. A share of 0 or 1 has an error of 0; its interval is that of Kish's number.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = mean(design([1, 1, 1, 1]), [4, 6, 8, float("nan")])
    >>> found.estimate, (found.se**2).round(3), found.n  # z = -2/3, 0, 2/3, 0; 4/3 · 8/9
    (array([6.]), array([1.185]), array([3.]))
    >>> mean(design([1, 1, 1, 1]), [1, 1, 1, 1], method="wilson").low.round(2)
    array([0.51])
    """
    y = row_values(design, values)
    found = _relative(design, y, None, domains(design, domain), confidence)
    if method == "t":
        return found
    bad = np.flatnonzero((y < 0) | (y > 1))
    if bad.size:
        raise MethodError(f"values: row {bad[0]} is {y[bad[0]]:g}; a share needs 0 to 1.")
    n = np.where(found.se > 0, found.n, found.n_eff)
    p = np.clip(found.estimate, 0, 1)
    ends = share_interval(p, found.se, found.df, n, method=method, confidence=confidence)
    return found._replace(low=ends.low, high=ends.high)


def ratio(
    design: Design, top: ArrayLike, bottom: ArrayLike, *, domain: ArrayLike | Domains | None = None,
    confidence: float = 0.95,
) -> Estimates:  # fmt: skip
    """Estimate ratios of two totals.

    Parameters
    ----------
    design : Design
        The sample.
    top, bottom : array_like, shape (rows,)
        Numerator and denominator; rows where either is missing do not count.
    domain, confidence
        As for :func:`total`.

    Returns
    -------
    Estimates
        One per domain.

    Notes
    -----
    R = Σ w top / Σ w bottom; the influence of a row is (top - R bottom) / Σ w bottom. A domain
    without answers, or whose weights are all 0, is NaN.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = ratio(design([1, 1]), [1, 3], [2, 2])  # 4/4; z = -1/4 and 1/4
    >>> found.estimate, found.se
    (array([1.]), array([0.5]))
    """
    y, x = row_values(design, top), row_values(design, bottom)
    return _relative(design, y, x, domains(design, domain), confidence)


def _relative(
    design: Design, y: Array, x: Array | None, parts: Domains, confidence: float
) -> Estimates:
    """Estimate Σ w y / Σ w x; without x, of the weights of those who answered."""
    gone = np.isnan(y) | (parts.column < 0) | (False if x is None else np.isnan(x))
    y, w = np.where(gone, 0.0, y), np.where(gone, 0.0, design.weights)
    up, weighted = parts.bins.sum(w * y), parts.bins.sum(w)
    x = None if x is None else np.where(gone, 0.0, x)
    down = weighted if x is None else parts.bins.sum(w * x)
    base = np.where(down != 0, down, 1.0)
    found = np.where(down != 0, up / base, np.nan)
    slope = parts.bins.spread(np.nan_to_num(found))
    value = (y - (slope if x is None else slope * x)) / parts.bins.spread(base, 1.0)
    rows = (np.where(gone, 0.0, value), gone, w)
    return _finished(design, (found, weighted), rows, parts, (True, confidence))


def nps(
    design: Design, values: ArrayLike, *, domain: ArrayLike | Domains | None = None,
    ends: tuple[float, float] = (6, 9), small: float = 100, confidence: float = 0.95,
) -> Estimates:  # fmt: skip
    """Estimate net promoter scores.

    Parameters
    ----------
    design : Design
        The sample.
    values : array_like, shape (rows,)
        Likelihood to recommend, 0-10; NaN where there is none.
    domain, confidence
        As for :func:`total`.
    ends : (float, float)
        The highest answer of a detractor and the lowest of a promoter.
    small : float
        With fewer effective answers than this the interval is the adjusted-Wald one.

    Returns
    -------
    Estimates
        Scores in -1..1.

    Notes
    -----
    The mean of 1 for promoters, -1 for detractors. For few answers 3 is added to their effective
    number, and 3/4 to promoters and detractors each; the number is (p+q-(p-q)²)/se², shrunk for
    the degrees of freedom, Kish's where the error is 0.

    Source: Rocks (2016), The American Statistician 70, 365; reference cases ``dealer_nps_waves``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = nps(design([1, 1, 1, 1]), [10, 9, 8, 2], small=0)
    >>> found.estimate, found.se.round(4)
    (array([0.25]), array([0.4787]))
    """
    y = row_values(design, values)
    score = np.where(np.isnan(y), np.nan, (y >= ends[1]) * 1.0 - (y <= ends[0]))
    parts = domains(design, domain)
    found = mean(design, score, domain=parts, confidence=confidence)
    w = np.where(np.isnan(score), 0.0, design.weights)
    up, down = parts.bins.sum(w * np.abs(np.nan_to_num(score))), parts.bins.sum(w)
    either = np.divide(up, down, out=np.full(parts.size, np.nan), where=down > 0)
    worth = np.where(found.se > 0, found.n, found.n_eff)
    spread = either - found.estimate**2
    worth = effective(0.5, found.se / np.sqrt(4 * np.maximum(spread, 1e-12)), found.df, worth)
    more, less = (worth * (either + sign * found.estimate) / 2 for sign in (1, -1))
    few = adjusted_wald_nps(more, less, worth, confidence=confidence)
    use = np.isfinite(few.low) & (found.n_eff < small)
    low, high = np.where(use, few.low, found.low), np.where(use, few.high, found.high)
    return found._replace(low=low, high=high)


def _finished(
    design: Design, sums: tuple[Array, Array], rows: tuple[Array, NDArray[np.bool_], Array],
    parts: Domains, rule: tuple[bool, float],
) -> Estimates:  # fmt: skip
    """Add errors, sizes and flags."""
    (estimate, weighted), (value, gone, w), (relative, confidence) = sums, rows, rule
    ones = np.where(gone, 0.0, design.ones)
    answered, squared = parts.bins.sum(ones), parts.bins.sum(np.where(gone, 0.0, design.squared))
    n = parts.bins.sum(np.where(w > 0, ones, 0.0)) if design.idle else answered
    psus = n if parts.places[0].entry is None else parts.met(design, w > 0)
    base = np.where(weighted > 0, weighted, 1.0)
    spread = parts.bins.sum(w * value**2) / base
    spread = np.maximum(spread if relative else spread - (estimate / base) ** 2, 0.0)
    even = relative & (np.sqrt(spread) * weighted <= CONSTANT * np.abs(estimate))
    flag = np.select(
        [answered == 0, weighted == 0, n == 1, (psus == 1) & relative, parts.df < 1, even],
        ["no_answer", "no_weight", "one_answer", "one_psu", "no_freedom", "constant"], "",
    )  # fmt: skip
    held = Scores((value,), (parts,))
    known = (flag == "") | (flag == "constant") | (flag == "no_freedom")
    found = np.where(even, 0.0, variance(design, held))
    se = np.where(known, np.sqrt(found), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = weighted**2 / squared
        simple = weighted**2 * spread / (n - 1) * np.where(weighted > n, 1 - n / weighted, 1.0)
        deff = np.where(known, found / simple, np.nan)
    estimate = np.where(weighted > 0, estimate, np.nan)
    half = t_quantile(confidence, parts.df) * se
    low, high = estimate - half, estimate + half
    return Estimates(estimate, se, low, high, parts.df, n, n_eff, deff, flag, held)


def t_quantile(confidence: float, df: Array) -> Array:
    """Return the two-sided point of Student's t.

    Parameters
    ----------
    confidence : float
        Two-sided level.
    df : ndarray
        Degrees of freedom; infinity is the normal distribution.

    Returns
    -------
    ndarray
        Points; NaN below one degree of freedom.

    Examples
    --------
    >>> t_quantile(0.95, np.array([0, 10])).round(3)
    array([  nan, 2.228])
    """
    quantile = student(0.5 + confidence / 2, np.maximum(df, 1))
    found: Array = np.where(df >= 1, quantile, np.nan)
    return found
