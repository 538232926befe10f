"""Many tests at once, and the board built on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats
from spc_simulations import (
    RATES,
    best_possible,
    layout,
    planted_boards,
    shared_change,
    stable_boards,
)

from dealerqm.errors import MethodError
from dealerqm.series import board
from dealerqm.series import scale as series
from dealerqm.stats import multiple

CHARTS = layout()


def noise(seed=1, periods=36):
    return np.random.default_rng(seed).normal(size=(periods, CHARTS.kpi.size))


def judged(x, charts=CHARTS):
    return board.judge(series.value(x), charts, rates=RATES)


# ---------------------------------------------------------------- many tests


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_is_scipys(p):
    assert multiple.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


@given(st.lists(st.floats(1e-12, 0.9), min_size=1, max_size=30), st.integers(0, 5))
def test_hierarchical_rate_is_the_smallest_at_which_a_test_is_found(p, seed):
    families = np.random.default_rng(seed).integers(0, 4, len(p))
    q = multiple.hierarchical(p, families)
    for rate in (0.0137, 0.0519, 0.2113, 0.7071):  # no simple fractions: ties are rounding
        assert_array_equal(q <= rate, by_the_book(np.array(p), families, rate))


def by_the_book(p, families, rate):
    """Benjamini and Bogomolov step by step at one rate."""
    names = np.unique(families)
    whole = [stats.false_discovery_control(p[families == f]).min() for f in names]
    chosen = stats.false_discovery_control(whole) <= rate
    found = np.zeros(p.size, bool)
    for family in names[chosen]:
        inner = stats.false_discovery_control(p[families == family])
        found[families == family] = inner <= rate * chosen.sum() / names.size
    return found


def test_one_family_is_plain_benjamini_hochberg():
    p = np.random.default_rng(2).uniform(size=30) ** 2
    found = multiple.hierarchical(p, np.zeros(30, int))
    assert found == pytest.approx(multiple.benjamini_hochberg(p))


def test_missing_tests_stay_missing_and_do_not_count():
    p = np.array([0.001, np.nan, 0.3, 0.02, np.nan])
    families = np.array([0, 0, 0, 1, 2])
    found = multiple.hierarchical(p, families)
    assert np.isnan(found).tolist() == [False, True, False, False, True]
    known = np.isfinite(p)
    assert found[known] == pytest.approx(multiple.hierarchical(p[known], families[known]))
    assert np.isnan(multiple.simes([np.nan]))


def test_combined_p_is_exact_for_one_test_and_for_equal_ones():
    p = np.array([1e-200, 1e-12, 1e-4, 0.3, 0.8])
    assert multiple.cauchy(p[None], np.ones((1, 5))) == pytest.approx(p)
    assert multiple.cauchy(np.tile(p, (3, 1)), np.full((3, 5), 1 / 3)) == pytest.approx(p)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_combined_p_holds_under_dependence(correlation):
    rng = np.random.default_rng(3)
    z = np.sqrt(correlation) * rng.normal(size=200_000)
    z = z + np.sqrt(1 - correlation) * rng.normal(size=(4, 200_000))
    found = multiple.cauchy(stats.norm.sf(z), np.full((4, 200_000), 0.25))
    assert (found < 0.001).mean() <= 0.0012


# ---------------------------------------------------------------- the board


def test_a_store_that_changed_is_named_alone():
    x = noise()
    x[27:, 32] += 4 * CHARTS.worse[32]
    found = judged(x)
    act = np.flatnonzero((found.q_worse <= RATES.act) & (found.explained < 0))
    assert [(found.kind[i], found.kpi[i], found.place[i]) for i in act] == [(board.STORE, 2, 32)]


def test_a_region_that_changed_is_named_once():
    x = noise(2)
    where = (CHARTS.kpi == 5) & (CHARTS.region == 1)
    x[27:, where] += 3 * CHARTS.worse[where]
    found = judged(x)
    act = np.flatnonzero((found.q_worse <= RATES.act) & (found.explained < 0))
    assert [(found.kind[i], found.kpi[i], found.place[i]) for i in act] == [(board.REGION, 5, 1)]
    assert_array_equal(found.explained[np.flatnonzero(where)], act[0])


def test_a_store_that_stands_out_of_a_changed_group_is_named_too():
    x = noise(3)
    where = CHARTS.kpi == 4
    x[27:, where] += 2 * CHARTS.worse[where]
    x[27:, 63] += 6 * CHARTS.worse[63]
    found = judged(x)
    act = np.flatnonzero((found.q_worse <= RATES.act) & (found.explained < 0))
    assert sorted(found.kind[act]) == [board.STORE, board.GROUP]
    assert 63 in act


def test_a_wider_change_does_not_explain_a_much_clearer_one():
    x = noise(10)
    where = np.flatnonzero((CHARTS.kpi == 5) & (CHARTS.region == 1))
    x[27:, where] += 0.5 * CHARTS.worse[where]
    x[27:, where[:2]] += 2 * CHARTS.worse[where[:2]]
    found = judged(x)
    region = np.flatnonzero((found.kind == board.REGION) & (found.kpi == 5) & (found.place == 1))
    assert found.q_worse[region] <= RATES.act
    assert found.p_worse[where[0]] < found.p_worse[region] / 100
    assert found.q_worse[where[0]] <= RATES.act
    assert found.explained[where[0]] < 0


def test_changes_for_the_better_are_told_apart():
    x = noise(4)
    x[27:, 10] -= 4 * CHARTS.worse[10]
    found = judged(x)
    assert found.q_better[10] <= RATES.act
    assert found.q_worse[10] > RATES.watch


def test_a_kpi_without_direction_has_one_two_sided_test():
    x = noise(5)
    x[27:, 0] += 5
    charts = CHARTS._replace(worse=np.zeros(300, int))
    found = judged(x, charts)
    assert found.q_worse[0] <= RATES.act
    assert np.isnan(found.q_better).all()


def test_order_of_charts_and_names_of_kpis_do_not_matter():
    x, order = noise(6), np.random.default_rng(7).permutation(300)
    x[27:, 50] += 3
    plain = judged(x)
    renamed = board.Charts(100 - CHARTS.kpi, CHARTS.region + 7, CHARTS.worse)
    moved = judged(x[:, order], board.Charts(*(part[order] for part in renamed)))
    assert moved.p_worse[:300] == pytest.approx(plain.p_worse[order], rel=1e-9)
    assert moved.q_worse[:300] == pytest.approx(plain.q_worse[order], rel=1e-9)


def test_a_missing_quarter_is_unknown_and_never_calm():
    x = noise(8)
    x[33:, 3] = np.nan
    found = judged(x)
    level = board.severity(found.q_worse, RATES)
    assert level[3] == board.UNKNOWN
    assert np.all(np.delete(level, 3) >= board.CALM)
    assert board.hold(level[3:4], [board.CALM], [True]).tolist() == [board.UNKNOWN]


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match="300 charts"):
        judged(noise(), CHARTS._replace(kpi=CHARTS.kpi[:5]))


@given(
    before=st.integers(-1, 2), levels=st.lists(st.integers(-1, 2), min_size=1, max_size=8),
    calm=st.booleans(),
)  # fmt: skip
def test_levels_rise_at_once_fall_by_one_step_and_only_when_calm(before, levels, calm):
    shown = before
    for level in levels:
        after = int(board.hold([level], [shown], [calm])[0])
        if level == board.UNKNOWN:
            assert after == (shown if shown > board.CALM else board.UNKNOWN)
        else:
            assert after >= level
            assert after >= shown - (1 if calm else 0)
            assert after <= max(level, shown)
        shown = after


def test_expected_false_alarms_are_the_tests_times_the_threshold():
    p = np.random.default_rng(9).uniform(size=200)
    p[0] = 1e-5
    q = multiple.benjamini_hochberg(p)
    assert board.expected_false(p, q, 0.05) == pytest.approx(200 * p[q <= 0.05].max())
    assert board.expected_false([np.nan], [np.nan], 0.05) == 0.0


# ---------------------------------------------------------------- measured
# Bars are the issue's; a run of this size may miss them by 2.5 of its own standard errors. The
# full run is in spc_simulations.py.


def test_stable_boards_stay_quiet():
    kinds = {"normal": 27, "binomial": 36, "poisson": 27, "ar1": 36, "seasonal": 36, "unequal": 27}
    found = [stable_boards(kind, periods=n, boards=100) for kind, n in kinds.items()]
    for level, bar in ((0, RATES.act), (1, RATES.watch)):
        shares = np.array([figures[level].value for figures in found])
        assert shares.mean() <= bar + 2.5 * np.sqrt(bar * (1 - bar) / 600)
        assert np.all(shares <= bar + 3.5 * np.sqrt(bar * (1 - bar) / 100))


@pytest.mark.parametrize(("planted", "boards"), [(1, 60), (8, 20)])
def test_changes_of_at_least_one_and_a_half_sigma_are_found_within_a_year(planted, boards):
    found = planted_boards([1.5, 2, 2.5, 3], planted=planted, boards=boards)
    assert found.found.value >= 0.9 - 2.5 * found.found.se
    assert found.wrong <= 0.1


def test_the_hardest_change_is_found_nearly_as_often_as_by_the_best_test_there_is():
    found = planted_boards([1.5], boards=60).found
    assert best_possible(1.5) < 0.75
    assert found.value >= best_possible(1.5) - 0.12 - 2.5 * found.se


def test_a_change_in_all_stores_is_one_signal():
    assert shared_change(1.0, boards=20).value >= 0.95
