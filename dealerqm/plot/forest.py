"""The scorecard as one picture: every KPI's interval against its goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import BOTH, Mark, Picture, Words

if TYPE_CHECKING:
    from dealerqm.plot.canvas import Axes

COLUMNS = ("kpi", "value", "low", "high", "goal", "verdict")
WIDTH, ROW, TOP, BOTTOM, LEFT, RIGHT = 720.0, 19.0, 30.0, 40.0, 250.0, 24.0
MOST = 50.0  # per cent of the goal at the edge of the scale
MARKS = {
    "met": Mark("o", canvas.GREEN, canvas.GREEN, 6),
    "missed": Mark("D", canvas.VERMILLION, canvas.VERMILLION, 6),
    "open": Mark("s", "white", canvas.INK, 6),
}


def forest(
    frame: pd.DataFrame, *, names: Mapping[str, Mapping[str, str]], better: Mapping[str, str],
    lang: str = "zh",
) -> Picture:  # fmt: skip
    """Draw one row a KPI: its value and interval as a distance to its goal.

    Parameters
    ----------
    frame : DataFrame
        One row per KPI: ``kpi, value, low, high, goal, verdict``; rows without goal or value are
        left out.
    names : mapping
        KPI to name per language.
    better : mapping of str to str
        KPI to ``up`` or ``down``.
    lang : str
        Language; ``both`` keeps text as text, in every language.

    Returns
    -------
    Picture
        Better is always to the right; the table holds the distances in per cent of the goal.

    Raises
    ------
    MethodError
        If no row has a goal and a value.
    """
    table = _distances(frame, better)
    words = Words(lang)
    height = TOP + ROW * len(table) + BOTTOM
    with canvas.style(editable_text=lang == BOTH):
        figure = canvas.figure(WIDTH, height)
        ax = figure.add_axes(
            (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, ROW * len(table) / height)
        )
        ax.set_axis_off()
        ax.set_facecolor("none")
        ax.set_xlim(-MOST, MOST)
        ax.set_ylim(len(table) - 0.5, -0.5)
        _grid(ax, len(table), words)
        for row, record in enumerate(table.to_dict("records")):
            _row(ax, row, record, words.of(_fitted(names[str(record["kpi"])])))
        items = [(mark, words(f"plot.forest_{name}")) for name, mark in MARKS.items()]
        items.append((MARKS["open"]._replace(marker="<"), words("plot.forest_beyond")))
        canvas.legend(figure, items, (LEFT, 13), size=9)
        svg = canvas.render(figure, words)
    said = labels.languages()[0] if lang == BOTH else lang
    return Picture(svg, describe(frame, better, said), table)


def describe(frame: pd.DataFrame, better: Mapping[str, str], lang: str) -> str:
    """Return what the picture shows, in words.

    Parameters
    ----------
    frame, better
        As for ``forest``.
    lang : str
        Language.

    Returns
    -------
    str
        How many KPIs meet and miss their goals.
    """
    sides = _distances(frame, better)["sign"].value_counts()
    counts = {name: int(sides.get(name, 0)) for name in MARKS}
    return labels.text("plot.alt_forest", lang, rows=int(sides.sum()), **counts)


def _distances(frame: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    known = frame[list(COLUMNS)]
    known = known[known["goal"].notna() & known["value"].notna() & (known["goal"] != 0)]
    if known.empty:
        raise MethodError("forest: found no KPI with a goal and a value, expected one or more.")
    side = np.where(known["kpi"].map(dict(better)) == "down", -1.0, 1.0)
    goal = known["goal"].to_numpy(float)
    ends = {
        name: 100 * side * (known[name].to_numpy(float) - goal) / np.abs(goal)
        for name in ("value", "low", "high")
    }
    low, high = np.minimum(ends["low"], ends["high"]), np.maximum(ends["low"], ends["high"])
    sign = known["verdict"].where(known["verdict"].isin(["met", "missed"]), "open")
    return pd.DataFrame(
        {"kpi": known["kpi"], "distance": ends["value"], "low": low, "high": high, "sign": sign}
    ).reset_index(drop=True)


def _fitted(name: Mapping[str, str]) -> dict[str, str]:
    return {code: scale.fit(text, LEFT - 24, 10) for code, text in name.items()}


def _grid(ax: Axes, rows: int, words: Words) -> None:
    edge = rows - 0.5
    look: dict[str, Any] = {"fontsize": 9, "color": canvas.GREY}
    for tick in (-50, -25, 0, 25, 50):
        line: dict[str, Any] = {"color": canvas.PALE, "lw": 0.7}
        if tick == 0:
            line = {"color": canvas.INK, "lw": 1.2}
        ax.plot([tick, tick], [-0.5, edge], zorder=1, clip_on=False, **line)
        text = words("plot.forest_goal") if tick == 0 else _percent(tick)
        canvas.label(ax, text, (tick, edge), offset=(0, -4), **look)
    canvas.label(ax, words("plot.forest_axis"), (0, edge), offset=(0, -20), **look)


def _row(ax: Axes, row: int, record: Mapping[Any, Any], name: str) -> None:
    canvas.label(ax, name, (-MOST, row), offset=(-10, 0), fontsize=10)
    mark = MARKS[str(record["sign"])]
    value = float(record["distance"])
    place = float(np.clip(value, -MOST, MOST))
    if place != value:
        mark = mark._replace(marker="<" if value < 0 else ">", size=7)
        aside = (9, 0) if value < 0 else (-9, 0)
        canvas.label(ax, _percent(value), (place, row), offset=aside, fontsize=9, color=canvas.GREY)
    else:
        low, high = (float(np.clip(record[end], -MOST, MOST)) for end in ("low", "high"))
        ax.plot([low, high], [row, row], color=mark.edge, lw=1.6, zorder=2, clip_on=False)
    look: dict[str, Any] = {"marker": mark.marker, "mfc": mark.face, "mec": mark.edge}
    ax.plot([place], [row], ls="none", ms=mark.size, zorder=3, clip_on=False, **look)


def _percent(value: float) -> str:
    return f"{value:+.0f}%".replace("-", "−")
