"""From sheets to clean tables: the checks change the fate of rows and write down why.

Personal data never enter an issue: what was found is masked; of a sensitive column only the
length is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dealerqm.ingest import cells, match
from dealerqm.ingest.match import Match
from dealerqm.ingest.read import Sheet
from dealerqm.privacy import mask
from dealerqm.tables import Column, Table

ISSUE_COLUMNS = (
    "file", "sheet", "row", "column", "rule", "found", "expected", "count", "action", "rows",
)  # fmt: skip
COUNT_COLUMNS = (
    "file", "sheet", "table", "encoding", "rows", "loaded", "quarantined", "duplicates",
    "set_aside", "rejected", "non_data",
)  # fmt: skip
LOADED, QUARANTINED, DUPLICATE, SET_ASIDE = range(4)
_SHOWN_ROWS = 5
_SHOWN_FOUND = 3
_SHOWN_CHARACTERS = 60
_GLUE = "\x1f"


@dataclass(frozen=True)
class Where:
    """A column of a sheet, as messages name it."""

    file: str
    sheet: str = ""
    column: str = ""


class Issues:
    """Collects what was wrong, one entry per place, rule and action."""

    def __init__(self) -> None:
        self._entries: list[tuple[object, ...]] = []

    def add(
        self, where: Where, rule: str, action: str, *, rows: Sequence[int] | np.ndarray = (),
        found: Iterable[str] = (), expected: str = "",
    ) -> None:  # fmt: skip
        """Write down a problem: its file rows (from 1), examples and what is expected."""
        numbers = [int(row) for row in rows]
        shown = "; ".join(list(dict.fromkeys(found))[:_SHOWN_FOUND])
        self._entries.append(
            (where.file, where.sheet, min(numbers, default=0), where.column, rule, shown, expected,
             max(1, len(numbers)), action, ", ".join(map(str, sorted(numbers)[:_SHOWN_ROWS])))
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return the problems sorted by file, sheet, first row, column and rule."""
        entries = sorted(self._entries, key=lambda entry: tuple(map(str, entry[:2])) + entry[2:5])
        return pd.DataFrame(entries, columns=list(ISSUE_COLUMNS))


@dataclass
class Part:
    """One sheet of a table: what is needed to name and to quarantine its rows.

    Attributes
    ----------
    sheet : Sheet
        File, sheet name and encoding, without rows.
    headers, header : dict of str to str, list of str
        Column name to the header in the file; the header row.
    numbers, packed : array of int, list of str, shape (n,)
        Row of the file, and the raw cells in one text, of each data row.
    rows, non_data : int
        Rows of the file, and those that are header, title, blank or total.
    """

    sheet: Sheet
    headers: dict[str, str]
    header: list[str]
    numbers: np.ndarray
    packed: list[str]
    rows: int
    non_data: int

    def raw(self, place: int) -> list[str]:
        """Return the raw cells of a data row."""
        return self.packed[place].split(_GLUE)

    def where(self, column: str = "") -> Where:
        """Name a column as the file does."""
        return Where(self.sheet.file, self.sheet.sheet, self.headers.get(column, column))


@dataclass
class Batch:
    """One table with the fate of every row.

    Attributes
    ----------
    table : Table
        The contract.
    frame : DataFrame, shape (n, exported columns)
        Values in storage type.
    fate : array of int, shape (n,)
        ``LOADED, QUARANTINED, DUPLICATE`` or ``SET_ASIDE``.
    part, place : arrays of int, shape (n,)
        Part of each row, and its place among the data rows of that part.
    parts : list of Part
        Where the rows came from.
    reasons : dict of int to list of str
        Row to why it is in quarantine.
    """

    table: Table
    frame: pd.DataFrame
    fate: np.ndarray
    part: np.ndarray
    place: np.ndarray
    parts: list[Part]
    reasons: dict[int, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> np.ndarray:
        """Which rows are to be loaded."""
        return np.asarray(self.fate == LOADED)

    def numbers(self, part: int, rows: np.ndarray) -> np.ndarray:
        """Return the file rows of those of the rows that came from a part."""
        own = rows[self.part[rows] == part]
        return np.asarray(self.parts[part].numbers[self.place[own]])

    def quarantine(self, rows: np.ndarray, reason: str) -> None:
        """Send rows to quarantine for a reason."""
        self.fate[rows] = QUARANTINED
        for row in rows.tolist():
            self.reasons.setdefault(row, []).append(reason)

    def report(
        self, issues: Issues, rows: np.ndarray, rule: str, action: str, *, column: str,
        expected: str = "",
    ) -> None:  # fmt: skip
        """Write one issue per part about some rows."""
        for part in np.unique(self.part[rows]):
            own = rows[self.part[rows] == part]
            found = (shape(self.table, column, value) for value in self._texts(own, column))
            where = self.parts[part].where(column)
            issues.add(where, rule, action, rows=self.numbers(part, own), found=found,
                       expected=expected)  # fmt: skip

    def _texts(self, rows: np.ndarray, column: str) -> list[str]:
        values = self.frame[column].iloc[rows[:_SHOWN_CHARACTERS]]
        return ["" if pd.isna(value) else str(value) for value in values]


def shape(table: Table, column: str, text: str) -> str:
    """Return what an issue may show of a cell.

    Parameters
    ----------
    table : Table
        The contract.
    column : str
        Column name; an unknown one counts as sensitive.
    text : str
        The cell.

    Returns
    -------
    str
        The masked start of the text; of a sensitive column only its length.
    """
    contract = table.columns.get(column)
    if contract is None or contract.sensitive in ("pseudonym", "drop"):
        return f"[{len(text)}]"
    return mask(text)[0][:_SHOWN_CHARACTERS]


def load_sheet(sheet: Sheet, found: Match, table: Table, issues: Issues) -> Batch:
    """Read the data rows of a recognised sheet.

    Parameters
    ----------
    sheet : Sheet
        The cells; its rows are released.
    found : Match
        Table, header and columns.
    table : Table
        The contract.
    issues : Issues
        Takes what was wrong.

    Returns
    -------
    Batch
        Rows with an unreadable required cell, or more cells than the header, in quarantine.
    """
    header = [cell.strip() for cell in sheet.rows[found.header]]
    body = sheet.rows[found.header + 1 :]
    names = {column: header[place] for column, place in found.places.items()}
    data = [i for i, row in enumerate(body) if match.is_data(row, sheet.rows[found.header])]
    rows = [body[i] for i in data]
    part = Part(
        Sheet(sheet.file, sheet.sheet, sheet.encoding, []), names, header,
        np.array(data, dtype=np.int64) + found.header + 2,
        [_pack(row) for row in rows],
        len(sheet.rows), len(sheet.rows) - len(rows),
    )  # fmt: skip
    nothing, order = np.zeros(len(rows), dtype=np.int64), np.arange(len(rows))
    batch = Batch(table, pd.DataFrame(index=order), nothing.copy(), nothing, order, [part])
    _check_width(batch, rows, len(header), issues)
    for place, name in found.unknown:
        texts = [i for i, row in enumerate(rows) if len(row) > place and row[place].strip()]
        issues.add(part.where(name), "unknown_column", "ignored", rows=part.numbers[texts],
                   found=[name])  # fmt: skip
    batch.frame = pd.DataFrame(
        {
            name: _read_column(batch, rows, found.places.get(name, -1), column, issues)
            for name, column in table.exported.items()
        }
    )
    return batch


def _pack(row: list[str]) -> str:
    text = _GLUE.join(row)
    if text.count(_GLUE) < max(len(row), 1):
        return text
    return _GLUE.join(cell.replace(_GLUE, " ") for cell in row)


def _check_width(batch: Batch, rows: list[list[str]], width: int, issues: Issues) -> None:
    wide = [
        i for i, row in enumerate(rows) if len(row) > width and any(map(str.strip, row[width:]))
    ]
    if wide:
        part = batch.parts[0]
        issues.add(part.where(), "extra_cells", "quarantined", rows=part.numbers[wide],
                   found=[str(len(rows[wide[0]]))], expected=str(width))  # fmt: skip
        batch.quarantine(np.array(wide), f"extra_cells: > {width}")


def _read_column(
    batch: Batch, rows: list[list[str]], place: int, column: Column, issues: Issues
) -> pd.Series:
    if place < 0:
        return cells.parse([""] * len(rows), column).values  # noqa: PD011
    texts = [row[place] if place < len(row) else "" for row in rows]
    parsed = cells.parse(texts, column)
    missing = parsed.values.isna().to_numpy(dtype=bool)  # noqa: PD011
    rules = dict(parsed.rules)
    if column.required:
        rules["required"] = missing & ~np.any([*rules.values(), np.zeros_like(missing)], axis=0)
    part = batch.parts[0]
    for rule, named in rules.items():
        hit = np.flatnonzero(named)
        if not len(hit):
            continue
        bad = column.required and bool(missing[hit[0]])
        wanted = cells.expected(column, rule)
        found = (shape(batch.table, column.name, texts[i]) for i in hit[:_SHOWN_CHARACTERS])
        issues.add(part.where(column.name), rule, "quarantined" if bad else "repaired",
                   rows=part.numbers[hit], found=found, expected=wanted)  # fmt: skip
        if bad:
            batch.quarantine(hit, f"{part.headers[column.name]}: {rule} ({wanted})")
    return parsed.values  # noqa: PD011


def join(batches: Sequence[Batch]) -> Batch:
    """Put the sheets of one table under each other.

    Parameters
    ----------
    batches : sequence of Batch
        One or more, of the same table.

    Returns
    -------
    Batch
        All rows, in the order given.
    """
    starts = np.cumsum([0, *(len(batch.frame) for batch in batches)])
    return Batch(
        batches[0].table,
        pd.concat([batch.frame for batch in batches], ignore_index=True),
        np.concatenate([batch.fate for batch in batches]),
        np.concatenate([np.full(len(b.frame), i) for i, b in enumerate(batches)]),
        np.concatenate([batch.place for batch in batches]),
        [batch.parts[0] for batch in batches],
        {row + int(start): why for batch, start in zip(batches, starts, strict=False)
         for row, why in batch.reasons.items()},
    )  # fmt: skip


def check_order(batch: Batch, issues: Issues) -> None:
    """Quarantine rows whose times contradict each other.

    Parameters
    ----------
    batch : Batch
        Its fates change.
    issues : Issues
        Takes what was wrong.
    """
    for first, second in batch.table.order:
        late = (batch.frame[second] < batch.frame[first]).to_numpy() & batch.good
        rows = np.flatnonzero(late)
        if len(rows):
            rule = f"{second} >= {first}"
            batch.report(issues, rows, "order", "quarantined", column=second, expected=rule)
            batch.quarantine(rows, f"order: {rule}")


def check_duplicates(batch: Batch, issues: Issues) -> None:
    """Count equal rows once, and quarantine later rows that contradict the first of their key.

    Parameters
    ----------
    batch : Batch
        Its fates change.
    issues : Issues
        Takes what was wrong.
    """
    key = list(batch.table.key)
    good = np.flatnonzero(batch.good)
    rows = batch.frame.iloc[good]
    repeated = good[rows.duplicated(key, keep=False).to_numpy()]
    if not len(repeated):
        return
    some = batch.frame.iloc[repeated]
    equal = some.duplicated(keep="first").to_numpy()
    conflict = some.duplicated(key, keep="first").to_numpy() & ~equal
    for rows_of, rule, action in (
        (repeated[equal], "duplicate", "ignored"),
        (repeated[conflict], "conflict", "quarantined"),
    ):
        if len(rows_of):
            expected = f"1 × {', '.join(key)}"
            batch.report(issues, rows_of, rule, action, column=key[0], expected=expected)
    batch.fate[repeated[equal]] = DUPLICATE
    batch.quarantine(repeated[conflict], f"conflict: {', '.join(key)}")


def check_references(batches: Mapping[str, Batch], issues: Issues) -> None:
    """Quarantine rows of unknown stores; report rows that point to nothing else known.

    Parameters
    ----------
    batches : mapping of str to Batch
        All tables.
    issues : Issues
        Takes what was wrong.
    """
    for batch in batches.values():
        for name, column in batch.table.exported.items():
            if column.ref not in batches:
                continue
            target = batches[column.ref]
            known = target.frame.loc[target.good, target.table.key[0]]
            values = batch.frame[name]
            lost = values.notna() & ~values.isin(known)
            rows = np.flatnonzero(lost.to_numpy() & batch.good)
            if not len(rows):
                continue
            action = "quarantined" if column.ref == "stores" else "kept"
            expected = f"{column.ref}.{target.table.key[0]}"
            batch.report(issues, rows, "orphan", action, column=name, expected=expected)
            if action == "quarantined":
                batch.quarantine(rows, f"orphan: {name} -> {expected}")


def count(batch: Batch) -> list[tuple[object, ...]]:
    """Return one line of counts per sheet of a table.

    Parameters
    ----------
    batch : Batch
        With final fates.

    Returns
    -------
    list of tuple
        In the order of ``COUNT_COLUMNS``; rows = the sum of the five fates and ``non_data``.
    """
    lines: list[tuple[object, ...]] = []
    for i, part in enumerate(batch.parts):
        fates = np.bincount(batch.fate[batch.part == i], minlength=4).tolist()
        lines.append(
            (part.sheet.file, part.sheet.sheet, batch.table.name, part.sheet.encoding, part.rows,
             fates[LOADED], fates[QUARANTINED], fates[DUPLICATE], fates[SET_ASIDE], 0,
             part.non_data)
        )  # fmt: skip
    return lines
