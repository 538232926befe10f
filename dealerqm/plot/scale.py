"""Axes without matplotlib: range, round ticks, short numbers, texts kept apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dealerqm.period import of, parse
from dealerqm.result import spell

MARGIN = 0.1  # of the range of the values, above and below
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_WIDE = 0x2E80  # characters from here on are as wide as high
_LETTER = 0.54  # mean width of the others, in heights
_YEAR = 2.6  # width of the name of a year with the gap beside it, in heights


def reach(values: NDArray[Any], goal: float | None, stretch: float) -> tuple[float, float, str]:
    """Return the range of an axis, and where the goal lies.

    Parameters
    ----------
    values : ndarray
        All that is drawn; missing values are ignored.
    goal : float or None
        Drawn inside unless it would stretch the range too much.
    stretch : float
        How many times the range of the values the axis may cover for the goal's sake.

    Returns
    -------
    (float, float, str)
        Low, high, and ``inside``, ``outside`` or ``none``.

    Examples
    --------
    >>> low, high, where = reach(np.array([0.8, 0.9]), 0.85, 1.8)
    >>> round(low, 3), round(high, 3), where
    (0.79, 0.91, 'inside')
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.1 * (abs(low) or 1), high + 0.1 * (abs(high) or 1)
    where = "none"
    if goal is not None:
        wide = max(high, goal) - min(low, goal)
        where = "inside" if wide <= stretch * (high - low) or not known.size else "outside"
        if where == "inside":
            low, high = min(low, goal), max(high, goal)
    margin = MARGIN * (high - low)
    return low - margin, high + margin, where


def floor(low: float, high: float, share: float) -> float:
    """Return a lower end of an axis that leaves room below everything drawn.

    Parameters
    ----------
    low, high : float
        Range as ``reach`` gives it.
    share : float
        Least part of the axis below the lowest value.

    Returns
    -------
    float
        At most ``low``.

    Examples
    --------
    >>> floor(0.0, 12.0, 0.2), floor(0.0, 12.0, 0.05)
    (-1.75, 0.0)
    """
    lowest = low + (high - low) * MARGIN / (1 + 2 * MARGIN)
    return min(low, (lowest - share * high) / (1 - share))


def calendar(
    keys: Sequence[str], one: float, font: float
) -> tuple[list[int], list[tuple[int, str]], list[tuple[int, str]]]:
    """Return the marks of a time axis.

    Parameters
    ----------
    keys : sequence of str
        Periods without gap.
    one, font : float
        Room for one of them, and size of the font.

    Returns
    -------
    (list of int, list of (int, str), list of (int, str))
        Places where a quarter starts, names of quarters that have room, and names of years: at
        the first place, if it has room, and at first quarters.

    Examples
    --------
    >>> calendar(["2025-12", "2026-01", "2026-02"], 40.0, 10.0)
    ([0, 1], [(0, 'Q4'), (1, 'Q1')], [(0, '2025'), (1, '2026')])
    """
    periods = [parse(key) for key in keys]
    quarters = [of(period.start, "quarter") for period in periods]
    starts = [i for i, quarter in enumerate(quarters) if i == 0 or quarter != quarters[i - 1]]
    room = one * len(keys) / len(starts)
    step = next((n for n in (1, 2, 4) if room * n > font * 1.9), 4)
    named = starts[1:] if len(starts) > 1 and one * starts[1] < font * 1.9 else starts
    names = [(i, f"Q{quarters[i].number}") for i in named if (quarters[i].number - 1) % step == 0]
    first = [i for i in starts if quarters[i].number == 1]
    years = [] if first and (first[0] - starts[0]) * one <= font * _YEAR else starts[:1]
    for i in first:
        if not years or (i - years[-1]) * one > font * _YEAR:
            years.append(i)
    names = [] if periods[0].kind == "year" else names
    return starts, names, [(i, str(quarters[i].year)) for i in years]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers inside a range.

    Parameters
    ----------
    low, high : float
        The range.
    most : int
        At most so many steps.

    Returns
    -------
    list of float
        In order.

    Examples
    --------
    >>> ticks(0.79, 0.93)
    [0.8, 0.85, 0.9]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in _STEPS if power * s >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def spell_tick(value: float, shown: Sequence[float], measure: str) -> str:
    """Return the text of a tick with as many decimals as its neighbours need.

    Parameters
    ----------
    value : float
        The tick.
    shown : sequence of float
        All ticks of the axis.
    measure : str
        ``share`` in percent, ``score`` times 100, else as it is.

    Returns
    -------
    str
        The number.

    Examples
    --------
    >>> [spell_tick(t, [0.8, 0.85], "share") for t in (0.8, 0.85)]
    ['80%', '85%']
    """
    factor = 100.0 if measure in ("share", "score") else 1.0
    sizes = [round(tick * factor, 9) for tick in shown]
    digits = next((d for d in range(6) if all(round(s, d) == s for s in sizes)), 6)
    return f"{value * factor:,.{digits}f}" + ("%" if measure == "share" else "")


def short(value: float, measure: str) -> str:
    """Return a value for a narrow margin.

    Parameters
    ----------
    value : float
        The value.
    measure : str
        ``share``, ``score`` or ``value``.

    Returns
    -------
    str
        The number, without a trailing ``.0``.

    Examples
    --------
    >>> short(0.95, "share"), short(0.9312, "share"), short(24, "value")
    ('95%', '93.1%', '24')
    """
    text = spell(float(value), measure, "en")
    number, percent = text.removesuffix("%"), text.endswith("%")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number + ("%" if percent else "")


def apart(places: Sequence[float], gap: float, bounds: tuple[float, float]) -> list[float]:
    """Return places moved as little as needed so that none is nearer than the gap.

    Parameters
    ----------
    places : sequence of float
        Wanted places.
    gap : float
        Least distance.
    bounds : (float, float)
        Lowest and highest place.

    Returns
    -------
    list of float
        In the order given.

    Examples
    --------
    >>> apart([5.0, 5.0, 1.0], 2.0, (0.0, 10.0))
    [4.0, 6.0, 1.0]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    moved = [float(places[i]) for i in order]
    for _ in range(100):
        pairs = [(i, gap - (moved[i + 1] - moved[i])) for i in range(len(moved) - 1)]
        tight = [(i, lack) for i, lack in pairs if lack > gap * 1e-6]
        if not tight:
            break
        for i, lack in tight:
            moved[i], moved[i + 1] = moved[i] - lack / 2, moved[i + 1] + lack / 2
        moved = [min(max(place, bounds[0]), bounds[1]) for place in moved]
    result = [0.0] * len(places)
    for rank, i in enumerate(order):
        result[i] = moved[rank]
    return result


def row(
    places: Sequence[float], sizes: Sequence[float], bounds: tuple[float, float]
) -> list[float]:
    """Return the middles of things in one row, moved so that none covers another.

    Parameters
    ----------
    places : sequence of float
        Wanted middles, in order.
    sizes : sequence of float
        How much of the row each takes.
    bounds : (float, float)
        Both ends of the row; when the things do not fit, they leave it on the left.

    Returns
    -------
    list of float
        In the order given.

    Examples
    --------
    >>> row([2.0, 3.0, 9.0], [4.0, 2.0, 2.0], (0.0, 9.0))
    [2.0, 5.0, 8.0]
    """
    moved: list[float] = []
    edge = bounds[0]
    for place, size in zip(places, sizes, strict=True):
        moved.append(max(place, edge + size / 2))
        edge = moved[-1] + size / 2
    edge = bounds[1]
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], edge - sizes[i] / 2)
        edge = moved[i] - sizes[i] / 2
    return moved


def beside(
    boxes: NDArray[Any], sizes: Sequence[tuple[float, float]], room: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """Return where names stand beside their points so that they cover nothing.

    Parameters
    ----------
    boxes : ndarray, shape (points, 4)
        Left, bottom, right and top of all points; the first ones have the names.
    sizes : sequence of (float, float)
        Width and height of each name.
    room : (float, float)
        Width and height of the chart.

    Returns
    -------
    list of (float, float) or None
        Left and bottom of each name; None where there is no room for it.

    Examples
    --------
    >>> beside(np.array([[0, 4, 2, 6], [3, 4, 5, 6]]), [(5, 2)], (9.0, 9.0))
    [(0.0, 6.0)]
    """
    taken, found = np.asarray(boxes, float), []
    for (left, low, right, top), (wide, high) in zip(boxes, sizes, strict=False):
        level, middle = (low + top - high) / 2, (left + right - wide) / 2
        sides = [(right, level), (left - wide, level), (middle, top), (middle, low - high)]
        ends = [(x, y) for y in (top, low - high) for x in (left, right - wide, right, left - wide)]
        free = [(x, y) for x, y in sides + ends if _free(taken, (x, y, x + wide, y + high), room)]
        found.append((float(free[0][0]), float(free[0][1])) if free else None)
        if free:
            taken = np.vstack([taken, [*free[0], free[0][0] + wide, free[0][1] + high]])
    return found


def _free(taken: NDArray[Any], box: Sequence[float], room: tuple[float, float]) -> bool:
    left, low, right, top = box
    meets = (taken[:, 0] < right) & (taken[:, 2] > left) & (taken[:, 1] < top) & (taken[:, 3] > low)
    return left >= 0 and low >= 0 and right <= room[0] and top <= room[1] and not meets.any()


def flow(sizes: Sequence[float], room: float) -> list[tuple[float, int]]:
    """Return where things stand that are written in lines like words.

    Parameters
    ----------
    sizes : sequence of float
        Widths.
    room : float
        Width of a line; a thing that is wider has a line of its own.

    Returns
    -------
    list of (float, int)
        Left end and number of the line, from 0.

    Examples
    --------
    >>> flow([30.0, 40.0, 50.0], 80.0)
    [(0.0, 0), (30.0, 0), (0.0, 1)]
    """
    found, left, line = [], 0.0, 0
    for size in sizes:
        if left and left + size > room:
            left, line = 0.0, line + 1
        found.append((left, line))
        left += size
    return found


def width(text: str, size: float) -> float:
    """Return about how wide a text is.

    Parameters
    ----------
    text : str
        One line.
    size : float
        Font size.

    Returns
    -------
    float
        In the unit of the size.

    Examples
    --------
    >>> width("目标", 10.0)
    20.0
    """
    return sum(size if ord(letter) >= _WIDE else size * _LETTER for letter in text)


def fit(text: str, room: float, size: float, *, tail: int = 0) -> str:
    """Return a text cut to the room it has, the cut marked by an ellipsis.

    Parameters
    ----------
    text : str
        One line.
    room, size : float
        Width at hand and font size in one unit.
    tail : int
        Letters kept at the end.

    Returns
    -------
    str
        The text, whole when it fits.

    Examples
    --------
    >>> fit("First response to complaints", 80.0, 10.0)
    'First respon…'
    """
    if width(text, size) <= room:
        return text
    text, end = text[: len(text) - tail], text[len(text) - tail :]
    while text and width(text + end, size) + size > room:
        text = text[:-1]
    return text.rstrip() + "…" + end
