"""Customer and staff surveys: who answered, how satisfied they are, how sure that is, and why.

``analyse`` reads a snapshot; each part of the analysis is computed when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dealerqm import labels, store
from dealerqm.errors import MethodError, ParameterError, unknown
from dealerqm.fieldwork import quality, rows
from dealerqm.fieldwork import response as answering
from dealerqm.fieldwork.instrument import Instrument, themes
from dealerqm.fieldwork.rows import Survey, load, read
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.psychometrics.agreement import alpha
from dealerqm.result import Finding, Result, Unit, plain, spell
from dealerqm.survey import explain, voices
from dealerqm.survey import scores as scoring
from dealerqm.wording import finding_text

__all__ = [
    "Analysis", "Instrument", "Standard", "Survey", "analyse", "explain", "load", "quality",
    "read", "rows", "standard", "themes", "voices",
]  # fmt: skip

WEIGHTING = ("on", "off")
_PARTS = (
    "response", "items", "coverage", "doubts", "telling", "modes", "margins", "audit", "scores",
    "changes", "stores", "drivers", "comments", "low_scores", "staff",
)  # fmt: skip
_LEVELS = ("group", "region", "store")


@dataclass(frozen=True)
class Analysis:
    """The survey of one wave; every part is a Result, made once when first asked for.

    Attributes
    ----------
    survey : Survey
        Invitations, answers, plan.
    """

    survey: Survey

    @cached_property
    def weighted(self) -> quality.Weighted:
        """The answers of the reviewed wave and of the one before, with their weights."""
        return quality.weigh(self.survey)

    @cached_property
    def response(self) -> answering.Response:
        """Who was invited and who answered."""
        return answering.response(self.survey)

    @cached_property
    def items(self) -> answering.Items:
        """What was asked, its weights in the index, and what is left out."""
        return answering.item_gaps(self.survey)

    @cached_property
    def coverage(self) -> rows.Coverage:
        """Touchpoints that a store never surveys."""
        return rows.coverage(self.survey)

    @cached_property
    def doubts(self) -> quality.Doubts:
        """Doubtful answers and what the weighting does with them."""
        return quality.doubts(self.survey, quality.flags(self.survey))

    @cached_property
    def telling(self) -> answering.Telling:
        """Stores in which answering depends on satisfaction."""
        return self.weighted.telling

    @cached_property
    def modes(self) -> scoring.Modes:
        """Channels against each other."""
        return scoring.modes(self.survey)

    @cached_property
    def margins(self) -> scoring.Margins:
        """Answers against the population, before and after weighting."""
        return scoring.margins(self.weighted)

    @cached_property
    def audit(self) -> scoring.Audit:
        """What every step of the weighting did to the group."""
        return scoring.audit(self.weighted)

    @cached_property
    def scores(self) -> scoring.Scores:
        """Overall satisfaction by store, before and after weighting."""
        return scoring.scores(self.weighted)

    @cached_property
    def changes(self) -> explain.Changes:
        """Overall satisfaction since the last wave, for the group and by store."""
        return explain.changes(self.weighted)

    @cached_property
    def stores(self) -> explain.Stores:
        """Stores fairly compared."""
        return explain.stores(self.weighted)

    @cached_property
    def drivers(self) -> explain.Drivers:
        """What drives overall satisfaction."""
        return explain.drivers(self.weighted)

    @cached_property
    def comments(self) -> voices.Comments:
        """What customers talk about."""
        return voices.comments(self.survey)

    @cached_property
    def low_scores(self) -> answering.LowScores:
        """What low scores led to."""
        return answering.low_scores(self.survey)

    @cached_property
    def staff(self) -> voices.StaffSurvey:
        """What the staff says, linked to customers by store."""
        told, table = self.weighted.told, self.scores.table
        known = table[~table["unit"].isin(told)].set_index("unit")["value"].dropna()
        return voices.staff(self.survey, {str(name): float(v) for name, v in known.items()})

    @cached_property
    def standard(self) -> Standard:
        """The lines that GB/T 19014 (ISO 10004) wants reported."""
        return standard(self)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Findings of all parts, in the order of the parts."""
        return tuple(chain.from_iterable(getattr(self, part).findings for part in _PARTS))

    @cached_property
    def headline(self) -> tuple[Finding, ...]:
        """Satisfaction of the group, weighted against as answered, and the share that answered."""
        group = scoring.scores(self.weighted, by="group").frame.iloc[0]
        rate = self.response.frame.query("by == 'group'").iloc[0]
        level = {n: float(group[n]) for n in ("value", "low", "high")}
        answered = {n: float(rate[n]) for n in ("value", "low", "high")}
        return tuple(
            rows.finding(self.survey, rule, ("group", "group"), numbers, kpi=kpi, severity="info")
            for rule, numbers, kpi in (
                ("survey_level", {**level, "expected": float(group["raw"])}, "share"),
                ("survey_response", {**answered, "form": "share"}, "within"),
            )
        )

    @property
    def sheets(self) -> dict[str, Result]:
        """Tables for a report's workbook."""
        return {"survey_scores": self.scores, "survey_response": self.response,
                "survey_changes": self.changes, "survey_drivers": self.drivers}  # fmt: skip

    @property
    def choices(self) -> dict[str, list[str]]:
        """What ``view`` can be asked for: items, subgroups, weighting."""
        by = dict.fromkeys([*_LEVELS, *self.survey.settings["margins"]])
        return {
            "item": list(self.survey.instrument.measures),
            "by": [name for name in by if name != "store_id"], "weighting": list(WEIGHTING),
        }  # fmt: skip

    def view(self, item: str = "", by: str = "store", weighting: str = "on") -> scoring.Scores:
        """Return one item by subgroup; ``weighting`` off puts the values as answered in place."""
        if weighting not in WEIGHTING:
            raise ParameterError(unknown("weighting", weighting, WEIGHTING))
        found = scoring.scores(self.weighted, item, by=by)
        if weighting == "on":
            return found
        table = found.table
        raw = {"value": table["raw"], "low": table["raw_low"], "high": table["raw_high"]}
        return replace(found, frame=table.assign(**raw, shift=0.0, n_eff=table["n"], deff=1.0))

    def told(self, lang: str) -> pd.DataFrame:
        """Return the findings as sentences, the urgent ones first."""
        said = [finding_text(found, self.survey.plan, lang) for found in self.findings]
        level = [labels.text(f"severity.{found.severity}", lang) for found in self.findings]
        heads = [labels.text(f"column.{name}", lang) for name in ("severity", "outcome")]
        table = pd.DataFrame({heads[0]: level, heads[1]: said})
        urgency = pd.Series([_URGENT.index(found.severity) for found in self.findings], dtype=int)
        return table.iloc[urgency.sort_values(kind="stable").index].reset_index(drop=True)


_URGENT = ("act", "watch", "info")


def analyse(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]
) -> Analysis:
    """Analyse the survey of a period.

    Parameters
    ----------
    snapshot, plan, period, regions : Snapshot, Plan, Period, mapping
        As ``review.prepare`` returns them; see ``read``.

    Returns
    -------
    Analysis
        Nothing is computed yet.
    """
    return Analysis(read(snapshot, plan, period, regions))


@dataclass(frozen=True, kw_only=True)
class Standard(Result):
    """What GB/T 19014 (ISO 10004) wants reported of a satisfaction survey, line by line.

    ``fields`` holds the numbers of a line as JSON; ``show`` words them.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "line": Unit("word:survey_line", "survey.line"),
            "fields": Unit("text", "survey.statement"),
        }
    )

    def show(self, lang: str = "zh", *, columns: Sequence[str] = ()) -> pd.DataFrame:
        """Return the lines as sentences."""
        said = [
            (labels.text(f"survey_line.{line}", lang), _worded(line, json.loads(fields), lang))
            for line, fields in zip(self.frame["line"], self.frame["fields"], strict=True)
        ]
        names = [labels.text(unit.label, lang) for unit in self.COLUMNS.values()]
        return pd.DataFrame(said, columns=names)


def _worded(line: str, fields: Mapping[str, Any], lang: str) -> str:
    spelled = {
        name: value[lang] if isinstance(value, dict) else spell(value[0], value[1], lang)
        if isinstance(value, list) else value
        for name, value in fields.items()
    }  # fmt: skip
    return labels.text(f"survey_statement.{line}", lang, **spelled)


def standard(done: Analysis) -> Standard:
    """State what GB/T 19014 (ISO 10004) wants reported.

    Parameters
    ----------
    done : Analysis
        The survey of a wave.

    Returns
    -------
    Standard
        Expectations, population, sampling, response, method, instrument, analysis, reliability,
        doubts, reporting.

    Notes
    -----
    Reliability: the interval of the group, and Cronbach's alpha of the items asked everywhere.
    """
    survey, plan, note = done.survey, done.survey.plan, done.weighted.note
    invited = survey.of_wave(survey.wave)
    rate = done.response.frame.query("by == 'group'").iloc[0]
    group = scoring.scores(done.weighted, by="group").frame.iloc[0]
    scale, audited = plan.instrument["scale"], done.audit.frame.iloc[-1]
    lines: dict[str, dict[str, Any]] = {
        "expectations": {"text": survey.settings["expectations"]},
        "population": {
            "text": survey.settings["population"],
            "count": [_people(survey), "count"],
        },
        "sampling": {
            "invited": [len(invited), "count"], "strata": [invited["stratum"].nunique(), "count"],
            "psus": [invited["psu"].nunique(), "count"],
        },
        "response": {
            "answers": [int(rate["complete"] + rate["partial"]), "count"],
            **{name: [rate[name], "share"] for name in ("value", "low", "high")},
        },
        "method": {
            "channels": _channels(invited),
            "days": survey.settings["field_days"],
        },
        "instrument": {
            "items": len(survey.instrument.items()), "low": scale["min"], "high": scale["max"],
            "top": survey.settings["top_box"],
        },
        "analysis": {
            "margins": ", ".join(note["margins"]) or "-", "joined": len(note["joined_levels"]),
            "n_eff": [group["n_eff"], "count"], "deff": [group["deff"], "value"],
        },
        "reliability": {
            **{name: [group[name], "share"] for name in ("value", "low", "high")},
            **_consistency(done),
        },
        "doubts": {
            "dropped": sum(note["dropped"].values()),
            "kept": sum(note["kept_though_doubtful"].values()),
            "stores": ", ".join(sorted(done.weighted.told)) or "-",
            "without": [audited["value"], "share"],
        },
        "reporting": {
            "k": survey.k, "confidence": [survey.confidence, "share"],
            "rate": [survey.settings["false_discovery"], "share"],
        },
    }  # fmt: skip
    table = pd.DataFrame(
        [(name, json.dumps(plain(fields), ensure_ascii=False)) for name, fields in lines.items()],
        columns=list(Standard.COLUMNS),
    )
    return Standard(frame=table, note={"wave": survey.wave})


def _channels(invited: pd.DataFrame) -> dict[str, str]:
    """Name the channels in every language."""
    used = sorted(invited["channel"].dropna().unique())
    return {
        lang: labels.text("word.list", lang).join(
            labels.text(f"survey_channel.{c}", lang) for c in used
        )
        for lang in labels.languages()
    }


def _people(survey: Survey) -> float:
    """Return how many people the wave stands for; missing without targets."""
    known = survey.targets[survey.targets["quarter"] == survey.quarters[survey.wave]]
    return float(known.groupby("margin")["count"].sum().max()) if len(known) else np.nan


def _consistency(done: Analysis) -> dict[str, Any]:
    """Return Cronbach's alpha of the items asked everywhere, missing where it cannot be told."""
    instrument, answers = done.survey.instrument, done.weighted.rows
    kept = (answers["wave"] == done.survey.wave) & (done.weighted.design.weights > 0)
    everywhere = [i for i in instrument.items() if instrument.asked_at(i) == instrument.touchpoints]
    try:
        found = alpha(answers.loc[kept, everywhere], confidence=done.survey.confidence)
    except MethodError:
        return {"items": len(everywhere), "alpha": [np.nan, "value"], "sure": [np.nan, "value"]}
    ends = {"alpha": [float(found.raw.estimate), "value"], "sure": [float(found.raw.low), "value"]}
    return {"items": len(everywhere), **ends}
