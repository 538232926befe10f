"""The questionnaire in a plan: items, touchpoints, margins of the weighting, factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dealerqm.conditions import parse
from dealerqm.errors import PlanError
from dealerqm.plan import check
from dealerqm.plan.model import Factor
from dealerqm.tables import Column, Table

_FULL, _ROUNDING = 100.0, 1.0  # published weights are rounded and may sum to 99 or 101
_RESPONDENTS = ("customer", "staff")


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
    low, high = _scale(instrument["scale"], f"{place} scale")
    check.above_zero(instrument["index_points"], f"{place} index_points")
    codes = instrument["not_applicable"]
    if not isinstance(codes, list) or any(type(c) is not int or low <= c <= high for c in codes):
        raise PlanError(
            f"{place} not_applicable: found {codes!r}, expected whole numbers outside "
            f"{low:g} to {high:g}."
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


def _scale(raw: object, place: str) -> tuple[float, float]:
    scale = check.known(raw, ("min", "max"), place)
    check.needs(scale, ("min", "max"), place)
    low = check.number(scale["min"], f"{place} min", 0, whole=True)
    return low, check.number(scale["max"], f"{place} max", low + 1, whole=True)


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
        check.above_zero(weight, f"{place} items {item}")
    total = sum(weights.values())
    if abs(total - _FULL) > _ROUNDING:
        raise PlanError(f"{place}: item weights sum to {total:g}, expected 100.")
    weights = {item: weight * _FULL / total for item, weight in weights.items()}
    wave = check.text(version["from_wave"], f"{place} from_wave")
    return wave, check.above_zero(version["weight"], f"{place} weight"), weights


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
