"""Repair orders of the simulated group with their parts, and the checks of its processes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dealerqm.world import DAY, HOUR, YEAR, Floats, Ints, Words, World, group_plan
from dealerqm.world.sales import Base

MAX_VISITS = 32  # visits drawn per vehicle; more never fall into the span
_NOON = 12.5 * HOUR
_STAGE_OBJECTS = {"after_sales": "order", "conduct": "store"}  # the other stages look at a lead


def orders(world: World, base: Base) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the repair orders with comebacks, and their parts lines.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores, staff, customers and vehicles; the vehicles get ``left`` and ``left_reason``.

    Returns
    -------
    (DataFrame, DataFrame)
        Rows of the tables ``service_orders`` and ``parts_lines`` with times in minutes, plus
        ``store, car, customer, adviser, parent, late, in_time`` and what was planted. Orders of
        the days before the first quarter are among them: comebacks point to them.
    """
    out = _jobs(world, base, _visits(world, base))
    out = _comebacks(world, base, out).sort_values("arrived_at", kind="stable")
    place = np.empty(len(out), dtype=np.int64)
    place[out.index] = np.arange(len(out))
    parent = out["parent"].to_numpy()
    out["parent"] = np.where(parent >= 0, place[parent], -1)
    out = out.reset_index(drop=True)
    out["kind"] = np.array(world.section("orders")["kinds"])[out["kind_no"]]
    _workshop(world, base, out)
    _bill(world, base, out)
    lines = _parts(world, out)
    out["waited_for_parts"] = np.isin(np.arange(len(out)), lines["order"][~lines["from_stock"]])
    return out, lines


def _visits(world: World, base: Base) -> pd.DataFrame:
    """Draw the visits of every vehicle on a clock that runs with its store's intensity."""
    made, rng, cars = world.section("fleet"), world.rng("visits"), base.cars
    owner = base.customers.iloc[cars["customer"]]
    store, n = owner["store"].to_numpy(), len(cars)
    clock = np.pad(np.cumsum(world.volume("service"), axis=1), ((0, 0), (1, 0)))
    enter = clock[store, cars["enter"].to_numpy().astype(np.int64)]
    mean = YEAR / owner["visits_per_year"].to_numpy()
    gaps = mean[:, None] * rng.gamma(made["gap_shape"], 1 / made["gap_shape"], (n, MAX_VISITS))
    gaps[:, 0] = np.where(cars["enter"] == 0, rng.random(n) * mean, gaps[:, 0])
    gone = cars["gone"].fillna(world.days).to_numpy().astype(np.int64)
    stop = np.minimum(enter + rng.exponential(YEAR / made["stop_per_year"], n), clock[store, gone])
    at = enter[:, None] + gaps.cumsum(axis=1)
    comes = at < np.minimum(stop, clock[store, -1])[:, None]
    car, at = np.nonzero(comes)[0], at[comes]
    when, last = np.empty(at.size), np.empty(n)
    for number, hands in enumerate(clock):
        mine, all_mine = store[car] == number, store == number
        when[mine] = np.interp(at[mine], hands, np.arange(hands.size))
        last[all_mine] = np.interp(stop[all_mine], hands, np.arange(hands.size))
    _leave(world, base, np.where(cars["gone"].notna(), gone, last))
    day, part = np.divmod(when, 1)
    minute = world.opens + 3 + np.floor(part**1.3 * 9 * HOUR)
    return pd.DataFrame({"car": car, "store": store[car], "arrived_at": day * DAY + minute})


def _leave(world: World, base: Base, last: Floats) -> None:
    """Write down which vehicles are known to have left, when and why."""
    rng, n = world.rng("leave"), last.size
    known = (last < world.days) & (rng.random(n) < world.section("fleet")["leave_share"])
    traded = base.cars["gone"].notna().to_numpy()
    base.cars["left"] = np.where(known | traded, np.floor(last), np.nan)
    reason = np.where(traded, "traded_in", world.words("left_reason", rng, n))
    base.cars["left_reason"] = pd.Series(reason).where(known | traded, None)


def _jobs(world: World, base: Base, out: pd.DataFrame) -> pd.DataFrame:
    """Draw kind and level of the work: harder in some stores, warranty for young vehicles."""
    made, rng, n = world.section("orders"), world.rng("jobs"), len(out)
    until = base.cars["sold"].to_numpy()[out["car"]] + world.section("fleet")["warranty_days"]
    young = (out["arrived_at"].to_numpy() / DAY < until)[:, None]
    mix = np.where(young, made["mix_warranty"], made["mix"])
    lack = made["hardness"] * base.stores["hardness"].to_numpy()[out["store"]]
    mix[:, 1:] *= (1 - mix[:, :1] + lack[:, None]) / (1 - mix[:, :1])
    mix[:, 0] -= lack
    kind = (rng.random(n)[:, None] > mix.cumsum(axis=1)).sum(axis=1).clip(max=mix.shape[1] - 1)
    large = rng.random(n) < np.array(made["assembly"])[kind]
    plain = np.where((kind == 0) & (rng.random(n) < made["level2"]), "level2", "minor")
    level = np.where(large, "assembly", plain)
    return out.assign(kind_no=kind, work_level=level, parent=-1)


def _comebacks(world: World, base: Base, out: pd.DataFrame) -> pd.DataFrame:
    """Let some jobs come back inside the legal guarantee of their level of work."""
    made, rng, n = world.section("orders"), world.rng("comebacks"), len(out)
    days, rules = made["comeback_days"], group_plan().settings["guarantee"]
    room = out["work_level"].map({k: rule["days"] for k, rule in rules.items()}) - days["spare"]
    work = _longest(world, out)
    room -= work
    wait = days["after"] + work + np.minimum(rng.exponential(days["mean"] * room), room - 0.2)
    day = np.floor(out["arrived_at"].to_numpy() / DAY) + np.floor(wait)
    at = day * DAY + world.opens + np.floor(rng.random(n) * 8 * HOUR)
    cell = world.cell(out["store"], at)
    usual = made["usual_comebacks"]  # comebacks are orders too and swell what they are counted per
    share = usual + world.planted.get("comeback_rate", np.zeros(world.cells)) / 1000
    per = np.bincount(cell, minlength=world.cells) / 1000 / (1 - usual) / (1 - share)
    weight = np.log(np.array(made["comeback_weight"]))[out["kind_no"]]
    back, _ = world.happens("comeback_rate", weight, cell, per)
    reach = out["work_level"].map({k: rule["km"] for k, rule in rules.items()}).to_numpy()
    rate = base.customers["km_per_day"].to_numpy()[base.cars["customer"].to_numpy()[out["car"]]]
    back &= ~world.shut[world.day(at)] & (at < world.end) & (rate * (wait + 1) < reach)
    again = out[back].assign(arrived_at=at[back], parent=np.flatnonzero(back))
    again["kind_no"] = np.where(again["kind_no"] == made["kinds"].index("warranty"), 2, 1)
    return pd.concat([out, again], ignore_index=True)


def _workshop(world: World, base: Base, out: pd.DataFrame) -> None:
    """Set the times of each order: waiting that rises with load, work, promise, closing."""
    made, rng, n = world.section("orders"), world.rng("workshop"), len(out)
    store, arrived = out["store"].to_numpy(), out["arrived_at"].to_numpy()
    day, cell = world.day(arrived), world.cell(store, arrived)
    place = store * world.days + day
    load = np.bincount(place)[place] * world.days / np.bincount(store)[store]
    crowd = made["wait_load"] * (made["usual_load"] - np.minimum(load, made["most_load"]))
    out["in_time"], out["planted_wait"] = world.happens("waiting_within", crowd, cell)
    short = made["wait_short"]
    brief = short["minutes"] * rng.beta(short["a"], short["b"], n)
    wait = np.where(
        out["in_time"], brief, short["minutes"] + 1 + rng.exponential(made["wait_long"], n)
    )
    out["opened_at"] = arrived + np.floor(np.minimum(wait / 2, 9))
    started = arrived + np.floor(wait)
    spread = np.minimum(_gamma(rng, made["minutes_shape"], n), made["minutes_most"])
    work = _minutes(world, out) * spread
    length = world.section("calendar")["open_minutes"]
    whole, rest = np.divmod(np.maximum(started % DAY - world.opens, 0) + work + 8, length)
    ready = np.floor((started // DAY + whole) * DAY + world.opens + rest)
    like = np.array(made["kind_ready"])[out["kind_no"]]
    keeps, out["planted_late"] = world.happens("ready_on_time", like, cell)
    early, late = rng.exponential(made["promise_pad"], n), rng.exponential(made["promise_late"], n)
    promised = np.where(keeps, np.ceil((ready + early) / 5) * 5, np.floor(ready - 2 - late))
    promised = np.maximum(promised, out["opened_at"] + 5)
    out["late"] = ready > promised
    closed = ready + np.floor(made["close_minutes"] * _gamma(rng, 2, n)) + DAY * (work > length)
    cancelled = rng.random(n) < made["cancelled"]
    cancelled[out["parent"][out["parent"] >= 0]] = False  # what comes back was done
    out["promised_at"] = np.where(rng.random(n) < made["no_promise"], np.nan, promised)
    for name, at in (("started_at", started), ("ready_at", ready), ("closed_at", closed)):
        out[name] = world.seen(np.where(cancelled, np.nan, at))
    refunded = rng.random(n) < made["refunded"]
    done = np.where(out["closed_at"].isna(), "open", np.where(refunded, "refunded", "closed"))
    out["status"] = np.where(cancelled, "cancelled", done)
    out["shift"] = np.where(arrived % DAY < _NOON, "morning", "afternoon")
    out["adviser"] = base.team.pick("service", store, day, rng)


def _minutes(world: World, out: pd.DataFrame) -> Floats:
    """Return the usual minutes of each job."""
    made = world.section("orders")
    usual = np.array(made["minutes"])[out["kind_no"]]
    return np.where(out["work_level"] == "assembly", made["assembly_factor"] * usual, usual)


def _longest(world: World, out: pd.DataFrame) -> Floats:
    """Return the days after which each job is closed for sure."""
    length = world.section("calendar")["open_minutes"]
    days = np.ceil(world.section("orders")["minutes_most"] * _minutes(world, out) / length)
    return np.asarray(days + 1 + (days > 1))


def _gamma(rng: np.random.Generator, shape: float, n: int) -> Floats:
    """Return gamma numbers with mean 1."""
    return np.asarray(rng.gamma(shape, 1 / shape, n))


def _bill(world: World, base: Base, out: pd.DataFrame) -> None:
    """Odometer, hours and money of each order; a comeback costs the customer nothing."""
    made, rng, n = world.section("orders"), world.rng("bill"), len(out)
    car = base.cars.iloc[out["car"]]
    owner = base.customers.iloc[car["customer"]]
    out["customer"] = car["customer"].to_numpy()
    age = out["arrived_at"].to_numpy() / DAY - car["sold"].to_numpy()
    out["odometer_km"] = np.floor(owner["km_per_day"].to_numpy() * age)
    large = np.where(out["work_level"] == "assembly", made["assembly_factor"], 1.0)
    hours = (
        np.array(made["hours"])[out["kind_no"]] * large * _gamma(rng, 2 * made["minutes_shape"], n)
    )
    out["labour_hours"] = np.maximum(np.round(hours, 1), 0.1)
    again, spend = (out["parent"] >= 0).to_numpy(), owner["spend"].to_numpy()
    labour = np.round(out["labour_hours"] * made["labour_rate"] * np.sqrt(spend))
    parts = np.array(made["parts"])[out["kind_no"]] * large * spend
    parts = np.round(parts * np.exp(made["parts_sd"] * rng.standard_normal(n)))
    labour, parts = np.where(again, 0, labour), np.where(again, 0, parts)
    out["estimate_fen"] = np.where(again, np.nan, _estimate(world, out, labour + parts, rng))
    off = owner["discount"].to_numpy() * np.exp(made["discount_sd"] * rng.standard_normal(n))
    free = np.isin(out["kind"], ["warranty", "recall"])
    money = {
        "labour_fen": labour,
        "parts_fen": parts,
        "discount_fen": np.where(free, 0, off * (labour + parts)),
    }
    for name, yuan in money.items():
        out[name] = np.where(out["closed_at"].notna(), 100.0 * np.round(yuan), np.nan)
    fault = world.words("fault_group", rng, n)
    known = [out["kind"] == "maintenance", out["kind"] == "body"]
    out["fault_group"] = np.select(known, ["none", "body"], fault)
    out.loc[again, "fault_group"] = out["fault_group"].to_numpy()[out["parent"][again]]


def _estimate(world: World, out: pd.DataFrame, total: Floats, rng: np.random.Generator) -> Floats:
    """Return estimates in fen: near the bill, or beyond a tenth of it."""
    made, n = world.section("orders"), len(out)
    cell = world.cell(out["store"], out["closed_at"])
    exact, _ = world.happens("estimate_accuracy", np.zeros(n), cell)
    near, far = made["exact_error"], made["wrong_error"]
    side = np.where(rng.random(n) < far["under"], -1, 1)
    miss = np.where(
        exact, rng.uniform(-near, near, n), side * rng.uniform(far["from"], far["to"], n)
    )
    return np.asarray(100.0 * np.round(total / (1 - miss)))


def _parts(world: World, out: pd.DataFrame) -> pd.DataFrame:
    """Draw the parts lines of each order; what is not in stock is supplied later."""
    made, rng = world.section("orders"), world.rng("parts")
    number = np.minimum(rng.poisson(np.array(made["lines"])[out["kind_no"]]), made["most_lines"])
    number[(out["status"] == "cancelled").to_numpy()] = 0
    order = np.repeat(np.arange(len(out)), number)
    n, groups = order.size, made["part_groups"]
    nth = np.arange(n) - np.repeat(np.cumsum(number) - number, number)
    plain = (out["kind_no"].to_numpy()[order] == 0) & (nth == 0)
    group = np.where(plain, 0, (rng.integers(1, len(groups), len(out))[order] + nth) % len(groups))
    store, at = out["store"].to_numpy()[order], out["opened_at"].to_numpy()[order] + 4
    stock, _ = world.happens("parts_first_fill", np.zeros(n), world.cell(store, at))
    slow = made["supply"]
    later = slow["hours"] * HOUR * np.exp(slow["sd"] * rng.standard_normal(n))
    wait = np.where(stock, slow["stock_minutes"] * (0.3 + rng.random(n)), later)
    lines = pd.DataFrame({
        "order": order, "store": store, "part_group": np.array(groups)[group], "requested_at": at,
        "supplied_at": world.seen(at + np.ceil(wait)), "from_stock": stock,
        "quantity": 1 + rng.poisson(0.4, n),
    })  # fmt: skip
    return lines.drop_duplicates(["order", "part_group"])


def checks(world: World, base: Base, lead: pd.DataFrame, order: pd.DataFrame) -> pd.DataFrame:
    """Return the process checks: visits with the checklist of one stage, and vehicles inspected.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores and staff.
    lead, order : DataFrame
        What is checked.

    Returns
    -------
    DataFrame
        Rows of the table ``process_checks`` with times in minutes and rows instead of ids.
    """
    seen = _stage_visits(world, base, lead, order)
    parts = [_items(world, seen), _inspections(world, base, lead, after=len(seen))]
    return pd.concat(parts, ignore_index=True)


def _stage_visits(
    world: World, base: Base, lead: pd.DataFrame, order: pd.DataFrame
) -> pd.DataFrame:
    """Draw when and where a stage is checked, on which lead or order, and by whom."""
    made, rng = world.section("checks"), world.rng("checks")
    number = 1 + rng.poisson(made["per_store_month"], (world.config.stores, world.months))
    store, month = (
        np.repeat(place, number.ravel()) for place in np.indices(number.shape).reshape(2, -1)
    )
    n = store.size
    day = _open_day(world, month, rng.random(n))
    out = pd.DataFrame(
        {"store": store, "checked_at": np.floor(day * DAY + (9.5 + 8 * rng.random(n)) * HOUR)}
    )
    stages = [name for name in world.section("checklists") if name != "pdi"]
    out["stage"] = np.array(stages)[rng.integers(0, len(stages), n)]
    out["source"] = rng.choice(list(made["source"]), n, p=list(made["source"].values()))
    out["object_type"] = out["stage"].map(_STAGE_OBJECTS).fillna("lead")
    out["lead"] = _one_before(
        lead["store"], lead["created_at"], out, rng.integers(1, made["recent"] + 1, n)
    )
    out["order"] = _one_before(
        order["store"], order["arrived_at"], out, rng.integers(1, made["recent"] + 1, n)
    )
    manager = base.team.pick("manager", store, day, rng)
    served = np.where(
        out["object_type"] == "order",
        order["adviser"].to_numpy()[out["order"]],
        lead["adviser"].to_numpy()[out["lead"]],
    )
    out["person"] = np.where(out["object_type"] == "store", manager, served)
    group = out["source"].map({"audit": "Q", "mystery": "M", "self": ""}).to_numpy(dtype=str)
    out["checker"] = np.where(group == "", base.team.ids[manager], _numbered(group, 1, rng))
    twice = (group != "") & (rng.random(n) < made["second"])
    out["second"] = np.where(twice, _numbered(group, 11, rng), "")
    return out


def _numbered(letter: Words, start: int, rng: np.random.Generator) -> Words:
    number = rng.integers(start, start + 8, letter.size).astype(str)
    return np.asarray(np.char.add(letter, np.char.zfill(number, 2)))


def _open_day(world: World, month: Ints, chance: Floats) -> Ints:
    """Return a day of each month on which stores are open."""
    usable = np.flatnonzero(~world.shut & (np.arange(world.days) >= world.burn))
    first = np.searchsorted(world.month_of_day[usable], np.arange(world.months + 1))
    place = first[month] + (chance * (first[month + 1] - first[month])).astype(np.int64)
    return np.asarray(usable[place])


def _one_before(store: pd.Series, at: pd.Series, rows: pd.DataFrame, back: Ints) -> Ints:
    """Return for each row an event of its store so many events before it."""
    far = 10.0 * max(at.max(), rows["checked_at"].max())
    key = store.to_numpy() * far + at.to_numpy()
    order = np.argsort(key, kind="stable")
    place = np.searchsorted(key[order], rows["store"] * far + rows["checked_at"]) - back
    first = np.searchsorted(store.to_numpy()[order], rows["store"])
    return np.asarray(order[np.maximum(place, first)])


def _items(world: World, seen: pd.DataFrame) -> pd.DataFrame:
    """Lay out the items of each visit, and the same items by the second checker."""
    made, lists, rng = world.section("checks"), world.section("checklists"), world.rng("items")
    each = made["items"]
    row, item = np.repeat(np.arange(len(seen)), each), np.tile(np.arange(each), len(seen))
    out = seen.iloc[row].reset_index(drop=True).assign(visit=row, item_no=item)
    critical = item % made["critical_every"] == 0
    stage, names = pd.factorize(out["stage"], sort=True)
    hard = world.rng("hard items", fixed=True).standard_normal(each * len(names))
    eta = made["item_sd"] * hard[stage * each + item]
    eta += made["visit_sd"] * rng.standard_normal(len(seen))[row]
    eta += np.where(critical, made["critical_lift"], made["plain_lift"])
    eta += np.where(out["source"] == "self", made["self_lift"], 0.0)
    cell = world.cell(out["store"], out["checked_at"])
    out["passed"], _ = world.happens("checklist_compliance", eta, cell)
    out["critical"], out["weight"] = critical, np.where(critical, made["critical_weight"], 1.0)
    out["item"] = [lists[name][number] for name, number in zip(out["stage"], item, strict=True)]
    out["checklist"] = "SOP_" + out["stage"]
    twice = out[out["second"] != ""]
    same = rng.random(len(twice)) < made["agree"]
    twice = twice.assign(
        passed=twice["passed"].to_numpy() == same, checker=twice["second"],
        checked_at=twice["checked_at"] + 3,
    )  # fmt: skip
    return pd.concat([out, twice], ignore_index=True)


def _inspections(world: World, base: Base, lead: pd.DataFrame, *, after: int) -> pd.DataFrame:
    """Inspections before delivery: twelve items on a sample of the delivered vehicles."""
    made, items, rng = world.section("checks"), world.section("checklists")["pdi"], world.rng("pdi")
    sold = lead[(lead["car"] >= 0) & (rng.random(len(lead)) < made["pdi_share"])]
    store, at = sold["store"].to_numpy(), sold["delivered_at"].to_numpy() - 1.5 * HOUR
    worker = base.team.pick("technician", store, world.day(at), rng)
    row, item = (
        np.repeat(np.arange(len(sold)), len(items)),
        np.tile(np.arange(len(items)), len(sold)),
    )
    passed = made["pdi_pass"] + 0.6 * (1 - made["pdi_pass"]) * np.sin(item)
    who = base.team.ids[worker]
    return pd.DataFrame({
        "store": store[row], "checked_at": at[row], "stage": "delivery", "source": "self",
        "object_type": "vehicle", "car": sold["car"].to_numpy()[row], "lead": -1, "order": -1,
        "visit": after + row, "item_no": item, "person": worker[row], "checker": who[row],
        "passed": rng.random(row.size) < passed, "critical": item % made["critical_every"] == 0,
        "weight": 1.0, "item": np.array(items)[item], "checklist": "PDI",
    })  # fmt: skip
