"""Kilometres a day from odometer readings that may run backwards or jump."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dealerqm.ownership.months import Days, Ints, shift_months

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
PASSES = 3  # one for every reading in a row that may be wrong


class Readings(NamedTuple):
    """Readings by vehicle and day.

    Attributes
    ----------
    car : ndarray of int
        Number of the vehicle, rising.
    day : ndarray of datetime64
        Rising within a vehicle.
    km : ndarray of float
        Odometer; NaN where it was not read.
    """

    car: Ints
    day: Days
    km: Array


class Limits(NamedTuple):
    """What a reading must keep to, and from how much a rate is made.

    Attributes
    ----------
    jump : float
        Kilometres a day above which a reading is wrong.
    months, days : int
        Readings of so many calendar months make the rate if they span so many days.
    """

    jump: float
    months: int
    days: int


class Usage(NamedTuple):
    """How a vehicle is used.

    Attributes
    ----------
    km_per_day : ndarray of float
        NaN where too few days are known.
    read_on : ndarray of datetime64[D]
        Day of the newest reading that can be right, NaT for none.
    km : ndarray of float
        That reading.
    backwards, jumps : ndarray of int
        Readings that contradict their neighbours, by how.
    good : ndarray of bool
        Of every reading: whether it can be right.
    """

    km_per_day: Array
    read_on: Days
    km: Array
    backwards: Ints
    jumps: Ints
    good: Bools


def odometer(
    readings: Readings, sold: Days, at: np.datetime64, *, limits: Limits
) -> Usage:  # fmt: skip
    """Estimate the kilometres a day of every vehicle.

    Parameters
    ----------
    readings : Readings
        Those after the day that is judged, and before the sale, are not used.
    sold : ndarray of datetime64[D], shape (vehicles,)
        Day of the sale, where the odometer stood at 0; NaT where it is not known.
    at : datetime64[D]
        The day that is judged.
    limits : Limits
        When a reading is wrong.

    Returns
    -------
    Usage
        One entry per vehicle.

    Notes
    -----
    Where a step between two readings runs backwards or jumps, the reading is set aside whose
    absence heals its neighbourhood; both if either would, and the one farther from the line
    between their neighbours where both have one. A step that neither heals (an exchanged
    odometer) is left out of the rate. The rate is the kilometres of the good steps over their
    days.

    Examples
    --------
    >>> days = np.array(["2025-01-01", "2025-04-11", "2025-07-20", "2025-10-28"], "M8[D]")
    >>> seen = Readings(np.zeros(4, int), days, np.array([1000.0, 5000.0, 50.0, 13000.0]))
    >>> none = np.array(["NaT"], "M8[D]")
    >>> used = odometer(seen, none, np.datetime64("2025-12-31"), limits=Limits(1500, 24, 60))
    >>> float(used.km_per_day[0]), float(used.km[0]), int(used.backwards[0])
    (40.0, 13000.0, 1)
    """
    chain = _chain(readings, sold, at)
    backwards, jumps = np.zeros(sold.size, np.int64), np.zeros(sold.size, np.int64)
    for _ in range(PASSES):
        bad = _bad(chain, limits.jump)
        drop = _culprits(chain, np.flatnonzero(bad), limits.jump)
        if not drop.size:
            break
        back = _backwards(chain, drop)
        np.add.at(backwards, chain.car[drop[back]], 1)
        np.add.at(jumps, chain.car[drop[~back]], 1)
        keep = np.ones(chain.car.size, bool)
        keep[drop] = False
        chain = _Chain(*(part[keep] for part in chain))
    bad = _bad(chain, limits.jump)
    back = chain.km[1:] < chain.km[:-1]
    np.add.at(backwards, chain.car[1:][bad & back], 1)
    np.add.at(jumps, chain.car[1:][bad & ~back], 1)
    rate = _rate(chain, ~bad, int(shift_months(np.array([at]), -limits.months)[0].astype(int)),
                 size=sold.size, least=limits.days)  # fmt: skip
    last = np.searchsorted(chain.car, np.arange(sold.size), "right") - 1
    there = (last >= 0) & (chain.car[last] == np.arange(sold.size)) & ~chain.anchor[last] if (
        chain.car.size
    ) else np.zeros(sold.size, bool)  # fmt: skip
    day, km = np.full(sold.size, np.datetime64("NaT", "D")), np.full(sold.size, np.nan)
    day[there], km[there] = chain.day[last[there]].astype("M8[D]"), chain.km[last[there]]
    good = np.zeros(np.size(readings.car), bool)
    good[chain.place[~chain.anchor]] = True
    return Usage(rate, day, km, backwards, jumps, good)


class _Chain(NamedTuple):
    """Readings with a 0 on the day of the sale: vehicle, day number, km, place (-1: that 0)."""

    car: Ints
    day: Ints
    km: Array
    place: Ints

    @property
    def anchor(self) -> Bools:
        return np.asarray(self.place < 0)


def _chain(readings: Readings, sold: Days, at: np.datetime64) -> _Chain:
    day = np.asarray(readings.day, "M8[D]")
    use = np.isfinite(readings.km) & (day <= at) & ~(day < sold[readings.car])
    car, day, km = (part[use] for part in (np.asarray(readings.car), day, np.asarray(readings.km)))
    new = np.flatnonzero(sold <= at)
    where = np.searchsorted(car, new)
    return _Chain(
        np.insert(car, where, new),
        np.insert(day, where, sold[new]).astype(np.int64),
        np.insert(km.astype(float), where, 0.0),
        np.insert(np.flatnonzero(use), where, -1),
    )


def _bad(chain: _Chain, jump: float) -> Bools:
    """Return which steps between neighbours run backwards or jump."""
    gain, days = np.diff(chain.km), np.diff(chain.day)
    same = chain.car[1:] == chain.car[:-1]
    return np.asarray(same & ((gain < 0) | (gain > jump * np.maximum(days, 1))))


def _fits(chain: _Chain, early: Ints, late: Ints, jump: float) -> tuple[Bools, Bools]:
    """Return whether two readings are of one vehicle, and whether the step is good."""
    inside = (early >= 0) & (late < chain.car.size)
    a, b = np.where(inside, early, 0), np.where(inside, late, 0)
    same = inside & (chain.car[a] == chain.car[b])
    gain, days = chain.km[b] - chain.km[a], chain.day[b] - chain.day[a]
    return same, same & (gain >= 0) & (gain <= jump * np.maximum(days, 1))


def _culprits(chain: _Chain, first: Ints, jump: float) -> Ints:
    """Return the readings to set aside: those whose absence heals the bad steps."""
    second = first + 1
    spike = np.intersect1d(first, second)
    spike = spike[_fits(chain, spike - 1, spike + 1, jump)[1]]
    alone = ~np.isin(first, spike) & ~np.isin(second, spike)
    first, second = first[alone], second[alone]
    has_before, without_first = _fits(chain, first - 1, second, jump)
    has_after, without_second = _fits(chain, first, second + 1, jump)
    a = (without_first | ~has_before) & ~chain.anchor[first]
    b = without_second | ~has_after
    both, inner = a & b, a & b & has_before & has_after
    far = _off_line(chain, first, inner) >= _off_line(chain, second, inner)
    return np.unique(np.concatenate([
        spike, first[(a & ~b) | (both & ~inner) | (inner & far)],
        second[(b & ~a) | (both & ~inner) | (inner & ~far)],
    ]))  # fmt: skip


def _off_line(chain: _Chain, place: Ints, inner: Bools) -> Array:
    """Return how far readings lie from the line between the neighbours of their pair."""
    early = np.where(inner, place - 1, 0)
    late = np.where(inner, np.minimum(place + 1, chain.car.size - 1), 0)
    days = np.maximum(chain.day[late] - chain.day[early], 1)
    part = (chain.day[place] - chain.day[early]) / days
    return np.asarray(
        np.abs(chain.km[place] - chain.km[early] - part * (chain.km[late] - chain.km[early]))
    )


def _backwards(chain: _Chain, place: Ints) -> Bools:
    """Return whether readings stand below the one before or above the one after."""
    before, after = np.maximum(place - 1, 0), np.minimum(place + 1, chain.car.size - 1)
    low = (chain.car[before] == chain.car[place]) & (chain.km[place] < chain.km[before])
    high = (chain.car[after] == chain.car[place]) & (chain.km[place] > chain.km[after])
    return np.asarray(low | high)


def _rate(chain: _Chain, good: Bools, since: int, *, size: int, least: int) -> Array:
    """Return kilometres over days of good steps: the recent ones if they span enough days."""
    good = good & (chain.car[1:] == chain.car[:-1])
    car, gain, days = chain.car[1:], np.diff(chain.km), np.diff(chain.day)
    out = np.full(size, np.nan)
    for use in (good, good & (chain.day[1:] > since)):
        span = np.bincount(car[use], weights=days[use], minlength=size)
        way = np.bincount(car[use], weights=gain[use], minlength=size)
        enough = span >= least
        out[enough] = way[enough] / span[enough]
    return out
