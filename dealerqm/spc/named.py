"""A chart that is asked for by its name, with the rules of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.errors import MethodError, unknown
from dealerqm.limits.attributes import p_chart, p_prime, u_chart, u_prime, xmr
from dealerqm.limits.base import Array, Limits, Mask
from dealerqm.limits.measurements import i_prime, residual_chart
from dealerqm.limits.sequential import ewma
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.rules.runs import run_chart
from dealerqm.rules.sets import SETS, evaluate, members, signals
from dealerqm.spc import lines as calibrated
from dealerqm.spc.chart import ControlCharts, draw, listed, table
from dealerqm.spc.lines import Drawn
from dealerqm.spc.phases import NO_NOTES, Notes
from dealerqm.spc.stack import Stack, collect, exposure, stack

AUTO, CALIBRATED = "auto", "calibrated"
Maker = Callable[[Array, Array, Mask, float], Limits]  # value, size, baseline, width


# name -> function of values, rows behind them, baseline and width
_MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "p": lambda v, n, base, width: p_chart(v * n, n, baseline=base, sigma=width),
        "p_prime": lambda v, n, base, width: p_prime(v * n, n, baseline=base, sigma=width),
        "u": lambda v, n, base, width: u_chart(v * n, n, baseline=base, sigma=width),
        "u_prime": lambda v, n, base, width: u_prime(v * n, n, baseline=base, sigma=width),
        "xmr": lambda v, _, base, width: xmr(v, baseline=base, sigma=width),
        "residual_xmr": lambda v, _, base, width: residual_chart(v, baseline=base, sigma=width),
        "i_prime": lambda v, n, base, width: i_prime(v, n, baseline=base, sigma=width),
        "run": lambda v, _n, base, _width: run_chart(v, baseline=base),
        "ewma": lambda v, _, base, width: ewma(xmr(v, baseline=base, sigma=width)),
    }
)
ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "share": ("p", "p_prime", "i_prime", "xmr", "residual_xmr", "run", "ewma"),
        "rate": ("u", "u_prime", "i_prime", "xmr", "residual_xmr", "run", "ewma"),
        "value": ("i_prime", "xmr", "residual_xmr", "run", "ewma"),
    }
)
DEFAULT_RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"run": SETS["anhoej"], "ewma": ("nelson_1",)}
)


@dataclass(frozen=True)
class How:
    """How a chart is wanted; the defaults let the diagnosis and the budget decide.

    Attributes
    ----------
    chart : str
        ``auto``, or a name in ``ALLOWED`` for the KPI's kind.
    rules : str
        ``calibrated`` (only with ``auto``), or the name of a rule set.
    """

    chart: str = AUTO
    rules: str = CALIBRATED


def control_chart(
    values: pd.DataFrame, kpi: str, plan: Plan, period: Period, *, notes: Notes = NO_NOTES,
    how: How = How(),
) -> ControlCharts:  # fmt: skip
    """Draw the charts of one KPI, for all its units.

    Parameters
    ----------
    values : DataFrame
        KPI values per month or week, of this KPI at least.
    kpi : str
        Which.
    plan : Plan
        Budget, baselines, width of named charts.
    period : Period
        The reviewed period; its own points set no limits.
    notes : Notes
        Accepted rebases and excluded points.
    how : How
        Chart and rules; the default is calibrated to the plan's false-alarm budget.

    Returns
    -------
    ControlCharts
        With the list of signals; the note says what was chosen and why.

    Raises
    ------
    MethodError
        If the chart does not fit the KPI, or the rules are not known.

    Notes
    -----
    A chart by name takes the points as they are: no season, no pooling, the same baseline and
    phases; its limits stand ``charts.sigma`` standard errors away, whatever false alarms that
    gives.
    """
    plan.kpi(kpi)
    stacked = stack(collect(values[values["kpi"] == kpi], plan, period), plan, period, notes)
    if not stacked.cells.keys or (how.chart == AUTO and how.rules == CALIBRATED):
        return draw(stacked, plan)
    automatic = draw(stacked, plan)
    scale = str(stacked.cells.charts["scale"].iloc[0])
    name = str(automatic.table["chart"].iloc[0]) if how.chart == AUTO else how.chart
    if name not in ALLOWED[scale]:
        raise MethodError(
            unknown(f"chart of {kpi} (its points are a {scale})", name, ALLOWED[scale])
        )
    rules = _rules(name, how.rules)
    frame, fired = _by_name(stacked, plan, (name, rules))
    note = {
        "chart": name, "rules": ", ".join(rules), "sigma": plan.settings["charts"]["sigma"],
        "sigma_estimator": "mean moving range of neighbouring points",
        "season": "not taken out", "pooled": "no", "missing": "never bridged",
        "excluded_points": int(stacked.excluded.sum()), "moving_range_screening": "off",
        "sigma_z_floor": "off", "truncation": "limits are cut at the ends of the scale",
        "kpis": plan.words(),
    }  # fmt: skip
    return ControlCharts(frame=frame, signals=fired, note=note)


def _rules(chart: str, asked: str) -> tuple[str, ...]:
    if asked == CALIBRATED:
        return DEFAULT_RULES.get(chart, SETS["nelson"])
    if asked not in SETS:
        raise MethodError(unknown("rules", asked, [CALIBRATED, *SETS]))
    return SETS[asked]


def _by_name(stacked: Stack, plan: Plan, how: tuple[str, tuple[str, ...]]) -> tuple[Any, Any]:
    """Draw every phase by a chart's own limits; return rows and signals."""
    cells, shape = stacked.cells, stacked.cells.value.shape
    size = exposure(cells, plan)
    width = float(plan.settings["charts"]["sigma"])
    found = {name: np.full(shape, np.nan) for name in ("value", *calibrated.LINES)}
    beyond, part, fired = np.zeros(shape, np.int64), np.zeros(shape, bool), []
    for phase in range(1, int(stacked.phase.max()) + 1):
        rows = (stacked.phase == phase) & ~stacked.excluded
        value = np.where(rows, cells.value, np.nan)
        chart = _MAKERS[how[0]](value, size, stacked.baseline & rows, width)
        for name in found:
            found[name] = np.where(stacked.phase == phase, getattr(chart, name), found[name])
        judged = evaluate(chart, rules=how[1])
        every = signals(judged)
        for number in range(every.chart.size):
            points = members(judged, every, number)
            row, column = int(every.period[number]), int(every.chart[number])
            if stacked.baseline[row, column]:
                continue
            rule = judged.names[int(every.rule[number])]
            fired.append((column, row, rule, int(every.side[number]), points))
            part[points, column] = True
        above, below = chart.beyond
        beyond = np.where(rows & ~stacked.baseline, above.astype(int) - below, beyond)
    limited = np.isfinite(found["centre"])
    status = np.select(
        [stacked.excluded, ~np.isfinite(found["value"]), ~limited, stacked.baseline],
        ["excluded", "gap", "short", "baseline"], "judged",
    )  # fmt: skip
    shown = np.where(stacked.excluded, cells.value, found["value"])
    drawn = Drawn(
        shown, found["centre"], found["lower"], found["upper"], status,
        np.where(status == "judged", beyond, 0), np.zeros(shape, np.int64),
    )  # fmt: skip
    names = np.full(shape[1], how[0], dtype=object)
    return table(stacked, drawn, (names, part)), listed(cells, fired)
