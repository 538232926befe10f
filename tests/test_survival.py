"""Kaplan-Meier against R survival and statsmodels; coverage by simulation."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

from dealerqm.stats.intervals import order_quantile, wilson
from dealerqm.stats.survival import kaplan_meier, quantile, share_by

# Times to closing of complaints in hours, and whether they were closed; R 4.2.2, survival 3.5.3,
# conf.type = "log-log".
CASES = {
    "km01": {
        "time": [2, 5, 5, 8, 12, 20, 24, 30],
        "closed": [1, 1, 0, 1, 0, 1, 1, 0],
        "at": [1, 2, 5, 8, 12, 20, 24, 30],
        "S": [1, 0.875, 0.75, 0.6, 0.6, 0.4, 0.2, 0.2],
        "se": [0, 0.1169267933367, 0.1530931089239, 0.1816590212458, 0.1816590212458,
               0.203306009093, 0.1741646730348, 0.1741646730348],
        "median": (20, 2, np.nan),
    },
    "km03": {
        "time": [3, 7, 9, 15, 15, 21, 40, 40, 55, 72, 72, 90],
        "closed": [1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0],
        "at": [3, 15, 24, 40, 55, 72, 90],
        "S": [0.9166666666667, 0.6416666666667, 0.6416666666667, 0.5347222222222, 0.4010416666667,
              0.4010416666667, 0.4010416666667],
        "se": [0.07978559231303, 0.1441008199015, 0.1441008199015, 0.1547614278076,
               0.1639370662474, 0.1639370662474, 0.1639370662474],
        "median": (55, 9, np.nan),
    },
    "km05": {
        "time": [0.5, 1, 1.5, 2, 2, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 36, 48, 60, 72, 96],
        "closed": [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0],
        "at": [1, 2, 4, 8, 24, 48, 72, 96],
        "S": [0.9, 0.75, 0.6428571428571, 0.5357142857143, 0.3571428571429, 0.2142857142857,
              0.1071428571429, 0.1071428571429],
        "se": [0.06708203932499, 0.09682458365519, 0.1086626898937, 0.1139424052762,
               0.1133857707536, 0.1036857215964, 0.09180129701758, 0.09180129701758],
        "median": (12, 2, 48),
    },
    "km07": {
        "time": [36.7, 4.4, 25.2, 16.8, 9.2, 9.6, 66.3, 5, 12.7, 10.9, 3.9, 6.3, 2.5, 61.8, 41.1,
                 26, 6.1, 58.1, 21.3, 18.7, 18, 17.9, 2.7, 31.6, 29.3, 15.3, 32.8, 14.2, 5.3, 13,
                 15, 49.7, 33.6, 1.7, 41.9, 59.6, 11.3, 17.6, 10.7, 20.2, 38.8, 14.3, 26.3, 10.9,
                 28.5, 10.6, 34.6, 27.2, 17.7, 6.5, 13, 6, 13.4, 30.4, 15.1, 23.7, 2.8, 3.8, 16,
                 45.7, 18.8, 22.1, 22.9, 10.1, 44.6, 9, 7.2, 15, 21.2, 7.3, 14.2, 19.2, 18.7,
                 22.5, 28.3, 2.3, 24.2, 20.6, 9.4, 24.8, 20, 65, 20.6, 18.7, 54, 27.4, 4.2, 44.5,
                 2.2, 64.9, 20.1, 22.8, 37.9, 34.2, 10.2, 21.2, 2.3, 53, 27.6, 38.1, 20, 16.2,
                 12.1, 18.2, 11.8, 4.3, 9.1, 28.2, 6.4, 15.9, 7.5, 11.8, 20.7, 25, 25.4, 48.3,
                 13.2, 15, 11.8, 11],
        "closed": [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1,
                   1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1,
                   1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1,
                   1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1,
                   1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1],
        "at": [4, 8, 24, 48],
        "S": [0.9657201086957, 0.868557292725, 0.4174440461906, 0.2026682817586],
        "se": [0.01684817509429, 0.03165021888224, 0.04828383403149, 0.04558223258974],
        "median": (20.6, 17.9, 24.2),
    },
}  # fmt: skip


def rows(case):
    return CASES[case]["time"], CASES[case]["closed"], np.ones(len(CASES[case]["time"]))


@pytest.mark.parametrize("case", CASES)
def test_curve_and_greenwood_are_those_of_r(case):
    curve = kaplan_meier(*rows(case))
    place = np.searchsorted(curve.times, CASES[case]["at"], side="right") - 1
    survival = np.where(place < 0, 1.0, curve.survival[place])
    error = np.where(place < 0, 0.0, np.sqrt(curve.variance[place]))
    assert survival == pytest.approx(np.array(CASES[case]["S"]), abs=1e-7)
    assert error == pytest.approx(np.array(CASES[case]["se"]), abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_median_and_its_interval_are_those_of_r(case):
    found = [float(v) for v in quantile(*rows(case), 0.5)]
    assert found == pytest.approx(list(CASES[case]["median"]), nan_ok=True)


SAMPLES = st.lists(
    st.tuples(st.integers(1, 20), st.booleans(), st.integers(1, 4)), min_size=2, max_size=25
)


@given(SAMPLES)
def test_curve_is_that_of_statsmodels(sample):
    times, events, counts = (np.array(part) for part in zip(*sample, strict=True))
    assume(events.any())
    ours = kaplan_meier(times, events, counts)
    theirs = SurvfuncRight(np.repeat(times, counts), np.repeat(events, counts).astype(int))
    died = theirs.n_events > 0
    assert ours.times.tolist() == theirs.surv_times[died].tolist()
    assert ours.survival == pytest.approx(theirs.surv_prob[died], abs=1e-12)
    assert ours.at_risk.tolist() == theirs.n_risk[died].tolist()
    inside = ours.survival > 0
    assert np.sqrt(ours.variance[inside]) == pytest.approx(
        theirs.surv_prob_se[died][inside], abs=1e-9
    )


@given(SAMPLES, st.sampled_from([0.25, 0.5, 0.75]))
def test_quantile_is_that_of_statsmodels(sample, q):
    times, events, counts = (np.array(part) for part in zip(*sample, strict=True))
    curve = kaplan_meier(times, events, counts)
    # where the curve stays at 1 - q exactly, conventions differ; ours is the first such time
    assume(events.any() and np.abs(curve.survival - (1 - q)).min() > 1e-9)
    theirs = SurvfuncRight(np.repeat(times, counts), np.repeat(events, counts).astype(int))
    estimate, low, high = (float(v) for v in quantile(times, events, counts, q))
    assert estimate == pytest.approx(theirs.quantile(q), nan_ok=True)
    assert not low > estimate
    assert not high < estimate


def test_where_the_curve_stays_at_the_quantile_its_first_time_counts():
    assert quantile([1, 2, 3, 4], [True] * 4, [1] * 4, 0.5).estimate == 2


def test_where_the_curve_reaches_zero_its_interval_has_no_upper_line():
    # R: survfit(Surv(1:5) ~ 1, conf.type = "log-log") prints 0.95UCL NA
    estimate, low, high = quantile([1, 2, 3, 4, 5], [True] * 5, [1] * 5, 0.5)
    assert (estimate, low) == (3, 1)
    assert np.isnan(high)


@given(SAMPLES, st.permutations(range(25)), st.integers(1, 20))
def test_order_of_rows_and_splitting_counts_change_nothing(sample, order, age):
    turned = [sample[i] for i in order if i < len(sample)]
    split = [(t, e, 1) for t, e, n in sample for _ in range(n)]
    for other in (turned, split):
        one, two = (list(zip(*part, strict=True)) for part in (sample, other))
        for first, second in (
            (share_by(*one, age), share_by(*two, age)),
            (quantile(*one, 0.5), quantile(*two, 0.5)),
        ):
            assert [float(v) for v in first] == pytest.approx(
                [float(v) for v in second], nan_ok=True, rel=1e-12
            )


@given(SAMPLES, st.integers(1, 20), st.sampled_from([60.0, 3600.0]))
def test_the_unit_of_time_does_not_matter(sample, age, unit):
    times, events, counts = (np.array(part) for part in zip(*sample, strict=True))
    one, two = share_by(times, events, counts, age), share_by(times * unit, events, counts,
                                                              age * unit)  # fmt: skip
    assert [float(v) for v in one] == pytest.approx([float(v) for v in two], nan_ok=True)


# ---------------------------------------------------------------- shares at an age


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=1, max_size=20))
def test_with_nothing_censored_the_share_is_plain_wilson(sample):
    age = 10
    times = [time for time, _ in sample]
    counts = [count for _, count in sample]
    found = share_by(times, [time <= age or time > 20 for time in times], counts, age)
    assume(all(time <= age or time > 20 for time in times))
    k = sum(count for time, count in sample if time <= age)
    assert [float(v) for v in found] == pytest.approx(
        [float(v) for v in wilson(k, sum(counts))], abs=1e-9
    )


def test_a_young_row_is_no_failure():
    # by hand: 10 rows, 4 signed on day 5, 2 only watched for 3 days, 4 watched to day 30
    share, low, high = share_by([5, 3, 30], [True, False, False], [4, 2, 4], 30)
    assert share == pytest.approx(4 / 8)
    assert low < 0.5 < high
    # by hand: the two young rows still count on day 2
    share, _, _ = share_by([2, 3, 30], [True, False, False], [4, 2, 4], 30)
    assert share == pytest.approx(4 / 10)


def test_an_event_at_the_age_counts_and_one_after_it_does_not():
    assert share_by([30, 60], [True, False], [1, 3], 30).estimate == 0.25
    assert share_by([31, 60], [True, False], [1, 3], 30).estimate == 0.0


@pytest.mark.parametrize(
    ("times", "events", "counts"),
    [([], [], []), ([5], [False], [9]), ([5, 8], [True, False], [4, 9])],
)
def test_nobody_watched_to_the_age_is_nothing_known(times, events, counts):
    assert np.isnan([float(v) for v in share_by(times, events, counts, 30)]).all()


def test_when_everybody_has_had_the_event_the_share_is_one():
    share, low, high = share_by([5, 8], [True, True], [4, 9], 30)
    assert (share, high) == (1.0, 1.0)
    assert low == wilson(13, 13).low


def test_the_newest_rows_neither_raise_nor_lower_the_share():
    rng = np.random.default_rng(5)
    event = rng.exponential(40, 200_000)
    watched = rng.uniform(0, 90, 200_000)
    times = np.minimum(event, watched).round(6)
    share, _, _ = share_by(times, event <= watched, np.ones(200_000), 30)
    assert share == pytest.approx(1 - np.exp(-30 / 40), abs=0.005)
    naive = (event <= np.minimum(watched, 30)).mean()
    assert naive < share - 0.05  # what a same-month ratio would say


def test_coverage_of_shares_at_an_age():
    rng = np.random.default_rng(6)
    truth, hits = 1 - np.exp(-30 / 60), 0
    for _ in range(1500):
        event = rng.exponential(60, 120)
        watched = rng.uniform(5, 95, 120)
        _, low, high = share_by(np.minimum(event, watched), event <= watched, np.ones(120), 30)
        hits += low <= truth <= high
    assert hits / 1500 == pytest.approx(0.95, abs=0.015)


def test_coverage_of_a_censored_median():
    rng = np.random.default_rng(7)
    truth, hits = np.log(2) * 10, 0
    for _ in range(1500):
        event = rng.exponential(10, 60)
        watched = rng.uniform(5, 40, 60)
        _, low, high = quantile(np.minimum(event, watched), event <= watched, np.ones(60), 0.5)
        hits += low <= truth and not high < truth
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_uncensored_quantiles_are_those_of_the_sample(times):
    values, counts = np.unique(times, return_counts=True)
    found = quantile(values, np.ones(values.size, bool), counts, 0.5)
    assert found.estimate == order_quantile(values, counts, 0.5).estimate
