"""The sentences of a review: findings and totals in words, from ``labels.toml``."""

from __future__ import annotations

import pandas as pd

from dealerqm import labels
from dealerqm.result import Finding
from dealerqm.review.model import Review
from dealerqm.wording import finding_text

_COUNTED = ("met", "missed", "cannot_tell", "too_early")


def sentences(review: Review, lang: str) -> list[tuple[str, str]]:
    """Return the verdict of the period in a few sentences.

    Parameters
    ----------
    review : Review
        The review.
    lang : str
        Language code.

    Returns
    -------
    list of (str, str)
        Sentence and the id of the finding behind it, empty for totals.
    """
    group = review.scorecard.table.query("unit_type == 'group'")
    verdicts = group["verdict"].value_counts()
    counted = {name: int(verdicts.get(name, 0)) for name in _COUNTED}
    goals = int(group["goal"].notna().sum())
    told = [(labels.text("sentence.goals", lang, goals=goals, **counted), "")]
    told += [_told(review, f, lang) for f in _first(review, "goal_missed", "worse", 2)]
    told += [_told(review, f, lang) for f in _first(review, "change_period", "worse", 1)]
    told += [_told(review, f, lang) for f in _first(review, "change_period", "better", 1)]
    if len(told) == 1:
        told.append((labels.text("sentence.quiet", lang), ""))
    found = review.scorecard.note
    told.append((labels.text("sentence.changes", lang, changes=found["changes"],
                             comparisons=found["comparisons"],
                             expected=f"{found['expected_false_changes']:.0f}"), ""))  # fmt: skip
    note, shown = review.board.note, review.board.table["shown"].value_counts()
    told.append((labels.text("sentence.alarms", lang, charts=note["charts"],
                             act=int(shown.get("act", 0)), watch=int(shown.get("watch", 0)),
                             unknown=note["unknown"],
                             expected=f"{note['expected_false_alarms']:.1f}"), ""))  # fmt: skip
    return told


def verdict(review: Review, lang: str) -> pd.DataFrame:
    """Return the verdict of the period as a table, for notebooks.

    Parameters
    ----------
    review : Review
        The review.
    lang : str
        Language code.

    Returns
    -------
    DataFrame
        Sentence and the id of its finding.
    """
    columns = [labels.text("column.sentence", lang), labels.text("column.finding_id", lang)]
    return pd.DataFrame(sentences(review, lang), columns=columns)


def _first(review: Review, rule: str, direction: str, n: int) -> list[Finding]:
    return [
        f
        for f in review.findings
        if (f.rule, f.direction, f.unit_type) == (rule, direction, "group")
    ][:n]


def _told(review: Review, finding: Finding, lang: str) -> tuple[str, str]:
    return finding_text(finding, review.plan, lang), finding.finding_id
