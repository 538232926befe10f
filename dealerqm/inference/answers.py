"""Models of answers with the errors of the sampling design: yes or no, ordered, poor or good, Kano.

Coefficients maximise the weighted likelihood by Newton's method. Where none is finite, because
variables separate the answers, the model is refused and the variables are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from dealerqm.errors import MethodError
from dealerqm.inference.regression import Fit, Matrix, finished, linear, prepared
from dealerqm.inference.sample import Subset
from dealerqm.sampling.design import Design
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]
Step = tuple[float, Array, Array]  # log-likelihood, slope, curvature
STEPS = 60  # of Newton's method before the model is called not to converge
CLOSE = 1e-11  # largest change of a coefficient, relative, at which it has converged
FLAT = 1e-9  # gain in likelihood along a direction that is none
LETTERS = "AOMIRQ"
TABLE = ("QAAAO", "RIIIM", "RIIIM", "RIIIM", "RRRRQ")  # present 1-5 by absent 1-5


def logistic(
    x: ArrayLike | Matrix, y: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Fit:  # fmt: skip
    """Fit a logistic regression with design-based errors.

    Parameters
    ----------
    x, design, domain, confidence
        As for :func:`regression.linear`.
    y : array_like, shape (rows,)
        Outcome: 0 or 1, or a share between.

    Returns
    -------
    Fit
        Coefficients on the log-odds.

    Raises
    ------
    MethodError
        As for :func:`regression.linear`; outcomes out of 0..1 or all the same; and variables that
        separate the outcomes, for which no finite coefficient exists.

    Notes
    -----
    Newton's method on the weighted likelihood; influence of a row A⁻¹ x (y - μ) with
    A = X'Wμ(1-μ)X.

    Source: R ``survey::svyglm`` with ``quasibinomial``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = logistic([[0], [0], [0], [1], [1], [1]], [1, 0, 0, 1, 1, 0], design([1] * 6))
    >>> np.exp(found.coefficient.estimate).round(4)  # odds 1/2, and a ratio of odds of 4
    array([0.5, 4. ])
    """
    model, target, sample = prepared(x, y, design, domain)
    full, w = model.x, sample.weights
    if target.min() < 0 or target.max() > 1 or np.ptp(target[w > 0]) == 0:
        raise MethodError(
            f"y: values from {target.min():g} to {target.max():g}; allowed: 0 to 1, and both "
            "outcomes must occur."
        )

    def step(beta: Array) -> Step:
        eta = full @ beta
        mean = special.expit(eta)
        value = w @ (target * eta - np.logaddexp(0, eta))
        curve = full.T @ ((w * mean * (1 - mean))[:, None] * full)
        return float(value), full.T @ (w * (target - mean)), curve

    def cases() -> Array:
        won, lost = (w > 0) & (target > 0), (w > 0) & (target < 1)
        return np.concatenate([full[won], -full[lost]])

    start = np.zeros(full.shape[1])
    start[0] = special.logit(w @ target / w.sum())
    beta, bread = _climb(step, start, cases, model.names)
    influence = (target - special.expit(full @ beta))[:, None] * full @ bread
    return finished(model, beta, influence, sample, confidence)


def ordinal(
    x: ArrayLike | Matrix, y: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Fit:  # fmt: skip
    """Fit a proportional-odds model of ordered answers with design-based errors.

    Parameters
    ----------
    x, design, domain, confidence
        As for :func:`regression.linear`.
    y : array_like, shape (rows,)
        Ordered answers as numbers; only their order counts.

    Returns
    -------
    Fit
        Variables first (above 0: higher answers), then one threshold between neighbouring answers.

    Raises
    ------
    MethodError
        As for :func:`logistic`, or fewer than three different answers.

    Notes
    -----
    P(y ≤ k) = expit(ζ_k - xβ); Newton's method; influence of a row is the inverse information
    times its score.

    Source: McCullagh (1980), JRSS B 42, 109; R ``MASS::polr``, ``survey::svyolr``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> y, x = [1, 2, 3, 1, 2, 3, 3, 1], [[0], [0], [0], [0], [1], [1], [1], [1]]
    >>> found = ordinal(x, y, design([1] * 8))
    >>> found.names, bool(found.coefficient.estimate[0] > 0)
    (('column 0', '1|2', '2|3'), True)
    """
    model, target, sample = prepared(x, y, design, domain)
    body, w = model.x[:, 1:], sample.weights
    answers, code = np.unique(target, return_inverse=True)
    share = np.cumsum(np.bincount(code, w)) / w.sum()
    if answers.size < 3 or (np.diff(share, prepend=0.0) <= 0).any():  # noqa: PLR2004
        raise MethodError(
            f"y: {answers.size} different answers ({answers[0]:g} to {answers[-1]:g}); allowed: "
            "three or more, each with weight. Use logistic for two."
        )
    edges = np.eye(answers.size + 1)[:, 1:-1]
    upper, lower = (np.hstack([-body, edges[place]]) for place in (code + 1, code))
    ends = (code < answers.size - 1, code > 0)
    bounds = [f"{a:g}|{b:g}" for a, b in pairwise(answers)]
    terms = {name: tuple(i - 1 for i in held) for name, held in model.terms.items()}
    model = model._replace(names=(*model.names[1:], *bounds), terms=terms)

    def step(beta: Array) -> Step:
        return _proportional((upper, lower), ends, w, beta)[0]

    def cases() -> Array:
        return np.concatenate([upper[(w > 0) & ends[0]], -lower[(w > 0) & ends[1]]])

    start = np.concatenate([np.zeros(body.shape[1]), special.logit(share[:-1])])
    beta, bread = _climb(step, start, cases, model.names)
    influence = _proportional((upper, lower), ends, w, beta)[1] @ bread
    return finished(model, beta, influence, sample, confidence)


def _proportional(
    sides: tuple[Array, Array], ends: tuple[Rows, Rows], w: Array, beta: Array
) -> tuple[Step, Array]:
    """Log-likelihood of ordered answers with slope, curvature and the score of each row."""
    (upper, lower), (top, bottom) = sides, ends
    a, b = np.where(top, upper @ beta, np.inf), np.where(bottom, lower @ beta, -np.inf)
    high, low = special.expit(a), special.expit(b)
    chance = np.where(b > 0, special.expit(-b) - special.expit(-a), high - low)
    if (chance <= 0).any():
        return (-np.inf, np.zeros(0), np.zeros((0, 0))), np.zeros((0, 0))
    f, g = high * (1 - high) / chance, low * (1 - low) / chance
    score = f[:, None] * upper - g[:, None] * lower
    first = (w * (f**2 - f * (1 - 2 * high)))[:, None] * upper
    last = (w * (g**2 + g * (1 - 2 * low)))[:, None] * lower
    cross = upper.T @ ((w * f * g)[:, None] * lower)
    curve = upper.T @ first + lower.T @ last - cross - cross.T
    return (float(w @ np.log(chance)), score.T @ w, curve), score


def _climb(
    step: Callable[[Array], Step], start: Array, cases: Callable[[], Array], names: Sequence[str]
) -> tuple[Array, Array]:
    """Climb a concave likelihood; return the top and the inverse of its curvature."""
    beta, (value, slope, curve) = start, step(start)
    for _ in range(STEPS):
        try:
            move = np.linalg.solve(curve, slope)
        except np.linalg.LinAlgError:
            break
        after = step(beta + move)
        while not after[0] >= value - CLOSE * (1 + abs(value)) and np.abs(move).max() > 0:
            move = move / 2
            after = step(beta + move)
        beta, (value, slope, curve) = beta + move, after
        if np.abs(move).max() <= CLOSE * (1 + np.abs(beta).max()):
            return beta, np.asarray(np.linalg.inv(curve), float)
    raise MethodError(_endless(np.unique(cases(), axis=0), names))


def _endless(cases: Array, names: Sequence[str]) -> str:
    """Find the variables along which a likelihood rises without end."""
    moved = np.flatnonzero(np.abs(_direction(cases)) > FLAT)
    if not moved.size:
        return f"y: the model did not converge in {STEPS} steps; scale the variables, or use fewer."
    needed = [i for i in moved.tolist() if not _direction(np.delete(cases, i, axis=1)).any()]
    blamed = [
        names[i]
        for i in (needed or moved.tolist())
        if names[i] != "constant" and "|" not in names[i]
    ]
    return (
        f"y: {', '.join(blamed)} separates the answers, so no finite coefficient exists; join "
        "levels, leave it out, or compare the shares directly."
    )


def _direction(cases: Array) -> Array:
    """Find a direction in which no row gets less likely and some get more; 0 where none is."""
    ends = [(-1, 1)] * cases.shape[1]
    found = optimize.linprog(
        -cases.sum(axis=0), A_ub=-cases, b_ub=np.zeros(len(cases)), bounds=ends
    )
    none = found.status or -found.fun < FLAT * len(cases)
    return np.zeros(cases.shape[1]) if none else np.asarray(found.x, float)


class Contrast(NamedTuple):
    """What poor and good answers to an item do to the outcome; arrays of shape (items,).

    Attributes
    ----------
    penalty, reward : Interval
        Change of the outcome with a poor or a good answer, against one between.
    balance : Interval
        Reward and penalty added: above 0 where good answers help more than poor ones hurt.
    """

    penalty: Interval
    reward: Interval
    balance: Interval


def penalty_reward(
    x: ArrayLike, y: ArrayLike, design: Design, *, cuts: tuple[float, float],
    domain: ArrayLike | None = None, confidence: float = 0.95,
) -> Contrast:  # fmt: skip
    """Contrast what poor and what good answers to items do to the outcome.

    Parameters
    ----------
    x, y, design, domain, confidence
        As for :func:`drivers.drivers`.
    cuts : (float, float)
        Answers up to the first are poor, from the second on good.

    Returns
    -------
    Contrast
        See there.

    Raises
    ------
    MethodError
        An item nobody calls poor, or good; everything that :func:`regression.linear` refuses.

    Notes
    -----
    One regression on two indicators per item.

    Source: Brandt (1988), in Surprenant (ed.), Add Value to Your Service; Mikulić and Prebežac
    (2011), Managing Service Quality 21, 46.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> x, y = [[1], [5], [9]] * 4, [2, 6, 7, 3, 7, 8] * 2
    >>> found = penalty_reward(x, y, design([1] * 12), cuts=(3, 8))
    >>> found.penalty.estimate.round(4), found.reward.estimate.round(4)
    (array([-4.]), array([1.]))
    """
    items = np.asarray(x, float)
    gone = np.isnan(items)
    sides = [np.where(gone, np.nan, side) for side in (items <= cuts[0], items >= cuts[1])]
    fit = linear(np.hstack(sides), y, design, domain=domain, confidence=confidence)
    k, t = items.shape[1], special.stdtrit(fit.freedom, 0.5 + confidence / 2)
    halves = (slice(1, k + 1), slice(k + 1, 2 * k + 1))
    penalty, reward = (Interval(*(v[part] for v in fit.coefficient)) for part in halves)
    sums = np.hstack([np.zeros((k, 1)), np.eye(k), np.eye(k)])
    both = sums @ fit.coefficient.estimate
    half = t * np.sqrt(np.diag(sums @ fit.covariance @ sums.T))
    return Contrast(penalty, reward, Interval(both, both - half, both + half))


class Kano(NamedTuple):
    """Kano category of a feature.

    Attributes
    ----------
    share : dict of str to Interval
        Share of respondents for whom it is A attractive, O one-dimensional, M must-be,
        I indifferent, R reverse, Q questionable; scalars.
    better, worse : Interval
        Satisfaction with it, (A+O)/(A+O+M+I), and dissatisfaction without, -(O+M)/(A+O+M+I).
    category : str
        The most frequent one.
    sure : bool
        Whether it leads the next one beyond chance.
    """

    share: dict[str, Interval]
    better: Interval
    worse: Interval
    category: str
    sure: bool


def kano(
    present: ArrayLike, absent: ArrayLike, design: Design, *, domain: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Kano:  # fmt: skip
    """Classify a feature by how its presence and its absence are felt.

    Parameters
    ----------
    present, absent : array_like, shape (rows,)
        1 like it, 2 expect it, 3 neutral, 4 can live with it, 5 dislike it; NaN is missing.
    design, domain, confidence
        As for :func:`drivers.drivers`.

    Returns
    -------
    Kano
        See there.

    Raises
    ------
    MethodError
        Other codes, or nobody to whom it is A, O, M or I.

    Source: Kano et al. (1984), Hinshitsu 14, 39; Berger et al. (1993), CQM Journal 2, 3.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = kano([1, 1, 1, 3], [3, 3, 5, 5], design([1] * 4))
    >>> found.category, float(found.better.estimate), float(found.worse.estimate)
    ('A', 0.75, -0.5)
    """
    sample = Subset.of(design, domain, present, absent)
    with_it, without = (np.asarray(v, float)[sample.use] for v in (present, absent))
    wrong = ~(np.isin(with_it, range(1, 6)) & np.isin(without, range(1, 6)))
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise MethodError(
            f"answers: {int(wrong.sum())} rows with other codes, the first is {with_it[first]:g} "
            f"and {without[first]:g}; allowed: 1 to 5, NaN where missing."
        )
    letters = np.array([list(row) for row in TABLE])[
        with_it.astype(int) - 1, without.astype(int) - 1
    ]
    hits, w = (letters[:, None] == list(LETTERS)).astype(float), sample.weights
    share, t = w @ hits / w.sum(), sample.t(confidence)
    felt = share[:4].sum()
    if felt <= 0:
        raise MethodError("answers: nobody to whom it is A, O, M or I; were the codes reversed?")
    influence = (hits - share) / w.sum()
    slopes = np.zeros((6, 2))
    slopes[[0, 1], 0], slopes[[1, 2], 1] = 1, -1
    ratio = share @ slopes / felt
    slopes[:4] -= ratio
    lead = np.argsort(-share, kind="stable")[:2]
    sums = np.hstack([influence, influence @ slopes / felt, influence[:, [lead[0]]]])
    sums[:, -1] -= influence[:, lead[1]]
    values = np.concatenate([share, ratio, [share[lead[0]] - share[lead[1]]]])
    half = t * sample.errors(sums)
    ends = [
        Interval(*(np.asarray(e) for e in (v, v - h, v + h)))
        for v, h in zip(values, half, strict=True)
    ]
    shares = dict(zip(LETTERS, ends[:6], strict=True))
    return Kano(shares, ends[6], ends[7], LETTERS[lead[0]], bool(values[8] > half[8]))
