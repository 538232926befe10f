"""Lifecycle stages: ordered rules of the plan, the rule that decided, and when it will change.

Calendar months clamp at month ends: 30 September minus 18 months is 30 March, and 29 February plus
12 months is 28 February. Whatever happens after the day that is judged is never used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.conditions import Term, parse
from dealerqm.ownership.history import (
    KINDS,
    LEAD,
    SALE,
    SERVICE,
    TRADE_IN,
    Events,
    State,
    money_over,
    state,
)
from dealerqm.ownership.months import Days, Ints, months_over
from dealerqm.plan import Plan
from dealerqm.plan.sections import LIFECYCLE
from dealerqm.result import Result, Unit
from dealerqm.stats.intervals import wilson

if TYPE_CHECKING:
    from dealerqm.segments.file import Customers

Bools = NDArray[np.bool_]
NEVER = np.datetime64("NaT", "D")
FEN = 100  # in a yuan
_COUNTS = {"leads": LEAD, "sales": SALE, "services": SERVICE, "trade_ins": TRADE_IN}
_LAST = {"lead_months": (LEAD,), "sale_months": (SALE,), "service_months": (SERVICE,),
         "activity_months": (SALE, SERVICE)}  # fmt: skip


# ---------------------------------------------------------------- rules


class Rule(NamedTuple):
    """One rule: its name, the stage that it gives, and what must hold."""

    name: str
    stage: str
    terms: tuple[Term, ...]


def rules(plan: Plan) -> tuple[Rule, ...]:
    """Return the rules of a plan in their order.

    Parameters
    ----------
    plan : Plan
        With the section ``lifecycle``.

    Returns
    -------
    tuple of Rule
        The first that holds decides.
    """
    return tuple(
        Rule(rule["name"], rule["stage"], parse(rule["when"], LIFECYCLE, plan.source))
        for rule in plan.settings["lifecycle"]["rules"]
    )


class Decided(NamedTuple):
    """What the rules say of every customer.

    Attributes
    ----------
    rule : ndarray of int
        Place of the rule that decided, -1 where none holds (no record).
    changes_on : ndarray of datetime64[D]
        First day with another stage if nothing happens, NaT if there is none.
    next_rule : ndarray of int
        The rule that decides then, -1 for none.
    """

    rule: Ints
    changes_on: Days
    next_rule: Ints


class _Clock(NamedTuple):
    """A condition that holds until a day, or from it on; never where there is no day."""

    ends: Days
    until: bool

    def holds(self, at: Days | np.datetime64) -> Bools:
        return np.asarray(at < self.ends if self.until else at >= self.ends)


def decide(known: State, ordered: Sequence[Rule], *, money_months: int) -> Decided:
    """Give every customer the first rule that holds, and the day on which the stage changes.

    Parameters
    ----------
    known : State
        Customers on a day.
    ordered : sequence of Rule
        In order.
    money_months : int
        Calendar months over which money is counted.

    Returns
    -------
    Decided
        One entry per customer.

    Notes
    -----
    ``<x>_months <= m`` holds while the newest x lies on or after the day minus m calendar months,
    ``> m`` from then on; neither holds where there is no x. The stages on every day on which such
    a condition turns are worked out, and the first that differs is the change.

    Source: reference case 21_lifecycle_stage_rules.

    Examples
    --------
    >>> from dealerqm import plan
    >>> sold = Events(np.array([0]), np.array([1]), np.array(["2024-09-30"], "M8[D]"),
    ...               np.array([0]))
    >>> ordered = rules(plan.load())
    >>> found = decide(state(sold, 1, np.datetime64("2025-09-30")), ordered, money_months=24)
    >>> ordered[found.rule[0]].stage, str(found.changes_on[0]), ordered[found.next_rule[0]].stage
    ('new', '2025-10-01', 'existing_first_purchase')
    """
    clocks: dict[tuple[str, int], Days] = {}
    tests = [[_test(known, term, money_months, clocks) for term in r.terms] for r in ordered]
    stage = np.array([*(sorted({r.stage for r in ordered}).index(r.stage) for r in ordered), -1])
    now = _first(tests, known.at, known.held.size)
    changes = np.full(now.size, NEVER)
    following = np.full(now.size, -1)
    for day in np.sort(np.array([*clocks.values()], "M8[D]"), axis=0):
        waits = np.isnat(changes) & (day > known.at)
        then = _first(tests, day, now.size)
        moved = waits & (stage[then] != stage[now])
        changes[moved], following[moved] = day[moved], then[moved]
    return Decided(now, changes, following)


def _first(
    tests: Sequence[Sequence[Bools | _Clock]], at: Days | np.datetime64, size: int
) -> Ints:  # fmt: skip
    """Return the first rule whose conditions all hold on a day."""
    found = np.full(size, -1)
    for place in reversed(range(len(tests))):
        ok = np.ones(size, bool)
        for test in tests[place]:
            ok &= test.holds(at) if isinstance(test, _Clock) else test
        found[ok] = place
    return found


def _test(
    known: State, term: Term, months: int, clocks: dict[tuple[str, int], Days]
) -> Bools | _Clock:
    """Turn a condition into true and false, or into the day until or from which it holds."""
    value = term.values[0]  # noqa: PD011  a Term is no frame
    if term.column in _LAST:
        key = (term.column, int(value))
        if key not in clocks:
            newest = known.last[_LAST[term.column][0]]
            for kind in _LAST[term.column][1:]:
                newest = np.fmax(newest, known.last[kind])
            clocks[key] = months_over(newest, int(value))
        return _Clock(clocks[key], (term.op == "<=") != term.negated)
    if term.column == "money_yuan":
        key = (term.column, int(value))
        if key not in clocks:
            clocks[key] = money_over(known, int(value) * FEN, months)
        return _Clock(clocks[key], (term.op == ">=") != term.negated)
    number = known.held if term.column == "held" else known.counts[_COUNTS[term.column]]
    found = np.isin(number, term.values) if term.op == "in" else _COMPARE[term.op](number, value)
    return np.asarray(found != term.negated)


_COMPARE = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal,
}  # fmt: skip


# ---------------------------------------------------------------- the stages of a customer file


@dataclass(frozen=True)
class Staged:
    """The stage of every customer, at the end of the period and of the one before.

    Attributes
    ----------
    customers : Customers
        The file.
    people : DataFrame
        One row per customer, pseudonymous: ``customer_id, region, store_id, stage, rule,
        changes_on, next_stage, before``; no stage is a missing word.
    """

    customers: Customers
    people: pd.DataFrame


def stage(customers: Customers) -> Staged:
    """Apply the plan's rules to a customer file.

    Parameters
    ----------
    customers : Customers
        The file.

    Returns
    -------
    Staged
        For ``stages`` and ``stage_changes``.
    """
    plan, frame = customers.plan, customers.events
    ordered, months = rules(plan), plan.settings["lifecycle"]["money_months"]
    kinds = pd.Categorical(frame["kind"], categories=list(KINDS)).codes.astype(np.int64)
    events = Events(frame["who"].to_numpy(np.int64), kinds, frame["day"].to_numpy("M8[D]"),
                    frame["fen"].to_numpy(np.int64))  # fmt: skip
    size = len(customers.people)
    found = [
        decide(state(events, size, at, held=customers.held(at)), ordered, money_months=months)
        for at in (np.datetime64(day, "D") for day in (customers.at, customers.before))
    ]
    stages_, names = (np.array([*(getattr(r, n) for r in ordered), None], object)
                      for n in ("stage", "name"))  # fmt: skip
    people = customers.people[["customer_id", "region", "store_id"]].assign(
        stage=stages_[found[0].rule], rule=names[found[0].rule],
        changes_on=found[0].changes_on.astype("M8[s]"), next_stage=stages_[found[0].next_rule],
        before=stages_[found[1].rule],
    )  # fmt: skip
    return Staged(customers, people.reset_index(drop=True))


@dataclass(frozen=True, kw_only=True)
class LifecycleStages(Result):
    """Stages with their shares now and a period before, and how many leave in the next one."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "stage": Unit("word:stage", "segment.stage"),
            "n": Unit("count", "segment.customers"),
            "value": Unit("share", "segment.share"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
            "before_n": Unit("count", "segment.before_n"),
            "before": Unit("share", "segment.before"),
            "before_low": Unit("share", "column.low"),
            "before_high": Unit("share", "column.high"),
            "leaving": Unit("count", "segment.leaving"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("unit", "stage", "n", "value", "low", "high", "before")


def stages(staged: Staged, *, by: str = "group") -> LifecycleStages:
    """Count customers by stage, now and at the end of the period before.

    Parameters
    ----------
    staged : Staged
        Customers with their stage.
    by : str
        ``group``, ``region`` or ``store``.

    Returns
    -------
    LifecycleStages
        One row per unit and stage that has customers; counts below k and their shares are hidden.

    Notes
    -----
    Shares are of the customers with a record on the day, with Wilson intervals: how far the share
    would vary among customers of this kind, since nearly all customers are seen.
    """
    file, people = staged.customers, staged.people
    ahead = np.datetime64(file.ahead, "s")
    order = list(dict.fromkeys(rule.stage for rule in rules(file.plan)))
    rows = []
    for unit, part in file.units(people, by):
        counts = {name: part[name].value_counts() for name in ("stage", "before")}
        leaving = part[part["changes_on"] <= ahead]["stage"].value_counts()
        totals = {name: int(count.sum()) for name, count in counts.items()}
        for name in order:
            n, was = (int(counts[when].get(name, 0)) for when in ("stage", "before"))
            if n + was:
                rows.append([unit, name, n, totals["stage"], was, totals["before"],
                             int(leaving.get(name, 0))])  # fmt: skip
    table = pd.DataFrame(rows, columns=["unit", "stage", "n", "of", "before_n", "before_of",
                                        "leaving"])  # fmt: skip
    for at, names in (("", ("value", "low", "high")),
                      ("before_", ("before", "before_low", "before_high"))):  # fmt: skip
        ends = wilson(table[f"{at}n"], table[f"{at}of"], confidence=file.confidence)
        few = (table[f"{at}n"] < file.k).to_numpy()
        for name, end in zip(names, ends, strict=True):
            table[name] = np.where(few, np.nan, end)
        table[f"{at}n"] = table[f"{at}n"].where(~few)
    table["leaving"] = table["leaving"].where(table["leaving"] >= file.k)
    note = {
        "at": file.at, "before": file.before, "next": file.ahead,
        "no_record": int(people["stage"].isna().sum()), "suppressed_below": file.k,
        "rules": [dict(rule) for rule in file.plan.settings["lifecycle"]["rules"]], **file.note,
    }  # fmt: skip
    return LifecycleStages(frame=table[list(LifecycleStages.COLUMNS)], note=note)


@dataclass(frozen=True, kw_only=True)
class StageChanges(Result):
    """Who changes stage in the next period if nothing happens."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "stage": Unit("word:stage", "segment.stage"),
            "next_stage": Unit("word:stage", "segment.next_stage"),
            "n": Unit("count", "segment.customers"),
            "first": Unit("date", "segment.first_day"),
            "last": Unit("date", "segment.last_day"),
        }
    )


def stage_changes(staged: Staged, *, by: str = "group") -> StageChanges:
    """Count the changes of stage that the next period brings if nothing happens.

    Parameters
    ----------
    staged, by : Staged, str
        As for ``stages``.

    Returns
    -------
    StageChanges
        One row per unit and pair of stages; who they are stands in ``staged.people``. Pairs of
        fewer than k customers are left out and counted in the note.
    """
    file, people = staged.customers, staged.people
    due = people[people["changes_on"] <= np.datetime64(file.ahead, "s")]
    rows = []
    for unit, part in file.units(due, by):
        for (name, then), days in part.groupby(["stage", "next_stage"])["changes_on"]:
            rows.append([unit, name, then, len(days), days.min(), days.max()])
    table = pd.DataFrame(rows, columns=list(StageChanges.COLUMNS))
    few = table["n"] < file.k
    note = {"at": file.at, "next": file.ahead, "suppressed_below": file.k,
            "in_few": int(table.loc[few, "n"].sum())}  # fmt: skip
    return StageChanges(frame=table[~few], note=note)
