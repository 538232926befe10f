"""From parameters to a review: checked first, then one pure function of snapshot and plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from dealerqm import labels, period, plan, store
from dealerqm.cases import case_list, looked
from dealerqm.errors import ParameterError, unknown
from dealerqm.facts import Ask, Facts
from dealerqm.kpi import scorecard, values
from dealerqm.kpi.cells import Span
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.review.charts import marked
from dealerqm.review.ledger import Ledger, ledger, open_register
from dealerqm.review.model import Counts, Quality, Review
from dealerqm.review.stamp import stamp
from dealerqm.signals import board as early_warning
from dealerqm.signals import rank
from dealerqm.spc import collect, draw, stack
from dealerqm.subjects import analyses

ALL = "all"
_TOLD = ("kpis", "charts", "unknown", "expected_false_alarms", "expected_false_watches")
CHART_KIND = {"week": "week", "month": "month", "quarter": "month", "year": "month"}


@dataclass(frozen=True)
class Parameters:
    """What a review is asked for; the same names serve command line, notebooks and widgets.

    Attributes
    ----------
    period : str
        A week, month, quarter or year, or ``latest`` for the newest complete quarter.
    stores : str
        ``all``, a region, or store ids joined by commas.
    language : str
        ``zh`` or ``en``.
    project : str
        Project folder.
    """

    period: str = "latest"
    stores: str = ALL
    language: str = "zh"
    project: str = "."


def start(
    *, project: str = ".", period: str = "latest", stores: str = ALL, language: str = "zh"
) -> Review:
    """Check the parameters, open the newest snapshot of a project and run the review.

    Parameters
    ----------
    project : str
        Project folder.
    period : str
        Week, month, quarter or year, or ``latest``.
    stores : str
        ``all``, a region, or store ids joined by commas.
    language : str
        Language of the notebook.

    Returns
    -------
    Review
        The review.

    Raises
    ------
    ParameterError
        If a parameter cannot be used; the message names what can.
    SnapshotError
        If the project has no snapshot, or a changed one.
    """
    prepared = prepare(Parameters(period, stores, language, project))
    return run(*prepared, ledger(open_register(Path(project), prepared[0], prepared[1])))


def prepare(asked: Parameters) -> tuple[store.Snapshot, Plan, Period, dict[str, str]]:
    """Check the parameters against a project and its newest snapshot.

    Parameters
    ----------
    asked : Parameters
        As given by the caller.

    Returns
    -------
    (Snapshot, Plan, Period, dict)
        What ``run`` takes: snapshot, plan, period, and store to region.

    Raises
    ------
    ParameterError
        If the language, period or stores cannot be used.
    """
    if asked.language not in labels.languages():
        raise ParameterError(unknown("language", asked.language, labels.languages()))
    if asked.period != "latest":
        period.parse(asked.period)
    folder = Path(asked.project)
    chosen = project_plan(folder)
    snapshot = store.open_snapshot(folder)
    facts = _facts(snapshot)
    return snapshot, chosen, _period(asked.period, snapshot, facts), _stores(asked.stores, facts)


def project_plan(folder: Path) -> Plan:
    """Return the plan of a project: its own ``plan.toml``, else the default.

    Parameters
    ----------
    folder : Path
        Project folder.

    Returns
    -------
    Plan
        The checked plan.
    """
    own = folder / "plan.toml"
    return plan.load(own if own.is_file() else None)


def run(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str],
    written: Ledger,
) -> Review:  # fmt: skip
    """Review one period of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
        The data.
    plan : Plan
        KPIs, goals, settings.
    period : Period
        Week, month, quarter or year.
    regions : mapping of str to str
        Store to region: the stores reviewed.
    written : Ledger
        What people decided about charts, and the alert cases so far.

    Returns
    -------
    Review
        The same inputs give the same review.
    """
    facts = _facts(snapshot)
    names = [name for name in plan.kpis if _tables(plan, name) <= set(snapshot.tables)]
    kind = CHART_KIND[period.kind]
    history = values(facts, plan, regions, span=Span(period.kind, snapshot.as_of), names=names)
    fine = (
        history
        if kind == period.kind
        else values(facts, plan, regions, span=Span(kind, snapshot.as_of), names=names)
    )
    board = scorecard(facts, plan, regions, period, as_of=snapshot.as_of, history=history)
    laid = collect(fine, plan, period)
    charts = draw(stack(laid, plan, period, written.notes), plan)
    warned = early_warning(laid, plan, period, regions, written.notes)
    signals = rank((*board.findings, *warned.findings), {n: warned.note[n] for n in _TOLD})
    cases = case_list(
        written.cases, signals.findings, period, snapshot.as_of, plan,
        looks=looked(warned, period),
    )  # fmt: skip
    return Review(
        period=period,
        plan=plan,
        stamp=stamp(snapshot, plan, period, regions, written.notes),
        scorecard=board,
        charts=marked(charts, warned, written.notes),
        board=warned,
        cases=cases,
        signals=signals,
        quality=_quality(snapshot),
        counts=_counts(snapshot),
        notes=written.notes,
        monthly=fine,
        values=history,
        analyse=partial(analyses, snapshot, plan, period, regions),
    )


def _facts(snapshot: store.Snapshot) -> Facts:
    return Facts(lambda table: store.relation(snapshot, table))


def _tables(plan: Plan, name: str) -> set[str]:
    kpi = plan.kpis[name]
    if kpi.stat == "spread":
        return _tables(plan, kpi.of)
    return {kpi.table, kpi.per.table} if kpi.per else {kpi.table}


def _period(asked: str, snapshot: store.Snapshot, facts: Facts) -> Period:
    first, _ = facts.extent("service_orders", "opened_at_day")
    start = period.of(pd.Timestamp(first).date(), "quarter")
    last = period.of(snapshot.as_of, "quarter")
    if last.end > snapshot.as_of:
        last = last.shift(-1)
    allowed = [p.key for p in period.span(start, last)]
    if asked == "latest":
        if not allowed:
            raise ParameterError(
                f"period: no quarter is complete on {snapshot.as_of}; ask for a month or a week."
            )
        return last
    wanted = period.parse(asked)
    if wanted.end < start.start or wanted.start > snapshot.as_of:
        raise ParameterError(
            f"period: {asked!r} has no data. Allowed: {allowed[0]} to {allowed[-1]} "
            f"(data from {start.start} to {snapshot.as_of})."
        )
    return wanted


def _stores(asked: str, facts: Facts) -> dict[str, str]:
    table = facts.rows(Ask("stores", ("store_id",)), ["region"])
    regions = dict(zip(table["store_id"], table["region"], strict=True))
    if asked == ALL:
        return regions
    chosen: dict[str, str] = {}
    for word in (part.strip() for part in asked.split(",")):
        found = {s: r for s, r in regions.items() if word in (s, r)}
        if not found:
            raise ParameterError(unknown("stores", word, [ALL, *set(regions.values()), *regions]))
        chosen |= found
    return dict(sorted(chosen.items()))


def _quality(snapshot: store.Snapshot) -> Quality:
    by = ["file", "sheet", "column", "rule", "action", "expected"]
    issues = snapshot.issues
    grouped = issues.groupby(by, as_index=False, dropna=False).agg(
        count=("count", "sum"), first_row=("row", "min")
    )
    table = grouped.sort_values(by, kind="stable").reindex(columns=list(Quality.COLUMNS))
    return Quality(frame=table, note={"snapshot": snapshot.id})


def _counts(snapshot: store.Snapshot) -> Counts:
    table = snapshot.counts.reindex(columns=list(Counts.COLUMNS))
    return Counts(frame=table.sort_values("file", kind="stable"), note={"snapshot": snapshot.id})
