"""Reading ``plan.toml``: the whole file, section by section."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dealerqm import tables
from dealerqm.errors import PlanError
from dealerqm.plan import check, questionnaire, sections
from dealerqm.plan.kpis import KpiReader
from dealerqm.plan.model import Plan, digest

SECTIONS = (*sections.SETTINGS, "dimensions", "areas", "instrument", "benchmark", "kpi")


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
    try:
        return read(path.read_text(encoding="utf-8-sig"), path.name)
    except UnicodeDecodeError:
        raise PlanError(f"{path.name}: is not UTF-8; save it with this encoding.") from None
    except OSError as error:
        raise PlanError(f"{path.name}: cannot be read ({error.strerror}).") from None


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
        own = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{source}: is no valid TOML: {error}.") from None
    check.known(own, SECTIONS, source)
    raw = {**_default(), **own}
    if "benchmark" not in own and isinstance(raw["kpi"], dict):
        raw["benchmark"] = _known_benchmarks(raw)
    settings = sections.settings(raw, source)
    contracts = dict(tables.load())
    survey = contracts["survey_responses"]
    contracts["survey_responses"] = survey.with_items(
        questionnaire.items(raw["instrument"], survey, source)
    )
    questionnaire.survey(settings["survey"], contracts, source)
    factors = questionnaire.factors(raw["instrument"], source)
    kpis = KpiReader(source, raw, contracts, {factor.name for factor in factors}).kpis()
    return Plan(
        settings=MappingProxyType(settings),
        kpis=MappingProxyType(kpis),
        tables=MappingProxyType(contracts),
        instrument=MappingProxyType(raw["instrument"]),
        factors=factors,
        benchmarks=MappingProxyType(sections.benchmarks(raw["benchmark"], kpis, source)),
        digest=digest(raw),
        source=source,
    )


def _default() -> dict[str, Any]:
    text = resources.files("dealerqm").joinpath("plan.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _known_benchmarks(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the default's benchmarks that stand beside a KPI of this plan, or beside none."""
    return {n: b for n, b in raw["benchmark"].items() if b.get("kpi") in (None, *raw["kpi"])}
