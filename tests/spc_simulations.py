"""Simulated charts and boards, and the figures measured on them; run this file to print them.

Every figure comes with its standard error. The tests hold smaller runs of the same functions to
limits that are honest for their size; docs/methods.md states what the full run prints.

    python tests/spc_simulations.py [alarms diagnosed power quiet planted dates outlook]
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from scipy import stats

from dealerqm.rules import calibrated
from dealerqm.series import board, change, diagnose, outlook
from dealerqm.series import scale as series
from dealerqm.spc import evaluate, xmr

BUDGET = 1 / 36
RATES = board.Rates(act=0.05, watch=0.2)
KPIS, STORES, REGIONS = 20, 15, 3
YEAR = 12
SEED = 20261


class Figure(NamedTuple):
    """A measured figure and its standard error."""

    value: float
    se: float

    def __str__(self):
        return f"{self.value:.3f}±{self.se:.3f}"


def share(hits):
    """Share of hits with the standard error of a binomial share; at least that of one hit."""
    n, p = np.size(hits), float(np.mean(hits))
    return Figure(p, float(np.sqrt(max(p * (1 - p), (1 - 1 / n) / n) / n)))


def per_chart(alarms):
    """Alarms per point over the budget; points of a chart share its limits, so charts count."""
    each = np.asarray(alarms).mean(axis=0) / BUDGET
    return Figure(float(each.mean()), float(each.std(ddof=1) / np.sqrt(each.size)))


# ---------------------------------------------------------------- stable and changed points


def ar1(rng, phi, shape):
    """Unit noise with autocorrelation phi along the first axis."""
    x = rng.standard_normal(shape)
    for t in range(1, shape[0]):
        x[t] = phi * x[t - 1] + np.sqrt(1 - np.square(phi)) * x[t]
    return x


def binomial(rng, shape, *, p=0.88, size=60, rho=0.01):
    """Beta-binomial counts with sizes within 30 % of the typical one."""
    n = rng.integers(int(0.7 * size), int(1.3 * size) + 1, shape)
    p = np.broadcast_to(p, shape)
    return rng.binomial(n, rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1))), n


def poisson(rng, shape, *, mean=8.0, ratio=1.5):
    """Gamma-Poisson counts with exposures within 30 % of 1."""
    exposure = rng.uniform(0.7, 1.3, shape)
    expected = np.broadcast_to(mean, shape) * exposure
    return rng.poisson(rng.gamma(expected / (ratio - 1), ratio - 1)), exposure


def shared(rng, shape, *, kpis=KPIS, part=0.2):
    """Unit noise of which the charts of a KPI share a part in every period."""
    shock = np.repeat(rng.standard_normal((shape[0], kpis)), shape[1] // kpis, axis=1)
    return np.sqrt(1 - part) * rng.standard_normal(shape) + np.sqrt(part) * shock


def wave(periods, amplitude):
    """A yearly wave with so much standard deviation, as a column."""
    return amplitude * np.sqrt(2) * np.sin(2 * np.pi * np.arange(periods) / YEAR)[:, None]


def points(kind, rng, shape):
    """Stable points of a kind."""
    if kind == "binomial":
        return series.share(*binomial(rng, shape))
    if kind == "poisson":
        return series.rate(*poisson(rng, shape))
    if kind == "ar1":
        return series.value(ar1(rng, 0.3, shape))
    if kind == "student":
        return series.value(rng.standard_t(5, shape) / np.sqrt(5 / 3))
    if kind == "unequal":
        return series.value(rng.standard_normal(shape) * np.exp(rng.normal(0, 0.25, shape[1])))
    if kind == "shared":
        return series.value(shared(rng, shape))
    if kind == "seasonal":
        return _unseasoned(shared(rng, shape) + wave(shape[0], 0.5))
    return series.value(rng.standard_normal(shape))


def _unseasoned(x):
    """Points of a board without the season that their first two years show."""
    found, kpi = series.value(x), layout().kpi
    first = np.arange(len(x))[:, None] < np.full(kpi.size, 2 * YEAR)
    year = diagnose.season(found, np.arange(len(x)) % YEAR, kpi, baseline=first)
    return diagnose.without(found, np.where(year.p < 0.05, year.effect, 0.0))


def changed(kind, shift, rng, late):
    """Points with one change of so many sigma, the change in the KPI's unit, and phi.

    The noise of counts goes with their level. ``binomial`` and ``poisson`` move about the level
    whose noise is sigma, so sigma is the noise on average; ``*_noisier`` start there, so sigma is
    the noise before the change, and move to where the noise is larger.
    """
    family, _, noisier = kind.partition("_")
    part = (0.0, 1.0) if noisier else (-0.5, 0.5)  # of the shift, before and after
    if family == "binomial":
        sd = np.sqrt(0.88 * 0.12 / 60 * (1 + 59 * 0.01))
        level = 0.88 - shift * sd * np.where(late, part[1], part[0])
        return series.share(*binomial(rng, late.shape, p=level)), -shift * sd, 0.0
    if family == "poisson":
        sd = np.sqrt(8 * 1.5)
        level = 8 + shift * sd * np.where(late, part[1], part[0])
        return series.rate(*poisson(rng, late.shape, mean=level)), shift * sd, 0.0
    phi = 0.3 if kind == "ar1" else 0.0
    return series.value(ar1(rng, phi, late.shape) + shift * late), float(shift), phi


# ---------------------------------------------------------------- charts


def alarm_rate(kind, n, *, charts=12_000, new=24, seed=SEED, width=1.0):
    """Marked new points after a baseline of n over the budget, each chart for itself.

    The chart's own autocorrelation is taken out where the diagnosis finds it. Width is a planted
    fault: limits so many times as wide as they should be.
    """
    found = points(kind, np.random.default_rng([seed, n]), (n + new, charts))
    baseline = np.arange(n + new)[:, None] < np.full(charts, n)
    frozen = calibrated.freeze(found, baseline, budget=BUDGET)
    frozen = frozen._replace(limit=width * frozen.limit)
    judged, _ = calibrated.judge(found, frozen)
    return per_chart(judged.alarm[n:])


def pooled_rate(n, spread, *, groups=60, stores=16, new=12, seed=SEED):
    """As alarm_rate, for stores with n points each that borrow; also the share that is judged."""
    rng = np.random.default_rng([seed, n])
    levels = rng.normal(0, spread, groups * stores)
    found = series.value(rng.standard_normal((n + new, groups * stores)) + levels)
    baseline = np.arange(n + new)[:, None] < np.full(groups * stores, n)
    frozen = calibrated.freeze(
        found, baseline, budget=BUDGET, phi=0.0, groups=np.repeat(np.arange(groups), stores)
    )
    judged, _ = calibrated.judge(found, frozen)
    ready = frozen.reason == ""
    if not ready.any():
        return Figure(np.nan, np.nan), 0.0
    return per_chart(judged.alarm[n:, ready]), float(ready.mean())


def diagnosed_rate(kind, n, amplitude=0.0, *, kpis=60, seed=SEED, told=True):
    """As alarm_rate through the whole diagnosis, for stores, regions and groups.

    KPIs of 16 stores in 4 regions share a yearly wave: season is taken out where it is found
    (from two years on), autocorrelation is pooled over the charts of a KPI, centres and spreads
    over charts of one kind. Without ``told`` the limits are not told what the season took.
    """
    rng, rows = np.random.default_rng([seed, n]), np.arange(n + YEAR)
    stores = _kpis(kind, rng, (n + YEAR, kpis), amplitude)
    found, kpi, unit = _with_parents(stores, kpis)
    baseline = np.broadcast_to((rows < n)[:, None], found.y.shape)
    own = unit == board.STORE
    alone = series.Series(found.scale, found.y[:, own], found.se[:, own])
    year = diagnose.season(alone, rows % YEAR, kpi[own], baseline=baseline[:, own])
    effect, doubt = (
        np.where(year.p < 0.05, part, 0.0)[:, ::16][:, kpi] for part in (year.effect, year.variance)
    )
    found = diagnose.without(found, effect)
    lag = diagnose.memory(found, kpi, baseline=baseline)
    frozen = calibrated.freeze(
        found, baseline, budget=BUDGET, phi=lag.pooled, groups=kpi * 3 + unit,
        fitted=doubt if told else 0.0,
    )  # fmt: skip
    judged, _ = calibrated.judge(found, frozen)
    return [_per_kpi(judged.alarm[n:, unit == kind], kpis) for kind in range(3)]


def _per_kpi(alarms, kpis):
    """As per_chart, but the charts of a KPI share what was fitted, so KPIs count."""
    return per_chart(alarms.reshape(len(alarms), kpis, -1).transpose(0, 2, 1).reshape(-1, kpis))


def _kpis(kind, rng, shape, amplitude):
    """Counts or values of 16 stores per KPI, the stores of a KPI side by side."""
    periods, kpis = shape
    full = (periods, kpis * 16)
    if kind == "binomial":
        sd = np.sqrt(0.88 * 0.12 / 60 * (1 + 59 * 0.01))
        level = 0.88 + rng.normal(0, 0.02, full[1])
        return binomial(rng, full, p=np.clip(level + sd * wave(periods, amplitude), 0.5, 0.99))
    x = ar1(rng, 0.3 if kind == "ar1" else 0.0, full)
    if kind == "shared":
        x = shared(rng, full, kpis=kpis)
    return x + wave(periods, amplitude) + rng.normal(0, 0.5, full[1]), np.ones(full)


def _with_parents(stores, kpis):
    """Points of stores, of their regions of four, and of groups; KPI and kind of each."""

    def wider(x, size):
        return x.reshape(len(x), -1, size).sum(axis=2)

    k, n = stores
    share_ = np.issubdtype(k.dtype, np.integer)
    if share_:
        parts = [series.share(wider(k, m), wider(n, m)) for m in (1, 4, 16)]
    else:
        parts = [series.value(wider(k, m) / m, size=m) for m in (1, 4, 16)]
    y, se = (np.hstack([getattr(part, name) for part in parts]) for name in ("y", "se"))
    counts = (16, 4, 1)
    kpi = np.concatenate([np.repeat(np.arange(kpis), m) for m in counts])
    unit = np.repeat(np.arange(3), [kpis * m for m in counts])
    return series.Series("share" if share_ else "value", y, se), kpi, unit


def power(shift, *, n=24, charts=20_000, seed=SEED):
    """Charts marked within twelve months of a shift, and marked points; where it is 0, false ones.

    Calibrated rules, Nelson 1-8 and 3 sigma alone, all on the same baseline; the last two on an
    XmR chart, and only points after the baseline count.
    """
    rng = np.random.default_rng([seed, n])
    late = np.arange(n + YEAR)[:, None] >= n
    found = series.value(rng.standard_normal((n + YEAR, charts)) + shift * late)
    baseline = ~late & np.ones(charts, bool)
    judged, _ = calibrated.judge(found, calibrated.freeze(found, baseline, budget=BUDGET))
    chart = xmr(found.y, baseline=baseline)
    fired = evaluate(chart, rules="nelson")
    marks = (judged.alarm[n:], (fired.up | fired.down)[n:] != 0, np.logical_or(*chart.beyond)[n:])
    names = ("calibrated", "nelson", "sigma")
    return {name: (share(m.any(axis=0)), share(m)) for name, m in zip(names, marks, strict=True)}


def dated(kind, shift, *, charts=4000, periods=36, seed=SEED):
    """Dates right within 1 and 2 months; how often the set holds them, the interval the size."""
    rng = np.random.default_rng([seed, int(10 * shift)])
    start = rng.integers(12, periods - 11, charts)
    found, size, phi = changed(kind, shift, rng, np.arange(periods)[:, None] >= start)
    answer = change.onset(found, phi=phi)
    error = np.abs(answer.at - start)
    inside = np.take_along_axis(answer.inside, start[None], axis=0)[0]
    covered = (answer.size.low <= size) & (size <= answer.size.high)
    return {
        "within 1": share(error <= 1),
        "within 2": share(error <= 2),
        "set holds date": share(inside),
        "periods in set": float(answer.inside.sum(axis=0).mean()),
        "interval holds size": share(covered),
    }


def predicted(kind, *, n=24, charts=8000, seed=SEED):
    """Coverage of the 95 % prediction interval of the next quarter."""
    rng = np.random.default_rng(seed)
    if kind == "binomial":
        k, size = binomial(rng, (n + 3, charts))
        found = outlook.outlook(series.share(k[:n], size[:n]), 0.9).next
        truth = k[n:].sum(axis=0) / size[n:].sum(axis=0)
    else:
        phi = 0.3 if kind == "ar1" else 0.0
        x = ar1(rng, phi, (n + 3, charts))
        found, truth = outlook.outlook(series.value(x[:n]), 0.0, phi=phi).next, x[n:].mean(axis=0)
    return share((found.low <= truth) & (truth <= found.high))


# ---------------------------------------------------------------- boards


def layout():
    """Charts of the simulated board: 20 KPIs x 15 stores in 3 regions, good directions mixed."""
    kpi = np.repeat(np.arange(KPIS), STORES)
    region = np.tile(np.arange(STORES) // (STORES // REGIONS), KPIS)
    return board.Charts(kpi, region, np.where(kpi % 2, 1, -1))


def stable_boards(kind, *, boards=1000, periods=36, seed=SEED):
    """Share of boards without any change that show an "act", and a "watch"."""
    rng = np.random.default_rng([seed, periods])
    charts = layout()
    least = np.array([
        np.nanmin(board.judge(points(kind, rng, (periods, 300)), charts, rates=RATES).q_worse)
        for _ in range(boards)
    ])  # fmt: skip
    return share(least <= RATES.act), share(least <= RATES.watch)


class Planted(NamedTuple):
    """What boards with planted changes showed within a year."""

    found: Figure  # of planted changes that reached "act" at one of the four quarters
    boards: Figure  # of boards and quarters with an "act" on a chart that nothing was planted in
    wrong: float  # share of such charts among all charts with "act"


def planted_boards(shifts, *, planted=1, boards=150, before=24, seed=SEED):
    """Plant shifts for the worse, judge the boards at the four quarters that follow."""
    rng = np.random.default_rng([seed, planted, int(10 * sum(shifts))])
    charts, stores = layout(), KPIS * STORES
    hits, false, wrong, acts = [], [], 0, 0
    for _ in range(boards):
        x = rng.standard_normal((before + YEAR, stores))
        where = rng.choice(stores, planted, replace=False)
        x[before:, where] += rng.choice(shifts, planted) * charts.worse[where]
        seen = np.zeros(stores, bool)
        for quarter in range(1, 5):
            found = board.judge(series.value(x[: before + 3 * quarter]), charts, rates=RATES)
            act = found.q_worse[:stores] <= RATES.act
            seen |= act
            untouched = act.sum() - act[where].sum()
            wrong, acts = wrong + untouched, acts + act.sum()
            false.append(untouched > 0)
        hits.append(seen[where])
    return Planted(share(hits), share(false), float(wrong / max(acts, 1)))


def best_possible(shift, *, planted=1, before=24):
    """Power of the most powerful test of one chart at the fourth quarter, everything known."""
    cut = stats.norm.isf(RATES.act * planted / (KPIS * STORES))
    return float(stats.norm.sf(cut - shift / np.sqrt(1 / YEAR + 1 / before)))


def shared_change(shift, *, boards=40, seed=SEED):
    """Boards on which a change in all stores of a KPI gives exactly one "act" there."""
    rng, charts = np.random.default_rng(seed), layout()
    one = []
    for _ in range(boards):
        x = rng.standard_normal((36, KPIS * STORES))
        x[27:, charts.kpi == 0] += shift * charts.worse[0]
        found = board.judge(series.value(x), charts, rates=RATES)
        acts = (found.q_worse <= RATES.act) & (found.explained < 0) & (found.kpi == 0)
        one.append(acts.sum() == 1 and found.kind[acts][0] == board.GROUP)
    return share(one)


# ---------------------------------------------------------------- the full run


def show(what, *figures):
    print(f"{time.process_time():6.0f} s  {what}:", *figures, flush=True)


def alarms():
    for kind in ("normal", "binomial", "poisson", "ar1", "student"):
        show(f"alarms/budget {kind}", *(f"{n}: {alarm_rate(kind, n)}" for n in (12, 24, 36, 60)))
    for spread in (0.0, 0.5, 2.0):
        found = {n: pooled_rate(n, spread, groups=200) for n in (4, 8, 24)}
        show(f"pooled, stores {spread} apart", *(f"{n}: {a} of {b}" for n, (a, b) in found.items()))


def diagnosed():
    for kind in ("normal", "binomial", "ar1", "shared"):
        for amplitude in (0.0, 0.5, 1.0):
            for n in (12, 24, 36, 60):
                found = diagnosed_rate(kind, n, amplitude, kpis=200)
                show(f"diagnosed {kind}, season {amplitude}, baseline {n}", *found)
    for n in (24, 36, 60):
        show(f"the same untold {n}", *diagnosed_rate("normal", n, 1.0, kpis=200, told=False))


def powers():
    for shift in (0, 1, 1.5, 2, 3):
        for name, (charts, marked) in power(shift).items():
            show(f"shift {shift} in a year, {name}", f"charts {charts}", f"points {marked}")


def quiet():
    kinds = ("normal", "binomial", "poisson", "ar1", "shared", "unequal", "student", "seasonal")
    for kind in kinds:
        for periods in (27, 36):
            show(f"stable boards {kind} {periods}", *stable_boards(kind, periods=periods))


def planted():
    for number, boards in ((1, 400), (8, 100)):
        for shifts in ([1], [1.5], [2], [3], [1.5, 2, 2.5, 3]):
            found = planted_boards(shifts, planted=number, boards=boards)
            best = best_possible(min(shifts), planted=number)
            show(
                f"{number} planted of {shifts} sigma", f"found {found.found} (best {best:.3f})",
                f"boards with a wrong act {found.boards}", f"wrong acts {found.wrong:.3f}",
            )  # fmt: skip
    for shift in (0.75, 1.0, 2.0):
        show(f"one signal for a shared change of {shift}", shared_change(shift, boards=100))


def dates():
    kinds = ("normal", "binomial", "poisson", "binomial_noisier", "poisson_noisier", "ar1")
    for kind in kinds:
        for shift in (1, 1.5, 2, 3):
            found = dated(kind, shift, charts=20_000)
            show(f"dated {kind} {shift}", *(f"{name} {v}" for name, v in found.items()))


def outlooks():
    for kind in ("normal", "binomial", "ar1"):
        show(f"next quarter predicted, {kind}", predicted(kind, charts=20_000))


PARTS = {
    "alarms": alarms, "diagnosed": diagnosed, "power": powers, "quiet": quiet,
    "planted": planted, "dates": dates, "outlook": outlooks,
}  # fmt: skip


def main():
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
