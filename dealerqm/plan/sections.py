"""The sections of a plan beside its KPIs: settings, instrument, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dealerqm import conditions, labels, tables
from dealerqm.errors import PlanError, unknown
from dealerqm.plan import check
from dealerqm.plan.model import Kpi
from dealerqm.tables import Column, Table

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


def _cuts(value: object, place: str) -> None:
    _table({"poor": _number(0), "good": _number(0)})(value, place)
    low, high = (dict(value)[name] for name in ("poor", "good"))  # type: ignore[call-overload]
    if not low < high:
        raise PlanError(f"{place}: found poor {low} and good {high}, expected poor below good.")


def _scales(value: object, place: str) -> None:
    body = check.named(value, place)
    if not body:
        raise PlanError(f'{place}: found none, expected habits such as km_per_day = "log".')
    for name, scale in body.items():
        check.word(scale, ("log", "plain"), f"{place} {name}")


def _mapping(value: object, place: str) -> None:
    check.named(value, place)


def _words(value: object, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{place}: found {value!r}, expected a list of words.")


def _one_of(*words: str) -> Check:
    return lambda value, place: check.word(value, words, place)


_AGES = ("lead_months", "sale_months", "service_months", "activity_months")
LIFECYCLE = Table("lifecycle", {}, (), {
    name: Column(name, "int", minimum=0)
    for name in ("leads", "sales", "services", "trade_ins", "held", "money_yuan", *_AGES)
})  # what a rule of the lifecycle can ask  # fmt: skip
_COMPARED = {"money_yuan": (">=", "<"), **dict.fromkeys(_AGES, ("<=", ">"))}


def _rules(value: object, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{place}: found {value!r}, expected a list of rules.")
    stages = [
        key.removeprefix("stage.") for key in sorted(labels.keys()) if key.startswith("stage.")
    ]
    names: set[str] = set()
    for number, rule in enumerate(value, 1):
        here = f"{place} {number}"
        _table({"name": check.text, "stage": _one_of(*stages), "when": _condition})(rule, here)
        if rule["name"] in names:
            raise PlanError(f"{here}: found the name {rule['name']!r} twice; name rules apart.")
        names.add(rule["name"])


def _condition(value: object, place: str) -> None:
    for term in conditions.parse(str(value), LIFECYCLE, place):
        allowed = _COMPARED.get(term.column)
        if term.op == "present" or (allowed and term.op not in allowed):
            raise PlanError(unknown(
                f"{place}: comparison of {term.column}", term.op, allowed or ("==", "in", *"<>")
            ))  # fmt: skip


def _listed(*words: str) -> Check:
    def checked(value: object, place: str) -> None:
        _words(value, place)
        for word in value:  # type: ignore[attr-defined]
            check.word(word, words, place)

    return checked


def _months(value: object, place: str) -> None:
    if not isinstance(value, list) or not value or value != sorted(set(value)):
        raise PlanError(f"{place}: found {value!r}, expected rising whole numbers of months.")
    for each in value:
        check.number(each, place, 1, whole=True)


_LABELS = tuple(labels.keys())


def _words_of(prefix: str) -> dict[str, tuple[str, ...]]:
    return {key.removeprefix(prefix): () for key in _LABELS if key.startswith(prefix)}


CARE = Table("care", {}, (), {
    "stage": Column("stage", "category", values=_words_of("stage.")),
    "due": Column("due", "category", values=_words_of("due_state.")),
    "grade": Column("grade", "category"),
    "due_in": Column("due_in", "int"), "changes_in": Column("changes_in", "int"),
})  # what a rule of care can ask; days from the end of the data  # fmt: skip
_ON = ("due_on", "changes_on")


def _care_rules(value: object, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{place}: found {value!r}, expected a list of rules.")
    contacts = tables.load()["contacts"].columns
    rule = _table({
        "name": check.text, "when": lambda v, p: conditions.parse(v, CARE, p),  # type: ignore[arg-type]
        "action": check.text, "on": _one_of(*_ON), "days": _number(-366, 366, whole=True),
        "channel": _one_of(*contacts["channel"].values),
        "purpose": _one_of(*contacts["purpose"].values), "capacity": _whole(1),
    })  # fmt: skip
    for number, body in enumerate(value, 1):
        rule(body, f"{place} {number}")
    names = [body["name"] for body in value]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"{place}: found the name {name!r} twice; name rules apart.")


def _grades(value: object, place: str) -> None:
    share = {"share": _inside}
    limit = _table({"within": check.span, **share})
    grade = _table({
        "label": check.label, "stages": _listed(*_words_of("stage.")), "waiting": limit,
        "response": limit, "contact": _table({"times": _whole(1), **share}),
        "satisfaction": _table(share),
    })  # fmt: skip
    owner: dict[str, str] = {}
    for name, body in check.named(value, place).items():
        grade(body, f"{place} {name}")
        for stage in body["stages"]:
            if owner.setdefault(stage, name) != name:
                raise PlanError(
                    f"{place} {name}: found the stage {stage!r}, which {owner[stage]} has already; "
                    "a stage belongs to one grade."
                )


def _labelled(value: object, place: str) -> None:
    for name, body in check.named(value, place).items():
        check.label(body, f"{place} {name}")


def _traits(value: object, place: str) -> None:
    people = tables.load()["customers"].stored
    for name, body in check.named(value, place).items():
        here = f"{place} {name}"
        spec = check.known(body, ("column", "birth_year", "edges", "bands"), here)
        if "column" in spec:
            check.known(body, ("column",), here)
            check.word(spec["column"], people, f"{here} column")
            continue
        check.needs(spec, ("birth_year", "edges", "bands"), here)
        check.word(spec["birth_year"], people, f"{here} birth_year")
        _months(spec["edges"], f"{here} edges")
        _words(spec["bands"], f"{here} bands")
        if len(spec["bands"]) != len(spec["edges"]) + 1:
            raise PlanError(
                f"{here}: found {len(spec['edges'])} edges and {len(spec['bands'])} bands, "
                "expected one band more than edges."
            )


def _costs(value: object, place: str) -> None:
    channels = tables.load()["contacts"].columns["channel"].values
    _table(dict.fromkeys(channels, _number(0)))(value, place)


def _care(section: Mapping[str, Any], source: str) -> None:
    """Refuse rules that name an action or a grade that the plan does not describe."""
    for number, rule in enumerate(section["rules"], 1):
        place = f"{source} [care] rules {number}"
        check.word(rule["action"], section["actions"], f"{place} action")
        for term in conditions.parse(rule["when"], CARE, place):
            for word in term.values if term.column == "grade" else ():
                check.word(word, section["grades"], f"{place} when: grade")


_TREAT = _one_of("keep", "drop")
_INTERVAL = _table({"months": _whole(1), "km": _whole(1)})
_ENERGIES = ("petrol", "hybrid", "electric", "other")
_WORK = ("maintenance", "repair", "warranty", "body", "recall")
_BLOCKS = {
    "basics": ("kind", "home_region", "channel", "birth_year", "household_id", "consent"),
    "intention": ("model", "budget_band", "use", "finance", "purchase_kind"),
    "usage": ("models", "energy", "sold_on", "warranty_until", "odometer_km", "km_per_day"),
    "service": ("last_service", "spend_fen"),
    "feedback": ("satisfaction", "recommend", "contacted"),
}
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
        "structure": _table({
            "answers_per_item": _whole(1), "reliable": _inside, "item_rest": _inside,
            "kmo": _inside, "chance": _inside, "loading": _inside, "cuts": _cuts,
            "effect": check.above_zero, "importance_shift": _inside,
        }),
        "margins": _mapping,
    },
    "customer_file": {
        "party": _one_of("customer", "household"), "fleet_vehicles": _whole(1),
        **{block: _listed(*fields) for block, fields in _BLOCKS.items()},
    },
    "segments": {
        "encoded": _inside, "purposes": _labelled, "protected": _traits,
        "clusters": _table({
            "months": _whole(1), "least_visits": _whole(2), "features": _scales,
            "most": _number(2, 20, whole=True), "people": _whole(1), "keep_name": _inside,
        }),
    },
    "lifecycle": {"money_months": _whole(1), "rules": _rules},
    "care": {
        "hold_out": _inside, "horizon_days": _number(1, 366, whole=True), "watch_days": _whole(1),
        "before_days": _whole(1), "worth": _inside, "power": _inside, "balance_alpha": _inside,
        "margin": _inside, "contact_yuan": _costs, "fair_gap": _inside, "rules": _care_rules,
        "actions": _labelled, "grades": _grades,
    },
    "service_due": {
        "intervals": _table(dict.fromkeys(_ENERGIES, _INTERVAL)), "resets": _listed(*_WORK),
        "soon_days": _whole(0), "grace_days": _whole(0), "defected_months": _whole(1),
        "lost_months": _whole(1), "jump_km_per_day": check.above_zero, "rate_months": _whole(1),
        "rate_days": _whole(1), "pre_delivery_days": _whole(0), "match_days": _whole(0),
        "retention_months": _months,
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
    _care(raw["care"], source)
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
