"""Doubtful answers and the weights that follow: hand-made rows, hostile input, planted truth."""

import numpy as np
import pandas as pd
import pytest
import survey_hand as hand
import survey_worlds
from survey_hand import answer, made, silent, with_settings

from dealerqm.errors import MethodError
from dealerqm.fieldwork import quality
from dealerqm.survey import scores

CALM = {"straight": "keep", "hurried": "keep", "duplicate": "keep", "coached": "keep"}
ONLY_CHANNEL = {"channel": {"column": "channel"}}


def varied(i, **changes):
    """An answer whose items are not all alike."""
    return answer(**{"price": 5.0, "overall": float(7 + i % 4), **changes})


def plan_with(margins=ONLY_CHANNEL, **weighting):
    return with_settings(margins=margins, weighting=weighting)


# ---------------------------------------------------------------- flags


def test_straight_lines_need_enough_items():
    five = dict.fromkeys(hand.ITEMS[:5], np.nan)
    rows = [answer(), answer(price=7), answer(**five), answer(recommend=3)]
    assert quality.flags(made(rows))["straight"].tolist() == [True, False, False, True]
    fewer = with_settings(quality={"straight_items": 5})
    assert quality.flags(made(rows, fewer))["straight"].tolist() == [True, False, True, True]


def test_hurried_is_measured_against_the_median_of_the_channel():
    rows = [varied(i, duration_s=200.0) for i in range(5)] + [varied(0, duration_s=59.0)]
    rows += [varied(i, channel="phone", duration_s=60.0) for i in range(5)]
    assert quality.flags(made(rows))["hurried"].tolist() == [False] * 5 + [True] + [False] * 5


def test_the_second_answer_about_one_event_is_the_duplicate():
    twice = {"customer_id": "a", "event_id": "R1"}
    rows = [
        varied(0, **twice, hours=30), varied(1, **twice, hours=2), silent(**twice),
        varied(2, customer_id="a", event_id="R2"), varied(3, **twice, touchpoint="complaint"),
    ]  # fmt: skip
    assert quality.flags(made(rows))["duplicate"].tolist() == [True, False, False, False, False]


def coached_rows():
    tens = dict.fromkeys(hand.ITEMS, 10.0)
    rows = [varied(i, staff_id=f"e{i % 10}", store_id=f"S{i % 3 + 1}") for i in range(100)]
    rows += [answer(staff_id="bad", duration_s=20.0, **tens)] * 6
    rows += [varied(i, staff_id="bad") for i in range(6)]
    return [*rows, answer(staff_id="e3", duration_s=20.0, **tens)]


def test_hurried_tens_are_coached_only_at_advisers_who_collect_them():
    found = made(coached_rows())
    marked = quality.flags(found)
    assert marked["coached"].sum() == 6
    assert set(found.rows.loc[marked["coached"], "staff_id"]) == {"bad"}
    told = quality.doubts(found, marked)
    row = told.table.query("flag == 'coached' and unit == 'group'").iloc[0]
    assert (row["n"], row["flagged"], row["treatment"]) == (113, 6, "drop")
    assert [(f.rule, f.unit) for f in told.findings] == [("survey_coached", "S1")]
    assert "bad" not in told.table.to_string()


def test_few_flagged_answers_of_a_store_are_not_counted_out():
    found = made([answer()] * 3 + [varied(i) for i in range(9)])
    store = quality.doubts(found, quality.flags(found)).table.query("unit == 'S1'")
    assert store["flag"].tolist() == ["straight"]
    assert store[["flagged", "share"]].isna().all(axis=None)


@pytest.mark.parametrize("seed", [2, 7])
def test_gaming_advisers_are_found_with_few_false_ones(seed):
    truth, found = survey_worlds.simulated(seed)
    marked = quality.flags(found)
    tens = marked["straight"] & marked["hurried"] & (found.rows["overall"] == 10)
    named = quality.advisers(found, tens.to_numpy()).query("named")["unit"]
    people = truth.base.team.people
    gaming = set(truth.base.team.ids[people["gaming"].to_numpy()])
    assert len(set(named) & gaming) >= 4
    assert len(set(named) - gaming) <= 1


# ---------------------------------------------------------------- weights


def sample(n=60):
    """Twice as many phone as SMS answers, phone happier, SMS silent more often."""
    rows = []
    for i in range(n):
        rows += [varied(i, channel="phone", overall=float(9 + i % 2))] * 2
        rows.append(varied(i, channel="sms", overall=float(7 + i % 3)))
        rows += [silent(channel="sms")] * 3
    return rows


def test_targets_are_met_and_the_answers_of_the_silent_count_more():
    wanted = hand.targets(channel={"phone": 1000, "sms": 3000})
    found = made(sample(), plan_with(), targets=wanted)
    weighted = quality.weigh(found)
    by = pd.Series(weighted.design.weights).groupby(weighted.rows["channel"]).sum()
    assert by.to_dict() == pytest.approx({"phone": 1000, "sms": 3000})
    one = scores.scores(weighted, by="group").table.iloc[0]
    assert (one["raw"], one["value"]) == pytest.approx((140 / 180, 0.25 + 0.75 / 3))
    assert weighted.gaps["gap"].abs().max() < 1e-6


def test_without_targets_those_who_answered_stand_for_their_class():
    found = made(sample(), plan_with())
    weighted = quality.weigh(found)
    assert weighted.note["no_targets"] == ["2026Q3"]
    by = pd.Series(weighted.design.weights).groupby(weighted.rows["channel"]).sum()
    assert by.to_dict() == pytest.approx({"phone": 120, "sms": 240})  # 60 answers for 240 asked
    assert scores.margins(weighted).table.empty


def test_pending_invitations_are_nobodys_silence():
    rows = [*sample(), *([silent(channel="sms", invited_at="2026-09-25")] * 60)]
    weighted = quality.weigh(made(rows, plan_with()))
    assert weighted.design.weights.sum() == pytest.approx(360)


def test_levels_with_few_answers_are_joined_and_said():
    rows = [*sample(), *[varied(i, channel="wechat") for i in range(3)]]
    wanted = hand.targets(channel={"phone": 100, "sms": 200, "wechat": 50})
    weighted = quality.weigh(made(rows, plan_with(), targets=wanted))
    assert weighted.note["joined_levels"] == ["2026Q3 channel: sms+wechat"]
    levels = weighted.gaps.set_index("level")["target"].to_dict()
    assert levels == {"phone": 100, "sms+wechat": 250}
    assert scores.margins(weighted).table["n"].tolist() == [120, 63]


def test_a_target_level_that_nobody_has_is_joined_and_said():
    wanted = hand.targets(channel={"phone": 100, "sms": 200, "wechat": 50})
    weighted = quality.weigh(made(sample(), plan_with(), targets=wanted))
    assert weighted.note["joined_levels"] == ["2026Q3 channel: sms+wechat"]
    found = scores.margins(weighted)
    assert found.table.set_index("level")["verdict"].to_dict() == {
        "phone": "met", "sms+wechat": "joined",
    }  # fmt: skip
    assert found.show("en")["Target"].tolist() == ["met", "met by joined levels"]
    assert found.show("zh")["是否达到总体目标"].tolist() == ["达到", "合并水平后达到"]


def test_a_margin_without_a_value_is_refused_by_name_or_is_a_level_of_its_own():
    rows = [*sample(), varied(0, channel=None), varied(1, channel=None)]
    wanted = {"phone": 100, "sms": 200}
    with pytest.raises(MethodError) as caught:
        quality.weigh(made(rows, plan_with(), targets=hand.targets(channel=wanted)))
    assert "wave 2026Q3: margin channel has no value in 2 answers, the first is Q0360" in str(
        caught.value
    )
    also = hand.targets(channel={**wanted, "unknown": 40})
    weighted = quality.weigh(made(rows, plan_with(level_answers=1), targets=also))
    assert set(weighted.gaps["level"]) == {"phone", "sms", "unknown"}


def zero_cell(**weighting):
    """Nobody was asked about a complaint by phone: two margins that cannot be met together."""
    both = {**ONLY_CHANNEL, "touchpoint": {"column": "touchpoint"}}
    rows = [varied(i, channel="phone") for i in range(20)]
    rows += [varied(i, channel="sms", touchpoint="complaint") for i in range(20)]
    wanted = hand.targets(
        channel={"phone": 20, "sms": 80}, touchpoint={"service": 80, "complaint": 20}
    )
    return made(rows, plan_with(both, **weighting), targets=wanted)


def test_an_unmet_target_is_refused_with_the_cell_the_merge_and_the_plan_s_keys():
    with pytest.raises(MethodError) as caught:
        quality.weigh(zero_cell())
    said = str(caught.value)
    assert said.startswith("survey weights, wave 2026Q3: raking: ")
    assert "targets unmet after" in said
    assert "Nobody is channel=" in said
    assert "Merge " in said
    assert "[survey.weighting] level_answers" in said


def test_an_unmet_target_that_the_plan_accepts_is_a_verdict_and_a_finding():
    weighted = quality.weigh(zero_cell(unmet="accept"))
    found, audit = scores.margins(weighted), scores.audit(weighted)
    assert found.note["verdict"] == "unmet"
    assert "not met" in found.show("en")["Target"].tolist()
    assert "未达到" in found.show("zh")["是否达到总体目标"].tolist()
    worst = found.table["gap"].abs().max()
    told = [(f.rule, f.value, f.expected) for f in found.findings]
    assert told == [("survey_gap", pytest.approx(worst), 0.01)]
    last = audit.table.set_index("step").loc["calibrated"]
    assert (last["gap"], last["verdict"]) == (pytest.approx(worst), "unmet")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"channel": {"phone": 100}},
         "wave 2026Q3: targets: channel=sms has 60 rows and no target"),
        ({"channel": {"phone": 100, "sms": 200}, "touchpoint": {"service": 500}},
         "wave 2026Q3: targets: channel sums to 300, touchpoint to 500"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_are_refused_by_name(wanted, message):
    both = {**ONLY_CHANNEL, "touchpoint": {"column": "touchpoint"}}
    with pytest.raises(MethodError, match=message):
        quality.weigh(made(sample(), plan_with(both), targets=hand.targets(**wanted)))


def test_negative_weights_and_nobody_at_all_are_refused():
    rows = [*sample(), varied(0, base_weight=-1.0)]
    with pytest.raises(MethodError, match="weights: 1 negative, the first in row"):
        quality.weigh(made(rows, plan_with()))
    with pytest.raises(MethodError, match="survey: nobody answered in 2026Q3"):
        quality.weigh(made([silent()] * 5, plan_with()))


def test_a_lonely_stratum_is_named_or_refused_as_the_plan_says():
    rows = [varied(i, psu=f"p{i}", stratum="big") for i in range(30)]
    rows += [varied(i, psu="alone", stratum="small", store_id="S2") for i in range(6)]
    weighted = quality.weigh(made(rows, plan_with()))
    assert weighted.note["lonely_strata"] == ["small"]
    assert weighted.note["lonely"] == "average"
    flag = scores.scores(weighted, by="group").table["flag"]
    assert flag.tolist() == ["lonely"]
    cautious = quality.weigh(made(rows, plan_with(lonely="adjust")))
    where = np.zeros(36, np.int64)
    assert scores.estimate(cautious, "overall", where).se > 0
    with pytest.raises(MethodError) as caught:
        quality.weigh(made(rows, plan_with(lonely="refuse")))
    said = str(caught.value)
    assert "survey weights: strata: 1 of 2 have one sampled unit, the first is 'small'" in said
    assert "[survey.weighting] lonely" in said


def test_a_store_whose_answers_were_all_dropped_says_so():
    tens = dict.fromkeys(hand.ITEMS, 10.0)
    rows = [varied(i, staff_id=f"e{i % 9}") for i in range(90)]
    rows += [answer(staff_id="bad", store_id="S2", duration_s=20.0, **tens)] * 10
    found = scores.scores(quality.weigh(made(rows, plan_with())))
    store = found.table.set_index("unit").loc["S2"]
    assert (store["state"], store["flag"]) == ("no_data", "no_weight")
    assert np.isnan(store["value"])
    assert "every answer was dropped or has weight 0" in found.show("en")["What limits it"].tolist()


def test_large_weights_are_cut_and_the_targets_met_again():
    rows = sample(100)
    for i in range(0, len(rows), 90):
        rows[i] = {**rows[i], "base_weight": 60.0}
    wanted = hand.targets(channel={"phone": 300, "sms": 300})
    found = quality.weigh(made(rows, plan_with(trim=3.0), targets=wanted))
    free = quality.weigh(made(rows, plan_with(trim=1000.0), targets=wanted))
    assert found.note["cut_weights"]["2026Q3"] > 0
    assert free.note["cut_weights"]["2026Q3"] == 0
    assert found.design.weights.max() < free.design.weights.max()
    assert found.gaps["gap"].abs().max() < 1e-6


def test_doubtful_answers_are_kept_or_dropped_as_asked():
    found = made(coached_rows(), plan_with())
    weighted = quality.weigh(found)
    assert weighted.note["dropped"] == {"duplicate": 0, "coached": 6}
    assert (weighted.design.weights[weighted.rows["coached"]] == 0).all()
    kept = quality.weigh(found, treat=CALM)
    assert (kept.design.weights > 0).all()
    assert weighted.rows.shape[0] == kept.rows.shape[0] == 113


def test_the_order_of_rows_does_not_matter():
    rows, wanted = sample(), hand.targets(channel={"phone": 1000, "sms": 3000})
    rows = [{**row, "customer_id": f"c{i}", "psu": f"p{i % 30}"} for i, row in enumerate(rows)]
    tables = [
        scores.scores(quality.weigh(made(part, plan_with(), targets=wanted)), by="channel").table
        for part in (rows, rows[::-1])
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-9)


def test_weights_bring_the_simulated_waves_nearer_to_the_truth():
    made_world, found = survey_worlds.simulated(2)
    biased = survey_worlds.biased(made_world)
    truth = survey_worlds.truth(made_world)
    truth = truth[~truth["store_id"].isin(biased)].groupby("quarter")[["good", "n"]].sum()
    closer = covered = 0
    for wave in found.quarters:
        weighted = quality.weigh(found, waves=[wave])
        assert weighted.told == biased
        fair = ~weighted.rows["store_id"].isin(biased)
        where = np.where(fair, 0, -1)
        raw, new = (scores.estimate(weighted, "overall", where, raw=r) for r in (True, False))
        right = truth.loc[wave, "good"] / truth.loc[wave, "n"]
        closer += abs(new.estimate[0] - right) < abs(raw.estimate[0] - right)
        covered += new.low[0] <= right <= new.high[0]
    assert closer >= 7  # of 8
    assert covered >= 6
