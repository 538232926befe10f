"""Lines and verdicts of all charts, by limits that keep to the plan's false-alarm budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dealerqm.plan import Plan
from dealerqm.pooling import pool
from dealerqm.rules import calibrated
from dealerqm.series.scale import Array, Mask, Series
from dealerqm.spc.stack import Index, Stack, exposure

PERIODS_A_YEAR = {"week": 52, "month": 12}
LINES = ("centre", "lower", "upper")
BOUNDS = {"share": (0.0, 1.0), "score": (-1.0, 1.0), "value": (0.0, np.inf)}


class Drawn(NamedTuple):
    """Lines and verdicts of all charts; shape (periods, charts).

    Attributes
    ----------
    value, centre, lower, upper : ndarray
        In the KPI's unit.
    status : ndarray of str
        What became of each point.
    beyond : ndarray of int
        1 for a judged point above its upper limit, -1 for one below the lower.
    run : ndarray of int
        Length of a run that signals at a judged point, negative below the centre; else 0.
    """

    value: Array
    centre: Array
    lower: Array
    upper: Array
    status: np.ndarray[Any, np.dtype[np.str_]]
    beyond: Index
    run: Index


def budget(plan: Plan, kind: str) -> float:
    """Return the alarms that one stable point may raise.

    Parameters
    ----------
    plan : Plan
        ``charts.false_alarms``: so many a chart in so many years.
    kind : str
        ``month`` or ``week``.

    Returns
    -------
    float
        Probability per point.
    """
    allowed = plan.settings["charts"]["false_alarms"]
    return float(allowed["charts"]) / (float(allowed["years"]) * PERIODS_A_YEAR[kind])


def lines(stacked: Stack, plan: Plan) -> Drawn:
    """Judge all points by limits that keep to the budget.

    Parameters
    ----------
    stacked : Stack
        From ``stack``.
    plan : Plan
        Budget, shortest baseline, what counts as rare.

    Returns
    -------
    Drawn
        Lines and verdicts.

    Notes
    -----
    Limits of each phase rest on its own baseline; centres and spreads are pooled over the units
    of the same kind, in proportion to what each lacks. Where fewer events are expected than the
    plan calls rare, the limits are quantiles of the pooled beta-binomial or negative binomial law
    and runs are not counted.
    """
    cells, shape = stacked.cells, stacked.cells.value.shape
    found = {name: np.full(shape, np.nan) for name in LINES}
    beyond, run = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    why = np.full(shape, "", dtype="U12")
    scale, rare = cells.charts["scale"].to_numpy(str), _rare(stacked, plan)
    for name in np.unique(scale):
        columns = np.flatnonzero((scale == name) & ~rare)
        for phase in range(1, int(stacked.phase.max()) + 1):
            rows = stacked.phase[:, columns] == phase
            judged, reason = _judge(stacked, plan, (str(name), columns, phase))
            for line in found:
                _put(found[line], columns, rows, getattr(judged, line))
            _put(beyond, columns, rows, judged.beyond)
            _put(run, columns, rows, np.where(judged.runs, judged.run, 0))
            _put(why, columns, rows, np.broadcast_to(reason, rows.shape))
    for name in ("share", "rate"):
        columns = np.flatnonzero((scale == name) & rare)
        if columns.size:
            _rare_lines(stacked, plan, (name, columns), found)
    above = (cells.value > found["upper"]) & rare
    beyond = np.where(rare, above.astype(int) - ((cells.value < found["lower"]) & rare), beyond)
    limited = np.isfinite(found["upper"])
    status = np.select(
        [stacked.excluded, ~np.isfinite(cells.value), ~limited & (why == "constant"), ~limited,
         stacked.baseline],
        ["excluded", "gap", "constant", "short", "baseline"], "judged",
    )  # fmt: skip
    told = status == "judged"
    floor, ceiling = np.array([BOUNDS[plan.kpi(name).measure] for name in cells.charts["kpi"]]).T
    centre, lower, upper = found.values()
    lower, upper = np.maximum(lower, floor), np.minimum(upper, ceiling)
    signals = (np.where(told, part, 0) for part in (beyond, run))
    return Drawn(cells.value, centre, lower, upper, status, *signals)


def _put(into: Any, columns: Any, rows: Mask, values: Any) -> None:  # noqa: ANN401
    into[:, columns] = np.where(rows, values, into[:, columns])


def _judge(
    stacked: Stack, plan: Plan, which: tuple[str, Any, int]
) -> tuple[calibrated.Judged, Any]:
    """Judge one phase of the charts on one working scale."""
    scale, columns, phase = which
    cells = stacked.cells
    points = Series(scale, stacked.points.y[:, columns], stacked.points.se[:, columns])
    number = stacked.phase[:, columns]
    own = np.minimum(phase, number.max(axis=0, initial=1))  # others lend what their last phase is
    baseline = stacked.baseline[:, columns] & (number == own)
    groups = pd.factorize(cells.charts["kpi"] + "|" + cells.charts["unit_type"])[0][columns]
    rows = slice(0, len(cells.keys))
    frozen = calibrated.freeze(
        points, baseline, budget=budget(plan, cells.kind), phi=stacked.phi[columns],
        groups=groups, fitted=stacked.fitted[rows, columns],
    )  # fmt: skip
    short = frozen.n < plan.settings["charts"]["minimum_periods"]
    centre, sigma = (np.where(short, np.nan, part) for part in (frozen.centre, frozen.sigma))
    frozen = frozen._replace(centre=centre, sigma=sigma)
    reason = np.where(short, "short", frozen.reason)
    inside = points._replace(y=np.where(number == phase, points.y, np.nan))
    effect = stacked.effect[rows, columns]
    judged, _ = calibrated.judge(inside, frozen, effect=effect)
    return judged, reason


def _rare(stacked: Stack, plan: Plan) -> Mask:
    few = stacked.dispersion.expected < plan.settings["charts"]["rare_events"]
    return np.asarray(few & (stacked.cells.charts["scale"] != "value").to_numpy(), bool)


def _rare_lines(
    stacked: Stack, plan: Plan, which: tuple[str, Any], into: Mapping[str, Array]
) -> None:
    """Draw limits of rare events as quantiles of the pooled predictive law, phase by phase."""
    scale, columns = which
    cells, size = stacked.cells, exposure(stacked.cells, plan)[:, columns]
    events = cells.value[:, columns] * size
    groups = pd.factorize(cells.charts["kpi"] + "|" + cells.charts["unit_type"])[0][columns]
    fit = {"share": pool.beta_binomial, "rate": pool.gamma_poisson}[scale]
    for phase in range(1, int(stacked.phase.max()) + 1):
        rows = stacked.phase[:, columns] == phase
        base = stacked.baseline[:, columns] & rows
        for group in np.unique(groups):
            mine = groups == group
            used = base[:, mine]
            totals = (np.where(used, part[:, mine], 0).sum(axis=0) for part in (events, size))
            ratios = stacked.dispersion.ratio[columns[mine]]
            ratios = ratios[np.isfinite(ratios)]
            spread = max(1.0, float(np.median(ratios)) if ratios.size else 1.0)
            level = fit(*totals, dispersion=spread)
            if not np.isfinite(level.common) or not used.any():
                continue
            found = pool.predictive(
                scale, level, size[:, mine], alpha=budget(plan, cells.kind), dispersion=spread
            )
            for name, line in zip(LINES, found, strict=True):
                _put(into[name], columns[mine], rows[:, mine], line)
