"""What people decide about charts: excluded points, remarks, rebases, each with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import pandas as pd

from dealerqm import store
from dealerqm.errors import RegisterError, unknown
from dealerqm.facts import Ask, Facts
from dealerqm.kpi.cells import GROUP
from dealerqm.plan import Plan
from dealerqm.registers.checks import NOTES, Scope, chart_key
from dealerqm.registers.kinds import checked
from dealerqm.registers.log import Register
from dealerqm.spc.phases import Exclusion, Notes, Rebase, Remark

Chart = tuple[str, str]  # KPI and unit
_SIGNED = ("author", "noted_on")


class Decision(NamedTuple):
    """Why, who, and when.

    Attributes
    ----------
    reason, by : str
        Both needed.
    at : date, datetime or ISO text
        Supplied by the caller, so that a rerun writes nothing.
    """

    reason: str
    by: str
    at: date | str


class Evidence(NamedTuple):
    """What the program knew when it proposed a rebase.

    Attributes
    ----------
    onset_first, onset_last : str
        Periods between which the change began.
    size, size_low, size_high : float
        Size of the change and its interval, in the KPI's unit.
    p_value : float
        Evidence of a change.
    finding : str
        Id of the finding.
    """

    onset_first: str
    onset_last: str
    size: float | None = None
    size_low: float | None = None
    size_high: float | None = None
    p_value: float | None = None
    finding: str = ""


def scope(snapshot: store.Snapshot, plan: Plan) -> Scope:
    """Return what notes on the charts of a snapshot may name.

    Parameters
    ----------
    snapshot : Snapshot
        Its stores and regions, and its first and last day.
    plan : Plan
        Its KPIs.

    Returns
    -------
    Scope
        To open a ``Register`` with.
    """
    facts = Facts(lambda table: store.relation(snapshot, table))
    stores = facts.rows(Ask("stores", ("store_id",)), ["region"])
    units = {GROUP, *stores["store_id"], *stores["region"].dropna()}
    first, _ = facts.extent("service_orders", "opened_at_day")
    return Scope(frozenset(plan.kpis), frozenset(units), pd.Timestamp(first).date(), snapshot.as_of)


def chart_notes(register: Register) -> Notes:
    """Return the notes that hold; withdrawn ones stay in the log only.

    Parameters
    ----------
    register : Register
        What people wrote.

    Returns
    -------
    spc.phases.Notes
        Sorted by KPI, unit and period; empty for a register that nobody wrote.
    """
    excluded, remarks, rebases = (
        _holding(register, kind) for kind in ("exclusion", "annotation", "rebase")
    )
    return Notes(
        rebases=tuple(sorted(
            Rebase(r["kpi"], r["unit"], r["period"], bool(r["accepted"]), r["reason"], *_signed(r))
            for r in rebases
        )),
        exclusions=tuple(sorted(
            Exclusion(r["kpi"], r["unit"], r["period"], r["reason"], *_signed(r)) for r in excluded
        )),
        remarks=tuple(sorted(
            Remark(r["kpi"], r["unit"], r["period_start"], r["period_end"], r["text"], *_signed(r))
            for r in remarks
        )),
    )  # fmt: skip


def _holding(register: Register, kind: str) -> list[dict[Any, Any]]:
    state = register.state(kind)
    return state[~state["withdrawn"].fillna(value=False).astype(bool)].to_dict("records")


def _signed(row: Mapping[Any, Any]) -> tuple[str, str]:
    return row["author"], row["noted_on"].date().isoformat()


def exclude(register: Register, chart: Chart, period: str, decision: Decision) -> str:
    """Take a point out of the limits and the verdicts of a chart; it is still shown.

    Parameters
    ----------
    register : Register
        Opened with a scope.
    chart : (str, str)
        KPI and unit.
    period : str
        The point.
    decision : Decision
        Why, who, when.

    Returns
    -------
    str
        Key of the exclusion, such as ``closing_rate/S09/2026-05``.

    Raises
    ------
    RegisterError
        If the KPI, unit or period is unknown, or the reason or author is empty.

    Notes
    -----
    A note that says the same again writes nothing and keeps its first author and date.
    """
    fields = _fields("exclusion", chart, {"period": period, "reason": decision.reason})
    return _put(register, "exclusion", _key(fields, "period"), fields, decision)


def annotate(
    register: Register, chart: Chart, first: str, last: str, decision: Decision
) -> str:  # fmt: skip
    """Write a remark on a chart.

    Parameters
    ----------
    register : Register
        Opened with a scope.
    chart : (str, str)
        KPI and unit.
    first, last : str
        First and last period that it is about.
    decision : Decision
        The remark (as reason), who, when.

    Returns
    -------
    str
        Key; a second remark at the same place gets the number 2, and so on.

    Raises
    ------
    RegisterError
        If the KPI, unit or a period is unknown, or the text or author is empty.
    """
    fields = _fields(
        "annotation", chart, {"period_start": first, "period_end": last, "text": decision.reason}
    )
    place = _key(fields, "period_start")
    if fields["period_end"] != fields["period_start"]:
        place += f"..{fields['period_end']}"
    taken = register.state("annotation").set_index("key")["text"].to_dict()
    number, key = 1, place
    while key in taken and taken[key] != fields["text"]:
        number += 1
        key = f"{place}/{number}"
    return _put(register, "annotation", key, fields, decision)


def rebase(
    register: Register, chart: Chart, period: str, decision: Decision, *, accepted: bool,
    evidence: Evidence | None = None,
) -> str:  # fmt: skip
    """Accept a new phase of a chart, or turn a proposal down.

    Parameters
    ----------
    register : Register
        Opened with a scope.
    chart : (str, str)
        KPI and unit.
    period : str
        First period of the new phase.
    decision : Decision
        The cause that is known (as reason), who, when.
    accepted : bool
        Whether the new phase holds; what was turned down is kept and moves no limits.
    evidence : Evidence or None
        What the program proposed it with.

    Returns
    -------
    str
        Key of the rebase.

    Raises
    ------
    RegisterError
        If a name is unknown, the reason or author is empty, nothing lies before the period, or an
        accepted rebase of the same chart speaks of the same change.
    """
    told = {} if evidence is None else evidence._asdict()
    fields = _fields(
        "rebase", chart,
        {**told, "period": period, "accepted": accepted, "reason": decision.reason},
    )  # fmt: skip
    return _put(register, "rebase", _key(fields, "period"), fields, decision)


def withdraw(register: Register, kind: str, key: str, decision: Decision) -> bool:
    """Take a note back; it no longer counts, and the log keeps it with who withdrew it and why.

    Parameters
    ----------
    register : Register
        Opened with a scope.
    kind : str
        ``annotation``, ``exclusion`` or ``rebase``.
    key : str
        The note.
    decision : Decision
        Why, who, when.

    Returns
    -------
    bool
        False when it was withdrawn before, and nothing was written.

    Raises
    ------
    RegisterError
        If there is no such note, or the reason or author is empty.
    """
    if kind not in NOTES:
        raise RegisterError(unknown("note on a chart", kind, NOTES))
    known = set(register.state(kind)["key"])
    if key not in known:
        raise RegisterError(unknown(f"{kind} to withdraw", key, known))
    signed = _checked(kind, decision)
    at, by, why = decision.at, signed["author"], decision.reason
    return register.append(kind, key, {"withdrawn": True}, at=at, by=by, why=why) is not None


def _fields(kind: str, chart: Chart, fields: Mapping[str, Any]) -> dict[str, Any]:
    kpi, unit = chart
    return checked(kind, {"kpi": kpi, "unit": unit, "withdrawn": None, **fields})


def _key(fields: Mapping[str, Any], period: str) -> str:
    return chart_key(fields["kpi"], fields["unit"], fields[period])


def _checked(kind: str, decision: Decision) -> dict[str, Any]:
    """Return author and day of a decision, or refuse one without reason, author or day."""
    day = decision.at.isoformat() if isinstance(decision.at, date) else str(decision.at)
    day = day.partition("T")[0].partition(" ")[0]
    signed = checked(kind, {"author": decision.by, "noted_on": day})
    given = {"reason": str(decision.reason).strip(), "author": signed["author"], "date": day}
    for name, value in given.items():
        if not value:
            raise RegisterError(
                f"{kind}: the {name} is empty; a note on a chart needs reason, author and date."
            )
    return signed


def _put(
    register: Register, kind: str, key: str, fields: Mapping[str, Any], decision: Decision
) -> str:
    signed = _checked(kind, decision)
    state = register.state(kind)
    said = state[state["key"] == key].to_dict("records")
    if not said or not fields.items() <= _content(said[0], kind).items():
        why, at = str(decision.reason), decision.at
        register.append(
            kind, key, {**fields, **signed}, at=at, by=signed["author"], why=why
        )  # fmt: skip
    return key


def _content(row: Mapping[Any, Any], kind: str) -> dict[str, Any]:
    apart = ("key", "changed_at", "changed_by", *_SIGNED)
    return checked(kind, {name: value for name, value in row.items() if name not in apart})
