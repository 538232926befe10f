"""Scales, autocorrelation, recent changes, their dates, and the outlook on the next quarter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import linalg, stats
from spc_simulations import ar1, dated, predicted
from statsmodels.regression.linear_model import GLS

from dealerqm.errors import MethodError
from dealerqm.series import change, outlook
from dealerqm.series import scale as series

# ---------------------------------------------------------------- scales


@given(k=st.integers(0, 200), more=st.integers(0, 200))
def test_shares_come_back(k, more):
    n = k + more
    found = series.back(series.share([k], [n]))[0, 0]
    assert np.isnan(found) if n == 0 else found == pytest.approx(k / n, abs=1e-12)


@given(k=st.integers(0, 500), exposure=st.floats(0.1, 1e4))
def test_rates_come_back(k, exposure):
    found = series.back(series.rate([k], [exposure]))[0, 0]
    assert found == pytest.approx(k / exposure, abs=1e-9 / exposure)


@pytest.mark.parametrize("scale", ["value", "share", "rate"])
def test_levels_go_forward_and_back(scale):
    level = np.array([0.1, 0.5, 0.9])
    exact = series.Series(scale, series.forward(scale, level), np.full(3, 1e-9))
    assert series.back(exact) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: series.share([[1, 12]], [[5, 10]]), r"above their denominator: 1 of 2.*chart 1"),
        (lambda: series.share([-1], [5]), "negative counts"),
        (lambda: series.rate([1], [-5]), "denominator has negative"),
        (lambda: series.value([1.0, np.inf]), r"infinite values.*period 1, chart 0"),
    ],
)
def test_impossible_counts_are_refused(make, message):
    with pytest.raises(MethodError, match=message):
        make()


def test_whitening_is_the_inverse_square_root_of_the_covariance():
    known = np.array([1, 1, 0, 1, 1, 0, 0, 1], bool)
    when = np.flatnonzero(known)
    covariance = 0.6 ** np.abs(when[:, None] - when)
    factor = linalg.inv(linalg.cholesky(covariance, lower=True))
    v = np.random.default_rng(1).standard_normal(8)
    found = series.whiten(np.where(known, v, np.nan)[:, None], series.past(known[:, None], [0.6]))
    assert found[known, 0] == pytest.approx(factor @ v[known])
    assert np.isnan(found[~known, 0]).all()


@pytest.mark.parametrize("n", [12, 24, 60])
@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6])
def test_autocorrelation_is_nearly_unbiased(n, phi):
    x = ar1(np.random.default_rng([2, n]), phi, (n, 20_000))
    found = series.autocorrelation(x)
    assert found.phi.mean() == pytest.approx(phi, abs=0.05)
    assert found.phi.var() <= 1.1 * found.variance[0]


def test_autocorrelation_needs_neighbours():
    x = np.where(np.arange(20) % 2, np.nan, np.random.default_rng(3).normal(size=20))
    assert np.isnan(series.autocorrelation(x[:, None]).phi[0])


# ---------------------------------------------------------------- recent changes


def test_one_window_is_the_two_sample_t_test():
    x = np.random.default_rng(4).normal(size=(30, 3))
    found = change.recent(series.value(x), quarter=6, quarters=1)
    t = found.step[0] / found.sd[0] / np.sqrt(found.variance)
    expected = stats.ttest_ind(x[24:], x[:24])
    assert t == pytest.approx(expected.statistic)
    up, down = change.p_values(found, found.variance, found.freedom, weights=[1.0])
    assert 2 * np.minimum(up, down) == pytest.approx(expected.pvalue)


def test_windows_agree_with_generalised_least_squares():
    rng, phi = np.random.default_rng(5), 0.4
    y, se = rng.normal(size=36), rng.uniform(0.5, 2, 36)
    y[[4, 20, 34]] = np.nan
    points = series.Series("value", y[:, None], np.where(np.isnan(y), np.nan, se)[:, None])
    found = change.recent(points, phi=[phi])
    when = np.flatnonzero(np.isfinite(y))
    covariance = phi ** np.abs(when[:, None] - when) * np.outer(se[when], se[when])
    for i, window in enumerate((3, 6, 9, 12)):
        design = np.column_stack([np.ones(when.size), when >= 36 - window])
        fit = GLS(y[when], design, sigma=covariance).fit()
        assert found.step[i, 0] == pytest.approx(fit.params[1])
        assert found.sd[i, 0] == pytest.approx(fit.bse[1] / np.sqrt(fit.scale))
    steps = [when >= 36 - window for window in (3, 6, 9, 12)]
    full = GLS(y[when], np.column_stack([np.ones(when.size), *steps]), sigma=covariance).fit()
    assert found.variance[0] == pytest.approx(full.scale)
    assert found.freedom[0] == full.df_resid


def test_no_word_without_a_point_in_the_newest_quarter_or_a_past():
    x = np.random.default_rng(6).normal(size=(36, 3))
    x[33:, 0] = np.nan
    x[:26, 1] = np.nan
    found = change.recent(series.value(x))
    up, _ = change.p_values(found, np.ones(3), np.full(3, 20.0), weights=[0.25] * 4)
    assert np.isnan(up[:2]).all()
    assert np.isfinite(up[2])


def test_a_series_within_its_windows_is_refused():
    with pytest.raises(MethodError, match="12 periods"):
        change.recent(series.value(np.zeros(12)))


def test_p_values_hold_under_no_change():
    x = np.random.default_rng(7).normal(size=(36, 40_000))
    found = change.recent(series.value(x))
    for p in change.p_values(found, found.variance, found.freedom, weights=[0.05, 0.1, 0.2, 0.65]):
        assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.007)
        assert (p < 0.001).mean() == pytest.approx(0.001, abs=0.0005)


# ---------------------------------------------------------------- dates


def test_date_is_where_least_squares_puts_it():
    x = np.random.default_rng(8).normal(size=(30, 50)) + 3 * (np.arange(30) >= 17)[:, None]
    found = change.onset(series.value(x))
    rss = np.array([
        ((x[:s] - x[:s].mean(axis=0)) ** 2).sum(axis=0)
        + ((x[s:] - x[s:].mean(axis=0)) ** 2).sum(axis=0)
        for s in range(2, 29)
    ])  # fmt: skip
    power = rss ** (-28 / 2)
    assert found.chance[2:29] == pytest.approx(power / power.sum(axis=0))
    assert found.chance[[0, 1, 29]].max() == 0
    assert np.abs(found.at - 17).max() <= 2


def test_confidence_set_grows_with_confidence_and_holds_the_date():
    x = np.random.default_rng(9).normal(size=(36, 200)) + (np.arange(36) >= 20)[:, None]
    narrow, wide = (change.onset(series.value(x), confidence=c) for c in (0.5, 0.95))
    assert np.all(wide.inside | ~narrow.inside)
    rows = np.arange(36)[:, None]
    assert np.all(wide.inside <= ((rows >= wide.first) & (rows <= wide.last)))
    assert np.all((narrow.at >= narrow.first - 1) & (narrow.at <= narrow.last + 1))


def test_shift_and_scale_of_values_move_the_answer_along():
    x = np.random.default_rng(10).normal(size=(24, 5)) + 2 * (np.arange(24) >= 11)[:, None]
    plain, moved = change.onset(series.value(x)), change.onset(series.value(1e6 + 50 * x))
    assert_array_equal(plain.at, moved.at)
    assert moved.size.low == pytest.approx(50 * plain.size.low, rel=1e-6)


def test_borrowed_variance_and_any_unit_leave_dates_where_they_are():
    x = np.random.default_rng(14).normal(size=(60, 20)) + 2 * (np.arange(60) >= 30)[:, None]
    plain = change.onset(series.value(x))
    lent = change.onset(series.value(x), prior=(np.ones(20), np.full(20, 400.0)))
    fen = change.onset(series.value(1e12 * x))
    assert np.abs(lent.at - plain.at).max() <= 2
    assert lent.chance.sum(axis=0) == pytest.approx(np.ones(20))
    assert_array_equal(fen.at, plain.at)
    assert fen.chance == pytest.approx(plain.chance, rel=1e-6)


def test_a_change_without_noise_is_dated_exactly():
    x = np.repeat([3.0, 5.0], 6)
    found = change.onset(series.value(np.column_stack([x, np.full(12, np.nan), x])))
    assert found.at.tolist() == [6, -1, 6]
    assert found.size.estimate[[0, 2]] == pytest.approx([2, 2])
    assert np.isnan(found.size.low[1])


def test_missing_points_are_never_the_date():
    x = np.random.default_rng(11).normal(size=(30, 40)) + 2 * (np.arange(30) >= 15)[:, None]
    x[14:17] = np.nan
    found = change.onset(series.value(x))
    assert not set(found.at.tolist()) & {14, 15, 16}


# ---------------------------------------------------------------- outlook


def test_outlook_is_students_prediction():
    x = np.random.default_rng(12).normal(10, 2, 20)
    found = outlook.outlook(series.value(x), [11.0], ahead=3)
    sd = x.std(ddof=1) * np.sqrt(1 / 20 + 1 / 3)
    assert found.chance[0] == pytest.approx(stats.t.sf((11 - x.mean()) / sd, 19))
    assert found.next.low[0] == pytest.approx(x.mean() - stats.t.ppf(0.975, 19) * sd)


def test_outlook_follows_the_last_level():
    x = np.random.default_rng(13).normal(size=24) + 10 * (np.arange(24) >= 12)
    early, late = (outlook.outlook(series.value(x), [9.0], since=s).chance[0] for s in (0, 12))
    assert late > 0.9 > early


def test_outlook_needs_three_points_and_a_goal():
    x = np.array([[1.0, 1.0], [2.0, 2.0], [np.nan, 3.0], [np.nan, 4.0]])
    found = outlook.outlook(series.value(x), [1.0, np.nan])
    assert np.isnan(found.chance).all()
    assert np.isfinite(found.next.estimate).tolist() == [False, True]


# ---------------------------------------------------------------- measured
# Bars are the issue's; a run of this size may miss them by 2.5 of its own standard errors. The
# full run is in spc_simulations.py. In ``*_noisier`` sigma is the noise before the change.


@pytest.mark.parametrize(
    "kind", ["normal", "binomial", "poisson", "binomial_noisier", "poisson_noisier"]
)
def test_changes_are_dated(kind):
    near, next_to = (dated(kind, size, charts=3000) for size in (1.5, 2))
    near, next_to = near["within 2"], next_to["within 1"]
    assert near.value >= 0.75 - 2.5 * near.se
    assert next_to.value >= 0.80 - 2.5 * next_to.se


@pytest.mark.parametrize("kind", ["normal", "binomial", "poisson", "ar1"])
@pytest.mark.parametrize("shift", [1, 1.5, 2, 3])
def test_confidence_holds(kind, shift):
    found = dated(kind, shift, charts=1500)
    assert found["set holds date"].value >= 0.95 - 2.5 * found["set holds date"].se
    assert found["interval holds size"].value >= 0.95 - 2.5 * found["interval holds size"].se


@pytest.mark.parametrize("kind", ["normal", "binomial", "ar1"])
def test_the_next_quarter_falls_where_predicted(kind):
    assert predicted(kind, charts=4000).value == pytest.approx(0.95, abs=0.015)
