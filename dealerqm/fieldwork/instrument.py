"""What a survey asks, how answers become numbers, and what comments are about.

The instrument is a view of a plan; the themes of comments are a file of their own, ``themes.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm import labels
from dealerqm.errors import MethodError, ParameterError, PlanError, unknown
from dealerqm.plan import check
from dealerqm.plan.model import Plan
from dealerqm.stats import text

Array = NDArray[np.float64]
TABLE = "survey_responses"
CUSTOMER, STAFF = "customer", "staff"
RECOMMEND, INDEX, NONE = "recommend", "index", "none"
PROMOTER, DETRACTOR = 9, 6  # the definition of the net promoter score


class Clean(NamedTuple):
    """Scores with NaN where none is left, and marks of codes and of scores off the scale."""

    score: Array
    code: NDArray[np.bool_]
    outside: NDArray[np.bool_]


@dataclass(frozen=True)
class Instrument:
    """What is asked of whom, and how answers become numbers: the plan's instrument."""

    plan: Plan

    def items(self, respondent: str = CUSTOMER) -> list[str]:
        """Return the items that customers or staff are asked, in the order of the plan."""
        known: Mapping[str, Any] = self.plan.instrument["items"]
        return [name for name, item in known.items() if item["respondent"] == respondent]

    @property
    def scored(self) -> list[str]:
        """All columns with scores: the items of customers and staff, and ``recommend``."""
        return [*self.items(), *self.items(STAFF), RECOMMEND]

    @property
    def touchpoints(self) -> list[str]:
        """The touchpoints at which customers are surveyed."""
        every = set(self.plan.tables[TABLE].columns["touchpoint"].values) - {STAFF}
        return list(self.plan.instrument.get("touchpoints", sorted(every)))

    def asked_at(self, item: str) -> list[str]:
        """Return the touchpoints at which an item is asked; all, where it names none."""
        own = self.plan.instrument["items"].get(item, {}).get("touchpoints", [])
        return list(own or self.touchpoints)

    def asked(self, rows: pd.DataFrame, item: str) -> NDArray[np.bool_]:
        """Mark the rows whose respondent is asked an item."""
        who = self.plan.instrument["items"].get(item, {}).get("respondent", CUSTOMER)
        here = rows["touchpoint"].isin(self.asked_at(item)) | (who == STAFF)
        marked: NDArray[np.bool_] = (here & (rows["respondent"] == who)).to_numpy(bool)
        return marked

    def clean(self, item: str, score: Array) -> Clean:
        """Set codes ("not applicable") and scores off the scale of an item aside."""
        column, said = self.plan.tables[TABLE].columns[item], np.isfinite(score)
        code = said & np.isin(score, column.codes)
        low, high = column.minimum or 0.0, column.maximum or np.inf
        outside = said & ~code & ((score < low) | (score > high))
        return Clean(np.where(code | outside, np.nan, score), code, outside)

    @property
    def overall(self) -> str:
        """The item that says how satisfied a customer is; refused where the plan names none."""
        if "overall" in self.plan.instrument:
            return str(self.plan.instrument["overall"])
        raise MethodError(
            f"{self.plan.source} [instrument] overall: is missing; name the item that says how "
            f"satisfied a customer is. Allowed: {', '.join(self.items())}."
        )

    @property
    def words(self) -> dict[str, dict[str, Any]]:
        """Names of all items and of ``recommend``, for tables about scores as such."""
        known: Mapping[str, Any] = self.plan.instrument["items"]
        named = {name: item["label"] for name, item in known.items()}
        named[RECOMMEND] = _words("survey.recommend")
        return {name: _word(label, "value") for name, label in named.items()}

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """What can be estimated: ``overall``, ``recommend``, ``index``, then top scores of items.

        Words for tables: ``label, measure, unit, goal, better``.
        """
        top, items = f"{self.plan.settings['survey']['top_box']:g}", self.items()
        words = {
            item: _word(_words("survey.top_box", self.plan.instrument["items"][item], top), "share")
            for item in items
        }
        words[RECOMMEND] = _word(_words("survey.recommend"), "score")
        words[INDEX] = _word(_words("survey.index"), "value")
        order = [self.overall, RECOMMEND, INDEX, *(i for i in items if i != self.overall)]
        return {name: words[name] for name in order}

    def kpi(self, stat: str) -> str:
        """Return the KPI that a finding stands for: the first of this stat on the survey."""
        fits = [n for n, k in self.plan.kpis.items() if (k.table, k.stat) == (TABLE, stat)]
        return next(iter([*fits, *self.plan.kpis]))

    def weights(self, wave: str) -> dict[str, float]:
        """Return the weights of the items in the index of a wave, sum 100; versions count."""
        begun = [factor for factor in self.plan.factors if factor.from_wave <= wave]
        newest = {factor.name: factor for factor in sorted(begun, key=lambda f: f.from_wave)}
        total = sum(factor.weight for factor in newest.values())
        summed: dict[str, float] = {}
        for factor in newest.values():
            for item, weight in factor.items.items():
                summed[item] = summed.get(item, 0.0) + weight * factor.weight / total
        return summed

    def values(self, rows: pd.DataFrame, measure: str) -> Array:
        """Return what each row adds to a measure, NaN without an answer; a mean is the estimate.

        1 or 0 for a top score; 1, 0 or -1 for a promoter, passive or detractor; points of the
        index: the mean of the answered items by their weights.
        """
        if measure not in (known := self.measures):
            raise ParameterError(unknown("item", measure, known))
        if measure == INDEX:
            return self._index(rows)
        score = rows[measure].to_numpy(float)
        top: Any = score >= self.plan.settings["survey"]["top_box"]
        if measure == RECOMMEND:
            top = (score >= PROMOTER).astype(float) - (score <= DETRACTOR)
        return np.where(np.isfinite(score), top, np.nan)

    def _index(self, rows: pd.DataFrame) -> Array:
        points = self.plan.instrument["index_points"] / self.plan.instrument["scale"]["max"]
        out = np.full(len(rows), np.nan)
        for wave, part in rows.groupby("wave").indices.items():
            weights = self.weights(str(wave))
            scores = rows[list(weights)].to_numpy(float)[part]
            share = np.where(np.isfinite(scores), np.array(list(weights.values())), 0.0)
            sums, total = (np.nan_to_num(scores) * share).sum(axis=1), share.sum(axis=1)
            none = np.full(total.size, np.nan)
            out[part] = points * np.divide(sums, total, out=none, where=total > 0)
        return out


def _words(key: str, item: Mapping[str, Any] | None = None, top: str = "") -> dict[str, str]:
    codes = labels.languages()
    return {c: labels.text(key, c, item=item["label"][c] if item else "", top=top) for c in codes}


def _word(label: Mapping[str, str], measure: str) -> dict[str, Any]:
    return {"label": label, "measure": measure, "unit": "", "goal": None, "better": "up"}


# ---------------------------------------------------------------- what comments are about


@dataclass(frozen=True)
class Themes:
    """What customers talk about: a dictionary and coded clauses.

    Attributes
    ----------
    labels, words, complaints : mapping
        Theme to name per language, to words, and to subtypes of complaints.
    texts, codes : tuple of str, ndarray of bool of shape (texts, themes)
        Coded clauses in one spelling, themes taking turns, and their themes.
    threshold, folds : float, int
        Chance from which the model codes; parts of the cross-check.
    """

    labels: Mapping[str, Mapping[str, str]]
    words: Mapping[str, tuple[str, ...]]
    complaints: Mapping[str, tuple[str, ...]]
    texts: tuple[str, ...]
    codes: text.Flags
    threshold: float
    folds: int


@cache
def themes(path: Path | None = None) -> Themes:
    """Read the themes.

    Parameters
    ----------
    path : Path or None
        A file like ``themes.toml``; None is the one of the package.

    Returns
    -------
    Themes
        Checked.

    Raises
    ------
    PlanError
        If a key is missing or unknown, a theme has no coded clause or a clause no theme.

    Examples
    --------
    >>> themes().labels["parts"]["en"]
    'Parts'
    """
    where = path.name if path else "themes.toml"
    file = path or resources.files("dealerqm").joinpath("themes.toml")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{where}: is no valid TOML: {error}.") from None
    _exactly(raw, ("model", "themes", "coded"), where)
    for name, spec in check.named(raw["themes"], f"{where} [themes]").items():
        _exactly(spec, ("label", "zh", "en", "complaints"), f"{where} [themes.{name}]")
        check.label(spec["label"], f"{where} [themes.{name}] label")
    known = list(raw["themes"])
    _exactly(raw["coded"], (*known, NONE), f"{where} [coded]")
    turns = sorted(
        (turn, place, " ".join(text.clauses(said)))
        for place, name in enumerate((*known, NONE))
        for turn, said in enumerate(raw["coded"][name])
    )
    codes = np.array([[place == theme for theme in range(len(known))] for _, place, _ in turns])
    model = raw["model"]
    return Themes(
        labels={name: spec["label"] for name, spec in raw["themes"].items()},
        words={name: (*spec["zh"], *spec["en"]) for name, spec in raw["themes"].items()},
        complaints={name: tuple(spec["complaints"]) for name, spec in raw["themes"].items()},
        texts=tuple(said for _, _, said in turns), codes=codes,
        threshold=check.number(model.get("threshold"), f"{where} [model] threshold", 0, 1),
        folds=int(check.number(model.get("folds"), f"{where} [model] folds", 2, whole=True)),
    )  # fmt: skip


def _exactly(body: object, keys: tuple[str, ...], place: str) -> None:
    check.needs(check.known(body, keys, place), keys, place)
