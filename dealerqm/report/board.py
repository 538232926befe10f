"""The scorecard in the page: by area, by dimension, store by store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dealerqm import labels, plot
from dealerqm.plan import Kpi, Plan
from dealerqm.report.pages import both
from dealerqm.result import spell_kpi
from dealerqm.review import Review

SIGNS = {
    "met": "✓", "missed": "×", "cannot_tell": "?", "too_early": "…", "no_goal": "", "few": "▫",
    "suppressed": "▨", "no_data": "–",
}  # fmt: skip
TILES = ("met", "missed", "cannot_tell", "too_early")
MOST_STORES = 40
GOAL_SIGNS = {"up": "≥", "down": "≤", "none": ""}


@dataclass(frozen=True)
class Spelled:
    """How the numbers of one KPI are written in one row: the same in every language.

    Attributes
    ----------
    words : mapping
        ``measure`` of the KPI.
    size : float
        The number that decides how many decimals all numbers of the row have.
    """

    words: Mapping[str, Any]
    size: float = float("nan")

    def value(self, number: object) -> str:
        """Return a value of the KPI."""
        return self._written(number, "kpi", "")

    def change(self, number: object) -> str:
        """Return a difference of values of the KPI."""
        return self._written(number, "kpi_change", "+")

    def between(self, row: Mapping[Any, Any], name: str = "", *, change: bool = False) -> str:
        """Return the interval of a column, without repeating the per cent sign."""
        low, high = row[f"{name}low"], row[f"{name}high"]
        if pd.isna(low) or pd.isna(high):
            return ""
        spell = self.change if change else self.value
        return f"[{spell(low).removesuffix('%')}, {spell(high).removesuffix('%')}]"

    def _written(self, number: Any, form: str, sign: str) -> str:  # noqa: ANN401
        if self.words["measure"] != "value" or pd.isna(number) or pd.isna(self.size):
            return minus(spell_kpi(number, form, self.words, labels.languages()[0]))
        steps = ((1_000, 0), (10, 1), (1, 2))
        digits = next((n for least, n in steps if abs(self.size) >= least), 3)
        return minus(f"{number:{sign},.{digits}f}")


def minus(text: str) -> str:
    """Return a text with true minus signs, and none before a zero.

    Parameters
    ----------
    text : str
        Numbers as ``spell`` writes them, alone or in a sentence.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> minus("changed by -1.5 since 2026-07"), minus("-0.0")
    ('changed by −1.5 since 2026-07', '0.0')
    """
    text = re.sub(r"(?<![A-Za-z0-9_.])[-+](?=0(?:\.0+)?(?![\d.]))", "", text)
    return re.sub(r"(?<![A-Za-z0-9_.])-(?=\d)", "−", text)


def by_area(review: Review, group: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the scorecard of the group, area by area.

    Parameters
    ----------
    review : Review
        The review.
    group : DataFrame
        Scorecard rows of the group.

    Returns
    -------
    list of dict
        ``label`` and ``rows`` of every area that has a KPI.
    """
    rows = {row["kpi"]: row for row in group.to_dict("records")}
    words = review.plan.words()
    areas = []
    for area, label in review.plan.settings["areas"].items():
        kpis = [k for k in review.plan.kpis.values() if k.area == area and k.name in rows]
        shown = [_row(rows[k.name], k, words[k.name], review.plan) for k in kpis]
        areas.append({"name": area, "label": label, "rows": shown})
    return [area for area in areas if area["rows"]]


def _row(row: Mapping[Any, Any], kpi: Kpi, words: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    spelled = Spelled(words, row["value"])
    goal = goal_text(kpi, row["goal"])
    return {
        "name": kpi.name, "label": kpi.label, "unit": unit(kpi),
        "value": spelled.value(row["value"]), "ci": spelled.between(row),
        "n": "" if pd.isna(row["n"]) else f"{int(row['n']):,}",
        "goal": goal,
        "verdict": row["verdict"], "sign": SIGNS[row["verdict"]],
        "complete": _complete(row, spelled) if kpi.follow_up else None,
        "changes": [change(row, name, kpi, spelled) for name in ("period", "year")],
        "benchmarks": _benchmarks(plan, kpi),
    }  # fmt: skip


def goal_text(kpi: Kpi, goal: float) -> str:
    """Return a goal with its direction.

    Parameters
    ----------
    kpi : Kpi
        For direction and measure.
    goal : float
        The goal; missing gives an empty text.

    Returns
    -------
    str
        Such as ``≥ 90%``.
    """
    if pd.isna(goal):
        return ""
    return f"{GOAL_SIGNS[kpi.better]} {minus(plot.short(goal, kpi.measure))}".strip()


def unit(kpi: Kpi) -> dict[str, str] | None:
    """Return the unit that the numbers of a KPI do not carry themselves.

    Parameters
    ----------
    kpi : Kpi
        The KPI.

    Returns
    -------
    dict of str to str, or None
        Language to unit.
    """
    if not kpi.unit:
        return None
    return {lang: labels.text(f"unit.{kpi.unit}", lang).strip() for lang in labels.languages()}


def _complete(row: Mapping[Any, Any], spelled: Spelled) -> Any:  # noqa: ANN401  HTML
    if pd.isna(row["complete_value"]) or row["complete_period"] == row["period"]:
        return None
    value = spelled.value(row["complete_value"])
    return both("about.complete", period=row["complete_period"], value=value)


def change(row: Mapping[Any, Any], name: str, kpi: Kpi, spelled: Spelled) -> dict[str, str] | None:
    """Return one change with its interval and what it means.

    Parameters
    ----------
    row : mapping
        Row of the scorecard.
    name : str
        ``period`` or ``year``.
    kpi : Kpi
        For the better direction.
    spelled : Spelled
        For the numbers.

    Returns
    -------
    dict or None
        ``value``, ``ci`` and ``mark`` (``noise``, ``better``, ``worse``, ``none``).
    """
    number = row[f"change_{name}"]
    if pd.isna(number) or pd.isna(row[f"beyond_{name}"]):
        return None
    mark = "noise"
    if row[f"beyond_{name}"]:
        good = {"up": number > 0, "down": number < 0}.get(kpi.better)
        mark = "none" if good is None else "better" if good else "worse"
    ci = spelled.between(row, f"change_{name}_", change=True)
    return {"value": spelled.change(number), "ci": ci, "mark": mark}


def _benchmarks(plan: Plan, kpi: Kpi) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": plot.short(entry["value"], kpi.measure), "status": entry["status"]}
        for name, entry in plan.benchmarks.items()
        if entry.get("kpi") == kpi.name
    ]


def by_dimension(review: Review, areas: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the same rows by dimension of quality.

    Parameters
    ----------
    review : Review
        For the dimensions.
    areas : iterable of mapping
        Result of ``by_area``.

    Returns
    -------
    list of dict
        ``label`` and ``rows`` of every dimension that has a KPI.
    """
    rows = {row["name"]: row for area in areas for row in area["rows"]}
    found = []
    for name, label in review.plan.settings["dimensions"].items():
        shown = [rows[k.name] for k in review.plan.kpis.values()
                 if k.dimension == name and k.name in rows]  # fmt: skip
        if shown:
            found.append({"label": label, "rows": shown})
    return found


def tiles(group: pd.DataFrame) -> list[dict[str, Any]]:
    """Return how many goals have which verdict.

    Parameters
    ----------
    group : DataFrame
        Scorecard rows of the group.

    Returns
    -------
    list of dict
        ``verdict, sign, count``.
    """
    counted = group.loc[group["goal"].notna(), "verdict"].value_counts()
    return [{"verdict": v, "sign": SIGNS[v], "count": int(counted.get(v, 0))} for v in TILES]


def matrix(review: Review, table: pd.DataFrame) -> dict[str, Any]:
    """Return the store-by-KPI table.

    Parameters
    ----------
    review : Review
        For names and areas.
    table : DataFrame
        The scorecard.

    Returns
    -------
    dict
        ``units`` (shown columns), ``areas`` with rows of cells, ``all`` (number of stores).
    """
    stores = table[table["unit_type"] == "store"]
    missed = stores[stores["verdict"] == "missed"].groupby("unit").size()
    names = sorted(stores["unit"].unique())
    if len(names) > MOST_STORES:
        worst = sorted(names, key=lambda name: (-int(missed.get(name, 0)), name))
        names = sorted(worst[:MOST_STORES])
    words, cells = review.plan.words(), {}
    typical = stores.groupby("kpi")["value"].median()
    for row in stores[stores["unit"].isin(names)].to_dict("records"):
        name = row["kpi"]
        cells[name, row["unit"]] = _cell(row, Spelled(words[name], typical[name]))
    areas = []
    for area, label in review.plan.settings["areas"].items():
        kpis = [k for k in review.plan.kpis.values() if k.area == area and k.stat != "spread"]
        rows = [
            {"name": k.name, "label": k.label, "unit": unit(k),
             "cells": [cells[k.name, name] for name in names]}
            for k in kpis if names and (k.name, names[0]) in cells
        ]  # fmt: skip
        areas.append({"label": label, "rows": rows})
    return {
        "units": names, "all": stores["unit"].nunique(),
        "areas": [area for area in areas if area["rows"]],
        "missed": [int(missed.get(name, 0)) for name in names],
    }  # fmt: skip


def _cell(row: Mapping[Any, Any], spelled: Spelled) -> dict[str, str]:
    hidden = row["verdict"] in ("suppressed", "no_data", "too_early")
    value = "" if hidden else spelled.value(row["value"])
    value = {"100.0%": "100%", "0.0%": "0%"}.get(value, value)
    return {"verdict": row["verdict"], "sign": SIGNS[row["verdict"]], "value": value}


def forest(review: Review, group: pd.DataFrame) -> dict[str, Any] | None:
    """Return the picture of all distances to goals.

    Parameters
    ----------
    review : Review
        For names and directions.
    group : DataFrame
        Scorecard rows of the group.

    Returns
    -------
    dict or None
        ``svg`` and ``alt`` per language; None when no KPI has a goal and a value.
    """
    judged = group[group["goal"].notna() & group["value"].notna() & (group["goal"] != 0)]
    if judged.empty or not np.isfinite(judged["value"].astype(float)).any():
        return None
    order = {name: place for place, name in enumerate(review.plan.kpis)}
    judged = judged.sort_values("kpi", key=lambda column: column.map(order), kind="stable")
    names = {name: kpi.label for name, kpi in review.plan.kpis.items()}
    better = {name: kpi.better for name, kpi in review.plan.kpis.items()}
    picture = plot.forest(judged, names=names, better=better, lang=plot.BOTH)
    alt = {lang: plot.describe_forest(judged, better, lang) for lang in labels.languages()}
    return {"svg": plot.inline(picture.svg, "forest"), "alt": alt}
