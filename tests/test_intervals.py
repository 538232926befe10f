"""Intervals against R, print, statsmodels and scipy; coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from dealerqm.stats.intervals import (
    Interval,
    adjusted_wald_nps,
    bootstrap_mean,
    difference,
    lognormal_median,
    order_quantile,
    poisson_rate,
    student_mean,
    wilson,
)

CONFIDENCE = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def close(found, expected, rel=1e-6, abs_=1e-8):
    for got, wanted in zip(found, expected, strict=True):
        assert float(got) == pytest.approx(wanted, rel=rel, abs=abs_, nan_ok=True)


# ---------------------------------------------------------------- shares


# R 4.2.2 prop.test(correct = FALSE)
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0, 0.277532799862889),
        (5, 10, 0.236593090512564, 0.763406909487436),
        (7, 200, 0.0170555420085672, 0.0704706115222907),
        (3, 1000, 0.00102078388113862, 0.00878301405350317),
    ],
)
def test_wilson_is_that_of_r(k, n, low, high):
    close(wilson(k, n), (k / n, low, high))


@given(st.integers(0, 400), st.integers(1, 400), CONFIDENCE)
def test_wilson_is_that_of_statsmodels(k, n, confidence):
    k = min(k, n)
    low, high = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    close(wilson(k, n, confidence=confidence), (k / n, low, high), abs_=1e-12)


@given(st.integers(1, 400), st.integers(0, 400))
def test_wilson_stays_inside_and_turns_round(n, k):
    k = min(k, n)
    p, low, high = wilson(k, n)
    assert 0 <= low <= p <= high <= 1
    close(wilson(n - k, n), (1 - p, 1 - high, 1 - low), abs_=1e-12)


def test_wilson_of_arrays_says_nothing_of_nothing():
    found = wilson([5, 0, 0], [10, 0, 4])
    assert found.estimate.tolist()[::2] == [0.5, 0.0]
    assert np.isnan([part[1] for part in found]).all()
    assert found.low[2] == 0.0


# ---------------------------------------------------------------- rates


# R poisson.test(10)$conf.int and poisson.test(0)$conf.int
@pytest.mark.parametrize(
    ("k", "low", "high"), [(10, 4.795389, 18.390356), (0, 0.0, 3.688879), (1, 0.02531781, 5.571643)]
)
def test_poisson_is_that_of_r(k, low, high):
    close(poisson_rate(k, 1), (k, low, high))


@given(st.integers(0, 500), st.floats(0.5, 1e5), CONFIDENCE)
def test_poisson_ends_leave_half_of_the_rest_on_each_side(k, exposure, confidence):
    rate, low, high = poisson_rate(k, exposure, times=1000, confidence=confidence)
    tail = (1 - confidence) / 2
    assert rate == pytest.approx(1000 * k / exposure, rel=1e-12)
    upper = float(high) * exposure / 1000
    assert stats.poisson.cdf(k, upper) == pytest.approx(tail, rel=1e-6)
    if k:
        lower = float(low) * exposure / 1000
        assert stats.poisson.sf(k - 1, lower) == pytest.approx(tail, rel=1e-6)
    else:
        assert low == 0


@given(st.integers(0, 50), st.floats(1, 100), st.sampled_from([0.001, 12.0, 1000.0]))
def test_poisson_scales_with_its_unit(k, exposure, unit):
    close(poisson_rate(k, exposure * unit, times=unit), poisson_rate(k, exposure), rel=1e-9)


def test_poisson_says_nothing_without_exposure_or_count():
    assert np.isnan([float(v) for v in poisson_rate(3, 0)]).all()
    assert np.isnan([float(v) for v in poisson_rate(np.nan, 10)]).all()


# ---------------------------------------------------------------- net promoter score


# Closed form on 989 answers with 406 promoters and 210 detractors (R 4.2.2): 3 added to n, 3/4 to
# promoters and detractors each.
def test_adjusted_wald_is_the_closed_form():
    found = adjusted_wald_nps(406, 210, 989)
    close(found, (0.198179979777553, 0.150048107812536, 0.245113182510045))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 200))
def test_adjusted_wald_turns_round_with_its_sign_and_stays_inside(promoters, passives, detractors):
    n = promoters + passives + detractors
    score, low, high = adjusted_wald_nps(promoters, detractors, n)
    assert -1 <= low <= high <= 1
    close(adjusted_wald_nps(detractors, promoters, n), (-score, -high, -low), abs_=1e-12)


def test_adjusted_wald_of_no_answers_is_nothing():
    assert np.isnan([float(v) for v in adjusted_wald_nps(0, 0, 0)]).all()


# ---------------------------------------------------------------- means


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30), CONFIDENCE)
def test_student_is_that_of_scipy(sample, confidence):
    x = np.array(sample)
    found = student_mean(x.size, x.sum(), ((x - x.mean()) ** 2).sum(), confidence=confidence)
    low, high = stats.ttest_1samp(x, 0.0).confidence_interval(confidence) if np.ptp(x) else (
        x.mean(), x.mean(),
    )  # fmt: skip
    close(found, (x.mean(), low, high), rel=1e-6, abs_=1e-6)


def test_student_needs_two():
    mean, low, high = student_mean([1, 0], [3.0, 0.0], [0.0, 0.0])
    assert mean[0] == 3.0
    assert np.isnan([mean[1], low[0], high[0], low[1], high[1]]).all()


def test_bootstrap_is_near_that_of_scipy():
    x = np.random.default_rng(7).lognormal(1, 1, 60).round(2)
    values, counts = np.unique(x, return_counts=True)
    found = bootstrap_mean(values, counts, replicates=20_000, seed=3)
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(4)
    ).confidence_interval
    assert found.estimate == pytest.approx(x.mean(), rel=1e-12)
    half = (theirs.high - theirs.low) / 2
    assert found.low == pytest.approx(theirs.low, abs=0.06 * half)
    assert found.high == pytest.approx(theirs.high, abs=0.06 * half)


def test_bootstrap_leans_to_the_long_tail():
    values, counts = [0, 100], [95, 5]
    mean, low, high = bootstrap_mean(values, counts, replicates=5000, seed=1)
    assert mean == 5.0
    assert high - mean > 1.2 * (mean - low)


def test_bootstrap_is_the_same_again_and_depends_on_its_seed():
    arguments = {"values": [1, 2, 10], "counts": [5, 4, 3], "replicates": 500}
    again = [bootstrap_mean(**arguments, seed=2) for _ in range(2)]
    assert again[0] == again[1]
    assert bootstrap_mean(**arguments, seed=3) != again[0]


@pytest.mark.parametrize(
    ("values", "counts", "expected"),
    [([], [], (np.nan,) * 3), ([4], [1], (4, np.nan, np.nan)), ([4], [9], (4, 4, 4))],
)
def test_bootstrap_of_too_little_or_of_a_constant(values, counts, expected):
    close(bootstrap_mean(values, counts, replicates=200, seed=1), expected)


# ---------------------------------------------------------------- quantiles


# Ranks and levels of the 95 % interval of a median: Gardner and Altman, Statistics with Confidence,
# table of non-parametric intervals for the median.
@pytest.mark.parametrize(
    ("n", "low", "high", "level"),
    [(6, 1, 6, 0.969), (10, 2, 9, 0.979), (20, 6, 15, 0.959), (30, 10, 21, 0.957),
     (40, 14, 27, 0.962), (50, 18, 33, 0.967), (100, 40, 61, 0.965)],
)  # fmt: skip
def test_order_statistics_are_the_printed_ranks(n, low, high, level):
    found = order_quantile(range(1, n + 1), [1] * n, 0.5)
    assert (found.low, found.high) == (low, high)
    covered_by = stats.binom.cdf(high - 1, n, 0.5) - stats.binom.cdf(low - 1, n, 0.5)
    assert covered_by == pytest.approx(level, abs=0.0006)


@given(st.integers(1, 300), st.sampled_from([0.1, 0.25, 0.5, 0.9]), CONFIDENCE)
def test_order_statistics_hold_their_level_or_say_nothing(n, q, confidence):
    x = np.arange(1, n + 1, dtype=float)
    estimate, low, high = order_quantile(x, np.ones(n), q, confidence=confidence)
    tail = (1 - confidence) / 2
    assert estimate == max(np.ceil(q * n - 1e-9), 1)
    below = stats.binom.cdf(low - 1, n, q) if np.isfinite(low) else 0.0
    above = stats.binom.sf(high - 1, n, q) if np.isfinite(high) else 0.0
    assert below <= tail + 1e-12
    assert above <= tail + 1e-12


@pytest.mark.parametrize("n", [1, 3, 5])
def test_five_values_are_too_few_for_the_ends_of_a_median(n):
    _, low, high = order_quantile(range(n), [1] * n, 0.5)
    assert np.isnan([low, high]).all()
    _, low, high = order_quantile(range(6), [1] * 6, 0.5)
    assert (low, high) == (0, 5)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=20,
                unique_by=lambda pair: pair[0]), st.sampled_from([0.2, 0.5, 0.8]))  # fmt: skip
def test_counts_are_repeated_values(pairs, q):
    values, counts = zip(*sorted(pairs), strict=True)
    repeated = np.repeat(values, counts)
    found = order_quantile(values, counts, q)
    close(found, order_quantile(repeated, np.ones(repeated.size), q))
    assert found.estimate == np.quantile(repeated, q, method="inverted_cdf")


def test_no_values_have_no_quantile():
    assert np.isnan([float(v) for v in order_quantile([], [], 0.5)]).all()
    assert np.isnan([float(v) for v in lognormal_median([5], [1], 0.5)]).all()
    assert np.isnan([float(v) for v in lognormal_median([0, 0], [1, 1], 0.5)]).all()


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=30))
def test_lognormal_median_is_students_mean_of_logarithms(sample):
    x = np.array(sample)
    logs = np.log(x)
    expected = student_mean(x.size, logs.sum(), ((logs - logs.mean()) ** 2).sum())
    close(lognormal_median(x, np.ones(x.size), 0.5), [np.exp(v) for v in expected], rel=1e-5)


@given(st.sampled_from([60.0, 3600.0]), st.sampled_from([0.5, 0.75]))
def test_quantiles_scale_with_their_unit(unit, q):
    x = np.array([1.0, 2, 3, 5, 8, 13, 21, 34, 55])
    for method in (order_quantile, lognormal_median):
        scaled = method(x * unit, np.ones(9), q)
        close([v / unit for v in scaled], method(x, np.ones(9), q), rel=1e-9)


# ---------------------------------------------------------------- differences


# Newcombe (1998) hybrid score without correction, R 4.2.2
def test_difference_of_wilson_is_newcombes():
    found = difference(wilson(56, 70), wilson(48, 80))
    close(found, (0.2, 0.0524314724023651, 0.333872654036906))


def test_difference_of_normal_intervals_is_the_normal_one():
    one, two = Interval(10.0, 7.0, 13.0), Interval(6.0, 2.0, 10.0)
    close(difference(one, two), (4.0, -1.0, 9.0))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_difference_turns_round_with_its_sign(n1, n2, k1, k2):
    one, two = wilson(min(k1, n1), n1), wilson(min(k2, n2), n2)
    there, back = difference(one, two), difference(two, one)
    assert -1 <= there.low <= there.estimate <= there.high <= 1
    close(back, (-there.estimate, -there.high, -there.low), abs_=1e-12)


def test_a_difference_from_nothing_is_nothing():
    assert np.isnan([float(v) for v in difference(wilson(1, 2), wilson(0, 0))]).all()


# ---------------------------------------------------------------- coverage


def covered(interval, truth):
    return float(((interval.low <= truth) & (truth <= interval.high)).mean())


# Brown, Cai and DasGupta (2001) find Wilson's coverage near nominal on average over p; the exact
# Poisson interval covers at least nominally.
def test_coverage_of_counts():
    rng = np.random.default_rng(11)
    p = rng.uniform(0.02, 0.98, 20_000)
    assert covered(wilson(rng.binomial(40, p), 40), p) == pytest.approx(0.95, abs=0.01)
    rate = rng.uniform(0.5, 30, 20_000)
    assert covered(poisson_rate(rng.poisson(rate), 1), rate) >= 0.95
    shares = rng.dirichlet([3, 2, 2], 20_000)
    answers = rng.multinomial(60, shares)
    score = shares[:, 0] - shares[:, 2]
    nps = adjusted_wald_nps(answers[:, 0], answers[:, 2], 60)
    assert covered(nps, score) == pytest.approx(0.95, abs=0.01)


def test_coverage_of_differences_of_shares():
    rng = np.random.default_rng(12)
    p1, p2 = rng.uniform(0.05, 0.95, (2, 20_000))
    found = difference(wilson(rng.binomial(50, p1), 50), wilson(rng.binomial(80, p2), 80))
    assert covered(found, p1 - p2) == pytest.approx(0.95, abs=0.01)


def test_coverage_of_means_and_medians():
    rng = np.random.default_rng(13)
    hits = np.zeros((3, 600))
    for i in range(600):
        x = rng.lognormal(3, 0.8, 40)
        x.sort()
        ones = np.ones(40)
        for row, found, truth in (
            (0, order_quantile(x, ones, 0.5), np.exp(3)),
            (1, lognormal_median(x, ones, 0.75), np.exp(3 + 0.8 * stats.norm.ppf(0.75))),
            (2, bootstrap_mean(x, ones, replicates=400, seed=i), np.exp(3 + 0.32)),
        ):
            hits[row, i] = found.low <= truth <= found.high
    order, lognormal, bootstrap = hits.mean(axis=1)
    assert order >= 0.94
    assert lognormal == pytest.approx(0.95, abs=0.03)
    assert bootstrap >= 0.90  # skewed and small: known to fall short, never below this here
