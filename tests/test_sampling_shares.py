"""Intervals of shares, sample sizes, and answers read and scored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from dealerqm.errors import MethodError
from dealerqm.psychometrics.answers import answers, at_least, index_scores, index_weights, repeated
from dealerqm.stats import shares
from dealerqm.weights.planning import (
    allocate,
    answers_for_change,
    answers_for_interval,
    detectable_change,
    two_shares,
)  # fmt: skip

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVEL = st.sampled_from([0.8, 0.95, 0.99])
NAN = float("nan")


def ends(found):
    return pytest.approx((float(found.low), float(found.high)), abs=1e-9)


# ---------------------------------------------------------------- intervals


@settings(max_examples=30)
@given(COUNTS, LEVEL)
def test_plain_intervals_are_those_of_statsmodels_but_for_its_known_faults(counts, level):
    k, n = counts
    names = {
        "beta": shares.clopper_pearson, "jeffreys": shares.jeffreys,
        "agresti_coull": shares.agresti_coull,
    }  # fmt: skip
    for name, function in names.items():
        found = function(k, n, confidence=level)
        low, high = proportion_confint(k, n, alpha=1 - level, method=name)
        if name == "jeffreys":  # statsmodels lacks the rule for the ends
            low, high = low if k else 0.0, high if k < n else 1.0
        if name == "agresti_coull":  # and clips
            found = found._replace(low=np.maximum(found.low, 0), high=np.minimum(found.high, 1))
        assert (low, high) == ends(found)


@settings(max_examples=30)
@given(COUNTS, LEVEL)
def test_intervals_turn_round_with_the_share(counts, level):
    k, n = counts
    for function in (
        shares.wilson_corrected, shares.clopper_pearson, shares.jeffreys, shares.agresti_coull,
    ):  # fmt: skip
        one, other = (function(v, n, confidence=level) for v in (k, n - k))
        assert (1 - other.high, 1 - other.low) == ends(one)


def test_intervals_of_nothing_are_unknown():
    for function in (shares.wilson_corrected, shares.clopper_pearson, shares.jeffreys):
        assert np.isnan(function(0, 0)).all()
    for method in shares.METHODS:
        found = shares.share_interval(NAN, NAN, 5, 0, method=method)
        assert np.isnan(found.low)
        assert np.isnan(shares.share_interval(0.5, 0.1, 0, 9, method=method).high)


def test_without_design_effect_the_intervals_are_the_plain_ones():
    k, n = 13, 40
    p = k / n
    se = np.sqrt(p * (1 - p) / n)
    for name, function in {"beta": shares.clopper_pearson, "jeffreys": shares.jeffreys}.items():
        found = shares.share_interval(p, se, n - 1, n, method=name)
        assert (float(found.low), float(found.high)) == ends(function(k, n))


def test_the_likelihood_interval_solves_its_equation():
    p, se, df, n = 0.2, 0.05, 30, 64
    found = shares.share_interval(p, se, df, n, method="likelihood")
    effect = n * se**2 / (p * (1 - p))
    for end in (found.low, found.high):
        deviance = 2 * n * (p * np.log(p / end) + (1 - p) * np.log((1 - p) / (1 - end)))
        aim = stats.t.ppf(0.975, df) ** 2 * effect * n / (n - 1)
        assert float(deviance) == pytest.approx(aim, rel=1e-9)


def test_intervals_of_arrays_are_those_of_each():
    p, se = np.array([0.0, 0.3, 1.0]), np.array([0.0, 0.1, 0.0])
    for method in shares.METHODS:
        both = shares.share_interval(p, se, 9, 20, method=method)
        for i in range(3):
            one = shares.share_interval(p[i], se[i], 9, 20, method=method)
            assert float(both.low[i]) == pytest.approx(float(one.low))
            assert float(both.high[i]) == pytest.approx(float(one.high))


# ---------------------------------------------------------------- sample sizes


def test_sizes_and_changes_belong_together():
    n = answers_for_change(0.7, 0.76, power=0.9, deff=1.5)
    assert detectable_change(0.7, n, power=0.9, deff=1.5) == pytest.approx(0.06, abs=1e-9)
    assert answers_for_change(0.5, 0.5) == np.inf
    assert np.isnan(detectable_change(0.99, 50))
    whole = answers_for_interval(0.25, 0.05, population=400)
    assert whole.exact < answers_for_interval(0.25, 0.05).exact
    half = answers_for_interval(0.25, [0.1, 0.05], response_rate=0.5)
    assert half.invitations.tolist() == [193, 769]
    for wrong in ({"margin": 0}, {"margin": 0.1, "response_rate": 0}):
        with pytest.raises(MethodError, match="0; allowed: above 0"):
            answers_for_interval(0.25, wrong.pop("margin"), **wrong)


def test_no_allocation_has_a_smaller_variance_than_neymans():
    size, sd = np.array([50.0, 200, 120]), np.array([3.0, 1, 2])
    found = allocate(size, sd, 60)
    best = found.variance_neyman
    for i, j in ((0, 1), (1, 2), (2, 0)):
        moved = found.neyman.copy()
        moved[i], moved[j] = moved[i] + 1, moved[j] - 1
        worse = ((size * sd) ** 2 / moved * (1 - moved / size)).sum() / size.sum() ** 2
        assert worse > best
    full = allocate([5, 500], [100, 1], 50)
    assert full.neyman.tolist() == [5, 45]
    with pytest.raises(MethodError, match="n: 900; allowed: above 0, at most the population 370"):
        allocate(size, sd, 900)


def test_two_shares_are_tested():
    found = two_shares([30, 45], [60, 60])
    table = [[30, 45], [30, 15]]
    assert found.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    assert found.p < found.p_corrected
    assert two_shares([5, 5], [10, 10]).p == pytest.approx(1)


# ---------------------------------------------------------------- answers


def test_answers_off_the_scale_are_refused_by_name_and_row():
    assert answers([1, 98, 0, NAN], scale=(1, 10), not_applicable=[98, 99, 0]).tolist() == [
        1, pytest.approx(NAN, nan_ok=True), pytest.approx(NAN, nan_ok=True),
        pytest.approx(NAN, nan_ok=True),
    ]  # fmt: skip
    with pytest.raises(MethodError, match="price: 2 answers off the scale, the first in row 1"):
        answers([3, 11, 0], scale=(1, 10), where="price")


def test_repeated_respondents_are_flagged():
    assert repeated(["a", "b", "a", "a"]).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([50, 48], "weights: the weights sum to 0.98 of 1; allowed: 0.99 to 1.01"),
        ([0.6, 0.42], "the weights sum to 1.02 of 1"),
        ([110, -10], "weights: a weight is negative or missing"),
        ([50, NAN], "weights: a weight is negative or missing"),
    ],
)
def test_weights_of_an_index_that_do_not_sum_to_one_are_refused(weights, message):
    with pytest.raises(MethodError, match=message):
        index_weights(weights)


@pytest.mark.parametrize("weights", [[24, 21, 21, 17, 18], [0.25, 0.24, 0.5], [[60, 40], [50, 49]]])
def test_weights_that_miss_one_by_rounding_are_normalised_and_noted(weights):
    found = index_weights(weights)
    assert found.weight.sum(axis=-1) == pytest.approx(1)
    assert (found.total != 1).any()


def test_an_index_takes_the_weights_of_its_wave_on_any_scale():
    items = np.array([[10.0, 5.0, NAN], [8.0, NAN, 4.0], [NAN, NAN, NAN]])
    versions = np.array([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]])  # the second has another item
    for points in (1000, 100, 10, 5):
        found = index_scores(items, versions, version=[0, 1, 1], points=points)
        assert found[:2] == pytest.approx(np.array([7.5, 5.0]) / 10 * points)
        assert np.isnan(found[2])
    part = index_scores(items[:1], [0.2, 0.4, 0.4], missing="available")
    assert part[0] == pytest.approx(100 * (0.2 * 10 + 0.4 * 5) / 0.6)
    with pytest.raises(MethodError, match=r"items: shape .* weights are of 2 items"):
        index_scores(items, [0.5, 0.5])
    with pytest.raises(MethodError, match=r"missing: 'some' is not known"):
        index_scores(items, versions, missing="some")


def test_scores_leave_missing_answers_missing():
    assert at_least([9, 8.9], 9).tolist() == [1, 0]
    assert np.isnan(at_least([NAN], 9)[0])
