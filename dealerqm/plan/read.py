"""Reading ``plan.toml``: every check that a plan must pass."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dealerqm import labels, tables
from dealerqm.conditions import Term, parse
from dealerqm.errors import PlanError, unknown
from dealerqm.plan.model import UNITS, Exposure, Factor, Goal, Kpi, Plan
from dealerqm.tables import Column, Table

BETTER = ("up", "down", "none")
INTERVALS = {
    "share": ("wilson",), "within": ("wilson",), "rate": ("poisson",), "nps": ("adjusted_wald",),
    "mean": ("t", "bootstrap"), "index": ("t",), "quantile": ("order", "lognormal"),
    "spread": ("q_profile",),
}  # fmt: skip
_SETTINGS = {
    "plan": ("name", "version"),
    "calendar": ("timezone", "spring_festival", "festival_reach"),
    "statistics": ("confidence", "minimum_n", "minimum_at_risk", "bootstrap_replicates", "seed"),
    "publication": ("k",),
    "charts": ("sigma", "baseline_periods", "minimum_periods", "false_alarms"),
    "warning": ("miss_probability",),
    "guarantee": ("assembly", "level2", "minor"),
    "training": ("valid_months",),
}
SECTIONS = (*_SETTINGS, "dimensions", "areas", "instrument", "benchmark", "kpi")
_KPI_KEYS = {
    "label", "area", "dimension", "table", "when", "stat", "where", "value", "event_after", "age",
    "follow_up", "limit", "quantile", "of", "per", "interval", "unit", "better", "goal", "about",
    "source", "version",
}  # fmt: skip
_NEEDS = {
    "share": ("value",), "within": ("value", "age", "limit"), "rate": ("per",), "mean": ("value",),
    "quantile": ("value", "quantile"), "index": ("value",), "nps": ("value",), "spread": ("of",),
}  # fmt: skip
_SPAN = re.compile(r"(\d+)\s*(min|h|d)")
_SECONDS = {"min": 60, "h": 3600, "d": 86400}
_NUMBERS = ("int", "float", "money")


def load(path: Path | None = None) -> Plan:
    """Read and check a plan.

    Parameters
    ----------
    path : Path or None
        A ``plan.toml``; None means the default plan of the package.

    Returns
    -------
    Plan
        The checked plan.

    Raises
    ------
    PlanError
        If the file is missing, is no TOML, or fails any check.

    Examples
    --------
    >>> load().kpi("satisfaction").goal.value
    0.9
    """
    if path is None:
        text = resources.files("dealerqm").joinpath("plan.toml").read_text(encoding="utf-8")
        return read(text)
    if not path.is_file():
        raise PlanError(f"plan: found no file {path.name}; expected a plan.toml.")
    return read(path.read_text(encoding="utf-8"), path.name)


def read(text: str, source: str = "plan.toml") -> Plan:
    """Check the text of a plan and turn it into a Plan; missing sections are the default's.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        File name for messages.

    Returns
    -------
    Plan
        The checked plan.

    Raises
    ------
    PlanError
        At the first thing that is wrong: place, what was found, what is allowed.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{source}: is no valid TOML: {error}.") from None
    _known(raw, SECTIONS, source)
    raw = {section: raw.get(section, default) for section, default in _default().items()}
    contracts = dict(tables.load())
    contracts["survey_responses"] = contracts["survey_responses"].with_items(
        _items(raw["instrument"], source)
    )
    factors = _factors(raw["instrument"], contracts["survey_responses"], source)
    reader = _KpiReader(source, raw, contracts, {factor.name for factor in factors})
    kpis = {name: reader.kpi(name, spec) for name, spec in raw["kpi"].items()}
    reader.spreads(kpis)
    settings = {name: raw[name] for name in (*_SETTINGS, "dimensions", "areas")}
    _check_settings(settings, source)
    return Plan(
        settings=MappingProxyType(settings),
        kpis=MappingProxyType(kpis),
        tables=MappingProxyType(contracts),
        instrument=MappingProxyType({k: v for k, v in raw["instrument"].items() if k != "items"}),
        factors=factors,
        benchmarks=MappingProxyType(_benchmarks(raw["benchmark"], kpis, source)),
        digest=digest(raw),
        source=source,
    )


def digest(raw: object) -> str:
    """Return the SHA-256 of anything TOML can hold, independent of key order and layout.

    Parameters
    ----------
    raw : object
        Parsed TOML.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(raw, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def _default() -> dict[str, Any]:
    text = resources.files("dealerqm").joinpath("plan.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _known(body: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
    for key in body:
        if key not in allowed:
            raise PlanError(unknown(place, key, allowed))


def _label(body: object, place: str) -> dict[str, str]:
    codes = labels.languages()
    if not isinstance(body, dict) or set(body) != set(codes):
        raise PlanError(f"{place}: found {body!r}, expected a text for each of {codes}.")
    return body


def _items(instrument: Mapping[str, Any], source: str) -> dict[str, Column]:
    _known(
        instrument,
        ("scale", "index_points", "not_applicable", "items", "factors"),
        f"{source} [instrument]",
    )
    items = {}
    for name, spec in instrument["items"].items():
        place = f"{source} [instrument.items.{name}]"
        _known(spec, ("label", "respondent"), place)
        label = _label(spec.get("label"), f"{place} label")
        items[name] = Column(
            name=name, type="int", headers=(label["zh"], label["en"]), label=label,
            minimum=instrument["scale"]["min"], maximum=instrument["scale"]["max"],
            codes=tuple(instrument["not_applicable"]),
        )  # fmt: skip
    return items


def _factors(instrument: Mapping[str, Any], survey: Table, source: str) -> tuple[Factor, ...]:
    factors = []
    for name, spec in instrument["factors"].items():
        place = f"{source} [instrument.factors.{name}]"
        _known(spec, ("label", "versions"), place)
        for version in spec["versions"]:
            _known(version, ("from_wave", "weight", "items"), place)
            for item in version["items"]:
                if item not in survey.columns:
                    raise PlanError(unknown(f"{place} items", item, instrument["items"]))
            if round(sum(version["items"].values()), 9) != _FULL:
                total = sum(version["items"].values())
                raise PlanError(f"{place}: item weights sum to {total}, expected 100.")
            label = _label(spec.get("label"), f"{place} label")
            factors.append(
                Factor(name, label, version["from_wave"], version["weight"], version["items"])
            )
    return tuple(factors)


_FULL = 100.0


def _benchmarks(
    raw: Mapping[str, Any], kpis: Mapping[str, Kpi], source: str
) -> dict[str, dict[str, Any]]:
    for name, spec in raw.items():
        place = f"{source} [benchmark.{name}]"
        _known(spec, ("kpi", "value", "population", "year", "source", "status"), place)
        for key in ("value", "population", "year", "source", "status"):
            if key not in spec:
                raise PlanError(f"{place}: {key} is missing.")
        _label(spec["population"], f"{place} population")
        if spec["status"] not in ("verified", "claimed"):
            raise PlanError(unknown(f"{place} status", spec["status"], ("verified", "claimed")))
        if "kpi" in spec and spec["kpi"] not in kpis:
            raise PlanError(unknown(f"{place} kpi", spec["kpi"], kpis))
    return dict(raw)


def _check_settings(settings: Mapping[str, Any], source: str) -> None:
    for section, keys in _SETTINGS.items():
        place = f"{source} [{section}]"
        _known(settings[section], keys, place)
        for key in keys:
            if key not in settings[section]:
                raise PlanError(f"{place}: {key} is missing.")
    for section in ("dimensions", "areas"):
        for name, body in settings[section].items():
            _label(body, f"{source} [{section}] {name}")
    confidence = settings["statistics"]["confidence"]
    if not 0 < confidence < 1:
        raise PlanError(f"{source} [statistics] confidence: found {confidence}, expected 0 to 1.")
    if settings["publication"]["k"] < 1:
        found = settings["publication"]["k"]
        raise PlanError(f"{source} [publication] k: found {found}, expected 1 or more.")


class _KpiReader:
    """Reads the KPI blocks of one plan against its contracts."""

    def __init__(
        self, source: str, raw: Mapping[str, Any], contracts: Mapping[str, Table],
        factors: set[str],
    ) -> None:  # fmt: skip
        self.source, self.raw, self.contracts, self.factors = source, raw, contracts, factors

    def kpi(self, name: str, spec: Mapping[str, Any]) -> Kpi:
        place = f"{self.source} [kpi.{name}]"
        _known(spec, _KPI_KEYS, place)
        stat = self._word(spec, "stat", _NEEDS, place)
        needed = ("label", "about", "area", "dimension", *_NEEDS[stat])
        needed += () if stat == "spread" else ("table", "when")
        for key in needed:
            if key not in spec:
                raise PlanError(f"{place}: {key} is missing; stat {stat!r} needs it.")
        goal = self._goal(spec.get("goal"), place)
        common: dict[str, Any] = {
            "name": name,
            "area": self._word(spec, "area", self.raw["areas"], place),
            "dimension": self._word(spec, "dimension", self.raw["dimensions"], place),
            "label": _label(spec["label"], f"{place} label"),
            "about": _label(spec["about"], f"{place} about"),
            "stat": stat,
            "goal": goal,
            "better": goal.better if goal else self._word(spec, "better", BETTER, place, "none"),
            "interval": self._word(spec, "interval", INTERVALS[stat], place, INTERVALS[stat][0]),
            "unit": self._word(spec, "unit", UNITS, place, ""),
            "source": str(spec.get("source", "")),
            "version": digest({k: v for k, v in spec.items() if k not in _WORDS})[:12],
        }
        if stat == "spread":
            return Kpi(**common, of=str(spec["of"]))
        table = self._table(spec["table"], place)
        when = self._column(table, spec["when"], f"{place} when")
        if not table.columns[when].keys:
            timed = [column for column, body in table.columns.items() if body.keys]
            raise PlanError(unknown(f"{place} when (a column with period keys)", when, timed))
        return Kpi(
            **common,
            table=table.name,
            when=when,
            where=parse(str(spec.get("where", "")), table, f"{place} where"),
            value=self._value(stat, spec.get("value", ""), table, place),
            event_after=self._duration(table, spec, "event_after", place),
            age=self._duration(table, spec, "age", place),
            follow_up=_span(spec.get("follow_up"), f"{place} follow_up"),
            limit=_span(spec.get("limit"), f"{place} limit"),
            quantile=float(spec.get("quantile", 0.0)),
            per=self._exposure(spec.get("per"), f"{place} per"),
        )

    def spreads(self, kpis: Mapping[str, Kpi]) -> None:
        """Check that every spread is of a KPI that has values per store."""
        for kpi in kpis.values():
            place = f"{self.source} [kpi.{kpi.name}] of"
            if kpi.stat == "spread" and kpi.of not in kpis:
                raise PlanError(unknown(place, kpi.of, kpis))
            if kpi.stat == "spread" and not kpis[kpi.of].is_share:
                raise PlanError(f"{place}: {kpi.of} is no share; a spread needs a share.")

    def _word(
        self, spec: Mapping[str, Any], key: str, allowed: Iterable[str], place: str,
        default: str | None = None,
    ) -> str:  # fmt: skip
        word = spec.get(key, default)
        if word is None or word not in allowed:
            raise PlanError(unknown(f"{place} {key}", str(word), allowed))
        return str(word)

    def _table(self, name: str, place: str) -> Table:
        if name not in self.contracts:
            raise PlanError(unknown(f"{place} table", name, self.contracts))
        return self.contracts[name]

    def _column(self, table: Table, name: str, place: str) -> str:
        if name not in table.columns:
            raise PlanError(unknown(f"{place}: column of {table.name}", name, table.columns))
        return name

    def _duration(self, table: Table, spec: Mapping[str, Any], key: str, place: str) -> str:
        if key not in spec:
            return ""
        name = self._column(table, spec[key], f"{place} {key}")
        if table.columns[name].unit != "s":
            known = [column for column, body in table.columns.items() if body.unit == "s"]
            raise PlanError(unknown(f"{place} {key} (a duration in seconds)", name, known))
        return name

    def _value(self, stat: str, value: str, table: Table, place: str) -> str | tuple[Term, ...]:
        if stat == "share":
            return parse(value, table, f"{place} value")
        if stat == "rate":
            return ""
        if stat == "index":
            if value not in (allowed := {"all", *self.factors}):
                raise PlanError(unknown(f"{place} value", value, allowed))
            return value
        column = table.columns[self._column(table, value, f"{place} value")]
        if column.type not in _NUMBERS:
            raise PlanError(f"{place} value: {value} is {column.type}, expected a number.")
        return value

    def _exposure(self, spec: Mapping[str, Any] | None, place: str) -> Exposure | None:
        if spec is None:
            return None
        _known(spec, ("table", "when", "where", "times"), place)
        table = self._table(spec["table"], place)
        when = self._column(table, spec["when"], f"{place} when")
        where = parse(str(spec.get("where", "")), table, f"{place} where")
        return Exposure(table.name, when, where, float(spec.get("times", 1)))

    def _goal(self, spec: Mapping[str, Any] | None, place: str) -> Goal | None:
        if spec is None:
            return None
        _known(spec, ("value", "better", "since"), f"{place} goal")
        better = self._word(spec, "better", ("up", "down"), f"{place} goal")
        since, value = spec.get("since"), spec.get("value")
        if not isinstance(since, date) or not isinstance(value, int | float):
            raise PlanError(f"{place} goal: expected value (a number) and since (a date).")
        return Goal(float(value), better, since)


_WORDS = ("label", "about", "area", "dimension", "source", "goal")


def _span(text: str | None, place: str) -> int:
    if text is None:
        return 0
    match = _SPAN.fullmatch(str(text))
    if match is None:
        raise PlanError(f"{place}: found {text!r}, expected minutes, hours or days such as 24h.")
    return int(match[1]) * _SECONDS[match[2]]
