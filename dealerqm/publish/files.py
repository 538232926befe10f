"""Bytes of a report's files: workbooks and JSON that are the same in every run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pandas as pd
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from dealerqm.publish.cells import escape_cell, guarded, masked, suppress
from dealerqm.result import plain

LONGEST_CELL, LONGEST_NAME, WIDEST = 32_767, 31, 60
NUMBER = "#,##0.00"
_FIXED = datetime(2000, 1, 1)
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_HEAD = {
    "font": Font(bold=True, color="FFFFFF"),
    "fill": PatternFill("solid", fgColor="404B5A"),
    "alignment": Alignment(wrap_text=True, vertical="top"),
}


@dataclass(frozen=True)
class Sheet:
    """One sheet of a workbook.

    Attributes
    ----------
    frame : DataFrame
        Its rows.
    headings : mapping of str to str
        Column to what stands above it; others show their name.
    counts : mapping of str to sequence of str, or None
        As ``columns`` of ``suppress``.
    percent : mapping of str to sequence of bool
        Column to which of its rows are shares, shown in percent.
    """

    frame: pd.DataFrame
    headings: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Sequence[str]] | None = None
    percent: Mapping[str, Sequence[bool]] = field(default_factory=dict)


def json_bytes(data: object, k: int) -> bytes:
    r"""Return data as JSON text, the same bytes every time.

    Parameters
    ----------
    data : object
        Mappings, sequences, texts, numbers, dates.
    k : int
        As in ``guarded``.

    Returns
    -------
    bytes
        UTF-8 with sorted keys and floats of 12 significant digits.

    Examples
    --------
    >>> json_bytes({"b": 1 / 3, "a": [True, None]}, 5)
    b'{\n "a": [\n  true,\n  null\n ],\n "b": 0.333333333333\n}\n'
    """
    ready = guarded(plain(data), k)
    text = json.dumps(ready, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode()


def workbook_bytes(sheets: Mapping[str, Sheet], k: int) -> bytes:
    """Return sheets as a workbook, the same bytes every time.

    Parameters
    ----------
    sheets : mapping of str to Sheet
        Name to rows; small counts are hidden and texts masked and escaped here.
    k : int
        As in ``suppress``.

    Returns
    -------
    bytes
        An ``.xlsx`` file without dates of its making.
    """
    book = Workbook(write_only=True)
    book.properties.creator = "dealerqm"
    book.properties.created = _FIXED
    for name, sheet in sheets.items():
        _write(book.create_sheet(name[:LONGEST_NAME]), sheet, k)
    raw = io.BytesIO()
    book.save(raw)
    return _without_dates(raw.getvalue())


def _write(page: Any, sheet: Sheet, k: int) -> None:  # noqa: ANN401  openpyxl's sheet
    frame = suppress(sheet.frame, sheet.counts, k=k)
    page.freeze_panes = "A2"
    page.auto_filter.ref = f"A1:{get_column_letter(len(frame.columns))}{len(frame) + 1}"
    headings = [str(_cell(sheet.headings.get(str(name), str(name)))) for name in frame.columns]
    columns = [[_cell(value) for value in frame[name]] for name in frame.columns]
    for number, (heading, column) in enumerate(zip(headings, columns, strict=True), 1):
        widest = max(_width(line) for line in [*heading.split("\n"), *map(str, column[:200])])
        page.column_dimensions[get_column_letter(number)].width = min(widest + 3, WIDEST)
    page.append([_heading(page, text) for text in headings])
    formats = [
        [
            "0.0%" if share else NUMBER
            for share in sheet.percent.get(str(name), [False] * len(frame))
        ]
        for name in frame.columns
    ]
    for row in range(len(frame)):
        pairs = zip(columns, formats, strict=True)
        page.append([_formatted(page, column[row], look[row]) for column, look in pairs])


def _cell(value: Any) -> Any:  # noqa: ANN401
    """Return what a cell can hold: text masked and escaped, numbers with 12 digits."""
    value = plain(value) if not isinstance(value, date) else value
    if isinstance(value, str):
        text = masked(value).replace("\r\n", "\n").replace("\r", "\n")  # as XML reads them
        text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", text)
        return escape_cell(text)[:LONGEST_CELL]
    return value


def _heading(page: Any, text: str) -> Any:  # noqa: ANN401
    cell = _text(page, text)
    for name, look in _HEAD.items():
        setattr(cell, name, look)
    return cell


def _formatted(page: Any, value: Any, look: str) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return _text(page, value)
    if isinstance(value, float):
        cell = WriteOnlyCell(page, value=value)
        cell.number_format = look
        return cell
    return value


def _text(page: Any, text: str) -> Any:  # noqa: ANN401
    cell = WriteOnlyCell(page, value=text)
    cell.data_type = "s"  # never a formula
    return cell


def _width(text: str) -> float:
    return sum(2 if ord(letter) > 0x2E7F else 1 for letter in text)  # noqa: PLR2004


def _without_dates(raw: bytes) -> bytes:
    """Pack the parts again with one date, and without the time of saving."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            content = old.read(name)
            if name == "docProps/core.xml":
                content = _fixed_times(content)
            new.writestr(entry, content)
    return packed.getvalue()


def _fixed_times(core: bytes) -> bytes:
    head, _, rest = core.partition(b"<dcterms:modified")
    start, end = rest.find(b">") + 1, rest.find(b"</dcterms:modified>")
    stamp = _FIXED.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return head + b"<dcterms:modified" + rest[:start] + stamp + rest[end:]
