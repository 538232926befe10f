"""What the report shows beside the scorecard: changes, signals, charts, data quality, methods."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dealerqm import labels, plot
from dealerqm.plan import Kpi
from dealerqm.report.board import Spelled, change, goal_text, minus, unit
from dealerqm.report.pages import both
from dealerqm.result import SEVERITIES, Finding
from dealerqm.review import Review, finding_text

MOST_FINDINGS = 12
MOST_CHANGES, MOST_SIGNALS, MOST_CASES, MOST_CHARTS = 30, 40, 12, 24
SERIES = ["kpi", "unit_type", "unit"]


def changes(review: Review, table: pd.DataFrame) -> dict[str, Any]:
    """Return what moved beyond noise, and how much of that chance alone explains.

    Parameters
    ----------
    review : Review
        The review.
    table : DataFrame
        The scorecard.

    Returns
    -------
    dict
        ``group`` and ``stores`` (rows beyond noise), ``within`` (the group's other changes),
        ``beyond``, ``all`` and ``expected`` (numbers of store changes).
    """
    rows = table[table["beyond_period"].notna() | table["beyond_year"].notna()]
    words = review.plan.words()
    told = [_moved(row, review.plan.kpis[row["kpi"]], words[row["kpi"]])
            for row in rows.to_dict("records")]  # fmt: skip
    group = [row for row in told if row["unit_type"] == "group"]
    stores = table[table["unit_type"] == "store"]
    known = int(stores["beyond_period"].notna().sum())
    moved = [row for row in told if row["unit_type"] == "store" and _beyond(row["period"])]
    confidence = review.plan.settings["statistics"]["confidence"]
    return {
        "group": [row for row in group if _beyond(row["period"]) or _beyond(row["year"])],
        "within": [r for r in group if not (_beyond(r["period"]) or _beyond(r["year"]))],
        "stores": sorted(moved, key=lambda row: row["period"]["mark"] != "worse")[:MOST_CHANGES],
        "beyond": len(moved), "all": known, "expected": f"{known * (1 - confidence):.0f}",
    }  # fmt: skip


def _moved(row: Mapping[Any, Any], kpi: Kpi, words: Mapping[str, Any]) -> dict[str, Any]:
    spelled = Spelled(words, row["value"])
    marks = {name: change(row, name, kpi, spelled) for name in ("period", "year")}
    return {
        "name": kpi.name, "label": kpi.label, "unit": unit(kpi), "unit_type": row["unit_type"],
        "where": row["unit"], "value": spelled.value(row["value"]), **marks,
    }  # fmt: skip


def _beyond(mark: Mapping[str, str] | None) -> bool:
    return mark is not None and mark["mark"] != "noise"


def signals(review: Review, named: Sequence[str]) -> dict[str, Any]:
    """Return the findings in order, each as a sentence.

    Parameters
    ----------
    review : Review
        The review.
    named : sequence of str
        Ids of findings that must be among them, because the verdict refers to them.

    Returns
    -------
    dict
        ``rows``, ``all`` (how many there are), ``alarms`` and ``expected``.
    """
    found = list(review.signals.findings)
    shown = found[:MOST_SIGNALS]
    shown += [f for f in found[MOST_SIGNALS:] if f.finding_id in named]
    rows = [_finding(review, finding) for finding in shown]
    expected = f"{float(review.board.note['expected_false_alarms']):.1f}"
    alarms = sum((f.subject, f.severity) == ("signals", "act") for f in found)
    picture = None if review.board.frame.empty else plot.draw(review.board, plot.BOTH)
    drawn = picture and {
        "svg": plot.inline(picture.svg, "board-map"),
        "alt": {c: review.board.plot(c).alt for c in labels.languages()},
    }
    return {
        "rows": rows, "all": len(found), "alarms": alarms, "expected": expected, "map": drawn,
    }  # fmt: skip


def _finding(review: Review, finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.finding_id, "severity": finding.severity, "direction": finding.direction,
        "text": {c: minus(finding_text(finding, review.plan, c)) for c in labels.languages()},
    }  # fmt: skip


def subjects(review: Review) -> list[dict[str, Any]]:
    """Return the subjects beside the KPIs: where each stands, and what stands out.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    list of dict
        ``name``, ``reason`` (why it is absent, or empty), ``headline`` and ``rows`` (findings as
        sentences) and ``all`` (how many findings there are).
    """
    shown = []
    for name, done in review.subjects.items():
        ordered = sorted(done.findings, key=lambda found: SEVERITIES.index(found.severity))
        shown.append({
            "name": name, "reason": getattr(done, "reason", ""), "all": len(ordered),
            "headline": [_finding(review, found) for found in done.headline],
            "rows": [_finding(review, found) for found in ordered[:MOST_FINDINGS]],
        })  # fmt: skip
    return shown


def cases(review: Review) -> dict[str, Any]:
    """Return the alert cases: how many are open and overdue, and the first of them.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    dict
        ``open``, ``overdue``, ``all``, ``days`` (Markup) and ``rows``; people's names and texts
        stay in the register.
    """
    note, rows = review.cases.note, []
    for row in review.cases.table.head(MOST_CASES).to_dict("records"):
        kpi = review.plan.kpis[row["kpi"]]
        due = "–" if pd.isna(row["due_on"]) else str(row["due_on"])[:10]
        rows.append({
            "name": kpi.name, "label": kpi.label, "unit": unit(kpi), "where": row["unit"],
            "status": row["status"], "opened": row["opened"], "since": row["since"], "due": due,
        })  # fmt: skip
    days = {name: value for name, value in note["days_to_action"].items() if value is not None}
    told = {name: f"{days[name]:.0f}" if name in days else "–" for name in ("low", "high")}
    said = (
        both("case_total.days", days=f"{days['estimate']:.0f}", **told)
        if "estimate" in days
        else both("case_total.no_days")
    )
    return {
        "open": note["open"], "overdue": note["overdue"], "all": len(review.cases.table),
        "days": said, "rows": rows,
    }  # fmt: skip


def charts(review: Review, table: pd.DataFrame) -> dict[str, Any]:
    """Return the control charts: the group's by area, then the units with a signal.

    Parameters
    ----------
    review : Review
        The review.
    table : DataFrame
        Its control charts.

    Returns
    -------
    dict
        ``areas`` with figures, ``units`` (figures), ``all`` (how many units signal).
    """
    series = {key: part for key, part in table.groupby(SERIES, sort=False)}
    areas = []
    for area, label in review.plan.settings["areas"].items():
        keys = [(k.name, "group", "group") for k in review.plan.kpis.values() if k.area == area]
        figures = [_figure(review, key, series[key]) for key in keys if key in series]
        areas.append({"label": label, "figures": figures})
    alarmed = signalling(review.findings)
    shown = [key for key in alarmed if key in series][:MOST_CHARTS]
    return {
        "areas": [area for area in areas if area["figures"]],
        "units": [_figure(review, key, series[key]) for key in shown], "all": len(alarmed),
        "signs": plot.signs(),
    }  # fmt: skip


def signalling(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """Return the series of stores and regions that raised an alarm, most urgent first.

    Parameters
    ----------
    findings : sequence of Finding
        Ranked.

    Returns
    -------
    list of (str, str, str)
        KPI, type and id of the unit, each once.
    """
    alarms = [f for f in findings if f.subject == "signals" and f.unit_type != "group"]
    return list(dict.fromkeys((f.kpi, f.unit_type, f.unit) for f in alarms))


def _figure(review: Review, key: tuple[str, str, str], frame: pd.DataFrame) -> dict[str, Any]:
    kpi = review.plan.kpis[key[0]]
    goal = kpi.goal if kpi.goal and kpi.goal.since <= review.period.end else None
    panel = plot.Panel(kpi.label, goal.value if goal else None, kpi.better, kpi.measure)
    panel = plot.marked(panel, review.charts.note, (key[0], key[2]))
    picture = plot.chart(frame, panel, plot.BOTH)
    name = f"c-{key[0]}-{key[2]}" if key[1] != "group" else f"c-{key[0]}"
    where = {} if key[1] == "group" else {"where": key[2]}
    alt = {code: plot.describe(frame, panel, code) for code in labels.languages()}
    said = {c: text.removeprefix(kpi.label[c]).lstrip("：: ") for c, text in alt.items()}
    slug = "".join(letter if re.fullmatch(r"[\w-]", letter, re.ASCII) else "-" for letter in name)
    return {
        "id": slug, "name": kpi.name, "label": kpi.label, "unit": unit(kpi), "alt": said,
        "svg": plot.inline(picture.svg, slug), **where,
    }  # fmt: skip


def quality(review: Review) -> dict[str, Any]:
    """Return what happened to the rows of the files.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    dict
        ``counts`` with their ``total``, and ``issues``.
    """
    counts = review.counts.table
    numbers = [name for name in counts.columns if name not in ("file", "table")]
    tables = {name: table.label for name, table in review.plan.tables.items()}
    rows = [
        {
            "file": row["file"], "table": tables.get(row["table"], _same(str(row["table"]))),
            "numbers": [f"{int(row[name]):,}" for name in numbers],
        }
        for row in counts.to_dict("records")
    ]  # fmt: skip
    return {
        "numbers": numbers, "counts": rows,
        "total": [f"{int(counts[name].sum()):,}" for name in numbers],
        "issues": [_issue(row) for row in review.quality.table.to_dict("records")],
    }  # fmt: skip


def _issue(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(name): "" if pd.isna(value) else value if isinstance(value, str) else f"{value:,.0f}"
        for name, value in row.items()
    }


def _same(text: str) -> dict[str, str]:
    return dict.fromkeys(labels.languages(), text)


def definitions(review: Review) -> list[dict[str, Any]]:
    """Return what every KPI means.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    list of dict
        One a KPI, in the order of the plan.
    """
    found = []
    for kpi in review.plan.kpis.values():
        goal = None
        if kpi.goal:
            since = kpi.goal.since.isoformat()
            goal = {"value": goal_text(kpi, kpi.goal.value), "since": since}
        found.append(
            {
                "name": kpi.name, "label": kpi.label, "unit": unit(kpi), "about": kpi.about,
                "stat": kpi.stat, "interval": _interval(kpi), "better": kpi.better, "goal": goal,
                "source": kpi.source, "version": kpi.version,
            }
        )  # fmt: skip
    return found


def _interval(kpi: Kpi) -> str:
    if kpi.follow_up:
        return "kaplan_meier"
    return "brookmeyer" if kpi.stat == "quantile" and kpi.age else kpi.interval


def benchmarks(review: Review) -> list[dict[str, Any]]:
    """Return the figures from outside that stand beside goals.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    list of dict
        One a benchmark, in the order of the plan.
    """
    found = []
    for name, entry in review.plan.benchmarks.items():
        kpi = review.plan.kpis.get(entry.get("kpi", ""))
        value = plot.short(entry["value"], kpi.measure if kpi else "share")
        label = kpi.label if kpi else None
        found.append({**entry, "name": name, "label": label, "value": value})
    return found


def methods(review: Review) -> list[Any]:
    """Return the method lines.

    Parameters
    ----------
    review : Review
        For the settings that they state.

    Returns
    -------
    list of Markup
        One a line.
    """
    settings = review.plan.settings
    confidence = f"{settings['statistics']['confidence']:.0%}"
    allowed = settings["charts"]["false_alarms"]
    rates = {k: f"{v:.0%}" for k, v in settings["warning"]["false_discoveries"].items()}
    fields: dict[str, dict[str, object]] = {
        "value": {}, "interval": {"confidence": confidence}, "change": {}, "follow_up": {},
        "charts": {"alarms": f"{allowed['charts']:g}", "years": f"{allowed['years']:g}",
                   "baseline": settings["charts"]["baseline_periods"],
                   "minimum": settings["charts"]["minimum_periods"]},
        "board": {"reach": settings["warning"]["reach"], **rates},
        "few": {"minimum": settings["statistics"]["minimum_n"], "k": settings["publication"]["k"]},
        "festival": {}, "private": {},
    }  # fmt: skip
    return [both(f"method.{name}", **values) for name, values in fields.items()]
