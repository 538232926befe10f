"""Weights: what they meet, what is refused and how, and the people who did not answer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm.errors import MethodError
from dealerqm.sampling.design import calibrated, design
from dealerqm.sampling.estimate import total
from dealerqm.weights.calibration import (
    calibrate,
    respond,
    response_classes,
    response_propensity,
)
from dealerqm.weights.raking import poststratify, rake
from dealerqm.weights.weighting import recalled, refitted, trim

RNG = np.random.default_rng(5)
N = 300
SEX, AGE = RNG.choice(["f", "m"], N), RNG.choice(["old", "mid", "new"], N, p=[0.2, 0.3, 0.5])
START = RNG.uniform(0.5, 3, N)
MARGINS = {"sex": SEX, "age": AGE}
TARGETS = {"sex": {"f": 600.0, "m": 400.0}, "age": {"old": 300.0, "mid": 300.0, "new": 400.0}}
FEW = settings(max_examples=20)
NAN = float("nan")


def slow_raking(weights, margins, targets, cycles=300):
    """Raking row by row, in plain loops over the levels."""
    w = np.array(weights, float)
    for _ in range(cycles):
        for name, levels in targets.items():
            for level, wanted in levels.items():
                here = np.asarray(margins[name]) == level
                w[here] *= wanted / w[here].sum()
    return w


# ---------------------------------------------------------------- raking


def test_raking_is_that_of_plain_loops():
    found = rake(START, MARGINS, TARGETS)
    assert found.weights == pytest.approx(slow_raking(START, MARGINS, TARGETS), rel=1e-9)
    assert found.verdict == "met"
    assert found.gaps.margin.tolist() == ["sex"] * 2 + ["age"] * 3
    assert np.abs(found.gaps.gap).max() < 1e-9
    w = found.weights
    assert found.deff == pytest.approx(N * (w**2).sum() / w.sum() ** 2)


@FEW
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([0.5, 1.0, 4.0])),
             max_size=30),
    st.tuples(*[st.integers(1, 9)] * 5), st.randoms(use_true_random=False),
)  # fmt: skip
def test_order_names_and_scale_of_rows_do_not_matter(rows, wanted, random):
    rows = [(a, b, 1.0) for a in range(3) for b in range(2)] + rows
    a, b, w = map(np.array, zip(*rows, strict=True))
    sums = (np.array(wanted[:3]) / sum(wanted[:3]), np.array(wanted[3:]) / sum(wanted[3:]))
    one = rake(w, {"a": a, "b": b}, {"a": sums[0], "b": sums[1]}).weights
    order = list(range(len(rows)))
    random.shuffle(order)
    names = np.array(["x", "y", "z"])[a][order]
    table = {"a": dict(zip("xyz", sums[0] * 50, strict=True)), "b": sums[1] * 50}
    two = rake(7 * w[order], {"a": names, "b": b[order]}, table).weights
    assert two == pytest.approx(50 * one[order], rel=1e-7)


@FEW
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=20))
def test_weight_two_is_two_rows(rows):
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), *rows]
    a, b = map(np.array, zip(*rows, strict=True))
    targets = {"a": [30.0, 10.0], "b": [15.0, 25.0]}
    heavy = rake(np.full(a.size, 2.0), {"a": a, "b": b}, targets).weights
    both = rake(np.ones(2 * a.size), {"a": np.tile(a, 2), "b": np.tile(b, 2)}, targets).weights
    assert both[: a.size] + both[a.size :] == pytest.approx(heavy, rel=1e-8)


def test_a_weight_of_zero_stays_zero():
    w = np.where(np.arange(N) < 5, 0.0, START)
    found = rake(w, MARGINS, TARGETS)
    assert (found.weights[:5] == 0).all()
    assert found.verdict == "met"


def test_strings_of_any_kind_are_levels():
    plain = rake(START, MARGINS, TARGETS).weights
    for kind in ("str", object, "category"):
        margins = {name: pd.Series(values).astype(kind) for name, values in MARGINS.items()}
        assert (rake(START, margins, TARGETS).weights == plain).all()
    lists = {name: values.tolist() for name, values in MARGINS.items()}
    assert (rake(START, lists, TARGETS).weights == plain).all()


def test_many_margins_take_the_sparse_road():
    codes = {f"m{i}": RNG.integers(0, 12, 4000) for i in range(7)}  # 12⁷ cells
    targets = {name: np.full(12, 100.0) for name in codes}
    found = rake(np.ones(4000), codes, targets)
    assert found.verdict == "met"


def test_poststrata_are_met_in_one_step():
    found = poststratify(START, AGE, TARGETS["age"])
    for level, wanted in TARGETS["age"].items():
        assert found.weights[level == AGE].sum() == pytest.approx(wanted)
    assert found.iterations <= 2
    after = calibrated(design(START), found.weights, on=found.on)
    assert total(after, AGE == "old").se[0] == pytest.approx(0, abs=1e-9)


def test_other_weights_of_the_same_rows_are_raked_alike():
    known = rake(START, MARGINS, TARGETS)
    table = recalled(known)
    cells = np.bincount(table.cell, START)
    factor = refitted(table, np.column_stack([cells, 2 * cells]))
    assert START * factor[table.cell, 0] == pytest.approx(known.weights, rel=1e-8)
    assert factor[:, 1] == pytest.approx(factor[:, 0] / 2)


# ---------------------------------------------------------------- bad input


def changed(**parts):
    return {name: {**TARGETS[name], **levels} for name, levels in parts.items()} | {
        name: TARGETS[name] for name in TARGETS if name not in parts
    }


@pytest.mark.parametrize(
    ("margins", "targets", "message"),
    [
        ({}, changed(sex={"f": 595.0, "x": 5.0}),
         r"nobody in the sample has sex=x, which has a target of 5\. Merge it with .*, sex=m say"),
        ({}, {"sex": {"f": 1000.0}}, r"sex=m has \d+ rows and no target; targets .* for f\. Add"),
        ({"age": np.where(np.arange(N) == 4, None, AGE)}, TARGETS,
         "margin age: 1 rows have no value, the first is row 4. Fill it, or make missing a level"),
        ({}, changed(age={"old": 400.0}), "age sums to 1100, sex to 1000; margins of one"),
        ({}, changed(sex={"f": -1.0}), "targets: sex=f is -1.0; allowed: 0 and above"),
        ({}, changed(sex={"f": NAN}), "targets: sex=f is nan"),
        ({}, changed(sex={"f": 0.0, "m": 1000.0}), "targets: sex=f is 0, but rows have that level"),
        ({"sex": SEX[:9]}, TARGETS, "margin sex: 9 rows; there are 300 weights"),
        ({}, {"agee": TARGETS["age"]}, "margins: 'agee' is not known. Nearest: age"),
        ({"sex": np.full(N, 5)}, {"sex": [1.0, 2.0]}, "2 targets without labels need whole"),
    ],
)  # fmt: skip
def test_targets_that_no_weights_can_meet_are_refused_at_once(margins, targets, message):
    with pytest.raises(MethodError, match=message):
        rake(START, {**MARGINS, **margins}, targets)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.where(np.arange(N) == 3, -1.0, START), "weights: 1 negative, the first in row 3"),
        (np.where(np.arange(N) == 3, NAN, START), "weights: 1 missing"),
        (np.where(np.arange(N) == 3, np.inf, START), "weights: 1 infinite"),
        (np.zeros(N), "weights: all are 0"),
    ],
)
def test_weights_that_stand_for_nobody_are_refused(weights, message):
    for call in (
        lambda w: rake(w, MARGINS, TARGETS), lambda w: calibrate(w, {"1": np.ones(N)}, {"1": 5.0}),
        lambda w: respond(w, np.ones(N, bool), SEX),
    ):  # fmt: skip
        with pytest.raises(MethodError, match=message):
            call(weights)


def zero_cell():
    """Nobody is old and male, but the totals leave no room for that."""
    sex, age = (
        np.array(list("fffffmmm")),
        np.array(["old", "old", "new", "mid", "mid"] + ["new"] * 3),
    )
    targets = {"age": {"old": 60.0, "mid": 10.0, "new": 30.0}, "sex": {"f": 40.0, "m": 60.0}}
    return {"sex": sex, "age": age}, targets


def test_a_zero_cell_is_named_with_a_merge_that_helps():
    margins, targets = zero_cell()
    with pytest.raises(MethodError) as caught:
        rake(np.ones(8), margins, targets)
    message = str(caught.value)
    assert "the worst is" in message
    assert "Nobody is age=old with sex=m" in message
    merge = message.rsplit("Merge ", 1)[1]
    one, other = (part.split("=")[1].split(",")[0] for part in merge.split(" with "))
    name = merge.split("=")[0]
    margins[name] = np.where(margins[name] == one, other, margins[name])
    targets[name][other] += targets[name].pop(one)
    assert rake(np.ones(8), margins, targets).verdict == "met"


def test_an_unmet_target_can_be_accepted_with_its_verdict():
    margins, targets = zero_cell()
    found = rake(np.ones(8), margins, targets, unmet="accept")
    assert found.verdict == "unmet"
    assert np.abs(found.gaps.gap).max() > 0.1
    assert found.gaps.achieved[-2:] == pytest.approx([40, 60])  # the last margin is met
    with pytest.raises(MethodError, match=r"unmet: 'acept' is not known\. Nearest: accept"):
        rake(np.ones(8), margins, targets, unmet="acept")


def test_where_no_merge_helps_that_is_said():
    code = np.array([0, 0, 1, 1, 2])  # one margin tells the other, and all totals differ
    with pytest.raises(MethodError, match=r"Nobody is .*No merge of two levels there helps"):
        rake(np.ones(5), {"a": code, "b": code}, {"a": [7.0, 3.0, 5.0], "b": [3.0, 5.0, 7.0]})


# ---------------------------------------------------------------- trimming, calibration


def test_trimming_keeps_the_sum_and_tells_the_gaps():
    start = rake(START, MARGINS, TARGETS)
    once = trim(start, 1, 5)
    assert once.weights.sum() == pytest.approx(1000)
    assert once.verdict == "unmet"
    assert once.gaps.achieved[0] == pytest.approx(once.weights[SEX == "f"].sum())
    fully = trim(start, 2, 5, mode="repeat")
    assert fully.weights.min() >= 2
    assert fully.weights.max() <= 5 + 1e-9
    assert fully.deff < start.deff
    assert trim(start, 0, 1e9).verdict == "met"
    for bounds in ((0, 1), (8, 9)):
        with pytest.raises(MethodError, match=r"trim: 300 weights between .* cannot sum to 1000"):
            trim(start, *bounds)
    with pytest.raises(MethodError, match="mode: 'twice' is not known"):
        trim(start, 0, 5, mode="twice")


X = {"1": np.ones(N), "age": RNG.uniform(20, 60, N), "f": SEX == "f"}
SUMS = {"1": 600.0, "age": 25_000.0, "f": 320.0}


@pytest.mark.parametrize(
    ("distance", "bounds"),
    [
        ("linear", None),
        ("raking", None),
        ("logit", (0.3, 3)),
        ("linear", (0.3, 3)),
        ("raking", (0.3, 3)),
    ],
)
def test_calibrated_weights_meet_every_total(distance, bounds):
    chosen = {"bounds": bounds} if bounds else {}
    found = calibrate(START, X, SUMS, distance=distance, **chosen)
    for name, wanted in SUMS.items():
        assert found.weights @ np.asarray(X[name], float) == pytest.approx(wanted, rel=1e-9)
    if bounds:
        factor = found.weights / START
        assert bounds[0] - 1e-9 <= factor.min()
        assert factor.max() <= bounds[1] + 1e-9
    scaled = calibrate(START, {**X, "age": X["age"] * 1e4}, {**SUMS, "age": SUMS["age"] * 1e4},
                       distance=distance, **chosen)  # fmt: skip
    assert scaled.weights == pytest.approx(found.weights, rel=1e-6)


def test_calibration_on_margins_is_raking():
    levels = {f"{n}={v}": MARGINS[n] == v for n in MARGINS for v in TARGETS[n]}
    sums = {f"{n}={v}": wanted for n in TARGETS for v, wanted in TARGETS[n].items()}
    found = calibrate(START, levels, sums, distance="raking")
    assert found.weights == pytest.approx(rake(START, MARGINS, TARGETS).weights, rel=1e-7)


@pytest.mark.parametrize(
    ("x", "chosen", "message"),
    [
        ({"age": np.where(np.arange(N) == 7, NAN, 1.0)}, {}, "x: age is missing in 1 rows"),
        ({"age": np.ones(4)}, {}, r"x: age has shape \(4,\); there are 300 weights"),
        ({}, {"distance": "logistic"}, "distance: 'logistic' is not known. Nearest: logit"),
        ({}, {"distance": "logit"}, "bounds: -inf to inf; allowed: around 1, for logit both"),
        ({}, {"bounds": (1.1, 2)}, "bounds: 1.1 to 2; allowed: around 1"),
        ({}, {"distance": "logit", "bounds": (0.99, 1.01)},
         r"calibration: \d of 3 targets unmet.*factors are at their bounds of 0.99 and 1.01"),
    ],
)  # fmt: skip
def test_what_calibration_cannot_do_is_refused(x, chosen, message):
    with pytest.raises(MethodError, match=message):
        calibrate(START, {**X, **x}, SUMS, **chosen)


def test_unknown_variables_are_named():
    with pytest.raises(MethodError, match=r"x: 'agee' is not known\. Nearest: age"):
        calibrate(START, X, {"agee": 5.0})


# ---------------------------------------------------------------- who answered


def test_classes_of_response_take_out_a_bias():
    rng = np.random.default_rng(6)
    n = 4000
    visits = rng.integers(0, 6, n)
    y = 5 + visits + rng.normal(size=n)
    answered = rng.random(n) < 0.1 + 0.12 * visits
    fit = response_propensity(visits[:, None], answered)
    classes = response_classes(fit.chance, answered, classes=5, least=20)
    found = respond(np.ones(n), answered, classes)
    raw, weighted = y[answered].mean(), (found.weights * y).sum() / found.weights.sum()
    assert abs(weighted - y.mean()) < 0.25 * abs(raw - y.mean())
    assert found.weights[~answered].sum() == 0
    assert found.weights.sum() == pytest.approx(n)
    assert (np.diff([fit.chance[classes == c].mean() for c in np.unique(classes)]) > 0).all()


def test_small_classes_join_their_neighbour():
    chance = np.repeat([0.1, 0.2, 0.8], 10)
    answered = np.array([True] + [False] * 9 + [True] * 6 + [False] * 4 + [True] * 10)
    found = response_classes(chance, answered, classes=3, least=5)
    assert found.tolist() == [0] * 20 + [1] * 10
    assert set(response_classes(chance, np.zeros(30, bool), classes=3).tolist()) == {0}


def test_a_class_without_an_answer_is_refused():
    with pytest.raises(MethodError, match="nobody in the sample has strata=b"):
        respond([1, 1, 1], [True, True, False], ["a", "a", "b"])


@pytest.mark.parametrize(
    ("x", "answered", "message"),
    [
        ([1, 2, 3], [True, True, True], "answered: 100% answered"),
        ([1, 2, NAN], [True, False, True], "x: a variable is missing"),
        ([1, 2, 3, 4], [False, False, True, True], "tell without error who answered"),
    ],
)
def test_chances_that_cannot_be_estimated_are_refused(x, answered, message):
    with pytest.raises(MethodError, match=message):
        response_propensity(x, answered)
