"""Every reference case through the public API; REFERENCE_DIR names another folder of cases."""

import importlib
import json
import os
from pathlib import Path

import pytest
from reference_runners import RUNNERS, compare

ROOT = Path(os.environ.get("REFERENCE_DIR") or Path(__file__).parent / "reference")
SUBJECTS = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


def cases():
    for subject in SUBJECTS:
        if subject not in RUNNERS:
            yield pytest.param(subject, None, id=f"{subject}/no runner")
            continue
        runner = importlib.import_module(RUNNERS[subject])
        for name, case in runner.load(ROOT / subject):
            yield pytest.param(subject, case, id=f"{subject}/{name}")


def test_there_are_cases():
    assert SUBJECTS
    assert all(list((ROOT / subject).iterdir()) for subject in SUBJECTS)


@pytest.mark.parametrize(("subject", "case"), list(cases()))
def test_case(subject, case):
    assert subject in RUNNERS, f"no runner maps the cases of {subject}"
    runner = importlib.import_module(RUNNERS[subject])
    assert runner.faults(case, ROOT / subject) == []


# ---------------------------------------------------------------- the comparison can fail


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ({"a": 1.0}, {"a": 1.0001}),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}),
        ({"a": True}, {"a": False}),
        ({"a": "x"}, {"a": None}),
        ({"a": {"b": [1, [2, 3.1]]}}, {"a": {"b": [1, [2, 3]]}}),
        ({"a": float("nan")}, {"a": 0}),
    ],
)
def test_comparison_sees_a_difference(got, expected):
    assert len(compare.faults(got, expected, 1e-6)) == 1


def test_comparison_accepts_what_is_within_the_tolerance():
    expected = {"a": [1.0, 0, None], "b": {"c": True}, "d": 2}
    got = {"a": [1.0 + 1e-7, 0.0, None], "b": {"c": True}, "d": 2.0, "e": "more"}
    assert compare.faults(got, expected, 1e-6) == []


def test_a_case_that_cannot_be_expressed_is_a_failure(tmp_path):
    case = {"chart": "sunspots", "input": {}, "expected": {}, "rtol": 0}
    runner = importlib.import_module(RUNNERS["spc"])
    assert runner.faults(case, tmp_path) == ["chart sunspots: the package does not express it"]


def test_a_changed_value_is_a_failure():
    runner = importlib.import_module(RUNNERS["spc"])
    folder = Path(__file__).parent / "reference" / "spc"
    case = json.loads((folder / "attributes.json").read_text(encoding="utf-8"))["cases"][0]
    assert runner.faults(case, folder) == []
    case["expected"]["center"] *= 1 + 1e-8
    assert len(runner.faults(case, folder)) == 1
