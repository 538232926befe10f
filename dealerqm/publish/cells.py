"""What may be said: cells that no spreadsheet evaluates, nothing about fewer than k people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.errors import PublishError, unknown
from dealerqm.privacy import mask

FLAG = "suppressed"
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_UNSEEN = r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_RISK = rf"'*(?:(?:[^\S{_BREAKS}]|[{_UNSEEN}])*[=+\-@＝＋－＠]|\t)"
_STARTS = re.compile(rf"^(?={_RISK}|'*\r)|(?<=[{_BREAKS}])(?={_RISK})")
_ESCAPED = re.compile(rf"^'(?={_RISK}|'*\r)|(?<=[{_BREAKS}])'(?={_RISK})")
_HEX = re.compile(r"[0-9a-f]{12,64}")


def escape_cell(value: Any) -> Any:  # noqa: ANN401  a cell holds anything
    r"""Return a cell that a spreadsheet shows and never evaluates.

    Parameters
    ----------
    value : object
        Numbers, dates and missing values stay as they are; in a text, an apostrophe goes before
        every line that starts with ``= + - @`` (also full-width, also after blanks), a tab or a
        carriage return.

    Returns
    -------
    object
        The cell; ``unescape_cell`` gives the text back.

    Examples
    --------
    >>> escape_cell("=1+1"), escape_cell("好评\n -2+3"), escape_cell(-2)
    ("'=1+1", "好评\n' -2+3", -2)
    """
    return _STARTS.sub("'", value) if isinstance(value, str) else value


def unescape_cell(text: str) -> str:
    """Return the text of a cell that ``escape_cell`` made safe.

    Parameters
    ----------
    text : str
        A cell of a published table.

    Returns
    -------
    str
        The text as it was.

    Examples
    --------
    >>> unescape_cell("'=1+1"), unescape_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return _ESCAPED.sub("", text)


def suppress(
    frame: pd.DataFrame, columns: Mapping[str, Sequence[str]] | None = None, *, k: int
) -> pd.DataFrame:
    """Return a table that says nothing about fewer than k people.

    Parameters
    ----------
    frame : DataFrame
        Any table.
    columns : mapping of str to sequence of str, or None
        Column of counts of people to the columns that were computed from those people; None means
        column ``n`` and all columns of fractions.
    k : int
        Counts from 1 to k − 1 are hidden, with everything computed from them.

    Returns
    -------
    DataFrame
        Hidden cells are missing and ``suppressed`` tells where; without such a row the table is
        the same.

    Raises
    ------
    PublishError
        If a named column is not there.

    Examples
    --------
    >>> table = pd.DataFrame({"n": [3, 40], "value": [1.0, 0.9]})
    >>> suppress(table, {"n": ["value"]}, k=5)
          n  value  suppressed
    0  <NA>    NaN        True
    1    40    0.9       False
    """
    if columns is None:
        fractions = [str(name) for name in frame.select_dtypes("float").columns]
        columns = {"n": fractions} if "n" in frame else {}
    hidden = pd.Series(data=False, index=frame.index)
    table = frame.copy()
    for count, statistics in columns.items():
        for name in (count, *statistics):
            if name not in frame:
                raise PublishError(unknown("suppress: column", name, frame.columns))
        people = pd.to_numeric(frame[count]).astype("Float64")
        small = ((people >= 1) & (people < k)).fillna(value=False).astype(bool)
        table[count] = frame[count].astype("Int64").mask(small) if small.any() else frame[count]
        for name in statistics:
            table[name] = _hidden(frame[name], small)
        hidden |= small
    if not hidden.any():
        return frame.copy()
    return table.assign(**{FLAG: hidden | frame.get(FLAG, False)})


def _hidden(column: pd.Series[Any], small: pd.Series[bool]) -> pd.Series[Any]:
    if not small.any():
        return column
    if pd.api.types.is_bool_dtype(column):
        return column.astype("boolean").mask(small)
    return column.astype(float).mask(small) if column.dtype.kind in "iuf" else column.mask(small)


def guarded(value: Any, k: int) -> Any:  # noqa: ANN401  JSON is untyped
    """Return JSON data that say nothing about fewer than k people and name no one.

    Parameters
    ----------
    value : object
        As ``result.plain`` gives it.
    k : int
        In every object whose ``n`` lies from 1 to k − 1 all numbers are hidden.

    Returns
    -------
    object
        The same shape; texts are masked, digests stay.

    Examples
    --------
    >>> guarded({"n": 2, "value": 1.0, "unit": "S01"}, 5)
    {'n': None, 'value': None, 'unit': 'S01', 'suppressed': True}
    """
    if isinstance(value, Mapping):
        inner = {key: guarded(item, k) for key, item in value.items()}
        n = value.get("n")
        if isinstance(n, int | float) and not isinstance(n, bool) and 1 <= n < k:
            bare = {key: None if _number(item) else item for key, item in inner.items()}
            return {**bare, FLAG: True}
        return inner
    if isinstance(value, list):
        return [guarded(item, k) for item in value]
    return masked(value) if isinstance(value, str) else value


def _number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def masked(text: str) -> str:
    """Return a text without personal numbers; digests stay whole.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text with kinds in the place of numbers.

    Examples
    --------
    >>> masked("回电13800138000"), masked("0" * 64) == "0" * 64
    ('回电[mobile]', True)
    """
    return text if _HEX.fullmatch(text) else mask(text)[0]
