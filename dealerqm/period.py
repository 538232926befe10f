"""Weeks, months, quarters and years as values, and years aligned to Spring Festival.

A period is written ``2026W31``, ``2026-07``, ``2026Q3`` or ``2026``; the spelling sorts within a
kind. Weeks are ISO weeks (Monday first).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from dealerqm.errors import ParameterError

WEEKS = 52  # in every year; some have one more, never two years running
KINDS = ("week", "month", "quarter", "year")
_FORMS = {
    "week": re.compile(r"(\d{4})-?W(\d{2})"),
    "month": re.compile(r"(\d{4})-(\d{2})"),
    "quarter": re.compile(r"(\d{4})-?Q([1-4])"),
    "year": re.compile(r"(\d{4})"),
}
_ALLOWED = "a week 2026W31, a month 2026-07, a quarter 2026Q3 or a year 2026"


@dataclass(frozen=True, order=True)
class Period:
    """One calendar period: its kind, year and number within the year.

    Attributes
    ----------
    kind : str
        One of ``week, month, quarter, year``.
    year : int
        Calendar year; ISO year for weeks.
    number : int
        Week 1-53, month 1-12, quarter 1-4; 1 for a year.
    """

    kind: str
    year: int
    number: int = 1

    @property
    def key(self) -> str:
        """The period's spelling, such as ``2026Q3``."""
        return {
            "week": f"{self.year}W{self.number:02d}",
            "month": f"{self.year}-{self.number:02d}",
            "quarter": f"{self.year}Q{self.number}",
            "year": f"{self.year}",
        }[self.kind]

    @property
    def start(self) -> date:
        """First day."""
        if self.kind == "week":
            return date.fromisocalendar(self.year, self.number, 1)
        month = {"month": self.number, "quarter": 3 * self.number - 2, "year": 1}[self.kind]
        return date(self.year, month, 1)

    @property
    def end(self) -> date:
        """Last day."""
        return self.shift(1).start - timedelta(days=1)

    def shift(self, steps: int) -> Period:
        """Return the period so many steps later (earlier when negative)."""
        if self.kind == "week":
            return of(self.start + timedelta(weeks=steps), "week")
        size = {"month": 12, "quarter": 4, "year": 1}[self.kind]
        index = self.year * size + self.number - 1 + steps
        return Period(self.kind, index // size, index % size + 1)

    def year_before(self) -> Period:
        """Return the same period one year earlier (week 53 becomes week 52)."""
        number = min(self.number, WEEKS) if self.kind == "week" else self.number
        return Period(self.kind, self.year - 1, number)

    def __str__(self) -> str:
        """Return the spelling."""
        return self.key


def parse(text: str) -> Period:
    """Read a period from its spelling.

    Parameters
    ----------
    text : str
        ``2026W31``, ``2026-07``, ``2026Q3`` or ``2026`` (``2026-Q3`` and ``2026-W31`` also).

    Returns
    -------
    Period
        The period.

    Raises
    ------
    ParameterError
        If the text is none of these, or the number does not exist in that year.

    Examples
    --------
    >>> parse("2026Q3").start, parse("2026-07").end
    (datetime.date(2026, 7, 1), datetime.date(2026, 7, 31))
    >>> parse("2026Q1").shift(-1).key, parse("2026W01").year_before().key
    ('2025Q4', '2025W01')
    """
    for kind, form in _FORMS.items():
        match = form.fullmatch(str(text).strip().upper())
        if match is None:
            continue
        numbers = [int(group) for group in match.groups()]
        period = Period(kind, *numbers)
        if _exists(period):
            return period
    raise ParameterError(f"period: found {text!r}, expected {_ALLOWED}.")


def _exists(period: Period) -> bool:
    if not date.min.year < period.year < date.max.year:  # the years beside it must exist, too
        return False
    try:
        start = period.start
    except ValueError:
        return False
    return of(start, period.kind) == period


def of(day: date, kind: str) -> Period:
    """Return the period of a kind that holds a day.

    Parameters
    ----------
    day : date
        The day.
    kind : str
        ``week``, ``month``, ``quarter`` or ``year``.

    Returns
    -------
    Period
        The period.

    Examples
    --------
    >>> of(date(2026, 9, 30), "quarter").key, of(date(2027, 1, 1), "week").key
    ('2026Q3', '2026W53')
    """
    if kind == "week":
        iso = day.isocalendar()
        return Period("week", iso.year, iso.week)
    number = {"month": day.month, "quarter": (day.month + 2) // 3, "year": 1}[kind]
    return Period(kind, day.year, number)


def span(first: Period, last: Period) -> list[Period]:
    """Return all periods from the first to the last, both included.

    Parameters
    ----------
    first, last : Period
        Two periods of one kind.

    Returns
    -------
    list of Period
        In order; empty when ``last`` is before ``first``.

    Raises
    ------
    ParameterError
        If the two are of different kinds.

    Examples
    --------
    >>> [p.key for p in span(parse("2025Q4"), parse("2026Q2"))]
    ['2025Q4', '2026Q1', '2026Q2']
    """
    if first.kind != last.kind:
        raise ParameterError(
            f"period: {first} is a {first.kind} and {last} a {last.kind}; name two of one kind."
        )
    periods = []
    while first <= last:
        periods.append(first)
        first = first.shift(1)
    return periods


def inside(period: Period, kind: str) -> list[Period]:
    """Return the smaller periods that a period consists of.

    Parameters
    ----------
    period : Period
        A quarter or year, say.
    kind : str
        ``month`` or ``quarter``; for ``week`` the weeks whose Monday lies in the period.

    Returns
    -------
    list of Period
        In order.

    Examples
    --------
    >>> [p.key for p in inside(parse("2026Q3"), "month")]
    ['2026-07', '2026-08', '2026-09']
    """
    parts = span(of(period.start, kind), of(period.end, kind))
    return [part for part in parts if period.start <= part.start <= period.end]


def aligned_year_before(
    period: Period, festivals: Sequence[date], reach: int = 35
) -> tuple[date, date, bool]:
    """Return the days one year earlier that stand in the same place to Spring Festival.

    Spring Festival moves between 21 January and 20 February, so a week or month near it is
    compared with the days that lie equally far from the festival of the year before. Away from it
    the calendar rules.

    Parameters
    ----------
    period : Period
        A week or month; longer periods are never moved.
    festivals : sequence of date
        Days of Spring Festival, one a year; the nearest one and the one before it count.
    reach : int
        Days around the festival inside which a period is moved.

    Returns
    -------
    (date, date, bool)
        First and last day to compare with, and whether the festival moved them. Both windows
        have the same number of days when they were moved.

    Examples
    --------
    >>> days = [date(2025, 1, 29), date(2026, 2, 17)]
    >>> aligned_year_before(parse("2026-02"), days)
    (datetime.date(2025, 1, 13), datetime.date(2025, 2, 9), True)
    >>> aligned_year_before(parse("2026-07"), days)
    (datetime.date(2025, 7, 1), datetime.date(2025, 7, 31), False)
    """
    before = period.year_before()
    start, end, margin = period.start, period.end, timedelta(days=reach)
    by_year = {day.year: day for day in festivals}
    near = [day for day in festivals if start - margin <= day <= end + margin]
    if period.kind not in ("week", "month") or not near or near[0].year - 1 not in by_year:
        return before.start, before.end, False
    back = near[0] - by_year[near[0].year - 1]
    return start - back, end - back, True
