"""How well they answered: doubtful answers, channels, stores where answering itself tells.

Flags mark rows; what the weighting does with them stands in the plan, and the audit of the
weighting shows every result with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from dealerqm.result import Result, Unit
from dealerqm.stats.multiple import benjamini_hochberg
from dealerqm.survey.response import finding
from dealerqm.survey.rows import Survey

Flags = NDArray[np.bool_]
FLAGS = ("duplicate", "coached", "straight", "hurried")
_ROUNDS = 5  # of naming advisers and measuring the others again


# ---------------------------------------------------------------- doubtful answers


def flags(survey: Survey) -> pd.DataFrame:
    """Mark the doubtful answers of all waves.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    DataFrame
        Bool columns ``duplicate`` (same customer and event once more), ``coached`` (hurried top
        scores at a suspected adviser), ``straight`` (all items alike), ``hurried`` (far below the
        median time of the channel), index as ``survey.rows``.
    """
    rows, made = survey.rows, survey.settings["quality"]
    answered = rows["answered"].to_numpy(bool)
    scores = rows[survey.instrument.items()].to_numpy(float)
    said = np.isfinite(scores)
    low = np.where(said, scores, np.inf).min(axis=1)
    high = np.where(said, scores, -np.inf).max(axis=1)
    alike = answered & (low == high) & (said.sum(axis=1) >= made["straight_items"])
    usual = rows["duration_s"].where(answered).groupby(rows["channel"]).transform("median")
    quick = answered & (rows["duration_s"] < made["hurried"] * usual).to_numpy(bool)
    top = survey.plan.instrument["scale"]["max"]
    suspected = advisers(survey, alike & quick & (low == top)).query("named")["unit"]
    keys = ["customer_id", "event_id", "touchpoint"]
    order = rows[answered & rows[keys].notna().all(axis=1)].sort_values("responded_at")
    again = order.index[order.duplicated(keys)]
    coached = alike & quick & (low == top) & rows["staff_id"].isin(suspected).to_numpy(bool)
    return pd.DataFrame(
        {"duplicate": rows.index.isin(again), "coached": coached, "straight": alike,
         "hurried": quick},
        index=rows.index,
    )  # fmt: skip


def advisers(survey: Survey, hurried_top: Flags) -> pd.DataFrame:
    """Test each adviser for more hurried top answers than the other advisers get.

    Parameters
    ----------
    survey : Survey
        The waves.
    hurried_top : ndarray of bool, shape (rows,)
        Answers that give every item the top score in hardly any time.

    Returns
    -------
    DataFrame
        One row per adviser (a pseudonym; for the analyst, never for a report): ``unit, store,
        n, k, share, expected, p, q, named``.

    Notes
    -----
    One-sided binomial test against the share at advisers who are not named, measured again until
    the names stay; Benjamini-Hochberg over advisers; named at the plan's share and number of
    answers only. With n = 0 or one adviser there is no test.
    """
    made, rows = survey.settings["quality"]["coached"], survey.rows
    there = rows["answered"].to_numpy(bool) & rows["staff_id"].notna().to_numpy(bool)
    part = rows.loc[there, ["staff_id", "store_id"]].assign(k=hurried_top[there], n=1)
    found = part.groupby("staff_id").agg(store=("store_id", "last"), n=("n", "sum"), k=("k", "sum"))
    found = found.rename_axis("unit").reset_index()
    k, n = found["k"].to_numpy(float), found["n"].to_numpy(float)
    named = np.zeros(len(found), bool)
    share = np.divide(k, n, out=np.zeros(len(found)), where=n > 0)
    p = q = expected = np.full(len(found), np.nan)
    for _ in range(_ROUNDS):
        k_rest, n_rest = ((v[~named]).sum() - np.where(named, 0, v) for v in (k, n))
        expected = np.divide(k_rest, n_rest, out=np.full(k.size, np.nan), where=n_rest > 0)
        tested = (n >= made["answers"]) & np.isfinite(expected)
        p = np.where(tested, stats.binom.sf(k - 1, n, expected), np.nan)
        q = benjamini_hochberg(p)
        before = named
        named = (q <= survey.settings["false_discovery"]) & (share >= made["share"])
        if (named == before).all():
            break
    return found.assign(share=share, expected=expected, p=p, q=q, named=named)


@dataclass(frozen=True, kw_only=True)
class Doubts(Result):
    """Doubtful answers of the wave by kind and store; no person is named."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "flag": Unit("word:survey_flag", "survey.flag"),
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.answers"),
            "flagged": Unit("count", "survey.flagged"),
            "share": Unit("share", "survey.share"),
            "treatment": Unit("word:survey_treat", "survey.treatment"),
        }
    )


def doubts(survey: Survey, marked: pd.DataFrame) -> Doubts:
    """Count the doubtful answers of the wave for the group and each store.

    Parameters
    ----------
    survey : Survey
        The waves.
    marked : DataFrame
        From ``flags``.

    Returns
    -------
    Doubts
        With a finding per store with coached answers in the wave.
    """
    rows = survey.rows[["store_id", "wave", "answered"]].join(marked)
    rows = rows[rows["answered"] & (rows["wave"] == survey.wave)]
    rows = rows[rows["store_id"].isin(list(survey.regions))]
    found, told = [], []
    for flag in FLAGS:
        units = [("group", rows), *rows.groupby("store_id")]
        for unit, part in units:
            n, count = len(part), int(part[flag].sum())
            if n < survey.k or not (count or unit == "group"):
                continue
            shown = np.nan if 0 < count < survey.k else count
            treatment = survey.settings["quality"]["treat"][flag]
            found.append([flag, unit, n, shown, shown / n, treatment])
            if flag == "coached" and unit != "group" and count:
                told.append(finding(survey, "survey_coached", ("store", str(unit)),
                                    {"value": shown / n, "direction": "worse"}))  # fmt: skip
    table = pd.DataFrame(found, columns=list(Doubts.COLUMNS))
    note = {
        "wave": survey.wave, "false_discovery": survey.settings["false_discovery"],
        "suppressed": "flagged answers of a store below k",
    }  # fmt: skip
    return Doubts(frame=table, findings=tuple(told), note=note)


# ---------------------------------------------------------------- answering that tells


@dataclass(frozen=True, kw_only=True)
class Telling(Result):
    """Stores in which those who answer late are less, or more, satisfied than those who do soon.

    Weights cannot repair what depends on satisfaction itself: the level of a named store is not
    to be trusted, before and after weighting.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.answers"),
            "early": Unit("share", "survey.early"),
            "late": Unit("share", "survey.late"),
            "correlation": Unit("value", "survey.correlation"),
            "p_value": Unit("p", "survey.p_value"),
            "q_value": Unit("p", "survey.q_value"),
            "named": Unit("flag", "survey.named"),
        }
    )


def telling(survey: Survey, marked: pd.DataFrame) -> Telling:
    """Find the stores in which answering seems to depend on satisfaction.

    Parameters
    ----------
    survey : Survey
        The waves.
    marked : DataFrame
        From ``flags``; coached and repeated answers are left out.

    Returns
    -------
    Telling
        All stores of the group, with a finding per named one.

    Notes
    -----
    Who answers late stands for those who never do (continuum of resistance). Delay is ranked
    within wave and channel over the group, then delay and overall score within store and wave;
    z = r √(n - waves); Benjamini-Hochberg over stores. It sees only dependence that shows in the
    time of answering.

    Source: Lin and Schaeffer (1995), Public Opinion Quarterly 59, 236.
    """
    score = survey.instrument.overall
    rows = survey.rows.assign(score=survey.rows[score])
    good = ~marked["coached"] & ~marked["duplicate"] & rows["answered"]
    rows = rows[good & rows["score"].notna() & rows["answer_s"].notna()]
    rows = rows.assign(delay=rows.groupby(["wave", "channel"])["answer_s"].rank(pct=True))
    cell = rows.groupby(["store_id", "wave"])
    pair = pd.DataFrame({
        "store_id": rows["store_id"], "wave": rows["wave"],
        "x": cell["delay"].rank() - (cell["delay"].transform("size") + 1) / 2,
        "y": cell["score"].rank() - (cell["score"].transform("size") + 1) / 2,
        "late": rows["delay"] > cell["delay"].transform("median"),
        "top": survey.instrument.values(rows, score),
    })  # fmt: skip
    found = []
    for store, part in pair.groupby("store_id"):
        x, y = part["x"].to_numpy(float), part["y"].to_numpy(float)
        size = np.sqrt((x @ x) * (y @ y))
        free = len(part) - part["wave"].nunique()
        r = float(x @ y / size) if size > 0 and free > 0 else np.nan
        early, late = part.loc[~part["late"], "top"], part.loc[part["late"], "top"]
        enough = min(len(early), len(late)) >= survey.k
        p = 2 * special.ndtr(-abs(r) * np.sqrt(free)) if enough else np.nan
        means = (early.mean(), late.mean()) if enough else (np.nan, np.nan)
        found.append([store, len(part), *means, r if enough else np.nan, p])
    table = pd.DataFrame(found, columns=list(Telling.COLUMNS)[:6])
    table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy(float))
    table["named"] = table["q_value"] <= survey.settings["false_discovery"]
    told = tuple(
        finding(survey, "survey_telling", ("store", str(row["unit"])),
                {"value": row["late"], "expected": row["early"], "p_value": row["p_value"],
                 "q_value": row["q_value"],
                 "direction": "worse" if row["correlation"] < 0 else "better"})
        for row in table[table["named"]].to_dict("records") if row["unit"] in survey.regions
    )  # fmt: skip
    note = {"waves": list(survey.quarters), "false_discovery": survey.settings["false_discovery"]}
    return Telling(frame=table, findings=told, note=note)


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
    few = (table["n"] < survey.k).to_numpy()
    table.loc[few, ["n", "value", "gap", "low", "high"]] = np.nan
    told = tuple(
        finding(survey, f"survey_mode:{row['unit']}", ("group", "group"),
                {"value": row["gap"], "low": row["low"], "high": row["high"],
                 "p_value": row["p_value"], "q_value": row["q_value"]}, severity="info")
        for row in table[table["named"]].to_dict("records")
    )  # fmt: skip
    return Modes(frame=table, findings=told, note={"waves": list(survey.quarters)})


def _gap(rows: pd.DataFrame, one: Flags) -> tuple[float, float]:
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
