"""All findings of a review in the order in which a reader should act on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd

from dealerqm.result import DIRECTIONS, SEVERITIES, UNIT_TYPES, Finding, Result, Unit

_ORDER = {"worse": 0, "none": 1, "better": 2}


@dataclass(frozen=True, kw_only=True)
class Signals(Result):
    """Ranked findings, one row each; ``expected_false_alarms`` stands in the note."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "finding_id": Unit("text", "column.finding_id"),
            "severity": Unit("word:severity", "column.severity"),
            "direction": Unit("word:direction", "column.direction"),
            "rule": Unit("rule", "column.rule"),
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "value": Unit("kpi", "column.value"),
            "low": Unit("kpi", "column.low"),
            "high": Unit("kpi", "column.high"),
            "expected": Unit("kpi", "column.expected"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("severity", "rule", "kpi", "unit", "value", "expected")


def rank(findings: Iterable[Finding], note: Mapping[str, Any]) -> Signals:
    """Put findings in order: severity, bad news first, wide before narrow, then names.

    Parameters
    ----------
    findings : iterable of Finding
        From all subjects.
    note : mapping
        What to state beside the list: expected false alarms, KPI words.

    Returns
    -------
    Signals
        One row per finding; the same findings give the same order.
    """
    ordered = tuple(sorted(findings, key=_key))
    rows = [{name: getattr(finding, name) for name in Signals.COLUMNS} for finding in ordered]
    table = pd.DataFrame(rows, columns=list(Signals.COLUMNS))
    return Signals(frame=table, findings=ordered, note=note)


def _key(finding: Finding) -> tuple[Any, ...]:
    return (
        SEVERITIES.index(finding.severity),
        _ORDER[finding.direction],
        UNIT_TYPES.index(finding.unit_type),
        finding.kpi,
        finding.unit,
        finding.rule,
    )


if set(_ORDER) != set(DIRECTIONS):
    raise ValueError("signals: the order of directions must name each of them once.")
