"""Intervals one below the other: units, items or steps, as one series or as two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import Mark, Words
from dealerqm.plot.svg import Picture
from dealerqm.result import spell

if TYPE_CHECKING:
    from dealerqm.plot.canvas import Axes
    from dealerqm.result import Result

WIDTH, ROW, TOP, BOTTOM, LEFT, RIGHT = 720.0, 21.0, 52.0, 26.0, 190.0, 26.0
MOST, APART, FONT = 40, 0.17, 9.5
MARKS = {
    "plain": Mark("o", canvas.BLUE, canvas.BLUE, 5),
    "raw": Mark("o", "white", canvas.GREY, 5),
    "better": Mark("^", canvas.GREEN, canvas.INK, 6.5),
    "worse": Mark("D", canvas.VERMILLION, canvas.INK, 5.5),
    "doubt": Mark("s", "white", canvas.VERMILLION, 5.5),
}
_LINES = {"raw": canvas.GREY, "plain": canvas.BLUE, "doubt": canvas.VERMILLION}


@dataclass(frozen=True)
class Layout:
    """How a class of Result is drawn.

    Attributes
    ----------
    name : str
        Column that names the rows.
    measure : str
        How values are spelled; empty follows the result's KPI words.
    line : float or None
        Where a reference line stands; NaN takes ``common`` of the note.
    second : tuple of str
        Value, low and high of the series drawn above the main one; none.
    """

    name: str = "unit"
    measure: str = ""
    line: float | None = None
    second: tuple[str, str, str] | None = None


LAYOUTS: Mapping[str, Layout] = {
    "Scores": Layout(second=("raw", "raw_low", "raw_high")),
    "Changes": Layout(line=0.0),
    "Stores": Layout(line=float("nan")),
    "Drivers": Layout(name="kpi", measure="share"),
    "Comments": Layout(name="kpi", measure="share"),
    "Response": Layout(measure="share"),
    "Audit": Layout(name="step"),
    "Modes": Layout(measure="share"),
}


def intervals(result: Result, lang: str = "zh") -> Picture:
    """Draw the intervals of a result, its first 40 rows with a value.

    Parameters
    ----------
    result : Result
        Of a class in ``LAYOUTS``: ``value, low, high`` and the column of the names.
    lang : str
        Language.

    Returns
    -------
    Picture
        One row each; the table holds what is drawn.

    Raises
    ------
    MethodError
        If no row has a value.
    """
    layout, words = LAYOUTS[type(result).__name__], Words(lang)
    table = _shown(result, layout, lang)
    kpis = result.note.get("kpis", {})
    first = str(result.frame["kpi"].iloc[0]) if "kpi" in result.frame else ""
    measure = layout.measure or kpis.get(first, {}).get("measure", "value")
    title = kpis.get(first, {}).get("label", {}).get(lang, "") if layout.name != "kpi" else ""
    line = result.note.get("common") if layout.line is not None and np.isnan(layout.line) else (
        layout.line
    )  # fmt: skip
    height = TOP + ROW * len(table) + BOTTOM
    with canvas.style(editable_text=False):
        figure = canvas.figure(WIDTH, height)
        ax = figure.add_axes(
            (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, ROW * len(table) / height)
        )
        ax.set_axis_off()
        ax.set_facecolor("none")
        _axis(ax, table, measure, line)
        for row, record in enumerate(table.to_dict("records")):
            _row(ax, row, record, paired=layout.second is not None)
        kinds = [kind for kind in MARKS if kind in set(table["kind"])]
        kinds += ["raw"] if layout.second else []
        items = [(MARKS[kind], words(f"plot.interval_{kind}")) for kind in kinds]
        canvas.head(figure, title, items)
        svg = canvas.render(figure, words)
    return Picture(svg, _said(table, title, measure, lang), table.drop(columns="kind"))


def _shown(result: Result, layout: Layout, lang: str) -> pd.DataFrame:
    """Return name, kind and numbers of the rows that are drawn."""
    frame = result.frame
    kpis = result.note.get("kpis", {})
    if layout.name == "kpi":
        frame = frame[frame["unit"] == "group"] if "unit" in frame else frame
        names = [kpis.get(kpi, {}).get("label", {}).get(lang, kpi) for kpi in frame["kpi"]]
    else:
        measure = result.COLUMNS[layout.name].measure
        group = labels.text("unit_type.group", lang)
        names = [group if name == "group" else spell(name, measure, lang)
                 for name in frame[layout.name]]  # fmt: skip
    main = ("gap", "low", "high") if "gap" in frame and layout.name == "unit" else (
        "value", "low", "high"
    )  # fmt: skip
    columns = dict(zip(("value", "low", "high"), main, strict=True))
    if layout.second:
        columns |= dict(zip(("raw", "raw_low", "raw_high"), layout.second, strict=True))
    table = pd.DataFrame({name: frame[c].to_numpy(float) for name, c in columns.items()})
    table.insert(0, "name", [canvas.visible(str(name)) for name in names])
    table["kind"] = _kinds(frame)
    table = table[table["value"].notna()].head(MOST).reset_index(drop=True)
    if table.empty:
        raise MethodError(f"plot: this {type(result).__name__} has no value to draw.")
    return table


def _kinds(frame: pd.DataFrame) -> list[str]:
    """Return the sign of every row: what stands out, what is doubtful, and the rest."""
    if "state" in frame:
        known = {"better": "better", "worse": "worse", "telling": "doubt"}
        return [known.get(str(state), "plain") for state in frame["state"]]
    if "beyond" in frame:
        side = np.where(frame["value"] > 0, "better", "worse")
        return list(np.where(frame["beyond"].fillna(value=False).astype(bool), side, "plain"))
    return ["plain"] * len(frame)


def _axis(ax: Axes, table: pd.DataFrame, measure: str, line: float | None) -> None:
    drawn = table.drop(columns=["name", "kind"]).to_numpy(float)
    low, high, _ = scale.reach(drawn if line is None else np.append(drawn, line), None, 1.0)
    ax.set_xlim(low, high)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ticks, foot = scale.ticks(low, high), len(table) - 0.5
    for tick in ticks:
        ax.plot([tick, tick], [-0.5, foot], color=canvas.PALE, lw=0.7, zorder=1, clip_on=False)
        text = scale.spell_tick(tick, ticks, measure)
        canvas.label(ax, text, (tick, foot), offset=(0, -4), fontsize=FONT, color=canvas.GREY)
    if line is not None:
        ax.plot([line, line], [-0.5, foot], color=canvas.INK, lw=1.1, zorder=1, clip_on=False)


def _row(ax: Axes, row: int, record: Mapping[Any, Any], *, paired: bool) -> None:
    name = scale.fit(str(record["name"]), LEFT - 24, FONT)
    canvas.label(ax, name, (ax.get_xlim()[0], row), offset=(-10, 0), fontsize=FONT)
    series = [("", str(record["kind"]), row + (APART if paired else 0.0))]
    series += [("raw_", "raw", row - APART)] if paired else []
    for prefix, kind, place in series:
        value = record["raw" if prefix else "value"]
        if np.isnan(value):
            continue
        ends = [record[f"{prefix}{end}"] for end in ("low", "high")]
        ax.plot(ends, [place] * 2, color=_LINES.get(kind, canvas.INK), lw=1.5, zorder=2,
                clip_on=False)  # fmt: skip
        canvas.marks(ax, [value], [place], MARKS[kind])


def _said(table: pd.DataFrame, title: str, measure: str, lang: str) -> str:
    order = table.sort_values("value", kind="stable")
    ends = {side: order.iloc[at] for side, at in (("least", 0), ("most", -1))}
    names = {side: str(record["name"]) for side, record in ends.items()}
    spelled = {f"{side}_value": spell(float(record["value"]), measure, lang)
               for side, record in ends.items()}  # fmt: skip
    return labels.text("plot.alt_intervals", lang, label=title, rows=len(table), **names, **spelled)
