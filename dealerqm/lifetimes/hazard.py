"""Cox regression with Efron's and Breslow's ties, concordance, and whether hazards stay in step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from dealerqm.errors import MethodError, unknown
from dealerqm.lifetimes.curves import Mean, checked, concordance
from dealerqm.lifetimes.incidence import Test, chi_square
from dealerqm.stats.intervals import Interval
from dealerqm.stats.survival import kaplan_meier

Array = NDArray[np.float64]
TIES = ("efron", "breslow")
STEPS, STEP = 40, 1e-8  # Newton steps at most; the size of one, in spreads, that ends them
EMPTY = 1e-9  # eigenvalue of the covariates' correlation at which one repeats the others
FIRM = 10.0  # events per covariate below which the check of proportionality cannot tell


class Watched(NamedTuple):
    """Rows that were watched, sorted by stratum and then from late to early.

    Attributes
    ----------
    times, events, counts, stratum : ndarray, shape (n,)
        As given to ``watched``; strata as numbers.
    covariates : ndarray, shape (n, p)
        Less their mean.
    """

    times: Array
    events: NDArray[np.bool_]
    counts: Array
    covariates: Array
    stratum: NDArray[np.intp]


class Cox(NamedTuple):
    """A fitted Cox regression.

    Attributes
    ----------
    coefficient, error, covariance : ndarray, shape (p,) and (p, p)
        Log hazard ratios, their standard errors and covariance.
    ratio : Interval
        Hazard ratios with Wald's interval, shape (p,).
    log_likelihood : ndarray, shape (2,)
        Without covariates, and at the estimate.
    likelihood_ratio, wald, score : Test
        All coefficients 0.
    concordance : Mean
        Share of pairs in which the higher risk came first, and its standard error.
    events, ties : float, str
        How many events, and how their ties were broken.
    verdict : {"converged", "runs_away"}
        Runs away: a covariate parts the events from the rest; only the likelihood ratio stands.
    """

    coefficient: Array
    error: Array
    covariance: Array
    ratio: Interval
    log_likelihood: Array
    likelihood_ratio: Test
    wald: Test
    score: Test
    concordance: Mean
    events: float
    ties: str
    verdict: str


class Proportional(NamedTuple):
    """Whether hazard ratios stay the same over time.

    Attributes
    ----------
    statistic, df, p_value, overall : ndarray, shape (terms,); Test
        Score test of a drift over the transformed time, per term and of all together.
    at, drift : ndarray, shape (cells,) and (cells, p)
        Transformed time and scaled residual (the coefficient at about that time), per event time.
    verdict : {"holds", "fails", "cannot tell"}
        Of the overall test; cannot tell with few events per covariate or no drift to test.
    """

    statistic: Array
    df: NDArray[np.intp]
    p_value: Array
    overall: Test
    at: Array
    drift: Array
    verdict: str


class _Sums(NamedTuple):  # at the event times, given coefficients
    log_likelihood: float
    residual: Array  # (cells, p): covariates of the events less those expected
    information: Array  # (cells, p, p)


def watched(
    times: ArrayLike,
    events: ArrayLike,
    covariates: ArrayLike,
    *,
    counts: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> Watched:
    """Prepare rows for a Cox regression.

    Parameters
    ----------
    times, events : array_like, shape (n,)
        End of watching, and whether it was the event.
    covariates : array_like, shape (n, p)
        Numbers; a factor as columns of 0 and 1 without its first level.
    counts : array_like, shape (n,), or None
        How many rows are like this; None is one each.
    strata : array_like, shape (n,), or None
        Baselines of their own.

    Returns
    -------
    Watched

    Raises
    ------
    MethodError
        Missing or negative values, no event, or a covariate that repeats the others.

    Examples
    --------
    >>> watched([1, 2], [1, 0], [[0.0], [1.0]]).times.tolist()
    [2.0, 1.0]
    """
    t, n = checked(times, counts)
    happened = np.asarray(events, bool)
    x = np.asarray(covariates, float).reshape(t.size, -1)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size or not x.shape[1]:
        raise MethodError(
            f"covariates: {x.shape[1]} columns, {bad.size} of {t.size} rows with a missing value, "
            f"first rows {bad[:3].tolist()}; give one column or more, and leave these rows out."
        )
    if not (n * happened).sum() > 0:
        raise MethodError(f"events: none among {t.size} rows; a hazard needs at least one.")
    x = x - np.average(x, axis=0, weights=n)
    _full(x, n)
    layer = np.zeros(t.size, np.intp)
    if strata is not None:
        layer = np.unique(np.asarray(strata), return_inverse=True)[1]
    order = np.lexsort((-t, layer))
    return Watched(t[order], happened[order], n[order], x[order], layer[order])


def _full(x: Array, n: Array) -> None:
    spread = np.sqrt((n[:, None] * x**2).sum(0))
    scaled = np.sqrt(n)[:, None] * x / np.where(spread > EMPTY, spread, np.inf)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    if values[0] < EMPTY:
        named = np.flatnonzero(np.abs(vectors[:, 0]) > 0.1)  # noqa: PLR2004
        raise MethodError(
            f"covariates: columns {named.tolist()} are constant or repeat each other; leave one "
            "of them out."
        )


def cox(data: Watched, *, ties: str = "efron", confidence: float = 0.95) -> Cox:
    """Fit a proportional-hazards regression.

    Parameters
    ----------
    data : Watched
    ties : {"efron", "breslow"}
        How events at one time are ordered.
    confidence : float
        Two-sided level of the ratios.

    Returns
    -------
    Cox

    Raises
    ------
    MethodError
        Unknown ties, or Efron's ties with counts that are not whole numbers.

    Notes
    -----
    Newton with halved steps on the partial likelihood. Counts stand for so many rows: they tie.

    Source: Cox (1972), JRSS B 34, 187; Efron (1977), JASP 72, 557; R survival 3.5 ``coxph``.

    Examples
    --------
    >>> fit = cox(watched([1, 2, 3, 4], [1, 1, 1, 1], [0, 1, 0, 1]), ties="breslow")
    >>> fit.coefficient.round(4).tolist(), fit.concordance.estimate.round(4).tolist()
    ([-0.9406], 0.6667)
    """
    if ties not in TIES:
        raise MethodError(unknown("ties", ties, TIES))
    if ties == "efron" and (data.counts % 1 != 0).any():
        raise MethodError("counts: Efron's ties need whole numbers; use ties = 'breslow'.")
    p = data.covariates.shape[1]
    start = _sums(data, np.zeros(p), ties)
    beta, now, verdict = _newton(data, start, ties)
    covariance = _inverse(now.information.sum(0))
    gain = 2 * (now.log_likelihood - start.log_likelihood)
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    z = float(special.ndtri(0.5 + confidence / 2))
    with np.errstate(over="ignore"):
        ratio = Interval(*(np.exp(beta + k * error) for k in (0, -z, z)))
    risk = data.covariates @ beta
    return Cox(
        beta,
        error,
        covariance,
        ratio,
        np.array([start.log_likelihood, now.log_likelihood]),
        Test(gain, p, float(stats.chi2.sf(gain, p))),
        chi_square(beta, covariance),
        chi_square(start.residual.sum(0), start.information.sum(0)),
        concordance(data.times, data.events, risk, counts=data.counts, strata=data.stratum),
        float((data.counts * data.events).sum()),
        ties,
        verdict,
    )


def _inverse(information: Array) -> Array:
    scale = np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    both = np.outer(scale, scale)
    return np.asarray(np.linalg.pinv(information / both, hermitian=True) / both)


def _newton(data: Watched, start: _Sums, ties: str) -> tuple[Array, _Sums, str]:
    beta, now = np.zeros(data.covariates.shape[1]), start
    spread = np.sqrt(np.average(data.covariates**2, axis=0, weights=data.counts))
    least = EMPTY * np.diag(start.information.sum(0))
    for _ in range(STEPS):
        information = now.information.sum(0)
        if (np.diag(information) < least).any():
            break  # so far out that the likelihood is flat
        step = _inverse(information) @ now.residual.sum(0)
        size = float(np.abs(step * spread).max())
        if size <= STEP:
            return beta + step, _sums(data, beta + step, ties), "converged"
        step /= max(1.0, size)
        after = _sums(data, beta + step, ties)
        while not after.log_likelihood >= now.log_likelihood and np.abs(step * spread).max() > STEP:
            step = step / 2
            after = _sums(data, beta + step, ties)
        beta, now = beta + step, after
    return beta, now, "runs_away"


def _opens(data: Watched) -> NDArray[np.bool_]:
    return np.append(True, (np.diff(data.times) != 0) | (np.diff(data.stratum) != 0))


def _sums(data: Watched, beta: Array, ties: str) -> _Sums:
    first = np.flatnonzero(_opens(data))
    x, p = data.covariates, data.covariates.shape[1]
    eta = x @ beta
    shift = float(eta.max(initial=0.0))
    w, events = data.counts * np.exp(eta - shift), data.counts * data.events
    columns = [np.ones(len(x)), *x.T, *(x[:, i] * x[:, j] for i in range(p) for j in range(p))]
    risk = np.stack([np.add.reduceat(w * c, first) for c in columns], axis=1)
    dead = np.stack([np.add.reduceat(w * data.events * c, first) for c in columns], axis=1)
    risk = np.cumsum(risk, axis=0)
    opens = np.append(0, np.flatnonzero(np.diff(data.stratum[first])) + 1)
    base = np.vstack([np.zeros(risk.shape[1]), risk])[opens]
    risk -= base[np.searchsorted(opens, np.arange(first.size), side="right") - 1]
    d = np.add.reduceat(events, first)
    hit = d > 0
    cell, f, many, ends = _orders(d[hit], ties)
    rest = risk[hit][cell] - f[:, None] * dead[hit][cell]
    means = rest / rest[:, :1]
    mean = means[:, 1 : p + 1]
    spread = means[:, p + 1 :].reshape(-1, p, p) - mean[:, :, None] * mean[:, None, :]
    seen = np.stack([np.add.reduceat(events * c, first)[hit] for c in x.T], axis=1)
    likelihood = float((events * (eta - shift)).sum() - many @ np.log(rest[:, 0]))
    return _Sums(
        likelihood,
        seen - np.add.reduceat(many[:, None] * mean, ends),
        np.add.reduceat(many[:, None, None] * spread, ends),
    )


def _orders(d: Array, ties: str) -> tuple[NDArray[np.intp], Array, Array, NDArray[np.intp]]:
    """Give per event its time, the share of its ties gone, its count; per time its first event."""
    if ties == "breslow":
        return np.arange(d.size), np.zeros(d.size), d, np.arange(d.size)
    many = np.rint(d).astype(np.intp)
    cell, ends = np.repeat(np.arange(d.size), many), np.cumsum(many) - many
    return cell, (np.arange(cell.size) - ends[cell]) / d[cell], np.ones(cell.size), ends


def _km(data: Watched, times: Array) -> Array:
    curve = kaplan_meier(data.times, data.events, data.counts)
    lost: Array = 1 - np.append(1.0, curve.survival)[np.searchsorted(curve.times, times)]
    return lost


def _rank(data: Watched, times: Array) -> Array:
    grid, place = np.unique(data.times, return_inverse=True)
    many = np.bincount(place, data.counts)
    return np.asarray((np.cumsum(many) - (many - 1) / 2)[np.searchsorted(grid, times)])


TRANSFORMS: dict[str, Callable[[Watched, Array], Array]] = {
    "km": _km,
    "rank": _rank,
    "identity": lambda data, times: times,
    "log": lambda data, times: np.log(np.maximum(times, np.finfo(float).tiny)),
}


def proportionality(
    data: Watched,
    fit: Cox,
    *,
    transform: str = "km",
    terms: Sequence[int] | None = None,
    level: float = 0.05,
) -> Proportional:
    """Test whether hazard ratios drift over time.

    Parameters
    ----------
    data, fit
        The rows, and ``cox`` of them.
    transform : {"km", "rank", "identity", "log"}
        Time on which a drift is straight; km is the share lost before it.
    terms : sequence of int, shape (p,), or None
        Which term each column belongs to, from 0 up; None is one each.
    level : float
        Overall p-value below which the verdict is that they do drift.

    Returns
    -------
    Proportional

    Raises
    ------
    MethodError
        Unknown transform.

    Notes
    -----
    Score test of θ = 0 in β + θ (g(t) - mean), with the information of β and θ together. Scaled
    residual: that of the event time times (events × covariance), per event, plus β.

    Source: Grambsch and Therneau (1994), Biometrika 81, 515; R survival 3.5 ``cox.zph``.

    Examples
    --------
    >>> rows = watched([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 0])
    >>> proportionality(rows, cox(rows), transform="identity").verdict
    'cannot tell'
    """
    if transform not in TRANSFORMS:
        raise MethodError(unknown("transform", transform, TRANSFORMS))
    now = _sums(data, fit.coefficient, fit.ties)
    first = np.flatnonzero(_opens(data))
    d = np.add.reduceat(data.counts * data.events, first)
    g = TRANSFORMS[transform](data, data.times[first[d > 0]])
    d = d[d > 0]
    centred = g - np.average(g, weights=d)
    p = fit.coefficient.size
    score = np.concatenate([np.zeros(p), centred @ now.residual])
    blocks = [np.tensordot(centred**k, now.information, axes=1) for k in (0, 1, 2)]
    information = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    term = np.arange(p) if terms is None else np.asarray(terms, np.intp)
    tests = [_drift(score, information, term == k) for k in range(term.max(initial=-1) + 1)]
    overall = _drift(score, information, term >= 0)
    firm = fit.events >= FIRM * p and fit.verdict == "converged" and np.isfinite(overall.p_value)
    verdict = "fails" if overall.p_value < level else "holds"
    return Proportional(
        np.array([t.statistic for t in tests]),
        np.array([t.df for t in tests], np.intp),
        np.array([t.p_value for t in tests]),
        overall,
        g,
        now.residual @ fit.covariance * fit.events / d[:, None] + fit.coefficient,
        verdict if firm else "cannot tell",
    )


def _drift(score: Array, information: Array, chosen: NDArray[np.bool_]) -> Test:
    df = int(chosen.sum())
    keep = np.flatnonzero(np.append(np.ones(chosen.size, bool), chosen))
    value = chi_square(score[keep], information[np.ix_(keep, keep)]).statistic
    return Test(value, df, float(stats.chi2.sf(value, df)))
