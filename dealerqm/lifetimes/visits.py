"""Visits that end unseen: the BG/NBD model, and the search that all models of value share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
Loss = Callable[[Array], tuple[float, Array]]
EDGE = 9.0  # a log parameter this far from the data's own scale is at the edge
VAGUE = 3.0  # a log parameter with this standard error is not known to a factor of 20
SOLVED = 1e-3  # of a standard error: how near the top the search must end
STEP = 1e-4  # of a log parameter, for second derivatives
STEPS, LONGEST = 100, 2.0  # of the search, and how far a step may go in log parameters
FLAT = 1e-8  # of the largest eigenvalue: directions flatter than this count as this flat
NEAR = 1e-5  # closer to a pole of the formula the two sides are averaged


class Habits(NamedTuple):
    """Customers' visits, one row per kind of customer.

    Attributes
    ----------
    x : ndarray, shape (r,)
        Visits after the first, on different days.
    recency : ndarray, shape (r,)
        Time from the first visit to the last; 0 where x = 0.
    age : ndarray, shape (r,)
        Time from the first visit to the end of watching.
    counts : ndarray, shape (r,)
        How many customers are like this.
    """

    x: Array
    recency: Array
    age: Array
    counts: Array


class Fit(NamedTuple):
    """A model of value fitted by maximum likelihood.

    Attributes
    ----------
    estimate, error : ndarray, shape (k,)
        Parameters and their standard errors.
    log_likelihood : float
        At the estimate.
    n, repeaters : float
        Customers, and those who came again.
    reasons : tuple of str
        Why the fit is refused; empty when it stands. ``few_repeaters``: fewer than the caller
        asks for; ``no_top``: the search ended before the top; ``edge``: a parameter runs to 0 or
        infinity (customers do not differ, or none drops out); ``vague``: the data do not tell a
        parameter.
    """

    estimate: Array
    error: Array
    log_likelihood: float
    n: float
    repeaters: float
    reasons: tuple[str, ...]


def habits(
    x: ArrayLike, recency: ArrayLike, age: ArrayLike, *, counts: ArrayLike | None = None
) -> Habits:
    """Gather customers with the same visits into one row each.

    Parameters
    ----------
    x, recency, age, counts : array_like, shape (n,)
        As in ``Habits``; counts None is one each.

    Returns
    -------
    Habits
        Unique rows, sorted.

    Raises
    ------
    MethodError
        No customer, missing or negative values, x not whole, recency beyond age, or a recency
        that does not fit x (positive without a visit after the first, 0 with one).

    Examples
    --------
    >>> habits([0, 2, 0], [0, 3, 0], [9, 9, 9]).counts.tolist()
    [2.0, 1.0]
    """
    rows = np.stack(np.broadcast_arrays(*(np.asarray(v, float) for v in (x, recency, age))), 1)
    n = np.ones(len(rows)) if counts is None else np.asarray(counts, float)
    number, last, end = rows.T
    wrong = ~np.isfinite(rows).all(1) | (rows < 0).any(1) | ~(n >= 0) | (number % 1 != 0)
    wrong |= (last > end) | ((number > 0) != (last > 0)) | (end <= 0)
    if wrong.any() or not n.sum() > 0:
        where = np.flatnonzero(wrong)[:1].tolist()
        raise MethodError(
            f"visits: {int(wrong.sum())} of {len(rows)} customers cannot be, first row {where}; "
            "x is a whole number, 0 <= recency <= age, age > 0, recency 0 just where x is 0. "
            "Count visits of one day once and leave out what comes after the snapshot."
        )
    kinds, place = np.unique(rows, axis=0, return_inverse=True)
    return Habits(kinds[:, 0], kinds[:, 1], kinds[:, 2], np.bincount(place, n).astype(float))


def search(loss: Loss, starts: Sequence[Sequence[float]]) -> tuple[Array, Array, tuple[str, ...]]:
    """Find the parameters of the least loss, all of them positive.

    Parameters
    ----------
    loss : callable
        Log parameters to minus log likelihood and its slope.
    starts : sequence of sequence of float
        Parameters to start from.

    Returns
    -------
    tuple
        Log parameters, their covariance (NaN without one), and reasons to refuse, as in ``Fit``.

    Notes
    -----
    Newton from every start: second derivatives are differences of the slope, their eigenvalues
    taken as positive, steps kept short and halved until the loss falls. The best end counts. It is
    a top when the next step is below 0.001 standard errors and the eigenvalues are positive.

    Examples
    --------
    >>> def loss(y):
    ...     return float((50 * (y - 1) ** 2).sum()), 100 * (y - 1)
    >>> best, covariance, reasons = search(loss, [[1.0]])
    >>> best.round(6).tolist(), covariance.round(6).tolist(), reasons
    ([1.0], [[0.01]], ())
    """
    best = min((_descend(loss, np.log(start)) for start in starts), key=lambda y: loss(y)[0])
    nothing = np.full((best.size, best.size), np.nan)
    if (np.abs(best) > EDGE).any():
        return best, nothing, ("edge",)
    values, vectors = _bends(loss, best)
    if values[0] <= 0:
        return best, nothing, ("no_top",)
    off = np.sqrt(((vectors.T @ loss(best)[1]) ** 2 / values).sum())
    covariance = (vectors / values) @ vectors.T
    vague = ("vague",) * bool(np.sqrt(np.diag(covariance)).max() > VAGUE)
    return best, covariance, ("no_top",) * bool(off > SOLVED) + vague


def _descend(loss: Loss, y: Array) -> Array:
    value, slope = loss(y)
    for _ in range(STEPS):
        values, vectors = _bends(loss, y, slope)
        firm = np.maximum(np.abs(values), FLAT * np.abs(values).max())
        along = vectors.T @ slope
        step = vectors @ (along / firm)
        if np.sqrt((along**2 / firm).sum()) < SOLVED**2 or (np.abs(y) > EDGE).any():
            break
        step /= max(1.0, float(np.abs(step).max()) / LONGEST)
        after = loss(y - step)
        while not after[0] < value and np.abs(step).max() > SOLVED**3:
            step = step / 2
            after = loss(y - step)
        if not after[0] < value:
            break
        y, (value, slope) = y - step, after
    return y


def _bends(loss: Loss, at: Array, here: Array | None = None) -> tuple[Array, Array]:
    """Eigenvalues and vectors of the second derivatives; from one side when the slope is given."""
    steps = STEP * np.eye(at.size)
    ahead = np.stack([loss(at + step)[1] for step in steps])
    behind = np.stack([loss(at - step)[1] for step in steps]) if here is None else here
    bend = (ahead - behind) / (STEP * (2 if here is None else 1))
    values, vectors = np.linalg.eigh((bend + bend.T) / 2)
    return values, vectors


def fitted(
    loss: Loss,
    starts: Sequence[Sequence[float]],
    data: Habits,
    scale: Sequence[float],
    least: float,
) -> Fit:
    """Fit a model to visits and say whether the fit stands.

    Parameters
    ----------
    loss, starts
        As in ``search``.
    data : Habits
        From ``habits``.
    scale : sequence of float, shape (k,)
        What each parameter is multiplied by, where the loss counts time in another unit.
    least : float
        Customers with a visit after the first that a fit needs.

    Returns
    -------
    Fit
        Parameters are NaN when there are too few of these customers.

    Examples
    --------
    >>> data = habits([0], [0], [9])
    >>> fitted(lambda y: (0.0, y), [[1.0]], data, [1.0], 20).reasons
    ('few_repeaters',)
    """
    n, repeaters = float(data.counts.sum()), float(data.counts[data.x > 0].sum())
    if repeaters < max(least, 1):
        empty = np.full(len(scale), np.nan)
        return Fit(empty, empty, float("nan"), n, repeaters, ("few_repeaters",))
    best, covariance, reasons = search(loss, starts)
    estimate = np.exp(best) * np.asarray(scale)
    error = estimate * np.sqrt(np.diag(covariance))
    return Fit(estimate, error, -loss(best)[0], n, repeaters, reasons)


def bg_nbd(data: Habits, *, least: float) -> Fit:
    """Fit the BG/NBD model: visits at random, and after each visit a chance to stay away.

    Parameters
    ----------
    data : Habits
        From ``habits``.
    least : float
        Customers with a visit after the first that a fit needs.

    Returns
    -------
    Fit
        r, alpha (gamma rates of visits per time), a, b (beta chances to stay away).

    Notes
    -----
    ln L = ln Γ(r+x)/Γ(r) + r ln α + ln B(a, b+x)/B(a, b)
    + ln{(α+T)^-(r+x) + [x>0] a/(b+x-1) (α+t)^-(r+x)}, summed on the log scale.

    Source: Fader, Hardie and Lee (2005), Marketing Science 24, 275, eq. 6; table 2 (CDNOW).

    Examples
    --------
    >>> bg_nbd(habits([0, 0], [0, 0], [5, 9]), least=10).reasons
    ('few_repeaters',)
    """
    unit = float(np.average(data.age, weights=data.counts))
    x, last, end, n = data.x, data.recency / unit, data.age / unit, data.counts
    again = x > 0

    def loss(y: Array) -> tuple[float, Array]:
        r, alpha, a, b = np.exp(y)
        stay = -(r + x) * np.log(alpha + end)
        gone = np.log(a) - np.log(np.where(again, b + x - 1, 1.0)) - (r + x) * np.log(alpha + last)
        total = np.logaddexp(stay, np.where(again, gone, -np.inf))
        total += special.gammaln(r + x) - special.gammaln(r) + r * y[1]
        total += special.betaln(a, b + x) - special.betaln(a, b)
        left = np.where(again, special.expit(gone - stay), 0.0)
        both = special.psi(a + b) - special.psi(a + b + x)
        slope = (
            special.psi(r + x)
            - special.psi(r)
            + y[1]
            - (1 - left) * np.log(alpha + end)
            - left * np.log(alpha + last),
            r / alpha - (r + x) * ((1 - left) / (alpha + end) + left / (alpha + last)),
            both + left / a,
            both + special.psi(b + x) - special.psi(b) - left / np.where(again, b + x - 1, 1.0),
        )
        return -float(n @ total), -np.array([float(n @ part) for part in slope]) * np.exp(y)

    rate = max(float(n @ x), 1.0) / float(n @ end)
    starts = [[0.5, 0.5 / rate, 0.7, 2.5], [2.0, 2.0 / rate, 0.3, 3.0], [0.2, 0.2 / rate, 1, 1]]
    fit = fitted(loss, starts, data, (1.0, unit, 1.0, 1.0), least)
    return fit._replace(log_likelihood=fit.log_likelihood - float(n @ x) * float(np.log(unit)))


def alive(fit: Fit, data: Habits) -> Array:
    """Chance that a customer has not stayed away for good, by BG/NBD.

    Parameters
    ----------
    fit : Fit
        From ``bg_nbd``.
    data : Habits
        Whose; any rows.

    Returns
    -------
    ndarray, shape (r,)
        Chances. Always 1 without a visit after the first: the model lets nobody leave before it,
        so this says nothing of loyalty.

    Notes
    -----
    1 / {1 + a/(b+x-1) ((α+T)/(α+t))^(r+x)} for x > 0.

    Source: Fader, Hardie and Lee (2008), note 021.

    Examples
    --------
    >>> cdnow = Fit(np.array([0.243, 4.414, 0.793, 2.426]), np.zeros(4), 0.0, 1, 1, ())
    >>> alive(cdnow, Habits(*np.array([[2, 0], [30.43, 0], [38.86, 9], [1, 1]]))).round(4)
    array([0.7266, 1.    ])
    """
    r, alpha, a, b = fit.estimate
    again = data.x > 0
    odds = np.log(a / np.where(again, b + data.x - 1, 1.0))
    odds = odds + (r + data.x) * np.log((alpha + data.age) / (alpha + data.recency))
    return np.where(again, special.expit(-odds), 1.0)


def expected(fit: Fit, data: Habits, horizon: ArrayLike) -> Array:
    """Visits to expect of a customer in the time to come, by BG/NBD.

    Parameters
    ----------
    fit : Fit
        From ``bg_nbd``.
    data : Habits
        Whose; any rows.
    horizon : array_like
        Time to come; broadcasts against the rows.

    Returns
    -------
    ndarray
        Mean numbers of visits.

    Notes
    -----
    Chance to be alive × (a+b+x-1)/(a-1) {1 - (1-z)^(a-1) ₂F₁(a+b-1-r, a-1; a+b+x-1; z)} with
    z = h/(α+T+h): Euler's form of the published one, whose series has no large terms. At a = 1
    and a+b+x = 1 it is the mean of both sides.

    Source: Fader, Hardie and Lee (2005), Marketing Science 24, 275, eq. 10.

    Examples
    --------
    >>> cdnow = Fit(np.array([0.243, 4.414, 0.793, 2.426]), np.zeros(4), 0.0, 1, 1, ())
    >>> expected(cdnow, Habits(*np.array([[2], [30.43], [38.86], [1]])), 39).round(3)
    array([1.226])
    """
    r, alpha, a, b = fit.estimate
    return alive(fit, data) * _coming((r, a, b), data.x, alpha + data.age, horizon)


def expected_new(fit: Fit, horizon: ArrayLike) -> Array:
    """Visits after the first to expect of a new customer, by BG/NBD.

    Parameters
    ----------
    fit : Fit
        From ``bg_nbd``.
    horizon : array_like
        Time from the first visit.

    Returns
    -------
    ndarray
        Mean numbers of visits.

    Notes
    -----
    As ``expected`` with x = T = 0.

    Source: Fader, Hardie and Lee (2005), Marketing Science 24, 275, eq. 9.

    Examples
    --------
    >>> cdnow = Fit(np.array([0.243, 4.414, 0.793, 2.426]), np.zeros(4), 0.0, 1, 1, ())
    >>> expected_new(cdnow, 39).round(3)
    array([1.197])
    """
    r, alpha, a, b = fit.estimate
    return _coming((r, a, b), np.zeros(1), np.full(1, alpha), horizon)


def _coming(shape: tuple[float, float, float], x: Array, start: Array, horizon: ArrayLike) -> Array:
    """Visits to expect of a customer who is still there; ``start`` is α + T."""
    r, a, b = shape
    z = np.asarray(horizon, float) / (start + np.asarray(horizon, float))
    near = (np.abs(a - 1) < NEAR) | (np.abs(a + b + x - 1) < NEAR)

    def value(a: float | Array) -> Array:
        top = a + b + x - 1
        series = special.hyp2f1(a + b - 1 - r, a - 1, top, z)
        return np.asarray(top / (a - 1) * (1 - (1 - z) ** (a - 1) * series))

    shift = np.where(near, 2 * NEAR, 0.0)
    return (value(a + shift) + value(a - shift)) / 2
