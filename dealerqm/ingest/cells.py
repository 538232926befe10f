"""From texts to values: each distinct text of a column is read once, by the column's contract.

A text that cannot be read is never guessed at: the value is missing and the rule that it broke is
named. A text that was read although it was written unusually carries the rule as a note.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.tables import Column

Read = tuple[Any, str]  # the value (None: missing) and the rule broken or noted ("": none)

_DASHES = {"-", "--", "—", "——", "–", "/", "\\"}
_NO_VALUE = {*_DASHES, "NA", "N/A", "NULL", "NONE", "NAN", "无"}
_ERRORS = {"#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!"}
_TRUE = {"是", "有", "Y", "YES", "T", "TRUE", "1", "√", "✓", "合格", "通过"}
_FALSE = {"否", "无", "N", "NO", "F", "FALSE", "0", "×", "✗", "不合格", "未通过"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+")
_WHOLE_FLOAT = re.compile(r"(\d+)\.0+")
_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?")
_CURRENCY = re.compile(r"^(?:¥|CNY|RMB|人民币)\s*|\s*(?:元|CNY|RMB)$")
_MAX_ID = 64
_FEN = 100
_FEN_NOISE = Decimal("0.0001")  # of a fen: what is left of binary fractions
_MAX_NUMBER = 10**15

_DATE = re.compile(
    r"(?P<y>\d{4})(?:(?P<s>[-/.])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})|年(?P<m2>\d{1,2})月(?P<d2>\d{1,2})日?"
    r"|(?P<m3>\d{2})(?P<d3>\d{2}))"
    r"(?:[ T]*(?P<H>\d{1,2})(?::|时|点)(?P<M>\d{1,2})(?:(?::|分)(?P<S>\d{1,2})(?:\.\d+)?秒?)?分?)?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})?")
_SERIAL = re.compile(r"\d{5}(?:\.\d+)?")
_DAY_FIRST = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}\b.*")
_SERIAL_START = datetime(1899, 12, 30)
_SERIAL_RANGE = (25_569, 73_415)  # 1970 to 2100
_YEARS = (1900, 2100)
_LEAP_SECONDS = (":60", ":61")  # pandas would take them for the next minute
_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
            "%Y-%m-%d", "%Y/%m/%d")  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """A column that was read.

    Attributes
    ----------
    values : Series
        One per cell, in storage type; missing where empty or unreadable.
    filled : array of bool
        Whether the cell held anything.
    rules : dict of str to array of bool
        Rule to the cells it names; a cell with a value was noted, one without was refused.
    """

    values: pd.Series
    filled: np.ndarray
    rules: dict[str, np.ndarray]


def parse(cells: Sequence[str], column: Column) -> Parsed:
    """Read a column of texts by its contract.

    Parameters
    ----------
    cells : sequence of str
        The texts, one per row.
    column : Column
        The contract.

    Returns
    -------
    Parsed
        Values, and what was refused or noted.

    Examples
    --------
    >>> money = Column("labour_fen", "money", minimum=0)
    >>> read = parse(["￥1,234.50", "-5", ""], money)
    >>> read.values.tolist(), sorted(read.rules)
    ([123450, <NA>, <NA>], ['number_format', 'range'])
    """
    codes, words = pd.factorize(np.array(cells, dtype=object))
    found, broken = _read_all(words.tolist(), column)
    series = _series(found, column.type)
    filled = np.array([bool(word.strip()) for word in words], dtype=bool)
    rules = {rule: (broken == rule)[codes] for rule in sorted(set(broken.tolist()) - {""})}
    values = series.take(codes).reset_index(drop=True)
    return Parsed(values, filled[codes], rules)


def _series(values: Sequence[Any] | np.ndarray, kind: str) -> pd.Series:
    if kind in ("int", "money"):
        return pd.Series(pd.array(values, dtype="Int64"))
    if kind == "float":
        return pd.Series(values, dtype="float64")
    if kind == "bool":
        return pd.Series(pd.array(values, dtype="boolean"))
    if kind in ("date", "datetime"):
        return pd.Series(np.array(values, dtype="datetime64[s]"))
    return pd.Series(np.array(values, dtype=object), dtype="str")


def _read_all(words: list[str], column: Column) -> tuple[Sequence[Any] | np.ndarray, np.ndarray]:
    """Return the value and the rule of each word."""
    if column.type == "text":
        found = [_read_text(word) for word in words]
    else:
        reader = _READERS[column.type](column)
        plain = [_plain(word) for word in words]
        if column.type in ("date", "datetime"):
            return _read_times(words, plain, reader)
        found = [
            _noted(word, text, reader(text)) if text else (None, "")
            for word, text in zip(words, plain, strict=True)
        ]
    return [value for value, _ in found], np.array([rule for _, rule in found], dtype=object)


def _plain(word: str) -> str:
    text = word.strip()
    return text if text.isascii() else unicodedata.normalize("NFKC", text).strip()


def _noted(word: str, text: str, read: Read) -> Read:
    value, rule = read
    if not rule and value is not None and text[0].isdigit() and text != word.strip():
        return value, "full_width"
    return read


def _read_times(
    words: list[str], plain: list[str], reader: Callable[[str], Read]
) -> tuple[np.ndarray, np.ndarray]:
    """Read the words of the commonest form at once and the others one by one."""
    first = next((text for text in plain if text[:1].isdigit()), "")
    form = next((form for form in _FORMATS if _fits(first, form)), _FORMATS[0])
    usual = [text[:1].isdigit() and not text.endswith(_LEAP_SECONDS) for text in plain]
    texts = [text if use else None for text, use in zip(plain, usual, strict=True)]
    times = pd.to_datetime(pd.Series(texts, dtype="object"), format=form, errors="coerce")
    values = times.to_numpy(dtype="datetime64[s]").copy()
    rules = np.full(len(words), "", dtype=object)
    done = times.dt.year.between(*_YEARS).to_numpy()
    unusual = np.array([text != word for word, text in zip(words, plain, strict=True)], dtype=bool)
    for place in np.flatnonzero(unusual | ~done).tolist():
        text = plain[place]
        read = (values[place], "") if done[place] else reader(text) if text else (None, "")
        value, rules[place] = _noted(words[place], text, read)
        values[place] = np.datetime64("NaT") if value is None else value
    return values, rules


def _fits(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _read_text(word: str) -> Read:
    text = word.strip()
    if not text:
        return None, ""
    clean = _CONTROL.sub("", text)
    return (clean, "control_characters") if clean != text else (text, "")


def _id_reader(column: Column) -> Callable[[str], Read]:
    def read(text: str) -> Read:
        if text in _DASHES:
            return None, "missing_word"
        if text in _ERRORS:
            return None, "error_value"
        if _SCIENTIFIC.fullmatch(text):
            return None, "scientific"
        if len(text) > _MAX_ID or _CONTROL.search(text):
            return None, "bad_id"
        whole = _WHOLE_FLOAT.fullmatch(text)
        return (whole[1], "decimal_id") if whole else (text, "")

    return read


def _category_reader(column: Column) -> Callable[[str], Read]:
    words = column.values  # noqa: PD011
    known = {
        _fold(spelling): word
        for word, spellings in words.items()
        for spelling in (*spellings, word)
    }

    def read(text: str) -> Read:
        if (folded := _fold(text)) in known:
            return known[folded], ""
        if text in _DASHES:
            return None, "missing_word"
        if text in _ERRORS:
            return None, "error_value"
        return (None, "unknown_word") if known else (text, "")

    return read


def _fold(text: str) -> str:
    return " ".join(_plain(text).casefold().split())


def _bool_reader(column: Column) -> Callable[[str], Read]:
    def read(text: str) -> Read:
        word = text.upper()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE, ""
        return _no_value(word, "not_yes_no")

    return read


def _no_value(text: str, rule: str) -> Read:
    word = text.upper()
    if word in _NO_VALUE:
        return None, "missing_word"
    return None, "error_value" if word in _ERRORS else rule


def _number_reader(column: Column) -> Callable[[str], Read]:
    convert: dict[str, Callable[[Decimal], Any]] = {"int": _whole, "money": _fen, "float": float}
    low, high = column.minimum, column.maximum

    def read(text: str) -> Read:
        bare = _CURRENCY.sub("", text)
        if not _NUMBER.fullmatch(bare):
            return _no_value(text, "not_number")
        number = Decimal(bare.replace(",", ""))
        value = convert[column.type](number) if abs(number) < _MAX_NUMBER else None
        if value is None:
            return None, "not_whole_fen" if column.type == "money" else "not_whole"
        if value in column.codes:
            return None, ""
        if (low is not None and value < low) or (high is not None and value > high):
            return None, "range"
        return value, "number_format" if bare != text or "," in bare else ""

    return read


def _whole(number: Decimal) -> int | None:
    return int(number) if number == number.to_integral_value() else None


def _fen(yuan: Decimal) -> int | None:
    exact = yuan * _FEN
    whole = exact.to_integral_value()
    return int(whole) if abs(exact - whole) < _FEN_NOISE else None


def _time_reader(column: Column) -> Callable[[str], Read]:
    def read(text: str) -> Read:
        value, rule = _read_time(text)
        if value is not None and not _YEARS[0] <= value.year <= _YEARS[1]:
            return None, "bad_date"
        return value, rule

    return read


def _read_time(text: str) -> tuple[datetime | None, str]:
    if match := _DATE.fullmatch(text):
        part = match.groupdict()
        month, day = part["m"] or part["m2"] or part["m3"], part["d"] or part["d2"] or part["d3"]
        return _time(part["y"], month, day, part["H"], part["M"], part["S"])
    if match := _COMPACT.fullmatch(text):
        return _time(*match.groups())
    if _SERIAL.fullmatch(text) and _SERIAL_RANGE[0] <= float(text) < _SERIAL_RANGE[1]:
        return _SERIAL_START + timedelta(seconds=round(float(text) * 86_400)), "date_serial"
    if _DAY_FIRST.fullmatch(text):
        return None, "ambiguous_date"
    return None, _no_value(text, "bad_date")[1]


def _time(*parts: str | None) -> tuple[datetime | None, str]:
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    try:
        return datetime(year, month, day, hour, minute, second), ""
    except ValueError:
        return None, "bad_date"


_READERS: dict[str, Callable[[Column], Callable[[str], Read]]] = {
    "id": _id_reader,
    "category": _category_reader,
    "bool": _bool_reader,
    "int": _number_reader,
    "float": _number_reader,
    "money": _number_reader,
    "date": _time_reader,
    "datetime": _time_reader,
}


def expected(column: Column, rule: str) -> str:
    """Return what a column takes, in signs that need no translation.

    Parameters
    ----------
    column : Column
        The contract.
    rule : str
        The rule that was broken.

    Returns
    -------
    str
        Such as ``1 … 10``, ``2026-09-30`` or the words allowed.

    Examples
    --------
    >>> expected(Column("recommend", "int", minimum=0, maximum=10), "range")
    '0 … 10'
    """
    if rule == "range":
        scale = _FEN if column.type == "money" else 1
        ends = (column.minimum, column.maximum)
        low, high = ("" if end is None else f"{end / scale:g}" for end in ends)
        return f"{low} … {high}".strip()
    shapes = {"date": "2026-09-30", "datetime": "2026-09-30 14:05", "money": "1234.50",
              "int": "12", "float": "1.5", "bool": "是/否 Y/N", "id": "ABC123"}  # fmt: skip
    words = column.values  # noqa: PD011
    if words:
        return " / ".join(spellings[0] for spellings in words.values() if spellings)
    return shapes.get(column.type, "")
