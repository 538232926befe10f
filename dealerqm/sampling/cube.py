"""The cube: answers collapsed into weighted cells.

A cell holds the respondents of one domain, stratum and PSU with one answer. Cells are rows of a
design like any other, so every estimate takes either and gives the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError, unknown
from dealerqm.sampling.design import Array, Codes, Design, codes, design
from dealerqm.sampling.variance import Domains, domains
from dealerqm.weights.weighting import Calibration

DENSE = 2  # empty cells are kept up to so many cells per row
WHOLE = 100  # with fewer different whole answers they are their own numbers
COLUMNS = ("domain", "stratum", "psu", "answer", "n", "w", "w2")


class Cells(NamedTuple):
    """Rows of a design that stand for several respondents each.

    Attributes
    ----------
    design : Design
        Of the cells.
    value : ndarray, shape (cells,)
        The answer; NaN where there was none.
    domain : Domains
        For estimates.
    names : ndarray
        Label of each domain, empty where the domains came as numbers.
    """

    design: Design
    value: Array
    domain: Domains
    names: NDArray[np.object_]


class Cube(NamedTuple):
    """Rows of a design sorted into groups once, so that many items collapse fast.

    Attributes
    ----------
    design : Design
        Of the rows.
    group : ndarray of int, shape (rows,)
        Group of each row: PSU or stratum, domain, levels of calibrated margins.
    first : ndarray of int, shape (groups,)
        A row of each group.
    column : ndarray of int, shape (groups,)
        Domain of each group.
    laid : dict
        Designs and domains of cells already laid out, by number of levels.
    """

    design: Design
    group: Codes
    first: Codes
    column: Codes
    laid: dict[int, tuple[Design, Domains]]

    def cells(self, values: ArrayLike) -> Cells:
        """Collapse one item's answers, NaN for none, into cells."""
        number, names = _numbered(np.asarray(values))
        code, levels = self.group * names.size, names.size
        code += number
        if self.first.size * levels <= DENSE * self.design.rows:
            made, domain = self._laid(levels)
            size, value = self.first.size * levels, np.tile(names, self.first.size)
        else:
            code, held = pd.factorize(code)
            made, domain = self._layout(held // levels, 1)
            size, value = held.size, names[held % levels]

        def summed(part: Array | None) -> Array:
            return np.bincount(code, part, size).astype(float, copy=False)

        return _filled(self.design, made, domain, value, summed)

    def scored(self, cells: Cells, score: Callable[[Array], ArrayLike]) -> Cells:
        """Score the answers of cells, and merge those of a group that score the same.

        Parameters
        ----------
        cells : Cells
            What :meth:`cells` made.
        score : callable
            Turns answers, shape (answers,), into scores; no answer stays none.

        Returns
        -------
        Cells
            Estimates from them are those from ``score(cells.value)``, and take less time.

        Examples
        --------
        >>> from dealerqm.sampling.design import design as describe
        >>> made = cube(describe([1, 2, 3, 4.0]))
        >>> found = made.scored(made.cells([9, 9, 8, 10]), lambda answer: answer >= 9)
        >>> found.value, found.design.weights
        (array([ 0.,  1., nan]), array([3., 7., 0.]))
        """
        groups = self.first.size
        levels = cells.value.size // groups
        folded = levels in self.laid and cells.design.stages is self.laid[levels][0].stages
        names = cells.value[:levels] if folded else cells.value
        scores = np.where(np.isnan(names), np.nan, np.asarray(score(names), float))
        if not folded:
            return cells._replace(value=scores)
        values, place = np.unique(scores, return_inverse=True)
        hot = (place[:, None] == np.arange(values.size)).astype(float)

        def summed(part: Array | None) -> Array:
            found = cells.design.ones if part is None else part
            return np.ravel(found.reshape(groups, levels) @ hot)

        made, domain = self._laid(values.size)
        value = np.tile(values, groups)
        return _filled(cells.design, made, domain, value, summed)

    def _laid(self, levels: int) -> tuple[Design, Domains]:
        """Lay out cells of so many answers in every group, once."""
        if levels not in self.laid:
            group = np.repeat(np.arange(self.first.size), levels)
            self.laid[levels] = self._layout(group, levels)
        return self.laid[levels]

    def _layout(self, group: Codes, fold: int) -> tuple[Design, Domains]:
        """Lay out the cells of these groups, so many neighbours of one group."""
        row, size = self.first[group], self.first.size
        lead = np.zeros(group.size)
        place = np.empty(size, np.int64)
        place[group[::-1]] = np.arange(group.size)[::-1]
        lead[place] = 1.0
        stages = tuple(
            stage._replace(stratum=stage.stratum[row])
            if stage.unit is None else stage._replace(unit=stage.unit[row])
            for stage in self.design.stages
        )  # fmt: skip
        known = tuple(
            Calibration(c.start[row], tuple(margin[row] for margin in c.margins))
            for c in self.design.calibrations
        )
        sums = [
            np.bincount(self.group, part, size) for part in (self.design.weights, self.design.count)
        ]
        made = replace(
            self.design, weights=lead * sums[0][group], count=lead * sums[1][group], stages=stages,
            squares=lead, calibrations=known,
        )  # fmt: skip
        domain = domains(made, self.column[group])
        if fold == 1:
            return made, domain
        places = tuple(
            place._replace(group=place.group.folded(fold))
            if place.entry is None else place._replace(entry=place.entry.folded(fold))
            for place in domain.places
        )  # fmt: skip
        return made, domain._replace(bins=domain.bins.folded(fold), places=places)


def _filled(
    source: Design, made: Design, domain: Domains, value: Array,
    summed: Callable[[Array | None], Array],
) -> Cells:  # fmt: skip
    """Fill laid out cells with sums over the rows of their source."""
    count = summed(source.count)
    known = tuple(
        old._replace(start=summed(c.start))
        for old, c in zip(made.calibrations, source.calibrations, strict=True)
    )
    made = replace(
        made, weights=summed(source.weights), squares=summed(source.squared), count=count,
        calibrations=known,
    )  # fmt: skip
    places = tuple(
        place._replace(units=count) if place.entry is None else place for place in domain.places
    )
    return Cells(made, value, domain._replace(places=places), np.array([], object))


def cube(design: Design, *, domain: ArrayLike | Domains | None = None) -> Cube:
    """Sort the rows of a design into the groups of a cube.

    Parameters
    ----------
    design : Design
        Of respondents or cells.
    domain : array_like, shape (rows,), or None
        As for :func:`dealerqm.sampling.estimate.total`.

    Returns
    -------
    Cube
        ``.cells(values)`` gives the cells of an item.

    Raises
    ------
    MethodError
        If weights were calibrated on a variable that is not a margin.

    Examples
    --------
    >>> from dealerqm.sampling.design import design as describe
    >>> sample = describe([1, 2, 3, 4.0], psu=["a", "a", "b", "b"])
    >>> found = cube(sample).cells([9, 9, 8, 9])
    >>> found.value, found.design.weights
    (array([ 8.,  9., nan,  8.,  9., nan]), array([0., 3., 0., 3., 4., 0.]))
    """
    if any(known.x is not None for known in design.calibrations):
        raise MethodError(
            "cube: the weights were calibrated on numbers, which cells do not keep; estimate from "
            "the rows, or calibrate on margins."
        )
    column = domain.column if isinstance(domain, Domains) else domains(design, domain).column
    last = design.stages[-1]
    keys = [last.stratum if last.unit is None else last.unit, column + 1]
    keys += [margin for known in design.calibrations for margin in known.margins]
    group, top = (design.weights > 0).astype(np.int64), 2
    for key in keys:
        size = int(key.max()) + 1
        group, top = group * size + key, top * size
    if top <= DENSE * design.rows:
        there = np.bincount(group, minlength=top) > 0
        group, top = (np.cumsum(there) - 1)[group], int(there.sum())
    else:
        group, numbers = pd.factorize(group)
        top = numbers.size
    first = np.empty(top, np.int64)
    first[group] = np.arange(design.rows)
    whole = replace(design, squares=design.squared)
    return Cube(whole, group, first, column[first], {})


def _numbered(values: NDArray[np.generic]) -> tuple[Codes, Array]:
    """Give answers numbers from 0 on and return the answers, the last of them NaN."""
    short = values.dtype.kind in "iu" and values.dtype.itemsize < np.dtype(float).itemsize
    given: Any = values if short else values.astype(float, copy=False)
    low, high = float(np.fmin.reduce(given)), float(np.fmax.reduce(given))
    gone = np.zeros(0, bool) if short else np.isnan(given)
    if high - low < WHOLE and (short or _whole(given, gone)):
        with np.errstate(invalid="ignore"):
            number = given.astype(np.int64)
        number -= int(low)
        if gone.any():
            number[gone] = int(high - low) + 1
        return number, np.append(np.arange(low, high + 1), np.nan)
    code, names = pd.factorize(given.astype(float, copy=False))
    return np.where(code < 0, names.size, code), np.append(names, np.nan)


def _whole(given: Array, gone: NDArray[np.bool_]) -> bool:
    whole = np.rint(given) == given
    return bool(whole.sum() + gone.sum() == given.size)


def read_cells(
    frame: pd.DataFrame, *, size: ArrayLike | None = None, lonely: str = "refuse"
) -> Cells:
    """Take cells from a frame of weighted cells.

    Parameters
    ----------
    frame : DataFrame
        ``domain, stratum, psu, answer, n, w, w2``: respondents, sum of weights and of squared
        weights per domain, stratum, PSU and answer. Without ``psu`` every respondent is a PSU,
        without ``stratum`` there is one, without ``domain`` everybody is one domain.
    size, lonely
        As for :func:`dealerqm.sampling.design.design`.

    Returns
    -------
    Cells
        For any estimate, with ``domain=cells.domain``.

    Raises
    ------
    MethodError
        If a column lacks, or what :func:`dealerqm.sampling.design.design` refuses.

    Examples
    --------
    >>> frame = pd.DataFrame({"answer": [9, 8], "n": [2, 1], "w": [2.0, 1.0], "w2": [2.0, 1.0]})
    >>> found = read_cells(frame)
    >>> from dealerqm.sampling.estimate import mean
    >>> mean(found.design, found.value).estimate.round(3)
    array([8.667])
    """
    for name in COLUMNS[3:]:
        if name not in frame:
            raise MethodError(unknown("cells", name, frame.columns))
    given = {name: frame[name] for name in COLUMNS[:3] if name in frame}
    made = design(
        frame["w"].to_numpy(float), psu=given.get("psu"), strata=given.get("stratum"), size=size,
        lonely=lonely, cells=(frame["n"].to_numpy(float), frame["w2"].to_numpy(float)),
    )  # fmt: skip
    column, names = np.zeros(made.rows, np.int64), np.array([], object)
    if "domain" in given:
        column, names = codes(given["domain"], where="domain")
    value = frame["answer"].to_numpy(float, na_value=np.nan)
    return Cells(made, value, domains(made, column), names)
