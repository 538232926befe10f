"""The survey of the simulated group: everybody who could be asked, who is, and who answers what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dealerqm.world import DAY, HOUR, Bools, Floats, Ints, Words, World, expit
from dealerqm.world.sales import Base

FACTS = ("late", "slow", "again", "complained")
_SCALE_TOP = 10.0
_SALES_TOUCHES = ("sales", "test_drive")  # no after-sales to judge yet


def frame(world: World, base: Base, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return everything a survey could ask about: one row per event, invited or not.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores, staff, customers.
    tables : dict
        ``lead``, ``order`` and ``told`` (complaints).

    Returns
    -------
    DataFrame
        ``touchpoint, store, customer, adviser, event`` (row), ``at``, ``invited_at``, the facts
        ``slow_fact, again, complained``, ``channel, age_band``, the ``latent`` score (logit of a 9
        or 10), ``own`` (the customer's mood), ``propensity`` and ``delay`` of an answer.
    """
    lead, order, told = tables["lead"], tables["order"], tables["told"]
    like = np.array(world.section("survey")["kind_like"])[order["kind_no"]]
    facts = {
        "late": order["late"] - order["planted_late"], "again": order["parent"] >= 0,
        "slow": ~order["in_time"] + order["planted_wait"], "slow_fact": ~order["in_time"],
    }  # fmt: skip
    done = order["closed_at"].where(order["status"] == "closed")
    parts = [
        order.assign(touchpoint="service", at=done, kind_like=like, **facts),
        lead.assign(touchpoint="delivery", at=lead["delivered_at"]),
        lead.assign(touchpoint="test_drive", at=lead["test_drive_at"]),
        lead.assign(touchpoint="sales", at=lead["arrived_at"]),
        told.assign(touchpoint="complaint", at=told["closed_at"], adviser=told["current"]),
    ]
    names = ["touchpoint", "store", "customer", "adviser", "at", "kind_like", "slow_fact", *FACTS]
    kept = [
        part.assign(event=range(len(part))).reindex(columns=[*names, "event"]) for part in parts
    ]
    out = pd.concat([part[part["at"].notna()] for part in kept], ignore_index=True)
    for name in (*FACTS, "slow_fact", "kind_like"):
        out[name] = pd.to_numeric(out[name]).fillna(0.0).astype(np.float64)
    day = np.floor(out["at"].to_numpy() / DAY) + world.section("survey")["invite_after"]
    chance = world.rng("invited").random(len(out))
    out["invited_at"] = day * DAY + 10 * HOUR + np.floor(chance * 5 * HOUR)
    _who(world, base, out)
    _scores(world, base, out)
    return out


def _who(world: World, base: Base, out: pd.DataFrame) -> None:
    """Add the channel by which each is asked and the age band."""
    made = world.section("survey")
    out["channel"] = world.words("survey_channel", world.rng("survey channel"), len(out))
    born = base.customers["birth_year"].to_numpy()[out["customer"]]
    age = world.quarters[-1].year - 1 - born
    out["band"] = np.where(np.isnan(age), 1, np.searchsorted(made["age_edges"], age, side="right"))
    bands = np.array(made["age_bands"])[out["band"].to_numpy() % len(made["age_bands"])]
    out["age_band"] = np.where(np.isnan(age), "unknown", bands)
    out["band"] = out["band"].clip(upper=len(made["age_bands"]) - 1)


def _scores(world: World, base: Base, out: pd.DataFrame) -> None:
    """Add the latent score, and how readily and how soon each would answer."""
    made, rng, n = world.section("survey"), world.rng("scores"), len(out)
    service = (out["touchpoint"] == "service").to_numpy()
    delay = made["delay_days"] * DAY * np.exp(made["delay_sd"] * rng.standard_normal(n))
    cell = world.cell(out["store"], out["invited_at"] + delay)
    weight = np.where(out["touchpoint"] == "complaint", made["care_effect"], 1.0)
    latent = world.level("satisfaction")[cell] + out["touchpoint"].map(made["touch"]).to_numpy()
    latent += made["adviser_sd"] * weight * base.team.effect(out["adviser"])
    latent += out["channel"].map(made["channel_like"]).to_numpy() + out["kind_like"].to_numpy()
    latent += np.array(made["age_like"])[out["band"]]
    ready = made["answer"] + out["channel"].map(made["channel_answer"]).to_numpy()
    ready += np.array(made["age_answer"])[out["band"]]
    for fact in FACTS:
        usual = made[fact]["usual"] + _planted_rate(world, fact, cell)
        latent += np.where(service, made[fact]["like"] * (out[fact] - usual), 0.0)
        known = out["slow_fact" if fact == "slow" else fact]
        ready += np.where(service, made[fact].get("answer", 0.0) * known, 0.0)
    chance = expit(ready) * out["touchpoint"].map(made["rates"]).to_numpy()
    out["latent"] = world.shifted("satisfaction", latent, cell, weight=chance)
    out["own"] = rng.logistic(size=n)
    hidden = made["informative"]
    liking = (out["latent"] + out["own"] - hidden["centre"]).clip(hidden["low"], hidden["high"])
    liking = np.where(np.isin(out["store"], biased_stores(world, base.share)), liking, 0.0)
    out["propensity"] = ready + hidden["answer"] * liking
    out["delay"] = delay * np.exp(-hidden["delay"] * liking)


def _planted_rate(world: World, fact: str, cell: Ints) -> Floats | float:
    """Return how much of a fact's share is planted, so that it does not leak into satisfaction."""
    kpi = {"again": "comeback_rate", "complained": "complaint_rate"}.get(fact, "")
    return np.asarray(world.planted[kpi][cell] / 1000) if kpi in world.planted else 0.0


def biased_stores(world: World, share: Floats) -> Ints:
    """Return the stores in which answering depends on satisfaction itself.

    Parameters
    ----------
    world : World
        The run.
    share : array of shape (stores,)
        Share of the volume: some of middle size.

    Returns
    -------
    array of int
        Store indexes.
    """
    order, n = np.argsort(share), share.size
    middle = order[n // 4 : 3 * n // 4 + 1]
    number = world.section("survey")["informative"]["stores"]
    return np.sort(world.rng("biased", fixed=True).permutation(middle)[:number])


def survey(world: World, base: Base, asked: pd.DataFrame) -> pd.DataFrame:
    """Return the invitations and answers of customers and staff.

    Parameters
    ----------
    world : World
        The run.
    base : Base
        Stores and staff.
    asked : DataFrame
        The frame.

    Returns
    -------
    DataFrame
        Rows of the table ``survey_responses`` with times in minutes, without comments.
    """
    made, rng = world.section("survey"), world.rng("survey")
    asked = asked[world.inside(asked["invited_at"])]
    drawn = rng.random((world.config.stores, world.days)) < made["day_share"]
    rate = np.minimum(asked["touchpoint"].map(made["rates"]) * _rate_scale(world, asked), 1.0)
    ok = drawn[asked["store"], world.day(asked["invited_at"])] & (rng.random(len(asked)) < rate)
    weight = np.round(1 / (made["day_share"] * rate[ok]), 4)
    out = asked[ok].assign(respondent="customer", base_weight=weight)
    out = out.sort_values("invited_at", kind="stable").reset_index(drop=True)
    out["stratum"], out["psu"] = _design(world, base, out)
    gaming = base.team.people["gaming"].to_numpy()[out["adviser"].astype(int)]
    begged = gaming & (out["touchpoint"] == "service").to_numpy()
    begged &= rng.random(len(out)) < made["gaming"]["share"]
    ready = out["propensity"].to_numpy() + made["gaming"]["answer"] * begged
    _answer(world, out, begged, rng.random(len(out)) < expit(ready))
    return pd.DataFrame(pd.concat([out, _staff_answers(world, base)], ignore_index=True))


def _design(world: World, base: Base, out: pd.DataFrame) -> tuple[Words, Words]:
    """Return stratum (store) and sampling unit (store and day) of each row."""
    stratum = base.store_ids[out["store"]]
    day = world.dates[world.day(out["invited_at"])].strftime("-%Y%m%d").to_numpy(dtype=str)
    return stratum, np.asarray(np.char.add(stratum, day))


def _rate_scale(world: World, asked: pd.DataFrame) -> float:
    """Return the factor on the sampling rates that gives the wanted number of invitations."""
    made = world.section("survey")
    mass = made["day_share"] * asked["touchpoint"].map(made["rates"]).sum()
    places = sum(world.section("staff")["slots"].values()) * world.config.stores
    staff = places * world.config.quarters / 4 * made["staff_waves"]
    return float((world.config.invitations - staff) / mass)


def _answer(world: World, out: pd.DataFrame, begged: Bools, answers: Bools) -> None:
    """Write scores, times and codes of those who answer by the as-of date."""
    made, rng, n = world.section("survey"), world.rng("answers"), len(out)
    responded = world.seen(out["invited_at"] + out["delay"])
    answered = answers & ~np.isnan(responded)
    out["responded_at"] = np.where(answered, responded, np.nan)
    out["begged"] = begged & answered
    straight = rng.random(n) < made["straight"]
    overall = _points(made, (out["latent"] + out["own"]).to_numpy())
    for item, latent in _items(world, out, rng).items():
        points = np.where(straight, overall, _points(made, latent))
        points = _codes(world, points, rng, _SALES_TOUCHES if item == "after_sales" else (), out)
        if item == "recommend":
            points = np.where(points == 0, np.nan, points)
        out[item] = np.where(answered, np.where(begged, _SCALE_TOP, points), np.nan)
    out["overall"] = np.where(answered, np.where(begged, _SCALE_TOP, overall), np.nan)
    clock = made["seconds"]
    slow = clock["least"] + clock["mean"] * rng.gamma(clock["shape"], 1 / clock["shape"], n)
    quick = clock["quick"] + rng.exponential(clock["quick_mean"], n)
    seconds = np.floor(np.where(straight | begged, quick, slow))
    out["duration_s"] = np.where(answered, seconds, np.nan)


def _items(world: World, out: pd.DataFrame, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the latent score of each item: the shared mood, its own facts and its own noise."""
    made, n = world.section("survey"), len(out)
    mood, slow = out["latent"] + made["mood"] * out["own"], made["slow"]["usual"]
    latent = {}
    for item, offset in made["item_offset"].items():
        facts = made["item_slow"].get(item, 0.0) * (out["slow_fact"] - slow)
        facts = facts + made["item_again"].get(item, 0.0) * out["again"]
        noise = made["item_noise"] * rng.logistic(size=n)
        latent[item] = (mood + offset + facts + noise).to_numpy()
    told = made["recommend"]
    noise = told["noise"] * rng.logistic(size=n)
    return {**latent, "recommend": (mood + told["offset"] + noise).to_numpy()}


def _points(made: dict[str, Any], latent: Floats) -> Floats:
    return np.searchsorted(made["cuts"], latent).astype(np.float64) + 1


def _codes(
    world: World, points: Floats, rng: np.random.Generator, touches: tuple[str, ...],
    out: pd.DataFrame,
) -> Floats:  # fmt: skip
    """Put codes for "does not apply" and gaps where an item was not answered."""
    made, n = world.section("survey"), points.size
    code = world.words("no_answer", rng, n).astype(np.float64)
    odd = rng.random(n) < made["not_applicable"]
    odd |= out["touchpoint"].isin(touches).to_numpy()
    points = np.where(odd, code, points)
    return np.where(rng.random(n) < made["skip"], np.nan, points)


def _staff_answers(world: World, base: Base) -> pd.DataFrame:
    """Return the staff survey: anonymous, twice a year, everybody by store."""
    made, rng, spells = world.section("survey"), world.rng("staff survey"), base.team.spells
    mood = made["staff_level"] + made["staff_store_sd"] * world.store_scores("staff mood")
    step, parts = 4 // made["staff_waves"], []
    for quarter in world.quarters[step - 1 :: step]:
        day = (quarter.end - world.first).days - made["staff_days_before_end"]
        here = spells[(spells["start"] <= day) & (spells["end"] > day)]
        store, n = here["store"].to_numpy(), len(here)
        out = pd.DataFrame({"store": store, "channel": world.words("staff_channel", rng, n)})
        out["invited_at"] = day * DAY + 9 * HOUR + np.floor(rng.random(n) * HOUR)
        out["touchpoint"] = "staff"
        at = world.seen(out["invited_at"] + rng.exponential(2 * DAY, n))
        answers = (rng.random(n) < made["staff_answer"]) & ~np.isnan(at)
        own = mood[store] + rng.logistic(size=n)
        for item, offset in made["staff_offset"].items():
            points = _points(made, own + offset + made["item_noise"] * rng.logistic(size=n))
            out[item] = np.where(answers, _codes(world, points, rng, (), out), np.nan)
        seconds = made["seconds"]["least"] + np.floor(rng.gamma(3, 20, n))
        out["responded_at"] = np.where(answers, at, np.nan)
        out["duration_s"] = np.where(answers, seconds, np.nan)
        parts.append(out)
    out = pd.concat(parts, ignore_index=True).assign(respondent="staff", base_weight=1.0)
    out["stratum"], out["psu"] = _design(world, base, out)
    return out
