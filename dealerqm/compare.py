"""Two reports side by side: what moved beyond noise, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dealerqm.errors import ParameterError
from dealerqm.plan import Plan
from dealerqm.result import Result, Unit
from dealerqm.stats.intervals import Interval, difference

ENDS = ("value", "low", "high")


@dataclass(frozen=True, kw_only=True)
class Comparison(Result):
    """Change of every fact that either report holds.

    ``outcome`` is ``beyond_noise``, ``noise``, ``not_comparable`` (the definition changed) or
    ``missing`` (no value in one of them).
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit": Unit("unit_name", "column.unit"),
            "before": Unit("kpi", "column.before"),
            "after": Unit("kpi", "column.after"),
            "change": Unit("kpi_change", "column.change"),
            "low": Unit("kpi_change", "column.low"),
            "high": Unit("kpi_change", "column.high"),
            "outcome": Unit("word:outcome", "column.outcome"),
        }
    )


def read_facts(report: Path) -> dict[str, dict[str, Any]]:
    """Read the named numbers of a report folder.

    Parameters
    ----------
    report : Path
        Folder that holds ``facts.json``.

    Returns
    -------
    dict
        ``<kpi>.<unit>`` to its numbers.

    Raises
    ------
    ParameterError
        If the folder holds no readable ``facts.json``.
    """
    place = report / "facts.json"
    if not place.is_file():
        raise ParameterError(
            f"report {report.name!r}: found no facts.json; name a folder such as reports/2026Q3."
        )
    try:
        facts = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParameterError(f"report {report.name!r}: facts.json is broken: {error}.") from None
    if not isinstance(facts, dict) or not all(
        "." in name and isinstance(fact, dict) for name, fact in facts.items()
    ):
        raise ParameterError(
            f"report {report.name!r}: facts.json is broken: expected numbers named <kpi>.<unit>."
        )
    return facts


def compare(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], plan: Plan
) -> Comparison:
    """Compare the facts of two reports.

    Parameters
    ----------
    before, after : mapping
        As ``read_facts`` gives them.
    plan : Plan
        For the names of the KPIs.

    Returns
    -------
    Comparison
        One row per fact in either report, sorted by KPI and unit.
    """
    names = sorted({*before, *after})
    old, new = ([facts.get(name, {}) for name in names] for facts in (before, after))
    change = difference(_interval(new), _interval(old))
    known = np.isfinite(change.low) & np.isfinite(change.high)
    beyond = known & ((change.low > 0) | (change.high < 0))
    same = np.array(
        [
            not a or not b or a.get("version") == b.get("version")
            for a, b in zip(old, new, strict=True)
        ],
        bool,
    )
    outcome = np.select(
        [~same, ~known, beyond], ["not_comparable", "missing", "beyond_noise"], "noise"
    )
    kpis, units = zip(*(name.split(".", 1) for name in names), strict=True) if names else ((), ())
    lines = {"change": change.estimate, "low": change.low, "high": change.high}
    table = pd.DataFrame(
        {
            "kpi": kpis,
            "unit": units,
            "before": _interval(old).estimate,
            "after": _interval(new).estimate,
            **{name: np.where(same, line, np.nan) for name, line in lines.items()},
            "outcome": outcome,
        }
    )
    return Comparison(frame=table, note={"kpis": plan.words()})


def _interval(facts: list[Mapping[str, Any]]) -> Interval:
    columns = ([fact.get(end) for fact in facts] for end in ENDS)
    return Interval(*(np.array(column, dtype=float) for column in columns))
