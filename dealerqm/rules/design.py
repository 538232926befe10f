"""Rule sets solved from a false-alarm budget: a point beyond limits, or a run on one side.

Limits and run length follow from the alarms a stable point may raise, by exact Markov chain and
numerical integration over the estimated baseline; nothing here is simulated.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
RUNS = (8, 30)
WIDEST = 60.0
NODES = (15, 31)  # exact to 1e-5 from eight points on


class Baseline(NamedTuple):
    """What limits rest on; the default means known limits.

    Attributes
    ----------
    n : float
        Points behind the centre.
    freedom : float
        Degrees of freedom behind the spread.
    extra : float
        Further variance of a new point's prediction, in σ²: 1/n for an estimated autocorrelation.
    """

    n: float = np.inf
    freedom: float = np.inf
    extra: float = 0.0


KNOWN = Baseline()


class Rules(NamedTuple):
    """A calibrated rule set.

    Attributes
    ----------
    limit : float
        Limits stand so many estimated standard deviations from the centre.
    run : int
        So many points in a row on one side signal.
    baseline : Baseline
        What the limits rest on.
    rate, beyond : float
        Probability that a stable new point is marked, by either rule and by the limits alone.
    """

    limit: float
    run: int
    baseline: Baseline
    rate: float
    beyond: float


@functools.lru_cache(maxsize=4096)
def solve(budget: float, baseline: Baseline = KNOWN, *, run_share: float = 0.2) -> Rules:
    """Solve limits and run length from a false-alarm budget.

    Parameters
    ----------
    budget : float
        Alarms that one stable point may raise, such as 1/36 for one a chart in three years of
        months.
    baseline : Baseline
        What the limits rest on.
    run_share : float
        The shortest run of at least 8 is taken that uses at most this share of the budget.

    Returns
    -------
    Rules
        Limits, run length and their exact false-alarm probability.

    Raises
    ------
    MethodError
        If the budget is not between 0 and 0.5, or the baseline has fewer than two points.

    Notes
    -----
    Given the centre's error d ~ N(0, 1/n) and the ratio r = s/σ, r² ~ χ²(f)/f with f degrees of
    freedom, a new point x ~ N(0, c²), c² = 1 + extra, is beyond with u + l, u = Φ((d - kr)/c),
    l likewise below; it ends a run of m on the upper side with Φ(d)^(m-1) (Φ(d) - u). The sum is
    averaged over d and r and set equal to the budget.

    Source: Champ and Woodall (1987), Technometrics 29, 393, averaged over the baseline as in
    Jensen et al. (2006), Journal of Quality Technology 38, 349.

    Examples
    --------
    >>> rules = solve(1 / 36)
    >>> rules.run, round(rules.limit, 3), round(rules.rate * 36, 6)
    (9, 2.258, 1.0)
    >>> solve(1 / 36, Baseline(24, 23)).limit > rules.limit
    True
    """
    if not 0 < budget < 0.5:  # noqa: PLR2004
        raise MethodError(f"budget: found {budget:g} alarms per point, expected between 0 and 0.5.")
    if baseline.n < 2 or baseline.freedom < 1:  # noqa: PLR2004
        raise MethodError(
            f"baseline: found {baseline.n:g} points and {baseline.freedom:g} degrees of freedom, "
            "expected at least 2 and 1 to set limits."
        )
    run = _shortest(run_share * budget, baseline)
    limit = float(optimize.brentq(lambda k: _marked(k, run, baseline)[0] - budget, 0.1, WIDEST))
    rate, beyond = _marked(limit, run, baseline)
    return Rules(limit, run, baseline, rate, beyond)


def _shortest(budget: float, baseline: Baseline) -> int:
    """Shortest run that a stable point ends at most so often; the longest where none does."""
    error, weight = _centres(baseline.n)
    lengths = np.arange(*RUNS)
    above = special.ndtr(error)
    ends = above ** lengths[:, None] + (1 - above) ** lengths[:, None]
    seldom = np.flatnonzero((ends * weight).sum(axis=1) <= budget)
    return int(lengths[seldom[0]]) if seldom.size else RUNS[1]


def _marked(limit: float, run: int, baseline: Baseline) -> tuple[float, float]:
    _, _, weight = _baselines(baseline.n, baseline.freedom)
    up, down, above = _chances(limit, baseline, 0.0)
    inside = above - up, 1 - above - down
    runs = above ** (run - 1) * inside[0] + (1 - above) ** (run - 1) * inside[1]
    beyond = float((weight * (up + down)).sum())
    return beyond + float((weight * runs).sum()), beyond


@functools.cache
def _nodes() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Nodes and weights for the centre's error, and for the normal scores of s/σ."""
    (x, w), (q, v) = (np.polynomial.hermite_e.hermegauss(m) for m in NODES)
    return (x, w / w.sum()), (special.ndtr(q), v / v.sum())


def _centres(n: float) -> tuple[Array, Array]:
    (x, w), _ = _nodes()
    return (x / np.sqrt(n), w) if np.isfinite(n) else (np.zeros(1), np.ones(1))


@functools.lru_cache(maxsize=256)
def _baselines(n: float, freedom: float) -> tuple[Array, Array, Array]:
    """Quadrature over what a baseline of n points may say: centre's error, s/σ, weight."""
    error, w = _centres(n)
    ratio, v = np.ones(1), np.ones(1)
    if np.isfinite(freedom):
        q, v = _nodes()[1]
        ratio = np.sqrt(special.gammaincinv(freedom / 2, q) * 2 / freedom)
    errors, ratios = np.meshgrid(error, ratio)
    return errors.ravel(), ratios.ravel(), np.outer(v, w).ravel()


def _chances(limit: float, baseline: Baseline, shift: float) -> tuple[Array, Array, Array]:
    """Chances that a point shifted by so many σ is above, below the limits; on the upper side."""
    error, ratio, _ = _baselines(baseline.n, baseline.freedom)
    away, scale = shift + error, np.sqrt(1 + baseline.extra)
    up = special.ndtr((away - limit * ratio) / scale)
    down = special.ndtr((-away - limit * ratio) / scale)
    above = special.ndtr(away)
    return np.minimum(up, above), np.minimum(down, 1 - above), above


def arl(rules: Rules, shifts: ArrayLike = (0.0, 1.0, 1.5, 2.0, 3.0)) -> Array:
    """Average number of points until the first signal, per shift.

    Parameters
    ----------
    rules : Rules
        From ``solve``; where limits are estimated, the average is also over the baselines.
    shifts : array_like
        Lasting shifts in σ.

    Returns
    -------
    ndarray
        Points, one per shift; the first is ARL0 when the first shift is 0.

    Notes
    -----
    With a, b the chances inside the limits above and below, A = Σ a^i and B = Σ b^i over
    i < m - 1: U = A(1 + bB)/(1 - abAB), D = B(1 + aU), ARL = 1 + aU + bD.

    Source: Champ and Woodall (1987), Technometrics 29, 393; the chain of ``zone_arl`` in closed
    form.

    Examples
    --------
    >>> arl(Rules(3.0, 8, KNOWN, 0, 0), [0, 1]).round(2)
    array([152.73,  14.58])
    """
    found = []
    for shift in np.atleast_1d(np.asarray(shifts, float)):
        up, down, above = _chances(rules.limit, rules.baseline, float(shift))
        a, b = above - up, 1 - above - down
        power = rules.run - 1
        high, low = (sum(p**i for i in range(power)) for p in (a, b))
        first = high * (1 + b * low) / (1 - a * b * high * low)
        length = 1 + a * first + b * low * (1 + a * first)
        found.append(float((_baselines(*rules.baseline[:2])[2] * length).sum()))
    return np.array(found)


class Zone(NamedTuple):
    """One rule: ``hits`` of the last ``window`` points beyond ``distance`` σ on one side."""

    hits: int
    window: int
    distance: float


def zone_arl(zones: Sequence[Zone], shifts: ArrayLike = (0.0, 1.0, 1.5, 2.0, 3.0)) -> Array:
    """Average number of points until the first signal of any set of zone rules.

    Parameters
    ----------
    zones : sequence of Zone
        Rules, such as 3σ, 2 of 3 beyond 2σ, 8 in a row on one side.
    shifts : array_like
        Lasting shifts in σ.

    Returns
    -------
    ndarray
        Points, one per shift, for known limits.

    Notes
    -----
    The states of the chain are the hits in each rule's window that can still help to a signal.

    Source: Champ and Woodall (1987), Technometrics 29, 393.

    Examples
    --------
    >>> zone_arl([Zone(1, 1, 3.0), Zone(8, 8, 0.0)], [0, 1]).round(2)
    array([152.73,  14.58])
    """
    edges = np.unique([sign * zone.distance for zone in zones for sign in (-1, 1)])
    middles = np.concatenate([[edges[0] - 1], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1]])
    sides = [(zone, sign) for zone in zones for sign in (1, -1)]
    steps = _chain(sides, [[bool(s * x > z.distance) for z, s in sides] for x in middles])
    identity = np.eye(len(steps))
    found = []
    for shift in np.atleast_1d(np.asarray(shifts, float)):
        chances = np.diff(special.ndtr(np.concatenate([[-np.inf], edges, [np.inf]]) - shift))
        moves = np.zeros((len(steps) + 1, len(steps)))
        for state, targets in enumerate(steps):
            np.add.at(moves[:, state], targets, chances)
        found.append(np.linalg.solve(identity - moves[:-1].T, np.ones(len(steps)))[0])
    return np.array(found)


def _chain(sides: Sequence[tuple[Zone, int]], hits: Sequence[Sequence[bool]]) -> list[list[int]]:
    """List the targets of each state in order of discovery; -1 is the signal."""
    start: tuple[tuple[bool, ...], ...] = tuple(() for _ in sides)
    known = {start: 0}
    order, steps = [start], []
    for state in order:  # grows while it is read
        targets = []
        for hit in hits:
            windows = [(h, *old) for h, old in zip(hit, state, strict=True)]
            signals = (sum(w) >= zone.hits for w, (zone, _) in zip(windows, sides, strict=True))
            if any(signals):
                targets.append(-1)
                continue
            after = tuple(_useful(w, zone) for w, (zone, _) in zip(windows, sides, strict=True))
            if after not in known:
                known[after] = len(order)
                order.append(after)
            targets.append(known[after])
        steps.append(targets)
    return steps


def _useful(window: tuple[bool, ...], zone: Zone) -> tuple[bool, ...]:
    """Forget hits that leave the window before a signal can count them, newest point first."""
    kept = window[: zone.window - 1]
    while kept:
        future = zone.window - len(kept)
        if kept[-1] and sum(kept) + future >= zone.hits:
            break
        kept = kept[:-1]
    return kept


def zone_solve(zones: Sequence[Zone], budget: float) -> tuple[Zone, ...]:
    """Move the distances of zone rules by one factor so that they meet a false-alarm budget.

    Parameters
    ----------
    zones : sequence of Zone
        The mix of rules; at least one distance above 0.
    budget : float
        1/ARL0 that is wanted.

    Returns
    -------
    tuple of Zone
        The same rules, all distances times one factor.

    Raises
    ------
    MethodError
        If no factor meets the budget, because the rules at distance 0 alone exceed it.

    Examples
    --------
    >>> zones = zone_solve([Zone(1, 1, 3.0), Zone(2, 3, 2.0)], 1 / 100)
    >>> [round(zone.distance, 3) for zone in zones], zone_arl(zones, [0]).round(6)
    ([2.728, 1.818], array([100.]))
    """

    def moved(factor: float) -> tuple[Zone, ...]:
        return tuple(zone._replace(distance=zone.distance * factor) for zone in zones)

    def excess(factor: float) -> float:
        return float(1 / zone_arl(moved(factor), [0.0])[0] - budget)

    if excess(10.0) > 0:
        raise MethodError(
            f"rules: {len(zones)} rules at any distance alarm more often than the budget of "
            f"{budget:.3g} per point. Lengthen their runs or raise the budget."
        )
    return moved(float(optimize.brentq(excess, 0.05, 10.0, xtol=1e-12)))


def false_alarm_chance(points: ArrayLike, *, sigma: float = 3.0) -> Array:
    """Return the chance that the next point of a stable process lies beyond estimated limits.

    Parameters
    ----------
    points : array_like
        Baseline points without gaps, 2 or more, that set the limits.
    sigma : float
        Width in standard errors.

    Returns
    -------
    ndarray
        Per judged point, for normal and independent points; with few points in the baseline it
        is several times the 2Φ(-sigma) of known limits.

    Notes
    -----
    With r = m-1 ranges, the mean range over d2 has the relative variance
    v = ((π/2-1)r + 2(r-1)(√3/2 + π/12 - 1))/r² about σ, like c4-corrected s with ν = 1/2v + 1/4
    degrees of freedom; so the chance is 2 T_ν(-(sigma/c4)/√(1 + 1/m)), within a tenth of the true
    one.

    Source: Cryer and Ryan (1990), Journal of Quality Technology 22, 187 (variance of the mean
    moving range); Student's t for a new observation.

    Examples
    --------
    >>> false_alarm_chance([12, 24, 1000]).round(4)
    array([0.02  , 0.0095, 0.0028])
    """
    m = np.asarray(points, float)
    ranges = m - 1
    neighbours = np.sqrt(3) / 2 + np.pi / 12 - 1
    variance = ((np.pi / 2 - 1) * ranges + 2 * (ranges - 1) * neighbours) / ranges**2
    freedom = 1 / (2 * variance) + 1 / 4
    halves = special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2)
    c4 = np.sqrt(2 / freedom) * np.exp(halves)
    chance: Array = 2 * stats.t.sf(sigma / c4 / np.sqrt(1 + 1 / m), freedom)
    return chance
