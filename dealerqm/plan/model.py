"""The checked plan as values: KPIs, goals, factors, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dealerqm.conditions import Term
from dealerqm.errors import PlanError, unknown
from dealerqm.tables import Table

UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "yuan": 100.0, "points": 1.0}


@dataclass(frozen=True)
class Goal:
    """A goal: its value in the KPI's unit, the better direction, and since when it holds."""

    value: float
    better: str
    since: date


@dataclass(frozen=True)
class Exposure:
    """What a rate is counted per: rows of ``table`` with ``where``, times ``times``."""

    table: str
    when: str
    where: tuple[Term, ...]
    times: float


@dataclass(frozen=True)
class Kpi:
    """One KPI as the plan defines it.

    Attributes
    ----------
    name, area, dimension : str
        Key, and the two groupings of the scorecard.
    label, about : mapping
        Language to name and to definition.
    stat : str
        One of ``STATS``.
    table, when : str
        Table, and its time stamp that places a row in a period (empty for ``spread``).
    where : tuple of Term
        Rows that count.
    value : str or tuple of Term
        Column, index factor, or for a share the condition that makes a success.
    event_after, age : str
        Duration columns: when the awaited event came, and for how long the row was watched.
    follow_up, limit : int
        Seconds at which a follow-up share is judged; time limit of ``within``.
    quantile : float
        Which quantile, 0-1.
    of : str
        The KPI whose spread between stores is meant.
    per : Exposure or None
        Exposure of a rate.
    interval, unit, better, source, version : str
        Interval method, unit shown, better direction, where it comes from, definition version.
    goal : Goal or None
        The goal.
    """

    name: str
    area: str
    dimension: str
    label: Mapping[str, str]
    about: Mapping[str, str]
    stat: str
    table: str = ""
    when: str = ""
    where: tuple[Term, ...] = ()
    value: str | tuple[Term, ...] = ""
    event_after: str = ""
    age: str = ""
    follow_up: int = 0
    limit: int = 0
    quantile: float = 0.0
    of: str = ""
    per: Exposure | None = None
    interval: str = ""
    unit: str = ""
    better: str = "none"
    goal: Goal | None = None
    source: str = ""
    version: str = ""

    @property
    def scale(self) -> float:
        """Stored units in one shown unit, such as 3600 seconds an hour."""
        return UNITS[self.unit]

    @property
    def is_share(self) -> bool:
        """Whether values are shares between 0 and 1."""
        return self.stat in ("share", "within")

    @property
    def measure(self) -> str:
        """How values are spelled for readers: ``share``, ``score`` or ``value``."""
        if self.is_share or self.stat == "spread":
            return "share"
        return "score" if self.stat == "nps" else "value"


@dataclass(frozen=True)
class Factor:
    """One factor of the index in one version: its weight and its items' weights, sum 100."""

    name: str
    label: Mapping[str, str]
    from_wave: str
    weight: float
    items: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """A checked plan.

    Attributes
    ----------
    settings : mapping
        The plain sections: ``plan, calendar, statistics, publication, charts, warning,
        guarantee, training, survey, dimensions, areas``.
    kpis : mapping of str to Kpi
        In the order of the file.
    tables : mapping of str to Table
        The contracts, with the instrument's items as columns of the survey table.
    instrument : mapping
        ``scale, index_points, not_applicable, items, factors``, and perhaps ``overall`` and
        ``touchpoints``.
    factors : tuple of Factor
        All versions of all factors.
    benchmarks : mapping
        Name to ``kpi, value, population, year, source, status``.
    digest : str
        SHA-256 of the canonical plan.
    """

    settings: Mapping[str, Any]
    kpis: Mapping[str, Kpi]
    tables: Mapping[str, Table]
    instrument: Mapping[str, Any]
    factors: tuple[Factor, ...]
    benchmarks: Mapping[str, Mapping[str, Any]]
    digest: str
    source: str = field(default="plan.toml", compare=False)

    def words(self) -> dict[str, dict[str, Any]]:
        """Return what tables and pictures need of each KPI: label, measure, unit, goal, better."""
        return {
            name: {
                "label": kpi.label,
                "measure": kpi.measure,
                "unit": kpi.unit,
                "goal": kpi.goal.value if kpi.goal else None,
                "better": kpi.better,
            }
            for name, kpi in self.kpis.items()
        }

    def kpi(self, name: str) -> Kpi:
        """Return a KPI by name, or say which names are near."""
        if name not in self.kpis:
            raise PlanError(unknown(f"{self.source} kpi", name, self.kpis))
        return self.kpis[name]


def digest(raw: object) -> str:
    """Return the SHA-256 of anything TOML can hold, independent of key order and layout.

    Parameters
    ----------
    raw : object
        Parsed TOML.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(raw, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
