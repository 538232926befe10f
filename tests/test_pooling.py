"""Partial pooling: own data when there are many, the others' when there are few."""

import numpy as np
import pytest
from scipy import integrate, stats

from dealerqm.pooling import pool, shrink
from dealerqm.stats import quantiles


def test_shares_agree_with_a_likelihood_by_brute_force():
    k, n = np.array([3, 14, 20, 9, 30]), np.array([10, 20, 50, 12, 40])
    found = pool.beta_binomial(k, n)
    mean, strength = np.meshgrid(np.linspace(0.3, 0.9, 301), np.geomspace(0.5, 500, 301))
    loss = -sum(
        stats.betabinom.logpmf(a, b, mean * strength, (1 - mean) * strength)
        for a, b in zip(k, n, strict=True)
    )
    best = np.unravel_index(loss.argmin(), loss.shape)
    assert found.common == pytest.approx(mean[best], abs=0.003)
    assert found.strength == pytest.approx(strength[best], rel=0.03)
    assert found.estimate == pytest.approx(
        (k + found.common * found.strength) / (n + found.strength)
    )


def test_rates_agree_with_a_likelihood_by_brute_force():
    k, e = np.array([2, 30, 12, 7, 25]), np.array([1.0, 10, 6, 1.5, 6])
    found = pool.gamma_poisson(k, e)
    mean, strength = np.meshgrid(np.linspace(1.5, 6, 301), np.geomspace(0.05, 200, 301))
    loss = -sum(
        stats.nbinom.logpmf(a, mean * strength, strength / (strength + b))
        for a, b in zip(k, e, strict=True)
    )
    best = np.unravel_index(loss.argmin(), loss.shape)
    assert found.common == pytest.approx(mean[best], abs=0.02)
    assert found.strength == pytest.approx(strength[best], rel=0.05)


@pytest.mark.parametrize("method", [pool.beta_binomial, pool.gamma_poisson])
def test_counts_collapse_to_their_own_rate_as_data_grow(method):
    rng = np.random.default_rng(1)
    level = rng.uniform(0.4, 0.9, 30)
    for size, bar in ((10, 0.9), (10_000, 0.99)):
        n = np.full(30, size)
        found = method(rng.binomial(n, level), n)
        assert (found.own > bar).all() == (size > 10)
    assert found.estimate == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("method", [pool.beta_binomial, pool.gamma_poisson])
def test_units_that_differ_by_chance_alone_take_the_pooled_rate(method):
    rng = np.random.default_rng(7)
    n = rng.integers(200, 1000, 30)
    k = rng.binomial(n, 0.3)
    found = method(k, n)
    assert found.common == pytest.approx(k.sum() / n.sum(), rel=1e-3)


@pytest.mark.parametrize("method", [pool.beta_binomial, pool.gamma_poisson])
def test_equal_units_and_units_without_data_take_the_common_level(method):
    k, n = np.array([50, 49, 51, 50, 0]), np.array([100, 100, 100, 100, 0])
    found = method(k, n)
    assert found.own.max() < 0.05
    assert found.own[4] == 0
    assert found.estimate == pytest.approx(np.full(5, 0.5), abs=0.005)


def test_dispersion_makes_own_data_count_less():
    k, n = np.array([3, 14, 20, 9, 30]), np.array([10, 20, 50, 12, 40])
    assert np.all(pool.beta_binomial(k, n, dispersion=2.0).own < pool.beta_binomial(k, n).own)


def test_levels_pool_by_their_precision():
    rng = np.random.default_rng(2)
    truth = rng.normal(10, 2, 400)
    v = rng.uniform(0.5, 20, 400)
    y = truth + rng.normal(size=400) * np.sqrt(v)
    found = pool.normal(y, v)
    assert ((found.estimate - truth) ** 2).mean() < 0.6 * ((y - truth) ** 2).mean()
    assert (np.abs(found.estimate - truth) < 1.96 * found.sd).mean() == pytest.approx(
        0.95, abs=0.02
    )
    assert found.strength == pytest.approx(1 / shrink.between_sd(y, v).estimate ** 2, rel=1e-6)


def test_two_units_stand_for_themselves():
    found = pool.normal([1.0, 9.0], [1.0, 1.0])
    assert found.estimate.tolist() == [1.0, 9.0]
    assert found.own.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("lent", [4.0, 15.0, 60.0])
def test_variances_give_back_the_planted_prior(lent):
    rng = np.random.default_rng(3)
    truth = 2.5 * lent / rng.chisquare(lent, 20_000)
    s2 = truth * rng.chisquare(12, 20_000) / 12
    found = pool.variances(s2, np.full(20_000, 12))
    assert found.borrowed[0] == pytest.approx(lent, rel=0.15)
    assert found.common[0] == pytest.approx(2.5, rel=0.03)


def test_moderated_t_is_a_t():
    rng = np.random.default_rng(4)
    truth = 10 / rng.chisquare(10, 40_000)
    s2 = truth * rng.chisquare(6, 40_000) / 6
    found = pool.variances(s2, np.full(40_000, 6))
    t = rng.normal(size=40_000) * np.sqrt(truth / found.variance)
    assert (stats.t.sf(t, found.freedom) < 0.001).mean() == pytest.approx(0.001, abs=0.0005)


def test_groups_of_variances_do_not_mix_and_the_poor_borrow_all():
    s2 = np.array([1.0, 1.1, 0.9, np.nan, 100, 90, 110])
    found = pool.variances(s2, [20, 20, 20, 0, 20, 20, 20], [0, 0, 0, 0, 1, 1, 1])
    assert found.variance[3] == pytest.approx(1.0, abs=0.05)
    assert found.variance[4:].min() > 90
    assert pool.variances([2.0, 8.0], [5, 5]).variance.tolist() == [2.0, 8.0]


def test_correlations_pool_in_two_steps():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 16)
    truth = np.repeat(rng.choice([0.0, 0.5], 20), 16)
    found = pool.correlations(truth + rng.normal(0, 0.2, 320), np.full(320, 0.04), groups)
    assert np.abs(found - truth).mean() < 0.06
    alike = pool.correlations(0.3 + rng.normal(0, 0.2, 320), np.full(320, 0.04), groups)
    assert np.ptp(alike) < 0.1
    assert pool.correlations([np.nan, np.nan], [np.inf, np.inf], [0, 0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("family", ["share", "rate"])
def test_predictive_limits_hold_for_small_units(family):
    rng = np.random.default_rng(6)
    outside = []
    for _ in range(15):
        size = rng.integers(5, 40, 40)
        if family == "share":
            level = rng.beta(16, 4, 40)
            k, new = rng.binomial(size, level), rng.binomial(12, level)
            found = pool.predictive(family, pool.beta_binomial(k, size), np.full(40, 12), alpha=0.1)
            outside.append((new / 12 < found.low) | (new / 12 > found.high))
        else:
            level = rng.gamma(9, 1 / 9, 40)
            k, new = rng.poisson(size * level), rng.poisson(12 * level)
            found = pool.predictive(family, pool.gamma_poisson(k, size), np.full(40, 12), alpha=0.1)
            outside.append((new / 12 < found.low) | (new / 12 > found.high))
    assert 0.02 <= np.mean(outside) <= 0.1


def test_predictive_quantiles_are_those_of_the_posterior():
    pooled = pool.Pooled(np.array([0.3]), np.array([np.sqrt(0.21 / 31)]), np.ones(1), 0.3, 30.0)
    found = pool.predictive("share", pooled, [25], alpha=0.1)
    cdf = [
        integrate.quad(lambda p, j=j: stats.binom.cdf(j, 25, p) * stats.beta.pdf(p, 9, 21), 0, 1)[0]
        for j in range(26)
    ]
    assert found.low[0] * 25 == pytest.approx(np.searchsorted(cdf, 0.05))
    assert found.high[0] * 25 == pytest.approx(np.searchsorted(cdf, 0.95))


def test_quantiles_of_counts_are_scipys():
    rng = np.random.default_rng(8)
    n, (a, b) = rng.integers(0, 150, 300), 10 ** rng.uniform(-2, 4, (2, 300))
    chances = (0.001, 0.025, 0.5, 0.975, 0.999)
    found = quantiles.beta_binomial(chances, n, a, b)
    for chance, counts in zip(chances, found, strict=True):
        assert counts.tolist() == np.maximum(stats.betabinom(n, a, b).ppf(chance), 0).tolist()
    assert quantiles.beta_binomial(chances, [], 1.0, 1.0).shape == (5, 0)


def test_no_limits_without_size():
    pooled = pool.beta_binomial([5, 7, 9], [10, 10, 10])
    assert np.isnan(pool.predictive("share", pooled, [0, 5, 5], alpha=0.1).low[0])
