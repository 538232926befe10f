"""What people decided about charts: rebases, excluded points, remarks."""

from __future__ import annotations

from typing import NamedTuple


class Rebase(NamedTuple):
    """A new phase that a person accepted, or a proposal that a person turned down.

    Attributes
    ----------
    kpi, unit, period : str
        Chart, and the first period of the new phase.
    accepted : bool
        Only accepted ones move limits.
    reason, by, at : str
        Why, who, and when (ISO).
    """

    kpi: str
    unit: str
    period: str
    accepted: bool
    reason: str
    by: str
    at: str


class Exclusion(NamedTuple):
    """A point that sets no limits and is not judged, though it is shown.

    Attributes
    ----------
    kpi, unit, period : str
        The point.
    reason, by, at : str
        Why, who, and when (ISO).
    """

    kpi: str
    unit: str
    period: str
    reason: str
    by: str
    at: str


class Remark(NamedTuple):
    """A remark on a chart from one period to another.

    Attributes
    ----------
    kpi, unit, start, end : str
        Chart, first and last period.
    text, by, at : str
        What, who, and when (ISO).
    """

    kpi: str
    unit: str
    start: str
    end: str
    text: str
    by: str
    at: str


class Notes(NamedTuple):
    """Everything that people wrote on charts.

    Attributes
    ----------
    rebases, exclusions, remarks : tuple
        Sorted by chart and period.
    """

    rebases: tuple[Rebase, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    remarks: tuple[Remark, ...] = ()


NO_NOTES = Notes()
