"""Raw exports to a verified snapshot: nothing lost, nothing personal stored, nothing in silence.

Every row of every file ends in exactly one place: loaded, in quarantine, a duplicate, set aside
because it lies after the snapshot's day, or no data at all; the counts say how many.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dealerqm import store, tables
from dealerqm.errors import IngestError, SnapshotError
from dealerqm.ingest import clean, derive, read
from dealerqm.ingest.clean import COUNT_COLUMNS, ISSUE_COLUMNS, Batch, Issues, Where
from dealerqm.ingest.match import Mapped, Match, Matcher, read_mapping
from dealerqm.ingest.read import Sheet
from dealerqm.plan import Plan, digest
from dealerqm.privacy import Key, mask_all, pseudonyms
from dealerqm.store import Snapshot

__all__ = ["COUNT_COLUMNS", "ISSUE_COLUMNS", "VERSION", "Checked", "check", "ingest"]

VERSION = "1"  # of the way from cells to tables; a new one makes new snapshots of old exports
_ID_DIGITS = 16
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
_SHOWN = 3


@dataclass(frozen=True)
class Checked:
    """What an import would say.

    Attributes
    ----------
    issues : DataFrame
        Columns ``ISSUE_COLUMNS``; ``row`` is the first file row, ``rows`` the first five.
    counts : DataFrame
        Columns ``COUNT_COLUMNS``; one row per sheet.
    """

    issues: pd.DataFrame
    counts: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether an import would go through."""
        return not (self.issues["action"] == "rejected").any()


def check(raw: Path, plan: Plan, *, mapping: Path | None = None) -> Checked:
    """Look through a folder of exports without importing anything.

    Parameters
    ----------
    raw : Path
        Folder of exports.
    plan : Plan
        The plan whose contracts they must fit.
    mapping : Path or None
        Mapping file for unknown headers.

    Returns
    -------
    Checked
        All problems and counts; a file that cannot be read is an issue with action ``rejected``.

    Raises
    ------
    IngestError
        If there is no file to look at, or the mapping file is wrong.
    """
    loaded = _load(raw, plan, read_mapping(mapping, plan.tables))
    return Checked(loaded.issues.frame(), loaded.counts())


def ingest(
    raw: Path, project: Path, plan: Plan, *, key: Key, as_of: date | None = None,
    mapping: Path | None = None,
) -> Snapshot:  # fmt: skip
    """Import a folder of exports and store a snapshot.

    Parameters
    ----------
    raw : Path
        Folder of exports, searched with its subfolders.
    project : Path
        Project folder; gets ``snapshots/<id>`` and ``quarantine/<id>``.
    plan : Plan
        The plan.
    key : Key
        Makes the pseudonyms; see `privacy.load_key`.
    as_of : date or None
        Last day that counts; None means the last day that any key time of the exports names.
    mapping : Path or None
        Mapping file for unknown headers.

    Returns
    -------
    Snapshot
        The stored snapshot; an earlier one of the same inputs is used again.

    Raises
    ------
    IngestError
        If a file cannot be read or fits no table, or a required table is missing.
    SnapshotError
        If the project folder cannot be written or is in use.
    """
    mapped = read_mapping(mapping, plan.tables)
    with store.lock(project, "ingest"):
        inputs = _inputs(raw, plan, key, mapped)
        request = digest({**inputs, "as_of": str(as_of)})
        if (known := _known(project, "request", request)) is not None:
            return known
        loaded = _load(raw, plan, mapped)
        _refuse(loaded)
        day = as_of or derive.last_day(loaded.batches.values())
        if day is None:
            raise IngestError(
                f"{raw.resolve().name}: no row has a time, so there is no day to report on."
            )
        identity = digest({**inputs, "as_of": str(day)})[:_ID_DIGITS]
        return _store(loaded, project, plan, key=key, as_of=day,
                      manifest={"id": identity, "request": request, **inputs})  # fmt: skip


@dataclass
class _Loaded:
    """All tables of a folder after the checks."""

    batches: dict[str, Batch]
    issues: Issues
    rejected: list[tuple[object, ...]]
    messages: list[str]

    def counts(self) -> pd.DataFrame:
        lines = [line for batch in self.batches.values() for line in clean.count(batch)]
        frame = pd.DataFrame([*lines, *self.rejected], columns=list(COUNT_COLUMNS))
        return frame.sort_values(["file", "sheet"], ignore_index=True)


def _load(raw: Path, plan: Plan, mapped: Mapped) -> _Loaded:
    loaded = _Loaded({}, Issues(), [], [])
    matcher = Matcher(plan.tables, mapped)
    found: dict[str, list[Batch]] = {}
    paths = read.files(raw)
    for path in tqdm(paths, desc="ingest", unit="file", disable=None, leave=False):
        for batch in _batches(path, _name(path, raw), plan, matcher, loaded):
            found.setdefault(batch.table.name, []).append(batch)
    for name in plan.tables:
        if name in found:
            loaded.batches[name] = batch = clean.join(found[name])
            clean.check_order(batch, loaded.issues)
            clean.check_duplicates(batch, loaded.issues)
    clean.check_references(loaded.batches, loaded.issues)
    for name, table in plan.tables.items():
        if table.required and name not in loaded.batches:
            headers = ", ".join(c.headers[0] for c in table.exported.values() if c.required)
            folder = raw.resolve().name
            loaded.issues.add(Where(folder), "missing_table", "rejected", found=[name],
                              expected=headers)  # fmt: skip
            loaded.messages.append(f"{folder}: no file holds the table {name} ({headers} …).")
    return loaded


def _batches(
    path: Path, file: str, plan: Plan, matcher: Matcher, loaded: _Loaded
) -> Iterator[Batch]:
    strangers: list[tuple[Where, Match, Sheet]] = []
    try:
        used = False
        for sheet in read.sheets(path, file):
            found = matcher.match(sheet.rows)
            if found.rule:
                strangers.append((Where(file, sheet.sheet), found, sheet))
            else:
                used = True
                yield clean.load_sheet(sheet, found, plan.tables[found.table], loaded.issues)
        for where, found, sheet in strangers:
            _set_out(where, found, sheet, beside=used, loaded=loaded)
    except IngestError as error:
        loaded.issues.add(Where(file), "unreadable", "rejected", found=[str(error)])
        loaded.messages.append(str(error))


def _set_out(where: Where, found: Match, sheet: Sheet, *, beside: bool, loaded: _Loaded) -> None:
    """Count a sheet that was not loaded; a note beside a table is no reason to refuse the file."""
    note = beside and found.rule == "wrong_table"
    loaded.issues.add(where, found.rule, "ignored" if note else "rejected", found=[found.found],
                      expected=found.table)  # fmt: skip
    size = len(sheet.rows)
    loaded.rejected.append(
        (where.file, where.sheet, found.table, sheet.encoding, size, 0, 0, 0, 0, size, 0)
    )
    if not note:
        loaded.messages.append(_rejection(where, found.rule, found.table, found.found))


def _rejection(where: Where, rule: str, table: str, found: str) -> str:
    place = f"{where.file} {where.sheet}".strip()
    if rule == "wrong_table":
        return (
            f"{place}: its headers ({found} …) fit no table; move it out of the folder, or name "
            "its columns in a mapping file."
        )
    if rule == "missing_column":
        return (
            f"{place}: looks like {table} but lacks the columns {found}; export them, or name "
            "their headers in a mapping file."
        )
    return f"{place}: two columns of {table} have the headers {found}; keep one of them."


def _refuse(loaded: _Loaded) -> None:
    if loaded.messages:
        more = len(loaded.messages) - _SHOWN
        shown = " ".join(loaded.messages[:_SHOWN]) + (f" … and {more} more." if more > 0 else "")
        raise IngestError(f"{shown} Nothing was imported.")


def _name(path: Path, raw: Path) -> str:
    return path.name if path == raw else path.relative_to(raw).as_posix()


def _inputs(raw: Path, plan: Plan, key: Key, mapped: Mapped) -> dict[str, Any]:
    return {
        "raw": {_name(path, raw): store.digest(path) for path in read.files(raw)},
        "plan": plan.digest,
        "contracts": digest({name: repr(table) for name, table in tables.load().items()}),
        "mapping": {table: dict(columns) for table, columns in mapped.items()},
        "key": key.fingerprint,
        "demonstration_key": key.demo,
        "ingest": VERSION,
    }


def _known(project: Path, field: str, value: str) -> Snapshot | None:
    for identity, manifest in store.manifests(project).items():
        if manifest.get(field) == value:
            try:
                return store.open_snapshot(project, identity)
            except SnapshotError:
                return None
    return None


def _store(
    loaded: _Loaded, project: Path, plan: Plan, *, key: Key, as_of: date,
    manifest: Mapping[str, Any],
) -> Snapshot:  # fmt: skip
    identity = str(manifest["id"])
    if (known := _known(project, "id", identity)) is not None:
        return known
    masked: dict[str, dict[str, int]] = {}
    frames: dict[str, pd.DataFrame] = {}
    for name, batch in loaded.batches.items():
        derive.set_aside(batch, as_of, loaded.issues)
        frames[name] = _private(batch, key, masked)
    context = derive.Context(frames, plan, as_of)
    finished = {
        name: derive.complete(context, name) for name in plan.tables if name in frames
    }  # fmt: skip
    for name, table in plan.tables.items():
        if table.made_from:
            made = derive.TABLES[table.made_from](context)
            finished[name] = derive.with_keys(made, table.columns)
    quarantine = project / "quarantine" / identity
    try:
        _write_quarantine(quarantine, loaded.batches)
        return store.write(
            project, finished, as_of=as_of, issues=loaded.issues.frame(), counts=loaded.counts(),
            manifest={**manifest, "masked": masked},
        )  # fmt: skip
    except SnapshotError:
        shutil.rmtree(quarantine, ignore_errors=True)
        raise


def _private(batch: Batch, key: Key, masked: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Return the good rows of a table without anything personal."""
    frame = batch.frame[batch.good].reset_index(drop=True)
    for name, column in batch.table.exported.items():
        if column.sensitive == "pseudonym":
            frame[name] = pseudonyms(key, column.person, frame[name])
        elif column.sensitive == "drop":
            frame = frame.drop(columns=name)
        elif column.sensitive == "mask":
            frame[name], counts = mask_all(frame[name])
            if counts:
                masked[f"{batch.table.name}.{name}"] = counts
    return frame


def _write_quarantine(folder: Path, batches: Mapping[str, Batch]) -> None:
    """Write the quarantined rows as they were, readable by their owner only."""
    for batch in batches.values():
        rows = np.flatnonzero(batch.fate == clean.QUARANTINED)
        for i, part in enumerate(batch.parts):
            own = rows[batch.part[rows] == i]
            if len(own):
                sheet = f".{part.sheet.sheet}" if part.sheet.sheet else ""
                name = f"{part.sheet.file}{sheet}".replace("/", "__") + ".csv"
                lines = [
                    [str(part.numbers[batch.place[row]]), "; ".join(batch.reasons[row]),
                     *part.raw(int(batch.place[row]))]
                    for row in own.tolist()
                ]  # fmt: skip
                _write_rows(folder, name, [["row", "reasons", *part.header], *lines])


def _write_rows(folder: Path, name: str, rows: list[list[str]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = folder / name
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([_inert(cell) for cell in row] for row in rows)
    except OSError as error:
        raise SnapshotError(store.explain(error, folder)) from None


def _inert(cell: str) -> str:
    """Keep a spreadsheet from running what a cell says."""
    number = cell.lstrip("+-").replace(".", "", 1).replace(",", "").isdigit()
    return f"'{cell}" if cell.startswith(_DANGEROUS) and not number else cell
