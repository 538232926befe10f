"""What a review holds: its parts, its findings, its named numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd

from dealerqm.cases import Cases
from dealerqm.kpi import Scorecard
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.result import Finding, Result, Unit, plain
from dealerqm.signals import Board, Signals, rank
from dealerqm.spc import ControlCharts, Notes
from dealerqm.subjects import Subject

_CHANGE_FACTS = ("change_period", "change_period_low", "change_period_high", "beyond_period")


@dataclass(frozen=True, kw_only=True)
class Quality(Result):
    """Problems of the exports, grouped: one row per file, column and rule."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "file": Unit("text", "column.file"),
            "sheet": Unit("text", "column.sheet"),
            "column": Unit("text", "column.column"),
            "rule": Unit("word:issue", "column.rule"),
            "action": Unit("word:action", "column.action"),
            "count": Unit("count", "column.count"),
            "first_row": Unit("count", "column.first_row"),
            "expected": Unit("text", "column.allowed"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("file", "column", "rule", "action", "count")


@dataclass(frozen=True, kw_only=True)
class Counts(Result):
    """Rows of every file; each row is in exactly one of the other columns."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "file": Unit("text", "column.file"),
            "table": Unit("text", "column.table"),
            "rows": Unit("count", "column.rows"),
            "loaded": Unit("count", "column.loaded"),
            "quarantined": Unit("count", "column.quarantined"),
            "duplicates": Unit("count", "column.duplicates"),
            "set_aside": Unit("count", "column.set_aside"),
            "rejected": Unit("count", "column.rejected"),
            "non_data": Unit("count", "column.non_data"),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Review:
    """Everything that a report of one period shows.

    Attributes
    ----------
    period : Period
        The reviewed period.
    plan : Plan
        The plan it is judged by.
    stamp : mapping
        Snapshot, date, digests, versions, parameters: what makes the review repeatable.
    scorecard, charts, board, cases, signals, quality, counts : Result
        The parts; ``board`` is the early warning over all charts.
    notes : Notes
        What people decided about charts.
    monthly : DataFrame
        KPI values that the charts show, of months or weeks.
    values : DataFrame
        KPI values of all periods of the reviewed kind.
    analyse : callable
        Makes the subjects when they are first asked for.
    """

    period: Period
    plan: Plan
    stamp: Mapping[str, Any]
    scorecard: Scorecard
    charts: ControlCharts
    board: Board
    cases: Cases
    signals: Signals
    quality: Quality
    counts: Counts
    notes: Notes = field(repr=False)
    monthly: pd.DataFrame = field(repr=False)
    values: pd.DataFrame = field(repr=False)
    analyse: Callable[[], Mapping[str, Subject]] = field(default=dict, repr=False)

    @cached_property
    def subjects(self) -> Mapping[str, Subject]:
        """The subjects beside the KPIs: survey, customers and so on, analysed for the period."""
        return self.analyse()

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, of the KPIs and of the subjects, ranked."""
        told = [f for one in self.subjects.values() for f in (*one.headline, *one.findings)]
        return rank((*self.signals.findings, *told), {}).findings

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        """Named numbers: ``<kpi>.<unit>`` to value, interval, n, unit and definition version."""
        named = {}
        for row in self.scorecard.table.to_dict("records"):
            kpi = self.plan.kpis[row["kpi"]]
            named[f"{kpi.name}.{row['unit']}"] = plain(
                {
                    "period": row["period"],
                    **{name: row[name] for name in ("value", "low", "high", "n", "verdict")},
                    **{name: row[name] for name in _CHANGE_FACTS},
                    "unit": kpi.unit or kpi.measure,
                    "version": kpi.version,
                    "unit_type": row["unit_type"],
                }
            )
        return named

    def stamped(self) -> pd.DataFrame:
        """Return the stamp as a table of two columns."""
        return pd.DataFrame(list(self.stamp.items()), columns=["stamp", "value"])
