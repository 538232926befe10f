"""pyproject.toml, requirements.lock, environment.yml and the running environment are one."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOT_LOCKED = {"dealerqm", "pip", "setuptools", "wheel"}  # the project and what venv itself brings


def load_run():
    spec = importlib.util.spec_from_file_location("dealerqm_tools_run", ROOT / "tools" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run = load_run()
PROJECT = run.read_project()
LOCK = run.LOCK.read_text(encoding="utf-8")
BENCH_LOCK = run.BENCH_LOCK.read_text(encoding="utf-8")
ENVIRONMENT = run.ENVIRONMENT.read_text(encoding="utf-8")


# ---------------------------------------------------------------- checks: lists of findings


def declared(project):
    """Canonical name -> requirement, of the package, its extras and its build backend."""
    package = project["project"]
    groups = [package["dependencies"], *package["optional-dependencies"].values()]
    lines = chain(*groups, project["build-system"]["requires"])
    found = map(Requirement, lines)
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def declared_for_the_bench(project):
    """The same with the package's own dependencies and the packages to race against."""
    package = {"dependencies": project["project"]["dependencies"]}
    groups = {"optional-dependencies": project["dependency-groups"]}
    return {"project": package | groups, "build-system": {"requires": []}}


def locked(lock):
    """(canonical name, version, marker or '') of every locked package."""
    entry = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.*?))?(?: \\)?$", re.MULTILINE)
    return [(canonicalize_name(n), v, m and Marker(m)) for n, v, m in entry.findall(lock)]


def environment_differences(environment, project):
    """Packages or ranges in which environment.yml and pyproject.toml differ."""
    pypi_names = {conda: name for name, conda in run.CONDA_NAMES.items()}
    lines = re.findall(r"^\s+- ([\w.-]+)([<>=!]\S*)$", environment, re.MULTILINE)
    found = {canonicalize_name(pypi_names.get(name, name)): bounds for name, bounds in lines}
    package = {**project, "build-system": {"requires": []}}
    wanted = {name: str(r.specifier) for name, r in declared(package).items()}
    wanted["python"] = project["project"]["requires-python"]
    differing = {n for n in found | wanted if parts(found.get(n)) != parts(wanted.get(n))}
    return [f"{n}: {found.get(n)} against {wanted.get(n)}" for n in sorted(differing)]


def parts(bounds):
    return bounds and sorted(bounds.split(","))


def lock_differences(lock, project):
    """Declared packages that the lock lacks or holds outside their range."""
    versions = {}
    for name, version, _ in locked(lock):
        versions.setdefault(name, []).append(version)
    missing = [f"{name} is not locked" for name in declared(project) if name not in versions]
    outside = [
        f"{name} {version} is outside {requirement.specifier}"
        for name, requirement in declared(project).items()
        for version in versions.get(name, [])
        if version not in requirement.specifier
    ]
    return missing + outside


def unhashed(lock):
    """Locked packages without a hash."""
    blocks = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    return [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


def installed_differences(lock, installed):
    """Where the installed distributions (name -> version) are not those of the lock."""
    wanted = {name: version for name, version, marker in locked(lock) if applies(marker)}
    extra = [f"{name} is not locked" for name in installed.keys() - wanted.keys() - NOT_LOCKED]
    wrong = [
        f"{name} {installed.get(name)} instead of {version}"
        for name, version in wanted.items()
        if installed.get(name) != version
    ]
    return sorted(extra) + wrong


def applies(marker):
    return not marker or marker.evaluate()


def installed_here():
    found = importlib.metadata.distributions()
    return {canonicalize_name(item.metadata["Name"]): item.version for item in found}


# ---------------------------------------------------------------- this project passes


def test_environment_yml_names_what_pyproject_names():
    assert environment_differences(ENVIRONMENT, PROJECT) == []


def test_lock_holds_every_dependency_inside_its_range():
    assert lock_differences(LOCK, PROJECT) == []


def test_bench_lock_holds_the_package_and_its_peers_in_the_versions_of_the_lock():
    assert lock_differences(BENCH_LOCK, declared_for_the_bench(PROJECT)) == []
    ours, theirs = (
        {(name, version) for name, version, _ in locked(lock)} for lock in (LOCK, BENCH_LOCK)
    )
    shared = {name for name, _ in ours} & {name for name, _ in theirs}
    assert {found for found in theirs if found[0] in shared} <= ours


@pytest.mark.parametrize("lock", [LOCK, BENCH_LOCK], ids=["lock", "bench"])
def test_every_locked_package_is_hashed(lock):
    assert unhashed(lock) == []


@pytest.mark.parametrize(
    "text", [LOCK, BENCH_LOCK, ENVIRONMENT], ids=["lock", "bench", "environment.yml"]
)
def test_no_host_and_no_path_is_named(text):
    assert run.machine_traces(text) == []


def test_running_environment_is_the_lock():
    differences = installed_differences(LOCK, installed_here())
    assert differences == [], "make it anew: python tools/run.py setup"


def test_makefile_has_every_task_and_ci_runs_two():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert set(targets) == set(run.TASKS) - {"setup"}
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").endswith("\nmake check test\n")


# ---------------------------------------------------------------- each check can fail


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("scipy>=1.17", "scipy>=1.10", "scipy: >=1.10 against >=1.17"),
        ("  - scipy>=1.17\n", "", "scipy: None against >=1.17"),
        ("  - pip:\n", "  - polars>=1\n  - pip:\n", "polars: >=1 against None"),
        ("python-duckdb>=2", "duckdb-engine>=2", "duckdb: None against >=2"),
        ("python>=3.11,<3.14", "python>=3.10", "python: >=3.10 against >=3.11,<3.14"),
    ],
)
def test_environment_check_sees(old, new, finding):
    assert old in ENVIRONMENT
    assert finding in environment_differences(ENVIRONMENT.replace(old, new), PROJECT)


def test_lock_check_sees_a_missing_package_and_a_wrong_version():
    lock = re.sub(r"^duckdb==\S+", "duckdb==1.4.0", LOCK, flags=re.MULTILINE)
    lock = re.sub(r"^nh3==", "nh4==", lock, flags=re.MULTILINE)
    assert lock_differences(lock, PROJECT) == ["nh3 is not locked", "duckdb 1.4.0 is outside >=2"]


def test_hash_check_sees_a_missing_hash():
    assert unhashed("a==1 \\\n    --hash=sha256:00\nb==2\n    # via a\n") == ["b==2"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https" + "://mirror.example/simple",
        "--find-links wheels",
        "torch @ file" + ":///wheels/torch.whl",
        "    # via -r /builds/project/requirements.in",
        "    # via -r C:" + "\\builds\\requirements.in",
    ],
)
def test_trace_check_sees(line):
    assert run.machine_traces(f"a==1\n{line}\n") == [line]


def test_installed_check_sees_what_differs():
    lock = "a==1 \\\nb==2 ; python_version >= '3' \\\nc==3 ; python_version < '3' \\\nd==4\n"
    installed = {"a": "1", "b": "2.1", "e": "5", "pip": "25"}
    expected = ["e is not locked", "b 2.1 instead of 2", "d None instead of 4"]
    assert installed_differences(lock, installed) == expected
    assert installed_differences(lock, {"a": "1", "b": "2", "d": "4", "dealerqm": "0"}) == []


# ---------------------------------------------------------------- tools/run.py


def test_programs_of_the_environment_on_windows_and_elsewhere():
    assert run.venv_script("ruff", Path("v"), windows=False) == Path("v/bin/ruff")
    assert run.venv_script("ruff", Path("v"), windows=True) == Path("v/Scripts/ruff.exe")


def test_fingerprint_changes_with_what_the_environment_is_made_from():
    project = {"build-system": {}, "project": {"version": "1"}, "tool": {"ruff": 1}}
    base = run.fingerprint("lock", project, "3.11.7", Path("here"))
    assert run.fingerprint("lock", {**project, "tool": {}}, "3.11.7", Path("here")) == base
    others = {
        run.fingerprint("lock 2", project, "3.11.7", Path("here")),
        run.fingerprint("lock", {**project, "project": {}}, "3.11.7", Path("here")),
        run.fingerprint("lock", project, "3.12.1", Path("here")),
        run.fingerprint("lock", project, "3.11.7", Path("there")),
    }
    assert len(others | {base}) == 5


@pytest.mark.parametrize("lock", [run.LOCK, run.BENCH_LOCK], ids=["lock", "bench"])
def test_environment_is_ready_only_when_its_stamp_is_right_and_its_python_is_there(tmp_path, lock):
    stamp = tmp_path / run.STAMP
    assert not run.is_ready(tmp_path, lock)
    stamp.write_text(run.wanted(lock), encoding="utf-8")
    assert not run.is_ready(tmp_path, lock)
    program = run.venv_script("python", tmp_path)
    program.parent.mkdir()
    program.touch()
    assert run.is_ready(tmp_path, lock)
    stamp.write_text("made from another lock", encoding="utf-8")
    assert not run.is_ready(tmp_path, lock)


def test_only_the_main_environment_holds_the_package_itself():
    for steps in (
        lambda venv, lock: run.with_pip(venv, lock),
        lambda venv, lock: run.with_uv("uv", venv, lock),
    ):
        main = [command for _, command in steps(run.VENV, run.LOCK)]
        bench = [command for _, command in steps(run.BENCH_VENV, run.BENCH_LOCK)]
        assert [command for command in main if "--editable" in command] == main[2:]
        assert len(main) == 3
        assert len(bench) == 2
        assert str(run.BENCH_LOCK) in bench[1]
        assert str(run.LOCK) not in bench[1]
        assert str(run.BENCH_VENV) in " ".join(bench[0])


def test_a_half_made_environment_is_removed_and_a_failing_step_ends_the_set_up(tmp_path, capfd):
    venv = tmp_path / ".venv"
    (venv / "lib").mkdir(parents=True)
    failing = [sys.executable, "-c", "print('disk full'); raise SystemExit(3)"]
    never = [sys.executable, "-c", "print('not reached')"]
    assert not run.install(venv, [("one", failing), ("two", never)])
    out = capfd.readouterr().out
    assert "removing the outdated or unfinished .venv" in out
    assert "set-up 1/2: one" in out
    assert "disk full" in out
    assert "not reached" not in out
    assert not venv.exists()


def test_pip_is_shown_as_a_counter(capfd):
    code = "print('Collecting a\\nProcessing b\\nnoise\\nInstalling collected packages: a, b')"
    assert run.follow([sys.executable, "-c", code]) == 0
    assert capfd.readouterr().out == "[dealerqm] collected 2 packages, unpacking them\n"


def test_an_unsupported_python_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(run.Stop, match=r"^needs Python 3\.11, 3\.12 or 3\.13, found .*$"):
        run.hand_over(["help"])


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a Python is a shell script")
def test_a_shim_that_stands_for_nothing_is_passed_over(tmp_path, monkeypatch):
    for name, code in {"python3.13": 127, "python3.12": 0}.items():
        shim = tmp_path / name
        shim.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.find_python() == [str(tmp_path / "python3.12")]


@pytest.mark.parametrize(
    ("cores", "processes"), [(None, 2), (1, 2), (2, 2), (3, 3), (4, 4), (64, 4)]
)
def test_tests_take_two_to_four_processes(cores, processes):
    assert run.workers(cores) == processes


def test_foreign_variables_do_not_reach_the_tasks(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = run.environment()
    assert "PYTHONPATH" not in env
    assert env["PATH"].split(os.pathsep)[0] == str(run.venv_script("python").parent)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for apt-get is a shell script")
def test_chromium_is_installed_by_the_documented_lines(tmp_path, monkeypatch):
    apt, log = tmp_path / "apt-get", tmp_path / "log"
    lines = [f'echo "$@" >> "{log}"', f'/bin/cp "$0" "{tmp_path / "chromium"}"']
    apt.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run.provide_chromium()
    expected = ["update", "install -y --no-install-recommends chromium"]
    assert log.read_text(encoding="utf-8").splitlines() == expected


def test_chromium_that_cannot_be_installed_fails_the_tests_of_ci(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(run.Stop, match="no Chromium for the browser tests"):
        run.provide_chromium()


def call_run(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_help_names_every_task():
    result = call_run()
    assert result.returncode == 0
    assert all(re.search(rf"^  {task} +\w", result.stdout, re.MULTILINE) for task in run.TASKS)


def test_an_unknown_task_is_one_line_and_an_error():
    result = call_run("reviw")
    assert result.returncode == 1
    assert result.stdout.startswith("[dealerqm] error: unknown task 'reviw'; tasks: help, setup")
    assert result.stderr == ""
