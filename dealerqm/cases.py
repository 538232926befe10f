"""Alert cases: what became of every alarm that asked for action.

``case_list`` is pure: from the register's state and the findings of a period to the table of
cases, new ones included. ``open_cases`` writes what is new. Both give the same again when run
again, so a review does not change by having been written down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from dealerqm.period import KINDS, Period, inside, of, parse
from dealerqm.plan import Plan
from dealerqm.registers import Change, Register
from dealerqm.registers.checks import chart_key
from dealerqm.registers.kinds import kind_of, series
from dealerqm.result import Finding, Result, Unit, plain
from dealerqm.signals import Board
from dealerqm.stats import survival

KIND = "alert_case"
STATUS = ("overdue", "not_effective", "new", "seen", "planned", "done", "verified", "closed")
FINISHED = ("verified", "closed")
_DAY = timedelta(days=1)
_MEDIAN = 0.5
_DATES = ("due_on", "done_on", "closed_on")

_HELD = "held"  # a warning that stays up although this period alone is calm

Chart = tuple[str, str, str]  # KPI, unit type and unit


class Look(NamedTuple):
    """What a period says of a chart.

    Attributes
    ----------
    level : str
        ``act``, ``watch``, ``calm`` (or better) or ``unknown``.
    start : date
        First day of the newest data behind it, which may lie before the period.
    """

    level: str
    start: date


@dataclass(frozen=True, kw_only=True)
class Cases(Result):
    """Alert cases, one row each: overdue ones first, then what failed, then new ones.

    ``since`` counts the days from the signal (the day after the period that raised the alarm) to
    the snapshot's date, or to the end of the case. The note holds the numbers ``open`` and
    ``overdue`` and the median ``days_to_action``.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "case": Unit("text", "case.case"),
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "opened": Unit("text", "case.opened"),
            "since": Unit("count", "case.since"),
            "seen_by": Unit("text", "case.seen_by"),
            "owner": Unit("text", "case.owner"),
            "cause": Unit("text", "case.cause"),
            "corrective_action": Unit("text", "case.corrective_action"),
            "due_on": Unit("date", "case.due_on"),
            "done_on": Unit("date", "case.done_on"),
            "verified": Unit("word:case_effect", "case.verified"),
            "status": Unit("word:case_status", "case.status"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "status", "kpi", "unit", "opened", "since", "owner", "due_on",
    )  # fmt: skip


class _Case(NamedTuple):
    """A case as of a day: what lies after that day has not happened."""

    key: str
    chart: Chart
    opened: Period
    due_on: date | None
    done_on: date | None = None
    closed_on: date | None = None
    verdict: str | None = None
    verified_in: Period | None = None
    texts: tuple[str | None, ...] = (None,) * 4

    @property
    def signal(self) -> date:
        """The first day on which the alarm could be known."""
        return self.opened.end + _DAY

    @property
    def ended(self) -> date | None:
        """The day of which a case says nothing more: closed, or seen to be effective."""
        verified = self.verified_in.end if self.verdict == "verified" and self.verified_in else None
        return max((day for day in (self.closed_on, verified) if day), default=None)


_TEXTS = ("seen_by", "owner", "cause", "corrective_action")


def case_list(
    state: pd.DataFrame, findings: Sequence[Finding], period: Period, as_of: date, plan: Plan,
    *, looks: Mapping[Chart, Look],
) -> Cases:  # fmt: skip
    """List the alert cases known on a day, with those that a period's findings open.

    Parameters
    ----------
    state : DataFrame
        ``register.state("alert_case")``.
    findings : sequence of Finding
        All findings of the period.
    period : Period
        The reviewed period.
    as_of : date
        Last day of the data; what the register dates later has not happened yet.
    plan : Plan
        Days until a case is due, confidence, names of KPIs.
    looks : mapping of (kpi, unit_type, unit) to Look
        From ``looked``; silence about a chart that is not in it is no good news.

    Returns
    -------
    Cases
        Findings are those with severity ``act``.

    Notes
    -----
    An alarm opens a case unless one of the same chart is unfinished, or ended when this period
    was already known. A chart that goes on alarming in a period that began after the end of its
    case opens a new one; if the case ended inside the period, only a change dated after that does;
    a warning that is only held up opens none where there was one.

    A done case is ``verified`` when a later period, at least as long as the one that raised the
    alarm, looked at data that all lie after the action and found neither ``act`` nor ``watch``;
    ``not_effective`` when it found ``act``; else, as for a warning that is only held up, it
    cannot be told yet. What was verified stays so until another action is entered.

    Days from signal to action: Kaplan-Meier median over all cases, those without action censored
    on the day they were closed or at ``as_of``; missing while too few are done.

    Source: Brookmeyer and Crowley (1982) for the interval of the median.
    """
    acts = tuple(f for f in findings if f.severity == "act")
    levels = _levels(findings)
    met = {c: _met(looks.get(c), levels.get(c), period) for c in (*looks, *levels)}
    silent = Look("unknown", period.start)
    known = [_case(row, as_of) for row in state.to_dict("records")]
    seen = [
        _judged(case, period, as_of, met.get(case.chart, silent))
        for case in known
        if case.opened.start <= as_of
    ]
    due = as_of + timedelta(days=plan.settings["warning"]["case_due_days"])
    keys = {case.key for case in known}
    listed = [*seen, *_new(acts, seen, period, (keys, due))]
    ordered = sorted(listed, key=lambda case: _rank(case, as_of))
    return Cases(frame=_table(ordered, as_of), findings=acts,
                 note=_note(ordered, period, as_of, plan))  # fmt: skip


def looked(board: Board, period: Period) -> dict[Chart, Look]:
    """Return what the board of a period says of each chart, and on which data.

    Parameters
    ----------
    board : Board
        From ``signals.board``.
    period : Period
        The reviewed period.

    Returns
    -------
    dict
        Chart to look; ``unknown`` where the board has no point.
    """
    found = {}
    for row in board.table.to_dict("records"):
        look = Look("unknown", period.start)
        if row["until"]:
            last = parse(row["until"])
            look = Look(row["level"], last.shift(1 - len(inside(period, last.kind))).start)
        found[row["kpi"], row["unit_type"], row["unit"]] = look
    return found


def _met(look: Look | None, level: str | None, period: Period) -> Look:
    """Return the worse of what the board and the findings say."""
    if look is None:
        return Look(level or "unknown", period.start)
    order = ("act", "watch", "unknown", "calm")
    return look._replace(level=min((look.level, level or "calm"), key=order.index))


def _chart(finding: Finding) -> Chart:
    return finding.kpi, finding.unit_type, finding.unit


def _levels(findings: Iterable[Finding]) -> dict[Chart, str]:
    """Return the worst level per chart of what is not for the better; what is held is watched."""
    levels: dict[Chart, str] = {}
    for finding in findings:
        if finding.direction != "better" and finding.severity in ("act", "watch"):
            chart = _chart(finding)
            level = "watch" if finding.rule == _HELD else finding.severity
            levels[chart] = "act" if "act" in (level, levels.get(chart)) else "watch"
    return levels


def _case(row: Mapping[Any, Any], as_of: date) -> _Case:
    filled = {name: None if pd.isna(value) else value for name, value in row.items()}
    days = {name: None if pd.isna(row[name]) else row[name].date() for name in _DATES}
    past = {name: day if day and day <= as_of else None for name, day in days.items()}
    told = filled["verified_in"]
    return _Case(
        key=str(filled["key"]),
        chart=(filled["kpi"] or "", str(filled["unit_type"]), str(filled["unit"])),
        opened=parse(str(filled["period"])), **{**past, "due_on": days["due_on"]},
        verdict=filled["verdict"], verified_in=parse(told) if told else None,
        texts=tuple(filled[name] for name in _TEXTS),
    )  # fmt: skip


def _judged(case: _Case, period: Period, as_of: date, look: Look) -> _Case:
    """Return the case with what later data say of its action."""
    done, told = case.done_on, case.verified_in
    if done is None:
        return case._replace(verdict=None, verified_in=None)
    if case.verdict is None or told is None or told.start <= done or told.end > as_of:
        case = case._replace(verdict=None, verified_in=None)
    earlier = case.verified_in is not None and period.end < case.verified_in.end
    long = KINDS.index(period.kind) >= KINDS.index(case.opened.kind)
    later = min(period.start, look.start) > done and period.end <= as_of
    found = {"act": "not_effective", "calm": "verified"}.get(look.level)
    if case.verdict == "verified" or earlier or not (long and later and found):
        return case
    return case._replace(verdict=found, verified_in=period)


def _new(
    acts: Iterable[Finding], known: Iterable[_Case], period: Period, rest: tuple[set[str], date]
) -> list[_Case]:
    taken, due = set(rest[0]), rest[1]
    opened = []
    for chart in sorted({_chart(finding) for finding in acts}):
        own = [finding for finding in acts if _chart(finding) == chart]
        onset = max((finding.onset[0] for finding in own if finding.onset), default=None)
        held = all(finding.rule == _HELD for finding in own)
        if any(c.chart == chart and (held or _covers(c, period, onset)) for c in known):
            continue
        quarter = of(period.end, "quarter")
        key = _free(chart_key(chart[0], chart[2], quarter.key), taken)
        taken.add(key)
        opened.append(_Case(key=key, chart=chart, opened=period, due_on=due))
    return opened


def _covers(case: _Case, period: Period, onset: date | None) -> bool:
    """Whether a case answers for an alarm of its chart."""
    if case.ended is None:
        return True
    known = case.ended - _DAY if case.ended == case.closed_on else case.ended
    inside = period.start <= case.ended and onset is not None and onset <= case.ended
    return period.end <= known or inside


def _free(key: str, taken: Collection[str]) -> str:
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}/{number}"
    return free


def _status(case: _Case, as_of: date) -> str:
    if case.closed_on is not None:
        return "closed"
    if case.done_on is not None:
        return case.verdict or "done"
    if case.due_on is not None and case.due_on < as_of:
        return "overdue"
    *seen, action = case.texts
    return "planned" if action else "seen" if any(seen) else "new"


def _rank(case: _Case, as_of: date) -> tuple[Any, ...]:
    return STATUS.index(_status(case, as_of)), case.signal, case.chart, case.key


def _days(case: _Case, until: date) -> int:
    return max((until - case.signal).days, 0)


def _table(cases: list[_Case], as_of: date) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "case": [case.key for case in cases],
        **{
            name: [c.chart[i] for c in cases] for i, name in enumerate(("kpi", "unit_type", "unit"))
        },
        "opened": [case.opened.key for case in cases],
        "since": [_days(case, case.ended or as_of) for case in cases],
        **{name: [case.texts[i] for case in cases] for i, name in enumerate(_TEXTS)},
        "due_on": [case.due_on for case in cases],
        "done_on": [case.done_on for case in cases],
        "verified": [c.done_on and (c.verdict or "cannot_tell") for c in cases],
        "status": [_status(case, as_of) for case in cases],
    }
    types = {"since": "int", "due_on": "date", "done_on": "date"}
    return pd.DataFrame({n: series(values, types.get(n, "text")) for n, values in columns.items()})


def _note(cases: list[_Case], period: Period, as_of: date, plan: Plan) -> dict[str, Any]:
    found = [_status(case, as_of) for case in cases]
    confidence = plan.settings["statistics"]["confidence"]
    stops = [case.done_on or case.closed_on or as_of for case in cases]
    median = survival.quantile(
        [_days(case, stop) for case, stop in zip(cases, stops, strict=True)],
        [case.done_on is not None for case in cases], [1] * len(cases), _MEDIAN,
        confidence=confidence,
    )  # fmt: skip
    return {
        "period": period.key,
        "as_of": as_of.isoformat(),
        "cases": len(cases),
        "open": sum(status not in FINISHED for status in found),
        "overdue": found.count("overdue"),
        "states": {status: found.count(status) for status in STATUS},
        "days_to_action": plain(median._asdict()),
        "confidence": confidence,
        "method": "Kaplan-Meier median from signal to action; cases without action are censored",
        "due_days": plan.settings["warning"]["case_due_days"],
        "judged": {
            case.key: {"verdict": case.verdict, "verified_in": case.verified_in.key}
            for case in sorted(cases)
            if case.verdict and case.verified_in
        },
        "kpis": plan.words(),
    }


def open_cases(register: Register, cases: Cases, at: date | str, by: str) -> pd.DataFrame:
    """Write new cases, and what later data said of done ones, into the register.

    Parameters
    ----------
    register : Register
        Where cases live.
    cases : Cases
        From ``case_list``.
    at : date, datetime or ISO text
        When: the snapshot's ``as_of``, so that a rerun writes nothing.
    by : str
        Who, such as ``dealerqm review``.

    Returns
    -------
    DataFrame
        The new entries, in the columns of ``register.log``; empty when run again.

    Raises
    ------
    RegisterError
        If the register cannot be written; then nothing was.
    """
    known = set(register.state(KIND)["key"])
    period = cases.note["period"]
    fresh = [
        Change(KIND, row["case"], _opening(row, cases))
        for row in cases.table.sort_values("case").to_dict("records")
        if row["case"] not in known
    ]
    told = [Change(KIND, case, fields) for case, fields in cases.note["judged"].items()]
    written = register.extend(fresh, at=at, by=by, why=f"alarm of {period}")
    written += register.extend(told, at=at, by=by, why=f"judged on the data of {period}")
    log = register.log()
    return log[log["entry"].isin(written)].reset_index(drop=True)


def _opening(row: Mapping[Any, Any], cases: Cases) -> dict[str, Any]:
    chart = (row["kpi"], row["unit_type"], row["unit"])
    ids = sorted(f.finding_id for f in cases.findings if _chart(f) == chart)
    known = {name: row[name] for name in kind_of(KIND).fields if name in row}
    return {**known, "period": row["opened"], "finding": ", ".join(ids)}
