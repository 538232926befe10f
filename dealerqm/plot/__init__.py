"""Pictures of results: deterministic SVG, readable in Chinese and English.

``PICTURES`` says which picture a result has: one line per class of Result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.plot.canvas import BOTH, FALLBACK, FAMILY, charmap, font_path, visible
from dealerqm.plot.charts import (
    SERIES,
    chart,
    describe,
    signs,
    small_multiples,
    xmr_pair,
)
from dealerqm.plot.intervals import LAYOUTS, intervals
from dealerqm.plot.layers import Note, Panel
from dealerqm.plot.scale import short
from dealerqm.plot.svg import Picture, clean, inline
from dealerqm.plot.units import MOST_KPIS, MOST_UNITS, board_map, forest, funnel
from dealerqm.plot.units import describe as describe_forest
from dealerqm.result import UNIT_TYPES

if TYPE_CHECKING:
    from dealerqm.result import Result

__all__ = [
    "BOTH",
    "FALLBACK",
    "FAMILY",
    "Note",
    "Panel",
    "Picture",
    "board_map",
    "charmap",
    "chart",
    "clean",
    "describe",
    "describe_forest",
    "draw",
    "font_path",
    "forest",
    "funnel",
    "inline",
    "intervals",
    "marked",
    "short",
    "signs",
    "small_multiples",
    "visible",
    "xmr_pair",
]

SHOWN = 12  # charts in one picture; choose units or KPIs to see others


def draw(result: Result, lang: str = "zh") -> Picture:
    """Draw a result.

    Parameters
    ----------
    result : Result
        Of a class that has a picture.
    lang : str
        Language.

    Returns
    -------
    Picture
        SVG, description and small table.

    Raises
    ------
    MethodError
        If the class has no picture, or the result has no rows; names the classes that have one.
    """
    name = type(result).__name__
    if name not in PICTURES:
        known = ", ".join(sorted(PICTURES))
        raise MethodError(f"plot: {name} has no picture. With a picture: {known}.")
    if result.frame.empty:
        raise MethodError(f"plot: this {name} has no rows, expected one or more.")
    return PICTURES[name](result, lang)


def _charts(result: Result, lang: str) -> Picture:
    table = result.table
    words = result.note.get("kpis", {})
    panels = {str(kpi): _panel(words.get(kpi, {}), str(kpi)) for kpi in table["kpi"].unique()}
    keys = table[SERIES].drop_duplicates().head(SHOWN)
    if len(keys) > 1:
        every = {
            (kpi, kind, unit): marked(panels[str(kpi)], result.note, (str(kpi), str(unit)))
            for kpi, kind, unit in keys.itertuples(index=False)
        }
        return small_multiples(table.merge(keys, on=SERIES), panels=every, lang=lang)
    kpi, unit = (str(table[name].iloc[0]) for name in ("kpi", "unit"))
    return chart(table, marked(panels[kpi], result.note, (kpi, unit)), lang)


def marked(panel: Panel, note: Mapping[str, Any], key: tuple[str, str]) -> Panel:
    """Add to a panel what the note of control charts marks on this chart.

    Parameters
    ----------
    panel : Panel
        Label, goal, direction, measure.
    note : mapping
        Of ``ControlCharts``; ``marks`` as in ``review.charts.marked``.
    key : (str, str)
        KPI and unit.

    Returns
    -------
    Panel
        With dated change and notes, where there are any.
    """
    found = note.get("marks", {}).get(key[0], {}).get(key[1])
    if not found:
        return panel
    return replace(panel, onset=found["onset"], notes=tuple(Note(*told) for told in found["notes"]))


def _scorecard(result: Result, lang: str) -> Picture:
    table = result.table
    first = table[["unit_type", "unit"]].iloc[0]
    rows = table[(table["unit_type"] == first["unit_type"]) & (table["unit"] == first["unit"])]
    words = result.note.get("kpis", {})
    panels = {str(kpi): _panel(words.get(kpi, {}), str(kpi)) for kpi in rows["kpi"]}
    names = {kpi: panel.label for kpi, panel in panels.items()}
    better = {kpi: panel.better for kpi, panel in panels.items()}
    return forest(rows, names=names, better=better, lang=lang)


def _board(result: Result, lang: str) -> Picture:
    """Draw the units with most warnings, the wide ones first."""
    table, words = result.table, result.note.get("kpis", {})
    gain = (table["direction"] == "better") & (table["shown"] == "calm")
    urgency = table["shown"].map({"act": MOST_UNITS * MOST_KPIS, "watch": 1}).fillna(0)
    urgent = urgency.groupby(table["unit"]).sum().sort_values(ascending=False, kind="stable")
    table = table.assign(
        label=table["kpi"].map(lambda kpi: _panel(words.get(kpi, {}), str(kpi)).label),
        level=table["shown"].where(~gain, "better"),
        explained=table["explained_by"].fillna("") != "",
        wide=table["unit_type"].map(UNIT_TYPES.index),
    )
    table = table[table["unit"].isin(urgent.index[:MOST_UNITS])]
    return board_map(table.sort_values(["wide", "unit"], kind="stable"), lang)


def _panel(words: Mapping[str, object], kpi: str) -> Panel:
    """Return how a KPI is drawn from the words in the result's note."""
    plain = dict.fromkeys(labels.languages(), kpi)
    return Panel(**{"label": plain} | {k: v for k, v in words.items() if k in _PANEL_KEYS})  # type: ignore[arg-type]


_PANEL_KEYS = ("label", "goal", "better", "measure")
PICTURES: Mapping[str, Callable[[Result, str], Picture]] = MappingProxyType(
    {"Board": _board, "ControlCharts": _charts, "Scorecard": _scorecard,
     **dict.fromkeys(LAYOUTS, intervals)}
)  # fmt: skip
