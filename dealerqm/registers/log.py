"""The log: it only grows, and every entry seals the one before."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from dealerqm.errors import RegisterError
from dealerqm.registers import book
from dealerqm.registers.checks import Change, Scope, refuse
from dealerqm.registers.kinds import checked, clean, kind_of, kinds, series

FILE = "state.sqlite"  # in the project folder
SCHEMA = 1
LOG_COLUMNS = ("entry", "kind", "key", "fields", "at", "by", "why", "hash")
_SEALED = ("entry", "kind", "key", "fields", "at", "by", "why", "before")
_WAIT_SECONDS = 5.0
_FIRST = "0" * 64
_SETTINGS = ("PRAGMA foreign_keys=ON", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
_TABLES = (
    "CREATE TABLE kind (name TEXT PRIMARY KEY) STRICT",
    "CREATE TABLE entry (entry INTEGER PRIMARY KEY, kind TEXT NOT NULL REFERENCES kind (name), "
    "key TEXT NOT NULL, fields TEXT NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, "
    "why TEXT NOT NULL, before TEXT NOT NULL, hash TEXT NOT NULL UNIQUE) STRICT",
    "CREATE INDEX entry_of ON entry (kind, key)",
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, "
    "hash TEXT NOT NULL) STRICT",
    "CREATE TRIGGER entry_kept BEFORE DELETE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER entry_fixed BEFORE UPDATE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "PRAGMA user_version=1",
)
_INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HEAD = "INSERT OR REPLACE INTO head VALUES (1, ?, ?)"
_ALL = "SELECT * FROM entry ORDER BY entry"
_LAST = "SELECT entries, hash FROM head"
_OF_KIND = "SELECT * FROM entry WHERE kind = ? ORDER BY entry"


class Register:
    """The register of a project, in one SQLite file that the first entry makes.

    Parameters
    ----------
    path : Path
        ``state.sqlite`` of the project folder.
    scope : Scope or None
        What notes on charts may name; without it none can be written.
    """

    def __init__(self, path: Path, scope: Scope | None = None) -> None:
        self.path = path
        self.scope = scope

    def append(
        self, kind: str, key: str, fields: Mapping[str, Any], *, at: date | str, by: str, why: str
    ) -> int | None:
        """Add an entry that sets some fields of one object; None clears a field.

        Parameters
        ----------
        kind, key : str
            What is written down, and the name of the object.
        fields : mapping
            Field to value; fields not named stay as they are.
        at, by, why : date, datetime or ISO text, str, str
            When, who and for what reason; supplied by the caller.

        Returns
        -------
        int or None
            Number of the entry; None when nothing would change and nothing was written.

        Raises
        ------
        RegisterError
            If a kind, field or value is not allowed, or the file cannot be written.
        """
        written = self.extend([Change(kind, key, fields)], at=at, by=by, why=why)
        return written[0] if written else None

    def extend(self, changes: Sequence[Change], *, at: date | str, by: str, why: str) -> list[int]:
        """Add entries that set fields of several objects: all of them or, on any error, none.

        Parameters
        ----------
        changes : sequence of Change
            What to set, in this order.
        at, by, why : date, datetime or ISO text, str, str
            When, who and for what reason; supplied by the caller.

        Returns
        -------
        list of int
            Numbers of the entries; changes that change nothing have none.

        Raises
        ------
        RegisterError
            If a kind, field or value is not allowed, or the file cannot be written.
        """
        stamp = at.isoformat(timespec="seconds") if isinstance(at, datetime) else str(at)
        signed = tuple(clean(str(text), "register") for text in (stamp, by, why))
        asked = [
            change._replace(
                key=_key(change.kind, change.key), fields=checked(change.kind, change.fields)
            )
            for change in changes
        ]
        names = sorted({change.kind for change in asked})
        current = {kind: _objects(self._entries(kind)) for kind in names}
        if not self._planned(current, asked):
            return []
        with self._open(write=True) as engine:
            current = {kind: _objects(engine.execute(_OF_KIND, (kind,))) for kind in names}
            return [
                _insert(engine, (change.kind, change.key, _json(changed), *signed))
                for change, changed in self._planned(current, asked)
            ]

    def _planned(
        self, current: Mapping[str, dict[str, dict[str, Any]]], asked: Sequence[Change]
    ) -> list[tuple[Change, dict[str, Any]]]:
        """Return the changes that change something, and the fields they change; refuse bad ones."""
        after = {kind: dict(objects) for kind, objects in current.items()}
        planned = []
        for change in asked:
            known = after[change.kind].get(change.key)
            changed = _difference(known, change.fields)
            if changed is not None:
                planned.append((change, changed))
                after[change.kind][change.key] = {**(known or {}), **changed}
        for change, _ in planned:
            refuse(change, after[change.kind], self.scope)
        return planned

    def state(self, kind: str) -> pd.DataFrame:
        """Return the latest fields of every object of a kind.

        Parameters
        ----------
        kind : str
            What to return.

        Returns
        -------
        DataFrame
            Sorted by ``key``; one column per field in its type, then ``changed_at, changed_by``.
        """
        fields = kind_of(kind).fields
        objects = dict(sorted(_objects(self._entries(kind)).items()))
        columns = {"key": series(list(objects), "text")}
        for name, column in fields.items():
            columns[name] = series([body.get(name) for body in objects.values()], column.type)
        for name in ("changed_at", "changed_by"):
            columns[name] = series([body[name] for body in objects.values()], "text")
        return pd.DataFrame(columns)

    def log(self, kind: str | None = None) -> pd.DataFrame:
        """Return the entries, oldest first.

        Parameters
        ----------
        kind : str or None
            None means all kinds.

        Returns
        -------
        DataFrame
            Columns ``LOG_COLUMNS``; ``fields`` is JSON.
        """
        rows = [[entry[name] for name in LOG_COLUMNS] for entry in self._entries(kind)]
        return pd.DataFrame(rows, columns=list(LOG_COLUMNS))

    def verify(self) -> int:
        """Check the whole chain and return its number of entries.

        Returns
        -------
        int
            Number of entries.

        Raises
        ------
        RegisterError
            At the first entry that was changed, removed or moved.
        """
        if not self.path.exists():
            return 0
        with self._open() as engine:
            rows = _read(engine, _ALL)
            head = next(iter(_read(engine, _LAST)), (0, _FIRST))
        before, count = _FIRST, 0
        for count, row in enumerate(rows, 1):
            if row["entry"] != count or row["before"] != before or row["hash"] != _hash(row):
                raise RegisterError(
                    f"{self.path.name}: the chain breaks at entry {count} ({row['kind']} "
                    f"{row['key']}): it was changed, removed or moved. Restore a backup."
                )
            before = row["hash"]
        if tuple(head) != (count, before):
            raise RegisterError(
                f"{self.path.name}: the chain ends at entry {count}, but {head[0]} were written: "
                "the last ones were removed. Restore a backup."
            )
        return count

    def to_excel(self, path: Path) -> None:
        """Write the current state as a workbook that people edit and `from_excel` reads.

        Parameters
        ----------
        path : Path
            The ``.xlsx`` to write; one sheet per kind, money in yuan.

        Raises
        ------
        RegisterError
            If it cannot be written.
        """
        book.write(path, {name: self.state(name) for name in kinds()})

    def from_excel(self, path: Path, *, at: date | str, by: str) -> pd.DataFrame:
        """Take over what people changed in a workbook: all of it or, on any error, nothing.

        Parameters
        ----------
        path : Path
            Workbook with sheets named as the kinds; rows and sheets left out stay as they are.
        at, by : date, datetime or ISO text, str
            When and who.

        Returns
        -------
        DataFrame
            The new entries, in the columns of `log`.

        Raises
        ------
        RegisterError
            If a sheet or column is unknown, a key is missing or doubled, or a cell is unreadable
            or says what the log cannot take; sheet, row and column are named.
        """
        written = self.extend(book.read_changes(path), at=at, by=by, why=f"from {path.name}")
        log = self.log()
        return log[log["entry"].isin(written)].reset_index(drop=True)

    def _entries(self, kind: str | None) -> list[sqlite3.Row]:
        if kind is not None:
            kind_of(kind)
        if not self.path.exists():
            return []
        with self._open() as engine:
            return _read(engine, _ALL) if kind is None else _read(engine, _OF_KIND, kind)

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            ) as engine:
                engine.row_factory = sqlite3.Row
                for setting in _SETTINGS:
                    engine.execute(setting)
                engine.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                version = _version(engine, self.path.name)
                if write:
                    _prepare(engine, version)
                yield engine
                engine.execute("COMMIT")
        except sqlite3.Error as error:
            raise RegisterError(_explain(self.path, error)) from None


def _version(engine: sqlite3.Connection, name: str) -> int:
    version = int(engine.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        raise RegisterError(
            f"{name}: was written by a newer dealerqm (schema {version}, known {SCHEMA}); "
            "update dealerqm."
        )
    return version


def _prepare(engine: sqlite3.Connection, version: int) -> None:
    if version < SCHEMA:
        for statement in _TABLES:
            engine.execute(statement)
    engine.executemany("INSERT OR IGNORE INTO kind VALUES (?)", [(name,) for name in kinds()])


def _read(engine: sqlite3.Connection, query: str, *values: str) -> list[sqlite3.Row]:
    """Return rows, or none from a file in which nobody has written yet."""
    if not engine.execute("SELECT 1 FROM sqlite_master").fetchall():
        return []
    return engine.execute(query, values).fetchall()


def _objects(entries: Sequence[sqlite3.Row] | sqlite3.Cursor) -> dict[str, dict[str, Any]]:
    objects: dict[str, dict[str, Any]] = {}
    for entry in entries:
        body = objects.setdefault(entry["key"], {})
        body.update(json.loads(entry["fields"]))
        body.update(changed_at=entry["at"], changed_by=entry["by"])
    return objects


def _difference(
    known: Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the fields that change, or None when nothing does; a new object always changes."""
    if known is None:
        return {name: value for name, value in fields.items() if value is not None}
    return {name: v for name, v in fields.items() if known.get(name) != v} or None


def _insert(engine: sqlite3.Connection, values: tuple[str, ...]) -> int:
    last = engine.execute(_LAST).fetchone()
    number, before = (1, _FIRST) if last is None else (last["entries"] + 1, last["hash"])
    entry = dict(zip(_SEALED, (number, *values, before), strict=True))
    seal = _hash(entry)
    engine.execute(_INSERT, (*entry.values(), seal))
    engine.execute(_HEAD, (number, seal))
    return int(number)


def _hash(entry: Mapping[str, Any] | sqlite3.Row) -> str:
    return hashlib.sha256(_json([entry[name] for name in _SEALED]).encode("utf-8")).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _key(kind: str, key: str) -> str:
    text = clean(str(key), f"register {kind}: the key")
    if not text:
        raise RegisterError(f"register {kind}: the key is empty; give every object a name.")
    return text


def _explain(path: Path, error: sqlite3.Error) -> str:
    said = str(error)
    if "locked" in said or "busy" in said:
        return f"{path.name}: in use by another process; wait until it has finished and try again."
    if "full" in said or "disk I/O" in said:
        return f"{path.name}: the disk is full or failing ({said}); nothing was changed."
    if "readonly" in said or "unable to open" in said or "attempt to write" in said:
        return f"{path.name}: cannot be written ({said}); nothing was changed. Check your rights."
    return f"{path.name}: is damaged or no register ({said}); restore a backup."
