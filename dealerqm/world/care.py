"""Complaints of the simulated group with their steps, and the contacts with its customers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dealerqm.world import DAY, HOUR, Bools, Floats, World, settings
from dealerqm.world.sales import Base

BURST = "burst"
_OPENS, _SHUTS = 8.5 * HOUR, 20 * HOUR  # somebody answers a complaint
_TELLING = 13 * HOUR  # minutes of the day in which customers complain
_STAMPS = (
    "first_response_at", "resolved_at", "first_resolved", "reviewed_at", "closed_at", "ended_at",
)  # fmt: skip


def risks() -> list[dict[str, Any]]:
    """Return the planted risks: what complaints are about, how often, and what they cost.

    Returns
    -------
    list of dict
        ``id, subtype, type, side, share, impact, cause`` and names.

    Examples
    --------
    >>> risks()[0]["subtype"]
    'bad_repair'
    """
    return [dict(risk) for risk in settings()["risk"]]


def office(at: Floats) -> Floats:
    """Return times moved into the hours in which somebody answers.

    Parameters
    ----------
    at : array
        Minutes.

    Returns
    -------
    array
        The same, or the next morning's first half hour.

    Examples
    --------
    >>> office(np.array([600.0, 1300.0, 1440.0 + 65])).tolist()
    [600.0, 1960.0, 1955.0]
    """
    day, clock = np.divmod(at, DAY)
    morning = DAY * (day + (clock > _SHUTS)) + _OPENS + clock % (HOUR / 2)
    return np.asarray(np.where((clock < _OPENS) | (clock > _SHUTS), morning, at))


def complaints(world: World, base: Base, lead: pd.DataFrame, order: pd.DataFrame) -> pd.DataFrame:
    """Return the complaints about orders and sales, with the burst and the repeats.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores and staff.
    lead, order : DataFrame
        What they are about; ``order`` gets ``complained``.

    Returns
    -------
    DataFrame
        Rows of the table ``complaints`` with times in minutes, without texts; ``order`` or
        ``lead`` is the row they are about, ``repeat`` the row they repeat.
    """
    made, rng = world.section("complaints"), world.rng("complaints")
    done = order[order["closed_at"].notna()]
    like = made["late"] * (done["late"] - done["planted_late"])
    like += made["wait"] * (~done["in_time"] + done["planted_wait"])
    like += made["comeback"] * (done["parent"] >= 0)
    out = pd.DataFrame({
        "store": [*done["store"], *lead["store"]],
        "order": [*done.index, *[-1] * len(lead)],
        "lead": [*[-1] * len(done), *range(len(lead))],
    })  # fmt: skip
    after = np.concatenate([done["closed_at"], lead["created_at"] + 2 * DAY])
    out["received_at"] = _told(after + rng.exponential(made["after_days"] * DAY, after.size), rng)
    eta = np.concatenate([like, np.full(len(lead), np.log(made["leads"]))])
    eta += np.log(world.config.complaints / world.config.orders / made["per_order"])
    opened = np.bincount(world.cell(order["store"], order["opened_at"]), minlength=world.cells)
    cell = world.cell(out["store"], out["received_at"])
    per = opened / 1000 / (1 + made["repeat"])  # some are told again
    tells, _ = world.happens("complaint_rate", eta, cell, per)
    out = out[tells & (out["received_at"] < world.end)].reset_index(drop=True)
    out["subtype"] = _subtypes(out, rng)
    out = pd.concat([out, _burst(world, base, order)], ignore_index=True).assign(repeat=-1)
    again = np.flatnonzero(rng.random(len(out)) < made["repeat"])
    low, high = made["repeat_days"]
    later = rng.uniform(low, high, again.size) * DAY
    more = out.iloc[again].assign(repeat=again)
    more["received_at"] = _told(more["received_at"].to_numpy() + later, rng)
    out = pd.concat([out, more[more["received_at"] < world.end]], ignore_index=True)
    order["complained"] = np.isin(np.arange(len(order)), out["order"])
    _about(world, base, out, lead, order)
    _progress(world, out)
    return out


def _told(at: Floats, rng: np.random.Generator) -> Floats:
    """Move times into the day, never before themselves."""
    day = np.floor(at / DAY)
    told = day * DAY + 8 * HOUR + np.floor(rng.random(at.size) * _TELLING)
    return np.asarray(np.where(told < at, told + DAY, told))


def _subtypes(out: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """Draw what each complaint is about: the risks of its side in their shares."""
    subtype = np.empty(len(out), dtype=object)
    for side, rows in (("orders", out["order"] >= 0), ("leads", out["lead"] >= 0)):
        mine = {risk["subtype"]: risk["share"] for risk in risks() if risk["side"] == side}
        share = np.array(list(mine.values()))
        subtype[rows] = rng.choice(list(mine), int(rows.sum()), p=share / share.sum())
    return [str(name) for name in subtype]


def burst_place(world: World, share: Floats) -> tuple[int, int]:
    """Return store and first day of the planted burst of complaints with one cause.

    Parameters
    ----------
    world : World
        The run.
    share : array of shape (stores,)
        Share of the volume: one of the larger half has it.

    Returns
    -------
    (int, int)
        Store index and day.
    """
    made, rng = world.section("complaints")["burst"], world.rng("burst", fixed=True)
    large = np.argsort(-share)[: max(1, share.size // 2)]
    return int(rng.choice(large)), int(world.days - 1 - rng.integers(made["first"], made["last"]))


def _burst(world: World, base: Base, order: pd.DataFrame) -> pd.DataFrame:
    """Draw the burst: many complaints in one store within three weeks; none in null worlds."""
    made, rng = world.section("complaints")["burst"], world.rng("burst rows")
    store, day = burst_place(world, base.share)
    number = made["complaints"] if world.run == 0 else 0
    at = _told((day + rng.random(number) * made["days"]) * DAY, rng)
    first = day * DAY
    near = (order["store"] == store) & order["closed_at"].between(first - 30 * DAY, first)
    about = rng.choice(np.flatnonzero(near), number, replace=number > near.sum())
    rows = {"store": store, "order": about, "lead": -1, "received_at": at, "subtype": BURST}
    return pd.DataFrame(rows, index=range(number))


def _about(
    world: World, base: Base, out: pd.DataFrame, lead: pd.DataFrame, order: pd.DataFrame
) -> None:
    """Fill whom and what each complaint is about, and who takes care of it."""
    rng, n, known = world.rng("about"), len(out), {risk["subtype"]: risk for risk in risks()}
    burst = world.section("complaints")["burst"]
    known[BURST] = {**known[burst["like"]], "type": burst["type"], "cause": burst["cause"]}
    for column, field in (("type", "type"), ("root_cause", "cause"), ("impact", "impact")):
        out[column] = [known[name][field] for name in out["subtype"]]
    service = (out["order"] >= 0).to_numpy()
    delivered = lead["delivered_at"].to_numpy()[out["lead"]] < out["received_at"]
    out["stage"] = np.select([service, delivered], ["after_sales", "delivery"], "sales")
    for name in ("customer", "car"):
        mine, sold = order[name].to_numpy()[out["order"]], lead[name].to_numpy()[out["lead"]]
        out[name] = np.where(service, mine, sold)
    out["severity"] = world.words("severity", rng, n)
    out["channel"] = world.words("complaint_channel", rng, n)
    store, day = out["store"].to_numpy(), world.day(out["received_at"])
    out["first"] = base.team.pick("care", store, day, rng)
    moves = rng.random(n) < world.section("complaints")["handed_over"]
    out["current"] = np.where(moves, base.team.pick("care", store, day, rng), out["first"])


def _progress(world: World, out: pd.DataFrame) -> None:
    """Set the times of each complaint, how it ended, and what was paid."""
    made, rng, n = world.section("complaints"), world.rng("progress"), len(out)
    at = out["received_at"].to_numpy()
    fast, _ = world.happens("complaint_response", np.zeros(n), world.cell(out["store"], at))
    brief, slow = made["fast_hours"], made["slow_hours"]
    soon = office(at + 30 + HOUR * np.minimum(rng.exponential(brief["mean"], n), brief["most"]))
    soon = np.where(soon - at < DAY - 10, soon, at + 45)
    late = office(at + HOUR * (slow["least"] + rng.exponential(slow["mean"], n)))
    response = np.floor(np.where(fast, soon, late))
    days = made["resolve"]["median"] * np.exp(made["resolve"]["sd"] * rng.standard_normal(n))
    out["waits"] = rng.random(n) < made["waiting"]
    ended = office(np.maximum(at + days * DAY, response + 30) + out["waits"].to_numpy() * 2 * DAY)
    fate = rng.random(n)
    out["withdraws"], out["escalates"] = fate < made["withdraw"], fate > 1 - made["escalate"]
    again = (rng.random(n) < made["reopen"]) & ~out["withdraws"].to_numpy()
    solved = np.where(out["withdraws"] | (rng.random(n) < made["never"]), np.nan, ended)
    resolved = solved + again * office(np.floor(rng.uniform(3, 9, n)) * DAY + _OPENS)
    reviewed = office(resolved + made["review_days"] * DAY * rng.gamma(2, 0.5, n) + 20)
    closed = office(reviewed + 5 + rng.exponential(made["close_days"] * DAY, n))
    closed = np.where(out["withdraws"], ended, closed)
    times = (response, resolved, solved, reviewed, closed, ended)
    for name, value in zip(_STAMPS, times, strict=True):
        out[name] = world.seen(value)
    _outcome(world, out, again, rng)


def _outcome(world: World, out: pd.DataFrame, again: Bools, rng: np.random.Generator) -> None:
    """Set what is known of each complaint by the as-of date."""
    made, n = world.section("complaints"), len(out)
    done = out["closed_at"].notna()
    ends = np.select([out["withdraws"], out["escalates"]], ["withdrawn", "escalated"], "resolved")
    out["outcome"] = pd.Series(ends, index=out.index).where(done, None)
    paid = (rng.random(n) < made["paid"]) & ~out["withdraws"]
    noise = np.exp(made["paid_sd"] * rng.standard_normal(n) - made["paid_sd"] ** 2 / 2)
    yuan = np.round(np.where(paid, out["impact"] / made["paid"] * noise, 0))
    out["compensation_fen"] = np.where(out["resolved_at"].notna() | done, 100.0 * yuan, np.nan)
    out["root_cause"] = out["root_cause"].where(out["reviewed_at"].notna(), None)
    out["reopened"] = again & (out["first_resolved"] + DAY < world.end)


def steps(world: World, out: pd.DataFrame) -> pd.DataFrame:
    """Return the steps of every complaint, consistent with its times.

    Parameters
    ----------
    world : World
        The run.
    out : DataFrame
        The complaints.

    Returns
    -------
    DataFrame
        Rows of the table ``complaint_events`` with ``row`` of the complaint, ``person`` and times
        in minutes.
    """
    answered = out["first_response_at"]
    waiting = world.seen(answered.where(out["waits"]) + HOUR)
    reopened, again = out["first_resolved"].where(out["reopened"]) + DAY, out["resolved_at"]
    lasting = [
        ("receive", out["received_at"], None, "new"),
        ("classify", np.fmin(out["received_at"] + 20, answered - 1), "new", "classified"),
        ("respond", answered, "classified", "responded"),
        ("wait", waiting, "responded", "waiting"),
        ("resume", world.seen(waiting + DAY), "waiting", "responded"),
        ("escalate", out["ended_at"].where(out["escalates"]) - 15, "responded", "escalated"),
        ("withdraw", out["ended_at"].where(out["withdraws"]), "responded", "withdrawn"),
        ("resolve", out["first_resolved"], "responded", "resolved"),
        ("reopen", reopened, "resolved", "responded"),
        ("resolve", again.where(out["reopened"]), "responded", "resolved"),
        ("review", out["reviewed_at"], "resolved", "reviewed"),
        ("close", out["closed_at"].where(~out["withdraws"]), "reviewed", "closed"),
    ]
    rows = np.arange(len(out))
    parts = [
        pd.DataFrame({"row": rows, "at": at, "action": name, "from_state": old, "to_state": new})
        for name, at, old, new in lasting
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table[table["at"] < world.end].sort_values(["row", "at"], kind="stable")
    after = (table["action"] == "resolve") & (table["from_state"] == "responded")
    raised = table["action"].shift().eq("escalate")
    table["from_state"] = table["from_state"].mask(after & raised, "escalated")
    early = table["action"].isin(["receive", "classify", "respond"])
    first, current = out["first"].to_numpy()[table["row"]], out["current"].to_numpy()[table["row"]]
    return table.assign(person=np.where(early, first, current)).reset_index(drop=True)


def contacts(world: World, base: Base, order: pd.DataFrame) -> pd.DataFrame:
    """Return contacts with customers, campaigns with a hold-out among them.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores, staff, customers.
    order : DataFrame
        The visits they are about.

    Returns
    -------
    DataFrame
        Rows of the table ``contacts`` with times in minutes, plus ``store, customer, person``.
    """
    made, rng = world.section("contacts"), world.rng("contacts")
    plain = world.config.contacts * (1 - made["campaign_share"])
    n = round(plain * world.days / (world.days - world.burn))
    row, purpose = rng.integers(0, len(order), n), world.words("contact_purpose", rng, n)
    asks, (low, high) = purpose == "enquiry", made["before_days"]
    day = order["arrived_at"].to_numpy()[row] / DAY
    day = np.floor(day + np.where(asks, -1, 1) * rng.uniform(low, high, n))
    out = pd.DataFrame({
        "store": order["store"].to_numpy()[row], "customer": order["customer"].to_numpy()[row],
        "purpose": purpose, "at": day * DAY + 9 * HOUR + np.floor(rng.random(n) * 10 * HOUR),
        "direction": np.where(asks, "in", "out"), "channel": world.words("contact_channel", rng, n),
        "campaign": None, "hold_out": False, "answers": made["outgoing_answered"],
    })  # fmt: skip
    out = pd.concat([out, _campaigns(world, base, order)], ignore_index=True)
    out = out[out["at"] < world.end].reset_index(drop=True)
    _answer(world, out)
    store = out["store"].to_numpy()
    return out.assign(person=base.team.pick("care", store, world.day(out["at"]), rng))


def _answer(world: World, out: pd.DataFrame) -> None:
    """Set when each contact was answered, its outcome and what it gave."""
    made, rng, n = world.section("contacts"), world.rng("answered"), len(out)
    at, incoming = out["at"].to_numpy(), (out["direction"] == "in").to_numpy()
    prompt, _ = world.happens("enquiry_response", np.zeros(n), world.cell(out["store"], at))
    brief, slow = made["fast_hours"], made["slow_hours"]
    soon = np.minimum(0.1 + rng.exponential(brief["mean"], n), brief["most"])
    hours = np.where(prompt, soon, slow["least"] + rng.exponential(slow["mean"], n))
    wait = np.where(incoming, hours * HOUR, rng.exponential(made["call_minutes"], n))
    share = np.where(incoming, made["incoming_answered"], out["answers"])
    reached = (rng.random(n) < share) & ~out["hold_out"].to_numpy(dtype=bool)
    out["answered_at"] = world.seen(np.where(reached, at + np.floor(wait), np.nan))
    result = np.where(incoming, "solved", world.words("contact_outcome", rng, n))
    result = np.where(out["answered_at"].notna(), result, "no_answer")
    out["outcome"] = pd.Series(result, index=out.index).mask(out["hold_out"].astype(bool), None)
    yuan = out["purpose"].map(made["benefit"]).fillna(0).to_numpy()
    out["benefit_fen"] = np.where(out["hold_out"].astype(bool), 0.0, 100.0 * yuan)


def _campaigns(world: World, base: Base, order: pd.DataFrame) -> pd.DataFrame:
    """Draw campaigns; the treated visit more often than the held out by the planted uplift."""
    made, rng, parts = world.section("contacts"), world.rng("campaigns"), []
    each = round(world.config.contacts * made["campaign_share"] / world.config.quarters)
    days = np.linspace(world.burn + 40, world.days - 20, world.config.quarters).astype(int)
    first = order.groupby("customer")["arrived_at"].min()
    arrived, who = order["arrived_at"].to_numpy(), order["customer"].to_numpy()
    held, up = made["hold_out"], made["uplift"]
    for number, day in enumerate(days):
        chosen = rng.permutation(first.index[first < day * DAY])[:each]
        soon = (arrived >= (day + 1) * DAY) & (arrived < (day + 1 + made["watched"]) * DAY)
        comes = np.isin(chosen, who[soon])
        share, n = comes.mean(), chosen.size
        more = held * up / np.where(comes, share, share - 1)
        parts.append(pd.DataFrame({
            "store": base.customers["store"].to_numpy()[chosen], "customer": chosen,
            "purpose": "campaign", "at": day * DAY + 9 * HOUR + np.floor(rng.random(n) * 9 * HOUR),
            "direction": "out", "channel": world.words("campaign_channel", rng, n),
            "campaign": f"{made['campaigns'][number % len(made['campaigns'])]}_{number + 1}",
            "hold_out": rng.random(n) >= (1 - held) * (1 + more),
            "answers": base.customers["answers"].to_numpy()[chosen],
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
