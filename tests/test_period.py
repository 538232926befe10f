"""Weeks, months, quarters and years, checked against Python's calendar and pandas."""

from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm.errors import ParameterError
from dealerqm.period import KINDS, Period, aligned_year_before, inside, of, parse, span
from dealerqm.plan import load

DAYS = st.dates(date(1990, 1, 1), date(2060, 12, 31))
FESTIVALS = load().settings["calendar"]["spring_festival"]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026Q3", date(2026, 7, 1), date(2026, 9, 30)),
        ("2026-Q3", date(2026, 7, 1), date(2026, 9, 30)),
        (" 2026q1 ", date(2026, 1, 1), date(2026, 3, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2025-02", date(2025, 2, 1), date(2025, 2, 28)),
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("2026W01", date(2025, 12, 29), date(2026, 1, 4)),
        ("2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ("2020W53", date(2020, 12, 28), date(2021, 1, 3)),
    ],
)
def test_spellings_and_their_days(text, start, end):
    period = parse(text)
    assert (period.start, period.end) == (start, end)


@pytest.mark.parametrize(
    "text",
    ["", "2026Q5", "2026Q0", "2026-13", "2026-00", "2026W00", "2025W53", "2026W54", "26Q1",
     "2026Q", "Q3", "2026-7", "2026Q3x", "2026/07", "0000", "0001", "0001Q1", "9999", "9999Q4",
     "9999W52", "latest", None, 20263],
)  # fmt: skip
def test_what_is_no_period_is_refused_in_one_line(text):
    with pytest.raises(ParameterError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)
    assert "a week 2026W31, a month 2026-07, a quarter 2026Q3 or a year 2026" in str(caught.value)


@given(DAYS, st.sampled_from(KINDS))
def test_a_day_lies_in_its_period_and_the_key_leads_back(day, kind):
    period = of(day, kind)
    assert period.start <= day <= period.end
    assert parse(period.key) == period
    assert str(period) == period.key


@given(DAYS)
def test_weeks_quarters_and_months_are_those_of_pandas(day):
    iso = day.isocalendar()
    assert of(day, "week") == Period("week", iso.year, iso.week)
    for kind, code in (("quarter", "Q"), ("month", "M"), ("year", "Y")):
        theirs = pd.Timestamp(day).to_period(code)
        ours = of(day, kind)
        assert ours.start == theirs.start_time.date()
        assert ours.end == theirs.end_time.date()
    assert of(day, "quarter").key == str(pd.Timestamp(day).to_period("Q"))


@given(DAYS, st.sampled_from(KINDS), st.integers(-60, 60))
def test_shifts_are_undone_and_leave_no_gap(day, kind, steps):
    period = of(day, kind)
    assert period.shift(steps).shift(-steps) == period
    assert period.shift(1).start == period.end + timedelta(days=1)
    assert period.shift(steps).kind == kind


@given(DAYS, st.sampled_from(KINDS))
def test_spelling_and_value_sort_alike(day, kind):
    period = of(day, kind)
    assert period < period.shift(1)
    assert period.key < period.shift(1).key


@given(DAYS)
def test_a_year_is_made_of_its_months_and_quarters(day):
    year = of(day, "year")
    for kind, count in (("month", 12), ("quarter", 4)):
        parts = inside(year, kind)
        assert len(parts) == count
        assert (parts[0].start, parts[-1].end) == (year.start, year.end)
    weeks = inside(year, "week")
    assert all(year.start <= week.start <= year.end for week in weeks)
    assert len(weeks) in (52, 53)


def test_week_53_is_compared_with_week_52():
    assert parse("2026W53").year_before().key == "2025W52"
    assert parse("2026Q1").year_before().key == "2025Q1"


def test_span_is_empty_backwards_and_refuses_two_kinds():
    assert span(parse("2026Q2"), parse("2026Q1")) == []
    assert len(span(parse("2024Q1"), parse("2026Q4"))) == 12
    with pytest.raises(ParameterError, match="2026-01 is a month and 2026Q1 a quarter"):
        span(parse("2026-01"), parse("2026Q1"))


# First days of the Chinese year: Hong Kong Observatory, Gregorian-lunar calendar tables.
@pytest.mark.parametrize(
    "day",
    [date(2023, 1, 22), date(2024, 2, 10), date(2025, 1, 29), date(2026, 2, 17), date(2027, 2, 6),
     date(2028, 1, 26), date(2029, 2, 13), date(2030, 2, 3)],
)  # fmt: skip
def test_the_default_plan_knows_spring_festival(day):
    assert day in FESTIVALS


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("2026-02", date(2025, 1, 13), date(2025, 2, 9)),  # 384 days between the festivals
        ("2026-01", date(2024, 12, 13), date(2025, 1, 12)),
        ("2026W08", date(2025, 1, 28), date(2025, 2, 3)),
        ("2025-02", date(2024, 2, 13), date(2024, 3, 11)),  # 354 days
        ("2022-12", date(2021, 12, 11), date(2022, 1, 10)),  # the festival of 22 January 2023
    ],
)
def test_near_the_festival_the_days_stand_equally_far_from_it(key, first, last):
    assert aligned_year_before(parse(key), FESTIVALS) == (first, last, True)


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("2026-07", date(2025, 7, 1), date(2025, 7, 31)),
        ("2026W30", date(2025, 7, 21), date(2025, 7, 27)),
        ("2026Q1", date(2025, 1, 1), date(2025, 3, 31)),
        ("2026", date(2025, 1, 1), date(2025, 12, 31)),
        ("2020-02", date(2019, 2, 1), date(2019, 2, 28)),  # no festival of 2019 is known
        ("2040-02", date(2039, 2, 1), date(2039, 2, 28)),
    ],
)
def test_elsewhere_the_calendar_rules(key, first, last):
    assert aligned_year_before(parse(key), FESTIVALS) == (first, last, False)


@given(st.dates(date(2021, 1, 1), date(2029, 12, 31)), st.sampled_from(["week", "month"]))
def test_moved_windows_keep_their_length_and_their_distance(day, kind):
    period = of(day, kind)
    first, last, moved = aligned_year_before(period, FESTIVALS)
    if moved:
        assert last - first == period.end - period.start
        near = min(FESTIVALS, key=lambda festival: abs(festival - period.start))
        then = min(FESTIVALS, key=lambda festival: abs(festival - first))
        assert near.year == then.year + 1
        assert period.start - near == first - then
    else:
        assert (first, last) == (period.year_before().start, period.year_before().end)


def test_reach_zero_moves_only_what_holds_the_festival():
    assert aligned_year_before(parse("2026W08"), FESTIVALS, 0)[2]
    assert not aligned_year_before(parse("2026W09"), FESTIVALS, 0)[2]
