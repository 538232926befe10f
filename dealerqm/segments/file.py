"""The customer file: one row per customer and per vehicle, with what is missing from it.

A customer is a person, a household, a company or a fleet. The rows stay pseudonymous and never
leave the frames; only the completeness of the file is a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm import store
from dealerqm.errors import ParameterError, unknown
from dealerqm.facts import Facts
from dealerqm.ownership.odometer import Limits, Readings, odometer
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.result import Result, Unit
from dealerqm.segments.rows import READ, Rows, events, homes, rows
from dealerqm.stats.intervals import wilson

DAY = "M8[D]"
LEVELS = ("group", "region", "store")
BLOCKS = ("basics", "intention", "usage", "service", "feedback")
_BASICS = ("household_id", "kind", "region", "channel", "birth_year", "consent", "created_on")
_WANTS = ("model", "budget_band", "use", "finance", "purchase_kind")
_CONTACTS = ("complaints", "contacts")


@dataclass(frozen=True, kw_only=True)
class Customers:
    """The customers of the shown stores on the last day of a period.

    Attributes
    ----------
    plan, period : Plan, Period
        Rules; the reviewed period.
    at, before, ahead : date
        The day that is judged, the end of the period before, and the end of the next one.
    regions : mapping of str to str
        Store to region: the stores that tables show.
    people : DataFrame
        One row per customer: ``customer_id, party, region, store_id`` (where the customer was last
        seen), and the fields of the blocks; numbered from 0.
    cars : DataFrame
        One row per vehicle of these customers: ``vehicle_id, who`` (row of the customer),
        ``region, store_id, model, energy, sold_on, warranty_until, left_on, left_reason``,
        ``here`` (sold by these stores), ``first_visit, last_visit``, and of the odometer
        ``km_per_day, read_on, km, backwards, jumps`` as in ``Usage``.
    visits : DataFrame
        ``car`` (row of the vehicle), ``day, km, resets`` (the interval of services); by vehicle and
        day.
    events : DataFrame
        ``who, kind, day, fen``: leads, sales, services and trade-ins.
    begins : mapping of str to date
        Table to the first day of its records, for leads and service orders.
    note : mapping
        What was assumed and set aside.
    """

    plan: Plan
    period: Period
    at: date
    before: date
    ahead: date
    regions: Mapping[str, str]
    people: pd.DataFrame
    cars: pd.DataFrame
    visits: pd.DataFrame
    events: pd.DataFrame
    begins: Mapping[str, date]
    note: Mapping[str, Any]

    @property
    def confidence(self) -> float:
        """Level of all intervals."""
        return float(self.plan.settings["statistics"]["confidence"])

    @property
    def k(self) -> int:
        """Nothing is said about fewer people."""
        return int(self.plan.settings["publication"]["k"])

    def held(self, at: np.datetime64) -> NDArray[np.int64]:
        """Return the vehicles that every customer holds on a day, -1 where none was ever known."""
        cars, known = self.cars, self.people["created_on"].to_numpy(DAY)
        since = np.fmin(cars["sold_on"].to_numpy(DAY), cars["first_visit"].to_numpy(DAY))
        here = (since <= at) & ~(cars["left_on"].to_numpy(DAY) <= at)
        size, who = len(self.people), cars["who"].to_numpy(np.int64)
        number = np.bincount(who[here], minlength=size)
        number = np.where(known > at, 0, number)
        return np.where(np.bincount(who, minlength=size) > 0, number, -1).astype(np.int64)

    def units(self, rows: pd.DataFrame, by: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield each unit of a level with its rows of a frame that has ``region, store_id``."""
        if by not in LEVELS:
            raise ParameterError(unknown("by", by, LEVELS))
        if by == "group":
            yield "group", rows
        else:
            for unit, part in rows.groupby("region" if by == "region" else "store_id"):
                yield str(unit), part


def read(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]
) -> Customers:
    """Read the customer file of a period from a snapshot.

    Parameters
    ----------
    snapshot, plan, period : Snapshot, Plan, Period
        The data; rules; nothing after its last day is used.
    regions : mapping of str to str
        Store to region: customers last seen there are read.

    Returns
    -------
    Customers
        See ``load``.
    """
    facts = Facts(lambda table: store.relation(snapshot, table))
    return load(facts, plan, period, regions, as_of=snapshot.as_of, tables=snapshot.tables)


def load(
    facts: Facts, plan: Plan, period: Period, regions: Mapping[str, str],
    *, as_of: date, tables: Sequence[str] = tuple(READ),
) -> Customers:  # fmt: skip
    """Read the customer file of a period from any engine.

    Parameters
    ----------
    facts, plan, period, regions
        The questions; the others as for ``read``.
    as_of : date
        Last day of the data.
    tables : sequence of str
        Tables that can be asked; others are empty.

    Returns
    -------
    Customers
        Customers without any event belong to no store; they are read when all stores are shown.

    Raises
    ------
    ParameterError, MethodError
        If no customer is known by the end of the period; if time zones are mixed.

    """
    at = min(period.end, as_of)
    seen = rows(facts, plan, at, tables=tables)
    home = homes(seen)
    whole = set(home.dropna()) <= set(regions)
    home = home[home.isin(list(regions)) | (home.isna() & whole)]
    basics = _newest(seen["customers"], "created_on", _BASICS).reindex(home.index)
    people = pd.DataFrame({"customer_id": home.index, "region": home.map(dict(regions)).to_numpy(),
                           "store_id": home.to_numpy()}).join(
        basics.reset_index(drop=True).rename(columns={"region": "home_region"}), rsuffix="_"
    )  # fmt: skip
    cars, visits, faults = _cars(seen, people, plan, at)
    happened = events(seen, pd.Index(people["customer_id"]))
    sales = happened[happened["kind"] == "sale"]
    cars["here"] = _sold_here(cars, sales, plan.settings["service_due"]["match_days"])
    file = Customers(
        plan=plan, period=period, at=at, before=period.shift(-1).end, ahead=period.shift(1).end,
        regions=MappingProxyType(dict(regions)), people=people, cars=cars, visits=visits,
        events=happened, begins=MappingProxyType(seen.begins),
        note=MappingProxyType(faults),
    )  # fmt: skip
    return replace(file, people=_fields(file, seen))


def _newest(frame: pd.DataFrame, day: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the newest filled value of columns by customer."""
    ordered = frame.sort_values([day, *(c for c in columns if c != day)], kind="stable")
    return ordered.groupby("customer_id")[list(columns)].last()


def _cars(
    seen: Rows, people: pd.DataFrame, plan: Plan, at: date
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return the vehicles with their use, their visits, and what was wrong with readings."""
    made, ids = plan.settings["service_due"], pd.Index(people["customer_id"])
    cars = seen["vehicles"].assign(who=ids.get_indexer(seen["vehicles"]["customer_id"]))
    cars = cars[cars["who"] >= 0].sort_values("vehicle_id", kind="stable").reset_index(drop=True)
    orders = seen["service_orders"]
    orders = orders[orders["status"] != "cancelled"]
    car = pd.Index(cars["vehicle_id"]).get_indexer(orders["vehicle_id"])
    visits = pd.DataFrame({
        "car": car, "day": orders["opened_at_day"].to_numpy(DAY).astype("M8[s]"),
        "km": orders["odometer_km"].to_numpy(float, na_value=np.nan),
        "resets": orders["kind"].isin(made["resets"]).to_numpy(),
    })  # fmt: skip
    visits = visits[visits["car"] >= 0].sort_values(["car", "day", "km"], kind="stable")
    visits = visits.reset_index(drop=True)
    limits = Limits(made["jump_km_per_day"], made["rate_months"], made["rate_days"])
    read = Readings(*(visits[name].to_numpy() for name in ("car", "day", "km")))
    use = odometer(read, cars["sold_on"].to_numpy(DAY), np.datetime64(at, "D"), limits=limits)
    by_car = visits.groupby("car")["day"].agg(["min", "max"]).reindex(cars.index)
    own = people.loc[cars["who"], ["region", "store_id"]].reset_index(drop=True)
    cars = cars.assign(
        **own, first_visit=by_car["min"], last_visit=by_car["max"],
        **{name: part for name, part in use._asdict().items() if name != "good"},
    ).drop(columns="customer_id")  # fmt: skip
    faults = {"readings": int(np.isfinite(visits["km"]).sum()),
              "backwards": int(use.backwards.sum()), "jumps": int(use.jumps.sum())}  # fmt: skip
    return cars, visits, faults


def _sold_here(cars: pd.DataFrame, sales: pd.DataFrame, days: int) -> pd.Series:
    """Return whether a vehicle belongs to a sale of its customer, some days from its own date."""
    known = cars[cars["sold_on"].notna()].sort_values("sold_on", kind="stable")[["who", "sold_on"]]
    sold = sales[["who", "day"]].sort_values("day", kind="stable").assign(found=True)
    near = pd.merge_asof(
        known, sold, left_on="sold_on", right_on="day", by="who", direction="nearest",
        tolerance=pd.Timedelta(days=days),
    )  # fmt: skip
    here = pd.Series(near["found"].notna().to_numpy(), index=known.index)
    return here.reindex(cars.index, fill_value=False)


def _fields(file: Customers, seen: Rows) -> pd.DataFrame:
    """Lay out the fields of the other blocks beside the basics."""
    people, ids = file.people, file.people["customer_id"]
    number = {name: seen[name]["customer_id"].value_counts() for name in ("leads", *_CONTACTS)}
    answered = seen["contacts"][seen["contacts"]["answered_at"].notna()]["customer_id"]
    cars = file.cars.sort_values(["who", "sold_on"], kind="stable", na_position="first")
    owned = cars.groupby("who").agg(
        models=("model", "last"), energy=("energy", "last"), sold_on=("sold_on", "last"),
        warranty_until=("warranty_until", "last"), odometer_km=("km", "last"),
        km_per_day=("km_per_day", "mean"), vehicles=("km", "size"),
    )  # fmt: skip
    service = file.events[file.events["kind"] == "service"].groupby("who")
    served = service.agg(services=("day", "size"), last_service=("day", "max"),
                         spend_fen=("fen", "sum"))  # fmt: skip
    served["spend_fen"] = served["spend_fen"].where(served["spend_fen"] > 0)
    active = file.events[file.events["kind"].isin(["sale", "service"])]["who"]
    held = np.maximum(file.held(np.datetime64(file.at, "D")), 0)
    fleet = held >= file.plan.settings["customer_file"]["fleet_vehicles"]
    party = np.select(
        [(people["kind"] == "company") & fleet, ids.isin(seen.merged)], ["fleet", "household"],
        people["kind"].fillna("unknown"),
    )  # fmt: skip
    table = people.assign(party=party, held=held, active=people.index.isin(active))
    for block in (owned, served):
        table = table.join(block.reindex(people.index))
    for frame, day, columns in (("leads", "created_at_day", _WANTS), ("survey_responses",
                                "responded_at_day", ("overall", "recommend"))):  # fmt: skip
        newest = _newest(seen[frame], day, columns).reindex(ids).reset_index(drop=True)
        table = table.join(newest.rename(columns={"overall": "satisfaction"}))
    table = table.assign(**{name: ids.map(count) for name, count in number.items()})
    whole = ["vehicles", "services", *number]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    return table.assign(contacted=ids.map(answered.value_counts()))


# ---------------------------------------------------------------- completeness


@dataclass(frozen=True, kw_only=True)
class FileCompleteness(Result):
    """How complete the customer file is, by unit, block and field."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "block": Unit("word:file_block", "segment.block"),
            "field": Unit("word:file_field", "segment.field"),
            "n": Unit("count", "segment.asked"),
            "filled": Unit("count", "segment.filled"),
            "value": Unit("share", "segment.complete"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
        }
    )


def completeness(file: Customers, *, by: str = "group") -> FileCompleteness:
    """Audit the customer file: which share of customers has each block and field filled.

    Parameters
    ----------
    file : Customers
        The file.
    by : str
        ``group``, ``region`` or ``store``.

    Returns
    -------
    FileCompleteness
        A block as a whole counts as filled when all its fields are. Only customers who should have
        a block are counted: with a lead, a vehicle, a sale or service. A year of birth and a
        household are not asked of companies. Units with fewer than k customers are hidden.
    """
    people, made = file.people, file.plan.settings["customer_file"]
    everyone = pd.Series(data=True, index=people.index)
    owner = people["vehicles"] > 0
    asked = {"basics": everyone, "intention": people["leads"] > 0, "usage": owner,
             "service": owner, "feedback": people["active"]}  # fmt: skip
    firm = people["kind"] == "company"
    rows = []
    for unit, part in file.units(people, by):
        for block in BLOCKS:
            mine = part[asked[block].loc[part.index]]
            has = mine[made[block]].notna()
            waived = mine.index.isin(people.index[firm])
            for name in has.columns.intersection(["birth_year", "household_id"]):
                has[name] |= waived
            rows.append([unit, block, "all", len(mine), int(has.all(axis=1).sum())])
            for name in made[block]:
                of = ~waived if name in ("birth_year", "household_id") else waived | True
                rows.append([unit, block, name, int(of.sum()), int((has[name] & of).sum())])
    table = pd.DataFrame(rows, columns=["unit", "block", "field", "n", "filled"])
    ends = wilson(table["filled"], table["n"], confidence=file.confidence)
    table = table.assign(**dict(zip(("value", "low", "high"), ends, strict=True)))
    table.loc[table["n"] < file.k, ["n", "filled", "value", "low", "high"]] = np.nan
    note = {"at": file.at, "customers": len(people), "suppressed_below": file.k, **file.note}
    return FileCompleteness(frame=table, note=note)
