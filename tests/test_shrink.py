"""Spread between units against metafor and algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dealerqm.pooling.shrink import between_sd

# Answers, sum and sum of squares of the overall score per store: wave 2 of a seeded dealer survey.
STORES = [
    [11, 81, 601], [10, 74, 578], [17, 131, 1025], [23, 180, 1438], [23, 192, 1618],
    [22, 178, 1466], [8, 57, 425], [30, 231, 1821], [8, 64, 516], [17, 133, 1061], [25, 189, 1465],
    [30, 235, 1883], [18, 132, 1002], [18, 169, 1599], [13, 97, 735], [13, 98, 750],
    [22, 191, 1673], [13, 101, 817], [17, 134, 1084], [25, 224, 2026], [8, 65, 533],
    [23, 186, 1524], [9, 76, 648], [19, 157, 1317], [25, 196, 1566], [24, 171, 1271], [8, 66, 552],
    [14, 112, 910], [21, 175, 1489], [17, 125, 963], [9, 64, 472], [16, 127, 1023], [30, 219, 1649],
    [28, 224, 1836], [11, 92, 790], [30, 260, 2300], [17, 133, 1081], [12, 94, 760],
    [28, 220, 1756], [28, 220, 1754], [10, 65, 435], [15, 117, 931], [16, 126, 1022],
    [16, 125, 1011], [23, 147, 989], [10, 80, 652], [17, 142, 1212], [15, 133, 1197], [10, 77, 603],
    [12, 87, 637], [22, 188, 1636], [27, 194, 1436], [14, 110, 880], [9, 67, 509], [8, 54, 384],
    [25, 199, 1611],
]  # fmt: skip
# Trials of the BCG vaccine: cases and others among vaccinated, cases and others among not.
BCG = [
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619],
    [33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892],
    [29, 7470, 45, 7232], [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338],
    [27, 16886, 29, 17825],
]  # fmt: skip


def heterogeneity(tau2, y, v):
    w = 1 / (v + tau2)
    return (w * (y - np.average(y, weights=w)) ** 2).sum()


def test_tau_is_that_of_metafor():
    n, total, squares = np.array(STORES, float).T
    y, v = total / n, (squares - total**2 / n) / (n - 1) / n
    found = between_sd(y, v)
    # metafor 3.8.1, rma(yi, vi, method = "PM"): its iteration stops at 1e-5
    assert found.estimate**2 == pytest.approx(0.230941582468366, rel=1e-4)
    assert heterogeneity(found.estimate**2, y, v) == pytest.approx(55, abs=1e-9)


def test_interval_is_the_q_profile_of_metafor():
    a, b, c, d = np.array(BCG, float).T
    y = np.log(a / (a + b)) - np.log(c / (c + d))
    v = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    _, low, high = between_sd(y, v)
    # documentation of metafor: confint(rma(ai, bi, ci, di, data = dat.bcg, measure = "RR"))
    assert low**2 == pytest.approx(0.1197, abs=5e-5)
    assert high**2 == pytest.approx(1.1115, abs=5e-5)


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=20), st.floats(1e-4, 0.1),
    st.sampled_from([0.8, 0.95]),
)  # fmt: skip
def test_with_equal_variances_it_is_algebra(values, v, confidence):
    y = np.array(values)
    found = between_sd(y, np.full(y.size, v), confidence=confidence)
    squares, freedom = ((y - y.mean()) ** 2).sum(), y.size - 1
    tail = (1 - confidence) / 2
    for got, aim in zip(
        found,
        (freedom, stats.chi2.ppf(1 - tail, freedom), stats.chi2.ppf(tail, freedom)),
        strict=True,
    ):
        assert got**2 == pytest.approx(max(squares / aim - v, 0), rel=1e-6, abs=1e-9)


def test_no_more_spread_than_noise_is_none():
    found = between_sd([0.5, 0.51, 0.49, 0.5], [0.01] * 4)
    assert (found.estimate, found.low) == (0, 0)
    assert found.high >= 0
    assert [float(v) for v in between_sd([0.5] * 4, [0.01] * 4)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "variances"),
    [([], []), ([0.1, 0.2], [0.1, 0.1]), ([0.1, 0.2, np.nan], [0.1] * 3),
     ([0.1, 0.2, 0.3], [0.1, 0.1, 0.0]), ([0.1, 0.2, 0.3], [0.1, 0.1, np.nan])],
)  # fmt: skip
def test_two_units_have_no_spread_to_tell(values, variances):
    assert np.isnan([float(v) for v in between_sd(values, variances)]).all()


@given(st.permutations(range(8)), st.sampled_from([1e-3, 100.0]), st.floats(-5, 5))
def test_order_unit_and_place_do_not_matter(order, unit, place):
    y = np.array([0.71, 0.8, 0.65, 0.9, 0.84, 0.77, 0.6, 0.81])
    v = np.array([1, 2, 1, 3, 1, 2, 4, 1]) / 1000
    turned = list(order)
    other = between_sd((y[turned] + place) * unit, v[turned] * unit**2)
    assert [float(p) / unit for p in other] == pytest.approx(
        [float(p) for p in between_sd(y, v)], rel=1e-6
    )


def test_the_planted_spread_is_found_and_covered():
    rng = np.random.default_rng(8)
    hits, total = 0, 0.0
    for _ in range(400):
        v = rng.uniform(2e-4, 2e-3, 16)
        y = 0.85 + rng.normal(0, 0.04, 16) + rng.normal(0, np.sqrt(v))
        found = between_sd(y, v)
        hits += found.low <= 0.04 <= found.high
        total += found.estimate**2
    assert total / 400 == pytest.approx(0.04**2, rel=0.1)
    assert hits / 400 == pytest.approx(0.95, abs=0.03)
