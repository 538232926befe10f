"""Snapshots: the same bytes from the same tables, whole or not at all, and refused when changed."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from dealerqm import store
from dealerqm.errors import SnapshotError

POSIX = pytest.mark.skipif(os.name != "posix", reason="limits and users are those of POSIX")


def tables():
    stores = pd.DataFrame(
        {
            "store_id": pd.Series(["S02", "S01"], dtype="str"),
            "name": pd.Series(["西店", None], dtype="str"),
            "city_tier": pd.array([2, None], dtype="Int64"),
            "opened_on": pd.Series(pd.to_datetime(["2016-03-01", None])).astype("datetime64[s]"),
        }
    )
    other = pd.DataFrame(
        {
            "x": [1.5, None],
            "flag": pd.array([True, None], dtype="boolean"),
            "at": pd.Series(pd.to_datetime(["2026-01-01 10:00", None])).astype("datetime64[s]"),
            "at_day": pd.Series(pd.to_datetime(["2026-01-01", None])).astype("datetime64[s]"),
            "none": pd.Series([None, None], dtype="str"),
        }
    )
    return {"stores": stores, "other": other}


def write(project, identity="ab12", as_of=date(2026, 6, 30)):
    issues = pd.DataFrame({"file": ["a.csv"], "row": [3], "found": ["坏"]})
    counts = pd.DataFrame({"file": ["a.csv"], "rows": [4]})
    return store.write(
        project, tables(), as_of=as_of, issues=issues, counts=counts, manifest={"id": identity}
    )


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_what_was_written_is_read_back(tmp_path):
    snapshot = write(tmp_path)
    assert (snapshot.id, snapshot.as_of) == ("ab12", date(2026, 6, 30))
    assert snapshot.tables == ("stores", "other") or set(snapshot.tables) == {"stores", "other"}
    assert snapshot.has("stores") and not snapshot.has("leads")
    assert snapshot.issues.to_dict("records") == [{"file": "a.csv", "row": 3, "found": "坏"}]
    assert snapshot.counts["rows"].tolist() == [4]
    assert snapshot.manifest["tables"]["stores"]["rows"] == 2


def test_rows_are_in_key_order_and_types_as_promised(tmp_path):
    snapshot = write(tmp_path)
    stores = store.relation(snapshot, "stores")
    assert stores.fetchall() == [("S01", None, None, None), ("S02", "西店", 2, date(2016, 3, 1))]
    assert list(map(str, stores.types)) == ["VARCHAR", "VARCHAR", "BIGINT", "DATE"]
    other = store.relation(snapshot, "other")
    assert list(map(str, other.types)) == ["DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE", "VARCHAR"]
    assert other.fetchall()[1] == (None,) * 5
    engine = store.connect(snapshot)
    pairs = engine.view("stores").cross(engine.view("other"))
    assert len(pairs.fetchall()) == 4
    assert engine is store.connect(snapshot)


def test_the_same_tables_give_the_same_bytes_in_another_place(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    one, two = (contents(tmp_path / name / "snapshots") for name in ("one", "two"))
    assert one == two and set(one) == {
        "ab12/manifest.json", "ab12/stores.parquet", "ab12/other.parquet",
    }  # fmt: skip


def test_the_latest_is_by_day_then_by_id(tmp_path):
    for identity, day in [("aa", 30), ("cc", 29), ("bb", 30)]:
        write(tmp_path, identity, date(2026, 6, day))
    assert store.open_snapshot(tmp_path).id == "bb"
    assert store.open_snapshot(tmp_path, "cc").as_of == date(2026, 6, 29)
    assert list(store.manifests(tmp_path)) == ["aa", "bb", "cc"]


def test_no_snapshot_and_an_unknown_one_and_table_are_named(tmp_path):
    with pytest.raises(SnapshotError, match="found no snapshot; import exports first"):
        store.open_snapshot(tmp_path)
    snapshot = write(tmp_path)
    with pytest.raises(SnapshotError, match="Nearest: ab12"):
        store.open_snapshot(tmp_path, "ab13")
    with pytest.raises(SnapshotError, match="Nearest: stores"):
        snapshot.parquet("store")


def change(path, kind):
    if kind == "missing":
        (path / "stores.parquet").unlink()
    elif kind == "changed":
        place = path / "stores.parquet"
        place.write_bytes(place.read_bytes()[:-1] + b"x")
    else:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if kind == "as_of":
            manifest["as_of"] = "2026-09-30"
        elif kind == "hash":
            (path / "stores.parquet").write_bytes(b"x")
            manifest["tables"]["stores"]["sha256"] = hashlib.sha256(b"x").hexdigest()
        text = "{" if kind == "broken" else json.dumps(manifest)
        (path / "manifest.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"stores\.parquet \(stores\) is missing"),
        ("changed", r"stores\.parquet was changed: found hash"),
        ("as_of", "manifest.json was changed"),
        ("hash", "manifest.json was changed"),
        ("broken", "manifest.json was changed or damaged"),
    ],
)
def test_a_snapshot_that_was_changed_is_refused(tmp_path, kind, message):
    change(write(tmp_path).path, kind)
    with pytest.raises(SnapshotError, match=message):
        store.open_snapshot(tmp_path)


def test_a_second_write_takes_the_place_of_a_damaged_one(tmp_path):
    change(write(tmp_path).path, "changed")
    write(tmp_path)
    assert store.open_snapshot(tmp_path).id == "ab12"
    assert [p.name for p in (tmp_path / "snapshots").iterdir()] == ["ab12"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write(tmp_path)
    before = contents(tmp_path)
    bad = {"stores": tables()["stores"], "no/folder": tables()["other"]}
    empty = pd.DataFrame({"file": []})
    with pytest.raises(SnapshotError, match="nothing was changed"):
        store.write(tmp_path, bad, as_of=date(2026, 6, 30), issues=empty, counts=empty,
                    manifest={"id": "ab12"})  # fmt: skip
    assert contents(tmp_path) == before


CHILD = """
import os, resource, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_store
from dealerqm.errors import SnapshotError
{before}
try:
    test_store.write(Path({project!r}), "cd34")
except SnapshotError as error:
    sys.exit(str(error))
"""


def in_child(project, before):
    code = CHILD.format(tests=str(Path(__file__).parent), project=str(project), before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@POSIX
def test_a_full_disk_is_said_and_the_earlier_snapshot_stays(tmp_path):
    write(tmp_path)
    before = contents(tmp_path)
    done = in_child(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))")
    assert done.returncode == 1
    assert "snapshots: the disk is full; nothing was changed. Free some space" in done.stderr
    assert contents(tmp_path) == before


@POSIX
def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    write(tmp_path)
    before = contents(tmp_path)
    folder = tmp_path / "snapshots"
    folder.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    done = in_child(tmp_path, "if os.getuid() == 0: os.setuid(65534)")
    folder.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "snapshots: cannot be written (Permission denied); nothing was changed" in done.stderr
    assert contents(tmp_path) == before


HOLDER = """
import sys
from pathlib import Path
from dealerqm import store
with store.lock(Path(sys.argv[1]), "ingest"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(store.files, "LOCK_SECONDS", 0.05)
    call = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with (
            pytest.raises(SnapshotError, match=rf"in use by .*process {holder.pid}, ingest"),
            store.lock(tmp_path, "review"),
        ):
            pass
    with store.lock(tmp_path, "review"):
        assert "review" in (tmp_path / "snapshots" / ".lock-holder").read_text(encoding="utf-8")
    assert not (tmp_path / "snapshots" / ".lock-holder").exists()
