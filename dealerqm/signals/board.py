"""The early-warning board: whether something changed lately, in any chart, judged all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from dealerqm.period import Period, parse
from dealerqm.plan import Plan
from dealerqm.result import UNIT_TYPES, Finding, Result, Unit
from dealerqm.series import board as kernel
from dealerqm.series import change, outlook
from dealerqm.series import scale as scales
from dealerqm.series.scale import Array, Mask, Series
from dealerqm.spc import NO_NOTES, Cells, Notes, Stack, stack
from dealerqm.spc.stack import Index
from dealerqm.stats.intervals import Interval

LEVELS = {kernel.ACT: "act", kernel.WATCH: "watch", kernel.CALM: "calm", kernel.UNKNOWN: "unknown"}
KINDS = {kernel.GROUP: "group", kernel.REGION: "region", kernel.STORE: "store"}
CALM_AGAIN = 2.0  # times the rate of "watch": from there a warning may step down
EARLIEST = 8  # points that must stand before the newest windows
ENDS = ("before", "after", "size")
_BAD = {"up": -1, "down": 1}  # where a change is for the worse
_WHEN = ("onset", "onset_first", "onset_last")


@dataclass(frozen=True, kw_only=True)
class Board(Result):
    """Whether something changed lately, one row per KPI and unit, judged all together.

    ``level`` says it of this period alone, ``shown`` with the levels before it: a warning rises at
    once and steps down only when the evidence has clearly gone; ``unknown`` is never calm.
    ``until`` is the newest period judged: a KPI that must wait for its events stands behind.
    ``explained_by`` names the wider unit whose change this one shares. ``before``, ``after`` and
    ``size`` are levels without season; ``assurance`` is the probability that the next period
    meets the goal. ``rebase`` proposes the first period of new limits.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "level": Unit("word:level", "column.level"),
            "shown": Unit("word:level", "column.shown"),
            "direction": Unit("word:direction", "column.direction"),
            "until": Unit("text", "column.until"),
            "p_value": Unit("p", "column.p_value"),
            "q_value": Unit("p", "column.q_value"),
            "explained_by": Unit("unit_name", "column.explained_by"),
            "onset": Unit("text", "column.onset"),
            "onset_first": Unit("text", "column.onset_first"),
            "onset_last": Unit("text", "column.onset_last"),
            "before": Unit("kpi", "column.level_before"),
            "after": Unit("kpi", "column.level_after"),
            "after_low": Unit("kpi", "column.low"),
            "after_high": Unit("kpi", "column.high"),
            "size": Unit("kpi_change", "column.size"),
            "size_low": Unit("kpi_change", "column.low"),
            "size_high": Unit("kpi_change", "column.high"),
            "goal": Unit("kpi", "column.goal"),
            "assurance": Unit("share", "column.assurance"),
            "rebase": Unit("text", "column.rebase"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "kpi",
        "unit",
        "shown",
        "direction",
        "q_value",
        "onset",
        "size",
        "size_low",
        "size_high",
    )


class _Judged(NamedTuple):
    """Verdicts of one period: the kernel's board, the nodes by name, and their columns."""

    found: kernel.Board
    names: list[tuple[str, str, str]]
    stacked: Stack
    quarter: int
    quarters: int


def board(
    cells: Cells, plan: Plan, period: Period, regions: Mapping[str, str], notes: Notes = NO_NOTES
) -> Board:
    """Judge all charts together at a period.

    Parameters
    ----------
    cells : Cells
        From ``spc.collect``.
    plan : Plan
        False-discovery rates, how far back a change may have begun, goals.
    period : Period
        The reviewed period.
    regions : mapping of str to str
        Store to region.
    notes : Notes
        Accepted rebases, excluded points, proposals that were turned down.

    Returns
    -------
    Board
        One row per node with a finding per warning, per change for the better, and per proposed
        rebase; the note states how many false alarms to expect.
    """
    reach = plan.settings["warning"]["reach"]
    shown: dict[tuple[str, str, str], int] = {}
    judged = None
    for back in range(reach - 1, -1, -1):
        judged = _judge(cells, plan, period.shift(-back), regions, notes)
        shown = _held(judged, shown, plan) if judged else shown
    if judged is None:
        empty = pd.DataFrame(columns=list(Board.COLUMNS))
        return Board(frame=empty, note=_note(None, plan))
    table = _table(judged, shown, plan, notes)
    return Board(
        frame=table, findings=_findings(table, period, plan), note=_note(judged.found, plan)
    )


def _rates(plan: Plan) -> kernel.Rates:
    found = plan.settings["warning"]["false_discoveries"]
    return kernel.Rates(found["act"], found["watch"])


def _judge(
    cells: Cells, plan: Plan, period: Period, regions: Mapping[str, str], notes: Notes
) -> _Judged | None:
    stacked = stack(cells, plan, period, notes)
    quarter = int(stacked.now.sum())
    length = len(stacked.cells.keys)
    quarters = min(plan.settings["warning"]["reach"], (length - EARLIEST) // max(quarter, 1))
    if quarter < 1 or quarters < 1:
        return None
    charts = stacked.cells.charts
    stores = charts["unit_type"] == "store"
    alone = ~charts["kpi"].isin(charts["kpi"][stores])
    columns = np.flatnonzero(stores | (alone & (charts["unit_type"] == "group")))
    own = charts.iloc[columns]
    kpis, found_kpi = np.unique(own["kpi"].to_numpy(str), return_inverse=True)
    kpi: Index = found_kpi.astype(np.int64)
    names = sorted(set(regions.values()))
    region = [names.index(regions[u]) if u in regions else -1 for u in own["unit"]]
    worse: Index = np.array([_BAD.get(better, 0) for better in own["better"]], np.int64)
    places: Index = np.array(region, np.int64)
    points = _current(stacked)
    lag = _lags(stacked, plan)
    late = (_late(part[:, columns], lag[columns]) for part in (points.y, points.se))
    found = kernel.judge(
        Series("mixed", *late),
        kernel.Charts(kpi, places, worse),
        rates=_rates(plan), quarter=quarter, quarters=quarters,
    )  # fmt: skip
    nodes = []
    for kind, number, place in zip(found.kind, found.kpi, found.place, strict=True):
        unit = own["unit"].iloc[place] if kind == kernel.STORE else "group"
        unit_type = own["unit_type"].iloc[place] if kind == kernel.STORE else KINDS[int(kind)]
        unit = names[place] if kind == kernel.REGION else unit
        nodes.append((str(kpis[number]), str(unit_type), str(unit)))
    return _Judged(found, nodes, stacked, quarter, quarters)


def _lags(stacked: Stack, plan: Plan) -> Index:
    """Periods that the newest complete point of a follow-up KPI stands behind the end."""
    charts, known = stacked.cells.charts, np.isfinite(stacked.cells.value)
    lags = np.zeros(len(charts), np.int64)
    for kpi, columns in charts.groupby("kpi").indices.items():
        rows = np.flatnonzero(known[:, columns].any(axis=1))
        if plan.kpi(str(kpi)).follow_up and rows.size:
            lags[columns] = len(known) - 1 - rows[-1]
    return lags


def _late(matrix: Array, lag: Index) -> Array:
    """Move the charts so that their newest complete period stands last."""
    rows = np.arange(len(matrix))[:, None] - lag
    moved = np.take_along_axis(matrix, np.maximum(rows, 0), axis=0)
    return np.where(rows >= 0, moved, np.nan)


def _current(stacked: Stack) -> Series:
    """Points of the newest phase of each chart only."""
    newest = stacked.phase == stacked.phase[-1]
    return stacked.points._replace(y=np.where(newest, stacked.points.y, np.nan))


def _held(
    judged: _Judged, before: Mapping[tuple[str, str, str], int], plan: Plan
) -> dict[tuple[str, str, str], int]:
    """Carry the levels shown one period on."""
    rates, q = _rates(plan), judged.found.q_worse
    level = kernel.severity(q, rates)
    old = np.array([before.get(name, kernel.CALM) for name in judged.names], np.int64)
    shown = kernel.hold(level, old, q > CALM_AGAIN * rates.watch)
    return dict(zip(judged.names, shown.tolist(), strict=True))


def _table(
    judged: _Judged, shown: Mapping[tuple[str, str, str], int], plan: Plan, notes: Notes
) -> pd.DataFrame:
    found, rates = judged.found, _rates(plan)
    level = kernel.severity(found.q_worse, rates)
    gain = kernel.severity(found.q_better, rates) == kernel.ACT
    two_sided = np.array([plan.kpi(kpi).better == "none" for kpi, _, _ in judged.names])
    bad = np.where(two_sided, "none", "worse")
    direction = np.where(
        level > kernel.CALM, bad, np.where(gain, "better", np.where(level < 0, "none", "none"))
    )
    better = direction == "better"
    table = pd.DataFrame(judged.names, columns=["kpi", "unit_type", "unit"])
    table["level"] = [LEVELS[int(v)] for v in level]
    table["shown"] = [LEVELS[shown[name]] for name in judged.names]
    table["direction"] = direction
    table["p_value"] = np.where(better, found.p_better, found.p_worse)
    table["q_value"] = np.where(better, found.q_better, found.q_worse)
    table["explained_by"] = [judged.names[i][2] if i >= 0 else "" for i in found.explained]
    table = table.join(_dated(judged, plan, ((level > kernel.CALM) | gain, better)))
    table["goal"] = [_goal(plan, kpi) for kpi in table["kpi"]]
    table["rebase"] = _proposals(table, judged, plan, notes)
    table["until"] = _until(judged)
    order = {name: number for number, name in enumerate(plan.kpis)}
    ranks = pd.DataFrame(
        {"kpi": table["kpi"].map(order), "type": table["unit_type"].map(UNIT_TYPES.index),
         "unit": table["unit"]}
    )  # fmt: skip
    table = table.loc[ranks.sort_values(["kpi", "type", "unit"], kind="stable").index]
    return table.reindex(columns=list(Board.COLUMNS)).reset_index(drop=True)


def _until(judged: _Judged) -> list[str]:
    """Newest period with a point, of each node."""
    cells = judged.stacked.cells
    known = np.isfinite(cells.value)
    newest = np.where(known.any(axis=0), len(known) - 1 - known[::-1].argmax(axis=0), -1)
    named = zip(
        cells.charts[["kpi", "unit_type", "unit"]].itertuples(index=False), newest, strict=True
    )
    rows = {tuple(name): int(row) for name, row in named}
    return [cells.keys[rows[n]] if rows.get(n, -1) >= 0 else "" for n in judged.names]


def _goal(plan: Plan, kpi: str) -> float:
    goal = plan.kpi(kpi).goal
    return goal.value if goal else float("nan")


def _dated(judged: _Judged, plan: Plan, changed: tuple[Mask, Mask]) -> pd.DataFrame:
    """Date the changes of nodes, in the KPI's unit, and say what the goal can expect."""
    charts = judged.stacked.cells.charts
    place = {tuple(row): i for i, row in enumerate(charts[["kpi", "unit_type", "unit"]].to_numpy())}
    column = np.array([place.get(name, -1) for name in judged.names])
    found = _empty(len(column))
    scale = charts["scale"].to_numpy(str)
    for name in np.unique(scale):
        nodes = np.flatnonzero((column >= 0) & (scale[np.maximum(column, 0)] == name))
        _date(judged, plan, (str(name), nodes, column[nodes]), changed, found)
    return pd.DataFrame(found)


def _empty(rows: int) -> dict[str, Any]:
    words = {name: np.full(rows, "", object) for name in _WHEN}
    ends = [f"{name}{end}" for name in ENDS for end in ("", "_low", "_high")]
    return {**words, **{name: np.full(rows, np.nan) for name in [*ends, "assurance"]}}


def _date(
    judged: _Judged, plan: Plan, which: tuple[str, Index, Index], changes: tuple[Mask, Mask],
    into: dict[str, Any],
) -> None:  # fmt: skip
    (scale, nodes, columns), (changed, better) = which, changes
    stacked, points = judged.stacked, _current(judged.stacked)
    part = Series(scale, points.y[:, columns], points.se[:, columns])
    phi, keys = stacked.phi[columns], stacked.cells.keys
    lag = _lags(stacked, plan)[columns]
    earliest = np.maximum(len(keys) - judged.quarter * judged.quarters - lag, 0)
    confidence = plan.settings["statistics"]["confidence"]
    bad = np.array([_BAD.get(plan.kpi(judged.names[node][0]).better, 0) for node in nodes])
    wanted = np.where(better[nodes], -bad, bad)
    when = _when(part, (phi, confidence), earliest, wanted)
    told = changed[nodes] & (when.at >= 0)
    for name, rows in zip(_WHEN, when[:3], strict=True):
        into[name][nodes] = np.where(told, np.array(keys, object)[np.maximum(rows, 0)], "")
    for name, interval in (("before", when.before), ("after", when.after), ("size", when.size)):
        for end, values in zip(("", "_low", "_high"), interval, strict=True):
            into[f"{name}{end}"][nodes] = np.where(told, values, np.nan)
    goals = [plan.kpi(judged.names[node][0]) for node in nodes]
    goal = np.array([kpi.goal.value if kpi.goal else np.nan for kpi in goals])
    ahead = stacked.effect[len(keys) :, columns].mean(axis=0)
    level = scales.back(
        Series(scale, scales.forward(scale, goal) - ahead, np.full(goal.shape, outlook.EXACT))
    )
    since = np.where(told, when.at, 0)
    coming = outlook.outlook(
        part, level, since=since, phi=phi, ahead=judged.quarter, confidence=confidence
    )
    less = np.array([kpi.better == "down" for kpi in goals])
    into["assurance"][nodes] = np.where(less, 1 - coming.chance, coming.chance)


def _when(points: Series, how: tuple[Array, float], earliest: Index, wanted: Array) -> change.Onset:
    """Date the change; among the newest periods where an older, opposite one would hide it."""
    phi, confidence = how
    first = change.onset(points, phi=phi, confidence=confidence)
    newest = change.onset(points, phi=phi, confidence=confidence, earliest=earliest)
    against = (np.sign(first.size.estimate) != wanted) & (wanted != 0)
    rows = [np.where(against, n, f) for f, n in zip(first[:3], newest[:3], strict=True)]
    ends = [
        Interval(*(np.where(against, n, f) for f, n in zip(a, b, strict=True)))
        for a, b in zip(first[5:], newest[5:], strict=True)
    ]
    return first._replace(
        at=rows[0], first=rows[1], last=rows[2], before=ends[0], after=ends[1], size=ends[2]
    )


def _proposals(table: pd.DataFrame, judged: _Judged, plan: Plan, notes: Notes) -> list[str]:
    """Propose a rebase where a change for sure has lasted long enough, unless it was refused."""
    keys, rate = judged.stacked.cells.keys, _rates(plan).act
    least = plan.settings["charts"]["rebase_periods"]
    refused = [rebase for rebase in notes.rebases if not rebase.accepted]
    found = []
    for row in table.to_dict("records"):
        lasted = len(keys) - keys.index(row["onset"]) if row["onset"] else 0
        known = any(
            (no.kpi, no.unit) == (row["kpi"], row["unit"])
            and row["onset_first"] <= no.period <= row["onset_last"]
            for no in refused
        )
        sure = row["q_value"] <= rate and not row["explained_by"] and lasted >= least
        found.append(row["onset"] if sure and not known else "")
    return found


def _findings(table: pd.DataFrame, period: Period, plan: Plan) -> tuple[Finding, ...]:
    found = []
    for record in table.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        better = row["direction"] == "better"
        warned = row["shown"] in ("act", "watch")
        if (warned or better) and not row["explained_by"]:
            severity = "info" if better and not warned else row["shown"]
            severity = "watch" if row["direction"] == "none" and severity == "act" else severity
            now = better or row["level"] in ("act", "watch")
            found.append(_finding(row, period, "shift" if now else "held", severity))
        if row["rebase"]:
            found.append(_finding(row, period, "rebase_proposed", "info"))
    return tuple(found)


def _finding(row: Mapping[str, Any], period: Period, rule: str, severity: str) -> Finding:
    dated = bool(row["onset"])
    days = [parse(row[name]).start for name in _WHEN] if dated else []
    numbers = {"value": "after", "low": "after_low", "high": "after_high", "expected": "before"}
    told = {name: row[key] if dated else None for name, key in numbers.items()}
    evidence = {"table": "board", "kpi": row["kpi"], "unit": row["unit"]} | (
        {name: row[name] for name in ("size", "size_low", "size_high")} if dated else {}
    )
    return Finding(
        quarter=period.key, subject="signals", rule=rule, kpi=row["kpi"],
        unit_type=row["unit_type"], unit=row["unit"], period_start=period.start,
        period_end=period.end, severity=severity,
        direction=row["direction"] if rule != "held" else "worse",
        p_value=row["p_value"], q_value=row["q_value"], evidence=evidence,
        onset=(days[0], days[1], days[2]) if dated else None, **told,
    )  # fmt: skip


def _note(found: kernel.Board | None, plan: Plan) -> dict[str, Any]:
    """State the rates, how many charts were judged, and the false alarms to expect."""
    rates = _rates(plan)
    note: dict[str, Any] = {
        "method": "recent quarters against all before, t by generalised least squares, combined; "
        "Benjamini-Hochberg in families of KPIs",
        "false_discoveries": {"act": rates.act, "watch": rates.watch},
        "charts": 0, "unknown": 0, "expected_false_alarms": 0.0, "expected_false_watches": 0.0,
        "kpis": plan.words(),
    }  # fmt: skip
    if found is not None:
        known = np.isfinite(found.p_worse)
        note |= {"charts": int(known.sum()), "unknown": int((~known).sum())}
        for name, rate in zip(("alarms", "watches"), rates, strict=True):
            named = int((found.q_worse <= rate).sum())
            note[f"expected_false_{name}"] = rate * max(named, 1)
    return note
