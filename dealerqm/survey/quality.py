"""How far answers can be trusted, and the weights that follow from it.

Flags mark doubtful answers, seen over all waves at hand; what the weighting does with them stands
in the plan. The reviewed wave and the one before are weighted in one design, so that changes know
of the sampling units that both share. Its rows are all answers; what is dropped has weight 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dealerqm.errors import MethodError, ParameterError, unknown
from dealerqm.inference.regression import matrix
from dealerqm.result import Result, Unit
from dealerqm.sampling.design import Design, calibrated, design
from dealerqm.stats.multiple import benjamini_hochberg
from dealerqm.survey.response import Telling, telling
from dealerqm.survey.rows import Array, Survey, finding
from dealerqm.weights.calibration import respond, response_classes, response_propensity
from dealerqm.weights.raking import rake
from dealerqm.weights.weighting import Calibration, Weighting, trim

Flags = NDArray[np.bool_]
FLAGS = ("duplicate", "coached", "straight", "hurried")
STEPS = ("answers", "design_weights", "response_classes", "calibrated")
LONELY = "average"  # a stratum with one sampling unit gets the mean variance of the others
MANY, _CHANGE = 60, 2  # most levels of a variable of the response model; waves of a change
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
        With a finding per store with coached answers in the waves at hand.
    """
    every = survey.rows[["store_id", "wave", "answered"]].join(marked)
    every = every[every["answered"] & every["store_id"].isin(list(survey.regions))]
    rows, found = every[every["wave"] == survey.wave], []
    for flag in FLAGS:
        for unit, part in [("group", rows), *rows.groupby("store_id")]:
            n, count = len(part), int(part[flag].sum())
            if n < survey.k or not (count or unit == "group"):
                continue
            shown = np.nan if 0 < count < survey.k else count
            treatment = survey.settings["quality"]["treat"][flag]
            found.append([flag, unit, n, shown, shown / n, treatment])
    coached = every.groupby("store_id")["coached"].agg(["sum", "mean"])
    told = [
        finding(survey, "survey_coached", ("store", str(store)),
                {"value": row["mean"], "direction": "worse"})
        for store, row in coached[coached["sum"] >= survey.k].iterrows()
    ]  # fmt: skip
    table = pd.DataFrame(found, columns=list(Doubts.COLUMNS))
    note = {
        "wave": survey.wave, "false_discovery": survey.settings["false_discovery"],
        "suppressed": "flagged answers of a store below k",
    }  # fmt: skip
    return Doubts(frame=table, findings=tuple(told), note=note)


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """The answers of some waves with their weights.

    Attributes
    ----------
    survey, waves : Survey, tuple of str
        Invitations and plan; the waves that are weighted, the newest last.
    rows : DataFrame
        Answers, numbered from 0, with the flags of ``quality.flags``.
    raw, design : Design
        Every answer counting one; and with the final weights, calibration known to its errors.
    gaps : DataFrame
        ``wave, margin, level, target, achieved, gap``, ``deff`` of the weights of the wave.
    steps : mapping of str to ndarray
        Weights after each of ``STEPS``.
    telling : Telling
        Stores whose level no weight can repair.
    note : mapping
        Margins used, levels joined, gaps to targets, what was dropped and trimmed.
    """

    survey: Survey
    waves: tuple[str, ...]
    rows: pd.DataFrame
    raw: Design
    design: Design
    gaps: pd.DataFrame
    steps: Mapping[str, Array]
    telling: Telling
    note: Mapping[str, Any]

    @property
    def told(self) -> set[str]:
        """Stores in which answering depends on satisfaction."""
        return set(self.telling.frame.loc[self.telling.frame["named"].astype(bool), "unit"])

    def unit(self, by: str) -> pd.Series:
        """Return the unit of every answer: group, region, store, or any column of the rows."""
        if by == "group":
            return pd.Series("group", index=self.rows.index)
        name = {"store": "store_id"}.get(by, by)
        known = ["group", "region", "store", *self.survey.settings["margins"]]
        if by not in known or name not in self.rows:
            raise ParameterError(unknown("subgroup", by, known))
        return self.rows[name]


# ---------------------------------------------------------------- weighting


def weigh(
    survey: Survey, *, treat: Mapping[str, str] | None = None, waves: Sequence[str] = ()
) -> Weighted:  # fmt: skip
    """Weight the answers of some waves to the population, in one design.

    Parameters
    ----------
    survey : Survey
        The waves.
    treat : mapping or None
        Flag to ``keep`` or ``drop``; None is as the plan says.
    waves : sequence of str
        Waves at hand; none is the reviewed one and the one before.

    Returns
    -------
    Weighted
        The same survey gives the same weights.

    Raises
    ------
    MethodError
        If nobody answered, a level has no target, margins of a wave disagree on the total, or the
        targets cannot be met together; the message names the wave, the level and what helps.

    Notes
    -----
    Wave by wave: design weights; those who answered stand for the silent ones of their class of
    like chances to answer (logit on margins of at most 60 levels); raked to the targets of the
    quarter, levels with few answers joined first; weights above the plan's multiple of their mean
    cut, the rest shared out, raked again. Without targets the weights of the classes stay.
    """
    treat = dict(treat or survey.settings["quality"]["treat"])
    waves = tuple(waves) or tuple(survey.quarters)[-_CHANGE:]
    whole, marked = survey, flags(survey)
    found = telling(survey, marked)
    here = survey.rows["wave"].isin(waves)
    survey = replace(survey, rows=survey.rows[here].reset_index(drop=True),
                     quarters={wave: survey.quarters[wave] for wave in waves})  # fmt: skip
    marked = marked[here.to_numpy()].reset_index(drop=True)
    dropped = [name for name in FLAGS if treat[name] == "drop"]
    kept = (survey.rows["answered"] & ~marked[dropped].any(axis=1)).to_numpy(bool)
    if not kept.any():
        raise MethodError(f"survey: nobody answered in {', '.join(waves)}.")
    classes = _for_the_silent(survey, kept)
    rows = survey.rows.join(marked)[survey.rows["answered"]]
    place = rows.index.to_numpy()
    rows = rows.reset_index(drop=True)
    psu, strata = rows["psu"].to_numpy(), rows["stratum"].to_numpy()
    start = design(classes[place], psu=psu, strata=strata, lonely=LONELY)
    weights, codes, gaps, note = _calibrated(survey, rows, start.weights)
    on = Calibration(start.weights, margins=tuple(codes))
    base = np.where(kept[place], rows["base_weight"].to_numpy(float), 0.0)
    note |= {
        "answers": len(rows), "dropped": {name: int(rows[name].sum()) for name in dropped},
        "kept_though_doubtful": {n: int(rows[n].sum()) for n in FLAGS if n not in dropped},
    }  # fmt: skip
    ones = np.ones(len(rows))
    return Weighted(
        survey=whole, waves=waves, rows=rows,
        raw=design(ones, psu=psu, strata=strata, lonely=LONELY),
        design=calibrated(start, weights, on=on) if codes else start, gaps=gaps,
        steps=dict(zip(STEPS, (ones, base, start.weights, weights), strict=True)),
        telling=found, note=MappingProxyType(note),
    )  # fmt: skip


def _joined(values: pd.Series, levels: Mapping[str, float], least: int) -> dict[str, str]:
    """Join levels with too few answers, the smallest first, and name each level's group."""
    count = values.value_counts().reindex(list(levels), fill_value=0)
    groups = [([str(level)], int(n)) for level, n in count.items()]
    while len(groups) > 1:
        groups.sort(key=lambda group: (group[1], group[0]))
        if groups[0][1] >= least:
            break
        (one, n), (two, m) = groups[:2]
        groups[:2] = [(sorted(one + two), n + m)]
    return {level: "+".join(names) for names, _ in groups for level in names}


def _for_the_silent(survey: Survey, kept: Flags) -> Array:
    """Return design weights that stand for those who did not answer, wave by wave."""
    rows, made = survey.rows, survey.settings["weighting"]
    weights = rows["base_weight"].to_numpy(float)
    due = (rows["disposition"] != "pending").to_numpy(bool)
    known = {}
    for name in ["wave", *(n for n in survey.settings["margins"] if n in rows)]:
        levels = dict.fromkeys(rows[name].unique(), 1.0)
        group = rows[name].map(_joined(rows.loc[kept, name], levels, made["level_answers"]))
        if 1 < group[due].nunique() <= MANY:
            known[name] = group[due].to_numpy()
    chance = np.ones(len(rows))
    if known and not kept[due].all():
        chance[due] = response_propensity(matrix(known).x, kept[due], weights=weights[due]).chance
    out = np.zeros(len(rows))
    for wave in survey.quarters:
        here = due & (rows["wave"] == wave).to_numpy(bool)
        if kept[here].any():
            code = response_classes(chance[here], kept[here], classes=made["classes"],
                                    least=made["class_answers"])  # fmt: skip
            out[here] = respond(weights[here], kept[here], code).weights
    return out


def _calibrated(
    survey: Survey, rows: pd.DataFrame, start: Array
) -> tuple[Array, list[NDArray[np.int64]], pd.DataFrame, dict[str, Any]]:
    """Rake each wave to its quarter: weights, codes of the margins, targets with gaps, note."""
    made, weights = survey.settings["weighting"], start.copy()
    names = [name for name in survey.settings["margins"] if name in rows]
    codes = {name: np.zeros(len(rows), np.int64) for name in names}
    shift = dict.fromkeys(names, 1)  # 0 is: no target in this wave
    note: dict[str, Any] = {"joined_levels": [], "no_targets": [], "cut_weights": {}}
    told = []
    for wave in survey.quarters:
        here = ((rows["wave"] == wave) & (start > 0)).to_numpy(bool)
        margins, targets, joins = _margins(survey, rows[here], wave)
        note["joined_levels"] += joins
        if not targets or not here.any():
            note["no_targets"].append(wave)
            continue
        try:
            found = rake(start[here], margins, targets, gap=made["gap"])
            found, note["cut_weights"][wave] = _cut(found, margins, targets, made)
        except MethodError as error:
            raise MethodError(f"survey weights, wave {wave}: {error}") from None
        weights[here] = found.weights
        for name in targets:
            levels = {level: at for at, level in enumerate(targets[name])}
            codes[name][here] = shift[name] + margins[name].map(levels).to_numpy(np.int64)
            shift[name] += len(levels)
        told.append(pd.DataFrame(found.gaps._asdict()).assign(wave=wave, deff=found.deff))
    used = [name for name in names if shift[name] > 1]
    gaps = pd.concat(told, ignore_index=True) if told else pd.DataFrame()
    return weights, [codes[name] for name in used], gaps, {"margins": used, **note}


def _margins(
    survey: Survey, answers: pd.DataFrame, wave: str
) -> tuple[dict[str, pd.Series], dict[str, dict[str, float]], list[str]]:
    """Return the levels of each margin, their targets, and which levels were joined."""
    targets = survey.targets[survey.targets["quarter"] == survey.quarters[wave]]
    margins: dict[str, pd.Series] = {}
    totals: dict[str, dict[str, float]] = {}
    joins: list[str] = []
    for name in survey.settings["margins"]:
        mine = targets[targets["margin"] == name]
        if mine.empty or name not in answers:
            continue
        counts = dict(zip(mine["level"].astype(str), mine["count"].astype(float), strict=True))
        counts = {level: count for level, count in counts.items() if count > 0}
        group = _joined(answers[name], counts, survey.settings["weighting"]["level_answers"])
        margins[name] = answers[name].map(lambda level, group=group: group.get(level, level))
        totals[name] = dict.fromkeys(sorted(set(group.values())), 0.0)
        for level, count in counts.items():
            totals[name][group[level]] += count
        joins += [f"{wave} {name}: {g}" for g in sorted(set(group.values())) if "+" in g]
    return margins, totals, joins


def _cut(
    found: Weighting, margins: Mapping[str, pd.Series], targets: Mapping[str, dict[str, float]],
    made: Mapping[str, Any],
) -> tuple[Weighting, int]:  # fmt: skip
    """Cut the largest weights, share out what was cut, and rake again; say how many were cut."""
    high = made["trim"] * float(np.mean(found.weights))
    many = int((found.weights > high).sum())
    if not many:
        return found, 0
    less = trim(found, 0.0, high, mode="repeat", gap=made["gap"])
    return rake(less.weights, margins, targets, gap=made["gap"]), many
