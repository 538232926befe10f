"""Alpha, omega, factors, agreement: textbook examples, statsmodels, scikit-learn, refusals."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.multivariate.factor import Factor
from statsmodels.stats.inter_rater import cohens_kappa

from dealerqm.errors import MethodError
from dealerqm.psychometrics.agreement import ICC_KINDS, alpha, complete, cross_table, icc, kappa
from dealerqm.psychometrics.factors import adequacy, factors, one_factor

RNG = np.random.default_rng(4)
TRAIT = RNG.normal(size=(400, 2))
LOAD = np.array([[0.8, 0], [0.7, 0], [0.6, 0.1], [0, 0.7], [0.1, 0.8], [0, 0.6]])
ANSWERS = TRAIT @ LOAD.T + RNG.normal(size=(400, 6)) * np.sqrt(1 - (LOAD**2).sum(axis=1))
ONE = 2 + np.round(TRAIT[:, :1] @ [[0.9, 0.8, 0.7, 0.6]] + RNG.normal(size=(400, 4)) * 0.6, 1)
# Shrout and Fleiss (1979), table 2: six targets, four judges
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_alpha_of_parallel_items_is_spearman_brown():
    found = alpha(ONE)
    k, r = 4, found.average_r
    assert found.standardised == pytest.approx(k * r / (1 + (k - 1) * r))
    assert float(found.raw.low) < float(found.raw.estimate) < float(found.raw.high)
    rest = np.corrcoef(ONE[:, 0], ONE[:, 1:].sum(axis=1))[0, 1]
    assert found.item_rest[0] == pytest.approx(rest)
    assert found.if_dropped[3] == pytest.approx(float(alpha(ONE[:, :3]).raw.estimate))


@settings(max_examples=20)
@given(st.permutations(range(4)), st.sampled_from([0.01, 10.0]), st.floats(-5, 5))
def test_order_and_units_do_not_matter(order, unit, place):
    one, other = (f(ONE) for f in (alpha, one_factor)), ONE[:, order] * unit + place
    a, w = one
    assert float(alpha(other).raw.estimate) == pytest.approx(float(a.raw.estimate), rel=1e-9)
    turned = one_factor(other)
    assert float(turned.omega.estimate) == pytest.approx(float(w.omega.estimate), rel=1e-6)
    assert turned.loadings == pytest.approx(w.loadings[list(order)] * unit, rel=1e-4)


def test_items_keyed_the_other_way_show():
    turned = ONE.copy()
    turned[:, 2] *= -1
    assert (alpha(turned).item_rest < 0).tolist() == [False, False, True, False]


def test_feldts_interval_covers():
    rng, hits = np.random.default_rng(6), 0
    truth = 4 * 0.5 / (1 + 3 * 0.5)
    for _ in range(400):
        x = rng.normal(size=(60, 1)) * np.sqrt(0.5) + rng.normal(size=(60, 4)) * np.sqrt(0.5)
        found = alpha(x).raw
        hits += found.low <= truth <= found.high
    assert hits / 400 == pytest.approx(0.95, abs=0.03)


def test_the_interval_of_omega_covers():
    rng, hits = np.random.default_rng(7), 0
    line = np.array([0.9, 0.7, 0.6, 0.5])
    truth = line.sum() ** 2 / (line.sum() ** 2 + 4 * 0.5)
    for _ in range(120):
        x = rng.normal(size=(120, 1)) * line + rng.normal(size=(120, 4)) * np.sqrt(0.5)
        found = one_factor(x).omega
        hits += found.low <= truth <= found.high
    assert hits / 120 == pytest.approx(0.95, abs=0.05)


def test_factors_are_those_of_statsmodels():
    found = factors(ANSWERS, count=2, rotation="none")
    peer = Factor(ANSWERS, n_factor=2, method="ml").fit()
    assert found.uniqueness == pytest.approx(peer.uniqueness, abs=2e-4)
    ours, theirs = (a @ a.T for a in (found.loadings, peer.loadings))
    assert ours == pytest.approx(theirs, abs=5e-4)


def test_rotation_keeps_the_model_and_finds_the_groups():
    plain, turned = (factors(ANSWERS, count=2, rotation=r) for r in ("none", "varimax"))
    assert turned.loadings @ turned.loadings.T == pytest.approx(plain.loadings @ plain.loadings.T)
    assert (turned.loadings**2).sum(axis=1) + turned.uniqueness == pytest.approx(
        np.ones(6), abs=1e-5
    )
    assert (np.abs(turned.loadings).argmax(axis=1) == [0, 0, 0, 1, 1, 1]).all()
    assert turned.p_value > 0.01
    assert factors(ANSWERS, count=1).p_value < 1e-6


def test_a_heywood_case_is_flagged():
    x = RNG.normal(size=(50, 3))
    x[:, 1] = x[:, 0] + x[:, 1] * 0.02
    found = factors(np.column_stack([x, x[:, 0] + RNG.normal(size=50)]), count=1)
    assert found.bound.any()
    assert not factors(ANSWERS, count=2).bound.any()


def test_fit_of_a_true_model_is_good_and_of_a_false_one_is_not():
    good, bad = one_factor(ONE), one_factor(ANSWERS)
    assert good.p_value > 0.01
    assert good.cfi > 0.99 > 0.8 > bad.cfi
    assert good.rmsea < 0.05 < bad.rmsea
    three = one_factor(ONE[:, :3])  # three items fit exactly
    assert three.chisq == pytest.approx(0, abs=1e-6)
    assert np.isnan([three.p_value, three.tli, three.rmsea]).all()


def test_adequacy_of_pairs_and_noise():
    noise = RNG.normal(size=(400, 5))
    found = adequacy(noise)
    assert found.p_value > 0.001
    assert found.freedom == 10
    assert adequacy(ONE).kmo > 0.75 > found.kmo
    assert adequacy(ONE[:, :2]).items == pytest.approx([0.5, 0.5])


# ---------------------------------------------------------------- raters


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=5, max_size=60))
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = np.array(pairs).T
    assume(len({*first, *second}) > 1)
    table = np.bincount(first * 4 + second, minlength=16).reshape(4, 4)
    for weights in ("none", "linear", "quadratic"):
        peer = cohen_kappa_score(
            first, second, weights=None if weights == "none" else weights, labels=range(4)
        )
        assert float(kappa(table, weights=weights).kappa.estimate) == pytest.approx(peer, abs=1e-12)


def test_intervals_of_kappa_are_those_of_statsmodels():
    table = [[22, 4, 1], [6, 30, 5], [0, 7, 25]]
    place = np.arange(3)
    apart = np.abs(np.subtract.outer(place, place)) / 2
    for ours, theirs in (("none", None), ("linear", apart)):
        found, peer = kappa(table, weights=ours), cohens_kappa(table, weights=theirs)
        assert [float(v) for v in found.kappa] == pytest.approx(
            [peer.kappa, peer.kappa_low, peer.kappa_upp]
        )


def test_kappa_of_missing_codes_and_perfect_agreement():
    table, codes = cross_table(["a", None, "b", "b"], ["a", "b", np.nan, "b"])
    assert (table.tolist(), codes) == ([[1, 0], [0, 1]], ["a", "b"])
    found = kappa(table)
    assert [float(v) for v in found.kappa] == [1, 1, 1]
    assert (found.observed, found.n) == (1, 2)


def test_intraclass_correlations_of_shrout_and_fleiss():
    found = icc(JUDGES)
    assert found.icc.estimate.round(2).tolist() == [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]
    assert len(ICC_KINDS) == 6
    # intervals of psych::ICC (by analysis of variance) as its documentation prints them
    assert found.icc.low.round(2).tolist() == [-0.13, 0.02, 0.34, -0.88, 0.07, 0.68]
    assert found.icc.high.round(2).tolist() == [0.72, 0.76, 0.95, 0.91, 0.93, 0.99]
    assert found.f.round(2).tolist() == [1.79, 11.03, 11.03] * 2


def test_raters_who_agree_exactly():
    found = icc(np.repeat(np.arange(8.0)[:, None], 3, axis=1))
    assert found.icc.estimate == pytest.approx(np.ones(6))
    assert found.icc.low == pytest.approx(np.ones(6), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpha(np.ones((9, 3))), "3 never vary, the first is column 0 \\(1 in all 9"),
        (lambda: alpha(ONE[:, :1]), "at least two items"),
        (lambda: alpha(ONE[:2]), "2 rows without a missing answer"),
        (lambda: alpha(np.where(np.arange(400)[:, None] > 1, np.nan, ONE)), "2 rows without"),
        (lambda: adequacy(np.column_stack([ONE, ONE.sum(axis=1)])), "is a sum of others"),
        (lambda: factors(ANSWERS, count=4), "4 factors of 6 items"),
        (lambda: factors(ANSWERS, count=0), "0 factors"),
        (lambda: factors(ANSWERS, count=1, rotation="vari"), "Nearest: varimax"),
        (lambda: one_factor(ONE[:, :2]), "1 factors of 2 items"),
        (lambda: factors(ANSWERS[:5], count=1), "only 5 rows"),
        (lambda: kappa([[5, 0], [0, 0]]), "one and the same code to all 5"),
        (lambda: kappa([[1, 2, 3]]), "as many"),
        (lambda: kappa([[0, 0], [0, 0]]), "0 objects"),
        (lambda: kappa([[1, 2], [3, 4]], weights="square"), "is not known"),
        (lambda: icc(np.ones((4, 3))), "all 12 ratings are 1"),
        (lambda: icc([[1, 2]]), "1 rows"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(MethodError, match=message):
        call()


def test_a_repeated_item_is_flagged_in_alpha():
    found = alpha(np.column_stack([ONE, ONE[:, 0]]))
    assert np.isnan(found.lambda6)
    assert np.isfinite(float(found.raw.estimate))
    assert np.isnan(alpha(ONE[:, :2]).if_dropped).all()
    assert complete(ONE).shape == (400, 4)
