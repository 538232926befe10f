"""Estimates, waves, quantiles and the cube: properties, hand counts, and small coverage runs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm.errors import MethodError
from dealerqm.psychometrics.answers import at_least
from dealerqm.sampling.compare import RULES, change, contrast, quantile, together
from dealerqm.sampling.cube import cube, read_cells
from dealerqm.sampling.design import calibrated, design
from dealerqm.sampling.estimate import mean, nps, ratio, total
from dealerqm.sampling.variance import covariance, domains
from dealerqm.stats import shares
from dealerqm.weights.calibration import calibrate
from dealerqm.weights.raking import rake

NAN = float("nan")
FIELDS = ("estimate", "se", "low", "high", "df", "n", "n_eff", "deff")
ANSWER = st.sampled_from([NAN, 0.0, 5.0, 6.0, 8.0, 9.0, 10.0])
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 3), ANSWER,
        st.sampled_from([0.0, 0.3, 1.0, 1 / 3, 2.5]), st.integers(-1, 2), st.integers(0, 1),
    ),
    min_size=0, max_size=40,
)  # fmt: skip
BASE = [(h, j, 5.0 + 3 * j, 1.0, j % 3, j % 2) for h in (0, 1) for j in range(4)]
FEW = settings(max_examples=20)


def same(one, two, fields=FIELDS):
    for name in fields:
        got, expected = getattr(one, name), getattr(two, name)
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True), name
    assert one.flag.tolist() == two.flag.tolist()


# ---------------------------------------------------------------- the cube


@FEW
@given(ROWS, st.booleans(), st.sampled_from([None, 60]), st.booleans())
def test_cells_give_what_the_rows_give(rows, clustered, size, raked):
    stratum, psu, y, w, domain, margin = map(np.array, zip(*(BASE + rows), strict=True))
    sample = design(w, psu=psu if clustered else None, strata=stratum, size=size)
    if raked:
        made = rake(w, {"m": margin}, {"m": [30.0, 50.0]})
        sample = calibrated(sample, made.weights, on=made.on)
    cells = cube(sample, domain=domain).cells(y)
    for estimate in (mean, total, nps):
        one = estimate(sample, y, domain=domain)
        two = estimate(cells.design, cells.value, domain=cells.domain)
        same(two, one)
    top = [mean(d, at_least(v, 9), domain=g, method="wilson") for d, v, g in (
        (sample, y, domain), (cells.design, cells.value, cells.domain))]  # fmt: skip
    same(top[1], top[0])
    errors = [covariance(d, mean(d, v, domain=g).scores) for d, v, g in (
        (sample, y, domain), (cells.design, cells.value, cells.domain))]  # fmt: skip
    assert errors[1] == pytest.approx(errors[0], rel=1e-9, abs=1e-13)


def test_cells_of_two_stages_and_of_many_answers():
    rng = np.random.default_rng(1)
    n = 60
    store, person = np.repeat(np.arange(6), 10), np.tile(np.repeat(np.arange(5), 2), 6)
    sample = design(None, psu=[store, person], size=[np.full(n, 30), np.full(n, 40)])
    y = rng.normal(size=n)  # more answers than rows: cells are rows
    cells = cube(sample, domain=store % 2).cells(y)
    same(mean(cells.design, cells.value, domain=cells.domain), mean(sample, y, domain=store % 2))
    y = rng.integers(1, 4, n).astype(float)
    made = cube(sample, domain=store % 2)
    for item in (y, 4 - y):  # the layout serves many items
        cells = made.cells(item)
        one = mean(cells.design, cells.value, domain=cells.domain)
        same(one, mean(sample, item, domain=store % 2))


def test_a_cube_of_a_cube_is_the_same():
    sample = design([1, 2, 3, 4], psu=["a", "a", "b", "b"])
    cells = cube(sample).cells([9, 9, 8, 9])
    again = cube(cells.design).cells(cells.value)
    same(mean(again.design, again.value), mean(sample, [9, 9, 8, 9]))


def test_cells_of_a_frame():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(
        {"domain": rng.choice(["x", "y", "z"], 200), "stratum": rng.choice(["n", "s"], 200),
         "psu": rng.integers(0, 8, 200).astype(str), "answer": rng.integers(1, 11, 200),
         "w": rng.uniform(1, 3, 200)}
    )  # fmt: skip
    rows["answer"] = rows["answer"].astype("Int64").where(rng.random(200) > 0.1)
    keys = ["domain", "stratum", "psu", "answer"]
    frame = rows.assign(n=1, w2=rows["w"] ** 2).groupby(keys, dropna=False, as_index=False).sum()
    number = rows["domain"].map({"x": 0, "y": 1, "z": 2}).to_numpy()
    y = rows["answer"].to_numpy(float, na_value=NAN)
    for chosen in (["psu"], []):
        psu = rows["psu"] if chosen else None
        found = read_cells(frame if chosen else frame.drop(columns="psu"))
        sample = design(rows["w"], psu=psu, strata=rows["stratum"])
        assert found.names.tolist() == ["x", "y", "z"]
        same(mean(found.design, found.value, domain=found.domain), mean(sample, y, domain=number))
    with pytest.raises(MethodError, match="cells: 'w2' is not known"):
        read_cells(frame.drop(columns="w2"))


def test_a_cube_needs_margins():
    w = np.ones(6)
    made = calibrate(w, {"1": w, "age": np.arange(6.0)}, {"1": 6.0, "age": 20.0})
    with pytest.raises(MethodError, match="cube: the weights were calibrated on numbers"):
        cube(calibrated(design(w), made.weights, on=made.on))


# ---------------------------------------------------------------- shares, scores, differences


def test_a_net_promoter_score_by_hand():
    # 3 promoters, 1 detractor of 6: p = 1/2, q = 1/6, s² = 6/5 (2/3 - 1/9), se² = s²/6
    found = nps(design(np.ones(6)), [10, 9, 9, 8, 7, 6], small=0)
    assert found.estimate[0] == pytest.approx(1 / 3)
    assert found.se[0] ** 2 == pytest.approx((2 / 3 - 1 / 9) / 5)
    assert found.low[0] == pytest.approx(1 / 3 - 2.570582 * found.se[0], rel=1e-6)
    few = nps(design(np.ones(6)), [10, 9, 9, 8, 7, 6])
    n = 6 * 5 / 6  # (p + q - (p-q)²) / se² with t(5)/t(5)
    up, down = (n / 2 + 0.75) / (n + 3), (n / 6 + 0.75) / (n + 3)
    half = 1.959964 * np.sqrt((up + down - (up - down) ** 2) / (n + 3))
    assert (few.low[0], few.high[0]) == pytest.approx((up - down - half, up - down + half))


def test_all_promoters_have_an_interval():
    found = nps(design(np.ones(8), psu=np.arange(8) // 2), [10] * 8)
    assert found.flag.tolist() == ["constant"]
    assert -1 < found.low[0] < 0.9
    assert found.high[0] == 1


def test_shares_need_zeros_and_ones():
    with pytest.raises(MethodError, match="values: row 1 is 7; a share needs 0 to 1"):
        mean(design([1, 1]), [1, 7], method="wilson")
    with pytest.raises(MethodError, match=r"method: 'wilsn' is not known\. Nearest: wilson"):
        mean(design([1, 1]), [1, 0], method="wilsn")


def test_every_interval_of_a_share_holds_the_share():
    sample = design(np.ones(60), psu=np.arange(60) // 6)
    y = (np.arange(60) % 7 < 3) * 1.0
    for method in shares.METHODS:
        found = mean(sample, y, method=method)
        assert found.low[0] < found.estimate[0] < found.high[0], method


@FEW
@given(st.lists(st.tuples(ANSWER, ANSWER), min_size=6, max_size=20))
def test_a_change_is_the_contrast_of_its_waves(pairs):
    first = np.array([[1.0, 3.0], [6.0, 2.0], [4.0, 9.0], *pairs])
    store = np.arange(len(first)) % 4
    y, psu = first.T.ravel(), np.tile(store, 2)
    wave = np.repeat([0, 1], len(first))
    sample = design(np.ones(y.size), psu=psu)
    before, after = (mean(sample, y, domain=wave == k) for k in (0, 1))
    found = change(sample, before, after)
    known = contrast(sample, together(before, after), [[-1, 1]], df=float(found.df[0]))
    for name in ("estimate", "se", "low", "high", "p", "independent"):
        got, expected = getattr(found, name)[0], getattr(known, name)[0]
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
    assert found.shared[0] == 4


def test_a_change_of_domains_where_one_wave_lacks_the_last():
    y, wave = np.array([1.0, 3, 5, 2, 4, 8, 9, 9]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    region = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    sample = design(np.ones(8), psu=[0, 1, 2, 3, 0, 1, 2, 3])
    before, after = (mean(sample, y, domain=np.where(wave == k, region, -1)) for k in (0, 1))
    found = change(sample, before, after)
    assert found.estimate[0] == pytest.approx(6 - 2.75)
    assert np.isnan(found.estimate[1])
    assert found.shared.tolist() == [2, 0]
    with pytest.raises(MethodError, match="change: a row is in two domains"):
        change(sample, mean(sample, y, domain=region), mean(sample, y, domain=1 - region))


def test_contrasts_give_no_error_where_an_estimate_has_none():
    sample = design(np.ones(5), psu=["a", "a", "b", "b", "c"])
    both = mean(sample, [1, 2, 3, 4, 5], domain=[0, 1, 0, 1, 2])
    found = contrast(sample, both, [[1, -1, 0], [1, 0, -1]])
    assert np.isnan(found.se).tolist() == [False, True]


def test_ratios_of_items_have_one_covariance():
    rng = np.random.default_rng(4)
    sample = design(rng.uniform(1, 2, 50), psu=np.arange(50) // 5)
    y, x = rng.normal(5, 1, 50), rng.uniform(1, 2, 50)
    one, two = ratio(sample, y, x), ratio(sample, x, y)
    both = covariance(sample, together(one, two).scores)
    # R and 1/R: opposite influence, scaled by -1/R²
    assert both[0, 1] == pytest.approx(-both[0, 0] / one.estimate[0] ** 2, rel=1e-9)


def test_domains_worked_out_once_serve_every_estimate():
    sample = design(np.ones(6), psu=[0, 0, 1, 1, 2, 2])
    group = np.array([0, 1, 0, 1, 0, 1])
    once = domains(sample, group)
    y = np.arange(6.0)
    same(mean(sample, y, domain=once), mean(sample, y, domain=group))
    assert domains(sample, once) is once


# ---------------------------------------------------------------- quantiles


@FEW
@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=30), st.sampled_from([0.1, 0.25, 0.5, 0.9])
)
def test_quantiles_of_equal_weights_are_those_of_numpy(values, p):
    y = np.array(values, float)
    names = {
        "math": "inverted_cdf", "school": "averaged_inverted_cdf",
        "hf4": "interpolated_inverted_cdf", "hf5": "hazen", "hf6": "weibull", "hf7": "linear",
        "hf8": "median_unbiased", "hf9": "normal_unbiased",
    }  # fmt: skip
    sample = design(np.ones(y.size))
    for rule, name in names.items():
        found = quantile(sample, y, [p], rule=rule).estimate[0]
        assert found == pytest.approx(np.quantile(y, p, method=name), abs=1e-9), rule


@FEW
@given(st.lists(st.integers(0, 9), min_size=3, max_size=20), st.sampled_from(sorted(RULES)))
def test_quantiles_rise_and_do_not_know_the_unit_of_weights(values, rule):
    y = np.array(values, float)
    w = 1.0 + np.arange(y.size) % 3
    probs = [0.05, 0.3, 0.5, 0.8, 1.0]
    one, two = (quantile(design(w * f), y, probs, rule=rule).estimate for f in (1, 1e3))
    assert one == pytest.approx(two)
    assert (np.diff(one) >= -1e-9).all()


def test_weight_two_is_two_answers_for_quantiles():
    y, w = np.array([1.0, 4, 6, 9]), np.array([2.0, 1, 1, 2])
    heavy = quantile(design(w), y, [0.2, 0.5, 0.7]).estimate
    rows = quantile(design(np.ones(6)), np.repeat(y, w.astype(int)), [0.2, 0.5, 0.7]).estimate
    assert heavy.tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("values", "chosen", "message"),
    [
        ([NAN, NAN], {"probs": [0.5]}, "values: nobody with weight answered"),
        ([1, 2], {"probs": [1.5]}, "probs: 1.5; allowed: 0 to 1"),
        ([1, 2], {"probs": [0.5], "rule": "maths"}, "rule: 'maths' is not known. Nearest: math"),
    ],
)
def test_quantiles_that_nobody_can_give_are_refused(values, chosen, message):
    with pytest.raises(MethodError, match=message):
        quantile(design([1, 1]), values, chosen.pop("probs"), **chosen)


def test_one_answer_is_every_quantile_without_an_interval():
    found = quantile(design([1, 1]), [7, NAN], [0.1, 0.9], rule="hf7")
    assert found.estimate.tolist() == [7, 7]
    assert np.isnan(found.low).all()


# ---------------------------------------------------------------- coverage, small


def test_intervals_of_clustered_answers_cover(seed=11, samples=400):
    """200 samples of 10 stores × 3 answers; the full runs are in sampling_simulations.py."""
    rng = np.random.default_rng(seed)
    shift = np.repeat(rng.normal(0, 0.25, (samples, 10)), 3, axis=1)
    x = shift + rng.normal(0, 1, shift.shape)
    answers = np.digitize(x / np.sqrt(1 + 0.25**2), [-0.8416, 0.0]) * 4 + 2.0  # 2, 6, 10
    held = [[], []]
    for row in answers:
        sample = design(np.ones(30), psu=np.arange(30) // 3)
        found = nps(sample, row), mean(sample, at_least(row, 9), method="wilson")
        for kept, one, truth in zip(held, found, (0.0, 0.5), strict=True):
            kept.append(one.low[0] <= truth <= one.high[0])
    assert 0.91 <= np.mean(held[0]) <= 0.985
    assert 0.91 <= np.mean(held[1]) <= 0.985
