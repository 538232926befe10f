"""A review made of plain numbers: every verdict, every kind of cell, no data needed."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from dealerqm import period, plan
from dealerqm.cases import case_list, looked
from dealerqm.kpi import Scorecard
from dealerqm.kpi.scorecard import _findings as scorecard_findings
from dealerqm.registers import Register
from dealerqm.review import Counts, Quality, Review
from dealerqm.signals import board as early_warning
from dealerqm.signals import rank
from dealerqm.spc import NO_NOTES, collect, draw, stack

PERIOD = period.parse("2026Q3")
REGIONS = {f"S{i:02d}": f"R{1 + (i - 1) // 4}" for i in range(1, 17)}
UNITS = [
    ("group", "group"),
    *(("region", r) for r in ("R1", "R2", "R3", "R4")),
    *(("store", s) for s in REGIONS),
]
LEVELS = {"share": 0.88, "score": 0.42}
HIDDEN = {"no_data": 0, "suppressed": 3, "few": 8}


def scorecard(chosen, rng):
    rows = []
    for number, kpi in enumerate(chosen.kpis.values()):
        goal = kpi.goal.value if kpi.goal else np.nan
        base = goal if kpi.goal else LEVELS.get(kpi.measure, 60.0)
        wide = 0.03 if kpi.measure == "share" else 0.06 * abs(base)
        for place, (kind, unit) in enumerate(UNITS):
            n = {"group": 4200, "region": 1050, "store": 260}[kind]
            spread = wide * {"group": 0.25, "region": 0.5, "store": 1.0}[kind]
            value = base + wide * ((number * 7 + place * 5) % 9 - 4) / 3
            value = min(max(value, 0.0), 1.0) if kpi.measure == "share" else value
            rows.append({"n": n, **row(kpi, (kind, unit), value, spread, rng)})
    table = pd.DataFrame(rows).astype({"beyond_period": "boolean", "beyond_year": "boolean"})
    table = table.astype({"n": "Int64"})
    for verdict, n in HIDDEN.items():
        hide = table.index[table["unit_type"] == "store"][n * 11 :: 37]
        table.loc[hide, ["value", "low", "high"]] = np.nan if verdict != "few" else 0.5
        table.loc[hide, "verdict"] = verdict
        table.loc[hide, "n"] = pd.NA if verdict == "suppressed" else n
        table.loc[hide, [c for c in table if c.startswith("change")]] = np.nan
        table.loc[hide, ["beyond_period", "beyond_year"]] = pd.NA
    early = table["kpi"].isin(["service_retention", "churn"])
    table.loc[early, ["value", "low", "high"]] = np.nan
    table.loc[early, "verdict"] = "too_early"
    table = table.reindex(columns=list(Scorecard.COLUMNS)).astype(
        {"n": "Int64", "missing": "Int64"}
    )
    note = {"confidence": 0.95, "aligned": False, "kpis": chosen.words()}
    note |= {"comparisons": 100, "changes": 7, "expected_false_changes": 5.0}
    return Scorecard(frame=table, findings=scorecard_findings(table, chosen, PERIOD), note=note)


def row(kpi, unit, value, spread, rng):
    goal = kpi.goal.value if kpi.goal else np.nan
    low, high = value - spread, value + spread
    if kpi.measure == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    up = kpi.better == "up"
    verdict = "no_goal" if np.isnan(goal) else "cannot_tell"
    if low > goal:
        verdict = "met" if up else "missed"
    elif high < goal:
        verdict = "missed" if up else "met"
    found = {
        "kpi": kpi.name, "unit_type": unit[0], "unit": unit[1], "period": PERIOD.key,
        "missing": 12, "value": value, "low": low, "high": high, "goal": goal, "verdict": verdict,
        "risk": 0.4, "aligned": False,
    }  # fmt: skip
    for name in ("period", "year"):
        change = float(rng.normal(0, spread))
        ends = (change - 1.4 * spread, change + 1.4 * spread)
        found |= {f"change_{name}": change, f"change_{name}_low": ends[0]}
        found |= {f"change_{name}_high": ends[1], f"beyond_{name}": ends[0] > 0 or ends[1] < 0}
    if kpi.follow_up:
        found |= {"complete_period": "2026Q1", "complete_value": value}
        found |= {"complete_low": low, "complete_high": high}
    return found


def monthly(chosen, rng):
    """Values of the group and one store per KPI; every third store fell half a year ago."""
    keys = [p.key for p in period.span(period.parse("2023-10"), period.parse("2026-09"))]
    frames = []
    for number, kpi in enumerate(chosen.kpis.values()):
        base = kpi.goal.value if kpi.goal else LEVELS.get(kpi.measure, 60.0)
        for unit in (UNITS[0], UNITS[5 + number % 16]):
            frames.append(series(kpi, unit, keys, base, rng))
    return pd.concat(frames, ignore_index=True)


def series(kpi, unit, keys, base, rng):
    sd = 0.012 if kpi.measure == "share" else 0.05 * abs(base)
    sd *= 2.0 if unit[0] == "store" else 1.0
    value = base - sd + rng.normal(0, sd, len(keys))
    if unit[0] == "store" and len(kpi.name) % 3 == 0:
        value[-6:] -= (1 if kpi.better == "up" else -1) * 4.5 * sd
    value = np.clip(value, 0.0, 1.0 if kpi.measure == "share" else None)
    table = pd.DataFrame({"kpi": kpi.name, "unit_type": unit[0], "unit": unit[1], "period": keys})
    table = table.assign(n=1200, k=np.nan, value=value, complete=True).drop(index=14)
    return table.tail(5) if kpi.name == "referral" else table


def quality():
    rows = [
        ("dms_a/service_orders.csv", "", "closed_at", "order_of_times", "quarantined", 12, 381, ""),
        ("dms_a/survey_responses.csv", "", "overall", "range", "repaired", 41, 77, "1–10"),
        ("dms_b/leads.xlsx", "Leads", "created_at", "date", "quarantined", 7, 1204, "2026-07-31"),
        ("dms_b/leads.xlsx", "L", "<script>alert(1)</script>", "header", "repaired", 1, 1, "=1"),
    ]  # fmt: skip
    columns = ["file", "sheet", "column", "rule", "action", "count", "first_row", "expected"]
    table = pd.DataFrame(rows, columns=columns).reindex(columns=list(Quality.COLUMNS))
    return Quality(frame=table)


def counts():
    rows = [
        {"file": "dms_a/service_orders.csv", "table": "service_orders", "rows": 30_120,
         "loaded": 30_090, "quarantined": 12, "duplicates": 17, "non_data": 1},
        {"file": "dms_a/survey_responses.csv", "table": "survey_responses", "rows": 12_400,
         "loaded": 12_399, "non_data": 1},
        {"file": "dms_b/leads.xlsx", "table": "leads", "rows": 9_800, "loaded": 9_793,
         "quarantined": 7},
    ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(Counts.COLUMNS))
    numbers = [name for name in table if name not in ("file", "table")]
    return Counts(frame=table.fillna(dict.fromkeys(numbers, 0)).astype(dict.fromkeys(numbers, int)))


def stamp(chosen):
    return {
        "period": PERIOD.key, "stores": ", ".join(REGIONS), "snapshot": "5f1c0a9d2b7e4c31",
        "as_of": "2026-09-30", "plan": chosen.digest, "plan_version": "2026-01",
        "dealerqm": "0.1.0", "code": "0123456789abcdef", "lock": "fedcba9876543210",
        "demonstration_key": True,
    }  # fmt: skip


def review(chosen=None):
    """The same review in every run."""
    chosen = chosen or plan.load()
    rng = np.random.default_rng(20260930)
    board = scorecard(chosen, rng)
    months = monthly(chosen, rng)
    laid = collect(months, chosen, PERIOD)
    warned = early_warning(laid, chosen, PERIOD, REGIONS)
    signals = rank((*board.findings, *warned.findings), {"kpis": chosen.words()})
    state = Register(Path("nobody-wrote")).state("alert_case")
    cases = case_list(
        state, signals.findings, PERIOD, date(2026, 9, 30), chosen, looks=looked(warned, PERIOD)
    )
    return Review(
        period=PERIOD, plan=chosen, stamp=stamp(chosen), scorecard=board,
        charts=draw(stack(laid, chosen, PERIOD), chosen), board=warned, cases=cases,
        signals=signals, quality=quality(), counts=counts(), notes=NO_NOTES, monthly=months,
        values=pd.DataFrame(),
    )  # fmt: skip
