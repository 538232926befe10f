"""From answers to the population: who stands for the silent, and the totals that weights meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.errors import MethodError
from dealerqm.fieldwork.rows import UNKNOWN, Array, Survey
from dealerqm.inference.regression import matrix
from dealerqm.weights.calibration import respond, response_classes, response_propensity
from dealerqm.weights.raking import rake
from dealerqm.weights.weighting import Weighting, trim

Flags = NDArray[np.bool_]
JOIN = "+"  # between the names of joined levels
GAPS = ("wave", "margin", "level", "target", "achieved", "gap", "deff", "verdict")


class Met(NamedTuple):
    """Weights that meet the targets of their quarters as far as they can.

    Attributes
    ----------
    weights : ndarray, shape (answers,)
        The start weights where a wave has no targets.
    codes : list of ndarray of int, shape (answers,) each
        Level of each used margin; 0 is no target.
    gaps : DataFrame
        ``wave, margin, level, target, achieved, gap``, and of the wave ``deff, verdict``.
    note : dict
        ``margins``, ``joined_levels``, ``no_targets``, ``cut_weights``.
    """

    weights: Array
    codes: list[NDArray[np.int64]]
    gaps: pd.DataFrame
    note: dict[str, Any]


def for_the_silent(survey: Survey, kept: Flags) -> Array:
    """Weight those who answered so that they stand for those who did not, wave by wave.

    Parameters
    ----------
    survey, kept : Survey, ndarray of bool
        The waves; which rows answered and are believed.

    Returns
    -------
    ndarray, shape (rows,)
        Design weights times those of the classes of like chances; 0 for rows that are not kept.

    Notes
    -----
    Chances by a logit on the margins with at most the plan's number of levels, small levels
    joined. Invitations that are still open are nobody's silence.
    """
    rows, made = survey.rows, survey.settings["weighting"]
    weights = rows["base_weight"].to_numpy(float)
    due = (rows["disposition"] != "pending").to_numpy(bool)
    known = {}
    for name in ["wave", *(n for n in survey.settings["margins"] if n in rows)]:
        levels = dict.fromkeys(rows[name].unique(), 1.0)
        group = rows[name].map(joined(rows.loc[kept, name], levels, made["level_answers"]))
        if 1 < group[due].nunique() <= made["model_levels"]:
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


def joined(values: pd.Series, levels: Mapping[str, float], least: int) -> dict[str, str]:
    """Join levels with too few answers, the smallest first.

    Parameters
    ----------
    values, levels : Series, mapping
        Level of each answer; the levels that there are.
    least : int
        Answers that a level needs.

    Returns
    -------
    dict of str to str
        Level to its group: itself, or names with ``+`` between them.

    Examples
    --------
    >>> joined(pd.Series(list("aaab")), {"a": 1.0, "b": 1.0, "c": 1.0}, 2)
    {'a': 'a+b+c', 'b': 'a+b+c', 'c': 'a+b+c'}
    >>> joined(pd.Series(list("aaabb")), {"a": 1.0, "b": 1.0, "c": 1.0}, 2)
    {'b': 'b+c', 'c': 'b+c', 'a': 'a'}
    """
    count = values.value_counts().reindex(list(levels), fill_value=0)
    groups = [([str(level)], int(n)) for level, n in count.items()]
    while len(groups) > 1:
        groups.sort(key=lambda group: (group[1], group[0]))
        if groups[0][1] >= least:
            break
        (one, n), (two, m) = groups[:2]
        groups[:2] = [(sorted(one + two), n + m)]
    return {level: JOIN.join(names) for names, _ in groups for level in names}


def to_targets(survey: Survey, rows: pd.DataFrame, start: Array) -> Met:
    """Rake the answers of each wave to the population of its quarter.

    Parameters
    ----------
    survey, rows : Survey, DataFrame
        Targets and plan; the answers.
    start : ndarray, shape (answers,)
        Weights before.

    Returns
    -------
    Met
        Waves without targets keep their weights.

    Raises
    ------
    MethodError
        If a margin has no value, a level no target, totals disagree, or a target stays unmet and
        the plan does not accept that; the message names the wave, the level and what helps.
    """
    made, weights = survey.settings["weighting"], start.copy()
    names = [name for name in survey.settings["margins"] if name in rows]
    codes = {name: np.zeros(len(rows), np.int64) for name in names}
    shift = dict.fromkeys(names, 1)  # 0 is: no target in this wave
    note: dict[str, Any] = {"joined_levels": [], "no_targets": [], "cut_weights": {}}
    told = [pd.DataFrame(columns=list(GAPS))]
    for wave in survey.quarters:
        here = ((rows["wave"] == wave) & (start > 0)).to_numpy(bool)
        margins, targets, joins = _margins(survey, rows[here], wave)
        note["joined_levels"] += joins
        if not targets or not here.any():
            note["no_targets"].append(wave)
            continue
        found, note["cut_weights"][wave] = _raked(start[here], margins, targets, (wave, made))
        weights[here] = found.weights
        for name in targets:
            levels = {level: at for at, level in enumerate(targets[name])}
            codes[name][here] = shift[name] + margins[name].map(levels).to_numpy(np.int64)
            shift[name] += len(levels)
        gaps = pd.DataFrame(found.gaps._asdict())
        told.append(gaps.assign(wave=wave, deff=found.deff, verdict=found.verdict))
    used = [name for name in names if shift[name] > 1]
    gaps = pd.concat(told[1:] or told, ignore_index=True)[list(GAPS)]
    return Met(weights, [codes[name] for name in used], gaps, {"margins": used, **note})


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
        gone = answers.loc[(answers[name] == UNKNOWN).to_numpy(bool), "response_id"]
        if len(gone) and UNKNOWN not in counts:
            raise MethodError(
                f"survey weights, wave {wave}: margin {name} has no value in {len(gone)} answers, "
                f"the first is {gone.iloc[0]}. Fill it in the export, give the level {UNKNOWN} a "
                "target, or leave the margin out of [survey.margins]."
            )
        group = joined(answers[name], counts, survey.settings["weighting"]["level_answers"])
        margins[name] = answers[name].map(lambda level, group=group: group.get(level, level))
        totals[name] = dict.fromkeys(sorted(set(group.values())), 0.0)
        for level, count in counts.items():
            totals[name][group[level]] += count
        joins += [f"{wave} {name}: {g}" for g in sorted(set(group.values())) if JOIN in g]
    return margins, totals, joins


def _raked(
    start: Array, margins: Mapping[str, pd.Series], targets: Mapping[str, dict[str, float]],
    rule: tuple[str, Mapping[str, Any]],
) -> tuple[Weighting, int]:  # fmt: skip
    """Rake one wave; cut the largest weights, share out what was cut, and rake again."""
    wave, made = rule
    asked: dict[str, Any] = {"gap": made["gap"], "unmet": made["unmet"]}
    try:
        found = rake(start, margins, targets, **asked)
        high = made["trim"] * float(np.mean(found.weights))
        many = int((found.weights > high).sum())
        if many:
            less = trim(found, 0.0, high, mode="repeat", gap=made["gap"])
            found = rake(less.weights, margins, targets, **asked)
    except MethodError as error:
        raise MethodError(
            f"survey weights, wave {wave}: {error} In the plan: [survey.weighting] level_answers "
            "joins small levels, [survey.margins] holds the margins, unmet = 'accept' takes gaps."
        ) from None
    return found, many
