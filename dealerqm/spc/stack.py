"""All charts of a plan side by side: one matrix of points, and what sets their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm.errors import MethodError
from dealerqm.period import Period, of, parse, span
from dealerqm.plan import Kpi, Plan
from dealerqm.series import diagnose
from dealerqm.series import scale as scales
from dealerqm.series.diagnose import Dispersion, Memory, Season
from dealerqm.series.scale import Array, Mask, Series
from dealerqm.spc.phases import NO_NOTES, Notes

Index = NDArray[np.int64]
CELLS = ("n", "k", "value")
AHEAD = {"week": 1, "month": 3}
MIXED = "mixed"


class Cells(NamedTuple):
    """KPI values laid out, before anything is decided; charts are columns.

    Attributes
    ----------
    kind : str
        ``month`` or ``week``.
    keys : tuple of str
        Periods without gaps.
    charts : DataFrame
        ``kpi, unit_type, unit, scale, better`` of each column.
    n, k, value : ndarray, shape (periods, charts)
        Rows judged, events, value in the KPI's unit; NaN where there is no point to show.
    """

    kind: str
    keys: tuple[str, ...]
    charts: pd.DataFrame
    n: Array
    k: Array
    value: Array


class Stack(NamedTuple):
    """Charts of all KPIs, each on its own working scale, diagnosed on their baselines.

    Attributes
    ----------
    cells : Cells
        What it was made from, up to the end of the reviewed period.
    points : Series
        Points without season; excluded ones are gaps.
    effect, fitted : ndarray, shape (periods + ahead, charts)
        Season on the working scale, 0 where none was found, and its sampling variance; the last
        rows are still to come.
    phi : ndarray, shape (charts,)
        Autocorrelation, pooled over the stores of a KPI.
    phase : ndarray of int, shape (periods, charts)
        Phase of each point, from 1; a new one starts at each accepted rebase.
    baseline, excluded : ndarray of bool, shape (periods, charts)
        Points that set limits, and points that people took out.
    now : ndarray of bool, shape (periods,)
        Rows of the reviewed period.
    dispersion, season, memory : Dispersion, Season, Memory
        The diagnosis behind the choices.
    """

    cells: Cells
    points: Series
    effect: Array
    fitted: Array
    phi: Array
    phase: Index
    baseline: Mask
    excluded: Mask
    now: Mask
    dispersion: Dispersion
    season: Season
    memory: Memory


def collect(values: pd.DataFrame, plan: Plan, period: Period) -> Cells:
    """Lay the values of all KPIs out over the periods up to the end of the reviewed one.

    Parameters
    ----------
    values : DataFrame
        KPI values per month or week: ``unit_type, unit, period, kpi, n, k, value, complete``.
    plan : Plan
        KPIs, and the smallest number of rows that is shown.
    period : Period
        The reviewed period.

    Returns
    -------
    Cells
        One column per KPI and unit, sorted by their names.

    Raises
    ------
    MethodError
        If a period stands twice, a value is infinite or a count negative; names the first.
    """
    _refuse(values)
    kind = parse(str(values["period"].iloc[0])).kind if len(values) else "month"
    newest = str(values["period"].max()) if len(values) else of(period.end, kind).key
    last = parse(min(of(period.end, kind).key, newest))
    k = plan.settings["publication"]["k"]
    people = values["kpi"].map(lambda name: plan.kpi(name).stat != "spread").astype(bool)
    whole = values["complete"].astype(bool)
    shown = values[(values["period"] <= last.key) & whole & ((values["n"] >= k) | ~people)]
    if shown.empty:
        none = np.empty((0, 0))
        charts = pd.DataFrame(columns=["kpi", "unit_type", "unit", "scale", "better"])
        return Cells(kind, (), charts, none, none, none)
    keys = [p.key for p in span(parse(str(shown["period"].min())), last)]
    tall = shown.set_index(["period", "kpi", "unit_type", "unit"])
    wide = {name: tall[name].unstack(["kpi", "unit_type", "unit"]) for name in CELLS}  # noqa: PD010
    columns = wide["n"].columns.sort_values()
    n, count, value = (
        wide[name].reindex(index=keys, columns=columns).to_numpy(float) for name in CELLS
    )
    charts = pd.DataFrame(list(columns), columns=["kpi", "unit_type", "unit"])
    kpis = [plan.kpi(name) for name in charts["kpi"]]
    charts["scale"] = [scale_of(kpi) for kpi in kpis]
    charts["better"] = [kpi.better for kpi in kpis]
    known = np.isfinite(value) & (n > 0)
    cells = (np.where(known, matrix, np.nan) for matrix in (n, count, value))
    return Cells(kind, tuple(keys), charts, *cells)


def _refuse(values: pd.DataFrame) -> None:
    """Refuse values that no chart can show; the message names the first."""
    n, k = values["n"].astype(float), values["k"].astype(float)
    faults: dict[str, Any] = {
        "a period that stands twice": values.duplicated(["kpi", "unit_type", "unit", "period"]),
        "an infinite value": np.isinf(values["value"].astype(float)),
        "a negative count": (n < 0) | (k < 0),
    }
    for what, bad in faults.items():
        if bad.any():
            first = values[bad.to_numpy()].iloc[0]
            raise MethodError(
                f"charts: {first['kpi']}, {first['unit']}, {first['period']} has {what}; "
                f"{int(bad.sum())} such rows. Correct the values or leave them out."
            )


def scale_of(kpi: Kpi) -> str:
    """Name the working scale on which a KPI's noise keeps its size.

    Parameters
    ----------
    kpi : Kpi
        Any KPI.

    Returns
    -------
    str
        ``share``, ``rate`` or ``value``.
    """
    if kpi.is_share:
        return "share"
    return "rate" if kpi.stat == "rate" and kpi.per else "value"


def until(cells: Cells, period: Period) -> Cells:
    """Forget everything after a period.

    Parameters
    ----------
    cells : Cells
        From ``collect``.
    period : Period
        The last period to keep.

    Returns
    -------
    Cells
        The earlier rows.
    """
    rows = sum(key <= of(period.end, cells.kind).key for key in cells.keys)
    cut = (matrix[:rows] for matrix in (cells.n, cells.k, cells.value))
    return Cells(cells.kind, cells.keys[:rows], cells.charts, *cut)


def stack(cells: Cells, plan: Plan, period: Period, notes: Notes = NO_NOTES) -> Stack:
    """Put charts on their working scales, mark their phases and baselines, and diagnose them.

    Parameters
    ----------
    cells : Cells
        From ``collect``; rows after the period are left out.
    plan : Plan
        Length of a baseline, evidence asked of a diagnosis, dates of Spring Festival.
    period : Period
        The reviewed period: its own points set no limits.
    notes : Notes
        Accepted rebases and excluded points.

    Returns
    -------
    Stack
        Everything that limits and the board need.

    Notes
    -----
    A phase's baseline is its first ``baseline_periods`` points before the reviewed period. Season
    is estimated from stores and taken out of regions and group as well; it counts only with the
    plan's evidence. Autocorrelation is pooled over the charts of a KPI.
    """
    cells = until(cells, period)
    settings = plan.settings["charts"]
    first = of(period.start, cells.kind).key
    before = np.array([key < first for key in cells.keys], bool)
    excluded, phase = _noted(cells, notes)
    points = _points(cells, plan)
    points = points._replace(y=np.where(excluded, np.nan, points.y))
    usable = np.isfinite(points.y) & before[:, None]
    baseline = _baseline(usable, phase, settings["baseline_periods"])
    groups = pd.factorize(cells.charts["kpi"])[0]
    year = _season(cells, _centred(points, baseline, phase), baseline, plan, groups)
    seasonal = year.p < settings["diagnosis_alpha"]
    effect, fitted = (np.where(seasonal, part, 0.0) for part in (year.effect, year.variance))
    free = points._replace(y=points.y - effect[: len(cells.keys)])
    lag = diagnose.memory(_centred(free, baseline, phase), groups, baseline=baseline)
    found = diagnose.dispersion(
        cells.k, exposure(cells, plan), share=(cells.charts["scale"] == "share").to_numpy(),
        baseline=baseline,
    )  # fmt: skip
    phi = np.minimum(lag.pooled, scales.MAX_PHI)
    return Stack(
        cells, free, effect, fitted, phi, phase, baseline, excluded, ~before, found, year, lag
    )


def _noted(cells: Cells, notes: Notes) -> tuple[Mask, Index]:
    """Mark excluded points, and number the phases of every chart."""
    rows = {key: row for row, key in enumerate(cells.keys)}
    columns = {(c.kpi, c.unit): i for i, c in enumerate(cells.charts.itertuples())}
    shape = (len(cells.keys), len(cells.charts))
    excluded, phase = np.zeros(shape, bool), np.ones(shape, np.int64)
    for point in notes.exclusions:
        place = rows.get(point.period), columns.get((point.kpi, point.unit))
        if None not in place:
            excluded[place] = True
    for rebase in notes.rebases:
        column = columns.get((rebase.kpi, rebase.unit))
        if rebase.accepted and column is not None:
            phase[[row for row, key in enumerate(cells.keys) if key >= rebase.period], column] += 1
    return excluded, phase


def exposure(cells: Cells, plan: Plan) -> Array:
    """Return trials, or the exposure in the unit of a rate.

    Parameters
    ----------
    cells : Cells
        From ``collect``.
    plan : Plan
        What rates are counted per.

    Returns
    -------
    ndarray, shape (periods, charts)
        What values are multiplied by to give events.
    """
    times = [_times(plan.kpi(name)) for name in cells.charts["kpi"]]
    found: Array = cells.n / np.array(times, float) if times else cells.n
    return found


def _times(kpi: Kpi) -> float:
    return kpi.per.times if scale_of(kpi) == "rate" and kpi.per else 1.0


def _points(cells: Cells, plan: Plan) -> Series:
    y, se = (np.full(cells.value.shape, np.nan) for _ in range(2))
    size, scale = exposure(cells, plan), cells.charts["scale"].to_numpy(str)
    for name in np.unique(scale):
        chosen = scale == name
        n, value = size[:, chosen], cells.value[:, chosen]
        found = _ON[str(name)](value, n)
        y[:, chosen], se[:, chosen] = found.y, found.se
    return Series(MIXED, y, se)


_ON: Mapping[str, Any] = {
    "share": lambda value, n: scales.share(np.minimum(value * n, n), n),
    "rate": lambda value, n: scales.rate(value * n, n),
    "value": lambda value, n: scales.value(value, size=n),
}


def _baseline(usable: Mask, phase: Index, length: int) -> Mask:
    found = np.zeros(usable.shape, bool)
    for number in range(1, int(phase.max(initial=0)) + 1):
        own = usable & (phase == number)
        found |= own & (np.cumsum(own, axis=0) <= length)
    return found


def _centred(points: Series, baseline: Mask, phase: Index) -> Series:
    """Points about the level of their phase, so that a rebase is no season and no memory."""
    y, several = points.y.copy(), phase.max(axis=0, initial=1) > 1
    for number in range(1, int(phase.max(initial=1)) + 1):
        own = baseline & (phase == number)
        count = own.sum(axis=0)
        total = np.where(own, points.y, 0.0).sum(axis=0)
        level = np.divide(total, count, out=np.zeros(count.shape), where=count > 0)
        y = np.where((phase == number) & several, points.y - level, y)
    return points._replace(y=y)


def _season(cells: Cells, points: Series, baseline: Mask, plan: Plan, groups: Index) -> Season:
    """Estimate the season from stores, and lay it out over all units and the periods ahead."""
    ahead = AHEAD[cells.kind]
    last = parse(cells.keys[-1]) if cells.keys else None
    coming = [last.shift(i + 1) for i in range(ahead)] if last else []
    periods = [*map(parse, cells.keys), *coming]
    place = diagnose.positions(periods, plan.settings["calendar"]["spring_festival"])
    longer = _longer(points, len(coming))
    used = np.vstack([baseline, np.zeros((len(coming), baseline.shape[1]), bool)])
    stores = (cells.charts["unit_type"] == "store").to_numpy()
    alone = ~np.isin(groups, groups[stores])
    source = stores | alone
    found = diagnose.season(
        longer._replace(y=longer.y[:, source], se=longer.se[:, source]), place, groups[source],
        baseline=used[:, source],
    )  # fmt: skip
    where = {group: column for column, group in enumerate(groups[source])}
    spread = np.array([where[group] for group in groups], np.int64)
    return Season(
        found.effect[:, spread], found.p[spread], found.share[spread], found.variance[:, spread]
    )


def _longer(points: Series, rows: int) -> Series:
    gap = np.full((rows, points.y.shape[1]), np.nan)
    return points._replace(y=np.vstack([points.y, gap]), se=np.vstack([points.se, gap]))
