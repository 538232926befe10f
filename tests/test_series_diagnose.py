"""Diagnosis of charts: what is found, and what is not found where nothing is."""

from datetime import date

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats
from spc_simulations import ar1, binomial, poisson
from statsmodels.regression.linear_model import WLS

from dealerqm.period import Period, parse, span
from dealerqm.series import diagnose
from dealerqm.series import scale as series

FESTIVALS = [date(2023, 1, 22), date(2024, 2, 10), date(2025, 1, 29), date(2026, 2, 17)]
GROUPS = np.repeat(np.arange(4), 16)


def test_dispersion_of_shares_is_the_chi_square_test():
    k, n = np.array([5, 15, 9, 12.0]), np.array([100, 90, 110, 100.0])
    found = diagnose.dispersion(k[:, None], n[:, None])
    table = stats.chi2_contingency(np.array([k, n - k]), correction=False)
    assert found.ratio[0] * 3 == pytest.approx(table.statistic)
    assert found.over[0] == pytest.approx(table.pvalue)
    assert found.over + found.under == pytest.approx(1)


def test_dispersion_of_rates_is_the_poisson_test():
    k = np.array([4, 9, 12, 5.0])
    found = diagnose.dispersion(k[:, None], np.full((4, 1), 2.0), share=[False])
    assert found.ratio[0] == pytest.approx(k.var(ddof=1) / k.mean())
    assert found.expected[0] == pytest.approx(k.mean())


def test_dispersion_is_found_where_it_is_and_only_there():
    rng = np.random.default_rng(1)
    k, n = binomial(rng, (24, 2000), rho=0.02)
    assert diagnose.dispersion(k, n).ratio.mean() == pytest.approx(1 + 59 * 0.02, rel=0.05)
    plain = diagnose.dispersion(rng.binomial(n, 0.88), n)
    assert (plain.over < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    events, exposure = poisson(rng, (24, 2000), ratio=2.0)
    found = diagnose.dispersion(events, exposure, share=False)
    assert found.ratio.mean() == pytest.approx(2.0, rel=0.05)
    assert (found.over < 0.05).mean() > 0.7


def test_dispersion_says_nothing_without_events_or_points():
    found = diagnose.dispersion(
        [[0, 3, 5], [0, np.nan, 5], [0, 0, 5]], [[9, 9, 5], [9, 0, 5], [9, 0, 5]]
    )
    assert np.isnan(found.ratio).all()
    assert found.expected.tolist() == [0, 3, 0]


def test_baseline_bounds_every_diagnosis():
    rng = np.random.default_rng(2)
    k, n = binomial(rng, (36, 4))
    baseline = np.arange(36)[:, None] < np.full(4, 24)
    part = diagnose.dispersion(k, n, baseline=baseline)
    assert part.ratio == pytest.approx(diagnose.dispersion(k[:24], n[:24]).ratio)
    points = series.share(k, n)
    cut = series.share(k[:24], n[:24])
    whole = diagnose.memory(points, np.zeros(4, int), baseline=baseline)
    assert whole.own == pytest.approx(diagnose.memory(cut, np.zeros(4, int)).own)
    place = np.arange(36) % 12
    year = diagnose.season(points, place, np.zeros(4, int), baseline=baseline)
    assert year.effect[:24] == pytest.approx(
        diagnose.season(cut, place[:24], np.zeros(4, int)).effect
    )


# ---------------------------------------------------------------- place in the year


def test_months_are_placed_by_the_festival():
    months = span(parse("2022-12"), parse("2026-03"))
    found = dict(zip([m.key for m in months], diagnose.positions(months, FESTIVALS), strict=True))
    assert {key for key, place in found.items() if place == 100} == {
        "2023-01", "2024-02", "2025-02", "2026-02",
    }  # fmt: skip
    assert {key for key, place in found.items() if place == 99} == {
        "2022-12", "2024-01", "2025-01", "2026-01",
    }  # fmt: skip
    assert found["2023-03"] == 3
    assert found["2024-03"] == 101
    assert found["2025-12"] == 12


def test_weeks_and_quarters_are_placed():
    weeks = [parse("2025W05"), parse("2025W06"), parse("2025W20"), parse("2025W01")]
    assert diagnose.positions(weeks, FESTIVALS).tolist() == [100, 101, 20, 96]
    assert diagnose.positions([Period("quarter", 2025, 1)], FESTIVALS).tolist() == [1]


# ---------------------------------------------------------------- season


def test_season_is_found_shared_and_taken_out():
    rng = np.random.default_rng(3)
    place = np.arange(36) % 12
    wave = np.sin(2 * np.pi * place / 12)[:, None]
    points = series.value(rng.normal(size=(36, 64)) + wave * (GROUPS < 2) + rng.normal(0, 9, 64))
    found = diagnose.season(points, place, GROUPS)
    assert (found.p[GROUPS < 2] < 0.001).all()
    assert (found.p[GROUPS >= 2] > 0.01).all()
    assert found.effect[:, 0] == pytest.approx(wave[:, 0], abs=0.45)
    assert_array_equal(found.effect[:, 0], found.effect[:, 15])
    left = diagnose.season(diagnose.without(points, found.effect), place, GROUPS)
    assert (left.share[GROUPS < 2] < 0.4).all()


def test_season_is_seldom_found_where_there_is_none():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(400), 4)
    shock = np.repeat(rng.normal(size=(36, 400)), 4, axis=1)
    points = series.value(rng.normal(size=(36, 1600)) + shock)
    p = diagnose.season(points, np.arange(36) % 12, groups).p[::4]
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_index_is_weighted_least_squares_before_it_shrinks():
    rng = np.random.default_rng(5)
    y, se, place = rng.normal(size=24) + 5, rng.uniform(0.5, 2, 24), np.arange(24) % 4
    y[5] = np.nan
    known = np.isfinite(y)
    points = series.Series("value", y[:, None], np.where(known, se, np.nan)[:, None])
    found = diagnose.season(points, place, [0])
    dummies = (place[known, None] == np.arange(4)).astype(float)
    fit = WLS(y[known], dummies, weights=1 / se[known] ** 2).fit()
    weight = np.array([(1 / se[known & (place == p)] ** 2).sum() for p in range(4)])
    index = fit.params - (weight * fit.params).sum() / weight.sum()
    shrunk = found.effect[:4, 0]
    assert shrunk == pytest.approx(index * max(0, 1 - 1 / fit.fvalue), abs=1e-9)
    assert found.p[0] == pytest.approx(fit.f_pvalue)


@pytest.mark.parametrize("years", [2, 5])
def test_variance_of_the_season_is_that_of_repeated_samples(years):
    rng, place, groups = np.random.default_rng(8), np.arange(12 * years) % 12, 300
    wave = 2 * np.sin(2 * np.pi * place / 12)[:, None]
    x = rng.normal(size=(12 * years, 4 * groups)) + wave
    found = diagnose.season(series.value(x), place, np.repeat(np.arange(groups), 4))
    assert found.variance.mean() == pytest.approx(((found.effect - wave) ** 2).mean(), rel=0.15)


def test_less_than_two_years_have_no_season():
    found = diagnose.season(series.value(np.arange(12.0)), np.arange(12), [0])
    assert np.isnan(found.p[0])
    assert not found.effect.any()


# ---------------------------------------------------------------- memory and choice


def test_memory_is_found_where_it_is():
    rng = np.random.default_rng(6)
    phi = np.where(GROUPS < 2, 0.5, 0.0)
    found = diagnose.memory(series.value(ar1(rng, phi, (30, 64))), GROUPS)
    assert (found.p[GROUPS < 2] < 0.001).all()
    assert found.pooled == pytest.approx(phi, abs=0.2)
    assert np.abs(found.pooled - phi).mean() < np.abs(found.own - phi).mean() / 2


def test_memory_is_seldom_found_where_there_is_none():
    points = series.value(np.random.default_rng(7).normal(size=(24, 4000)))
    p = diagnose.memory(points, np.repeat(np.arange(1000), 4)).p[::4]
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_the_chart_follows_from_the_diagnosis():
    kind = ["share", "share", "rate", "rate", "value", "value", "value"]
    nan = np.full(7, np.nan)
    ratio = diagnose.Dispersion(
        nan, np.array([0.5, 0.001, 0.5, 0.001, np.nan, np.nan, np.nan]), nan,
        np.array([2.0, 20, 30, 30, np.nan, np.nan, np.nan]),
    )  # fmt: skip
    year = diagnose.Season(np.zeros((1, 7)), np.array([0.5] * 4 + [0.01, np.nan, 0.5]), nan)
    lag = diagnose.Memory(
        np.array([0.0] * 6 + [np.nan]), nan, np.array([0.5, 0.5, 0.01, 0.5, 0.5, 0.01, np.nan])
    )
    found = diagnose.choose(kind, ratio, year, lag)
    assert found.chart.tolist() == ["p", "p_prime", "u", "u_prime", "xmr", "residual_xmr", "xmr"]
    assert found.limits.tolist() == ["probability"] + ["sigma"] * 6
    assert found.reasons == (
        ("as_counted", "rare"), ("overdispersed",), ("as_counted", "correlated"),
        ("overdispersed",), ("seasonal",), ("correlated",), ("short",),
    )  # fmt: skip
