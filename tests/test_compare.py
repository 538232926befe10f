"""Two reports side by side."""

import json
import math

import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from dealerqm.compare import compare, read_facts
from dealerqm.errors import ParameterError
from dealerqm.stats.intervals import wilson

PLAN = worlds.PLAN


def fact(value, low, high, version="1"):
    return {"value": value, "low": low, "high": high, "version": version}


def share(k, n, version="1"):
    return fact(*(float(v) for v in wilson(k, n)), version)


def one(before, after):
    old = {} if before is None else {"satisfaction.S1": before}
    new = {} if after is None else {"satisfaction.S1": after}
    return compare(old, new, PLAN).table.iloc[0]


def test_change_of_a_share_is_newcombes():
    # R 4.2.2, Newcombe (1998) hybrid score: 56/70 against 48/80
    row = one(share(48, 80), share(56, 70))
    found = (row["change"], row["low"], row["high"])
    assert found == pytest.approx((0.2, 0.0524314724023651, 0.333872654036906), rel=1e-6)
    assert (row["before"], row["after"]) == (0.6, 0.8)
    assert (row["kpi"], row["unit"], row["outcome"]) == ("satisfaction", "S1", "beyond_noise")


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (fact(0.5, 0.4, 0.6), fact(0.55, 0.45, 0.65), "noise"),
        (fact(0.5, 0.4, 0.6), fact(0.9, 0.8, 1.0), "beyond_noise"),
        (fact(0.9, 0.8, 1.0), fact(0.5, 0.4, 0.6), "beyond_noise"),
        (fact(0.5, 0.4, 0.6), fact(0.9, 0.8, 1.0, "2"), "not_comparable"),
        (fact(None, None, None), fact(0.9, 0.8, 1.0, "2"), "not_comparable"),
        (fact(None, None, None), fact(0.9, 0.8, 1.0), "missing"),
        (fact(0.5, None, None), fact(0.9, 0.8, 1.0), "missing"),
        (None, fact(0.9, 0.8, 1.0), "missing"),
        (fact(0.5, 0.4, 0.6), None, "missing"),
        (fact(0.5, 0.5, 0.5), fact(0.5, 0.5, 0.5), "noise"),
    ],
)
def test_outcomes(before, after, outcome):
    row = one(before, after)
    assert row["outcome"] == outcome
    if outcome in ("not_comparable", "missing"):
        assert math.isnan(row["low"])
    if outcome == "not_comparable":
        assert math.isnan(row["change"])


def test_all_facts_of_both_reports_are_there_in_order():
    before = {"nps.S1": share(1, 9), "churn.group": share(2, 9)}
    after = {"nps.S1": share(1, 9), "a.S2.x": share(3, 9)}
    table = compare(before, after, PLAN).table
    assert list(zip(table["kpi"], table["unit"], strict=True)) == [
        ("a", "S2.x"), ("churn", "group"), ("nps", "S1"),
    ]  # fmt: skip


@given(st.integers(0, 30), st.integers(0, 30))
def test_turned_round_the_change_turns_its_sign(k1, k2):
    there, back = one(share(k1, 30), share(k2, 30)), one(share(k2, 30), share(k1, 30))
    assert there["change"] == pytest.approx(-back["change"], abs=1e-12)
    assert there["low"] == pytest.approx(-back["high"], abs=1e-12)
    assert there["outcome"] == back["outcome"]


def test_nothing_compared_with_nothing():
    found = compare({}, {}, PLAN)
    assert found.table.empty
    assert found.show("zh").empty


@pytest.mark.parametrize(("lang", "word"), [("en", "beyond noise"), ("zh", "超出噪声")])
def test_a_comparison_can_be_shown(lang, word):
    found = compare({"nps.S1": share(1, 90)}, {"nps.S1": share(80, 90)}, PLAN)
    shown = found.show(lang)
    assert word in shown.to_numpy()
    assert PLAN.kpi("nps").label[lang] in shown.to_numpy()


def test_facts_are_read_from_a_report_folder(tmp_path):
    facts = {"nps.S1": fact(0.5, 0.4, 0.6)}
    (tmp_path / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    assert read_facts(tmp_path) == facts


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "null", '{"nps": {}}', '{"nps.S1": 4}'])
def test_a_broken_file_is_one_message(tmp_path, content):
    (tmp_path / "facts.json").write_text(content, encoding="utf-8")
    with pytest.raises(ParameterError, match=r"facts.json is broken") as caught:
        read_facts(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_facts_says_what_to_name(tmp_path):
    with pytest.raises(ParameterError, match=r"found no facts.json; name a folder such as reports"):
        read_facts(tmp_path / "none")
