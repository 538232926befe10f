"""Peak memory of a figure, its time in turns with its floor, and the time of its peers.

Each figure has a process of its own, so that neither order nor neighbours change it.
"""

import gc
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.figure import Figure, Peer

ROOT = Path(__file__).resolve().parents[1]
SHORTEST = 0.005  # seconds; shorter calls are repeated within one measurement
PEER_ROUNDS = 3
MS, KB_PER_MB = 1e3, 1024
TABLE = 31 << 20  # bytes; the C library of Linux learns from blocks of at most 32 MiB
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs"), "5"  # sets the peak back to the present size


def apart(name: str) -> dict:
    """What a process of its own finds for the figure of this name."""
    command = [sys.executable, "-m", "bench.measure", name]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(name: str, figure: Figure) -> dict:
    """Everything that one run says of a figure."""
    megabytes = peak(figure)
    bytearray(TABLE)  # held once and freed, as in any session: memory is then reused, not returned
    floor_name, floor = figure.floor
    own, least = in_turns([figure.work(), floor()], figure.rounds)
    best = min(own)
    return {
        "name": name,
        "what": figure.what,
        "unit": "ms",
        "median": statistics.median(own) * MS,
        "min": best * MS,
        "goal": figure.goal_ms,
        "floor": floor_name,
        "floor_ms": min(least) * MS,
        "ratio": best / min(least),
        "peak_mb": megabytes,
        "goal_mb": figure.goal_mb,
        "peers": [beside(peer, best) for peer in figure.peers],
    }


def beside(peer: Peer, best: float) -> dict:
    """A peer's time for the whole work, and how many times ours that is."""
    (taken,) = in_turns([peer.work()], PEER_ROUNDS)
    whole = min(taken) / peer.share
    return {
        "package": peer.package,
        "version": importlib.metadata.version(peer.package),
        "what": peer.what,
        "ms": whole * MS,
        "times": whole / best,
        "goal": peer.goal,
    }


def in_turns(calls: list, rounds: int) -> list[list[float]]:
    """Seconds per call, A B A B …, equally long each, so that a busy machine hits both."""
    loops, least = [], SHORTEST
    for call in calls:
        loops.append(enough(call, least))
        least = max(least, clocked(call, loops[-1]))
    seconds: list[list[float]] = [[] for _ in calls]
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for call, number, found in zip(calls, loops, seconds, strict=True):
                found.append(clocked(call, number) / number)
    finally:
        gc.enable()
    return seconds


def enough(call, least: float) -> int:
    """How many calls take at least so many seconds; the first one, which warms up, aside."""
    call()
    number = 1
    while clocked(call, number) < least:
        number *= 2
    return number


def clocked(call, number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return time.perf_counter() - start


def peak(figure: Figure) -> float | None:
    """Megabytes that inputs and one call add to this process at most; None where not told."""
    if not RESET[0].exists():
        return None
    gc.collect()
    RESET[0].write_text(RESET[1])
    before = kilobytes("VmRSS")
    figure.work()()
    return (kilobytes("VmHWM") - before) / KB_PER_MB


def kilobytes(field: str) -> int:
    return int(re.search(rf"^{field}:\s+(\d+)", STATUS.read_text(), re.MULTILINE)[1])


if __name__ == "__main__":
    from bench.registry import FIGURES

    print(json.dumps(measured(sys.argv[1], FIGURES[sys.argv[1]])))
