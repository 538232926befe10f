"""Snapshots: one Parquet file per table and a manifest that knows the hash of each.

The only module that imports DuckDB. A snapshot is written beside its place and renamed into it,
so a reader finds the whole of it or nothing; a snapshot whose files changed is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pandas as pd
from duckdb import sqltypes

from dealerqm import tables as contracts
from dealerqm.errors import SnapshotError, unknown
from dealerqm.store import files

FORMAT = 1
MANIFEST = "manifest.json"
_ENGINE: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,  # the order of sums, and so their last digit, is the same in every run
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_ROW_GROUP = 122880


@dataclass(frozen=True)
class Snapshot:
    """A verified snapshot on disk.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : mapping
        ``id, as_of, tables, issues, counts`` and what the importer wrote.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """16 hexadecimal digits of everything that went in."""
        return str(self.manifest["id"])

    @property
    def as_of(self) -> date:
        """The last day that the snapshot knows of."""
        return date.fromisoformat(self.manifest["as_of"])

    @property
    def issues(self) -> pd.DataFrame:
        """What was wrong with the exports: one row per kind of problem and column."""
        return _frame(self.manifest["issues"])

    @property
    def counts(self) -> pd.DataFrame:
        """One row per sheet: rows found, loaded and left out, by reason."""
        return _frame(self.manifest["counts"])

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables it holds."""
        return tuple(self.manifest["tables"])

    def has(self, table: str) -> bool:
        """Return whether it holds a table."""
        return table in self.manifest["tables"]

    def parquet(self, table: str) -> Path:
        """Return the file of a table, or say which tables there are."""
        if not self.has(table):
            raise SnapshotError(unknown(f"snapshot {self.id}: table", table, self.tables))
        return self.path / str(self.manifest["tables"][table]["file"])


def write(
    project: Path, tables: Mapping[str, pd.DataFrame], *, as_of: date, issues: pd.DataFrame,
    counts: pd.DataFrame, manifest: Mapping[str, Any],
) -> Snapshot:  # fmt: skip
    """Write a snapshot in one step; the same tables give the same bytes.

    Parameters
    ----------
    project : Path
        Project folder; the snapshot becomes ``snapshots/<id>``.
    tables : mapping of str to DataFrame
        Rows are sorted by the key of the table's contract. Storage types: string, int64, double,
        boolean, timestamp; columns of contract type ``date`` and named ``*_day`` become dates.
    as_of : date
        Last day that the data know of.
    issues, counts : DataFrame
        What was wrong, and rows per sheet; plain strings and integers.
    manifest : mapping
        ``id`` and whatever else should be remembered, as JSON values.

    Returns
    -------
    Snapshot
        The snapshot as opened from disk.

    Raises
    ------
    SnapshotError
        If the folder cannot be written or the disk is full; earlier snapshots stay as they were.
    """
    identity = str(manifest["id"])
    folder = project / "snapshots"
    draft = folder / f".draft-{identity}"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        with duckdb.connect(":memory:", config=_ENGINE) as engine:
            stored = {
                name: _write_table(engine, draft / f"{name}.parquet", frame)
                for name, frame in tables.items()
            }
        content = {
            "format": FORMAT,
            **manifest,
            "as_of": as_of.isoformat(),
            "tables": stored,
            "issues": _records(issues),
            "counts": _records(counts),
        }
        content["seal"] = _seal(content)
        text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True)
        files.write_bytes(draft / MANIFEST, text.encode("utf-8"))
        files.replace(draft, folder / identity)
    except (OSError, duckdb.Error) as error:
        raise SnapshotError(files.explain(error, folder)) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_snapshot(project, identity)


def open_snapshot(project: Path, snapshot_id: str | None = None) -> Snapshot:
    """Open a snapshot and check every file against its manifest.

    Parameters
    ----------
    project : Path
        Project folder.
    snapshot_id : str or None
        None means the latest one: by ``as_of``, then by id.

    Returns
    -------
    Snapshot
        The verified snapshot.

    Raises
    ------
    SnapshotError
        If there is none, the id is unknown, or a file is missing or changed.
    """
    known = manifests(project)
    if not known:
        raise SnapshotError(
            f"{project.resolve().name}/snapshots: found no snapshot; import exports first: "
            "`dealerqm ingest`."
        )
    if snapshot_id is None:
        snapshot_id = max(known, key=lambda name: (str(known[name].get("as_of")), name))
    if snapshot_id not in known:
        raise SnapshotError(unknown("snapshot", snapshot_id, known))
    path = project / "snapshots" / snapshot_id
    manifest = known[snapshot_id]
    _verify(path, manifest)
    return Snapshot(path, MappingProxyType(manifest))


def manifests(project: Path) -> dict[str, dict[str, Any]]:
    """Return the manifests of all snapshots of a project, not yet verified.

    Parameters
    ----------
    project : Path
        Project folder.

    Returns
    -------
    dict of str to dict
        Snapshot id to manifest, sorted by id; an unreadable manifest is an empty dict.
    """
    found = {}
    for place in sorted((project / "snapshots").glob(f"[0-9a-f]*/{MANIFEST}")):
        try:
            manifest = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = {}
        found[place.parent.name] = manifest if isinstance(manifest, dict) else {}
    return found


def _verify(path: Path, manifest: Mapping[str, Any]) -> None:
    again = "import the exports again or restore a backup"
    if not manifest or manifest.get("seal") != _seal(manifest):
        raise SnapshotError(f"snapshot {path.name}: {MANIFEST} was changed or damaged; {again}.")
    for table, entry in manifest["tables"].items():
        file = path / entry["file"]
        if not file.is_file():
            raise SnapshotError(f"snapshot {path.name}: {file.name} ({table}) is missing; {again}.")
        if (found := files.digest(file)) != entry["sha256"]:
            raise SnapshotError(
                f"snapshot {path.name}: {file.name} was changed: found hash {found[:12]}, "
                f"expected {entry['sha256'][:12]}; {again}."
            )


def _seal(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "seal"}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _records(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {"columns": list(frame.columns), "rows": frame.astype(object).to_numpy().tolist()}


def _frame(records: Mapping[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(records["rows"], columns=records["columns"])


def _write_table(
    engine: duckdb.DuckDBPyConnection, place: Path, frame: pd.DataFrame
) -> dict[str, Any]:
    contract = contracts.load().get(place.stem)
    keys = [column for column in (contract.key if contract else ()) if column in frame.columns]
    if keys:
        frame = frame.sort_values(keys, kind="stable", ignore_index=True)
    known = contract.columns if contract else {}
    dates = {name for name, column in known.items() if column.type == "date"}
    columns = [
        duckdb.ColumnExpression(column)
        .cast(_sql_type(frame[column], column in dates or column.endswith("_day")))
        .alias(column)
        for column in frame.columns
    ]
    rows = engine.from_df(frame).select(*columns)
    rows.write_parquet(str(place), compression="zstd", row_group_size=_ROW_GROUP)
    files.sync(place)
    return {
        "file": place.name, "sha256": files.digest(place), "rows": len(frame),
        "columns": list(frame.columns),
    }  # fmt: skip


def _sql_type(column: pd.Series, is_date: bool) -> sqltypes.DuckDBPyType:
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind):
        return sqltypes.BOOLEAN
    if pd.api.types.is_integer_dtype(kind):
        return sqltypes.BIGINT
    if pd.api.types.is_float_dtype(kind):
        return sqltypes.DOUBLE
    if pd.api.types.is_datetime64_any_dtype(kind):
        return sqltypes.DATE if is_date else sqltypes.TIMESTAMP
    return sqltypes.VARCHAR


@lru_cache(maxsize=8)
def _engine(folder: Path, parquet: tuple[tuple[str, Path], ...]) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(":memory:", config=_ENGINE)
    for name, file in parquet:
        engine.read_parquet(str(file)).create_view(name)
    return engine


def connect(snapshot: Snapshot) -> duckdb.DuckDBPyConnection:
    """Return an engine with one view per table of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
        An open snapshot.

    Returns
    -------
    duckdb.DuckDBPyConnection
        In memory, one thread, limited memory; shared by all callers of the same snapshot.
    """
    parquet = tuple((name, snapshot.parquet(name)) for name in snapshot.tables)
    return _engine(snapshot.path, parquet)


def relation(snapshot: Snapshot, table: str) -> duckdb.DuckDBPyRelation:
    """Return a table of a snapshot as a DuckDB relation.

    Parameters
    ----------
    snapshot : Snapshot
        An open snapshot.
    table : str
        Name of one of its tables.

    Returns
    -------
    duckdb.DuckDBPyRelation
        All rows, in key order.
    """
    snapshot.parquet(table)
    return connect(snapshot).view(table)
