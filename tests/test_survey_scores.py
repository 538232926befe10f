"""Scores before and after weighting, changes, stores, drivers: by hand and by planted effects."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import survey_hand as hand
from survey_hand import answer, made, with_settings

from dealerqm.errors import ParameterError
from dealerqm.fieldwork import quality
from dealerqm.survey import explain, scores

FREE = with_settings(margins={"channel": {"column": "channel"}})
STORES = {f"S{i}": "North" if i % 2 else "South" for i in range(1, 9)}


def people(n, share, **changes):
    """So many answers, this share of them satisfied, items not all alike."""
    top = round(n * share)
    return [
        answer(overall=10.0 if i < top else 6.0, price=5.0, recommend=10.0 if i < top else 6.0,
               **changes)
        for i in range(n)
    ]  # fmt: skip


def weighted(rows, plan=FREE, **more):
    return quality.weigh(made(rows, plan, **more))


def row(result, unit):
    return result.table.set_index("unit").loc[unit]


# ---------------------------------------------------------------- scores


def test_scores_are_shares_net_promoters_and_points_by_any_subgroup():
    found = weighted([*people(20, 0.8), *people(20, 0.4, store_id="S2", channel="phone")])
    assert row(scores.scores(found), "S1")["raw"] == pytest.approx(0.8)
    assert row(scores.scores(found), "S2")["value"] == pytest.approx(0.4)
    assert row(scores.scores(found, "recommend"), "S1")["raw"] == pytest.approx(0.8 - 0.2)
    assert row(scores.scores(found, by="channel"), "phone")["n"] == 20
    index = row(scores.scores(found, "index", by="group"), "group")
    assert index["low"] <= index["value"] <= index["high"]
    assert index["value"] == pytest.approx(770)  # all items 8 but the price, a tenth, 5
    assert scores.scores(found, by="region").table["unit"].tolist() == ["North"]


def test_small_units_are_suppressed_or_called_few():
    rows = [*people(30, 0.5), *people(4, 1, store_id="S2"), *people(8, 1, store_id="S3")]
    table = scores.scores(weighted(rows)).table.set_index("unit")
    assert table["state"].tolist() == ["fine", "suppressed", "few"]
    assert table.loc["S2", ["n", "raw", "value", "low", "n_eff"]].isna().all()
    assert table.loc["S3", "value"] == 1.0
    assert table.loc["S3", "low"] < 0.75  # eight who agree are no certainty


def test_a_store_with_one_answer_and_constant_answers_give_no_false_certainty():
    rows = [*people(30, 0.5), *people(1, 1, store_id="S2"), *people(20, 1, store_id="S3")]
    table = scores.scores(weighted(rows)).table.set_index("unit")
    assert np.isnan(table.loc["S2", "value"])
    assert 0.7 < table.loc["S3", "low"] < 0.95
    score = scores.scores(weighted(rows), "recommend").table.set_index("unit")
    assert score.loc["S3", "low"] < 1


def test_one_sampling_unit_in_a_store_gives_no_interval():
    rows = [*people(30, 0.5), *[{**r, "psu": "one"} for r in people(10, 0.5, store_id="S2")]]
    rows = [{**r, "stratum": r["store_id"], "psu": r["psu"] or f"p{i}"} for i, r in enumerate(rows)]
    store = row(scores.scores(weighted(rows)), "S2")
    assert store["value"] == pytest.approx(0.5)
    assert np.isnan(store["low"])


def limits(rows, measure="recommend", **changes):
    """What limits the score of each store, as data and in both languages."""
    plan = replace(FREE, settings={**FREE.settings, "publication": {"k": 1}})
    found = scores.scores(weighted(rows, plan, **changes), measure)
    words = [found.show(lang).iloc[:, -1].tolist() for lang in ("en", "zh")]
    return found.table.set_index("unit"), words


def test_what_limits_a_score_is_said_in_words():
    rows = [{**r, "psu": f"p{i}"} for i, r in enumerate(people(30, 0.5))]
    rows += people(1, 1, store_id="S2", psu="q")
    rows += [{**r, "psu": f"r{i}"} for i, r in enumerate(people(8, 1, store_id="S3"))]
    rows += people(8, 0.5, store_id="S4", psu="one")  # a standard error of 0 without meaning
    table, (en, zh) = limits(rows, regions=dict.fromkeys(("S1", "S2", "S3", "S4"), "North"))
    assert table["flag"].tolist() == ["fine", "one_answer", "constant", "one_psu"]
    assert table.loc[["S2", "S4"], ["low", "high"]].isna().all(axis=None)
    assert table.loc["S3", "low"] < 1
    assert en == [
        "nothing", "one answer: no interval",
        "all answers alike: interval from their number alone", "one sampling unit: no interval",
    ]  # fmt: skip
    assert zh[0] == "无"
    assert zh[1:] == [
        "仅一份答复，无法给出区间", "答复完全相同，区间仅由答复数得出",
        "仅一个抽样单元，无法给出区间",
    ]  # fmt: skip


@pytest.mark.parametrize("measure", ["overall", "recommend", "index"])
def test_units_that_are_alone_in_their_strata_have_no_interval(measure):
    rows = [{**r, "psu": f"p{i}", "stratum": f"h{i}"} for i, r in enumerate(people(8, 0.5))]
    table, (en, _) = limits(rows, measure)
    assert table.loc["S1", "flag"] == "no_freedom"
    assert table.loc["S1", ["low", "high"]].isna().all()
    assert en == ["one sampling unit in every stratum: the error cannot be told"]


def test_a_withheld_score_does_not_tell_how_few_answered():
    rows = [*people(30, 0.5), *people(1, 1, store_id="S2"), *people(4, 1, store_id="S3")]
    table = scores.scores(weighted(rows)).table.set_index("unit")
    assert table.loc[["S2", "S3"], "flag"].tolist() == ["withheld", "withheld"]


def test_the_plan_says_below_how_many_answers_an_interval_is_made_for_few():
    rows = [{**r, "psu": f"p{i // 4}"} for i, r in enumerate(people(60, 0.8))]
    ends = []
    for small in (100, 10):
        plan = with_settings(margins=FREE.settings["survey"]["margins"], small_n=small)
        for measure in ("overall", "recommend"):
            found = scores.scores(weighted(rows, plan), measure).table.iloc[0]
            ends.append((found["low"], found["high"]))
    assert ends[0] != ends[2]
    assert ends[1] != ends[3]


def test_unknown_items_subgroups_and_waves_are_named():
    found = weighted(people(20, 0.5))
    with pytest.raises(ParameterError, match=r"item: 'overal' is not known. Nearest: overall"):
        scores.scores(found, "overal")
    with pytest.raises(ParameterError, match=r"subgroup: 'chanel' is not known. Nearest: channel"):
        scores.scores(found, by="chanel")
    with pytest.raises(ParameterError, match="wave: '2020Q1' is not known"):
        scores.scores(found, wave="2020Q1")


def test_the_audit_shows_every_step_and_the_choice_about_doubtful_answers():
    tens = dict.fromkeys(hand.ITEMS, 10.0)
    rows = [r | {"staff_id": f"e{i % 9}", "channel": "phone" if i % 3 else "sms"}
            for i, r in enumerate(people(90, 0.5))]  # fmt: skip
    rows += [answer(staff_id="bad", duration_s=20.0, **tens)] * 10
    found = quality.weigh(made(rows, FREE, targets=hand.targets(channel={"phone": 50, "sms": 50})))
    table = scores.audit(found).table.set_index("step")
    assert list(table.index) == [
        "answers", "design_weights", "response_classes", "calibrated", "with_doubtful",
        "without_any_doubt", "without_telling",
    ]  # fmt: skip
    assert table.loc["answers", "value"] == pytest.approx(55 / 100)
    assert table.loc["design_weights", "value"] == pytest.approx(45 / 90)
    assert table.loc["with_doubtful", "value"] > table.loc["calibrated", "value"]
    assert table["n"].tolist() == [100, 90, 90, 90, 100, 90, 90]
    assert table["verdict"].tolist()[2:6] == ["unmet", "met", "met", "met"]
    # 60 of 90 good answers came by phone, half of the population did; all 10 others too by SMS
    assert table.loc["design_weights", "gap"] == pytest.approx(1 / 3)
    assert table.loc["calibrated", "gap"] == pytest.approx(0, abs=1e-9)


def test_margins_show_who_answered_and_who_did_not():
    rows = [*people(30, 0.5, channel="phone"), *people(10, 0.5)]
    found = weighted(rows, targets=hand.targets(channel={"phone": 100, "sms": 300}))
    table = scores.margins(found).table.set_index("level")
    assert table.loc["sms", ["raw", "weighted", "target", "gap"]].tolist() == pytest.approx(
        [0.25, 0.75, 0.75, 0]
    )


def test_channels_are_compared_like_with_like():
    # complaints come by phone and are unhappy; within each touchpoint the channels agree
    rows = []
    for touchpoint, share, calls in (("service", 0.8, 20), ("complaint", 0.2, 80)):
        for channel, n in (("phone", calls), ("sms", 100 - calls)):
            rows += people(n, share, channel=channel, touchpoint=touchpoint)
    found = scores.modes(made(rows))
    phone = row(found, "phone")
    assert phone["value"] == pytest.approx(0.32)
    assert phone["gap"] == pytest.approx(0)
    assert not found.table["named"].any()
    better = [*rows, *people(100, 1.0, channel="wechat")]
    named = scores.modes(made(better))
    assert row(named, "wechat")["named"]
    assert "survey_mode:wechat" in [f.rule for f in named.findings]


# ---------------------------------------------------------------- changes


def two_waves(shares, n=40, **changes):
    rows = []
    for (wave, day), share in zip(
        (("2026Q2", "2026-05-04"), ("2026Q3", "2026-08-03")), shares, strict=True
    ):
        rows += people(n, share, wave=wave, invited_at=day, **changes)
    return rows


def test_a_real_change_is_told_and_a_small_one_is_not():
    rows = [*two_waves((0.9, 0.3)), *two_waves((0.6, 0.65), store_id="S2")]
    found = explain.changes(weighted(rows))
    assert row(found, "S1")["value"] == pytest.approx(-0.6)
    assert row(found, "S1")["beyond"]
    assert not row(found, "S2")["beyond"]
    assert ("change_wave", "S1", "worse") in [(f.rule, f.unit, f.direction) for f in found.findings]
    assert found.note["stores_in_both"] == 2


def test_stores_in_both_waves_lend_their_covariance():
    # eight stores far apart, each a little better: stores are the sampling units
    rows = []
    for i, store in enumerate(STORES):
        level = 0.2 + 0.08 * i
        rows += two_waves((level, level + 0.1), n=40, store_id=store, psu=store)
    found = explain.changes(weighted(rows, regions=STORES), by="group")
    group = row(found, "group")
    assert group["shared"] == 8
    assert group["p_value"] < 0.01 < group["independent_p"]
    assert found.note["stores_as_units_p"] == pytest.approx(group["p_value"], rel=0.2)
    assert found.note["stores_forgotten_p"] > 0.1


def test_stores_whose_customers_agree_have_changes_with_intervals():
    rows = [*two_waves((1.0, 1.0)), *two_waves((1.0, 1.0), store_id="S2", n=6)]
    table = explain.changes(weighted(rows)).table.set_index("unit")
    assert table.loc["S2", "low"] < -0.2 < 0.2 < table.loc["S2", "high"]
    assert table.loc["S2", "p_value"] > 0.9


def test_one_wave_has_no_change_and_few_answers_are_suppressed():
    assert explain.changes(weighted(people(20, 0.5))).table.empty
    rows = [*two_waves((0.9, 0.3)), *two_waves((0.5, 0.5), n=4, store_id="S2")]
    assert np.isnan(row(explain.changes(weighted(rows)), "S2")["value"])


# ---------------------------------------------------------------- stores


def store_rows(shares, n=60):
    return [r for store, share in shares.items() for r in people(n, share, store_id=store)]


def test_a_store_that_differs_is_named_and_the_others_are_not():
    shares = dict.fromkeys(STORES, 0.8) | {"S4": 0.35, "S2": 0.85}
    found = explain.stores(weighted(store_rows(shares), regions=STORES))
    table = found.table.set_index("unit")
    assert table.loc["S4", "state"] == "worse"
    assert (table.drop("S4")["state"] == "alike").all()
    assert [(f.rule, f.unit, f.direction) for f in found.findings] == [
        ("store_differs", "S4", "worse")
    ]
    assert table.loc["S4", "value"] > 0.35  # drawn towards the others
    assert table.loc["S4", ["rank_low", "rank_high"]].tolist() == [8, 8]
    assert (table["rank_low"] <= table["rank"]).all()
    assert table.loc["S1", "funnel_low"] < 0.75 < table.loc["S1", "funnel_high"]


def test_gaps_smaller_than_the_plan_s_name_nobody():
    shares = dict.fromkeys(STORES, 0.8) | {"S4": 0.77}
    found = explain.stores(weighted(store_rows(shares, n=2000), regions=STORES))
    assert (found.table["state"] == "alike").all()
    strict = with_settings(margins={}, outlier_gap=0.0)
    named = explain.stores(weighted(store_rows(shares, n=2000), strict, regions=STORES))
    assert named.table.set_index("unit").loc["S4", "state"] == "worse"


def test_stores_too_few_to_compare_are_shown_alone():
    found = explain.stores(weighted(store_rows({"S1": 0.9, "S2": 0.2, "S3": 0.5})))
    assert found.table["value"].isna().all()
    assert found.table["raw"].notna().all()
    assert found.findings == ()
    alike = explain.stores(weighted(store_rows(dict.fromkeys(STORES, 1.0)), regions=STORES))
    assert (alike.table["state"] == "alike").all()  # all customers of all stores agree


# ---------------------------------------------------------------- drivers


def driven(rng, n, wave="2026Q3", day="2026-08-03"):
    """Answers whose overall score follows the service, a little the price, and nothing else."""
    rows = []
    for _ in range(n):
        scores_ = {name: float(rng.integers(4, 11)) for name in hand.ITEMS}
        good = 0.6 * scores_["service"] + 0.3 * scores_["price"] + rng.normal(0, 0.5)
        rows.append(answer(**{**scores_, "overall": float(np.clip(round(good + 1), 1, 10))},
                           wave=wave, invited_at=day))  # fmt: skip
    return rows


def test_drivers_are_those_that_were_planted():
    rng = np.random.default_rng(3)
    rows = driven(rng, 300) + driven(rng, 300, "2026Q2", "2026-05-04")
    found = explain.drivers(weighted(rows), touchpoint="service")
    table = found.table.set_index("kpi")
    assert list(table.index[:2]) == ["service", "price"]
    assert table.loc["service", "low"] > table.loc["price", "high"]
    assert table["value"].sum() == pytest.approx(1)
    assert table.drop(["service", "price"])["value"].max() < 0.05
    assert found.note["r2"] > 0.8
    assert (table["q_value"] > 0.01).all()  # the same in both waves
    assert not table["collinear"].any()
    everywhere = explain.drivers(weighted(rows))
    assert everywhere.note["left_out"] == ["after_sales"]


def test_items_that_measure_the_same_are_called_collinear():
    rng = np.random.default_rng(4)
    rows = [{**r, "attitude": r["service"]} for r in driven(rng, 200)]
    table = explain.drivers(weighted(rows)).table.set_index("kpi")
    assert table.loc[["service", "attitude"], "collinear"].all()
    assert table.loc["service", "value"] == pytest.approx(table.loc["attitude", "value"])
    assert table["change"].isna().all()  # a single wave


def test_straight_lined_answers_say_nothing_about_items():
    rng = np.random.default_rng(5)
    rows = driven(rng, 200)
    lines = [answer(**dict.fromkeys(hand.ITEMS, float(v))) for v in rng.integers(1, 11, 200)]
    found = explain.drivers(weighted([*rows, *lines]))
    assert found.note["answers"] == 200
    alone = explain.drivers(weighted(rows))
    for column in ("kpi", "value", "performance", "vif"):
        pd.testing.assert_series_equal(found.table[column], alone.table[column])
