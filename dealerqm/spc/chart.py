"""Control charts of KPIs as results: points, limits, and what signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.result import Result, Unit
from dealerqm.rules import design
from dealerqm.series.scale import Mask
from dealerqm.spc.choice import choose
from dealerqm.spc.lines import Drawn, budget, lines
from dealerqm.spc.phases import NO_NOTES, Notes
from dealerqm.spc.stack import Cells, Index, Stack, collect, stack

SHIFTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # σ, for which the note states run lengths
UNIT = ["kpi", "unit_type", "unit"]


@dataclass(frozen=True, kw_only=True)
class ChartSignals(Result):
    """Every rule that fires, one row each, with the points that made it fire."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "period": Unit("text", "column.period"),
            "rule": Unit("word:rule", "column.rule"),
            "side": Unit("word:side", "column.side"),
            "start": Unit("text", "column.since"),
            "members": Unit("text", "column.members"),
        }
    )


def no_signals() -> ChartSignals:
    """Return an empty list of signals.

    Returns
    -------
    ChartSignals
        Without rows.
    """
    return ChartSignals(frame=pd.DataFrame(columns=list(ChartSignals.COLUMNS)))


@dataclass(frozen=True, kw_only=True)
class ControlCharts(Result):
    """Points and limits, one row per KPI, unit and period.

    ``status`` is ``judged``, ``baseline`` (sets the limits), ``excluded``, ``gap``, ``short``
    (too few points for limits) or ``constant``. Only judged points signal: ``beyond`` a limit, or
    at the end of a pattern whose points have ``run``; ``signals`` lists each.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "period": Unit("text", "column.period"),
            "chart": Unit("word:chart", "column.chart"),
            "phase": Unit("count", "column.phase"),
            "n": Unit("count", "column.n"),
            "value": Unit("kpi", "column.value"),
            "centre": Unit("kpi", "column.centre"),
            "lower": Unit("kpi", "column.lower"),
            "upper": Unit("kpi", "column.upper"),
            "status": Unit("word:point", "column.status"),
            "judged": Unit("flag", "column.judged"),
            "beyond": Unit("flag", "column.beyond"),
            "run": Unit("flag", "column.run"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "kpi",
        "unit",
        "period",
        "value",
        "lower",
        "upper",
        "status",
        "beyond",
        "run",
    )

    signals: ChartSignals = field(default_factory=no_signals, repr=False)


def control_charts(
    values: pd.DataFrame, plan: Plan, period: Period, notes: Notes = NO_NOTES
) -> ControlCharts:
    """Draw up the control charts of every KPI and unit up to the end of a period.

    Parameters
    ----------
    values : DataFrame
        KPI values per month or week: ``unit_type, unit, period, kpi, n, k, value, complete``.
    plan : Plan
        False-alarm budget, length of baselines.
    period : Period
        The reviewed period; its own points set no limits.
    notes : Notes
        Accepted rebases and excluded points.

    Returns
    -------
    ControlCharts
        No findings: whether a chart matters among all others is for the board to say.
    """
    return draw(stack(collect(values, plan, period), plan, period, notes), plan)


def draw(stacked: Stack, plan: Plan) -> ControlCharts:
    """Draw stacked charts with calibrated limits.

    Parameters
    ----------
    stacked : Stack
        From ``stack``.
    plan : Plan
        Budget and shortest baseline.

    Returns
    -------
    ControlCharts
        One row per chart and period from the KPI's first period on.
    """
    if not stacked.cells.keys:
        empty = pd.DataFrame(columns=list(ControlCharts.COLUMNS))
        return ControlCharts(frame=empty, note=_note(stacked, plan, 0))
    drawn = lines(stacked, plan)
    fired = signals_of(stacked.cells, drawn)
    frame = table(stacked, drawn, (choose(stacked, plan).chart, members(drawn.run)))
    points = int(((drawn.status == "judged") & stacked.now[:, None]).sum())
    return ControlCharts(frame=frame, signals=fired, note=_note(stacked, plan, points))


def table(stacked: Stack, drawn: Drawn, more: tuple[Any, Mask]) -> pd.DataFrame:
    """Lay charts out as rows.

    Parameters
    ----------
    stacked : Stack
        The charts.
    drawn : Drawn
        Their lines and verdicts.
    more : (ndarray of str, ndarray of bool)
        Name of each chart, and points that belong to a pattern that signals.

    Returns
    -------
    DataFrame
        The columns of ``ControlCharts``, from the first period of each KPI on.
    """
    cells, shape = stacked.cells, stacked.cells.value.shape
    names = ("value", "centre", "lower", "upper", "status")
    columns: dict[str, Any] = {name: getattr(drawn, name) for name in names}
    columns |= {"n": np.nan_to_num(cells.n).astype(np.int64), "phase": stacked.phase}
    columns |= {"judged": drawn.status == "judged", "beyond": drawn.beyond != 0, "run": more[1]}
    columns["period"] = np.broadcast_to(np.array(cells.keys)[:, None], shape)
    for name in UNIT:
        columns[name] = np.broadcast_to(cells.charts[name].to_numpy(object)[None], shape)
    columns["chart"] = np.broadcast_to(np.asarray(more[0], object)[None], shape)
    flat = pd.DataFrame({name: np.ravel(matrix.T) for name, matrix in columns.items()})
    return flat[np.ravel(_begun(stacked).T)].reindex(columns=list(ControlCharts.COLUMNS))


def _begun(stacked: Stack) -> Mask:
    """Rows from the first period in which any unit has a value of the KPI."""
    known = np.isfinite(stacked.cells.value)
    kpi = pd.factorize(stacked.cells.charts["kpi"])[0]
    begun = np.zeros(known.shape, bool)
    for number in np.unique(kpi):
        columns = kpi == number
        begun[:, columns] = np.logical_or.accumulate(known[:, columns].any(axis=1))[:, None]
    return begun


def members(run: Index) -> Mask:
    """Mark the points of runs that signal.

    Parameters
    ----------
    run : ndarray of int, shape (periods, charts)
        Length of a run where it signals, of either sign; else 0.

    Returns
    -------
    ndarray of bool
        The points of those runs.

    Examples
    --------
    >>> members(np.array([[0], [0], [-2], [0]])).ravel()
    array([False,  True,  True, False])
    """
    length = np.abs(run)
    reach, found = np.zeros(length.shape[1], int), np.zeros(length.shape, bool)
    for row in range(len(length) - 1, -1, -1):
        reach = np.maximum(reach - 1, length[row])
        found[row] = reach > 0
    return found


def signals_of(cells: Cells, drawn: Drawn) -> ChartSignals:
    """List the signals of calibrated charts.

    Parameters
    ----------
    cells : Cells
        The charts.
    drawn : Drawn
        Their verdicts.

    Returns
    -------
    ChartSignals
        Rules ``limit`` and ``run``, sorted by chart and period.
    """
    found = []
    for rule, side in (("limit", drawn.beyond), ("run", drawn.run)):
        for row, column in np.argwhere(side != 0):
            start = row if rule == "limit" else row - abs(side[row, column]) + 1
            found.append((column, row, rule, int(side[row, column]), range(start, row + 1)))
    return listed(cells, found)


def listed(cells: Cells, found: list[tuple[Any, ...]]) -> ChartSignals:
    """Write signals as rows.

    Parameters
    ----------
    cells : Cells
        The charts.
    found : list of (column, row, rule, side, member rows)
        In any order.

    Returns
    -------
    ChartSignals
        Sorted by chart, period and rule.
    """
    charts, sides = cells.charts[UNIT].to_numpy(object), {1: "above", -1: "below", 0: "both"}
    rows = [
        (*charts[column], cells.keys[row], rule, sides[int(np.sign(side))], cells.keys[points[0]],
         ", ".join(cells.keys[point] for point in points))
        for column, row, rule, side, points in sorted(found, key=lambda signal: signal[:3])
    ]  # fmt: skip
    return ChartSignals(frame=pd.DataFrame(rows, columns=list(ChartSignals.COLUMNS)))


def _note(stacked: Stack, plan: Plan, points: int) -> dict[str, Any]:
    """State every choice, and what the rules cost and find."""
    allowed, settings = budget(plan, stacked.cells.kind), plan.settings["charts"]
    length = settings["baseline_periods"]
    rules = design.solve(allowed, design.Baseline(length, length - 1))
    arl = np.asarray(design.arl(rules, SHIFTS))
    return {
        "rules": "calibrated: a point beyond its limits, or a run on one side",
        "false_alarms_per_point": allowed,
        "limit_in_sigma": rules.limit,
        "run_length": rules.run,
        "average_run_length": {f"{s:g}": float(a) for s, a in zip(SHIFTS, arl, strict=True)},
        "sigma_estimator": "weighted standard deviation of the baseline, pooled over units",
        "baseline": f"the first {length} points of a phase before the reviewed period",
        "missing": "never bridged",
        "excluded_points": int(stacked.excluded.sum()),
        "moving_range_screening": "off",
        "sigma_z_floor": "off",
        "truncation": "limits are cut at the ends of the scale",
        "smallest_n": plan.settings["publication"]["k"],
        "points_judged": points,
        "expected_false_alarms": points * allowed,
        "kpis": plan.words(),
    }
