"""Tests of tables, means and ranks: classical values, R's own, and simple properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from dealerqm.errors import MethodError
from dealerqm.inference.sample import Subset, joint
from dealerqm.inference.tests import association, rank_test, t_test
from dealerqm.sampling.design import design
from dealerqm.stats.multiple import holm

RNG = np.random.default_rng(5)
N = 240
KIND = RNG.choice(["a", "b", "c"], N)
CHANNEL = RNG.choice(["app", "phone"], N, p=[0.3, 0.7])
STORE = RNG.integers(0, 24, N)
SCORE = RNG.normal(size=N) + 0.3 * (CHANNEL == "app") + RNG.normal(size=24)[STORE] / 2
WEIGHT = RNG.uniform(0.5, 3, N)
PLAIN, CLUSTERED = design(np.ones(N)), design(WEIGHT, psu=STORE)


def crossed():
    rows, columns = (np.unique(v, return_inverse=True)[1] for v in (KIND, CHANNEL))
    return np.bincount(rows * 2 + columns).reshape(3, 2)


def test_pearson_is_scipys_for_a_simple_sample():
    found = association(KIND, CHANNEL, PLAIN, form="chisq")
    classic = stats.chi2_contingency(crossed(), correction=False)
    assert found.statistic == pytest.approx(classic.statistic)
    assert found.freedom == classic.dof
    assert found.p == pytest.approx(classic.pvalue, abs=0.02)  # design effects near 1


def test_a_two_by_two_table_has_one_statistic():
    """With one degree of freedom F and the t of the difference of shares agree closely."""
    table = association(CHANNEL, SCORE > 0, CLUSTERED)
    shares = t_test((SCORE > 0).astype(float), CLUSTERED, group=CHANNEL)
    assert table.freedom == pytest.approx(1)
    assert np.sqrt(table.statistic) == pytest.approx(abs(shares.statistic), rel=0.1)


def test_forms_agree_where_the_effect_is_plain():
    level = np.where(SCORE > 1, "high", np.where(SCORE > -1, "middle", "low"))
    other = np.where(RNG.uniform(size=N) < 0.3, "middle", level)
    ps = [association(level, other, CLUSTERED, form=f).p for f in ("F", "chisq", "wald")]
    assert max(ps) < 1e-6


@settings(max_examples=25)
@given(st.permutations(range(N)))
def test_the_order_of_rows_does_not_matter(order):
    turned = design(WEIGHT[order], psu=STORE[order])
    both = (PLAIN, CLUSTERED)[1], turned
    for one, other in (
        (association(KIND, CHANNEL, both[0]),
         association(KIND[order], CHANNEL[order], both[1])),
        (rank_test(np.round(SCORE), CHANNEL, both[0]),
         rank_test(np.round(SCORE)[order], CHANNEL[order], both[1])),
        (t_test(SCORE, both[0], group=CHANNEL),
         t_test(SCORE[order], both[1], group=CHANNEL[order])),
    ):  # fmt: skip
        assert other.statistic == pytest.approx(one.statistic, rel=1e-9)


def test_names_of_levels_do_not_matter():
    other = np.array(["z" + k for k in KIND], object)
    assert association(other, CHANNEL, CLUSTERED) == association(KIND, CHANNEL, CLUSTERED)
    swapped = association(CHANNEL, KIND, CLUSTERED)
    assert swapped.statistic == pytest.approx(association(KIND, CHANNEL, CLUSTERED).statistic)


@pytest.mark.parametrize("form", ["F", "chisq", "wald", "adjusted wald"])
def test_missing_rows_are_a_domain(form):
    holes = KIND.astype(object)
    holes[::7] = None
    rows = np.array([v is not None for v in holes])
    found = association(holes, CHANNEL, CLUSTERED, form=form)
    asked = association(KIND, CHANNEL, CLUSTERED, form=form, domain=rows)
    assert found == asked


def test_two_means_are_those_of_a_classical_large_sample_test():
    a, b = (DescrStatsW(SCORE[rows]) for rows in (CHANNEL == "app", CHANNEL == "phone"))
    found = t_test(SCORE, PLAIN, group=CHANNEL)
    assert float(found.effect.estimate) == pytest.approx(b.mean - a.mean)
    welch = (b.mean - a.mean) / np.hypot(a.std_mean, b.std_mean)
    assert found.statistic == pytest.approx(welch, rel=0.01)


def test_a_mean_is_students():
    classic = stats.ttest_1samp(SCORE, 0)
    found = t_test(SCORE, PLAIN)
    assert (found.statistic, found.p) == pytest.approx((classic.statistic, classic.pvalue))
    assert float(found.effect.low) == pytest.approx(classic.confidence_interval().low)
    assert found.residual == classic.df


def test_weight_two_is_two_rows_for_the_effect():
    twice = np.repeat(np.arange(N), 2)
    store = np.concatenate([STORE])
    doubled = t_test(SCORE[twice], design(np.ones(2 * N), psu=store[twice]), group=CHANNEL[twice])
    weighted = t_test(SCORE, design(np.full(N, 2.0), psu=store), group=CHANNEL)
    assert doubled.statistic == pytest.approx(weighted.statistic)


def test_ranks_of_a_simple_sample_are_wilcoxons():
    found = rank_test(SCORE, CHANNEL, PLAIN)
    classic = stats.mannwhitneyu(SCORE[CHANNEL == "phone"], SCORE[CHANNEL == "app"])
    sizes = np.unique(CHANNEL, return_counts=True)[1]
    shift = classic.statistic / np.prod(sizes) - 1 / 2  # mean rank share differs by this much
    assert float(found.effect.estimate) == pytest.approx(shift)
    assert found.p == pytest.approx(classic.pvalue, rel=0.15)
    several = rank_test(SCORE, KIND, PLAIN)
    groups = [SCORE[k == KIND] for k in "abc"]
    assert several.p == pytest.approx(stats.kruskal(*groups).pvalue, rel=0.15)


def test_any_rising_change_of_values_leaves_ranks():
    for scores in ("wilcoxon", "van der waerden", "median"):
        one, other = (rank_test(v, KIND, CLUSTERED, scores=scores) for v in (SCORE, SCORE**3))
        assert one == other


def test_ties_by_rows_are_ties_by_weight_where_weights_are_equal():
    even, coarse = design(np.ones(N), psu=STORE), np.round(SCORE)
    one, other = (rank_test(coarse, CHANNEL, even, ties=t) for t in ("middle", "average"))
    assert one.statistic == pytest.approx(other.statistic)


def test_size_of_the_tests_under_clusters():
    """Nothing differs: about 5 % of the tests say that something does."""
    rng, rejected = np.random.default_rng(30), np.zeros(3)
    store = np.repeat(np.arange(40), 10)
    for _ in range(200):
        y = rng.normal(size=400) + rng.normal(size=40)[store] / 2
        group = rng.permutation(np.repeat(["x", "y"], 20))[store]
        made = design(rng.uniform(1, 2, 400), psu=store)
        ps = (t_test(y, made, group=group).p, rank_test(y, group, made).p,
              association(y > 0, group, made).p)  # fmt: skip
        rejected += np.array(ps) < 0.05
    assert (rejected / 200 > 0.015).all()
    assert (rejected / 200 < 0.1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: association(["a"] * N, CHANNEL, PLAIN), "1 by 2 levels"),
        (lambda: association(KIND, CHANNEL, PLAIN, form="Chisq"), "Nearest: chisq"),
        (lambda: association(KIND[:5], CHANNEL, PLAIN), "5 values for a design of 240 rows"),
        (lambda: association([None] * N, CHANNEL, PLAIN), "none in the domain"),
        (lambda: t_test(np.ones(N), PLAIN), "variance of 0"),
        (lambda: t_test(SCORE, PLAIN, group=KIND), "3 groups with weight"),
        (lambda: t_test(SCORE, design(np.ones(N), psu=np.zeros(N)), group=CHANNEL), "one sampled"),
        (lambda: rank_test(SCORE, ["a"] * N, PLAIN), "one group"),
        (lambda: rank_test(SCORE, CHANNEL, PLAIN, scores="rank"), "is not known"),
        (lambda: rank_test(SCORE, STORE, CLUSTERED), "degrees of freedom"),
        (lambda: joint(np.ones(2), np.ones((2, 2)), 9.0), "cannot tell 2 comparisons apart"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(MethodError, match=message):
        call()


def test_a_cell_without_rows_is_a_cell():
    first = np.where(KIND == "a", "phone", CHANNEL)
    assert association(KIND, first, CLUSTERED).p < 0.05
    with pytest.raises(MethodError, match="cannot tell 4 comparisons apart"):
        association(KIND, KIND, CLUSTERED, form="wald")


def test_subset_counts_what_has_weight():
    made = design([0, 1, 1, 2], psu=["a", "b", "c", "d"])
    found = Subset.of(made, [True, True, True, False], [1, 2, 3, 4])
    assert (found.n, found.freedom, found.weights.tolist()) == (2, 1, [0, 1, 1])
    assert np.isnan(found.errors(np.full((3, 2), np.nan))).all()


def test_holm_is_that_of_statsmodels():
    ps = np.random.default_rng(1).uniform(0, 0.2, 15)
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_holm_steps_down_in_each_family(ps, level):
    kept = 0
    for p in sorted(ps):
        if p * (len(ps) - kept) > level:
            break
        kept += 1
    assert (holm(ps) <= level).sum() == kept
    twice = holm([*ps, *ps], ["a"] * len(ps) + ["b"] * len(ps))
    assert twice.tolist() == [*holm(ps), *holm(ps)]
