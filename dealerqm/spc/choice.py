"""Which chart a KPI asks for, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from dealerqm.plan import Plan
from dealerqm.result import Result, Unit
from dealerqm.series import diagnose
from dealerqm.spc.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """What each chart's baseline says: dispersion, season, memory, and the chart for it.

    ``dispersion`` is the variance over that of the counts' law; ``expected`` the events, or the
    non-events where these are rarer, at a typical point.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit_type": Unit("word:unit_type", "column.unit_type"),
            "unit": Unit("unit_name", "column.unit"),
            "chart": Unit("word:chart", "column.chart"),
            "reasons": Unit("words:reason", "column.reason"),
            "points": Unit("count", "column.points"),
            "expected": Unit("value", "column.expected_events"),
            "dispersion": Unit("value", "column.dispersion"),
            "dispersion_p": Unit("p", "column.p_value"),
            "season_p": Unit("p", "column.season_p"),
            "phi": Unit("value", "column.phi"),
            "phi_p": Unit("p", "column.phi_p"),
        }
    )


def diagnosis(stacked: Stack, plan: Plan) -> Diagnosis:
    """Say of every chart what its baseline asks for.

    Parameters
    ----------
    stacked : Stack
        From ``stack``.
    plan : Plan
        Evidence asked for, and what counts as rare.

    Returns
    -------
    Diagnosis
        One row per chart.
    """
    choice = choose(stacked, plan)
    frame = stacked.cells.charts[["kpi", "unit_type", "unit"]].assign(
        chart=choice.chart,
        reasons=[" ".join(reasons) for reasons in choice.reasons],
        points=stacked.baseline.sum(axis=0),
        expected=stacked.dispersion.expected,
        dispersion=stacked.dispersion.ratio,
        dispersion_p=stacked.dispersion.over,
        season_p=stacked.season.p,
        phi=stacked.phi,
        phi_p=stacked.memory.p,
    )
    return Diagnosis(frame=frame, note={"kpis": plan.words()})


def choose(stacked: Stack, plan: Plan) -> diagnose.Choice:
    """Name the chart that each diagnosis asks for, with its reasons.

    Parameters
    ----------
    stacked : Stack
        From ``stack``.
    plan : Plan
        Evidence asked for, and what counts as rare.

    Returns
    -------
    Choice
        Charts by name; values whose points rest on different numbers of rows get ``i_prime``.
    """
    settings = plan.settings["charts"]
    kinds = stacked.cells.charts["scale"].to_numpy(str)
    choice = diagnose.choose(
        kinds, stacked.dispersion, stacked.season, stacked.memory,
        alpha=settings["diagnosis_alpha"], rare=settings["rare_events"],
    )  # fmt: skip
    sized = [plan.kpi(name).stat != "spread" for name in stacked.cells.charts["kpi"]]
    chart = np.where((choice.chart == "xmr") & sized, "i_prime", choice.chart)
    return choice._replace(chart=chart)
