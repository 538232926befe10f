"""Control charts of KPIs from their monthly values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dealerqm.limits.attributes import p_prime, u_prime, xmr
from dealerqm.limits.base import Limits
from dealerqm.period import Period, of, parse, span
from dealerqm.plan import Kpi, Plan
from dealerqm.result import Finding, Result, Unit
from dealerqm.rules.design import false_alarm_chance

RULE = "beyond_limits"
_TINY = 1e-9  # of the centre line: what rounding can do to the points of a constant series


@dataclass(frozen=True, kw_only=True)
class ControlCharts(Result):
    """Points and limits, one row per KPI, unit and period.

    ``judged`` is false where the baseline is shorter than the plan's minimum or the point has no
    data; only judged points can be ``beyond`` a limit.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "period": Unit("text", "column.period"),
            "chart": Unit("word:chart", "column.chart"),
            "n": Unit("count", "column.n"),
            "value": Unit("kpi", "column.value"),
            "centre": Unit("kpi", "column.centre"),
            "lower": Unit("kpi", "column.lower"),
            "upper": Unit("kpi", "column.upper"),
            "judged": Unit("flag", "column.judged"),
            "beyond": Unit("flag", "column.beyond"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "kpi",
        "unit",
        "period",
        "value",
        "lower",
        "upper",
        "beyond",
    )


def control_charts(values: pd.DataFrame, plan: Plan, period: Period) -> ControlCharts:
    """Draw up the control charts of every KPI and unit up to the end of a period.

    Parameters
    ----------
    values : DataFrame
        KPI values per month (or week): ``unit_type, unit, period, kpi, n, k, value, complete``.
    plan : Plan
        Width, baseline length, minimum length.
    period : Period
        The reviewed period; its own points are judged by limits from the points before it.

    Returns
    -------
    ControlCharts
        One finding per judged point of the reviewed period that lies beyond a limit.
    """
    settings = plan.settings["charts"]
    kinds = values["period"].map(lambda key: parse(key).kind)
    kind = str(kinds.iloc[0]) if len(values) else "month"
    last = of(period.end, kind).key
    k = plan.settings["publication"]["k"]
    people = values["kpi"].map(lambda name: plan.kpi(name).stat != "spread").astype(bool)
    values = values[(values["period"] <= last) & ((values["n"] >= k) | ~people)]
    frames = []
    for name, part in values.groupby("kpi", sort=True):
        frames.append(_charts(part, plan.kpi(str(name)), plan, period))
    columns = list(ControlCharts.COLUMNS)
    empty = pd.DataFrame(columns=[*columns, "baseline"])
    table = pd.concat(frames, ignore_index=True) if frames else empty
    now = table[table["judged"].astype(bool) & (table["period"] >= of(period.start, kind).key)]
    expected = float(false_alarm_chance(now["baseline"], sigma=settings["sigma"]).sum())
    table = table.reindex(columns=columns).sort_values(columns[:4], kind="stable")
    note = {
        "rule": RULE,
        "sigma": settings["sigma"],
        "sigma_estimator": "mean moving range of neighbouring points",
        "missing": "never bridged",
        "sigma_z_floor": "off",
        "truncation": "limits are cut at the ends of the scale",
        "smallest_n": k,
        "points_judged": len(now),
        "expected_false_alarms": expected,
        "kpis": plan.words(),
    }
    return ControlCharts(frame=table, findings=_findings(table, plan, period), note=note)


def _charts(part: pd.DataFrame, kpi: Kpi, plan: Plan, period: Period) -> pd.DataFrame:
    first, last = parse(str(part["period"].min())), parse(str(part["period"].max()))
    keys = [p.key for p in span(first, last)]
    tall = part.set_index(["period", "unit_type", "unit"])
    grid = {
        name: tall[name].unstack(["unit_type", "unit"]).reindex(keys)  # noqa: PD010  keeps types
        for name in ("n", "k", "value", "complete")
    }
    settings = plan.settings["charts"]
    start = of(period.start, first.kind).key
    before = np.array([key < start for key in keys])
    recent = before & (np.cumsum(before[::-1])[::-1] <= settings["baseline_periods"])
    whole = grid["complete"].fillna(value=False).to_numpy(bool)
    value = np.where(whole, grid["value"].to_numpy(float), np.nan)
    baseline = recent[:, None] & np.isfinite(value)
    chart, limits = _limits(kpi, grid, value, baseline, settings["sigma"])
    # a gap costs a moving range, so a baseline is as long as its ranges between neighbours
    length = (baseline[1:] & baseline[:-1]).sum(axis=0) + 1
    enough = length >= settings["minimum_periods"]
    judged = limits.judged & enough
    slack = _TINY * np.abs(limits.centre)
    beyond = judged & (
        (limits.value < limits.lower - slack) | (limits.value > limits.upper + slack)
    )
    floor, ceiling = _BOUNDS[kpi.measure]
    lower, upper = np.maximum(limits.lower, floor), np.minimum(limits.upper, ceiling)
    lined = {"centre": limits.centre, "lower": lower, "upper": upper}
    columns: dict[str, Any] = {"n": grid["n"].fillna(0).to_numpy(int), "value": limits.value}
    columns |= {name: np.where(enough, line, np.nan) for name, line in lined.items()}
    columns |= {"judged": judged, "beyond": beyond}
    columns["baseline"] = np.broadcast_to(length, judged.shape)
    index = pd.MultiIndex.from_product([keys, grid["n"].columns])
    flat = pd.DataFrame({name: matrix.ravel() for name, matrix in columns.items()})
    units = [pair for _, pair in index]
    return flat.assign(
        kpi=kpi.name, chart=chart, period=[key for key, _ in index],
        unit_type=[kind for kind, _ in units], unit=[unit for _, unit in units],
    )  # fmt: skip


_BOUNDS = {"share": (0.0, 1.0), "score": (-1.0, 1.0), "value": (0.0, np.inf)}


def _limits(
    kpi: Kpi, grid: Mapping[str, pd.DataFrame], value: np.ndarray[Any, Any],
    baseline: np.ndarray[Any, Any], sigma: float,
) -> tuple[str, Limits]:  # fmt: skip
    known = np.isfinite(value)
    n = np.where(known, grid["n"].to_numpy(float), np.nan)
    k = np.where(known, grid["k"].to_numpy(float), np.nan)
    if kpi.is_share and not kpi.follow_up:
        return "p_prime", p_prime(k, n, baseline=baseline, sigma=sigma)
    if kpi.is_share:
        return "p_prime", p_prime(value * n, n, baseline=baseline, sigma=sigma)
    if kpi.stat == "rate" and kpi.per:
        return "u_prime", u_prime(k, n / kpi.per.times, baseline=baseline, sigma=sigma)
    return "xmr", xmr(value, baseline=baseline, sigma=sigma)


def _findings(table: pd.DataFrame, plan: Plan, period: Period) -> tuple[Finding, ...]:
    found = []
    for row in table[table["beyond"].astype(bool)].to_dict("records"):
        place = parse(row["period"])
        if place.end < period.start:
            continue
        kpi = plan.kpi(row["kpi"])
        up = row["value"] > row["upper"]
        better = (
            "none" if kpi.better == "none" else "better" if up == (kpi.better == "up") else "worse"
        )
        found.append(
            Finding(
                quarter=period.key, subject="spc", rule=f"{RULE}:{row['period']}", kpi=kpi.name,
                unit_type=row["unit_type"], unit=row["unit"],
                period_start=place.start, period_end=place.end,
                severity="act" if better == "worse" else "watch", direction=better,
                value=row["value"], expected=row["centre"], low=row["lower"], high=row["upper"],
                evidence={"table": "charts", "chart": row["chart"], "period": row["period"]},
            )
        )  # fmt: skip
    return tuple(found)
