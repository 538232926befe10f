"""The bench: its comparison and table on made-up times, and that every figure still runs."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench import __main__ as bench
from bench import measure, registry, table

ROOT = Path(__file__).resolve().parents[1]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
PEERS = {Requirement(line).name for line in GROUPS["bench"]}


def row(name="spc.one", **changed):
    base = {
        "name": name, "what": "one chart", "unit": "ms", "median": 12.0, "min": 10.0, "goal": 20,
        "floor": "one pass", "floor_ms": 0.1, "ratio": 100.0, "peak_mb": 30.0, "goal_mb": 100,
        "peers": [],
    }  # fmt: skip
    return base | changed


def peer(**changed):
    base = {"package": "slow", "version": "1.0", "what": "", "ms": 800.0, "times": 80, "goal": 50}
    return base | changed


# ---------------------------------------------------------------- what is wrong with a figure


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"median": 20.0}, []),
        ({"median": 20.1}, ["OVER THE GOAL"]),
        ({"median": 900.0, "goal": None}, []),
        ({"peak_mb": 100.5}, ["TOO MUCH MEMORY"]),
        ({"peak_mb": None}, []),
        ({"peak_mb": 900.0, "goal_mb": None}, []),
        ({"peers": [peer(), peer(times=49.9)]}, ["LESS THAN 50 TIMES slow"]),
        ({"peers": [peer(times=2, goal=None)]}, []),
        ({"ratio": 120.0}, []),
        ({"ratio": 121.0}, ["SLOWER BY 21%"]),
        ({"ratio": 121.0, "floor": "another pass"}, []),
        ({"ratio": 150.0, "median": 30.0}, ["OVER THE GOAL", "SLOWER BY 50%"]),
    ],
)
def test_faults(changed, found):
    assert table.faults(row(**changed), row()) == found


def test_another_machine_is_no_fault_and_a_new_figure_has_nothing_to_compare_with():
    slow_machine = row(min=19.0, median=19.5, floor_ms=0.19)
    assert table.faults(slow_machine, row()) == []
    assert table.faults(row(ratio=1e6), None) == []
    assert table.grown(row(), None) is None


def test_table_has_a_line_for_each_figure_and_each_peer():
    rows = [
        row(peers=[peer(), peer(what="without table", ms=12345.6, times=1234.5, goal=None)]),
        row("spc.two", ratio=150.0, peak_mb=None, goal=None),
    ]
    shown = table.table(rows, {"spc.two": row("spc.two")}).splitlines()
    assert [line.split("  ")[0].strip() or line.split()[0] for line in shown] == [
        "figure", "spc.one", "slow", "slow", "spc.two",
    ]  # fmt: skip
    words = [" ".join(line.split()) for line in shown]
    assert words == [
        "figure median fastest goal times the floor before peak",
        "spc.one 12 ms 10 ms <= 20 ms 100 x one pass new 30 <= 100 MB ok",
        "slow 1.0 800 ms >= 50 x 80 x ours",
        "slow 1.0 without table 12,346 ms 1.23e+03 x ours",
        "spc.two 12 ms 10 ms 150 x one pass +50% not known SLOWER BY 50%",
    ]
    ends = {line.index(" ms") for line in shown if line.startswith("spc")}
    assert len(ends) == 1


# ---------------------------------------------------------------- measuring again, keeping runs


def test_only_a_fault_is_measured_again_and_the_best_counts():
    made = iter([row(ratio=150.0), row(ratio=130.0), row(ratio=140.0)])
    assert bench.settled("spc.one", row(), lambda _: next(made))["ratio"] == 130
    made = iter([row(ratio=150.0), row(ratio=119.0)])
    assert bench.settled("spc.one", row(), lambda _: next(made))["ratio"] == 119
    made = iter([row(ratio=119.0)])
    assert bench.settled("spc.one", row(), lambda _: next(made))["ratio"] == 119


def test_runs_are_written_with_four_digits_and_read_back(tmp_path):
    assert bench.read(tmp_path / "none.json") == {}
    place = tmp_path / "build" / "run.json"
    bench.write(place, {"spc.one": row(median=12.34567, peers=[peer(times=80.12345)])})
    found = bench.read(place)["spc.one"]
    assert found["median"] == 12.35
    assert found["peers"][0]["times"] == 80.12
    assert json.loads(place.read_text(encoding="utf-8"))["machine"]["cores"] >= 1


def test_committed_run_has_every_figure_and_no_fault():
    last = bench.read(bench.LAST)
    assert list(last) == list(registry.FIGURES)
    assert [fault for name in last for fault in table.faults(last[name], last[name])] == []
    for name, figure in registry.FIGURES.items():
        assert (last[name]["goal"], last[name]["goal_mb"]) == (figure.goal_ms, figure.goal_mb)
        assert [p["package"] for p in last[name]["peers"]] == [p.package for p in figure.peers]


def test_an_unknown_subject_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["spd"])
    assert "unknown subject spd; known: spc" in capsys.readouterr().err
    assert bench.chosen(["spc"]) == [n for n in registry.FIGURES if n.startswith("spc.")]


# ---------------------------------------------------------------- the figures themselves


@pytest.mark.parametrize("name", registry.FIGURES)
def test_every_figure_and_its_floor_run(name):
    figure = registry.FIGURES[name]
    assert figure.work()() is not None
    assert figure.floor[1]()() is not None


def test_calls_take_turns_and_short_ones_are_repeated():
    seen = []
    calls = [lambda: seen.append("a"), lambda: seen.append("b")]
    found = measure.in_turns(calls, 2)
    assert [len(seconds) for seconds in found] == [2, 2]
    assert all(0 < second < measure.SHORTEST for seconds in found for second in seconds)
    turns = [letter for letter, before in zip(seen[1:], seen, strict=False) if letter != before]
    assert turns[-3:] == ["a", "b", "a"] or turns[-3:] == ["b", "a", "b"]


HOLDS = """
from bench import figure, measure
work = lambda: lambda: [len(bytes(bytearray(b"x") * 40_000_000)) for _ in range(2)]
held = figure.Figure(what="40 MB and their copy, twice", work=work, floor=("", work))
print(measure.peak(held))
"""


def test_peak_memory_counts_what_is_held_at_the_same_time():
    command = [sys.executable, "-c", HOLDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n" or 70 < float(done.stdout) < 100


def test_peers_belong_to_the_bench_alone():
    named = {p.package for figure in registry.FIGURES.values() for p in figure.peers}
    assert named <= PEERS
    for path in (ROOT / "dealerqm").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            )
        }  # fmt: skip
        assert imported.isdisjoint(PEERS), path
