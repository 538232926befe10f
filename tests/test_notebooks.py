"""The committed notebooks: strict nbval against their outputs, and proof that it can fail."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dealerqm import ingest, plan, privacy

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COMPARED_AT_LEAST = 3


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def nbval(folder):
    """Run nbval on the notebooks of a project copy; their kernels start in that folder."""
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "."]
    environment = os.environ | {"PYTEST_ADDOPTS": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def project_with_notebooks(folder, snapshot_from):
    shutil.copytree(
        ROOT / "notebooks",
        folder / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    shutil.copytree(snapshot_from / "snapshots", folder / "snapshots")
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder / "notebooks"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_cell_was_run_and_enough_outputs_are_compared(path):
    cells = code_cells(path)
    assert all(cell["execution_count"] for cell in cells)
    compared = [
        c
        for c in cells
        if c["outputs"] and "nbval-ignore-output" not in c["metadata"].get("tags", [])
    ]
    assert len(compared) >= COMPARED_AT_LEAST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_opens_with_its_question_in_both_languages(path):
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    text = "".join(first["source"])
    assert "问题" in text
    assert "Question" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_has_one_cell_of_typed_parameters(path):
    tagged = [c for c in code_cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = "".join(tagged[0]["source"]).splitlines()
    assert all(line.split(":")[1].strip().startswith("str =") for line in lines)


@pytest.mark.slow
def test_nbval_is_strict_and_passes_on_the_sample(sample_project, tmp_path):
    code, text = nbval(project_with_notebooks(tmp_path, sample_project))
    assert code == 0, text[-4000:]
    assert "passed" in text
    assert "skipped" not in text


@pytest.mark.slow
def test_nbval_fails_when_the_sample_is_perturbed(tmp_path):
    raw = tmp_path / "samples" / "raw"
    shutil.copytree(ROOT / "data" / "samples" / "raw", raw)
    survey = raw / "dms_a" / "满意度调查.csv"
    lines = survey.read_bytes().decode("gb18030").splitlines(keepends=True)
    survey.write_bytes("".join(lines[: len(lines) * 9 // 10]).encode("gb18030"))
    project = tmp_path / "perturbed"
    key = privacy.new_key(tmp_path / "own.key")
    ingest.ingest(raw, project, plan.load(), key=key)
    folder = tmp_path / "copy"
    folder.mkdir()
    code, text = nbval(project_with_notebooks(folder, project))
    assert code == 1, text[-4000:]
    for path in NOTEBOOKS:
        assert f"{path.name}::Cell" in text.replace("::ipynb::", "::")
