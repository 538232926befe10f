"""Run figures, print their table, write JSON: `python -m bench [SUBJECT ...] [--save]`."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import measure
from bench.registry import FIGURES, SUBJECTS
from bench.table import faults, table

LAST = Path(__file__).with_name("last.json")  # committed: what later runs are compared with
RUN = measure.ROOT / "build" / "bench.json"  # of this run, not committed
TRIES = 3


def main(argv: list[str]) -> int:
    """Return 1 when a goal is missed or a figure got slower."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--save", action="store_true", help=f"keep the run as {LAST.name}")
    asked = parser.parse_args(argv)
    if unknown := set(asked.subjects) - set(SUBJECTS):
        parser.error(f"unknown subject {', '.join(sorted(unknown))}; known: {', '.join(SUBJECTS)}")
    last = read(LAST)
    rows = []
    for name in chosen(asked.subjects):
        print(f"[bench] {name}: {FIGURES[name].what}", flush=True)
        rows.append(settled(name, last.get(name), measure.apart))
    print("\n" + table(rows, last))
    write(RUN, {row["name"]: row for row in rows})
    if asked.save:
        kept = {name: row for name, row in last.items() if name in FIGURES}
        write(LAST, {**kept, **{row["name"]: row for row in rows}})
    return int(any(faults(row, last.get(row["name"])) for row in rows))


def chosen(subjects: list[str]) -> list[str]:
    """Names of the figures of these subjects; of all when none is named."""
    return [name for name in FIGURES if not subjects or name.split(".")[0] in subjects]


def settled(name: str, before: dict | None, measured: Callable[[str], dict]) -> dict:
    """The best of up to three measurements; more than one only where something is wrong.

    A busy machine makes figures look slow, never fast.
    """
    rows = [measured(name)]
    while faults(rows[-1], before) and len(rows) < TRIES:
        rows.append(measured(name))
    return min(rows, key=lambda row: (len(faults(row, before)), row["ratio"]))


def read(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}


def write(path: Path, figures: dict[str, dict]) -> None:
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    content = {"machine": machine, "figures": figures}
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(rounded(content), indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def rounded(value):
    """The same with four digits a number: more are noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
