"""Whether items share factors, how strongly, and how well a model of them fits.

Rows with a missing answer are left out and counted by ``n``. Fewer than two items, fewer than three
complete rows, an item that never varies and one that is a sum of others are refused
(``MethodError``); items are named in messages by their column, counted from 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.psychometrics.agreement import SINGULAR, complete
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
LEAST_UNIQUE = 0.005  # lower bound of a uniqueness, as in R's factanal


class Adequacy(NamedTuple):
    """Whether correlations are worth a factor analysis.

    Attributes
    ----------
    kmo, items : float and ndarray, shape (items,)
        Kaiser-Meyer-Olkin measure of all items and of each, 0..1.
    chisq, freedom, p_value : float
        Bartlett's test that no items are correlated.
    n : int
        Complete rows.
    """

    kmo: float
    items: Array
    chisq: float
    freedom: float
    p_value: float
    n: int


def adequacy(answers: ArrayLike) -> Adequacy:
    """Measure sampling adequacy and test the independence of items.

    Parameters
    ----------
    answers : array_like, shape (rows, items)
        Answers; NaN is missing.

    Returns
    -------
    Adequacy
        See there.

    Raises
    ------
    MethodError
        Items that are sums of others.

    Notes
    -----
    KMO = Σ r²/(Σ r² + Σ q²) over pairs, q the partial correlations given all other items;
    χ² = -(n - 1 - (2k+5)/6) log det R on k(k-1)/2.

    Source: Kaiser (1970), Psychometrika 35, 401; Bartlett (1951), Biometrika 38, 337; R
    ``psych::KMO``, ``psych::cortest.bartlett``.

    Examples
    --------
    >>> found = adequacy([[1, 2], [2, 2], [3, 5], [4, 3]])
    >>> round(found.kmo, 6), round(found.chisq, 4)  # two items: 0.5; -1.5 log 0.7
    (0.5, 0.535)
    """
    x = complete(answers)
    n, k = x.shape
    r = _invertible(x)
    inverse = np.linalg.inv(r)
    scale = np.sqrt(inverse.diagonal())
    off = 1 - np.eye(k)
    simple, partial = ((off * m) ** 2 for m in (r, inverse / np.outer(scale, scale)))
    each = _divide(simple.sum(axis=0), (simple + partial).sum(axis=0))
    whole = float(_divide(np.sum(simple), np.sum(simple + partial)))
    chisq = -(n - 1 - (2 * k + 5) / 6) * float(np.linalg.slogdet(r).logabsdet)
    freedom = k * (k - 1) / 2
    return Adequacy(whole, each, chisq, freedom, float(stats.chi2.sf(chisq, freedom)), n)


class Factors(NamedTuple):
    """Maximum-likelihood factors of standardised items.

    Attributes
    ----------
    loadings : ndarray, shape (items, factors)
        Columns by falling sum of squares, each with a positive sum.
    uniqueness : ndarray, shape (items,)
        Variance of each item that no factor explains.
    chisq, freedom, p_value : float
        Bartlett's corrected test that so many factors are enough; p is NaN without freedom.
    bound : ndarray of bool, shape (items,)
        Items whose uniqueness ran into its lower bound (Heywood case): distrust the solution.
    discrepancy : float
        Minimum of the likelihood's discrepancy function.
    n : int
        Complete rows.
    """

    loadings: Array
    uniqueness: Array
    chisq: float
    freedom: int
    p_value: float
    bound: NDArray[np.bool_]
    discrepancy: float
    n: int


def factors(answers: ArrayLike, *, count: int, rotation: str = "varimax") -> Factors:
    """Extract factors by maximum likelihood.

    Parameters
    ----------
    answers : array_like, shape (rows, items)
        Answers; NaN is missing.
    count : int
        Factors; ((items - count)² - items - count)/2 must not be below 0.
    rotation : str
        ``varimax`` with Kaiser's normalisation, or ``none``.

    Returns
    -------
    Factors
        See there.

    Raises
    ------
    MethodError
        As for :func:`adequacy`, too many factors, or an unknown rotation.

    Notes
    -----
    Minimises Σ (θ - log θ - 1) over the smallest eigenvalues θ of Ψ^-½ R Ψ^-½;
    χ² = (n - 1 - (2k+5)/6 - 2m/3) times the minimum.

    Source: Jöreskog (1967), Psychometrika 32, 443; Lawley and Maxwell (1971), chapter 4; R
    ``factanal``; reference cases ``survey/reliability_factor``.

    Examples
    --------
    >>> x = [[1, 1, 2, 1], [2, 2, 1, 3], [3, 2, 3, 3], [4, 5, 4, 3], [5, 4, 4, 6], [6, 5, 7, 6]]
    >>> found = factors(x, count=1)
    >>> found.freedom, bool((found.loadings > 0.8).all())
    (2, True)
    """
    if rotation not in ("varimax", "none"):
        raise MethodError(unknown("rotation", rotation, ("varimax", "none")))
    x = complete(answers)
    n, k = x.shape
    freedom = ((k - count) ** 2 - k - count) // 2
    if not (1 <= count < k and freedom >= 0):
        raise MethodError(
            f"count: {count} factors of {k} items; allowed: 1 up to where "
            "((items - count)² - items - count)/2 is 0. Ask for fewer factors."
        )
    r = _invertible(x)
    unique, discrepancy = _uniqueness(r, count)
    loadings = _loadings(r, unique, count)
    if rotation == "varimax" and count > 1:
        loadings = _varimax(loadings)
    loadings = loadings[:, np.argsort(-(loadings**2).sum(axis=0), kind="stable")]
    loadings = loadings * np.where(loadings.sum(axis=0) < 0, -1.0, 1.0)
    chisq = (n - 1 - (2 * k + 5) / 6 - 2 * count / 3) * discrepancy
    p = float(stats.chi2.sf(chisq, freedom)) if freedom else np.nan
    bound = unique <= LEAST_UNIQUE * (1 + 1e-6)
    return Factors(loadings, unique, chisq, freedom, p, bound, discrepancy, n)


def _uniqueness(r: Array, count: int) -> tuple[Array, float]:
    split = r.shape[0] - count

    def loss(log_unique: Array) -> tuple[float, Array]:
        unique = np.exp(log_unique)
        values, vectors = np.linalg.eigh(r / np.sqrt(np.outer(unique, unique)))
        fitted = (vectors[:, split:] ** 2 * np.maximum(values[split:] - 1, 0)).sum(axis=1) + 1
        small = values[:split]
        return float((small - np.log(small) - 1).sum()), fitted - r.diagonal() / unique

    start = np.log((1 - count / (2 * len(r))) / np.linalg.inv(r).diagonal())
    bounds = [(np.log(LEAST_UNIQUE), 0.0)] * len(r)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000, "maxfun": 20000}
    found = optimize.minimize(
        loss, np.clip(start, *bounds[0]), jac=True, method="L-BFGS-B", bounds=bounds,
        options=options,
    )  # fmt: skip
    return np.exp(found.x), float(found.fun)


def _loadings(r: Array, unique: Array, count: int) -> Array:
    scale = np.sqrt(unique)
    values, vectors = np.linalg.eigh(r / np.outer(scale, scale))
    top, size = vectors[:, ::-1][:, :count], values[::-1][:count]
    result: Array = scale[:, None] * top * np.sqrt(np.maximum(size - 1, 0))
    return result


def _varimax(loadings: Array) -> Array:
    """Rotate rows of unit length until the variance of squared loadings is largest."""
    length = np.sqrt((loadings**2).sum(axis=1, keepdims=True))
    unit = loadings / np.where(length > 0, length, 1.0)
    turn, before = np.eye(loadings.shape[1]), 0.0
    for _ in range(1000):
        z = unit @ turn
        u, s, v = np.linalg.svd(unit.T @ (z**3 - z * (z**2).mean(axis=0)))
        turn = u @ v
        if s.sum() < before * (1 + 1e-12):
            break
        before = float(s.sum())
    return loadings @ turn


class OneFactor(NamedTuple):
    """One factor behind all items, with omega and the fit of the model.

    Attributes
    ----------
    omega : Interval
        McDonald's ω of the sum of the items as they are; scalars.
    omega_standardised : float
        ω of the sum of standardised items.
    loadings, residual : ndarray, shape (items,)
        Loadings and residual variances in the units of the items (factor variance 1).
    chisq, p_value : float
        Likelihood-ratio test of the model on ``factors.freedom``; NaN without any (three items).
    cfi, tli, rmsea, srmr : float
        Indices of fit.
    factors : Factors
        The standardised solution.
    """

    omega: Interval
    omega_standardised: float
    loadings: Array
    residual: Array
    chisq: float
    p_value: float
    cfi: float
    tli: float
    rmsea: float
    srmr: float
    factors: Factors


def one_factor(answers: ArrayLike, *, confidence: float = 0.95) -> OneFactor:
    """Fit one factor and compute McDonald's omega.

    Parameters
    ----------
    answers : array_like, shape (rows, items)
        Answers of at least three items, all keyed in one direction; NaN is missing.
    confidence : float
        Two-sided level of the interval of ω.

    Returns
    -------
    OneFactor
        See there.

    Raises
    ------
    MethodError
        As for :func:`factors`.

    Notes
    -----
    ω = (Σλ)²/((Σλ)² + Σψ), λ and ψ those of the covariance matrix with divisor n; its interval is
    the delta method on the logit with the expected information of a normal sample. χ² = n times
    the discrepancy; CFI and TLI against independent items.

    Source: McDonald (1999), Test Theory, chapter 6; R ``lavaan::cfa``; reference cases
    ``survey/reliability_factor``.

    Examples
    --------
    >>> x = [[1, 1, 2, 1], [2, 2, 1, 3], [3, 2, 3, 3], [4, 5, 4, 3], [5, 4, 4, 6], [6, 5, 7, 6]]
    >>> bool(one_factor(x).omega.low < 0.95 < one_factor(x).omega.high)
    True
    """
    fit = factors(answers, count=1, rotation="none")
    x = complete(answers)
    (n, k), r, line, free = x.shape, np.corrcoef(x.T), fit.loadings[:, 0], fit.freedom
    loadings, residual = line * x.std(axis=0), fit.uniqueness * x.var(axis=0)
    chisq, base, pairs = n * fit.discrepancy, -n * float(np.linalg.slogdet(r)[1]), k * (k - 1) / 2
    over, ratio = max(chisq - free, 0.0), base / pairs
    worst = max(base - pairs, over)
    misfit = np.tril(r - np.outer(line, line), -1)
    return OneFactor(
        _omega(loadings, residual, n, confidence),
        float(line.sum() ** 2 / (line.sum() ** 2 + fit.uniqueness.sum())),
        loadings, residual, chisq, float(stats.chi2.sf(chisq, free)) if free else np.nan,
        1 - over / worst if worst > 0 else 1.0,
        (ratio - chisq / free) / (ratio - 1) if free else np.nan,
        float(np.sqrt(over / (free * n))) if free else np.nan,
        float(np.sqrt((misfit**2).sum() / (k * (k + 1) / 2))),
        fit,
    )  # fmt: skip


def _omega(loadings: Array, residual: Array, n: int, confidence: float) -> Interval:
    k, top, noise = loadings.size, float(loadings.sum()), float(residual.sum())
    whole, unit = top**2 + noise, np.eye(loadings.size)
    inverse = np.linalg.inv(np.outer(loadings, loadings) + np.diag(residual))
    slopes = [np.outer(e, loadings) + np.outer(loadings, e) for e in unit]
    moved = np.array([inverse @ slope for slope in (*slopes, *(np.outer(e, e) for e in unit))])
    information = n / 2 * np.einsum("aij,bji->ab", moved, moved)
    gradient = np.repeat([2 * top * noise / whole**2, -(top**2) / whole**2], k)
    variance = gradient @ np.linalg.pinv(information, hermitian=True) @ gradient
    value = top**2 / whole
    step = special.ndtri(0.5 + confidence / 2) * np.sqrt(variance) / (value * (1 - value))
    ends = special.expit(special.logit(value) + np.array([-step, step]))
    return Interval(*(np.asarray(v) for v in (value, *ends)))


def _invertible(x: Array) -> Array:
    r = np.atleast_2d(np.corrcoef(x.T))
    if float(np.linalg.eigvalsh(r)[0]) < SINGULAR:
        raise MethodError(
            f"items: one of {len(r)} is a sum of others, or there are only {len(x)} rows; "
            "leave the repeated item out (two that correlate at 1, or a total of others)."
        )
    return r


def _divide(top: ArrayLike, bottom: ArrayLike) -> Array:
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    empty = np.full(top.shape, np.nan)
    result: Array = np.divide(top, bottom, out=empty, where=bottom > 0)
    return result
