"""When the next service of a vehicle is due, what became of it, and which vehicles were kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dealerqm.ownership.months import Days, Ints, shift_months
from dealerqm.ownership.odometer import Usage

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
CURRENT, DUE, OVERDUE, DEFECTED, LOST, LEFT = range(6)
STATES = ("current", "due", "overdue", "defected", "lost", "left")
_FAR = 36_500  # days: beyond them kilometres never come first
_DAY = np.timedelta64(1, "D")


class Due(NamedTuple):
    """When a service is due.

    Attributes
    ----------
    day : ndarray of datetime64[D]
        The earlier of the two, NaT where neither is known.
    by_km : ndarray of bool
        Whether kilometres come first; on the same day months do.
    months_day, km_day : ndarray of datetime64[D]
        Due by months and by kilometres, NaT where not known.
    """

    day: Days
    by_km: Bools
    months_day: Days
    km_day: Days


def due(base: Days, base_km: Array, used: Usage, *, months: Ints, km: Ints) -> Due:
    """Return when the next service is due: after months or kilometres, whichever comes first.

    Parameters
    ----------
    base : ndarray of datetime64[D]
        Day from which the interval runs: the last service, else the sale.
    base_km : ndarray of float
        Odometer on that day; where it is NaN, the rate tells it from the newest reading.
    used : Usage
        Rate and newest reading.
    months, km : ndarray of int
        Interval of each vehicle.

    Returns
    -------
    Due
        One entry per vehicle.

    Notes
    -----
    By kilometres: the newest reading on or after the base, plus what is left of the interval over
    the rate, whole days rounded up; never before the base. Without a reading after the base the
    base itself serves.

    Examples
    --------
    >>> day = np.array(["2025-01-31"], "M8[D]")
    >>> none = np.zeros(1, int)
    >>> used = Usage(np.array([40.0]), day, np.array([5000.0]), none, none, none > 0)
    >>> found = due(day, np.array([5000.0]), used, months=np.array([12]), km=np.array([10000]))
    >>> str(found.day[0]), bool(found.by_km[0]), str(found.months_day[0])
    ('2025-10-08', True, '2026-01-31')
    """
    by_months = shift_months(base, months)
    rate = np.where(used.km_per_day > 0, used.km_per_day, np.nan)
    back = (used.read_on - base).astype(float)
    back[np.isnat(used.read_on) | np.isnat(base)] = np.nan
    begun = np.where(np.isnan(base_km), used.km - rate * back, base_km)
    later = back >= 0
    start = np.where(later, used.read_on, base)
    gone = np.where(later, used.km - begun, 0.0)
    with np.errstate(invalid="ignore"):
        wait = np.ceil((km - gone) / rate)
        known = np.isfinite(wait) & (np.abs(wait) < _FAR)
    days = np.where(known, wait, 0).astype("m8[D]")
    by_km = np.where(known, np.maximum(start + days, base), np.datetime64("NaT", "D"))
    day = np.fmin(by_months, by_km)
    return Due(day, np.asarray(by_km < by_months), by_months, by_km)


class Terms(NamedTuple):
    """When a service counts as due, overdue, defected and lost.

    Attributes
    ----------
    soon, grace : int
        Days before the due day from which it is due, and after it from which it is overdue.
    defected, lost : int
        Calendar months without any visit after the due day.
    """

    soon: int
    grace: int
    defected: int
    lost: int


class Standing(NamedTuple):
    """What became of the services of vehicles.

    Attributes
    ----------
    state : ndarray of int
        Place in ``STATES``, -1 where the due day is not known.
    since : ndarray of datetime64[D]
        First day of the state; NaT for ``current``.
    next_on : ndarray of datetime64[D]
        First day of the next state if nothing happens, NaT after the last.
    """

    state: Ints
    since: Days
    next_on: Days


def standing(
    due_day: Days, last_visit: Days, left: Days, at: np.datetime64, *, terms: Terms
) -> Standing:
    """Tell vehicles whose service is due, overdue, or given up.

    Parameters
    ----------
    due_day : ndarray of datetime64[D]
        When the service is due.
    last_visit : ndarray of datetime64[D]
        Newest visit of any kind, NaT for none.
    left : ndarray of datetime64[D]
        When the vehicle was sold on, traded in, exported or written off, NaT if it was not.
    at : datetime64[D]
        The day that is judged; a vehicle that leaves later has not left.
    terms : Terms
        Days and months.

    Returns
    -------
    Standing
        One entry per vehicle.

    Notes
    -----
    Months without a visit are counted from the later of the due day and the last visit: a vehicle
    that comes for repairs only is overdue and not defected.

    Examples
    --------
    >>> day = np.array(["2025-01-31"] * 2, "M8[D]")
    >>> never = np.array(["NaT", "2025-06-01"], "M8[D]")
    >>> found = standing(day, never, np.full(2, np.datetime64("NaT", "D")),
    ...                  np.datetime64("2025-09-30"), terms=Terms(30, 30, 6, 18))
    >>> [STATES[s] for s in found.state], [str(d) for d in found.since]
    (['defected', 'overdue'], ['2025-07-31', '2025-03-03'])
    """
    quiet = np.fmax(due_day, last_visit)
    starts = [
        due_day - terms.soon * _DAY,
        due_day + (terms.grace + 1) * _DAY,
        shift_months(quiet, terms.defected),
        shift_months(quiet, terms.lost),
    ]
    starts[2] = np.maximum(starts[2], starts[1])
    starts[3] = np.maximum(starts[3], starts[2])
    known = ~np.isnat(due_day)
    passed = sum(((start <= at) & known).astype(np.int64) for start in starts)
    state = np.where(known, passed, -1)
    ladder = np.array([np.full(due_day.size, np.datetime64("NaT", "D")), *starts,
                       np.full(due_day.size, np.datetime64("NaT", "D"))])  # fmt: skip
    each, place = np.arange(due_day.size), np.maximum(state, 0)
    since, coming = ladder[place, each], ladder[np.minimum(place + 1, LOST + 1), each]
    away = left <= at
    nothing = np.datetime64("NaT", "D")
    return Standing(
        np.where(away, LEFT, state), np.where(away, left, np.where(known, since, nothing)),
        np.where(away | ~known, nothing, coming),
    )  # fmt: skip


class Kept(NamedTuple):
    """Which vehicles could be kept up to an age, and which were.

    Attributes
    ----------
    eligible, kept : ndarray of bool
        Old enough and not left by then; with a service in the window.
    not_due, gone : ndarray of bool
        Not old enough yet; old enough but left by then.
    served : ndarray of bool
        With a service in the window, eligible or not.
    """

    eligible: Bools
    kept: Bools
    not_due: Bools
    gone: Bools
    served: Bools


def kept(
    sold: Days, left: Days, visits: tuple[Ints, Days], at: np.datetime64, *, months: int, over: int
) -> Kept:
    """Tell which vehicles had a service in a window of their age.

    Parameters
    ----------
    sold, left : ndarray of datetime64[D]
        Sale, and when the vehicle left, NaT for never.
    visits : (ndarray of int, ndarray of datetime64[D])
        Vehicle and day of every service.
    at : datetime64[D]
        The day that is judged; later visits are not used.
    months, over : int
        Age at the end of the window, and its length, in calendar months.

    Returns
    -------
    Kept
        One entry per vehicle; all false where the sale is not known.

    Notes
    -----
    The window begins after the sale plus ``months - over`` calendar months and ends with the sale
    plus ``months``, which must not lie after the day. A service on the day of the sale does not
    count.

    Source: reference case 25_retention_denominator.

    Examples
    --------
    >>> sold = np.array(["2024-02-29", "2024-02-29", "2025-05-05"], "M8[D]")
    >>> came = (np.array([0, 1]), np.array(["2025-02-28", "2025-03-01"], "M8[D]"))
    >>> found = kept(sold, np.full(3, np.datetime64("NaT", "D")), came, np.datetime64("2025-06-30"),
    ...              months=12, over=12)
    >>> found.eligible.tolist(), found.kept.tolist()
    ([True, True, False], [True, False, False])
    """
    begins, ends = shift_months(sold, months - over), shift_months(sold, months)
    car, day = visits
    inside = (day > begins[car]) & (day <= ends[car]) & (day <= at)
    served = np.bincount(car[inside], minlength=sold.size) > 0
    old, away = ends <= at, left <= ends
    eligible = old & ~away
    return Kept(eligible, eligible & served, ~old & ~np.isnat(sold), np.asarray(old & away), served)
