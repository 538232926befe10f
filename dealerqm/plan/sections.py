"""The sections of a plan beside its KPIs: settings, instrument, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dealerqm.errors import PlanError, unknown
from dealerqm.plan import check
from dealerqm.plan.model import Kpi

Check = Callable[[Any, str], object]
_STATUS = ("verified", "claimed")


def _number(low: float, high: float = float("inf"), *, whole: bool = False) -> Check:
    return lambda value, place: check.number(value, place, low, high, whole=whole)


def _whole(low: int) -> Check:
    return _number(low, whole=True)


def _inside(value: object, place: str) -> None:
    if not 0 < check.number(value, place, 0, 1) < 1:
        raise PlanError(f"{place}: found {value}, expected a number between 0 and 1.")


def _timezone(value: object, place: str) -> None:
    try:
        ZoneInfo(check.text(value, place))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PlanError(unknown(place, value, available_timezones())) from None


def _festivals(value: object, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{place}: found {value!r}, expected a list of dates, one a year.")
    days = [check.day(each, place) for each in value]
    for early, late in pairwise(days):
        if late.year != early.year + 1:
            raise PlanError(f"{place}: found {late} after {early}, expected one day a year.")


def _table(checks: Mapping[str, Check]) -> Check:
    def checked(value: object, place: str) -> None:
        body = check.known(value, checks, place)
        check.needs(body, checks, place)
        for key, rule in checks.items():
            rule(body[key], f"{place} {key}")

    return checked


def _mapping(value: object, place: str) -> None:
    check.named(value, place)


def _words(value: object, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{place}: found {value!r}, expected a list of words.")


def _one_of(*words: str) -> Check:
    return lambda value, place: check.word(value, words, place)


_TREAT = _one_of("keep", "drop")
_GUARANTEE = _table({"days": _whole(0), "km": _whole(0)})
SETTINGS: Mapping[str, Mapping[str, Check]] = {
    "plan": {"name": check.label, "version": check.text},
    "calendar": {
        "timezone": _timezone, "spring_festival": _festivals,
        "festival_reach": _number(0, 180, whole=True),
    },
    "statistics": {
        "confidence": _inside, "minimum_n": _whole(1), "minimum_at_risk": _whole(1),
        "bootstrap_replicates": _whole(100), "seed": _whole(0),
    },
    "publication": {"k": _whole(1)},
    "charts": {
        "false_alarms": _table({"charts": check.above_zero, "years": check.above_zero}),
        "baseline_periods": _whole(2), "minimum_periods": _whole(2), "diagnosis_alpha": _inside,
        "rare_events": _number(0), "rebase_periods": _whole(3), "sigma": check.above_zero,
    },
    "warning": {
        "case_due_days": _whole(1), "miss_probability": _inside, "reach": _whole(1),
        "false_discoveries": _table({"act": _inside, "watch": _inside}),
    },
    "guarantee": {"assembly": _GUARANTEE, "level2": _GUARANTEE, "minor": _GUARANTEE},
    "training": {"valid_months": _whole(1)},
    "survey": {
        "field_days": _whole(1), "event_days": _whole(1), "waves": _whole(1), "top_box": _number(0),
        "complete": _inside, "partial": _inside,
        "call_back": _table({"score": _number(0), "within": check.span, "purposes": _words}),
        "outlier_gap": _number(0, 1), "false_discovery": _inside, "collinear": _number(1),
        "population": check.label, "expectations": check.label, "small_n": _number(0),
        "max_rows": _whole(1),
        "quality": _table({
            "straight_items": _whole(2), "hurried": _inside,
            "coached": _table({"share": _inside, "answers": _whole(1)}), "item_gap": _inside,
            "mode_gap": _number(0, 1),
            "treat": _table(dict.fromkeys(("straight", "hurried", "duplicate", "coached"), _TREAT)),
        }),
        "weighting": _table({
            "classes": _whole(2), "class_answers": _whole(1), "level_answers": _whole(1),
            "trim": _number(1), "gap": _inside, "unmet": _one_of("refuse", "accept"),
            "model_levels": _whole(2),
            "lonely": _one_of("average", "adjust", "remove", "refuse"),
        }),
        "margins": _mapping,
    },
}  # fmt: skip


def settings(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check the plain sections.

    Parameters
    ----------
    raw : mapping
        The parsed plan, every section in it.
    source : str
        File name, for messages.

    Returns
    -------
    dict
        Section to its keys.

    Raises
    ------
    PlanError
        At the first key that is unknown, missing or out of range.
    """
    for section, checks in SETTINGS.items():
        _table(checks)(raw[section], f"{source} [{section}]")
    charts = raw["charts"]
    if charts["minimum_periods"] > charts["baseline_periods"]:
        raise PlanError(
            f"{source} [charts] minimum_periods: found {charts['minimum_periods']}, expected at "
            f"most baseline_periods ({charts['baseline_periods']})."
        )
    for section in ("dimensions", "areas"):
        for name, body in check.named(raw[section], f"{source} [{section}]").items():
            check.label(body, f"{source} [{section}] {name}")
    return {name: raw[name] for name in (*SETTINGS, "dimensions", "areas")}


def benchmarks(raw: object, kpis: Mapping[str, Kpi], source: str) -> dict[str, dict[str, Any]]:
    """Check the benchmarks.

    Parameters
    ----------
    raw : object
        The section ``benchmark``.
    kpis : mapping of str to Kpi
        What they may stand beside.
    source : str
        File name, for messages.

    Returns
    -------
    dict
        Name to ``kpi, value, population, year, source, status``.

    Raises
    ------
    PlanError
        If a key is unknown or missing, or the KPI or the status is unknown.
    """
    needed = ("value", "population", "year", "source", "status")
    for name, spec in check.named(raw, f"{source} [benchmark]").items():
        place = f"{source} [benchmark.{name}]"
        body = check.known(spec, ("kpi", *needed), place)
        check.needs(body, needed, place)
        check.number(body["value"], f"{place} value")
        check.label(body["population"], f"{place} population")
        check.number(body["year"], f"{place} year", whole=True)
        check.text(body["source"], f"{place} source")
        check.word(body["status"], _STATUS, f"{place} status")
        if "kpi" in body:
            check.word(body["kpi"], kpis, f"{place} kpi")
    return dict(check.named(raw, source))
