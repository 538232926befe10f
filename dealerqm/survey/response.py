"""Who was invited, who answered, what is asked, and what is never asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dealerqm.result import Finding, Result, Unit
from dealerqm.stats.intervals import wilson
from dealerqm.survey.rows import RECOMMEND, Survey

DISPOSITIONS = ("complete", "partial", "break_off", "none", "pending")
FULL = 100  # per cent: what the weights of an index sum to
_BY = ("group", "region", "store", "channel", "touchpoint")


def finding(
    survey: Survey, rule: str, unit: tuple[str, str], numbers: Mapping[str, Any],
    *, kpi: str = "share", severity: str = "watch",
) -> Finding:  # fmt: skip
    """Return a finding of the reviewed wave.

    Parameters
    ----------
    survey : Survey
        For the wave and the KPI.
    rule : str
        Key below ``finding`` in ``labels.toml``.
    unit : (str, str)
        Type of unit and unit.
    numbers : mapping
        ``value, expected, low, high, p_value, q_value, direction`` as far as they exist.
    kpi : str
        Statistic of the KPI that it is about.
    severity : str
        ``act``, ``watch`` or ``info``.

    Returns
    -------
    Finding
        About the quarter of the wave.
    """
    known = {name: value for name, value in numbers.items() if value is not None}
    return Finding(
        quarter=survey.period.key, subject="survey", rule=rule, kpi=survey.instrument.kpi(kpi),
        unit_type=unit[0], unit=unit[1], period_start=survey.period.start,
        period_end=survey.period.end, severity=severity,
        evidence={"table": "survey_responses", "wave": survey.wave}, **known,
    )  # fmt: skip


# ---------------------------------------------------------------- who answered


@dataclass(frozen=True, kw_only=True)
class Response(Result):
    """Invitations of the wave by what became of them.

    ``strict`` counts complete answers, ``value`` complete and partial ones, both of all
    invitations that had the time to be answered (AAPOR response rates 1 and 2).
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "by": Unit("word:survey_by", "survey.by"),
            "unit": Unit("unit_name", "column.unit"),
            "invited": Unit("count", "survey.invited"),
            **{name: Unit("count", f"survey.{name}") for name in DISPOSITIONS},
            "strict": Unit("share", "survey.strict"),
            "value": Unit("share", "survey.response"),
            "low": Unit("share", "column.low"),
            "high": Unit("share", "column.high"),
        }
    )
    SUMMARY: ClassVar[tuple[str, ...]] = ("by", "unit", "invited", "value", "low", "high")


def response(survey: Survey) -> Response:
    """Count what became of the invitations of the wave.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Response
        The group, its regions and stores, and all channels and touchpoints.

    Notes
    -----
    RR1 = complete/(invited - pending), RR2 = (complete + partial)/(invited - pending), Wilson
    intervals. An answer that holds too little of what was asked is a break-off and counts as
    none. Addresses that did not exist cannot be told from silence.

    Source: AAPOR, Standard Definitions, 9th edition (2016), pp. 61-62.
    """
    rows = survey.of_wave(survey.wave).assign(group="group")
    chosen = rows[rows["store_id"].isin(list(survey.regions))]
    parts = []
    for by in _BY:
        name = {"store": "store_id"}.get(by, by)
        counted = pd.crosstab(chosen[name], chosen["disposition"])
        counted = counted.reindex(columns=list(DISPOSITIONS), fill_value=0)
        parts.append(counted.rename_axis("unit").reset_index().assign(by=by))
    table = pd.concat(parts, ignore_index=True)
    table["invited"] = table[list(DISPOSITIONS)].sum(axis=1)
    due = (table["invited"] - table["pending"]).to_numpy(float)
    answers = (table["complete"] + table["partial"]).to_numpy(float)
    rate = wilson(answers, due, confidence=survey.confidence)
    with np.errstate(invalid="ignore"):
        strict = table["complete"].to_numpy(float) / due
    table = table.assign(strict=strict, value=rate.estimate, low=rate.low, high=rate.high)
    table.columns.name = None
    few = (table["invited"] < survey.k).to_numpy()
    hidden = ["invited", *DISPOSITIONS, "strict", "value", "low", "high"]
    table = table.astype(dict.fromkeys(hidden, "float64"))
    table.loc[few, hidden] = np.nan
    note = {
        "wave": survey.wave, "standard": "AAPOR RR1 and RR2", "suppressed_below": survey.k,
        "field_days": survey.settings["field_days"], **survey.note,
    }  # fmt: skip
    return Response(frame=table[list(Response.COLUMNS)], note=note)


@dataclass(frozen=True, kw_only=True)
class Items(Result):
    """What the instrument asks, its weights in the wave, and how often an item is left out."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "survey.item"),
            "touchpoints": Unit("text", "survey.touchpoints"),
            "weight": Unit("value", "survey.weight"),
            "asked": Unit("count", "survey.asked"),
            "answered": Unit("count", "survey.answered"),
            "missing": Unit("share", "survey.left_out"),
            "named": Unit("flag", "survey.named"),
        }
    )


def item_gaps(survey: Survey) -> Items:
    """List the items with their weights and the share of answers that leave them out.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Items
        Customers' items and the recommendation; named above the plan's share.
    """
    instrument, rows = survey.instrument, survey.of_wave(survey.wave)
    rows = rows[rows["answered"]]
    weights, limit = instrument.weights(survey.wave), survey.settings["quality"]["item_gap"]
    found = []
    for item in [*instrument.items(), RECOMMEND]:
        asked = instrument.asked(rows, item)
        said = int(np.isfinite(rows[item].to_numpy(float)[asked]).sum())
        n = int(asked.sum())
        missing = 1 - said / n if n >= survey.k else np.nan
        found.append([
            item, ", ".join(instrument.asked_at(item)), weights.get(item, np.nan), n, said,
            missing, missing > limit,
        ])  # fmt: skip
    table = pd.DataFrame(found, columns=list(Items.COLUMNS))
    told = tuple(
        finding(survey, f"survey_item:{row['kpi']}", ("group", "group"),
                {"value": row["missing"], "expected": limit, "direction": "worse"},
                severity="info")
        for row in table[table["named"]].to_dict("records")
    )  # fmt: skip
    raw = survey.plan.instrument["factors"]
    sums = {n: [sum(v["items"].values()) for v in factor["versions"]] for n, factor in raw.items()}
    note = {
        "wave": survey.wave, "kpis": instrument.words, **survey.note,
        "scaled_weights": [n for n, totals in sums.items() if set(totals) != {FULL}],
    }  # fmt: skip
    return Items(frame=table, findings=told, note=note)


@dataclass(frozen=True, kw_only=True)
class Coverage(Result):
    """Touchpoints that a store never surveyed in all waves at hand."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "touchpoint": Unit("word:touchpoint", "survey.touchpoint"),
            "waves": Unit("count", "survey.waves"),
        }
    )


def coverage(survey: Survey) -> Coverage:
    """List the touchpoints that a store never surveys.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Coverage
        One row per store and touchpoint without a single invitation; empty when all are asked.
    """
    asked = set(zip(survey.rows["store_id"], survey.rows["touchpoint"], strict=True))
    never = [
        (store, touchpoint, len(survey.quarters))
        for store in sorted(survey.regions)
        for touchpoint in survey.instrument.touchpoints
        if (store, touchpoint) not in asked
    ]
    told = tuple(
        finding(survey, f"survey_never:{place}", ("store", store), {"direction": "none"},
                kpi="within", severity="watch")
        for store, place, _ in never
    )  # fmt: skip
    table = pd.DataFrame(never, columns=list(Coverage.COLUMNS))
    return Coverage(frame=table, findings=told, note={"waves": list(survey.quarters)})
