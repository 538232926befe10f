"""Weights and how well they meet known totals: the record, its verdict, and trimming."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dealerqm.errors import MethodError, unknown

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
MODES = ("once", "repeat")


class Calibration(NamedTuple):
    """What weights were calibrated on, for standard errors that know of it.

    Attributes
    ----------
    start : ndarray, shape (rows,)
        Weights before; they weight the regression whose residuals carry the variance.
    margins : tuple of ndarray of int
        Codes of each margin, shape (rows,) each.
    x : ndarray, shape (rows, columns), or None
        Variables whose totals were met.
    """

    start: Array
    margins: tuple[Codes, ...] = ()
    x: Array | None = None

    def model(self) -> sparse.csr_array:
        """Return all variables side by side, shape (rows, columns)."""
        rows = np.arange(self.start.size)
        parts = [
            sparse.csr_array((np.ones(rows.size), (rows, code)), (rows.size, int(code.max()) + 1))
            for code in self.margins
        ]
        if self.x is not None:
            parts.append(sparse.csr_array(self.x))
        return sparse.csr_array(sparse.hstack(parts))


class Gaps(NamedTuple):
    """Targets and what the weights give, shape (targets,).

    Attributes
    ----------
    margin, level : ndarray of object
        Names; a calibrated variable has no level.
    target, achieved, gap : ndarray
        Wanted total, weighted total, and their relative difference.
    """

    margin: NDArray[np.object_]
    level: NDArray[np.object_]
    target: Array
    achieved: Array
    gap: Array


class Weighting(NamedTuple):
    """Weights and how well they meet their targets.

    Attributes
    ----------
    weights : ndarray, shape (rows,)
        The new weights.
    iterations : int
        Cycles or steps taken.
    gaps : Gaps
        Every target.
    deff : float
        Design effect of unequal weights, 1 + cv², among rows with weight.
    verdict : str
        ``met`` or ``unmet``.
    on : Calibration
        For :func:`dealerqm.sampling.design.calibrated`.
    """

    weights: Array
    iterations: int
    gaps: Gaps
    deff: float
    verdict: str
    on: Calibration


def checked(weights: ArrayLike) -> Array:
    """Check start weights.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Weights.

    Returns
    -------
    ndarray, shape (rows,)
        The same.

    Raises
    ------
    MethodError
        If one is negative, missing or infinite, or all are 0.

    Examples
    --------
    >>> checked([1, 2])
    array([1., 2.])
    """
    found = np.asarray(weights, float)
    if found.size and found.min() >= 0 and 0 < found.max() < np.inf:
        return found
    for bad, what in (
        (np.isnan(found), "missing"), (found < 0, "negative"), (np.isinf(found), "infinite"),
    ):  # fmt: skip
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise MethodError(
                f"weights: {int(bad.sum())} {what}, the first in row {first} ({found[first]:g}); "
                "allowed: 0 and above. Correct them, or give rows that must not count weight 0."
            )
    raise MethodError("weights: all are 0; at least one row must stand for somebody.")


def weighed(weights: Array, steps: int, gaps: Gaps, rule: tuple[Calibration, float]) -> Weighting:
    """Put weights together with their design effect and verdict.

    Parameters
    ----------
    weights : ndarray, shape (rows,)
        New weights.
    steps : int
        Steps taken.
    gaps : Gaps
        Every target.
    rule : (Calibration, float)
        What was calibrated on, and the largest relative gap that counts as met.

    Returns
    -------
    Weighting
        All of it.
    """
    deff = float((weights > 0).sum() * (weights @ weights) / weights.sum() ** 2)
    met = bool((np.abs(gaps.gap) <= rule[1]).all())
    return Weighting(weights, steps, gaps, deff, "met" if met else "unmet", rule[0])


def relative(achieved: Array, target: Array) -> Array:
    """Measure gaps between totals and their targets.

    Parameters
    ----------
    achieved, target : ndarray
        Totals.

    Returns
    -------
    ndarray
        Relative gaps; a target of 0 is measured in units.

    Examples
    --------
    >>> relative(np.array([11.0, 2.0]), np.array([10.0, 0.0]))
    array([0.1, 2. ])
    """
    found: Array = (achieved - target) / np.where(target == 0, 1.0, np.abs(target))
    return found


def refusal(what: str, gaps: Gaps, steps: int, gap: float) -> str:
    """Word which targets are not met.

    Parameters
    ----------
    what : str
        Name of the method.
    gaps : Gaps
        Every target.
    steps : int
        Steps taken.
    gap : float
        Largest relative gap that counts as met.

    Returns
    -------
    str
        One sentence with the worst target.
    """
    worst = int(np.argmax(np.abs(gaps.gap)))
    level = "" if gaps.level[worst] is None else f"={gaps.level[worst]}"
    return (
        f"{what}: {(np.abs(gaps.gap) > gap).sum()} of {gaps.gap.size} targets unmet after {steps} "
        f"steps; the worst is {gaps.margin[worst]}{level}: {gaps.achieved[worst]:.6g} of "
        f"{gaps.target[worst]:.6g}, a gap of {abs(gaps.gap[worst]):.1%}. "
    )


def trim(
    weighting: Weighting, low: float, high: float, *, mode: str = "once", gap: float = 0.01
) -> Weighting:
    """Cut weights to bounds and share what was cut out over the others.

    Parameters
    ----------
    weighting : Weighting
        Weights and their targets.
    low, high : float
        Bounds of a weight.
    mode : str
        ``once``, after which a share may lift a weight over the bound; ``repeat`` until none is.
    gap : float
        Largest relative gap that counts as met; trimming opens gaps, so the verdict tells.

    Returns
    -------
    Weighting
        Same sum, gaps and design effect anew; never refused for its gaps.

    Raises
    ------
    MethodError
        If the bounds leave no room for the sum.

    Notes
    -----
    Each weight inside the bounds gets the same part of what was cut.

    Source: R survey ``trimWeights``, reference case ``trim_weights_clus1``.

    Examples
    --------
    >>> from dealerqm.stats.raking import poststratify
    >>> start = poststratify([1, 1, 1], ["a", "a", "b"], {"a": 2, "b": 7})
    >>> found = trim(start, 0, 5)
    >>> found.weights, found.verdict, found.gaps.gap.round(2)
    (array([2., 2., 5.]), 'unmet', array([ 1.  , -0.29]))
    """
    if mode not in MODES:
        raise MethodError(unknown("mode", mode, MODES))
    w, steps = weighting.weights.copy(), 0
    live = w > 0
    if not low * live.sum() <= w.sum() <= high * live.sum():
        raise MethodError(
            f"trim: {live.sum()} weights between {low:g} and {high:g} cannot sum to {w.sum():g}; "
            "widen the bounds."
        )
    while (out := live & ((w < low) | (w > high))).any() and (mode == "repeat" or not steps):
        cut = np.clip(w, low, high)
        free = live & ~out
        if not free.any():
            raise MethodError("trim: every weight is outside the bounds; widen them.")
        w = np.where(out, cut, w) + np.where(free, (w - cut)[out].sum() / free.sum(), 0.0)
        steps += 1
    old = weighting.gaps
    achieved = weighting.on.model().T @ w
    gaps = old._replace(achieved=achieved, gap=relative(achieved, old.target))
    return weighed(w, steps, gaps, (weighting.on, gap))
