"""Habits of service customers: how far they drive, how often they come, what they spend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.conditions import Term
from dealerqm.errors import MethodError
from dealerqm.facts import Ask, Facts
from dealerqm.facts.keys import Measure, per_key
from dealerqm.plan import Plan

Array = NDArray[np.float64]
ORDERS = "service_orders"
YEAR = 365.25
_CLOSED = Term("status", "==", ("closed",))
_FIRST_TIME = Term("is_comeback", "true", (), negated=True)
_SERVICE = (_FIRST_TIME, Term("kind", "in", ("maintenance",)))
_PAID = (_FIRST_TIME, Term("kind", "in", ("maintenance", "repair", "body")))
_BILL = {"labour_fen": 1, "parts_fen": 1}
_MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "low": Measure("min", "odometer_km"), "high": Measure("max", "odometer_km"),
        "first": Measure("min", "opened_at_day"), "last": Measure("max", "opened_at_day"),
        "visits": Measure("count", where=(_FIRST_TIME,)),
        "services": Measure("count", where=_SERVICE),
        "service_fen": Measure("sum", where=_SERVICE, weights=_BILL),
        "paid_fen": Measure("sum", where=_PAID, weights=_BILL),
        "discount_fen": Measure("sum", "discount_fen", where=_PAID),
    }
)  # fmt: skip


def habits(facts: Facts, plan: Plan, at: date) -> pd.DataFrame:
    """Measure the habits of every customer with closed orders up to a day.

    Parameters
    ----------
    facts : Facts
        The questions.
    plan : Plan
        ``segments.clusters``: visits that a habit needs, months that are looked at.
    at : date
        Last day that counts.

    Returns
    -------
    DataFrame
        One row per customer with enough visits, index ``customer_id`` sorted; a column per habit
        of ``HABITS``, missing where it cannot be told.

    Raises
    ------
    MethodError
        If nobody has enough visits by that day.

    Notes
    -----
    Kilometres and spans are summed over a customer's vehicles. Cancelled, open and refunded orders
    do not count; a comeback is no visit of the customer's own choice.
    """
    made = plan.settings["segments"]["clusters"]
    since = at - timedelta(days=round(made["months"] * YEAR / 12))
    rows = Ask(ORDERS, ("customer_id", "vehicle_id"), (_CLOSED,), ("opened_at_day", since, at))
    cars = per_key(facts.table, [(rows, _MEASURES)])
    span = (cars["last"] - cars["first"]).dt.days
    km = (cars["high"] - cars["low"]).astype("float64").where(span > 0, 0.0)
    cars = cars.assign(km=km, km_days=span)
    kept = ["visits", "services", "service_fen", "paid_fen", "discount_fen", "km", "km_days"]
    people = cars.groupby("customer_id", sort=True)
    sums = people[kept].sum().assign(
        first=people["first"].min(), last=people["last"].max(), vehicles=people.size(), at=at
    )  # fmt: skip
    sums = sums[sums["visits"] >= made["least_visits"]]
    if sums.empty:
        raise MethodError(
            f"{ORDERS}: no customer has {made['least_visits']} visits between {since} and {at}; "
            "nothing to divide into segments."
        )
    return pd.DataFrame({name: measure(sums) for name, measure in HABITS.items()})


def _ratio(above: pd.Series, below: pd.Series) -> pd.Series:
    return (above / below.where(below > 0)).astype("float64")


HABITS: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = MappingProxyType(
    {
        "km_per_day": lambda sums: _ratio(sums["km"], sums["km_days"]),
        "visits_per_year": lambda sums: _ratio(
            (sums["visits"] - 1) * YEAR, (sums["last"] - sums["first"]).dt.days
        ),
        "spend_per_service": lambda sums: _ratio(sums["service_fen"], sums["services"]),
        "discount_share": lambda sums: _ratio(sums["discount_fen"], sums["paid_fen"]),
        "days_since_visit": lambda sums: (pd.to_datetime(sums["at"]) - sums["last"]).dt.days.astype(
            "float64"
        ),
        "vehicles": lambda sums: sums["vehicles"].astype("float64"),
    }
)
