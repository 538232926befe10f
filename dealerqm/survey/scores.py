"""Scores by unit before and after weighting, and what every step of the weighting did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from dealerqm.fieldwork.population import JOIN
from dealerqm.fieldwork.quality import FLAGS, STEPS, Weighted, weigh
from dealerqm.fieldwork.rows import Survey, finding
from dealerqm.result import Result, Unit
from dealerqm.stats.multiple import benjamini_hochberg
from dealerqm.survey.estimates import columns as columns
from dealerqm.survey.estimates import domain as domain
from dealerqm.survey.estimates import estimate as estimate
from dealerqm.survey.estimates import flags

ROUNDED = 1e-9  # a relative gap to a target that is only rounding
NO_TARGETS = "no_targets"


@dataclass(frozen=True, kw_only=True)
class Scores(Result):
    """One measure of the wave by unit, as answered and weighted, each with its interval.

    ``state`` says how far a value can be trusted: ``telling`` marks stores in which answering
    depends on satisfaction, ``few`` and ``suppressed`` count answers. ``flag`` says what limits
    the interval: one answer, one sampling unit, answers that are all the same, a lonely stratum.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.measure"),
            "by": Unit("text", "survey.by"),
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.answers"),
            "raw": Unit("kpi", "survey.raw"),
            "raw_low": Unit("kpi", "column.low"),
            "raw_high": Unit("kpi", "column.high"),
            "value": Unit("kpi", "survey.weighted"),
            "low": Unit("kpi", "column.low"),
            "high": Unit("kpi", "column.high"),
            "shift": Unit("kpi_change", "survey.shift"),
            "n_eff": Unit("count", "survey.n_eff"),
            "deff": Unit("value", "survey.deff"),
            "state": Unit("word:survey_state", "survey.state"),
            "flag": Unit("word:survey_sound", "survey.sound"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("unit", "n", "raw", "value", "low", "high", "state")


def scores(
    weighted: Weighted, measure: str = "", *, by: str = "store", wave: str = ""
) -> Scores:  # fmt: skip
    """Estimate a measure by unit, before and after weighting.

    Parameters
    ----------
    weighted, measure : Weighted, str
        Answers; one of the instrument's measures, empty is overall satisfaction.
    by, wave : str
        ``group, region, store`` or a margin, such as ``touchpoint``; empty is the reviewed wave.

    Returns
    -------
    Scores
        One row per unit; below k answers suppressed.
    """
    survey = weighted.survey
    measure, wave = measure or survey.instrument.overall, wave or weighted.waves[-1]
    where, names = domain(weighted, by, wave)
    raw = columns(estimate(weighted, measure, where, raw=True), len(names))
    estimated = estimate(weighted, measure, where)
    found = columns(estimated, len(names))
    n = np.nan_to_num(found["n"])
    told = [by == "store" and name in weighted.told for name in names]
    state = np.select(
        [n == 0, n < survey.k, told, n < survey.plan.settings["statistics"]["minimum_n"]],
        ["no_data", "suppressed", "telling", "few"], "fine",
    )  # fmt: skip
    table = pd.DataFrame({
        "kpi": measure, "by": by, "unit": names, "n": n, "raw": raw["estimate"],
        "raw_low": raw["low"], "raw_high": raw["high"], "value": found["estimate"],
        "low": found["low"], "high": found["high"], "shift": found["estimate"] - raw["estimate"],
        "n_eff": found["n_eff"], "deff": found["deff"], "state": state,
        "flag": flags(weighted, where, estimated, len(names)),
    })  # fmt: skip
    hidden = table.columns.difference(["kpi", "by", "unit", "state", "flag"])
    few = n < survey.k
    table.loc[few, hidden] = np.nan
    table.loc[few & (n > 0), "flag"] = "withheld"
    note = {
        "wave": wave, "kpis": survey.instrument.measures, "confidence": survey.confidence,
        "suppressed_below": survey.k, **weighted.note,
    }  # fmt: skip
    return Scores(frame=table, note=note)


# ---------------------------------------------------------------- what the weighting did


@dataclass(frozen=True, kw_only=True)
class Margins(Result):
    """Every target of the wave: share as answered, share weighted, share in the population.

    ``verdict`` says whether the weights meet a target within the plan's gap, and which levels had
    too few answers and meet it together.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "margin": Unit("text", "survey.margin"),
            "level": Unit("text", "survey.margin_level"),
            "n": Unit("count", "survey.answers"),
            "raw": Unit("share", "survey.raw"),
            "weighted": Unit("share", "survey.weighted"),
            "target": Unit("share", "survey.target"),
            "gap": Unit("share", "survey.gap"),
            "verdict": Unit("word:survey_verdict", "survey.verdict"),
        }
    )


def margins(weighted: Weighted) -> Margins:
    """Compare the answers of the reviewed wave with the population, before and after weighting.

    Parameters
    ----------
    weighted : Weighted
        Answers.

    Returns
    -------
    Margins
        Empty without targets; who did not answer shows in ``raw`` against ``target``. With a
        finding where the plan accepts targets that stay unmet.
    """
    survey, gaps = weighted.survey, weighted.gaps
    note = {"wave": survey.wave, **weighted.note}
    if gaps.empty or survey.wave in weighted.note["no_targets"]:
        return Margins(frame=pd.DataFrame(columns=list(Margins.COLUMNS)), note=note)
    mine = gaps[gaps["wave"] == survey.wave]
    answers = weighted.rows[weighted.rows["wave"] == survey.wave]
    found = []
    limit = survey.settings["weighting"]["gap"]
    for row in mine.to_dict("records"):
        levels = str(row["level"]).split(JOIN)
        n = int(answers[row["margin"]].isin(levels).sum())
        total = float(mine.loc[mine["margin"] == row["margin"], "target"].sum())
        met = "joined" if len(levels) > 1 else "met"
        found.append([row["margin"], row["level"], n, n / len(answers), row["achieved"] / total,
                      row["target"] / total, row["gap"],
                      met if abs(row["gap"]) <= limit else "unmet"])  # fmt: skip
    table = pd.DataFrame(found, columns=list(Margins.COLUMNS))
    table["gap"] = table["gap"].where(table["gap"].abs() > ROUNDED, 0.0)
    worst = table["gap"].abs().max()
    told = [] if worst <= limit else [
        finding(survey, "survey_gap", ("group", "group"),
                {"value": worst, "expected": limit, "form": "share"})
    ]  # fmt: skip
    table.loc[table["n"] < survey.k, ["n", "raw"]] = np.nan
    note |= {"deff": float(mine["deff"].iloc[0]), "verdict": str(mine["verdict"].iloc[0])}
    return Margins(frame=table, findings=tuple(told), note=note)


@dataclass(frozen=True, kw_only=True)
class Audit(Result):
    """One measure of the group after every step of the weighting, and under other choices.

    ``gap`` is the largest relative gap to a target of the population after the step.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.measure"),
            "step": Unit("word:survey_step", "survey.step"),
            "n": Unit("count", "survey.answers"),
            "value": Unit("kpi", "column.value"),
            "low": Unit("kpi", "column.low"),
            "high": Unit("kpi", "column.high"),
            "n_eff": Unit("count", "survey.n_eff"),
            "gap": Unit("share", "survey.largest_gap"),
            "verdict": Unit("word:survey_verdict", "survey.verdict"),
        }
    )


def audit(weighted: Weighted, measure: str = "") -> Audit:
    """Show what each step of the weighting did to the group, with and without doubtful answers.

    Parameters
    ----------
    weighted, measure : Weighted, str
        Answers; one of the instrument's measures, empty is overall satisfaction.

    Returns
    -------
    Audit
        Steps in order, the final one, then the final one under other choices.
    """
    survey = weighted.survey
    measure = measure or survey.instrument.overall
    where, _ = domain(weighted, "group", survey.wave)
    steps = [
        (step, replace(weighted, design=weighted.drawn(weighted.steps[step])), where)
        for step in STEPS[:-1]
    ]
    steps.append((STEPS[-1], weighted, where))
    for step, choice in (("with_doubtful", "keep"), ("without_any_doubt", "drop")):
        other = weigh(survey, treat=dict.fromkeys(FLAGS, choice), waves=weighted.waves)
        steps.append((step, other, where))
    told = weighted.rows["store_id"].isin(weighted.told).to_numpy(bool)
    steps.append(("without_telling", weighted, np.where(told, -1, where)))
    found = []
    for step, sample, units in steps:
        one = {name: part[0] for name, part in columns(estimate(sample, measure, units), 1).items()}
        whole = step != "without_telling"
        gap = sample.largest_gap(sample.design.weights) if whole else np.nan
        found.append([measure, step, one["n"], one["estimate"], one["low"], one["high"],
                      one["n_eff"], gap, _verdict(survey, gap) if whole else None])  # fmt: skip
    table = pd.DataFrame(found, columns=list(Audit.COLUMNS))
    table.loc[table["n"].fillna(0) < survey.k, list(Audit.COLUMNS)[2:-1]] = np.nan
    note = {"wave": survey.wave, "kpis": survey.instrument.measures, **weighted.note}
    return Audit(frame=table, note=note)


def _verdict(survey: Survey, gap: float) -> str:
    """Word whether the largest gap is within the plan's."""
    if np.isnan(gap):
        return NO_TARGETS
    return "met" if gap <= survey.settings["weighting"]["gap"] else "unmet"


# ---------------------------------------------------------------- channels


@dataclass(frozen=True, kw_only=True)
class Modes(Result):
    """Satisfied customers by channel against the other channels, like compared with like.

    A gap may come from how a channel asks or from who uses it; the data cannot tell.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("word:survey_channel", "survey.channel"),
            "n": Unit("count", "survey.answers"),
            "value": Unit("share", "column.value"),
            "gap": Unit("points", "survey.mode_gap"),
            "low": Unit("points", "column.low"),
            "high": Unit("points", "column.high"),
            "p_value": Unit("p", "survey.p_value"),
            "q_value": Unit("p", "survey.q_value"),
            "named": Unit("flag", "survey.named"),
        }
    )


def modes(survey: Survey) -> Modes:
    """Compare the channels within touchpoint and wave.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Modes
        One row per channel; named by the plan's gap with false-discovery control.

    Notes
    -----
    gap = Σw(p₁ - p₀)/Σw with w = n₁n₀/(n₁ + n₀) over touchpoints and waves (Mantel-Haenszel),
    variance Σw²(v₁/n₁ + v₀/n₀)/(Σw)² with v the pooled p(1 - p) of the stratum.
    """
    rows = survey.rows[survey.rows["answered"]]
    rows = rows.assign(y=survey.instrument.values(rows, survey.instrument.overall))
    rows = rows[rows["y"].notna()]
    z = special.ndtri(0.5 + survey.confidence / 2)
    found = []
    for channel in sorted(rows["channel"].dropna().unique()):
        one = (rows["channel"] == channel).to_numpy(bool)
        gap, se = _gap(rows, one)
        p = 2 * special.ndtr(-abs(gap) / se) if se > 0 and one.sum() >= survey.k else np.nan
        found.append([channel, int(one.sum()), rows.loc[one, "y"].mean(), gap, gap - z * se,
                      gap + z * se, p])  # fmt: skip
    table = pd.DataFrame(found, columns=list(Modes.COLUMNS)[:7])
    table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy(float))
    table["named"] = (table["q_value"] <= survey.settings["false_discovery"]) & (
        table["gap"].abs() >= survey.settings["quality"]["mode_gap"]
    )
    table.loc[table["n"] < survey.k, ["n", "value", "gap", "low", "high"]] = np.nan
    told = tuple(
        finding(survey, f"survey_mode:{row['unit']}", ("group", "group"),
                {"value": row["gap"], "low": row["low"], "high": row["high"],
                 "p_value": row["p_value"], "q_value": row["q_value"], "form": "points",
                 "place_of": "survey_channel"}, severity="info")
        for row in table[table["named"]].to_dict("records")
    )  # fmt: skip
    return Modes(frame=table, findings=told, note={"waves": list(survey.quarters)})


def _gap(rows: pd.DataFrame, one: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the gap of the marked rows against the others within strata, and its error."""
    stratum = rows.groupby(["touchpoint", "wave"]).ngroup().to_numpy()
    y = rows["y"].to_numpy(float)
    n1, n0, s1, s0 = (
        np.bincount(stratum, weight) for weight in (one * 1.0, ~one * 1.0, one * y, ~one * y)
    )
    both = (n1 > 0) & (n0 > 0)
    if not both.any():
        return np.nan, np.nan
    n1, n0, s1, s0 = (v[both] for v in (n1, n0, s1, s0))
    w, pooled = n1 * n0 / (n1 + n0), (s1 + s0) / (n1 + n0)
    gap = (w * (s1 / n1 - s0 / n0)).sum() / w.sum()
    variance = (w**2 * pooled * (1 - pooled) * (1 / n1 + 1 / n0)).sum()
    return float(gap), float(np.sqrt(variance) / w.sum())
