"""Who has left: the Pareto/NBD model, and time away in intervals of the customer's own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.lifetimes.visits import Fit, Habits, fitted

Array = NDArray[np.float64]
NODES, WEIGHTS = (values.astype(float) for values in np.polynomial.legendre.leggauss(14))
PANELS = 3
DEPTH = 40.0  # the integral is cut where its inside has fallen by e^-40
NEWTON = 6


class Rhythm(NamedTuple):
    """How long each customer has stayed away, in intervals of his own; all of shape (n,).

    Attributes
    ----------
    interval : ndarray
        Own mean interval between visits, shrunken to that of all.
    own : ndarray
        Share of the customer's own gaps in it.
    ratio : ndarray
        Time since the last visit over the interval.
    late : ndarray
        Chance that a customer who still comes stays away so long.
    """

    interval: Array
    own: Array
    ratio: Array
    late: Array


class _Left(NamedTuple):
    """The integral over the time at which a customer left, on the log scale."""

    log: Array  # (r,)
    share: Array  # (r, nodes): where the customers who left did so
    slow: Array  # (r, nodes): α + time, and its log below
    fast: Array  # (r, nodes): β + time
    log_slow: Array
    log_fast: Array


def _left(shape: Array, data: Habits) -> _Left:
    """Integrate (α+u)^-(r+x) (β+u)^-(s+1) over u from the last visit to the end of watching.

    The variable is v = log(c+u) with c the smaller of α and β, in which the inside is smooth; the
    upper end comes down, by Newton from above, to where nothing is left of it.
    """
    r, alpha, s, beta = shape
    c = min(alpha, beta)
    k, q = r + data.x, s + 1

    def fall(v: Array) -> Array:
        u = np.exp(v) - c
        return np.asarray(
            k * np.log((alpha + u) / (alpha + data.recency))
            + q * np.log((beta + u) / (beta + data.recency))
        )

    low, high = np.log(c + data.recency), np.log(c + data.age)
    for _ in range(NEWTON):
        u = np.exp(high) - c
        step = (fall(high) - DEPTH) / ((k / (alpha + u) + q / (beta + u)) * (c + u))
        high = np.where(step > 0, np.maximum(high - step, low), high)
    width = (high - low) / PANELS
    at = (np.arange(PANELS)[:, None] + (NODES + 1) / 2).ravel()
    v = low[:, None] + width[:, None] * at
    scaled = np.exp(v)  # c + u
    slow, fast = scaled + (alpha - c), scaled + (beta - c)
    first = (-k * np.log(alpha + data.recency) - q * np.log(beta + data.recency))[:, None]
    log_slow = v if c == alpha else np.log(slow)
    log_fast = v if c == beta else np.log(fast)
    inside = -k[:, None] * log_slow - q * log_fast - first
    parts = np.exp(inside + v) * np.tile(WEIGHTS / 2, PANELS)
    total = parts.sum(1)
    empty = width <= 0
    with np.errstate(divide="ignore"):
        log = np.where(empty, -np.inf, np.log(total) + np.log(width) + first[:, 0])
    return _Left(log, parts / total[:, None], slow, fast, log_slow, log_fast)


def pareto_nbd(data: Habits, *, least: float) -> Fit:
    """Fit the Pareto/NBD model: visits at random, and a chance to leave at any time.

    Parameters
    ----------
    data : Habits
        From ``visits.habits``.
    least : float
        Customers with a visit after the first that a fit needs.

    Returns
    -------
    Fit
        r, alpha (gamma rates of visits per time), s, beta (gamma rates of leaving per time).

    Notes
    -----
    L = Γ(r+x)/Γ(r) α^r β^s {(α+T)^-(r+x) (β+T)^-s + s ∫ (α+u)^-(r+x) (β+u)^-(s+1) du}, u from the
    last visit to T. The integral is taken as it stands (panels of Gauss-Legendre), not as a
    difference of two hypergeometric functions, which cancels.

    Source: Schmittlein, Morrison and Colombo (1987), Management Science 33, 1; Fader, Hardie and
    Lee (2005), Marketing Science 24, 275, table 2 (CDNOW).

    Examples
    --------
    >>> from dealerqm.lifetimes.visits import habits
    >>> pareto_nbd(habits([0, 0], [0, 0], [5, 9]), least=10).reasons
    ('few_repeaters',)
    """
    unit = float(np.average(data.age, weights=data.counts))
    n, x = data.counts, data.x
    own = data._replace(recency=data.recency / unit, age=data.age / unit)
    end = own.age

    def loss(y: Array) -> tuple[float, Array]:
        r, alpha, s, beta = shape = np.exp(y)
        left = _left(shape, own)
        stay = -(r + x) * np.log(alpha + end) - s * np.log(beta + end)
        gone = y[2] + left.log
        total = np.logaddexp(stay, gone) + r * y[1] + s * y[3]
        total += special.gammaln(r + x) - special.gammaln(r)
        p = special.expit(gone - stay)

        def mean(values: Array) -> Array:
            return np.asarray(np.einsum("ij,ij->i", left.share, values))

        slope = (
            special.psi(r + x)
            - special.psi(r)
            + y[1]
            - (1 - p) * np.log(alpha + end)
            - p * mean(left.log_slow),
            r / alpha - (r + x) * ((1 - p) / (alpha + end) + p * mean(1 / left.slow)),
            y[3] - (1 - p) * np.log(beta + end) + p * (1 / s - mean(left.log_fast)),
            s / beta - (1 - p) * s / (beta + end) - p * (s + 1) * mean(1 / left.fast),
        )
        return -float(n @ total), -np.array([float(n @ part) for part in slope]) * shape

    rate = max(float(n @ x), 1.0) / float(n @ end)
    starts = [[0.5, 0.5 / rate, 0.6, 0.4], [1.5, 1.5 / rate, 1.0, 2.0]]
    fit = fitted(loss, starts, data, (1.0, unit, 1.0, unit), least)
    return fit._replace(log_likelihood=fit.log_likelihood - float(n @ x) * float(np.log(unit)))


def active(fit: Fit, data: Habits) -> Array:
    """Chance that a customer has not left, by Pareto/NBD.

    Parameters
    ----------
    fit : Fit
        From ``pareto_nbd``.
    data : Habits
        Whose; any rows.

    Returns
    -------
    ndarray, shape (r,)
        Chances; 1 where the last visit is at the end of watching.

    Notes
    -----
    Share of the term of those who stayed in the likelihood.

    Source: Fader and Hardie (2005), "A note on deriving the Pareto/NBD model", eq. 41.

    Examples
    --------
    >>> cdnow = Fit(np.array([0.553, 10.578, 0.606, 11.669]), np.zeros(4), 0.0, 1, 1, ())
    >>> active(cdnow, Habits(*np.array([[26, 0], [30.86, 0], [31, 38.86], [1, 1]]))).round(4)
    array([0.9979, 0.2953])
    """
    r, alpha, s, beta = fit.estimate
    stay = -(r + data.x) * np.log(alpha + data.age) - s * np.log(beta + data.age)
    return np.asarray(special.expit(stay - np.log(s) - _left(fit.estimate, data).log))


def to_come(fit: Fit, data: Habits, horizon: ArrayLike) -> Array:
    """Visits to expect of a customer in the time to come, by Pareto/NBD.

    Parameters
    ----------
    fit : Fit
        From ``pareto_nbd``.
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
    Chance to be active × (r+x)/(α+T) × (β+T) {1 - ((β+T)/(β+T+h))^(s-1)}/(s-1), which is a
    logarithm at s = 1.

    Source: Fader, Hardie and Lee (2005), Marketing Science 24, 275, appendix.

    Examples
    --------
    >>> cdnow = Fit(np.array([0.553, 10.578, 0.606, 11.669]), np.zeros(4), 0.0, 1, 1, ())
    >>> to_come(cdnow, Habits(*np.array([[2], [30.43], [38.86], [1]])), 0)
    array([0.])
    """
    r, alpha, s, beta = fit.estimate
    rate = (r + data.x) / (alpha + data.age)
    return np.asarray(active(fit, data) * rate * _staying(s, beta + data.age, horizon))


def new_to_come(fit: Fit, horizon: ArrayLike) -> Array:
    """Visits after the first to expect of a new customer, by Pareto/NBD.

    Parameters
    ----------
    fit : Fit
        From ``pareto_nbd``.
    horizon : array_like
        Time from the first visit.

    Returns
    -------
    ndarray
        Mean numbers of visits.

    Notes
    -----
    r/α × β {1 - (β/(β+h))^(s-1)}/(s-1).

    Source: Fader, Hardie and Lee (2005), Marketing Science 24, 275, eq. 3.

    Examples
    --------
    >>> new_to_come(Fit(np.array([1.0, 10.0, 2.0, 10.0]), np.zeros(4), 0.0, 1, 1, ()), [0, 10])
    array([0. , 0.5])
    """
    r, alpha, s, beta = fit.estimate
    return np.asarray(r / alpha * _staying(s, np.asarray(beta), horizon))


def _staying(s: float, start: Array, horizon: ArrayLike) -> Array:
    """Mean time that a customer still stays within the horizon; ``start`` is β + T."""
    log = np.log1p(np.asarray(horizon, float) / start)
    return np.asarray(start * log * special.exprel((1 - s) * log))


def discounted(fit: Fit, data: Habits, discount: float) -> Array:
    """Visits to expect for ever, each discounted to today, by Pareto/NBD.

    Parameters
    ----------
    fit : Fit
        From ``pareto_nbd``.
    data : Habits
        Whose; any rows.
    discount : float
        Continuous rate per unit of time: ln(1 + yearly rate) over the units of a year.

    Returns
    -------
    ndarray, shape (r,)
        Discounted expected visits (DERT).

    Raises
    ------
    MethodError
        A discount that is not above 0: visits of those who never leave would have no end.

    Notes
    -----
    Chance to be active × (r+x)/(α+T) × ∫ e^-δh ((β+T)/(β+T+h))^s dh, by panels over the log of
    (β+T+h)/(β+T).

    Source: Fader, Hardie and Lee (2005), JMR 42, 415, eq. 2.

    Examples
    --------
    >>> fit = Fit(np.array([1.0, 9.0, 1e-9, 9.0]), np.zeros(4), 0.0, 1, 1, ())
    >>> discounted(fit, Habits(*np.array([[1.0], [1.0], [1.0], [1.0]])), 0.1).round(6)
    array([2.])
    """
    if not discount > 0:
        raise MethodError(f"discount: {discount}; it must be above 0, such as log(1.1) / 52.")
    r, alpha, s, beta = fit.estimate
    start = beta + data.age
    width = np.log1p(DEPTH / (discount * start)) / PANELS
    at = (np.arange(PANELS)[:, None] + (NODES + 1) / 2).ravel()
    v = width[:, None] * at
    inside = np.exp(-discount * start[:, None] * np.expm1(v) + (1 - s) * v)
    staying = start * width * (inside @ np.tile(WEIGHTS / 2, PANELS))
    return np.asarray(active(fit, data) * (r + data.x) / (alpha + data.age) * staying)


def rhythm(number: ArrayLike, total: ArrayLike, since: ArrayLike, *, shape: float) -> Rhythm:
    """Compare the time since the last visit with each customer's own interval.

    Parameters
    ----------
    number, total : array_like, shape (n,)
        Gaps between a customer's visits, and their sum; 0 and 0 after one visit.
    since : array_like, shape (n,)
        Time since the last visit.
    shape : float
        Of the gaps, from ``worth.regularity``.

    Returns
    -------
    Rhythm
        NaN when nobody has a gap.

    Notes
    -----
    Log of the mean gap, freed of its bias, has variance ψ'(k shape); between customers the moment
    estimate of DerSimonian and Laird; the interval is the pooled log, back. Late is the upper
    tail of a gamma of this shape at the ratio.

    Source: DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177 (spread of customers).

    Examples
    --------
    >>> found = rhythm([4, 4, 0], [400, 400, 0], [200, 50, 100], shape=8)
    >>> found.ratio.round(2).tolist(), found.own.tolist()
    ([1.97, 0.49, 0.98], [0.0, 0.0, 0.0])
    """
    k, sums = np.asarray(number, float), np.asarray(total, float)
    gone, used = np.asarray(since, float), k > 0
    interval, own = np.full(k.shape, np.nan), np.zeros(k.shape)
    if used.any():
        each = k[used] * shape
        y = np.log(sums[used] / k[used]) - special.psi(each) + np.log(each)
        variance = special.polygamma(1, each)
        w = 1 / variance
        middle = w @ y / w.sum()
        excess = w @ (y - middle) ** 2 - (w.size - 1)
        scale = w.sum() - (w @ w) / w.sum()
        between = max(float(excess / scale), 0.0) if scale > 0 else 0.0
        w = 1 / (variance + between)
        middle = float(w @ y / w.sum())
        own[used] = between * w
        interval[used] = np.exp(middle + own[used] * (y - middle))
        interval[~used] = np.exp(middle)
    ratio = gone / interval
    return Rhythm(interval, own, ratio, special.gammaincc(shape, shape * ratio))
