"""The register: a log that only grows, finds every tampering, and survives Excel."""

import random
import shutil
import sqlite3
import subprocess
import sys
from datetime import date, datetime

import openpyxl
import pytest
from click.testing import CliRunner
from conftest import SAMPLES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dealerqm import plan, registers
from dealerqm.cli import main
from dealerqm.errors import RegisterError
from dealerqm.registers import Change, Decision, Evidence, Register, Scope, chart_notes, kinds
from dealerqm.registers.kinds import clean
from dealerqm.spc.phases import Exclusion, Notes, Rebase, Remark

AT = datetime(2026, 10, 8, 9, 30)
SCOPE = Scope(
    frozenset({"nps", "closing_rate", "first_time_fix"}),
    frozenset({"group", "R1", "S01", "S09", "城北/二店"}),
    date(2023, 10, 2),
    date(2026, 9, 30),
)
LI = Decision("迁址后客流变化", "Li", "2026-10-08")
CHART = ("closing_rate", "S09")


@pytest.fixture
def register(tmp_path):
    register = Register(tmp_path / "state.sqlite", SCOPE)
    note = {"at": AT, "by": "Li", "why": "review"}
    register.append("improvement", "I1", {"title": "预检", "kpi": "first_time_fix"}, **note)
    register.append("improvement", "I1", {"cost_fen": 1_234_550, "margin": 0.02}, **note)
    register.append("risk", "R1", {"title": "=1+1", "status": "open"}, **note)
    register.append("treatment", "M1", {"risk": "R1", "due_on": date(2026, 12, 1)}, **note)
    registers.rebase(register, ("nps", "S01"), "2026-03", LI, accepted=True)
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
        ("risk", "R" * 40_000, {}, "the key: found a text of 40,000 characters"),
        ("risk", "R", {"title": "长" * 32_768}, r"risk\.title: found a text of 32,768 characters"),
        ("risk", "R", {"title": "_x0041_" * 3_000}, "found a text of 39,000 characters"),
        ("kri", "K", {"watch": float("inf")}, "expected float"),
        ("treatment", "M", {"cost_fen": 10**15}, "expected money"),
        ("action", "A", {"done_on": date(1, 1, 1)}, "expected a date from 1900 to 2100"),
        ("alert_case", "C", {}, "unit_type: is empty"),
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
    fresh = Register(tmp_path / "fresh.sqlite", SCOPE)
    fresh.from_excel(book, at=AT, by="Li")
    for kind in kinds():
        assert same(fresh.state(kind), register.state(kind))


def same(one, other):
    """Equal in all but when and by whom it was written last."""
    return one.iloc[:, :-2].equals(other.iloc[:, :-2])


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


# ---------------------------------------------------------------- notes on charts


def write(register, note):
    name, *words = note
    options = {"accepted": words.pop()} if name == "rebase" else {}
    return getattr(registers, name)(register, *words, **options)


NOTES = [
    ("exclude", CHART, "2026-05", LI),
    ("exclude", ("nps", "城北/二店"), "2026-06", Decision("=1+1", "王", date(2026, 10, 7))),
    ("annotate", CHART, "2026-04", "2026-06", Decision("Tent sale", "Li", AT)),
    ("annotate", CHART, "2026-04", "2026-04", Decision("New manager", "Li", AT)),
    ("rebase", CHART, "2026-02", LI, True),
    ("rebase", CHART, "2025-02", Decision("Season only", "Li", AT), False),
    ("rebase", CHART, "2026W30", LI, True),
]


def test_notes_hold_reason_author_and_date_sorted_by_chart_and_period(tmp_path):
    register = Register(tmp_path / "state.sqlite", SCOPE)
    assert chart_notes(register) == Notes()
    assert not register.path.exists()
    keys = [write(register, note) for note in NOTES]
    assert keys[0] == "closing_rate/S09/2026-05"
    assert keys[2:4] == ["closing_rate/S09/2026-04..2026-06", "closing_rate/S09/2026-04"]
    why = LI.reason
    assert chart_notes(register) == Notes(
        rebases=(
            Rebase(*CHART, "2025-02", False, "Season only", "Li", "2026-10-08"),
            Rebase(*CHART, "2026-02", True, why, "Li", "2026-10-08"),
            Rebase(*CHART, "2026W30", True, why, "Li", "2026-10-08"),
        ),
        exclusions=(
            Exclusion(*CHART, "2026-05", why, "Li", "2026-10-08"),
            Exclusion("nps", "城北/二店", "2026-06", "=1+1", "王", "2026-10-07"),
        ),
        remarks=(
            Remark(*CHART, "2026-04", "2026-04", "New manager", "Li", "2026-10-08"),
            Remark(*CHART, "2026-04", "2026-06", "Tent sale", "Li", "2026-10-08"),
        ),
    )
    assert set(register.log()["why"]) == {why, "=1+1", "Tent sale", "New manager", "Season only"}


@given(st.permutations(NOTES), st.data())
@settings(max_examples=8)
def test_the_order_of_the_log_does_not_matter(tmp_path_factory, notes, data):
    first, second = (
        Register(tmp_path_factory.mktemp("r") / "state.sqlite", SCOPE) for _ in range(2)
    )
    gone = data.draw(st.sampled_from(["2026-05", "2026-06"]))
    for register, order in ((first, NOTES), (second, notes)):
        for note in order:
            write(register, note)
        chart = CHART if gone == "2026-05" else ("nps", "城北/二店")
        registers.withdraw(register, "exclusion", "/".join((*chart, gone)), LI)
    assert chart_notes(first) == chart_notes(second)
    for kind in ("annotation", "exclusion", "rebase"):
        assert first.state(kind).equals(second.state(kind))
    assert second.verify() == len(NOTES) + 1


def test_saying_the_same_again_writes_nothing_and_keeps_the_first_author(tmp_path):
    register = Register(tmp_path / "state.sqlite", SCOPE)
    for note in NOTES:
        write(register, note)
    before = chart_notes(register), register.path.read_bytes()
    later = {"by": "Wang", "at": "2027-01-09"}
    for name, *words in NOTES:
        place = next(i for i, word in enumerate(words) if isinstance(word, Decision))
        words[place] = words[place]._replace(**later)
        write(register, (name, *words))
    assert (chart_notes(register), register.path.read_bytes()) == before


def test_another_remark_at_the_same_place_stands_beside_the_first(register):
    said = [Decision(text, "Li", AT) for text in ("one", "two", "one", "three")]
    keys = [registers.annotate(register, CHART, "2026-05", "2026-05", each) for each in said]
    base = "closing_rate/S09/2026-05"
    assert keys == [base, f"{base}/2", base, f"{base}/3"]
    assert [remark.text for remark in chart_notes(register).remarks] == ["one", "three", "two"]


def test_a_changed_reason_replaces_and_the_log_keeps_both(register):
    key = registers.exclude(register, CHART, "2026-05", LI)
    assert registers.exclude(register, CHART, " 2026-05", LI) == key
    registers.exclude(register, CHART, "2026-05", Decision("counted twice", "Wang", "2026-10-09"))
    assert chart_notes(register).exclusions == (
        Exclusion(*CHART, "2026-05", "counted twice", "Wang", "2026-10-09"),
    )
    assert register.log("exclusion")["why"].tolist() == [LI.reason, "counted twice"]


def test_a_withdrawn_note_is_gone_and_its_history_stays(register):
    key = registers.exclude(register, CHART, "2026-05", LI)
    back = Decision("the files were right", "Wang", "2026-10-20")
    assert registers.withdraw(register, "exclusion", key, back)
    assert chart_notes(register).exclusions == ()
    log = register.log("exclusion")
    assert log["by"].tolist() == ["Li", "Wang"] and log["why"].iloc[1] == back.reason
    assert not registers.withdraw(register, "exclusion", key, back)
    registers.exclude(register, CHART, "2026-05", LI)
    assert len(chart_notes(register).exclusions) == 1
    with pytest.raises(RegisterError, match=r"Nearest: closing_rate/S09/2026-05"):
        registers.withdraw(register, "exclusion", "closing_rate/S09/2026-06", back)
    with pytest.raises(RegisterError, match="Nearest: exclusion"):
        registers.withdraw(register, "exclusions", key, back)
    with pytest.raises(RegisterError, match="the reason is empty"):
        registers.withdraw(register, "exclusion", key, Decision(" ", "Wang", AT))


def refused(register, note, message):
    before = register.verify()
    with pytest.raises(RegisterError, match=message):
        write(register, note)
    assert register.verify() == before


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (("exclude", ("closing_rat", "S09"), "2026-05", LI), "Nearest: closing_rate"),
        (("exclude", ("closing_rate", "S9"), "2026-05", LI), "unit: 'S9' is not known. Nearest"),
        (("exclude", CHART, "2026-13", LI), "period: found '2026-13', expected a week"),
        (("exclude", CHART, "2026-10", LI), "expected a month from 2023-10 to 2026-09"),
        (("exclude", CHART, "2023Q3", LI), "expected a quarter from 2023Q4 to 2026Q3"),
        (("exclude", CHART, "2026-05", LI._replace(reason=" \x07\n")), "reason: is empty|is empty"),
        (("exclude", CHART, "2026-05", LI._replace(by="")), "author is empty"),
        (("exclude", CHART, "2026-05", LI._replace(at="")), "date is empty"),
        (("exclude", CHART, "2026-05", LI._replace(at="8 Oct")), "expected a date"),
        (("exclude", CHART, "2026-05", LI._replace(reason="长" * 40_000)), "40,000 characters"),
        (("exclude", ("", "S09"), "2026-05", LI), "kpi: is empty"),
        (("annotate", CHART, "2026-06", "2026-05", LI), "expected '2026-06' or a later month"),
        (("annotate", CHART, "2026-06", "2026Q3", LI), "expected '2026-06' or a later month"),
        (("rebase", CHART, "2023-10", LI, True), "expected a month from 2023-11 to 2026-09"),
        (("rebase", CHART, "2023W40", LI, True), "expected a week from 2023W41 to 2026W40"),
    ],
)
def test_a_note_that_does_not_fit_is_refused_with_what_is_allowed(register, note, message):
    refused(register, note, message)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"onset_last": "2026-01"}, "expected '2026-03' or later"),
        ({"onset_last": "2026Q2"}, "of the same kind as '2026-04'"),
        ({"onset_last": ""}, "both a first and a last"),
        ({"size_low": 0.0, "size": -0.1, "size_high": 0.2}, "inside its interval"),
        ({"p_value": 1.2}, "expected a number from 0 to 1"),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(register, told, message):
    evidence = Evidence("2026-03", "2026-05")._replace(**told)
    with pytest.raises(RegisterError, match=message):
        registers.rebase(register, CHART, "2026-04", LI, accepted=True, evidence=evidence)


def test_evidence_is_kept_and_two_rebases_of_one_change_are_refused(register):
    evidence = Evidence("2026-03", "2026-05", -0.04, -0.06, -0.02, 1e-5, "0a1b2c3d4e5f")
    key = registers.rebase(register, CHART, "2026-04", LI, accepted=True, evidence=evidence)
    row = register.state("rebase").set_index("key").loc[key]
    assert (row["onset_first"], row["size_low"], row["p_value"]) == ("2026-03", -0.06, 1e-5)
    told = (
        r"found '2026-05' \(change between 2026-05 and 2026-05\), which overlaps the rebase "
        r"'closing_rate/S09/2026-04' \(2026-03 to 2026-05\); expected a change up to 2026-02 or "
        r"from 2026-06 on, or withdraw"
    )
    refused(register, ("rebase", CHART, "2026-05", LI, True), told)
    for period, accepted in (("2026-02", True), ("2026-06", True), ("2026-05", False)):
        registers.rebase(register, CHART, period, LI, accepted=accepted)
    registers.rebase(register, ("nps", "S09"), "2026-04", LI, accepted=True)
    refused(register, ("rebase", CHART, "2026-05", LI, True), "overlaps")
    registers.withdraw(register, "rebase", key, LI)
    registers.rebase(register, CHART, "2026-05", LI, accepted=True)
    in_force = [r.period for r in chart_notes(register).rebases if r.accepted and r.kpi == CHART[0]]
    assert in_force == ["2026-02", "2026-05", "2026-06"]


def test_without_a_scope_notes_are_read_and_not_written(register):
    registers.exclude(register, CHART, "2026-05", LI)
    bare = Register(register.path)
    assert chart_notes(bare) == chart_notes(register)
    assert registers.exclude(bare, CHART, "2026-05", LI) == "closing_rate/S09/2026-05"
    refused(bare, ("exclude", CHART, "2026-06", LI), "open the register with their scope")


def test_the_scope_of_a_snapshot_is_its_stores_regions_and_days(snapshot):
    chosen = plan.load()
    scope = registers.scope(snapshot, chosen)
    assert scope.kpis == frozenset(chosen.kpis)
    assert {"group", "S01", "S16"} < scope.units
    assert scope.first < date(2023, 11, 1) and scope.last == snapshot.as_of


def test_several_changes_are_taken_together_or_not_at_all(register):
    good = Change("risk", "R2", {"title": "x"})
    note = {"at": AT, "by": "Li", "why": "x"}
    with pytest.raises(RegisterError, match="Nearest: open"):
        register.extend([good, Change("risk", "R3", {"status": "opne"})], **note)
    with pytest.raises(RegisterError, match="needed in every row"):
        register.extend([good, Change("exclusion", "a/b/c", {"kpi": "nps"})], **note)
    assert register.verify() == 5
    assert register.extend([good, good], **note) == [6]


# ---------------------------------------------------------------- notes and workbooks

ROW = {"A2": "closing_rate/S09/2026-05", "B2": "closing_rate", "C2": "S09", "D2": "2026-05",
       "E2": "counted twice", "F2": "Li", "G2": date(2026, 10, 8)}  # fmt: skip


def test_notes_come_in_by_workbook(register, tmp_path):
    cells = {("exclusions", cell): value for cell, value in ROW.items()}
    register.from_excel(edit(register, tmp_path / "r.xlsx", cells), at=AT, by="Wang")
    point = Exclusion(*CHART, "2026-05", "counted twice", "Li", "2026-10-08")
    assert chart_notes(register).exclusions == (point,)
    place = edit(register, tmp_path / "r.xlsx", {("exclusions", "H2"): "是"})
    register.from_excel(place, at=AT, by="Wang")
    assert chart_notes(register).exclusions == ()


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("A2", "S09-May", r"row 2, column 'key': found 'S09-May', expected 'closing_rate/S09/2026"),
        ("B2", "closing", r"row 2, column '指标 / kpi': 'closing' is not known. Nearest: closing_"),
        ("C2", "S10", r"row 2, column '单位 / unit': 'S10' is not known"),
        (
            "D2",
            date(2026, 5, 1),
            r"row 2, column '期间 / period': found '2026-05-01.*expected a we",
        ),
        ("D2", "2027-05", r"row 2, column '期间 / period': .* a month from 2023-10 to 2026-09"),
        ("E2", None, r"r\.xlsx exclusions: row 2, column '原因 / reason': is empty"),
        ("F2", " ", r"column '作者 / author': is empty"),
        ("G2", None, r"column '记录日 / noted_on': is empty"),
        ("G2", "soon", r"row 2, column '记录日 / noted_on': found 'soon', expected date"),
    ],
)
def test_a_bad_note_in_a_workbook_is_refused_with_sheet_row_and_column(
    register, tmp_path, cell, value, message
):
    cells = {("exclusions", at): said for at, said in {**ROW, cell: value}.items()}
    place = edit(register, tmp_path / "r.xlsx", {("risks", "B2"): "changed", **cells})
    with pytest.raises(RegisterError, match=message):
        register.from_excel(place, at=AT, by="Wang")
    assert register.verify() == 5


def test_overlaps_in_a_workbook_are_judged_by_what_it_leads_to(register, tmp_path):
    new = {"A3": "nps/S01/2026-04", "B3": "nps", "C3": "S01", "D3": "2026-04", "E3": True,
           "F3": "moved", "G3": "Li", "H3": date(2026, 10, 8), "I3": "2026-03",
           "J3": "2026-05"}  # fmt: skip
    cells = {("rebases", cell): value for cell, value in new.items()}
    with pytest.raises(
        RegisterError, match=r"rebases: row 3, column '起始期间 / period': .*overlaps"
    ):
        register.from_excel(edit(register, tmp_path / "r.xlsx", cells), at=AT, by="Wang")
    gone = {**cells, ("rebases", "P2"): True}
    register.from_excel(edit(register, tmp_path / "r.xlsx", gone), at=AT, by="Wang")
    assert [rebase.period for rebase in chart_notes(register).rebases] == ["2026-04"]


HOSTILE = ["=HYPERLINK(1)", "+1", "-", "@x", "NA", "无", "#N/A", "TRUE", "1e5", "0123", "_x0041_",
           "a\r\nb\rc", "\x00\x1f\x7f\x85x", "\ud800x\ufffe", "长" * 32_000, "😀" * 16_000,
           "<script>", "';--", "\u202e\u200bx", "a\tb", "２０２６"]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)), min_size=3, max_size=3))
@example(["\ud800x\ufffe", "x\ud800\x00", "_x000D_\r_x0041_"])
@settings(max_examples=15)
def test_any_text_goes_to_a_workbook_and_comes_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("r")
    register, other = (Register(folder / name, SCOPE) for name in ("a.sqlite", "b.sqlite"))
    reason, by, title = (text if clean(text, "") else f"{text}x" for text in texts)
    registers.exclude(register, CHART, "2026-05", Decision(reason, by, AT))
    registers.annotate(register, CHART, "2026-05", "2026-06", Decision(title, by, AT))
    register.append("risk", f"R{title[:50]}", {"title": title}, at=AT, by=by, why=reason)
    register.to_excel(folder / "r.xlsx")
    assert register.from_excel(folder / "r.xlsx", at=AT, by="Wang").empty
    other.from_excel(folder / "r.xlsx", at=AT, by="Wang")
    for kind in ("exclusion", "annotation", "risk"):
        assert same(other.state(kind), register.state(kind))
    assert chart_notes(other) == chart_notes(register)
    assert register.verify() == 3


# ---------------------------------------------------------------- notes on the command line


def call(project, *words, by="Li", reason="迁址"):
    said = ["--project", project, "--reason", reason, "--by", by, "--on", "2026-10-08"]
    return CliRunner().invoke(main, ["register", *map(str, (*words, *said))])


def test_notes_are_written_on_the_command_line(sample_project, tmp_path):
    shutil.copytree(sample_project / "snapshots", tmp_path / "snapshots")
    told = {
        ("exclude", *CHART, "2026-05"): "closing_rate/S09/2026-05",
        ("annotate", *CHART, "2026-05", "2026-06"): "closing_rate/S09/2026-05..2026-06",
        ("rebase", *CHART, "2026-02", "--accept"): "closing_rate/S09/2026-02",
        ("rebase", *CHART, "2026-07", "--refuse"): "closing_rate/S09/2026-07",
    }
    for words, key in told.items():
        result = call(tmp_path, *words)
        assert (result.exit_code, result.output.strip()) == (0, key), result.stderr
    log = Register(tmp_path / registers.FILE)
    assert [rebase.accepted for rebase in chart_notes(log).rebases] == [True, False]
    gone = [call(tmp_path, "withdraw", "exclusion", "closing_rate/S09/2026-05") for _ in "ab"]
    assert [result.output.split(": ")[1] for result in gone] == [
        "withdrawn\n", "was withdrawn before\n",
    ]  # fmt: skip
    assert len(chart_notes(log).remarks) == 1 and chart_notes(log).exclusions == ()
    assert log.verify() == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("exclude", "closing_rat", "S09", "2026-05"), "Nearest: closing_rate"),
        (("exclude", "closing_rate", "S9", "2026-05"), "Nearest: S09"),
        (("exclude", *CHART, "2027-05"), "expected a month from 20"),
        (("rebase", *CHART, "2026-05"), "accept"),
    ],
)
def test_a_wrong_note_on_the_command_line_writes_nothing(sample_project, tmp_path, words, message):
    shutil.copytree(sample_project / "snapshots", tmp_path / "snapshots")
    result = call(tmp_path, *words)
    assert result.exit_code > 0 and message in result.stderr
    assert not (tmp_path / registers.FILE).exists()


def test_notes_before_any_data_are_refused_with_the_next_step(tmp_path):
    result = call(tmp_path, "exclude", *CHART, "2026-05")
    assert result.exit_code == 1 and "dealerqm ingest" in result.stderr
