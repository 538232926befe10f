"""The closed little language of conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm.conditions import MAX_TERMS, Term, parse
from dealerqm.errors import PlanError
from dealerqm.plan import load

TABLES = load().tables
ORDERS = TABLES["service_orders"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("   ", ()),
        ("is_comeback", (Term("is_comeback", "true"),)),
        ("not is_comeback", (Term("is_comeback", "true", (), True),)),
        ("present(closed_at)", (Term("closed_at", "present"),)),
        ("not present(closed_at)", (Term("closed_at", "present", (), True),)),
        ("kind == body", (Term("kind", "==", ("body",)),)),
        ("kind!=body", (Term("kind", "!=", ("body",)),)),
        ("not kind == body", (Term("kind", "==", ("body",), True),)),
        ("wait_s <= 1800", (Term("wait_s", "<=", (1800,)),)),
        ("wait_s>-60", (Term("wait_s", ">", (-60,)),)),
        ("estimate_error < 0.1", (Term("estimate_error", "<", (0.1,)),)),
        ("is_comeback == false", (Term("is_comeback", "==", (False,)),)),
        ("kind in [repair,warranty]", (Term("kind", "in", ("repair", "warranty")),)),
        ("not kind in [ body ]", (Term("kind", "in", ("body",), True),)),
        ("odometer_km in [1, 2]", (Term("odometer_km", "in", (1, 2)),)),
        (
            "kind == body and wait_s >= 0 and not present(staff_id)",
            (
                Term("kind", "==", ("body",)),
                Term("wait_s", ">=", (0,)),
                Term("staff_id", "present", (), True),
            ),
        ),
    ],
)
def test_conditions_are_read(text, terms):
    assert parse(text, ORDERS, "here") == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("knd == body", "here: column of service_orders: 'knd' is not known. Nearest: kind"),
        ("present(clsed_at)", "'clsed_at' is not known. Nearest: closed_at"),
        ("kind == boddy", "word of kind: 'boddy' is not known. Nearest: body"),
        ("kind in [repair, waranty]", "word of kind: 'waranty' is not known. Nearest: warranty"),
        ("kind in []", "the list of kind is empty"),
        ("kind in [ , ]", "the list of kind is empty"),
        ("kind = body", "cannot read 'kind = body'. Allowed:"),
        ("kind == body or kind == repair", "word of kind: 'body or kind == repair'"),
        ("kind", "kind is category, only true/false can stand alone"),
        ("wait_s", "wait_s is int, only true/false can stand alone"),
        ("kind < body", "kind is category, so '<' has no meaning"),
        ("is_comeback >= true", "is_comeback is bool, so '>=' has no meaning"),
        ("wait_s <= half an hour", "'half an hour' is no whole number, but wait_s is int"),
        ("wait_s <= 1800.5", "'1800.5' is no whole number"),
        ("wait_s <= 1_800", "'1_800' is no whole number"),
        ("estimate_error <= nan", "'nan' is no number"),
        ("estimate_error <= 1e3", "'1e3' is no number"),
        ("labour_fen >= 12.50", "'12.50' is no whole number, but labour_fen is money"),
        ("is_comeback == yes", "'yes' is neither true nor false"),
        ("closed_at == 2026-01-01", "closed_at is a datetime; only present(closed_at)"),
        ("closed_at >= 2026-01-01", "closed_at is datetime, so '>=' has no meaning"),
        ("labour_hours > 900", "900.0 lies outside the range of labour_hours, 0 to 200"),
        ("wait_s < ready_s", "'ready_s' is no whole number"),
        ("not not is_comeback", "cannot read 'not not is_comeback'"),
        ("(is_comeback)", "cannot read '(is_comeback)'"),
        ("is_comeback; drop table x", "cannot read"),
        ("and", "cannot read ''"),
        ("is_comeback and", "cannot read ''"),
        (" and ".join(["is_comeback"] * 5), f"has 5 terms, at most {MAX_TERMS} are allowed"),
        (5, "found 5, expected a condition"),
        (True, "found True, expected a condition"),
        (["is_comeback"], "found ['is_comeback'], expected a condition"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(text, message):
    with pytest.raises(PlanError) as caught:
        parse(text, ORDERS, "here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here")
    assert "\n" not in str(caught.value)


def test_a_column_that_is_never_stored_cannot_be_asked():
    with pytest.raises(PlanError, match="'plate' is not known"):
        parse("present(plate)", TABLES["vehicles"], "here")


def test_an_item_beyond_its_scale_is_refused():
    with pytest.raises(PlanError, match="90 lies outside the range of overall, 1 to 10"):
        parse("overall >= 90", TABLES["survey_responses"], "here")


def literals(column):
    if column.type == "bool":
        return st.booleans()
    if column.type in ("int", "money"):
        return st.integers(0, 100)
    if column.type == "float":
        return st.integers(0, 100).map(lambda n: n / 2)
    if column.values:
        return st.sampled_from(sorted(column.values))
    return st.from_regex(r"[A-Za-z]\w{0,8}", fullmatch=True).filter(lambda w: w != "and")


@st.composite
def terms(draw):
    column = ORDERS.columns[draw(st.sampled_from(sorted(ORDERS.stored)))]
    negated = draw(st.booleans())
    operators = ["present"] + (["true"] if column.type == "bool" else [])
    if column.type not in ("date", "datetime"):
        operators += ["==", "!=", "in"]
    if column.type in ("int", "money", "float"):
        operators += ["<", "<=", ">", ">="]
    op = draw(st.sampled_from(operators))
    count = {"present": 0, "true": 0, "in": draw(st.integers(1, 3))}.get(op, 1)
    values = tuple(draw(literals(column)) for _ in range(count))
    return Term(column.name, op, values, negated)


def spell(term):
    words = [str(v).lower() if isinstance(v, bool) else str(v) for v in term.values]
    text = {
        "true": term.column,
        "present": f"present({term.column})",
        "in": f"{term.column} in [{', '.join(words)}]",
    }.get(term.op, f"{term.column} {term.op} {', '.join(words)}")
    return f"not {text}" if term.negated else text


@given(st.lists(terms(), min_size=1, max_size=MAX_TERMS))
def test_every_condition_that_can_be_said_is_read_back(said):
    assert parse(" and ".join(map(spell, said)), ORDERS, "here") == tuple(said)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_message(text):
    try:
        assert all(term.column in ORDERS.columns for term in parse(text, ORDERS, "here"))
    except PlanError as error:
        assert str(error).startswith("here")
