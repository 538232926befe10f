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
from scipy import stats

from dealerqm.errors import MethodError, ParameterError, unknown
from dealerqm.fieldwork.population import JOIN, Flags, for_the_silent, to_targets
from dealerqm.fieldwork.response import Telling, telling
from dealerqm.fieldwork.rows import Array, Survey, finding
from dealerqm.result import Result, Unit
from dealerqm.sampling.design import Design, calibrated, design
from dealerqm.stats.multiple import benjamini_hochberg
from dealerqm.weights.weighting import Calibration

FLAGS = ("duplicate", "coached", "straight", "hurried")
STEPS = ("answers", "design_weights", "response_classes", "calibrated")
_CHANGE = 2  # waves of a change
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
        ``wave, margin, level, target, achieved, gap``, and ``deff, verdict`` of the wave.
    steps : mapping of str to ndarray
        Weights after each of ``STEPS``.
    telling : Telling
        Stores whose level no weight can repair.
    lonely : frozenset of str
        Strata with one sampling unit; the plan says where their variance comes from.
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
    lonely: frozenset[str]
    note: Mapping[str, Any]

    @property
    def told(self) -> set[str]:
        """Stores in which answering depends on satisfaction."""
        return set(self.telling.frame.loc[self.telling.frame["named"].astype(bool), "unit"])

    def drawn(self, weights: Array) -> Design:
        """Return the design of the answers with other weights."""
        return _design(self.survey, self.rows, weights)

    def largest_gap(self, weights: Array) -> float:
        """Return the largest relative gap to a target of the newest wave, as a share; or NaN."""
        mine, worst = self.gaps[self.gaps["wave"] == self.waves[-1]], np.nan
        here = (self.rows["wave"] == self.waves[-1]).to_numpy(bool)
        for margin, part in mine.groupby("margin"):
            target = part["target"].to_numpy(float)
            place = {one: at for at, level in enumerate(part["level"]) for one in level.split(JOIN)}
            code = self.rows.loc[here, str(margin)].map(place).fillna(-1).to_numpy(np.int64)
            sums = np.bincount(code + 1, weights[here], target.size + 1)[1:]
            gaps = np.abs(sums / sums.sum() / (target / target.sum()) - 1)
            worst = float(np.fmax(worst, gaps.max()))
        return worst

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
        If nobody answered, or as :func:`dealerqm.fieldwork.population.to_targets` says.

    Notes
    -----
    Wave by wave: design weights; those who answered stand for the silent ones of their class of
    like chances to answer; raked to the targets of the quarter, levels with few answers joined
    first; weights above the plan's multiple of their mean cut, the rest shared out, raked again.
    Without targets the weights of the classes stay.
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
    classes = for_the_silent(survey, kept)
    rows = survey.rows.join(marked)[survey.rows["answered"]]
    place = rows.index.to_numpy()
    rows = rows.reset_index(drop=True)
    start = _design(survey, rows, classes[place])
    met = to_targets(survey, rows, start.weights)
    on = Calibration(start.weights, margins=tuple(met.codes))
    base = np.where(kept[place], rows["base_weight"].to_numpy(float), 0.0)
    units = rows.groupby("stratum")["psu"].nunique()
    lonely = frozenset(units.index[units == 1])
    note = met.note | {
        "lonely_strata": sorted(lonely), "lonely": survey.settings["weighting"]["lonely"],
        "answers": len(rows), "dropped": {name: int(rows[name].sum()) for name in dropped},
        "kept_though_doubtful": {n: int(rows[n].sum()) for n in FLAGS if n not in dropped},
    }  # fmt: skip
    ones = np.ones(len(rows))
    return Weighted(
        survey=whole, waves=waves, rows=rows,
        raw=_design(survey, rows, ones), gaps=met.gaps,
        design=calibrated(start, met.weights, on=on) if met.codes else start,
        steps=dict(zip(STEPS, (ones, base, start.weights, met.weights), strict=True)),
        telling=found, lonely=lonely, note=MappingProxyType(note),
    )  # fmt: skip


def _design(survey: Survey, rows: pd.DataFrame, weights: Array) -> Design:
    """Describe how the answers were drawn, with any weights; lonely strata as the plan says."""
    psu, strata = rows["psu"].to_numpy(), rows["stratum"].to_numpy()
    rule = survey.settings["weighting"]["lonely"]
    try:
        return design(weights, psu=psu, strata=strata, lonely=rule)
    except MethodError as error:
        raise MethodError(
            f"survey weights: {error} In the plan: [survey.weighting] lonely."
            if rule == "refuse" else f"survey weights: {error}"
        ) from None  # fmt: skip
