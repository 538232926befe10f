"""The report's workbook: the same tables with all rows and numbers that stay numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dealerqm import labels
from dealerqm.publish import Sheet
from dealerqm.report.evidence import SERIES, signalling
from dealerqm.result import Result
from dealerqm.review import Review

SCORECARD_COUNTS = {
    "n": [
        "value", "low", "high", "change_period", "change_period_low", "change_period_high",
        "beyond_period", "change_year", "change_year_low", "change_year_high", "beyond_year",
    ]
}  # fmt: skip
PEOPLE = ["seen_by", "owner", "cause", "corrective_action"]  # stays in the register
CHART_COUNTS = {"n": ["value", "beyond"]}
SHARES = {"kpi", "kpi_change"}


def workbook(review: Review) -> dict[str, Sheet]:
    """Return the sheets of ``tables.xlsx``.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    dict of str to Sheet
        A sheet of explanations first.
    """
    parts: dict[str, tuple[Result, pd.DataFrame, Mapping[str, list[str]]]] = {
        "scorecard": (review.scorecard, review.scorecard.table, SCORECARD_COUNTS),
        "charts": (review.charts, shown_series(review), CHART_COUNTS),
        "board": (review.board, review.board.table, {}),
        "signals": (review.signals, review.signals.table, {}),
        "cases": (review.cases, review.cases.table.drop(columns=PEOPLE), {}),
        **{n: (r, r.table, {}) for s in review.subjects.values() for n, r in s.sheets.items()},
        "quality": (review.quality, review.quality.table, {}),
        "counts": (review.counts, review.counts.table, {}),
    }
    sheets = {_name("readme"): Sheet(_readme(review, [part[0] for part in parts.values()]))}
    for name, (result, frame, counts) in parts.items():
        sheets[_name(name)] = _sheet(review, result, frame, counts)
    sheets[_name("definitions")] = Sheet(_definitions(review))
    sheets[_name("benchmarks")] = Sheet(_benchmarks(review))
    return sheets


def shown_series(review: Review) -> pd.DataFrame:
    """Return the control charts that leave: the group's, and those with an alarm.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    DataFrame
        Rows of the charts.
    """
    table = review.charts.table
    alarmed = pd.DataFrame(signalling(review.findings), columns=SERIES)
    loud = table[SERIES].merge(alarmed.assign(loud=True), on=SERIES, how="left")["loud"]
    return table[(table["unit_type"] == "group") | loud.notna().to_numpy()].reset_index(drop=True)


def _name(key: str) -> str:
    zh, en = (labels.text(f"sheet.{key}", lang) for lang in ("zh", "en"))
    return f"{zh} {en}"


def _sheet(
    review: Review, result: Result, frame: pd.DataFrame, counts: Mapping[str, list[str]]
) -> Sheet:
    headings = {
        name: "\n".join([*(labels.text(unit.label, c) for c in labels.languages()), name])
        for name, unit in result.COLUMNS.items()
    }
    percent: dict[str, list[bool]] = {}
    if "kpi" in frame:
        shares = [_is_share(review, name) for name in frame["kpi"]]
        percent = {n: shares for n, unit in result.COLUMNS.items() if unit.measure in SHARES}
        place = list(frame.columns).index("kpi") + 1
        for lang in reversed(labels.languages()):
            names = [_label(review, name, lang) for name in frame["kpi"]]
            frame.insert(place, f"kpi_{lang}", names)
            headings[f"kpi_{lang}"] = f"{labels.text('head.kpi', lang)}\n\nkpi_{lang}"
    return Sheet(frame, headings, counts, percent)


def _is_share(review: Review, name: str) -> bool:
    return name in review.plan.kpis and review.plan.kpis[name].measure == "share"


def _label(review: Review, name: str, lang: str) -> str:
    return review.plan.kpis[name].label[lang] if name in review.plan.kpis else ""


def _readme(review: Review, results: list[Result]) -> pd.DataFrame:
    """Return the stamp and the meaning of every column."""
    rows = [
        (*(_stamp_word(name, lang) for lang in ("zh", "en")), name, str(value))
        for name, value in review.stamp.items()
    ]
    columns = {name: unit for result in results for name, unit in result.COLUMNS.items()}
    rows += [
        (*(labels.text(unit.label, lang) for lang in ("zh", "en")), name, unit.measure)
        for name, unit in columns.items()
    ]
    heads = [labels.text("head.item", "zh"), labels.text("head.item", "en"), "name", "value"]
    return pd.DataFrame(rows, columns=heads)


def _stamp_word(name: str, lang: str) -> str:
    key = f"stamp.{name}"
    return labels.text(key, lang) if key in labels.keys() else name  # noqa: SIM118  no mapping


def _definitions(review: Review) -> pd.DataFrame:
    rows = [
        {
            "kpi": kpi.name, "kpi_zh": kpi.label["zh"], "kpi_en": kpi.label["en"],
            "area": kpi.area, "dimension": kpi.dimension, "stat": kpi.stat,
            "interval": kpi.interval, "unit": kpi.unit or kpi.measure, "better": kpi.better,
            "goal": kpi.goal.value if kpi.goal else None,
            "since": kpi.goal.since.isoformat() if kpi.goal else None,
            "about_zh": kpi.about["zh"], "about_en": kpi.about["en"], "source": kpi.source,
            "version": kpi.version,
        }
        for kpi in review.plan.kpis.values()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _benchmarks(review: Review) -> pd.DataFrame:
    rows = [
        {
            "benchmark": name, "kpi": entry.get("kpi"), "value": float(entry["value"]),
            "population_zh": entry["population"]["zh"], "population_en": entry["population"]["en"],
            "year": entry["year"], "source": entry["source"], "status": entry["status"],
        }
        for name, entry in review.plan.benchmarks.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)
