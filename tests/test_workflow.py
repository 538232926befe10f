"""From order to report folder: complete, the same bytes everywhere, nothing personal in it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import exports
import pytest

from dealerqm import ingest, labels, privacy, workflow

ROOT = Path(__file__).resolve().parents[1]
TRUTH = ROOT / "data" / "samples" / "truth.json"
FILES = ("index.html", "tables.xlsx", "findings.json", "facts.json", "manifest.json")


def contents(folder):
    """SHA-256 of every file; of every part for Excel files, whose own times are fixed as well."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def project_copy(source, target):
    shutil.copytree(source / "snapshots", target / "snapshots")
    shutil.copytree(
        ROOT / "notebooks",
        target / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    return target


@pytest.fixture(scope="module")
def project(sample_project, tmp_path_factory):
    return project_copy(sample_project, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def report(project):
    folder, failed = workflow.review(workflow.Order(project=project))
    assert failed == {}
    return folder


@pytest.mark.slow
def test_the_report_folder_is_complete(report, project):
    names = {path.name for path in report.iterdir()}
    assert set(FILES) <= names
    for notebook in (project / "notebooks").glob("*.ipynb"):
        assert f"{notebook.stem}.html" in names
    assert report == project / "reports" / "2026Q3"
    assert (report / "index.html").stat().st_size <= 1_000_000


@pytest.mark.slow
def test_two_runs_in_other_folders_times_and_time_zones_give_the_same_bytes(
    report, sample_project, tmp_path
):
    other = tmp_path / "一个 other folder"
    other.mkdir()
    project_copy(sample_project, other)
    environment = os.environ | {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "dealerqm", "review", "--project", str(other)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("reports/2026Q3/index.html")
    assert contents(other / "reports" / "2026Q3") == contents(report)


@pytest.mark.slow
def test_nothing_planted_leaves_in_the_report_or_the_snapshot(report, project):
    planted = json.loads(TRUTH.read_text(encoding="utf-8"))["personal_data"]
    words = {item["value"] for item in planted}
    assert len(words) >= 100
    raw = b"".join(p.read_bytes() for p in (ROOT / "data/samples/raw/dms_a").iterdir())
    assert sum(word.encode("gb18030") in raw for word in words) >= 50
    for folder in (report, project / "snapshots"):
        for path in (p for p in folder.rglob("*") if p.is_file()):
            parts = [path.read_bytes()]
            if path.suffix == ".xlsx":
                with zipfile.ZipFile(path) as archive:
                    parts = [archive.read(name) for name in archive.namelist()]
            text = b"\n".join(parts)
            assert not [word for word in words if word.encode() in text], path.name


@pytest.mark.slow
def test_facts_findings_and_manifest_are_linked(report):
    facts = json.loads((report / "facts.json").read_text(encoding="utf-8"))
    findings = json.loads((report / "findings.json").read_text(encoding="utf-8"))
    manifest = json.loads((report / "manifest.json").read_text(encoding="utf-8"))
    assert facts["satisfaction.group"]["value"] > 0.5
    assert {"finding_id", "severity", "kpi", "unit", "low", "high"} <= set(findings[0])
    listed = manifest["files"]
    for name in ("index.html", "facts.json", "findings.json", "tables.xlsx"):
        digest = hashlib.sha256((report / name).read_bytes()).hexdigest()
        assert digest in json.dumps(listed[name])
    text = json.dumps(manifest)
    assert str(report.parents[1]) not in text
    assert '"demonstration_key": true' in text


@pytest.mark.slow
def test_a_failing_notebook_is_named_and_does_not_stop_the_others(tmp_path):
    raw, small = exports.write(tmp_path / "raw"), tmp_path / "small"
    ingest.ingest(raw, small, exports.PLAN, key=privacy.Key(exports.KEY_BYTES))
    project = project_copy(small, tmp_path / "project")
    place = project / "notebooks" / "00_start_here.ipynb"
    notebook = json.loads(place.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    cells[1]["source"] = ["nonsense"]
    place.write_text(json.dumps(notebook), encoding="utf-8")
    folder, failed = workflow.review(workflow.Order(project=project, only="00", language="en"))
    assert list(failed) == ["00_start_here"]
    assert "NameError" in failed["00_start_here"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "NameError" in page
    assert labels.text("page.failed", "en") in page
