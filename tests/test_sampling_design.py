"""Designs and variances: against plain loops, R in the reference cases, and every bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Calibration, calibrated, codes, design
from dealerqm.sampling.estimate import mean, ratio, total
from dealerqm.sampling.variance import Scores, covariance, domains, support, variance

ROW = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.sampled_from([None, 0, 3, 7, 9, 10]),
    st.sampled_from([0.5, 1.0, 2.0, 3.25]), st.integers(-1, 2),
)  # fmt: skip
BASE = [
    (0, 0, 10, 1.0, 0), (0, 1, 0, 1.0, 1), (0, 2, 7, 1.0, 2),
    (1, 0, 9, 1.0, 0), (1, 1, 3, 1.0, 1), (1, 2, 10, 1.0, 2),
]  # fmt: skip
SAMPLES = st.lists(ROW, max_size=18).map(lambda rows: BASE + rows)
FEW = settings(max_examples=20)
NAN = float("nan")


def parts(rows):
    stratum, psu, y, weight, domain = zip(*rows, strict=True)
    y = np.array([NAN if v is None else v for v in y], float)
    return np.array(stratum), np.array(psu), y, np.array(weight), np.array(domain)


def plain(rows, size=None, clustered=True):
    """Means of domains and their covariances, by loops over strata and units."""
    stratum, psu, y, w, domain = parts(rows)
    known = ~np.isnan(y)
    found, z = [], []
    for d in range(domain.max() + 1):
        here = known & (domain == d)
        found.append((w * np.nan_to_num(y))[here].sum() / w[here].sum())
        z.append(np.where(here, w * (np.nan_to_num(y) - found[-1]) / w[here].sum(), 0.0))
    z = np.array(z)
    table = np.zeros((len(z), len(z)))
    for h in set(stratum):
        units = sorted({(h, p) for s, p in zip(stratum, psu, strict=True) if s == h})
        rows_of = [[i] for i in np.flatnonzero(stratum == h)] if not clustered else [
            np.flatnonzero((stratum == h) & (psu == p)) for _, p in units
        ]  # fmt: skip
        sums = np.array([z[:, held].sum(axis=1) for held in rows_of])
        n = len(sums)
        away = sums - sums.mean(axis=0)
        table += (1 - n / size if size else 1) * n / (n - 1) * away.T @ away
    return np.array(found), table


@FEW
@given(SAMPLES, st.sampled_from([None, 40]), st.booleans())
def test_variances_are_those_of_plain_loops(rows, size, clustered):
    stratum, psu, y, w, domain = parts(rows)
    sample = design(w, psu=psu if clustered else None, strata=stratum, size=size)
    found = mean(sample, y, domain=domain)
    estimates, table = plain(rows, size, clustered)
    assert found.estimate == pytest.approx(estimates, rel=1e-12)
    errors = covariance(sample, found.scores)
    assert errors == pytest.approx(table, rel=1e-10, abs=1e-15)
    assert np.diag(errors) == pytest.approx(variance(sample, found.scores), rel=1e-10, abs=1e-15)


@FEW
@given(SAMPLES, st.permutations(range(3)), st.randoms(use_true_random=False))
def test_order_of_rows_and_names_do_not_matter(rows, names, random):
    stratum, psu, y, w, domain = parts(rows)
    one = mean(design(w, psu=psu, strata=stratum), y, domain=domain)
    turned = rows.copy()
    random.shuffle(turned)
    stratum, psu, y, w, domain = parts(turned)
    renamed = np.where(domain < 0, -1, np.array([*names, -1])[domain])
    units = np.array(["x", "y", "z"])[np.array(names)[psu]]
    other = mean(design(w, psu=units, strata=-stratum), y, domain=renamed)
    for name in ("estimate", "se", "low", "n", "n_eff", "deff", "df"):
        got = getattr(other, name)[list(names)]
        assert got == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-12, nan_ok=True)


@FEW
@given(SAMPLES)
def test_weight_two_is_two_rows_of_one_unit(rows):
    heavy = [(h, j, y, 2 * w, d) for h, j, y, w, d in rows]
    one, two = (
        [f(design(w, psu=p, strata=s), y, domain=d) for f in (mean, total)]
        for s, p, y, w, d in (parts(heavy), parts(rows + rows))
    )
    for got, expected in zip(two, one, strict=True):
        assert got.estimate == pytest.approx(expected.estimate, rel=1e-12)
        assert got.se == pytest.approx(expected.se, rel=1e-9, abs=1e-12, nan_ok=True)
        assert got.df.tolist() == expected.df.tolist()


@FEW
@given(SAMPLES, st.sampled_from([0.001, 7.0, 1e6]))
def test_the_unit_of_weights_and_answers_does_not_matter(rows, factor):
    stratum, psu, y, w, domain = parts(rows)
    one = mean(design(w, psu=psu, strata=stratum), y, domain=domain)
    other = mean(design(w * factor, psu=psu, strata=stratum), y * factor, domain=domain)
    assert other.estimate == pytest.approx(one.estimate * factor, rel=1e-12)
    assert other.se == pytest.approx(one.se * factor, rel=1e-9, abs=1e-12, nan_ok=True)


def test_second_stages_add_what_their_units_differ():
    # two of four stores, two of five customers each; by hand:
    # stage 1: (1-2/4) 2/1 ((80-100)² + (120-100)²) = 800; stage 2: 2/4 (1-2/5) 2/1 (σ) per store
    sample = design(
        None, psu=[["a", "a", "b", "b"], [1, 2, 1, 2]], size=[[4] * 4, [5] * 4]
    )  # fmt: skip
    assert sample.weights.tolist() == [5.0] * 4
    y = [6, 10, 10, 14]
    assert total(sample, y).estimate[0] == 200
    z = 5 * np.array(y)
    first = 0.5 * 2 * ((z[:2].sum() - 100) ** 2 + (z[2:].sum() - 100) ** 2)
    second = sum(0.5 * 0.6 * 2 * ((part - part.mean()) ** 2).sum() for part in (z[:2], z[2:]))
    assert total(sample, y).se[0] ** 2 == pytest.approx(first + second, rel=1e-12)
    alone = total(design(np.full(4, 5.0), psu=[["a", "a", "b", "b"], [1, 2, 1, 2]]), y)
    assert alone.se[0] ** 2 == pytest.approx(2 * first, rel=1e-12)  # the first stage carries all


def test_a_stratum_sampled_whole_adds_nothing_and_is_not_lonely():
    sample = design([1, 2, 2], strata=["a", "b", "b"], size=[1, 4, 4])
    assert sample.stages[0].scale.tolist() == [0.0, 1.0]
    assert total(sample, [5, 1, 3]).se[0] == pytest.approx(np.sqrt(0.5 * 2 * (4 + 4)))


def test_rows_of_weight_zero_stay_units():
    with_zero, without = design([1, 1, 1, 0]), design([1, 1, 1])
    y = [1, 2, 3, 50]
    assert with_zero.stages[0].sampled[0] == 4
    one, two = mean(with_zero, y), mean(without, y[:3])
    assert one.estimate == two.estimate
    assert one.df[0] == two.df[0] == 2
    assert one.se[0] == pytest.approx(np.sqrt(4 / 3 * 2 / 9))  # not √(3/2 · 2/9)


def test_calibration_takes_out_what_the_totals_tell():
    rng = np.random.default_rng(3)
    margin, x = np.arange(40) % 3, rng.normal(size=40)
    w = rng.uniform(1, 3, 40)
    start = design(w, psu=np.arange(40) // 4)
    known = Calibration(start.weights, (margin,), np.column_stack([np.ones(40), x]))
    after = calibrated(start, w * 1.1, on=known)
    exact = 2.0 * x + np.array([1.0, 5.0, -3.0])[margin]
    assert total(after, exact).se[0] == pytest.approx(0, abs=1e-9)
    y = exact + rng.normal(size=40)
    model = np.column_stack([np.eye(3)[margin], x])
    slope = np.linalg.lstsq(model * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    left = Scores.of(y - model @ slope)
    plain_design = design(w * 1.1, psu=np.arange(40) // 4)
    assert total(after, y).se[0] ** 2 == pytest.approx(variance(plain_design, left)[0], rel=1e-9)


def test_calibrations_one_after_the_other():
    w, a, b = np.ones(12), np.arange(12) % 2, np.arange(12) // 6
    start = design(w)
    first = calibrated(start, 2 * w, on=Calibration(start.weights, (a,)))
    both = calibrated(first, 2 * w, on=Calibration(first.weights, (b,)))
    y = np.array([1.0, 5.0])[a] + np.array([0.0, 9.0])[b]
    assert total(first, y).se[0] > 1
    assert total(both, y).se[0] == pytest.approx(0, abs=1e-9)


def test_the_regression_on_known_totals_is_worked_out_once_per_design():
    rng = np.random.default_rng(4)
    w, margin = rng.uniform(1, 3, 60), np.arange(60) % 3
    start = design(w, psu=np.arange(60) // 4)
    after = calibrated(start, 1.1 * w, on=Calibration(start.weights, (margin,)))
    kept = after.explained
    for y in rng.normal(size=(3, 60)):
        fresh = calibrated(start, 1.1 * w, on=Calibration(start.weights, (margin,)))
        assert mean(after, y).se[0] == mean(fresh, y).se[0]  # to the last bit
    assert after.explained is kept


def test_designs_do_not_change():
    sample = design([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        sample.weights[0] = 5
    with pytest.raises(AttributeError):
        sample.weights = np.ones(2)
    given_weights = np.array([1.0, 2.0])
    sample = design(given_weights)
    given_weights[0] = 9  # the caller's own array stays his
    assert sample.weights[0] == 1


def test_support_counts_units_with_weight():
    sample = design([1, 1, 0, 1], psu=["a", "a", "b", "c"], strata=[1, 1, 1, 1])
    column = np.array([0, 0, 0, 1])
    assert [part.tolist() for part in support(sample, column, 2)] == [[1, 1], [1, 1]]
    assert domains(sample).df.tolist() == [1]


def test_many_domains_of_many_units_take_the_sparse_road():
    rng = np.random.default_rng(0)
    n = 30_000
    domain, y = rng.integers(0, 3000, n), rng.integers(1, 11, n).astype(float)
    sample = design(np.ones(n), psu=rng.integers(0, 2900, n))
    found = mean(sample, y, domain=domain)
    few = mean(sample, y, domain=np.where(domain < 5, domain, -1))
    assert found.se[:5] == pytest.approx(few.se, rel=1e-10)


# ---------------------------------------------------------------- bad input

W, TWO = [1.0, 1.0, 1.0, 1.0], ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"weights": [1, -2, 1, 1]}, r"weights: 1 negative, the first in row 1 \(-2\)"),
        ({"weights": [1, NAN, 1, NAN]}, "weights: 2 missing, the first in row 1"),
        ({"weights": [1, np.inf, 1, 1]}, "weights: 1 infinite"),
        ({"weights": [0, 0, 0, 0]}, "weights: all are 0"),
        ({"weights": []}, "design: no rows"),
        ({"weights": W, "psu": ["a", "b"]}, r"design: arrays of \[2, 4\] rows"),
        ({"weights": W, "psu": ["a", None, "b", "b"]}, "psu of stage 1: 1 rows have no value, the"),
        ({"weights": W, "strata": ["a", "a", None, None]}, "strata of stage 1: 2 rows have no"),
        ({"weights": W, "strata": ["a", "a", "a", "b"]},
         "strata: 1 of 2 have one sampled unit, the first is 'b'.*Merge it.*lonely='adjust'"),
        ({"weights": W, "psu": TWO, "strata": TWO}, "strata: 2 of 2 have one sampled unit"),
        ({"weights": W, "size": [3, 3, 3, 3]}, "size: 4 units sampled of 3"),
        ({"weights": W, "size": 0.5}, "not a fraction"),
        ({"weights": W, "size": NAN}, "size: stratum 0 has several|size: 4 units sampled of nan"),
        ({"weights": W, "strata": TWO, "size": [9, 8, 7, 7]}, "stratum 'a' has several population"),
        ({"weights": None, "psu": ["a", "b", "c", "d"]}, "weights: none given"),
        ({"weights": W, "lonely": "averge"}, "lonely: 'averge' is not known. Nearest: average"),
    ],
)  # fmt: skip
def test_what_no_design_can_have_is_refused(chosen, message):
    with pytest.raises(MethodError, match=message):
        design(chosen.pop("weights"), **chosen)


@pytest.mark.parametrize(
    ("values", "domain", "message"),
    [
        ([1, 2, 3], None, r"values: shape \(3,\); the design has 4 rows"),
        ([1, 2, np.inf, 3], None, "values: row 2 is infinite"),
        ([1, 2, 3, 4], [0.5, 1, 1, 1], "domain: float64"),
        ([1, 2, 3, 4], [0, 1], r"domain: int64 of shape \(2,\)"),
    ],
)
def test_what_no_estimate_can_take_is_refused(values, domain, message):
    with pytest.raises(MethodError, match=message):
        mean(design(W), values, domain=domain)


@pytest.mark.parametrize(
    ("weights", "psu", "y", "flag"),
    [
        (W, None, [NAN] * 4, "no_answer"),
        ([0, 0, 1, 1], None, [5, 6, NAN, NAN], "no_weight"),
        (W, None, [5, NAN, NAN, NAN], "one_answer"),
        (W, TWO, [5, 9, NAN, NAN], "one_psu"),
        (W, None, [5, 5, 5, 5], "constant"),
        (W, None, [5, 5, 5, 6], ""),
    ],
)
def test_estimates_that_say_little_are_flagged(weights, psu, y, flag):
    found = mean(design(weights, psu=psu), y)
    assert found.flag.tolist() == [flag]
    lost = flag in ("no_answer", "no_weight")
    assert np.isnan(found.estimate[0]) == lost
    expected = {"": False, "constant": False}.get(flag, True)
    assert np.isnan(found.se[0]) == np.isnan(found.low[0]) == expected
    if flag == "constant":
        assert found.se[0] == 0
        assert found.low[0] == found.high[0] == 5


def test_a_domain_with_one_unit_per_stratum_has_no_freedom():
    sample = design(W, psu=["a", "b", "c", "d"], strata=[1, 1, 2, 2])
    found = mean(sample, [1, 2, 3, 4], domain=[0, -1, 0, -1])
    assert found.flag.tolist() == ["no_freedom"]
    assert found.se[0] > 0
    assert np.isnan(found.low[0])


def test_one_store_is_flagged_where_the_store_is_the_unit_and_not_where_customers_are():
    y, store = [10, 8, 2, 9], np.array([0, 0, 1, 1])
    stores = mean(design(W, psu=store), y, domain=store)
    assert stores.flag.tolist() == ["one_psu", "one_psu"]
    customers = mean(design(W, strata=store), y, domain=store)
    assert customers.flag.tolist() == ["", ""]
    assert customers.se == pytest.approx([1.0, 3.5])


@pytest.mark.parametrize(
    ("rule", "expected"), [("remove", 16.0), ("adjust", 16.0 + 49.0), ("average", 32.0)]
)
def test_rules_for_a_lonely_stratum(rule, expected):
    sample = design([1, 1, 1], strata=["a", "a", "b"], lonely=rule)
    # 2/1 · ((1 - 3)² + (5 - 3)²), and the lonely 7 from 0
    assert total(sample, [1, 5, 7]).se[0] ** 2 == pytest.approx(expected)


def test_ratio_leaves_out_rows_without_either_side():
    found = ratio(design(W), [1, NAN, 3, 2], [2, 5, NAN, 2])
    assert found.estimate[0] == 3 / 4
    assert found.n[0] == 2
    assert np.isnan(ratio(design(W), [1, 1, 1, 1], [0, 0, 0, 0]).estimate[0])


def test_labels_are_numbered_in_order():
    found, names = codes(np.array([3, 1, 3]), where="store")
    assert found.tolist() == [1, 0, 1]
    assert names.tolist() == [1, 3]
    with pytest.raises(MethodError, match="store: 1 rows have no value, the first is row 1"):
        codes(["a", None], where="store")
