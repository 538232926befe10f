"""Tiny fabricated tables that keep the contracts, on both engines; the same bytes every time.

Everything a snapshot would hold is here: exported columns, period keys and derived columns. The
derived columns are written down once more, without the code of ``ingest``.
"""

import atexit
from datetime import date
from functools import cache

import duckdb
import numpy as np
import pandas as pd

from dealerqm import plan as plans
from dealerqm.facts import Facts
from dealerqm.kpi import values
from dealerqm.kpi.cells import Span

AS_OF = date(2026, 9, 30)
END = pd.Timestamp(AS_OF) + pd.Timedelta(days=1)
FIRST = pd.Timestamp("2024-10-01")
REGIONS = {"S1": "North", "S2": "North", "S3": "North", "S4": "South", "S5": "South"}
STORES = list(REGIONS)
QUARTERS = [f"{2024 + (i + 3) // 4}Q{(i + 3) % 4 + 1}" for i in range(8)]
ROWS = {
    "leads": 900, "service_orders": 1800, "parts_lines": 1000, "survey_responses": 1500,
    "complaints": 500, "complaint_events": 200, "contacts": 500, "process_checks": 1300,
    "training": 260,
}  # fmt: skip
MISSING = 0.06
HOUR = 3600
# time column: (the one it follows, mean hours between, share that never comes)
FOLLOWS = {
    "leads": {
        "first_contact_at": ("created_at", 3, 0.1), "test_drive_at": ("created_at", 300, 0.4),
        "signed_at": ("created_at", 700, 0.6), "promised_at": ("signed_at", 500, 0.1),
        "delivered_at": ("signed_at", 480, 0.1), "followed_up_at": ("delivered_at", 50, 0.2),
        "cancelled_at": ("signed_at", 300, 0.8),
    },
    "service_orders": {
        "arrived_at": ("opened_at", 0, 0.05), "started_at": ("arrived_at", 0.4, 0.05),
        "ready_at": ("started_at", 2, 0.05), "promised_at": ("started_at", 3, 0.1),
        "closed_at": ("opened_at", 4, 0.03),
    },
    "parts_lines": {"supplied_at": ("requested_at", 40, 0.1)},
    "survey_responses": {"responded_at": ("invited_at", 100, 0.6)},
    "complaints": {
        "first_response_at": ("received_at", 12, 0.1), "resolved_at": ("received_at", 100, 0.1),
        "closed_at": ("received_at", 400, 0.2),
    },
    "contacts": {"answered_at": ("at", 10, 0.15)},
}  # fmt: skip


def tables(plan=None, *, seed=1, rows=None):
    """Name -> pandas frame for every table of the contracts."""
    plan = plan or plans.load()
    rng = np.random.default_rng(seed)
    made = {"stores": stores()}
    for name, count in {**ROWS, **(rows or {})}.items():
        made[name] = _table(rng, plan.tables[name], count)
    made["staff_quarters"] = staff_quarters(rng, plan.tables["staff_quarters"])
    return made


def stores():
    frame = pd.DataFrame({"store_id": STORES, "name": STORES, "region": list(REGIONS.values())})
    return frame.astype("str")


def staff_quarters(rng, table):
    frame = pd.MultiIndex.from_product(
        [STORES, QUARTERS, range(6)], names=["store_id", "quarter", "person"]
    ).to_frame(index=False)
    starts = pd.PeriodIndex(frame["quarter"], freq="Q")
    frame["staff_id"] = frame["store_id"] + "_" + frame["person"].astype("str")
    frame["quarter_end"] = starts.end_time.floor("D").as_unit("s")
    for name, share in (("trained", 0.8), ("left", 0.1)):
        frame[name] = pd.array(rng.random(len(frame)) < share, dtype="boolean")
    frame["role"], frame["level"] = "service", "junior"
    return with_keys(frame[list(table.columns)], table)


def _table(rng, table, count):
    frame = pd.DataFrame(index=pd.RangeIndex(count))
    for name, column in table.exported.items():
        frame[name] = _random(rng, table, column, count)
    for name, (start, hours, never) in FOLLOWS.get(table.name, {}).items():
        gap = pd.to_timedelta((rng.exponential(hours * HOUR, count)).astype(int), unit="s")
        later = (frame[start] + gap).astype("datetime64[s]")
        planned = table.columns[name].planned
        keep = (rng.random(count) >= never) & ((later < END) | planned)
        frame[name] = later.where(keep)
    if table.name == "process_checks":
        frame = _visits(frame)
    for name, column in table.columns.items():
        if column.derived:
            frame[name] = _derived(rng, frame, column)
    return with_keys(frame[list(table.columns)], table)


def _visits(frame):
    """Eight items a visit, in one store at one time; every third visit inspects a vehicle."""
    visit = frame.index // 8
    for name in ("store_id", "checked_at", "stage", "object_type", "source"):
        frame[name] = frame[name].to_numpy()[visit * 8]
    inspects = visit % 3 == 0
    frame["visit_id"] = pd.Series("v" + visit.astype("str"), dtype="str")
    for name, word in (("stage", "delivery"), ("object_type", "vehicle")):
        frame[name] = frame[name].astype("str").mask(inspects, word)
    return frame


def _random(rng, table, column, count):
    key = column.name in table.key and table.key == (column.name,)
    if key:
        return pd.Series([f"{table.name}_{i}" for i in range(count)], dtype="str")
    values = _draw(rng, column, count)
    if column.required:
        return values
    return values.where(rng.random(count) >= MISSING)


def _draw(rng, column, count):
    if column.name == "store_id":
        return pd.Series(rng.choice(STORES, count), dtype="str")
    if column.name == "wave":
        return pd.Series(rng.choice(QUARTERS, count), dtype="str")
    if column.name == "repeat_of" or column.name == "comeback_of":
        found = pd.Series(rng.choice(["x", ""], count, p=[0.1, 0.9]), dtype="str")
        return found.where(found != "")
    if column.type in ("id", "text", "category"):
        words = list(column.values) or [f"{column.name}_{i}" for i in range(8)]
        weights = np.arange(len(words), 0, -1) ** 1.0
        return pd.Series(rng.choice(words, count, p=weights / weights.sum()), dtype="str")
    if column.type == "bool":
        return pd.Series(rng.random(count) < 0.85, dtype="boolean")
    if column.type in ("date", "datetime"):
        seconds = rng.integers(0, int((END - FIRST).total_seconds()), count)
        times = FIRST + pd.to_timedelta(seconds, unit="s")
        times = times.floor("D") if column.type == "date" else times
        return pd.Series(times.as_unit("s"))
    low = 0 if column.minimum is None else column.minimum
    high = min(low + 100_000 if column.maximum is None else column.maximum, 100_000)
    if column.type == "float":
        return pd.Series(rng.uniform(low, high, count))
    top_heavy = high - rng.geometric(0.35, count) + 1 if high <= 10 else rng.integers(
        int(low), int(high) + 1, count
    )  # fmt: skip
    return pd.Series(np.maximum(top_heavy, int(low)), dtype="Int64")


def _derived(rng, frame, column):
    word, *names = column.source
    return DERIVED[word](rng, frame, *names)


def _in_care(rng, frame, start):
    age = _seconds(END - frame[start])
    leaves = pd.Series(rng.integers(0, 700 * 86400, len(frame)), dtype="Int64")
    gone = pd.Series(rng.random(len(frame)) < 0.15)
    return age.where(~gone | (leaves > age), leaves)


def _later(mean_days, share):
    def made(rng, frame):
        after = rng.exponential(mean_days * 86400, len(frame)).astype(int)
        after = pd.Series(after, dtype="Int64")
        watched = _seconds(END - frame["closed_at"])
        seen = (rng.random(len(frame)) < share) & (after <= watched).fillna(False)
        return after.where(seen.astype(bool))

    return made


def _not_after(rng, frame, first, second):
    known = frame[first].notna() & frame[second].notna()
    return (frame[first] <= frame[second]).astype("boolean").where(known)


def _relative_error(rng, frame, estimate, labour, parts):
    paid = frame[labour].astype("float64") + frame[parts].astype("float64")
    return ((paid - frame[estimate].astype("float64")).abs() / 100_000).astype("float64")


def _sum_of(rng, frame, *_):
    paid = rng.integers(100, 90_000, len(frame))
    return pd.Series(np.where(rng.random(len(frame)) < 0.05, paid, 0), dtype="Int64")


def _some_store(rng, frame, *_):
    return pd.Series(rng.choice(STORES, len(frame)), dtype="str")


DERIVED = {
    "seconds": lambda rng, frame, first, second: _seconds(frame[second] - frame[first]),
    "age": lambda rng, frame, start: _seconds(END - frame[start]),
    "in_care": _in_care,
    "comeback": _later(60, 0.12),
    "next_visit": _later(300, 0.8),
    "present": lambda rng, frame, name: frame[name].notna().astype("boolean"),
    "not_after": _not_after,
    "relative_error": _relative_error,
    "sum_of": _sum_of,
    "first_of": lambda rng, frame, group, _: (~frame[group].duplicated()).astype("boolean"),
    "lookup": _some_store,
    "spell_store": _some_store,
}


def _seconds(spans):
    values = spans.to_numpy(dtype="timedelta64[s]")
    whole = pd.array(np.where(np.isnat(values), 0, values.astype("int64")), dtype="Int64")
    whole[np.isnat(values)] = pd.NA
    return pd.Series(whole)


def with_keys(frame, table):
    """The frame with day, week, month, quarter and weekday beside its key times."""
    parts = {}
    for name in frame.columns:
        parts[name] = frame[name]
        if table.columns[name].keys:
            parts |= keys_of(frame[name])
    return pd.DataFrame(parts)


def keys_of(times):
    name = times.name
    days = [None if pd.isna(t) else t.date() for t in times]
    words = {
        "week": lambda d: "{}W{:02d}".format(*d.isocalendar()[:2]),
        "month": lambda d: f"{d:%Y-%m}",
        "quarter": lambda d: f"{d.year}Q{(d.month + 2) // 3}",
    }
    found = {f"{name}_day": pd.Series(days, dtype="datetime64[s]")}
    for kind, word in words.items():
        keys = [None if d is None else word(d) for d in days]
        found[f"{name}_{kind}"] = pd.Series(keys, dtype="str")
    weekdays = [pd.NA if d is None else d.isoweekday() for d in days]
    return {**found, f"{name}_weekday": pd.Series(weekdays, dtype="Int64")}


# ---------------------------------------------------------------- engines


def pandas_facts(frames):
    return Facts(frames.__getitem__)


def duckdb_tables(frames):
    """Name -> DuckDB relation, with the column types of a snapshot."""
    engine = duckdb.connect(":memory:", config={"threads": 1})
    for name, frame in frames.items():
        engine.register("incoming", frame)
        columns = ", ".join(
            f'cast("{column}" as {_sql_type(frame[column], column)}) as "{column}"'
            for column in frame.columns
        )
        engine.execute(f'create table "{name}" as select {columns} from incoming')
        engine.unregister("incoming")
    return engine.table


def _sql_type(column, name):
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind):
        return "boolean"
    if pd.api.types.is_integer_dtype(kind):
        return "bigint"
    if pd.api.types.is_float_dtype(kind):
        return "double"
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "date" if name.endswith(("_day", "_on", "quarter_end", "valid_until")) else (
            "timestamp"
        )  # fmt: skip
    return "varchar"


def duckdb_facts(frames):
    return Facts(duckdb_tables(frames))


ENGINES = {"duckdb": duckdb_facts, "pandas": pandas_facts}


# ---------------------------------------------------------------- made once a run, never changed

PLAN = plans.load()


@cache
def small():
    """The tables of the small world."""
    return tables(PLAN)


@cache
def small_facts(engine="pandas"):
    """The questions over the small world."""
    return ENGINES[engine](small())


# else a connection outlives the modules of its library, which then complains
atexit.register(small_facts.cache_clear)


@cache
def small_values(kind="quarter"):
    """All KPI values of the small world; copy before changing."""
    return values(small_facts(), PLAN, REGIONS, span=Span(kind, AS_OF))


def one(frame, **equal):
    """The one row with these values."""
    for name, wanted in equal.items():
        frame = frame[frame[name] == wanted]
    if len(frame) != 1:
        raise ValueError(f"{len(frame)} rows have {equal}")
    return frame.iloc[0]


def rows(frame, **equal):
    """The rows of a frame with these values."""
    keep = np.logical_and.reduce([frame[name] == value for name, value in equal.items()])
    return frame[keep].reset_index(drop=True)
