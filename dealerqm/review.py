"""The quarterly review: from a snapshot and a plan to everything that the report shows.

``run`` is a pure function of the snapshot, the plan and the parameters; ``start`` is its door for
notebooks and the command line, which checks the parameters first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd

from dealerqm import __version__, labels, period, plan, store
from dealerqm.errors import ParameterError, unknown
from dealerqm.facts import Ask, Facts
from dealerqm.kpi import Scorecard, scorecard, values
from dealerqm.kpi.cells import Span
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.result import Finding, Result, Unit, plain
from dealerqm.signals import Signals, rank
from dealerqm.spc import ControlCharts, control_charts

ALL = "all"
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
    """Rows of every file: loaded + quarantined + duplicates + non-data = rows."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "file": Unit("text", "column.file"),
            "table": Unit("text", "column.table"),
            "rows": Unit("count", "column.rows"),
            "loaded": Unit("count", "column.loaded"),
            "quarantined": Unit("count", "column.quarantined"),
            "duplicates": Unit("count", "column.duplicates"),
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
    scorecard, charts, signals, quality, counts : Result
        The parts.
    values : DataFrame
        KPI values of all periods of the reviewed kind.
    """

    period: Period
    plan: Plan
    stamp: Mapping[str, Any]
    scorecard: Scorecard
    charts: ControlCharts
    signals: Signals
    quality: Quality
    counts: Counts
    values: pd.DataFrame = field(repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, ranked."""
        return self.signals.findings

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

    def sentences(self, lang: str) -> list[tuple[str, str]]:
        """Return the verdict of the period in a few sentences.

        Parameters
        ----------
        lang : str
            Language code.

        Returns
        -------
        list of (str, str)
            Sentence and the id of the finding behind it, empty for totals.
        """
        return _sentences(self, lang)


_CHANGE_FACTS = ("change_period", "change_period_low", "change_period_high", "beyond_period")


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
    return run(*prepare(Parameters(period, stores, language, project)))


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


def run(snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]) -> Review:
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

    Returns
    -------
    Review
        The same inputs give the same review.
    """
    facts = _facts(snapshot)
    names = [name for name in plan.kpis if _tables(plan, name) <= set(snapshot.tables)]
    kind = CHART_KIND[period.kind]
    history = values(facts, plan, regions, span=Span(period.kind), names=names)
    fine = (
        history
        if kind == period.kind
        else values(facts, plan, regions, span=Span(kind), names=names)
    )
    board = scorecard(facts, plan, regions, period, history=history)
    charts = control_charts(fine, plan, period)
    note = {
        "kpis": plan.words(),
        "expected_false_alarms": charts.note["expected_false_alarms"],
        "points_judged": charts.note["points_judged"],
    }
    return Review(
        period=period,
        plan=plan,
        stamp=_stamp(snapshot, plan, period, regions),
        scorecard=board,
        charts=charts,
        signals=rank((*board.findings, *charts.findings), note),
        quality=_quality(snapshot),
        counts=_counts(snapshot),
        values=history,
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
    chosen = {}
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


def _stamp(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "period": period.key,
        "stores": ", ".join(regions),
        "snapshot": snapshot.id,
        "as_of": snapshot.as_of.isoformat(),
        "plan": plan.digest,
        "plan_version": plan.settings["plan"]["version"],
        "dealerqm": __version__,
        "code": code_digest(),
        "lock": lock_digest(),
        "demonstration_key": bool(snapshot.manifest.get("demonstration_key", False)),
    }


def code_digest() -> str:
    """Return the SHA-256 of the package's own files.

    Returns
    -------
    str
        First 16 hexadecimal digits.

    Examples
    --------
    >>> len(code_digest())
    16
    """
    root = Path(str(resources.files("dealerqm")))
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml", ".jinja")):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:16]


def lock_digest() -> str:
    """Return the SHA-256 of the dependency lock beside the package, or ``not found``.

    Returns
    -------
    str
        First 16 hexadecimal digits.
    """
    lock = Path(str(resources.files("dealerqm"))).parent / "requirements.lock"
    if not lock.is_file():
        return "not found"
    return hashlib.sha256(lock.read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]


def _sentences(review: Review, lang: str) -> list[tuple[str, str]]:
    group = review.scorecard.table.query("unit_type == 'group'")
    verdicts = group["verdict"].value_counts()
    counted = {name: int(verdicts.get(name, 0)) for name in ("met", "missed", "cannot_tell")}
    goals = int(group["goal"].notna().sum())
    told = [(labels.text("sentence.goals", lang, goals=goals, **counted), "")]
    told += [_told(review, f, lang) for f in _first(review, "goal_missed", "worse", 2)]
    told += [_told(review, f, lang) for f in _first(review, "change_period", "worse", 1)]
    told += [_told(review, f, lang) for f in _first(review, "change_period", "better", 1)]
    if len(told) == 1:
        told.append((labels.text("sentence.quiet", lang), ""))
    note = review.signals.note
    alarms = sum(f.subject == "spc" for f in review.findings)
    told.append((labels.text("sentence.alarms", lang, alarms=alarms,
                             points=note["points_judged"],
                             expected=f"{note['expected_false_alarms']:.1f}"), ""))  # fmt: skip
    return told


def _first(review: Review, rule: str, direction: str, n: int) -> list[Finding]:
    return [
        f
        for f in review.findings
        if (f.rule, f.direction, f.unit_type) == (rule, direction, "group")
    ][:n]


def _told(review: Review, finding: Finding, lang: str) -> tuple[str, str]:
    return finding_text(finding, review.plan, lang), finding.finding_id


def finding_text(finding: Finding, plan: Plan, lang: str) -> str:
    """Return a finding as a sentence.

    Parameters
    ----------
    finding : Finding
        Any finding of a review.
    plan : Plan
        For the KPI's name and measure.
    lang : str
        Language code.

    Returns
    -------
    str
        One sentence.
    """
    from dealerqm.result import spell_kpi

    kpi = plan.words()[finding.kpi]
    rule, _, place = finding.rule.partition(":")
    form = "kpi_change" if rule.startswith("change") else "kpi"
    numbers = {
        name: spell_kpi(getattr(finding, name), form, kpi, lang)
        for name in ("value", "low", "high", "expected")
    }
    return labels.text(
        f"finding.{rule}", lang, kpi=kpi["label"][lang], place=place,
        unit=spell_kpi(finding.unit, "unit_name", kpi, lang),
        direction=labels.text(f"direction.{finding.direction}", lang), **numbers,
    )  # fmt: skip
