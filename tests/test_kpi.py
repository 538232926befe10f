"""KPI values against plain SQL and by hand; verdicts, changes, suppression, alignment."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import sql_kpis
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm import plan as plans
from dealerqm.errors import MethodError, PlanError
from dealerqm.facts import Facts
from dealerqm.kpi import scorecard, values
from dealerqm.kpi.cells import Span, index_weights
from dealerqm.period import parse
from dealerqm.pooling.shrink import between_sd
from dealerqm.stats.intervals import wilson

PLAN, REGIONS, AS_OF = worlds.PLAN, worlds.REGIONS, worlds.AS_OF
KPIS = [name for name, kpi in PLAN.kpis.items() if kpi.stat != "spread"]
FOLLOW_UP = [name for name, kpi in PLAN.kpis.items() if kpi.follow_up]
ONE_OF_EACH = [
    "satisfaction", "closing_rate", "complaint_response", "complaint_rate", "nps",
    "compensation_cost", "discount_per_car", "waiting_time", "lead_contact_time",
    "satisfaction_index",
]  # fmt: skip


def regrouped(unit=None, kind="quarter"):
    """The small world with units renamed, and the keys of another kind of period as quarters."""
    frames = {}
    for name, frame in worlds.small().items():
        frame = frame.copy()
        if unit and "store_id" in frame:
            frame["store_id"] = frame["store_id"].map(unit).astype("str")
        for column in [c for c in frame if c.endswith("_quarter")]:
            stem = column.removesuffix("_quarter")
            frame[column] = frame[column].str[:4] if kind == "year" else frame[f"{stem}_{kind}"]
        frames[name] = frame
    return frames


def beside(ours, theirs, unit_type):
    """Our values of one level beside the ones from plain SQL."""
    ours = ours[(ours["unit_type"] == unit_type) & ours["kpi"].isin(KPIS)]
    ours = ours.rename(columns={"unit": "store", "period": "quarter"})
    table = ours.merge(
        theirs, on=["kpi", "store", "quarter"], how="outer", suffixes=("", "_sql"), indicator=True
    )
    return table[table[["n", "n_sql"]].max(axis=1) > 0]


def same(table):
    assert (table["_merge"] == "both").all()
    assert table["n"].tolist() == table["n_sql"].tolist()
    assert table["value"].tolist() == pytest.approx(
        table["value_sql"].tolist(), rel=1e-9, abs=1e-9, nan_ok=True
    )


# ---------------------------------------------------------------- against plain SQL


@pytest.fixture(scope="module")
def stores():
    theirs = sql_kpis.recompute(worlds.duckdb_tables(worlds.small()), PLAN)
    return beside(worlds.small_values(), theirs, "store")


@pytest.mark.parametrize("name", KPIS)
def test_every_kpi_store_and_quarter_equals_plain_sql(stores, name):
    table = stores[stores["kpi"] == name]
    assert len(table) >= 5
    assert table["value"].notna().sum() >= 5
    same(table)


@pytest.mark.parametrize(
    ("unit_type", "unit"), [("group", dict.fromkeys(REGIONS, "group")), ("region", REGIONS)]
)
def test_a_group_is_all_rows_of_its_stores(unit_type, unit):
    theirs = sql_kpis.recompute(worlds.duckdb_tables(regrouped(unit)), PLAN)
    table = beside(worlds.small_values(), theirs, unit_type)
    assert len(table) >= len(KPIS) * 8 * len(set(unit.values())) * 0.9
    same(table)


@pytest.mark.parametrize(("kind", "count"), [("month", 24), ("year", 3)])
def test_other_periods_equal_plain_sql(kind, count):
    frames = regrouped(dict.fromkeys(REGIONS, "group"), kind)
    theirs = sql_kpis.recompute(worlds.duckdb_tables(frames), PLAN)
    table = beside(worlds.small_values(kind), theirs, "group")
    assert table["quarter"].nunique() == count
    same(table)


def test_weeks_equal_plain_sql():
    own = replace(PLAN, kpis={name: PLAN.kpis[name] for name in ONE_OF_EACH})
    frames = regrouped(dict.fromkeys(REGIONS, "group"), "week")
    theirs = sql_kpis.recompute(worlds.duckdb_tables(frames), own)
    ours = values(worlds.small_facts(), own, REGIONS, span=Span("week", AS_OF))
    assert ours["period"].nunique() >= 104
    same(beside(ours, theirs, "group"))


def test_engines_give_equal_values():
    theirs = values(
        worlds.small_facts("duckdb"), PLAN, REGIONS, span=Span("quarter", AS_OF), names=ONE_OF_EACH
    )
    ours = worlds.small_values()
    ours = ours[ours["kpi"].isin(ONE_OF_EACH)].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-12)


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize("name", [n for n in KPIS if PLAN.kpis[n].stat in ("share", "within",
                                                                            "rate")
                                  and not PLAN.kpis[n].follow_up])  # fmt: skip
def test_shares_and_rates_of_the_group_are_sums_of_stores(name):
    table = worlds.small_values()
    table = table[table["kpi"] == name]
    store = table[table["unit_type"] == "store"].groupby("period")[["n", "k", "missing"]].sum()
    group = table[table["unit_type"] == "group"].set_index("period")
    pd.testing.assert_frame_equal(
        store, group[["n", "k", "missing"]], check_dtype=False, check_names=False
    )
    times = PLAN.kpis[name].per.times if PLAN.kpis[name].per else 1
    assert group["value"].tolist() == pytest.approx((times * store["k"] / store["n"]).tolist())


@pytest.mark.parametrize("name", [n for n in KPIS if PLAN.kpis[n].stat != "rate"])
def test_judged_and_missing_rows_are_all_rows_that_count(name):
    kpi = PLAN.kpis[name]
    rows = sql_kpis.grouped(worlds.duckdb_tables(worlds.small()), kpi, "count(*)")
    table = worlds.small_values()
    table = table[(table["kpi"] == name) & (table["unit_type"] == "store")]
    assert (table["n"] + table["missing"]).sum() == sum(count for *_, count in rows)


def test_rows_of_stores_outside_are_left_out():
    table = values(
        worlds.small_facts(),
        PLAN,
        {"S1": "North"},
        span=Span("year", AS_OF),
        names=["satisfaction"],
    )
    assert set(table["unit"]) == {"S1", "North", "group"}
    assert table.groupby("period")["n"].nunique().eq(1).all()


# ---------------------------------------------------------------- by hand


def rows_of(table, count, **columns):
    """So many rows of a table of the small world, with other columns, all in S1 and 2026Q3."""
    frame = worlds.small()[table].iloc[:count].reset_index(drop=True)
    when = {"contacts": "at", "leads": "created_at", "service_orders": "opened_at",
            "survey_responses": "responded_at", "complaints": "received_at"}[table]  # fmt: skip
    times = pd.Series(pd.Timestamp("2026-08-05 09:00:00"), index=frame.index, name=when)
    frame = frame.assign(store_id="S1", **{when: times}, **worlds.keys_of(times))
    for name, cells in columns.items():
        kind = frame[name].dtype
        frame[name] = pd.Series(cells, index=frame.index).astype(kind)
    return frame


def one_value(name, frames, plan=PLAN, regions=None):
    table = values(
        worlds.pandas_facts(frames), plan, regions or {"S1": "North"},
        span=Span("quarter", AS_OF), names=[name],
    )  # fmt: skip
    return worlds.one(table, unit_type="store", unit="S1", period="2026Q3")


def test_within_by_hand():
    day = 86400
    frame = rows_of(
        "contacts", 6, direction=["in"] * 5 + ["out"], purpose=["enquiry"] * 6,
        answered_s=[0, day, day + 1, None, None, 5],
        contact_age_s=[9 * day] * 3 + [day, day + 1, 9],
    )  # fmt: skip
    row = one_value("enquiry_response", {"contacts": frame})
    # in time: at once and exactly at the limit; missed: a second late, and open for a second longer
    # than the limit; open for exactly the limit: pending; outbound: not counted
    assert (row["n"], row["k"], row["missing"], row["value"]) == (4, 2, 1, 0.5)
    assert (row["low"], row["high"]) == pytest.approx(
        [float(v) for v in wilson(2, 4)[1:]], rel=1e-12
    )


def test_follow_up_by_hand():
    day = 86400
    # closing rate at 60 days; 4 leads are 100 days old, 3 are 20 days old, of 1 nothing is known;
    # signed on day 10 (old), day 15 (young), day 60 (old); signed on day 61 (old): too late.
    signed = [10 * day, 60 * day, 61 * day, None, 15 * day, None, None, None]
    ages = [100 * day] * 4 + [20 * day] * 3 + [None]
    row = one_value("closing_rate", {"leads": rows_of("leads", 8, sign_s=signed, lead_age_s=ages)})
    # Kaplan-Meier: 7 at risk on day 10 -> 6/7; 6 on day 15 -> 5/7; two leave on day 20; 3 at risk
    # on day 60 -> 5/7 · 2/3 = 10/21
    assert row["value"] == pytest.approx(1 - 10 / 21, rel=1e-12)
    assert (row["n"], row["missing"], row["watched"], row["complete"]) == (7, 1, 4, False)


def test_success_may_be_that_nothing_happens():
    day = 86400
    frame = rows_of(
        "service_orders", 4, kind=["repair"] * 3 + ["body"],
        comeback_after_s=[100 * day, 100 * day + 1, None, 1], followed_s=[200 * day] * 4,
    )  # fmt: skip
    frame = frame.assign(closed_at=frame["opened_at"], **worlds.keys_of(
        frame["opened_at"].rename("closed_at")))  # fmt: skip
    row = one_value("first_time_fix", {"service_orders": frame})
    assert (row["n"], row["value"]) == (3, pytest.approx(2 / 3))
    low, high = (1 - float(v) for v in wilson(1, 3)[:0:-1])
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-9)


def test_censored_median_by_hand():
    # first contact after 1, 2 and 4 minutes; one lead still waits after 3 minutes
    frame = rows_of("leads", 4, contact_s=[60, 120, 240, None], lead_age_s=[900, 900, 900, 180])
    row = one_value("lead_contact_time", {"leads": frame})
    # 4 at risk -> 3/4, 3 -> 1/2 at 2 minutes: the first time at which half are contacted
    assert (row["value"], row["n"], row["missing"]) == (2.0, 4, 0)


def test_index_by_hand():
    empty = dict.fromkeys(
        ["price", "after_sales", "communication", "attitude", "professionalism", "response_speed",
         "problem_solving"], [None] * 3,
    )  # fmt: skip
    frame = rows_of(
        "survey_responses", 3, respondent=["customer"] * 3, wave=["2026Q3"] * 3, **empty,
        product=[10, None, None], service=[8, 7, None],
    )  # fmt: skip
    row = one_value("satisfaction_index", {"survey_responses": frame})
    # weights of the plan: product 25 % · 60 = 15, service 35 % · 40 = 14; missing items drop out
    first, second = 100 * (15 * 10 + 14 * 8) / 29, 700
    assert row["value"] == pytest.approx((round(first, 3) + second) / 2, rel=1e-12)
    assert (row["n"], row["missing"]) == (2, 1)


def test_index_weights_change_with_the_wave():
    text = """
    [instrument]
    scale = { min = 1, max = 10 }
    index_points = 1000
    not_applicable = [98]
    [instrument.items.a]
    label = { en = "A", zh = "甲" }
    respondent = "customer"
    [instrument.items.b]
    label = { en = "B", zh = "乙" }
    respondent = "customer"
    [instrument.factors.f]
    label = { en = "F", zh = "己" }
    versions = [
        { from_wave = "2024Q1", weight = 100, items = { a = 100 } },
        { from_wave = "2026Q1", weight = 60, items = { a = 50, b = 50 } },
    ]
    [instrument.factors.g]
    label = { en = "G", zh = "庚" }
    versions = [{ from_wave = "2026Q1", weight = 40, items = { b = 100 } }]
    [kpi.i]
    label = { en = "I", zh = "指数" }
    about = { en = "I", zh = "指数" }
    area = "survey"
    dimension = "satisfaction"
    table = "survey_responses"
    when = "responded_at"
    stat = "index"
    value = "all"
    """
    own = plans.read(text)
    assert index_weights(own, "all") == {"2024Q1": {"a": 100}, "2026Q1": {"a": 30, "b": 70}}
    frame = rows_of("survey_responses", 4, wave=["2024Q1", "2025Q4", "2026Q1", "2023Q4"])
    frame = frame.assign(**{n: pd.array(v, "Int64") for n, v in
                            {"a": [10, 5, 10, 9], "b": [1, 1, 1, 9]}.items()})  # fmt: skip
    row = one_value("i", {"survey_responses": frame}, own)
    # 1000, 500, 0.3·1000 + 0.7·100 = 370; the wave before the first version has no index
    assert (row["value"], row["n"], row["missing"]) == (pytest.approx(1870 / 3), 3, 1)


def test_an_item_that_two_factors_share_counts_for_both():
    weights = index_weights(PLAN, "all")["2023Q4"]
    assert sum(weights.values()) == pytest.approx(100)


def test_rates_without_events_or_without_exposure():
    orders = rows_of("service_orders", 8)
    none = rows_of("complaints", 1).assign(store_id="S9")
    row = one_value("complaint_rate", {"service_orders": orders, "complaints": none})
    assert (row["n"], row["k"], row["value"], row["low"]) == (8, 0, 0, 0)
    assert row["high"] == pytest.approx(1000 * 3.688879 / 8, rel=1e-6)  # R poisson.test(0)
    row = one_value(
        "complaint_rate",
        {"service_orders": orders.assign(store_id="S9"), "complaints": rows_of("complaints", 3)},
    )
    assert (row["n"], row["k"]) == (0, 3)
    assert np.isnan(row["value"])


def test_spread_is_that_of_the_store_values():
    table = worlds.small_values()
    group = worlds.one(table, kpi="satisfaction_spread", unit="group", period="2026Q2")
    mine = table[(table["kpi"] == "satisfaction") & (table["unit_type"] == "store")]
    mine = mine[mine["period"] == "2026Q2"]
    found = between_sd(mine["value"], ((mine["high"] - mine["low"]) / (2 * 1.959964)) ** 2)
    assert group["n"] == 5
    assert [group["value"], group["low"], group["high"]] == pytest.approx(
        [float(v) for v in found], rel=1e-5, abs=1e-12
    )


def test_a_kpi_may_be_asked_alone_and_an_unknown_one_not():
    table = values(
        worlds.small_facts(), PLAN, REGIONS, span=Span("year", AS_OF), names=["compliance_spread"]
    )
    assert set(table["kpi"]) == {"compliance_spread"}
    with pytest.raises(PlanError, match="Nearest: satisfaction"):
        values(worlds.small_facts(), PLAN, REGIONS, span=Span("year", AS_OF), names=["satisfacton"])
    with pytest.raises(MethodError, match="no KPI was asked for"):
        values(worlds.small_facts(), PLAN, REGIONS, span=Span("year", AS_OF), names=[])


def test_a_world_without_rows_has_no_values_and_no_error():
    empty = {name: frame.iloc[:0] for name, frame in worlds.small().items()}
    table = values(worlds.pandas_facts(empty), PLAN, REGIONS, span=Span("quarter", AS_OF))
    assert table.empty
    found = board(table, "2026Q3", regions=REGIONS)
    assert set(found.table["verdict"]) == {"no_data"}
    assert found.findings == ()


# ---------------------------------------------------------------- properties


def some_values(frames, plan=PLAN, regions=REGIONS):
    return values(
        worlds.pandas_facts(frames), plan, regions, span=Span("year", AS_OF), names=ONE_OF_EACH
    )


@pytest.fixture(scope="module")
def plain_values():
    return some_values(worlds.small())


NUMBERS = ["n", "missing", "k", "value", "low", "high", "watched"]


def test_order_of_rows_does_not_matter(plain_values):
    turned = {n: f.sample(frac=1, random_state=3) for n, f in worlds.small().items()}
    pd.testing.assert_frame_equal(some_values(turned), plain_values)


def test_names_of_stores_do_not_matter(plain_values):
    names = {"S1": "S5", "S2": "X", "S3": "S1", "S4": "A0", "S5": "S2"}
    turned = {
        n: f.assign(store_id=f["store_id"].map(names).astype("str")) if "store_id" in f else f
        for n, f in worlds.small().items()
    }
    regions = {names[store]: region for store, region in REGIONS.items()}
    found = some_values(turned, regions=regions)
    found["unit"] = found["unit"].replace({new: old for old, new in names.items()})
    key = ["kpi", "unit_type", "unit", "period"]
    found = found.sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(found, plain_values.sort_values(key, ignore_index=True))


def test_every_row_twice_doubles_counts_and_keeps_values(plain_values):
    twice = {n: pd.concat([f, f], ignore_index=True) for n, f in worlds.small().items()}
    found = some_values(twice)
    for name in ("n", "missing", "k", "watched"):
        assert found[name].fillna(-1).tolist() == (2 * plain_values[name]).fillna(-1).tolist()
    assert found["value"].tolist() == pytest.approx(plain_values["value"].tolist(), nan_ok=True)
    tighter = found["high"] - found["low"] < plain_values["high"] - plain_values["low"]
    wide = plain_values["high"] - plain_values["low"] > 0
    assert tighter[wide].mean() > 0.97  # medians step from value to value


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [("waiting_time", "s", 60), ("waiting_time", "h", 1 / 60), ("lead_contact_time", "d", 1 / 1440),
     ("compensation_cost", "", 100)],
)  # fmt: skip
def test_units_of_measure_scale_values_and_intervals(name, unit, factor):
    other = replace(PLAN, kpis={name: replace(PLAN.kpis[name], unit=unit)})
    span = Span("year", AS_OF)
    one = values(worlds.small_facts(), PLAN, REGIONS, span=span, names=[name])
    two = values(worlds.small_facts(), other, REGIONS, span=span, names=[name])
    for column in ("value", "low", "high"):
        assert two[column].tolist() == pytest.approx(
            (one[column] * factor).tolist(), rel=1e-12, nan_ok=True
        )


def test_values_are_the_same_again(plain_values):
    pd.testing.assert_frame_equal(some_values(worlds.small()), plain_values)


def test_estimates_lie_in_their_intervals():
    table = worlds.small_values().dropna(subset=["low", "high"])
    assert (table["low"] <= table["value"] + 1e-12).all()
    assert (table["value"] <= table["high"] + 1e-12).all()


@pytest.mark.parametrize("name", FOLLOW_UP)
def test_a_period_is_complete_when_its_last_day_has_reached_the_age(name):
    table = worlds.small_values()
    table = table[table["kpi"] == name]
    days = PLAN.kpis[name].follow_up / 86400
    for row in table.itertuples():
        assert row.complete == ((AS_OF - parse(row.period).end).days >= days)
    young = table[table["watched"] == 0]
    assert not young["complete"].any()


# ---------------------------------------------------------------- the scorecard


def nobody(name):
    raise AssertionError(f"{name} was asked for")


def board(history, period="2026Q2", plan=PLAN, regions=None):
    """A scorecard from given values; no question goes to the facts."""
    return scorecard(
        Facts(nobody), plan, regions or {"S1": "North"}, parse(period), as_of=AS_OF, history=history
    )


def line(kpi="satisfaction", period="2026Q2", **other):
    row = {
        "unit_type": "store", "unit": "S1", "period": period, "kpi": kpi, "n": 100, "missing": 0,
        "k": np.nan, "value": 0.5, "low": 0.4, "high": 0.6, "watched": np.nan, "complete": True,
    }  # fmt: skip
    return {**row, **other}


def judged(*lines, kpi="satisfaction", **arguments):
    table = board(pd.DataFrame(list(lines)), **arguments).table
    return worlds.one(table, kpi=kpi, unit="S1")


ENDS = st.tuples(*[st.floats(0.5, 1)] * 3).map(sorted)


@settings(max_examples=20)
@given(ENDS, st.sampled_from(["satisfaction", "repeat_complaints", "churn"]))
def test_the_verdict_is_that_of_the_interval(ends, name):
    low, value, high = ends
    kpi = replace(PLAN.kpis[name], goal=replace(PLAN.kpis[name].goal, value=0.75))
    own = replace(PLAN, kpis={name: kpi})
    row = judged(line(name, value=value, low=low, high=high, watched=99), kpi=name, plan=own)
    if low <= 0.75 <= high:
        expected = "cannot_tell"
    else:
        expected = "met" if (value > 0.75) == (kpi.better == "up") else "missed"
    assert row["verdict"] == expected
    assert (row["value"], row["low"], row["high"], row["goal"]) == (value, low, high, 0.75)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 0.95, "cannot_tell"), (0.85, 0.9, "cannot_tell"), (0.9001, 0.95, "met"),
     (0.85, 0.8999, "missed"), (np.nan, 0.85, "missed"), (np.nan, 0.95, "cannot_tell"),
     (np.nan, np.nan, "cannot_tell")],
)  # fmt: skip
def test_an_interval_that_touches_the_goal_cannot_tell(low, high, verdict):
    row = judged(line(value=0.88, low=low, high=high))
    assert row["verdict"] == verdict


@pytest.mark.parametrize(
    ("kpi", "other", "verdict"),
    [
        ("satisfaction", {"n": 0, "value": np.nan, "low": np.nan, "high": np.nan}, "no_data"),
        ("satisfaction", {"n": 9, "low": 0.1, "high": 0.2}, "few"),
        ("satisfaction", {"n": 10, "low": 0.1, "high": 0.2}, "missed"),
        ("closing_rate", {"watched": 19, "low": 0.3, "high": 0.9}, "too_early"),
        ("closing_rate", {"watched": 20, "low": 0.3, "high": 0.9}, "met"),
        ("closing_rate", {"watched": 0, "n": 500, "low": 0.3, "high": 0.9}, "too_early"),
        ("offer_index", {"value": 800, "low": 700, "high": 900}, "no_goal"),
        ("offer_index", {"value": np.nan, "low": np.nan, "high": np.nan}, "no_goal"),
        ("resolution_time", {"value": np.nan, "low": 6, "high": np.nan}, "cannot_tell"),
        ("satisfaction", {"n": 4}, "suppressed"),
    ],
)
def test_when_nothing_can_be_judged_the_verdict_says_why(kpi, other, verdict):
    assert judged(line(kpi, **other), kpi=kpi)["verdict"] == verdict


def test_a_kpi_without_rows_has_no_data():
    table = board(pd.DataFrame([line()])).table
    assert worlds.one(table, kpi="churn", unit="S1")["verdict"] == "no_data"
    assert worlds.one(table, kpi="satisfaction", unit="group")["verdict"] == "no_data"


@pytest.mark.parametrize(
    ("since", "goal"),
    [(date(2026, 4, 1), 0.9), (date(2026, 6, 30), 0.9), (date(2026, 7, 1), None)],
)
def test_there_is_no_goal_before_its_date(since, goal):
    kpi = PLAN.kpis["satisfaction"]
    own = replace(PLAN, kpis={"satisfaction": replace(kpi, goal=replace(kpi.goal, since=since))})
    row = judged(line(), plan=own)
    assert (row["goal"] == goal) if goal else np.isnan(row["goal"])
    assert row["verdict"] == ("missed" if goal else "no_goal")


def test_a_value_too_early_is_hidden_and_the_last_complete_one_stands_beside_it():
    lines = [
        line("closing_rate", "2026Q2", watched=5, complete=False, value=0.9, low=0.8, high=0.95),
        line("closing_rate", "2026Q1", watched=90, value=0.21, low=0.15, high=0.3),
        line("closing_rate", "2025Q4", watched=90, value=0.11, low=0.05, high=0.2),
        line("closing_rate", "2026Q3", watched=90, value=0.99, low=0.05, high=1.0),
    ]
    row = judged(*lines, kpi="closing_rate")
    assert row["verdict"] == "too_early"
    assert row[["value", "low", "high", "change_period", "change_year"]].isna().all()
    assert row["complete_period"] == "2026Q1"
    assert list(row[["complete_value", "complete_low", "complete_high"]]) == [0.21, 0.15, 0.3]


def test_real_newest_quarter_is_censored_not_dropped():
    found = scorecard(
        worlds.small_facts(), PLAN, REGIONS, parse("2026Q3"), as_of=AS_OF,
        history=worlds.small_values(),
    ).table  # fmt: skip
    row = worlds.one(found, kpi="test_drive_rate", unit="group")
    assert row["verdict"] != "too_early"
    assert row["complete_period"] == "2026Q2"  # its last leads are 92 days old
    leads = worlds.small()["leads"]
    young = (leads["created_at_quarter"] == "2026Q3") & (leads["lead_age_s"] < 30 * 86400)
    assert young.sum() > 20
    assert row["n"] == (leads["created_at_quarter"] == "2026Q3").sum()
    assert worlds.one(found, kpi="churn", unit="group")["verdict"] == "too_early"


# ---------------------------------------------------------------- suppression


def told(row):
    return [name for name in row.index if isinstance(row[name], float) and not np.isnan(row[name])]


def test_fewer_than_k_rows_say_nothing_at_all():
    lines = [line(n=4, missing=2), line(period="2026Q1"), line(period="2025Q2")]
    row = judged(*lines)
    assert row["verdict"] == "suppressed"
    assert told(row) == ["goal", "complete_value", "complete_low", "complete_high"]
    assert row["complete_period"] == "2026Q1"
    assert pd.isna(row["n"])
    assert pd.isna(row["missing"])
    assert pd.isna(row["beyond_period"])


def test_what_few_rows_said_before_cannot_be_told_from_the_change():
    row = judged(line(), line(period="2026Q1", n=4), line(period="2025Q2", n=4))
    assert np.isnan(row[["change_period", "change_year"]].astype(float)).all()
    row = judged(line(complete=False, watched=99, kpi="churn"),
                 line("churn", "2026Q1", n=4), kpi="churn")  # fmt: skip
    assert pd.isna(row["complete_period"])
    assert np.isnan(row["complete_value"])


def test_k_comes_from_the_plan():
    settings = {**PLAN.settings, "publication": {"k": 11}}
    own = replace(PLAN, settings=settings)
    assert judged(line(n=10, low=0.1, high=0.2), plan=own)["verdict"] == "suppressed"
    assert judged(line(n=11, low=0.1, high=0.2), plan=own)["verdict"] == "missed"


def test_a_spread_of_few_stores_is_told():
    lines = [
        line("satisfaction_spread", unit_type="region", unit="North", n=4, low=0.01, high=0.04)
    ]
    table = board(pd.DataFrame(lines)).table
    assert worlds.one(table, kpi="satisfaction_spread", unit="North")["verdict"] == "met"
    assert "S1" not in set(table[table["kpi"] == "satisfaction_spread"]["unit"])


# ---------------------------------------------------------------- changes


def shares(k, n, period):
    value, low, high = (float(v) for v in wilson(k, n))
    return line(period=period, n=n, value=value, low=low, high=high)


def test_change_of_a_share_is_newcombes():
    # R 4.2.2, Newcombe (1998) hybrid score: 56/70 against 48/80
    row = judged(shares(56, 70, "2026Q2"), shares(48, 80, "2026Q1"), shares(56, 70, "2025Q2"))
    found = [row[f"change_period{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx([0.2, 0.0524314724023651, 0.333872654036906], rel=1e-6)
    assert row["beyond_period"]
    assert row["change_year"] == 0
    assert row["change_year_low"] < 0 < row["change_year_high"]
    assert not row["beyond_year"]


def test_without_a_value_before_there_is_no_change():
    row = judged(line())
    assert pd.isna(row["beyond_period"])
    assert np.isnan(row["change_period"])


@pytest.mark.parametrize(
    ("name", "then", "direction", "severity"),
    [("satisfaction", 0.2, "better", "info"), ("satisfaction", 0.9, "worse", "info"),
     ("churn", 0.9, "better", "info"), ("after_sales_complaints", 0.2, "none", "info")],
)  # fmt: skip
def test_changes_beyond_noise_are_findings_with_their_direction(name, then, direction, severity):
    history = pd.DataFrame(
        [
            line(name, watched=99),
            line(name, "2026Q1", value=then, low=then - 0.02, high=then + 0.02),
        ]
    )
    found = [f for f in board(history).findings if f.rule == "change_period"]
    assert [(f.kpi, f.direction, f.severity) for f in found] == [(name, direction, severity)]
    assert found[0].value == pytest.approx(0.5 - then)
    assert found[0].low < found[0].value < found[0].high
    assert (found[0].period_start, found[0].period_end) == (date(2026, 4, 1), date(2026, 6, 30))


def test_a_missed_goal_of_the_group_asks_for_action_and_of_a_store_for_attention():
    lines = [line(), line(unit_type="group", unit="group")]
    found = board(pd.DataFrame(lines)).findings
    assert {(f.unit, f.rule, f.severity, f.expected) for f in found} == {
        ("group", "goal_missed", "act", 0.9), ("S1", "goal_missed", "watch", 0.9),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "rules"), [(0.87, ["goal_at_risk"]), (0.895, []), (0.93, []), (0.8, ["goal_missed"])]
)
def test_a_goal_that_is_probably_missed_is_watched(value, rules):
    # half width 0.05, so the standard error is 0.0255: P(true < 0.9) is 88 % at 0.87, 58 % at 0.895
    row = line(value=value, low=value - 0.05, high=value + 0.05)
    assert [f.rule for f in board(pd.DataFrame([row])).findings] == rules


# ---------------------------------------------------------------- Spring Festival


def test_february_is_compared_with_the_same_days_around_the_festival():
    found = scorecard(
        worlds.small_facts(), PLAN, REGIONS, parse("2026-02"), as_of=AS_OF,
        history=worlds.small_values("month"),
    )  # fmt: skip
    assert found.note["aligned"]
    assert found.table["aligned"].all()
    row = worlds.one(found.table, kpi="checklist_compliance", unit="group")
    checks = worlds.small()["process_checks"]
    checks = checks[checks["source"].isin(["audit", "mystery"])]
    days = checks["checked_at_day"]
    now = checks[(days >= "2026-02-01") & (days <= "2026-02-28")]["passed"].dropna()
    then = checks[(days >= "2025-01-13") & (days <= "2025-02-09")]["passed"].dropna()
    calendar = checks[(days >= "2025-02-01") & (days <= "2025-02-28")]["passed"].dropna()
    assert row["value"] == pytest.approx(now.mean())
    assert row["change_year"] == pytest.approx(now.mean() - then.mean())
    assert row["change_year"] != pytest.approx(now.mean() - calendar.mean())
    before = checks[(days >= "2026-01-01") & (days <= "2026-01-31")]["passed"].dropna()
    assert row["change_period"] == pytest.approx(now.mean() - before.mean())


def test_every_kpi_can_be_compared_over_the_festival():
    found = scorecard(
        worlds.small_facts(), PLAN, REGIONS, parse("2026-02"), as_of=AS_OF,
        history=worlds.small_values("month"),
    ).table  # fmt: skip
    group = found[(found["unit_type"] == "group") & found["n"].ge(20).fillna(False)]
    known = group[~group["verdict"].isin(["too_early"])]
    assert known["change_year"].notna().mean() > 0.9


@pytest.mark.parametrize("period", ["2026-07", "2026Q1", "2025"])
def test_elsewhere_the_calendar_rules(period):
    kind = parse(period).kind
    found = board(worlds.small_values(kind), period, regions=REGIONS)
    assert not found.note["aligned"]
    row = worlds.one(found.table, kpi="satisfaction", unit="group")
    now, then = (
        worlds.one(worlds.small_values(kind), kpi="satisfaction", unit="group", period=key)["value"]
        for key in (period, parse(period).year_before().key)
    )
    assert row["change_year"] == pytest.approx(now - then)


def test_a_scorecard_has_every_unit_and_can_be_shown_in_both_languages():
    found = board(worlds.small_values(), "2026Q3", regions=REGIONS)
    spreads = [n for n, k in PLAN.kpis.items() if k.stat == "spread"]
    assert len(found.table) == len(PLAN.kpis) * 8 - 5 * len(spreads)
    assert not found.table.duplicated(["kpi", "unit_type", "unit"]).any()
    for lang in ("zh", "en"):
        shown = found.show(lang)
        assert shown.shape == (len(found.table), len(found.COLUMNS))
    assert len({f.finding_id for f in found.findings}) == len(found.findings)
