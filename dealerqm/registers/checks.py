"""What an entry must say before the log takes it: filled fields, known names, no clash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

from dealerqm.errors import ParameterError, RegisterError, unknown
from dealerqm.period import Period, of, parse
from dealerqm.registers.kinds import Kind, kind_of

NOTES = ("annotation", "exclusion", "rebase")
CHARTED = ("group", "region", "store")
Body = Mapping[str, Any]
Bodies = Mapping[str, Body]


@dataclass(frozen=True)
class Scope:
    """What notes on charts may name.

    Attributes
    ----------
    kpis, units : frozenset of str
        KPIs of the plan; group, regions and stores of the data.
    first, last : date
        First and last day of the data.
    """

    kpis: frozenset[str]
    units: frozenset[str]
    first: date
    last: date


class Change(NamedTuple):
    """What someone wants to write, and where it stands if it comes from a workbook.

    Attributes
    ----------
    kind, key : str
        Which object.
    fields : mapping
        Field to value.
    place : str
        File, sheet and row.
    heads : mapping of str to str
        Field to the heading of its column.
    """

    kind: str
    key: str
    fields: Mapping[str, Any]
    place: str = ""
    heads: Mapping[str, str] = MappingProxyType({})


class Fault(NamedTuple):
    """The field that is wrong, and what was found and is allowed."""

    field: str
    text: str


def chart_key(kpi: str, unit: str, period: str) -> str:
    """Return the name of a point of a chart.

    Parameters
    ----------
    kpi, unit, period : str
        The point.

    Returns
    -------
    str
        Key of its exclusion or rebase.

    Examples
    --------
    >>> chart_key("closing_rate", "S09", "2026-05")
    'closing_rate/S09/2026-05'
    """
    return f"{kpi}/{unit}/{period}"


def refuse(change: Change, objects: Bodies, scope: Scope | None) -> None:
    """Raise if the object that a change leads to cannot be taken.

    Parameters
    ----------
    change : Change
        What is to be written.
    objects : mapping
        All objects of the kind as they would be after all changes.
    scope : Scope or None
        What notes on charts may name.

    Raises
    ------
    RegisterError
        Where, what was found, and what is allowed.
    """
    if change.kind in NOTES and scope is None:
        raise RegisterError(
            f"{change.place or f'register {change.kind} {change.key!r}'}: notes on charts are "
            "checked against the plan and the data; open the register with their scope (on the "
            "command line: run dealerqm ingest first)."
        )
    fault = _fault(change, objects, scope)
    if fault is not None:
        head = change.heads.get(fault.field, fault.field)
        where = f"{change.place}, column {head!r}" if change.place else (
            f"register {change.kind} {change.key!r} {fault.field}"
        )  # fmt: skip
        raise RegisterError(f"{where}: {fault.text}")


def _fault(change: Change, objects: Bodies, scope: Scope | None) -> Fault | None:
    kind, body = kind_of(change.kind), objects[change.key]
    fault = _empty(kind, body) or _unknown(kind, body, scope)
    for rule in _RULES.get(kind.name, ()):
        fault = fault or rule(change.key, objects, scope)
    return fault


def _empty(kind: Kind, body: Body) -> Fault | None:
    for name, column in kind.fields.items():
        if column.required and body.get(name) is None:
            return Fault(name, "is empty; fill it in, it is needed in every row.")
    return None


def _unknown(kind: Kind, body: Body, scope: Scope | None) -> Fault | None:
    """Find a name that the plan or the data do not know, and a period that is none."""
    for name, what in kind.names.items():
        value = body.get(name)
        if value is None:
            continue
        if what == "period":
            text = _period(value, scope)
        else:
            words = scope and {"kpi": scope.kpis, "unit": scope.units}[what]
            text = unknown("", value, words)[2:] if words and value not in words else ""
        if text:
            return Fault(name, text)
    return None


def _period(value: str, scope: Scope | None) -> str:
    try:
        period = parse(value)
    except ParameterError as error:
        return str(error).removeprefix("period: ")
    if scope is None or (period.end >= scope.first and period.start <= scope.last):
        return ""
    return f"found {value!r}, expected {_range(period.kind, scope, 0)} (the data)."


def _range(kind: str, scope: Scope, late: int) -> str:
    first, last = of(scope.first, kind).shift(late), of(scope.last, kind)
    return f"a {kind} from {first} to {last}"


# ---------------------------------------------------------------- notes on charts


def _own_key(key: str, objects: Bodies, _: Scope | None) -> Fault | None:
    body = objects[key]
    wanted = chart_key(body["kpi"], body["unit"], body["period"])
    return None if key == wanted else Fault("key", f"found {key!r}, expected {wanted!r}.")


def _remark(key: str, objects: Bodies, _: Scope | None) -> Fault | None:
    body = objects[key]
    first, last = parse(body["period_start"]), parse(body["period_end"])
    if first.kind != last.kind or last < first:
        return Fault(
            "period_end", f"found {last.key!r}, expected {first.key!r} or a later {first.kind}."
        )
    wanted = chart_key(body["kpi"], body["unit"], first.key)
    if key.startswith(wanted):
        return None
    return Fault("key", f"found {key!r}, expected one that begins with {wanted!r}.")


def _evidence(key: str, objects: Bodies, _: Scope | None) -> Fault | None:
    body = objects[key]
    first, last = body.get("onset_first"), body.get("onset_last")
    if (first is None) != (last is None):
        return Fault("onset_last", "an onset has both a first and a last period, or none.")
    if first is not None and last is not None:
        kinds = {parse(text).kind for text in (first, last, body["period"])}
        if len(kinds) > 1 or parse(last) < parse(first):
            return Fault(
                "onset_last", f"found {last!r}, expected {first!r} or later, of the same kind as "
                f"{body['period']!r}.",
            )  # fmt: skip
    sizes = [body.get(name) for name in ("size_low", "size", "size_high")]
    known = [size for size in sizes if size is not None]
    if known != sorted(known):
        return Fault("size", f"found {sizes[1]} with an interval from {sizes[0]} to {sizes[2]}; "
                     "expected a size inside its interval.")  # fmt: skip
    chance = body.get("p_value")
    if chance is not None and not 0 <= chance <= 1:
        return Fault("p_value", f"found {chance}, expected a number from 0 to 1.")
    return None


def _begins(key: str, objects: Bodies, scope: Scope | None) -> Fault | None:
    """Refuse a new phase from the first period on: nothing lies before it."""
    period = parse(objects[key]["period"])
    if scope is None or period.start > scope.first:
        return None
    return Fault(
        "period", f"found {period.key!r}, before which there is nothing to compare with; expected "
        f"{_range(period.kind, scope, 1)}.",
    )  # fmt: skip


def _overlap(key: str, objects: Bodies, _: Scope | None) -> Fault | None:
    """Refuse two rebases that speak of the same change of the same chart."""
    body = objects[key]
    first, last = _reach(body)
    for other, that in objects.items():
        chart = (that["kpi"], that["unit"]) == (body["kpi"], body["unit"])
        if other == key or not chart or not (_in_force(body) and _in_force(that)):
            continue
        start, end = _reach(that)
        if start.kind == first.kind and start <= last and first <= end:
            return Fault(
                "period", f"found {body['period']!r} (change between {first} and {last}), which "
                f"overlaps the rebase {other!r} ({start} to {end}); expected a change up to "
                f"{start.shift(-1)} or from {end.shift(1)} on, or withdraw {other!r} first.",
            )  # fmt: skip
    return None


def _in_force(body: Body) -> bool:
    return bool(body["accepted"]) and not body.get("withdrawn")


def _reach(body: Body) -> tuple[Period, Period]:
    texts = (body["period"], body.get("onset_first"), body.get("onset_last"))
    periods = [parse(text) for text in texts if text]
    return min(periods), max(periods)


# ---------------------------------------------------------------- alert cases


def _known_chart(key: str, objects: Bodies, scope: Scope | None) -> Fault | None:
    """Refuse a case of a chart that the plan or the data do not know."""
    body = objects[key]
    if scope is None or body["unit_type"] not in CHARTED:
        return None
    for name, words in (("kpi", scope.kpis), ("unit", scope.units)):
        if body.get(name) not in words:
            return Fault(name, unknown("", body.get(name) or "", words)[2:])
    return None


def _told(key: str, objects: Bodies, _: Scope | None) -> Fault | None:
    """Ask what was done, or why nothing needed to be."""
    body = objects[key]
    if body.get("done_on") and not body.get("corrective_action"):
        return Fault("corrective_action", "is empty though done_on is filled; say what was done.")
    if body.get("closed_on") and not body.get("done_on") and not body.get("cause"):
        return Fault(
            "cause", "is empty though the case was closed and nothing was done; say why none was "
            "needed.",
        )  # fmt: skip
    return None


Rule = Callable[[str, Bodies, Scope | None], Fault | None]
_RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "exclusion": (_own_key,),
        "annotation": (_remark,),
        "rebase": (_own_key, _evidence, _begins, _overlap),
        "alert_case": (_known_chart, _told),
    }
)
