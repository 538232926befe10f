"""Which table a sheet holds and where its header stands: decided by the headers, never by name."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dealerqm.errors import IngestError, unknown
from dealerqm.privacy import mask
from dealerqm.tables import Table

HEAD_ROWS = 30  # the header stands within so many rows
_MIN_MATCHED = 2
_NEAR = 0.5  # of the filled cells of a row: then it is the header of a table that lacks columns
_TOTALS = (
    "合计", "总计", "小计", "汇总", "平均", "均值", "平均值", "total", "subtotal",
    "grand total", "sum", "average", "mean",
)  # fmt: skip
_NOTE = re.compile(
    r"(?:数据来源|制表|打印|导出|审核|备注|注|说明|source|printed|exported|note)[^:]{0,20}:"
    r"|第\s*\d+\s*页|page\s*\d+"
)
_LONGEST_TOTAL = 20
_SHOWN, _SHOWN_CELLS = 20, 4

Mapped = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Match:
    """What a sheet was recognised as.

    Attributes
    ----------
    table : str
        Table name; empty when the sheet fits none.
    header : int
        Place of the header in the rows, from 0.
    places : dict of str to int
        Column name to its place in the row.
    unknown : tuple of (int, str)
        Place and header of the columns that the contract does not know.
    rule, found : str
        Why the sheet was rejected; empty when it was not.
    """

    table: str
    header: int
    places: dict[str, int]
    unknown: tuple[tuple[int, str], ...] = ()
    rule: str = ""
    found: str = ""


def read_mapping(path: Path | None, tables: Mapping[str, Table]) -> Mapped:
    """Read a mapping file for headers that the contracts do not know.

    Parameters
    ----------
    path : Path or None
        TOML: ``[table.columns]`` with ``"their header" = "our column"``.
    tables : mapping of str to Table
        The contracts.

    Returns
    -------
    mapping
        Table to header to column; empty without a file.

    Raises
    ------
    IngestError
        If the file is missing, no TOML, or names an unknown table or column.
    """
    if path is None:
        return {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IngestError(f"mapping {path.name}: cannot be read ({error}).") from None
    mapping = {}
    for table, body in raw.items():
        place = f"mapping {path.name}"
        if table not in tables:
            raise IngestError(unknown(f"{place}: table", table, tables))
        if not isinstance(body, dict) or set(body) != {"columns"}:
            raise IngestError(f"{place} [{table}]: expected only [{table}.columns].")
        for header, column in body["columns"].items():
            if column not in tables[table].exported:
                where = f"{place} [{table}.columns] {header!r}"
                raise IngestError(unknown(where, str(column), tables[table].exported))
        mapping[table] = dict(body["columns"])
    return mapping


class Matcher:
    """Recognises sheets by the headers of the contracts and of a mapping file."""

    def __init__(self, tables: Mapping[str, Table], mapping: Mapped) -> None:
        self._tables = {name: table for name, table in tables.items() if not table.made_from}
        self._known = {
            name: {
                _fold(header): column.name
                for column in table.exported.values()
                for header in column.headers
            }
            | {_fold(header): column for header, column in mapping.get(name, {}).items()}
            for name, table in self._tables.items()
        }

    def match(self, rows: Sequence[Sequence[str]]) -> Match:
        """Return the table and header row that fit best.

        Parameters
        ----------
        rows : sequence of sequence of str
            The rows of a sheet.

        Returns
        -------
        Match
            With ``rule`` set when the sheet cannot be loaded: ``wrong_table``, ``missing_column``
            or ``duplicate_header``.
        """
        best: tuple[tuple[bool, int, float], int, str] | None = None
        for place, row in enumerate(rows[:HEAD_ROWS]):
            headers = [_fold(cell) for cell in row]
            for name in self._tables:
                score = self._score(name, headers)
                if score[1] >= _MIN_MATCHED and (best is None or score > best[0]):
                    best = (score, place, name)
        if best is None:
            return self._rejected(rows)
        (complete, matched, _), place, name = best
        filled = sum(bool(cell.strip()) for cell in rows[place])
        if not complete and matched < _NEAR * filled:
            return self._rejected(rows)
        return self._accepted(name, place, rows[place], complete)

    def _score(self, name: str, headers: Sequence[str]) -> tuple[bool, int, float]:
        known = self._known[name]
        found = {known[header] for header in headers if header in known}
        columns = self._tables[name].exported
        complete = all(column in found for column, body in columns.items() if body.required)
        return complete and bool(found), len(found), len(found) / len(columns)

    def _rejected(self, rows: Sequence[Sequence[str]]) -> Match:
        fullest = max(rows[:HEAD_ROWS], key=lambda row: sum(map(bool, row)), default=[])
        shown = [mask(cell.strip())[0][:_SHOWN] for cell in fullest if cell.strip()]
        return Match("", 0, {}, rule="wrong_table", found=", ".join(shown[:_SHOWN_CELLS]))

    def _accepted(self, name: str, place: int, row: Sequence[str], complete: bool) -> Match:
        known = self._known[name]
        columns = [known.get(_fold(cell), "") for cell in row]
        twice = [column for column, n in Counter(filter(None, columns)).items() if n > 1]
        extra = tuple(
            (i, cell.strip()) for i, cell in enumerate(row) if not columns[i] and cell.strip()
        )
        places = {column: i for i, column in enumerate(columns) if column}
        if twice:
            found = ", ".join(row[i] for i, column in enumerate(columns) if column in twice)
            return Match(name, place, places, extra, "duplicate_header", found)
        if not complete:
            wanted = self._tables[name].exported.values()
            missing = [c.headers[0] for c in wanted if c.required and c.name not in places]
            return Match(name, place, places, extra, "missing_column", ", ".join(missing))
        return Match(name, place, places, extra)


def is_data(row: list[str], header: list[str]) -> bool:
    """Return whether a row below the header holds data: no blank, total, note or header again.

    Parameters
    ----------
    row, header : list of str
        The cells.

    Returns
    -------
    bool
        False for rows such as ``合计, , 1234``.

    Examples
    --------
    >>> is_data(["", "合计：", "12"], ["a"]), is_data(["S01", "Total Motors"], ["a"])
    (False, True)
    """
    filled = [cell for cell in row if cell.strip()]
    if not filled or row == header:
        return False
    if len(filled) == 1 and _NOTE.match(_fold(filled[0])):
        return False
    return len(filled[0]) >= _LONGEST_TOTAL or _fold(filled[0]).rstrip(":").strip() not in _TOTALS


def _fold(header: str) -> str:
    text = unicodedata.normalize("NFKC", header).replace("\ufeff", "")
    return " ".join(text.casefold().split()).rstrip("*").strip()
