"""Every KPI recomputed by plain SQL from its definition, sharing no code with facts and kpi.

``recompute`` translates the checked plan block into one SELECT over the rows of a table; only
Kaplan-Meier curves are followed in plain Python, from the counts that SQL delivers.
"""

import math
from collections import defaultdict

import pandas as pd

UNIT_SIZE = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "yuan": 100, "points": 1}
COLUMNS = ["kpi", "store", "quarter", "n", "value"]


def recompute(table, plan):
    """Values of all KPIs but spreads, per store and quarter.

    ``table`` maps the name of a table to a DuckDB relation; ``n`` is the number of rows judged,
    ``value`` is in the unit of the KPI, missing where nothing can be said.
    """
    rows = []
    for kpi in plan.kpis.values():
        if kpi.stat != "spread":
            found = RULES[kpi.stat](table, plan, kpi)
            rows += [(kpi.name, *row) for row in found]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "int64", "value": "float64"})


# ---------------------------------------------------------------- conditions as SQL text


def literal(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def sql_term(term):
    name = f'"{term.column}"'
    if term.op == "true":
        text = name
    elif term.op == "present":
        text = f"({name} is not null)"
    elif term.op == "in":
        text = f"({name} in ({', '.join(map(literal, term.values))}))"
    else:
        operator = {"==": "=", "!=": "<>"}.get(term.op, term.op)
        text = f"({name} {operator} {literal(term.values[0])})"  # noqa: PD011
    return f"(not {text})" if term.negated else text


def sql_and(terms):
    return " and ".join(map(sql_term, terms)) or "true"


def sql_known(terms):
    names = {term.column for term in terms if term.op != "present"}
    return " and ".join(f'"{name}" is not null' for name in sorted(names)) or "true"


def select(table, source, what, then=""):
    """Rows of ``select store, quarter, what`` over the rows that count."""
    name, when, where = source
    query = (
        f'select store_id as store, "{when}_quarter" as quarter, {what} from judged '
        f'where store_id is not null and "{when}_quarter" is not null and {sql_and(where)} {then}'
    )
    return table(name).query("judged", query).fetchall()


def grouped(table, kpi, what):
    return select(table, (kpi.table, kpi.when, kpi.where), what, "group by all order by all")


# ---------------------------------------------------------------- one rule per statistic


def share(table, plan, kpi):
    if kpi.follow_up:
        return followed(table, kpi)
    known = sql_known(kpi.value)
    what = f"""count(*) filter ({known}),
        avg(case when {sql_and(kpi.value)} then 1.0 else 0.0 end) filter ({known})"""
    return grouped(table, kpi, what)


def within(table, plan, kpi):
    done, age, limit = f'"{kpi.value}"', f'"{kpi.age}"', kpi.limit
    judged = f"({done} is not null or {age} > {limit})"
    what = f"""count(*) filter ({judged}),
        avg(case when {done} <= {limit} then 1.0 else 0.0 end) filter ({judged})"""
    return grouped(table, kpi, what)


def rate(table, plan, kpi):
    events = {row[:2]: row[2] for row in grouped(table, kpi, "count(*)")}
    per = (kpi.per.table, kpi.per.when, kpi.per.where)
    exposure = {
        row[:2]: row[2] for row in select(table, per, "count(*)", "group by all order by all")
    }
    for key in sorted({*events, *exposure}):
        n = exposure.get(key, 0)
        yield (*key, n, kpi.per.times * events.get(key, 0) / n if n else None)


def mean(table, plan, kpi):
    size = UNIT_SIZE[kpi.unit]
    return grouped(table, kpi, f'count("{kpi.value}"), avg("{kpi.value}") / {size}')


def nps(table, plan, kpi):
    what = f"""count("{kpi.value}"),
        (count(*) filter ("{kpi.value}" >= 9) - count(*) filter ("{kpi.value}" <= 6))
        / nullif(count("{kpi.value}"), 0)"""
    return grouped(table, kpi, what)


def index(table, plan, kpi):
    """The index of a row is kept to a thousandth of a point, halves up, as its definition says."""
    waves = sorted({f.from_wave for f in plan.factors if kpi.value in ("all", f.name)})
    cases = " ".join(
        f"when wave >= {literal(wave)} then {row_index(plan, kpi, wave)}"
        for wave in reversed(waves)
    )
    points = plan.instrument["index_points"] / plan.instrument["scale"]["max"]
    point = f"floor((case {cases} end) * {points} * 1000 + 0.5) / 1000"
    return grouped(table, kpi, f"count({point}), avg({point})")


def row_index(plan, kpi, wave):
    current = {}
    for factor in sorted(plan.factors, key=lambda f: f.from_wave):
        if kpi.value in ("all", factor.name) and factor.from_wave <= wave:
            current[factor.name] = factor
    all_weights = sum(factor.weight for factor in current.values())
    items = [
        (item, weight * factor.weight / all_weights)
        for factor in current.values()
        for item, weight in factor.items.items()
    ]
    total = " + ".join(f'coalesce("{item}" * {weight!r}::double, 0)' for item, weight in items)
    weight = " + ".join(
        f'case when "{item}" is null then 0 else {weight!r}::double end' for item, weight in items
    )
    return f"(({total}) / nullif({weight}, 0))"


def quantile(table, plan, kpi):
    if kpi.age:
        return censored_quantile(table, kpi)
    if kpi.interval == "lognormal":
        return lognormal(table, kpi)
    # the smallest value whose share of the sample reaches q
    counted = f"""(select *, row_number() over (partition by store_id, "{kpi.when}_quarter"
        order by "{kpi.value}") as place, count(*) over (partition by store_id,
        "{kpi.when}_quarter") as size from judged where "{kpi.value}" is not null
        and {sql_and(kpi.where)})"""
    query = f"""select store_id, "{kpi.when}_quarter", any_value(size), min("{kpi.value}")
        filter (place >= size * {kpi.quantile} - 1e-9) / {UNIT_SIZE[kpi.unit]} from {counted}
        where store_id is not null and "{kpi.when}_quarter" is not null group by all order by all"""
    return table(kpi.table).query("judged", query).fetchall()


def lognormal(table, kpi):
    logs = f'ln("{kpi.value}")'
    z = {0.5: 0.0}[kpi.quantile]
    what = f"""count("{kpi.value}"),
        exp(avg({logs}) + {z} * stddev_samp({logs})) / {UNIT_SIZE[kpi.unit]}"""
    return grouped(table, kpi, what)


RULES = {
    "share": share, "within": within, "rate": rate, "mean": mean, "nps": nps, "index": index,
    "quantile": quantile,
}  # fmt: skip


# ---------------------------------------------------------------- Kaplan-Meier in plain Python


def spells(table, kpi, event, until=None):
    """(store, quarter) -> list of (minutes, event?, rows), from counts by SQL."""
    time, happened = f'coalesce("{event}", "{kpi.age}")', f'"{event}" is not null'
    if until is not None:
        time, happened = f"least({time}, {until})", f'{happened} and "{event}" <= {until}'
    found = defaultdict(list)
    for store, quarter, minutes, event_came, rows in grouped(
        table, kpi, f"{time} // 60, {happened}, count(*)"
    ):
        if minutes is not None:
            found[store, quarter].append((minutes, event_came, rows))
    return found


def curve(rows):
    """(time, share still without the event) after every event time; events precede censoring."""
    at_risk, left, steps = sum(count for _, _, count in rows), 1.0, []
    for time in sorted({time for time, _, _ in rows}):
        events = sum(count for t, happened, count in rows if t == time and happened)
        if events:
            left *= 1 - events / at_risk
            steps.append((time, left))
        at_risk -= sum(count for t, _, count in rows if t == time)
    return steps


def followed(table, kpi):
    success_is_event = not kpi.value[0].negated
    for key, rows in sorted(spells(table, kpi, kpi.event_after, kpi.follow_up).items()):
        n = sum(count for _, _, count in rows)
        left = [1.0, *(share for _, share in curve(rows))][-1]
        if left > 0 and max(time for time, _, _ in rows) * 60 < kpi.follow_up:
            left = math.nan  # nobody was watched for so long, so the curve ends before the age
        yield (*key, n, 1 - left if success_is_event else left)


def censored_quantile(table, kpi):
    for key, rows in sorted(spells(table, kpi, kpi.value).items()):
        n = sum(count for _, _, count in rows)
        reached = [t for t, left in curve(rows) if left <= 1 - kpi.quantile + 1e-12]
        value = reached[0] * 60 / UNIT_SIZE[kpi.unit] if reached else math.nan
        yield (*key, n, value)
