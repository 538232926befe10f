"""Control charts: one large, many small, or one for a page that brings its own caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.period import of, parse, span
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import BOTH, Mark, Picture, Words
from dealerqm.result import spell

if TYPE_CHECKING:
    from dealerqm.plot.canvas import Axes, Figure

COLUMNS = ("period", "value", "centre", "lower", "upper", "judged", "beyond")
SERIES = ["kpi", "unit_type", "unit"]
LINES = ("value", "centre", "lower", "upper")
MARKERS = {
    "inside": Mark("o", canvas.BLUE, canvas.BLUE, 3.2),
    "unjudged": Mark("o", "white", canvas.BLUE, 3.2),
    "worse": Mark("D", canvas.VERMILLION, canvas.INK, 5.5),
    "better": Mark("^", canvas.GREEN, canvas.INK, 6.5),
    "none": Mark("s", canvas.PURPLE, canvas.INK, 5.5),
}
GRID_COLUMNS = 3
MOST_PANELS = 60
GOAL_STRETCH = 1.8  # a goal that would stretch the axis more than this is named at its edge


@dataclass(frozen=True)
class Size:
    """Measures of one chart in points: whole, margins, and font."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    font: float


LARGE = Size(720, 300, 56, 92, 52, 42, 10)
PAGE = Size(400, 196, 44, 70, 8, 32, 9)
SMALL = Size(250, 168, 40, 60, 26, 30, 8)


@dataclass(frozen=True)
class Panel:
    """How the chart of one KPI is labelled and judged.

    Attributes
    ----------
    label : mapping
        Language to title.
    goal : float or None
        Goal in the KPI's unit.
    better : str
        ``up``, ``down`` or ``none``.
    measure : str
        How values are spelled: ``share``, ``score`` or ``value``.
    """

    label: Mapping[str, str]
    goal: float | None = None
    better: str = "none"
    measure: str = "value"


def control_chart(
    frame: pd.DataFrame, *, label: str | Mapping[str, str], goal: float | None = None,
    better: str = "none", measure: str = "value", lang: str = "zh",
) -> Picture:  # fmt: skip
    """Draw the control chart of one KPI and one unit.

    Parameters
    ----------
    frame : DataFrame
        One row per period: ``period, value, centre, lower, upper, judged, beyond``. Periods that
        are missing, and values that are, leave gaps.
    label : str or mapping
        Title, or title per language.
    goal : float or None
        Drawn as a dashed line; named at the edge when it lies far outside the data.
    better : str
        ``up``, ``down`` or ``none``: decides the sign of a point beyond the limits.
    measure : str
        ``share``, ``score`` or ``value``.
    lang : str
        Language; ``both`` gives a smaller chart without title for a page in all languages, with
        text kept as text.

    Returns
    -------
    Picture
        The chart with a sentence that says the same and its newest points.

    Raises
    ------
    MethodError
        If columns are missing, or the frame holds several series or no period.
    """
    titles = dict.fromkeys(labels.languages(), label) if isinstance(label, str) else label
    panel = Panel(titles, goal, better, measure)
    words = Words(lang)
    size = PAGE if lang == BOTH else LARGE
    table = _series(frame)
    with canvas.style(editable_text=lang == BOTH):
        figure = canvas.figure(size.width, size.height)
        ax = _axes(figure, size, 0, size.height)
        _draw(ax, table, panel, words, size)
        if lang != BOTH:
            figure.text(0.012, 1 - 16 / size.height, titles[lang], fontsize=13, va="center")
            _legend(figure, [(table, panel)], words, 36)
        svg = canvas.render(figure, words)
    said = labels.languages()[0] if lang == BOTH else lang
    return Picture(svg, describe(frame, panel, said), table.tail(12).reset_index(drop=True))


def small_multiples(
    frame: pd.DataFrame, *, panels: Mapping[str, Panel], lang: str = "zh"
) -> Picture:
    """Draw many control charts as a grid, one for each series.

    Parameters
    ----------
    frame : DataFrame
        Rows of ``control_chart`` with ``kpi, unit_type, unit`` before them.
    panels : mapping of str to Panel
        KPI to how it is drawn.
    lang : str
        Language.

    Returns
    -------
    Picture
        The grid; its table has one row a chart with the newest value, limits and signals.

    Raises
    ------
    MethodError
        If there is nothing to draw, or more than 60 charts.
    """
    groups = [(key, part) for key, part in frame.groupby(SERIES, sort=False)]
    if not 0 < len(groups) <= MOST_PANELS:
        raise MethodError(
            f"small multiples: found {len(groups)} series, expected 1 to {MOST_PANELS}; "
            "choose KPIs or units first."
        )
    words, size = Words(lang), SMALL
    drawn = [(_series(part), panels[str(key[0])], str(key[2])) for key, part in groups]
    rows = -(-len(drawn) // GRID_COLUMNS)
    height = rows * size.height + 30
    with canvas.style(editable_text=False):
        figure = canvas.figure(GRID_COLUMNS * size.width, height)
        _legend(figure, [(table, panel) for table, panel, _ in drawn], words, 12)
        for number, (table, panel, unit) in enumerate(drawn):
            row, column = divmod(number, GRID_COLUMNS)
            top = height - 30 - row * size.height
            ax = _axes(figure, size, column * size.width, top)
            title = panel.label[lang] if unit == "group" else f"{unit} · {panel.label[lang]}"
            title = scale.fit(canvas.visible(title), size.width - 18, size.font + 1)
            left, up = (column * size.width + 10) / (GRID_COLUMNS * size.width), (top - 10) / height
            figure.text(left, up, title, fontsize=size.font + 1, va="center")
            _draw(ax, table, panel, words, size)
        svg = canvas.render(figure, words)
    data = pd.DataFrame([_last(table, panel, unit, lang) for table, panel, unit in drawn])
    signals = sum(int(table["beyond"].sum()) for table, _, _ in drawn)
    alt = labels.text("plot.alt_grid", lang, charts=len(drawn), signals=signals)
    return Picture(svg, alt, data)


def describe(frame: pd.DataFrame, panel: Panel, lang: str) -> str:
    """Return what a control chart shows, in words.

    Parameters
    ----------
    frame : DataFrame
        As for ``control_chart``.
    panel : Panel
        Label, goal, measure.
    lang : str
        Language.

    Returns
    -------
    str
        Newest value, limits, goal, and which points lie beyond the limits.
    """
    table = _series(frame)
    known = table[table["value"].notna()]
    if known.empty:
        return labels.text("plot.alt_empty", lang, label=panel.label[lang])
    last = known.iloc[-1]
    parts = [
        labels.text(
            "plot.alt_last", lang, label=panel.label[lang], period=last["period"],
            value=spell(last["value"], panel.measure, lang),
        )
    ]  # fmt: skip
    limits = {name: spell(last[name], panel.measure, lang) for name in ("lower", "upper")}
    judged = bool(last["judged"])
    parts.append(labels.text("plot.alt_limits" if judged else "plot.alt_young", lang, **limits))
    if panel.goal is not None:
        goal = spell(panel.goal, panel.measure, lang)
        parts.append(labels.text("plot.alt_goal", lang, value=goal))
    beyond = list(table.loc[table["beyond"], "period"])
    if beyond:
        parts.append(labels.text("plot.alt_beyond", lang, periods=", ".join(beyond)))
    elif table["judged"].any():
        parts.append(labels.text("plot.alt_inside", lang))
    return labels.text("plot.stop", lang).join(parts) + labels.text("plot.stop", lang).strip()


def _series(frame: pd.DataFrame) -> pd.DataFrame:
    """Check one series and lay it out over all periods from its first to its last."""
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing or frame.empty or frame["period"].duplicated().any():
        raise MethodError(
            f"control chart: found {len(frame)} rows without {missing or 'fault in columns'} and "
            f"{int(frame.get('period', pd.Series()).duplicated().sum())} repeated periods; "
            f"expected one series with one row a period and columns {list(COLUMNS)}."
        )
    keys = sorted(frame["period"].astype(str))
    whole = [period.key for period in span(parse(keys[0]), parse(keys[-1]))]
    table = frame.set_index(frame["period"].astype(str)).reindex(whole)
    flags = {
        name: table[name].astype("boolean").fillna(value=False).astype(bool)
        for name in ("judged", "beyond")
    }
    lines = {name: table[name].astype(float) for name in LINES}
    return pd.DataFrame({"period": whole, **lines, **flags}).reset_index(drop=True)


def _axes(figure: Figure, size: Size, left: float, top: float) -> Axes:
    width, height = (float(side) * canvas.POINTS_PER_INCH for side in figure.get_size_inches())
    inner = (size.width - size.left - size.right, size.height - size.top - size.bottom)
    corner = (left + size.left, top - size.height + size.bottom)
    ax = figure.add_axes(
        (corner[0] / width, corner[1] / height, inner[0] / width, inner[1] / height)
    )
    ax.set_facecolor("none")
    ax.set_axis_off()
    return ax


def _draw(ax: Axes, table: pd.DataFrame, panel: Panel, words: Words, size: Size) -> None:
    values = table[list(LINES)].to_numpy()
    low, high, goal_at = scale.reach(values, panel.goal, GOAL_STRETCH)
    ax.set_xlim(-0.7, len(table) - 0.3)
    ax.set_ylim(low, high)
    ticks = scale.ticks(low, high)
    look: dict[str, Any] = {"fontsize": size.font, "color": canvas.GREY}
    for tick in ticks:
        _across(ax, tick, color=canvas.PALE, lw=0.6, zorder=1)
        text = scale.spell_tick(tick, ticks, panel.measure)
        canvas.label(ax, text, (-0.7, tick), offset=(-5, 0), **look)
    _across(ax, low, color=canvas.GREY, lw=0.8)
    _calendar(ax, list(table["period"]), size)
    if table["upper"].notna().any():
        _limits(ax, table)
    if goal_at == "inside" and panel.goal is not None:
        _across(ax, panel.goal, color=canvas.INK, lw=1.0, ls=(0, (5, 3)), zorder=2)
    _points(ax, table, panel, size)
    _names(ax, table, panel, words, size)


def _across(ax: Axes, value: float, **look: Any) -> None:  # noqa: ANN401
    ax.plot(ax.get_xlim(), [value, value], clip_on=False, **look)


def _limits(ax: Axes, table: pd.DataFrame) -> None:
    x = np.repeat(np.arange(len(table)), 2) + np.tile([-0.5, 0.5], len(table))
    lower, centre, upper = (np.repeat(table[name], 2) for name in ("lower", "centre", "upper"))
    ax.fill_between(x, lower, upper, color=canvas.BAND, lw=0, zorder=0, clip_on=False)
    look: dict[str, Any] = {"color": canvas.GREY, "zorder": 2, "clip_on": False}
    ax.plot(x, lower, lw=1.0, **look)
    ax.plot(x, upper, lw=1.0, **look)
    ax.plot(x, centre, lw=0.9, ls=(0, (1, 2)), **look)


def _points(ax: Axes, table: pd.DataFrame, panel: Panel, size: Size) -> None:
    x, y, kinds = np.arange(len(table)), table["value"].to_numpy(float), _kinds(table, panel)
    ax.plot(x, y, color=canvas.BLUE, lw=1.1, zorder=3, clip_on=False)
    for kind, mark in MARKERS.items():
        chosen = (kinds == kind).to_numpy()
        look: dict[str, Any] = {"marker": mark.marker, "mfc": mark.face, "mec": mark.edge}
        look |= {"ms": mark.size * size.font / PAGE.font, "mew": 0.8, "ls": "none", "zorder": 4}
        if chosen.any():
            ax.plot(x[chosen], y[chosen], clip_on=False, **look)


def _kinds(table: pd.DataFrame, panel: Panel) -> pd.Series[str]:
    """Return for each point: inside, unjudged, gap, or how it is beyond: worse, better, none."""
    up = (table["value"] > table["centre"]).to_numpy()
    beyond = table["beyond"].to_numpy()
    high = {"up": "better", "down": "worse", "none": "none"}[panel.better]
    low = {"up": "worse", "down": "better", "none": "none"}[panel.better]
    kinds = np.select(
        [table["value"].isna(), beyond & up, beyond, table["judged"]],
        ["gap", high, low, "inside"],
        "unjudged",
    )
    return pd.Series(kinds, index=table.index)


def _names(ax: Axes, table: pd.DataFrame, panel: Panel, words: Words, size: Size) -> None:
    """Name goal and limits at the right edge, apart from each other."""
    low, high = ax.get_ylim()
    known = {name: table[name].dropna() for name in ("upper", "lower")}
    named = [
        (line.iloc[-1], words(f"plot.{name}", value=scale.short(line.iloc[-1], panel.measure)))
        for name, line in known.items()
        if len(line)
    ]
    if panel.goal is not None:
        arrow = " ↑" if panel.goal > high else " ↓" if panel.goal < low else ""
        text = words("plot.goal", value=scale.short(panel.goal, panel.measure) + arrow)
        named.append((float(np.clip(panel.goal, low, high)), text))
    inner = size.height - size.top - size.bottom
    gap = (high - low) * size.font * 1.3 / inner
    places = scale.apart([value for value, _ in named], gap, (low, high))
    for number, place in enumerate(places):
        colour = canvas.INK if panel.goal is not None and number == len(named) - 1 else canvas.GREY
        at = (len(table) - 0.3, place)
        canvas.label(ax, named[number][1], at, offset=(4, 0), fontsize=size.font, color=colour)


def _calendar(ax: Axes, keys: Sequence[str], size: Size) -> None:
    """Tick the quarters; name each that fits, and the year below the first and each Q1."""
    quarters = [of(parse(key).start, "quarter") for key in keys]
    starts = [i for i, quarter in enumerate(quarters) if i == 0 or quarter != quarters[i - 1]]
    one = (size.width - size.left - size.right) / len(keys)
    room = one * len(keys) / len(starts)
    step = next((n for n in (1, 2, 4) if room * n > size.font * 1.9), 4)
    low = ax.get_ylim()[0]
    ax.plot(
        starts, [low] * len(starts), ls="none", marker=3, ms=3, color=canvas.GREY, mew=0.8,
        clip_on=False,
    )  # fmt: skip
    years = [i for i in starts if quarters[i].number == 1]
    if not years or (years[0] - starts[0]) * one > size.font * 2.6:
        years = [starts[0], *years]
    look: dict[str, Any] = {"fontsize": size.font - 1, "color": canvas.GREY}
    named = starts[1:] if len(starts) > 1 and one * starts[1] < size.font * 1.9 else starts
    for i in named:
        if (quarters[i].number - 1) % step == 0:
            canvas.label(ax, f"Q{quarters[i].number}", (i, low), offset=(0, -4), **look)
    for i in years:
        canvas.label(ax, str(quarters[i].year), (i, low), offset=(0, -5 - 1.2 * size.font), **look)


def _legend(
    figure: Figure, drawn: Sequence[tuple[pd.DataFrame, Panel]], words: Words, down: float
) -> None:
    """Say once what the signs mean, as far as they occur."""
    found = {kind for table, panel in drawn for kind in _kinds(table, panel)}
    items = [(mark, words(f"plot.{kind}")) for kind, mark in MARKERS.items() if kind in found]
    canvas.legend(figure, items, (9, down), size=9)


def _last(table: pd.DataFrame, panel: Panel, unit: str, lang: str) -> dict[str, Any]:
    last = table[table["value"].notna()].tail(1)
    row = {name: float(last[name].iloc[0]) if len(last) else np.nan for name in LINES}
    names = {"label": panel.label[lang], "unit": unit}
    return {**names, **row, "goal": panel.goal, "beyond": int(table["beyond"].sum())}
