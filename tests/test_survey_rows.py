"""What is asked, who was invited, who answered: hand-made rows, two engines."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import survey_hand as hand
import worlds
from survey_hand import PLAN, answer, made, silent

from dealerqm import survey
from dealerqm.errors import MethodError, ParameterError
from dealerqm.fieldwork.instrument import Instrument
from dealerqm.fieldwork.rows import coverage
from dealerqm.period import parse

# ---------------------------------------------------------------- the instrument


def test_the_default_instrument_asks_what_the_issue_names():
    asked = Instrument(PLAN)
    assert asked.items() == hand.ITEMS
    assert asked.touchpoints == ["sales", "test_drive", "delivery", "service", "complaint"]
    assert asked.asked_at("after_sales") == ["delivery", "service", "complaint"]
    assert asked.asked_at("price") == asked.asked_at("recommend") == asked.touchpoints
    assert list(asked.measures)[:3] == ["overall", "recommend", "index"]
    assert (asked.kpi("share"), asked.kpi("within")) == ("satisfaction", "response_rate")


def test_values_are_top_scores_promoters_and_index_points():
    found = made([
        answer(overall=9, recommend=9), answer(overall=8, recommend=7),
        answer(overall=np.nan, recommend=6), answer(**dict.fromkeys(hand.ITEMS, 10.0)),
    ])  # fmt: skip
    rows, asked = found.rows, found.instrument
    assert asked.values(rows, "overall").tolist()[:2] == [1.0, 0.0]
    assert np.isnan(asked.values(rows, "overall")[2])
    assert asked.values(rows, "recommend").tolist() == [1.0, 0.0, -1.0, 0.0]
    assert asked.values(rows, "index").tolist() == pytest.approx([800, 800, 800, 1000])


def test_the_index_weighs_the_answered_items_only():
    # weights of the plan: product 25 % of 60 = 15, price 25 % of 40 = 10; the others are missing
    said = dict.fromkeys(hand.ITEMS, np.nan) | {"product": 10.0, "price": 5.0}
    found = made([answer(**said), answer()])
    assert found.instrument.values(found.rows, "index")[0] == pytest.approx(100 * 200 / 25)


def test_weights_follow_the_version_of_the_wave():
    old = replace(PLAN.factors[0], from_wave="2025Q1", items={"price": 100.0})
    new = replace(old, from_wave="2026Q3", items={"product": 100.0})
    plan = replace(PLAN, factors=(old, new))
    before = answer(price=10, product=2, wave="2026Q2", invited_at="2026-05-04")
    found = made([before, answer(price=10, product=2)], plan)
    assert found.instrument.values(found.rows, "index").tolist() == pytest.approx([1000, 200])


def test_an_instrument_without_overall_item_says_what_to_name():
    plan = replace(PLAN, instrument={k: v for k, v in PLAN.instrument.items() if k != "overall"})
    with pytest.raises(MethodError, match=r"\[instrument\] overall: is missing; name the item"):
        Instrument(plan).measures  # noqa: B018


def test_an_unknown_item_is_named_with_its_neighbours():
    found = made([answer()])
    with pytest.raises(ParameterError, match=r"item: 'prise' is not known. Nearest: price"):
        found.instrument.values(found.rows, "prise")


# ---------------------------------------------------------------- rows


def test_codes_scores_out_of_scale_and_items_never_asked_are_set_aside_and_counted():
    found = made([
        answer(product=98, price=99, service=0, overall=11, recommend=0),
        answer(touchpoint="sales", after_sales=5, recommend=99),
    ])  # fmt: skip
    assert found.rows[["product", "price", "service", "overall"]].iloc[0].isna().all()
    assert found.rows["recommend"].iloc[0] == 0  # on its own scale 0 is an answer
    assert np.isnan(found.rows["recommend"].iloc[1])
    assert np.isnan(found.rows["after_sales"].iloc[1])
    assert {name: found.note[name] for name in ("not_applicable", "out_of_scale", "not_asked")} == {
        "not_applicable": 4, "out_of_scale": 1, "not_asked": 1,
    }  # fmt: skip


def test_an_answer_holds_enough_of_what_was_asked():
    gaps = dict.fromkeys(hand.ITEMS[:3], np.nan)  # 8 of 11 asked
    few = dict.fromkeys(hand.ITEMS[:7], np.nan)  # 4 of 11
    found = made([
        answer(), answer(**gaps), answer(**few), silent(), silent(invited_at="2026-09-25"),
        answer(touchpoint="sales", after_sales=np.nan),
    ])  # fmt: skip
    assert found.rows["disposition"].tolist() == [
        "complete", "partial", "break_off", "none", "pending", "complete",
    ]  # fmt: skip
    assert found.rows["answered"].tolist() == [True, True, False, False, False, True]


def test_waves_are_those_mainly_sent_out_by_the_end_of_the_period():
    rows = [
        answer(wave="spring", invited_at="2026-05-02"), answer(wave="summer"),
        answer(wave="spring", invited_at="2026-05-03"),
        answer(wave="spring", invited_at="2026-07-01"),
    ]  # fmt: skip
    found = made(rows)
    assert dict(found.quarters) == {"spring": "2026Q2", "summer": "2026Q3"}
    assert (found.wave, found.period.key) == ("summer", "2026Q3")
    assert made(rows, period="2026-06").wave == "spring"
    assert dict(made(rows, hand.with_settings(waves=1)).quarters) == {"summer": "2026Q3"}
    with pytest.raises(ParameterError, match=r"no wave by the end of 2025Q4. In the data: spring,"):
        made(rows, period="2025Q4")
    with pytest.raises(ParameterError, match="wave: 'winter' is not known"):
        found.of_wave("winter")


def test_more_invitations_than_the_plan_takes_are_refused_with_what_helps():
    rows = [answer(), answer(wave="2026Q2", invited_at="2026-05-04"), answer(), hand.staff_answer()]
    assert len(made(rows, hand.with_settings(max_rows=4)).rows) == 3
    with pytest.raises(MethodError) as caught:
        made(rows, hand.with_settings(max_rows=3))
    assert str(caught.value) == (
        "survey: 4 invitations in 2 waves, from 2026Q2 on; the plan analyses at most 3 at once. "
        "Set fewer [survey] waves, raise max_rows where the memory allows, or estimate from cells: "
        "survey.estimates.cells takes any number."
    )
    assert len(made(rows, hand.with_settings(max_rows=3, waves=1)).rows) == 2


def test_margins_are_looked_up_as_the_plan_says():
    rows = [
        answer(event_id="R1", customer_id="a"), answer(event_id="R2", customer_id="b"),
        answer(event_id="R2", touchpoint="delivery", customer_id="x"),
    ]  # fmt: skip
    day = pd.to_datetime(["2026-08-01", "2026-08-01"])
    orders = pd.DataFrame({
        "order_id": ["R1", "R2"], "wait_s": [1801.0, 1900.0], "is_comeback": [True, False],
        "opened_at": day, "opened_at_day": day,
    })  # fmt: skip
    customers = pd.DataFrame({"customer_id": ["a", "b"], "birth_year": [1971.0, 1990.0]})
    found = made(rows, service_orders=orders, customers=customers)
    assert found.rows["waited_long"].tolist() == ["yes", "yes", "no"]  # the delivery is no order
    assert found.rows["comeback"].tolist() == ["yes", "no", "no"]
    assert found.rows["age_band"].tolist() == ["35_54", "35_54", "unknown"]  # 2025 - 1971 = 54
    assert found.note["no_margin"] == ["complained"]


def test_a_design_that_the_export_lacks_is_said_and_a_half_given_one_refused():
    found = made([answer(base_weight=np.nan), answer(base_weight=np.nan)])
    assert found.note["no_design"] == ["base_weight", "psu", "stratum"]
    assert found.rows["base_weight"].tolist() == [1.0, 1.0]
    assert found.rows["psu"].nunique() == 2
    with pytest.raises(MethodError, match="base_weight: 1 of 2 invitations have none, first Q0001"):
        made([answer(), answer(base_weight=np.nan)])


def test_touchpoints_that_a_store_never_surveys_are_listed():
    rows = [
        answer(store_id=store, touchpoint=touchpoint)
        for store in hand.REGIONS for touchpoint in Instrument(PLAN).touchpoints
        if (store, touchpoint) != ("S2", "test_drive")
    ]  # fmt: skip
    found = coverage(made(rows))
    assert found.table[["unit", "touchpoint"]].values.tolist() == [["S2", "test_drive"]]  # noqa: PD011
    assert [(f.unit, f.rule) for f in found.findings] == [("S2", "survey_never:test_drive")]
    assert coverage(made(rows, regions={"S1": "North"})).table.empty


@pytest.fixture
def small():
    frames = dict(worlds.small())
    frames["survey_responses"] = frames["survey_responses"].assign(base_weight=2.0)
    yield frames
    frames.clear()


def test_both_engines_read_the_same_rows(small):
    one, two = (
        survey.load(make(small), worlds.PLAN, parse("2026Q3"), worlds.REGIONS,
                    as_of=worlds.AS_OF, tables=tuple(small))
        for make in worlds.ENGINES.values()
    )  # fmt: skip
    for first, second in ((one.rows, two.rows), (one.staff, two.staff)):
        times = dict.fromkeys(("invited_at", "responded_at"), "datetime64[s]")
        pd.testing.assert_frame_equal(first.astype(times), second.astype(times), check_dtype=False)
    assert len(one.rows) > 500
