"""Rule sets solved from a budget, and charts judged by them, whole or period by period."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import integrate, special, stats
from spc_simulations import BUDGET, alarm_rate, ar1, binomial, diagnosed_rate, pooled_rate, power

from dealerqm.errors import MethodError
from dealerqm.rules import calibrated, design
from dealerqm.rules.design import Baseline, Rules, Zone
from dealerqm.series import scale as series

REFERENCE = Path(__file__).parent / "reference" / "spc" / "arl.json"
WESTERN = {"1": Zone(1, 1, 3.0), "2": Zone(2, 3, 2.0), "3": Zone(4, 5, 1.0), "4": Zone(8, 8, 0.0)}
CASES = [
    case
    for case in json.loads(REFERENCE.read_text(encoding="utf-8"))["cases"]
    if case.get("params", {}).get("chart") == "shewhart+western_electric"
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_zone_rules_agree_with_r(case):
    zones = [WESTERN[rule] for rule in case["params"]["rules"]]
    found = design.zone_arl(zones, case["input"]["shift"])
    assert found == pytest.approx(case["expected"]["value"], rel=case["rtol"])


def test_there_are_reference_cases():
    assert len(CASES) == 2


def test_closed_form_is_the_chain():
    zones = [Zone(1, 1, 2.4), Zone(9, 9, 0.0)]
    shifts = [0, 0.5, 1.5, 3]
    closed = design.arl(Rules(2.4, 9, design.KNOWN, 0, 0), shifts)
    assert closed == pytest.approx(design.zone_arl(zones, shifts), rel=1e-10)


def test_chain_agrees_with_simulation():
    zones = [Zone(1, 1, 2.5), Zone(2, 3, 1.5), Zone(5, 5, 0.0)]
    z = np.random.default_rng(1).standard_normal((400, 20_000))
    hit = np.zeros(z.shape, bool)
    for zone in zones:
        for sign in (1, -1):
            sums = np.cumsum(
                np.vstack([np.zeros((1, z.shape[1])), sign * z > zone.distance]), axis=0
            )
            back = np.maximum(np.arange(1, 401) - zone.window, 0)
            hit |= sums[1:] - sums[back] >= zone.hits
    assert design.zone_arl(zones, [0])[0] == pytest.approx(
        (hit.argmax(axis=0) + 1).mean(), rel=0.02
    )


@pytest.mark.parametrize("budget", [1 / 12, 1 / 36, 1 / 120, 0.0027])
@pytest.mark.parametrize("n", [8, 12, 36, np.inf])
def test_budget_is_met_and_the_run_stays_in_its_share(budget, n):
    rules = design.solve(budget, Baseline(n, n - 1))
    assert rules.rate == pytest.approx(budget, rel=1e-9)
    assert 0.8 * budget <= rules.beyond <= budget
    assert rules.run >= 8


def test_known_limits_mark_as_often_as_the_chain_says():
    rules = design.solve(BUDGET)
    expected = 2 * special.ndtr(-rules.limit)
    expected += 2 * 0.5 ** (rules.run - 1) * (0.5 - special.ndtr(-rules.limit))
    assert rules.rate == pytest.approx(expected, rel=1e-12)


def test_limits_alone_are_students_prediction_limits():
    n = 15
    limit = 2.7
    chance = design._marked(limit, 500, Baseline(n, n - 1))[1]
    assert chance == pytest.approx(2 * stats.t.sf(limit / np.sqrt(1 + 1 / n), n - 1), rel=2e-4)


def test_run_part_agrees_with_integration():
    n, run = 20, 9

    def chance(d):
        ends = special.ndtr(d) ** run + special.ndtr(-d) ** run
        return stats.norm.pdf(d, scale=n**-0.5) * ends

    found = integrate.quad(chance, -3, 3)[0]
    assert design._marked(design.WIDEST, run, Baseline(n, n - 1))[0] == pytest.approx(
        found, rel=1e-8
    )


def test_less_baseline_means_wider_limits_and_longer_runs():
    rules = [design.solve(BUDGET, Baseline(n, n - 1)) for n in (8, 12, 24, 60, np.inf)]
    assert np.all(np.diff([r.limit for r in rules]) < 0)
    assert np.all(np.diff([r.run for r in rules]) <= 0)


def test_average_run_lengths_fall_with_the_shift():
    assert np.all(np.diff(design.arl(design.solve(BUDGET, Baseline(24, 23)))) < 0)


@pytest.mark.parametrize("budget", [0.0, 0.5, -1.0])
def test_an_impossible_budget_is_refused(budget):
    with pytest.raises(MethodError, match="budget"):
        design.solve(budget)


def test_a_baseline_of_nothing_is_refused():
    with pytest.raises(MethodError, match="baseline"):
        design.solve(BUDGET, Baseline(1, 0))


def test_zone_rules_that_cannot_meet_a_budget_are_refused():
    with pytest.raises(MethodError, match="Lengthen"):
        design.zone_solve([Zone(1, 1, 3.0), Zone(5, 5, 0.0)], 0.001)


# ---------------------------------------------------------------- judging


def frozen_and_points(kind, seed=3, periods=40, charts=7):
    rng = np.random.default_rng(seed)
    if kind == "share":
        k, n = binomial(rng, (periods, charts))
        found = series.share(k, np.where(rng.random(n.shape) < 0.1, 0, n))
    else:
        x = 100 + 5 * ar1(rng, 0.5 if kind == "correlated" else 0.0, (periods, charts))
        found = series.value(np.where(rng.random(x.shape) < 0.1, np.nan, x))
    baseline = np.arange(periods)[:, None] < np.full(charts, 20)
    phi = np.full(charts, 0.4) if kind == "correlated" else None
    return calibrated.freeze(found, baseline, budget=BUDGET, phi=phi), found


@given(
    kind=st.sampled_from(["value", "share", "correlated"]),
    cuts=st.lists(st.integers(0, 40), max_size=12),
)
def test_period_by_period_gives_the_bits_of_the_whole(kind, cuts):
    frozen, found = frozen_and_points(kind)
    whole, last = calibrated.judge(found, frozen)
    state, parts = None, []
    edges = [0, *sorted(cuts), 40]
    for start, end in itertools.pairwise(edges):
        part, state = calibrated.judge(
            series.Series(found.scale, found.y[start:end], found.se[start:end]), frozen, state
        )
        parts.append(part)
    for name in calibrated.Judged._fields:
        assert_array_equal(np.vstack([getattr(part, name) for part in parts]), getattr(whole, name))
    for a, b in zip(state, last, strict=True):
        assert_array_equal(a, b)


def test_charts_do_not_influence_each_other():
    frozen, found = frozen_and_points("correlated")
    whole, _ = calibrated.judge(found, frozen)
    one = series.Series(found.scale, found.y[:, 2:3], found.se[:, 2:3])
    baseline = np.arange(40)[:, None] < 20
    alone, _ = calibrated.judge(one, calibrated.freeze(one, baseline, budget=BUDGET, phi=[0.4]))
    assert_array_equal(alone.run, whole.run[:, 2:3])
    assert alone.lower == pytest.approx(whole.lower[:, 2:3], rel=1e-12, nan_ok=True)


def test_runs_end_at_gaps_and_never_bridge_them():
    x = np.array([1.0, -1, 1, -1, 1, -1, 1, -1, 1, 1, 1, np.nan, 1, 1])
    found = series.value(x)
    frozen = calibrated.freeze(found, np.arange(14) < 8, budget=BUDGET, phi=[0.0])
    judged, state = calibrated.judge(found, frozen)
    assert judged.run[8:, 0].tolist() == [1, 2, 3, 0, 1, 2]
    assert np.isnan(judged.score[11, 0])
    assert state.age.tolist() == [0]


def test_straight_limits_are_students():
    x = np.random.default_rng(5).normal(50, 3, 24)
    found = series.value(x)
    frozen = calibrated.freeze(found, budget=BUDGET, phi=[0.0])
    judged, _ = calibrated.judge(found, frozen)
    rules = design.solve(BUDGET, Baseline(24, 23))
    assert judged.upper == pytest.approx(np.full((24, 1), x.mean() + rules.limit * x.std(ddof=1)))
    assert frozen.run[0] == rules.run


def test_only_an_estimated_autocorrelation_costs_precision():
    x = ar1(np.random.default_rng(8), 0.6, (24, 1))
    known = calibrated.freeze(series.value(x), budget=BUDGET, phi=[0.6])
    found = calibrated.freeze(series.value(x), budget=BUDGET)
    assert found.phi[0] > 0
    assert known.limit[0] == design.solve(BUDGET, Baseline(24, 23)).limit
    assert found.limit[0] == design.solve(BUDGET, Baseline(24, 22, 0.0415)).limit


def test_what_a_fit_took_out_comes_back_as_doubt():
    x = np.random.default_rng(9).normal(size=24)
    plain = calibrated.freeze(series.value(x), budget=BUDGET, phi=[0.0])
    squares = ((x - x.mean()) ** 2).sum()
    half = np.full((24, 1), squares / 24)  # as much variance as is left
    found = calibrated.freeze(series.value(x), budget=BUDGET, phi=[0.0], fitted=half)
    assert found.sigma == pytest.approx(plain.sigma * np.sqrt(2))
    assert found.limit[0] == design.solve(BUDGET, Baseline(24, 11.5, 0.5)).limit


def test_limits_of_shares_stay_inside_and_widen_for_small_points():
    found = series.share([19] * 10 + [18] * 10, [20] * 20)
    new = series.share([9, 190], [10, 200])
    judged, _ = calibrated.judge(new, calibrated.freeze(found, budget=BUDGET))
    assert judged.lower[0, 0] < judged.lower[1, 0]
    assert np.all((judged.lower >= 0) & (judged.upper <= 1))


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (series.value([5.0, 6.0, 7.0]), "short"),
        (series.value([np.nan] * 12), "short"),
        (series.value([5.0] * 12), "constant"),
        (series.share([0] * 12, range(20, 32)), "constant"),
        (series.rate([0] * 12, [1.0, 2.0] * 6), "constant"),
    ],
)
def test_what_cannot_be_judged_is_shown_without_limits(points, reason):
    frozen = calibrated.freeze(points, budget=BUDGET)
    judged, _ = calibrated.judge(points, frozen)
    assert frozen.reason.tolist() == [reason]
    assert not judged.alarm.any()
    assert np.isnan(judged.upper).all()
    assert_array_equal(np.isfinite(judged.value), np.isfinite(points.y))


def test_pooled_limits_become_own_limits_as_data_grow():
    rng = np.random.default_rng(6)
    x = rng.normal(0, 1, (240, 12)) + rng.normal(0, 3, 12)
    own = calibrated.freeze(series.value(x), budget=BUDGET, phi=0.0)
    pooled = calibrated.freeze(series.value(x), budget=BUDGET, phi=0.0, groups=np.zeros(12, int))
    assert pooled.centre == pytest.approx(own.centre, abs=0.01)


def test_a_short_chart_borrows_and_alone_is_not_judged():
    x = np.random.default_rng(7).normal(0, 1, (24, 12))
    x[:, 0] += 1
    x[5:, 0] = np.nan
    alone = calibrated.freeze(series.value(x), budget=BUDGET, phi=0.0)
    lent = calibrated.freeze(series.value(x), budget=BUDGET, phi=0.0, groups=np.zeros(12, int))
    assert alone.reason[0] == "short"
    assert lent.reason[0] == ""
    assert np.nanmean(x[:, 1:]) < lent.centre[0] < x[:5, 0].mean()
    assert lent.limit[0] > lent.limit[1]


# ---------------------------------------------------------------- measured
# Bars are the issue's; a run of this size may miss them by 2.5 of its own standard errors. The
# full run is in spc_simulations.py.

BARS = {12: 0.3, 24: 0.15, 36: 0.15, 60: 0.15}


def kept(found, n):
    return abs(found.value - 1) <= BARS[n] + 2.5 * found.se


@pytest.mark.parametrize("n", BARS)
@pytest.mark.parametrize("kind", ["normal", "binomial", "poisson", "ar1"])
def test_alarms_keep_to_the_budget(kind, n):
    assert kept(alarm_rate(kind, n, charts=4000), n)


@pytest.mark.parametrize("width", [0.9, 1.1])
@pytest.mark.parametrize("kind", ["normal", "binomial", "ar1"])
def test_the_measurement_notices_limits_ten_percent_off(kind, width):
    assert not kept(alarm_rate(kind, 36, charts=4000, width=width), 36)


@pytest.mark.parametrize("n", [8, 24])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_pooled_limits_keep_to_the_budget(n, spread):
    found, judged = pooled_rate(n, spread, groups=40)
    assert kept(found, 24)
    assert judged == 1


@pytest.mark.parametrize(("kind", "amplitude"), [("normal", 0.0), ("ar1", 0.5), ("binomial", 1.0)])
def test_alarms_keep_to_the_budget_after_the_whole_diagnosis(kind, amplitude):
    stores, regions, groups = diagnosed_rate(kind, 24, amplitude, kpis=50)
    assert kept(stores, 24)
    assert kept(regions, 24)
    assert kept(groups, 24)


def test_the_measurement_notices_that_limits_know_nothing_of_the_season_taken_out():
    _, regions, groups = diagnosed_rate("normal", 24, 1.0, kpis=50, told=False)
    assert not kept(regions, 24)
    assert not kept(groups, 24)


@pytest.mark.parametrize("shift", [1, 1.5, 2])
def test_calibrated_rules_find_more_than_three_sigma_and_mark_less_than_nelson(shift):
    found, quiet = power(shift, charts=4000), power(0, charts=4000)
    assert found["calibrated"][0].value > found["sigma"][0].value
    assert quiet["calibrated"][1].value < quiet["nelson"][1].value
