"""The register as a workbook: written for people to edit, and read back cell by cell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from dealerqm.errors import IngestError, RegisterError, unknown
from dealerqm.ingest import cells, read
from dealerqm.registers.checks import Change
from dealerqm.registers.kinds import Kind, escaped, kinds

KEY = "key"
_FEN = 100
_FREEZE = "B2"
_TEXT = "@"


def write(path: Path, states: Mapping[str, pd.DataFrame]) -> None:
    """Write the state of every kind, one sheet each.

    Parameters
    ----------
    path : Path
        The ``.xlsx``; replaced in one step.
    states : mapping of str to DataFrame
        Kind to its state.

    Raises
    ------
    RegisterError
        If the file cannot be written.
    """
    book = openpyxl.Workbook()
    del book[book.sheetnames[0]]
    for name, state in states.items():
        kind = kinds()[name]
        sheet = book.create_sheet(kind.sheet)
        heads = [f"{column.label['zh']} / {field}" for field, column in kind.fields.items()]
        for place, head in enumerate([KEY, *heads], 1):
            sheet.cell(1, place, head).font = Font(bold=True)
        for row, values in enumerate(_rows(state, kind), 2):
            for place, value in enumerate(values, 1):
                _put(sheet, row, place, value)
        for place, column in enumerate(kind.fields.values(), 2):
            if column.type == "text":  # 2026-05 that a person types stays a text
                sheet.column_dimensions[get_column_letter(place)].number_format = _TEXT
        sheet.freeze_panes = _FREEZE
    draft = path.with_name(f".{path.name}")
    try:
        book.save(draft)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RegisterError(
            f"{path.name}: cannot be written ({error.strerror}); close it in Excel or name "
            "another file."
        ) from None


def _put(sheet: Worksheet, row: int, place: int, value: Any) -> None:  # noqa: ANN401
    text = isinstance(value, str)
    cell = sheet.cell(row, place, escaped(value) if text else value)
    if text:
        cell.data_type = "s"  # a text that starts with = stays a text
        cell.number_format = _TEXT


def _rows(state: pd.DataFrame, kind: Kind) -> Iterator[tuple[object, ...]]:
    columns = [_cells(state[field], column.type) for field, column in kind.fields.items()]
    return zip(state[KEY].tolist(), *columns, strict=True)


def _cells(values: pd.Series, kind: str) -> list[object]:
    if kind == "date":
        return [None if pd.isna(day) else day.date() for day in values]
    if kind == "money":
        return [None if pd.isna(fen) else fen / _FEN for fen in values]
    return [None if pd.isna(value) else value for value in values]


def read_changes(path: Path) -> list[Change]:
    """Read what a workbook says about every object in it.

    Parameters
    ----------
    path : Path
        The ``.xlsx``.

    Returns
    -------
    list of Change
        Kind, key, fields and place, in the order of the sheets and rows; an empty cell is None.

    Raises
    ------
    RegisterError
        If the file, a sheet, a column, a key or a cell cannot be used.
    """
    known = {kind.sheet: kind for kind in kinds().values()}
    changes = []
    try:
        for sheet in read.sheets(path, path.name):
            if sheet.sheet not in known:
                raise RegisterError(unknown(f"{path.name}: sheet", sheet.sheet, known))
            changes += _sheet(sheet.rows, known[sheet.sheet], f"{path.name} {sheet.sheet}")
    except IngestError as error:
        raise RegisterError(str(error)) from None
    return changes


def _sheet(rows: list[list[str]], kind: Kind, place: str) -> list[Change]:
    header, body = rows[0], [(i, row) for i, row in enumerate(rows[1:], 2) if any(row)]
    names = [_field(head, kind, place) for head in header]
    if KEY not in names:
        raise RegisterError(f"{place}: row 1 has no column {KEY!r}; it names the objects.")
    keys = [row[names.index(KEY)].strip() for _, row in body]
    for (number, _), key in zip(body, keys, strict=True):
        if not key or keys.count(key) > 1:
            raise RegisterError(
                f"{place}: row {number} has the key {key!r}, expected one that is filled and "
                "stands in one row only."
            )
    fields: list[dict[str, Any]] = [{} for _ in body]
    for at, name in enumerate(names):
        if name not in ("", KEY):
            column = kind.fields[name]
            parsed = cells.parse([row[at] for _, row in body], column)
            values = parsed.values.tolist()  # noqa: PD011
            missing = parsed.values.isna().tolist()  # noqa: PD011
            for i, (number, row) in enumerate(body):
                if missing[i] and row[at].strip():
                    wanted = cells.expected(column, "")
                    raise RegisterError(
                        f"{place}: row {number}, column {header[at]!r}: found {row[at]!r}, "
                        f"expected {column.type} {wanted}."
                    )
                fields[i][name] = None if missing[i] else values[i]
    heads = dict(zip(names, header, strict=True))
    return [
        Change(kind.name, key, values, f"{place}: row {number}", heads)
        for key, values, (number, _) in zip(keys, fields, body, strict=True)
    ]


def _field(head: str, kind: Kind, place: str) -> str:
    text = head.rpartition("/")[2].strip()
    names = {KEY: KEY, "": "", **{word: f for f, c in kind.fields.items() for word in c.headers}}
    if text not in names:
        raise RegisterError(unknown(f"{place}: column", text, [KEY, *kind.fields]))
    return names[text]
