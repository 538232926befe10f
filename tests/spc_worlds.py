"""Simulated groups, imported and judged quarter by quarter, held against what was planted.

    python tests/spc_worlds.py FOLDER [seed ...]

A group takes about half a minute of one core, and FOLDER keeps it for the next run. The truth is
read only after everything has been judged.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from dealerqm import ingest, plan, privacy, signals, simulate, spc, store
from dealerqm.facts import Ask, Facts
from dealerqm.kpi import values
from dealerqm.kpi.cells import Span
from dealerqm.period import of, parse

SEEDS = (11, 12, 15, 21)
QUARTERS = 8  # judged; earlier ones have no two years before them
WITHIN = 4  # quarters from the one in which a change begins


def verdicts(folder, seed):
    """The board of every quarter of a simulated group, one row per node and quarter."""
    group = Path(folder) / str(seed)
    if not (group / "truth.json").is_file():
        group.mkdir(parents=True, exist_ok=True)
        simulate.simulate(group, seed=seed)
        ingest.ingest(group / "raw", group / "project", plan.load(), key=privacy.demo_key(group))
    snapshot, chosen = store.open_snapshot(group / "project"), plan.load()
    facts = Facts(lambda table: store.relation(snapshot, table))
    regions = _regions(facts)
    months = values(facts, chosen, regions, span=Span("month", snapshot.as_of))
    last = of(snapshot.as_of, "quarter")
    boards = []
    for back in range(QUARTERS - 1, -1, -1):
        period = last.shift(-back)
        cells = spc.collect(months, chosen, period)
        table = signals.board(cells, chosen, period, regions).table
        boards.append(table.assign(quarter=period.key))
    return pd.concat(boards, ignore_index=True)


def _regions(facts):
    table = facts.counts(Ask("stores", ("store_id", "region")), {})
    return dict(zip(table["store_id"], table["region"], strict=True))


def untouched(board, truth):
    """Verdicts on charts of stores in which the truth says that nothing was planted."""
    null = {(kpi, unit) for kpi, units in truth["nulls"].items() for unit in units}
    mine = pd.Series(zip(board["kpi"], board["unit"], strict=True), index=board.index).isin(null)
    return board[mine & (board["unit_type"] == "store") & (board["level"] != "unknown")]


def shifts(board, truth):
    """One row per planted change: whether and when it reached "act", and how it was dated."""
    rows = []
    for entry in truth["planted"]:
        mine = board[(board["kpi"] == entry["kpi"]) & (board["unit"] == entry["store_id"])]
        wanted = "worse" if entry["size_sd"] < 0 else "better"
        first = of(parse(entry["first_month"]).start, "quarter")
        window = [first.shift(i).key for i in range(WITHIN)]
        act = mine["level"] == "act" if wanted == "worse" else mine["direction"] == "better"
        hit = mine[act & mine["quarter"].isin(window)]
        own = hit[hit["explained_by"] == ""]
        dates = own.loc[own["onset"] != "", "onset"]
        rows.append({
            "kind": entry["kind"], "kpi": entry["kpi"], "store": entry["store_id"],
            "size": entry["size_sd"], "began": entry["first_month"],
            "judged": int(mine["quarter"].isin(window).sum()),
            "act": hit["quarter"].min() if len(hit) else "",
            "explained": bool(len(hit) and not len(own)),
            "off first": _months(entry["first_month"], dates.iloc[0]) if len(dates) else None,
            "off last": _months(entry["first_month"], dates.iloc[-1]) if len(dates) else None,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _months(true, found):
    (a, b), (c, d) = (map(int, key.split("-")) for key in (true, found))
    return 12 * (c - a) + d - b


def improvements(board, truth):
    """Verdicts on improvements and on the burst, per store and for the group."""
    rows = []
    for name, made in truth["improvements"].items():
        mine = board[board["kpi"] == made["kpi"]]
        for unit, month in {**made["start"], "group": min(made["start"].values())}.items():
            here = mine[
                (mine["unit"] == unit) & (mine["quarter"] >= of(parse(month).start, "quarter").key)
            ]
            better = here[here["direction"] == "better"]
            worse = here[here["level"] == "act"]
            rows.append({
                "improvement": name, "unit": unit, "began": month,
                "better": better["quarter"].min() if len(better) else "",
                "onset": better["onset"].iloc[0] if len(better) else "",
                "act worse": worse["quarter"].min() if len(worse) else "",
            })  # fmt: skip
    burst = truth["burst"]
    here = board[board["kpi"].str.contains("complain") & (board["unit"] == burst["store_id"])]
    quarter = of(parse(burst["first_day"][:7]).start, "quarter").key
    for row in here[here["quarter"] >= quarter].to_dict("records"):
        if row["level"] in ("act", "watch"):
            rows.append({
                "improvement": f"burst {row['kpi']} {row['level']}", "unit": row["unit"],
                "began": burst["first_day"], "act worse": row["quarter"], "onset": row["onset"],
            })  # fmt: skip
    return pd.DataFrame(rows)


def told(board, truth):
    """Print what a group's boards said, and what of it is known to be wrong."""
    null = untouched(board, truth)
    act = null[(null["level"] == "act") & (null["explained_by"] == "")]
    share = f"{len(act)} of {len(null)} verdicts on untouched stores are act"
    print(f"\nseed {truth['seed']}: {share}, on {act['quarter'].nunique()} of {QUARTERS} boards")
    print(act[["quarter", "kpi", "unit", "q_value", "onset", "size"]].to_string())
    every = board[(board["level"] == "act") & (board["explained_by"] == "")]
    print("all that are act:", every["unit_type"].value_counts().to_dict())
    print(improvements(board, truth).to_string())


def summary(rows):
    """Print how many planted shifts were found within four quarters, and how they were dated."""
    rows = rows[(rows["kind"] == "shift") & (rows["judged"] == WITHIN)]
    rows = rows.assign(found=rows["act"] != "", sigma=rows["size"].abs())
    off = rows["off first"].astype(float).abs()
    rows = rows.assign(within_1=off <= 1, within_2=off <= 2)
    names = ["found", "within_1", "within_2"]
    print(rows.groupby("sigma")[names].sum().assign(planted=rows.groupby("sigma").size()))


def main():
    folder, *seeds = sys.argv[1:]
    found = []
    for seed in [int(seed) for seed in seeds] or SEEDS:
        board = verdicts(folder, seed)
        truth = json.loads((Path(folder) / str(seed) / "truth.json").read_text(encoding="utf-8"))
        told(board, truth)
        found.append(shifts(board, truth))
        print(found[-1].to_string())
    summary(pd.concat(found))


if __name__ == "__main__":
    main()
