"""The board: one p-value for "something changed lately" per chart, judged all together.

Charts are stores x KPIs. Above them stand nodes for each KPI's regions and its group, so that a
change that all stores share is found once and named once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.pooling import pool
from dealerqm.series import change
from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Mask, Series
from dealerqm.stats.multiple import hierarchical

Index = NDArray[np.int64]
STORE, REGION, GROUP = 0, 1, 2
FEWEST = 3
TRIM = 4
WEIGHTS = (0.05, 0.1, 0.2, 0.65)
TRUST = 200.0  # degrees of freedom at most: noise is never quite normal, nor its memory known
BEYOND_DOUBT = 1e-12  # p-values below are not compared with each other
MARGIN = 1.0  # normal scores by which a narrow change must be clearer than a wide one
UNKNOWN, CALM, WATCH, ACT = -1, 0, 1, 2


class Charts(NamedTuple):
    """What the board must know of its charts; all of shape (charts,).

    Attributes
    ----------
    kpi, region : ndarray of int
        KPI and region of each chart; region -1 is none.
    worse : ndarray of int
        1 when a rise is bad, -1 when a fall is, 0 when the KPI has no direction.
    """

    kpi: Index
    region: Index
    worse: Index


class Rates(NamedTuple):
    """False-discovery rates of the two levels."""

    act: float
    watch: float


class Board(NamedTuple):
    """Verdicts per node: the charts in their order, then regions, then groups.

    Attributes
    ----------
    kind : ndarray of int
        ``STORE``, ``REGION`` or ``GROUP``.
    kpi, place : ndarray of int
        KPI, and chart number, region number, or -1.
    p_worse, q_worse, p_better, q_better : ndarray
        Evidence of a change for the worse and for the better, before and after false-discovery
        control; NaN where nothing can be judged. A KPI without direction has both ways in
        ``worse``.
    explained : ndarray of int
        Node whose change explains this one's; -1 is none.
    phi : ndarray
        Autocorrelation taken into account.
    """

    kind: Index
    kpi: Index
    place: Index
    p_worse: Array
    q_worse: Array
    p_better: Array
    q_better: Array
    explained: Index
    phi: Array


class _Tests(NamedTuple):
    up: Array
    down: Array
    phi: Array
    z: Array


def judge(
    points: Series, charts: Charts, *, rates: Rates, quarter: int = 3, quarters: int = 4
) -> Board:
    """Judge a board of charts at its newest quarter.

    Parameters
    ----------
    points : Series, shape (periods, charts)
        Points of stores; the last ``quarter`` rows are the newest quarter. Charts on different
        scales may stand side by side, each on its own working scale.
    charts : Charts
        KPI, region and bad direction of each chart.
    rates : Rates
        False-discovery rates of "act" and "watch".
    quarter, quarters : int
        Periods in a quarter, and how many quarters back a change may have begun.

    Returns
    -------
    Board
        One entry per node.

    Raises
    ------
    MethodError
        If the arrays do not fit, or the series is too short.

    Notes
    -----
    Per chart: ``change.recent`` with variances pooled within the KPI and autocorrelations pooled
    within and between KPIs, both from the board itself. A region or group is the mean of its
    stores in units of their noise, tested in the same way against its own variance, without the
    quarter of its stores that changed most: it signals only what most stores share. Families of
    ``hierarchical`` are the KPIs. A store is explained by its region or group when that stands at
    the same level, is not much less clear, and the store does not stand out from the others of it.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(36, 8))
    >>> x[27:, 2] += 4
    >>> charts = Charts(np.arange(8) // 4, np.full(8, -1), np.ones(8, int))
    >>> board = judge(scales.value(x), charts, rates=Rates(0.05, 0.2))
    >>> np.flatnonzero(board.q_worse <= 0.05)
    array([2])
    """
    width = points.y.shape[1]
    if any(len(part) != width for part in charts):
        raise MethodError(
            f"board: found {width} charts and {[len(part) for part in charts]} KPIs, regions and "
            "directions; give one of each per chart."
        )
    span = (quarter, quarters)
    own = _test(points, charts.kpi, span)
    nodes = _nodes(charts)
    kind = np.array([*[STORE] * width, *[node[0] for node in nodes]], np.int64)
    kpi = np.array([*charts.kpi, *[node[1] for node in nodes]], np.int64)
    place = np.array([*range(width), *[node[2] for node in nodes]], np.int64)
    members = [node[3] for node in nodes]
    above = _parents(own, members, kind[width:], span)
    up, down = np.append(own.up, above.up), np.append(own.down, above.down)
    worse = np.array([*charts.worse, *[charts.worse[m[0]] for m in members]], np.int64)
    p_worse, p_better = _sided(up, down, worse)
    q_worse, q_better = hierarchical(p_worse, kpi), hierarchical(p_better, kpi)
    board = Board(
        kind, kpi, place, p_worse, q_worse, p_better, q_better,
        np.full(kind.size, -1, np.int64), np.append(own.phi, above.phi),
    )  # fmt: skip
    for worst in (True, False):
        board = _explain(board, own, members, (worse, worst, rates, span))
    return board


def _test(points: Series, groups: Index, span: tuple[int, int]) -> _Tests:
    """Test each chart, with what its group lends; also return its standardised deviations."""
    earlier = points.y[: len(points.y) - span[0] * span[1]]
    count = np.isfinite(earlier).sum(axis=0)
    level = np.divide(np.nansum(earlier, axis=0), count, out=np.zeros(count.shape), where=count > 0)
    z = (points.y - level) / points.se
    found = scales.autocorrelation(z[: len(earlier)])
    phi = np.minimum(pool.correlations(found.phi, found.variance, groups), scales.MAX_PHI)
    recent = change.recent(points, phi=phi, quarter=span[0], quarters=span[1])
    pooled = pool.variances(recent.variance, recent.freedom, groups)
    freedom = np.minimum(pooled.freedom, TRUST)
    up, down = change.p_values(recent, pooled.variance, freedom, weights=_weights(span[1]))
    spread = np.sqrt(np.where(pooled.variance > 0, pooled.variance, np.nan))
    return _Tests(up, down, phi, z / spread)


def _weights(quarters: int) -> Sequence[float]:
    """Return the weights of the windows; most on the longest, where small changes can show."""
    if quarters == len(WEIGHTS):
        return WEIGHTS
    return [2.0**i / (2.0**quarters - 1) for i in range(quarters)]


def _nodes(charts: Charts) -> list[tuple[int, int, int, Index]]:
    """Kind, KPI, region and charts of every region and group with at least three charts."""
    found = []
    for kpi in np.unique(charts.kpi):
        here = charts.kpi == kpi
        regions = np.unique(charts.region[here & (charts.region >= 0)])
        for region in regions if regions.size > 1 else ():
            found.append(
                (REGION, int(kpi), int(region), np.flatnonzero(here & (charts.region == region)))
            )
        found.append((GROUP, int(kpi), -1, np.flatnonzero(here)))
    return [node for node in found if node[3].size >= FEWEST]


def _means(z: Array, start: Index) -> Series:
    """Means over charts laid end to end, a node from each start, with the noise of such means."""
    known = np.isfinite(z)
    count = np.add.reduceat(known.astype(np.float64), start, axis=1)
    total = np.add.reduceat(np.where(known, z, 0.0), start, axis=1)
    some = np.maximum(count, 1)
    y, se = (np.where(count > 0, v, np.nan) for v in (total / some, 1 / np.sqrt(some)))
    return Series("value", y, se)


def _parents(own: _Tests, members: list[Index], kind: Index, span: tuple[int, int]) -> _Tests:
    """Test regions and groups in both directions without the stores that changed most that way."""
    if not members:
        empty = np.zeros(0)
        return _Tests(empty, empty, empty, own.z[:, :0])
    flat, size = np.concatenate(members), np.array([charts.size for charts in members])
    found = []
    for p in (own.up, own.down):
        kept = _typical(p[flat], size)
        points = _means(np.where(kept, own.z[:, flat], np.nan), np.cumsum(size) - size)
        found.append(_test(points, kind, span))
    return _Tests(found[0].up, found[1].down, found[0].phi, found[0].z)


def _typical(p: Array, size: Index) -> Mask:
    """Members of nodes, laid end to end, without each node's quarter with the most evidence."""
    node = np.repeat(np.arange(size.size), size)
    order = np.lexsort((np.nan_to_num(p, nan=1.0), node))
    rank = np.arange(p.size) - np.repeat(np.cumsum(size) - size, size)
    kept = np.empty(p.size, bool)
    kept[order] = rank >= np.maximum(1, np.round(size / TRIM))[node]
    return kept


def _sided(up: Array, down: Array, worse: Index) -> tuple[Array, Array]:
    both = np.minimum(1.0, 2 * np.fmin(up, down))
    p_worse = np.where(worse > 0, up, np.where(worse < 0, down, both))
    return p_worse, np.where(worse > 0, down, np.where(worse < 0, up, np.nan))


def _explain(
    board: Board, own: _Tests, members: list[Index],
    how: tuple[Index, bool, Rates, tuple[int, int]],
) -> Board:  # fmt: skip
    """Take back what a wider change explains, the widest first."""
    worse, worst, rates, span = how
    p, q = (board.p_worse, board.q_worse) if worst else (board.p_better, board.q_better)
    level, width = severity(q, rates), len(own.up)
    explained, p_left = board.explained.copy(), p.copy()
    for kind in (GROUP, REGION):
        for node in map(
            int, np.flatnonzero((board.kind == kind) & (level > CALM) & (explained < 0))
        ):
            charts = members[node - width]
            inside = _inside(board, node, members, charts, width)
            asked = inside[(level[inside] > CALM) & (level[inside] <= level[node])]
            asked = asked[(explained[asked] < 0) & (p[asked] >= _clearer(p[node]))]
            if not asked.size:
                continue
            left = _residual(own, members, (node, asked, width), span)
            sided = _sided(left.up, left.down, worse[asked])[0 if worst else 1]
            p_left[asked] = np.fmax(p[asked], sided)
            after = severity(hierarchical(p_left, board.kpi), rates)
            explained[asked[after[asked] < level[asked]]] = node
    if np.array_equal(explained, board.explained):
        return board
    q_left = np.where(explained >= 0, hierarchical(p_left, board.kpi), q)
    q_left = np.where(board.explained >= 0, q, q_left)
    if worst:
        return board._replace(q_worse=q_left, explained=explained)
    return board._replace(q_better=q_left, explained=explained)


def _clearer(p: float) -> float:
    """Evidence from which a node stands out of a wider one with this p-value."""
    return float(special.ndtr(special.ndtri(p) - MARGIN)) if p > BEYOND_DOUBT else 0.0


def _inside(board: Board, node: int, members: list[Index], charts: Index, width: int) -> Index:
    """Charts of a node, and for a group the regions as well."""
    if board.kind[node] == REGION:
        return charts
    regions = np.flatnonzero((board.kind == REGION) & (board.kpi == board.kpi[node]))
    return np.append(regions, charts).astype(np.int64)


def _residual(
    own: _Tests, members: list[Index], which: tuple[int, Index, int], span: tuple[int, int]
) -> _Tests:
    """Test what is left of nodes when the mean of the others inside their parent is taken off."""
    parent, asked, width = which
    everyone, either = members[parent - width], np.fmin(own.up, own.down)
    mine = [np.array([i]) if i < width else members[i - width] for i in asked]
    others = [np.setdiff1d(everyone, part) for part in mine]
    kept = [part[_typical(either[part], np.array([part.size]))] for part in mine]
    kept = [part if part.size else whole for part, whole in zip(kept, mine, strict=True)]
    means = []
    for parts in (kept, others):
        size = np.array([part.size for part in parts])
        means.append(_means(own.z[:, np.concatenate(parts)], np.cumsum(size) - size))
    left = Series("value", means[0].y - means[1].y, np.hypot(means[0].se, means[1].se))
    return _test(left, np.zeros(asked.size, int), span)


def severity(q: ArrayLike, rates: Rates) -> Index:
    """Name the level of each node by its adjusted p-value.

    Parameters
    ----------
    q : array_like
        Adjusted p-values.
    rates : Rates
        False-discovery rates of the levels.

    Returns
    -------
    ndarray of int
        ``ACT``, ``WATCH``, ``CALM``; ``UNKNOWN`` where q is missing.

    Examples
    --------
    >>> severity([0.01, 0.1, 0.9, np.nan], Rates(0.05, 0.2))
    array([ 2,  1,  0, -1])
    """
    q = np.asarray(q, float)
    level = np.where(q <= rates.act, ACT, np.where(q <= rates.watch, WATCH, CALM))
    return np.where(np.isfinite(q), level, UNKNOWN).astype(np.int64)


def hold(level: ArrayLike, before: ArrayLike, calm: ArrayLike) -> Index:
    """Move warning levels with hysteresis: up at once, down only step by step and when calm.

    Parameters
    ----------
    level : array_like of int
        This quarter's levels.
    before : array_like of int
        Levels shown last quarter.
    calm : array_like of bool
        Where the evidence has clearly gone, such as q above twice the rate of "watch".

    Returns
    -------
    ndarray of int
        Levels to show. Up at once; down by one step when calm; a missing value keeps a warning
        and is otherwise ``UNKNOWN``, never calm.

    Examples
    --------
    >>> hold([2, 0, 0, -1, -1], [0, 2, 1, 2, 0], [False, True, False, False, False])
    array([ 2,  1,  1,  2, -1])
    """
    now, old = np.asarray(level), np.asarray(before)
    lower = np.where(np.asarray(calm, bool), np.maximum(old - 1, now), old)
    held = np.where(now >= old, now, lower)
    return np.where(now == UNKNOWN, np.where(old > CALM, old, UNKNOWN), held).astype(np.int64)


def expected_false(p: ArrayLike, q: ArrayLike, rate: float) -> float:
    """Expect so many nodes beyond the board's threshold if nothing had changed anywhere.

    Parameters
    ----------
    p, q : array_like, shape (nodes,)
        Evidence before and after adjustment.
    rate : float
        False-discovery rate of the level.

    Returns
    -------
    float
        Number of tests times the largest p that reached the level; where none did, times the
        threshold of a single discovery.

    Examples
    --------
    >>> expected_false([0.001, 0.2, 0.4, 0.8], [0.004, 0.4, 0.6, 0.8], 0.05)
    0.004
    """
    p, q = np.asarray(p, float), np.asarray(q, float)
    known: Mask = np.isfinite(p) & np.isfinite(q)
    number = int(known.sum())
    if not number:
        return 0.0
    reached = p[known & (q <= rate)]
    return number * float(reached.max()) if reached.size else rate
