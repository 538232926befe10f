"""Registers of the simulated group: what people there wrote down, as sheets of a workbook."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from typing import Any

import pandas as pd

from dealerqm.simulate import export
from dealerqm.tables import Column
from dealerqm.world import Floats, World, care

_DAYS = {"due": "due_on", "done": "done_on", "expires": "expires_on", "drilled": "drilled_on"}
_DOMAIN = {"orders": "service", "leads": "sales"}
_PER = {"orders": "service_orders opened", "leads": "leads created"}


def sheets(
    world: World, improved: Mapping[str, Mapping[str, Any]], sd: Mapping[str, Floats]
) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return the sheets of ``registers.xlsx``.

    Parameters
    ----------
    world : World
        The group.
    improved : mapping
        Name of each improvement to its settings with ``start`` (store to month).
    sd : mapping of str to array of shape (stores,)
        Standard deviations of the store-months.

    Returns
    -------
    dict
        Sheet name to headers and cells, as ``export.write_xlsx`` takes them.
    """
    text = resources.files("dealerqm").joinpath("registers.toml").read_text(encoding="utf-8")
    kinds, made = tomllib.loads(text), world.section("register")
    rows = {
        "improvement": [_improvement(world, name, m, sd) for name, m in improved.items()],
        "meeting": [row for m in improved.values() for row in _meetings(world, m)],
        "action": [row for m in improved.values() for row in _actions(world, m)],
        "suggestion": _suggestions(world, made["suggestion"]["titles"]),
        "risk": [_risk(risk) for risk in care.risks()],
        "treatment": [_treatment(world, key, row) for key, row in made["treatment"].items()],
        "kri": [{"key": key, **row} for key, row in made["kri"].items()],
        "sign_off": _sign_offs(world),
    }
    return {kinds[kind]["sheet"]: _sheet(world, kinds[kind]["fields"], rows[kind]) for kind in rows}


def _sheet(
    world: World, fields: Mapping[str, Mapping[str, Any]], rows: list[dict[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    columns = [
        Column("key", "text"),
        *(Column(name, spec["type"]) for name, spec in fields.items()),
    ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in columns])
    heads = ["key", *(f"{spec['zh']} / {name}" for name, spec in fields.items())]
    return heads, [export.cells(frame[column.name], column, world) for column in columns]


def _first_day(world: World, month: int) -> int:
    """Return the day on which a month begins."""
    return int((pd.Timestamp(f"{world.month_names[month]}-01") - pd.Timestamp(world.first)).days)


def _improvement(
    world: World, name: str, made: Mapping[str, Any], sd: Mapping[str, Floats]
) -> dict[str, Any]:
    words = dict(world.section("register")["improvement"][name])
    starts = {f"S{store + 1:02d}": month for store, month in made["start"].items()}
    days = {
        store: world.first + timedelta(days=_first_day(world, m)) for store, m in starts.items()
    }
    worth = float(sd[made["kpi"]][list(made["start"])].mean())
    return {
        **words, "key": made["id"], "kpi": made["kpi"],
        "margin": round(max(made["size"], 0.5) * worth / 2, 3),
        "stores": ", ".join(f"{store} {day}" for store, day in days.items()),
        "picked_because": words["why"],
        "picked_months": ", ".join(world.month_names[m] for m in made.get("selection", [])),
        "starts_on": _first_day(world, min(starts.values())),
    }  # fmt: skip


def _meetings(world: World, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    begin = _first_day(world, min(made["start"].values()))
    said = [(-21, "确定目标、门店与评价方法"), (45, "检查执行情况"), (120, "评审效果数据")]
    return [
        {"key": f"{made['id']}-M{n + 1}", "improvement": made["id"], "held_on": begin + day,
         "present": "负责人、服务、客户代表、技术", "decisions": decision}
        for n, (day, decision) in enumerate(said)
    ]  # fmt: skip


def _actions(world: World, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    begin = _first_day(world, min(made["start"].values()))
    done = [
        ("培训全部相关员工", -7, -9),
        ("发放检查表并张贴", 14, 12),
        ("汇总三个月执行情况", 95, None),
    ]
    return [
        {"key": f"{made['id']}-A{n + 1}", "improvement": made["id"], "title": title,
         "owner": "门店经理", "due_on": begin + due,
         "done_on": None if day is None else begin + day}
        for n, (title, due, day) in enumerate(done)
    ]  # fmt: skip


def _suggestions(world: World, titles: list[str]) -> list[dict[str, Any]]:
    decided = ["accepted", "accepted", "rejected", "accepted", "open"]
    rows = []
    for n, title in enumerate(titles):
        raised = world.days - 330 + 60 * n
        known = decided[n % len(decided)]
        rows.append({
            "key": f"V{n + 1:02d}", "title": title, "store": f"S{n % world.config.stores + 1:02d}",
            "raised_on": raised, "decision": known,
            "decided_on": None if known == "open" else raised + 20,
            "done_on": raised + 55 if known == "accepted" and n < len(titles) // 2 else None,
        })  # fmt: skip
    return rows


def _risk(risk: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": risk["id"], "title": f"{risk['zh']} / {risk['en']}", "domain": _DOMAIN[risk["side"]],
        "category": risk["type"], "cause": risk["cause"], "event": f"客户投诉：{risk['zh']}",
        "consequence": "补偿支出与客户流失", "owner": "质量经理",
        "departments": "售后" if risk["side"] == "orders" else "销售", "scope": "全集团",
        "count_rule": f"complaints: subtype == {risk['subtype']}", "exposure": _PER[risk["side"]],
        "status": "open",
    }  # fmt: skip


def _treatment(world: World, key: str, made: Mapping[str, Any]) -> dict[str, Any]:
    days = {_DAYS[name]: world.days - 1 + day for name, day in made.items() if name in _DAYS}
    return {
        "key": key,
        **{name: value for name, value in made.items() if name not in _DAYS},
        **days,
    }


def _sign_offs(world: World) -> list[dict[str, Any]]:
    """Return the sign-offs of every quarter but the newest."""
    made = world.section("register")["sign_off"]
    return [
        {"key": f"{quarter.key}-{role}", "quarter": quarter.key, "role": role, "signed_by": who,
         "signed_on": (quarter.end - world.first).days + made["days_after"], "note": "已审阅"}
        for quarter in world.quarters[:-1]
        for role, who in made["roles"].items()
    ]  # fmt: skip
