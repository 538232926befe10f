"""Findings in words: one sentence in every language, from ``labels.toml`` and the plan."""

from __future__ import annotations

from typing import Any

from dealerqm import labels
from dealerqm.period import of
from dealerqm.plan import Plan
from dealerqm.result import Finding, spell_kpi

_NUMBERS = ("value", "low", "high", "expected", "p_value", "q_value")
_NO_KPI: dict[str, Any] = {"label": dict.fromkeys(labels.languages(), ""), "measure": "value",
                           "unit": ""}  # fmt: skip


def finding_text(finding: Finding, plan: Plan, lang: str) -> str:
    """Return a finding as a sentence.

    Parameters
    ----------
    finding : Finding
        Any finding. Its rule is a key below ``finding`` in ``labels.toml``, perhaps with a colon
        and what it is about (an item, a channel). ``form`` in its evidence spells the numbers
        (``share``, ``points``, ``count`` …) where the KPI does not, ``place_of`` is the section
        of ``labels.toml`` that names what it is about.
    plan : Plan
        For the names of KPIs and items, and their measures.
    lang : str
        Language code.

    Returns
    -------
    str
        One sentence.
    """
    kpi = plan.words().get(finding.kpi, _NO_KPI)
    rule, _, place = finding.rule.partition(":")
    if finding.subject == "signals":
        place = of(finding.onset[0], "month").key if finding.onset else ""
        rule = f"{rule}_undated" if rule == "shift" and not finding.onset else rule
    form = finding.evidence.get("form", "kpi_change" if rule.startswith("change") else "kpi")
    numbers = {name: spell_kpi(getattr(finding, name), form, kpi, lang) for name in _NUMBERS}
    numbers["value"] += _suffix(form, kpi, lang)
    return labels.text(
        f"finding.{rule}", lang, kpi=kpi["label"][lang], place=_place(finding, place, plan, lang),
        unit=spell_kpi(finding.unit, "unit_name", kpi, lang),
        direction=labels.text(f"direction.{finding.direction}", lang), **numbers,
    )  # fmt: skip


def _suffix(form: str, kpi: dict[str, Any], lang: str) -> str:
    if form == "points" or (form == "kpi_change" and kpi["measure"] == "share"):
        return labels.text("unit.points_of_share", lang)
    if form in ("kpi", "kpi_change") and kpi["unit"]:
        return labels.text(f"unit.{kpi['unit']}", lang)
    return ""


def _place(finding: Finding, place: str, plan: Plan, lang: str) -> str:
    if "place_of" in finding.evidence:
        return labels.text(f"{finding.evidence['place_of']}.{place}", lang)
    item = plan.instrument["items"].get(place)
    return str(item["label"][lang]) if item else place
