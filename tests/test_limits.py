"""Limits of control charts: constants, estimators, refusals, and what they must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from dealerqm import spc
from dealerqm.errors import MethodError
from dealerqm.limits import base
from dealerqm.limits.constants import Subgroups, c4

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(20260301)
K = RNG.binomial(200, 0.2, (30, 4)).astype(float)
N = RNG.integers(150, 300, (30, 4)).astype(float)
X = RNG.normal(50, 4, (30, 4))
GAPS = RNG.random((30, 4)) < 0.15

COUNTED = [spc.p_chart, spc.np_chart, spc.u_chart, spc.p_prime, spc.u_prime]
SINGLE = [spc.xmr, spc.mr_chart, spc.c_chart, spc.g_chart, spc.t_chart, spc.run_chart,
          spc.residual_chart]  # fmt: skip
PAIRED = [*COUNTED, spc.i_prime]


STATE = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_whatever_ran_before():
    RNG.bit_generator.state = STATE


def lines(chart):
    return [chart.value, chart.centre, chart.lower, chart.upper, chart.sd]


def same(one, other):
    for left, right in zip(lines(one), lines(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize("n", [2, 3, 7, 15, 40])
def test_constants_are_those_of_the_studentised_range(n):
    found = spc.chart_constants(n)
    law = stats.studentized_range(n, np.inf)
    assert found.d4 == pytest.approx(law.ppf(0.5), rel=1e-9)
    w = np.linspace(0, 12, 4001)
    beyond = law.sf(w)
    mean = np.trapezoid(beyond, w)
    assert found.d2 == pytest.approx(mean, rel=1e-6)
    square = np.trapezoid(2 * w * beyond, w)
    assert found.d3 == pytest.approx(np.sqrt(square - mean**2), rel=1e-5)


def test_constants_in_closed_form():
    d2, d3, unbiased, d4 = spc.chart_constants([2, 3])
    assert d2 == pytest.approx([2 / np.sqrt(np.pi), 3 / np.sqrt(np.pi)], rel=1e-12)
    assert d3[0] == pytest.approx(np.sqrt(2 - 4 / np.pi), rel=1e-11)
    assert unbiased == pytest.approx([np.sqrt(2 / np.pi), np.sqrt(np.pi) / 2], rel=1e-14)
    assert d4[0] == pytest.approx(np.sqrt(2) * special.ndtri(0.75), rel=1e-13)


def test_constants_of_large_samples():
    assert c4(1_000_000) == pytest.approx(1 - 1 / 4 / (1_000_000 - 1), rel=1e-12)
    found = spc.chart_constants([50_000])
    exact = stats.norm.expect(lambda x: x * 50_000 * stats.norm.cdf(x) ** 49_999, lb=0, ub=9)
    assert found.d2[0] == pytest.approx(2 * exact, rel=1e-8)


def test_constants_do_not_depend_on_more_nodes():
    for rough, fine in zip(spc.chart_constants([2, 9, 100]),
                           spc.chart_constants([2, 9, 100], nodes=120), strict=True):  # fmt: skip
        np.testing.assert_allclose(rough, fine, rtol=1e-12)


def test_constants_have_no_value_where_there_is_no_spread():
    found = spc.chart_constants([[0, 1], [NAN, 2]])
    assert np.isnan(found.d2).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("n", [2.5, INF])
def test_constants_refuse_what_is_no_size(n):
    with pytest.raises(MethodError, match="whole numbers"):
        spc.chart_constants(n)


# ---------------------------------------------------------------- subgroups


def test_estimators_are_unbiased_with_unequal_sizes():
    sizes = RNG.integers(2, 15, 4000)
    groups = spc.subgroups([RNG.normal(3, 2, size) for size in sizes])
    for name in ("mean_r_over_d2", "mean_s_over_c4", "mvlue_r", "mvlue_s", "pooled_sd_over_c4"):
        assert spc.sigma_within(groups, estimator=name) == pytest.approx(2, rel=0.02), name


def test_average_and_mvlue_agree_with_equal_sizes():
    groups = spc.subgroups(RNG.normal(size=(20, 1, 6)))
    for letter, divisor in (("r", "d2"), ("s", "c4")):
        average = spc.sigma_within(groups, estimator=f"mean_{letter}_over_{divisor}")
        assert spc.sigma_within(groups, estimator=f"mvlue_{letter}") == pytest.approx(average)


def test_subgroups_of_one_and_of_none_say_nothing_of_sigma():
    groups = spc.subgroups([[1, 2, 3], [9], [], [4, 6]])
    assert groups.n[:, 0].tolist() == [3, 1, 0, 2]
    assert np.isnan(groups.mean[:, 0]).tolist() == [False, False, True, False]
    whole = spc.subgroups([[1, 2, 3], [4, 6]])
    for name in ("mean_s_over_c4", "mvlue_r", "pooled_sd_over_c4"):
        assert spc.sigma_within(groups, estimator=name) == spc.sigma_within(whole, estimator=name)
    chart = spc.xbar(groups)
    assert chart.centre[0, 0] == pytest.approx((6 + 9 + 10) / 6)
    assert np.isnan(chart.upper[:, 0]).tolist() == [False, False, True, False]


def test_a_cube_gives_one_chart_per_column():
    cube = RNG.normal(size=(12, 3, 5))
    cube[RNG.random(cube.shape) < 0.2] = NAN
    together = spc.xbar(spc.subgroups(cube), estimator="mvlue_s")
    for chart in range(3):
        alone = spc.subgroups([row[np.isfinite(row)] for row in cube[:, chart]])
        one = spc.xbar(alone, estimator="mvlue_s")
        np.testing.assert_allclose(together.upper[:, [chart]], one.upper, rtol=1e-12)


def test_range_and_deviation_charts_move_with_the_size():
    groups = spc.subgroups([[1, 2], [1, 2, 3, 5], [2, 2, 4]])
    for chart in (spc.r_chart(groups), spc.s_chart(groups)):
        assert chart.lower.min() == 0
        assert np.unique(chart.centre).size == 3


def test_unknown_estimator_names_the_nearest():
    with pytest.raises(MethodError, match="mean_s_over_c4"):
        spc.sigma_within(spc.subgroups([[1, 2]]), estimator="mean_s_over_c5")


# ---------------------------------------------------------------- individuals


def test_missing_points_are_not_bridged_unless_asked():
    x = [1, 2, NAN, 7, 8]
    assert spc.xmr(x).sigma_z == pytest.approx(1 / 1.1283791670955126)
    assert spc.xmr(x, missing="bridge").sigma_z == pytest.approx((1 + 5 + 1) / 3 / 1.12837916709551)


def test_an_excluded_point_is_shown_but_sets_no_limits():
    baseline = np.array([True, True, True, False, True, True])
    chart = spc.xmr([1, 2, 1, 50, 2, 1], baseline=baseline)
    assert chart.centre[0, 0] == pytest.approx(7 / 5)
    assert chart.sigma_z == pytest.approx(1 / 1.1283791670955126)
    assert chart.beyond[0][:, 0].tolist() == [False, False, False, True, False, False]


def test_screening_leaves_out_a_jump_once():
    x = [1, 2, 1, 2, 1, 2, 1, 2, 1, 60]
    assert spc.xmr(x).sigma_z > 6
    assert spc.xmr(x, screen="once").sigma_z == pytest.approx(1 / 1.1283791670955126)


def test_median_moving_range_shrugs_off_a_jump():
    x = [1, 2, 1, 2, 1, 2, 1, 2, 1, 60]
    assert spc.xmr(x, estimator="median_mr").sigma_z == pytest.approx(1 / 0.9538725524)
    rough = spc.xmr(x, estimator="median_mr_r").sigma_z
    assert rough == pytest.approx(1 / 0.9538726707, rel=1e-9)


def test_i_prime_with_equal_exposure_is_xmr():
    chart = spc.i_prime(X, np.full(X.shape, 7.0))
    np.testing.assert_allclose(chart.upper, spc.xmr(X).upper, rtol=1e-12)
    heavy = spc.i_prime([1, 3, 2], [1, 1, 98]).centre[0, 0]
    assert heavy == pytest.approx((1 + 3 + 196) / 100)


def test_residuals_of_an_autocorrelated_series_are_not():
    noise = RNG.normal(size=(4000, 2))
    x = np.zeros_like(noise)
    for row in range(1, len(x)):
        x[row] = 0.6 * x[row - 1] + noise[row]
    chart = spc.residual_chart(x + 5)
    assert chart.extra["phi"] == pytest.approx(0.6, abs=0.03)
    assert chart.extra["mean"] == pytest.approx(5, abs=0.15)
    z = chart.z
    assert np.abs((z[1:] * z[:-1]).mean(axis=0)).max() < 0.05
    x[RNG.random(x.shape) < 0.3] = NAN
    assert spc.residual_chart(x).extra["phi"] == pytest.approx(0.6, abs=0.05)


# ---------------------------------------------------------------- counts


def test_laney_with_binomial_data_is_the_p_chart():
    n = RNG.integers(50, 400, (3000, 1)).astype(float)
    k = RNG.binomial(n.astype(int), 0.3).astype(float)
    assert spc.p_prime(k, n).sigma_z == pytest.approx(1, abs=0.05)


def test_exact_limits_keep_the_false_alarm_rate_where_counts_are_small():
    tail = special.ndtr(-3)
    for mean in (0.3, 1, 4, 20):
        chart = spc.c_chart(RNG.poisson(mean, 4000), limits="probability")
        upper, centre = chart.upper[0, 0], chart.centre[0, 0]
        assert stats.poisson.sf(upper, centre) <= tail < stats.poisson.sf(upper - 1, centre)
        sigma_rate = stats.poisson.sf(np.floor(spc.c_chart([mean] * 3).upper[0, 0]), mean)
        assert mean >= 20 or sigma_rate > 2 * tail


def test_exact_limits_need_whole_numbers():
    with pytest.raises(MethodError, match=r"n: 10.5 in period 1 of chart 0"):
        spc.p_chart([1, 2], [10, 10.5], limits="probability")


def test_np_is_p_times_n():
    chart, shares = spc.np_chart(K, N), spc.p_chart(K, N)
    np.testing.assert_allclose(chart.upper, shares.upper * N, rtol=1e-14)
    np.testing.assert_allclose(chart.value, K)
    np.testing.assert_allclose(chart.z, shares.z)


def test_geometric_limits_are_quantiles():
    chart = spc.g_chart([3, 9, 0, 14, 4], limits="probability")
    law = stats.geom(1 / (1 + chart.centre[0, 0]))
    assert chart.upper[0, 0] == law.ppf(special.ndtr(3)) - 1
    assert chart.lower[0, 0] == law.ppf(special.ndtr(-3)) - 1


def test_exponential_limits_are_quantiles():
    chart = spc.t_chart([3, 9, 1, 14, 4], limits="probability")
    law = stats.expon(scale=31 / 5)
    for line, level in ((chart.lower, -3), (chart.centre, 0), (chart.upper, 3)):
        assert line[0, 0] == pytest.approx(law.ppf(special.ndtr(level)), rel=1e-10)
    np.testing.assert_allclose(chart.z[:, 0], special.ndtri(law.cdf(chart.value[:, 0])), rtol=1e-9)


def test_z_of_a_t_chart_is_that_of_the_transformed_times():
    x = np.array([3, 9, 1, 14, 4, 0.0])
    np.testing.assert_allclose(spc.t_chart(x).z, spc.xmr(x ** (1 / 3.6)).z, rtol=1e-9)


# ---------------------------------------------------------------- what must not matter


@pytest.mark.parametrize("chart", PAIRED)
@pytest.mark.parametrize("place", range(4))
def test_a_chart_of_counts_does_not_depend_on_its_neighbours(chart, place):
    k, n = np.where(GAPS, NAN, K), N
    alone = chart(k[:, place], n[:, place])
    for left, right in zip(lines(chart(k, n)), lines(alone), strict=True):
        np.testing.assert_array_equal(left[:, [place]], right)


@pytest.mark.parametrize("chart", SINGLE)
@pytest.mark.parametrize("place", range(4))
def test_a_chart_of_values_does_not_depend_on_its_neighbours(chart, place):
    x = np.where(GAPS, NAN, X)
    for left, right in zip(lines(chart(x)), lines(chart(x[:, place])), strict=True):
        np.testing.assert_array_equal(left[:, [place]], right)


@pytest.mark.parametrize("chart", SINGLE)
def test_one_baseline_for_all_charts(chart):
    baseline = np.arange(30) < 20
    same(chart(X, baseline=baseline), chart(X, baseline=np.repeat(baseline[:, None], 4, axis=1)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=40), st.floats(0.01, 100),
       st.floats(-1e3, 1e3))  # fmt: skip
def test_units_of_measure_do_not_matter(x, scale, shift):
    x = np.round(np.array(x), 3)
    chart, other = spc.xmr(x), spc.xmr(x * scale + shift)
    tolerance = 1e-8 * max(1, np.abs(x).max()) * max(1, scale) + 1e-9 * abs(shift)
    np.testing.assert_allclose(other.upper, chart.upper * scale + shift, rtol=0, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), min_size=2, max_size=30))
def test_limits_contain_the_centre_and_stay_on_the_scale(pairs):
    n = np.array([size for _, size in pairs], float)
    k = np.minimum([events for events, _ in pairs], n)
    for chart in (spc.p_chart, spc.p_prime):
        found = chart(k, n)
        known = np.isfinite(found.upper)
        assert ((found.lower <= found.centre) & (found.centre <= found.upper))[known].all()
        assert ((found.lower >= 0) & (found.upper <= 1))[known].all()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [
        ([1, 2, -1], [9, 9, 9], r"k: -1 in period 2 of chart 0 \(1 such points\); allowed: 0 or"),
        ([1, 2, 3], [9, -9, -9], r"n: -9 in period 1 of chart 0 \(2 such points\)"),
        ([1, 10, 3], [9, 9, 9], "k: 10 in period 1 of chart 0"),
        ([1, 2, 3], [9, 0, 9], "k: 2 in period 1 of chart 0"),
        ([1, INF, 3], [9, 9, 9], "k: inf in period 1"),
        ([1, 2, 3], [9, INF, 9], "n: inf in period 1"),
        ([1, 2, 3], [9, 9], "one shape for both"),
    ],
)
@pytest.mark.parametrize("chart", [spc.p_chart, spc.p_prime, spc.np_chart, spc.funnel_share])
def test_impossible_shares_are_refused(chart, k, n, message):
    with pytest.raises(MethodError, match=message):
        chart(k, n)


@pytest.mark.parametrize("chart", [spc.u_chart, spc.u_prime, spc.funnel_ratio])
def test_rates_may_exceed_their_exposure_but_not_do_without(chart):
    assert chart([20, 30, 25], [9, 9, 9]).value[0, 0] > 1
    with pytest.raises(MethodError, match="k: 2 in period 1"):
        chart([1, 2, 3], [9, 0, 9])


@pytest.mark.parametrize("chart", SINGLE)
def test_infinite_values_are_refused(chart):
    with pytest.raises(MethodError, match=r"inf in period 2 of chart 0 .*leave the point out"):
        chart([1, 2, INF, 3])


@pytest.mark.parametrize("chart", [spc.g_chart, spc.t_chart])
def test_negative_gaps_are_refused(chart):
    with pytest.raises(MethodError, match="x: -2 in period 1"):
        chart([1, -2, 3])


def test_refusals_name_periods_and_units():
    names = (["2026-01", "2026-02"], ["S01", "S02"])
    with pytest.raises(MethodError, match="k: 7 in period 2026-02 of chart S01"):
        base.counted([[1, 1], [7, 1]], [[5, 5], [5, 5]], share=True, names=names)


@pytest.mark.parametrize(
    "call",
    [
        lambda: spc.xmr(X, estimator="mean_mr"), lambda: spc.xmr(X, screen="twice"),
        lambda: spc.xmr(X, missing="skip"), lambda: spc.p_chart(K, N, limits="exact"),
        lambda: spc.g_chart(X, centre="mode"), lambda: spc.t_chart(X, limits="both"),
        lambda: spc.xmr(X, sigma=0), lambda: spc.xmr(X, sigma=NAN),
        lambda: spc.xmr(X, baseline=[True, False]),
        lambda: spc.funnel_share(K, N, adjust="both"), lambda: spc.funnel_share(K, N, level=95),
        lambda: spc.funnel_share(K, N, winsor=0.5),
        lambda: spc.subgroups([[1, INF]]), lambda: spc.mdc(X, better="higher"),
    ],
)  # fmt: skip
def test_unknown_choices_are_refused(call):
    with pytest.raises(MethodError, match="llowed"):
        call()


@pytest.mark.parametrize("chart", SINGLE)
@pytest.mark.parametrize(
    ("x", "status"),
    [([NAN] * 5, "no_points"), ([3, NAN, NAN], "no_limits"), ([3, 3, 3, 3], "constant"),
     ([], "no_points")],
)  # fmt: skip
def test_series_without_limits_say_so_and_are_not_judged(chart, x, status):
    found = chart(np.array(x, float))
    own = {  # a run chart needs a median, a count chart a mean: one point has both
        spc.run_chart: {"no_limits": "ok", "constant": "ok"},
        spc.c_chart: {"no_limits": "ok", "constant": "ok"},
        spc.g_chart: {"no_limits": "ok", "constant": "ok"},
        spc.mr_chart: {"no_limits": "no_points"},
    }.get(chart, {})
    assert found.status.tolist() == [own.get(status, status)]
    assert not np.logical_or(*found.beyond).any()


@pytest.mark.parametrize("chart", PAIRED)
def test_shares_without_variation_say_so_and_are_not_judged(chart):
    baseline = np.arange(6) < 4
    found = chart([0, 0, 0, 0, 0, 3], [9, 8, 9, 7, 9, 9], baseline=baseline)
    assert found.status.tolist() == ["constant"]
    assert not found.judged.any()
    assert np.isfinite(found.upper).all()


def test_rounding_is_no_variation():
    n = np.array([3, 7, 11, 13, 17, 19.0])
    assert spc.p_prime(n * 0.3, n).status.tolist() == ["constant"]
    assert spc.xmr([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2]).status.tolist() == ["constant"]


@pytest.mark.parametrize("chart", PAIRED)
def test_zero_opportunities_are_no_point(chart):
    found = chart([3, 0, 4, NAN, 5], [9, 0, 9, 9, 9])
    assert np.isnan(found.value[:, 0]).tolist() == [False, True, False, True, False]
    assert np.isnan(found.upper[1, 0])


# ---------------------------------------------------------------- capability


def test_capability_without_a_limit_or_target():
    spread = spc.Spread(*np.array([[10.0], [1.0], [1.2], [60.0]]))
    found = spc.capability(spread, upper=13)
    assert np.isnan([found.cp.estimate[0], found.cpl.estimate[0], found.cpm.estimate[0]]).all()
    assert found.cpk.estimate[0] == found.cpu.estimate[0] == pytest.approx(1)
    assert found.ppk.estimate[0] == pytest.approx(1 / 1.2)
    assert (found.cpk.low < found.cpk.estimate < found.cpk.high).all()
    for bad in ({}, {"lower": 5, "upper": 5}, {"lower": 6, "upper": 5}):
        with pytest.raises(MethodError, match="specification"):
            spc.capability(spread, **bad)


def test_capability_of_individuals_takes_sigma_from_the_xmr_chart():
    x = RNG.normal(10, 1, 500)
    chart = spc.xmr(x)
    n = np.array([x.size])
    spread = spc.Spread(chart.centre[0], chart.sigma_z, np.array([x.std(ddof=1)]), n)
    assert spc.capability(spread, lower=7, upper=13).cp.estimate[0] == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("offset", [0.0, 0.6, 1.2])
def test_intervals_cover(offset):
    x = RNG.normal(offset, 1, (4000, 40))
    sd = x.std(axis=1, ddof=1)
    spread = spc.Spread(x.mean(axis=1), sd, sd, np.full(4000, 40.0))
    found = spc.capability(spread, lower=-4, upper=4, target=0)
    truth = {"cp": 4 / 3, "pp": 4 / 3, "cpu": (4 - offset) / 3, "cpl": (4 + offset) / 3,
             "cpm": 4 / 3 / np.sqrt(1 + offset**2)}  # fmt: skip
    for name, value in truth.items():
        _, low, high = getattr(found, name)
        assert ((low <= value) & (value <= high)).mean() == pytest.approx(0.95, abs=0.015), name


def test_process_spread_is_that_of_all_values():
    values = [RNG.normal(size=size) for size in (3, 1, 8)]
    found = spc.process_spread(spc.subgroups(values))
    assert found.overall[0] == pytest.approx(np.concatenate(values).std(ddof=1))
    assert found.mean[0] == pytest.approx(np.concatenate(values).mean())


# ---------------------------------------------------------------- funnels


def test_a_funnel_of_alike_units_marks_no_more_than_it_says():
    n = RNG.integers(20, 900, (2000, 3)).astype(float)
    k = RNG.binomial(n.astype(int), 0.15).astype(float)
    plain = spc.funnel_share(k, n, level=0.95)
    assert np.logical_or(*plain.beyond).mean() == pytest.approx(0.05, abs=0.01)
    assert plain.extra["phi"] == pytest.approx(0.68, abs=0.06)  # 1 before winsorising 10 %
    wide = spc.funnel_share(k, n, level=0.95, adjust="phi")
    np.testing.assert_allclose(wide.sd, plain.sd)  # never narrowed


def test_over_dispersion_widens_a_funnel():
    n = RNG.integers(200, 900, (300, 1)).astype(float)
    k = RNG.binomial(n.astype(int), RNG.beta(15, 85, (300, 1))).astype(float)
    marked = {adjust: np.logical_or(*spc.funnel_share(k, n, adjust=adjust).beyond).sum()
              for adjust in ("none", "phi", "tau2")}  # fmt: skip
    assert marked["none"] > 30
    assert marked["phi"] < marked["none"] / 5
    assert marked["tau2"] < marked["none"] / 5


def test_a_funnel_passes_over_units_without_data():
    found = spc.funnel_share([[3, 0], [0, 0], [NAN, NAN]], [[9, 0], [0, 0], [9, 9]])
    assert np.isfinite(found.value).tolist() == [[True, False], [False, False], [False, False]]
    assert found.status.tolist() == ["ok", "no_points"]
    assert np.isfinite(found.extra["q"]).tolist() == np.isfinite(found.value).tolist()


def test_subgroups_of_known_summary_need_no_values():
    groups = spc.subgroups([[1, 2, 3], [4, 8, 6]])
    same(spc.xbar(Subgroups(*groups)), spc.xbar(groups))
