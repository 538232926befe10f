"""The register: a log that only grows, finds every tampering, and survives Excel."""

import random
import shutil
import sqlite3
import subprocess
import sys
from datetime import date, datetime

import openpyxl
import pytest
from conftest import SAMPLES

from dealerqm import registers
from dealerqm.errors import RegisterError
from dealerqm.registers import Register, kinds

AT = datetime(2026, 10, 8, 9, 30)


@pytest.fixture
def register(tmp_path):
    register = Register(tmp_path / "state.sqlite")
    note = {"at": AT, "by": "Li", "why": "review"}
    register.append("improvement", "I1", {"title": "预检", "kpi": "first_time_fix"}, **note)
    register.append("improvement", "I1", {"cost_fen": 1_234_550, "margin": 0.02}, **note)
    register.append("risk", "R1", {"title": "=1+1", "status": "open"}, **note)
    register.append("treatment", "M1", {"risk": "R1", "due_on": date(2026, 12, 1)}, **note)
    register.append("rebase", "B1", {"kpi": "nps", "accepted": True}, **note)
    return register


def test_a_register_that_nobody_wrote_is_empty_and_makes_no_file(tmp_path):
    register = Register(tmp_path / "state.sqlite")
    assert register.state("risk").empty and register.log().empty and register.verify() == 0
    assert not register.path.exists()


def test_state_is_the_latest_of_every_field(register):
    state = register.state("improvement")
    assert state.loc[0, ["key", "title", "cost_fen", "margin"]].tolist() == [
        "I1", "预检", 1_234_550, 0.02,
    ]  # fmt: skip
    assert state.loc[0, "changed_at"] == "2026-10-08T09:30:00"
    assert register.state("treatment").loc[0, "due_on"].date() == date(2026, 12, 1)
    assert bool(register.state("rebase").loc[0, "accepted"])


def test_log_tells_who_when_and_why(register):
    log = register.log("improvement")
    assert log["entry"].tolist() == [1, 2]
    assert set(log["by"]) == {"Li"} and set(log["why"]) == {"review"}
    assert len(register.log()) == register.verify() == 5


def test_writing_the_same_again_writes_nothing(register):
    before = register.path.read_bytes()
    later = {"at": datetime(2027, 1, 1), "by": "Wang", "why": "rerun"}
    assert register.append("improvement", "I1", {"title": " 预检"}, **later) is None
    assert register.append("treatment", "M1", {"due_on": "2026-12-01"}, **later) is None
    assert register.path.read_bytes() == before


def test_a_field_can_be_cleared(register):
    register.append("risk", "R1", {"status": None}, at=AT, by="Li", why="wrong")
    assert register.state("risk")["status"].isna().all()
    assert register.append("risk", "R1", {"status": ""}, at=AT, by="Li", why="again") is None


@pytest.mark.parametrize(
    ("kind", "key", "fields", "message"),
    [
        ("risks", "R", {}, "Nearest: risk"),
        ("risk", " ", {}, "key is empty"),
        ("risk", "R", {"titel": "x"}, "Nearest: title"),
        ("risk", "R", {"status": "opne"}, "Nearest: open"),
        ("treatment", "M", {"cost_fen": 1.5}, "expected money"),
        ("treatment", "M", {"due_on": "2026-13-01"}, "expected a date"),
        ("rebase", "B", {"accepted": 1}, "expected bool"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(register, kind, key, fields, message):
    with pytest.raises(RegisterError, match=message):
        register.append(kind, key, fields, at=AT, by="Li", why="x")
    assert register.verify() == 5


def test_the_file_itself_refuses_changes(register):
    with sqlite3.connect(register.path) as engine:
        for statement in ("DELETE FROM entry", "UPDATE entry SET by = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                engine.execute(statement)
    engine.close()


def tamper(path, statements):
    engine = sqlite3.connect(path, isolation_level=None)
    engine.execute("DROP TRIGGER entry_kept")
    engine.execute("DROP TRIGGER entry_fixed")
    for statement, values in statements:
        engine.execute(statement, values)
    engine.close()


def tampering(chance, n):
    """A random way to falsify a log of n entries."""
    entry, other = chance.sample(range(1, n + 1), 2)
    column = chance.choice(["kind", "key", "fields", "at", "by", "why", "before", "hash"])
    value = {"kind": "exclusion"}.get(column, f"x{chance.random()}")
    return chance.choice(
        [
            [(f"UPDATE entry SET {column} = ? WHERE entry = ?", (value, entry))],
            [("DELETE FROM entry WHERE entry = ?", (entry,))],
            [("DELETE FROM entry WHERE entry >= ?", (entry,))],
            [("UPDATE entry SET entry = -1 WHERE entry = ?", (entry,)),
             ("UPDATE entry SET entry = ? WHERE entry = ?", (entry, other)),
             ("UPDATE entry SET entry = ? WHERE entry = -1", (other,))],
            [("INSERT INTO entry SELECT entry + 100, kind, key, fields, at, by, why, before, "
              "hash || 'x' FROM entry WHERE entry = ?", (entry,))],
            [("UPDATE head SET entries = ?", (other + n,))],
        ]
    )  # fmt: skip


def test_every_tampering_is_found(register, tmp_path):
    chance = random.Random(20261008)
    for i in range(60):
        copy = Register(tmp_path / f"copy{i}.sqlite")
        shutil.copy(register.path, copy.path)
        tamper(copy.path, tampering(chance, 5))
        with pytest.raises(RegisterError, match="chain"):
            copy.verify()


def test_excel_out_and_in_changes_nothing(register, tmp_path):
    book = tmp_path / "register.xlsx"
    register.to_excel(book)
    assert openpyxl.load_workbook(book)["risks"]["B2"].data_type == "s"
    assert register.from_excel(book, at=AT, by="Wang").empty
    fresh = Register(tmp_path / "fresh.sqlite")
    fresh.from_excel(book, at=AT, by="Li")
    for kind in kinds():
        assert fresh.state(kind).equals(register.state(kind))


def edit(register, place, changes):
    """Export, change cells, save."""
    register.to_excel(place)
    book = openpyxl.load_workbook(place)
    for (sheet, cell), value in changes.items():
        book[sheet][cell] = value
    book.save(place)
    return place


def test_only_changed_rows_become_entries(register, tmp_path):
    cells = {("risks", "B2"): "误导销售", ("risks", "A3"): "R2", ("risks", "B3"): "慢响应",
             ("improvements", "I2"): "S01, S02"}  # fmt: skip
    place = edit(register, tmp_path / "r.xlsx", cells)
    changes = register.from_excel(place, at=AT, by="Wang")
    assert changes[["kind", "key"]].to_numpy().tolist() == [
        ["improvement", "I1"], ["risk", "R1"], ["risk", "R2"],
    ]  # fmt: skip
    assert set(changes["why"]) == {"from r.xlsx"} and register.verify() == 8
    assert register.state("risk")["title"].tolist() == ["误导销售", "慢响应"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({("risks", "Z1"): "colour"}, "column: 'colour' is not known"),
        ({("risks", "A2"): None}, "row 2 has the key ''"),
        ({("risks", "A3"): "R1"}, "stands in one row only"),
        ({("risks", "A1"): None}, "has no column 'key'"),
        ({("treatments", "G2"): "soon"}, r"row 2, column .*due_on.*found 'soon', expected date"),
        ({("risks", "M2"): "opne"}, r"expected category open / closed"),
    ],
)
def test_a_wrong_workbook_is_refused_whole(register, tmp_path, cells, message):
    place = edit(register, tmp_path / "r.xlsx", {("risks", "B2"): "changed", **cells})
    with pytest.raises(RegisterError, match=message):
        register.from_excel(place, at=AT, by="Wang")
    assert register.verify() == 5 and register.state("risk").loc[0, "title"] == "=1+1"


def test_an_unknown_sheet_and_a_damaged_workbook_are_refused(register, tmp_path):
    register.to_excel(tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    book["risks"].title = "risk list"
    book.save(tmp_path / "r.xlsx")
    with pytest.raises(RegisterError, match="sheet: 'risk list' is not known"):
        register.from_excel(tmp_path / "r.xlsx", at=AT, by="Wang")
    (tmp_path / "broken.xlsx").write_bytes(b"PK not a workbook")
    with pytest.raises(RegisterError, match=r"broken\.xlsx: is not a valid"):
        register.from_excel(tmp_path / "broken.xlsx", at=AT, by="Wang")


def test_a_damaged_file_and_a_newer_one_are_named(register, tmp_path):
    damaged = Register(tmp_path / "damaged.sqlite")
    damaged.path.write_bytes(b"nonsense " * 1000)
    with pytest.raises(RegisterError, match="damaged or no register"):
        damaged.state("risk")
    with sqlite3.connect(register.path) as engine:
        engine.execute("PRAGMA user_version=99")
    engine.close()
    with pytest.raises(RegisterError, match="newer dealerqm"):
        register.verify()


def test_a_holder_is_waited_for_and_then_named(register, monkeypatch):
    monkeypatch.setattr(registers.log, "_WAIT_SECONDS", 0.05)
    holder = sqlite3.connect(register.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegisterError, match="in use by another process"):
        register.append("risk", "R9", {"title": "x"}, at=AT, by="Li", why="x")
    holder.close()
    assert register.verify() == 5


WRITER = """
import sys
from pathlib import Path
from dealerqm.registers import Register
register = Register(Path(sys.argv[1]))
for i in range(15):
    register.append("action", sys.argv[2] + str(i), {"title": "x"}, at="2026", by="p", why="w")
"""


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "state.sqlite"
    calls = [[sys.executable, "-c", WRITER, str(path), name] for name in "ab"]
    running = [subprocess.Popen(call) for call in calls]
    assert [process.wait() for process in running] == [0, 0]
    assert Register(path).verify() == 30


def test_kinds_have_labels_and_sheets_of_their_own():
    assert len({kind.sheet for kind in kinds().values()}) == len(kinds()) == 15
    for kind in kinds().values():
        labels = [kind.label, *(column.label for column in kind.fields.values())]
        assert all(set(label) == {"zh", "en"} and all(label.values()) for label in labels)
        heads = [head for column in kind.fields.values() for head in set(column.headers)]
        assert len(heads) == len(set(heads)), kind.name


def test_the_workbook_of_the_sample_is_read_whole(tmp_path):
    register = Register(tmp_path / "state.sqlite")
    changes = register.from_excel(SAMPLES / "registers.xlsx", at=AT, by="Li")
    assert {"improvement", "risk", "treatment", "kri", "sign_off"} <= set(changes["kind"])
    assert register.verify() == len(changes)
    assert register.state("improvement")["starts_on"].notna().all()
    assert register.from_excel(SAMPLES / "registers.xlsx", at=AT, by="Li").empty
