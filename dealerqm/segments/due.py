"""Services due by months or kilometres: what is due, overdue and given up, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.ownership.odometer import Limits, Readings, odometer
from dealerqm.ownership.services import LEFT, STATES, Terms, due, standing
from dealerqm.result import Result, Unit
from dealerqm.segments.file import DAY, Customers
from dealerqm.stats.intervals import wilson

Bools = NDArray[np.bool_]
NEVER = np.datetime64("NaT", "D")
NO_SALE, SALE_AFTER, UNKNOWN = REASONS = ("no_sale_date", "sale_after_service", "history_unknown")
_OTHER = "other"  # the interval of an energy that the plan does not name


@dataclass(frozen=True)
class Serviced:
    """The next service of every vehicle.

    Attributes
    ----------
    customers : Customers
        The file.
    cars : DataFrame
        One row per vehicle that can be judged: ``vehicle_id, customer_id, region, store_id, model,
        energy, km_per_day, state, reason, due_on, since, next_on``.
    came : tuple of (int, int)
        Vehicles whose service fell due in the period, and how many of them had it in the period.
    left_out : mapping of str to int
        Reason to number of vehicles.
    """

    customers: Customers
    cars: pd.DataFrame
    came: tuple[int, int]
    left_out: Mapping[str, int]

    @property
    def due_list(self) -> pd.DataFrame:
        """Vehicles whose service falls due by the end of the next period, the late ones first."""
        ahead = pd.Timestamp(self.customers.ahead)
        waits = self.cars["state"].isin(["current", "due", "overdue"])
        found = self.cars[waits & (self.cars["due_on"] <= ahead)]
        return found.sort_values(["store_id", "due_on", "vehicle_id"]).reset_index(drop=True)


def contradictory(customers: Customers) -> Bools:
    """Return which vehicles were serviced long before their date of sale.

    Parameters
    ----------
    customers : Customers
        The file.

    Returns
    -------
    ndarray of bool
        One entry per vehicle; orders of the plan's days before a sale prepare the delivery.
    """
    days = np.timedelta64(customers.plan.settings["service_due"]["pre_delivery_days"], "D")
    cars = customers.cars
    return np.asarray(cars["first_visit"].to_numpy(DAY) < cars["sold_on"].to_numpy(DAY) - days)


def serviced(customers: Customers) -> Serviced:
    """Tell for every vehicle when its next service is due and what became of it.

    Parameters
    ----------
    customers : Customers
        The file.

    Returns
    -------
    Serviced
        For ``service_due`` and ``due_list``.

    Notes
    -----
    The interval runs from the newest service that resets it, else from the sale. A date of sale
    after the first service is not used. A vehicle sold before the records of orders begin, without
    a service since, is judged by the latest day on which its service can be due; while that day
    lies ahead nothing is known. Vehicles without any of these dates are left out by reason.
    """
    cars = customers.cars
    now, why = _judged(customers, customers.at)
    then, _ = _judged(customers, customers.before)
    here = cars["left_on"].isna().to_numpy()
    end, start = np.datetime64(customers.at, "D"), np.datetime64(customers.before, "D")
    fell = np.flatnonzero((then["due_on"] > start) & (then["due_on"] <= end) & here)
    visits = customers.visits[customers.visits["resets"]]
    came = np.unique(visits.loc[visits["day"] > pd.Timestamp(customers.before), "car"])
    table = cars[["vehicle_id", "region", "store_id", "model", "energy", "km_per_day"]].assign(
        **now
    )
    table.insert(1, "customer_id", customers.people["customer_id"].to_numpy()[cars["who"]])
    left = pd.Series(why).value_counts()
    return Serviced(
        customers, table[why == ""].reset_index(drop=True),
        (fell.size, int(np.isin(fell, came).sum())),
        MappingProxyType({name: int(left.get(name, 0)) for name in REASONS}),
    )  # fmt: skip


def _judged(file: Customers, day: date) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.str_]]:
    """Judge all vehicles on a day; the second part says why a vehicle is left out, or nothing."""
    made, cars, at = file.plan.settings["service_due"], file.cars, np.datetime64(day, "D")
    wrong = contradictory(file)
    sold = np.where(wrong, NEVER, cars["sold_on"].to_numpy(DAY))
    sold = np.where(sold <= at, sold, NEVER)
    visits = file.visits[file.visits["day"].to_numpy(DAY) <= at]
    visits = visits[~(visits["day"].to_numpy(DAY) < sold[visits["car"]])]
    readings = Readings(*(visits[name].to_numpy() for name in ("car", "day", "km")))
    used = odometer(
        readings, sold, at,
        limits=Limits(made["jump_km_per_day"], made["rate_months"], made["rate_days"]),
    )  # fmt: skip
    visits = visits.assign(km=visits["km"].where(used.good))
    service = visits[visits["resets"]].drop_duplicates("car", keep="last").set_index("car")
    service = service.reindex(cars.index)
    begins = np.datetime64(file.begins.get("service_orders", day), "D")
    base = np.fmax(service["day"].to_numpy(DAY), sold)
    first = service["day"].isna().to_numpy()
    old = first & (sold < begins)
    base = np.where(old, begins, base)
    km = np.where(first, np.where(old, np.nan, 0.0), service["km"].to_numpy(float))
    plans = [made["intervals"].get(e, made["intervals"][_OTHER]) for e in cars["energy"].fillna("")]
    months, way = (np.array([each[name] for each in plans], np.int64) for name in ("months", "km"))
    found = due(base, km, used, months=months, km=way)
    last = visits.groupby("car")["day"].max().reindex(cars.index).to_numpy(DAY)
    terms = Terms(*(made[n] for n in ("soon_days", "grace_days", "defected_months", "lost_months")))
    stands = standing(found.day, last, cars["left_on"].to_numpy(DAY), at, terms=terms)
    reason = np.select(
        [stands.state == LEFT, np.isnat(last) & old, found.by_km],
        [cars["left_reason"].fillna("unknown").to_numpy(object), "unseen", "km"], "months",
    )  # fmt: skip
    lacks = np.select([np.isnat(base) & wrong, np.isnat(base)], [SALE_AFTER, NO_SALE], "")
    lacks = np.where((lacks == "") & old & (found.day > at), UNKNOWN, lacks)
    words = np.array([*STATES, ""], object)
    return {
        "state": words[stands.state], "reason": reason, "due_on": found.day.astype("M8[s]"),
        "since": stands.since.astype("M8[s]"), "next_on": stands.next_on.astype("M8[s]"),
    }, np.where(stands.state == LEFT, "", lacks)  # fmt: skip


# ---------------------------------------------------------------- results


@dataclass(frozen=True, kw_only=True)
class ServiceDue(Result):
    """Vehicles by the state of their next service, by unit."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "state": Unit("word:due_state", "segment.state"),
            "n": Unit("count", "segment.vehicles"),
            "value": Unit("share", "segment.share"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "by_km": Unit("count", "segment.by_km"),
        }
    )


def service_due(found: Serviced, *, by: str = "group") -> ServiceDue:
    """Count vehicles by the state of their next service.

    Parameters
    ----------
    found : Serviced
        Vehicles judged.
    by : str
        ``group``, ``region`` or ``store``.

    Returns
    -------
    ServiceDue
        Shares of the vehicles that have not left, with Wilson intervals; counts below k are hidden.
        The note counts what is left out, by reason, and faults of the odometers.
    """
    file, rows = found.customers, []
    for unit, part in file.units(found.cars, by):
        number = part["state"].value_counts()
        by_km = part[part["reason"] == "km"]["state"].value_counts()
        total = int((part["state"] != STATES[LEFT]).sum())
        for state in STATES:
            n, of = int(number.get(state, 0)), total if state != STATES[LEFT] else 0
            rows.append([unit, state, n, of, int(by_km.get(state, 0))])
    table = pd.DataFrame(rows, columns=["unit", "state", "n", "of", "by_km"])
    ends = wilson(table["n"].where(table["of"] > 0), table["of"], confidence=file.confidence)
    table = table.assign(**dict(zip(("value", "low", "high"), ends, strict=True)))
    few = table["n"] < file.k
    table.loc[few, ["n", "value", "low", "high", "by_km"]] = np.nan
    table["by_km"] = table["by_km"].where(table["by_km"] >= file.k)
    note = {"at": file.at, "left_out": dict(found.left_out), "suppressed_below": file.k,
            "sale_date_set_aside": int(contradictory(file).sum()), **file.note}  # fmt: skip
    return ServiceDue(frame=table[list(ServiceDue.COLUMNS)], note=note)


@dataclass(frozen=True, kw_only=True)
class DueList(Result):
    """How many services fall due in the next period, and how many are expected to be done."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "n": Unit("count", "segment.falls_due"),
            "by_months": Unit("count", "segment.by_months"),
            "by_km": Unit("count", "segment.by_km"),
            "carried": Unit("count", "segment.carried"),
            "value": Unit("count", "segment.expected"),
            "low": Unit("count", "column.low"),
            "high": Unit("count", "column.high"),
        }
    )


def due_list(found: Serviced, *, by: str = "store") -> DueList:
    """Count the services that fall due in the next period.

    Parameters
    ----------
    found, by : Serviced, str
        As for ``service_due``; the vehicles themselves stand in ``found.due_list``.

    Returns
    -------
    DueList
        ``carried`` are due or overdue already. ``value`` is what falls due times the share of last
        period's due vehicles of the group that had the service in the period in which it fell due;
        its interval is that of the share.

    Notes
    -----
    Last period's due days are worked out from what was known at its beginning.
    """
    file, rows = found.customers, []
    start, end = pd.Timestamp(file.at), pd.Timestamp(file.ahead)
    for unit, part in file.units(found.cars, by):
        falls = part[(part["state"] != STATES[LEFT]) & part["due_on"].gt(start)]
        falls = falls[falls["due_on"] <= end]
        by_km = int((falls["reason"] == "km").sum())
        late = part["state"].isin(["due", "overdue"]) & (part["due_on"] <= start)
        rows.append([unit, len(falls), len(falls) - by_km, by_km, int(late.sum())])
    table = pd.DataFrame(rows, columns=list(DueList.COLUMNS)[:5])
    share = wilson(found.came[1], found.came[0], confidence=file.confidence)
    for name, end_ in zip(("value", "low", "high"), share, strict=True):
        table[name] = table["n"] * float(end_)
    few = table["n"] < file.k
    table.loc[few, list(DueList.COLUMNS)[1:]] = np.nan
    note = {"from": file.at, "to": file.ahead, "fell_due": found.came[0], "came": found.came[1],
            "left_out": dict(found.left_out), "suppressed_below": file.k}  # fmt: skip
    return DueList(frame=table, note=note)
