"""The subjects beside the KPIs, analysed for one period: what a review adds to its findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from dealerqm import store, survey
from dealerqm.errors import DealerqmError
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.result import Finding, Result


class Subject(Protocol):
    """What every analysis of a subject offers to a review."""

    @property
    def headline(self) -> tuple[Finding, ...]:
        """Where the subject stands, first."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What stands out, in the order of the parts."""

    @property
    def sheets(self) -> Mapping[str, Result]:
        """Tables for the workbook, by the key of their sheet's name."""


@dataclass(frozen=True)
class Absent:
    """A subject that the data do not allow, and why.

    Attributes
    ----------
    reason : str
        Message of the refusal.
    """

    reason: str
    headline: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()
    sheets: Mapping[str, Result] = field(default_factory=dict)


Analyse = Callable[[store.Snapshot, Plan, Period, Mapping[str, str]], Subject]
# subject -> how it is analysed, and the table it cannot do without; the order is the report's
SUBJECTS: Mapping[str, tuple[Analyse, str]] = MappingProxyType(
    {"survey": (survey.analyse, "survey_responses")}
)


def analyses(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]
) -> dict[str, Subject]:
    """Analyse all subjects for a period.

    Parameters
    ----------
    snapshot, plan, period, regions : Snapshot, Plan, Period, mapping
        As ``review.prepare`` returns them.

    Returns
    -------
    dict of str to Subject
        In the order of ``SUBJECTS``; ``Absent`` where a table is missing or the subject refuses.
    """
    return {
        name: _analysed(analyse, table, (snapshot, plan, period, regions))
        for name, (analyse, table) in SUBJECTS.items()
    }


def _analysed(analyse: Analyse, table: str, asked: tuple[Any, ...]) -> Subject:
    snapshot = asked[0]
    if table not in snapshot.tables:
        return Absent(f"{table}: is not in the snapshot.")
    try:
        done = analyse(*asked)
        _ = done.headline, done.findings  # refusals come out here, not in the middle of a report
    except DealerqmError as refused:
        return Absent(str(refused))
    return done
