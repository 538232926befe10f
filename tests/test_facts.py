"""The questions to row-level data: equal on both engines, and what one can count by hand."""

from datetime import date

import pandas as pd
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm.conditions import Term, parse
from dealerqm.errors import MethodError
from dealerqm.facts import Ask, Facts

ENGINES = sorted(worlds.ENGINES)
ORDERS = worlds.PLAN.tables["service_orders"]
BY = ("store_id", "opened_at_quarter")


@pytest.fixture(params=ENGINES)
def engine(request):
    """Makes facts over pandas frames."""
    return worlds.ENGINES[request.param]


def terms(text, table="service_orders"):
    return parse(text, worlds.PLAN.tables[table], "test")


# Twelve rows that one can count: x is a number, f a flag, d a duration, a the time watched.
ROWS = pd.DataFrame(
    {
        "g": ["A", "A", "A", "A", "A", "B", "B", "B", "B", None, "A", "B"],
        "x": [1, 2, 2, None, 5, 1, None, 3, 3, 1, 2, 9],
        "f": [True, False, None, True, True, False, None, False, True, True, True, None],
        "w": ["p", "q", None, "p", "p", "q", "q", None, "p", "p", "q", "p"],
        "d": [60, 119, 120, None, None, 121, None, 60, None, 1, None, None],
        "a": [500, 500, 500, 60, 120, 500, 121, 500, None, 5, 119, 6000],
        "day": pd.to_datetime(
            ["2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01", None, "2026-02-15"] * 2
        ),
    }
).astype(
    {"g": "str", "w": "str", "x": "Int64", "f": "boolean", "d": "Int64", "a": "Int64",
     "day": "datetime64[s]"}
)  # fmt: skip


@pytest.fixture
def facts(engine):
    return engine({"t": ROWS})


def table(frame):
    """Rows of a frame, missing values as None."""
    return [tuple(None if pd.isna(v) else v for v in row) for row in frame.itertuples(index=False)]


# ---------------------------------------------------------------- by hand


def test_counts_by_hand(facts):
    flags = {
        "f": (Term("f", "true"),), "no": (Term("f", "true", (), True),),
        "two": (Term("x", ">=", (2,)), Term("w", "==", ("p",))),
        "gone": (Term("x", "present", (), True),),
    }  # fmt: skip
    found = facts.counts(Ask("t", ("g",)), flags)
    columns = ["g", "rows", "f", "f_known", "no", "no_known", "two", "two_known", "gone",
               "gone_known"]  # fmt: skip
    assert list(found.columns) == columns
    assert table(found) == [("A", 6, 4, 5, 1, 5, 1, 4, 1, 6), ("B", 5, 1, 3, 2, 3, 2, 3, 1, 5)]
    assert (found.dtypes.iloc[1:] == "int64").all()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ((), [6, 5]),
        ((Term("w", "==", ("p",)),), [3, 2]),
        ((Term("w", "==", ("p",), True),), [2, 2]),  # a missing word is neither p nor not p
        ((Term("w", "!=", ("p",)),), [2, 2]),
        ((Term("w", "in", ("p", "q")),), [5, 4]),
        ((Term("w", "in", ("p",), True),), [2, 2]),
        ((Term("w", "present"),), [5, 4]),
        ((Term("w", "present", (), True),), [1, 1]),
        ((Term("x", "<", (3,)),), [4, 1]),
        ((Term("x", "<", (3,), True),), [1, 3]),
        ((Term("f", "true", (), True), Term("x", "present")), [1, 2]),
        ((Term("f", "==", (False,)),), [1, 2]),
    ],
)
def test_where_leaves_out_what_is_missing(facts, where, rows):
    assert facts.counts(Ask("t", ("g",), where), {})["rows"].tolist() == rows


def test_rows_without_their_group_are_left_out_and_no_group_is_all(facts):
    assert facts.counts(Ask("t", ("g",)), {})["rows"].sum() == 11
    assert facts.counts(Ask("t", ()), {})["rows"].tolist() == [12]
    assert facts.counts(Ask("t", (), (Term("w", "==", ("z",)),)), {})["rows"].tolist() == [0]
    assert facts.counts(Ask("t", ("g",), (Term("w", "==", ("z",)),)), {}).empty


def test_both_ends_of_a_window_count(facts):
    window = Ask("t", ("g",), (), ("day", date(2026, 2, 1), date(2026, 2, 28)))
    # A: 1 and 28 February; B: 15, 1, 28 and 15 February
    assert table(facts.counts(window, {})) == [("A", 2), ("B", 4)]
    one_day = Ask("t", ("g",), (), ("day", date(2026, 3, 1), date(2026, 3, 1)))
    assert table(facts.counts(one_day, {})) == [("A", 1)]


def test_exactly_at_the_limit_is_in_time_and_open_past_it_is_late(facts):
    # limit 120 s. A: 60, 119, 120 in time; open for 60, 120, 119: pending.
    # B: 121 late, 60 in time; open for 121 and 6000: late; open, never watched: pending.
    found = facts.within(Ask("t", ("g",)), "d", "a", 120)
    assert list(found.columns) == ["g", "rows", "in_time", "late", "pending"]
    assert table(found) == [("A", 6, 3, 0, 3), ("B", 5, 1, 3, 1)]


def test_histogram_counts_missing_values_apart(facts):
    found = facts.histogram(Ask("t", ("g",)), "x")
    assert table(found) == [
        ("A", 1, 1), ("A", 2, 3), ("A", 5, 1), ("A", None, 1),
        ("B", 1, 1), ("B", 3, 2), ("B", 9, 1), ("B", None, 1),
    ]  # fmt: skip


def test_spells_are_whole_minutes_with_or_without_event(facts):
    found = facts.spells(Ask("t", ("g",)), "d", "a")
    assert table(found) == [
        ("A", 1, 0, 2), ("A", 1, 1, 2), ("A", 2, 0, 1), ("A", 2, 1, 1),
        ("B", 1, 1, 1), ("B", 2, 0, 1), ("B", 2, 1, 1), ("B", 100, 0, 1), ("B", None, 0, 1),
    ]  # fmt: skip


def test_spells_end_at_the_age(facts):
    # at 120 s: the event at 120 still counts, the one at 121 and everything later is a spell of 120
    found = facts.spells(Ask("t", ("g",)), "d", "a", until=120)
    assert table(found) == [
        ("A", 1, 0, 2), ("A", 1, 1, 2), ("A", 2, 0, 1), ("A", 2, 1, 1),
        ("B", 1, 1, 1), ("B", 2, 0, 3), ("B", None, 0, 1),
    ]  # fmt: skip


def test_extent_and_rows(facts):
    assert facts.extent("t", "x") == (1, 9)
    found = facts.rows(Ask("t", ("g",), (Term("x", "==", (2,)),)), ["x", "w"])
    assert table(found) == [("A", 2, "q"), ("A", 2, "q"), ("A", 2, None)]


def test_rows_are_bounded(facts):
    assert len(facts.rows(Ask("t", ("g",)), ["x"], cap=11)) == 11
    with pytest.raises(MethodError, match="t: more than 10 rows asked for; ask for fewer days"):
        facts.rows(Ask("t", ("g",)), ["x"], cap=10)


def test_weighted_means_skip_what_is_missing_and_round_halves_up(engine):
    frame = pd.DataFrame(
        {
            "g": ["A"] * 6,
            "wave": ["1", "1", "2", "2", "1", "0"],
            "p": [10, None, 10, 1, None, 10],
            "q": [5, 5, 5, 4, None, 10],
        }
    ).astype({"g": "str", "wave": "str", "p": "Int64", "q": "Int64"})
    later, first = (Term("wave", ">=", ("2",)),), (Term("wave", ">=", ("1",)),)
    weights = [(later, {"p": 50.0, "q": 50.0}), (first, {"p": 80.0, "q": 20.0})]
    found = engine({"t": frame}).weighted(Ask("t", ("g",)), weights, grain=1.0)
    # 80/20: 9, and 5 alone; 50/50: 7.5 -> 8 and 2.5 -> 3; nothing filled and no weights: missing
    assert table(found) == [("A", 3, 1), ("A", 5, 1), ("A", 8, 1), ("A", 9, 1), ("A", None, 2)]


def test_an_empty_table_has_no_rows_to_count(engine):
    empty = engine({"t": ROWS.iloc[:0]})
    assert empty.counts(Ask("t", ("g",)), {"f": (Term("f", "true"),)}).empty
    assert empty.histogram(Ask("t", ("g",)), "x").empty
    assert empty.within(Ask("t", ("g",)), "d", "a", 1).empty
    assert all(pd.isna(end) for end in empty.extent("t", "x"))


# ---------------------------------------------------------------- weighted cells

CELLS = pd.DataFrame(
    {
        "store": ["A", "A", "A", "A", "B", "B", "A"],
        "area": ["n", "n", "n", "n", "s", "s", "n"],
        "y": [9, 9, 8, None, 9, 9, 9],
        "weight": [0.5, 1.5, 2.0, 3.0, 1000.25, 0.0, 2.0],
    }
).astype({"store": "str", "area": "str", "y": "Int64"})
ROLES = {"domain": "store", "stratum": "area", "psu": "store"}


def test_weighted_cells_by_hand(engine):
    found = engine({"t": CELLS}).weighted_cells(Ask("t", ()), ROLES, answer="y", weight="weight")
    assert list(found.columns) == ["domain", "stratum", "psu", "answer", "n", "w", "w2"]
    assert table(found) == [
        ("A", "n", "A", 8, 1, 2.0, 4.0), ("A", "n", "A", 9, 3, 4.0, 6.5),
        ("A", "n", "A", None, 1, 3.0, 9.0), ("B", "s", "B", 9, 1, 0.0, 0.0),
        ("B", "s", "B", 9, 1, 1000.25, 1000500.0625),
    ]  # fmt: skip


def test_weighted_cells_take_conditions_and_need_no_roles(engine):
    ask = Ask("t", (), (Term("area", "==", ("s",)),))
    found = engine({"t": CELLS}).weighted_cells(ask, {}, answer="y", weight="weight")
    assert table(found) == [(9, 1, 0.0, 0.0), (9, 1, 1000.25, 1000500.0625)]


@pytest.mark.parametrize(
    ("column", "value"),
    [("weight", -1.0), ("weight", None), ("weight", 2.0**20), ("weight", 1e30), ("store", None)],
)
def test_weighted_cells_refuse_rows_that_would_be_lost(engine, column, value):
    broken = CELLS.copy()
    broken.loc[2, column] = value
    with pytest.raises(MethodError, match=r"t: 1 rows lack store, area, store or a weight from 0"):
        engine({"t": broken}).weighted_cells(Ask("t", ()), ROLES, answer="y", weight="weight")


WEIGHTED = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]), st.sampled_from([None, 1, 10]),
        st.floats(0, 1e6) | st.sampled_from([0.0, 0.1, 1 / 3, 2.0**20 - 1]),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=8)
@given(WEIGHTED, st.randoms(use_true_random=False))
def test_weighted_sums_are_those_of_the_rows_whatever_the_order_and_engine(rows, random):
    turned = rows.copy()
    random.shuffle(turned)
    frames = [
        pd.DataFrame(part, columns=["g", "y", "w"]).astype({"g": "str", "y": "Int64", "w": float})
        for part in (rows, turned)
    ]
    found = [
        worlds.ENGINES[engine]({"t": frame}).weighted_cells(
            Ask("t", ()), {"domain": "g"}, answer="y", weight="w"
        )
        for engine, frame in zip(ENGINES, frames, strict=True)
    ]
    pd.testing.assert_frame_equal(*found, check_exact=True)
    plain = frames[0].assign(w2=frames[0]["w"] ** 2).groupby("g")[["w", "w2"]].sum()
    cells = found[0].groupby("domain")[["w", "w2"]].sum()
    for name in ("w", "w2"):
        assert cells[name].to_numpy() == pytest.approx(plain[name].to_numpy(), rel=1e-12, abs=1e-10)


# ---------------------------------------------------------------- equal on both engines

QUESTIONS = {
    "counts": lambda f: f.counts(
        Ask("service_orders", BY),
        {"a": terms("ready_on_time"), "b": terms("not kind == repair and wait_s <= 1800"),
         "c": terms("estimate_error <= 0.1"), "d": terms("not present(closed_at)")},
    ),
    "counts where": lambda f: f.counts(
        Ask("service_orders", BY, terms("kind in [repair, warranty] and not is_comeback")), {}
    ),
    "counts of nothing": lambda f: f.counts(
        Ask("service_orders", BY, terms("odometer_km == 0 and labour_fen == 7")), {}
    ),
    "counts of all": lambda f: f.counts(Ask("service_orders", ()), {"a": terms("ready_on_time")}),
    "counts of a window": lambda f: f.counts(
        Ask("service_orders", ("store_id",), (), ("opened_at_day", date(2026, 1, 5),
                                                  date(2026, 2, 9))), {}
    ),
    "within": lambda f: f.within(
        Ask("contacts", ("store_id", "at_month")), "answered_s", "contact_age_s", 86400
    ),
    "histogram": lambda f: f.histogram(Ask("service_orders", BY), "wait_s"),
    "histogram of money": lambda f: f.histogram(
        Ask("leads", ("store_id", "signed_at_quarter")), "discount_fen"
    ),
    "histogram of floats": lambda f: f.histogram(Ask("training", ("store_id",)), "score"),
    "spells": lambda f: f.spells(
        Ask("service_orders", ("store_id", "closed_at_week")), "returned_after_s", "in_care_s"
    ),
    "spells until": lambda f: f.spells(
        Ask("service_orders", ("store_id", "closed_at_quarter")), "comeback_after_s", "followed_s",
        until=100 * 86400,
    ),
    "weighted": lambda f: f.weighted(
        Ask("survey_responses", ("store_id", "responded_at_quarter")),
        [((), {"service": 14.0, "after_sales": 10.5, "attitude": 7.5, "price": 10.0})],
        grain=100_000.0,
    ),
    "weighted cells": lambda f: f.weighted_cells(
        Ask("survey_responses", (), terms("present(base_weight)", "survey_responses")),
        {"domain": "store_id", "psu": "store_id"}, answer="overall", weight="base_weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_engines_give_equal_frames(question):
    one, two = (QUESTIONS[question](worlds.small_facts(engine)) for engine in ENGINES)
    assert question == "counts of nothing" or not one.empty
    pd.testing.assert_frame_equal(one, two)


def test_engines_give_equal_rows_and_extents():
    ask = Ask("stores", ("store_id",))
    one, two = (worlds.small_facts(e).rows(ask, ["region", "name"]) for e in ENGINES)
    pd.testing.assert_frame_equal(one, two)
    for table_name, column in (("leads", "created_at_day"), ("service_orders", "labour_fen")):
        ends = [worlds.small_facts(e).extent(table_name, column) for e in ENGINES]
        assert ends[0] == ends[1]


def test_halves_are_rounded_alike():
    # (14·7 + 10.5·9 + 7.5·8) / 32 = 7.890625 points of 10: exactly half of a thousandth of a point
    row = {"store_id": ["S1"], "service": [7], "after_sales": [9], "attitude": [8]}
    frame = pd.DataFrame(row).astype({"store_id": "str"})
    weights = [((), {"service": 14.0, "after_sales": 10.5, "attitude": 7.5})]
    for engine in ENGINES:
        facts = worlds.ENGINES[engine]({"t": frame})
        found = facts.weighted(Ask("t", ("store_id",)), weights, grain=100_000.0)
        assert found["value"].tolist() == [789_063]


# ---------------------------------------------------------------- properties

UNITS = ["S1", "S2", "S3"]
PEOPLE = st.lists(
    st.tuples(
        st.sampled_from([*UNITS, None]), st.sampled_from([None, 0, 59, 60, 61, 3600]),
        st.integers(0, 7200), st.sampled_from([True, False, None]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip
LIMITED = settings(max_examples=8)


def frame_of(rows):
    columns = pd.DataFrame(rows, columns=["g", "d", "a", "f"])
    return columns.astype({"g": "str", "d": "Int64", "a": "Int64", "f": "boolean"})


def answers(frame, engine="pandas"):
    """Every additive question about the frame."""
    facts = worlds.ENGINES[engine]({"t": frame})
    ask = Ask("t", ("g",))
    flags = {"f": (Term("f", "true"),), "no": (Term("f", "true", (), True), Term("d", ">", (9,)))}
    return [
        facts.counts(ask, flags), facts.within(ask, "d", "a", 60), facts.histogram(ask, "d"),
        facts.spells(ask, "d", "a", until=3600),
        facts.weighted(ask, [((Term("f", "true"),), {"d": 2.0, "a": 1.0})], grain=3.0),
    ]  # fmt: skip


def added(parts):
    """Answers to several parts, added up as answers to the whole."""
    numbers = {"rows", "count", "in_time", "late", "pending", "f", "f_known", "no", "no_known"}
    whole = pd.concat(parts, ignore_index=True)
    keys = [name for name in whole.columns if name not in numbers]
    sums = whole.groupby(keys, as_index=False, dropna=False).sum()
    return sums.sort_values(keys, kind="stable", ignore_index=True)


def same(one, two):
    for first, second in zip(one, two, strict=True):
        pd.testing.assert_frame_equal(first, second, check_dtype=False)


@LIMITED
@given(PEOPLE, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows, random):
    turned = rows.copy()
    random.shuffle(turned)
    same(answers(frame_of(rows)), answers(frame_of(turned)))


@LIMITED
@given(PEOPLE, st.permutations(UNITS))
def test_names_of_units_do_not_matter(rows, names):
    other = dict(zip(UNITS, names, strict=True))
    renamed = [(other.get(g), *rest) for g, *rest in rows]
    back = {new: old for old, new in other.items()}
    found = answers(frame_of(renamed))
    for answer in found:
        answer["g"] = answer["g"].map(back).astype("str")
    found = [a.sort_values(list(a.columns), ignore_index=True) for a in found]
    expected = [a.sort_values(list(a.columns), ignore_index=True) for a in answers(frame_of(rows))]
    same(expected, found)


@LIMITED
@given(PEOPLE, st.integers(0, 25))
def test_splitting_then_adding_is_the_whole(rows, cut):
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    pieces = [answers(frame_of(part)) for part in parts]
    whole = [added([piece[i] for piece in pieces]) for i in range(len(pieces[0]))]
    same(answers(frame_of(rows)), whole)


@LIMITED
@given(PEOPLE)
def test_every_row_twice_is_every_count_twice(rows):
    once, twice = answers(frame_of(rows)), answers(frame_of(rows + rows))
    doubled = [added([answer, answer]) for answer in once]
    same(twice, doubled)


@LIMITED
@given(PEOPLE)
def test_fates_within_a_limit_are_all_rows(rows):
    found = answers(frame_of(rows))[1]
    assert (found["in_time"] + found["late"] + found["pending"] == found["rows"]).all()


@LIMITED
@given(PEOPLE)
def test_a_condition_and_its_negation_share_what_is_known(rows):
    facts = worlds.pandas_facts({"t": frame_of(rows)})
    for column, op, values in (("f", "true", ()), ("d", "<=", (60,)), ("d", "in", (0, 61)),
                               ("d", "==", (59,)), ("d", "!=", (59,))):  # fmt: skip
        yes, no = (Term(column, op, values),), (Term(column, op, values, True),)
        found = facts.counts(Ask("t", ("g",)), {"yes": yes, "no": no})
        assert (found["yes"] + found["no"] == found["yes_known"]).all()
        assert (found["yes_known"] == found["no_known"]).all()


@settings(max_examples=6)
@given(PEOPLE)
def test_engines_agree_on_any_rows(rows):
    same(answers(frame_of(rows), "pandas"), answers(frame_of(rows), "duckdb"))


@LIMITED
@given(PEOPLE, st.sampled_from([2, 60]))
def test_the_unit_of_a_duration_does_not_matter(rows, unit):
    scaled = [(g, None if d is None else d * unit, a * unit, f) for g, d, a, f in rows]
    facts = [worlds.pandas_facts({"t": frame_of(part)}) for part in (rows, scaled)]
    ask = Ask("t", ("g",))
    one, two = facts[0].within(ask, "d", "a", 60), facts[1].within(ask, "d", "a", 60 * unit)
    pd.testing.assert_frame_equal(one, two)


def test_money_is_added_without_rounding():
    frame = pd.DataFrame({"g": ["A"] * 3, "fen": [10**15 + 1, 10**15 + 2, 10**15 + 1]})
    frame = frame.astype({"g": "str", "fen": "Int64"})
    for engine in ENGINES:
        found = worlds.ENGINES[engine]({"t": frame}).histogram(Ask("t", ("g",)), "fen")
        assert [int(v) for v in found["value"]] == [10**15 + 1, 10**15 + 2]
        assert found["count"].tolist() == [2, 1]


def test_facts_ask_for_each_table_by_its_name():
    asked = []

    def table_of(name):
        asked.append(name)
        return ROWS

    Facts(table_of).counts(Ask("anything", ("g",)), {})
    assert asked == ["anything"]
