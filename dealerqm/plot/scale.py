"""Axes without matplotlib: range, round ticks, short numbers, texts kept apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dealerqm.result import spell

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_WIDE = 0x2E80  # characters from here on are as wide as high
_LETTER = 0.54  # mean width of the others, in heights


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
    margin = 0.1 * (high - low)
    return low - margin, high + margin, where


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


def fit(text: str, room: float, size: float) -> str:
    """Return a text cut to the room it has, the cut marked by an ellipsis.

    Parameters
    ----------
    text : str
        One line.
    room, size : float
        Width at hand and font size in one unit.

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
    while text and width(text, size) + size > room:
        text = text[:-1]
    return text.rstrip() + "…"
