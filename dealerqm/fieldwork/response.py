"""Who answered, what they left out, where answering itself tells, and what low scores led to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from dealerqm.conditions import Term
from dealerqm.facts import Ask
from dealerqm.fieldwork.instrument import RECOMMEND
from dealerqm.fieldwork.rows import ROWS_CAP, Survey, finding
from dealerqm.plan.check import span
from dealerqm.result import Result, Unit
from dealerqm.stats.intervals import wilson
from dealerqm.stats.multiple import benjamini_hochberg

DISPOSITIONS = ("complete", "partial", "break_off", "none", "pending")
FULL = 100  # per cent: what the weights of an index sum to
_LINE = 3  # pairs that a line needs
_BY = ("group", "region", "store", "channel", "touchpoint")


@dataclass(frozen=True, kw_only=True)
class Response(Result):
    """Invitations of the wave by what became of them.

    ``strict`` counts complete answers, ``value`` complete and partial ones, both of all
    invitations that had the time to be answered (AAPOR response rates 1 and 2).
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "by": Unit("word:survey_by", "survey.by"),
            "unit": Unit("unit_name", "column.unit"),
            "invited": Unit("count", "survey.invited"),
            **{name: Unit("count", f"survey.{name}") for name in DISPOSITIONS},
            "strict": Unit("share", "survey.strict"),
            "value": Unit("share", "survey.response"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("by", "unit", "invited", "value", "low", "high")


def response(survey: Survey) -> Response:
    """Count what became of the invitations of the wave.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Response
        The group, its regions and stores, and all channels and touchpoints.

    Notes
    -----
    RR1 = complete/(invited - pending), RR2 = (complete + partial)/(invited - pending), Wilson
    intervals. An answer that holds too little of what was asked is a break-off and counts as
    none. Addresses that did not exist cannot be told from silence.

    Source: AAPOR, Standard Definitions, 9th edition (2016), pp. 61-62.
    """
    rows = survey.of_wave(survey.wave).assign(group="group")
    chosen = rows[rows["store_id"].isin(list(survey.regions))]
    parts = []
    for by in _BY:
        name = {"store": "store_id"}.get(by, by)
        counted = pd.crosstab(chosen[name], chosen["disposition"])
        counted = counted.reindex(columns=list(DISPOSITIONS), fill_value=0)
        parts.append(counted.rename_axis("unit").reset_index().assign(by=by))
    table = pd.concat(parts, ignore_index=True)
    table["invited"] = table[list(DISPOSITIONS)].sum(axis=1)
    due = (table["invited"] - table["pending"]).to_numpy(float)
    answers = (table["complete"] + table["partial"]).to_numpy(float)
    rate = wilson(answers, due, confidence=survey.confidence)
    with np.errstate(invalid="ignore"):
        strict = table["complete"].to_numpy(float) / due
    table = table.assign(strict=strict, value=rate.estimate, low=rate.low, high=rate.high)
    table.columns.name = None
    few = (table["invited"] < survey.k).to_numpy()
    hidden = ["invited", *DISPOSITIONS, "strict", "value", "low", "high"]
    table = table.astype(dict.fromkeys(hidden, "float64"))
    table.loc[few, hidden] = np.nan
    note = {
        "wave": survey.wave, "standard": "AAPOR RR1 and RR2", "suppressed_below": survey.k,
        "field_days": survey.settings["field_days"], **survey.note,
    }  # fmt: skip
    return Response(frame=table[list(Response.COLUMNS)], note=note)


@dataclass(frozen=True, kw_only=True)
class Items(Result):
    """What the instrument asks, its weights in the wave, and how often an item is left out."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.item"),
            "touchpoints": Unit("text", "survey.touchpoints"),
            "weight": Unit("value", "survey.weight"),
            "asked": Unit("count", "survey.asked"),
            "answered": Unit("count", "survey.answered"),
            "missing": Unit("share", "survey.left_out"),
            "named": Unit("flag", "survey.named"),
        }
    )


def item_gaps(survey: Survey) -> Items:
    """List the items with their weights and the share of answers that leave them out.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Items
        Customers' items and the recommendation; named above the plan's share.
    """
    instrument, rows = survey.instrument, survey.of_wave(survey.wave)
    rows = rows[rows["answered"]]
    weights, limit = instrument.weights(survey.wave), survey.settings["quality"]["item_gap"]
    found = []
    for item in [*instrument.items(), RECOMMEND]:
        asked = instrument.asked(rows, item)
        said = int(np.isfinite(rows[item].to_numpy(float)[asked]).sum())
        n = int(asked.sum())
        missing = 1 - said / n if n >= survey.k else np.nan
        found.append([
            item, ", ".join(instrument.asked_at(item)), weights.get(item, np.nan), n, said,
            missing, missing > limit,
        ])  # fmt: skip
    table = pd.DataFrame(found, columns=list(Items.COLUMNS))
    told = tuple(
        finding(survey, f"survey_item:{row['kpi']}", ("group", "group"),
                {"value": row["missing"], "expected": limit, "direction": "worse"},
                severity="info")
        for row in table[table["named"]].to_dict("records")
    )  # fmt: skip
    raw = survey.plan.instrument["factors"]
    sums = {n: [sum(v["items"].values()) for v in factor["versions"]] for n, factor in raw.items()}
    note = {
        "wave": survey.wave, "kpis": instrument.words, **survey.note,
        "scaled_weights": [n for n, totals in sums.items() if set(totals) != {FULL}],
    }  # fmt: skip
    return Items(frame=table, findings=told, note=note)


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
    survey, marked : Survey, DataFrame
        The waves; from ``flags``: coached and repeated answers are left out.

    Returns
    -------
    Telling
        All stores of the group, with a finding per named one.

    Notes
    -----
    Who answers late stands for those who never do (continuum of resistance). Delay is ranked
    within wave and channel over the group, then delay and overall score within store and wave;
    z = Σxy/√Σ(Σx²Σy²/(n - 1)) over waves; Benjamini-Hochberg over stores. It sees only what shows
    in the time of answering.

    Source: Lin and Schaeffer (1995), Public Opinion Quarterly 59, 236.
    """
    score = survey.instrument.overall
    rows = survey.rows.assign(score=survey.rows[score])
    good = ~marked["coached"] & ~marked["duplicate"] & rows["answered"]
    rows = rows[good & rows["score"].notna() & rows["answer_s"].notna()]
    rows = rows.assign(delay=rows.groupby(["wave", "channel"])["answer_s"].rank(pct=True))
    cell = rows.groupby(["store_id", "wave"])
    size, middle = cell["delay"].transform("size"), cell["delay"].transform("median")
    pair = pd.DataFrame({
        "store_id": rows["store_id"], "wave": rows["wave"],
        "x": (cell["delay"].rank() - (size + 1) / 2) / size,
        "y": (cell["score"].rank() - (size + 1) / 2) / size,
        "late": rows["delay"] > middle, "top": survey.instrument.values(rows, score),
    })  # fmt: skip
    found = []
    for store, part in pair.groupby("store_id"):
        r, z = _rank_correlation(part)
        early, late = part.loc[~part["late"], "top"], part.loc[part["late"], "top"]
        enough = min(len(early), len(late)) >= survey.k
        p = 2 * special.ndtr(-abs(z)) if enough else np.nan
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


def _rank_correlation(part: pd.DataFrame) -> tuple[float, float]:
    """Return the correlation of centred ranks over waves, and its z under random order."""
    waves = part.assign(xx=part["x"] ** 2, yy=part["y"] ** 2, xy=part["x"] * part["y"], n=1)
    sums = waves.groupby("wave")[["xx", "yy", "xy", "n"]].sum().query("n > 1")
    both, chance = sums["xx"].sum() * sums["yy"].sum(), sums["xx"] * sums["yy"] / (sums["n"] - 1)
    if not both > 0:
        return np.nan, np.nan
    total = float(sums["xy"].sum())
    return total / float(np.sqrt(both)), total / float(np.sqrt(chance.sum()))


# ---------------------------------------------------------------- low scores


@dataclass(frozen=True, kw_only=True)
class LowScores(Result):
    """What happened after low scores: contact within the plan's limit, solution, score afterwards.

    ``before`` and ``after`` are mean scores of the contacted customers who answered again.
    ``expected`` is the score that the same customers would give by regression to the mean alone;
    only ``effect`` = after - expected may be read as what contacting did, and even this compares
    with customers whom nobody chose at random.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.low_scores"),
            "in_time": Unit("count", "survey.in_time"),
            "value": Unit("share", "survey.contacted"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "solved": Unit("share", "survey.solved"),
            "again": Unit("count", "survey.again"),
            "before": Unit("value", "survey.before"),
            "after": Unit("value", "survey.after"),
            "expected": Unit("value", "survey.by_regression"),
            "effect": Unit("signed", "survey.effect"),
            "effect_low": Unit("signed", "column.low"),
            "effect_high": Unit("signed", "column.high"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("unit", "n", "in_time", "value", "solved")


def low_scores(survey: Survey) -> LowScores:
    """Follow the low scores of all waves at hand.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    LowScores
        The group and its stores; contacts need the table ``contacts``. A low score younger than
        the limit is not yet due and left out.

    Notes
    -----
    Regression to the mean: the next score is regressed on the score before over all pairs of
    answers of one customer without a contact in time, high and low ones; at the low scores of the
    contacted the line gives ``expected``. The interval of the effect holds the error of the line
    and of the scores (normal). Fewer than k pairs give none.

    Source: Davis (1976), American Journal of Epidemiology 104, 493.
    """
    made, main = survey.settings["call_back"], survey.instrument.overall
    rows = survey.rows[survey.rows["answered"] & survey.rows[main].notna()]
    rows = rows[rows["customer_id"].notna()].sort_values(["customer_id", "responded_at"])
    later = rows.groupby("customer_id")[[main, "responded_at"]].shift(-1)
    rows = rows.assign(score=rows[main], next=later[main])
    contact = _contacts(survey, rows, pd.Timedelta(seconds=span(made["within"], "plan")))
    age = rows["invite_age_s"] - rows["answer_s"]  # s from the answer to the end of the data
    due = (rows["score"] <= made["score"]) & (age >= span(made["within"], "plan"))
    rows = rows.assign(low=rows["score"] <= made["score"], due=due, **contact)
    line = _line(rows[rows["next"].notna() & ~rows["in_time"]], survey.k)
    shown = rows[rows["store_id"].isin(list(survey.regions)) & rows["due"]]
    parts = [("group", shown), *shown.groupby("store_id")]
    table = pd.DataFrame(
        [_followed(survey, str(unit), part, line) for unit, part in parts],
        columns=list(LowScores.COLUMNS),
    )
    note = {
        "waves": list(survey.quarters), "score": made["score"], "within": made["within"],
        "purposes": made["purposes"], "contacts": "contacts" in survey.tables,
        "regression_slope": line[1] if line else None, "suppressed_below": survey.k,
        "not_contacted": _left_alone(survey, rows[rows["low"] & ~rows["in_time"]]),
    }  # fmt: skip
    return LowScores(frame=table, note=note)


def _contacts(survey: Survey, rows: pd.DataFrame, limit: pd.Timedelta) -> dict[str, pd.Series]:
    """Mark the answers after which the customer was called in time, and whose case was solved."""
    no = pd.Series(False, index=rows.index)
    if "contacts" not in survey.tables:
        return {"in_time": no, "solved": no}
    where = (
        Term("direction", "==", ("out",)),
        Term("purpose", "in", tuple(survey.settings["call_back"]["purposes"])),
    )
    calls = survey.facts.rows(
        Ask("contacts", ("customer_id", "at"), where), ["outcome"], cap=ROWS_CAP
    )
    asked = rows[["customer_id", "responded_at"]].rename_axis("row").reset_index()
    pairs = asked.merge(calls, on="customer_id")
    pairs = pairs[(pairs["at"] > pairs["responded_at"])]
    in_time = pairs.loc[pairs["at"] - pairs["responded_at"] <= limit, "row"]
    solved = pairs.loc[pairs["outcome"] == "solved", "row"]
    return {
        "in_time": pd.Series(rows.index.isin(in_time), index=rows.index),
        "solved": pd.Series(rows.index.isin(solved), index=rows.index),
    }


def _line(
    pairs: pd.DataFrame, least: int
) -> tuple[float, float, float, float, float, float] | None:
    """Return mean, slope, residual sd, number, mean and spread of the score before; or nothing."""
    x, y = pairs["score"].to_numpy(float), pairs["next"].to_numpy(float)
    if x.size < max(least, _LINE) or not x.std():
        return None
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * y).sum() / spread)
    rest = y - y.mean() - slope * (x - x.mean())
    sd = float(np.sqrt((rest @ rest) / (x.size - 2)))
    return float(y.mean()), slope, sd, float(x.size), float(x.mean()), spread


def _left_alone(survey: Survey, part: pd.DataFrame) -> dict[str, float]:
    """Return how low scores changed that nobody answered: regression to the mean at work."""
    again = part[part["next"].notna()]
    means = {"before": float(again["score"].mean()), "after": float(again["next"].mean())}
    return {"again": len(again), **means} if len(again) >= survey.k else {}


def _followed(
    survey: Survey, unit: str, part: pd.DataFrame,
    line: tuple[float, float, float, float, float, float] | None,
) -> list[Any]:  # fmt: skip
    """Return the row of one unit; a unit with fewer than k low scores is suppressed."""
    n, nothing = len(part), [np.nan] * 6
    if n < survey.k:
        return [unit, np.nan, np.nan, *nothing[:4], np.nan, *nothing]
    called = int(part["in_time"].sum())
    rate = wilson(called, n, confidence=survey.confidence)
    share = [called, *(float(v) for v in rate), float(part["solved"].sum() / n)]
    again = part[part["in_time"] & part["next"].notna()]
    if line is None or len(again) < survey.k:
        return [unit, n, *share, np.nan, *nothing]
    mean, slope, sd, size, middle, spread = line
    before, after = float(again["score"].mean()), float(again["next"].mean())
    expected = mean + slope * (before - middle)
    error = sd * np.sqrt(1 / len(again) + 1 / size + (before - middle) ** 2 / spread)
    half = special.ndtri(0.5 + survey.confidence / 2) * error
    effect = after - expected
    ends = [effect, effect - half, effect + half]
    return [unit, n, *share, len(again), before, after, expected, *ends]
