"""What is planted into the simulated group: when, where, how large; and one run with all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.world import (
    DAY,
    HOUR,
    Config,
    Floats,
    Ints,
    World,
    care,
    people,
    sales,
    service,
    survey,
)
from dealerqm.world.sales import Base

RATES = ("complaint_rate", "comeback_rate")  # lower is better
KINDS = {"shifts": "shift", "drifts": "drift", "spikes": "spike"}
WAIT_MINUTES, TOP_SCORE, ESTIMATE, PER = 30, 9, 0.1, 1000  # as the plan's KPIs judge them


@dataclass(frozen=True)
class Run:
    """The tables of one run, with times in minutes and rows instead of ids.

    Attributes
    ----------
    world : World
        The run.
    base : Base
        Stores, staff, customers and vehicles.
    lead, order, lines, told, calls, asked, answers, checks : DataFrame
        Leads, orders, parts lines, complaints, contacts, survey frame, survey and process checks.
    """

    world: World
    base: Base
    lead: pd.DataFrame
    order: pd.DataFrame
    lines: pd.DataFrame
    told: pd.DataFrame
    calls: pd.DataFrame
    asked: pd.DataFrame
    answers: pd.DataFrame
    checks: pd.DataFrame


def run(world: World) -> Run:
    """Simulate one run.

    Parameters
    ----------
    world : World
        Size, seed, and what is planted.

    Returns
    -------
    Run
        All tables that depend on chance.
    """
    stores = people.stores(world)
    share = stores["share"].to_numpy()
    base = Base(stores, people.staff(world, share), *people.fleet(world, share))
    lead, base = sales.leads(world, base)
    order, lines = service.orders(world, base)
    told = care.complaints(world, base, lead, order)
    asked = survey.frame(world, base, {"lead": lead, "order": order, "told": told})
    return Run(
        world, base, lead, order, lines, told,
        calls=care.contacts(world, base, order), asked=asked,
        answers=survey.survey(world, base, asked),
        checks=service.checks(world, base, lead, order),
    )  # fmt: skip


def values(made: Run) -> dict[str, Floats]:
    """Return KPIs by store and month as the plan defines them, from the rows of a run.

    Parameters
    ----------
    made : Run
        A run.

    Returns
    -------
    dict of str to array of shape (stores, months)
        NaN where there was nothing to measure.
    """
    order, lead, told, calls = made.order, made.lead, made.told, made.calls
    opened = _count(made, order, "opened_at")
    judged = order[order["estimate_fen"].notna()]
    error = (judged["labour_fen"] + judged["parts_fen"]) / judged["estimate_fen"] - 1
    sold = lead[lead["delivered_at"].notna()]
    replied = made.answers[made.answers["overall"].notna()]
    audit = made.checks[made.checks["source"] != "self"]
    asks = calls[calls["direction"] == "in"]
    wait = order["started_at"] - order["arrived_at"]
    promised = order[order["promised_at"].notna() & order["ready_at"].notna()]
    signed_within = lead["signed_at"] - lead["created_at"] <= sales.SIGN_DAYS * DAY
    followed_within = sold["followed_up_at"] - sold["delivered_at"] <= sales.FOLLOW_HOURS * HOUR
    cases = [
        ("waiting_within", order[wait.notna()], "opened_at", wait <= WAIT_MINUTES),
        ("ready_on_time", promised, "opened_at", promised["ready_at"] <= promised["promised_at"]),
        ("estimate_accuracy", judged, "closed_at", error.abs() <= ESTIMATE),
        ("parts_first_fill", made.lines, "requested_at", made.lines["from_stock"]),
        ("satisfaction", replied, "responded_at", replied["overall"] >= TOP_SCORE),
        ("test_drive_rate", lead, "created_at", lead["drives"]),
        ("closing_rate", lead, "created_at", signed_within),
        ("on_time_delivery", sold, "delivered_at", sold["delivered_at"] <= sold["promised_at"]),
        ("delivery_follow_up", sold, "delivered_at", followed_within),
        ("enquiry_response", asks, "at", asks["answered_at"] - asks["at"] <= DAY),
        ("checklist_compliance", audit, "checked_at", audit["passed"]),
    ]  # fmt: skip
    with np.errstate(invalid="ignore"):
        out = {
            kpi: _count(made, rows[good.reindex(rows.index)], when) / _count(made, rows, when)
            for kpi, rows, when, good in cases
        }
    back = order[order["parent"] >= 0]
    out["comeback_rate"] = PER * _count(made, back, "opened_at") / opened
    out["complaint_rate"] = PER * _count(made, told, "received_at") / opened
    return out


def _count(made: Run, rows: pd.DataFrame, when: str) -> Floats:
    world = made.world
    rows = rows[world.inside(rows[when])]
    cell = world.cell(rows["store"], rows[when])
    return np.bincount(cell, minlength=world.cells).reshape(-1, world.months).astype(np.float64)


def spreads(config: Config, seed: int) -> dict[str, Floats]:
    """Return the standard deviation of the store-months of each KPI when nothing is planted.

    Parameters
    ----------
    config : Config
        Size of the group.
    seed : int
        Seed of the group.

    Returns
    -------
    dict of str to array of shape (stores,)
        Over the months of one store, root mean square over the null worlds of the seed.
    """
    nulls = [values(run(World(config, seed, number + 1))) for number in range(config.null_runs)]
    return {
        kpi: np.sqrt(np.mean([np.nanvar(null[kpi], axis=1, ddof=1) for null in nulls], axis=0))
        for kpi in nulls[0]
    }


def schedule(world: World) -> list[dict[str, Any]]:
    """Draw where and when shifts, drifts and spikes are planted.

    Parameters
    ----------
    world : World
        Seed and size.

    Returns
    -------
    list of dict
        ``kind, kpi, store, first, last`` (months, both included), ``size`` in standard deviations,
        positive when better.
    """
    made, rng = world.section("planted"), world.rng("schedule", fixed=True)
    share = people.stores(world)["share"].to_numpy()
    burst, _ = care.burst_place(world, share)
    biased = {int(store) for store in survey.biased_stores(world, share)}
    most = max(2, int(made["most_stores"] * world.config.stores))
    shut: dict[str, set[int]] = {"satisfaction": biased, "complaint_rate": {burst}}
    used: dict[str, set[int]] = {}
    out = []
    wanted = [(kind, e["kpi"], size) for kind in KINDS for e in made[kind] for size in e["sizes"]]
    for kind, kpi, size in wanted:
        mine = used.setdefault(kpi, set())
        free = [s for s in range(world.config.stores) if s not in mine | shut.get(kpi, set())]
        if len(mine) < most and free:
            store = int(rng.choice(free))
            mine.add(store)
            first, last = _span(world, kind, rng)
            place = {"kpi": kpi, "store": store, "first": first, "last": last}
            out.append({"kind": KINDS[kind], **place, "size": size})
    return out


def _span(world: World, kind: str, rng: np.random.Generator) -> tuple[int, int]:
    """Draw first and last month: shifts stay, drifts rise and stay, spikes are one month."""
    made, months = world.section("planted")["begin"], world.months
    early, late = (months - before for before in made["before_end"])
    if kind == "spikes":
        month = int(rng.integers(made["least"], months - 1))
        return month, month
    return int(rng.integers(max(early, made["least"]), late + 1)), months - 1


def improvements(world: World) -> dict[str, dict[str, Any]]:
    """Return which stores the two real improvements treat, and from which month.

    Parameters
    ----------
    world : World
        Seed and size.

    Returns
    -------
    dict
        ``staggered`` and ``fading``: the settings plus ``start`` (store index to first month).
    """
    out = {}
    for name in ("staggered", "fading"):
        made = dict(world.section("improvement")[name])
        number = round(made["treated"] * world.config.stores)
        rng = world.rng(f"improvement {name}", fixed=True)
        chosen = rng.permutation(world.config.stores)[:number]
        steps = np.arange(number) * made.get("steps", 1) // number
        starts = world.months // 3 + 3 * steps
        made["start"] = dict(sorted(zip(chosen.tolist(), starts.tolist(), strict=True)))
        out[name] = made
    return out


def null_improvement(made: Run, measured: Mapping[str, Floats]) -> dict[str, Any]:
    """Return the improvement that does nothing, on the stores that happened to be worst.

    Parameters
    ----------
    made : Run
        The planted run.
    measured : mapping
        Its KPIs by store and month.

    Returns
    -------
    dict
        The settings plus ``selection`` (months) and ``start`` (store index to first month).
    """
    out, world = dict(made.world.section("improvement")["null"]), made.world
    begin = world.months - out["months_before_end"]
    months = np.arange(begin - out["selection_months"], begin)
    worst = np.argsort(np.nanmean(measured[out["kpi"]][:, months], axis=1))
    number = max(1, round(out["treated"] * world.config.stores))
    chosen = sorted(int(store) for store in worst[:number])
    return {**out, "selection": months.tolist(), "start": dict.fromkeys(chosen, begin)}


def deltas(
    world: World, plan: list[dict[str, Any]], better: dict[str, dict[str, Any]],
    sd: Mapping[str, Floats],
) -> dict[str, Floats]:  # fmt: skip
    """Return what is added to each KPI in each store and month.

    Parameters
    ----------
    world : World
        Size.
    plan : list of dict
        The schedule.
    better : dict
        The real improvements.
    sd : mapping of str to array of shape (stores,)
        Standard deviations.

    Returns
    -------
    dict of str to array of shape (cells,)
        In the KPI's unit.
    """
    kpis = {entry["kpi"] for entry in [*plan, *better.values()]}
    grids = {kpi: np.zeros((world.config.stores, world.months)) for kpi in sorted(kpis)}
    for entry in plan:
        months = np.arange(entry["first"], entry["last"] + 1)
        sign = -1.0 if entry["kpi"] in RATES else 1.0
        size = sign * entry["size"] * sd[entry["kpi"]][entry["store"]]
        grids[entry["kpi"]][entry["store"], months] = size * _shape(world, entry["kind"], months)
    for made in better.values():
        for store, start in made["start"].items():
            quarter = np.arange(world.months - start) // 3
            effect = made["size"] * sd[made["kpi"]][store] * made.get("fade", 1.0) ** quarter
            grids[made["kpi"]][store, start:] = effect
    return {kpi: grid.ravel() for kpi, grid in grids.items()}


def _shape(world: World, kind: str, months: Ints) -> Floats:
    """Return the share of the size in each month: drifts rise in a line, then stay."""
    if kind != "drift":
        return np.ones(months.size)
    rise = world.section("planted")["drift_months"]
    return np.asarray(np.minimum((np.arange(months.size) + 1) / rise, 1.0))
