"""The setting of a simulated group: its size, its calendar, its streams of chance.

Times are minutes since midnight of the first simulated day and dates are days since then, both as
floats; missing is NaN. Stores and months are indexes, and a ``cell`` is store × months + month.
"""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache, cached_property
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dealerqm import period, plan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[Any]

HOUR = 60
DAY = 1440
YEAR = 365.25  # days
_BISECTIONS = 40
_BOUND = 12.0  # logits: a planted share stays strictly between 0 and 1
_SCORE_SAMPLES = 200


@dataclass(frozen=True)
class Config:
    """How large the simulated group is.

    Attributes
    ----------
    stores, regions, quarters : int
        Stores, regions, and quarters up to ``last_quarter``.
    last_quarter : str
        The newest quarter; its last day is the as-of date.
    orders, leads, invitations, complaints, contacts : int
        Rows wanted over the whole span; what comes out lies within a tenth of it.
    null_runs : int
        Runs without anything planted, from which the store-month standard deviations come.
    duplicates : int
        Rows that are exported twice, in each of four tables.
    """

    stores: int = 16
    regions: int = 4
    quarters: int = 12
    last_quarter: str = "2026Q3"
    orders: int = 60_000
    leads: int = 20_000
    invitations: int = 25_000
    complaints: int = 3_000
    contacts: int = 20_000
    null_runs: int = 3
    duplicates: int = 12


@cache
def settings() -> Mapping[str, Any]:
    """Return the numbers of the simulated world, ``world.toml``.

    Returns
    -------
    mapping
        Section to keys.

    Examples
    --------
    >>> settings()["segments"]["names"][0]
    'economical'
    """
    text = resources.files("dealerqm").joinpath("world.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def group_plan() -> plan.Plan:
    """Return the default plan, whose calendar and guarantee the group follows.

    Returns
    -------
    Plan
        Read once.
    """
    return plan.load()


@dataclass(frozen=True)
class World:
    """One run of the simulation.

    Attributes
    ----------
    config : Config
        Its size.
    seed : int
        Everything is drawn from it.
    run : int
        0 is the exported group; others are its null worlds: the same stores, other chance.
    planted : mapping of str to array
        KPI to what is added to it, per cell ``(stores * months,)``, in the KPI's own unit.
    """

    config: Config
    seed: int
    run: int = 0
    planted: Mapping[str, Floats] = field(default_factory=dict)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the settings."""
        return dict(settings()[name])

    def rng(self, name: str, *, fixed: bool = False) -> np.random.Generator:
        """Return the stream of a table; ``fixed`` ones are the same in every run."""
        run = 0 if fixed else self.run
        return np.random.default_rng([self.seed, run, zlib.crc32(name.encode())])

    # ------------------------------------------------------------ calendar

    @cached_property
    def quarters(self) -> list[period.Period]:
        """The quarters, oldest first."""
        last = period.parse(self.config.last_quarter)
        return period.span(last.shift(1 - self.config.quarters), last)

    @cached_property
    def burn(self) -> int:
        """Days simulated before the first quarter, then dropped."""
        return int(self.section("calendar")["burn_days"])

    @cached_property
    def first(self) -> date:
        """The first simulated day."""
        return self.quarters[0].start - timedelta(days=self.burn)

    @cached_property
    def as_of(self) -> date:
        """The last day of the data."""
        return self.quarters[-1].end

    @cached_property
    def days(self) -> int:
        """Days simulated altogether."""
        return (self.as_of - self.first).days + 1

    @cached_property
    def end(self) -> float:
        """The minute after the last one."""
        return float(self.days * DAY)

    @cached_property
    def start(self) -> float:
        """The first minute of the first quarter."""
        return float(self.burn * DAY)

    @cached_property
    def months(self) -> int:
        """Months in the quarters."""
        return 3 * self.config.quarters

    @cached_property
    def cells(self) -> int:
        """Stores times months."""
        return self.config.stores * self.months

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """All simulated days."""
        return pd.date_range(self.first, self.as_of)

    @cached_property
    def month_of_day(self) -> Ints:
        """Month index of each day; the days before the first quarter count to month 0."""
        start = self.quarters[0].start
        index = (self.dates.year - start.year) * 12 + self.dates.month - start.month
        return np.clip(index.to_numpy(np.int64), 0, self.months - 1)

    @cached_property
    def month_names(self) -> list[str]:
        """The months as periods are spelled."""
        first = period.of(self.quarters[0].start, "month")
        return [first.shift(step).key for step in range(self.months)]

    @cached_property
    def opens(self) -> float:
        """The minute of the day at which workshops open."""
        return float(self.section("calendar")["open_minute"])

    def near_festival(self, first: int, last: int) -> Bools:
        """Return the days from ``first`` to ``last`` days after a Spring Festival."""
        out = np.zeros(self.days, dtype=bool)
        for day in group_plan().settings["calendar"]["spring_festival"]:
            away = (self.dates - pd.Timestamp(day)).days.to_numpy()
            out |= (away >= first) & (away <= last)
        return out

    @cached_property
    def shut(self) -> Bools:
        """The days on which stores are closed."""
        made = self.section("calendar")["festival_closed"]
        return self.near_festival(made["from"], made["to"])

    def calendar(self, kind: str) -> Floats:
        """Return the factor of every day for ``service`` or ``sales``, mean 1."""
        made, dates = self.section("calendar"), self.dates
        out = np.array(made["weekday"][kind])[dates.day_of_week]
        for part in ("festival_before", "festival_closed", "festival_after"):
            near = self.near_festival(made[part]["from"], made[part]["to"])
            out = np.where(near, out * made[part][kind], out)
        autumn, winter = made["national_day"], made["year_end"]
        inside = (dates.month == autumn["month"]) & (dates.day <= autumn["to"])
        out = np.where(inside, out * autumn[kind], out)
        out = np.where(dates.month == winter["month"], out * winter[kind], out)
        return np.asarray(out / out.mean())

    def volume(self, kind: str) -> Floats:
        """Return the relative intensity ``(stores, days)``: calendar and chance, mean about 1."""
        rng, made = self.rng(f"volume {kind}"), self.section("calendar")
        chance = self.autoregressive(rng, made["volume_phi"])
        monthly = np.exp(made["volume_ar"] * chance)[:, self.month_of_day]
        shape = made["day_shape"][kind]
        daily = rng.gamma(shape, 1 / shape, (self.config.stores, self.days))
        return np.asarray(self.calendar(kind) * monthly * daily)

    # ------------------------------------------------------------ places of rows

    def day(self, minutes: npt.ArrayLike) -> Ints:
        """Return the day of each time, missing and outside ones as the nearest day."""
        days = np.nan_to_num(np.asarray(minutes, dtype=np.float64)) // DAY
        return np.clip(days, 0, self.days - 1).astype(np.int64)

    def month(self, minutes: npt.ArrayLike) -> Ints:
        """Return the month of each time."""
        return np.asarray(self.month_of_day[self.day(minutes)])

    def cell(self, store: npt.ArrayLike, minutes: npt.ArrayLike) -> Ints:
        """Return the store × month cell of each row."""
        return np.asarray(store, dtype=np.int64) * self.months + self.month(minutes)

    def inside(self, minutes: npt.ArrayLike) -> Bools:
        """Return which times lie in the exported quarters."""
        at = np.asarray(minutes, dtype=np.float64)
        return np.asarray((at >= self.start) & (at < self.end))

    def seen(self, minutes: npt.ArrayLike) -> Floats:
        """Return whole minutes that have come by the as-of date; the others are missing."""
        at = np.asarray(minutes, dtype=np.float64)
        return np.where(at < self.end, np.floor(at), np.nan)

    # ------------------------------------------------------------ chance

    def autoregressive(self, rng: np.random.Generator, phi: float) -> Floats:
        """Return standard normal store-months ``(stores, months)`` that remember by ``phi``."""
        out = rng.standard_normal((self.config.stores, self.months))
        for month in range(1, self.months):
            out[:, month] = phi * out[:, month - 1] + np.sqrt(1 - phi**2) * out[:, month]
        return out

    def store_scores(self, kpi: str) -> Floats:
        """Return the stores' lasting differences of a process, in standard deviations."""
        return scores(self.config.stores, self.rng(f"store {kpi}", fixed=True))

    def level(self, kpi: str) -> Floats:
        """Return the logit of a process per cell: level, store, month, and their chance."""
        made, rng = self.section("process")[kpi], self.rng(f"level {kpi}")
        store = made["store_sd"] * self.store_scores(kpi)
        chance = made["ar_sd"] * self.autoregressive(rng, self.section("process")["phi"])
        common = made["common_sd"] * rng.standard_normal(self.months)
        return np.asarray(
            (np.log(made["level"] / (1 - made["level"])) + store[:, None] + chance + common).ravel()
        )

    def shifted(
        self, kpi: str, eta: Floats, cell: Ints, exposure: Floats | None = None,
        weight: Floats | None = None,
    ) -> Floats:  # fmt: skip
        """Return logits moved so that the KPI moves in each cell by what is planted there.

        ``exposure`` per cell is what the KPI divides by, where that is not the number of rows;
        ``weight`` is the chance of a row to be counted at all.
        """
        delta = self.planted.get(kpi)
        if delta is None or not delta[cell].any():
            return eta
        rows = np.flatnonzero(delta[cell] != 0)
        count = np.ones(cell.size) if weight is None else weight
        per = np.bincount(cell, count, minlength=self.cells) if exposure is None else exposure
        out = eta.copy()
        out[rows] = plant(eta[rows], cell[rows], delta * per, count[rows])
        return out

    def happens(
        self, kpi: str, eta: npt.ArrayLike, cell: Ints, exposure: Floats | None = None
    ) -> tuple[Bools, Floats]:
        """Draw a process: whether it happens per row, and how much was planted into its chance."""
        logits = self.level(kpi)[cell] + np.asarray(eta, dtype=np.float64)
        moved = self.shifted(kpi, logits, cell, exposure)
        drawn = self.rng(f"draw {kpi}").random(cell.size) < expit(moved)
        return drawn, expit(moved) - expit(logits)

    def words(self, name: str, rng: np.random.Generator, n: int) -> Words:
        """Draw words of a list in ``[words]`` of the settings in their shares."""
        made = self.section("words")[name]
        return np.asarray(rng.choice(list(made), n, p=list(made.values())))


def expit(x: Floats) -> Floats:
    """Return the share that belongs to a logit.

    Parameters
    ----------
    x : array
        Logits.

    Returns
    -------
    array
        Shares.

    Examples
    --------
    >>> float(expit(np.array([0.0]))[0])
    0.5
    """
    return np.asarray(1 / (1 + np.exp(-x)))


def scores(n: int, rng: np.random.Generator) -> Floats:
    """Return normal scores in random order: a normal sample with exact mean and spread.

    Parameters
    ----------
    n : int
        How many.
    rng : Generator
        Orders them.

    Returns
    -------
    array of shape (n,)
        Mean 0, standard deviation 1.

    Examples
    --------
    >>> round(float(scores(5, np.random.default_rng(1)).std()), 6)
    1.0
    """
    samples = np.random.default_rng([n]).standard_normal((_SCORE_SAMPLES, n))
    centre = np.sort(samples, axis=1).mean(axis=0)
    return np.asarray(rng.permutation((centre - centre.mean()) / centre.std()))


def plant(eta: Floats, cell: Ints, total: Floats, weight: Floats) -> Floats:
    """Move the logits of each cell by one amount, so that the expected count moves by ``total``.

    Parameters
    ----------
    eta : array of shape (rows,)
        Logits.
    cell : array of int of shape (rows,)
        Cell of each row.
    total : array of shape (cells,)
        Wanted change of the expected count; what cannot be reached is approached.
    weight : array of shape (rows,)
        How much each row counts.

    Returns
    -------
    array of shape (rows,)
        Moved logits.

    Examples
    --------
    >>> moved = plant(np.zeros(10), np.zeros(10, dtype=int), np.array([2.0]), np.ones(10))
    >>> round(float(expit(moved).sum()), 6)
    7.0
    """
    low, high = np.full(total.size, -_BOUND), np.full(total.size, _BOUND)
    base = expit(eta)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        gain = np.bincount(cell, weight * (expit(eta + middle[cell]) - base), minlength=total.size)
        low, high = np.where(gain < total, middle, low), np.where(gain < total, high, middle)
    return np.asarray(eta + ((low + high) / 2)[cell])
