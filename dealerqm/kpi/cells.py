"""From a KPI's definition to sufficient statistics per unit and period.

``cells`` asks the facts per store; ``stack`` adds the regions and the group, which are sums of
their stores: a group value is a value over customers, not a mean of store values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import pandas as pd

from dealerqm.conditions import Term
from dealerqm.facts import Ask, Facts
from dealerqm.period import parse
from dealerqm.plan import Kpi, Plan

UNIT = ["unit_type", "unit", "period"]
GROUP = "group"
GRAIN = 1000.0


@dataclass(frozen=True)
class Span:
    """Which periods are asked for.

    Attributes
    ----------
    kind : str
        ``week``, ``month``, ``quarter`` or ``year``.
    window : (date, date) or None
        Only these days, as one period with the key ``label``.
    label : str
        Period key of the window.
    as_of : date
        Last day of the data; a follow-up KPI is complete in a period whose last row had reached
        the age on this day.
    """

    kind: str
    as_of: date
    window: tuple[date, date] | None = None
    label: str = ""

    def last_day(self, key: str) -> date:
        """Return the last day of one of the periods."""
        return self.window[1] if self.window else parse(key).end


def cells(facts: Facts, plan: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    """Ask the facts for one KPI per store and period.

    Parameters
    ----------
    facts : Facts
        The questions.
    plan : Plan
        For the instrument's weights.
    kpi : Kpi
        Any KPI but a spread.
    span : Span
        Periods.

    Returns
    -------
    dict of str to DataFrame
        Frames with ``store_id, period`` and what the KPI's statistic needs.
    """
    found = _ASKS[kpi.stat](facts, plan, kpi, span)
    return {name: _named(frame, span) for name, frame in found.items()}


def stack(frame: pd.DataFrame, regions: Mapping[str, str]) -> pd.DataFrame:
    """Repeat store rows as rows of their region and of the group.

    Parameters
    ----------
    frame : DataFrame
        With ``store_id``.
    regions : mapping of str to str
        Store to region; rows of other stores are left out.

    Returns
    -------
    DataFrame
        ``unit_type, unit`` instead of ``store_id``; not yet added up.
    """
    store = frame[frame["store_id"].isin(list(regions))].rename(columns={"store_id": "unit"})
    levels = [
        store.assign(unit_type=GROUP, unit=GROUP),
        store.assign(unit_type="region", unit=store["unit"].map(regions)),
        store.assign(unit_type="store"),
    ]
    return pd.concat([level[level["unit"].notna()] for level in levels], ignore_index=True)


def _ask(table: str, when: str, where: tuple[Term, ...], span: Span) -> Ask:
    if span.window:
        return Ask(table, ("store_id",), where, (f"{when}_day", *span.window))
    kind = "quarter" if span.kind == "year" else span.kind
    return Ask(table, ("store_id", f"{when}_{kind}"), where)


def _named(frame: pd.DataFrame, span: Span) -> pd.DataFrame:
    if span.window:
        return frame.assign(period=span.label)
    period = frame.columns[1]
    frame = frame.rename(columns={period: "period"})
    if span.kind == "year":
        frame["period"] = frame["period"].str[:4]
    return frame


def _own(kpi: Kpi, span: Span) -> Ask:
    return _ask(kpi.table, kpi.when, kpi.where, span)


def _share(facts: Facts, _: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    ask = _own(kpi, span)
    if not kpi.follow_up:
        return {"counts": facts.counts(ask, {"k": _terms(kpi)})}
    watched = (Term(kpi.age, ">=", (kpi.follow_up,)),)
    return {
        "spells": facts.spells(ask, kpi.event_after, kpi.age, until=kpi.follow_up),
        "counts": facts.counts(ask, {"watched": watched}),
    }


def _terms(kpi: Kpi) -> tuple[Term, ...]:
    return kpi.value if isinstance(kpi.value, tuple) else ()


def _within(facts: Facts, _: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    return {"counts": facts.within(_own(kpi, span), str(kpi.value), kpi.age, kpi.limit)}


def _rate(facts: Facts, _: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    per = kpi.per
    events = facts.counts(_own(kpi, span), {})
    if per is None:
        return {"events": events}
    return {
        "events": events,
        "exposure": facts.counts(_ask(per.table, per.when, per.where, span), {}),
    }


def _nps(facts: Facts, _: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    column = str(kpi.value)
    flags = {"promoters": (Term(column, ">=", (9,)),), "detractors": (Term(column, "<=", (6,)),)}
    return {"counts": facts.counts(_own(kpi, span), flags)}


def _values(facts: Facts, _: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    return {"values": facts.histogram(_own(kpi, span), str(kpi.value))}


def _quantile(facts: Facts, plan: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    if kpi.age:
        return {"spells": facts.spells(_own(kpi, span), str(kpi.value), kpi.age)}
    return _values(facts, plan, kpi, span)


def _index(facts: Facts, plan: Plan, kpi: Kpi, span: Span) -> dict[str, pd.DataFrame]:
    points = plan.instrument["index_points"] / plan.instrument["scale"]["max"]
    weights = [
        ((Term("wave", ">=", (wave,)),), weight)
        for wave, weight in sorted(index_weights(plan, str(kpi.value)).items(), reverse=True)
    ]
    return {"values": facts.weighted(_own(kpi, span), weights, grain=points * GRAIN)}


def index_weights(plan: Plan, factor: str) -> dict[str, dict[str, float]]:
    """Return the item weights of an index for every wave at which they change.

    Parameters
    ----------
    plan : Plan
        With the instrument's factors.
    factor : str
        A factor's name, or ``all`` for the whole index.

    Returns
    -------
    dict of str to dict of str to float
        First wave to item weights; they sum to 100.

    Examples
    --------
    >>> from dealerqm.plan import load
    >>> index_weights(load(), "people")["2023Q4"]["communication"]
    35.0
    """
    chosen = [f for f in plan.factors if factor in ("all", f.name)]
    weights: dict[str, dict[str, float]] = {}
    for wave in sorted({f.from_wave for f in chosen}):
        newest = {
            f.name: f for f in sorted(chosen, key=lambda f: f.from_wave) if f.from_wave <= wave
        }
        total = sum(f.weight for f in newest.values())
        summed: dict[str, float] = {}
        for f in newest.values():
            for item, weight in f.items.items():
                summed[item] = summed.get(item, 0.0) + weight * f.weight / total
        weights[wave] = summed
    return weights


_ASKS: Mapping[str, Callable[[Facts, Plan, Kpi, Span], dict[str, pd.DataFrame]]] = {
    "share": _share,
    "within": _within,
    "rate": _rate,
    "nps": _nps,
    "mean": _values,
    "quantile": _quantile,
    "index": _index,
}
