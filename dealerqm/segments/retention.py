"""Who stays: service retention by year of sale, and what ends the time with a vehicle sold here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.lifetimes.incidence import incidence_at
from dealerqm.ownership.history import SALE
from dealerqm.ownership.months import shift_months
from dealerqm.ownership.services import kept
from dealerqm.result import Result, Unit
from dealerqm.segments.due import NO_SALE, SALE_AFTER, contradictory
from dealerqm.segments.file import DAY, Customers
from dealerqm.stats.intervals import wilson

Days = NDArray[np.datetime64]
YEAR = 12  # months: each age is told for the year before it
EVERY = "all"
CAUSES = ("trade_in", "bought_again", "left")
_MONTH = 365.25 / 12  # days


@dataclass(frozen=True, kw_only=True)
class Retention(Result):
    """Share of vehicles sold here that were serviced in each year of their age, by year of sale."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "cohort": Unit("text", "segment.cohort"),
            "months": Unit("count", "segment.months"),
            "n": Unit("count", "segment.eligible"),
            "kept": Unit("count", "segment.kept"),
            "value": Unit("share", "segment.retention"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "not_due": Unit("count", "segment.not_due"),
            "gone": Unit("count", "segment.gone"),
            "naive": Unit("share", "segment.naive"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = (
        "cohort",
        "months",
        "n",
        "value",
        "low",
        "high",
        "not_due",
    )


def retention(file: Customers, *, by: str = "year") -> Retention:
    """Estimate service retention by year of sale and age.

    Parameters
    ----------
    file : Customers
        The file.
    by : str
        ``year`` of sale, or a column of the vehicles: ``region, store_id, model, energy``.

    Returns
    -------
    Retention
        Ages as in the plan, each for the year before it: at 24 months the share that came between
        12 and 24. All cohorts together first; below k vehicles hidden.

    Notes
    -----
    A vehicle counts if its window is over, lies in the records of orders, and it had not been sold
    on, traded in, exported or written off by its end. ``naive`` divides all that came by all sold
    (``not_due`` and ``gone`` among them). Only vehicles sold here count: others are known because
    they came. Intervals are Wilson's. Vehicles without a date of sale, or with one after their
    first service, are left out and counted in the note.

    Source: reference case 25_retention_denominator.
    """
    cars, at = file.cars, np.datetime64(file.at, "D")
    wrong, undated = contradictory(file), cars["sold_on"].isna().to_numpy()
    use = cars["here"].to_numpy() & ~wrong & ~undated
    sold = np.where(use, cars["sold_on"].to_numpy(DAY), np.datetime64("NaT", "D"))
    left = cars["left_on"].to_numpy(DAY)
    visits = (file.visits["car"].to_numpy(np.int64), file.visits["day"].to_numpy(DAY))
    begins = np.datetime64(file.begins.get("service_orders", file.at), "D")
    cohort = cars["sold_on"].dt.year.astype("Int64") if by == "year" else cars[by]
    names = [EVERY, *sorted(cohort[use].dropna().astype(str).unique())]
    member = {name: use if name == EVERY else use & (cohort.astype("str") == name).to_numpy(bool)
              for name in names}  # fmt: skip
    rows, before = [], 0
    for months in file.plan.settings["service_due"]["retention_months"]:
        recorded = shift_months(sold, months - YEAR) >= begins
        before += int((use & ~recorded).sum())
        found = kept(sold, left, visits, at, months=months, over=YEAR)
        for name, mine in member.items():
            some = mine & recorded
            counts = [int((part & some).sum()) for part in found]
            if counts[0]:
                rows.append([name, months, *counts[:4], counts[4], int(some.sum())])
    table = pd.DataFrame(rows, columns=["cohort", "months", "n", "kept", "not_due", "gone",
                                        "served", "sold"])  # fmt: skip
    ends = wilson(table["kept"], table["n"], confidence=file.confidence)
    table = table.assign(
        **dict(zip(("value", "low", "high"), ends, strict=True)),
        naive=table["served"] / table["sold"].where(table["sold"] > 0),
    ).sort_values(["cohort", "months"], key=_all_first, kind="stable")  # fmt: skip
    table.loc[table["n"] < file.k, ["n", "kept", "value", "low", "high", "not_due", "gone",
                                    "naive"]] = np.nan  # fmt: skip
    note = {
        "at": file.at, "records_begin": file.begins.get("service_orders"),
        "left_out": {NO_SALE: int(undated.sum()), SALE_AFTER: int(wrong.sum()),
                     "not_sold_here": int((~cars["here"] & ~undated & ~wrong).sum())},
        "windows_before_records": before, "suppressed_below": file.k,
    }  # fmt: skip
    return Retention(frame=table[list(Retention.COLUMNS)], note=note)


def _all_first(column: pd.Series) -> pd.Series:
    return column.where(column != EVERY, "") if column.name == "cohort" else column


@dataclass(frozen=True, kw_only=True)
class OwnershipEnds(Result):
    """Share of vehicles sold here that were traded in, joined by another one, or gone, by age."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "cohort": Unit("text", "segment.cohort"),
            "cause": Unit("word:own_outcome", "segment.cause"),
            "months": Unit("count", "segment.months"),
            "n": Unit("count", "segment.eligible"),
            "value": Unit("share", "segment.incidence"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
        }
    )


def ownership_ends(file: Customers, *, by: str = "none") -> OwnershipEnds:
    """Estimate what comes first after a sale: trade-in, another purchase, or the vehicle's leaving.

    Parameters
    ----------
    file : Customers
        The file.
    by : str
        ``none``, ``year`` of sale, or a column of the vehicles.

    Returns
    -------
    OwnershipEnds
        One row per cohort, cause and age of the plan up to which vehicles were watched; ``n`` is
        the number still watched. Below k vehicles nothing is said.

    Notes
    -----
    Aalen-Johansen: causes compete, since a car that was traded in cannot be written off. Sales
    since the records of leads begin, so that every one is watched from its first day.
    """
    spells, note = ends(file)
    ages = np.array(file.plan.settings["service_due"]["retention_months"])
    cohorts: dict[str, pd.DataFrame] = {EVERY: spells}
    if by != "none":
        column = spells["sold_on"].dt.year if by == "year" else file.cars.loc[spells.index, by]
        cohorts |= {str(name): part for name, part in spells.groupby(column)}
    rows: list[list[Any]] = []
    for name, part in cohorts.items():
        if len(part) < file.k:
            continue
        found = incidence_at(
            part["months"], part["cause"].to_numpy(), None, ages, kind="log-log",
            confidence=file.confidence,
        )  # fmt: skip
        for place, age in enumerate(ages):
            if age > part["months"].max():
                continue
            for number in range(found.estimate.shape[1]):
                one = (float(part_[place, number]) for part_ in found[1:])
                estimate, _, low, high = one
                rows.append([name, CAUSES[number], int(age), int(found.at_risk[place]), estimate,
                             low, high])  # fmt: skip
    table = pd.DataFrame(rows, columns=list(OwnershipEnds.COLUMNS))
    return OwnershipEnds(frame=table, note={"at": file.at, "suppressed_below": file.k, **note})


def ends(file: Customers) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return for every vehicle sold here how long it was watched and what came first.

    Parameters
    ----------
    file : Customers
        The file.

    Returns
    -------
    (DataFrame, dict)
        Indexed as ``file.cars``: ``sold_on``, ``months`` watched, ``cause`` (0 none yet, else the
        place in ``CAUSES`` plus 1); and what was left out. A trade-in is recognised by the
        vehicle's reason of leaving; another purchase is a later sale to its owner.
    """
    cars, at = file.cars, np.datetime64(file.at, "D")
    begins = np.datetime64(file.begins.get("leads", file.at), "D")
    sold = cars["sold_on"].to_numpy(DAY)
    wrong = contradictory(file)
    use = cars["here"].to_numpy() & ~wrong & (sold >= begins)
    left = cars["left_on"].to_numpy(DAY)
    again = _next_sale(file, sold, file.plan.settings["service_due"]["match_days"])
    end = np.fmin(np.fmin(left, again), at)
    traded = (cars["left_reason"] == "traded_in").to_numpy(bool)
    cause = np.select([(left == end) & traded, again == end, left == end], [1, 2, 3], 0)
    spells = pd.DataFrame({
        "sold_on": cars["sold_on"], "months": (end - sold).astype(float) / _MONTH, "cause": cause,
    })  # fmt: skip
    left_out = {"before_records": int((sold < begins).sum()), SALE_AFTER: int(wrong.sum()),
                NO_SALE: int(cars["sold_on"].isna().sum())}  # fmt: skip
    return spells[use], {"left_out": left_out}


def _next_sale(file: Customers, sold: Days, days: int) -> Days:
    """Return the owner's next sale after that of each vehicle, which may lie some days from it."""
    sales = file.events.loc[file.events["kind"] == SALE, ["who", "day"]].sort_values("day")
    start = pd.DataFrame({"who": file.cars["who"], "from": sold.astype("M8[s]")})
    start["from"] = (start["from"] + pd.Timedelta(days=days)).astype("M8[s]")
    known = start[start["from"].notna()].sort_values("from", kind="stable")
    found = pd.merge_asof(known, sales.assign(next=sales["day"]), left_on="from", right_on="day",
                          by="who", direction="forward", allow_exact_matches=False)  # fmt: skip
    found.index = known.index
    return found["next"].reindex(file.cars.index).to_numpy(DAY)
