"""From sufficient statistics to KPI values with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.facts import MINUTE, Facts
from dealerqm.kpi.cells import GRAIN, UNIT, Span, cells, stack
from dealerqm.plan import Kpi, Plan
from dealerqm.pooling import shrink
from dealerqm.stats import intervals, survival
from dealerqm.stats.intervals import Array, Interval

VALUES = [*UNIT, "kpi", "n", "missing", "k", "value", "low", "high", "watched", "complete"]
Frames = Mapping[str, pd.DataFrame]


def values(
    facts: Facts, plan: Plan, regions: Mapping[str, str], *, span: Span,
    names: Iterable[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Estimate KPIs for every store, region and the group, in every period with data.

    Parameters
    ----------
    facts : Facts
        The questions.
    plan : Plan
        Definitions, confidence, seed.
    regions : mapping of str to str
        Store to region.
    span : Span
        Periods.
    names : iterable of str or None
        KPIs; None means all of the plan.

    Returns
    -------
    DataFrame
        ``unit_type, unit, period, kpi``; ``n`` rows judged, ``missing`` rows whose value is
        missing or still pending, ``k`` successes or events (NaN where there are none);
        ``value, low, high`` in the KPI's unit; for follow-up KPIs ``watched`` (rows watched to
        the age); ``complete`` (every row had reached the age on the day of the data).

    Raises
    ------
    MethodError
        If no KPI is asked for.
    PlanError
        If a name is not in the plan.
    """
    wanted = list(plan.kpis if names is None else names)
    done: dict[str, pd.DataFrame] = {}
    needed = dict.fromkeys([*(plan.kpi(name).of for name in wanted), *wanted])
    for name in needed:
        if not name:
            continue
        kpi = plan.kpi(name)
        if kpi.stat == "spread":
            done[name] = _spread(plan, kpi, done[kpi.of], regions)
        else:
            found = cells(facts, plan, kpi, span)
            frames = {key: stack(frame, regions) for key, frame in found.items()}
            table = _REDUCERS[kpi.stat](plan, kpi, frames)
            done[name] = table.assign(kpi=name, complete=_complete(table["period"], kpi, span))
    if not wanted:
        raise MethodError("kpi: no KPI was asked for; name at least one of the plan.")
    table = pd.concat([done[name].reindex(columns=VALUES) for name in wanted], ignore_index=True)
    table["complete"] = table["complete"].astype("boolean").fillna(value=True).astype(bool)
    return table.sort_values(["kpi", *UNIT], kind="stable").reset_index(drop=True)


def _complete(keys: pd.Series, kpi: Kpi, span: Span) -> pd.Series:
    age = timedelta(seconds=kpi.follow_up)
    if not kpi.follow_up:  # a period still running is shown, and judged, with what it has
        return pd.Series(data=True, index=keys.index)
    known = {key: span.last_day(key) + age <= span.as_of for key in keys.unique()}
    return keys.map(known).astype(bool)


def _confidence(plan: Plan) -> float:
    return float(plan.settings["statistics"]["confidence"])


def _total(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [c for c in frame.columns if c not in UNIT]
    return frame.groupby(UNIT, as_index=False)[columns].sum()


def _filled(frame: pd.DataFrame, interval: Interval, scale: float = 1.0) -> pd.DataFrame:
    ends = {
        name: np.asarray(part) / scale
        for name, part in zip(("value", "low", "high"), interval, strict=True)
    }
    return frame.assign(**ends)


def _share(plan: Plan, kpi: Kpi, frames: Frames) -> pd.DataFrame:
    if kpi.follow_up:
        return _followed(plan, kpi, frames)
    sums = _total(frames["counts"])
    sums = sums.assign(n=sums["k_known"], missing=sums["rows"] - sums["k_known"])
    return _filled(sums, intervals.wilson(sums["k"], sums["n"], confidence=_confidence(plan)))


def _followed(plan: Plan, kpi: Kpi, frames: Frames) -> pd.DataFrame:
    age = kpi.follow_up / MINUTE
    awaited = _awaits_event(kpi)
    rows = []
    for key, part in _parts(frames["spells"]):
        share = survival.share_by(
            part.values, part.events, part.counts, age, confidence=_confidence(plan)
        )
        if not awaited:
            share = Interval(1 - share.estimate, 1 - share.high, 1 - share.low)
        rows.append((*key, part.counts.sum(), part.missing, *map(float, share)))
    table = pd.DataFrame(rows, columns=[*UNIT, "n", "missing", "value", "low", "high"])
    watched = _total(frames["counts"])[[*UNIT, "watched"]]
    return table.merge(watched, on=UNIT, how="left", validate="one_to_one")


def _awaits_event(kpi: Kpi) -> bool:
    """Whether success is the event (signed), rather than its absence (no comeback)."""
    return isinstance(kpi.value, tuple) and not kpi.value[0].negated


def _within(plan: Plan, _: Kpi, frames: Frames) -> pd.DataFrame:
    sums = _total(frames["counts"])
    n = sums["in_time"] + sums["late"]
    sums = sums.assign(n=n, k=sums["in_time"], missing=sums["rows"] - n)
    return _filled(sums, intervals.wilson(sums["k"], n, confidence=_confidence(plan)))


def _rate(plan: Plan, kpi: Kpi, frames: Frames) -> pd.DataFrame:
    events = _total(frames["events"]).rename(columns={"rows": "k"})
    exposure = _total(frames["exposure"]).rename(columns={"rows": "n"})
    sums = exposure.merge(events, on=UNIT, how="outer", validate="one_to_one")
    sums = sums.fillna({"k": 0, "n": 0}).assign(missing=0)
    times = kpi.per.times if kpi.per else 1.0
    return _filled(
        sums,
        intervals.poisson_rate(sums["k"], sums["n"], times=times, confidence=_confidence(plan)),
    )


def _nps(plan: Plan, _: Kpi, frames: Frames) -> pd.DataFrame:
    sums = _total(frames["counts"])
    n = sums["promoters_known"]
    sums = sums.assign(n=n, missing=sums["rows"] - n)
    interval = intervals.adjusted_wald_nps(
        sums["promoters"], sums["detractors"], n, confidence=_confidence(plan)
    )
    return _filled(sums, interval)


def _mean(plan: Plan, kpi: Kpi, frames: Frames) -> pd.DataFrame:
    settings = plan.settings["statistics"]
    if kpi.interval != "bootstrap":
        return _student(plan, frames["values"], kpi.scale)

    def interval(part: _Part) -> Interval:
        return intervals.bootstrap_mean(
            part.values, part.counts, replicates=settings["bootstrap_replicates"],
            seed=settings["seed"], confidence=_confidence(plan),
        )  # fmt: skip

    return _each(frames["values"], interval, kpi.scale)


def _index(plan: Plan, _: Kpi, frames: Frames) -> pd.DataFrame:
    return _student(plan, frames["values"], GRAIN)


def _student(plan: Plan, frame: pd.DataFrame, scale: float) -> pd.DataFrame:
    known = frame[frame["value"].notna()].assign(value=lambda f: f["value"].astype(float))
    sums = _total(known.assign(total=known["value"] * known["count"]).drop(columns="value"))
    known = known.merge(sums.assign(mean=sums["total"] / sums["count"])[[*UNIT, "mean"]], on=UNIT)
    squares = known["count"] * (known["value"] - known["mean"]) ** 2
    known = known[UNIT].assign(squares=squares)
    sums = sums.merge(_total(known), on=UNIT).rename(columns={"count": "n"})
    missing = _total(frame[frame["value"].isna()][[*UNIT, "count"]])
    sums = sums.merge(missing.rename(columns={"count": "missing"}), on=UNIT, how="left")
    sums = sums.fillna({"missing": 0})
    interval = intervals.student_mean(
        sums["n"], sums["total"], sums["squares"], confidence=_confidence(plan)
    )
    return _filled(sums, interval, scale)


def _quantile(plan: Plan, kpi: Kpi, frames: Frames) -> pd.DataFrame:
    confidence = _confidence(plan)
    if kpi.age:

        def censored(part: _Part) -> Interval:
            return survival.quantile(
                part.values, part.events, part.counts, kpi.quantile, confidence=confidence
            )

        return _each(frames["spells"], censored, kpi.scale / MINUTE)
    method = {"order": intervals.order_quantile, "lognormal": intervals.lognormal_median}

    def plain(part: _Part) -> Interval:
        return method[kpi.interval](part.values, part.counts, kpi.quantile, confidence=confidence)

    return _each(frames["values"], plain, kpi.scale)


def _each(frame: pd.DataFrame, interval: Callable[[_Part], Interval], scale: float) -> pd.DataFrame:
    rows = []
    for key, part in _parts(frame):
        ends = (float(end) / scale for end in interval(part))
        rows.append((*key, part.counts.sum(), part.missing, *ends))
    return pd.DataFrame(rows, columns=[*UNIT, "n", "missing", "value", "low", "high"])


class _Part(NamedTuple):
    """The distinct values of one unit and period, missing ones apart."""

    values: Array
    events: NDArray[np.bool_]
    counts: Array
    missing: int


def _parts(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], _Part]]:
    """Yield the added-up histogram of every unit and period, as plain arrays for speed."""
    by = [*UNIT, *(c for c in ("value", "event") if c in frame.columns)]
    sums = frame.groupby(by, as_index=False, dropna=False)["count"].sum()
    value = sums["value"].to_numpy(float, na_value=np.nan)
    event = sums["event"].to_numpy(bool) if "event" in sums else np.ones(len(sums), bool)
    count = sums["count"].to_numpy(float)
    group = sums.groupby(UNIT).ngroup().to_numpy()
    keys = sums[UNIT].drop_duplicates().itertuples(index=False, name=None)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    for key, rows in zip(keys, np.split(np.arange(len(sums)), starts[1:]), strict=False):
        known = rows[np.isfinite(value[rows])]
        missing = int(count[rows].sum() - count[known].sum())
        yield key, _Part(value[known], event[known], count[known], missing)


def _spread(plan: Plan, kpi: Kpi, of: pd.DataFrame, regions: Mapping[str, str]) -> pd.DataFrame:
    stores = of[(of["unit_type"] == "store") & (of["n"] > 0)]
    z = float(special.ndtri(0.5 + _confidence(plan) / 2))
    stores = stores.assign(
        variance=((stores["high"] - stores["low"]) / (2 * z)) ** 2, store_id=stores["unit"]
    )[["store_id", "period", "value", "variance", "missing"]]
    wide = stack(stores, regions)
    rows = []
    for key, part in wide[wide["unit_type"] != "store"].groupby(UNIT, sort=True):
        spread = shrink.between_sd(part["value"], part["variance"], confidence=_confidence(plan))
        rows.append((*key, len(part), 0, *map(float, spread)))
    table = pd.DataFrame(rows, columns=[*UNIT, "n", "missing", "value", "low", "high"])
    return table.assign(kpi=kpi.name)


_REDUCERS: Mapping[str, Callable[[Plan, Kpi, Frames], pd.DataFrame]] = {
    "share": _share,
    "within": _within,
    "rate": _rate,
    "nps": _nps,
    "mean": _mean,
    "quantile": _quantile,
    "index": _index,
}
