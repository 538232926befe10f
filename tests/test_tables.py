"""The table contracts: complete as shipped, refused when broken."""

import copy

import pytest

from dealerqm import tables
from dealerqm.errors import TableError
from dealerqm.ingest import derive
from dealerqm.plan import load as load_plan

CONTRACTS = tables.load()
EXPORTED = [table for table in CONTRACTS.values() if not table.made_from]

# Main columns of the design, table by table.
DESIGN = {
    "stores": "store_id name region brand city_tier opened_on",
    "staff": "staff_id store_id role level started_on ended_on hired_on left_on selection_score",
    "customers": "customer_id household_id kind region channel created_on birth_year consent "
    "name phone id_number",
    "vehicles": "vehicle_id customer_id model energy sold_on warranty_until left_on left_reason "
    "vin plate",
    "leads": "lead_id customer_id store_id staff_id channel model budget_band use finance "
    "purchase_kind created_at first_contact_at arrived_at need_recorded_at test_drive_at quoted_at "
    "signed_at promised_at delivered_at delay_reason followed_up_at cancelled_at lost_at "
    "lost_reason list_price_fen discount_fen extras_fen amount_fen",
    "service_orders": "order_id vehicle_id customer_id store_id staff_id kind work_level "
    "fault_group status shift opened_at arrived_at started_at ready_at promised_at closed_at "
    "odometer_km labour_hours estimate_fen labour_fen parts_fen discount_fen waited_for_parts "
    "comeback_of",
    "parts_lines": "order_id part_group requested_at supplied_at from_stock quantity",
    "survey_responses": "response_id respondent customer_id store_id staff_id touchpoint event_id "
    "wave channel stratum psu base_weight invited_at responded_at duration_s recommend comment",
    "complaints": "complaint_id customer_id vehicle_id store_id event_id stage first_owner "
    "current_owner channel type subtype severity received_at first_response_at resolved_at "
    "reviewed_at closed_at outcome reopened repeat_of root_cause compensation_fen text",
    "complaint_events": "complaint_id at actor action from_state to_state",
    "contacts": "contact_id customer_id store_id staff_id at direction channel purpose campaign "
    "hold_out answered_at outcome benefit_fen",
    "process_checks": "check_id visit_id object_type object_id store_id staff_id stage source "
    "checklist item critical weight passed checked_at checker",
    "training": "staff_id course area mode held_on passed score valid_until",
    "ratings": "staff_id rater quarter criterion score",
    "awards": "target_type target kind reason on",
    "targets": "quarter margin level count",
}


@pytest.mark.parametrize("name", DESIGN)
def test_every_table_of_the_design_has_its_columns(name):
    assert set(DESIGN[name].split()) <= set(CONTRACTS[name].exported)


def test_only_tables_made_on_ingest_lack_files():
    assert [t.name for t in CONTRACTS.values() if t.made_from] == ["staff_quarters"]
    assert all(len(table.files) == 2 for table in EXPORTED)
    files = [name for table in EXPORTED for name in table.files]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("table", EXPORTED, ids=lambda t: t.name)
def test_every_column_has_a_header_in_each_dialect_and_a_name_in_each_language(table):
    for column in table.columns.values():
        assert set(column.label) == {"zh", "en"}, column.name
        if not column.derived:
            assert len(column.headers) >= 2, column.name
            assert column.headers[1].isascii(), column.name
            for spellings in column.values.values():
                assert len(spellings) >= 2, column.name


def test_derived_columns_and_made_tables_have_their_function():
    made = {t.made_from for t in CONTRACTS.values()} - {""}
    words = {c.source[0] for t in CONTRACTS.values() for c in t.columns.values() if c.derived}
    assert words == set(derive.FUNCTIONS)
    assert made == set(derive.TABLES)


def test_personal_data_are_marked():
    sensitive = {
        (table.name, column.name): column.sensitive
        for table in CONTRACTS.values()
        for column in table.columns.values()
        if column.sensitive
    }
    dropped = {("customers", "name"), ("customers", "id_number"), ("vehicles", "plate")}
    assert {key for key, how in sensitive.items() if how == "drop"} == dropped
    masked = {("survey_responses", "comment"), ("complaints", "text")}
    assert {key for key, how in sensitive.items() if how == "mask"} == masked
    for name in ("customer_id", "staff_id"):
        for table in EXPORTED:
            if name in table.columns:
                assert sensitive[table.name, name] == "pseudonym"
    spaces = {
        c.person
        for t in CONTRACTS.values()
        for c in t.columns.values()
        if c.sensitive == "pseudonym"
    }
    assert "" not in spaces


def test_dropped_columns_are_exported_but_not_stored():
    customers = CONTRACTS["customers"]
    assert "phone" in customers.stored
    assert "name" in customers.exported
    assert "name" not in customers.stored


def test_money_is_whole_fen_and_its_names_say_so():
    for table in CONTRACTS.values():
        for column in table.columns.values():
            assert (column.type == "money") == column.name.endswith("_fen")


def test_durations_are_whole_seconds_and_their_names_say_so():
    for table in CONTRACTS.values():
        for column in table.columns.values():
            if column.derived:
                assert (column.unit == "s") == column.name.endswith("_s")


def test_items_come_before_derived_columns():
    survey = load_plan().tables["survey_responses"]
    names = list(survey.columns)
    assert names.index("comment") < names.index("overall") < names.index("answer_s")
    assert survey.columns["overall"].codes == (98, 99, 0)
    assert (survey.columns["overall"].minimum, survey.columns["overall"].maximum) == (1, 10)
    assert "overall" not in CONTRACTS["survey_responses"].columns


# ---------------------------------------------------------------- broken contracts

LABEL = {"en": "T", "zh": "表"}
GOOD = {
    "t": {
        "label": LABEL, "key": ["a"], "order": [["a", "b"]],
        "columns": {
            "a": {"type": "datetime", "headers": ["甲", "A"]},
            "b": {"type": "int", "headers": ["乙", "B"], "min": 0, "values": {}},
        },
        "derived": {"c": {"type": "int", "from": ["seconds", "a", "b"], "label": LABEL}},
    },
    "other": {
        "label": LABEL, "key": ["x"],
        "columns": {"x": {"type": "id", "headers": ["丙", "X"], "ref": "t"}},
        "derived": {"d": {"type": "id", "from": ["lookup", "t", "x", "b"], "label": LABEL}},
    },
}  # fmt: skip


def test_a_good_contract_is_read():
    read = tables.read(GOOD)
    assert list(read["t"].columns) == ["a", "b", "c"]
    assert list(read["t"].exported) == ["a", "b"]
    assert read["t"].order == (("a", "b"),)
    assert read["t"].columns["c"].source == ("seconds", "a", "b")
    assert read["other"].columns["x"].ref == "t"


def change(raw, path, value):
    *parents, last = path.split(".")
    for part in parents:
        raw = raw[part]
    if value is None:
        del raw[last]
    else:
        raw[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("t.colums", {}, r"x.toml \[t\]: 'colums' is not known. Nearest: columns"),
        ("t.label", None, r"\[t\]: label is missing"),
        ("t.key", None, r"\[t\]: key is missing"),
        ("t.columns", None, r"\[t\]: columns is missing"),
        ("t.label", {"en": "T"}, r"\[t\] label: found .* each of \['zh', 'en'\]"),
        ("t.key", ["aa"], r"\[t\] key: 'aa' is not known"),
        ("t.order", [["a", "bb"]], r"\[t\] order: 'bb' is not known. Nearest: b"),
        ("t.columns.a.typ", "int", r"\[t.columns.a\]: 'typ' is not known. Nearest: type"),
        ("t.columns.a.type", "datum", r"\[t.columns.a\] type: 'datum' .*Nearest: date"),
        ("t.columns.a.type", None, r"\[t.columns.a\] type: 'None' is not known"),
        ("t.columns.a.sensitive", "hash", r"sensitive: 'hash' is not known"),
        ("t.columns.a.headers", ["乙"], r"header '乙' stands for a and b"),
        ("other.columns.x.ref", "tt", r"\[other.columns.x\] ref: 'tt' is not known. Nearest: t"),
        ("t.derived.c.from", ["seconds", "a", "bb"], r"\[t.derived.c\] from: 'bb' is not known"),
        ("other.derived.d.from", ["lookup", "t", "x", "z"], r"\[other.derived.d\] from: 'z'"),
        ("t.derived.c.from", None, r"\[t.derived.c\]: from is missing"),
        ("t.derived.c.label", {"zh": "丁"}, r"\[t.derived.c\] label: found"),
        ("t.derived.c.min", 1, r"\[t.derived.c\]: 'min' is not known"),
        ("t.derived.c.type", "bol", r"\[t.derived.c\] type: 'bol' .*Nearest: bool"),
    ],
)
def test_a_broken_contract_is_refused_with_its_place(path, value, message):
    raw = copy.deepcopy(GOOD)
    change(raw, path, value)
    with pytest.raises(TableError, match=message) as caught:
        tables.read(raw, "x.toml")
    assert "\n" not in str(caught.value)
