"""Findings in the order in which a reader should act on them."""

import random
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm.result import DIRECTIONS, SEVERITIES, UNIT_TYPES, Finding
from dealerqm.signals import Signals, rank


def finding(severity="watch", direction="worse", unit_type="store", **other):
    fields = {
        "quarter": "2026Q3", "subject": "kpi", "rule": "goal_missed", "kpi": "nps", "unit": "S1",
        "period_start": date(2026, 7, 1), "period_end": date(2026, 9, 30), "value": 0.1,
    }  # fmt: skip
    return Finding(
        severity=severity, direction=direction, unit_type=unit_type, **{**fields, **other}
    )


FINDINGS = st.lists(
    st.builds(
        finding, severity=st.sampled_from(SEVERITIES), direction=st.sampled_from(DIRECTIONS),
        unit_type=st.sampled_from(UNIT_TYPES), kpi=st.sampled_from("ab"),
        unit=st.sampled_from("xy"), rule=st.sampled_from(["p", "q"]),
    ),
    max_size=15,
)  # fmt: skip


def test_act_before_watch_bad_before_good_wide_before_narrow():
    ordered = [
        finding("act", "worse", "group"), finding("act", "worse", "region"),
        finding("act", "worse", "store"), finding("act", "none", "group"),
        finding("act", "better", "group"), finding("watch", "worse", "group"),
        finding("watch", "better", "group"), finding("info", "worse", "store"),
        finding("info", "better", "store", kpi="a"), finding("info", "better", "store", kpi="b"),
        finding("info", "better", "store", kpi="b", unit="S2"),
        finding("info", "better", "store", kpi="b", unit="S2", rule="z"),
    ]  # fmt: skip
    turned = ordered.copy()
    random.Random(4).shuffle(turned)
    assert turned != ordered
    assert list(rank(turned, {}).findings) == ordered


@given(FINDINGS, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_given(findings, generator):
    turned = findings.copy()
    generator.shuffle(turned)
    one, two = rank(findings, {}), rank(turned, {})
    assert [f.finding_id for f in one.findings] == [f.finding_id for f in two.findings]
    assert one.table.equals(two.table)


@given(FINDINGS)
def test_every_finding_is_one_row(findings):
    found = rank(findings, {"expected_false_alarms": 2.5})
    assert found.table["finding_id"].tolist() == [f.finding_id for f in found.findings]
    assert sorted(f.finding_id for f in findings) == sorted(found.table["finding_id"])
    assert found.note["expected_false_alarms"] == 2.5


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_signals_can_be_shown(lang):
    words = {"nps": {"label": {"en": "NPS", "zh": "净推荐值"}, "measure": "score", "unit": ""}}
    found = rank([finding(), finding("info", "better", "group", unit="group")], {"kpis": words})
    shown = found.show(lang)
    assert shown.shape == (2, len(Signals.COLUMNS))
    assert words["nps"]["label"][lang] in shown.to_numpy()


def test_no_findings_are_an_empty_list():
    found = rank([], {})
    assert found.findings == ()
    assert list(found.table.columns) == list(Signals.COLUMNS)
    assert found.show("en").empty
