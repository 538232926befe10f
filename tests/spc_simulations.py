"""Simulated charts and the figures measured on them; run this file to print them all.

docs/methods-spc.md states what it prints; the tests hold the same functions to the targets.
"""

import itertools
import time

import numpy as np

from dealerqm.rules import calibrated
from dealerqm.series import board, change, diagnose, outlook
from dealerqm.series import scale as series
from dealerqm.spc import evaluate, xmr

BUDGET = 1 / 36
RATES = board.Rates(act=0.05, watch=0.2)
KPIS, STORES, REGIONS = 20, 15, 3


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


def points(kind, rng, shape):
    """Stable points of a kind: normal, binomial, poisson, ar1, or heavy tails, shared shocks."""
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
        shock = np.repeat(rng.standard_normal((shape[0], KPIS)), shape[1] // KPIS, axis=1)
        return series.value(np.sqrt(0.8) * rng.standard_normal(shape) + np.sqrt(0.2) * shock)
    return series.value(rng.standard_normal(shape))


def alarm_rate(kind, n, *, charts=12_000, new=24, seed=1):
    """Marked new points after a baseline of n over the budget; diagnosis as it falls."""
    found = points(kind, np.random.default_rng([seed, n]), (n + new, charts))
    baseline = np.arange(n + new)[:, None] < np.full(charts, n)
    judged, _ = calibrated.judge(found, calibrated.freeze(found, baseline, budget=BUDGET))
    return judged.alarm[n:].mean() / BUDGET


def pooled_rate(n, spread, *, groups=200, stores=16, new=12, seed=2):
    """As alarm_rate, for stores with n points each that borrow from fifteen others."""
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
        return np.nan, 0.0, np.nan
    return judged.alarm[n:, ready].mean() / BUDGET, ready.mean(), np.nanmean(frozen.limit)


def seasonal_rate(amplitude, *, adjust, n=36, groups=150, seed=9):
    """As alarm_rate, for stores that share a yearly wave; season taken out where it is found."""
    stores, new, rng = 16, 12, np.random.default_rng(seed)
    rows, charts = np.arange(n + new)[:, None], groups * stores
    wave = amplitude * np.sqrt(2) * np.sin(2 * np.pi * rows / 12)
    found = series.value(rng.standard_normal((n + new, charts)) + wave)
    baseline = rows < np.full(charts, n)
    kpi = np.repeat(np.arange(groups), stores)
    year = diagnose.season(found, np.arange(n + new) % 12, kpi, baseline=baseline)
    if adjust:
        found = diagnose.without(found, np.where(year.p < 0.05, year.effect, 0.0))
    frozen = calibrated.freeze(found, baseline, budget=BUDGET)
    judged, _ = calibrated.judge(found, frozen)
    return judged.alarm[n:].mean() / BUDGET, (year.p < 0.05).mean()


def power(shift, *, n=24, charts=8000, seed=3):
    """Charts marked within twelve months of a shift, and marked stable points where it is 0.

    Calibrated rules, Nelson 1-8 and 3 sigma alone, all on the same baseline; the last two on an
    XmR chart, and only points after the baseline count.
    """
    rng = np.random.default_rng(seed)
    late = np.arange(n + 12)[:, None] >= n
    found = series.value(rng.standard_normal((n + 12, charts)) + shift * late)
    baseline = ~late & np.ones(charts, bool)
    judged, _ = calibrated.judge(found, calibrated.freeze(found, baseline, budget=BUDGET))
    chart = xmr(found.y, baseline=baseline)
    fired = evaluate(chart, rules="nelson")
    marks = (judged.alarm[n:], (fired.up | fired.down)[n:] != 0, np.logical_or(*chart.beyond)[n:])
    names = ("calibrated", "nelson", "sigma")
    return {name: (m.any(axis=0).mean(), m.mean()) for name, m in zip(names, marks, strict=True)}


def layout():
    """Charts of the simulated board: 20 KPIs x 15 stores in 3 regions, good directions mixed."""
    kpi = np.repeat(np.arange(KPIS), STORES)
    region = np.tile(np.arange(STORES) // (STORES // REGIONS), KPIS)
    return board.Charts(kpi, region, np.where(kpi % 2, 1, -1))


def stable_boards(kind, *, boards=300, periods=36, seed=4):
    """Share of boards without any change that show an "act", and a "watch"."""
    rng = np.random.default_rng([seed, periods])
    charts = layout()
    act = watch = 0
    for _ in range(boards):
        found = board.judge(points(kind, rng, (periods, KPIS * STORES)), charts, rates=RATES)
        act += bool((found.q_worse <= RATES.act).any())
        watch += bool((found.q_worse <= RATES.watch).any())
    return act / boards, watch / boards


def found_within_a_year(shifts, *, planted=1, boards=150, before=24, seed=5):
    """Share of planted shifts for the worse that reach "act" in one of the four next quarters."""
    rng = np.random.default_rng([seed, planted])
    charts = layout()
    hits = []
    for _ in range(boards):
        x = rng.standard_normal((before + 12, KPIS * STORES))
        where = rng.choice(KPIS * STORES, planted, replace=False)
        x[before:, where] += rng.choice(shifts, planted) * charts.worse[where]
        seen = np.zeros(planted, bool)
        for quarter in range(1, 5):
            part = series.value(x[: before + 3 * quarter])
            seen |= board.judge(part, charts, rates=RATES).q_worse[where] <= RATES.act
        hits.append(seen)
    return np.mean(hits)


def best_possible(shift, *, planted=1, before=24):
    """Power of the most powerful test of one chart at the fourth quarter, everything known."""
    from scipy import stats

    cut = stats.norm.isf(RATES.act * planted / (KPIS * STORES))
    return stats.norm.sf(cut - shift / np.sqrt(1 / 12 + 1 / before))


def changed(kind, shift, rng, late):
    """Points with one change of so many sigma, the change in the KPI's unit, and phi.

    The noise of counts goes with their level. ``binomial`` and ``poisson`` move about the level
    whose noise is sigma; ``*_noisier`` start there and move to where the noise is larger.
    """
    family, _, noisier = kind.partition("_")
    share = (0.0, 1.0) if noisier else (-0.5, 0.5)  # of the shift, before and after
    if family == "binomial":
        sd = np.sqrt(0.88 * 0.12 / 60 * (1 + 59 * 0.01))
        level = 0.88 - shift * sd * np.where(late, share[1], share[0])
        return series.share(*binomial(rng, late.shape, p=level)), -shift * sd, 0.0
    if family == "poisson":
        sd = np.sqrt(8 * 1.5)
        level = 8 + shift * sd * np.where(late, share[1], share[0])
        return series.rate(*poisson(rng, late.shape, mean=level)), shift * sd, 0.0
    phi = 0.3 if kind == "ar1" else 0.0
    return series.value(ar1(rng, phi, late.shape) + shift * late), float(shift), phi


def dated(kind, shift, *, charts=4000, periods=36, seed=6):
    """Dates right within 1 and 2 months; how often the set holds them, the interval the size."""
    rng = np.random.default_rng([seed, int(10 * shift)])
    start = rng.integers(12, periods - 11, charts)
    found, size, phi = changed(kind, shift, rng, np.arange(periods)[:, None] >= start)
    answer = change.onset(found, phi=phi)
    error = np.abs(answer.at - start)
    inside = np.take_along_axis(answer.inside, start[None], axis=0)[0]
    covered = (answer.size.low <= size) & (size <= answer.size.high)
    return {
        "within 1": (error <= 1).mean(),
        "within 2": (error <= 2).mean(),
        "set holds date": inside.mean(),
        "set size": answer.inside.sum(axis=0).mean(),
        "interval holds size": covered.mean(),
    }


def predicted(kind, *, n=24, charts=8000, seed=7):
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
    return ((found.low <= truth) & (truth <= found.high)).mean()


def shared_change(shift, *, boards=40, seed=8):
    """Boards on which a change in all stores of a KPI gives exactly one "act" there."""
    rng, charts = np.random.default_rng(seed), layout()
    one = 0
    for _ in range(boards):
        x = rng.standard_normal((36, KPIS * STORES))
        x[27:, charts.kpi == 0] += shift * charts.worse[0]
        found = board.judge(series.value(x), charts, rates=RATES)
        acts = (found.q_worse <= RATES.act) & (found.explained < 0) & (found.kpi == 0)
        one += acts.sum() == 1 and found.kind[acts][0] == board.GROUP
    return one / boards


def show(what, value):
    print(f"{time.process_time():6.0f} s  {what}: {value}", flush=True)


def main():
    for kind in ("normal", "binomial", "poisson", "ar1"):
        show(f"alarms/budget {kind}", {n: round(alarm_rate(kind, n), 3) for n in (12, 24, 36, 60)})
    for spread in (0.0, 0.5, 2.0):
        show(f"pooled {spread}", {n: np.round(pooled_rate(n, spread), 3) for n in (4, 8, 24)})
    for amplitude in (0.0, 0.5, 1.0):
        found = {a: np.round(seasonal_rate(amplitude, adjust=a), 3) for a in (False, True)}
        show(f"season {amplitude}", found)
    for shift in (0, 1, 1.5, 2, 3):
        found = {name: np.round(v, 3).tolist() for name, v in power(shift).items()}
        show(f"charts and points marked in a year, shift {shift}", found)
    for kind in ("normal", "binomial", "poisson", "ar1", "shared", "unequal", "student"):
        show(f"stable boards {kind}", [stable_boards(kind, periods=t) for t in (27, 36)])
    show_planted()
    kinds = ("normal", "binomial", "poisson", "binomial_noisier", "poisson_noisier", "ar1")
    for kind, shift in itertools.product(kinds, (1, 1.5, 2, 3)):
        found = {name: round(float(v), 3) for name, v in dated(kind, shift).items()}
        show(f"dated {kind} {shift}", found)
    show("predicted", {kind: predicted(kind) for kind in ("normal", "binomial", "ar1")})
    show("one signal for a shared change", {s: shared_change(s) for s in (0.75, 1.0, 2.0)})


def show_planted():
    for planted, boards in ((1, 300), (10, 40)):
        for shift in (1, 1.5, 2, 3):
            found = found_within_a_year([shift], planted=planted, boards=boards)
            best = best_possible(shift, planted=planted)
            show(f"{planted} planted {shift} sigma", (round(found, 3), round(float(best), 3)))
    for planted, boards in ((1, 300), (8, 60)):
        found = found_within_a_year([1.5, 2, 2.5, 3], planted=planted, boards=boards)
        show(f"{planted} planted of 1.5 to 3 sigma", round(found, 3))


if __name__ == "__main__":
    main()
