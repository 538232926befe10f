"""Charts with a memory, of several variables, run lengths: recursions, streaming, simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from dealerqm import spc
from dealerqm.errors import MethodError
from dealerqm.rules import arl

NAN = np.nan
RNG = np.random.default_rng(20260302)
K = RNG.binomial(200, 0.2, (40, 3)).astype(float)
N = RNG.integers(150, 300, (40, 3)).astype(float)
K[5, 1] = N[17, 2] = NAN
CHART = spc.p_chart(K, N)
CUBE = RNG.normal(size=(40, 3, 2)) @ np.array([[2.0, 0.5], [0.0, 1.0]]) + [5, 9]
CUBE[7, 0, 1] = NAN


STATE = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_whatever_ran_before():
    RNG.bit_generator.state = STATE


def rows(chart, part):
    """Points of some periods, with the centre and standard errors of all."""
    fields = (chart.value, chart.centre, chart.lower, chart.upper)
    cut = [field[part] for field in fields]
    return chart._replace(
        value=cut[0], centre=cut[1], lower=cut[2], upper=cut[3], sd=chart.sd[part]
    )


STREAMED = {
    "ewma": lambda part, start: spc.ewma(rows(CHART, part), start=start),
    "ewma_asymptotic": lambda part, start: spc.ewma(
        rows(CHART, part), start=start, limits="asymptotic"
    ),
    "cusum": lambda part, start: spc.cusum(rows(CHART, part), start=start),
    "cusum_poisson": lambda part, start: spc.cusum_poisson(
        K[part], N[part], rate=[0.2, 0.19, 0.21], ratio=1.5, start=start
    ),
    "cusum_bernoulli": lambda part, start: spc.cusum_bernoulli(
        K[part], N[part], share=0.2, ratio=1.5, start=start
    ),
}


@pytest.mark.parametrize("name", STREAMED)
def test_going_on_from_the_state_is_bit_for_bit_the_whole(name):
    chart = STREAMED[name]
    whole, state, parts = chart(slice(None), 0.0), 0.0, []
    for period in range(40):
        parts.append(chart(slice(period, period + 1), state))
        state = parts[-1].extra["state"]
    for field in ("value", "centre", "lower", "upper", "sd"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field))
    np.testing.assert_array_equal(state, whole.extra["state"])


def test_mewma_goes_on_bit_for_bit():
    whole = spc.mewma(CUBE, h=10, baseline=np.arange(40) < 30)
    first = spc.mewma(CUBE[:30], h=10)
    np.testing.assert_array_equal(whole.value[:30], first.value)


# ---------------------------------------------------------------- EWMA and CUSUM


def test_ewma_with_equal_errors_has_the_textbook_limits():
    found = spc.ewma(spc.given(np.zeros(20), centre=10, sd=2), weight=0.3, width=2.5)
    t = np.arange(1, 21)
    half = 2.5 * 2 * np.sqrt(0.3 / 1.7 * (1 - 0.7 ** (2 * t)))
    np.testing.assert_allclose(found.upper[:, 0], 10 + half, rtol=1e-13)
    flat = spc.ewma(
        spc.given([1.0], centre=10, sd=2), weight=0.3, width=2.5, limits="asymptotic"
    ).upper
    assert flat[0, 0] == pytest.approx(10 + 2.5 * 2 * np.sqrt(0.3 / 1.7))


@pytest.mark.parametrize("limits", ["exact", "asymptotic"])
def test_ewma_of_the_newest_point_alone_is_the_chart(limits):
    found = spc.ewma(CHART, weight=1, limits=limits)
    np.testing.assert_allclose(found.value, CHART.value, rtol=1e-13)
    np.testing.assert_allclose(found.sd[CHART.judged], CHART.sd[CHART.judged], rtol=1e-13)


def test_ewma_variance_is_that_of_a_simulation_with_varying_errors():
    sd = np.tile([1.0, 3.0, 0.5], 4)[:, None]
    x = RNG.normal(size=(12, 60_000)) * sd
    found = spc.ewma(spc.given(x, centre=0, sd=np.broadcast_to(sd, x.shape)), weight=0.25)
    np.testing.assert_allclose(found.value.std(axis=1), found.sd[:, 0], rtol=0.02)


def test_a_missing_point_leaves_the_statistic_as_it_was():
    x = [11.0, NAN, 12.0]
    for chart in (spc.ewma, spc.cusum):
        gap = chart(spc.given(x, centre=10, sd=1))
        whole = chart(spc.given([11.0, 12.0], centre=10, sd=1))
        assert np.isnan(gap.value[1, 0])
        assert gap.value[2, 0] == whole.value[1, 0]
        assert not np.logical_or(*gap.beyond)[1, 0]


def test_ewma_and_cusum_of_what_is_not_judged_are_silent():
    for points in ([5.0] * 6, [NAN] * 6):
        for chart in (spc.ewma, spc.cusum):
            assert not np.logical_or(*chart(spc.xmr(points)).beyond).any()


def test_cusum_is_the_plain_recursion():
    z = RNG.normal(0.4, 1, 200)
    found = spc.cusum(spc.given(z, centre=0, sd=1), k=0.4, h=4, start=2.0)
    above = below = 2.0
    for t, value in enumerate(z):
        above, below = max(0, above + value - 0.4), max(0, below - value - 0.4)
        assert found.extra["above"][t, 0] == pytest.approx(above)
        assert found.extra["below"][t, 0] == pytest.approx(below)
        signal = found.beyond[0][t, 0] or found.beyond[1][t, 0]
        assert signal == (above > 4 or below > 4)


def test_poisson_and_bernoulli_sums_are_log_likelihood_ratios():
    k, n = np.array([3.0, 9, 7]), np.array([2.0, 3, 2.5])
    found = spc.cusum_poisson(k, n, rate=2, ratio=1.5, h=50)
    ratios = stats.poisson.logpmf(k, n * 3) - stats.poisson.logpmf(k, n * 2)
    total = 0.0
    for t, step in enumerate(ratios):
        total = max(0, total + step)
        assert found.extra["above"][t, 0] == pytest.approx(total)
    k, n = np.array([3.0, 9, 7]), np.array([20.0, 30, 25])
    found = spc.cusum_bernoulli(k, n, share=0.2, ratio=2, h=50)
    other = 0.4 / 1.2  # odds 1/4 doubled
    ratios = stats.binom.logpmf(k, n, other) - stats.binom.logpmf(k, n, 0.2)
    total = 0.0
    for t, step in enumerate(ratios):
        total = max(0, total + step)
        assert found.extra["above"][t, 0] == pytest.approx(total)


def test_groups_are_their_single_outcomes():
    outcomes = RNG.random(60) < 0.3
    single = spc.cusum_bernoulli(outcomes, np.ones(60), share=0.3, ratio=2, h=9, start=4.0)
    grouped = spc.cusum_bernoulli(
        outcomes.reshape(20, 3).sum(axis=1), np.full(20, 3), share=0.3, ratio=2, h=9, start=4.0
    )
    assert grouped.extra["above"][0, 0] == pytest.approx(single.extra["above"][2, 0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: spc.ewma(CHART, weight=0), lambda: spc.ewma(CHART, weight=1.5),
        lambda: spc.ewma(CHART, width=-1), lambda: spc.ewma(CHART, limits="wide"),
        lambda: spc.ewma(CHART, start=np.zeros((2, 5))), lambda: spc.cusum(CHART, h=0),
        lambda: spc.cusum_poisson(K, N, rate=0), lambda: spc.cusum_poisson(K, N, rate=1, ratio=1),
        lambda: spc.cusum_bernoulli(K, N, share=1), lambda: spc.cusum_poisson(-K, N, rate=1),
        lambda: spc.mewma(CUBE, h=9, limits="wide"), lambda: arl.ewma_arl(0, weight=2, width=3),
        lambda: arl.ar1_arl(1), lambda: arl.ewma_width(0.5, weight=0.1),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(call):
    with pytest.raises(MethodError, match="llowed"):
        call()


# ---------------------------------------------------------------- several variables


def test_t2_of_one_variable_is_the_square_of_z():
    x = RNG.normal(size=(30, 1))
    found = spc.t2_chart(x)
    np.testing.assert_allclose(found.value, ((x - x.mean()) / x.std(ddof=1)) ** 2)


def test_t2_does_not_depend_on_the_units():
    other = CUBE @ np.array([[3.0, -1.0], [1.0, 0.2]]) + [7, -4]
    np.testing.assert_allclose(spc.t2_chart(CUBE).value, spc.t2_chart(other).value, rtol=1e-9)


def test_t2_charts_do_not_depend_on_their_neighbours():
    found = spc.t2_chart(CUBE)
    assert np.isnan(found.value[7, 0])
    for chart in range(3):
        alone = spc.t2_chart(CUBE[:, chart])
        np.testing.assert_allclose(found.value[:, [chart]], alone.value, rtol=1e-12)
        np.testing.assert_allclose(found.upper[:, [chart]], alone.upper, rtol=1e-12)


def test_t2_keeps_its_false_alarm_rate_in_both_phases():
    cube = RNG.normal(size=(24, 2500, 2))
    found = spc.t2_chart(cube, baseline=np.arange(24) < 20, alpha=0.05)
    rate = found.beyond[0].mean(axis=1)
    assert rate[:20].mean() == pytest.approx(0.05, abs=0.003)
    assert rate[20:].mean() == pytest.approx(0.05, abs=0.007)


@pytest.mark.parametrize("limits", ["exact", "asymptotic"])
def test_mewma_of_one_variable_is_the_square_of_ewma(limits):
    x = RNG.normal(3, 2, (50, 1))
    found = spc.mewma(x, h=9, weight=0.2, limits=limits)
    known = spc.given(x[:, 0], centre=x.mean(), sd=x.std(ddof=1))
    single = spc.ewma(known, weight=0.2, limits=limits)
    np.testing.assert_allclose(found.value, ((single.value - x.mean()) / single.sd) ** 2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (RNG.normal(size=(3, 2)), "at least 4"),
        (np.outer(np.arange(9.0), [1, 2]), "depend on each other"),
        (np.column_stack([RNG.normal(size=9), np.ones(9)]), "depend on each other"),
        (np.full((9, 2), np.inf), "inf in period 0"),
        (np.full((9, 2), NAN), "0 periods for 2 variables"),
    ],
)
def test_t2_refuses_what_it_cannot_measure(x, message):
    for chart in (spc.t2_chart, lambda data: spc.mewma(data, h=9)):
        with pytest.raises(MethodError, match=message):
            chart(x)


# ---------------------------------------------------------------- run lengths


def first_signals(chart):
    beyond = np.logical_or(*chart.beyond)
    assert beyond.any(axis=0).all()
    return beyond.argmax(axis=0) + 1


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_run_lengths_are_those_of_simulated_charts(shift):
    x = RNG.normal(shift, 1, (1800, 1200))
    chart = spc.given(x, centre=0, sd=1)
    simulated = {
        "ewma": first_signals(spc.ewma(chart, width=2.2, limits="asymptotic")).mean(),
        "cusum": first_signals(spc.cusum(chart, h=3)).mean(),
        "fir": first_signals(spc.cusum(chart, h=3, start=1.5)).mean(),
    }
    exact = {
        "ewma": arl.ewma_arl(shift, weight=0.2, width=2.2),
        "cusum": arl.cusum_arl(shift, k=0.5, h=3),
        "fir": arl.cusum_arl(shift, k=0.5, h=3, head_start=1.5),
    }
    for name, value in exact.items():
        assert simulated[name] == pytest.approx(float(value), rel=0.09), name


@pytest.mark.parametrize("variables", [2, 3])
def test_mewma_run_length_is_that_of_simulated_charts(variables):
    weight, h, distance = 0.2, 8.0, 1.0
    shift = np.zeros(variables)
    shift[-1] = distance
    z, length = np.zeros((20_000, variables)), np.zeros(20_000)
    alive = np.ones(20_000, bool)
    for step in itertools.count(1):
        z = weight * (RNG.normal(size=z.shape) + shift) + (1 - weight) * z
        signal = alive & ((z**2).sum(axis=1) * (2 - weight) / weight > h)
        length[signal] = step
        alive &= ~signal
        if not alive.any():
            break
    found = arl.mewma_arl(distance, variables=variables, weight=weight, h=h)
    assert length.mean() == pytest.approx(found, rel=0.02)


def test_mewma_run_length_does_not_depend_on_more_nodes():
    for variables, distance in ((2, 1.0), (3, 0.0)):
        chart = {"variables": variables, "weight": 0.1, "h": 10.0}
        rough = arl.mewma_arl(distance, nodes=30, **chart)
        assert arl.mewma_arl(distance, **chart) == pytest.approx(rough, rel=2e-5)


def test_designs_meet_their_run_length():
    assert arl.ewma_arl(0, weight=0.05, width=arl.ewma_width(370, weight=0.05)) == pytest.approx(
        370
    )
    assert arl.cusum_arl(0, k=0.75, h=arl.cusum_h(200, k=0.75)) == pytest.approx(200)
    h = arl.mewma_h(100, variables=3, weight=0.2)
    assert arl.mewma_arl(0, variables=3, weight=0.2, h=h) == pytest.approx(100)


def test_run_lengths_have_their_limits():
    assert arl.ewma_arl([0, 1], weight=1, width=3) == pytest.approx(
        arl.shewhart_arl([0, 1]), rel=1e-6
    )
    assert arl.ar1_arl(0) == pytest.approx(arl.shewhart_arl(0), rel=1e-9)
    assert arl.mewma_arl(1, variables=1, weight=0.1, h=9) == arl.ewma_arl(1, weight=0.1, width=3)
    assert arl.count_arl(1e6) == pytest.approx(arl.shewhart_arl(0), rel=0.01)
    assert arl.shewhart_arl(-1) == arl.shewhart_arl(1)
