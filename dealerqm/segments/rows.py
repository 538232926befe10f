"""Rows of customers, vehicles and what happened to them up to a day, read once for all parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd

from dealerqm.errors import MethodError, ParameterError
from dealerqm.facts import Ask, Facts
from dealerqm.plan import Plan

ROWS_CAP = 20_000_000
DAY = "M8[D]"
READ: Mapping[str, tuple[str, ...]] = {
    "customers": ("customer_id", "household_id", "kind", "region", "channel", "created_on",
                  "birth_year", "consent"),
    "vehicles": ("vehicle_id", "customer_id", "model", "energy", "sold_on", "warranty_until",
                 "left_on", "left_reason"),
    "leads": ("customer_id", "store_id", "created_at_day", "delivered_at_day", "cancelled_at",
              "model", "budget_band", "use", "finance", "purchase_kind", "amount_fen"),
    "service_orders": ("vehicle_id", "customer_id", "store_id", "kind", "status", "opened_at_day",
                       "odometer_km", "labour_fen", "parts_fen", "discount_fen"),
    "survey_responses": ("customer_id", "responded_at_day", "overall", "recommend"),
    "complaints": ("customer_id", "received_at_day"),
    "contacts": ("customer_id", "at_day", "answered_at"),
}  # fmt: skip
STARTS = {"customers": "created_on", "vehicles": "sold_on", "leads": "created_at_day",
           "service_orders": "opened_at_day", "survey_responses": "responded_at_day",
           "complaints": "received_at_day", "contacts": "at_day"}  # fmt: skip
_OWNERS = ("customers", "vehicles", "leads", "service_orders")


@dataclass(frozen=True)
class Rows:
    """The rows of all tables up to a day.

    Attributes
    ----------
    tables : mapping of str to DataFrame
        Name to its columns of ``READ``, days in the plan's time zone, nothing after the day.
    begins : mapping of str to date
        First day of the records of leads and service orders.
    ids : Index
        Customers, sorted.
    merged : frozenset of str
        Those that are households of several customers.
    """

    tables: Mapping[str, pd.DataFrame]
    begins: Mapping[str, date]
    ids: pd.Index
    merged: frozenset[str]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return a table."""
        return self.tables[name]


def rows(facts: Facts, plan: Plan, at: date, *, tables: Sequence[str] = tuple(READ)) -> Rows:
    """Read what is known of customers up to a day.

    Parameters
    ----------
    facts, plan : Facts, Plan
        The questions; time zone, who counts as one customer.
    at : date
        Later rows are left out, and later days in earlier rows are missing.
    tables : sequence of str
        Tables that can be asked; others are empty.

    Returns
    -------
    Rows
        Customers of the file, and those whom only vehicles, leads or orders name.

    Raises
    ------
    ParameterError, MethodError
        If nobody is known by then; if time zones are mixed.
    """
    zone = str(plan.settings["calendar"]["timezone"])
    found = {name: _table(facts, name, zone, tables) for name in READ}
    starts = {name: found[name][STARTS[name]].min() for name in ("leads", "service_orders")}
    begins = {name: day.date() for name, day in starts.items() if not pd.isna(day)}
    seen = {name: _until(frame, name, at) for name, frame in found.items()}
    merged = frozenset[str]()
    if plan.settings["customer_file"]["party"] == "household":
        seen, merged = _households(seen)
    named = (seen[name]["customer_id"].dropna() for name in _OWNERS)
    ids = pd.Index(sorted(set().union(*named)), dtype="str")
    if ids.empty:
        raise ParameterError(
            f"customers: found none up to {at}; the records of orders and leads begin on "
            f"{min(begins.values(), default=None)}; choose a later period."
        )
    return Rows(seen, begins, ids, merged)


def local_days(values: pd.Series, timezone: str, where: str) -> pd.Series:
    """Return the calendar days of times, in one time zone.

    Parameters
    ----------
    values : Series
        Times or days, with or without time zone; missing stays missing.
    timezone : str
        The zone in which times with a zone are read.
    where : str
        Table and column, for messages.

    Returns
    -------
    Series of datetime64
        Midnights without zone.

    Raises
    ------
    MethodError
        If times with and without zone are mixed.

    Examples
    --------
    >>> late = pd.Series(pd.to_datetime(["2026-06-30 23:00+00:00"]))
    >>> str(local_days(late, "Asia/Shanghai", "here")[0])[:10]
    '2026-07-01'
    """
    if values.dtype == object:
        seen = [value for value in values if isinstance(value, datetime) and not pd.isna(value)]
        aware = [value for value in seen if value.tzinfo is not None]
        if aware and len(aware) < len(seen):
            raise MethodError(
                f"{where}: found {len(aware)} of {len(seen)} times with a time zone, such as "
                f"{aware[0]}, and the others without; export all of them with it or none."
            )
        values = pd.to_datetime(values, utc=bool(aware))
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert(timezone).dt.tz_localize(None)
    return values.astype("M8[s]").dt.floor("D")


def _table(facts: Facts, name: str, zone: str, tables: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a table with local days, or no rows where there is no such table."""
    columns = READ[name]
    if name not in tables:
        return pd.DataFrame({c: pd.Series(dtype="M8[s]" if _dated(c) else "str") for c in columns})
    frame = facts.rows(Ask(name, ()), columns, cap=ROWS_CAP)
    for column in filter(_dated, columns):
        frame[column] = local_days(frame[column], zone, f"{name}.{column}")
    return frame


def _dated(column: str) -> bool:
    return column.endswith(("_day", "_at", "_on", "_until"))


def _until(frame: pd.DataFrame, name: str, at: date) -> pd.DataFrame:
    """Leave out what came after a day: rows that begin later, and later days in earlier rows."""
    last = pd.Timestamp(at)
    frame = frame[~(frame[STARTS[name]] > last)]
    later = [c for c in filter(_dated, frame.columns) if c != "warranty_until"]
    return frame.assign(**{c: frame[c].mask(frame[c] > last) for c in later})


def _households(
    seen: Mapping[str, pd.DataFrame],
) -> tuple[dict[str, pd.DataFrame], frozenset[str]]:
    """Let people who share a household count as one."""
    people = seen["customers"]
    shared = people[people["household_id"].notna() & (people["kind"] != "company")]
    shared = shared[shared["household_id"].duplicated(keep=False)]
    joined = dict(zip(shared["customer_id"], shared["household_id"], strict=True))
    out = {
        name: frame.assign(customer_id=frame["customer_id"].replace(joined))
        for name, frame in seen.items()
    }
    return out, frozenset(joined.values())


def homes(seen: Rows) -> pd.Series:
    """Return the store where each customer was last seen.

    Parameters
    ----------
    seen : Rows
        What is known.

    Returns
    -------
    Series of str
        By customer; missing for those without a lead or an order.
    """
    parts = [
        seen[name][["customer_id", "store_id", STARTS[name]]].set_axis(
            ["id", "store", "day"], axis=1
        )
        for name in ("leads", "service_orders")
    ]
    newest = pd.concat(parts).sort_values(["day", "store"], kind="stable")
    newest = newest.drop_duplicates("id", keep="last").set_index("id")["store"]
    return newest.reindex(seen.ids)


def events(seen: Rows, ids: pd.Index) -> pd.DataFrame:
    """Return leads, sales, services and trade-ins of customers.

    Parameters
    ----------
    seen : Rows
        What is known.
    ids : Index
        The customers; their places become ``who``.

    Returns
    -------
    DataFrame
        ``kind, who, day, fen``, by customer and day.

    Notes
    -----
    A delivered lead that was not cancelled is a sale. A vehicle sold before the records of leads
    begin counts as sold here if its customer was on file by then, else as bought elsewhere.
    Cancelled orders are no services, refunded ones bring no money.
    """
    leads, orders, cars = (seen[name] for name in ("leads", "service_orders", "vehicles"))
    stands = leads["delivered_at_day"].notna() & leads["cancelled_at"].isna()
    sold, orders = leads[stands], orders[orders["status"] != "cancelled"]
    old = cars[cars["sold_on"].notna()]
    if "leads" in seen.begins:
        first = pd.Timestamp(seen.begins["leads"])
        created = seen["customers"].groupby("customer_id")["created_on"].min()
        on_file = old["customer_id"].map(created) < first
        old = old[(old["sold_on"] < first) & on_file]
    traded = cars[(cars["left_reason"] == "traded_in") & cars["left_on"].notna()]
    if "leads" in seen.begins:
        traded = traded[traded["left_on"] < pd.Timestamp(seen.begins["leads"])]
    money = orders[["labour_fen", "parts_fen", "discount_fen"]].fillna(0)
    paid = money["labour_fen"] + money["parts_fen"] - money["discount_fen"]
    swapped = sold[sold["purchase_kind"] == "trade_in"]
    parts = [
        ("lead", leads["customer_id"], leads["created_at_day"], 0),
        ("sale", sold["customer_id"], sold["delivered_at_day"], sold["amount_fen"].fillna(0)),
        ("sale", old["customer_id"], old["sold_on"], 0),
        ("service", orders["customer_id"], orders["opened_at_day"],
         paid.where(orders["status"] != "refunded", 0)),
        ("trade_in", swapped["customer_id"], swapped["delivered_at_day"], 0),
        ("trade_in", traded["customer_id"], traded["left_on"], 0),
    ]  # fmt: skip
    frame = pd.concat(
        [pd.DataFrame({"kind": kind, "who": ids.get_indexer(who), "day": day.to_numpy(),
                       "fen": np.asarray(fen, np.int64)}) for kind, who, day, fen in parts],
        ignore_index=True,
    )  # fmt: skip
    frame = frame[frame["who"] >= 0].astype({"day": "M8[s]"})
    return frame.sort_values(["who", "day", "kind"], kind="stable").reset_index(drop=True)
