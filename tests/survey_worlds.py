"""The survey of a simulated world without export and import: frames as a snapshot holds them."""

from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
import pandas as pd

from dealerqm import plan as plans
from dealerqm import survey
from dealerqm.facts import Facts
from dealerqm.period import of, parse
from dealerqm.simulate import plant
from dealerqm.simulate.tables import _margins, ids
from dealerqm.world import Config, World, expit
from dealerqm.world.survey import biased_stores

WAIT_S = 60


def at(world, minutes):
    start = datetime.combine(world.first, datetime.min.time())
    known = pd.Series(minutes, dtype="float64")
    return pd.to_datetime(start) + pd.to_timedelta(known.round(), unit="min")


def keyed(frame, name):
    day = frame[name].dt.floor("D")
    quarter = {d: of(d.date(), "quarter").key for d in day.dropna().unique()}
    return frame.assign(**{f"{name}_day": day, f"{name}_quarter": day.map(quarter)})


def frames(made, plan):
    """Name -> pandas frame of the tables that a survey looks at."""
    world, name = made.world, ids(made)
    rows = made.answers.sort_values("invited_at", kind="stable").reset_index(drop=True)
    touch, quarter = rows["touchpoint"], world.month(rows["invited_at"]) // 3
    event = np.select(
        [touch == "service", touch == "complaint"],
        [name.at("order", rows["event"].where(touch == "service")),
         name.at("told", rows["event"].where(touch == "complaint"))],
        name.at("lead", rows["event"].where(~touch.isin(["service", "complaint"]))),
    )  # fmt: skip
    items = [c for c in plan.tables["survey_responses"].columns if c in rows]
    contract = plan.tables["survey_responses"].columns
    answers = pd.DataFrame({
        "response_id": [f"Q{i:06d}" for i in range(len(rows))], "respondent": rows["respondent"],
        "customer_id": name.at("customer", rows["customer"]),
        "store_id": name.store[rows["store"]], "staff_id": name.at("person", rows["adviser"]),
        "touchpoint": touch, "event_id": event,
        "wave": np.array([q.key for q in world.quarters])[quarter], "channel": rows["channel"],
        "stratum": rows["stratum"], "psu": rows["psu"], "base_weight": rows["base_weight"],
        "invited_at": at(world, rows["invited_at"]),
        "responded_at": at(world, rows["responded_at"]),
        "duration_s": rows["duration_s"], "comment": None,
        "invite_age_s": (world.end - rows["invited_at"]) * WAIT_S,
        "answer_s": (rows["responded_at"] - rows["invited_at"]) * WAIT_S,
    })  # fmt: skip
    for item in items:
        if item not in answers:
            answers[item] = rows[item].mask(rows[item].isin(contract[item].codes))
    order = made.order
    wait = (order["started_at"] - order["arrived_at"]) * WAIT_S
    orders = pd.DataFrame({
        "order_id": name.order, "wait_s": wait, "is_comeback": order["parent"] >= 0,
        "opened_at": at(world, order["opened_at"]),
    })  # fmt: skip
    told = made.told
    complaints = pd.DataFrame({
        "event_id": name.at("order", told["order"]), "store_id": name.store[told["store"]],
        "received_at": at(world, told["received_at"]), "subtype": told["subtype"],
    })  # fmt: skip
    return {
        "survey_responses": keyed(answers, "invited_at"),
        "service_orders": keyed(orders, "opened_at"),
        "complaints": keyed(complaints, "received_at"),
        "customers": pd.DataFrame(
            {"customer_id": name.customer, "birth_year": made.base.customers["birth_year"]}
        ),
        "stores": made.base.stores, "targets": _margins(made),
    }  # fmt: skip


def read(made, plan, quarter=None):
    """The survey of a run up to a quarter, None is the newest."""
    tables = frames(made, plan)
    stores = made.base.stores
    return survey.load(
        Facts(tables.__getitem__), plan, parse(quarter or made.world.quarters[-1].key),
        dict(zip(stores["store_id"], stores["region"], strict=True)),
        as_of=made.world.as_of, tables=tuple(tables),
    )  # fmt: skip


def truth(made):
    """True share of satisfied among all who could be asked: frame store_id, quarter, n, share."""
    world = made.world
    rows = made.asked[world.inside(made.asked["invited_at"])]
    quarter = np.array([q.key for q in world.quarters])[world.month(rows["invited_at"]) // 3]
    parts = pd.DataFrame({
        "store_id": made.base.store_ids[rows["store"]], "quarter": quarter,
        "n": 1, "good": expit(rows["latent"].to_numpy()),
    })  # fmt: skip
    found = parts.groupby(["store_id", "quarter"], as_index=False)[["n", "good"]].sum()
    return found.assign(share=found["good"] / found["n"])


def biased(made):
    """The stores in which answering depends on satisfaction itself."""
    return set(made.base.store_ids[biased_stores(made.world, made.base.share)])


@cache
def simulated(seed, waves=8):
    """Run and survey of a simulated group with nothing planted but the survey's own traps."""
    made = plant.run(World(Config(), seed))
    plan = plans.load()
    settings = {**plan.settings, "survey": {**plan.settings["survey"], "waves": waves}}
    return made, read(made, replace(plan, settings=settings))
