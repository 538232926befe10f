"""What charts come to: capability against a specification, NHS icons against a goal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.attributes import moving_range
from dealerqm.limits.base import Array, Limits
from dealerqm.limits.constants import Subgroups, sigma_within
from dealerqm.rules.sets import evaluate
from dealerqm.stats.intervals import Interval

# ---------------------------------------------------------------- capability


class Spread(NamedTuple):
    """Centre and spread of a process.

    Attributes
    ----------
    mean, within, overall, n : ndarray, shape (charts,)
        Mean, σ within subgroups (or of an XmR chart), σ of all values, number of values.
    """

    mean: Array
    within: Array
    overall: Array
    n: Array


class Capability(NamedTuple):
    """Indices with intervals; NaN where a specification limit or the target is not given.

    Attributes
    ----------
    cp, cpl, cpu, cpk, cpm : Interval
        From σ within subgroups.
    pp, ppk : Interval
        From σ of all values.
    """

    cp: Interval
    cpl: Interval
    cpu: Interval
    cpk: Interval
    cpm: Interval
    pp: Interval
    ppk: Interval


# name -> degrees of freedom of Cpm; qcc 2.7 lacks the square: measured coverage of 95 % intervals
# at offsets of 0, 0.6 and 1.2 σ is 94.7, 94.9, 94.6 % by Boyles and 95.0, 97.7, 99.7 % by qcc
CPM_FREEDOM: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {
        "boyles": lambda off, n: n * (1 + off**2) ** 2 / (1 + 2 * off**2),
        "qcc": lambda off, n: n * (1 + off**2) / (1 + 2 * off**2),
    }
)


def process_spread(groups: Subgroups, *, estimator: str = "mean_s_over_c4") -> Spread:
    """Summarise all subgroups of a process.

    Parameters
    ----------
    groups : Subgroups
        From :func:`constants.subgroups`.
    estimator : str
        As for :func:`constants.sigma_within`.

    Returns
    -------
    Spread
        For :func:`capability`.

    Examples
    --------
    >>> from dealerqm.limits.constants import subgroups
    >>> [round(float(v[0]), 4) for v in process_spread(subgroups([[1, 2, 3], [4, 6]]))]
    [3.2, 1.4504, 1.9235, 5.0]
    """
    n = groups.n.sum(axis=0)
    mean = base.divide(np.nansum(groups.mean * groups.n, axis=0), n)
    inside = np.nansum(groups.sd**2 * (groups.n - 1), axis=0)
    between = np.nansum(groups.n * (groups.mean - mean) ** 2, axis=0)
    overall = np.sqrt(base.divide(inside + between, n - 1))
    return Spread(mean, sigma_within(groups, estimator=estimator), overall, n)


def duration_spread(seconds: ArrayLike, count: ArrayLike, period: ArrayLike) -> Spread:
    """Summarise durations on the log scale, periods being the subgroups.

    Parameters
    ----------
    seconds, count : array_like, shape (rows,)
        Durations of 0 or more, and how many rows have each (``Facts.histogram``).
    period : array_like, shape (rows,)
        Period of each row.

    Returns
    -------
    Spread
        One chart; give :func:`capability` the logarithm of the limit plus one second.

    Raises
    ------
    MethodError
        If a duration or a count is negative or missing, or fewer than two periods have two rows.

    Notes
    -----
    Durations are skewed, so x = log(1 + seconds). σ within: pooled over periods, Σ(n-1)s²/Σ(n-1);
    overall: all rows about the one mean. Cpk·3 is then the distance of the limit in σ within.

    Source: Montgomery, chapter 8 (transforming non-normal data).

    Examples
    --------
    >>> found = duration_spread([0, 1, 3, 7], [1, 1, 1, 1], ["a", "a", "b", "b"])
    >>> found.mean.round(4), found.within.round(4), found.n
    (array([1.0397]), array([0.4901]), array([4.]))
    """
    raw, n = np.asarray(seconds, float), np.asarray(count, float)
    bad = ~(raw >= 0) | ~(n >= 0)
    if bad.any():
        raise MethodError(
            f"durations: {int(bad.sum())} of {raw.size} rows have a negative or missing duration "
            f"or count, the first is row {int(np.flatnonzero(bad)[0])}; leave such rows out."
        )
    place = np.unique(np.asarray(period), return_inverse=True)[1]
    x = np.log1p(raw)
    size = np.bincount(place, weights=n)
    mean = base.divide(np.bincount(place, weights=n * x), size)
    squares = np.bincount(place, weights=n * (x - mean[place]) ** 2)
    freedom = float(np.maximum(size - 1, 0).sum())
    if (size > 1).sum() < 2:  # noqa: PLR2004
        raise MethodError(
            f"durations: found {int((size > 1).sum())} periods with two rows or more, expected at "
            "least 2; take more periods."
        )
    total = float(n.sum())
    centre = float((n * x).sum() / total)
    overall = np.sqrt((n * (x - centre) ** 2).sum() / (total - 1))
    within = np.sqrt(squares.sum() / freedom)
    return Spread(*(np.array([float(v)]) for v in (centre, within, overall, total)))


def capability(
    spread: Spread, *, lower: float = np.nan, upper: float = np.nan, target: float = np.nan,
    confidence: float = 0.95, cpm_freedom: str = "boyles",
) -> Capability:  # fmt: skip
    """Compare the natural spread of a process with its specification.

    Parameters
    ----------
    spread : Spread
        Of a stable process, near normal: transform durations that are skewed, and their limits.
    lower, upper, target : float
        Specification limits and target; a missing one is NaN.
    confidence : float
        Two-sided level.
    cpm_freedom : str
        ``boyles``, or ``qcc`` to repeat the wider interval of R's qcc.

    Returns
    -------
    Capability
        Intervals of shape (charts,).

    Raises
    ------
    MethodError
        No specification limit, or a lower one not below the upper one.

    Notes
    -----
    Cp = (U-L)/6σ with χ² interval, Cpk = min(U-x̄, x̄-L)/3σ with Bissell's interval,
    Cpm = Cp/√(1 + ((x̄-T)/σ)²); Pp and Ppk with σ of all values.

    Source: Montgomery, Introduction to Statistical Quality Control, chapter 8; Boyles (1991),
    Journal of Quality Technology 23, 17; reference case ``spc/capability``.

    Examples
    --------
    >>> process = Spread(*np.array([[10.0], [1.0], [1.1], [50.0]]))
    >>> [round(float(v[0]), 3) for v in capability(process, upper=14).cpk]
    [1.333, 1.054, 1.613]
    """
    base.known("cpm_freedom", cpm_freedom, CPM_FREEDOM)
    if (np.isnan(lower) and np.isnan(upper)) or lower >= upper:
        raise MethodError(
            f"specification: lower {lower:g}, upper {upper:g}; allowed: at least one limit, the "
            "lower below the upper"
        )
    mean, within, overall, n = spread
    low, high = base.divide(mean - lower, 3 * within), base.divide(upper - mean, 3 * within)
    width = base.divide(upper - lower, 6 * within)
    offset = base.divide(mean - target, within)
    tail = (1 - confidence) / 2
    ends = base.divide(upper - mean, 3 * overall), base.divide(mean - lower, 3 * overall)
    cpl, cpu, cpk = (_bissell(index, n, tail) for index in (low, high, np.fmin(low, high)))
    return Capability(
        cp=_chi(width, n - 1, tail), cpl=cpl, cpu=cpu, cpk=cpk,
        cpm=_chi(width / np.sqrt(1 + offset**2), CPM_FREEDOM[cpm_freedom](offset, n), tail),
        pp=_chi(base.divide(upper - lower, 6 * overall), n - 1, tail),
        ppk=_bissell(np.fmin(*ends), n, tail),
    )  # fmt: skip


def _chi(index: Array, freedom: Array, tail: float) -> Interval:
    ends = (np.sqrt(stats.chi2.ppf(level, freedom) / freedom) for level in (tail, 1 - tail))
    return Interval(index, *(index * end for end in ends))


def _bissell(index: Array, n: Array, tail: float) -> Interval:
    half = -special.ndtri(tail) * np.sqrt(1 / (9 * n) + index**2 / (2 * (n - 1)))
    return Interval(index, index - half, index + half)


# ---------------------------------------------------------------- NHS Making Data Count


class Mdc(NamedTuple):
    """Verdict of Making Data Count.

    Attributes
    ----------
    chart : Limits
        Points with the limits of their phase.
    cause : ndarray of str, shape (periods, charts)
        ``common``, ``above_limit``, ``below_limit``, ``rising``, ``falling``, ``two_above``,
        ``two_below``, ``run_above`` or ``run_below``; the first that holds of limits, trend, 2 in 3
        and run.
    point_type : ndarray of str, shape (periods, charts)
        ``common_cause``, ``special_cause_improvement``, ``special_cause_concern``, or
        ``special_cause_neutral_high`` and ``special_cause_neutral_low``.
    assurance : ndarray of str, shape (charts,)
        ``consistent_pass``, ``consistent_fail``, ``inconsistent``; empty without goal or direction.
    """

    chart: Limits
    cause: NDArray[np.str_]
    point_type: NDArray[np.str_]
    assurance: NDArray[np.str_]


BETTER: Mapping[str, int] = MappingProxyType({"up": 1, "down": -1, "none": 0})
_WIDTH, _SCREEN = 2.66, 3.267  # as the NHS rounds 3/d2 and the limit of the moving range
_ORDER = ("mdc_limits", "mdc_trend", "mdc_two_in_three", "mdc_shift")
_CAUSES = (
    "above_limit", "below_limit", "rising", "falling", "two_above", "two_below",
    "run_above", "run_below",
)  # fmt: skip


def mdc(
    x: ArrayLike, *, better: str = "none", goal: float = np.nan, starts: Sequence[int] = (),
    fix_after: int | None = None, screen: str = "once",
) -> Mdc:  # fmt: skip
    """Judge series as the NHS does: 7 points for runs and trends, variation and assurance.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    better : str
        ``up``, ``down`` or ``none``.
    goal : float
        NaN is none.
    starts : sequence of int
        Periods at which a new phase begins.
    fix_after : int or None
        Only so many points of a phase set its limits.
    screen : str
        ``once``: leave out moving ranges of 3.267 times their mean or more, or ``none``.

    Returns
    -------
    Mdc
        The assurance is that of the last phase.

    Notes
    -----
    XmR with limits x̄ ± 2.66 mean moving range; rules do not look across phases.

    Source: NHS England, Making Data Count; R NHSRplotthedots 0.2.2; reference cases
    ``spc/nhs_mdc``.

    Examples
    --------
    >>> found = mdc([5, 6, 5, 6, 5, 20], better="up", goal=9, screen="none")
    >>> found.point_type[-1, 0], found.assurance[0]
    (np.str_('special_cause_improvement'), np.str_('inconsistent'))
    """
    base.known("better", better, BETTER)
    base.known("screen", screen, ("once", "none"))
    value = base.checked("x", x)
    edges = [0, *sorted({int(start) for start in starts} - {0}), len(value)]
    parts = [_phase(value[a:b], fix_after, screen) for a, b in itertools.pairwise(edges)]
    joined = (np.concatenate([part[field] for part in parts]) for field in (1, 2, 3, 5))
    centre, lower, upper, sd = joined
    chart = Limits(value, centre, lower, upper, parts[-1].sigma_z, sd)
    cause, direction = (np.concatenate(found) for found in zip(*map(_causes, parts), strict=True))
    return Mdc(chart, cause, _types(direction, BETTER[better]), _assurance(chart, goal, better))


def _phase(value: Array, fix_after: int | None, screen: str) -> Limits:
    kept = np.where(np.arange(len(value))[:, None] < (fix_after or len(value)), value, np.nan)
    ranges = moving_range(kept)
    if screen == "once":
        ranges = np.where(ranges < _SCREEN * base.mean(ranges), ranges, np.nan)
    half = _WIDTH * np.broadcast_to(base.mean(ranges), value.shape)
    lines = np.broadcast_to(base.mean(kept), value.shape).copy()
    return base.symmetric(value, lines, half / 3, sigma=3.0, sigma_z=base.mean(ranges))


def _causes(part: Limits) -> tuple[NDArray[np.str_], NDArray[np.int8]]:
    """Name the first cause that holds at each point, and its direction."""
    members = evaluate(part, rules=_ORDER).members
    hits = [members >> np.uint32(bit) & 1 > 0 for bit in range(len(_ORDER))]
    side = np.sign(part.value - part.centre)
    step = np.sign(np.diff(part.value, axis=0, prepend=part.value[:1]))
    ahead = np.vstack([step[1:], step[-1:]])
    goes_on = np.vstack([hits[1][1:], np.zeros_like(hits[1][:1])])
    sides = [side, np.where(goes_on, ahead, step), side, side]
    conditions = [h & (s == d) for h, s in zip(hits, sides, strict=True) for d in (1, -1)]
    direction = np.select(conditions, [1, -1] * len(_ORDER), 0).astype(np.int8)
    return np.select(conditions, _CAUSES, "common"), direction


def _types(direction: NDArray[np.int8], better: int) -> NDArray[np.str_]:
    if better == 0:
        names = ["special_cause_neutral_high", "special_cause_neutral_low"]
        return np.select([direction > 0, direction < 0], names, "common_cause")
    names = ["special_cause_improvement", "special_cause_concern"]
    oriented = direction * better
    return np.select([oriented > 0, oriented < 0], names, "common_cause")


def _assurance(chart: Limits, goal: float, better: str) -> NDArray[np.str_]:
    lower, upper = chart.lower[-1], chart.upper[-1]
    if BETTER[better] == 0 or np.isnan(goal):
        return np.full(lower.shape, "")
    over, under = ("consistent_fail", "consistent_pass")[:: BETTER[better]]
    known = np.isfinite(lower) & np.isfinite(upper)
    return np.select([~known, goal > upper, goal < lower], ["", over, under], "inconsistent")
