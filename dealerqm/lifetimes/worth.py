"""What customers are worth: money a visit, value of a lifetime, and which method may say so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from dealerqm.errors import MethodError, unknown
from dealerqm.lifetimes.visits import Fit, fitted, habits
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
TIMINGS = {"end": 0.0, "mid": 0.5}  # how much of a period is not yet over when the money comes
MOST = 1e4  # shape of the gaps at which visits are a clock
FEWEST = 3  # customers with gaps whose spread says something


class Regularity(NamedTuple):
    """How regular visits are.

    Attributes
    ----------
    shape : float
        Gamma shape of the gaps of one customer.
    variation, low, high : float
        Coefficient of variation 1/√shape with its interval: 1 is at random, 0 a clock.
    customers, gaps : int
        Customers with two gaps or more, and these gaps; without them the rest is NaN.
    """

    shape: float
    variation: float
    low: float
    high: float
    customers: int
    gaps: int


class Gate(NamedTuple):
    """Whether a model of visits may be used.

    Attributes
    ----------
    accepted : bool
    method : {"model", "interval_ratio"}
    reasons : tuple of str
        ``regular_visits``, ``regularity_unknown`` and those of ``visits.Fit``.
    """

    accepted: bool
    method: str
    reasons: tuple[str, ...]


def gamma_gamma(
    x: ArrayLike, money: ArrayLike, *, counts: ArrayLike | None = None, least: float
) -> Fit:
    """Fit the Gamma-Gamma model of money a visit.

    Parameters
    ----------
    x, money : array_like, shape (n,)
        Visits after the first, and their mean money, refunds netted; x = 0 says nothing.
    counts : array_like, shape (n,), or None
        How many customers are like this; None is one each.
    least : float
        Customers with a visit after the first that a fit needs.

    Returns
    -------
    Fit
        p, q, gamma. The mean over all customers p γ/(q-1) exists for q > 1 only.

    Raises
    ------
    MethodError
        Money that is not above 0 where x > 0.

    Notes
    -----
    ln Γ(px+q)/(Γ(px) Γ(q)) + q ln γ + (px-1) ln m + px ln x - (px+q) ln(γ + xm).

    Source: Fader and Hardie (2013), note 025, eq. 1a; reference case segment/17.

    Examples
    --------
    >>> gamma_gamma([0, 1], [0, 5], least=20).reasons
    ('few_repeaters',)
    """
    times, mean = np.asarray(x, float), np.asarray(money, float)
    used = times > 0
    n = np.ones(times.shape) if counts is None else np.asarray(counts, float)
    wrong = np.flatnonzero(used & ~((mean > 0) & np.isfinite(mean)))
    if wrong.size:
        raise MethodError(
            f"money: {wrong.size} of {int(used.sum())} customers who came again have none above 0, "
            f"the first is row {wrong[0]} ({mean[wrong[0]]}); net refunds, or leave them out."
        )
    data = habits(times, np.where(used, 1.0, 0.0), np.ones(times.shape), counts=n)
    x, m, n = times[used], mean[used], n[used]
    unit = float(np.average(m, weights=n)) if n.sum() else 1.0
    m = m / unit

    def loss(y: Array) -> tuple[float, Array]:
        p, q, gamma = np.exp(y)
        all_of = np.log(gamma + x * m)
        total = special.gammaln(p * x + q) - special.gammaln(p * x) - special.gammaln(q) + q * y[2]
        total += p * x * np.log(m * x) - np.log(m) - (p * x + q) * all_of
        both = special.psi(p * x + q)
        slope = (
            x * (both - special.psi(p * x) + np.log(m * x) - all_of),
            both - special.psi(q) + y[2] - all_of,
            q / gamma - (p * x + q) / (gamma + x * m),
        )
        return -float(n @ total), -np.array([float(n @ part) for part in slope]) * np.exp(y)

    fit = fitted(loss, [[4, 4, 0.7], [1, 2, 1], [20, 3, 0.1]], data, (1, 1, unit), least)
    return fit._replace(log_likelihood=fit.log_likelihood - float(n.sum()) * float(np.log(unit)))


def money_to_come(fit: Fit, x: ArrayLike, money: ArrayLike) -> Array:
    """Mean money a visit to expect of a customer.

    Parameters
    ----------
    fit : Fit
        From ``gamma_gamma``.
    x, money : array_like, shape (n,)
        Visits after the first, and their mean money; any money where x is 0.

    Returns
    -------
    ndarray, shape (n,)
        Between the customer's own mean and that of all; NaN where px + q does not pass 1.

    Notes
    -----
    p (γ + x m)/(p x + q - 1); with x = 0 the mean of all.

    Source: Fader and Hardie (2013), note 025, eq. 5; reference case segment/17.

    Examples
    --------
    >>> fit = Fit(np.array([6.0, 4.0, 15.0]), np.zeros(3), 0.0, 1, 1, ())
    >>> money_to_come(fit, [0, 1], [0, 35]).round(4).tolist()
    [30.0, 33.3333]
    """
    p, q, gamma = fit.estimate
    x = np.asarray(x, float)
    top = p * (gamma + np.where(x > 0, x * np.asarray(money, float), 0.0))
    below = p * x + q - 1
    return np.asarray(np.divide(top, below, out=np.full(below.shape, np.nan), where=below > 0))


def correlation(
    x: ArrayLike, money: ArrayLike, *, counts: ArrayLike | None = None, confidence: float = 0.95
) -> Interval:
    """Correlation of the number of visits and their money, which Gamma-Gamma takes as none.

    Parameters
    ----------
    x, money, counts : array_like, shape (n,)
        As in ``gamma_gamma``.
    confidence : float
        Two-sided level.

    Returns
    -------
    Interval
        Of customers with x > 0; NaN with fewer than 4, or where one of the two does not vary.

    Notes
    -----
    Pearson's, with Fisher's interval tanh(atanh r ± z/√(n-3)).

    Examples
    --------
    >>> float(correlation([1, 2, 3, 4], [10, 20, 20, 30]).estimate.round(4))
    0.9487
    """
    x, m = np.asarray(x, float), np.asarray(money, float)
    n = (np.ones(x.shape) if counts is None else np.asarray(counts, float)) * (x > 0)
    size = float(n.sum())
    cov = (
        np.cov(x, np.where(n > 0, m, 0.0), aweights=n, ddof=0)
        if size > FEWEST
        else np.zeros((2, 2))
    )
    if not (np.diag(cov) > 0).all():
        return Interval(*(np.asarray(np.nan),) * 3)
    r = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    half = special.ndtri(0.5 + confidence / 2) / np.sqrt(size - 3)
    middle = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return Interval(np.asarray(r), np.tanh(middle - half), np.tanh(middle + half))


def regularity(gaps: ArrayLike, customer: ArrayLike, *, confidence: float = 0.95) -> Regularity:
    """How regular visits are, whatever each customer's own pace.

    Parameters
    ----------
    gaps : array_like, shape (g,)
        Times between visits, all above 0.
    customer : array_like, shape (g,)
        Whose each gap is.
    confidence : float
        Two-sided level.

    Returns
    -------
    Regularity

    Raises
    ------
    MethodError
        Gaps that are not above 0.

    Notes
    -----
    A customer's gaps over their sum are Dirichlet with all parameters equal to the shape; its
    maximum likelihood, interval on the log scale from the information. Visits at random within a
    fixed time give 1, however few a customer has.

    Source: Wheat and Morrison (1990), JMR 27, 87, generalised from two gaps to any number.

    Examples
    --------
    >>> found = regularity([10, 12, 9, 30, 28, 33], ["a", "a", "a", "b", "b", "b"])
    >>> round(found.variation, 2), found.customers
    (0.12, 2)
    """
    g = np.asarray(gaps, float)
    bad = np.flatnonzero(~((g > 0) & np.isfinite(g)))
    if bad.size:
        raise MethodError(
            f"gaps: {bad.size} of {g.size} are not above 0, the first is {g[bad[0]]} at {bad[0]}; "
            "count visits of one day once."
        )
    who = np.unique(np.asarray(customer), return_inverse=True)[1]
    number, total, logs = (np.bincount(who, w) for w in (np.ones(g.size), g, np.log(g)))
    used = number > 1
    k, parts = number[used], logs[used] - number[used] * np.log(total[used])
    if not k.size:
        return Regularity(*(float("nan"),) * 4, 0, 0)

    def slope(y: float) -> float:
        shape = np.exp(y)
        return float((k * (special.psi(k * shape) - special.psi(shape)) + parts).sum())

    most = float(np.log(MOST))
    shape = float(np.exp(most if slope(most) >= 0 else optimize.brentq(slope, -most, most)))
    bend = special.polygamma(1, shape) - k * special.polygamma(1, k * shape)
    error = 1 / (shape * np.sqrt(float((k * bend).sum())))
    spread = float(np.exp(special.ndtri(0.5 + confidence / 2) * error / 2))
    middle = float(shape**-0.5)
    return Regularity(shape, middle, middle / spread, middle * spread, int(k.size), int(k.sum()))


def gate(fit: Fit, regular: Regularity, *, least_variation: float) -> Gate:
    """Say whether a model of visits may be used, or the interval ratio instead.

    Parameters
    ----------
    fit : Fit
        BG/NBD or Pareto/NBD.
    regular : Regularity
        Of the same customers.
    least_variation : float
        Variation of gaps below which visits count as regular.

    Returns
    -------
    Gate

    Examples
    --------
    >>> clock = Regularity(16.0, 0.25, 0.2, 0.3, 90, 300)
    >>> gate(Fit(np.ones(4), np.ones(4), 0.0, 99, 90, ()), clock, least_variation=0.5)
    Gate(accepted=False, method='interval_ratio', reasons=('regular_visits',))
    """
    clock = ("regular_visits",) * (regular.variation < least_variation)
    blind = ("regularity_unknown",) * (regular.customers < FEWEST)
    reasons = clock + blind + fit.reasons
    return Gate(not reasons, "interval_ratio" if reasons else "model", reasons)


def lifetime_value(
    margin: ArrayLike, survival: ArrayLike, discount: float, *, timing: str = "end"
) -> Array:
    """Value today of the margins to come.

    Parameters
    ----------
    margin, survival : array_like, shape (..., periods)
        Margin of each period of a customer who is still there, and the share still there; ones
        when the margins are already those expected.
    discount : float
        Per period, above -1.
    timing : {"end", "mid"}
        When in a period the money comes.

    Returns
    -------
    ndarray, shape (...)
        Values, in the unit of the margins.

    Raises
    ------
    MethodError
        Unknown timing, or a discount of -1 or less.

    Notes
    -----
    Σ m_t s_t/(1+d)^t, t = 1, 2, …; mid: the exponent is t - ½.

    Source: Gupta and Lehmann (2003), J. Interactive Marketing 17, 9; reference case segment/23.

    Examples
    --------
    >>> float(lifetime_value([110, 121], [1.0, 0.5], 0.1).round(9))
    150.0
    """
    if timing not in TIMINGS:
        raise MethodError(unknown("timing", timing, TIMINGS))
    if not discount > -1:
        raise MethodError(f"discount: {discount}; it must be above -1, such as 0.1 for 10 %.")
    money = np.asarray(margin, float) * np.asarray(survival, float)
    t = np.arange(1, money.shape[-1] + 1) - TIMINGS[timing]
    return np.asarray((money * (1 + discount) ** -t).sum(-1))


def lasting_value(margin: ArrayLike, retention: ArrayLike, discount: float) -> Array:
    """Value today of a margin that lasts as long as the customer, at constant retention.

    Parameters
    ----------
    margin, retention, discount : array_like, array_like, float
        Per period; retention is the share kept to the next one.

    Returns
    -------
    ndarray
        Values of the periods to come; a margin of today is added to them as it is. Margin 1 gives
        the margin multiple.

    Raises
    ------
    MethodError
        Retention outside 0-1, or nothing lost and nothing discounted.

    Notes
    -----
    margin × r/(1+d-r); with today's margin it is margin × (1+d)/(1+d-r).

    Source: Gupta and Lehmann (2003), J. Interactive Marketing 17, 9; reference case segment/23.

    Examples
    --------
    >>> float(lasting_value(100, 0.5, 0.0))
    100.0
    """
    r = np.asarray(retention, float)
    if not ((r >= 0) & (r <= 1) & (discount - r > -1)).all():
        raise MethodError(
            f"retention {r.min()} to {r.max()}, discount {discount}: retention is a share, and "
            "below 1 + discount, or the value has no end."
        )
    return np.asarray(np.asarray(margin, float) * r / (1 + discount - r))


def period_rate(yearly: float, periods: int) -> float:
    """Discount of a period that makes up the yearly one.

    Parameters
    ----------
    yearly, periods : float, int
        Yearly rate above -1, and periods of a year.

    Returns
    -------
    float
        (1 + yearly)^(1/periods) - 1, which is less than the yearly rate divided.

    Raises
    ------
    MethodError
        A rate of -1 or less.

    Examples
    --------
    >>> round(period_rate(0.21, 2), 12)
    0.1
    """
    if not yearly > -1:
        raise MethodError(f"yearly rate: {yearly}; it must be above -1, such as 0.1 for 10 %.")
    return float(np.expm1(np.log1p(yearly) / periods))
