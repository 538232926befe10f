"""Control charts: one large, many small, one for a page with its own caption, XmR pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.period import parse, span
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import BOTH, Mark, Words
from dealerqm.plot.layers import LARGE, LINES, MARKERS, PAGE, SMALL, Chart, Note, Panel, Size
from dealerqm.plot.svg import Picture, inline
from dealerqm.result import spell

COLUMNS = ("period", "value", "centre", "lower", "upper", "judged", "beyond")
RANGES = ("mr", "mr_centre", "mr_upper")
SERIES = ["kpi", "unit_type", "unit"]
GRID_COLUMNS, MOST_PANELS = 3, 60
ROWS, PAIR = 12, 2  # rows of a small table; periods that are listed one by one
PAIRS = {  # values above, moving ranges below
    False: (replace(LARGE, height=252, bottom=14), replace(LARGE, height=144, top=22)),
    True: (replace(PAGE, height=140, bottom=8), replace(PAGE, height=106, top=18)),
}


def chart(frame: pd.DataFrame, panel: Panel, lang: str = "zh") -> Picture:
    """Draw the control chart of one KPI and one unit.

    Parameters
    ----------
    frame : DataFrame
        One row per period: ``period, value, centre, lower, upper, judged, beyond``, and as far as
        known ``run`` (the point is part of a run that signals), ``status`` (``baseline, judged,
        excluded, gap, short, constant``), ``phase`` (from 1) and ``n``. Periods that are missing,
        and values that are, leave gaps.
    panel : Panel
        Title, goal, direction, measure, dated change and notes.
    lang : str
        Language; ``both`` gives a smaller chart without title for a page in all languages, with
        text kept as text.

    Returns
    -------
    Picture
        The chart with a sentence that says the same, its newest points, and the texts of its
        flags.

    Raises
    ------
    MethodError
        If columns are missing, or the frame holds several series or no period.
    """
    words = Words(lang)
    one = _chart(frame, panel, words, PAGE if lang == BOTH else LARGE)
    items = _signs([one], words) if lang != BOTH else []
    one = replace(one, size=one.size.taller(sum(one.lanes) + canvas.more(items, one.size.width)))
    with canvas.style(editable_text=lang == BOTH):
        figure = canvas.figure(one.size.width, one.size.height)
        ax = one.size.axes(figure, 0, one.size.height)
        one.draw(ax)
        one.calendar(ax)
        if lang != BOTH:
            canvas.head(figure, panel.label[lang], items)
        svg = canvas.render(figure, words)
    said = words.codes[0]
    return Picture(
        svg, describe(frame, panel, said), _newest(one), _notes({panel.label[said]: one})
    )


def small_multiples(
    frame: pd.DataFrame, *, panels: Mapping[Any, Panel], lang: str = "zh"
) -> Picture:
    """Draw many control charts as a grid, one for each series.

    Parameters
    ----------
    frame : DataFrame
        Rows of ``chart`` with ``kpi, unit_type, unit`` before them.
    panels : mapping
        How a series ``(kpi, unit_type, unit)`` is drawn, or else all series of a ``kpi``.
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
    words = Words(lang)
    drawn = [
        (str(key[2]), _chart(part, panels.get(key) or panels[str(key[0])], words, SMALL))
        for key, part in groups
    ]
    size = SMALL.taller(max(sum(one.lanes) for _, one in drawn))
    items = _signs([one for _, one in drawn], words)
    wide = GRID_COLUMNS * size.width
    head = 30 + canvas.more(items, wide)
    height = -(-len(drawn) // GRID_COLUMNS) * size.height + head
    with canvas.style(editable_text=False):
        figure = canvas.figure(wide, height)
        canvas.legend(figure, items, (canvas.EDGES, 12), size=canvas.SMALL)
        for number, (unit, one) in enumerate(drawn):
            row, column = divmod(number, GRID_COLUMNS)
            left, top = column * size.width, height - head - row * size.height
            ax = size.axes(figure, left, top)
            label = one.panel.label[lang]
            title = canvas.visible(label if unit == "group" else f"{unit} · {label}")
            title = scale.fit(title, size.width - 18, size.font + 1)
            at = ((left + 10) / wide, (top - 10) / height)
            figure.text(*at, title, fontsize=size.font + 1, va="center")
            replace(one, size=size).draw(ax)
            replace(one, size=size).calendar(ax)
        svg = canvas.render(figure, words)
    data = pd.DataFrame([_last(one, unit, lang) for unit, one in drawn])
    alt = labels.text(
        "plot.alt_grid",
        lang,
        charts=len(drawn),
        beyond=int(data["beyond"].sum()),
        runs=int(data["run"].sum()),
    )
    names = {f"{unit} · {one.panel.label[lang]}": one for unit, one in drawn}
    return Picture(svg, alt, data, _notes(names))


def xmr_pair(frame: pd.DataFrame, panel: Panel, lang: str = "zh") -> Picture:
    """Draw individual values above their moving ranges, on one time axis.

    Parameters
    ----------
    frame : DataFrame
        As for ``chart``, with ``mr, mr_centre, mr_upper``: the moving range that ends at the
        point, its mean and its limit.
    panel, lang
        As for ``chart``.

    Returns
    -------
    Picture
        Both charts; the table holds the newest points of both.

    Raises
    ------
    MethodError
        As ``chart`` does.
    """
    words, both = Words(lang), lang == BOTH
    above, below = PAIRS[both]
    top = _chart(frame, panel, words, above)
    ranges = _ranges(frame)
    under = _chart(ranges, Panel(panel.label, measure=panel.measure), words, below)
    items = _signs([top, under], words) if not both else []
    top = replace(top, size=above.taller(sum(top.lanes) + canvas.more(items, above.width)))
    under = replace(under, size=below.taller(sum(under.lanes)))
    height = top.size.height + under.size.height
    with canvas.style(editable_text=both):
        figure = canvas.figure(above.width, height)
        top.draw(top.size.axes(figure, 0, height))
        ax = under.size.axes(figure, 0, under.size.height)
        under.draw(ax)
        under.calendar(ax)
        at = (below.left / below.width, (under.size.height - below.top / 2) / height)
        figure.text(*at, words("plot.moving_range"), fontsize=below.font, va="center")
        if lang != BOTH:
            canvas.head(figure, panel.label[lang], items)
        svg = canvas.render(figure, words)
    said = words.codes[0]
    wild = _named(under.table, under.table["beyond"])
    key = "plot.alt_ranges" if wild else "plot.alt_ranges_inside"
    alt = describe(frame, panel, said) + labels.text(key, said, periods=wild)
    data = _newest(top).merge(frame[["period", *RANGES]], on="period", how="left")
    return Picture(svg, alt, data, _notes({panel.label[said]: top}))


def describe(frame: pd.DataFrame, panel: Panel, lang: str) -> str:
    """Return what a control chart shows, in words.

    Parameters
    ----------
    frame : DataFrame
        As for ``chart``.
    panel : Panel
        Label, goal, measure, dated change, notes.
    lang : str
        Language.

    Returns
    -------
    str
        Newest value, limits, goal, which points signal, the date of the change, and the notes.
    """
    one = _chart(frame, panel, Words(lang), PAGE)
    table = one.table
    known = table[table["value"].notna()]
    if known.empty:
        return labels.text("plot.alt_empty", lang, label=panel.label[lang])
    last = known.iloc[-1]
    spelled = {name: spell(last[name], panel.measure, lang) for name in LINES}
    said: dict[str, dict[str, Any]] = {
        "last": {"label": panel.label[lang], "period": last["period"], **spelled},
        {"short": "young", "constant": "constant"}.get(last["status"], "limits"): spelled,
    }
    if panel.goal is not None:
        said["goal"] = {"value": spell(panel.goal, panel.measure, lang)}
    if (phases := len(table["phase"].unique())) > 1:
        said["phases"] = {"phases": phases}
    rows = {"beyond": table["beyond"], "run": table["run"], "excluded": table["kind"] == "excluded"}
    said |= {name: {"periods": _named(table, flag)} for name, flag in rows.items() if flag.any()}
    if table["judged"].any() and not {"beyond", "run"} & said.keys():
        said["inside"] = {}
    if panel.onset and one.onset:
        said["onset"] = dict(zip(("first", "likeliest", "last"), panel.onset, strict=True))
    if one.placed:
        said["notes"] = {"notes": _listed(one, lang)}
    stop = labels.text("plot.stop", lang)
    return (
        stop.join(labels.text(f"plot.alt_{k}", lang, **v) for k, v in said.items()) + stop.strip()
    )


def signs() -> dict[str, str]:
    """Return the signs of points as small drawings, for the legend of a page.

    Returns
    -------
    dict of str to str
        Kind of point (``plot.<kind>`` in ``labels.toml``) to ``<svg>``; each is described by the
        element with id ``sign-<kind>``.

    Examples
    --------
    >>> list(signs())[:4]
    ['inside', 'unjudged', 'constant', 'excluded']
    """
    drawn = {}
    with canvas.style(editable_text=True):
        for kind, mark in MARKERS.items():
            figure = canvas.figure(12, 12)
            canvas.legend(figure, [(mark, "")], (2, 6), size=canvas.SMALL)
            drawn[kind] = inline(canvas.render(figure, Words(BOTH)), f"sign-{kind}")
    return drawn


def _named(table: pd.DataFrame, flag: pd.Series[bool]) -> str:
    """Name periods, three and more in a row as a stretch."""
    rows = np.flatnonzero(flag)
    runs = np.split(table["period"].to_numpy()[rows], np.flatnonzero(np.diff(rows) > 1) + 1)
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > PAIR else ", ".join(r) for r in runs)


def _listed(one: Chart, lang: str) -> str:
    """Return the texts of the flags."""
    parts = []
    for number, (_, _, note) in enumerate(one.placed, 1):
        when = note.period if note.end in ("", note.period) else f"{note.period}–{note.end}"
        kind = labels.text(f"note.{note.kind}", lang)
        words = {"number": number, "when": when, "kind": kind, "text": note.text}
        parts.append(labels.text("plot.alt_note", lang, **words))
    return labels.text("plot.semicolon", lang).join(parts)


def _notes(charts: Mapping[str, Chart]) -> pd.DataFrame:
    """Return what the flags of each chart stand for."""
    rows = [
        {"chart": name, "number": number, **note._asdict()}
        for name, one in charts.items()
        for number, (_, _, note) in enumerate(one.placed, 1)
    ]
    return pd.DataFrame(rows, columns=["chart", "number", *Note._fields])


def _chart(frame: pd.DataFrame, panel: Panel, words: Words, size: Size) -> Chart:
    table = _series(frame)
    return Chart(table.assign(kind=_kinds(table, panel.better)), panel, words, size)


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
    table = table.reindex(columns=[*COLUMNS, "run", "n", "status", "phase"])
    flags = {
        name: table[name].astype("boolean").fillna(value=False).astype(bool)
        for name in ("judged", "beyond", "run")
    }
    lines = {name: table[name].astype(float) for name in (*LINES, "n")}
    plain = np.select([lines["value"].isna(), flags["judged"]], ["gap", "judged"], "short")
    status = table["status"].astype(object).where(table["status"].notna(), plain)
    phase = table["phase"].astype(float).ffill().bfill().fillna(1.0).astype(int)
    columns = {"period": whole, **lines, **flags, "status": status, "phase": phase}
    return pd.DataFrame(columns).reset_index(drop=True)


def _kinds(table: pd.DataFrame, better: str) -> pd.Series[str]:
    """Return for each point ``gap`` or its key of ``MARKERS``."""
    high, low = {"up": ("better", "worse"), "down": ("worse", "better")}.get(better, ("none",) * 2)
    side = np.where(table["value"] > table["centre"], high, low)
    status = table["status"]
    rules = {
        "gap": table["value"].isna(),
        "excluded": status == "excluded",
        **{name: table["beyond"] & (side == name) for name in ("worse", "better", "none")},
        **{f"run_{name}": table["run"] & (side == name) for name in ("worse", "better", "none")},
        "constant": status == "constant",
        "inside": status.isin(["baseline", "judged"]),
    }
    found = np.select([np.asarray(rule, bool) for rule in rules.values()], [*rules], "unjudged")
    return pd.Series(found, index=table.index)


def _ranges(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the chart of the moving ranges."""
    missing = [name for name in RANGES if name not in frame.columns]
    if missing:
        raise MethodError(f"xmr pair: found no columns {missing}, expected all of {list(RANGES)}.")
    upper = frame["mr_upper"].astype(float)
    lines = {"value": frame["mr"], "centre": frame["mr_centre"], "upper": upper}
    judged = frame["judged"].astype("boolean").fillna(value=False).astype(bool)
    beyond = judged & (frame["mr"].astype(float) > upper)
    lines["lower"] = upper.where(upper.isna(), 0.0)
    table = frame.assign(**lines, beyond=beyond, run=False)
    return table.replace({"status": {"baseline": "judged"}}) if "status" in table else table


def _signs(charts: Sequence[Chart], words: Words) -> list[tuple[Mark, str]]:
    """Return what the signs mean, as far as they occur."""
    found = {kind for one in charts for kind in one.table["kind"]}
    return [(mark, words(f"plot.{kind}")) for kind, mark in MARKERS.items() if kind in found]


def _newest(one: Chart) -> pd.DataFrame:
    return one.table.tail(ROWS).reset_index(drop=True)


def _last(one: Chart, unit: str, lang: str) -> dict[str, Any]:
    last = one.table[one.table["value"].notna()].tail(1)
    row = {name: float(last[name].iloc[0]) if len(last) else np.nan for name in LINES}
    signals = {name: int(one.table[name].sum()) for name in ("beyond", "run")}
    return {"label": one.panel.label[lang], "unit": unit, **row, "goal": one.panel.goal, **signals}
