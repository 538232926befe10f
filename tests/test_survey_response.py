"""Response rates, gaps, answering that tells, low scores: by hand and against planted truth."""

import numpy as np
import pandas as pd
import pytest
import survey_hand as hand
import survey_worlds
from survey_hand import answer, made, silent, with_settings

from dealerqm.fieldwork import quality
from dealerqm.fieldwork.response import item_gaps, low_scores, response, telling


def group(result, **equal):
    table = result.table
    for name, value in {"unit": "group", **equal}.items():
        table = table[table[name] == value]
    return table.iloc[0]


# ---------------------------------------------------------------- who answered


def test_response_rates_are_those_of_aapor():
    gaps, few = (dict.fromkeys(hand.ITEMS[:n], np.nan) for n in (3, 7))
    rows = [answer()] * 6 + [answer(**gaps)] * 2 + [answer(**few)] + [silent()] * 11
    rows += [silent(invited_at="2026-09-25")] * 5
    row = group(response(made(rows)))
    assert row[["invited", "complete", "partial", "break_off", "none", "pending"]].tolist() == [
        25, 6, 2, 1, 11, 5,
    ]  # fmt: skip
    assert (row["strict"], row["value"]) == pytest.approx((6 / 20, 8 / 20))
    assert row["low"] < 0.4 < row["high"]


def test_units_with_few_invitations_are_suppressed_and_other_stores_left_out():
    rows = [answer()] * 6 + [answer(store_id="S2")] * 4 + [answer(store_id="S3")] * 7
    table = response(made(rows, regions={"S1": "North", "S2": "North"})).table
    stores = table[table["by"] == "store"].set_index("unit")
    assert list(stores.index) == ["S1", "S2"]
    assert stores.loc["S2", ["invited", "complete", "value", "low"]].isna().all()
    assert table.set_index("by").loc["group", "invited"] == 10


def test_an_item_left_out_too_often_is_named():
    rows = [answer()] * 8 + [answer(price=np.nan)] * 2
    found = item_gaps(made(rows))
    price = found.table.set_index("kpi").loc["price"]
    assert (price["asked"], price["answered"], price["weight"]) == (10, 8, pytest.approx(10))
    assert price["missing"] == pytest.approx(0.2)
    assert [f.rule for f in found.findings] == ["survey_item:price"]
    assert found.note["scaled_weights"] == []


# ---------------------------------------------------------------- answering that tells


@pytest.mark.parametrize("seed", [2, 7])
def test_the_stores_with_biased_silence_are_named_and_no_other(seed):
    truth, found = survey_worlds.simulated(seed)
    named = telling(found, quality.flags(found))
    table = named.table
    assert set(table.loc[table["named"], "unit"]) == survey_worlds.biased(truth)
    assert {f.unit for f in named.findings} == survey_worlds.biased(truth)
    assert (table.loc[table["named"], "correlation"] < 0).all()  # late answers are less satisfied
    assert all(f.direction == "worse" for f in named.findings)


def test_delay_and_score_are_compared_within_channel_and_wave():
    # phone answers come at once and are better: no sign of silence that depends on satisfaction
    rng = np.random.default_rng(1)
    rows = []
    for i in range(400):
        phone = i % 2 == 0
        rows.append(answer(
            channel="phone" if phone else "sms", hours=(1 if phone else 60) + rng.random(),
            overall=float(rng.choice([9, 10] if phone else [7, 9])), store_id=f"S{i % 3 + 1}",
        ))  # fmt: skip
    found = made(rows)
    table = telling(found, quality.flags(found)).table
    assert not table["named"].any()
    assert (table["early"] - table["late"]).abs().max() < 0.25


def test_too_few_answers_are_not_tested():
    found = made([answer(hours=h) for h in range(1, 9)])
    row = telling(found, quality.flags(found)).table.iloc[0]
    assert np.isnan(row["p_value"])
    assert not row["named"]


# ---------------------------------------------------------------- low scores


def contacts(*rows):
    names = ["customer_id", "at", "direction", "purpose", "outcome"]
    found = pd.DataFrame(rows, columns=names)
    return found.assign(at=pd.to_datetime(found["at"], format="mixed"))


def test_only_calls_for_the_purpose_and_in_time_count():
    rows = [answer(customer_id=f"a{i}", overall=4, invited_at="2026-08-03 10:00", hours=2)
            for i in range(6)]  # fmt: skip
    rows.append(answer(customer_id="young", overall=4, invited_at="2026-09-29 10:00"))
    rows.append(answer(customer_id="happy", overall=7))
    calls = contacts(
        ("a0", "2026-08-04", "out", "recovery", "solved"),
        ("a1", "2026-08-06 12:00", "out", "follow_up", "no_answer"),  # exactly 72 h
        ("a2", "2026-08-06 12:01", "out", "follow_up", "solved"),  # late, but solved
        ("a3", "2026-08-04", "out", "campaign", "solved"),
        ("a4", "2026-08-04", "in", "recovery", "solved"),
        ("a5", "2026-08-03 11:00", "out", "recovery", "solved"),  # before the answer
    )
    row = group(low_scores(made(rows, contacts=calls)))
    assert (row["n"], row["in_time"]) == (6, 2)
    assert (row["value"], row["solved"]) == pytest.approx((2 / 6, 2 / 6))


def test_the_score_afterwards_is_compared_with_regression_to_the_mean():
    rows, calls = [], []
    for i in range(40):  # nobody called: the next score is 5 + half of the one before
        before = 2.0 * (i % 5 + 1)
        for wave, score in (("2026Q2", before), ("2026Q3", 5 + before / 2)):
            day = "2026-05-04" if wave == "2026Q2" else "2026-08-03"
            rows.append(answer(customer_id=f"q{i}", overall=score, wave=wave, invited_at=day))
    for i in range(8):  # called: from 4 to 9, where 7 is expected
        for wave, day, score in (("2026Q2", "2026-05-04", 4), ("2026Q3", "2026-08-03", 9)):
            rows.append(answer(customer_id=f"z{i}", overall=score, wave=wave, invited_at=day))
        calls.append((f"z{i}", "2026-05-06", "out", "recovery", "solved"))
    found = low_scores(made(rows, contacts=contacts(*calls)))
    row = group(found)
    assert row["again"] == 8
    assert row[["before", "after", "expected", "effect"]].tolist() == pytest.approx([4, 9, 7, 2])
    assert row["effect_low"] <= 2 <= row["effect_high"]
    assert found.note["regression_slope"] == pytest.approx(0.5)
    left = found.note["not_contacted"]
    assert left["after"] > left["before"]  # better without anybody's doing


def test_without_contacts_nobody_was_called_and_the_note_says_so():
    found = low_scores(made([answer(overall=3)] * 6))
    assert group(found)["in_time"] == 0
    assert found.note["contacts"] is False
    few = low_scores(made([answer(overall=3)] * 4)).table.iloc[0]
    assert few[["n", "in_time", "value"]].isna().all()


def test_the_limit_is_the_plans():
    plan = with_settings(call_back={"score": 8, "within": "24h"})
    assert group(low_scores(made([answer()] * 6, plan)))["n"] == 6
