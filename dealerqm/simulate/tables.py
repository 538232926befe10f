"""From runs to tables: ids, texts, gaps, what is exported twice, and the margins for weighting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dealerqm.simulate.plant import Run
from dealerqm.simulate.words import Identities, Writer
from dealerqm.world import Words, care, group_plan, settings

_TIMES = (
    "at",
    "opened_at",
    "created_at",
    "received_at",
    "invited_at",
    "requested_at",
    "checked_at",
)


@dataclass(frozen=True)
class Ids:
    """The ids of everything in a run, by row.

    Attributes
    ----------
    store, person, customer, car, lead, order, told : array of str
        Stores, staff, customers, vehicles, leads, orders, complaints.
    """

    store: Words
    person: Words
    customer: Words
    car: Words
    lead: Words
    order: Words
    told: Words

    def at(self, name: str, rows: npt.ArrayLike) -> Words:
        """Return the ids of rows; None where the row is missing or negative."""
        index = np.nan_to_num(np.asarray(rows, dtype=np.float64), nan=-1).astype(np.int64)
        values = getattr(self, name)
        found = values[index].astype(object)
        found[index < 0] = None
        return np.asarray(found)


def ids(made: Run) -> Ids:
    """Return the ids of a run.

    Parameters
    ----------
    made : Run
        The run.

    Returns
    -------
    Ids
        Numbered in order; complaints in order of receipt.
    """
    order = np.argsort(made.told["received_at"].to_numpy(), kind="stable")
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    base = made.base
    return Ids(
        base.store_ids, base.team.ids, _numbered("C", len(base.customers)),
        _numbered("V", len(base.cars)), _numbered("L", len(made.lead)),
        _numbered("R", len(made.order)), _numbered("K", rank.size)[rank],
    )  # fmt: skip


def _numbered(letter: str, n: int) -> Words:
    number = np.char.zfill(np.arange(1, n + 1).astype(str), 6)
    return np.asarray(np.char.add(letter, number))


def tables(made: Run) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return the rows of every exported table.

    Parameters
    ----------
    made : Run
        The run.

    Returns
    -------
    (dict of str to DataFrame, dict)
        Table to rows with all columns of its contract (times in minutes, dates in days) and
        ``store`` (index); and what the truth says of it: ``personal_data``, ``duplicates``.
    """
    name, base = ids(made), made.base
    complaints, steps, planted = _complaints(made, name)
    answers, more = _answers(made, name)
    out = {
        "stores": base.stores.assign(store=np.arange(len(base.stores))),
        "staff": base.team.spells,
        "customers": _customers(made, name),
        "vehicles": _vehicles(made, name),
        "leads": _leads(made, name),
        "service_orders": _orders(made, name),
        "parts_lines": made.lines.assign(order_id=name.order[made.lines["order"]]),
        "survey_responses": answers,
        "complaints": complaints,
        "complaint_events": steps,
        "contacts": _contacts(made, name),
        "process_checks": _checks(made, name),
        "training": base.team.training(made.world),
        "ratings": base.team.ratings(made.world),
        "awards": base.team.awards(made.world, name.store),
        "targets": _margins(made),
    }
    for table, rows in out.items():
        if table != "targets":
            rows["store_id"] = name.store[rows["store"].astype(np.int64)]
    _drop_the_rest(made, out)
    _gaps(made, out)
    return out, {"personal_data": planted + more, "duplicates": _duplicates(made, out)}


def _customers(made: Run, name: Ids) -> pd.DataFrame:
    rows, n = made.base.customers, len(made.base.customers)
    made_up = Identities(made.world.rng("personal"), made.world.section("identities"))
    home = np.maximum.accumulate(np.where(rows["shares_home"], 0, np.arange(n)))
    id_number = pd.Series(made_up.id_numbers(n)).mask(rows["company"])
    return rows.assign(
        customer_id=name.customer, household_id=_numbered("H", n)[home],
        kind=np.where(rows["company"], "company", "person"),
        region=made.base.stores["region"].to_numpy()[rows["store"]],
        created_on=rows["created"], name=made_up.names(n), phone=made_up.phones(n),
        id_number=id_number,
    )  # fmt: skip


def _vehicles(made: Run, name: Ids) -> pd.DataFrame:
    rows, fleet, n = made.base.cars, settings()["fleet"], len(made.base.cars)
    made_up = Identities(made.world.rng("plates"), made.world.section("identities"))
    return rows.assign(
        vehicle_id=name.car, customer_id=name.customer[rows["customer"]],
        store=made.base.customers["store"].to_numpy()[rows["customer"]],
        model=np.array(fleet["models"])[rows["model"]],
        energy=np.array(fleet["energy"])[rows["model"]], sold_on=rows["sold"],
        warranty_until=rows["sold"] + fleet["warranty_days"], left_on=rows["left"],
        vin=made_up.vins(n), plate=made_up.plates(n),
    )  # fmt: skip


def _leads(made: Run, name: Ids) -> pd.DataFrame:
    rows = made.lead
    return rows.assign(
        lead_id=name.lead, customer_id=name.customer[rows["customer"]],
        staff_id=name.person[rows["adviser"]],
        model=np.array(settings()["fleet"]["models"])[rows["model_no"]],
    )  # fmt: skip


def _orders(made: Run, name: Ids) -> pd.DataFrame:
    rows = made.order
    return rows.assign(
        order_id=name.order, vehicle_id=name.car[rows["car"]],
        customer_id=name.customer[rows["customer"]], staff_id=name.person[rows["adviser"]],
        comeback_of=name.at("order", rows["parent"]),
    )  # fmt: skip


def _complaints(made: Run, name: Ids) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, str]]]:
    world, rows = made.world, made.told
    burst = world.section("complaints")["burst"]["subtype"]
    rows = rows.assign(
        complaint_id=name.told, customer_id=name.customer[rows["customer"]],
        vehicle_id=name.at("car", rows["car"]),
        event_id=pd.Series(name.at("order", rows["order"]), index=rows.index)
        .fillna(pd.Series(name.at("lead", rows["lead"]), index=rows.index)),
        first_owner=name.person[rows["first"]], current_owner=name.person[rows["current"]],
        repeat_of=name.at("told", rows["repeat"]),
        subtype=rows["subtype"].replace(care.BURST, burst),
    )  # fmt: skip
    events = care.steps(world, rows)
    row = events["row"].to_numpy()
    events = events.assign(
        complaint_id=name.told[row], actor=name.person[events["person"]],
        store=rows["store"].to_numpy()[row], received_at=rows["received_at"].to_numpy()[row],
    )  # fmt: skip
    rows = rows[world.inside(rows["received_at"])].sort_values("complaint_id")
    writer = Writer(world, "complaints")
    pairs = zip(rows["subtype"], rows["complaint_id"], strict=True)
    return rows.assign(text=[writer.complaint(*pair) for pair in pairs]), events, writer.planted


def _contacts(made: Run, name: Ids) -> pd.DataFrame:
    rows = made.calls[made.world.inside(made.calls["at"])].sort_values("at", kind="stable")
    return rows.assign(
        contact_id=_numbered("T", len(rows)), customer_id=name.customer[rows["customer"]],
        staff_id=name.person[rows["person"]],
    )  # fmt: skip


def _answers(made: Run, name: Ids) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    world, rows = made.world, made.answers.sort_values("invited_at", kind="stable")
    rows = rows.assign(response_id=_numbered("Q", len(rows)))
    touch = rows["touchpoint"]
    event = np.select(
        [touch == "service", touch == "complaint"],
        [name.at("order", rows["event"].where(touch == "service")),
         name.at("told", rows["event"].where(touch == "complaint"))],
        name.at("lead", rows["event"].where(~touch.isin(["service", "complaint"]))),
    )  # fmt: skip
    quarter = world.month(rows["invited_at"]) // 3
    rows = rows.assign(
        event_id=event, customer_id=name.at("customer", rows["customer"]),
        staff_id=name.at("person", rows["adviser"]),
        wave=np.array([q.key for q in world.quarters])[quarter],
    )  # fmt: skip
    writer, share = Writer(world, "survey_responses"), world.section("survey")["comments"]
    says = rows["overall"].notna() & (world.rng("comments").random(len(rows)) < share)
    slow, again = (rows["slow_fact"] > 0).to_numpy(), (rows["again"] > 0).to_numpy()
    facts = [["slow"] * int(a) + ["again"] * int(b) for a, b in zip(slow, again, strict=True)]
    said = zip(rows["overall"], rows["response_id"], facts, says, strict=True)
    text = [writer.comment(score, row, f) if ok else None for score, row, f, ok in said]
    return rows.assign(comment=pd.Series(text, index=rows.index)), writer.planted


def _checks(made: Run, name: Ids) -> pd.DataFrame:
    rows = made.checks[made.world.inside(made.checks["checked_at"])]
    rows = rows.sort_values(["checked_at", "visit", "item_no"], kind="stable")
    visit = _numbered("P", int(rows["visit"].max()) + 1)
    kinds = {"vehicle": ("car", "car"), "order": ("order", "order"), "lead": ("lead", "lead")}
    found = [rows["object_type"] == kind for kind in kinds]
    keys = [name.at(ids_, rows[column]) for ids_, column in kinds.values()]
    return rows.assign(
        check_id=_numbered("N", len(rows)), visit_id=visit[rows["visit"]],
        object_id=np.select(found, keys, name.at("store", rows["store"])),
        staff_id=name.person[rows["person"]],
    )  # fmt: skip


def _margins(made: Run) -> pd.DataFrame:
    """Count the people who could be asked, per quarter, by what may drive answering."""
    world = made.world
    rows = made.asked[world.inside(made.asked["invited_at"])]
    quarter = np.array([q.key for q in world.quarters])[world.month(rows["invited_at"]) // 3]
    yes = np.array(["no", "yes"])
    levels = {
        "store_id": made.base.store_ids[rows["store"]], "touchpoint": rows["touchpoint"],
        "channel": rows["channel"], "age_band": rows["age_band"],
        "waited_long": yes[(rows["slow_fact"] > 0).astype(int)],
        "comeback": yes[(rows["again"] > 0).astype(int)],
        "complained": yes[(rows["complained"] > 0).astype(int)],
    }  # fmt: skip
    parts = [
        pd.DataFrame({"quarter": quarter, "margin": margin, "level": np.asarray(level)})
        .value_counts(sort=False).rename("count").reset_index()
        for margin, level in levels.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True).sort_values(["quarter", "margin", "level"])


def _drop_the_rest(made: Run, out: dict[str, pd.DataFrame]) -> None:
    """Keep what was born in the exported quarters, and lines of exported orders."""
    world = made.world
    for table, born in {
        "leads": "created_at", "service_orders": "opened_at", "parts_lines": "requested_at",
        "complaint_events": "received_at",
    }.items():  # fmt: skip
        out[table] = out[table][world.inside(out[table][born])]
    lines, known = out["parts_lines"], out["service_orders"]["order_id"]
    out["parts_lines"] = lines[lines["order_id"].isin(known)]


def _gaps(made: Run, out: dict[str, pd.DataFrame]) -> None:
    """Leave some cells empty."""
    for table, columns in made.world.section("gaps").items():
        rng = made.world.rng(f"gaps {table}")
        for column, share in columns.items():
            gone = rng.random(len(out[table])) < share
            out[table] = out[table].assign(**{column: out[table][column].mask(gone)})


def _duplicates(made: Run, out: dict[str, pd.DataFrame]) -> list[dict[str, str]]:
    """Export some rows twice, the second one a few rows later, and return which."""
    found = []
    for table in made.world.section("sample")["duplicated"]:
        rows, rng = out[table].reset_index(drop=True), made.world.rng(f"twice {table}")
        chosen = np.sort(rng.permutation(len(rows))[: made.world.config.duplicates])
        place = np.concatenate([rows.index, chosen + rng.uniform(0.5, 9, chosen.size)])
        twice = pd.concat([rows, rows.iloc[chosen]])
        out[table] = twice.iloc[np.argsort(place, kind="stable")]
        key = group_plan().tables[table].key[0]
        found += [{"table": table, "row": str(row)} for row in rows[key].to_numpy()[chosen]]
    return found
