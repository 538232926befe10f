"""The sections of a plan beside its KPIs: settings, instrument, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dealerqm.conditions import parse
from dealerqm.errors import PlanError, unknown
from dealerqm.plan import check
from dealerqm.plan.model import Factor, Kpi
from dealerqm.tables import Column, Table

Check = Callable[[Any, str], object]
_FULL, _ROUNDING = 100.0, 1.0  # published weights are rounded and may sum to 99 or 101
_RESPONDENTS = ("customer", "staff")
_STATUS = ("verified", "claimed")


def _number(low: float, high: float = float("inf"), *, whole: bool = False) -> Check:
    return lambda value, place: check.number(value, place, low, high, whole=whole)


def _whole(low: int) -> Check:
    return _number(low, whole=True)


def _inside(value: object, place: str) -> None:
    if not 0 < check.number(value, place, 0, 1) < 1:
        raise PlanError(f"{place}: found {value}, expected a number between 0 and 1.")


def _above_zero(value: object, place: str) -> float:
    found = check.number(value, place, 0)
    if not found:
        raise PlanError(f"{place}: found {value}, expected a number above 0.")
    return found


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
        "false_alarms": _table({"charts": _above_zero, "years": _above_zero}),
        "baseline_periods": _whole(2), "minimum_periods": _whole(2), "diagnosis_alpha": _inside,
        "rare_events": _number(0), "rebase_periods": _whole(3), "sigma": _above_zero,
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
        "population": check.label, "expectations": check.label,
        "quality": _table({
            "straight_items": _whole(2), "hurried": _inside,
            "coached": _table({"share": _inside, "answers": _whole(1)}), "item_gap": _inside,
            "mode_gap": _number(0, 1),
            "treat": _table(dict.fromkeys(("straight", "hurried", "duplicate", "coached"), _TREAT)),
        }),
        "weighting": _table({
            "classes": _whole(2), "class_answers": _whole(1), "level_answers": _whole(1),
            "trim": _number(1), "gap": _inside,
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


def items(raw: object, survey: Table, source: str) -> dict[str, Column]:
    """Check the instrument's items and turn them into columns of the survey table.

    Parameters
    ----------
    raw : object
        The section ``instrument``.
    survey : Table
        The contract of the survey table.
    source : str
        File name, for messages.

    Returns
    -------
    dict of str to Column
        Item to column.

    Raises
    ------
    PlanError
        If a key is unknown or missing, or an item takes the name or header of another column.
    """
    place = f"{source} [instrument]"
    keys = ("scale", "index_points", "not_applicable", "items", "factors")
    instrument = check.known(raw, (*keys, "overall", "touchpoints"), place)
    check.needs(instrument, keys, place)
    _touchpoints(instrument.get("touchpoints", []), survey, f"{place} touchpoints")
    if "overall" in instrument:
        check.word(instrument["overall"], check.named(instrument["items"], place),
                   f"{place} overall")  # fmt: skip
    _table({"min": _whole(0), "max": _whole(1)})(instrument["scale"], f"{place} scale")
    low, high = instrument["scale"]["min"], instrument["scale"]["max"]
    check.number(high, f"{place} scale max", low + 1)
    _above_zero(instrument["index_points"], f"{place} index_points")
    codes = instrument["not_applicable"]
    if not isinstance(codes, list) or any(type(c) is not int or low <= c <= high for c in codes):
        raise PlanError(
            f"{place} not_applicable: found {codes!r}, expected whole numbers outside "
            f"{low} to {high}."
        )
    taken = {header: name for name, column in survey.columns.items() for header in column.headers}
    columns = {}
    for name, spec in check.named(instrument["items"], f"{place} items").items():
        columns[name] = _item(name, spec, instrument, f"{source} [instrument.items.{name}]")
        asked = f"{source} [instrument.items.{name}] touchpoints"
        _touchpoints(spec.get("touchpoints", []), survey, asked)
        if name in survey.columns:
            raise PlanError(f"{source} [instrument.items.{name}]: is a column of {survey.name}.")
        for header in columns[name].headers:
            if taken.setdefault(header, name) != name:
                raise PlanError(
                    f"{source} [instrument.items.{name}] label: {header!r} already names "
                    f"{taken[header]}."
                )
    return columns


def _item(name: str, spec: object, instrument: Mapping[str, Any], place: str) -> Column:
    keys = ("label", "respondent")
    body = check.known(spec, (*keys, "touchpoints"), place)
    check.needs(body, keys, place)
    check.word(body["respondent"], _RESPONDENTS, f"{place} respondent")
    label = check.label(body["label"], f"{place} label")
    return Column(
        name=name, type="int", headers=(label["zh"], label["en"]), label=label,
        minimum=instrument["scale"]["min"], maximum=instrument["scale"]["max"],
        codes=tuple(instrument["not_applicable"]),
    )  # fmt: skip


def _touchpoints(value: object, survey: Table, place: str) -> None:
    if not isinstance(value, list):
        raise PlanError(f"{place}: found {value!r}, expected a list of touchpoints.")
    for word in value:
        check.word(word, survey.columns["touchpoint"].values, place)


def survey(raw: Mapping[str, Any], tables: Mapping[str, Table], source: str) -> None:
    """Check what the survey looks up in the tables: contacts, and margins of the weighting.

    Parameters
    ----------
    raw : mapping
        The section ``survey``. A margin has a ``column`` (of the survey), or ``table, key, link``
        with ``where`` (a condition) or ``birth_year, edges, bands``, and perhaps ``touchpoints``.
    tables : mapping of str to Table
        The contracts, the instrument's items among the columns of the survey.
    source : str
        File name, for messages.

    Raises
    ------
    PlanError
        If a key, table, column, touchpoint or condition is unknown, or bands and edges do not fit.
    """
    for purpose in raw["call_back"]["purposes"]:
        known = tables["contacts"].columns["purpose"]
        check.word(purpose, known.values, f"{source} [survey] call_back purposes")
    survey = tables["survey_responses"]
    for name, spec in raw["margins"].items():
        place = f"{source} [survey.margins] {name}"
        if isinstance(spec, Mapping) and "column" in spec:
            body = check.known(spec, ("column",), place)
            check.word(body["column"], survey.columns, f"{place} column")
            continue
        kind = "where" if isinstance(spec, Mapping) and "where" in spec else "birth_year"
        needed = ("table", "key", "link", *((kind,) if kind == "where" else _BANDS))
        body = check.known(spec, (*needed, "touchpoints"), place)
        check.needs(body, needed, place)
        table = tables[check.word(body["table"], tables, f"{place} table")]
        check.word(body["key"], table.columns, f"{place} key")
        check.word(body["link"], survey.columns, f"{place} link")
        _touchpoints(body.get("touchpoints", []), survey, f"{place} touchpoints")
        if kind == "where":
            parse(body["where"], table, f"{place} where")
        else:
            _bands(body, table, place)


_BANDS = ("birth_year", "edges", "bands")


def _bands(body: Mapping[str, Any], table: Table, place: str) -> None:
    check.word(body["birth_year"], table.columns, f"{place} birth_year")
    edges, bands = body["edges"], body["bands"]
    whole = isinstance(edges, list) and all(type(edge) is int for edge in edges)
    words = isinstance(bands, list) and all(isinstance(band, str) for band in bands)
    if not whole or not words or edges != sorted(set(edges)) or len(bands) != len(edges) + 1:
        raise PlanError(
            f"{place}: found edges {edges!r} and bands {bands!r}, expected rising whole years and "
            "one band more than edges."
        )


def factors(instrument: Mapping[str, Any], source: str) -> tuple[Factor, ...]:
    """Check the factors of the index and their weights.

    Parameters
    ----------
    instrument : mapping
        The section ``instrument``, its items already checked.
    source : str
        File name, for messages.

    Returns
    -------
    tuple of Factor
        All versions of all factors.

    Raises
    ------
    PlanError
        If an item is unknown, or weights do not sum to 100; rounded ones (99 to 101) are scaled.
    """
    found: list[Factor] = []
    for name, spec in check.named(instrument["factors"], f"{source} [instrument.factors]").items():
        place = f"{source} [instrument.factors.{name}]"
        body = check.known(spec, ("label", "versions"), place)
        check.needs(body, ("label", "versions"), place)
        label = check.label(body["label"], f"{place} label")
        if not isinstance(body["versions"], list) or not body["versions"]:
            raise PlanError(f"{place} versions: found {body['versions']!r}, expected a list.")
        for version in body["versions"]:
            wave, weight, weights = _version(version, instrument, place)
            if any((factor.name, factor.from_wave) == (name, wave) for factor in found):
                raise PlanError(f"{place}: has two versions from wave {wave!r}.")
            found.append(Factor(name, label, wave, weight, weights))
    _sum_of_factors(found, source)
    return tuple(found)


def _version(
    raw: object, instrument: Mapping[str, Any], place: str
) -> tuple[str, float, dict[str, float]]:
    keys = ("from_wave", "weight", "items")
    version = check.known(raw, keys, place)
    check.needs(version, keys, place)
    weights = check.known(version["items"], instrument["items"], f"{place} items")
    for item, weight in weights.items():
        _above_zero(weight, f"{place} items {item}")
    total = sum(weights.values())
    if abs(total - _FULL) > _ROUNDING:
        raise PlanError(f"{place}: item weights sum to {total:g}, expected 100.")
    weights = {item: weight * _FULL / total for item, weight in weights.items()}
    wave = check.text(version["from_wave"], f"{place} from_wave")
    return wave, _above_zero(version["weight"], f"{place} weight"), weights


def _sum_of_factors(found: list[Factor], source: str) -> None:
    for wave in sorted({factor.from_wave for factor in found}):
        started = [factor for factor in found if factor.from_wave <= wave]
        newest = {f.name: f.weight for f in sorted(started, key=lambda f: f.from_wave)}
        total = sum(newest.values())
        if abs(total - _FULL) > _ROUNDING:
            raise PlanError(
                f"{source} [instrument.factors]: the weights of {', '.join(newest)} sum to "
                f"{total:g} from wave {wave!r}, expected 100."
            )


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
