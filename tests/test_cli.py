"""The command line as a user meets it: exit codes, one-line messages, nothing half-written."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dealerqm.cli import main

ROOT = Path(__file__).resolve().parents[1]


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def lines(result):
    return [line for line in result.stderr.splitlines() if line.strip()]


@pytest.fixture
def project(sample_project, tmp_path):
    shutil.copytree(sample_project / "snapshots", tmp_path / "snapshots")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--period", "2026Q5"], r"period: found '2026Q5', expected a week"),
        (["--period", "2019Q1"], r"period: '2019Q1' has no data. Allowed: 2023Q4 to 2026Q3"),
        (["--period", "2027Q1"], r"period: '2027Q1' has no data"),
        (["--stores", "S99"], r"stores: 'S99' is not known. Nearest: .*S09"),
        (["--lang", "fr"], r"language: 'fr' is not known"),
        (["--set", "quater=2026Q3"], r"parameter: 'quater' is not known. .*Allowed: .*period"),
        (["--set", "period"], r"--set: found 'period', expected NAME=VALUE"),
        (["--only", "77"], r"--only: '77' is not known"),
        (["--quarter", "2026Q3"], r"No such option: --quarter|No such option '--quarter'"),
    ],
)
def test_a_wrong_call_is_one_line_exit_code_2_and_no_report(project, words, told):
    result = call("review", "--project", project, *words)
    assert result.exit_code == 2
    assert re.search(told, result.stderr)
    if not words[0].startswith("--quarter"):
        assert len(lines(result)) == 1
    assert not (project / "reports").exists()


def test_a_project_without_a_snapshot_says_what_to_do(tmp_path):
    result = call("review", "--project", tmp_path)
    assert result.exit_code == 1
    assert len(lines(result)) == 1
    assert "ingest" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plan_with_a_typo_names_the_key_and_the_nearest_word(project):
    (project / "plan.toml").write_text("[publicatoin]\nk = 5\n", encoding="utf-8")
    result = call("review", "--project", project)
    assert result.exit_code == 1
    assert "publicatoin" in result.stderr
    assert "Nearest: publication" in result.stderr
    assert not (project / "reports").exists()


def test_ingest_of_a_missing_folder_is_a_problem_with_a_next_step(tmp_path):
    result = call(
        "ingest",
        "--raw",
        tmp_path / "nowhere",
        "--project",
        tmp_path / "group",
        "--key",
        _key(tmp_path),
    )
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert not list((tmp_path / "group").glob("snapshots/*/manifest.json"))


def test_ingest_of_an_empty_folder_is_a_problem_with_a_next_step(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    result = call("ingest", "--raw", raw, "--project", tmp_path / "group", "--key", _key(tmp_path))
    assert result.exit_code == 1
    assert len(lines(result)) == 1
    assert not list((tmp_path / "group").glob("snapshots/*/manifest.json"))


def test_import_without_a_key_stops_and_tells_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.delenv("DEALERQM_KEY_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    raw = tmp_path / "raw"
    raw.mkdir()
    result = call("ingest", "--raw", raw, "--project", tmp_path / "group")
    assert result.exit_code == 1
    assert "dealerqm key" in result.stderr


def test_check_reports_problems_without_importing(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "stores.csv").write_text("Store ID,Store Name,Region\nS01,One,\n", encoding="utf-8")
    result = call("check", "--raw", raw)
    assert result.exit_code == 1
    assert "Region" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_check_of_the_default_plan_is_in_order():
    result = call("check")
    assert result.exit_code == 0
    assert "45 KPIs" in result.output


def test_diff_marks_movements_beyond_noise_and_changed_definitions(tmp_path):
    before, after = tmp_path / "a", tmp_path / "b"
    fact = {"value": 0.80, "low": 0.78, "high": 0.82, "n": 900, "version": "1"}
    _facts(before, {"satisfaction.group": fact, "nps.group": fact, "closing_rate.S01": fact})
    moved = fact | {"value": 0.90, "low": 0.88, "high": 0.92}
    _facts(
        after,
        {
            "satisfaction.group": moved,
            "nps.group": fact | {"version": "2"},
            "closing_rate.S01": fact | {"value": 0.805, "low": 0.785, "high": 0.825},
        },
    )
    result = call("diff", before, after)
    assert result.exit_code == 0
    told = result.output.splitlines()
    assert any("Satisfied customers" in line and "beyond noise" in line for line in told)
    assert any("Net promoter" in line and "not comparable" in line for line in told)
    assert not any("Signed within" in line for line in told)
    assert "noise" in call("diff", "--all", before, after).output


def test_diff_of_a_folder_that_is_no_report_is_a_wrong_call(tmp_path):
    result = call("diff", tmp_path, tmp_path)
    assert result.exit_code == 2
    assert "facts.json" in result.stderr


def test_a_new_key_is_never_printed_and_never_overwritten(tmp_path):
    place = tmp_path / "own.key"
    result = call("key", place)
    assert result.exit_code == 0
    assert place.read_text().strip() not in result.output
    assert call("key", place).exit_code == 1


def test_help_names_every_command():
    told = call("--help").output
    for command in ("simulate", "ingest", "review", "diff", "check", "notebooks", "key"):
        assert command in told


def _key(folder):
    place = folder / "own.key"
    assert call("key", place).exit_code == 0
    return place


def _facts(folder, facts):
    folder.mkdir()
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def test_the_sample_registers_go_in_once_and_come_out_again(tmp_path):
    book = ROOT / "data" / "samples" / "registers.xlsx"
    words = ("--project", tmp_path, "--by", "the analyst", "--on", "2026-10-08")
    first = call("register", "import", book, *words)
    assert first.exit_code == 0, first.stderr
    assert int(first.output.split()[0]) >= 10
    again = call("register", "import", book, *words)
    assert again.output.startswith("0 records")
    out = tmp_path / "out.xlsx"
    assert call("register", "export", out, "--project", tmp_path).exit_code == 0
    assert call("register", "import", out, *words).output.startswith("0 records")
    assert (
        call("register", "verify", "--project", tmp_path).output.split()[0]
        == (first.output.split()[0])
    )
