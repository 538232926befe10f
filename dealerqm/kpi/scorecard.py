"""The scorecard: every KPI and unit against its goal, the period before and the year before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from dealerqm import period as periods
from dealerqm.facts import Facts
from dealerqm.kpi.cells import GROUP, Span
from dealerqm.kpi.estimate import values
from dealerqm.period import Period
from dealerqm.plan import Kpi, Plan
from dealerqm.result import Finding, Result, Unit
from dealerqm.stats.intervals import Interval, difference

KEY = ["kpi", "unit_type", "unit"]
ENDS = ["value", "low", "high"]
_CHANGES = ("change_period", "change_year")


@dataclass(frozen=True, kw_only=True)
class Scorecard(Result):
    """Values, goal verdicts and changes of one period, one row per KPI and unit.

    ``low`` and ``high`` are the ends of the interval at the plan's confidence. A verdict is
    ``met`` or ``missed`` only when the interval excludes the goal. ``complete_*`` is the newest
    period in which every row of a follow-up KPI was watched to the age.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "period": Unit("text", "column.period"),
            "n": Unit("count", "column.n"),
            "missing": Unit("count", "column.missing"),
            "value": Unit("kpi", "column.value"),
            "low": Unit("kpi", "column.low"),
            "high": Unit("kpi", "column.high"),
            "goal": Unit("kpi", "column.goal"),
            "verdict": Unit("word:verdict", "column.verdict"),
            "change_period": Unit("kpi_change", "column.change_period"),
            "change_period_low": Unit("kpi_change", "column.low"),
            "change_period_high": Unit("kpi_change", "column.high"),
            "beyond_period": Unit("flag", "column.beyond_noise"),
            "change_year": Unit("kpi_change", "column.change_year"),
            "change_year_low": Unit("kpi_change", "column.low"),
            "change_year_high": Unit("kpi_change", "column.high"),
            "beyond_year": Unit("flag", "column.beyond_noise"),
            "aligned": Unit("flag", "column.aligned"),
            "complete_period": Unit("text", "column.complete_period"),
            "complete_value": Unit("kpi", "column.complete_value"),
            "complete_low": Unit("kpi", "column.low"),
            "complete_high": Unit("kpi", "column.high"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("kpi", "unit", "n", "value", "low", "high", "verdict")


def scorecard(
    facts: Facts, plan: Plan, regions: Mapping[str, str], period: Period,
    *, as_of: date, history: pd.DataFrame | None = None,
) -> Scorecard:  # fmt: skip
    """Judge every KPI of one period for the group, the regions and the stores.

    Parameters
    ----------
    facts : Facts
        The questions.
    plan : Plan
        KPIs, goals, confidence, minimum sizes.
    regions : mapping of str to str
        Store to region; the units of the scorecard.
    period : Period
        Week, month, quarter or year.
    as_of : date
        Last day of the data.
    history : DataFrame or None
        ``values`` for all periods of this kind, when already at hand.

    Returns
    -------
    Scorecard
        One row per KPI and unit, with a finding per missed goal and per change beyond noise.
    """
    if history is None:
        history = values(facts, plan, regions, span=Span(period.kind, as_of))
    table = _units(plan, regions)
    now = history[history["period"] == period.key].drop(columns="period")
    table = table.merge(now, on=KEY, how="left", validate="one_to_one").assign(period=period.key)
    before = history[history["period"] == period.shift(-1).key]
    last_year, aligned = _year_before(
        facts, plan, regions, Span(period.kind, as_of), (period, history)
    )
    for name, other in zip(_CHANGES, (before, last_year), strict=True):
        table = _change(table, other[~_small(other, plan)], name)
    told = history[~_small(history, plan)]
    table = _goal(table, plan, period).merge(_complete(told, period), on=KEY, how="left")
    table = _suppress(_verdict(table, plan), plan)
    table = table.assign(aligned=aligned)
    table = table.reindex(columns=list(Scorecard.COLUMNS)).astype(
        {"n": "Int64", "missing": "Int64"}
    )
    note = {
        "confidence": plan.settings["statistics"]["confidence"],
        "missing": "rows whose value is missing or still pending are left out and counted",
        "changes": "periods are taken as independent; intervals by variance recovery",
        "aligned": aligned,
        "kpis": plan.words(),
        **_chance(table, plan),
    }
    return Scorecard(frame=table, findings=_findings(table, plan, period), note=note)


def _chance(table: pd.DataFrame, plan: Plan) -> dict[str, float]:
    """Count the comparisons made, the changes found, and those that noise alone would give."""
    compared = table[["beyond_period", "beyond_year"]].to_numpy(object).ravel()
    known = [bool(beyond) for beyond in compared if beyond is not pd.NA]
    level = 1 - float(plan.settings["statistics"]["confidence"])
    return {
        "comparisons": len(known),
        "changes": sum(known),
        "expected_false_changes": level * len(known),
    }


def _units(plan: Plan, regions: Mapping[str, str]) -> pd.DataFrame:
    units = [(GROUP, GROUP)]
    units += [("region", region) for region in sorted(set(regions.values()))]
    units += [("store", store) for store in sorted(regions)]
    rows = [
        (name, *unit)
        for name, kpi in plan.kpis.items()
        for unit in units
        if kpi.stat != "spread" or unit[0] != "store"
    ]
    return pd.DataFrame(rows, columns=KEY)


def _year_before(
    facts: Facts, plan: Plan, regions: Mapping[str, str], span: Span,
    now: tuple[Period, pd.DataFrame],
) -> tuple[pd.DataFrame, bool]:  # fmt: skip
    period, history = now
    calendar = plan.settings["calendar"]
    first, last, aligned = periods.aligned_year_before(
        period, calendar["spring_festival"], calendar["festival_reach"]
    )
    if not aligned:
        return history[history["period"] == period.year_before().key], False
    window = replace(span, window=(first, last), label=f"{first}..{last}")
    return values(facts, plan, regions, span=window), True


def _change(table: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    then = table[KEY].merge(other[[*KEY, *ENDS]], on=KEY, how="left", validate="one_to_one")
    change = difference(
        Interval(*(table[end].to_numpy(float) for end in ENDS)),
        Interval(*(then[end].to_numpy(float) for end in ENDS)),
    )
    known = np.isfinite(change.low) & np.isfinite(change.high)
    beyond = pd.array((change.low > 0) | (change.high < 0), dtype="boolean")
    beyond[~known] = pd.NA
    columns: dict[str, Any] = {
        name: change.estimate,
        f"{name}_low": change.low,
        f"{name}_high": change.high,
        name.replace("change", "beyond"): beyond,
    }
    return table.assign(**columns)


def _goal(table: pd.DataFrame, plan: Plan, period: Period) -> pd.DataFrame:
    held = {
        name: kpi.goal.value
        for name, kpi in plan.kpis.items()
        if kpi.goal and kpi.goal.since <= period.end
    }
    return table.assign(goal=table["kpi"].map(held).astype(float))


def _complete(history: pd.DataFrame, period: Period) -> pd.DataFrame:
    whole = history[history["complete"] & (history["period"] <= period.key) & (history["n"] > 0)]
    newest = whole.sort_values("period", kind="stable").groupby(KEY, as_index=False).tail(1)
    names = {"period": "complete_period", **{end: f"complete_{end}" for end in ENDS}}
    return newest[[*KEY, *names]].rename(columns=names)


def _verdict(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    statistics = plan.settings["statistics"]
    kpis = table["kpi"].map(dict(plan.kpis))
    up = kpis.map(lambda kpi: kpi.better == "up").to_numpy(bool)
    follow = kpis.map(lambda kpi: kpi.follow_up > 0).to_numpy(bool)
    spread = kpis.map(lambda kpi: kpi.stat == "spread").to_numpy(bool)
    low, high, goal = (table[name].to_numpy(float) for name in ("low", "high", "goal"))
    n = table["n"].fillna(0).to_numpy(float)
    watched = table["watched"].fillna(0).to_numpy(float)
    unknown = ~np.isfinite(table["value"].to_numpy(float))
    few = (n < statistics["minimum_n"]) & ~spread
    above, below = low > goal, high < goal
    verdict = np.select(
        [
            n == 0,
            follow & (watched < statistics["minimum_at_risk"]),
            few,
            ~np.isfinite(goal),
            unknown,
            np.where(up, above, below),
            np.where(up, below, above),
        ],
        ["no_data", "too_early", "few", "no_goal", "cannot_tell", "met", "missed"],
        "cannot_tell",
    )
    return _hide(table.assign(verdict=verdict), verdict == "too_early")


def _small(table: pd.DataFrame, plan: Plan) -> np.ndarray[Any, Any]:
    """Mark what says something about fewer than k rows; a spread counts stores, not people."""
    n = table["n"].to_numpy(float, na_value=np.nan)
    people = table["kpi"].map(lambda name: plan.kpis[name].stat != "spread").to_numpy(bool)
    small: np.ndarray[Any, Any] = (n > 0) & (n < plan.settings["publication"]["k"]) & people
    return small


def _suppress(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Hide what would be said about fewer than k rows; the verdict says so."""
    small = _small(table, plan)
    table = _hide(table, small)
    table.loc[small, "verdict"] = "suppressed"
    table.loc[small, ["n", "missing"]] = np.nan
    return table


def _hide(table: pd.DataFrame, rows: np.ndarray[Any, Any]) -> pd.DataFrame:
    hidden = [*ENDS, *(f"{c}{end}" for c in _CHANGES for end in ("", "_low", "_high"))]
    table.loc[rows, hidden] = np.nan
    table.loc[rows, ["beyond_period", "beyond_year"]] = pd.NA
    return table


def _findings(table: pd.DataFrame, plan: Plan, period: Period) -> tuple[Finding, ...]:
    found = []
    for row in table[table["verdict"] == "missed"].to_dict("records"):
        severity = "act" if row["unit_type"] == GROUP else "watch"
        found.append(_finding(row, plan, period, ("goal_missed", severity, "worse")))
    for row in table[_at_risk(table, plan)].to_dict("records"):
        found.append(_finding(row, plan, period, ("goal_at_risk", "watch", "worse")))
    for name in _CHANGES:
        beyond = table[name.replace("change", "beyond")].fillna(value=False).astype(bool)
        for row in table[beyond].to_dict("records"):
            kpi: Kpi = plan.kpis[row["kpi"]]
            direction = _direction(kpi, row[name])
            worse_group = direction == "worse" and row["unit_type"] == GROUP
            severity = "watch" if worse_group else "info"
            found.append(_finding(row, plan, period, (name, severity, direction)))
    return tuple(found)


def _at_risk(table: pd.DataFrame, plan: Plan) -> pd.Series:
    """Mark the rows whose true value misses the goal with at least the plan's probability."""
    z = float(special.ndtri(0.5 + plan.settings["statistics"]["confidence"] / 2))
    error = (table["high"] - table["low"]) / (2 * z)
    up = table["kpi"].map({name: kpi.better == "up" for name, kpi in plan.kpis.items()})
    short = (table["goal"] - table["value"]).where(up, table["value"] - table["goal"])
    miss = special.ndtr((short / error.where(error > 0)).to_numpy(float))
    likely: pd.Series = table["verdict"] == "cannot_tell"
    marked: pd.Series = likely & (miss >= plan.settings["warning"]["miss_probability"])
    return marked


def _direction(kpi: Kpi, change: float) -> str:
    if kpi.better == "none":
        return "none"
    return "better" if (change > 0) == (kpi.better == "up") else "worse"


def _finding(
    row: Mapping[Any, Any], plan: Plan, period: Period, kind: tuple[str, str, str]
) -> Finding:
    rule, severity, direction = kind
    change = rule if rule in _CHANGES else ""
    value, low, high = (
        (row[change], row[f"{change}_low"], row[f"{change}_high"])
        if change
        else (row["value"], row["low"], row["high"])
    )
    return Finding(
        quarter=period.key, subject="kpi", rule=rule, kpi=str(row["kpi"]),
        unit_type=str(row["unit_type"]), unit=str(row["unit"]),
        period_start=period.start, period_end=period.end, severity=severity, direction=direction,
        value=value, expected=0.0 if change else row["goal"], low=low, high=high,
        evidence={"table": "scorecard", "definition": plan.kpis[str(row["kpi"])].version},
    )  # fmt: skip
