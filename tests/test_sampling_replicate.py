"""Replicates: against linearised errors, plain loops, and themselves raked row by row."""

import numpy as np
import pytest

from dealerqm.errors import MethodError
from dealerqm.sampling.cube import cube
from dealerqm.sampling.design import design
from dealerqm.sampling.estimate import mean, ratio, total
from dealerqm.sampling.replicate import (
    Replicates,
    Statistic,
    bootstrap,
    half_samples,
    jackknife,
    replicate,
    supplied,
)
from dealerqm.weights.calibration import calibrate
from dealerqm.weights.raking import rake

RNG = np.random.default_rng(8)
N = 120
STORE, AREA = np.arange(N) // 6, np.arange(N) // 60
W, Y, X = RNG.uniform(1, 3, N), RNG.integers(1, 11, N).astype(float), RNG.uniform(1, 2, N)
SEX, AGE = RNG.integers(0, 2, N), RNG.integers(0, 3, N)
SAMPLE = design(W, psu=STORE, strata=AREA)
TARGETS = {"sex": [150.0, 100.0], "age": [80.0, 90.0, 80.0]}


def test_totals_have_the_same_error_by_jackknife_and_by_influence():
    found = replicate(SAMPLE, jackknife(SAMPLE), Statistic((Y, X)))
    assert found.estimate == pytest.approx([W @ Y, W @ X])
    for place, values in enumerate((Y, X)):
        assert found.se[place] == pytest.approx(total(SAMPLE, values).se[0], rel=1e-10)
    limited = design(W, psu=STORE, strata=AREA, size=25)
    found = replicate(limited, jackknife(limited), Statistic((Y,)))
    assert found.se[0] == pytest.approx(total(limited, Y).se[0], rel=1e-10)
    assert found.df[0] == 18


@pytest.mark.parametrize("make", [jackknife, lambda d: bootstrap(d, replicates=3000, seed=4)])
def test_ratios_of_domains_have_nearly_the_error_of_influence(make):
    domain = np.arange(N) % 3 - 1
    statistic = Statistic((Y,), (X,), domain)
    found, expected = replicate(SAMPLE, make(SAMPLE), statistic), ratio(SAMPLE, Y, X, domain=domain)
    assert found.estimate == pytest.approx(expected.estimate)
    assert found.se == pytest.approx(expected.se, rel=0.1)
    assert found.undefined.tolist() == [0, 0]


def test_half_samples_are_balanced():
    for strata in (1, 3, 4, 9):
        rows = 2 * strata
        sample = design(np.ones(rows), psu=np.arange(rows), strata=np.arange(rows) // 2)
        y = RNG.normal(size=rows)
        for fay in (0.0, 0.4):
            made = half_samples(sample, fay=fay)
            assert made.scale.size in (4, 4, 8, 16)
            found = replicate(sample, made, Statistic((y,)))
            assert found.se[0] == pytest.approx(total(sample, y).se[0], rel=1e-10)


def test_cells_of_stores_replicate_like_rows():
    cells = cube(SAMPLE, domain=SEX).cells(Y)
    made = bootstrap(SAMPLE, replicates=50, seed=2)
    one = replicate(SAMPLE, made, Statistic.means(Y, domain=SEX))
    again = bootstrap(cells.design, replicates=50, seed=2)
    two = replicate(cells.design, again, Statistic.means(cells.value, domain=cells.domain))
    assert two.values == pytest.approx(one.values, rel=1e-12)


def test_raking_inside_replicates_on_cells_is_raking_of_the_rows():
    margins = {"sex": SEX, "age": AGE}
    known = rake(W, margins, TARGETS)
    made = bootstrap(SAMPLE, replicates=12, seed=1)
    statistic = Statistic.means(Y, X, domain=AREA)
    one = replicate(SAMPLE, made, statistic, reweight=known)
    two = replicate(
        SAMPLE, made, statistic, reweight=lambda w: rake(w, margins, TARGETS).weights
    )  # fmt: skip
    assert one.estimate == pytest.approx(two.estimate, rel=1e-9)
    assert one.values == pytest.approx(two.values, rel=1e-8)


def test_totals_of_numbers_need_a_function():
    known = calibrate(W, {"1": np.ones(N), "x": X}, {"1": 250.0, "x": 380.0})
    statistic = Statistic.means(Y)
    with pytest.raises(MethodError, match="reweight: totals of numbers need a function"):
        replicate(SAMPLE, jackknife(SAMPLE), statistic, reweight=known)

    def again(weights):
        return calibrate(weights, {"1": np.ones(N), "x": X}, {"1": 250.0, "x": 380.0}).weights

    found = replicate(SAMPLE, jackknife(SAMPLE), statistic, reweight=again)
    assert found.estimate[0] == pytest.approx(known.weights @ Y / known.weights.sum())


def test_a_replicate_that_cannot_meet_the_totals_is_refused():
    level = (STORE == 0).astype(int)  # only the first store has level 1
    known = rake(W, {"level": level}, {"level": [200.0, 20.0]})
    with pytest.raises(MethodError, match="replicates: 1 of 20 cannot meet the totals"):
        replicate(SAMPLE, jackknife(SAMPLE), Statistic.means(Y), reweight=known)


def test_supplied_weights_are_the_replicates_that_made_them():
    made = jackknife(SAMPLE)
    each = made.multiplier[made.unit] * W[:, None]
    found = supplied(W, each, scale=made.scale)
    assert found.multiplier.shape == (20, 20)
    assert found.df == 18
    one, two = (replicate(SAMPLE, r, Statistic.means(Y)) for r in (made, found))
    assert two.se == pytest.approx(one.se, rel=1e-9)
    around = supplied(W, each, scale=made.scale, centre="estimate")
    assert replicate(SAMPLE, around, Statistic.means(Y)).se[0] >= two.se[0]


def test_a_domain_of_one_store_has_no_error():
    found = replicate(SAMPLE, jackknife(SAMPLE), Statistic.means(Y, domain=STORE == 3))
    assert found.undefined.tolist() == [1]
    assert found.estimate[0] == pytest.approx(mean(SAMPLE, Y, domain=STORE == 3).estimate[0])
    assert np.isnan(found.se[0])


def test_missing_answers_do_not_count():
    y = np.where(np.arange(N) % 5 == 0, np.nan, Y)
    found = replicate(SAMPLE, jackknife(SAMPLE), Statistic.means(y))
    expected = mean(SAMPLE, y)
    assert found.estimate[0] == pytest.approx(expected.estimate[0])
    assert found.se[0] == pytest.approx(expected.se[0], rel=0.05)


def test_the_seed_gives_the_replicates():
    one, two, other = (bootstrap(SAMPLE, replicates=5, seed=s).multiplier for s in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()
    assert isinstance(bootstrap(SAMPLE, replicates=5, seed=1), Replicates)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: half_samples(SAMPLE), "half_samples: 2 of 2 strata do not have two PSUs"),
        (lambda: half_samples(SAMPLE, fay=1), "fay: 1; allowed: 0 and above, below 1"),
        (lambda: bootstrap(SAMPLE, replicates=1, seed=1), "replicates: 1; allowed: 2 to"),
        (lambda: jackknife(design(np.ones(7000))), "jackknife: 7000 units are too many"),
        (lambda: supplied(W, np.ones((3, 2)), scale=1), r"replicate_weights: shape \(3, 2\)"),
        (lambda: supplied([0, 1], [[1], [1]], scale=1), "a row of weight 0 has some"),
        (lambda: supplied(W, W[:, None], scale=1, centre="mean"), "centre: 'mean' is not known"),
        (lambda: jackknife(design([1, 1, 1], strata=[1, 1, 2], lonely="adjust")),
         "a lonely stratum needs lonely='remove'"),
        (lambda: jackknife(cube(design([1, 1, 1])).cells([1, 1, 2]).design),
         "cells without PSUs hold many units"),
    ],
)  # fmt: skip
def test_replicates_that_nobody_can_make_are_refused(call, message):
    with pytest.raises(MethodError, match=message):
        call()


def test_a_lonely_stratum_that_is_removed_has_no_replicate():
    sample = design([1, 1, 1], strata=[1, 1, 2], lonely="remove")
    made = jackknife(sample)
    assert made.multiplier.shape == (3, 2)
    found = replicate(sample, made, Statistic((np.array([1.0, 5.0, 9.0]),)))
    assert found.se[0] == pytest.approx(total(sample, [1, 5, 9]).se[0])
