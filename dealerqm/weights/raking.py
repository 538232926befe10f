"""Post-strata and raking: weights that meet the totals of margins.

Rows collapse to the cells of their margins first. A target that is not met is refused, with the
level, the empty cell behind it, and a merge that helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dealerqm.errors import MethodError, nearest, unknown
from dealerqm.weights.weighting import (
    AGREE,
    CYCLES,
    TOLERANCE,
    Array,
    Calibration,
    Codes,
    Gaps,
    Weighting,
    checked,
    lift,
    refusal,
    relative,
    weighed,
)

Targets = Mapping[Any, float] | ArrayLike
UNMET = ("refuse", "accept")
TRIES = 6  # levels with which a merge is tried
CELLS = 4_000_000  # numbers held at once


def poststratify(
    weights: ArrayLike, strata: ArrayLike, targets: Targets, *, unmet: str = "refuse"
) -> Weighting:
    """Weight each post-stratum to its known total.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Start weights.
    strata : array_like, shape (rows,)
        Post-stratum of each row.
    targets : mapping of label to total, or array_like by number
        Totals; numbers count post-strata from 0.
    unmet : str
        As for :func:`rake`.

    Returns
    -------
    Weighting
        Met exactly, in one step.

    Examples
    --------
    >>> poststratify([1, 1, 1], ["a", "a", "b"], {"a": 6, "b": 4}).weights
    array([3., 3., 4.])
    """
    return rake(weights, {"strata": strata}, {"strata": targets}, unmet=unmet)


def rake(
    weights: ArrayLike, margins: Mapping[str, ArrayLike], targets: Mapping[str, Targets], *,
    unmet: str = "refuse", gap: float = 1e-6, cycles: int = CYCLES,
) -> Weighting:  # fmt: skip
    """Weight a sample so that several margins meet their known totals.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Start weights; their ratios within a cell of all margins are kept.
    margins : mapping of name to array_like, shape (rows,)
        Level of each row; whole numbers from 0 where the targets are an array.
    targets : mapping of name to (mapping of level to total, or array_like)
        Totals of every margin, all of the same population.
    unmet : str
        ``refuse`` an unmet target, or ``accept`` it with the verdict ``unmet``.
    gap : float
        Largest relative gap that counts as met.
    cycles : int
        At most so many.

    Returns
    -------
    Weighting
        Weights with the gap to every target.

    Raises
    ------
    MethodError
        If a margin has a missing value, a level without target, a target level that nobody has,
        or another total than the first; if a weight is negative; if a target is not met.

    Notes
    -----
    Iterative proportional fitting of the table of cells, which stops at a relative gap of 1e-10.

    Source: Deming and Stephan (1940), Ann. Math. Stat. 11, 427; reference cases ``calibration``.

    Examples
    --------
    >>> sample = {"sex": ["m", "m", "f"], "age": ["old", "young", "young"]}
    >>> found = rake([1, 1, 1], sample, {"sex": {"m": 6, "f": 4}, "age": {"old": 3, "young": 7}})
    >>> found.weights.round(6), found.verdict
    (array([3., 3., 4.]), 'met')
    """
    if unmet not in UNMET:
        raise MethodError(unknown("unmet", unmet, UNMET))
    start = checked(weights)
    for name in targets:
        if name not in margins:
            raise MethodError(unknown("margins", name, margins))
    table = [_margin(name, margins[name], targets[name], start) for name in targets]
    _agree(table)
    cell, first, cells = _collapsed(table, start)
    for margin, code in zip(table, cells, strict=True):
        _sampled(margin, _sum(code, first, margin.totals.size))
    fitted, steps = _fitted(first, cells, [margin.totals for margin in table], cycles)
    factor = np.divide(fitted, first, out=np.ones(first.size), where=first > 0)
    gaps = _gaps(table, cells, fitted)
    on = Calibration(start, tuple(margin.code for margin in table))
    found = weighed(start * factor[cell], steps, gaps, (on, gap))
    if found.verdict == "unmet" and unmet == "refuse":
        raise MethodError(refusal("raking", gaps, steps, gap) + _advice(table, first, cells, gaps))
    return found


class _Margin(NamedTuple):
    """One margin: number of each row's level, labels and totals of the levels."""

    name: str
    code: Codes
    levels: list[Any]
    totals: Array

    def words(self, level: Any) -> str:  # noqa: ANN401 - a whole number of any kind
        """Name a level."""
        return f"{self.name}={self.levels[level]}"


def _margin(name: str, given: ArrayLike, targets: Targets, start: Array) -> _Margin:
    if isinstance(targets, Mapping):
        levels, totals = list(targets), np.array(list(targets.values()), float)
        code = _coded(name, given, levels)
    else:
        totals, code = np.asarray(targets, float), np.asarray(given)
        levels = list(range(totals.size))
        if code.dtype.kind not in "iu" or code.min() < 0 or code.max() >= totals.size:
            raise MethodError(
                f"margin {name}: {code.dtype} found; {totals.size} targets without labels need "
                f"whole numbers from 0 to {totals.size - 1}. Name the levels of the targets."
            )
    found = _Margin(name, code, levels, totals)
    if code.size != start.size:
        raise MethodError(f"margin {name}: {code.size} rows; there are {start.size} weights.")
    for level in np.flatnonzero(~(totals >= 0) | np.isinf(totals)):
        raise MethodError(
            f"targets: {found.words(level)} is {totals[level]}; allowed: 0 and above."
        )
    return found


def _sampled(margin: _Margin, sample: Array) -> None:
    """Refuse a target that nobody can meet, and rows that no target wants."""
    for level in np.flatnonzero((sample == 0) & (margin.totals > 0)):
        near = sorted(np.flatnonzero(sample > 0), key=lambda other: abs(other - level))[0]
        raise MethodError(
            f"targets: nobody in the sample has {margin.words(level)}, which has a target of "
            f"{margin.totals[level]:g}. Merge it with a level that is there, {margin.words(near)} "
            "say."
        )
    for level in np.flatnonzero((sample > 0) & (margin.totals == 0)):
        raise MethodError(
            f"targets: {margin.words(level)} is 0, but rows have that level. Correct the target, "
            "or give these rows weight 0."
        )


def _coded(name: str, given: ArrayLike, levels: Sequence[Any]) -> Codes:
    labelled: Any = given
    # text that pandas keeps as objects is factorised faster as an array of them
    if isinstance(given, list | tuple) or _storage(given) == "python":
        labelled = np.asarray(given, object)
    found, labels = pd.factorize(labelled, size_hint=len(levels))
    if found.size and found.min() < 0:
        gone = np.flatnonzero(found < 0)
        raise MethodError(
            f"margin {name}: {gone.size} rows have no value, the first is row {gone[0]}. Fill it, "
            "or make missing a level with a target of its own."
        )
    place = {level: number for number, level in enumerate(levels)}
    for number, label in enumerate(labels):
        if label not in place:
            close = ", ".join(nearest(label, levels)) or ", ".join(map(str, levels[:3]))
            raise MethodError(
                f"targets: {name}={label} has {(found == number).sum()} rows and no target; "
                f"targets there are for {close}. Add its total, or merge the level."
            )
    return np.array([place[label] for label in labels], np.int64)[found]


def _storage(given: ArrayLike) -> str:
    return str(getattr(getattr(given, "dtype", None), "storage", ""))


def _agree(table: Sequence[_Margin]) -> None:
    first = table[0]
    for other in table[1:]:
        one, two = first.totals.sum(), other.totals.sum()
        if abs(one - two) > AGREE * max(one, two):
            raise MethodError(
                f"targets: {first.name} sums to {one:g}, {other.name} to {two:g}; margins of one "
                "population have one total. Correct or rescale one of them."
            )


def _collapsed(table: Sequence[_Margin], start: Array) -> tuple[Codes, Array, list[Codes]]:
    """Give each row its cell of all margins, with the weights and the levels of the cells."""
    sizes = [margin.totals.size for margin in table]
    cell = table[0].code.astype(np.int64)
    dense = np.prod(np.array(sizes, float)) <= CELLS
    for margin, size in zip(table[1:], sizes[1:], strict=True):
        cell *= size
        cell += margin.code
        cell = cell if dense else pd.factorize(cell)[0]
    count = int(np.prod(sizes)) if dense else int(cell.max()) + 1
    weights = _sum(cell, start, count)
    if dense:
        return cell, weights, [np.asarray(c) for c in np.unravel_index(np.arange(count), sizes)]
    row = np.zeros(count, np.int64)
    row[cell] = np.arange(cell.size)
    return cell, weights, [margin.code[row] for margin in table]


def _sum(code: Codes, weights: Array, size: int) -> Array:
    return np.bincount(code, weights, size).astype(float, copy=False)


def _fitted(
    first: Array, cells: Sequence[Codes], totals: Sequence[Array], cycles: int
) -> tuple[Array, int]:
    """Fit the weights of cells to the totals of their margins in turn."""
    held, steps, worst = np.flatnonzero(first), 0, np.inf
    weights, levels = first[held], [code[held] for code in cells]
    while worst >= TOLERANCE and steps < cycles:
        steps, worst = steps + 1, 0.0
        for code, total in zip(levels, totals, strict=True):
            ratio = lift(total, _sum(code, weights, total.size))
            worst = max(worst, float(np.abs(ratio - 1).max()))
            weights = weights * ratio[code]
    found = np.zeros(first.size)
    found[held] = weights
    return found, steps


def _gaps(table: Sequence[_Margin], cells: Sequence[Codes], weights: Array) -> Gaps:
    achieved = np.concatenate(
        [_sum(code, weights, m.totals.size) for m, code in zip(table, cells, strict=True)]
    )
    target = np.concatenate([margin.totals for margin in table])
    margins = np.repeat(np.array([m.name for m in table], object), [m.totals.size for m in table])
    levels = np.array([level for m in table for level in m.levels], object)
    return Gaps(margins, levels, target, achieved, relative(achieved, target))


def _advice(table: Sequence[_Margin], first: Array, cells: Sequence[Codes], gaps: Gaps) -> str:
    """Name the empty cell behind the worst gap, and a merge that would close all gaps."""
    worst = int(np.argmax(np.abs(gaps.gap)))
    sizes = [margin.totals.size for margin in table]
    where = int(np.searchsorted(np.cumsum(sizes), worst, side="right"))
    before = sum(sizes[:where])
    here, level = table[where], worst - before
    lacks = (gaps.target - gaps.achieved)[before : before + sizes[where]]
    short = int(np.argmax(lacks))  # what has too few cells falls short
    rows = cells[where] == short
    empty = [
        f"{here.words(short)} with {other.words(lacking)}"
        for other, code in zip(table, cells, strict=True) if other is not here
        for lacking in np.flatnonzero(_sum(code[rows], first[rows], other.totals.size) == 0)
    ]  # fmt: skip
    found = f"Nobody is {', or '.join(empty[:2])}. " if empty else ""
    for one in dict.fromkeys((level, short)):
        merge = next(_merges(table, first, cells, (where, one)), None)
        if merge is not None:
            names = f"{here.words(one)} with {here.words(merge)}"
            return found + f"Merge {names}, which meets every target."
    return found + "No merge of two levels there helps: drop a margin, or unmet='accept'."


def _merges(
    table: Sequence[_Margin], first: Array, cells: Sequence[Codes], place: tuple[int, int]
) -> Iterator[int]:
    """Yield the levels whose merge with the one at this place meets all targets, nearest first."""
    where, level = place
    size = table[where].totals.size
    for other in sorted(set(range(size)) - {level}, key=lambda o: abs(o - level))[:TRIES]:
        code, totals = list(cells), [margin.totals.copy() for margin in table]
        code[where] = np.where(cells[where] == level, other, cells[where])
        totals[where][other] += totals[where][level]
        totals[where][level] = 0.0
        fitted, _ = _fitted(first, code, totals, CYCLES)
        sums = [_sum(c, fitted, t.size) for c, t in zip(code, totals, strict=True)]
        if all(np.allclose(s, t, rtol=AGREE, atol=0) for s, t in zip(sums, totals, strict=True)):
            yield other
