"""The reference runner of models can fail, and cells of a cube answer as their rows do."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_runners import survey_models

from dealerqm.inference.answers import kano, logistic, ordinal, penalty_reward
from dealerqm.inference.drivers import drivers, priorities
from dealerqm.inference.regression import linear
from dealerqm.inference.tests import association, rank_test, t_test
from dealerqm.sampling.design import design

FOLDER = Path(__file__).parent / "reference" / "survey"


def cases():
    for path in sorted(FOLDER.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            if survey_models.handles(case):
                yield pytest.param(case, id=case["id"])


def moved(value):
    """The same with every number a tenth off."""
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part) for part in value]
    return value * 1.1 + 1e-6 if isinstance(value, int | float) else value


@pytest.mark.parametrize("case", list(cases()))
def test_every_value_of_a_case_is_compared(case):
    assert survey_models.faults(case, FOLDER) == []
    wrong = moved(case["expected"])
    got = set(survey_models.faults(case | {"expected": wrong}, FOLDER))
    numbers = json.dumps(case["expected"], default=str).count(".")
    assert len(got) >= max(1, numbers // 2)


def test_a_call_that_nothing_expresses_is_a_failure():
    case = {"source_call": "svyhist(~api00)", "expected": {}, "tolerance": {}}
    assert not survey_models.handles(case)
    assert "does not express" in survey_models.faults(case, FOLDER)[0]


@pytest.mark.parametrize(
    "estimate",
    [
        lambda f, d: linear(f[["a", "b"]], f["y"], d)[2:],
        lambda f, d: logistic(f[["a", "b"]], f["y"] > 2, d)[2:],
        lambda f, d: ordinal(f[["a", "b"]], f["y"], d)[2:],
        lambda f, d: drivers(f[["a", "b"]], f["y"], d)[1:6],
        lambda f, d: priorities(f[["a", "b"]], f["y"], d)[:6],
        lambda f, d: association(f["a"], f["y"], d),
        lambda f, d: t_test(f["y"], d, group=f["a"] > 1),
        lambda f, d: rank_test(f["y"], f["b"], d),
        lambda f, d: penalty_reward(f[["a", "b"]], f["y"], d, cuts=(0, 2))[:2],
        lambda f, d: list(kano(f["a"] + 1, f["b"] + 1, d)[0].values()),
    ],
)
def test_cells_answer_as_their_rows(estimate):
    rng = np.random.default_rng(8)
    rows = pd.DataFrame(rng.integers(0, 3, (600, 2)), columns=["a", "b"])
    rows["y"] = np.clip(rows["a"] + rng.integers(0, 3, 600), 1, 3)
    rows["store"], rows["w"] = rng.integers(0, 25, 600), rng.uniform(1, 2, 600)
    rows["squares"], rows["n"] = rows["w"] ** 2, 1.0
    cells = rows.groupby(["store", "a", "b", "y"], as_index=False).sum()
    one = design(rows["w"], psu=rows["store"])
    other = design(cells["w"], psu=cells["store"], cells=(cells["n"], cells["squares"]))
    pairs = zip(numbers(estimate(rows, one)), numbers(estimate(cells, other)), strict=True)
    for a, b in pairs:
        assert b == pytest.approx(a, rel=1e-9, abs=1e-12, nan_ok=True)


def numbers(found):
    """All numbers of a result, flat."""
    if isinstance(found, tuple | list):
        return [value for part in found for value in numbers(part)]
    if isinstance(found, dict | str):
        return []
    return np.ravel(np.asarray(found, float)).tolist()
