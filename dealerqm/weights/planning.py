"""How many answers a wanted interval or a change to be seen needs, and where to ask for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError

Array = NDArray[np.float64]


class TwoShares(NamedTuple):
    """Tests of two shares being equal; p-values of chi-square, corrected, and Fisher's."""

    chi2: float
    p: float
    p_corrected: float
    p_exact: float


class Answers(NamedTuple):
    """Answers and invitations that a wanted interval needs: exact, and whole numbers."""

    exact: Array
    n: Array
    invitations: Array


class Allocation(NamedTuple):
    """Answers per stratum, shape (strata,), and the variance of the mean that they give."""

    neyman: Array
    proportional: Array
    variance_neyman: float
    variance_proportional: float


def two_shares(k: ArrayLike, n: ArrayLike) -> TwoShares:
    """Test whether two shares are equal.

    Parameters
    ----------
    k, n : array_like, shape (2,)
        Successes and trials of the two.

    Returns
    -------
    TwoShares
        Chi-square and p-values.

    Notes
    -----
    The interval of the difference is :func:`dealerqm.stats.intervals.difference` of Wilson's.

    Source: R ``prop.test``, ``fisher.test``; reference case ``diff_prop_newcombe``.

    Examples
    --------
    >>> round(two_shares([56, 48], [70, 80]).p, 5)
    0.00805
    """
    k, n = np.asarray(k, float), np.asarray(n, float)
    table = np.array([k, n - k])
    plain, corrected = (stats.chi2_contingency(table, correction=c) for c in (False, True))
    exact = stats.fisher_exact(table)
    return TwoShares(
        float(plain.statistic), float(plain.pvalue), float(corrected.pvalue), float(exact.pvalue)
    )


def answers_for_interval(
    variance: ArrayLike, margin: ArrayLike, *, population: ArrayLike = np.inf,
    deff: ArrayLike = 1.0, response_rate: ArrayLike = 1.0, confidence: float = 0.95,
) -> Answers:  # fmt: skip
    """Find how many answers an interval of a wanted half-width needs.

    Parameters
    ----------
    variance : array_like
        Variance of one answer: p(1-p) for a share, p+q-(p-q)² for a net promoter score.
    margin : array_like
        Half-width wanted, above 0.
    population, deff, response_rate : array_like
        Population, design effect, share of invitations answered.
    confidence : float
        Two-sided level.

    Returns
    -------
    Answers
        Exact and whole numbers; rounding comes last.

    Raises
    ------
    MethodError
        If a margin or response rate is not above 0.

    Notes
    -----
    n₀ = z² variance deff / margin²; n = n₀ / (1 + (n₀ - 1)/population).

    Source: Cochran, Sampling Techniques (1977), section 4.4; reference cases ``sample_size``.

    Examples
    --------
    >>> int(answers_for_interval(0.25, 0.05).n)
    385
    >>> int(answers_for_interval(0.25, 0.05, population=500).n)
    218
    """
    for name, part in (("margin", margin), ("response_rate", response_rate)):
        if not (np.asarray(part, float) > 0).all():
            raise MethodError(f"{name}: {np.min(part):g}; allowed: above 0.")
    first = (
        special.ndtri(0.5 + confidence / 2) ** 2
        * np.asarray(variance, float)
        * deff
        / np.square(margin)
    )
    exact = np.asarray(first / (1 + (first - 1) / np.asarray(population, float)), float)
    return Answers(exact, np.ceil(exact), np.ceil(exact / response_rate))


def answers_for_change(
    before: float, after: float, *, power: float = 0.8, alpha: float = 0.05, deff: float = 1.0
) -> float:
    """Find how many answers each of two waves needs to show a change of a share.

    Parameters
    ----------
    before, after : float
        Shares.
    power, alpha : float
        Chance to see the change, and two-sided level of the test.
    deff : float
        Design effect.

    Returns
    -------
    float
        Answers per wave, not rounded; infinite without a change.

    Source: R ``power.prop.test``; reference case ``power_two_props``.

    Examples
    --------
    >>> round(answers_for_change(0.8, 0.85), 2)
    905.37
    """
    both, apart = before + after, abs(before - after)
    each = before * (1 - before) + after * (1 - after)
    reach = special.ndtri(1 - alpha / 2) * np.sqrt(both * (1 - both / 2))
    reach += special.ndtri(power) * np.sqrt(each)
    return float(deff * (reach / apart) ** 2) if apart else np.inf


def detectable_change(
    share: float, n: float, *, power: float = 0.8, alpha: float = 0.05, deff: float = 1.0
) -> float:
    """Find the smallest rise of a share that n answers per wave can show.

    Parameters
    ----------
    share : float
        Share before, at least 0 and below 1.
    n : float
        Answers per wave.
    power, alpha, deff
        As for :func:`answers_for_change`.

    Returns
    -------
    float
        Rise of the share; NaN where even a rise to 1 would not be seen.

    Examples
    --------
    >>> round(detectable_change(0.8, 905.37), 4)
    0.05
    """

    def lacking(rise: float) -> float:
        return answers_for_change(share, share + rise, power=power, alpha=alpha, deff=deff) - n

    most = 1 - share
    if lacking(most) > 0:
        return np.nan
    return float(optimize.brentq(lacking, 1e-9, most, xtol=1e-12))


def allocate(size: ArrayLike, sd: ArrayLike, n: float) -> Allocation:
    """Share answers out over strata.

    Parameters
    ----------
    size, sd : array_like, shape (strata,)
        Population and standard deviation of an answer per stratum.
    n : float
        Answers in all, at most the population.

    Returns
    -------
    Allocation
        Not rounded; a stratum never gets more than its population.

    Raises
    ------
    MethodError
        If n is not above 0 or exceeds the population.

    Notes
    -----
    Neyman: n_h in proportion to N_h S_h; strata that would be over-full are taken whole and the
    rest is shared again. Variance of the mean: Σ (N_h/N)² S_h²/n_h (1 - n_h/N_h).

    Source: Cochran (1977), section 5.5; reference case ``neyman_allocation``.

    Examples
    --------
    >>> found = allocate([100, 100], [1, 3], 40)
    >>> found.neyman, found.proportional
    (array([10., 30.]), array([20., 20.]))
    """
    size, sd = np.asarray(size, float), np.asarray(sd, float)
    if not 0 < n <= size.sum():
        raise MethodError(f"n: {n:g}; allowed: above 0, at most the population {size.sum():g}.")

    def variance(each: Array) -> float:
        part = np.divide(sd**2, each, out=np.zeros(each.size), where=each > 0)
        return float((size**2 * part * (1 - each / size)).sum() / size.sum() ** 2)

    neyman, full = np.zeros(size.size), np.zeros(size.size, bool)
    while True:
        need = np.where(full, 0.0, size * sd)
        left = n - size[full].sum()
        neyman = np.where(full, size, left * need / need.sum() if need.sum() else 0.0)
        if not (over := neyman > size).any():
            break
        full |= over
    even = n * size / size.sum()
    return Allocation(neyman, even, variance(neyman), variance(even))
