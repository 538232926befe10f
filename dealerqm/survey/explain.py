"""What changed and whether it is real, what drives satisfaction, which stores differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from dealerqm.fieldwork.quality import Weighted
from dealerqm.fieldwork.rows import Array, finding
from dealerqm.inference.compare import outliers, shrink_means, shrink_shares
from dealerqm.inference.drivers import Drivers as Importances
from dealerqm.inference.drivers import drivers as importances
from dealerqm.inference.drivers import priorities, stability
from dealerqm.pooling.levels import draw_means, draw_shares, rank_intervals
from dealerqm.result import Result, Unit
from dealerqm.sampling.compare import change
from dealerqm.sampling.design import design
from dealerqm.stats.intervals import Interval, difference
from dealerqm.stats.multiple import benjamini_hochberg
from dealerqm.survey.scores import columns, domain, estimate

BOTH = 2  # waves that a change needs
_LEAST = 5  # stores with data that a comparison needs: each is tested against four others


@dataclass(frozen=True, kw_only=True)
class Changes(Result):
    """Weighted change of one measure between two waves, by unit.

    ``independent_p`` forgets the sampling units that are in both waves. ``beyond`` means: named
    under false-discovery control over all units compared. The note holds the group's p-value with
    stores as sampling units: with the covariance of those in both waves, and as if they were other
    stores.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.measure"),
            "by": Unit("text", "survey.by"),
            "unit": Unit("unit_name", "column.unit"),
            "before": Unit("kpi", "survey.wave_before"),
            "after": Unit("kpi", "survey.wave_after"),
            "value": Unit("kpi_change", "column.change"),
            "low": Unit("kpi_change", "column.low"),
            "high": Unit("kpi_change", "column.high"),
            "p_value": Unit("p", "survey.p_value"),
            "independent_p": Unit("p", "survey.independent_p"),
            "shared": Unit("count", "survey.shared"),
            "q_value": Unit("p", "survey.q_value"),
            "beyond": Unit("flag", "column.beyond_noise"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "unit", "before", "after", "value", "low", "high", "q_value", "beyond",
    )  # fmt: skip


def changes(weighted: Weighted, measure: str = "", *, by: str = "store") -> Changes:
    """Compare the reviewed wave with the one before.

    Parameters
    ----------
    weighted, measure : Weighted, str
        Answers; one of the instrument's measures, empty is overall satisfaction.
    by : str
        As for ``scores``; the group is always the first row.

    Returns
    -------
    Changes
        Empty with a single wave. Units with fewer than k answers in either wave are suppressed;
        stores where answering depends on satisfaction are shown and never named.

    Notes
    -----
    Both waves lie in one design: Var = V₁ + V₂ - 2C. Strata and sampling units are those of the
    export; stores that are strata add no variance of their own. Where no sampling unit is in both
    waves, the interval is put together from those of both waves (Zou and Donner), which also
    serves stores whose customers all agree. Benjamini-Hochberg over the units.
    """
    survey = weighted.survey
    measure = measure or survey.instrument.overall
    note: dict[str, Any] = {"kpis": survey.instrument.measures, "by": by}
    waves = list(weighted.waves)[-BOTH:]
    if len(waves) < BOTH:
        return Changes(frame=pd.DataFrame(columns=list(Changes.COLUMNS)), note=note)
    parts = [_changed(weighted, measure, level, waves) for level in dict.fromkeys(("group", by))]
    table = pd.concat(parts, ignore_index=True)
    group = (table["by"] == "group").to_numpy()
    p = table["p_value"].to_numpy(float)
    table["q_value"] = np.where(group, p, benjamini_hochberg(np.where(group, np.nan, p)))
    level = np.where(group, 1 - survey.confidence, survey.settings["false_discovery"])
    told = table["unit"].isin(weighted.told) & (table["by"] == "store")
    table["beyond"] = (table["q_value"] <= level) & ~told
    seen = [set(weighted.rows.loc[weighted.rows["wave"] == wave, "store_id"]) for wave in waves]
    note |= {
        "waves": waves, "compared": int(np.isfinite(p).sum()),
        "stores_in_both": len(set.intersection(*seen)),
        **_stores_as_units(weighted, measure, waves),
    }  # fmt: skip
    kinds = ("group", "store", "region")
    named = table[table["beyond"] & table["by"].isin(kinds)]
    findings = tuple(
        finding(survey, "change_wave", (row["by"], row["unit"]),
                {**{name: row[name] for name in ("value", "low", "high", "p_value", "q_value")},
                 "expected": 0.0, "direction": "better" if row["value"] > 0 else "worse"})
        for row in named.to_dict("records") if measure == survey.instrument.overall
    )  # fmt: skip
    return Changes(frame=table[list(Changes.COLUMNS)], findings=findings, note=note)


def _stores_as_units(weighted: Weighted, measure: str, waves: list[str]) -> dict[str, float]:
    """Test the group's change with stores as sampling units, and as if they were other stores."""
    sample = design(weighted.design.weights, psu=weighted.rows["store_id"].to_numpy())
    other = replace(weighted, design=sample)
    found = change(sample, *(estimate(other, measure, domain(other, "group", wave)[0])
                             for wave in waves))  # fmt: skip
    error, df = float(found.independent[0]), float(found.df[0])
    usual = 2 * special.stdtr(max(df, 1), -abs(found.estimate[0]) / error) if error > 0 else np.nan
    return {"stores_as_units_p": float(found.p[0]), "stores_forgotten_p": float(usual)}


def _changed(weighted: Weighted, measure: str, by: str, waves: list[str]) -> pd.DataFrame:
    """Return the changes of the units of one subgroup."""
    survey = weighted.survey
    places = [domain(weighted, by, wave) for wave in waves]
    names = places[0][1]
    old, new = (estimate(weighted, measure, where) for where, _ in places)
    found = change(weighted.design, old, new, confidence=survey.confidence)
    one, two = (columns(part, len(names)) for part in (old, new))
    few = (np.nan_to_num(one["n"]) < survey.k) | (np.nan_to_num(two["n"]) < survey.k)
    table = pd.DataFrame({
        "kpi": measure, "by": by, "unit": names, "before": one["estimate"],
        "after": two["estimate"],
    })  # fmt: skip
    ends = [Interval(*(part[end] for end in ("estimate", "low", "high"))) for part in (two, one)]
    pad = np.full(len(names) - found.estimate.size, np.nan)
    kept = [np.append(c, pad) for c in (*found[:6], found.independent, found.shared)]
    listed = _listed(kept, difference(*ends), survey.confidence)
    table = table.assign(**listed)
    numbers = table.columns.difference(["kpi", "by", "unit"])
    table = table.astype(dict.fromkeys(numbers, "float64"))
    table.loc[few, numbers] = np.nan
    return table


def _listed(found: list[Array], apart: Interval, confidence: float) -> dict[str, Array]:
    """Return the numbers of changes; without shared units both intervals are put together."""
    value, se, low, high, df, _, alone, shared = found
    t = special.stdtrit(np.maximum(df, 1), 0.5 + confidence / 2)
    toward = np.where(value > 0, value - apart.low, apart.high - value)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(shared > 0, se, toward / t)
        p, forgetful = (2 * special.stdtr(np.maximum(df, 1), -np.abs(value / e))
                        for e in (error, np.where(shared > 0, alone, error)))  # fmt: skip
    return {
        "value": value, "low": np.where(shared > 0, low, apart.low),
        "high": np.where(shared > 0, high, apart.high), "p_value": p, "independent_p": forgetful,
        "shared": shared,
    }  # fmt: skip


# ---------------------------------------------------------------- stores compared


@dataclass(frozen=True, kw_only=True)
class Stores(Result):
    """Stores fairly compared: levels drawn together, ranks with their doubt, outliers by rule.

    ``funnel_low`` and ``funnel_high`` are where a store like all others would lie with this many
    answers. ``state`` is ``better`` or ``worse`` for a named outlier, ``alike`` for the others.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.measure"),
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.answers"),
            "raw": Unit("kpi", "survey.weighted"),
            "value": Unit("kpi", "survey.level"),
            "low": Unit("kpi", "column.low"),
            "high": Unit("kpi", "column.high"),
            "own": Unit("share", "survey.own"),
            "rank": Unit("value", "survey.rank"),
            "rank_low": Unit("count", "column.low"),
            "rank_high": Unit("count", "column.high"),
            "funnel_low": Unit("kpi", "survey.funnel_low"),
            "funnel_high": Unit("kpi", "survey.funnel_high"),
            "q_value": Unit("p", "survey.q_value"),
            "state": Unit("word:survey_state", "survey.state"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "unit", "n", "value", "low", "high", "rank_low", "rank_high", "state",
    )  # fmt: skip


_NUMBERS = tuple(Stores.COLUMNS)[4:-1]


def stores(weighted: Weighted, measure: str = "") -> Stores:
    """Compare the stores of the reviewed wave.

    Parameters
    ----------
    weighted, measure : Weighted, str
        Answers; one of the instrument's measures, empty is overall satisfaction.

    Returns
    -------
    Stores
        Best level first. Stores with fewer than k answers, or where answering depends on
        satisfaction, are not compared; fewer than four others give no comparison.

    Notes
    -----
    The sampling variance of a store is that of an answer, pooled over the stores, over its
    effective answers, so that a store whose few customers agree is not taken as exact. Levels and
    ranks: beta-binomial for shares, normal (REML) otherwise. Outliers: deleted residuals beyond
    the plan's gap (of the scale), Benjamini-Hochberg at the plan's rate.
    """
    survey = weighted.survey
    measure = measure or survey.instrument.overall
    words = survey.instrument.measures
    where, names = domain(weighted, "store", survey.wave)
    found = columns(estimate(weighted, measure, where), len(names))
    told, n = np.isin(names, sorted(weighted.told)), np.nan_to_num(found["n"])
    usable = (n >= survey.k) & (found["df"] >= 1) & ~told
    state = np.where(told, "telling", np.where(usable, "alike", "suppressed")).astype(object)
    table = pd.DataFrame({"kpi": measure, "unit": names, "n": n, "raw": found["estimate"]})
    table.loc[n < survey.k, ["n", "raw"]] = np.nan
    table = table.reindex(columns=list(Stores.COLUMNS)).astype(dict.fromkeys(_NUMBERS, "float64"))
    note = {"wave": survey.wave, "kpis": words, "confidence": survey.confidence}
    if usable.sum() >= _LEAST and (found["se"][usable] > 0).any():
        used = {name: column[usable] for name, column in found.items()}
        numbers, side, rule = _compared(weighted, used, str(words[measure]["measure"]))
        table.loc[usable, list(numbers)] = np.column_stack(list(numbers.values()))
        state[usable] = side
        note |= rule
    table = table.assign(state=state)
    table = table.sort_values(["value", "unit"], ascending=[False, True], na_position="last")
    named = table[table["state"].isin(["better", "worse"])]
    findings = tuple(
        finding(survey, "store_differs", ("store", row["unit"]),
                {**{name: row[name] for name in ("value", "low", "high", "q_value")},
                 "expected": note["common"], "direction": row["state"]})
        for row in named.to_dict("records") if measure == survey.instrument.overall
    )  # fmt: skip
    return Stores(frame=table, findings=findings, note=note)


def _compared(
    weighted: Weighted, found: dict[str, Array], kind: str
) -> tuple[dict[str, Array], NDArray[Any], dict[str, Any]]:
    """Return the numbers of each usable store, its side, and the rule in numbers."""
    survey, statistics = weighted.survey, weighted.survey.plan.settings["statistics"]
    y, size = found["estimate"], found["n_eff"]
    answer = float((found["se"] ** 2 * size * found["n"]).sum() / found["n"].sum())
    variance = answer / size
    draws = {"draws": statistics["bootstrap_replicates"], "seed": statistics["seed"]}
    if kind == "share":
        effect = max(answer / float(np.average(y * (1 - y), weights=found["n"])), 1.0)
        levels = shrink_shares(y * size, size, dispersion=effect, confidence=survey.confidence)
        drawn = draw_shares(y * size, size, dispersion=effect, **draws)
    else:
        levels = shrink_means(y, variance, confidence=survey.confidence)
        drawn = draw_means(y, variance, **draws)
    ranks = rank_intervals(drawn, confidence=survey.confidence).rank
    points = survey.plan.instrument["index_points"]
    low, high = {"share": (0, 1), "score": (-1, 1)}.get(kind, (0, points))
    margin = float(survey.settings["outlier_gap"]) * (high - low)
    tested = outliers(
        y, variance, rate=survey.settings["false_discovery"], margin=margin, spread="none"
    )
    half = special.ndtri(0.5 + survey.confidence / 2) * np.sqrt(variance)
    rule = {
        "common": levels.common, "tau2": levels.tau2, "outlier_gap": margin,
        "false_discovery": survey.settings["false_discovery"],
    }  # fmt: skip
    side = np.where(tested.outlier, np.where(tested.gap > 0, "better", "worse"), "alike")
    columns = (
        *levels.level, levels.own, *ranks, np.maximum(levels.common - half, low),
        np.minimum(levels.common + half, high), tested.q,
    )  # fmt: skip
    return dict(zip(_NUMBERS, columns, strict=True)), side, rule


# ---------------------------------------------------------------- drivers


@dataclass(frozen=True, kw_only=True)
class Drivers(Result):
    """How much of overall satisfaction each item explains, and where to begin.

    ``value`` is the share of the explained variance (LMG), ``place`` the quadrant of importance and
    performance, ``sure`` where the data tell it, ``change`` against the wave before.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.item"),
            "value": Unit("share", "survey.importance"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "performance": Unit("value", "survey.performance"),
            "performance_low": Unit("value", "column.low"),
            "performance_high": Unit("value", "column.high"),
            "place": Unit("word:survey_place", "survey.place"),
            "sure": Unit("flag", "survey.sure"),
            "vif": Unit("value", "survey.vif"),
            "collinear": Unit("flag", "survey.collinear"),
            "change": Unit("points", "survey.importance_change"),
            "change_low": Unit("points", "column.low"),
            "change_high": Unit("points", "column.high"),
            "q_value": Unit("p", "survey.q_value"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "kpi", "value", "low", "high", "performance", "place", "sure", "collinear",
    )  # fmt: skip


def drivers(weighted: Weighted, *, touchpoint: str = "") -> Drivers:
    """Measure what drives overall satisfaction in the reviewed wave.

    Parameters
    ----------
    weighted, touchpoint : Weighted, str
        Answers; only those about a touchpoint, empty is all and the items asked at all of them.

    Returns
    -------
    Drivers
        Most important first. Straight-lined answers are left out: they say nothing about items.

    Raises
    ------
    MethodError
        If there are hardly more complete answers than items.

    Notes
    -----
    LMG with design-based intervals, importance and performance against their means, stability by
    the covariance of both waves; Benjamini-Hochberg over items. Importance is association: an item
    that improves need not pull satisfaction with it.
    """
    survey = weighted.survey
    rows, instrument = weighted.rows, survey.instrument
    asked = [touchpoint] if touchpoint else instrument.touchpoints
    items = [
        item for item in instrument.items()
        if item != instrument.overall and set(asked) <= set(instrument.asked_at(item))
    ]  # fmt: skip
    x, y = rows[items].to_numpy(float), rows[instrument.overall].to_numpy(float)
    there = rows["touchpoint"].isin(asked) & rows["store_id"].isin(list(survey.regions))
    there &= ~rows["straight"] & (weighted.design.weights > 0)
    waves = list(weighted.waves)[-BOTH:]
    parts = [(there & (rows["wave"] == wave)).to_numpy(bool) for wave in waves]
    level, sample = survey.confidence, weighted.design
    now = importances(x, y, sample, domain=parts[-1], confidence=level)
    spot = priorities(x, y, sample, domain=parts[-1], measure="lmg", confidence=level)
    vif = now.measures.vif
    table = pd.DataFrame({
        "kpi": items, "value": now.share.estimate, "low": now.share.low, "high": now.share.high,
        "performance": spot.performance.estimate, "performance_low": spot.performance.low,
        "performance_high": spot.performance.high, "place": spot.quadrant, "sure": spot.sure,
        "vif": vif, "collinear": vif >= survey.settings["collinear"],
        **_since(importances(x, y, sample, domain=parts[0], confidence=level), now, level, waves),
    })  # fmt: skip
    table = table.sort_values(["value", "kpi"], ascending=[False, True], kind="stable")
    found = tuple(
        finding(survey, f"survey_driver:{row['kpi']}", ("group", "group"),
                {"value": row["value"], "low": row["low"], "high": row["high"]}, severity="info")
        for row in table.to_dict("records") if row["sure"] and row["place"] == "concentrate"
    )  # fmt: skip
    note = {
        "wave": survey.wave, "kpis": instrument.words, "answers": now.n, "touchpoint": touchpoint,
        "r2": float(now.r2.estimate), "r2_low": float(now.r2.low), "r2_high": float(now.r2.high),
        "left_out": sorted(set(instrument.items()) - {*items, instrument.overall}),
        "straight_lined_left_out": True,
    }  # fmt: skip
    return Drivers(frame=table[list(Drivers.COLUMNS)], findings=found, note=note)


def _since(
    before: Importances, now: Importances, confidence: float, waves: list[str]
) -> dict[str, Array]:
    """Return the change of importance since the wave before."""
    names = ("change", "change_low", "change_high", "q_value")
    if len(waves) < BOTH or (before.measures.dependent | now.measures.dependent).any():
        return {name: np.full(now.share.estimate.size, np.nan) for name in names}
    kept = stability(before, now, confidence=confidence)
    return dict(zip(names, (*kept.change, benjamini_hochberg(kept.p)), strict=True))
