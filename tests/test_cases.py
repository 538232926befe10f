"""Alert cases: every alarm has one, nothing is doubled, and no action is called good unseen."""

from datetime import date, timedelta
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm import labels, period, plan
from dealerqm.cases import STATUS, Cases, Look, case_list, looked, open_cases
from dealerqm.errors import PlanError, RegisterError
from dealerqm.registers import Register, Scope
from dealerqm.result import Finding
from dealerqm.signals import Board
from dealerqm.stats import survival

PLAN = plan.load()
DAYS = PLAN.settings["warning"]["case_due_days"]
CHART = ("closing_rate", "store", "S09")
OTHER = ("nps", "group", "group")
BY = "dealerqm review"


def finding(quarter="2026Q3", chart=CHART, severity="act", direction="worse", **rest):
    place = period.parse(quarter)
    return Finding(
        quarter=quarter, subject=rest.pop("subject", "spc"), rule=rest.pop("rule", "changed"),
        kpi=chart[0], unit_type=chart[1], unit=chart[2], period_start=place.start,
        period_end=place.end, severity=severity, direction=direction, **rest,
    )  # fmt: skip


def dated(day, **rest):
    return finding(onset=(day, day - timedelta(20), day + timedelta(20)), **rest)


def calm(quarter, charts):
    """The board found these charts calm."""
    start = period.parse(quarter).start
    return {chart: Look("calm", start) for chart in charts}


def review(register, quarter, findings, *, as_of=None, looks=None):
    """The cases of a period as a review lists and writes them."""
    place = period.parse(quarter)
    day = as_of or place.end + timedelta(days=7)
    looks = calm(quarter, (CHART, OTHER)) if looks is None else looks
    cases = case_list(register.state("alert_case"), findings, place, day, PLAN, looks=looks)
    written = open_cases(register, cases, day, BY)
    again = case_list(register.state("alert_case"), findings, place, day, PLAN, looks=looks)
    assert again.table.equals(cases.table) and again.note == cases.note
    assert open_cases(register, again, day, BY).empty
    return cases, written


def states(cases):
    return dict(zip(cases.table["case"], cases.table["status"], strict=True))


@pytest.fixture
def register(tmp_path):
    return Register(tmp_path / "state.sqlite")


def say(register, case="closing_rate/S09/2026Q3", **fields):
    register.append("alert_case", case, fields, at="2026-12-01", by="Li", why="case work")


def test_no_findings_are_no_cases_and_no_file(register):
    cases, written = review(register, "2026Q3", [])
    assert cases.table.empty and written.empty and not register.path.exists()
    assert list(cases.table.columns) == list(Cases.COLUMNS)
    assert cases.note["days_to_action"] == {"estimate": None, "low": None, "high": None}
    assert (cases.note["open"], cases.note["overdue"]) == (0, 0)


def test_every_act_finding_has_a_case_and_one_chart_has_one(register):
    found = [finding(rule="a"), finding(rule="b"), finding(chart=OTHER, subject="kpi"),
             finding(severity="watch", chart=("nps", "store", "S01"))]  # fmt: skip
    cases, written = review(register, "2026Q3", found)
    assert states(cases) == {"closing_rate/S09/2026Q3": "new", "nps/group/2026Q3": "new"}
    assert len(written) == 2 and set(written["by"]) == {BY}
    assert set(written["at"]) == {"2026-10-07"} and set(written["why"]) == {"alarm of 2026Q3"}
    row = register.state("alert_case").set_index("key").loc["closing_rate/S09/2026Q3"]
    assert row["due_on"].date() == date(2026, 10, 7) + timedelta(DAYS)
    assert row["finding"] == ", ".join(sorted(f.finding_id for f in found[:2]))
    assert cases.findings == tuple(found[:3])
    assert cases.table["since"].tolist() == [6, 6]


def test_an_open_case_is_continued_not_doubled(register):
    review(register, "2026Q2", [finding("2026Q2")])
    for quarter in ("2026Q3", "2026Q2", "2026-08", "2026W40"):
        _, written = review(register, quarter, [finding(quarter)])
        assert written.empty
    assert len(register.state("alert_case")) == 1


@pytest.mark.parametrize(
    ("closed", "quarter", "onset", "opens"),
    [
        ("2026-11-10", "2026Q3", None, False),  # known when it was closed
        ("2026-11-10", "2026Q4", None, True),
        ("2026-11-10", "2026Q4", date(2026, 8, 1), False),  # the change that was looked into
        ("2026-11-10", "2026Q4", date(2026, 11, 20), True),
        ("2026-11-10", "2027Q1", date(2026, 8, 1), True),  # still alarming a whole period later
        ("2026-11-10", "2026Q2", None, False),
        ("2026-12-31", "2026Q4", None, True),  # its last day was not known yet
    ],
)
def test_a_new_change_after_the_end_of_a_case_opens_another(
    register, closed, quarter, onset, opens
):
    review(register, "2026Q3", [finding()])
    say(register, cause="one large fleet order", closed_on=closed)
    found = finding(quarter) if onset is None else dated(onset, quarter=quarter)
    cases, written = review(register, quarter, [found], as_of=date(2027, 4, 7))
    assert len(written) == opens
    if opens:
        assert states(cases)[f"closing_rate/S09/{quarter}"] == "new"


def test_a_second_case_of_one_quarter_has_a_number(register):
    review(register, "2026-07", [finding("2026-07")])
    say(register, cause="a typing error", closed_on="2026-08-05")
    cases, _ = review(register, "2026-09", [finding("2026-09")])
    assert set(states(cases)) == {"closing_rate/S09/2026Q3", "closing_rate/S09/2026Q3/2"}
    assert sorted(cases.table["opened"]) == ["2026-07", "2026-09"]


def test_status_follows_what_people_wrote(register):
    review(register, "2026Q3", [finding()])

    def status(as_of=date(2026, 10, 20)):
        return states(review(register, "2026Q3", [finding()], as_of=as_of)[0]).popitem()[1]

    late = date(2026, 10, 7) + timedelta(DAYS + 1)
    assert (status(), status(late)) == ("new", "overdue")
    say(register, seen_by="Wang")
    assert status() == "seen"
    say(register, corrective_action="second adviser on Saturdays", owner="Wang")
    assert (status(), status(late)) == ("planned", "overdue")
    assert status(late - timedelta(1)) == "planned"  # the day it is due is not late
    say(register, done_on="2026-10-18")
    assert (status(), status(late)) == ("done", "done")
    assert status(date(2026, 10, 17)) == "planned"  # not done yet on that day
    say(register, closed_on="2026-10-20")
    assert status() == "closed"


DONE = {"corrective_action": "second adviser", "done_on": "2026-10-20"}


LATE = date(2026, 8, 1)


@pytest.mark.parametrize(
    ("quarter", "later", "look", "effect"),
    [
        ("2027Q1", [], "calm", "verified"),
        ("2027Q1", [finding("2027Q1", severity="act", direction="better")], "calm", "verified"),
        ("2027Q1", [finding("2027Q1", severity="info")], "calm", "verified"),
        ("2027Q1", [finding("2027Q1")], "calm", "not_effective"),
        ("2027Q1", [finding("2027Q1")], None, "not_effective"),
        ("2027Q1", [], "act", "not_effective"),  # named as part of its region's change
        ("2027Q1", [finding("2027Q1", severity="watch", rule="a"), finding("2027Q1")], "calm",
         "not_effective"),
        ("2027Q1", [finding("2027Q1", severity="watch")], "calm", "cannot_tell"),
        ("2027Q1", [finding("2027Q1", rule="held")], "calm", "cannot_tell"),
        ("2027Q1", [], "watch", "cannot_tell"),
        ("2027Q1", [], "unknown", "cannot_tell"),
        ("2027Q1", [], None, "cannot_tell"),  # nobody looked: no news is no good news
        ("2027Q1", [], LATE, "cannot_tell"),  # a KPI that waits for its events: data of before
        ("2027Q1", [finding("2027Q1")], LATE, "cannot_tell"),
        ("2026Q4", [], "calm", "cannot_tell"),  # the action fell into this quarter
        ("2026-12", [], "calm", "cannot_tell"),  # shorter than what raised the alarm
        ("2027", [], "calm", "verified"),
    ],
)  # fmt: skip
def test_a_done_case_is_judged_on_later_data_only(register, quarter, later, look, effect):
    review(register, "2026Q3", [finding()])
    say(register, **DONE)
    start = look if isinstance(look, date) else period.parse(quarter).start
    looks = {CHART: Look("calm" if look is LATE else look, start)} if look else {}
    cases, written = review(register, quarter, later, looks=looks)
    row = cases.table.set_index("case").loc["closing_rate/S09/2026Q3"]
    told = effect != "cannot_tell"
    assert (row["verified"], row["status"]) == (effect, effect if told else "done")
    assert written["why"].tolist() == ([f"judged on the data of {quarter}"] if told else [])
    assert set(cases.table["case"]) == {"closing_rate/S09/2026Q3"}


def test_what_the_board_says_is_dated_by_its_newest_points():
    rows = [(*CHART, "act", "2026-09"), (*OTHER, "calm", "2026-05"), ("nps", "store", "S01",
            "unknown", "")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["kpi", "unit_type", "unit", "level", "until"])
    board = Board(frame=table.reindex(columns=list(Board.COLUMNS)))
    assert looked(board, period.parse("2026Q3")) == {
        CHART: Look("act", date(2026, 7, 1)), OTHER: Look("calm", date(2026, 3, 1)),
        ("nps", "store", "S01"): Look("unknown", date(2026, 7, 1)),
    }  # fmt: skip
    assert looked(board, period.parse("2026-09"))[CHART].start == date(2026, 9, 1)


def test_a_warning_that_is_only_held_up_opens_no_second_case(register):
    held = [finding("2027Q1", rule="held")]
    review(register, "2026Q3", [finding()])
    say(register, cause="one order", closed_on="2026-10-20")
    assert review(register, "2027Q1", held)[1].empty
    assert len(review(register, "2027Q1", [finding("2027Q1", OTHER, rule="held")])[1]) == 1


def test_an_unfinished_period_verifies_nothing(register):
    review(register, "2026Q3", [finding()])
    say(register, **DONE)
    cases, _ = review(register, "2027Q1", [], as_of=date(2027, 3, 30))
    assert states(cases) == {"closing_rate/S09/2026Q3": "done"}


def test_what_was_verified_stays_and_the_next_alarm_opens_a_new_case(register):
    review(register, "2026Q3", [finding()])
    say(register, **DONE)
    review(register, "2027Q1", [])
    cases, written = review(register, "2027Q2", [finding("2027Q2")])
    assert states(cases) == {
        "closing_rate/S09/2027Q2": "new", "closing_rate/S09/2026Q3": "verified",
    }  # fmt: skip
    assert len(written) == 1


def test_what_failed_goes_on_until_another_action_works(register):
    review(register, "2026Q3", [finding()])
    say(register, **DONE)
    review(register, "2027Q2", [finding("2027Q2")])
    for rerun in ("2027Q1", "2026Q4", "2026Q3"):  # an older period cannot undo it
        cases, written = review(register, rerun, [], as_of=date(2027, 7, 7))
        assert states(cases).popitem()[1] == "not_effective" and written.empty
    say(register, corrective_action="another layout", done_on="2027-07-20")
    cases, _ = review(register, "2027Q3", [])
    assert states(cases).popitem()[1] == "done"
    cases, _ = review(register, "2027Q4", [])
    assert states(cases) == {"closing_rate/S09/2026Q3": "verified"}


def test_nothing_after_the_date_of_the_data_is_used(register):
    review(register, "2026Q3", [finding()])
    say(register, **DONE)
    review(register, "2027Q1", [], as_of=date(2027, 4, 7))
    cases, written = review(register, "2026Q2", [], as_of=date(2026, 6, 30))
    assert cases.table.empty and written.empty
    cases, _ = review(register, "2026Q3", [finding()], as_of=date(2026, 10, 7))
    row = cases.table.iloc[0]
    assert (row["status"], row["since"]) == ("planned", 6) and row[["done_on"]].isna().all()


def test_the_median_counts_open_cases_as_not_yet_done(register):
    days = [10, 20, 30, None, None]
    for number, length in enumerate(days):
        unit = f"S{number + 1:02d}"
        chart = ("closing_rate", "store", unit)
        review(register, "2026Q3", [finding(chart=chart)])
        if length is not None:
            done = date(2026, 10, 1) + timedelta(length)
            say(register, f"closing_rate/{unit}/2026Q3", corrective_action="x", done_on=done)
    cases, _ = review(register, "2026Q4", [], as_of=date(2027, 1, 1), looks={})
    wanted = survival.quantile([10, 20, 30, 92, 92], [1, 1, 1, 0, 0], [1] * 5, 0.5)
    assert float(wanted.estimate) == 30  # the mean of the finished ones would be 20
    assert cases.note["days_to_action"] == {
        name: None if np.isnan(value) else float(value) for name, value in wanted._asdict().items()
    }
    assert cases.note["days_to_action"]["high"] is None
    assert (cases.note["open"], cases.note["overdue"]) == (5, 2)
    assert cases.note["states"] == {**dict.fromkeys(STATUS, 0), "overdue": 2, "done": 3}


def test_a_case_closed_without_action_is_censored_and_early_action_is_day_0(register):
    review(register, "2026Q3", [finding(), finding(chart=OTHER)])
    say(register, cause="wrong alarm", closed_on="2026-10-11")
    say(register, "nps/group/2026Q3", corrective_action="x", done_on="2026-09-20")
    cases, _ = review(register, "2026Q3", [], as_of=date(2026, 12, 31))
    assert cases.note["days_to_action"]["estimate"] == 0
    assert cases.table.set_index("case").loc["closing_rate/S09/2026Q3", "since"] == 10


def test_a_closed_case_tells_nothing_of_the_days_after(register):
    charts = [("closing_rate", "store", f"S{n:02d}") for n in range(1, 4)]
    review(register, "2026Q3", [finding(chart=chart) for chart in charts])
    say(register, "closing_rate/S01/2026Q3", corrective_action="x", done_on="2026-10-21")
    for unit in ("S02", "S03"):
        say(register, f"closing_rate/{unit}/2026Q3", cause="x", closed_on="2026-10-06")
    cases, _ = review(register, "2026Q3", [], as_of=date(2026, 12, 31))
    assert cases.note["days_to_action"]["estimate"] == 20


def test_overdue_and_failed_cases_stand_first(register):
    charts = [("closing_rate", "store", f"S{n:02d}") for n in range(1, 5)]
    review(register, "2026Q3", [finding(chart=chart) for chart in charts])
    say(register, "closing_rate/S02/2026Q3", due_on="2026-10-02")
    say(register, "closing_rate/S03/2026Q3", seen_by="Li", owner="=1+1", cause="长" * 30_000)
    say(register, "closing_rate/S01/2026Q3", cause="x", closed_on="2026-10-03")
    cases, _ = review(register, "2026Q3", [])
    assert cases.table["status"].tolist() == ["overdue", "new", "seen", "closed"]
    assert cases.summary()["unit"].tolist() == ["S02", "S04", "S03", "S01"]


CHARTS = [
    ("closing_rate", "group", "group"), ("closing_rate", "region", "R1"),
    ("closing_rate", "store", "S01"), ("nps", "store", "S01"),
]  # fmt: skip
QUARTERS = ["2026Q1", "2026Q2", "2026Q3", "2026Q4"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(CHARTS), st.sampled_from(["act", "act", "watch"]),
        st.sampled_from(["nothing", "done", "close"]),
    ),
    min_size=4, max_size=4,
)  # fmt: skip


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_every_alarm_has_a_case_in_any_history(tmp_path_factory, steps, generator):
    register = Register(tmp_path_factory.mktemp("r") / "state.sqlite")
    for quarter, (chart, severity, then) in zip(QUARTERS, steps, strict=True):
        found = [finding(quarter, chart, severity, rule=rule) for rule in "ab"]
        found += [finding(quarter, CHARTS[0])]
        generator.shuffle(found)
        cases, _ = review(
            register, quarter, found, looks=calm(quarter, CHARTS)
        )  # twice: writes nothing
        table = cases.table
        live = table[~table["status"].isin(["closed", "verified"])]
        answered = list(zip(live["kpi"], live["unit_type"], live["unit"], strict=True))
        assert len(answered) == len(set(answered))
        assert {(f.kpi, f.unit_type, f.unit) for f in found if f.severity == "act"} <= set(answered)
        day = period.parse(quarter).end + timedelta(9)
        for case in live["case"]:
            fields = {"done": {"corrective_action": "x", "done_on": day},
                      "close": {"cause": "x", "closed_on": day}}.get(then, {})  # fmt: skip
            say(register, case, **fields)
    assert register.verify() == len(register.log())


@given(
    st.permutations([finding(), finding(rule="b"), finding(chart=OTHER), dated(date(2026, 8, 1))])
)
def test_the_order_of_findings_does_not_matter(found):
    state = Register(Path("no such file")).state("alert_case")
    first, second = (
        case_list(state, order, period.parse("2026Q3"), date(2026, 10, 7), PLAN, looks={})
        for order in (found, found[::-1])
    )
    assert first.table.equals(second.table) and first.note == second.note


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"done_on": "2026-10-20"}, "corrective_action: is empty though done_on is filled"),
        ({"closed_on": "2026-10-20"}, "cause: is empty though the case was closed"),
        ({"unit": None}, "unit: is empty"),
        ({"period": "Q3"}, "period: found 'Q3', expected a week"),
        ({"kpi": "closing"}, "kpi: 'closing' is not known. Nearest: closing_rate"),
        ({"unit": "S99"}, "unit: 'S99' is not known. Nearest: S09"),
        ({"verdict": "good"}, "Allowed: not_effective, verified"),
    ],
)
def test_a_case_that_says_too_little_is_refused(tmp_path, fields, message):
    scope = Scope(frozenset(PLAN.kpis), frozenset({"S09"}), date(2023, 10, 1), date(2026, 9, 30))
    register = Register(tmp_path / "state.sqlite", scope)
    review(register, "2026Q3", [finding()])
    with pytest.raises(RegisterError, match=message):
        say(register, **fields)
    assert register.verify() == 1


def test_cases_go_to_a_workbook_and_come_back(register, tmp_path):
    review(register, "2026Q3", [finding(), finding(chart=OTHER)])
    say(register, seen_by="=cmd|' /C calc'!A0", cause="长期缺员 <b>", corrective_action="-1",
        done_on="2026-10-20")  # fmt: skip
    register.to_excel(tmp_path / "r.xlsx")
    assert register.from_excel(tmp_path / "r.xlsx", at="2026-12-02", by="Li").empty
    other = Register(tmp_path / "other.sqlite")
    other.from_excel(tmp_path / "r.xlsx", at="2026-12-02", by="Li")
    one, two = (
        case_list(r.state("alert_case"), [], period.parse("2027Q1"), date(2027, 4, 7), PLAN,
                  looks=calm("2027Q1", [CHART]))
        for r in (register, other)
    )  # fmt: skip
    assert one.table.equals(two.table) and one.note == two.note


@pytest.mark.parametrize("lang", labels.languages())
def test_cases_can_be_shown_in_every_language(register, lang):
    review(register, "2026Q3", [finding(), finding(chart=OTHER)])
    say(register, **DONE)
    cases, _ = review(register, "2027Q1", [])
    shown = cases.show(lang)
    assert shown.shape == (2, len(Cases.COLUMNS))
    words = {labels.text(f"case_status.{status}", lang) for status in ("verified", "overdue")}
    assert words <= set(shown[labels.text("case.status", lang)])
    for status in STATUS:
        assert labels.text(f"case_status.{status}", lang)


@pytest.mark.parametrize("value", ["0", "1.5", '"30"', "true"])
def test_days_until_a_case_is_due_are_a_whole_number_of_the_plan(value):
    text = resources.files("dealerqm").joinpath("plan.toml").read_text(encoding="utf-8")
    with pytest.raises(PlanError, match=r"\[warning\] case_due_days: found"):
        plan.read(text.replace(f"case_due_days = {DAYS}", f"case_due_days = {value}"))
