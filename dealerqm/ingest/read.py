"""Reading export files into cells: every cell a text, every row with its number in the file.

CSV is decoded by rule (byte-order mark, then strict UTF-8, then GB18030). A workbook is looked at
as a zip archive before any parser sees it, because a hostile one can end the interpreter.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import python_calamine

from dealerqm.errors import IngestError

TEXT_FILES = (".csv", ".tsv", ".txt")
WORKBOOKS = (".xlsx", ".xlsm")
OLD_WORKBOOKS = (".xls", ".xlsb", ".et", ".ods")
LOCK_PREFIX = "~$"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")
)  # fmt: skip
_DELIMITERS = ",\t;|"
_HEAD = 20
_MAX_INFLATED = 200 << 20  # bytes of a workbook after unpacking
_MAX_RATIO = 200  # unpacked over packed
_MAX_CELLS = 12_000_000  # used rows times used columns
_MAX_COLUMNS = 16_384
_CHUNK = 1 << 22
_OVERLAP = 64
_CELL = re.compile(rb"""\br\s*=\s*["']([A-Z]{1,3})([0-9]{1,7})["']""")
_ENCODED = re.compile(rb"""\br\s*=\s*["'][^"'>]{0,20}&""")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_EXACT_FLOAT = 1e15  # Excel keeps 15 digits


@dataclass(frozen=True)
class Sheet:
    """The cells of one sheet, or of one text file.

    Attributes
    ----------
    file : str
        Path below the raw folder.
    sheet : str
        Sheet name; empty for text files.
    encoding : str
        How the text was decoded; ``xlsx`` for workbooks.
    rows : list of list of str
        Row i of the list is row i + 1 of the file; an empty cell is an empty text.
    """

    file: str
    sheet: str
    encoding: str
    rows: list[list[str]]


def files(raw: Path) -> list[Path]:
    """Return the files below a folder of exports that could hold a table.

    Parameters
    ----------
    raw : Path
        Folder, or a single file.

    Returns
    -------
    list of Path
        Sorted by path below ``raw``.

    Raises
    ------
    IngestError
        If the folder does not exist, is empty, or holds nothing readable as a table.
    """
    kinds = (*TEXT_FILES, *WORKBOOKS, *OLD_WORKBOOKS)
    allowed = f"expected exports as {', '.join((*TEXT_FILES, *WORKBOOKS))}"
    name = raw.resolve().name
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise IngestError(f"raw: found no folder {name}; {allowed} in it.")
    found = [path for path in raw.rglob("*") if path.is_file() and path.suffix.lower() in kinds]
    if not found:
        others = sum(path.is_file() for path in raw.rglob("*"))
        raise IngestError(f"{name}: the folder holds {others} other files; {allowed}.")
    return sorted(found, key=lambda path: path.relative_to(raw).as_posix())


def sheets(path: Path, file: str) -> Iterator[Sheet]:
    """Read one export.

    Parameters
    ----------
    path : Path
        The file.
    file : str
        How messages call it.

    Returns
    -------
    iterator of Sheet
        One for a text file, one per sheet that is not empty for a workbook.

    Raises
    ------
    IngestError
        If the file is locked, empty, damaged, encrypted, hostile or of an old format.
    """
    suffix = path.suffix.lower()
    if (path.parent / f"{LOCK_PREFIX}{path.name}").exists():
        raise IngestError(
            f"{file}: is open in Excel (lock file {LOCK_PREFIX}{path.name}), so it may change "
            "while it is read; close it and run again."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IngestError(
            f"{file}: cannot be opened ({error.strerror}); close the program that holds it, or "
            "give yourself the right to read it."
        ) from None
    if not content.strip():
        raise IngestError(f"{file}: is empty; export it again.")
    if suffix in TEXT_FILES:
        yield _text_sheet(content, file)
    elif suffix in OLD_WORKBOOKS or content.startswith(_OLE):
        raise IngestError(
            f"{file}: is an old or password-protected workbook; open it in Excel, remove the "
            "password and save it as .xlsx or CSV."
        )
    else:
        yield from _workbook_sheets(content, file)


def _text_sheet(content: bytes, file: str) -> Sheet:
    text, encoding = decode(content, file)
    delimiter = _delimiter(text)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            rows.append(row)
            if len(row) > _MAX_COLUMNS:
                raise IngestError(f"{file}: row {len(rows)} has {len(row)} columns; not a table.")
    except csv.Error as error:
        raise IngestError(
            f"{file}: row {len(rows) + 1} cannot be read as CSV ({error}); look for a quotation "
            "mark that is opened and not closed."
        ) from None
    return Sheet(file, "", encoding, rows)


def decode(content: bytes, file: str) -> tuple[str, str]:
    """Decode a text file by rule, never by guess.

    Parameters
    ----------
    content : bytes
        The whole file.
    file : str
        How messages call it.

    Returns
    -------
    (str, str)
        The text and the encoding: that of the byte-order mark, else UTF-8 if the whole file is
        valid UTF-8, else GB18030.

    Raises
    ------
    IngestError
        If it is none of these.

    Examples
    --------
    >>> decode("门店".encode("gb18030"), "a.csv")
    ('门店', 'gb18030')
    """
    marked = next((name for bom, name in _BOMS if content.startswith(bom)), "")
    failed = 0
    for encoding in [marked] if marked else ["utf-8", "gb18030"]:
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError as error:
            failed = error.start
    row = content[:failed].count(b"\n") + 1
    raise IngestError(
        f"{file}: row {row} is neither {marked or 'UTF-8'} nor GB18030; the file mixes encodings "
        "or is no text. Save it as CSV UTF-8 and run again."
    )


def _delimiter(text: str) -> str:
    head = text.split("\n", _HEAD)[:_HEAD]
    votes = {sign: max(line.count(sign) for line in head) for sign in _DELIMITERS}
    return max(votes, key=lambda sign: votes[sign])


def _workbook_sheets(content: bytes, file: str) -> Iterator[Sheet]:
    inspect(content, file)
    try:
        workbook = python_calamine.load_workbook(io.BytesIO(content))
        names = list(workbook.sheet_names)
        for name in names:
            rows = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
            if any(cell != "" for row in rows for cell in row):
                yield Sheet(file, name, "xlsx", [_texts(row) for row in rows])
    except (python_calamine.CalamineError, OSError, ValueError, KeyError) as error:
        raise IngestError(
            f"{file}: cannot be read as a workbook ({str(error).splitlines()[0]}); it is damaged. "
            "Export it again or save it as .xlsx."
        ) from None


def _texts(row: list[Any]) -> list[str]:
    return [cell if cell.__class__ is str else _text(cell) for cell in row]


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return _number(cell)
    if isinstance(cell, datetime):
        rounded = cell + timedelta(microseconds=500_000)
        return rounded.replace(microsecond=0).isoformat(sep=" ")
    if isinstance(cell, date):
        return cell.isoformat()
    return "" if cell is None else str(cell)


def _number(cell: float) -> str:
    if abs(cell) >= _EXACT_FLOAT:
        return f"{cell:.15e}"
    if cell == int(cell):
        return str(int(cell))
    return np.format_float_positional(cell, trim="-")


def inspect(content: bytes, file: str) -> None:
    """Refuse a workbook that would exhaust memory or that no spreadsheet program writes.

    Parameters
    ----------
    content : bytes
        The whole file.
    file : str
        How messages call it.

    Raises
    ------
    IngestError
        If it is no zip archive, unpacks to too much, has a document type or entities, or its used
        range is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_size(archive, len(content), file)
            for part in archive.infolist():
                if part.filename.lower().endswith((".xml", ".rels")):
                    _check_part(archive, part, file)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise IngestError(
            f"{file}: is not a valid .xlsx file, or is truncated or encrypted ({error}). "
            "Export it again; a CSV must be named .csv."
        ) from None


def _check_size(archive: zipfile.ZipFile, packed: int, file: str) -> None:
    inflated = sum(part.file_size for part in archive.infolist())
    if inflated > _MAX_INFLATED or inflated > _MAX_RATIO * packed:
        raise IngestError(
            f"{file}: unpacks from {packed >> 10} KB to {inflated >> 20} MB; the limit is "
            f"{_MAX_INFLATED >> 20} MB or {_MAX_RATIO} times; too large or a zip bomb. "
            "Save only the table as CSV."
        )


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, file: str) -> None:
    is_sheet = "worksheets/" in part.filename
    rows, columns, tail, size = 0, 0, b"", 0
    with archive.open(part) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            window = tail + chunk
            if size > _MAX_INFLATED or _forbidden(window):
                raise IngestError(
                    f"{file}: {part.filename} is larger than it says, declares entities or a "
                    "document type, or is not UTF-8; unsafe XML. Save it anew in Excel."
                )
            if is_sheet:
                last_row, last_column = _extent(window)
                rows, columns = max(rows, last_row), max(columns, last_column)
            tail = window[-_OVERLAP:]
    if rows * columns > _MAX_CELLS:
        raise IngestError(
            f"{file}: {part.filename} uses {rows} rows and {columns} columns, more than "
            f"{_MAX_CELLS} cells; too large. Delete the empty rows and columns or save it as CSV."
        )


def _forbidden(window: bytes) -> bool:
    signs = (b"<!DOCTYPE", b"<!ENTITY")
    wide = window.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"<\0", b"\0<"))
    return wide or any(sign in window for sign in signs) or _encoded(window)


def _encoded(window: bytes) -> bool:
    return b"&#" in window and bool(_ENCODED.search(window))


def _extent(window: bytes) -> tuple[int, int]:
    cells = _CELL.findall(window)
    rows = max((int(row) for row in {row for _, row in cells}), default=0)
    columns = max((_column_number(name) for name in {name for name, _ in cells}), default=0)
    return rows, columns


def _column_number(name: bytes) -> int:
    number = 0
    for letter in name:
        number = number * 26 + letter - 64
    return number
