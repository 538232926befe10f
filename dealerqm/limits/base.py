"""What all control charts share: the one shape of their answer, and the refusal of bad input.

Everything is a matrix ``(periods, charts)``; one chart is one column, NaN is a missing point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError, unknown

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Names = tuple[Sequence[object], Sequence[object]]
ROUNDING = 1e-12  # a spread below this share of the centre is rounding, not variation


class Limits(NamedTuple):
    """What every chart returns.

    Attributes
    ----------
    value, centre, lower, upper : ndarray, shape (periods, charts)
        Points and limits; NaN where a chart has no usable baseline or a point has no data.
    sigma_z : ndarray, shape (charts,)
        Spread of the standardised points (p′, u′), σ of the values (XmR, Xbar, I′), else 1.
    sd : ndarray, shape (periods, charts)
        Standard error of each point; 0 where the baseline does not vary.
    extra : mapping of str to ndarray
        What a chart has besides.
    """

    value: Array
    centre: Array
    lower: Array
    upper: Array
    sigma_z: Array
    sd: Array
    extra: Mapping[str, Array] = MappingProxyType({})

    @property
    def judged(self) -> Mask:
        """Points with data, limits and a spread; the others are shown but not judged."""
        result: Mask = np.isfinite(self.value) & (self.sd > 0)
        return result

    @property
    def z(self) -> Array:
        """Distance of each point from the centre in standard errors; NaN where not judged."""
        apart = self.value - self.centre
        empty = np.full(apart.shape, np.nan)
        result: Array = np.divide(apart, self.sd, out=empty, where=self.judged)
        return result

    @property
    def beyond(self) -> tuple[Mask, Mask]:
        """Judged points strictly above the upper, and strictly below the lower limit."""
        judged = self.judged
        return judged & (self.value > self.upper), judged & (self.value < self.lower)

    @property
    def status(self) -> NDArray[np.str_]:
        """Per chart ``ok``, ``no_points``, ``no_limits`` (too few points) or ``constant``."""
        shown = np.isfinite(self.value).any(axis=0)
        limited = np.isfinite(self.sd).any(axis=0)
        varies = (self.sd > 0).any(axis=0)
        return np.select([~shown, ~limited, ~varies], ["no_points", "no_limits", "constant"], "ok")


def given(x: ArrayLike, *, centre: ArrayLike, sd: ArrayLike, sigma: float = 3.0) -> Limits:
    """Draw limits from a known centre and standard error.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is no point.
    centre, sd : array_like
        Known parameters; they broadcast to x.
    sigma : float
        Width in standard errors.

    Returns
    -------
    Limits
        In the unit of x.

    Examples
    --------
    >>> given([9.5, 13.2], centre=10, sd=1).beyond[0][:, 0]
    array([False,  True])
    """
    value = checked("x", x)
    middle = np.broadcast_to(np.asarray(centre, float), value.shape).copy()
    return symmetric(
        value, middle, np.broadcast_to(np.asarray(sd, float), value.shape), sigma=sigma
    )


def symmetric(
    value: Array, centre: Array, sd: Array, *, sigma: float,
    sigma_z: ArrayLike = 1.0, bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Limits:  # fmt: skip
    """Draw limits of equal width on both sides of a centre.

    Parameters
    ----------
    value, centre, sd : ndarray, shape (periods, charts)
        Points, centre and standard error; a standard error that is rounding counts as 0.
    sigma : float
        Width in standard errors.
    sigma_z : array_like, shape (charts,)
        Handed on.
    bounds : tuple of two floats
        Ends of the scale, where the limits are cut.

    Returns
    -------
    Limits
        NaN limits where the centre or its standard error is not known; ``status`` says why.

    Examples
    --------
    >>> symmetric(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), sigma=3, bounds=(0, 9)).lower
    array([[0.]])
    """
    if not 0 < sigma < np.inf:
        raise MethodError(f"sigma: {sigma:g}; allowed: a width above 0, usually 3")
    sd = np.where(sd <= ROUNDING * np.abs(centre), 0.0, sd)
    lower = np.maximum(centre - sigma * sd, bounds[0])
    upper = np.minimum(centre + sigma * sd, bounds[1])
    spread = np.broadcast_to(np.asarray(sigma_z, float), value.shape[1:]).copy()
    return Limits(value, centre, lower, upper, spread, sd)


def matrix(x: ArrayLike) -> Array:
    """Return an array of shape (periods, charts); one series becomes one column.

    Parameters
    ----------
    x : array_like, shape (periods, charts) or (periods,)
        Values.

    Returns
    -------
    ndarray of float, shape (periods, charts)
        A view where it can be one.

    Examples
    --------
    >>> matrix([1, 2]).shape
    (2, 1)
    """
    array = np.asarray(x, float)
    return array[:, None] if array.ndim == 1 else array


def chosen(value: Array, baseline: ArrayLike | None) -> Mask:
    """Tell which points set the limits.

    Parameters
    ----------
    value : ndarray, shape (periods, charts)
        Points; missing ones never set limits.
    baseline : array_like of bool, shape (periods, charts) or (periods,), or None
        None means all.

    Returns
    -------
    ndarray of bool, shape (periods, charts)
        True where a point counts.
    """
    if baseline is None:
        return np.isfinite(value)
    wanted = np.asarray(baseline, bool)
    wanted = wanted[:, None] if wanted.ndim == 1 else wanted
    if wanted.shape[0] != value.shape[0] or wanted.shape[1] not in (1, value.shape[1]):
        raise MethodError(
            f"baseline: shape {wanted.shape}; allowed: {value.shape}, one entry per period (and "
            "chart); give one truth value for each point"
        )
    result: Mask = wanted & np.isfinite(value)
    return result


def total(x: Array, where: Mask) -> Array:
    """Add up each column in the order of the periods, so that no other chart can change its bits.

    Parameters
    ----------
    x : ndarray, shape (periods, charts)
        Values.
    where : ndarray of bool, same shape
        Which of them count.

    Returns
    -------
    ndarray, shape (charts,)
        0 where nothing counts.
    """
    if not len(x):
        return np.zeros(x.shape[1:])
    kept: Array = np.where(where, x, 0.0)
    result: Array = np.add.accumulate(kept, axis=0, out=kept)[-1].copy()
    return result


def mean(x: Array) -> Array:
    """Average each column over what is not missing.

    Parameters
    ----------
    x : ndarray, shape (periods, charts)
        NaN is missing.

    Returns
    -------
    ndarray, shape (charts,)
        NaN where nothing is left.
    """
    here = np.isfinite(x)
    return divide(total(x, here), here.sum(axis=0))


def median(x: Array) -> Array:
    """Take the middle of each column over what is not missing.

    Parameters
    ----------
    x : ndarray, shape (periods, charts)
        NaN is missing.

    Returns
    -------
    ndarray, shape (charts,)
        NaN where nothing is left.
    """
    ordered = np.sort(np.vstack([x, np.full((1, x.shape[1]), np.nan)]), axis=0)
    count = np.isfinite(x).sum(axis=0)
    ends = np.stack([np.maximum(count - 1, 0) // 2, count // 2])
    result: Array = np.take_along_axis(ordered, ends, axis=0).mean(axis=0)
    return result


def divide(top: ArrayLike, bottom: ArrayLike) -> Array:
    """Divide where the divisor is positive.

    Parameters
    ----------
    top, bottom : array_like
        They broadcast.

    Returns
    -------
    ndarray
        NaN where the divisor is 0, negative or missing.
    """
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    empty = np.full(np.broadcast(top, bottom).shape, np.nan)
    result: Array = np.divide(top, bottom, out=empty, where=bottom > 0)
    return result


# ---------------------------------------------------------------- refusals


def known(where: str, word: str, words: Iterable[str]) -> None:
    """Refuse a choice that is not on the list.

    Parameters
    ----------
    where : str
        Name of the parameter.
    word : str
        What was chosen.
    words : iterable of str
        What is allowed.
    """
    if word not in words:
        raise MethodError(unknown(where, word, words))


def refuse(what: str, x: Array, bad: Mask, allowed: str, *, names: Names | None = None) -> None:
    """Raise MethodError if any point is bad, naming the first one.

    Parameters
    ----------
    what : str
        The quantity.
    x : ndarray, shape (periods, charts)
        Its values.
    bad : ndarray of bool, same shape
        Points that cannot be.
    allowed : str
        What is allowed.
    names : pair of sequences, or None
        Names of the periods and of the charts; None means their numbers, from 0.
    """
    if not bad.any():
        return
    row, column = (int(place) for place in np.argwhere(bad)[0])
    period, chart = (row, column) if names is None else (names[0][row], names[1][column])
    raise MethodError(
        f"{what}: {x[row, column]:g} in period {period} of chart {chart} "
        f"({int(bad.sum())} such points); allowed: {allowed}; correct the source or leave the "
        "point out as missing"
    )


def checked(what: str, x: ArrayLike, *, names: Names | None = None) -> Array:
    """Return values as a matrix, refusing infinite ones.

    Parameters
    ----------
    what : str
        The quantity, for the message.
    x : array_like, shape (periods, charts) or (periods,)
        Values; NaN is missing.
    names : pair of sequences, or None
        As for :func:`refuse`.

    Returns
    -------
    ndarray, shape (periods, charts)
        The values.

    Examples
    --------
    >>> checked("x", [1, np.inf])
    Traceback (most recent call last):
    dealerqm.errors.MethodError: x: inf in period 1 of chart 0 (1 such points); allowed: finite \
numbers or missing; correct the source or leave the point out as missing
    """
    value = matrix(x)
    ends = (way.reduce(value, axis=None, initial=0.0) for way in (np.fmin, np.fmax))
    if any(np.isinf(end) for end in ends):
        refuse(what, value, np.isinf(value), "finite numbers or missing", names=names)
    return value


def counted(
    k: ArrayLike, n: ArrayLike, *, share: bool, names: Names | None = None
) -> tuple[Array, Array]:
    """Return events and opportunities as matrices, refusing what cannot be counted.

    Parameters
    ----------
    k, n : array_like, shape (periods, charts) or (periods,)
        Events, and opportunities or exposure.
    share : bool
        An opportunity has at most one event.
    names : pair of sequences, or None
        As for :func:`refuse`.

    Returns
    -------
    tuple of two ndarrays, shape (periods, charts)
        Both NaN where one is missing or n is 0.

    Examples
    --------
    >>> counted([3, 0], [10, 0], share=True)[1][:, 0]
    array([10., nan])
    """
    k, n = checked("k", k, names=names), checked("n", n, names=names)
    if k.shape != n.shape:
        raise MethodError(f"k and n: shapes {k.shape} and {n.shape}; allowed: one shape for both")
    for what, x, things in (("k", k, "events"), ("n", n, "opportunities")):
        if np.fmin.reduce(x, axis=None, initial=0.0) < 0:
            refuse(what, x, x < 0, f"0 or more {things}", names=names)
    most = n * (1 + ROUNDING) if share else np.where(n > 0, np.inf, 0.0)
    refuse("k", k, (k > most) & np.isfinite(n), "no more events than n allows", names=names)
    here = np.isfinite(k) & (n > 0)
    return np.where(here, k, np.nan), np.where(here, n, np.nan)
