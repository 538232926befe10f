"""The early-warning board, and findings in the order in which to act on them."""

import random
from datetime import date

import numpy as np
import pandas as pd
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from dealerqm.period import parse, span
from dealerqm.result import DIRECTIONS, SEVERITIES, UNIT_TYPES, Finding
from dealerqm.signals import Signals, board, rank
from dealerqm.spc import NO_NOTES, Notes, Rebase, collect


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


# ---------------------------------------------------------------- the early-warning board

PLAN = worlds.PLAN
QUARTER = parse("2026Q3")
MONTHS = [p.key for p in span(parse("2023-10"), parse("2026-09"))]
REGIONS = {f"S{i:02d}": f"R{(i - 1) // 4}" for i in range(1, 13)}
KPIS = ("waiting_time", "turnaround_time", "lead_contact_time", "parts_wait")


def noise(seed=2, kpis=KPIS):
    """Stable months of twelve stores: one matrix (months, stores) per KPI."""
    rng = np.random.default_rng(seed)
    return {kpi: 50 + rng.standard_normal((36, 12)) for kpi in kpis}


def months(matrices, *, n=100, complete=MONTHS[-1]):
    """The values of stores, and those of regions and group as their means."""
    frames = []
    for kpi, matrix in matrices.items():
        store = pd.DataFrame(matrix, index=MONTHS, columns=list(REGIONS))
        wide = {("store", unit): store[unit] for unit in store}
        wide |= {("region", r): store.loc[:, [s for s in store if REGIONS[s] == r]].mean(axis=1)
                 for r in set(REGIONS.values())}  # fmt: skip
        wide |= {("group", "group"): store.mean(axis=1)}
        for (kind, unit), values in wide.items():
            frames.append(pd.DataFrame({
                "kpi": kpi, "unit_type": kind, "unit": unit, "period": MONTHS, "n": n,
                "k": np.nan, "value": values.to_numpy(),
                "complete": [key <= complete for key in MONTHS],
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True).dropna(subset=["value"])


def judged(matrices, *, period=QUARTER, notes=NO_NOTES, plan=PLAN, **other):
    return board(collect(months(matrices, **other), plan, period), plan, period, REGIONS, notes)


def test_stable_boards_rarely_act():
    boards = [judged(noise(seed)) for seed in range(20)]
    acting = sum(found.table["level"].eq("act").any() for found in boards)
    assert acting <= 4  # at most one in twenty on average; five or more has a chance of 0.3 %
    watching = sum(found.table["level"].eq("watch").any() for found in boards)
    assert watching <= 9  # one in five on average; ten or more has a chance of 0.3 %


def test_a_quiet_board_says_how_many_false_alarms_to_expect():
    found = judged(noise())
    assert found.table["level"].eq("calm").all()
    assert found.findings == ()
    assert found.note["charts"] == 4 * (12 + 3 + 1)
    assert found.note["expected_false_alarms"] == 0.05


def test_a_shift_is_found_dated_and_measured():
    planted = noise()
    planted["waiting_time"][30:, 4] += 4
    found = judged(planted)
    row = worlds.one(found.table, kpi="waiting_time", unit="S05")
    assert (row["level"], row["shown"], row["direction"]) == ("act", "act", "worse")
    assert row["onset"] in MONTHS[29:32]
    assert MONTHS[28] <= row["onset_first"] <= MONTHS[30] <= row["onset_last"] <= MONTHS[32]
    assert row["size_low"] < 4 < row["size_high"]
    assert row["before"] == pytest.approx(50, abs=1)
    assert row["q_value"] <= 0.05
    assert row["assurance"] < 0.01  # the goal is 20 minutes
    (finding, *proposed) = found.findings
    assert (finding.rule, finding.severity, finding.kpi) == ("shift", "act", "waiting_time")
    assert finding.onset[0].isoformat()[:7] == row["onset"]
    assert [f.rule for f in proposed] == ["rebase_proposed"]
    others = found.table[found.table["unit"] != "S05"]
    assert others["level"].eq("calm").all()


def test_a_change_for_the_better_is_information():
    planted = noise()
    planted["waiting_time"][30:, 4] -= 4
    found = judged(planted)
    row = worlds.one(found.table, kpi="waiting_time", unit="S05")
    assert (row["level"], row["direction"]) == ("calm", "better")
    assert (found.findings[0].rule, found.findings[0].severity) == ("shift", "info")


def test_what_all_stores_share_is_named_once():
    planted = noise()
    planted["waiting_time"][30:] += 2.5
    found = judged(planted)
    acts = [f for f in found.findings if f.severity == "act"]
    assert [(f.unit_type, f.unit) for f in acts] == [("group", "group")]
    stores = worlds.rows(found.table, kpi="waiting_time", unit_type="store")
    assert stores["explained_by"].isin(["group", "R0", "R1", "R2"]).mean() > 0.8


def test_a_missing_quarter_is_unknown_and_never_calm():
    gone = noise()
    gone["waiting_time"][33:, 2] = np.nan
    row = worlds.one(judged(gone).table, kpi="waiting_time", unit="S03")
    assert (row["level"], row["shown"]) == ("unknown", "unknown")


def test_a_warning_stays_until_the_evidence_has_gone():
    planted = noise()
    planted["waiting_time"][24:33, 4] += 5  # back to normal in the reviewed quarter
    planted["waiting_time"][33:, 4] = np.nan
    row = worlds.one(judged(planted).table, kpi="waiting_time", unit="S05")
    assert (row["level"], row["shown"]) == ("unknown", "act")
    held = judged(planted).findings
    assert [(f.rule, f.unit) for f in held if f.rule == "held"] == [("held", "S05")]


def test_a_follow_up_kpi_is_judged_at_its_newest_complete_quarter():
    rng = np.random.default_rng(3)
    shares = {"first_time_fix": np.clip(0.9 + 0.02 * rng.standard_normal((36, 12)), 0, 1)}
    shares["first_time_fix"][27:, 6] -= 0.2
    found = judged(shares, n=300, complete="2026-05")
    row = worlds.one(found.table, kpi="first_time_fix", unit="S07")
    assert (row["until"], row["level"]) == ("2026-05", "act")
    assert row["onset"] == MONTHS[27]
    assert not found.table["level"].eq("unknown").any()


def test_a_refused_rebase_is_not_proposed_again_and_an_accepted_one_ends_the_alarm():
    planted = noise()
    planted["waiting_time"][22:, 4] += 4
    proposed = [f for f in judged(planted).findings if f.rule == "rebase_proposed"]
    assert [(f.unit, f.onset[0]) for f in proposed] == [("S05", date(2025, 8, 1))]
    for accepted in (False, True):
        note = Rebase("waiting_time", "S05", MONTHS[22], accepted, "new lift", "Ann", "2026-10-01")
        found = judged(planted, notes=Notes(rebases=(note,)))
        assert not [f for f in found.findings if f.rule == "rebase_proposed"]
        row = worlds.one(found.table, kpi="waiting_time", unit="S05")
        assert (row["level"] == "act") != accepted


def test_a_kpi_without_direction_is_watched_at_most():
    planted = noise(kpis=("discount_per_car", *KPIS))
    planted["discount_per_car"][30:, 4] += 5
    (finding,) = [f for f in judged(planted).findings if f.rule == "shift"]
    assert (finding.direction, finding.severity) == ("none", "watch")


def test_too_short_a_history_gives_no_board():
    short = {kpi: np.where(np.arange(36)[:, None] < 27, np.nan, m) for kpi, m in noise().items()}
    found = judged(short)
    assert found.table.empty
    assert found.note["charts"] == 0


@pytest.mark.parametrize("key", ["2026-09", "2026Q3", "2026"])
def test_the_board_serves_months_quarters_and_years(key):
    planted = noise()
    planted["waiting_time"][27 if key == "2026" else 33 :, 4] += 6
    found = judged(planted, period=parse(key))
    row = worlds.one(found.table, kpi="waiting_time", unit="S05")
    assert row["level"] == "act"


def test_the_order_of_rows_does_not_matter_on_the_board():
    planted = noise()
    planted["waiting_time"][30:, 4] += 4
    table = months(planted)
    turned = table.sample(frac=1, random_state=1)
    one, two = (
        board(collect(part, PLAN, QUARTER), PLAN, QUARTER, REGIONS).table
        for part in (table, turned)
    )
    pd.testing.assert_frame_equal(one, two)
