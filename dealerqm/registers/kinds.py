"""What can be written down: the kinds of ``registers.toml`` and the values their fields take."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.errors import ParameterError, RegisterError, unknown
from dealerqm.period import parse
from dealerqm.tables import Column

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LINE_END = re.compile(r"\r\n?")
_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # a workbook would read _x0041_ as the letter A
_MAX_TEXT = 32_767  # what a cell of a workbook holds, in UTF-16 units
_MAX_NUMBER = 1e15  # Excel keeps 15 digits
_YEARS = (1900, 2100)


@dataclass(frozen=True)
class Kind:
    """A kind of entry.

    Attributes
    ----------
    name, sheet : str
        What the program calls it, and its sheet in the workbook.
    label : mapping
        Language to name.
    fields : mapping of str to Column
        Name to type, labels and allowed words; ``required`` ones are filled in every object.
    names : mapping of str to str
        Text field to what it must name: ``kpi``, ``unit`` or ``period``.
    """

    name: str
    sheet: str
    label: Mapping[str, str]
    fields: Mapping[str, Column]
    names: Mapping[str, str]


@cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds of register entries.

    Returns
    -------
    mapping of str to Kind
        In the order of ``registers.toml``.

    Examples
    --------
    >>> kinds()["risk"].sheet, kinds()["treatment"].fields["strategy"].type
    ('risks', 'category')
    """
    text = resources.files("dealerqm").joinpath("registers.toml").read_text(encoding="utf-8")
    found = {}
    for name, body in tomllib.loads(text).items():
        fields = {field: _column(field, spec) for field, spec in body["fields"].items()}
        named = {field: spec["names"] for field, spec in body["fields"].items() if "names" in spec}
        found[name] = Kind(
            name, body["sheet"], body["label"], MappingProxyType(fields), MappingProxyType(named)
        )
    return MappingProxyType(found)


def _column(name: str, spec: Mapping[str, Any]) -> Column:
    return Column(
        name=name, type=spec["type"], headers=(name, spec["zh"], spec["en"]),
        values={word: (word,) for word in spec.get("values", ())},
        label={"zh": spec["zh"], "en": spec["en"]}, required=spec.get("required", False),
    )  # fmt: skip


def kind_of(name: str) -> Kind:
    """Return a kind by name, or say which names are near.

    Parameters
    ----------
    name : str
        Such as ``improvement``.

    Returns
    -------
    Kind
        The kind.

    Raises
    ------
    RegisterError
        If there is none of that name.
    """
    if name not in kinds():
        raise RegisterError(unknown("register", name, kinds()))
    return kinds()[name]


def checked(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as JSON values, after checking names, types and words.

    Parameters
    ----------
    name : str
        Kind.
    fields : mapping
        Field to value: text, number, bool, date; None, an empty text or NaN clears it.

    Returns
    -------
    dict
        In the order of the kind; dates as ISO text.

    Raises
    ------
    RegisterError
        If a field is unknown or a value does not fit.

    Examples
    --------
    >>> checked("action", {"due_on": date(2026, 9, 30), "owner": " Li "})
    {'owner': 'Li', 'due_on': '2026-09-30'}
    """
    kind = kind_of(name)
    for field in fields:
        if field not in kind.fields:
            raise RegisterError(unknown(f"register {name}: field", field, kind.fields))
    return {
        field: _spelled(_value(fields[field], column, f"register {name}.{field}"), kind, field)
        for field, column in kind.fields.items()
        if field in fields
    }


def _spelled(value: str | float | None, kind: Kind, field: str) -> str | float | None:
    """Return a period in the spelling that sorts; what is none is left for the checks to name."""
    if value is None or kind.names.get(field) != "period":
        return value
    try:
        return parse(str(value)).key
    except ParameterError:
        return value


def clean(text: str, place: str) -> str:
    r"""Return a text without control characters and outer blanks, or refuse one that is too long.

    Parameters
    ----------
    text : str
        What was written.
    place : str
        Register and field, for messages.

    Returns
    -------
    str
        The text as a workbook gives it back, lines ended by ``\n``.

    Raises
    ------
    RegisterError
        If a cell of a workbook could not hold it.

    Examples
    --------
    >>> clean(" =1+1\x07\r\n two ", "risk.title")
    '=1+1\n two'
    """
    found = _LINE_END.sub("\n", _CONTROL.sub("", text)).strip()
    units = len(escaped(found).encode("utf-16-le")) // 2
    if units > _MAX_TEXT:
        raise RegisterError(
            f"{place}: found a text of {units:,} characters, expected at most {_MAX_TEXT:,} (a "
            "cell of a workbook); shorten it, or name the file that holds it."
        )
    return found


def escaped(text: str) -> str:
    """Return a text as a cell must hold it, so that nothing in it is taken for an escape.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        ``_x0041_`` becomes ``_x005F_x0041_``; all else is as before.

    Examples
    --------
    >>> escaped("a_x0041_b")
    'a_x005F_x0041_b'
    """
    return _ESCAPE.sub("_x005F_", text)


def _value(given: object, column: Column, place: str) -> str | float | None:
    value = given.item() if isinstance(given, np.generic) else given
    text = clean(value, place) if isinstance(value, str) else None
    if value is None or value is pd.NaT or value is pd.NA or value != value or text == "":
        return None
    if text is not None and column.type in ("text", "category"):
        words = column.values  # noqa: PD011
        if words and text not in words:
            raise RegisterError(unknown(place, text, words))
        return text
    if column.type == "date" and isinstance(value, date | str):
        return _iso(value, place)
    number = _number(value, column.type)
    if number is None or not abs(number) < _MAX_NUMBER:
        raise RegisterError(f"{place}: found {value!r}, expected {column.type}.")
    return number


def _number(value: object, kind: str) -> float | None:
    if isinstance(value, bool):
        return value if kind == "bool" else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if kind == "float":
        return float(value)
    return int(value) if kind in ("int", "money") and value == int(value) else None


def _iso(value: date | str, place: str) -> str:
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise RegisterError(f"{place}: found {value!r}, expected a date as 2026-09-30.") from None
    if not _YEARS[0] <= day.year <= _YEARS[1]:
        raise RegisterError(
            f"{place}: found {day}, expected a date from {_YEARS[0]} to {_YEARS[1]}."
        )
    return (day.date() if isinstance(day, datetime) else day).isoformat()


def series(values: Sequence[Any], kind: str) -> pd.Series:
    """Return JSON values of one field as a column.

    Parameters
    ----------
    values : sequence
        Values or None.
    kind : str
        Type of the field.

    Returns
    -------
    Series
        str, Int64, float64, boolean or datetime64[s].
    """
    if kind == "date":
        return pd.Series(np.array(values, dtype="datetime64[s]"))
    types = {"int": "Int64", "money": "Int64", "float": "float64", "bool": "boolean"}
    return pd.Series(list(values), dtype=types.get(kind, "str"))
