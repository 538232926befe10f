"""The report folder: one bilingual offline page, a page per notebook, tables, findings, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dealerqm import labels
from dealerqm.publish import publish, suppress
from dealerqm.report import board, evidence
from dealerqm.report.notebook import heading, notebook_html
from dealerqm.report.pages import render
from dealerqm.report.tables import CHART_COUNTS, SCORECARD_COUNTS, shown_series, workbook
from dealerqm.review import Review, sentences

__all__ = ["index_html", "notebook_html", "write"]

NOTEBOOKS = "notebooks"


def write(
    review: Review, target: Path, *, notebooks: Mapping[str, Any] | None = None,
    log: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Path:  # fmt: skip
    """Publish the report of a review.

    Parameters
    ----------
    review : Review
        The review.
    target : Path
        Report folder, such as ``reports/2026Q3``.
    notebooks : mapping or None
        Name to executed notebook, or to the reason why it failed.
    log : callable
        Given the manifest once the folder is in place.

    Returns
    -------
    Path
        The folder: ``index.html``, a page per notebook, ``tables.xlsx``, ``findings.json``,
        ``facts.json``, ``manifest.json``.

    Raises
    ------
    PublishError
        If it cannot be written; the earlier report is intact.
    """
    done = dict(notebooks or {})
    files: dict[str, Any] = {
        "index.html": index_html(review, done),
        "tables.xlsx": workbook(review),
        "findings.json": [finding.as_dict() for finding in review.findings],
        "facts.json": review.facts,
    }
    for name, notebook in done.items():
        if not isinstance(notebook, str):
            files[f"{name}.html"] = notebook_html(notebook, title=name, home="index.html")
    k = int(review.plan.settings["publication"]["k"])
    counts = review.counts.table.drop(columns=["file", "table"]).sum()
    stamp = {**review.stamp, "rows": {name: int(n) for name, n in counts.items()}}
    publish(target, files, k=k, stamp=stamp, log=log)
    return target


def index_html(review: Review, notebooks: Mapping[str, Any] | None = None) -> str:
    """Return the start page.

    Parameters
    ----------
    review : Review
        The review.
    notebooks : mapping or None
        As for ``write``; linked from the page.

    Returns
    -------
    str
        One bilingual HTML file that loads nothing.
    """
    k = int(review.plan.settings["publication"]["k"])
    table = suppress(review.scorecard.table, SCORECARD_COUNTS, k=k)
    drawn = suppress(shown_series(review), CHART_COUNTS, k=k)
    group = table[table["unit_type"] == "group"]
    told = {code: sentences(review, code) for code in labels.languages()}
    first = told[labels.languages()[0]]
    verdict: list[dict[str, Any]] = [
        {"id": finding_id, "text": {code: board.minus(told[code][i][0]) for code in told}}
        for i, (_, finding_id) in enumerate(first)
    ]
    areas = board.by_area(review, group)
    context: dict[str, Any] = {
        "head": _head(review), "tiles": board.tiles(group), "verdict": verdict, "areas": areas,
        "dimensions": board.by_dimension(review, areas), "forest": board.forest(review, group),
        "matrix": board.matrix(review, table), "changes": evidence.changes(review, table),
        "signals": evidence.signals(review, [entry["id"] for entry in verdict]),
        "subjects": evidence.subjects(review), "cases": evidence.cases(review),
        "charts": evidence.charts(review, drawn),
        "quality": evidence.quality(review),
        "definitions": evidence.definitions(review), "benchmarks": evidence.benchmarks(review),
        "methods": evidence.methods(review), "stamp": review.stamp, "signs": board.SIGNS,
        "remedies": {key.partition(".")[2] for key in labels.keys() if key.startswith("remedy.")},  # noqa: SIM118
        "notebooks": [
            {"name": name, "done": False, "label": name, "reason": notebook}
            if isinstance(notebook, str)
            else {"name": name, "done": True, "label": heading(notebook)}
            for name, notebook in (notebooks or {}).items()
        ],
    }  # fmt: skip
    title = {
        code: labels.text("page.title", code, period=review.period.key)
        for code in labels.languages()
    }
    return render("index.html.jinja", title=title, context=context)


def _head(review: Review) -> dict[str, Any]:
    period = review.period
    units = review.scorecard.table.query("unit_type == 'store'")["unit"]
    return {
        "period": period.key, "start": period.start.isoformat(), "end": period.end.isoformat(),
        "previous": period.shift(-1).key, "year": period.year_before().key,
        "stores": int(units.nunique()), "plan": review.plan.settings["plan"]["name"],
        "confidence": f"{review.plan.settings['statistics']['confidence']:.0%}",
        "aligned": bool(review.scorecard.table["aligned"].any()),
    }  # fmt: skip
