"""What drives satisfaction, and how sure that is: importance, its stability, priorities.

Every measure is a smooth function of the correlations and means of a sample, so its error is that
of its influence values under the design. Items are named in messages by their column, from 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.inference.sample import Outcome, Subset, joint
from dealerqm.psychometrics.importance import Importance, importance
from dealerqm.sampling.design import Design
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
STEP = 1e-5  # of a correlation, for slopes; smaller where drivers are close to dependent
CLOSE = 1e-7  # smallest eigenvalue of the drivers' correlations at which slopes still exist
MEASURES = ("lmg", "relative", "correlation")


class Drivers(NamedTuple):
    """Importance of drivers with design-based intervals; arrays of shape (drivers,).

    Attributes
    ----------
    measures : Importance
        All measures; ``vif`` and ``dependent`` tell of collinearity.
    value, share : Interval
        Importance by the chosen measure, and its share of ``r2``; NaN ends where drivers determine
        each other.
    r2 : Interval
        Explained share of the outcome's variance; scalars.
    freedom, n : float
        PSUs less strata, and respondents used.
    influence : ndarray, shape (rows used, drivers)
        Of the shares, per unit of weight.
    sample : Subset
        The rows used.
    """

    measures: Importance
    value: Interval
    share: Interval
    r2: Interval
    freedom: float
    n: float
    influence: Array
    sample: Subset


def drivers(
    x: ArrayLike, y: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    measure: str = "lmg", confidence: float = 0.95,
) -> Drivers:  # fmt: skip
    """Measure how much of the outcome each item explains.

    Parameters
    ----------
    x : array_like, shape (rows, drivers)
        Answers to the items; rows with a missing one are left out.
    y : array_like, shape (rows,)
        Outcome, such as overall satisfaction.
    design : Design
        The sample; its weights weight the correlations.
    domain : array_like of bool, shape (rows,), or None
        Rows that the analysis is about, such as a wave.
    measure : str
        ``lmg``, or ``relative`` for Johnson's weights.
    confidence : float
        Two-sided level.

    Returns
    -------
    Drivers
        See there.

    Raises
    ------
    MethodError
        Not more rows than drivers and outcome, an item that never varies, an unknown measure.

    Notes
    -----
    Influence of a row on a correlation: zᵢzⱼ - r(zᵢ² + zⱼ²)/2; slopes of the measure by central
    differences. Student intervals on the log (R²: the logit). With 16 drivers some seconds.

    Source: ``psychometrics.importance``; Deville (1999), Survey Methodology 25, 193;
    reference cases ``survey/drivers``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> x, y = [[1, 2], [2, 1], [3, 3], [4, 6], [5, 4]], [1, 2, 3, 4, 6]
    >>> found = drivers(x, y, design([1] * 5))
    >>> bool(found.share.estimate[0] > 0.5), bool((found.value.low > 0).all())
    (True, True)
    """
    if measure not in MEASURES[:2]:
        raise MethodError(unknown("measure", measure, MEASURES[:2]))
    sample, z, _ = _standard(x, y, design, domain)
    r = (sample.weights[:, None] * z).T @ z / sample.weights.sum()
    measures = importance(r)
    value, total = getattr(measures, measure), float(measures.r2)
    raw = _influence(r, z, measure, sample)
    share = value / total
    influence = (raw - share * raw.sum(axis=1, keepdims=True)) / total
    left = sample.freedom
    t = sample.t(confidence)
    value_ends = _logged(value, t * sample.errors(raw))
    share_ends = _logged(share, t * sample.errors(influence))
    half = t * sample.errors(raw.sum(axis=1, keepdims=True))[0] / (total * (1 - total))
    middle = special.logit(total)
    r2 = Interval(*(np.asarray(special.expit(middle + s * half)) for s in (0, -1, 1)))
    return Drivers(measures, value_ends, share_ends, r2, left, sample.n, influence, sample)


class Stability(NamedTuple):
    """Whether drivers kept their importance from one wave to another; shape (drivers,).

    Attributes
    ----------
    change : Interval
        Second share of importance less the first.
    p : ndarray
        Two-sided, for each driver alone; adjust over the family.
    overall : Outcome
        That no share changed.
    tau : float
        Kendall's τ between the two orders of drivers.
    """

    change: Interval
    p: Array
    overall: Outcome
    tau: float


def stability(first: Drivers, second: Drivers, *, confidence: float = 0.95) -> Stability:
    """Compare the importance of drivers between two waves of one design.

    Parameters
    ----------
    first, second : Drivers
        Of two domains of the same design; stores in both lend their covariance.
    confidence : float
        Two-sided level.

    Returns
    -------
    Stability
        See there.

    Raises
    ------
    MethodError
        Two designs or sets of drivers, or drivers that determine each other.

    Notes
    -----
    The influence of a change is the difference of the influences; F on drivers - 1 shares.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(80, 2))
    >>> y, wave = x @ [1, 0.5] + rng.normal(size=80), np.arange(80) % 2
    >>> sample = design([1] * 80)
    >>> both = [drivers(x, y, sample, domain=wave == w) for w in (0, 1)]
    >>> bool(stability(*both).overall.p > 0.01)
    True
    """
    design, p = first.sample.design, first.share.estimate.size
    if second.sample.design is not design or second.share.estimate.size != p:
        raise MethodError("waves: of two designs or sets of drivers; give two domains of one.")
    whole = np.zeros((2, design.rows, p))
    for part, found in zip(whole, (first, second), strict=True):
        part[found.sample.use] = found.influence
    if not np.isfinite(whole).all() or p < 2:  # noqa: PLR2004
        raise MethodError(
            "waves: drivers determine each other, or there is one; leave repeats out."
        )
    both = Subset(design, first.sample.use | second.sample.use)
    variance = both.spread((whole[1] - whole[0])[both.use])
    gap, left = second.share.estimate - first.share.estimate, both.freedom
    se = np.sqrt(np.diag(variance))
    half = both.t(confidence) * se
    return Stability(
        Interval(gap, gap - half, gap + half),
        2 * special.stdtr(left, -np.abs(gap / se)),
        joint(gap[1:], variance[1:, 1:], left),
        float(stats.kendalltau(first.share.estimate, second.share.estimate).statistic),
    )


class Priorities(NamedTuple):
    """Importance-performance map; arrays of shape (items,).

    Attributes
    ----------
    importance, performance : Interval
        Of each item; performance is its mean.
    cut_importance, cut_performance : float
        Means over the items.
    chance_important, chance_good : ndarray
        Chance that the item is above each cut.
    quadrant : tuple of str
        ``concentrate`` (important, poor), ``keep`` (important, good), ``overkill`` (good only),
        ``low`` (neither).
    sure : ndarray of bool
        Whether both sides are told by the data.
    """

    importance: Interval
    performance: Interval
    cut_importance: float
    cut_performance: float
    chance_important: Array
    chance_good: Array
    quadrant: tuple[str, ...]
    sure: NDArray[np.bool_]


def priorities(
    x: ArrayLike, y: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    measure: str = "correlation", confidence: float = 0.95,
) -> Priorities:  # fmt: skip
    """Map items by importance and performance, with the doubt about their place.

    Parameters
    ----------
    x, y, design, domain, confidence
        As for :func:`drivers`.
    measure : str
        ``correlation`` with the outcome, ``lmg`` or ``relative``.

    Returns
    -------
    Priorities
        See there.

    Raises
    ------
    MethodError
        As for :func:`drivers`.

    Notes
    -----
    Sides are judged by the difference to the mean over the items, whose error counts; an item is
    sure where each difference has a chance of (1 + confidence)/2 or more to have its sign.

    Source: Martilla and James (1977), Journal of Marketing 41, 77; reference case ``survey/ipa``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = priorities([[1, 5], [2, 4], [3, 5], [4, 4]], [1, 2, 3, 4], design([1] * 4))
    >>> found.quadrant, found.cut_performance
    (('concentrate', 'overkill'), 3.5)
    """
    if measure not in MEASURES:
        raise MethodError(unknown("measure", measure, MEASURES))
    sample, z, (means, scale) = _standard(x, y, design, domain)
    r = (sample.weights[:, None] * z).T @ z / sample.weights.sum()
    value = r[:-1, -1] if measure == "correlation" else getattr(importance(r), measure)
    found, t, left = [], sample.t(confidence), sample.freedom
    weight = _influence(r, z, measure, sample)
    level = z[:, :-1] * scale[:-1] / sample.weights.sum()
    for estimate, influence in ((value, weight), (means[:-1], level)):
        half = t * sample.errors(influence)
        gap = estimate - estimate.mean()
        error = sample.errors(influence - influence.mean(axis=1, keepdims=True))
        ratio = np.divide(gap, error, out=np.zeros(gap.size), where=error > 0)
        chance = np.where(np.isfinite(error), special.stdtr(left, ratio), np.nan)
        found.append((Interval(estimate, estimate - half, estimate + half), gap >= 0, chance))
    (heavy, important, first), (good, well, second) = found
    names = {(True, True): "keep", (True, False): "concentrate", (False, True): "overkill"}
    quadrant = tuple(names.get(side, "low") for side in zip(important, well, strict=True))
    sure = np.minimum(*(np.maximum(c, 1 - c) for c in (first, second))) >= (1 + confidence) / 2
    cuts = (float(value.mean()), float(means[:-1].mean()))
    return Priorities(heavy, good, *cuts, first, second, quadrant, sure)


def _standard(
    x: ArrayLike, y: ArrayLike, design: Design, domain: ArrayLike | None
) -> tuple[Subset, Array, tuple[Array, Array]]:
    """Rows used, their standardised items and outcome, and the means and deviations."""
    items = np.asarray(x, float)
    sample = Subset.of(design, domain, items, y)
    both = np.column_stack([items[sample.use], np.asarray(y, float)[sample.use]])
    w = sample.weights / sample.weights.sum()
    if (w > 0).sum() <= both.shape[1]:
        raise MethodError(
            f"rows: {int((w > 0).sum())} with all answers for {both.shape[1] - 1} drivers; "
            "allowed: more rows than drivers and outcome. Join items, or take a longer period."
        )
    flat = np.flatnonzero(np.ptp(both[w > 0], axis=0) == 0)
    if flat.size:
        name = "outcome" if flat[0] == items.shape[1] else f"item {flat[0]}"
        raise MethodError(
            f"x: {flat.size} columns never vary, the first is the {name} "
            f"({both[w > 0][0, flat[0]]:g} in all rows); leave it out."
        )
    means = w @ both
    scale = np.sqrt(w @ (both - means) ** 2)
    return sample, (both - means) / scale, (means, scale)


def _influence(r: Array, z: Array, measure: str, sample: Subset) -> Array:
    """Influence of each row on a measure of importance, shape (rows used, drivers)."""
    p = len(r) - 1
    first, second = np.triu_indices(p + 1, 1)
    least = np.linalg.eigvalsh(r[:p, :p])[0]
    if measure == "correlation":
        slopes = (second[:, None] == p) * np.eye(p + 1)[first, :p]
    elif least < CLOSE:
        return np.full((len(z), p), np.nan)
    else:
        step, pairs = min(STEP, float(least) / 100), np.arange(first.size)
        moved = np.broadcast_to(r, (2, first.size, *r.shape)).copy()
        for side, sign in ((0, 1), (1, -1)):
            moved[side, pairs, first, second] += sign * step
            moved[side, pairs, second, first] += sign * step
        up, down = getattr(importance(moved), measure)
        slopes = (up - down) / (2 * step)
    squares = z**2 @ np.array([np.bincount(first, v, p + 1) + np.bincount(second, v, p + 1)
                               for v in (slopes * r[first, second][:, None]).T]).T  # fmt: skip
    crossed = sum(z[:, [i]] * (z[:, i + 1 :] @ slopes[first == i]) for i in range(p))
    result: Array = (crossed - squares / 2) / sample.weights.sum()
    return result


def _logged(value: Array, half: Array) -> Interval:
    """Interval on the log; on the plain scale where the value is not above 0."""
    known = value > 0
    factor = np.exp(np.where(known, half, 0) / np.where(known, value, 1))
    low, high = (
        np.where(known, value / factor, value - half),
        np.where(known, value * factor, value + half),
    )
    return Interval(value, low, high)
