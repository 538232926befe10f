"""What customers say in their own words, and what the staff says.

Counts only, never a quote; nothing about fewer people than the plan's k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import special, stats

from dealerqm import privacy
from dealerqm.facts import Ask
from dealerqm.fieldwork.instrument import STAFF, Themes, themes
from dealerqm.fieldwork.rows import Array, Survey
from dealerqm.psychometrics.agreement import cross_table, kappa
from dealerqm.result import Result, Unit
from dealerqm.sampling.design import design
from dealerqm.sampling.estimate import Estimates, mean
from dealerqm.stats import text
from dealerqm.stats.intervals import wilson
from dealerqm.stats.multiple import benjamini_hochberg

_AGREEMENT = ["kpi", "coded", "dictionary", "model", "kappa", "low", "high"]
_SPEARMAN, _CLOSE, _FEW = 1.06, 0.999999, 4  # variance of z; a correlation of 1; stores for a link
_LINE = 3  # pairs that a line needs


def coded(texts: pd.Series, known: Themes) -> text.Flags:
    """Code comments by their words and by the model.

    Parameters
    ----------
    texts : Series of str
        Comments, none missing. Personal data are masked before anything is looked at.
    known : Themes
        Dictionary and coded clauses.

    Returns
    -------
    ndarray of bool, shape (texts, themes)
        Themes of each comment.

    Examples
    --------
    >>> found = coded(pd.Series(["价格太贵，停车也难", "ok"]), themes())
    >>> [name for name, said in zip(themes().labels, found[0]) if said]
    ['price', 'facilities']
    """
    parts = [text.clauses(privacy.mask(said)[0]) for said in texts]
    place = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    clauses, at = np.unique([c for part in parts for c in part], return_inverse=True)
    if not clauses.size:
        return np.zeros((len(parts), len(known.labels)), bool)
    listed = clauses.tolist()
    model = _model(known.texts, known.codes.tobytes(), known.codes.shape[1])
    found = text.dictionary(listed, known.words) | (model.chance(listed) >= known.threshold)
    return text.joined(place, found[at], len(parts))


@cache
def _model(texts: tuple[str, ...], codes: bytes, size: int) -> text.Model:
    return text.train(texts, np.frombuffer(codes, bool).reshape(-1, size))


def agreement(known: Themes, confidence: float = 0.95) -> pd.DataFrame:
    """Measure how far dictionary and model agree with the coded clauses.

    Parameters
    ----------
    known, confidence : Themes, float
        Dictionary and coded clauses; level of the intervals.

    Returns
    -------
    DataFrame
        Theme, coded clauses with it, Cohen's κ of dictionary, of model, and of both together with
        its interval. Every clause is coded by a model that never saw it.
    """
    chance = text.cross_chance(known.texts, known.codes, folds=known.folds)
    listed = text.dictionary(known.texts, known.words)
    learnt = chance >= known.threshold
    rows = []
    for at, name in enumerate(known.labels):
        truth = known.codes[:, at]
        three = [
            kappa(cross_table(truth, other[:, at])[0], confidence=confidence).kappa
            for other in (listed, learnt, listed | learnt)
        ]
        rows.append([name, int(truth.sum()), *(float(k.estimate) for k in three),
                     float(three[2].low), float(three[2].high)])  # fmt: skip
    return pd.DataFrame(rows, columns=_AGREEMENT)


@dataclass(frozen=True, kw_only=True)
class Comments(Result):
    """Themes of the wave's comments for the group and its stores.

    ``gap`` is the share of satisfied customers among those who mention a theme less the share
    among those who comment on something else. ``kappa`` says how far the coding can be trusted.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.theme"),
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "survey.comments"),
            "mentions": Unit("count", "survey.mentions"),
            "value": Unit("share", "survey.mentioned"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "gap": Unit("points", "survey.theme_gap"),
            "gap_low": Unit("points", "column.low"),
            "gap_high": Unit("points", "column.high"),
            "complaints": Unit("count", "survey.complaints"),
            "kappa": Unit("value", "survey.kappa"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "kpi", "mentions", "value", "low", "high", "gap", "complaints", "kappa",
    )  # fmt: skip


def comments(survey: Survey, known: Themes | None = None) -> Comments:
    """Count what the customers of the wave talk about.

    Parameters
    ----------
    survey, known : Survey, Themes or None
        The waves; None is the package's dictionary.

    Returns
    -------
    Comments
        Most mentioned first; fewer than k mentions or comments are suppressed. Comments are
        volunteered and not weighted: they say what is talked about, not how common it is.

    Notes
    -----
    Wilson intervals of the shares; gap p₁ - p₀ with normal interval. Complaints of the same
    quarter and stores are joined by the subtypes that the themes name.
    """
    known = known or themes()
    rows = survey.of_wave(survey.wave)
    rows = rows[rows["answered"] & rows["comment"].notna()]
    rows = rows[rows["store_id"].isin(list(survey.regions))].reset_index(drop=True)
    said = coded(rows["comment"], known)
    top = survey.instrument.values(rows, survey.instrument.overall)
    trust = agreement(known, survey.confidence).set_index("kpi")["kappa"]
    told = _complaints(survey, known)
    stores = {str(name): part for name, part in rows.groupby("store_id").indices.items()}
    units = [("group", np.arange(len(rows))), *stores.items()]
    found = [
        [name, unit, *_mentioned(survey, said[part, at], top[part]),
         told[unit, name] if unit == "group" or told[unit, name] >= survey.k else np.nan,
         trust[name]]
        for unit, part in units for at, name in enumerate(known.labels)
    ]  # fmt: skip
    table = pd.DataFrame(found, columns=list(Comments.COLUMNS))
    order = table[table["unit"] == "group"].set_index("kpi")["mentions"]
    table = table.assign(store=table["unit"] != "group", order=-table["kpi"].map(order).fillna(0))
    table = table.sort_values(["store", "unit", "order"], kind="stable")[list(Comments.COLUMNS)]
    words = {
        name: {"label": label, "measure": "share", "unit": "", "goal": None, "better": "none"}
        for name, label in known.labels.items()
    }
    note = {
        "wave": survey.wave, "kpis": words, "coded_clauses": len(known.texts), "weights": "none",
        "no_theme": float(1 - said.any(axis=1).mean()) if len(said) else None,
        "suppressed_below": survey.k,
    }  # fmt: skip
    return Comments(frame=table, note=note)


def _mentioned(survey: Survey, said: text.Flags, top: Array) -> list[float]:
    """Return the numbers of one theme in one unit."""
    n, mentions = said.size, int(said.sum())
    if n < survey.k or 0 < mentions < survey.k:
        return [n if n >= survey.k else np.nan, *[np.nan] * 7]
    share = [float(v) for v in wilson(mentions, n, confidence=survey.confidence)]
    one, rest = top[said & np.isfinite(top)], top[~said & np.isfinite(top)]
    if min(one.size, rest.size) < survey.k:
        return [n, mentions, *share, *[np.nan] * 3]
    gap = float(one.mean() - rest.mean())
    error = np.sqrt(sum(part.mean() * (1 - part.mean()) / part.size for part in (one, rest)))
    half = float(special.ndtri(0.5 + survey.confidence / 2) * error)
    return [n, mentions, *share, gap, gap - half, gap + half]


def _complaints(survey: Survey, known: Themes) -> dict[tuple[str, str], float]:
    """Count the complaints of the quarter by unit and theme; missing where there is no table."""
    units = ["group", *survey.regions]
    if "complaints" not in survey.tables:
        return {(unit, name): np.nan for unit in units for name in known.labels}
    days = ("received_at_day", survey.period.start, survey.period.end)
    counted = survey.facts.counts(Ask("complaints", ("store_id", "subtype"), between=days), {})
    counted = counted[counted["store_id"].isin(list(survey.regions))]
    out = {}
    for name, subtypes in known.complaints.items():
        mine = counted[counted["subtype"].isin(subtypes)]
        for unit in units:
            here = mine if unit == "group" else mine[mine["store_id"] == unit]
            out[unit, name] = float(here["rows"].sum()) if subtypes else np.nan
    return out


# ---------------------------------------------------------------- staff


@dataclass(frozen=True, kw_only=True)
class StaffSurvey(Result):
    """The newest staff survey: shares of top scores for the group and each store, anonymous."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.item"),
            "unit": Unit("unit_name", "column.unit"),
            "invited": Unit("count", "survey.invited"),
            "n": Unit("count", "survey.answers"),
            "value": Unit("value", "survey.mean"),
            "low": Unit("value", "column.low"),
            "high": Unit("value", "column.high"),
            "correlation": Unit("value", "survey.with_customers"),
            "correlation_low": Unit("value", "column.low"),
            "correlation_high": Unit("value", "column.high"),
            "q_value": Unit("p", "survey.q_value"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("kpi", "unit", "n", "value", "low", "high", "correlation")


def staff(survey: Survey, customers: Mapping[str, float]) -> StaffSurvey:
    """Estimate what the staff thinks, and whether stores with content staff have content customers.

    Parameters
    ----------
    survey, customers : Survey, mapping of str to float
        The waves; store to a customers' score: the only link between both surveys is the store.

    Returns
    -------
    StaffSurvey
        Mean scores per item; stores with fewer than k answers are suppressed, and one more with
        them where the total would give a single suppressed store away.

    Notes
    -----
    All staff are asked, so a store is a stratum of known size (answers of a finite population)
    and an answer stands for its store's silent ones. Spearman's correlation over the stores with
    both scores, interval by Fisher's z with variance 1.06/(stores - 3).

    Source: Fieller, Hartley and Pearson (1957), Biometrika 44, 470 (the 1.06).
    """
    rows = survey.staff[survey.staff["store_id"].isin(list(survey.regions))]
    if rows.empty:
        return StaffSurvey(frame=pd.DataFrame(columns=list(StaffSurvey.COLUMNS)),
                           note={"wave": None})  # fmt: skip
    order = {wave: at for at, wave in enumerate(survey.quarters)}
    wave = max(rows["wave"].unique(), key=lambda name: order[name])
    rows = rows[rows["wave"] == wave]
    parts = [_staff_item(survey, rows, item) for item in survey.instrument.items(STAFF)]
    table = pd.concat([_linked(part, customers) for part in parts], ignore_index=True)
    table["q_value"] = benjamini_hochberg(table["q_value"].to_numpy(float))
    error = np.sqrt(_SPEARMAN / (table["stores"] - 3).clip(lower=1).to_numpy(float))
    half = special.ndtri(0.5 + survey.confidence / 2) * error
    centre = np.arctanh(table["correlation"].clip(-_CLOSE, _CLOSE).to_numpy(float))
    table["correlation_low"], table["correlation_high"] = np.tanh([centre - half, centre + half])
    note = {"wave": wave, "kpis": survey.instrument.words, "suppressed_below": survey.k}
    return StaffSurvey(frame=table[list(StaffSurvey.COLUMNS)], note=note)


def _staff_item(survey: Survey, rows: pd.DataFrame, item: str) -> pd.DataFrame:
    """Return one item for the group and each store, suppressed where few answered."""
    answered = rows[rows[item].notna()]
    invited = rows.groupby("store_id").size()
    n = answered.groupby("store_id").size().reindex(invited.index, fill_value=0)
    hidden = (n < survey.k).to_numpy(bool, copy=True)
    if 0 < n[hidden].sum() < survey.k and not hidden.all():
        # else the total less the others shows what is hidden
        hidden[np.where(hidden, np.inf, n.to_numpy(float)).argmin()] = True
    store = answered["store_id"].to_numpy()
    stores = {name: at for at, name in enumerate(invited.index)}
    sample = design((invited / n)[store].to_numpy(float), strata=store,
                    size=invited[store].to_numpy(float), lonely="average")  # fmt: skip
    y = answered[item].to_numpy(float)
    every = mean(sample, y, confidence=survey.confidence)
    each = mean(sample, y, domain=[stores[name] for name in store], confidence=survey.confidence)
    out = pd.DataFrame({"kpi": item, "unit": ["group", *invited.index],
                        "invited": [invited.sum(), *invited], "n": [n.sum(), *n]})  # fmt: skip
    shown = ["value", "low", "high"]
    for name, group, found in zip(shown, _ends(every), _ends(each), strict=True):
        out[name] = [group[0], *found, *[np.nan] * (len(stores) - found.size)]
    out = out.astype(dict.fromkeys(["n", *shown], "float64"))
    out.loc[[False, *hidden], ["n", *shown]] = np.nan
    return out


def _ends(found: Estimates) -> tuple[Array, Array, Array]:
    return found.estimate, found.low, found.high


def _linked(part: pd.DataFrame, customers: Mapping[str, float]) -> pd.DataFrame:
    """Add the correlation over stores to the row of the group."""
    theirs = part["unit"].map(dict(customers)).astype("float64")
    both = part["value"].notna() & theirs.notna() & (part["unit"] != "group")
    r = p = np.nan
    if both.sum() >= _FEW and min(part.loc[both, "value"].nunique(), theirs[both].nunique()) > 1:
        found = stats.spearmanr(part.loc[both, "value"], theirs[both])
        r, p = float(found.statistic), float(found.pvalue)
    group = part["unit"] == "group"
    return part.assign(
        correlation=np.where(group, r, np.nan), q_value=np.where(group, p, np.nan),
        stores=int(both.sum()),
    )  # fmt: skip
