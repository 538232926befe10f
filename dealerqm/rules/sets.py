"""Signal rules on many charts at once: each rule reports every point at which it fires.

Points are matrices ``(periods, charts)``; one bit of a bit-matrix is one rule. Comparisons are
strict: a point on a line is not beyond it, equal neighbours break a trend. A missing point hits
nothing and so breaks every run and trend; a window must lie inside the series as a whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.base import Array, Limits, Mask
from dealerqm.rules.runs import LEAST, Runs, count_runs, full_windows, marked_back

Bits = NDArray[np.uint32]
Index = NDArray[np.intp]
MOST_RULES = 32  # bits of a point


@dataclass(frozen=True)
class Points:
    """Points as the rules see them, matrices ``(periods, charts)``.

    Attributes
    ----------
    value, z : ndarray
        As plotted (trends look at it), and in standard errors from the centre; z is NaN where a
        point cannot be judged.
    above, below : ndarray of bool
        Strictly beyond the limits as drawn.
    """

    value: Array
    z: Array
    above: Mask
    below: Mask

    @cached_property
    def runs(self) -> Runs:
        """Runs on each side of the centre."""
        return count_runs(self.z)


class Fired(NamedTuple):
    """Where one rule fires, matrices ``(periods, charts)``.

    Attributes
    ----------
    up, down : ndarray of bool
        Last points of offending windows, by side; both where the rule knows no side.
    members : ndarray of bool
        Points that make the rule fire.
    """

    up: Mask
    down: Mask
    members: Mask


@dataclass(frozen=True)
class Rule(ABC):
    """A rule that looks at windows of ``span`` neighbouring points."""

    span: int

    @abstractmethod
    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""

    def start(self, points: Points, period: Index, chart: Index) -> Index:
        """First points of the windows that end here."""
        return period - (self.span - 1)


class Beyond(Rule):
    """A point strictly beyond a limit as drawn."""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        return Fired(points.above, points.below, points.above | points.below)


@dataclass(frozen=True)
class Window(Rule):
    """At least ``hits`` of ``span`` points strictly between ``low`` and ``high``.

    Attributes
    ----------
    hits : int
        Points of the window that must hit.
    low, high : float
        Zone in standard errors from the centre, mirrored below it.
    sided : bool
        Judge each side of the centre by itself.
    demand : str
        ``last``: the last point hits; ``both``: points on both sides; ``same``: all points on one
        side and the hits inside the limits (2 in 3 of the NHS).
    """

    hits: int
    low: float = -np.inf
    high: float = np.inf
    sided: bool = True
    demand: str = ""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        if self.sided:
            up, above = self._side(points.z, points.above)
            down, below = self._side(-points.z, points.below)
            return Fired(up, down, above | below)
        ends, members = self._side(np.abs(points.z), points.above)
        if self.demand == "both":
            for side in (points.z > 0, points.z < 0):
                ends &= ~full_windows(side, self.span, self.span)
            members &= marked_back(ends, self.span)
        return Fired(ends, ends, members)

    def _side(self, z: Array, beyond: Mask) -> tuple[Mask, Mask]:
        hit = z > self.low
        if self.high < np.inf:
            hit &= z < self.high
        if self.demand == "same":
            hit &= ~beyond
        ends = full_windows(hit, self.hits, self.span)
        if self.demand == "last":
            ends &= hit
        if self.demand == "same":
            ends &= full_windows(z > 0, self.span, self.span)
        return ends, marked_back(ends, self.span) & hit


class Trend(Rule):
    """``span`` points each strictly above, or each strictly below, the one before."""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        up, down = (full_windows(side, self.span - 1, self.span - 1) for side in _steps(points))
        return Fired(up, down, marked_back(up | down, self.span))


class Zigzag(Rule):
    """``span`` points that alternate up and down."""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        up, down = _steps(points)
        turn = np.zeros_like(up)
        turn[1:] = (up[1:] & down[:-1]) | (down[1:] & up[:-1])
        ends = full_windows(turn, self.span - 2, self.span - 2)
        return Fired(ends, ends, marked_back(ends, self.span))


class LongRun(Rule):
    """A run on one side of the centre longer than Anhøj's limit; points on it do not count."""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        found = points.runs
        ends = (found.length > found.longest_limit) & found.judged
        begins = np.zeros_like(ends)
        begins[found.start[ends], np.nonzero(ends)[1]] = True
        members = found.useful & np.take_along_axis(begins, found.start, axis=0)
        return Fired(ends & (points.z > 0), ends & (points.z < 0), members)

    def start(self, points: Points, period: Index, chart: Index) -> Index:
        """First points of the runs that end here."""
        first: Index = points.runs.start[period, chart]
        return first


class FewCrossings(Rule):
    """Fewer crossings of the centre than Anhøj's limit; fires at the last useful point."""

    def __call__(self, points: Points) -> Fired:
        """Find where the rule fires."""
        found = points.runs
        fires = (found.crossings < found.crossings_limit) & found.judged
        left = found.useful[::-1].cumsum(axis=0)[::-1]
        ends = found.useful & (left == 1) & fires
        return Fired(ends, ends, found.useful & fires)

    def start(self, points: Points, period: Index, chart: Index) -> Index:
        """First useful points."""
        first: Index = points.runs.useful.argmax(axis=0)[chart]
        return first


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "nelson_1": Beyond(1),
        "nelson_2": Window(9, 9, 0.0),
        "nelson_3": Trend(6),
        "nelson_4": Zigzag(14),
        "nelson_5": Window(3, 2, 2.0),
        "nelson_6": Window(5, 4, 1.0),
        "nelson_7": Window(15, 15, high=1.0, sided=False),
        "nelson_8": Window(8, 8, 1.0, sided=False),
        "nelson_5_last": Window(3, 2, 2.0, demand="last"),
        "nelson_6_last": Window(5, 4, 1.0, demand="last"),
        "nelson_8_both": Window(8, 8, 1.0, sided=False, demand="both"),
        "western_electric_1": Beyond(1),
        "western_electric_2": Window(3, 2, 2.0, demand="last"),
        "western_electric_3": Window(5, 4, 1.0, demand="last"),
        "western_electric_4": Window(8, 8, 0.0),
        "mdc_limits": Beyond(1),
        "mdc_shift": Window(7, 7, 0.0),
        "mdc_trend": Trend(7),
        "mdc_two_in_three": Window(3, 2, 2.0, demand="same"),
        "anhoej_run": LongRun(LEAST),
        "anhoej_crossings": FewCrossings(LEAST),
    }
)
SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nelson": tuple(f"nelson_{number}" for number in range(1, 9)),
        "western_electric": tuple(f"western_electric_{number}" for number in range(1, 5)),
        "mdc": ("mdc_limits", "mdc_shift", "mdc_trend", "mdc_two_in_three"),
        "anhoej": ("anhoej_run", "anhoej_crossings"),
    }
)
Chosen = str | Iterable[str] | Mapping[str, Rule]


class Evaluation(NamedTuple):
    """What a set of rules says of many charts.

    Attributes
    ----------
    names, rules : tuple
        Name and rule of each bit.
    up, down, members : ndarray of uint32, shape (periods, charts)
        Bit i: rule i fires on that side (on both: it knows none); the point is a member.
    judged : ndarray of bool, shape (rules, charts)
        False where a chart has too few points for the rule, which is then silent.
    points : Points
        What was judged.
    """

    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    up: Bits
    down: Bits
    members: Bits
    judged: Mask
    points: Points


class Signals(NamedTuple):
    """One entry per chart, rule and point at which the rule fires, in this order.

    Attributes
    ----------
    chart, rule, period, start : ndarray of int
        Column, place in ``names``, last and first point of the window.
    side : ndarray of int8
        1 above or up, -1 below or down, 0 where the rule knows no side.
    """

    chart: Index
    rule: Index
    period: Index
    start: Index
    side: NDArray[np.int8]


def evaluate(chart: Limits, *, rules: Chosen = "nelson") -> Evaluation:
    """Judge every point of every chart by every rule.

    Parameters
    ----------
    chart : Limits
        Points without data, limits or spread are not judged.
    rules : str, iterable of str, or mapping of str to Rule
        Name of a set, names of registered rules, or at most 32 rules of one's own.

    Returns
    -------
    Evaluation

    Notes
    -----
    A rule is reported at the last point of each offending window, whatever other rules say.
    Source: Nelson (1984), Journal of Quality Technology 16, 237; Western Electric (1956); NHS
    England, Making Data Count; reference cases ``spc/rules``.

    Examples
    --------
    >>> from dealerqm.limits.base import given
    >>> found = evaluate(given([0.1, 2.2, 0.5, 2.3], centre=0, sd=1), rules=["nelson_5"])
    >>> found.up[:, 0], found.members[:, 0]
    (array([0, 0, 0, 1], dtype=uint32), array([0, 1, 0, 1], dtype=uint32))
    """
    chosen = _chosen(rules)
    points = Points(chart.value, chart.z, *chart.beyond)
    enough = np.isfinite(points.z).sum(axis=0)
    judged = np.array([enough >= rule.span for rule in chosen.values()]).reshape(-1, enough.size)
    up, down, members, scratch = np.zeros((4, *points.z.shape), np.uint32)
    for bit, rule in enumerate(chosen.values()):
        for total, mask in zip((up, down, members), rule(points), strict=True):
            np.bitwise_or(total, np.multiply(mask, np.uint32(1 << bit), out=scratch), out=total)
    return Evaluation(tuple(chosen), tuple(chosen.values()), up, down, members, judged, points)


def _chosen(rules: Chosen) -> Mapping[str, Rule]:
    if isinstance(rules, str):
        base.known("rules", rules, SETS)
        rules = SETS[rules]
    if not isinstance(rules, Mapping):
        names = tuple(rules)
        for name in names:
            base.known("rules", name, RULES)
        rules = {name: RULES[name] for name in names}
    if len(rules) > MOST_RULES:
        raise MethodError(f"rules: {len(rules)} rules; allowed: at most {MOST_RULES} at a time")
    return rules


def signals(found: Evaluation) -> Signals:
    """List every signal of an evaluation.

    Parameters
    ----------
    found : Evaluation
        Of :func:`evaluate`.

    Returns
    -------
    Signals
        Sorted by chart, rule and period.

    Examples
    --------
    >>> from dealerqm.limits.base import given
    >>> listed = signals(evaluate(given([0, 2.2, 0, 2.3, 3.5], centre=0, sd=1)))
    >>> [tuple(int(v) for v in row) for row in zip(*listed)]
    [(0, 0, 4, 4, 1), (0, 4, 3, 1, 1), (0, 4, 4, 2, 1)]
    """
    period, chart = np.nonzero(found.up | found.down)
    up, down = found.up[period, chart], found.down[period, chart]
    parts = [(chart[:0], chart[:0], chart[:0], chart[:0], np.zeros(0, np.int8))]
    for bit, rule in enumerate(found.rules):
        above, below = (side >> np.uint32(bit) & 1 for side in (up, down))
        here = (above | below) > 0
        start = rule.start(found.points, period[here], chart[here])
        place, side = np.full(start.size, bit), above[here].astype(np.int8) - below[here]
        parts.append((chart[here], place, period[here], start, side.astype(np.int8)))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((joined[2], joined[1], joined[0]))
    return Signals(*(column[order] for column in joined))


def members(found: Evaluation, listed: Signals, row: int) -> Index:
    """Return the points that make one signal.

    Parameters
    ----------
    found, listed : Evaluation, Signals
        The evaluation and its signals.
    row : int
        Place of the signal.

    Returns
    -------
    ndarray of int
        Periods, the hits of the window on the side of the signal.

    Examples
    --------
    >>> from dealerqm.limits.base import given
    >>> found = evaluate(given([0.1, 2.2, -0.5, 2.3], centre=0, sd=1), rules=["nelson_5"])
    >>> members(found, signals(found), 0)
    array([1, 3])
    """
    chart, rule, period, start, side = (int(column[row]) for column in listed)
    periods = np.arange(start, period + 1)
    hit = found.members[periods, chart] >> np.uint32(rule) & 1 > 0
    if side and not isinstance(found.rules[rule], Trend):
        hit &= np.sign(found.points.z[periods, chart]) == side
    result: Index = periods[hit]
    return result


def _steps(points: Points) -> tuple[Mask, Mask]:
    """Tell where a point lies strictly above and strictly below the one before."""
    value = np.where(np.isfinite(points.z), points.value, np.nan)
    up, down = np.zeros(value.shape, bool), np.zeros(value.shape, bool)
    np.greater(value[1:], value[:-1], out=up[1:])
    np.less(value[1:], value[:-1], out=down[1:])
    return up, down
