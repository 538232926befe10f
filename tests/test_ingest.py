"""Exports in, snapshot out: nothing lost, nothing personal, nothing in silence."""

import copy
import csv
import io
import json
import os
import stat
import subprocess
import sys
import tomllib
import zipfile
from datetime import date, datetime
from pathlib import Path

import exports
import openpyxl
import pandas as pd
import pytest
from conftest import SAMPLES
from exports import PLAN, ROWS
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm import ingest, privacy, store
from dealerqm.errors import IngestError, SnapshotError
from dealerqm.ingest import cells, read
from dealerqm.tables import Column

KEY = privacy.Key(exports.KEY_BYTES)
POSIX = pytest.mark.skipif(os.name != "posix", reason="limits and users are those of POSIX")


def run(raw, project, **options):
    return ingest.ingest(raw, project, PLAN, key=KEY, **options)


def table(snapshot, name):
    relation = store.relation(snapshot, name)
    return pd.DataFrame(relation.fetchall(), columns=relation.columns)


def changed(name, place, **values):
    """All rows, one of them changed."""
    rows = copy.deepcopy(ROWS)
    rows[name][place].update(values)
    return rows


def added(name, *rows):
    """All rows and some more."""
    return {**ROWS, name: [*ROWS[name], *rows]}


def issue(frame, rule):
    """The only issue of a rule."""
    found = frame[frame["rule"] == rule].to_dict("records")
    assert len(found) == 1, frame.to_string()
    return found[0]


def counts(snapshot, name):
    frame = snapshot.counts
    return frame[frame["table"] == name].iloc[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest")
    return run(exports.write(folder / "raw"), folder / "project")


# ---------------------------------------------------------------- the straight way


def test_clean_exports_give_every_table_and_no_issue(tiny):
    assert tiny.issues.empty
    assert set(tiny.tables) == {*ROWS, "staff_quarters"}
    for name, rows in ROWS.items():
        assert len(table(tiny, name)) == counts(tiny, name)["loaded"] == len(rows)
    assert tiny.as_of == date(2026, 6, 30)
    assert tiny.manifest["demonstration_key"] is False


def test_both_dialects_give_the_same_bytes(tiny, tmp_path):
    other = run(exports.write(tmp_path / "raw", dialect=1), tmp_path / "project")
    assert other.issues.empty
    for name in tiny.tables:
        assert other.parquet(name).read_bytes() == tiny.parquet(name).read_bytes(), name


def test_values_are_stored_as_promised(tiny):
    lead = table(tiny, "leads").iloc[0]
    assert lead["discount_fen"] == 123_456 and lead["budget_band"] == "100k_200k"
    assert lead["created_at"] == datetime(2026, 4, 1, 9)
    assert lead["created_at_day"] == date(2026, 4, 1)
    assert lead[["created_at_week", "created_at_month", "created_at_quarter"]].tolist() == [
        "2026W14", "2026-04", "2026Q2",
    ]  # fmt: skip
    assert lead["created_at_weekday"] == 3
    answer = table(tiny, "survey_responses").iloc[0]
    assert answer["overall"] == 9 and pd.isna(answer["price"])  # 98 means no answer
    assert pd.isna(table(tiny, "service_orders").iloc[3]["estimate_fen"])


PERSONAL = ("王小明", "13800138000", "11010519491231002X", "LSVAA4182E2184847", "沪A12345",
            "13812345678", "某公司", "13900139000")  # fmt: skip


def test_nothing_personal_is_stored(tiny):
    folder = tiny.path.parents[1]
    assert not (folder / "quarantine").exists()
    text = (tiny.path / "manifest.json").read_text(encoding="utf-8")
    text += "".join(table(tiny, name).to_string() for name in tiny.tables)
    found = [word for word in (*PERSONAL, "E001", exports.KEY_BYTES.hex()) if word in text]
    assert found == []
    customers = table(tiny, "customers")
    assert {"name", "id_number"}.isdisjoint(customers.columns)
    assert customers["phone"].str.startswith("p_").all()
    assert table(tiny, "survey_responses")["comment"][0] == "很好，电话[mobile]"
    assert tiny.manifest["masked"] == {
        "complaints.text": {"plate": 1}, "survey_responses.comment": {"mobile": 1},
    }  # fmt: skip


def test_pseudonyms_join_tables(tiny):
    orders, customers = table(tiny, "service_orders"), table(tiny, "customers")
    assert set(orders["customer_id"]) == set(customers["customer_id"])


def test_a_second_import_uses_the_first(tiny, tmp_path):
    raw, project = exports.write(tmp_path / "raw"), tmp_path / "project"
    first = run(raw, project)
    marks = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    again, named = run(raw, project), run(raw, project, as_of=date(2026, 6, 30))
    assert first.id == again.id == named.id == tiny.id
    assert marks == {path: path.stat().st_mtime_ns for path in first.path.iterdir()}


def test_other_inputs_make_another_snapshot(tiny, tmp_path):
    raw, project = exports.write(tmp_path / "raw"), tmp_path / "project"
    other_key = ingest.ingest(raw, project, PLAN, key=privacy.Key(b"another key " * 4))
    other_day = run(raw, project, as_of=date(2026, 5, 31))
    exports.write(raw, added("stores", {**ROWS["stores"][0], "store_id": "S03"}))
    other_file = run(raw, project)
    assert len({tiny.id, other_key.id, other_day.id, other_file.id}) == 4
    assert store.open_snapshot(project).id == max(other_key.id, other_file.id)


def test_a_damaged_snapshot_is_made_again(tmp_path):
    raw, project = exports.write(tmp_path / "raw"), tmp_path / "project"
    first = run(raw, project)
    first.parquet("stores").write_bytes(b"x")
    assert run(raw, project).id == first.id
    assert store.open_snapshot(project).has("stores")


# ---------------------------------------------------------------- derived columns


def test_durations_count_from_event_to_event_and_to_the_end_of_the_day(tiny):
    order = table(tiny, "service_orders").set_index("order_id").loc["O1"]
    assert order["wait_s"] == 1800 and order["turnaround_s"] == 7800
    assert order["followed_s"] == (datetime(2026, 7, 1) - datetime(2026, 4, 10, 12)).total_seconds()
    assert bool(order["ready_on_time"]) and order["estimate_error"] == pytest.approx(0.1)
    assert order["compensation_fen"] == 5050
    lead = table(tiny, "leads").iloc[0]
    assert lead["contact_s"] == 1800 and lead["follow_up_s"] == 2 * 86_400 and bool(lead["on_time"])
    assert pd.isna(lead["test_drive_s"]) and pd.isna(lead["cancel_s"])


def test_comebacks_and_next_visits(tiny):
    orders = table(tiny, "service_orders").set_index("order_id")
    assert orders["comeback_after_s"].dropna().to_dict() == {"O1": 4 * 86_400 + 21 * 3600}
    assert orders["has_comeback"].tolist() == [True, False, False, False]
    assert orders["is_comeback"].tolist() == [False, True, False, False]
    days = {"O1": 61 * 86_400 - 3 * 3600, "O2": 56 * 86_400 - 6 * 3600}
    assert orders["returned_after_s"].dropna().to_dict() == days  # O2, a comeback, is no visit
    left = datetime(2026, 6, 11) - datetime(2026, 6, 1, 10)
    assert orders.loc["O4", "in_care_s"] == left.total_seconds()
    assert orders.loc["O3", "in_care_s"] == orders.loc["O3", "followed_s"]


@pytest.mark.parametrize(
    ("later", "first", "inside"),
    [
        ({}, {}, True),
        ({"opened_at": datetime(2026, 4, 20, 12), "closed_at": None}, {}, True),
        ({"opened_at": datetime(2026, 4, 20, 12, 1), "closed_at": None}, {}, False),
        ({"odometer_km": 12_000}, {}, True),
        ({"odometer_km": 12_001}, {}, False),
        ({"odometer_km": 15_000}, {"work_level": "level2"}, True),
        ({"odometer_km": None}, {}, True),
        ({}, {"work_level": None}, False),
        ({}, {"closed_at": None}, False),
        ({"opened_at": datetime(2026, 4, 10, 11), "closed_at": None}, {}, False),
    ],
)
def test_the_guarantee_ends_with_its_days_or_kilometres(tmp_path, later, first, inside):
    rows = changed("service_orders", 1, **later)
    rows["service_orders"][0].update(first)
    orders = table(run(exports.write(tmp_path / "raw", rows), tmp_path / "p"), "service_orders")
    assert bool(orders["has_comeback"][0]) is inside


def test_staff_quarters_follow_people_through_their_spells(tmp_path):
    rows = {**ROWS, "training": [
        {"staff_id": "E001", "course": "a", "held_on": date(2025, 8, 1), "passed": True,
         "valid_until": date(2026, 4, 30)},
        {"staff_id": "E002", "course": "a", "held_on": date(2026, 4, 1), "passed": False},
    ]}  # fmt: skip
    rows["contacts"] = [{**ROWS["contacts"][0], "contact_id": "T0", "at": datetime(2025, 12, 1),
                         "answered_at": None}]  # fmt: skip
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p", as_of=date(2026, 6, 15))
    frame = table(snapshot, "staff_quarters")
    assert sorted(set(frame["quarter"])) == ["2025Q3", "2025Q4", "2026Q1", "2026Q2"]
    moved = frame[frame["role"] == "service"].set_index("quarter")
    assert moved["store_id"].tolist() == ["S01", "S01", "S01", "S02"]
    assert moved["level"].tolist() == ["junior"] * 3 + ["senior"]
    assert moved["trained"].tolist() == [True, True, True, False]
    assert moved["quarter_end"].iloc[-1] == date(2026, 6, 15)
    gone = frame[frame["role"] == "sales"].set_index("quarter")
    assert gone["left"].tolist() == [False, False, False, True]
    assert not gone["trained"].any()
    assert table(snapshot, "training")["store_id"].tolist() == ["S01", "S01"]


def test_a_course_without_expiry_counts_for_the_months_of_the_plan(tmp_path):
    trained = {}
    for day in (date(2025, 6, 30), date(2025, 6, 29)):
        rows = {**ROWS, "training": [{"staff_id": "E001", "course": "a", "held_on": day,
                                      "passed": True}]}  # fmt: skip
        snapshot = run(exports.write(tmp_path / f"raw{day}", rows), tmp_path / "p")
        frame = table(snapshot, "staff_quarters").set_index(["role", "quarter"])
        trained[day.day] = bool(frame.loc[("service", "2026Q2"), "trained"])
    assert trained == {30: True, 29: False}


def test_every_word_of_the_contracts_has_a_function():
    for contract in PLAN.tables.values():
        assert contract.made_from in ("", *ingest.derive.TABLES)
        for column in contract.columns.values():
            assert not column.derived or column.source[0] in ingest.derive.FUNCTIONS


def test_tables_that_were_not_exported_are_no_obstacle(tmp_path):
    rows = {name: ROWS[name] for name in ("stores", "service_orders", "parts_lines", "training")}
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    assert set(snapshot.tables) == {*rows, "staff_quarters"}
    orders = table(snapshot, "service_orders")
    assert orders["compensation_fen"].tolist() == [0] * 4
    assert orders["in_care_s"].equals(orders["followed_s"])
    assert table(snapshot, "training")["store_id"].isna().all()
    assert len(table(snapshot, "staff_quarters")) == 0


# ---------------------------------------------------------------- cells


def parsed(kind, text, **options):
    found = cells.parse([text], Column("x", kind, **options))
    value = found.values.iloc[0]  # noqa: PD011
    return (None if pd.isna(value) else value), next(iter(found.rules), "")


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("2026-09-30 14:05:06", "2026-09-30 14:05:06", ""),
        ("2026-09-30 14:05", "2026-09-30 14:05", ""),
        ("2026-9-3T04:05:06.789", "2026-09-03 04:05:06", ""),
        ("2026/9/30", "2026-09-30", ""),
        ("2026.09.30", "2026-09-30", ""),
        ("2026年9月30日", "2026-09-30", ""),
        ("2026年9月30日 8时5分", "2026-09-30 08:05", ""),
        ("20260930", "2026-09-30", ""),
        ("20260930140506", "2026-09-30 14:05:06", ""),
        (" 2026-09-30 ", "2026-09-30", ""),
        ("２０２６-０９-３０", "2026-09-30", "full_width"),
        ("46295.5", "2026-09-30 12:00", "date_serial"),
        ("1/2/2026", None, "ambiguous_date"),
        ("13/02/2026", None, "ambiguous_date"),
        ("1-2-26", None, "ambiguous_date"),
        ("2026-02-29", None, "bad_date"),
        ("2026-9/3", None, "bad_date"),
        ("2026-09-30 25:00", None, "bad_date"),
        ("2026-09-30 10:00:60", None, "bad_date"),
        ("0026-09-30", None, "bad_date"),
        ("2999-01-01", None, "bad_date"),
        ("soon", None, "bad_date"),
        ("today", None, "bad_date"),
        ("123", None, "bad_date"),
        ("#N/A", None, "error_value"),
        ("-", None, "missing_word"),
        ("", None, ""),
    ],
)
def test_times(text, value, rule):
    found, broken = parsed("datetime", text)
    assert broken == rule
    assert found == (None if value is None else pd.Timestamp(value))


@pytest.mark.parametrize(
    ("kind", "text", "value", "rule"),
    [
        ("int", "12", 12, ""),
        ("int", "-12", -12, ""),
        ("int", "1,234", 1234, "number_format"),
        ("int", "１２", 12, "full_width"),
        ("int", "12.0", 12, ""),
        ("int", "12.5", None, "not_whole"),
        ("int", "1_0", None, "not_number"),
        ("int", "7,5", None, "not_number"),
        ("int", "12 345", None, "not_number"),
        ("int", "inf", None, "not_number"),
        ("int", "1e5", None, "not_number"),
        ("int", "N/A", None, "missing_word"),
        ("int", "无", None, "missing_word"),
        ("int", "9" * 16, None, "not_whole"),
        ("float", "0.1", 0.1, ""),
        ("float", "1e309", None, "not_number"),
        ("money", "1234.50", 123_450, ""),
        ("money", "￥1,234.5", 123_450, "number_format"),
        ("money", "0.29元", 29, "number_format"),
        ("money", "1.115", None, "not_whole_fen"),
        ("money", "0.30000000000000004", 30, ""),
        ("money", "90071992547.41", 9_007_199_254_741, ""),
        ("bool", "是", True, ""),
        ("bool", "n", False, ""),
        ("bool", "TRUE", True, ""),
        ("bool", "0", False, ""),
        ("bool", "maybe", None, "not_yes_no"),
        ("id", "000123", "000123", ""),
        ("id", "NA", "NA", ""),
        ("id", "123.0", "123", "decimal_id"),
        ("id", "1.23E+15", None, "scientific"),
        ("id", "ＡＢ１", "AB1", ""),
        ("id", "x" * 65, None, "bad_id"),
        ("id", "a\x00b", None, "bad_id"),
        ("id", "—", None, "missing_word"),
        ("text", " 好，ＯＫ ", "好，ＯＫ", ""),
        ("text", "a\x00b", "ab", "control_characters"),
        ("text", "-", "-", ""),
    ],
)
def test_numbers_and_words(kind, text, value, rule):
    assert parsed(kind, text) == (value, rule)


def test_category_words_are_known_by_every_spelling():
    words = {"web": ("网络", "Web"), "none": ("无", "None")}
    for text, value in [("网络", "web"), (" WEB ", "web"), ("web", "web"), ("无", "none")]:
        assert parsed("category", text, values=words) == (value, "")
    assert parsed("category", "Wob", values=words) == (None, "unknown_word")
    assert parsed("category", "Wob") == ("Wob", "")


def test_ranges_and_codes():
    limits = {"minimum": 0, "maximum": 10, "codes": (98, 99)}
    assert parsed("int", "10", **limits) == (10, "")
    assert parsed("int", "98", **limits) == (None, "")
    assert parsed("int", "11", **limits) == (None, "range")
    assert parsed("money", "-0.01", minimum=0) == (None, "range")
    money = Column("x", "money", minimum=0, maximum=1000)
    assert cells.expected(money, "range") == "0 … 10"


@given(st.lists(st.integers(-(10**13), 10**13), min_size=1, max_size=30))
def test_money_is_exact(fen):
    texts = [f"{'-' if n < 0 else ''}{abs(n) // 100}.{abs(n) % 100:02}" for n in fen]
    found = cells.parse(texts, Column("x", "money"))
    assert found.values.tolist() == fen  # noqa: PD011


TIMES = st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31)), min_size=1, max_size=9)
FORMS = ["%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y年%m月%d日 %H:%M:%S"]


@given(TIMES, st.sampled_from(FORMS))
def test_times_come_back_in_every_form(times, form):
    texts = [f"{time:{form}}" for time in times]
    found = cells.parse([*texts, "2026-01-01"], Column("x", "datetime"))
    assert not found.rules
    expected = [datetime.strptime(text, form) for text in texts]
    assert found.values.tolist()[:-1] == expected  # noqa: PD011


# ---------------------------------------------------------------- reading


def test_encodings_and_delimiters_give_the_same_rows(tmp_path):
    rows = exports.lines("stores", ROWS["stores"], 0)
    rows[1][1] = "𠮷祥店"
    found = []
    for i, (encoding, delimiter) in enumerate(
        [("gb18030", ","), ("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t"), ("utf-8", "\t")]
    ):
        place = tmp_path / f"{i}.csv"
        exports.write_csv(place, rows, encoding, delimiter)
        sheet = next(read.sheets(place, place.name))
        found.append((sheet.encoding, sheet.rows[1][1]))
    names = ["gb18030", "utf-8", "utf-8-sig", "utf-16", "utf-8"]
    assert found == [(name, "𠮷祥店") for name in names]


def test_titles_totals_blanks_and_repeated_headers_are_no_data(tmp_path):
    raw = exports.write(tmp_path / "raw")
    header, *body = exports.lines("stores", ROWS["stores"], 0)
    rows = [["门店一览"], [], ["制表：张三", "2026"], header, body[0], [], header, body[1],
            ["合计", "", "2"], ["", "总计：", "2"], ["平均", "", "1"], ["数据来源：客服部"],
            ["", "第 1 页 共 1 页"]]  # fmt: skip
    exports.write_csv(raw / "dms_a" / "门店.csv", rows)
    snapshot = run(raw, tmp_path / "p")
    assert snapshot.issues.empty
    assert counts(snapshot, "stores")[["rows", "loaded", "non_data"]].tolist() == [13, 2, 11]


def test_several_sheets_and_a_shifted_table_are_read(tmp_path):
    raw = exports.write(tmp_path / "raw")
    (raw / "dms_a" / "门店.csv").unlink()
    header, *body = exports.lines("stores", ROWS["stores"], 1)
    book = openpyxl.Workbook()
    for row in [[], [None, "Stores"], [None, *header], [None, *body[0]]]:
        book.active.append(row)
    second = book.create_sheet("more")
    for row in [header, body[1]]:
        second.append(row)
    book.create_sheet("empty")
    (raw / "dms_b").mkdir()
    book.save(raw / "dms_b" / "stores.xlsx")
    snapshot = run(raw, tmp_path / "p")
    found = snapshot.counts[snapshot.counts["table"] == "stores"]
    assert found["sheet"].tolist() == ["Sheet", "more"] and found["loaded"].tolist() == [1, 1]


def test_workbook_cells_become_texts_without_loss(tmp_path):
    book = openpyxl.Workbook()
    book.active.append([5, 1.5, 0.123456789012345, 1e-7, 1234567890123456789, True, "007", None])
    book.active.append([datetime(2026, 9, 30, 10, 29, 59), date(2026, 9, 30)])
    book.save(tmp_path / "a.xlsx")
    rows = next(read.sheets(tmp_path / "a.xlsx", "a")).rows
    assert rows[0] == ["5", "1.5", "0.123456789012345", "0.0000001",
                           "1.234567890123457e+18", "TRUE", "007"]  # fmt: skip
    assert rows[1][:2] == ["2026-09-30 10:29:59", "2026-09-30"]


MAPPING = """
[stores.columns]
"网点代码" = "store_id"
"网点" = "name"
"""


def test_a_mapping_file_names_unknown_headers(tmp_path):
    raw = exports.write(tmp_path / "raw")
    rows = exports.lines("stores", ROWS["stores"], 0)
    rows[0][:2] = ["网点代码", "网点"]
    exports.write_csv(raw / "dms_a" / "门店.csv", rows)
    with pytest.raises(
        IngestError, match="looks like stores but lacks the columns 门店编号, 门店名称"
    ):
        run(raw, tmp_path / "p")
    place = tmp_path / "map.toml"
    place.write_text(MAPPING, encoding="utf-8")
    snapshot = run(raw, tmp_path / "p", mapping=place)
    assert table(snapshot, "stores")["store_id"].tolist() == ["S01", "S02"]
    assert ingest.check(raw, PLAN, mapping=place).ok


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[store.columns]\nx = 'name'", "Nearest: stores"),
        ("[stores.columns]\nx = 'nmae'", "Nearest: name"),
        ("[stores]\nx = 'name'", r"expected only \[stores.columns\]"),
        ("[stores", "cannot be read"),
    ],
)
def test_a_wrong_mapping_file_is_named(tmp_path, text, message):
    (tmp_path / "map.toml").write_text(text, encoding="utf-8")
    with pytest.raises(IngestError, match=message):
        ingest.check(exports.write(tmp_path / "raw"), PLAN, mapping=tmp_path / "map.toml")


# ---------------------------------------------------------------- issues and quarantine


def test_a_bad_optional_cell_is_missing_and_located(tmp_path):
    rows = changed("service_orders", 2, odometer_km="12km")
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    assert issue(snapshot.issues, "not_number") == {
        "file": "dms_a/维修工单.csv", "sheet": "", "row": 5, "column": "里程", "rule": "not_number",
        "found": "12km", "expected": "12", "count": 1, "action": "repaired", "rows": "5",
    }  # fmt: skip
    assert pd.isna(table(snapshot, "service_orders")["odometer_km"][2])


def test_a_bad_required_cell_sends_its_row_to_quarantine(tmp_path):
    rows = changed("service_orders", 2, opened_at=None)
    rows["service_orders"][0]["kind"] = "maintenence"
    raw = exports.write(tmp_path / "raw", rows, dialect=0)
    snapshot = run(raw, tmp_path / "p")
    assert issue(snapshot.issues, "required")["column"] == "开单时间"
    found = issue(snapshot.issues, "unknown_word")
    assert (found["row"], found["found"], found["action"]) == (3, "maintenence", "quarantined")
    assert found["expected"] == "保养 / 维修 / 索赔 / 钣喷 / 召回"
    assert counts(snapshot, "service_orders")[["loaded", "quarantined"]].tolist() == [2, 2]
    place = tmp_path / "p" / "quarantine" / snapshot.id / "dms_a__维修工单.csv.csv"
    lines = place.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("row,reasons,工单号") and lines[1].startswith(
        "3,工单类型: unknown_word"
    )
    assert lines[2].startswith("5,开单时间: required") and "O3" in lines[2]
    if os.name == "posix":
        assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_equal_problems_are_one_issue_with_the_first_rows(tmp_path):
    bad = [{**ROWS["service_orders"][2], "order_id": f"X{i}", "odometer_km": "?"} for i in range(7)]
    snapshot = run(exports.write(tmp_path / "raw", added("service_orders", *bad)), tmp_path / "p")
    found = issue(snapshot.issues, "not_number")
    assert (found["row"], found["count"], found["rows"]) == (7, 7, "7, 8, 9, 10, 11")


def test_issues_show_no_personal_data(tmp_path):
    rows = changed("customers", 0, birth_year="13812345678")
    rows["survey_responses"][0]["store_id"] = "沪A12345"
    rows["staff"][0]["staff_id"] = "1.38E+10"
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    assert issue(snapshot.issues, "range")["found"] == "[mobile]"
    assert issue(snapshot.issues, "orphan")["found"] == "[plate]"
    assert issue(snapshot.issues, "scientific")["found"] == "[8]"
    assert "1.38E" not in (snapshot.path / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("service_orders", "closed_at", datetime(2026, 4, 10, 8, 59)),
        ("complaints", "first_response_at", datetime(2026, 4, 16, 8)),
        ("leads", "delivered_at", datetime(2026, 4, 5, 9)),
    ],
)
def test_times_in_an_impossible_order_go_to_quarantine(tmp_path, name, column, value):
    snapshot = run(
        exports.write(tmp_path / "raw", changed(name, 0, **{column: value})), tmp_path / "p"
    )
    found = issue(snapshot.issues, "order")
    assert found["action"] == "quarantined" and found["expected"].startswith(f"{column} >= ")
    assert counts(snapshot, name)["quarantined"] == 1


def test_equal_rows_count_once_and_conflicting_ones_go_to_quarantine(tmp_path):
    order = ROWS["service_orders"][0]
    rows = added("service_orders", order, {**order, "odometer_km": 1}, order)
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    line = counts(snapshot, "service_orders")
    assert line[["loaded", "duplicates", "quarantined"]].tolist() == [4, 2, 1]
    assert issue(snapshot.issues, "duplicate")["rows"] == "7, 9"
    assert issue(snapshot.issues, "conflict")["row"] == 8
    orders = table(snapshot, "service_orders")
    assert orders.loc[orders["order_id"] == "O1", "odometer_km"].tolist() == [10_000]


def test_the_same_rows_in_both_dialects_count_once(tmp_path):
    raw = exports.write(tmp_path / "raw")
    exports.write(raw, {"stores": ROWS["stores"]}, dialect=1)
    snapshot = run(raw, tmp_path / "p")
    assert len(table(snapshot, "stores")) == 2
    assert snapshot.counts["duplicates"].sum() == 2


def test_a_store_that_is_not_in_stores_is_named(tmp_path):
    rows = changed("service_orders", 1, store_id="S99")
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    found = issue(snapshot.issues, "orphan")
    assert (found["row"], found["found"], found["action"]) == (4, "S99", "quarantined")
    assert found["expected"] == "stores.store_id"
    assert "S99" not in table(snapshot, "service_orders").to_string()


def test_unknown_customers_and_vehicles_are_kept_and_counted(tmp_path):
    rows = changed("service_orders", 0, vehicle_id="V9")
    rows["leads"][0]["customer_id"] = "C9"
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    found = snapshot.issues[snapshot.issues["rule"] == "orphan"]
    assert found["action"].tolist() == ["kept", "kept"]
    assert set(found["found"]) == {"V9", "[2]"}
    assert counts(snapshot, "service_orders")["loaded"] == 4


def test_unknown_columns_are_named_and_counted(tmp_path):
    raw = exports.write(tmp_path / "raw")
    rows = exports.lines("stores", ROWS["stores"], 0)
    exports.write_csv(raw / "dms_a" / "门店.csv",
                      [[*rows[0], "备注二"], [*rows[1], "x"], [*rows[2], ""]])  # fmt: skip
    found = issue(run(raw, tmp_path / "p").issues, "unknown_column")
    assert (found["column"], found["count"], found["action"]) == ("备注二", 1, "ignored")


def test_a_row_with_too_many_cells_cannot_be_trusted(tmp_path):
    raw = exports.write(tmp_path / "raw")
    rows = exports.lines("stores", ROWS["stores"], 0)
    exports.write_csv(raw / "dms_a" / "门店.csv", [rows[0], [*rows[1], ""], [*rows[2], "", "x"]])
    snapshot = run(raw, tmp_path / "p")
    assert issue(snapshot.issues, "extra_cells")["row"] == 3
    assert counts(snapshot, "stores")[["loaded", "quarantined"]].tolist() == [1, 1]


def test_what_comes_after_the_day_is_set_aside(tmp_path):
    raw = exports.write(tmp_path / "raw")
    snapshot = run(raw, tmp_path / "p", as_of=date(2026, 4, 17))
    assert snapshot.as_of == date(2026, 4, 17)
    assert counts(snapshot, "service_orders")[["loaded", "set_aside"]].tolist() == [2, 2]
    complaint, lead = table(snapshot, "complaints").iloc[0], table(snapshot, "leads").iloc[0]
    assert pd.isna(complaint["resolved_at"]) and pd.isna(complaint["closed_at"])
    assert complaint["response_s"] == 7200
    assert pd.isna(lead["delivered_at"]) and lead["promised_at"] == datetime(2026, 5, 1, 18)
    later = snapshot.issues[snapshot.issues["rule"] == "after_as_of"]
    assert set(later["action"]) == {"set_aside"} and "结算时间" not in set(later["column"])
    assert later["file"].nunique() == 9


@pytest.mark.parametrize(("more", "day"), [(100, date(2026, 6, 30)), (0, date(2062, 4, 1))])
def test_a_mistyped_year_does_not_move_the_day(tmp_path, more, day):
    contact = ROWS["contacts"][0]
    copies = [{**contact, "contact_id": f"X{i}"} for i in range(more * 2)]
    rows = added("contacts", *copies, {**contact, "contact_id": "Y", "at": datetime(2062, 4, 1)})
    rows["contacts"][-1]["answered_at"] = None
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    assert snapshot.as_of == day
    assert (snapshot.issues["rule"] == "after_as_of").sum() == (more > 0)


def test_quarantine_runs_no_formula(tmp_path):
    rows = changed("service_orders", 0, opened_at=None, estimate_fen=-100)
    rows["service_orders"][0]["comeback_of"] = "=HYPERLINK(A1)"
    snapshot = run(exports.write(tmp_path / "raw", rows), tmp_path / "p")
    text = next((tmp_path / "p" / "quarantine" / snapshot.id).iterdir()).read_text("utf-8-sig")
    assert ",'=HYPERLINK(A1)" in text and ",-1.00," in text


JUNK = st.one_of(
    st.sampled_from(["", "-", "x", "S01", "S99", "O1", "1/2/2026", "2026-04-10 10:00", "是", "合计",
                     "12", "-5", "1e9", "\x1f", "a,b", '"', "\n", "2999-01-01", "保养", "#N/A"]),
    st.text(alphabet="0123456789-/: 年月日abcＡ１，", max_size=12),
)  # fmt: skip


EDITS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 27), JUNK), max_size=4)),
    max_size=12,
)
FATES = ["loaded", "quarantined", "duplicates", "set_aside", "rejected", "non_data"]


def write_edited(raw, edits):
    """Orders with some cells replaced or pushed in, beside clean stores and contacts."""
    header, *body = exports.lines("service_orders", ROWS["service_orders"], 0)
    lines = [header]
    for place, changes in edits:
        row = list(body[place])
        for column, text in changes:
            row[column : column + 1] = [text] if column < len(row) else [text, text]
        lines.append(row)
    exports.write_csv(raw / "orders.csv", lines, "utf-8")
    exports.write(raw, {"stores": ROWS["stores"], "contacts": ROWS["contacts"]})
    return len(lines)


@settings(max_examples=150)
@given(EDITS)
def test_every_row_ends_in_exactly_one_place(tmp_path_factory, edits):
    raw = tmp_path_factory.mktemp("rows")
    size = write_edited(raw, edits)
    frame = ingest.check(raw, PLAN).counts.set_index("file")
    assert (frame["rows"] == frame[FATES].sum(axis=1)).all()
    assert frame.loc["orders.csv", "rows"] == size


@settings(max_examples=30)
@given(EDITS, st.sampled_from([None, date(2026, 5, 1)]))
def test_what_was_counted_is_what_is_stored(tmp_path_factory, edits, day):
    folder = tmp_path_factory.mktemp("rows")
    write_edited(folder / "raw", edits)
    snapshot = run(folder / "raw", folder / "p", as_of=day)
    line = snapshot.counts.set_index("file").loc["orders.csv"]
    assert line["rows"] == line[FATES].sum()
    assert line["loaded"] == len(table(snapshot, "service_orders"))
    place = folder / "p" / "quarantine" / snapshot.id / "orders.csv.csv"
    text = place.read_text(encoding="utf-8-sig") if place.exists() else "\n"
    kept = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert line["quarantined"] == len(kept) == len({row[0] for row in kept})


# ---------------------------------------------------------------- input that cannot be used


def refused(raw, project, message, **options):
    """Nothing is imported, and what was there stays as it was."""
    first = run(exports.write(project.parent / "earlier"), project)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises((IngestError, SnapshotError), match=message) as caught:
        run(raw, project, **options)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert store.open_snapshot(project).id == first.id


def test_a_missing_folder(tmp_path):
    refused(
        tmp_path / "nowhere", tmp_path / "p", "found no folder nowhere; expected exports as .csv"
    )


def test_an_empty_folder_and_one_with_other_files(tmp_path):
    (tmp_path / "raw").mkdir()
    refused(tmp_path / "raw", tmp_path / "p", "raw: the folder holds 0 other files; expected")
    (tmp_path / "raw" / "report.pdf").write_bytes(b"x")
    with pytest.raises(IngestError, match="holds 1 other files"):
        ingest.check(tmp_path / "raw", PLAN)


def test_a_missing_table(tmp_path):
    raw = exports.write(tmp_path / "raw")
    (raw / "dms_a" / "维修工单.csv").unlink()
    refused(raw, tmp_path / "p", "no file holds the table service_orders .工单号, 门店编号")


def test_a_file_of_the_wrong_table(tmp_path):
    raw = exports.write(tmp_path / "raw")
    exports.write_csv(raw / "dms_a" / "工资.csv", [["姓名甲", "工资"], ["x", "1"]])
    refused(
        raw, tmp_path / "p", r"工资.csv: its headers \(姓名甲, 工资 …\) fit no table; move it out"
    )
    found = ingest.check(raw, PLAN)
    assert not found.ok and issue(found.issues, "wrong_table")["action"] == "rejected"
    line = found.counts[found.counts["file"] == "dms_a/工资.csv"].iloc[0]
    assert line[["rows", "rejected"]].tolist() == [2, 2]


def test_a_missing_mapping_file(tmp_path):
    raw, place = exports.write(tmp_path / "raw"), tmp_path / "map.toml"
    refused(raw, tmp_path / "p", r"mapping map\.toml: cannot be read", mapping=place)


def test_a_sheet_of_notes_beside_a_table_is_left_out_and_counted(tmp_path):
    raw = exports.write(tmp_path / "raw", dialect=1)
    place = raw / "dms_b" / "stores.xlsx"
    book = openpyxl.load_workbook(place)
    book.create_sheet("readme").append(["made by", "call 13812345678"])
    book.save(place)
    snapshot = run(raw, tmp_path / "p")
    found = issue(snapshot.issues, "wrong_table")
    assert (found["sheet"], found["action"]) == ("readme", "ignored")
    assert found["found"] == "made by, call [mobile]"
    assert snapshot.counts["rejected"].sum() == 1


def test_orders_named_as_stores_are_still_orders(tmp_path):
    raw = exports.write(tmp_path / "raw")
    (raw / "dms_a" / "门店.csv").write_bytes((raw / "dms_a" / "维修工单.csv").read_bytes())
    refused(raw, tmp_path / "p", "no file holds the table stores")


def test_a_missing_and_a_doubled_column(tmp_path):
    raw = exports.write(tmp_path / "raw")
    rows = exports.lines("stores", ROWS["stores"], 0)
    exports.write_csv(raw / "dms_a" / "门店.csv", [row[1:] for row in rows])
    refused(raw, tmp_path / "p", "looks like stores but lacks the columns 门店编号; export them")
    rows[0][3] = "Store Name"
    exports.write_csv(raw / "dms_a" / "门店.csv", rows)
    with pytest.raises(
        IngestError, match="two columns of stores have the headers 门店名称, Store Name"
    ):
        run(raw, tmp_path / "p")


def test_a_locked_workbook(tmp_path):
    raw = exports.write(tmp_path / "raw", dialect=1)
    (raw / "dms_b" / "~$stores.xlsx").write_bytes(b"lock")
    refused(
        raw, tmp_path / "p", r"dms_b/stores\.xlsx: is open in Excel \(lock file ~\$stores\.xlsx\)"
    )


def break_workbook(place, kind):
    if kind == "encrypted":
        place.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    elif kind == "truncated":
        place.write_bytes(place.read_bytes()[:2000])
    elif kind == "text":
        place.write_bytes(b"a,b\n1,2\n")
    elif kind == "empty":
        place.write_bytes(b"")
    elif kind == "old":
        place.rename(place.with_suffix(".xls"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("encrypted", "stores.xlsx: is an old or password-protected workbook"),
        ("truncated", "stores.xlsx: is not a valid .xlsx file, or is truncated"),
        ("text", "a CSV must be named .csv"),
        ("empty", "stores.xlsx: is empty; export it again"),
        ("old", "stores.xls: is an old or password-protected workbook"),
    ],
)
def test_a_workbook_that_cannot_be_read(tmp_path, kind, message):
    raw = exports.write(tmp_path / "raw", dialect=1)
    break_workbook(raw / "dms_b" / "stores.xlsx", kind)
    refused(raw, tmp_path / "p", message)
    assert issue(ingest.check(raw, PLAN).issues, "unreadable")["action"] == "rejected"


def rewrite(place, part, edit):
    """Change the XML of one part of a workbook."""
    with zipfile.ZipFile(place) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = edit(parts[part])
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda xml: xml.replace(b'r="A2"', b'r="XFD1048576"'), "uses 1048576 rows and 16384"),
        (lambda xml: xml.replace(b'r="A2"', b"r = 'XFD1048576'"), "uses 1048576 rows and 16384"),
        (lambda xml: xml.replace(b'r="A2"', b'r="&#88;FD99"'), "unsafe XML"),
        (lambda xml: xml.replace(b"<worksheet", b"<!DOCTYPE x><worksheet", 1), "unsafe XML"),
        (lambda xml: xml + b" " * (50 << 20), "unpacks from .* too large or a zip bomb"),
    ],
)  # fmt: skip
def test_a_hostile_workbook_never_reaches_the_parser(tmp_path, edit, message):
    raw = exports.write(tmp_path / "raw", dialect=1)
    rewrite(raw / "dms_b" / "stores.xlsx", SHEET, edit)
    with pytest.raises(IngestError, match=message):
        run(raw, tmp_path / "p")


def test_a_workbook_that_lies_about_its_size_is_read(tmp_path):
    raw = exports.write(tmp_path / "raw", dialect=1)
    lie = b'<dimension ref="A1:XFD1048576"'
    rewrite(raw / "dms_b" / "stores.xlsx", SHEET,
            lambda xml: xml.replace(b'<dimension ref="A1:F3"', lie))  # fmt: skip
    with zipfile.ZipFile(raw / "dms_b" / "stores.xlsx") as archive:
        assert lie in archive.read(SHEET)
    assert run(raw, tmp_path / "p").issues.empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n\"x,1\n", r"row 2 cannot be read as CSV .*quotation mark"),
        (b"\xff\xff\xff\xff,\xff\n", "row 1 is neither UTF-8 nor GB18030"),
        (b"  \n ", "is empty; export it again"),
        (b"," * 20_000, "has 20001 columns; not a table"),
    ],
)  # fmt: skip
def test_a_text_file_that_cannot_be_read(tmp_path, content, message):
    raw = exports.write(tmp_path / "raw")
    (raw / "x.csv").write_bytes(content)
    with pytest.raises(IngestError, match=message):
        run(raw, tmp_path / "p")


def test_several_bad_files_are_named_at_once(tmp_path):
    raw = exports.write(tmp_path / "raw")
    for i in range(5):
        (raw / f"{i}.csv").write_bytes(b" ")
    with pytest.raises(IngestError, match=r"0\.csv.*1\.csv.*2\.csv.*and 2 more\. Nothing was imp"):
        run(raw, tmp_path / "p")
    assert (ingest.check(raw, PLAN).issues["rule"] == "unreadable").sum() == 5


def test_no_time_no_day(tmp_path):
    rows = {"stores": ROWS["stores"], "service_orders": []}
    with pytest.raises(IngestError, match="no row has a time"):
        run(exports.write(tmp_path / "raw", rows), tmp_path / "p")


def test_check_writes_nothing_and_says_the_same(tmp_path):
    raw = exports.write(tmp_path / "raw", changed("service_orders", 1, store_id="S99"))
    before = sorted(tmp_path.rglob("*"))
    found = ingest.check(raw, PLAN)
    assert sorted(tmp_path.rglob("*")) == before and found.ok
    snapshot = run(raw, tmp_path / "p")
    assert snapshot.issues.equals(found.issues) and snapshot.counts.equals(found.counts)


CHILD = """
import os, resource, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_ingest
from dealerqm.errors import SnapshotError
{before}
try:
    test_ingest.run(Path({raw!r}), Path({project!r}))
except SnapshotError as error:
    sys.exit(str(error))
"""


def in_child(tmp_path, before):
    """Import into a project that holds a snapshot and see that it stays as it was."""
    project = tmp_path / "p"
    run(exports.write(tmp_path / "earlier"), project)
    raw = exports.write(tmp_path / "raw", changed("service_orders", 1, opened_at=None))
    kept = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for path in (*tmp_path.rglob("*"), tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    (project / "snapshots").chmod(0o555)
    tests = str(Path(__file__).parent)
    code = CHILD.format(tests=tests, raw=str(raw), project=str(project), before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    (project / "snapshots").chmod(0o755)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == kept
    return done


@POSIX
def test_a_read_only_project_folder(tmp_path):
    done = in_child(tmp_path, "if os.getuid() == 0: os.setuid(65534)")
    assert done.returncode == 1, done.stderr
    assert "p/snapshots: cannot be written (Permission denied); nothing was changed" in done.stderr


@POSIX
def test_a_full_disk(tmp_path):
    done = in_child(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))")
    assert done.returncode == 1, done.stderr
    assert "the disk is full; nothing was changed. Free some space and run again" in done.stderr


def test_the_plan_text_of_the_contracts_is_valid_toml():
    text = (Path(ingest.__file__).parents[1] / "tables.toml").read_text(encoding="utf-8")
    assert set(tomllib.loads(text)) >= set(ROWS)


# ---------------------------------------------------------------- the sample

TRUTH = SAMPLES / "truth.json"


def test_the_sample_has_the_planted_faults_and_no_others(snapshot):
    truth = json.loads(TRUTH.read_text(encoding="utf-8"))
    assert set(snapshot.issues["rule"]) == {"duplicate", "number_format"}
    doubled = snapshot.issues[snapshot.issues["rule"] == "duplicate"]
    assert doubled["count"].sum() == snapshot.counts["duplicates"].sum() == len(truth["duplicates"])
    assert snapshot.as_of.isoformat() == truth["as_of"]
    lines = snapshot.counts
    assert (lines["rows"] == lines[FATES].sum(axis=1)).all()
    assert lines[["quarantined", "set_aside", "rejected"]].to_numpy().sum() == 0
    assert snapshot.manifest["demonstration_key"] is True


def test_nothing_planted_stays_readable(snapshot):
    truth = json.loads(TRUTH.read_text(encoding="utf-8"))
    values = [planted["value"] for planted in truth["personal_data"]]
    text = (snapshot.path / "manifest.json").read_text(encoding="utf-8")
    for name in snapshot.tables:
        frame = table(snapshot, name)
        words = [set(frame[column].dropna()) for column in frame if frame[column].dtype == "str"]
        text += "\n".join(sorted(set().union(*words)))
    assert len(values) > 50 and [value for value in values if value in text] == []
    masked = sum(sum(kinds.values()) for kinds in snapshot.manifest["masked"].values())
    assert masked == len(values)


AGAIN = """
import sys
from pathlib import Path
from dealerqm import ingest, plan, privacy
samples = Path(sys.argv[1])
ingest.ingest(samples / "raw", Path(sys.argv[2]), plan.load(), key=privacy.demo_key(samples))
"""


@pytest.mark.slow
def test_another_process_imports_the_sample_to_the_same_bytes(snapshot, tmp_path):
    call = [sys.executable, "-c", AGAIN, str(SAMPLES), str(tmp_path)]
    subprocess.run(call, capture_output=True, text=True, check=True)
    again = store.open_snapshot(tmp_path)
    assert again.id == snapshot.id
    assert all(
        again.parquet(name).read_bytes() == snapshot.parquet(name).read_bytes()
        for name in snapshot.tables
    )
