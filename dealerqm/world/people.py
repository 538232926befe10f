"""Stores, staff, customers and vehicles of the simulated group, and what is written about staff."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from dealerqm.world import YEAR, Bools, Floats, Ints, Words, World, scores

ROLES = ("sales", "service", "technician", "care", "manager")
FACING = ("sales", "service")  # at least two of each in every store
LEVELS = ("junior", "middle", "senior")
BANDS = 8  # of skill, from each of which one person in so many comes
HABITS = ("km_per_day", "visits_per_year", "spend", "discount")
REFERENCE_STORES = 16  # numbers of the settings that count the group mean one of this size
_LONG_AGO = 2000  # days before the first one at which customer files begin


@dataclass(frozen=True)
class Staff:
    """Staff of the group.

    Attributes
    ----------
    spells : DataFrame
        Rows of the table ``staff``, plus ``person``, ``store`` (index), ``start``, ``end`` (days).
    people : DataFrame
        One row per person: ``role``, ``hired``, ``left``, ``effect`` (in standard deviations),
        ``gaming``, ``selection_score``.
    ids : array of str of shape (people,)
        Employee numbers.
    slots : dict
        Role to first slot per store, number of slots per store, and person per slot and day.
    """

    spells: pd.DataFrame
    people: pd.DataFrame
    ids: Words
    slots: dict[str, tuple[Ints, Ints, Ints]]

    def pick(self, role: str, store: Ints, day: Ints, rng: np.random.Generator) -> Ints:
        """Draw who of a role serves in each store on each day: index of the person."""
        first, number, person = self.slots[role]
        slot = first[store] + (rng.random(store.size) * number[store]).astype(np.int64)
        return np.asarray(person[slot, day])

    def effect(self, person: pd.Series | Ints) -> Floats:
        """Return the effect of each person."""
        return np.asarray(self.people["effect"].to_numpy()[np.asarray(person, dtype=np.int64)])

    def on_duty(self, world: World) -> pd.DataFrame:
        """Return one row per person and quarter with the days on duty in it."""
        parts = []
        for quarter in world.quarters:
            low = (quarter.start - world.first).days
            high = (quarter.end - world.first).days
            rows = self.spells[(self.spells["start"] <= high) & (self.spells["end"] > low)]
            rows = rows.drop_duplicates("person", keep="last")
            days = {
                "from_day": rows["start"].clip(lower=low),
                "to_day": rows["end"].clip(upper=high),
            }
            parts.append(rows.assign(quarter=quarter.key, **days))
        return pd.DataFrame(pd.concat(parts, ignore_index=True))

    def training(self, world: World) -> pd.DataFrame:
        """Return attendances of training: rows of the table ``training``."""
        rng, made = world.rng("training"), world.section("people")
        rows = self.on_duty(world)
        rows = rows[rng.random(len(rows)) < made["trained_per_quarter"]]
        n, exam = len(rows), made["exam"]
        area = world.words("course_area", rng, n)
        held = _some_day(rows, rng)
        score = exam["mean"] + exam["effect"] * self.effect(rows["person"])
        score = np.clip(score + exam["sd"] * rng.standard_normal(n), 0, 100)
        passed = score >= np.quantile(score, 1 - made["exam_pass"])
        days = np.array([made["valid_days"].get(a, made["valid_days"]["other"]) for a in area])
        stated = passed & (rng.random(n) < made["valid_stated"])
        out: pd.DataFrame = rows.assign(
            course=np.char.add(np.char.add(area, "_"), rng.integers(1, 4, n).astype(str)),
            area=area, mode=world.words("course_mode", rng, n), held_on=held, passed=passed,
            score=np.where(rng.random(n) < exam["missing"], np.nan, np.round(score)),
            valid_until=np.where(stated, held + days, np.nan),
        )  # fmt: skip
        return out.drop_duplicates(["staff_id", "course", "held_on"])

    def ratings(self, world: World) -> pd.DataFrame:
        """Return the ratings by managers each quarter: rows of the table ``ratings``."""
        rng, made = world.rng("ratings"), world.section("people")["rating"]
        rows = self.on_duty(world)
        rows = rows[rows["role"] != "manager"]
        rows = pd.concat([rows.assign(criterion=name) for name in ("conduct", "teamwork")])
        day = rows["to_day"].to_numpy().astype(np.int64) - 1
        rater = self.pick("manager", rows["store"].to_numpy(), np.maximum(day, 0), rng)
        severity = made["rater_sd"] * rng.standard_normal(len(self.people))[rater]
        score = made["mean"] + made["effect"] * self.effect(rows["person"]) + severity
        score = np.round(2 * (score + made["sd"] * rng.standard_normal(len(rows)))) / 2
        missing = rng.random(len(rows)) < made["missing"]
        return rows.assign(
            rater=self.ids[rater], score=np.where(missing, np.nan, score.clip(1, 10))
        )

    def awards(self, world: World, store_ids: Words) -> pd.DataFrame:
        """Return rewards and penalties of persons, teams and stores."""
        rng, rows = world.rng("awards"), self.on_duty(world)
        made = world.section("people")
        wanted = made["awards_per_quarter"] * world.config.stores / REFERENCE_STORES
        rows = rows.iloc[rng.permutation(len(rows))[: round(wanted * world.config.quarters)]]
        n, store = len(rows), store_ids[rows["store"]]
        kind = world.words("award_target", rng, n)
        good = rng.random(n) < made["reward"] + 0.1 * np.tanh(self.effect(rows["person"]))
        team = np.char.add(np.char.add(store.astype(str), "-"), rows["role"].to_numpy(dtype=str))
        why = rng.integers(0, 2, n)
        praise = np.array(["customer_praise", "quarter_best"])[why]
        blame = np.array(["process_breach", "late_answer"])[why]
        return rows.assign(
            target_type=kind, kind=np.where(good, "reward", "penalty"),
            target=np.select([kind == "person", kind == "team"], [rows["staff_id"], team], store),
            reason=np.where(good, praise, blame), on=_some_day(rows, rng),
        ).drop_duplicates(["target", "reason", "on"])  # fmt: skip


def _some_day(rows: pd.DataFrame, rng: np.random.Generator) -> Floats:
    low, high = rows["from_day"].to_numpy(), rows["to_day"].to_numpy()
    return np.asarray(np.floor(low + rng.random(len(rows)) * (high - low)))


def stores(world: World) -> pd.DataFrame:
    """Return the stores.

    Parameters
    ----------
    world : World
        The run.

    Returns
    -------
    DataFrame
        Rows of the table ``stores``, plus ``share`` of the group's volume, ``dialect`` (a or b)
        and ``hardness``: how far its work is from mere maintenance, in standard deviations.
    """
    n, made, rng = world.config.stores, world.section("stores"), world.rng("stores", fixed=True)
    size = np.exp(made["size_sd"] * scores(n, rng))
    number = np.arange(n)
    regions, dialect = world.config.regions, np.empty(n, dtype="U1")
    dialect[np.argsort(number % regions, kind="stable")] = np.array(["a", "b"])[number % 2]
    return pd.DataFrame({
        "store_id": [f"S{i + 1:02d}" for i in number],
        "name": [f"{made['cities'][i % len(made['cities'])]}店" for i in number],
        "region": np.array(made["regions"])[number % regions],
        "brand": np.array(made["brands"])[number // 2 % len(made["brands"])],
        "city_tier": 1 + np.argsort(np.argsort(-size)) * 4 // n,
        "opened_on": -rng.integers(1500, 6000, n).astype(float),
        "share": size / size.sum(),
        "dialect": dialect,
        "hardness": scores(n, rng),
    })  # fmt: skip


def staff(world: World, share: Floats) -> Staff:
    """Return the staff: spells of employment, persons, and who stands where on every day.

    Parameters
    ----------
    world : World
        The run.
    share : array of shape (stores,)
        Share of the group's volume.

    Returns
    -------
    Staff
        The same in every run of a seed.
    """
    rng, made = world.rng("staff", fixed=True), world.section("staff")
    spells = _transfers(world, _careers(world, share, rng), rng)
    slots = {role: _occupants(world, spells[spells["role"] == role]) for role in ROLES}
    groups = spells.groupby("person", sort=True)
    people = groups.agg(role=("role", "first"), hired=("start", "min"), left=("end", "max"))
    people["effect"] = 0.0
    for role in ROLES:
        mine = (people["role"] == role).to_numpy()
        stay = (people["left"].clip(upper=world.days) - people["hired"].clip(lower=0))[mine]
        people.loc[mine, "effect"] = _dealt(stay.to_numpy(), rng)
    people["gaming"] = _gaming(world, people, rng)
    tested, noise = made["selection"], rng.standard_normal(len(people))
    both = (
        tested["correlation"] * people["effect"] + np.sqrt(1 - tested["correlation"] ** 2) * noise
    )
    people["selection_score"] = (tested["mean"] + tested["sd"] * both).clip(0, 100).round(1)
    ids = np.array([f"E{i + 1:04d}" for i in range(len(people))])
    return Staff(_spell_rows(world, spells, people, ids), people, ids, slots)


def _dealt(stay: Floats, rng: np.random.Generator) -> Floats:
    """Deal normal scores so that those who stay long and those who stay short spread alike."""
    bands = min(BANDS, stay.size)
    cards = np.array_split(np.sort(scores(stay.size, rng)), bands)
    hands = [rng.permutation(band) for band in cards]
    dealt = np.full((bands, len(hands[0])), np.nan)
    for row, hand in zip(dealt, hands, strict=True):
        row[: hand.size] = hand
    rounds = rng.permuted(dealt, axis=0).T.ravel()
    out = np.empty(stay.size)
    out[np.argsort(-stay, kind="stable")] = rounds[~np.isnan(rounds)]
    return out


def _careers(world: World, share: Floats, rng: np.random.Generator) -> pd.DataFrame:
    """Fill every slot of every store from long ago to the end, one person after the other."""
    made, rows = world.section("staff"), []
    stay, begin = YEAR / 4 / made["leave_per_quarter"], -round(made["past_years"] * YEAR)
    slot = person = 0
    for role in ROLES:
        for store, part in enumerate(share):
            least = 2 if role in FACING else 1
            for _ in range(max(least, round(made["slots"][role] * part * share.size))):
                day = begin
                while day < world.days:
                    end = day + 60 + int(rng.exponential(stay))
                    rows.append((person, slot, store, role, day, end))
                    day, person = end, person + 1
                slot += 1
    frame = pd.DataFrame(rows, columns=["person", "slot", "store", "role", "start", "end"])
    return frame[frame["end"] > 0].reset_index(drop=True)


def _transfers(world: World, spells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Let some leavers be the person who starts in another store soon after."""
    made, taken = world.section("staff"), set()
    person, start = spells["person"].to_numpy().copy(), spells["start"].to_numpy()
    end, store, role = (spells[name].to_numpy() for name in ("end", "store", "role"))
    for leaver in np.flatnonzero(rng.random(len(spells)) < made["transfers"]):
        gap = start - end[leaver]
        free = (role == role[leaver]) & (store != store[leaver])
        free &= (gap > 0) & (gap < made["transfer_days"])
        found = [place for place in np.flatnonzero(free) if place not in taken]
        if found and leaver not in taken:
            taken |= {found[0], leaver}
            person[found[0]] = person[leaver]
    return spells.assign(person=pd.factorize(person)[0])


def _occupants(world: World, spells: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    slot = pd.factorize(spells["slot"])[0]
    table = np.zeros((slot.max() + 1, world.days), dtype=np.int64)
    bounds = spells[["start", "end"]].clip(0, world.days).to_numpy()
    for row, person, (start, end) in zip(slot, spells["person"], bounds, strict=True):
        table[row, start:end] = person
    home = spells.groupby("slot")["store"].first().to_numpy()
    first = np.searchsorted(home, np.arange(world.config.stores))
    return first, np.bincount(home, minlength=world.config.stores), table


def _gaming(world: World, people: pd.DataFrame, rng: np.random.Generator) -> Bools:
    """Choose the advisers who ask for tens: those who stay long, of ordinary skill."""
    wanted = world.section("survey")["gaming"]["advisers"] * world.config.stores / REFERENCE_STORES
    stay = people["left"].clip(upper=world.days) - people["hired"].clip(lower=0)
    long = stay > world.days / 2
    fit = np.flatnonzero((people["role"] == "service") & long & (people["effect"].abs() < 1))
    out = np.zeros(len(people), dtype=bool)
    out[rng.permutation(fit)[: max(2, round(wanted))]] = True
    return out


def _spell_rows(
    world: World, spells: pd.DataFrame, people: pd.DataFrame, ids: Words
) -> pd.DataFrame:
    """Cut spells at promotions and write them as rows of the table."""
    made, rng, rows = world.section("staff"), world.rng("promotions", fixed=True), []
    noise = made["promote_sd"] * rng.standard_normal((len(people), 2))
    years = np.array(made["promote_years"]) * np.exp(noise)
    promoted = np.sort(people["hired"].to_numpy()[:, None] + np.floor(YEAR * years), axis=1)
    columns = ["person", "store", "role", "start", "end"]
    for person, store, role, begin, stop in spells[columns].to_numpy().tolist():
        cuts = promoted[person]
        edges = [begin, *(cut for cut in cuts if begin < cut < stop), stop]
        for start, end in pairwise(edges):
            level = LEVELS[int((start >= cuts).sum())]
            rows.append((person, store, role, start, end, level))
    out = pd.DataFrame(rows, columns=[*columns, "level"])
    out = out[(out["end"] > world.burn) & (out["start"] < world.days)].reset_index(drop=True)
    who = out["person"].to_numpy()
    gone = people["left"].to_numpy()[who]
    return out.assign(
        staff_id=ids[who], started_on=out["start"], hired_on=people["hired"].to_numpy()[who],
        ended_on=np.where(out["end"] <= world.days, out["end"] - 1.0, np.nan),
        left_on=np.where(gone <= world.days, gone - 1.0, np.nan),
        selection_score=people["selection_score"].to_numpy()[who],
    )  # fmt: skip


def customers(world: World, name: str, *, store: Ints, created: Floats) -> pd.DataFrame:
    """Return customers with their habits.

    Parameters
    ----------
    world : World
        The run.
    name : str
        Name of the random stream.
    store : array of int
        Home store of each.
    created : array
        Day on which each was first written down.

    Returns
    -------
    DataFrame
        Columns of the table ``customers`` but the personal ones, plus ``store``, ``segment`` and
        the habits ``km_per_day, visits_per_year, spend, discount, answers``.
    """
    rng, made, n = world.rng(name), world.section("segments"), store.size
    fleet = world.section("fleet")
    segment = rng.choice(len(made["shares"]), n, p=made["shares"])
    out = pd.DataFrame({"store": store, "created": created, "segment": segment})
    for habit in HABITS:
        noise = made["sd"][habit] * rng.standard_normal(n)
        out[habit] = np.array(made[habit])[segment] * np.exp(noise)
    out["answers"] = np.array(made["answers"])[segment]
    out["company"] = rng.random(n) < fleet["company"]
    out["channel"] = world.words("customer_channel", rng, n)
    born = fleet["born"]
    year = np.round(rng.normal(born["mean"], born["sd"], n)).clip(born["from"], born["to"])
    unknown = out["company"] | (rng.random(n) < born["missing"])
    out["birth_year"] = np.where(unknown, np.nan, year)
    out["consent"] = rng.random(n) < fleet["consent"]
    out["shares_home"] = rng.random(n) < fleet["household"]
    return out


def fleet(world: World, share: Floats) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the customers and vehicles that do not come from the group's own sales of the time.

    Parameters
    ----------
    world : World
        The run.
    share : array of shape (stores,)
        Share of the group's volume.

    Returns
    -------
    (DataFrame, DataFrame)
        Customers, and vehicles with ``customer`` (row), ``model`` (index), ``sold`` and ``enter``
        (days): those of the first day, then those that come later to replace the ones that stop.
    """
    made, seg, rng = world.section("fleet"), world.section("segments"), world.rng("fleet")
    years = world.config.quarters / 4
    visits = float(np.dot(seg["shares"], seg["visits_per_year"]))
    active = world.config.orders / years / visits * made["per_visit"]
    later = active * made["stop_per_year"] * world.days / YEAR - made["bought"] * world.config.leads
    number = np.round(np.outer([active, max(later, 0.0)], share)).astype(np.int64)
    store = np.repeat(np.tile(np.arange(share.size), 2), number.ravel())
    late = np.arange(store.size) >= number[0].sum()
    enter = np.where(late, np.floor(rng.uniform(0, world.days, store.size)), 0.0)
    age = rng.uniform(30, np.where(late, made["age_later"], made["age_first"]))
    sold = np.floor(enter - age)
    known = np.where(late, enter, np.maximum(sold, -float(_LONG_AGO)))
    people = customers(world, "fleet people", store=store, created=known)
    second = np.flatnonzero(rng.random(store.size) < made["second_vehicle"])
    owner = np.concatenate([np.arange(store.size), second])
    model = rng.choice(len(made["models"]), owner.size)
    return people, pd.DataFrame(
        {"customer": owner, "sold": sold[owner], "enter": enter[owner], "model": model}
    )
