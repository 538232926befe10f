"""The KPI blocks of a plan against its contracts: a KPI that cannot be computed is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dealerqm.conditions import Term, parse
from dealerqm.errors import PlanError, unknown
from dealerqm.plan import check
from dealerqm.plan.model import UNITS, Exposure, Goal, Kpi, digest
from dealerqm.tables import Table

BETTER = ("up", "down", "none")
INTERVALS = {
    "share": ("wilson",), "within": ("wilson",), "rate": ("poisson",), "nps": ("adjusted_wald",),
    "mean": ("t", "bootstrap"), "index": ("t",), "quantile": ("order", "lognormal"),
    "spread": ("q_profile",),
}  # fmt: skip
_NEEDS = {
    "share": ("value",), "within": ("value", "age", "limit"), "rate": ("per",), "mean": ("value",),
    "quantile": ("value", "quantile"), "index": ("value",), "nps": ("value",), "spread": ("of",),
}  # fmt: skip
_MAY = {"share": ("event_after", "age", "follow_up"), "quantile": ("age",)}
_ALL = ("label", "about", "area", "dimension", "stat")
_EXTRA = ("interval", "unit", "better", "goal", "source", "version")
_ROWS = ("table", "when")
_KEYS = dict.fromkeys(
    [*_ALL, *_ROWS, "where", *_EXTRA, *(k for d in (_NEEDS, _MAY) for ks in d.values() for k in ks)]
)
_WORDS = ("label", "about", "area", "dimension", "source", "goal")
_NUMBERS = ("int", "float", "money")
_TIMES = ("", "s", "min", "h", "d")
_RANGES = {"share": (0, 1), "within": (0, 1), "nps": (-1, 1), "spread": (0, 1)}
_NPS_TOP = 10


class KpiReader:
    """Reads the KPI blocks of one plan.

    Parameters
    ----------
    source : str
        File name, for messages.
    raw : mapping
        The parsed plan, every section in it.
    contracts : mapping of str to Table
        Tables, the instrument's items among the columns of the survey.
    factors : set of str
        Names of the index factors.
    """

    def __init__(
        self, source: str, raw: Mapping[str, Any], contracts: Mapping[str, Table],
        factors: set[str],
    ) -> None:  # fmt: skip
        self.source, self.raw, self.contracts, self.factors = source, raw, contracts, factors

    def kpis(self) -> dict[str, Kpi]:
        """Return all KPIs; spreads are checked against the KPIs they are of."""
        blocks = check.named(self.raw["kpi"], f"{self.source} [kpi]")
        kpis = {name: self._kpi(name, spec) for name, spec in blocks.items()}
        for kpi in kpis.values():
            place = f"{self.source} [kpi.{kpi.name}] of"
            if kpi.stat == "spread" and kpi.of not in kpis:
                raise PlanError(unknown(place, kpi.of, kpis))
            if kpi.stat == "spread" and not kpis[kpi.of].is_share:
                raise PlanError(f"{place}: {kpi.of} is no share; a spread needs a share.")
        return kpis

    def _kpi(self, name: str, spec: object) -> Kpi:
        place = f"{self.source} [kpi.{name}]"
        body = check.known(spec, _KEYS, place)
        stat = check.word(body.get("stat"), _NEEDS, f"{place} stat")
        rows = () if stat == "spread" else _ROWS
        for key in (*_ALL, *rows, *_NEEDS[stat]):
            if key not in body:
                raise PlanError(f"{place}: {key} is missing; stat {stat!r} needs it.")
        used = [*_ALL, *_EXTRA, *rows, *(["where"] if rows else []), *_NEEDS[stat]]
        used += _MAY.get(stat, ())
        for key in body:
            if key not in used:
                raise PlanError(f"{place}: stat {stat!r} does not use {key}; leave it out.")
        common = self._common(name, body, stat, place)
        if stat == "spread":
            return Kpi(**common, of=str(body["of"]))
        return Kpi(**common, **self._rows(body, stat, place))

    def _common(self, name: str, body: Mapping[str, Any], stat: str, place: str) -> dict[str, Any]:
        goal = _goal(body.get("goal"), stat, f"{place} goal")
        better = check.word(body.get("better", goal.better if goal else "none"), BETTER,
                            f"{place} better")  # fmt: skip
        if goal and better != goal.better:
            raise PlanError(f"{place} better: found {better!r}, but the goal says {goal.better!r}.")
        interval = body.get("interval", INTERVALS[stat][0])
        return {
            "name": name,
            "area": check.word(body["area"], self.raw["areas"], f"{place} area"),
            "dimension": check.word(
                body["dimension"], self.raw["dimensions"], f"{place} dimension"
            ),
            "label": check.label(body["label"], f"{place} label"),
            "about": check.label(body["about"], f"{place} about"),
            "stat": stat,
            "goal": goal,
            "better": better,
            "interval": check.word(interval, INTERVALS[stat], f"{place} interval"),
            "unit": check.word(body.get("unit", ""), UNITS, f"{place} unit"),
            "source": check.text(body["source"], f"{place} source") if "source" in body else "",
            "version": digest({k: v for k, v in body.items() if k not in _WORDS})[:12],
        }

    def _rows(self, body: Mapping[str, Any], stat: str, place: str) -> dict[str, Any]:
        table, when = self._table(body, place)
        value = self._value(stat, body.get("value", ""), table, f"{place} value")
        found: dict[str, Any] = {
            "table": table.name,
            "when": when,
            "where": parse(body.get("where", ""), table, f"{place} where"),
            "value": value,
            "event_after": _duration(table, body.get("event_after"), f"{place} event_after"),
            "age": _duration(table, body.get("age"), f"{place} age"),
        }
        if "follow_up" in body:
            found["follow_up"] = check.span(body["follow_up"], f"{place} follow_up")
        if "limit" in body:
            found["limit"] = check.span(body["limit"], f"{place} limit")
        if "quantile" in body:
            found["quantile"] = check.number(body["quantile"], f"{place} quantile", 0, 1)
        if "per" in body:
            found["per"] = self._exposure(body["per"], f"{place} per")
        _follows(found, body, table, place)
        _fits(body, stat, table, place)
        return found

    def _table(self, body: Mapping[str, Any], place: str) -> tuple[Table, str]:
        """Return a table whose rows belong to stores, and its time column with period keys."""
        table = self.contracts[check.word(body["table"], self.contracts, f"{place} table")]
        when = _column(table, body["when"], f"{place} when")
        if not table.columns[when].keys or "store_id" not in table.columns:
            timed = [column for column, spec in table.columns.items() if spec.keys]
            raise PlanError(unknown(f"{place} when (a column with period keys)", when, timed))
        return table, when

    def _value(self, stat: str, value: object, table: Table, place: str) -> str | tuple[Term, ...]:
        if stat == "rate":
            return ""
        if stat == "share":
            return parse(check.text(value, place), table, place)
        if stat == "index":
            return check.word(value, ("all", *sorted(self.factors)), place)
        if stat == "within":
            return _duration(table, value, place)
        name = _column(table, value, place)
        column = table.columns[name]
        if column.type not in _NUMBERS:
            raise PlanError(f"{place}: {name} is {column.type}, expected a number.")
        if stat == "nps" and (column.minimum, column.maximum) != (0, _NPS_TOP):
            raise PlanError(f"{place}: {name} is no item from 0 to {_NPS_TOP}.")
        return name

    def _exposure(self, spec: object, place: str) -> Exposure:
        body = check.known(spec, ("table", "when", "where", "times"), place)
        check.needs(body, ("table", "when"), place)
        table, when = self._table(body, place)
        where = parse(body.get("where", ""), table, f"{place} where")
        times = check.number(body.get("times", 1), f"{place} times", 0)
        if not times:
            raise PlanError(f"{place} times: found 0, expected a number above 0.")
        return Exposure(table.name, when, where, times)


def _column(table: Table, name: object, place: str) -> str:
    return check.word(name, table.columns, f"{place}: column of {table.name}")


def _duration(table: Table, name: object, place: str) -> str:
    if name is None:
        return ""
    column = _column(table, name, place)
    if table.columns[column].unit != "s":
        timed = [other for other, spec in table.columns.items() if spec.unit == "s"]
        raise PlanError(unknown(f"{place} (a duration in seconds)", column, timed))
    return column


def _fits(body: Mapping[str, Any], stat: str, table: Table, place: str) -> None:
    """Refuse a unit that does not measure what is counted."""
    unit = body.get("unit", "")
    allowed: tuple[str, ...] = ("",)
    if stat == "index":
        allowed = ("", "points")
    elif stat in ("mean", "quantile"):
        column = table.columns[body["value"]]
        allowed = (
            _TIMES if column.unit == "s" else ("", "yuan") if column.type == "money" else ("",)
        )
    if unit not in allowed:
        raise PlanError(unknown(f"{place} unit (of this value)", unit, [w for w in allowed if w]))


def _follows(found: Mapping[str, Any], body: Mapping[str, Any], table: Table, place: str) -> None:
    """Refuse a follow-up or a censored quantile whose columns do not belong together."""
    if body["stat"] == "quantile":
        if not 0 < found["quantile"] < 1:
            raise PlanError(
                f"{place} quantile: found {body['quantile']}, expected between 0 and 1."
            )
        if found["age"]:
            _duration(table, body["value"], f"{place} value")
            if "interval" in body:
                raise PlanError(f"{place} interval: with age it is Kaplan-Meier's; leave it out.")
    parts = [key for key in _MAY["share"] if key in body]
    if body["stat"] != "share" or not parts:
        return
    check.needs(body, _MAY["share"], f"{place} (a follow-up share)")
    event, terms = found["event_after"], found["value"]
    columns = [name for name, col in table.columns.items() if col.source == ("present", event)]
    fits = terms[0].column == event if terms[0].op == "present" else terms[0].column in columns
    if len(terms) != 1 or terms[0].op not in ("present", "true") or not fits:
        words = ", ".join([f"present({event})", *columns])
        raise PlanError(
            f"{place} value: a follow-up share awaits its event; expected one of {words}, "
            "with or without 'not' before it."
        )


def _goal(spec: object, stat: str, place: str) -> Goal | None:
    if spec is None:
        return None
    body = check.known(spec, ("value", "better", "since"), place)
    check.needs(body, ("value", "better", "since"), place)
    better = check.word(body["better"], ("up", "down"), f"{place} better")
    value = check.number(body["value"], f"{place} value", *_RANGES.get(stat, ()))
    return Goal(value, better, check.day(body["since"], f"{place} since"))
