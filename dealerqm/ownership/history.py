"""What is known of customers on a day: numbers and newest days of events, vehicles held, money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dealerqm.ownership.months import Days, Ints, months_over

LEAD, SALE, SERVICE, TRADE_IN, MONEY = KINDS = ("lead", "sale", "service", "trade_in", "money")


class Events(NamedTuple):
    """What happened, one entry per event.

    Attributes
    ----------
    who : ndarray of int
        Number of the customer.
    kind : ndarray of int
        Place in ``KINDS``: lead, sale (a delivery that stands), service, trade-in, other money.
    day : ndarray of datetime64[D]
        When.
    fen : ndarray of int
        Money that came with it; amounts below 0 count as 0.
    """

    who: Ints
    kind: Ints
    day: Days
    fen: Ints


class State(NamedTuple):
    """What is known of every customer on a day.

    Attributes
    ----------
    at : datetime64[D]
        The day.
    counts, last : dict of str to ndarray
        Kind of event to its number and its latest day, NaT for none.
    held : ndarray of int
        Vehicles held.
    money : (ndarray of int, ndarray of datetime64[D], ndarray of int)
        Customer, day and fen of every payment, by customer, newest first.
    """

    at: np.datetime64
    counts: Mapping[str, Ints]
    last: Mapping[str, Days]
    held: Ints
    money: tuple[Ints, Days, Ints]


def state(
    events: Events, size: int, at: np.datetime64, *, held: Ints | None = None
) -> State:  # fmt: skip
    """Gather what is known of every customer on a day.

    Parameters
    ----------
    events : Events
        Later ones are not used, nor those without a day.
    size : int
        Number of customers.
    at : datetime64[D]
        The day.
    held : ndarray of int, shape (size,), or None
        Vehicles held on that day, below 0 where not known; sales less trade-ins then.

    Returns
    -------
    State
        For ``decide``.

    Examples
    --------
    >>> seen = Events(np.array([0, 0]), np.array([1, 2]),
    ...               np.array(["2025-01-31", "2025-12-01"], "M8[D]"), np.array([0, 0]))
    >>> found = state(seen, 1, np.datetime64("2025-06-30"))
    >>> found.counts["sale"].tolist(), found.counts["service"].tolist(), found.held.tolist()
    ([1], [0], [1])
    """
    use = np.asarray(events.day <= at)
    who, kind, day, fen = (np.asarray(part)[use] for part in events)
    counts, last = {}, {}
    for number, name in enumerate(KINDS):
        mine = kind == number
        counts[name] = np.bincount(who[mine], minlength=size).astype(np.int64)
        newest = np.full(size, np.iinfo(np.int64).min)
        np.maximum.at(newest, who[mine], day[mine].astype("M8[D]").astype(np.int64))
        last[name] = newest.view("M8[D]")
    mine = fen > 0
    order = np.lexsort((-day[mine].astype(np.int64), who[mine]))
    money = (who[mine][order], day[mine][order].astype("M8[D]"), fen[mine][order])
    own = np.maximum(counts[SALE] - counts[TRADE_IN], 0)
    return State(at, counts, last, own if held is None else np.where(held < 0, own, held), money)


def money_over(known: State, fen: int, months: int) -> Days:
    """Return the first day on which the money of the last months is below a line.

    Parameters
    ----------
    known : State
        Customers on a day.
    fen : int
        The line.
    months : int
        Calendar months over which money is counted.

    Returns
    -------
    ndarray of datetime64[D]
        Long ago for customers who never reached the line.

    Notes
    -----
    The line is held as long as the newest payments that reach it together lie in the window.

    Examples
    --------
    >>> days = np.array(["2025-01-10", "2025-03-31"], "M8[D]")
    >>> paid = Events(np.zeros(2, int), np.full(2, 2), days, np.array([60, 50]))
    >>> known = state(paid, 1, np.datetime64("2025-06-30"))
    >>> [str(money_over(known, line, 6)[0]) for line in (50, 100, 200)]
    ['2025-10-01', '2025-07-11', '0001-01-01']
    """
    who, day, amount = known.money
    size = known.held.size
    total = np.cumsum(amount)
    first = np.searchsorted(who, np.arange(size))
    before = np.where(first > 0, total[np.maximum(first, 1) - 1] if total.size else 0, 0)
    reached = total - before[who] >= fen
    begins = np.r_[True, who[1:] != who[:-1]][: who.size]
    step = np.flatnonzero(reached & (begins | ~np.r_[False, reached[:-1]][: who.size]))
    ends = np.full(size, np.datetime64("0001-01-01", "D"))
    ends[who[step]] = months_over(day[step], months)
    return ends
