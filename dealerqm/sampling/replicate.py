"""Replication: estimates repeated on reweighted PSUs; no matrix of rows × replicates is ever made.

Sums per PSU are taken once, and every replicate is a product with its multipliers of PSUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, sparse

from dealerqm.errors import MethodError, unknown
from dealerqm.sampling.design import Array, Codes, Design
from dealerqm.sampling.estimate import t_quantile
from dealerqm.sampling.variance import Domains, domains, row_values
from dealerqm.weights.weighting import Weighting, recalled, refitted

Reweight = Weighting | Callable[[Array], Array] | None
CENTRES = ("replicates", "estimate")
FEWEST = 4  # half samples
MOST = 40_000_000  # multipliers held at once
BLOCK = 4_000_000  # numbers of cells × replicates held at once


class Replicates(NamedTuple):
    """Multipliers of PSUs.

    Attributes
    ----------
    unit : ndarray of int, shape (rows,)
        PSU of each row.
    multiplier : ndarray, shape (PSUs, replicates)
        Factors of the weights.
    scale : ndarray, shape (replicates,)
        Factors of the squared deviations.
    df : float
        Degrees of freedom.
    centre : str
        Deviations are from the mean of the ``replicates`` or from the ``estimate``.
    """

    unit: Codes
    multiplier: Array
    scale: Array
    df: float
    centre: str = "replicates"


class Statistic(NamedTuple):
    """What is repeated: totals, or ratios of totals, of items by domain.

    Attributes
    ----------
    top : tuple of ndarray, shape (rows,) each
        One per item; NaN does not count.
    bottom : tuple of ndarray, or None
        Denominators; empty counts those who answered, None leaves totals.
    domain : array_like or Domains or None
        As for :func:`dealerqm.sampling.estimate.total`.
    """

    top: tuple[Array, ...]
    bottom: tuple[Array, ...] | None = None
    domain: ArrayLike | Domains | None = None

    @classmethod
    def means(cls, *items: ArrayLike, domain: ArrayLike | Domains | None = None) -> Statistic:
        """Take means of items: of answers, top boxes, net promoter scores, index points."""
        return cls(tuple(np.asarray(item, float) for item in items), (), domain)


Asked = tuple[Statistic, Domains]


class Replicated(NamedTuple):
    """Estimates with errors from replicates, shape (estimates,): items first, then domains.

    Attributes
    ----------
    estimate, se, low, high, df : ndarray
        Intervals on Student's t; NaN where nothing is known.
    undefined : ndarray
        Replicates in which a domain has no weight left; if any, there is no error.
    values, covariance : ndarray, shape (replicates, estimates) and (estimates, estimates)
        Every replicate, and covariances.
    """

    estimate: Array
    se: Array
    low: Array
    high: Array
    df: Array
    undefined: Array
    values: Array
    covariance: Array


def jackknife(design: Design) -> Replicates:
    """Leave out one PSU at a time: JK1 without strata, JKn with them.

    Parameters
    ----------
    design : Design
        The sample; stages below the first, and strata sampled whole, add nothing.

    Returns
    -------
    Replicates
        One per PSU of a stratum with two or more.

    Notes
    -----
    The other PSUs of the stratum weigh n/(n-1); squared deviations (n-1)/n (1 - n/N). More than
    a few thousand PSUs are refused.

    Source: Wolter, Introduction to Variance Estimation (2007), chapter 4; reference cases ``jk``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = jackknife(design([1, 1, 1]))
    >>> found.multiplier[:, 0], found.scale.round(4)
    (array([0. , 1.5, 1.5]), array([0.6667, 0.6667, 0.6667]))
    """
    unit, stratum, n, scale = _units(design)
    left = np.flatnonzero((n[stratum] > 1) & (scale[stratum] > 0))
    if unit.max() * left.size > MOST:
        raise MethodError(f"jackknife: {left.size} units are too many; use bootstrap().")
    same = stratum[:, None] == stratum[left]
    rise = n[stratum[left]] / (n[stratum[left]] - 1)
    multiplier = np.where(same, rise, 1.0)
    multiplier[left, np.arange(left.size)] = 0.0
    return Replicates(
        unit, multiplier, scale[stratum[left]] / rise**2, float(domains(design).df[0])
    )


def half_samples(design: Design, *, fay: float = 0.0) -> Replicates:
    """Take balanced half samples of strata with two PSUs each.

    Parameters
    ----------
    design : Design
        The sample; a finite population is not corrected for.
    fay : float
        Fay's factor: the half left out keeps this share of its weight, 0 or more and below 1.

    Returns
    -------
    Replicates
        As many as the smallest power of 2 above the number of strata, at least 4.

    Notes
    -----
    Squared deviations over R (1 - fay)². Strata with more or fewer than two PSUs are refused.

    Source: McCarthy (1969), Review of the ISI 37, 239; Judkins (1990), Journal of Official
    Statistics 6, 223; reference case ``brr_scd``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = half_samples(design([1] * 4, psu=[1, 2, 1, 2], strata=[1, 1, 2, 2]))
    >>> found.multiplier.shape, found.multiplier.sum(axis=0)
    ((4, 4), array([4., 4., 4., 4.]))
    """
    unit, stratum, n, _ = _units(design)
    if not 0 <= fay < 1:
        raise MethodError(f"fay: {fay:g}; allowed: 0 and above, below 1.")
    if (n != 2).any():  # noqa: PLR2004
        raise MethodError(
            f"half_samples: {int((n != 2).sum())} of {n.size} strata do not have two PSUs; "  # noqa: PLR2004
            "use jackknife() or bootstrap()."
        )
    count = max(1 << int(n.size).bit_length(), FEWEST)
    side = linalg.hadamard(count)[:, 1 : n.size + 1].T[stratum].astype(float)
    side[np.argsort(stratum, kind="stable")[1::2]] *= -1
    scale = np.full(count, 1 / (count * (1 - fay) ** 2))
    return Replicates(unit, np.where(side > 0, 2 - fay, fay), scale, float(domains(design).df[0]))


def bootstrap(design: Design, *, replicates: int, seed: int) -> Replicates:
    """Draw n-1 of the n PSUs of each stratum with replacement.

    Parameters
    ----------
    design : Design
        The sample.
    replicates : int
        How many, at least 2.
    seed : int
        Of the random numbers; the same seed gives the same replicates.

    Returns
    -------
    Replicates
        Draws times n/(n-1), drawn in by √(1 - n/N) for a finite population.

    Notes
    -----
    Fewer than two replicates, or more multipliers than memory should hold, are refused.

    Source: Rao and Wu (1988), JASP 83, 231; reference case ``bootstrap_monte_carlo_clus1``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = bootstrap(design([1, 1, 1]), replicates=100, seed=1)
    >>> found.multiplier.sum(axis=0).min(), found.multiplier.max()
    (np.float64(3.0), np.float64(3.0))
    """
    unit, stratum, n, scale = _units(design)
    if not 1 < replicates <= MOST / stratum.size:
        raise MethodError(
            f"replicates: {replicates}; allowed: 2 to {int(MOST / stratum.size)} with "
            f"{stratum.size} units. Larger units (stores) leave room for more."
        )
    rng = np.random.default_rng(seed)
    multiplier = np.ones((stratum.size, replicates))
    for layer in np.flatnonzero((n > 1) & (scale > 0)):
        held = np.flatnonzero(stratum == layer)
        drawn = rng.multinomial(held.size - 1, np.full(held.size, 1 / held.size), replicates).T
        rise = held.size / (held.size - 1)
        multiplier[held] += np.sqrt(scale[layer] / rise) * (drawn * rise - 1)
    scale = np.full(replicates, 1 / (replicates - 1))
    return Replicates(unit, multiplier, scale, float(domains(design).df[0]))


def supplied(
    weights: ArrayLike, replicate_weights: ArrayLike, *, scale: ArrayLike,
    centre: str = "replicates",
) -> Replicates:  # fmt: skip
    """Take replicate weights that came with the data.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Full-sample weights.
    replicate_weights : array_like, shape (rows, replicates)
        Weights of each replicate, not factors of the full-sample weights.
    scale : array_like, shape (replicates,) or scalar
        Factors of the squared deviations: 1/(R-1) for a bootstrap, (n-1)/n for a jackknife.
    centre : str
        As in :class:`Replicates`.

    Returns
    -------
    Replicates
        Rows with the same factors become one unit.

    Notes
    -----
    Degrees of freedom are the rank of the multipliers less 1. Weights that are missing, of another
    number of rows, or above 0 where the full-sample weight is 0, are refused.

    Examples
    --------
    >>> found = supplied([2, 2, 4], [[0, 4], [0, 4], [8, 0]], scale=1)
    >>> found.unit, found.multiplier, found.df
    (array([0, 0, 1]), array([[0., 2.],
           [2., 0.]]), 1.0)
    """
    if centre not in CENTRES:
        raise MethodError(unknown("centre", centre, CENTRES))
    base, each = np.asarray(weights, float), np.asarray(replicate_weights, float)
    if each.ndim != 2 or len(each) != base.size or not np.isfinite(each).all():  # noqa: PLR2004
        raise MethodError(
            f"replicate_weights: shape {each.shape}; give each of {base.size} rows its numbers."
        )
    if ((base == 0) & (each != 0).any(axis=1)).any():
        raise MethodError("replicate_weights: a row of weight 0 has some; leave such rows out.")
    factor = np.divide(each, base[:, None], out=np.zeros(each.shape), where=base[:, None] > 0)
    same = np.round(factor, 9)  # rows of one unit may differ by rounding
    _, first, unit = np.unique(same, axis=0, return_index=True, return_inverse=True)
    multiplier = factor[first]
    rank = float(np.linalg.matrix_rank(multiplier, tol=1e-5))
    full = np.array(np.broadcast_to(np.asarray(scale, float), (each.shape[1],)))
    return Replicates(unit, multiplier, full, max(rank - 1, 0.0), centre)


def replicate(
    design: Design, replicates: Replicates, statistic: Statistic, *, reweight: Reweight = None,
    confidence: float = 0.95,
) -> Replicated:  # fmt: skip
    """Repeat estimates in every replicate.

    Parameters
    ----------
    design : Design
        The sample; with start weights where replicates are weighted anew.
    replicates : Replicates
        Multipliers.
    statistic : Statistic
        What is estimated.
    reweight : Weighting, callable or None
        Rakes each replicate to the totals of a raking; or turns weights, shape (rows,), into
        weights, called once a replicate.
    confidence : float
        Two-sided level.

    Returns
    -------
    Replicated
        Estimates, errors, replicates; a replicate that cannot meet the totals is refused.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> sample = design([1, 1, 1, 1])
    >>> found = replicate(sample, jackknife(sample), Statistic.means([1, 2, 3, 6]))
    >>> found.estimate, (found.se**2).round(4)  # s²/n = 14/3/4
    (array([3.]), array([1.1667]))
    """
    asked = (statistic, parts := domains(design, statistic.domain))
    full, each = _repeated(design, replicates, asked, reweight)
    if statistic.bottom is not None:
        half = full.size // 2
        with np.errstate(divide="ignore", invalid="ignore"):
            full, each = full[:half] / full[half:], each[:, :half] / each[:, half:]
    lost = (~np.isfinite(each)).sum(axis=0).astype(float)
    middle = full if replicates.centre == "estimate" else each[replicates.scale > 0].mean(axis=0)
    away = np.where(lost > 0, np.nan, each - middle)
    covariance = away.T @ (away * replicates.scale[:, None])
    df = np.minimum(np.tile(parts.df, len(statistic.top)), replicates.df)
    se = np.sqrt(np.diag(covariance))
    reach = t_quantile(confidence, df) * se
    return Replicated(full, se, full - reach, full + reach, df, lost, each, covariance)


def _repeated(
    design: Design, replicates: Replicates, asked: Asked, reweight: Reweight
) -> tuple[Array, Array]:
    """Return the sums of the sample, and of each replicate."""
    unit, multiplier = replicates.unit, replicates.multiplier
    if isinstance(reweight, Weighting):
        return _raked(design, replicates, asked, reweight)
    if reweight is None:
        sums = _sums(design, unit, len(multiplier), asked, design.weights)
        return sums.sum(axis=0), multiplier.T @ sums
    alone = np.zeros(design.rows, np.int64)
    weights = (design.weights * factor[unit] for factor in multiplier.T)
    each = [_sums(design, alone, 1, asked, reweight(w))[0] for w in weights]
    return _sums(design, alone, 1, asked, reweight(design.weights))[0], np.array(each)


def _sums(design: Design, unit: Codes, units: int, asked: Asked, weights: Array) -> Array:
    """Add items up by unit and domain: numerators, then denominators, side by side."""
    (tops, bottoms, _), parts = asked
    code = np.where(parts.column >= 0, unit * parts.size + parts.column + 1, 0)

    def added(values: Array) -> Array:
        sums = np.bincount(code, values, units * parts.size + 1)[1:]
        return sums.astype(float, copy=False).reshape(units, parts.size)

    up, down = [], []
    for item, top in enumerate(tops):
        sides = [row_values(design, side) for side in (top, *(bottoms or ())[item : item + 1])]
        gone = np.logical_or.reduce([np.isnan(side) for side in sides])
        kept = np.where(gone, 0.0, weights)
        up.append(added(kept * np.where(gone, 0.0, top)))
        if bottoms is not None:
            down.append(added(kept * np.where(gone, 0.0, bottoms[item]) if bottoms else kept))
    return np.hstack([*up, *down])


def _raked(
    design: Design, replicates: Replicates, asked: Asked, known: Weighting
) -> tuple[Array, Array]:
    """Rake every replicate to the totals of the sample's raking, on cells of its margins."""
    table = recalled(known)
    size = table.levels[0].size
    _, of, pair = np.unique(replicates.unit * size + table.cell, True, True)
    sums = _sums(design, pair, of.size, asked, design.weights)
    cell, unit = table.cell[of], replicates.unit[of]
    weight, place = np.bincount(pair, design.weights), np.arange(of.size)
    add = sparse.csr_array((weight, (cell, place)), (size, of.size))
    found, step = [], max(1, BLOCK // of.size)
    for start in range(0, replicates.scale.size, step):
        multiplier = replicates.multiplier[unit, start : start + step]
        factor = refitted(table, add @ multiplier)
        found.append((multiplier * factor[cell]).T @ sums)
    alone = np.zeros(design.rows, np.int64)
    return _sums(design, alone, 1, asked, known.weights)[0], np.concatenate(found)


def _units(design: Design) -> tuple[Codes, Codes, Array, Array]:
    """Return the unit of each row, and stratum, size and scale of the first stage."""
    stage = design.stages[0]
    if not stage.centred.all():
        raise MethodError("replicates: a lonely stratum needs lonely='remove' or 'average'.")
    unit, stratum = stage.unit, stage.stratum
    if unit is None:
        if design.count is not None:
            raise MethodError("replicates: cells without PSUs hold many units; give the rows.")
        unit = np.arange(design.rows)
    return unit, stratum, stage.sampled, stage.scale
