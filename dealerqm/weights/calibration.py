"""Calibration to totals of any variables, and weights for those who did not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.weights.raking import UNMET, poststratify
from dealerqm.weights.weighting import (
    Array,
    Calibration,
    Codes,
    Gaps,
    Weighting,
    checked,
    refusal,
    relative,
    weighed,
)  # fmt: skip

NEVER = (-np.inf, np.inf)
STEPS = 100
CLOSE = 1e-10  # relative misfit at which a solver stops
PINV = 1e-12


class Propensity(NamedTuple):
    """Chances to answer.

    Attributes
    ----------
    coefficient : ndarray, shape (1 + variables,)
        Of the logit: intercept first.
    chance : ndarray, shape (rows,)
        Chance of each row.
    """

    coefficient: Array
    chance: Array


def calibrate(
    weights: ArrayLike, x: Mapping[str, ArrayLike], totals: Mapping[str, float], *,
    distance: str = "linear", bounds: tuple[float, float] = NEVER, unmet: str = "refuse",
) -> Weighting:  # fmt: skip
    """Change weights as little as possible so that totals of variables are met.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Start weights.
    x : mapping of name to array_like, shape (rows,)
        Variables; a constant of 1 meets the size of the population.
    totals : mapping of name to float
        Their totals in the population.
    distance : str
        ``linear`` (regression weights), ``raking`` (never negative) or ``logit`` (between bounds).
    bounds : (float, float)
        Smallest and largest factor of a weight; ``logit`` needs both, around 1.
    unmet : str
        ``refuse`` an unmet total, or ``accept`` it with the verdict ``unmet``.

    Returns
    -------
    Weighting
        Weights with the gap to every total.

    Raises
    ------
    MethodError
        If a variable lacks or has a missing value, bounds do not fit, or a total is not met.

    Notes
    -----
    w = d F(x'λ) with F(u) = 1 + u, exp u, or the logit function with bounds; λ by Newton's steps,
    halved while they leave finite numbers.

    Source: Deville and Särndal (1992), JASP 87, 376; R survey ``calibrate``, reference cases
    ``survey/calibration``.

    Examples
    --------
    >>> found = calibrate([1, 1, 1], {"1": [1, 1, 1], "age": [2, 3, 4]}, {"1": 6, "age": 20})
    >>> found.weights.round(4), found.verdict
    (array([1., 2., 3.]), 'met')
    """
    for name, given, allowed in (("distance", distance, DISTANCES), ("unmet", unmet, UNMET)):
        if given not in allowed:
            raise MethodError(unknown(name, given, allowed))
    low, high = bounds
    if not low < 1 < high or (distance == "logit" and not np.isfinite([low, high]).all()):
        raise MethodError(f"bounds: {low:g} to {high:g}; allowed: around 1, for logit both finite.")
    start = checked(weights)
    columns = _columns(x, list(totals), start.size)
    target = np.array([totals[name] for name in totals], float)
    factor, steps = _solved(start, columns, target, (DISTANCES[distance], low, high))
    achieved = columns.T @ (start * factor)
    names = np.array(list(totals), object)
    nameless = np.full(names.size, None, object)
    gaps = Gaps(names, nameless, target, achieved, relative(achieved, target))
    found = weighed(start * factor, steps, gaps, (Calibration(start, (), columns), 1e-6))
    if found.verdict == "unmet" and unmet == "refuse":
        at = int(((factor <= low) | (factor >= high)).sum())
        raise MethodError(
            refusal("calibration", gaps, steps, 1e-6) + f"{at} factors are at their bounds of "
            f"{low:g} and {high:g}. Widen the bounds, leave out a variable, or unmet='accept'."
        )
    return found


def _columns(x: Mapping[str, ArrayLike], names: list[str], rows: int) -> Array:
    found = np.empty((rows, len(names)))
    for place, name in enumerate(names):
        if name not in x:
            raise MethodError(unknown("x", name, x))
        column = np.asarray(x[name], float)
        if column.shape != (rows,):
            raise MethodError(f"x: {name} has shape {column.shape}; there are {rows} weights.")
        gone = np.flatnonzero(~np.isfinite(column))
        if gone.size:
            raise MethodError(
                f"x: {name} is missing in {gone.size} rows, the first is row {gone[0]}; fill it, "
                "or calibrate on another variable."
            )
        found[:, place] = column
    return found


Shape = tuple[Callable[[Array, float, float], tuple[Array, Array]], float, float]


def _solved(start: Array, x: Array, target: Array, shape: Shape) -> tuple[Array, int]:
    """Solve for the factors of the weights by Newton's method; columns are scaled to one size."""
    function, low, high = shape
    unit = np.maximum(np.abs(x).max(axis=0), np.finfo(float).tiny)
    x, target = x / unit, target / unit
    slope, steps = np.zeros(target.size), 0
    factor, rate = function(x @ slope, low, high)
    misfit = target - x.T @ (start * factor)
    while steps < STEPS and (np.abs(misfit) > CLOSE * (1 + np.abs(target))).any():
        gram = (x * (start * rate)[:, None]).T @ x
        step, worst = (
            np.linalg.pinv(gram, rcond=PINV, hermitian=True) @ misfit,
            np.abs(misfit).max(),
        )
        for _ in range(STEPS):
            factor, rate = function(x @ (slope + step), low, high)
            misfit = target - x.T @ (start * factor)
            if np.isfinite(factor).all() and np.abs(misfit).max() <= 2 * worst:
                break
            step = step / 2
        slope, steps = slope + step, steps + 1
    return factor, steps


def _linear(u: Array, low: float, high: float) -> tuple[Array, Array]:
    factor = np.clip(1 + u, low, high)
    return factor, ((1 + u > low) & (1 + u < high)).astype(float)


def _exponential(u: Array, low: float, high: float) -> tuple[Array, Array]:
    with np.errstate(over="ignore"):
        full = np.exp(u)
    factor = np.clip(full, low, high)
    return factor, np.where((full > low) & (full < high), full, 0.0)


def _logistic(u: Array, low: float, high: float) -> tuple[Array, Array]:
    pace = (high - low) / ((1 - low) * (high - 1))
    share = special.expit(pace * u + np.log((1 - low) / (high - 1)))
    return low + (high - low) * share, (high - low) * pace * share * (1 - share)


DISTANCES: dict[str, Callable[[Array, float, float], tuple[Array, Array]]] = {
    "linear": _linear, "raking": _exponential, "logit": _logistic,
}  # fmt: skip


# ---------------------------------------------------------------- who answered


def response_propensity(
    x: ArrayLike, answered: ArrayLike, *, weights: ArrayLike | None = None
) -> Propensity:
    """Estimate each invited person's chance to answer.

    Parameters
    ----------
    x : array_like, shape (rows, variables)
        What is known of everybody who was invited.
    answered : array_like of bool, shape (rows,)
        Whether an answer came.
    weights : array_like, shape (rows,), or None
        Weights of the logit; None counts rows.

    Returns
    -------
    Propensity
        Coefficients and chances.

    Raises
    ------
    MethodError
        If all or none answered, a variable is missing, or the variables tell who answered without
        an error, so that there is no estimate.

    Notes
    -----
    Logistic regression by maximum likelihood.

    Source: Little (1986), International Statistical Review 54, 139; reference case
    ``nonresponse_adjustment``.

    Examples
    --------
    >>> found = response_propensity([0, 0, 1, 1, 1], [True, False, True, True, False])
    >>> found.chance.round(3)  # 1 of 2, and 2 of 3
    array([0.5  , 0.5  , 0.667, 0.667, 0.667])
    """
    hit = np.asarray(answered, float)
    w = np.ones(hit.size) if weights is None else checked(weights)
    model = np.column_stack([np.ones(hit.size), np.asarray(x, float).reshape(hit.size, -1)])
    if not np.isfinite(model).all():
        raise MethodError(
            "x: a variable is missing for some who were invited; fill it, or use all."
        )
    if not 0 < hit.mean() < 1:
        raise MethodError(f"answered: {hit.mean():.0%} answered, so chances cannot differ.")
    unit = np.maximum(np.abs(model).max(axis=0), np.finfo(float).tiny)
    model, slope = model / unit, np.zeros(model.shape[1])
    for _ in range(STEPS):
        chance = special.expit(model @ slope)
        gram = (model * (w * chance * (1 - chance))[:, None]).T @ model
        step = np.linalg.pinv(gram, rcond=PINV, hermitian=True) @ (model.T @ (w * (hit - chance)))
        slope = slope + step
        if np.abs(step).max() <= CLOSE * (1 + np.abs(slope).max()):
            return Propensity(slope / unit, special.expit(model @ slope))
    raise MethodError(
        "response: the variables tell without error who answered, so there is no estimate; use "
        "fewer of them, or classes."
    )


def response_classes(
    chance: ArrayLike, answered: ArrayLike, *, classes: int, least: float = 1
) -> Codes:
    """Sort those invited into classes of like chances to answer.

    Parameters
    ----------
    chance : array_like, shape (rows,)
        Chance to answer.
    answered : array_like of bool, shape (rows,)
        Whether an answer came.
    classes : int
        Classes of equal size at most.
    least : float
        A class with fewer answers is joined to its neighbour of nearest chances.

    Returns
    -------
    ndarray of int, shape (rows,)
        Class of each row, from the least likely on.

    Examples
    --------
    >>> response_classes([0.1, 0.2, 0.6, 0.7], [False, False, True, True], classes=2, least=1)
    array([0, 0, 0, 0])
    >>> response_classes([0.1, 0.2, 0.6, 0.7], [True, False, True, True], classes=2)
    array([0, 0, 1, 1])
    """
    p, hit = np.asarray(chance, float), np.asarray(answered, float)
    edges = np.unique(np.quantile(p, np.arange(1, classes) / classes, method="inverted_cdf"))
    code = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)[1]
    while (few := (counts := np.bincount(code, hit)) < max(least, 1)).any() and counts.size > 1:
        middle = np.bincount(code, p) / np.bincount(code)
        at = int(np.flatnonzero(few)[0])
        sides = [side for side in (at - 1, at + 1) if 0 <= side < counts.size]
        near = min(sides, key=lambda side: abs(middle[side] - middle[at]))
        code = np.where(code == max(at, near), min(at, near), code)
        code = np.unique(code, return_inverse=True)[1]
    return code


def respond(weights: ArrayLike, answered: ArrayLike, classes: ArrayLike) -> Weighting:
    """Let those who answered stand for those of their class who did not.

    Parameters
    ----------
    weights : array_like, shape (rows,)
        Weights of everybody who was invited.
    answered : array_like of bool, shape (rows,)
        Whether an answer came.
    classes : array_like, shape (rows,)
        Class of each row.

    Returns
    -------
    Weighting
        0 for those who did not answer; each class keeps its sum.

    Raises
    ------
    MethodError
        If nobody of a class answered.

    Notes
    -----
    w · Σ of the class / Σ of its answers. Chances to answer are taken as known, so standard errors
    treat the class sums as population totals, a little too narrow if the classes were estimated.

    Source: Oh and Scheuren (1983); reference case ``nonresponse_adjustment``.

    Examples
    --------
    >>> respond([1, 1, 2], [True, False, True], ["a", "a", "b"]).weights
    array([2., 0., 2.])
    """
    w, labels = checked(weights), np.asarray(classes)
    names, code = np.unique(labels, return_inverse=True)
    sums = np.bincount(code, w)
    found = dict(zip(names.tolist(), sums.tolist(), strict=True))
    kept = np.where(np.asarray(answered, bool), w, 0.0)
    return poststratify(kept, labels, {name: total for name, total in found.items() if total})
