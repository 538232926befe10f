"""Small checks of parsed TOML; each raises a PlanError that names the key and what was found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from dealerqm import labels
from dealerqm.errors import PlanError, unknown

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def known(body: object, allowed: Iterable[str], place: str) -> Mapping[str, Any]:
    """Refuse anything but a table with allowed keys.

    Parameters
    ----------
    body : object
        What stands in the file.
    allowed : iterable of str
        Keys.
    place : str
        File and key, for messages.

    Returns
    -------
    mapping
        The body.

    Raises
    ------
    PlanError
        If it is no table, or has another key.
    """
    if not isinstance(body, Mapping):
        raise PlanError(f"{place}: found {body!r}, expected a table of keys.")
    for key in body:
        if key not in allowed:
            raise PlanError(unknown(place, key, allowed))
    return body


def named(body: object, place: str) -> Mapping[str, Any]:
    """Refuse anything but a table whose keys are plain names.

    Parameters
    ----------
    body : object
        What stands in the file.
    place : str
        File and key, for messages.

    Returns
    -------
    mapping
        The body.

    Raises
    ------
    PlanError
        If it is no table, or a key holds more than small letters, digits and underscores.
    """
    if not isinstance(body, Mapping):
        raise PlanError(f"{place}: found {body!r}, expected a table of keys.")
    for key in body:
        if not _NAME.fullmatch(key):
            raise PlanError(
                f"{place}: found the name {key!r}; expected small letters, digits and underscores, "
                "a letter first."
            )
    return body


def needs(body: Mapping[str, Any], keys: Iterable[str], place: str) -> None:
    """Refuse a table that lacks a key.

    Parameters
    ----------
    body : mapping
        The table.
    keys : iterable of str
        Keys that must be there.
    place : str
        File and key, for messages.

    Raises
    ------
    PlanError
        At the first key that is missing.
    """
    for key in keys:
        if key not in body:
            raise PlanError(f"{place}: {key} is missing.")


def label(body: object, place: str) -> dict[str, str]:
    """Refuse anything but one text for each language.

    Parameters
    ----------
    body : object
        What stands in the file.
    place : str
        File and key, for messages.

    Returns
    -------
    dict of str to str
        Language to text.

    Raises
    ------
    PlanError
        If a language is missing, unknown, or has no text.
    """
    codes = labels.languages()
    if not isinstance(body, dict) or set(body) != set(codes):
        raise PlanError(f"{place}: found {body!r}, expected a text for each of {codes}.")
    for text in body.values():
        if not isinstance(text, str) or not text.strip():
            raise PlanError(f"{place}: found {text!r}, expected a text for each of {codes}.")
    return body


def word(value: object, allowed: Iterable[str], place: str) -> str:
    """Refuse anything but one of the allowed words.

    Parameters
    ----------
    value : object
        What stands in the file.
    allowed : iterable of str
        Words.
    place : str
        File and key, for messages.

    Returns
    -------
    str
        The word.

    Raises
    ------
    PlanError
        If it is another; the message names the nearest.
    """
    if not isinstance(value, str) or value not in allowed:
        raise PlanError(unknown(place, value, allowed))
    return value


def text(value: object, place: str) -> str:
    """Refuse anything but a text that says something.

    Parameters
    ----------
    value : object
        What stands in the file.
    place : str
        File and key, for messages.

    Returns
    -------
    str
        The text.

    Raises
    ------
    PlanError
        If it is empty or no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise PlanError(f"{place}: found {value!r}, expected a text.")
    return value


def number(
    value: object,
    place: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    whole: bool = False,
) -> float:
    """Refuse anything but a number in a range, both ends included.

    Parameters
    ----------
    value : object
        What stands in the file.
    place : str
        File and key, for messages.
    low, high : float
        Smallest and largest allowed value.
    whole : bool
        Whether it must be a whole number.

    Returns
    -------
    float
        The number.

    Raises
    ------
    PlanError
        If it is none, true or false, infinite, or outside.
    """
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if not good or not low <= value <= high or math.isinf(value):  # type: ignore[operator,arg-type]
        kind = "a whole number" if whole else "a number"
        ends = {(True, True): "", (False, True): f" of {low:g} or more"}
        limits = ends.get(
            (math.isinf(low), math.isinf(high)),
            f" up to {high:g}" if math.isinf(low) else f" from {low:g} to {high:g}",
        )
        raise PlanError(f"{place}: found {value!r}, expected {kind}{limits}.")
    return float(value)  # type: ignore[arg-type]


def above_zero(value: object, place: str) -> float:
    """Refuse anything but a number above 0.

    Parameters
    ----------
    value : object
        What stands in the file.
    place : str
        File and key, for messages.

    Returns
    -------
    float
        The number.

    Raises
    ------
    PlanError
        If it is none, infinite, 0 or less.
    """
    found = number(value, place, 0)
    if not found:
        raise PlanError(f"{place}: found {value}, expected a number above 0.")
    return found


def day(value: object, place: str) -> date:
    """Refuse anything but a date without time.

    Parameters
    ----------
    value : object
        What stands in the file.
    place : str
        File and key, for messages.

    Returns
    -------
    date
        The date.

    Raises
    ------
    PlanError
        If it is a text, a date with a time, or anything else.
    """
    if type(value) is not date:
        raise PlanError(f"{place}: found {value!s}, expected a date such as 2026-01-31.")
    return value


_SPAN = re.compile(r"(\d+)\s*(min|h|d)")
_SECONDS = {"min": 60, "h": 3600, "d": 86400}


def span(value: object, place: str) -> int:
    """Refuse anything but a time span of minutes, hours or days.

    Parameters
    ----------
    value : object
        What stands in the file, such as ``24h``.
    place : str
        File and key, for messages.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    PlanError
        If it is no span, or an empty one.

    Examples
    --------
    >>> span("2h", "here")
    7200
    """
    match = _SPAN.fullmatch(str(value))
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not seconds:
        raise PlanError(f"{place}: found {value!r}, expected minutes, hours or days such as 24h.")
    return seconds
