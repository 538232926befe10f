"""The table of a run, and what got slower since the last one that was committed."""

SLOWER = 0.20
HEAD = ("figure", "median", "fastest", "goal", "times the floor", "before", "peak", "")


def faults(row: dict, before: dict | None) -> list[str]:
    """What is wrong with a figure: a goal missed, or slower than in the run before.

    Slower means that its ratio to the floor has grown by more than 20 %, so that another
    machine's speed does not matter; without the same floor nothing is said.
    """
    found = []
    if row["goal"] is not None and row["median"] > row["goal"]:
        found.append("OVER THE GOAL")
    if (
        row["goal_mb"] is not None
        and row["peak_mb"] is not None
        and row["peak_mb"] > row["goal_mb"]
    ):
        found.append("TOO MUCH MEMORY")
    for peer in row["peers"]:
        if peer["goal"] is not None and peer["times"] < peer["goal"]:
            found.append(f"LESS THAN {peer['goal']:g} TIMES {peer['package']}")
    growth = grown(row, before)
    if growth is not None and growth > SLOWER:
        found.append(f"SLOWER BY {growth:.0%}")
    return found


def grown(row: dict, before: dict | None) -> float | None:
    """Growth of the ratio to the floor since the run before; None where they do not compare."""
    if before is None or before["floor"] != row["floor"]:
        return None
    return row["ratio"] / before["ratio"] - 1


def table(rows: list[dict], last: dict[str, dict]) -> str:
    """All figures as text, one line each, and one below for each peer."""
    lines = [HEAD]
    for row in rows:
        before = last.get(row["name"])
        lines.append(line(row, before))
        lines += [peer_line(peer) for peer in row["peers"]]
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for name, *numbers, verdict in lines:
        right = [text.rjust(width) for text, width in zip(numbers, widths[:-1], strict=True)]
        shown.append("  ".join([name.ljust(first), *right, verdict]).rstrip())
    return "\n".join(shown)


def line(row: dict, before: dict | None) -> tuple[str, ...]:
    growth = grown(row, before)
    return (
        row["name"],
        milliseconds(row["median"]),
        milliseconds(row["min"]),
        "" if row["goal"] is None else f"<= {row['goal']:g} ms",
        f"{row['ratio']:.3g} x {row['floor']}",
        "new" if growth is None else f"{growth:+.0%}",
        memory(row),
        ", ".join(faults(row, before)) or "ok",
    )


def peer_line(peer: dict) -> tuple[str, ...]:
    wanted = "" if peer["goal"] is None else f">= {peer['goal']:g} x"
    times = f"{peer['times']:.3g} x ours"
    name = f"  {peer['package']} {peer['version']} {peer['what']}".rstrip()
    return (name, "", milliseconds(peer["ms"]), wanted, times, "", "", "")


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def memory(row: dict) -> str:
    if row["peak_mb"] is None:
        return "not known"
    goal = "" if row["goal_mb"] is None else f" <= {row['goal_mb']:g}"
    return f"{row['peak_mb']:.0f}{goal} MB"
