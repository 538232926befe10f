"""The cube: cells answer as their rows, whatever the kind of numbers, and scores merge cells."""

import numpy as np
import pytest

from dealerqm.sampling.cube import cube
from dealerqm.sampling.design import calibrated, design
from dealerqm.sampling.estimate import mean, nps
from dealerqm.weights.raking import rake

RNG = np.random.default_rng(11)
ROWS = 4_000
STORE, LAYER = RNG.integers(0, 9, ROWS), RNG.integers(0, 3, ROWS)
ANSWER = RNG.integers(1, 11, ROWS)
GIVEN = np.where(RNG.random(ROWS) < 0.1, np.nan, ANSWER)
WEIGHT = RNG.uniform(0.5, 3, ROWS)
SEX, AGE = RNG.integers(0, 2, ROWS), RNG.integers(0, 3, ROWS)
RAKED = rake(WEIGHT, {"sex": SEX, "age": AGE}, {"sex": [900, 1100], "age": [500, 700, 800]})
SAMPLES = {
    "rows": design(WEIGHT, strata=LAYER),
    "psu": design(WEIGHT, psu=STORE * 3 + LAYER, strata=LAYER),
    "raked": calibrated(design(WEIGHT, strata=LAYER), RAKED.weights, on=RAKED.on),
}
SCORES = {
    "top": lambda answer: answer >= 9,
    "bottom": lambda answer: np.where(answer <= 2, 1.0, 0.0),
    "points": lambda answer: (answer - 1) / 9,
}


def close(found, wanted):
    for name in ("estimate", "se", "low", "high", "df", "n", "n_eff", "deff"):
        assert getattr(found, name) == pytest.approx(
            getattr(wanted, name), rel=1e-12, abs=1e-13, nan_ok=True
        ), name
    assert found.flag.tolist() == wanted.flag.tolist()


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("domain", [None, STORE % 4])
def test_merged_cells_answer_as_their_rows(sample, score, domain):
    made, of = SAMPLES[sample], SCORES[score]
    box = cube(made, domain=domain)
    cells = box.scored(box.cells(GIVEN), of)
    rows = np.where(np.isnan(GIVEN), np.nan, np.asarray(of(GIVEN), float))
    close(mean(cells.design, cells.value, domain=cells.domain), mean(made, rows, domain=domain))


def test_promoters_and_detractors_are_enough_for_the_net_promoter_score():
    box = cube(SAMPLES["rows"], domain=STORE)
    cells = box.cells(GIVEN)
    three = box.scored(cells, lambda answer: np.select([answer >= 9, answer <= 6], [10, 0], 8))
    assert three.value.size < cells.value.size / 2
    wanted = nps(SAMPLES["rows"], GIVEN, domain=STORE)
    close(nps(three.design, three.value, domain=three.domain), wanted)


def test_cells_of_many_answers_are_scored_where_they_are():
    many = RNG.normal(size=ROWS)
    box = cube(SAMPLES["rows"], domain=STORE)
    cells = box.scored(box.cells(many), lambda answer: answer > 0)
    assert cells.value.size == ROWS
    close(
        mean(cells.design, cells.value, domain=cells.domain),
        mean(SAMPLES["rows"], (many > 0) * 1.0, domain=STORE),
    )


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64", "uint64", "float32", "bool"])
def test_every_kind_of_number_makes_the_same_cells(kind):
    answers = (ANSWER > 5).astype(kind) if kind == "bool" else ANSWER.astype(kind)
    box = cube(SAMPLES["rows"], domain=STORE)
    found, wanted = box.cells(answers), box.cells(answers.astype(float))
    assert np.array_equal(found.value, wanted.value, equal_nan=True)
    assert found.design.weights.tolist() == wanted.design.weights.tolist()


@pytest.mark.parametrize(
    "answers",
    [ANSWER - 5.5, ANSWER + 0.25, ANSWER * 1e6, -ANSWER, np.where(STORE > 3, np.nan, ANSWER)],
    ids=["halves", "quarters", "far apart", "negative", "some stores"],
)
def test_any_answers_keep_their_mean(answers):
    cells = cube(SAMPLES["rows"], domain=STORE).cells(answers)
    found = mean(cells.design, cells.value, domain=cells.domain)
    close(found, mean(SAMPLES["rows"], answers, domain=STORE))
    nobody = cube(SAMPLES["rows"]).cells(np.full(ROWS, np.nan))
    assert mean(nobody.design, nobody.value).flag.tolist() == ["no_answer"]
