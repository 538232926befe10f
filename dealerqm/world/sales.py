"""Leads of the simulated group from the first contact to delivery, and the vehicles they bring."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dealerqm.world import DAY, HOUR, Bools, Floats, Ints, Words, World
from dealerqm.world import people as folk
from dealerqm.world.people import Staff

DRIVE_DAYS, SIGN_DAYS, FOLLOW_HOURS = 30, 60, 72  # as the plan's KPIs judge them
_MORNING, _EVENING, _VISITING = 9.5 * HOUR, 18.5 * HOUR, 9 * HOUR
_TIMES = (
    "first_contact_at", "arrived_at", "need_recorded_at", "test_drive_at", "quoted_at", "signed_at",
    "cancelled_at", "lost_at", "delivered_at", "followed_up_at",
)  # fmt: skip


@dataclass(frozen=True)
class Base:
    """What the tables of work stand on.

    Attributes
    ----------
    stores : DataFrame
        The stores with their share of the volume.
    team : Staff
        The staff.
    customers, cars : DataFrame
        Customers and vehicles; vehicles point to customers by row.
    """

    stores: pd.DataFrame
    team: Staff
    customers: pd.DataFrame
    cars: pd.DataFrame

    @property
    def share(self) -> Floats:
        """Share of each store in the volume."""
        return self.stores["share"].to_numpy(np.float64)

    @property
    def store_ids(self) -> Words:
        """Ids of the stores."""
        return self.stores["store_id"].to_numpy(dtype=str)


def visit(after: Floats, delay: Floats, rng: np.random.Generator) -> Floats:
    """Return times in opening hours about so many minutes later, never before ten minutes.

    Parameters
    ----------
    after, delay : array
        Start and delay in minutes.
    rng : Generator
        Draws the time of day.

    Returns
    -------
    array
        Minutes between 09:30 and 18:30 of the day, missing where an input is.
    """
    day = np.floor((after + delay) / DAY)
    clock = _MORNING + np.floor(rng.random(np.size(after)) * _VISITING)
    return np.asarray(np.maximum(day * DAY + clock, after + 10))


def leads(world: World, base: Base) -> tuple[pd.DataFrame, Base]:
    """Return the sales leads, and the base with the customers and vehicles they bring.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores, staff, and the customers and vehicles that are there without them.

    Returns
    -------
    (DataFrame, Base)
        Rows of the table ``leads`` with times in minutes, plus ``store, customer, car, adviser,
        drives``; and the grown base.
    """
    made, rng = world.section("leads"), world.rng("leads")
    per_day = base.share * world.config.leads / (world.days - world.burn)
    number = rng.poisson(per_day[:, None] * world.volume("sales"))
    store, day = (np.repeat(place, number[number > 0]) for place in np.nonzero(number))
    n = store.size
    channel = rng.choice(len(made["channels"]), n, p=made["channel_share"])
    names = np.array(made["channels"])[channel]
    clock = np.where(names == "web", 7 * HOUR, _MORNING) + rng.random(n) * 10.5 * HOUR
    late = np.where(names == "web", rng.random(n) * 6 * HOUR, 0)
    out = pd.DataFrame({"store": store, "created_at": np.floor(day * DAY + clock + late)})
    kind = rng.choice(len(made["kinds"]), n, p=made["kind_share"])
    car = _known_car(world, base, store, day)
    kind = np.where(car < 0, 0, kind)
    out = out.assign(
        channel=names, channel_no=channel, kind_no=kind, old_car=np.where(kind > 0, car, -1),
        purchase_kind=np.array(made["kinds"])[kind],
        adviser=base.team.pick("sales", store, day, rng),
    )  # fmt: skip
    _choose(world, out)
    _close(world, out)
    _deliver(world, out)
    _contact(world, out)
    _hide_the_future(world, out)
    return out, _grow(world, base, out)


def _known_car(world: World, base: Base, store: Ints, day: Ints) -> Ints:
    """Choose a vehicle of the store for each lead; -1 where it is not there yet."""
    home = base.customers["store"].to_numpy()[base.cars["customer"]]
    order = np.argsort(home, kind="stable")
    first = np.searchsorted(home[order], np.arange(world.config.stores))
    number = np.bincount(home, minlength=world.config.stores)
    chance = world.rng("known car").random(store.size)
    car = order[first[store] + (chance * number[store]).astype(np.int64)]
    return np.where(base.cars["enter"].to_numpy()[car] < day, car, -1)


def _choose(world: World, out: pd.DataFrame) -> None:
    """Visit and test drive within 30 days or later; what the customer needs."""
    made, rng, n = world.section("leads"), world.rng("choose"), len(out)
    created, walk = out["created_at"].to_numpy(), (out["channel"] == "walk_in").to_numpy()
    comes = walk | (rng.random(n) < made["arrive"])
    later = visit(created, rng.exponential(made["arrive_days"] * DAY, n), rng)
    arrived = np.where(comes, np.where(walk, created, later), np.nan)
    like = np.array(made["channel_drive"])[out["channel_no"]]
    out["drives"], out["planted_drive"] = world.happens(
        "test_drive_rate", like, world.cell(out["store"], created)
    )
    begin = np.fmin(np.fmax(created, arrived), created + (DRIVE_DAYS - 3) * DAY)
    room = (DRIVE_DAYS - 1) * DAY - (begin - created)
    soon = np.minimum(visit(begin, room * rng.beta(0.8, 4, n), rng), created + DRIVE_DAYS * DAY - 5)
    late = visit(created, rng.uniform(DRIVE_DAYS + 1, 2 * DRIVE_DAYS, n) * DAY, rng)
    late = np.where(rng.random(n) < made["drive_late"], late, np.nan)
    out["test_drive_at"] = np.where(out["drives"], soon, late)
    out["arrived_at"] = np.maximum(np.fmin(arrived, out["test_drive_at"] - 45), created)
    asked = rng.random(n) < made["need"]
    need = np.fmin(out["arrived_at"] + np.ceil(rng.gamma(3, 7, n)), out["test_drive_at"] - 5)
    need = np.maximum(need, out["arrived_at"])
    out["need_recorded_at"] = np.where(asked, need, np.nan)
    out["model_no"] = rng.choice(len(world.section("fleet")["models"]), n)
    price = np.array(world.section("fleet")["list_price"])[out["model_no"]]
    band = np.searchsorted(made["budget_edges"], price * rng.normal(1, made["budget_sd"], n))
    out["budget_band"] = np.array(made["budget_bands"])[band]
    out["use"] = world.words("lead_use", rng, n)
    out["finance"] = world.words("lead_finance", rng, n)


def _close(world: World, out: pd.DataFrame) -> None:
    """Quotation, signing within 60 days or later, or loss; prices."""
    made, rng, n = world.section("leads"), world.rng("close"), len(out)
    created = out["created_at"].to_numpy()
    usual = world.section("process")["test_drive_rate"]["level"]
    like = made["drive_lift"] * (out["drives"] - out["planted_drive"] - usual).to_numpy()
    like += np.array(made["channel_close"])[out["channel_no"]]
    like += np.array(made["kind_close"])[out["kind_no"]]
    signs, _ = world.happens("closing_rate", like, world.cell(out["store"], created))
    begin = np.fmax(np.fmax(created, out["arrived_at"]), out["test_drive_at"]).to_numpy()
    begin = np.where(signs, np.minimum(begin, created + (SIGN_DAYS - 5) * DAY), begin)
    room = (SIGN_DAYS - 1) * DAY - (begin - created)
    soon = visit(begin, np.maximum(room, 0) * rng.beta(1, 4, n), rng)
    soon = np.minimum(soon, created + SIGN_DAYS * DAY - 5)
    late = visit(begin, rng.uniform(SIGN_DAYS + 2, SIGN_DAYS + 40, n) * DAY, rng)
    late = np.where(rng.random(n) < made["sign_late"], late, np.nan)
    out["signed_at"] = signed = np.where(signs, soon, late)
    deal = ~np.isnan(signed)
    out["arrived_at"] = np.where(deal, np.fmin(out["arrived_at"], signed), out["arrived_at"])
    come = out["arrived_at"].notna().to_numpy()
    quoted = np.fmin(begin + 25 + np.floor(rng.gamma(2, 40, n)), signed - 2)
    asked = deal | (come & (rng.random(n) < made["quoted"]))
    out["quoted_at"] = np.where(asked, np.maximum(quoted, created), np.nan)
    away = visit(
        np.fmax(begin, out["quoted_at"]).to_numpy(),
        rng.exponential(made["lost_days"] * DAY, n),
        rng,
    )
    out["lost_at"] = np.where(~deal & (rng.random(n) < made["lost"]), away, np.nan)
    out["lost_reason"] = world.words("lost_reason", rng, n)
    price = np.array(world.section("fleet")["list_price"])[out["model_no"]]
    off, extra = made["discount"], made["extras"]
    off_yuan = np.round(price * off["share"] * np.exp(off["sd"] * rng.standard_normal(n)), -2)
    more = np.where(
        rng.random(n) < extra["share"], np.round(rng.gamma(2, extra["mean"] / 2, n), -2), 0
    )
    out["list_price_fen"], out["discount_fen"] = 100.0 * price, 100.0 * off_yuan
    out["extras_fen"] = 100.0 * more


def _deliver(world: World, out: pd.DataFrame) -> None:
    """Delivery against promise, follow-up, cancellation."""
    made, rng, n = world.section("leads"), world.rng("deliver"), len(out)
    signed, store = out["signed_at"].to_numpy(), out["store"].to_numpy()
    cancels = rng.random(n) < made["cancel"]
    out["cancelled_at"] = np.where(cancels, visit(signed, rng.uniform(1, 29, n) * DAY, rng), np.nan)
    days = made["delivery_days"]
    wait = days["least"] + rng.gamma(days["shape"], days["mean"], n)
    delivered = np.where(cancels, np.nan, visit(signed, wait * DAY, rng))
    out["in_time"], _ = world.happens("on_time_delivery", np.zeros(n), world.cell(store, delivered))
    late = 1 + np.floor(rng.exponential(made["late_days"], n))
    pad = np.where(out["in_time"], rng.integers(0, 4, n), -late) * DAY
    promised = np.maximum(np.floor(delivered / DAY) * DAY + _EVENING + pad, signed + HOUR)
    out["promised_at"] = np.where(cancels, np.floor(signed / DAY + 10) * DAY + _EVENING, promised)
    out["in_time"] = delivered <= promised
    out["delay_reason"] = world.words("delay_reason", rng, n)
    follows, _ = world.happens("delivery_follow_up", np.zeros(n), world.cell(store, delivered))
    soon = visit(delivered, rng.uniform(0.6, 2.4, n) * DAY, rng)
    soon = np.minimum(soon, delivered + FOLLOW_HOURS * HOUR - 5)
    late = visit(delivered, rng.uniform(4, 12, n) * DAY, rng)
    late = np.where(rng.random(n) < made["follow_up_late"], late, np.nan)
    out["followed_up_at"], out["delivered_at"] = np.where(follows, soon, late), delivered


def _contact(world: World, out: pd.DataFrame) -> None:
    """First contact of each lead: by channel, at night in the morning, for a few never."""
    made, rng, n = world.section("leads"), world.rng("contact"), len(out)
    median = out["channel"].map(made["contact_median"]).to_numpy()
    at = out["created_at"].to_numpy() + median * np.exp(made["contact_sd"] * rng.standard_normal(n))
    late = at % DAY > 20 * HOUR
    at = np.where(late, np.floor(at / DAY + 1) * DAY + 9 * HOUR + at % HOUR, at)
    at = np.where(rng.random(n) < made["never_contacted"], np.nan, at)
    at = np.where(out["channel"] == "walk_in", at, np.fmin(at, out["arrived_at"]))
    out["first_contact_at"] = np.fmin(at, out["quoted_at"])


def _hide_the_future(world: World, out: pd.DataFrame) -> None:
    """Leave out what has not happened by the as-of date."""
    for name in _TIMES:
        out[name] = world.seen(out[name])
    deal = out["signed_at"].notna()
    late = out["delivered_at"].notna() & ~out["in_time"]
    shown = {"promised_at": deal, "discount_fen": deal, "extras_fen": deal}
    for name, rows in shown.items():
        out[name] = out[name].where(rows)
    out["promised_at"] = np.floor(out["promised_at"])
    out["amount_fen"] = out["list_price_fen"] - out["discount_fen"] + out["extras_fen"]
    out["delay_reason"] = out["delay_reason"].where(late, None)
    out["lost_reason"] = out["lost_reason"].where(out["lost_at"].notna(), None)


def _grow(world: World, base: Base, out: pd.DataFrame) -> Base:
    """Add the customers of new leads and the vehicles they bought; trade-ins leave."""
    new = (out["old_car"] < 0).to_numpy()
    day = np.floor(out["created_at"].to_numpy() / DAY)
    fresh = folk.customers(
        world, "lead people", store=out["store"].to_numpy()[new], created=day[new]
    )
    fresh["channel"] = out["channel"].to_numpy()[new]
    customer = np.where(new, len(base.customers) + np.cumsum(new) - 1, -1)
    customer[~new] = base.cars["customer"].to_numpy()[out["old_car"].to_numpy()[~new]]
    out["customer"] = customer
    bought = out["delivered_at"].notna().to_numpy()
    sold = np.floor(out["delivered_at"].to_numpy()[bought] / DAY)
    model = out["model_no"].to_numpy()[bought]
    cars = {"customer": customer[bought], "sold": sold, "enter": sold, "model": model}
    out["car"] = np.where(bought, len(base.cars) + np.cumsum(bought) - 1, -1)
    old = base.cars.assign(gone=np.nan)
    _trade_in(out, bought, old)
    return replace(
        base,
        customers=pd.concat([base.customers, fresh], ignore_index=True),
        cars=pd.concat([old, pd.DataFrame(cars)], ignore_index=True),
    )


def _trade_in(out: pd.DataFrame, bought: Bools, old: pd.DataFrame) -> None:
    traded = out[bought & (out["purchase_kind"] == "trade_in").to_numpy()]
    traded = traded.drop_duplicates("old_car")
    old.loc[traded["old_car"], "gone"] = np.floor(traded["delivered_at"] / DAY).to_numpy()
