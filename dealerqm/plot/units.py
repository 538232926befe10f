"""Many at one time: KPIs against their goals, units in a funnel, levels on the warning board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError, unknown
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import BOTH, Mark, Words
from dealerqm.plot.layers import DASHED, GOAL_STRETCH, LARGE, MARKERS, PAGE, Panel, Size
from dealerqm.plot.svg import Picture
from dealerqm.result import spell

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
FUNNEL = ("unit", "n", "value", "centre", "lower_95", "upper_95", "lower_998", "upper_998")
UNEVEN = 30.0  # largest over smallest n from which on n has a logarithmic scale
MOST_TIPS, SHOWN, TAIL = 200, 12, 5
BOARD = ("kpi", "label", "unit", "level", "direction", "explained")
LEVELS = {
    "act": Mark("D", canvas.VERMILLION, canvas.INK, 6.5),
    "watch": Mark("v", canvas.ORANGE, canvas.INK, 7),
    "better": Mark("^", canvas.GREEN, canvas.INK, 7),
    "unknown": Mark("x", canvas.GREY, canvas.GREY, 4.5),
    "calm": Mark("o", canvas.GREY, canvas.GREY, 1.5),
}
MOST_KPIS, MOST_UNITS, CELL = 60, 25, 34.0


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


def funnel(frame: pd.DataFrame, panel: Panel, lang: str = "zh") -> Picture:
    """Draw the values of units by the number of cases behind them.

    Parameters
    ----------
    frame : DataFrame
        One row per unit: ``unit, n, value, centre``, the limits ``lower_95, upper_95, lower_998,
        upper_998``, and ``outlier``. Units without cases or value are left out.
    panel : Panel
        Title, goal, direction, measure.
    lang : str
        Language; ``both`` as for ``chart``.

    Returns
    -------
    Picture
        Outlying units are named as far as there is room; the table begins with the most extreme.

    Raises
    ------
    MethodError
        If columns are missing, or no unit has cases and a value.
    """
    table, words = _far_first(frame, panel.better), Words(lang)
    size = PAGE if lang == BOTH else LARGE
    kinds = [kind for kind in MARKERS if kind in set(table["kind"])]
    items = [(MARKERS[kind], words(f"plot.{kind}")) for kind in kinds] if lang != BOTH else []
    with canvas.style(editable_text=lang == BOTH):
        figure = canvas.figure(size.width, size.height)
        ax = size.axes(figure, 0, size.height)
        _funnel(ax, table, panel, words, size)
        for kind in kinds:
            part = table[table["kind"] == kind]
            canvas.marks(ax, part["x"].to_numpy(), part["value"].to_numpy(), MARKERS[kind])
        _name_units(ax, table, size)
        told = table.head(MOST_TIPS) if size.talks else table[table["outlier"]].head(SHOWN)
        texts = [_funnel_tip(row, panel.measure, words) for row in told.to_dict("records")]
        canvas.tips(ax, told["x"], told["value"], texts, words)
        if lang != BOTH:
            canvas.head(figure, panel.label[lang], items)
        svg = canvas.render(figure, words)
    said, far = words.codes[0], table.loc[table["outlier"], "unit"]
    named = {"label": panel.label[said], "units": len(table), "far": len(far)}
    key = "plot.alt_funnel" if len(far) else "plot.alt_funnel_quiet"
    alt = labels.text(key, said, names=", ".join(far.head(SHOWN)), **named)
    return Picture(svg, alt, table[[*FUNNEL, "outlier"]].head(SHOWN))


def _far_first(frame: pd.DataFrame, better: str) -> pd.DataFrame:
    """Check a funnel, and put its outlying units first, the most extreme at the top."""
    missing = [name for name in (*FUNNEL, "outlier") if name not in frame.columns]
    known = frame if missing else frame[(frame["n"] > 0) & frame["value"].notna()]
    if missing or known.empty:
        raise MethodError(
            f"funnel: found {len(known)} units with cases and a value, and no columns {missing}; "
            f"expected one or more, and columns {[*FUNNEL, 'outlier']}."
        )
    table = known.assign(unit=known["unit"].astype(str)).astype(dict.fromkeys(FUNNEL[1:], float))
    far = table["outlier"].astype("boolean").fillna(value=False).astype(bool)
    past = np.maximum(table["value"] - table["upper_998"], table["lower_998"] - table["value"])
    good = (table["value"] > table["centre"]) == (better == "up")
    kind = np.where(good, "better", "worse") if better != "none" else "none"
    uneven = table["n"].max() > UNEVEN * table["n"].min()
    table = table.assign(
        outlier=far, kind=np.where(far, kind, "inside"), past=np.where(far, past, -np.inf),
        x=np.log10(table["n"]) if uneven else table["n"], uneven=uneven,
    )  # fmt: skip
    return table.sort_values(["past", "unit"], ascending=[False, True]).reset_index(drop=True)


def _funnel(ax: Axes, table: pd.DataFrame, panel: Panel, words: Words, size: Size) -> None:
    """Draw axes, limits and centre, and name them at the right edge."""
    lines, measure = table.sort_values(["n", "unit"]), panel.measure
    typical = lines.iloc[len(lines) // 2 :][list(FUNNEL[3:])].to_numpy().ravel()
    low, high, where = scale.reach(np.append(typical, table["value"]), panel.goal, GOAL_STRETCH)
    left, right, _ = scale.reach(table["x"].to_numpy(), None, 1.0)
    ax.set(xlim=(left, right), ylim=(low, high))
    grey: dict[str, Any] = {"fontsize": size.font, "color": canvas.GREY}
    ticks = scale.ticks(low, high)
    for tick in ticks:
        ax.plot([left, right], [tick] * 2, color=canvas.PALE, lw=0.6, zorder=1)
        text = scale.spell_tick(tick, ticks, measure)
        canvas.label(ax, text, (left, tick), offset=(-5, 0), **grey)
    ax.plot([left, right], [low] * 2, color=canvas.GREY, lw=0.8, clip_on=False)
    for place, text in _counts(left, right, uneven=bool(table["uneven"].any())):
        canvas.label(ax, text, (place, low), offset=(0, -4), **grey)
    middle = ((left + right) / 2, low)
    canvas.label(ax, words("plot.funnel_n"), middle, offset=(0, -6 - 1.3 * size.font), **grey)
    x, look = lines["x"].to_numpy(), dict[str, Any](color=canvas.GREY, zorder=2, lw=0.9)
    if x[0] == x[-1]:
        x, lines = np.array([left, right]), lines.iloc[[0, -1]]
    ax.fill_between(x, lines["lower_998"], lines["upper_998"], color=canvas.BAND, lw=0, zorder=0)
    for name in FUNNEL[3:]:
        ax.plot(x, lines[name], ls=_DASHES[name.partition("_")[2]], **look)
    if where == "inside" and panel.goal is not None:
        ax.plot([left, right], [panel.goal] * 2, color=canvas.INK, lw=1.0, ls=DASHED, zorder=2)
    named = [(lines[name].iloc[-1], _LEVELS[name.partition("_")[2]]) for name in FUNNEL[4:]]
    centre = lines["centre"].iloc[-1]
    named.append((centre, words("plot.funnel_centre", value=scale.short(centre, measure))))
    if panel.goal is not None:
        arrow = " ↑" if panel.goal > high else " ↓" if panel.goal < low else ""
        text = words("plot.goal", value=scale.short(panel.goal, measure) + arrow)
        named.append((panel.goal, text))
    named = sorted((float(np.clip(value, low, high)), text) for value, text in named)
    gap = (high - low) / size.inner[1] * size.font * 1.3
    places = scale.apart([value for value, _ in named], gap, (low, high))
    for place, (_, text) in zip(places, named, strict=True):
        canvas.label(ax, text, (right, place), offset=(4, 0), **grey)


_DASHES: Mapping[str, Any] = {"": (0, (1, 2)), "95": (0, (4, 2)), "998": "-"}
_LEVELS = {"95": "95%", "998": "99.8%"}


def _counts(left: float, right: float, *, uneven: bool) -> list[tuple[float, str]]:
    """Return round numbers of cases with their places."""
    if not uneven:
        return [(tick, f"{tick:,.0f}") for tick in scale.ticks(left, right) if tick > 0]
    round_ones = (step * 10**power for power in range(9) for step in (1, 2, 5))
    return [(np.log10(n), f"{n:,}") for n in round_ones if left <= np.log10(n) <= right]


def _name_units(ax: Axes, table: pd.DataFrame, size: Size) -> None:
    """Name the outlying units that have room, the most extreme first."""
    (left, right), (low, high), (wide, tall) = ax.get_xlim(), ax.get_ylim(), size.inner
    x = (table["x"].to_numpy() - left) / (right - left) * wide
    y = (table["value"].to_numpy() - low) / (high - low) * tall
    boxes = np.column_stack([x - 4, y - 4, x + 4, y + 4])
    names = [
        scale.fit(canvas.visible(u), 110, 9, tail=TAIL) for u in table.loc[table["outlier"], "unit"]
    ]
    sizes = [(scale.width(name, 9) + 4, 11.0) for name in names]
    for name, place in zip(names, scale.beside(boxes, sizes, size.inner), strict=True):
        if place:
            across, up = (place[0] + 1) / wide, (place[1] + 5.5) / tall
            at = (left + across * (right - left), low + up * (high - low))
            canvas.label(ax, name, at, offset=(1, 0), fontsize=9, zorder=5)


def _funnel_tip(row: Mapping[Any, Any], measure: str, words: Words) -> str:
    value, low, high = (spell(row[k], measure, "en") for k in ("value", "lower_998", "upper_998"))
    said = [labels.text(f"plot.{row['kind']}", code) for code in words.codes]
    return "\n".join([f"{row['unit']}: {value}, n {row['n']:,.0f}, 99.8% {low}–{high}", *said])


def board_map(frame: pd.DataFrame, lang: str = "zh") -> Picture:
    """Draw the levels of the warning board, KPIs down and units across.

    Parameters
    ----------
    frame : DataFrame
        One row per KPI and unit: ``kpi, label`` (text, or language to text), ``unit, level``
        (``act, watch, calm, unknown, better``), ``direction``, and ``explained`` (a wider unit
        changed the same way). KPIs and units stand in the order of their first rows.
    lang : str
        Language; ``both`` keeps text as text, in every language.

    Returns
    -------
    Picture
        An empty cell is a chart that does not exist; the table counts levels per KPI.

    Raises
    ------
    MethodError
        If columns are missing, levels are unknown, a pair stands twice, there is nothing to draw,
        or more than 60 KPIs or 25 units.
    """
    table, words = _board(frame), Words(lang)
    kpis, units = (list(dict.fromkeys(table[name])) for name in ("kpi", "unit"))
    levels = set(table["level"])
    items = [(mark, words(f"level.{level}")) for level, mark in LEVELS.items() if level in levels]
    if table["explained"].any():
        items.append((LEVELS["act"].hollow(), words("plot.explained")))
    names = [words("unit_type.group") if unit == "group" else
             scale.fit(canvas.visible(unit), 84, 9, tail=TAIL) for unit in units]  # fmt: skip
    longest = max(scale.width(name, 9) for name in names)
    cell = min(CELL, (WIDTH - LEFT - 66) / len(units))
    turned = longest + 4 > cell
    top = 26 + canvas.more(items, WIDTH) + (0.75 * longest + 10 if turned else 14)
    right = WIDTH - LEFT - cell * len(units)
    size = Size(WIDTH, top + ROW * len(kpis) + 8, LEFT, right, top, 8, 10)
    with canvas.style(editable_text=lang == BOTH):
        figure = canvas.figure(size.width, size.height)
        canvas.legend(figure, items, (canvas.EDGES, 13), size=canvas.SMALL)
        ax = size.axes(figure, 0, size.height)
        ax.set(xlim=(-0.5, len(units) - 0.5), ylim=(len(kpis) - 0.5, -0.5))
        look = {"rotation": 45, "rotation_mode": "anchor"} if turned else {}
        for i, name in enumerate(names):
            canvas.label(ax, name, (i, -0.5), offset=(2.0 * turned, 3), fontsize=9, **look)
        for i, label in enumerate(table.drop_duplicates("kpi")["label"]):
            ax.plot(ax.get_xlim(), [i + 0.5] * 2, color=canvas.PALE, lw=0.6, zorder=1)
            canvas.label(ax, words.of(_fitted(label)), (-0.5, i), offset=(-8, 0), fontsize=10)
        at = table.assign(x=table["unit"].map(units.index), y=table["kpi"].map(kpis.index))
        for (level, shared), part in at.groupby(["level", "explained"]):
            mark = LEVELS[str(level)].hollow() if shared else LEVELS[str(level)]
            canvas.marks(ax, part["x"].to_numpy(float), part["y"].to_numpy(float), mark)
        told = at[at["level"].isin(["act", "watch", "better"])].sort_values("level", kind="stable")
        texts = [_level_tip(row, words.codes) for row in told[:MOST_TIPS].to_dict("records")]
        canvas.tips(ax, told["x"][:MOST_TIPS], told["y"][:MOST_TIPS], texts, words)
        svg = canvas.render(figure, words)
    said = words.codes[0]
    counts = {level: int((table["level"] == level).sum()) for level in LEVELS}
    alt = labels.text("plot.alt_board", said, charts=len(table), **counts)
    data = pd.crosstab(table["kpi"], table["level"]).reindex(kpis, columns=[*LEVELS], fill_value=0)
    return Picture(svg, alt, data.reset_index().rename_axis(columns=None))


def _board(frame: pd.DataFrame) -> pd.DataFrame:
    """Check a board; give every KPI a label in every language."""
    if missing := [name for name in BOARD if name not in frame.columns]:
        raise MethodError(f"board map: found no columns {missing}, expected all of {list(BOARD)}.")
    if wrong := sorted(set(frame["level"]) - set(LEVELS)):
        raise MethodError(unknown("board map level", wrong[0], LEVELS))
    counts, twice = frame[["kpi", "unit"]].nunique(), int(frame.duplicated(["kpi", "unit"]).sum())
    if not 0 < counts["kpi"] <= MOST_KPIS or counts["unit"] > MOST_UNITS or twice:
        raise MethodError(
            f"board map: found {counts['kpi']} KPIs, {counts['unit']} units, {twice} pairs twice; "
            f"expected 1 to {MOST_KPIS}, up to {MOST_UNITS}, and none; choose KPIs or units first."
        )
    codes = labels.languages()
    named = [dict.fromkeys(codes, x) if isinstance(x, str) else x for x in frame["label"]]
    return frame.assign(label=pd.Series(named, frame.index), unit=frame["unit"].astype(str))


def _level_tip(row: Mapping[Any, Any], codes: list[str]) -> str:
    keys = [f"level.{row['level']}"] + ["plot.explained"] * bool(row["explained"])
    return "\n".join(
        f"{row['label'][code]} · {row['unit']}: "
        + ", ".join(labels.text(key, code) for key in keys) for code in codes
    )  # fmt: skip
