"""What depends on the snapshot's day: later rows, period keys, derived columns, made tables.

``FUNCTIONS`` holds every word that may stand first in ``from`` of a derived column of
``tables.toml``; durations are whole seconds. ``TABLES`` holds the functions of made tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from dealerqm import period
from dealerqm.ingest.clean import SET_ASIDE, Batch, Issues
from dealerqm.plan import Plan
from dealerqm.tables import Column

_DAY = pd.Timedelta(days=1)
_STRAY_GAP = np.timedelta64(92, "D")  # more than a quarter without any row, and then
_STRAY_SHARE = 0.01  # fewer rows than this share of those before: mistyped


@dataclass(frozen=True)
class Context:
    """What derived columns may look at.

    Attributes
    ----------
    frames : mapping of str to DataFrame
        All clean tables; grows while tables are completed.
    plan : Plan
        Guarantee and training rules, contracts.
    as_of : date
        Last day that counts.
    table : str
        The table that is being completed.
    """

    frames: Mapping[str, pd.DataFrame]
    plan: Plan
    as_of: date
    table: str = ""

    @property
    def end(self) -> pd.Timestamp:
        """The moment after the last day."""
        return pd.Timestamp(self.as_of) + _DAY


def last_day(batches: Iterable[Batch]) -> date | None:
    """Return the last day of any column with period keys.

    Parameters
    ----------
    batches : iterable of Batch
        All tables.

    Returns
    -------
    date or None
        None when no such column holds anything. A few days far after all others, such as a year
        that was mistyped, do not count.
    """
    times = [
        batch.frame.loc[batch.good, name].dropna()
        for batch in batches
        for name, column in batch.table.exported.items()
        if column.keys
    ]
    filled = [series.to_numpy(dtype="datetime64[D]") for series in times if len(series)]
    if not filled:
        return None
    days, rows = np.unique(np.concatenate(filled), return_counts=True)
    before = np.cumsum(rows)
    few = before[-1] - before[:-1] < _STRAY_SHARE * before[:-1]
    breaks = np.flatnonzero((np.diff(days) > _STRAY_GAP) & few)
    last = days[breaks[0]] if len(breaks) else days[-1]
    return date.fromisoformat(str(last))


def set_aside(batch: Batch, as_of: date, issues: Issues) -> None:
    """Leave out what happened after the snapshot's day: whole rows, or single later times.

    Parameters
    ----------
    batch : Batch
        Its fates and values change.
    as_of : date
        Last day that counts.
    issues : Issues
        Takes what was left out.
    """
    end = pd.Timestamp(as_of) + pd.Timedelta(days=1)
    times = {
        name: column
        for name, column in batch.table.exported.items()
        if column.type in ("date", "datetime") and not column.planned
    }
    born = next((name for name, column in times.items() if column.required), None)
    for name in [born, *(n for n in times if n != born)] if born else list(times):
        rows = np.flatnonzero((batch.frame[name] >= end).to_numpy() & batch.good)
        if not len(rows):
            continue
        batch.report(issues, rows, "after_as_of", "set_aside", column=name, expected=f"<= {as_of}")
        if name == born:
            batch.fate[rows] = SET_ASIDE
        else:
            batch.frame.loc[rows, name] = pd.NaT


def complete(context: Context, name: str) -> pd.DataFrame:
    """Return a table with its period keys and derived columns.

    Parameters
    ----------
    context : Context
        All clean tables.
    name : str
        Which one.

    Returns
    -------
    DataFrame
        The stored columns, their period keys, then the derived columns.
    """
    table = context.plan.tables[name]
    context = replace(context, table=name)
    frame = context.frames[name].copy()
    for column in table.columns.values():
        if column.derived:
            values = FUNCTIONS[column.source[0]](context, frame, *column.source[1:])
            frame[column.name] = _as_stored(values, column)
    return with_keys(frame, table.columns)


def _as_stored(values: pd.Series, column: Column) -> pd.Series:
    kinds = {"int": "Int64", "money": "Int64", "bool": "boolean", "float": "float64"}
    kind = kinds.get(column.type, "str")
    return values.astype(kind) if str(values.dtype) != kind else values  # type: ignore[call-overload]


def with_keys(frame: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Return a table with day, week, month, quarter and weekday beside its key times.

    Parameters
    ----------
    frame : DataFrame
        The table.
    columns : mapping of str to Column
        Its contract; columns with ``keys`` get them.

    Returns
    -------
    DataFrame
        ``<name>_day`` (datetime64[s] at midnight), ``_week``, ``_month``, ``_quarter`` (text) and
        ``_weekday`` (1 is Monday) directly after each such column.
    """
    parts: dict[str, pd.Series] = {}
    for name in frame.columns:
        parts[name] = frame[name]
        if name in columns and columns[name].keys:
            parts |= _keys(frame[name])
    return pd.DataFrame(parts, index=frame.index)


def _keys(times: pd.Series) -> dict[str, pd.Series]:
    name = str(times.name)
    days = times.dt.floor("D")
    codes, known = pd.factorize(days)
    dates = [day.date() for day in pd.DatetimeIndex(known)]
    found = {f"{name}_day": days.astype("datetime64[s]")}
    for kind in ("week", "month", "quarter"):
        words = np.array([*(period.of(day, kind).key for day in dates), None], dtype=object)
        found[f"{name}_{kind}"] = pd.Series(words[codes], index=times.index, dtype="str")
    weekdays = pd.array([*(day.isoweekday() for day in dates), None], dtype="Int64")
    found[f"{name}_weekday"] = pd.Series(weekdays.take(codes), index=times.index)
    return found


def _whole_seconds(spans: pd.Series) -> pd.Series:
    seconds = spans.to_numpy(dtype="timedelta64[s]")
    missing = np.isnat(seconds)
    whole = pd.array(np.where(missing, 0, seconds.astype(np.int64)), dtype="Int64")
    whole[missing] = pd.NA
    return pd.Series(whole, index=spans.index)


def _looked_up(keys: pd.Series, values: pd.Series) -> pd.Series:
    """Return the value of each key, missing where there is none."""
    return values.reindex(keys.to_numpy()).set_axis(keys.index)


def _seconds(context: Context, frame: pd.DataFrame, first: str, second: str) -> pd.Series:
    return _whole_seconds(frame[second] - frame[first])


def _age(context: Context, frame: pd.DataFrame, start: str) -> pd.Series:
    return _whole_seconds(context.end - frame[start])


def _not_after(context: Context, frame: pd.DataFrame, first: str, second: str) -> pd.Series:
    known = frame[first].notna() & frame[second].notna()
    return (frame[first] <= frame[second]).astype("boolean").where(known)


def _present(context: Context, frame: pd.DataFrame, column: str) -> pd.Series:
    return frame[column].notna().astype("boolean")


def _comeback(context: Context, frame: pd.DataFrame) -> pd.Series:
    """Seconds from closing to the first later order that names this one inside the guarantee.

    The guarantee ends with its days or its kilometres, whichever comes first; where a mileage is
    missing the days decide. Work without a level has no guarantee.
    """
    rules = context.plan.settings["guarantee"]
    first = frame[["order_id", "closed_at", "odometer_km", "work_level"]]
    later = frame[["comeback_of", "opened_at", "odometer_km"]].dropna(subset=["comeback_of"])
    pairs = later.merge(first, left_on="comeback_of", right_on="order_id", suffixes=("_later", ""))
    days = pairs["work_level"].map({level: rule["days"] for level, rule in rules.items()})
    reach = pairs["work_level"].map({level: rule["km"] for level, rule in rules.items()})
    spans = pairs["opened_at"] - pairs["closed_at"]
    driven = (pairs["odometer_km_later"] - pairs["odometer_km"]).astype("float64")
    inside = (spans >= pd.Timedelta(0)) & (spans <= pd.to_timedelta(days, unit="D"))
    pairs = pairs.assign(span=spans)[inside & ~(driven > reach)]
    shortest = pairs.groupby("order_id")["span"].min()
    return _whole_seconds(_looked_up(frame["order_id"], shortest))


def _next_visit(context: Context, frame: pd.DataFrame) -> pd.Series:
    """Seconds from closing to the vehicle's next order that is no comeback."""
    visits = frame.loc[
        frame["comeback_of"].isna() & frame["vehicle_id"].notna(), ["vehicle_id", "opened_at"]
    ]
    return _whole_seconds(_first_after(frame, "closed_at", visits) - frame["closed_at"])


def _first_after(frame: pd.DataFrame, start: str, visits: pd.DataFrame) -> pd.Series:
    asked = frame.loc[frame[start].notna() & frame["vehicle_id"].notna(), ["vehicle_id", start]]
    asked = asked.sort_values(start, kind="stable")
    found = pd.merge_asof(
        asked.reset_index(), visits.sort_values("opened_at", kind="stable"), left_on=start,
        right_on="opened_at", by="vehicle_id", direction="forward", allow_exact_matches=False,
    )  # fmt: skip
    return found.set_index("index")["opened_at"].reindex(frame.index)


def _in_care(context: Context, frame: pd.DataFrame, start: str) -> pd.Series:
    """Seconds from a time to the end of the snapshot or of the day the vehicle left, or 0."""
    vehicles = context.frames.get("vehicles")
    ends = pd.Series(context.end, index=frame.index)
    if vehicles is not None:
        left = vehicles.set_index("vehicle_id")["left_on"] + _DAY
        gone = _looked_up(frame["vehicle_id"], left)
        ends = gone.where(gone < context.end, context.end)
    span = ends - frame[start]
    return _whole_seconds(span.mask(span < pd.Timedelta(0), pd.Timedelta(0)))


def _relative_error(
    context: Context, frame: pd.DataFrame, estimate: str, first: str, second: str
) -> pd.Series:
    asked = frame[estimate].astype("float64").where(frame[estimate] != 0)
    paid = frame[first].astype("float64") + frame[second].astype("float64")
    return (paid - asked).abs() / asked


def _sum_of(context: Context, frame: pd.DataFrame, table: str, link: str, column: str) -> pd.Series:
    own = context.plan.tables[context.table].key[0]
    other = context.frames.get(table)
    if other is None:
        return pd.Series(0, index=frame.index, dtype="Int64")
    sums = other.dropna(subset=[link]).groupby(link)[column].sum()
    return _looked_up(frame[own], sums).astype("Int64").fillna(0)


def _lookup(context: Context, frame: pd.DataFrame, table: str, key: str, column: str) -> pd.Series:
    other = context.frames.get(table)
    if other is None:
        return pd.Series(None, index=frame.index, dtype="str")
    return _looked_up(frame[key], other.set_index(context.plan.tables[table].key[0])[column])


def _first_of(context: Context, frame: pd.DataFrame, group: str, order: str) -> pd.Series:
    firsts = frame.groupby(group)[order].transform("min")
    return (frame[order] == firsts).astype("boolean")


def _spell_store(context: Context, frame: pd.DataFrame, person: str, day: str) -> pd.Series:
    """Return the store of the employment spell that covers a day."""
    staff = context.frames.get("staff")
    if staff is None:
        return pd.Series(None, index=frame.index, dtype="str")
    spells = staff[["staff_id", "started_on", "ended_on", "store_id"]]
    asked = frame.loc[frame[day].notna() & frame[person].notna(), [person, day]]
    found = pd.merge_asof(
        asked.sort_values(day, kind="stable").reset_index(),
        spells.sort_values("started_on", kind="stable"),
        left_on=day, right_on="started_on", left_by=person, right_by="staff_id",
    )  # fmt: skip
    covered = found["ended_on"].isna() | (found["ended_on"] >= found[day])
    return found.set_index("index")["store_id"].where(covered.to_numpy()).reindex(frame.index)


Function = Callable[..., pd.Series]
FUNCTIONS: dict[str, Function] = {
    "seconds": _seconds,
    "age": _age,
    "not_after": _not_after,
    "present": _present,
    "comeback": _comeback,
    "next_visit": _next_visit,
    "in_care": _in_care,
    "relative_error": _relative_error,
    "sum_of": _sum_of,
    "lookup": _lookup,
    "first_of": _first_of,
    "spell_store": _spell_store,
}


def _staff_quarters(context: Context) -> pd.DataFrame:
    """Return one row per person and quarter with a day on duty in it.

    Store, role and level are those of the last spell in the quarter; a quarter that is not over
    ends with the snapshot. Trained means: a passed course that still counts at the end.
    """
    table = context.plan.tables["staff_quarters"]
    staff = context.frames.get("staff")
    quarters = _quarters(context)
    if staff is None or not quarters:
        kinds = {"date": "datetime64[s]", "bool": "boolean"}
        types = {c.name: kinds.get(c.type, "str") for c in table.columns.values()}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})
    parts = [_on_duty(context, staff, quarter) for quarter in quarters]
    return pd.concat(parts, ignore_index=True)[list(table.columns)]


def _quarters(context: Context) -> list[period.Period]:
    firsts = [
        frame[name].min()
        for table, frame in context.frames.items()
        for name, column in context.plan.tables[table].columns.items()
        if column.keys and name in frame
    ]
    first = min((day.date() for day in firsts if not pd.isna(day)), default=context.as_of)
    return period.span(period.of(first, "quarter"), period.of(context.as_of, "quarter"))


def _on_duty(context: Context, staff: pd.DataFrame, quarter: period.Period) -> pd.DataFrame:
    start, end = pd.Timestamp(quarter.start), min(pd.Timestamp(quarter.end), context.end - _DAY)
    here = staff["started_on"] <= end
    for column in ("ended_on", "left_on"):
        here &= staff[column].isna() | (staff[column] >= start)
    spells = staff[here].sort_values(["staff_id", "started_on"], kind="stable")
    last = spells.drop_duplicates("staff_id", keep="last").reset_index(drop=True)
    left = spells.groupby("staff_id")["left_on"].max().reindex(last["staff_id"]).to_numpy()
    return last[["staff_id", "store_id", "role", "level"]].assign(
        quarter=pd.Series(quarter.key, index=last.index, dtype="str"),
        quarter_end=np.full(len(last), end.to_datetime64().astype("datetime64[s]")),
        trained=last["staff_id"].isin(_trained(context, end)).astype("boolean"),
        left=pd.Series(
            (left >= start.to_datetime64()) & (left <= end.to_datetime64()), dtype="boolean"
        ),
    )


def _trained(context: Context, end: pd.Timestamp) -> pd.Series:
    training = context.frames.get("training")
    if training is None:
        return pd.Series(dtype="str")
    months = int(context.plan.settings["training"]["valid_months"])
    until = training["valid_until"].fillna(training["held_on"] + pd.DateOffset(months=months))
    counts = training["passed"].fillna(False) & (training["held_on"] <= end) & (until >= end)
    return training.loc[counts.to_numpy(dtype=bool), "staff_id"]


TABLES: dict[str, Callable[[Context], pd.DataFrame]] = {"staff_quarters": _staff_quarters}
