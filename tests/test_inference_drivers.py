"""Importance of drivers: every order tried by hand, algebra, planted truth, speed, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from dealerqm.errors import MethodError
from dealerqm.inference.drivers import drivers, priorities, stability
from dealerqm.psychometrics.importance import importance
from dealerqm.sampling.design import design

RNG = np.random.default_rng(9)
N, STORES = 600, 40
STORE = np.repeat(np.arange(STORES), N // STORES)
COMMON = RNG.normal(size=(N, 1))
X = 0.6 * COMMON + 0.8 * RNG.normal(size=(N, 4)) + 0.4 * RNG.normal(size=(STORES, 4))[STORE]
Y = X @ [0.6, 0.4, 0.2, 0.0] + RNG.normal(size=N)
WEIGHT = RNG.uniform(0.5, 3, N)
CLUSTERED = design(WEIGHT, psu=STORE)


def correlations(seed, p):
    x = np.random.default_rng(seed).normal(size=(p + 6, p + 1))
    return np.corrcoef((x + x[:, :1]).T)


def r2(r, chosen):
    if not chosen:
        return 0.0
    inner, outer = r[np.ix_(chosen, chosen)], r[chosen, -1]
    return float(outer @ np.linalg.pinv(inner, hermitian=True) @ outer)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_lmg_is_the_mean_gain_over_all_orders(seed, p):
    r = correlations(seed, p)
    gains = np.zeros(p)
    orders = list(itertools.permutations(range(p)))
    for order in orders:
        for place, j in enumerate(order):
            gains[j] += r2(r, list(order[: place + 1])) - r2(r, list(order[:place]))
    found = importance(r)
    assert found.lmg == pytest.approx(gains / len(orders), abs=1e-9)
    assert float(found.r2) == pytest.approx(r2(r, list(range(p))), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_parts_add_up_to_the_whole(seed, p):
    found = importance(correlations(seed, p))
    for part in (found.lmg, found.relative, found.pratt):
        assert part.sum() == pytest.approx(float(found.r2), rel=1e-9)
    assert (found.lmg > 0).all()
    assert (found.relative >= 0).all()
    if p == 2:
        assert found.lmg == pytest.approx((found.first + found.last) / 2)


@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_the_order_of_drivers_does_not_matter(seed, order):
    r = correlations(seed, 5)
    turned = [*order, 5]
    one, other = importance(r), importance(r[np.ix_(turned, turned)])
    for a, b in zip(one[1:], other[1:], strict=True):
        assert b == pytest.approx(a[list(order)], rel=1e-6, abs=1e-10)


def test_relative_weights_by_the_square_root_of_scipy():
    r = correlations(1, 5)
    root = linalg.sqrtm(r[:5, :5]).real
    expected = root**2 @ np.linalg.solve(root, r[:5, 5]) ** 2
    assert importance(r).relative == pytest.approx(expected)
    assert importance(r).vif == pytest.approx(np.diag(np.linalg.inv(r[:5, :5])))
    assert importance(r).beta == pytest.approx(np.linalg.solve(r[:5, :5], r[:5, 5]))


def test_independent_drivers_keep_their_squares():
    found = importance([[1, 0, 0, 0.5], [0, 1, 0, 0.4], [0, 0, 1, 0.3], [0.5, 0.4, 0.3, 1]])
    for part in (found.lmg, found.relative, found.pratt, found.first, found.last):
        assert part == pytest.approx([0.25, 0.16, 0.09])


def test_stacks_are_their_matrices():
    stack = np.array([[correlations(2 * i + j, 4) for i in range(3)] for j in range(2)])
    found = importance(stack)
    assert found.r2.shape == (2, 3)
    assert found.lmg[1, 2] == pytest.approx(importance(stack[1, 2]).lmg)


def test_sixteen_drivers_are_no_trouble():
    found = importance(correlations(3, 16))
    assert found.lmg.sum() == pytest.approx(float(found.r2))
    assert (found.lmg > 0).all()


def test_a_driver_that_others_determine_is_flagged_and_shared():
    x = np.column_stack([X, X[:, 3]])
    found = drivers(x, Y, CLUSTERED)
    assert found.measures.dependent.tolist() == [False, False, False, True, True]
    assert found.measures.lmg[3] == pytest.approx(found.measures.lmg[4])
    assert np.isnan(found.share.low).all()
    assert found.share.estimate.sum() == pytest.approx(1)
    with pytest.raises(MethodError, match="determine each other"):
        stability(found, found)


# ---------------------------------------------------------------- errors under a design


@pytest.mark.parametrize("measure", ["lmg", "relative"])
def test_errors_are_those_of_leaving_stores_out(measure):
    found = drivers(X, Y, CLUSTERED, measure=measure)
    rest = [np.flatnonzero(STORE - s) for s in range(STORES)]
    shares, wholes = [], []
    for rows in rest:
        part = drivers(X[rows], Y[rows], design(WEIGHT[rows], psu=STORE[rows]), measure=measure)
        shares.append(part.share.estimate)
        wholes.append(part.value.estimate)
    for ends, left in ((found.share, shares), (found.value, wholes)):
        jackknife = (STORES - 1) * np.var(left, axis=0)
        se = np.log(ends.high / ends.low) / 2 / 2.0227 * ends.estimate  # t on 39
        assert se == pytest.approx(np.sqrt(jackknife), rel=0.1)


@settings(max_examples=20)
@given(st.floats(0.1, 50), st.floats(-20, 20), st.integers(0, 99))
def test_units_places_and_the_order_of_rows_do_not_matter(unit, place, seed):
    order = np.random.default_rng(seed).permutation(N)
    one = drivers(X, Y, CLUSTERED)
    other = drivers(X[order] * unit + place, Y[order], design(WEIGHT[order], psu=STORE[order]))
    for a, b in zip(one.share, other.share, strict=True):
        assert b == pytest.approx(a, rel=1e-5)


def test_missing_answers_are_a_domain():
    holes = X.copy()
    holes[STORE == 7, 2] = np.nan
    one, other = drivers(holes, Y, CLUSTERED), drivers(X, Y, CLUSTERED, domain=STORE != 7)
    assert one.share.low == pytest.approx(other.share.low)
    assert (one.n, one.freedom) == (other.n, other.freedom) == (585, 38)


def test_waves_that_are_alike_seem_stable_and_a_planted_change_shows():
    wave = np.arange(N) % 2
    parts = [drivers(X, Y, CLUSTERED, domain=wave == w) for w in (0, 1)]
    calm = stability(*parts)
    assert calm.overall.p > 0.01
    assert calm.tau > 0
    back = stability(parts[1], parts[0])
    assert back.change.estimate == pytest.approx(-calm.change.estimate)
    assert back.overall.statistic == pytest.approx(calm.overall.statistic)
    moved = np.where(wave == 0, Y, X @ [0.1, 0.2, 0.3, 0.8] + RNG.normal(size=N))
    parts = [drivers(X, moved, CLUSTERED, domain=wave == w) for w in (0, 1)]
    found = stability(*parts)
    assert found.overall.p < 1e-4
    assert found.change.low[3] > 0 > found.change.high[0]
    with pytest.raises(MethodError, match="two designs"):
        stability(parts[0], drivers(X, Y, design(WEIGHT)))


# ---------------------------------------------------------------- priorities


def test_places_on_the_map_and_how_sure_they_are():
    rng = np.random.default_rng(1)
    x = rng.normal([7, 9, 9, 7], size=(2000, 4))
    y = x @ [0.6, 0.6, 0.1, 0.1] + rng.normal(size=2000)
    found = priorities(x, y, design(np.ones(2000)))
    assert found.quadrant == ("concentrate", "keep", "overkill", "low")
    assert found.sure.all()
    assert (found.chance_good > 0.999).tolist() == [False, True, True, False]
    few = priorities(x[:12], y[:12], design(np.ones(12)))
    assert not few.sure.all()
    for measure in ("lmg", "relative"):
        assert priorities(x, y, design(np.ones(2000)), measure=measure).quadrant == found.quadrant


def test_errors_of_the_map_are_classical_for_a_simple_sample():
    found = priorities(X, Y, design(np.ones(N)))
    se = X.std(axis=0, ddof=1) / np.sqrt(N)
    half = 1.96395 * se
    assert found.performance.high - found.performance.estimate == pytest.approx(half, rel=1e-4)
    r = np.array([np.corrcoef(c, Y)[0, 1] for c in X.T])
    assert found.importance.estimate == pytest.approx(r)
    normal = 1.96395 * (1 - r**2) / np.sqrt(N)
    assert found.importance.high - r == pytest.approx(normal, rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drivers(X[:5], Y[:5], design(np.ones(5))), "5 with all answers for 4 drivers"),
        (lambda: drivers(np.column_stack([X, np.ones(N)]), Y, CLUSTERED), "first is the item 4"),
        (lambda: drivers(X, np.full(N, 7), CLUSTERED), "first is the outcome"),
        (lambda: drivers(X, Y, CLUSTERED, measure="lgm"), "Nearest: lmg"),
        (lambda: priorities(X, Y, CLUSTERED, measure="beta"), "is not known"),
        (lambda: drivers(np.full((N, 2), np.nan), Y, CLUSTERED), "none in the domain"),
        (lambda: importance(np.eye(22)), "21 given; allowed: 1 to 20"),
        (lambda: importance([[1.0]]), "0 given"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(MethodError, match=message):
        call()
