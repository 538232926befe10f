"""What a control chart shows, layer by layer: one drawing for charts of every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dealerqm import labels
from dealerqm.period import parse
from dealerqm.plot import canvas, scale
from dealerqm.plot.canvas import CROSSED, Mark, Words
from dealerqm.result import spell

if TYPE_CHECKING:
    from dealerqm.plot.canvas import Axes, Figure

LINES = ("value", "centre", "lower", "upper")
MARKERS = {
    "inside": Mark("o", canvas.BLUE, canvas.BLUE, 3.2),
    "unjudged": Mark("o", "white", canvas.BLUE, 3.2),
    "constant": Mark("o", "white", canvas.BLUE, 3.2),
    "excluded": Mark(CROSSED, "white", canvas.GREY, 5.5),
    "run_worse": Mark("v", canvas.ORANGE, canvas.INK, 5.5),
    "run_better": Mark("p", canvas.SKY, canvas.INK, 5.5),
    "run_none": Mark("h", canvas.YELLOW, canvas.INK, 5.5),
    "worse": Mark("D", canvas.VERMILLION, canvas.INK, 5.5),
    "better": Mark("^", canvas.GREEN, canvas.INK, 6.5),
    "none": Mark("s", canvas.PURPLE, canvas.INK, 5.5),
}
FLAGS = {
    "remark": Mark("o", "white", canvas.GREY, 10.0),
    "exclusion": Mark("o", "white", canvas.GREY, 10.0),
    "rebase": Mark("s", canvas.INK, canvas.INK, 9.0),
    "proposal": Mark("s", "white", canvas.INK, 9.0),
}
DASHED = (0, (5, 3))
GOAL_STRETCH = 1.8  # a goal that would stretch the axis more than this is named at its edge
FLAG, LANE = 12.0, 15.0  # width of a flag, height of its lane
NEWEST, MOST_TIPS = 3, 8  # points that speak where not all can


class Note(NamedTuple):
    """What a person, or the program, says about a stretch of a chart.

    Attributes
    ----------
    period, end : str
        First and last period; an empty end is the first.
    kind : str
        ``remark``, ``exclusion``, ``rebase`` or ``proposal`` (of a rebase).
    text : str
        What.
    """

    period: str
    end: str
    kind: str
    text: str


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
    onset : (str, str, str) or None
        First, likeliest and last period of the dated change.
    notes : tuple of Note
        What is written on the chart; it is numbered in the order of time.
    """

    label: Mapping[str, str]
    goal: float | None = None
    better: str = "none"
    measure: str = "value"
    onset: tuple[str, str, str] | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Size:
    """Measures of one chart in points: whole, margins, and font; whether every point speaks."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    font: float
    talks: bool = False

    @property
    def inner(self) -> tuple[float, float]:
        """Width and height of the chart without its margins."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom

    def axes(self, figure: Figure, left: float, top: float) -> Axes:
        """Return empty axes inside the margins; the corner is in points from left and bottom."""
        width, height = (float(side) * canvas.POINTS_PER_INCH for side in figure.get_size_inches())
        corner = ((left + self.left) / width, (top - self.height + self.bottom) / height)
        ax = figure.add_axes((*corner, self.inner[0] / width, self.inner[1] / height))
        ax.set_facecolor("none")
        ax.set_axis_off()
        return ax

    def taller(self, points: float) -> Size:
        """Return the size with more room above the chart."""
        return replace(self, height=self.height + points, top=self.top + points)


LARGE = Size(720, 300, 56, 92, 52, 42, 10, talks=True)
PAGE = Size(400, 196, 44, 70, 8, 32, 9)
SMALL = Size(250, 168, 40, 60, 26, 30, 8)


@dataclass(frozen=True)
class Chart:
    """One series with everything that decides how it is drawn.

    Attributes
    ----------
    table : DataFrame
        One row for every period: ``period``, ``LINES``, ``n, status, phase``, and ``kind`` (a key
        of ``MARKERS``, or ``gap``).
    panel, words, size
        Labels and notes, language, measures.
    """

    table: pd.DataFrame
    panel: Panel
    words: Words
    size: Size

    @property
    def placed(self) -> list[tuple[int, int, Note]]:
        """Notes that fall into the chart with their first and last row, in the order of time."""
        found = [
            (self.rows(note.period, note.end or note.period), note) for note in self.panel.notes
        ]
        return sorted((*rows, note) for rows, note in found if rows)

    @property
    def onset(self) -> tuple[int, int] | None:
        """First and last row of the dated change, as far as it is shown."""
        return self.rows(self.panel.onset[0], self.panel.onset[2]) if self.panel.onset else None

    @property
    def lanes(self) -> tuple[float, float]:
        """Heights of the lanes above the chart: flags, then names of phases; 0 is none."""
        phases = len(self.table["phase"].unique()) > 1
        return LANE * bool(self.placed or self.onset), (self.size.font + 3.0) * phases

    def rows(self, start: str, end: str) -> tuple[int, int] | None:
        """Return the first and last row that a stretch of time touches."""
        first, last = parse(start).start, parse(end).end
        periods = [parse(key) for key in self.table["period"]]
        inside = [i for i, one in enumerate(periods) if one.end >= first and one.start <= last]
        return (inside[0], inside[-1]) if inside else None

    def point(self, ax: Axes) -> tuple[float, float]:
        """Return how much of the data one point is, across and up."""
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        return (right - left) / self.size.inner[0], (high - low) / self.size.inner[1]

    def draw(self, ax: Axes) -> None:
        """Draw everything but the calendar."""
        where = self._frame(ax)
        for number in self.table["phase"].unique():
            _limits(ax, self.table[self.table["phase"] == number])
        self._phases(ax)
        if where == "inside" and self.panel.goal is not None:
            _across(ax, self.panel.goal, color=canvas.INK, lw=1.0, ls=DASHED, zorder=2)
        if self.table["value"].notna().any():
            self._points(ax)
        else:
            middle = (float(np.mean(ax.get_xlim())), float(np.mean(ax.get_ylim())))
            box = {"fc": "white", "lw": 0, "pad": 3}
            text = self.words("verdict.no_data")
            canvas.label(ax, text, middle, offset=(0, 0), bbox=box, **self._grey())
        self._names(ax)
        self._flags(ax)

    def calendar(self, ax: Axes) -> None:
        """Tick the quarters below the chart; name those that fit, and the years."""
        low, (_, up) = ax.get_ylim()[0], self.point(ax)
        one = self.size.inner[0] / len(self.table)
        starts, names, years = scale.calendar(list(self.table["period"]), one, self.size.font)
        x = np.repeat(starts, 3).astype(float)
        x[2::3] = np.nan
        ticks = np.tile([low, low - 3 * up, np.nan], len(starts))
        ax.plot(x, ticks, color=canvas.GREY, lw=canvas.EDGE, clip_on=False)
        look = self._grey(-1)
        for i, text in names:
            canvas.label(ax, text, (i, low), offset=(0, -4), **look)
        for i, text in years:
            canvas.label(ax, text, (i, low), offset=(0, -5 - 1.2 * self.size.font), **look)

    def _grey(self, more: float = 0) -> dict[str, Any]:
        return {"fontsize": self.size.font + more, "color": canvas.GREY}

    def _frame(self, ax: Axes) -> str:
        """Set the range, draw what lies behind, and return where the goal lies."""
        values, panel, size = self.table[list(LINES)].to_numpy(), self.panel, self.size
        low, high, where = scale.reach(values, panel.goal, GOAL_STRETCH)
        if (self.table["status"] == "baseline").any():
            low = scale.floor(low, high, (size.font + 4) / size.inner[1])
        ax.set_xlim(-0.7, len(self.table) - 0.3)
        ax.set_ylim(low, high)
        if self.onset:
            sides = np.array([self.onset[0] - 0.5, self.onset[1] + 0.5])
            ax.fill(
                sides[[0, 1, 1, 0]], [low, low, high, high], color=canvas.SAND, lw=0, zorder=0.5
            )
        ticks = [tick for tick in scale.ticks(low, high) if tick >= 0 or (values < 0).any()]
        for tick in ticks:
            _across(ax, tick, color=canvas.PALE, lw=0.6, zorder=1)
            text = scale.spell_tick(tick, ticks, panel.measure)
            canvas.label(ax, text, (-0.7, tick), offset=(-5, 0), **self._grey())
        _across(ax, low, color=canvas.GREY, lw=0.8)
        return where

    def _phases(self, ax: Axes) -> None:
        """Part the phases and name them; underline the baseline of each."""
        (low, high), (wide, up) = ax.get_ylim(), self.point(ax)
        level, top = high + up * self.lanes[0], high + up * sum(self.lanes)
        groups = list(self.table.groupby("phase", sort=False))
        for number, part in groups:
            first, last = part.index[0] - 0.5, part.index[-1] + 0.5
            if len(groups) > 1:
                if first > 0:
                    x, y = [first] * 5, [low, high, np.nan, level, top]
                    ax.plot(x, y, color=canvas.GREY, lw=0.8, clip_on=False)
                name = self.words("plot.phase", number=number)
                if scale.width(name, self.size.font - 1) + 4 > (last - first) / wide:
                    name = str(number)
                at = (first, (level + top) / 2)
                canvas.label(ax, name, at, offset=(3, 0), **self._grey(-1))
            base = part.index[part["status"] == "baseline"]
            if len(base):
                ends = [base[0] - 0.4, base[-1] + 0.4]
                ax.plot(ends, [low] * 2, color=canvas.GREY, lw=3.0, clip_on=False)
                name = self.words("plot.baseline")
                if scale.width(name, self.size.font - 1) < (ends[1] - ends[0]) / wide:
                    at = (ends[0], low + 0.5 * up * (self.size.font + 3))
                    canvas.label(ax, name, at, offset=(1, 0), **self._grey(-1))

    def _points(self, ax: Axes) -> None:
        """Draw line and signs; an excluded point stands alone."""
        table, kinds = self.table, self.table["kind"]
        y = table["value"].where(kinds != "excluded").to_numpy(float)
        ax.plot(table.index, y, color=canvas.BLUE, lw=1.1, zorder=3, clip_on=False)
        for kind, mark in MARKERS.items():
            chosen = table[kinds == kind]
            if len(chosen):
                x, grow = chosen.index.to_numpy(float), self.size.font / PAGE.font
                canvas.marks(ax, x, chosen["value"].to_numpy(float), mark, grow=grow)
        spoken = table[table["value"].notna()]
        if not self.size.talks:
            newest = spoken.index >= spoken.index[-NEWEST:][0]
            spoken = spoken[spoken["kind"].isin(SPEAKING) | newest]
            runs = spoken["kind"].str.startswith("run").sort_values(ascending=False, kind="stable")
            spoken = spoken.loc[runs.index].tail(MOST_TIPS).sort_index()
        texts = [self._tip(row) for row in spoken.to_dict("records")]
        canvas.tips(ax, spoken.index, spoken["value"], texts, self.words)

    def _tip(self, row: Mapping[Any, Any]) -> str:
        """Return what a point says under the pointer: numbers, and words in every language."""
        value, _, lower, upper = (spell(row[name], self.panel.measure, "en") for name in LINES)
        known = {"LCL": lower, "UCL": upper, "n": f"{row['n']:,.0f}"}
        numbers = [f"{row['period']}: {value}"]
        numbers += [f"{name} {text}" for name, text in known.items() if text not in ("–", "nan")]
        words = [f"plot.{row['kind']}"] + ["plot.baseline"] * (row["status"] == "baseline")
        said = [", ".join(labels.text(key, code) for key in words) for code in self.words.codes]
        return "\n".join([", ".join(numbers), *said])

    def _names(self, ax: Axes) -> None:
        """Name goal and limits at the right edge, apart from each other."""
        (low, high), goal, measure = ax.get_ylim(), self.panel.goal, self.panel.measure
        last = self.table[["lower", "upper"]].ffill().iloc[-1].dropna()
        named = [
            (value, self.words(f"plot.{name}", value=scale.short(value, measure)), canvas.GREY)
            for name, value in last.items()
        ]
        if goal is not None:
            arrow = " ↑" if goal > high else " ↓" if goal < low else ""
            text = self.words("plot.goal", value=scale.short(goal, measure) + arrow)
            named.insert(1, (float(np.clip(goal, low, high)), text, canvas.INK))
        gap = self.point(ax)[1] * self.size.font * 1.3
        places = scale.apart([value for value, _, _ in named], gap, (low, high))
        for place, (_, text, colour) in zip(places, named, strict=True):
            at = (len(self.table) - 0.3, place)
            canvas.label(ax, text, at, offset=(4, 0), fontsize=self.size.font, color=colour)

    def _flags(self, ax: Axes) -> None:
        """Draw the dated change, and numbered flags for notes, in a lane above the chart."""
        (low, high), (wide, up), left = ax.get_ylim(), self.point(ax), ax.get_xlim()[0]
        look: dict[str, Any] = {"color": canvas.INK, "lw": 0.8, "clip_on": False, "zorder": 2}
        items = self._items()
        foot = low + up * (self.size.font + 3) * (self.table["status"] == "baseline").any()
        for one in items:
            if one.kind in _UPRIGHT:
                ax.plot([one.place] * 2, [foot, high], ls=_UPRIGHT[one.kind], **look)
            if one.last > one.first:
                bar = look | {"color": canvas.GREY, "lw": 2.0}
                ax.plot([one.first - 0.4, one.last + 0.4], [high] * 2, **bar)
        flags = _merged(items, self.size.inner[0])
        wanted = [(flag.place - left) / wide for flag in flags]
        moved = scale.row(wanted, [flag.width for flag in flags], (0.0, self.size.inner[0]))
        level = high + up * LANE / 2
        for flag, place in zip(flags, moved, strict=True):
            x = left + place * wide
            ax.plot([flag.place, x], [high, level - 6 * up], **(look | {"color": canvas.GREY}))
            if flag.kind in FLAGS:
                canvas.marks(ax, [x], [level], FLAGS[flag.kind])
            colour = "white" if flag.kind == "rebase" else canvas.INK
            size = self.size.font - 1 if flag.kind == "onset" else 6.5
            canvas.label(
                ax, flag.text, (x, level), offset=(0, 0), fontsize=size, color=colour, zorder=6
            )
            if flag.tip and self.size.talks:
                canvas.tips(ax, [x], [level], [flag.tip], self.words)

    def _items(self) -> list[_Flag]:
        """Return what stands in the lane of flags, from left to right."""
        flags = []
        for number, (first, last, note) in enumerate(self.placed, 1):
            starts = note.kind in ("rebase", "proposal")
            place = first - 0.5 if starts else (first + last) / 2
            last = first if starts else last
            flags.append(_Flag(place, first, last, note.kind, str(number), FLAG, note.text))
        if self.onset and self.panel.onset:
            likeliest = self.rows(self.panel.onset[1], self.panel.onset[1]) or self.onset
            text = self.words("plot.onset", period=self.panel.onset[1])
            wide = scale.width(text, self.size.font - 1) + 6
            flags.append(_Flag(float(likeliest[0]), 0, 0, "onset", text, wide, ""))
        return sorted(flags, key=lambda flag: flag.place)


class _Flag(NamedTuple):
    """Something in the lane above a chart."""

    place: float
    first: int
    last: int
    kind: str
    text: str
    width: float
    tip: str


SPEAKING = [kind for kind in MARKERS if kind not in ("inside", "unjudged", "constant")]
_UPRIGHT: Mapping[str, Any] = {"proposal": (0, (2, 2)), "onset": "-"}


def _merged(flags: Sequence[_Flag], room: float) -> list[_Flag]:
    """Let neighbouring notes share a flag as far as the room makes it necessary."""
    notes = [flag for flag in flags if flag.kind in FLAGS]
    others = [flag for flag in flags if flag.kind not in FLAGS]
    if len(notes) * FLAG <= (room := room - sum(flag.width for flag in others)):
        return list(flags)
    many = -(-len(notes) // max(1, int(room / (2 * FLAG))))
    for start in range(0, len(notes), many):
        part = notes[start : start + many]
        text = f"{part[0].text}–{part[-1].text}" if len(part) > 1 else part[0].text
        tip = "\n".join(flag.tip for flag in part)
        others.append(part[0]._replace(kind="", text=text, width=2 * FLAG, tip=tip))
    return sorted(others, key=lambda flag: flag.place)


def _across(ax: Axes, value: float, **look: Any) -> None:  # noqa: ANN401
    ax.plot(ax.get_xlim(), [value, value], clip_on=False, **look)


def _limits(ax: Axes, part: pd.DataFrame) -> None:
    """Draw the limits of one phase in steps, with a band between them."""
    x = np.repeat(part.index.to_numpy(float), 2) + np.tile([-0.5, 0.5], len(part))
    centre, lower, upper = (np.repeat(part[name].to_numpy(float), 2) for name in LINES[1:])
    known = np.flatnonzero(np.isfinite(lower) & np.isfinite(upper))
    for run in filter(len, np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)):
        around = np.concatenate([lower[run], upper[run][::-1]])
        sides = np.concatenate([x[run], x[run][::-1]])
        ax.fill(sides, around, color=canvas.BAND, lw=0, zorder=0, clip_on=False)
    look: dict[str, Any] = {"color": canvas.GREY, "zorder": 2, "clip_on": False}
    ax.plot(x, lower, lw=1.0, **look)
    ax.plot(x, upper, lw=1.0, **look)
    ax.plot(x, centre, lw=0.9, ls=(0, (1, 2)), **look)
