"""A simulated dealer group whose truth is known.

`simulate` writes, below a folder, raw exports in two dialects (``raw/dms_a``: GB18030 CSV with
Chinese headers; ``raw/dms_b``: .xlsx with English headers), ``registers.xlsx``, ``demo.json`` (the
published demonstration key with the sealed list of the raw files) and ``truth.json``. Everything
follows from the seed and the config, byte for byte.

``truth.json``, with ids as the raw exports spell them:

- ``seed``, ``config``, ``as_of``.
- ``planted``: shifts, drifts and spikes, each with ``kind, kpi, store_id, first_month,
  last_month``, ``size_sd`` (in standard deviations of the store's months, + is better), ``sd`` and
  ``size`` (both in the KPI's unit; ``size`` signed as the KPI moves). A shift or drift stays to the
  end; a drift rises in a line over ``drift_months``.
- ``nulls``: KPI to stores where nothing was planted, neither in it nor in a KPI that moves with it.
- ``store_month_sd``: KPI to store to standard deviation in the null worlds.
- ``improvements``: ``id, kpi, size_sd``, ``start`` (store to month), ``size`` per store, ``fade``
  (what is left after each quarter), ``selection_months`` of the one that does nothing.
- ``segments``: ``names``, ``features`` (how to compute the columns they are recovered from, on a
  log scale), ``null_features`` (columns without structure) and ``members`` (customer to index of
  the name, for customers with enough visits).
- ``risks``: ``id, subtype``, ``count``, ``rate`` (per 1,000 of ``per``), ``impact`` (mean yuan),
  ``annual_loss`` (yuan), most serious first.
- ``burst``: complaints with one cause: ``store_id, first_day, last_day, subtype, complaints``.
- ``satisfaction``: store and quarter to ``n`` (all who could be asked) and ``share`` (of them, who
  would give a 9 or 10 of their own accord).
- ``advisers``: staff to ``role``, ``effect`` (logits of a 9 or 10) and ``gaming``.
- ``informative_stores``: where answering depends on satisfaction itself.
- ``campaign_uplift``: share of customers who visit within 60 days because of a campaign.
- ``case_mix``: store to ``hardness`` (less maintenance, in standard deviations) and ``ready`` (its
  own logit of being ready on time): sorted by share and by ``ready``, stores stand differently.
- ``personal_data``: ``table, row, kind, value`` of every string planted in a text.
- ``duplicates``: ``table, row`` of every row that is exported twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dealerqm import privacy
from dealerqm.errors import ParameterError
from dealerqm.simulate import export, plant, registers, tables
from dealerqm.simulate.plant import Run
from dealerqm.world import YEAR, Config, Floats, Words, World, care, expit, group_plan, survey

__all__ = ["DEFAULT_SEED", "Config", "simulate"]

DEFAULT_SEED = 11
FOLDERS = ("dms_a", "dms_b")
_DIGITS = 12  # significant digits of numbers in truth.json


def simulate(
    target: Path, *, seed: int = DEFAULT_SEED, config: Config | None = None
) -> dict[str, Any]:
    """Write a simulated group below a folder, and return the truth about it.

    Parameters
    ----------
    target : Path
        Folder; made if missing. Files of an earlier run are overwritten.
    seed : int
        Everything is drawn from it.
    config : Config or None
        Size of the group; None is the sample's.

    Returns
    -------
    dict
        What ``truth.json`` holds; see the module.

    Raises
    ------
    ParameterError
        If ``raw`` below the folder holds other files: they must not be sealed with a published
        key.
    """
    config = config or Config()
    _refuse_other_files(target / "raw")
    with tqdm(total=4, disable=None, leave=False, desc="simulate", unit="step") as bar:
        sd = plant.spreads(config, seed)
        bar.update()
        world, planned, improved = planted_world(config, seed, sd)
        made = plant.run(world)
        improved["null"] = plant.null_improvement(made, plant.values(made))
        bar.update()
        rows, written = tables.tables(made)
        bar.update()
        _write_raw(target, world, made.base.stores["dialect"].to_numpy(), rows)
        bar.update()
    secret = bytes.fromhex(world.section("sample")["demo_key"])
    _write_json(target / "demo.json", privacy.demo_document(secret, target))
    export.write_xlsx(target / "registers.xlsx", registers.sheets(world, improved, sd))
    truth: dict[str, Any] = _plain({**_truth(made, planned, improved, sd), **written})
    _write_json(target / "truth.json", truth)
    return truth


def planted_world(
    config: Config, seed: int, sd: Mapping[str, Floats]
) -> tuple[World, list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the world with everything planted, its schedule and its real improvements.

    Parameters
    ----------
    config : Config
        Size of the group.
    seed : int
        Its seed.
    sd : mapping of str to array of shape (stores,)
        Standard deviations of the store-months, from ``plant.spreads``.

    Returns
    -------
    (World, list of dict, dict)
        See ``plant.schedule`` and ``plant.improvements``.
    """
    null = World(config, seed)
    planned, improved = plant.schedule(null), plant.improvements(null)
    planted = plant.deltas(null, planned, improved, sd)
    return dataclasses.replace(null, planted=planted), planned, improved


def _files() -> dict[str, tuple[str, str]]:
    """Return the file of each exported table in each dialect, below ``raw``."""
    found = {
        name: table.files for name, table in group_plan().tables.items() if not table.made_from
    }
    return {
        name: (f"{FOLDERS[0]}/{a}.csv", f"{FOLDERS[1]}/{b}.xlsx") for name, (a, b) in found.items()
    }


def _refuse_other_files(raw: Path) -> None:
    own = {name for files in _files().values() for name in files}
    there = (path.relative_to(raw).as_posix() for path in sorted(raw.rglob("*")) if path.is_file())
    other = [name for name in there if name not in own]
    if other:
        raise ParameterError(
            f"{raw.name}: holds {len(other)} files that the simulation does not write, first "
            f"{other[0]}; they would be sealed with a published key. Name an empty folder."
        )


def _write_raw(target: Path, world: World, dialect: Words, rows: dict[str, pd.DataFrame]) -> None:
    for folder in FOLDERS:
        (target / "raw" / folder).mkdir(parents=True, exist_ok=True)
    for name, (chinese_file, english_file) in _files().items():
        table, part = group_plan().tables[name], rows[name]
        chinese = np.full(len(part), True)
        if "store" in part:
            chinese = dialect[part["store"].astype(np.int64)] == "a"
        export.write_csv(target / "raw" / chinese_file, table, part[chinese], world)
        if not chinese.all():
            sheet = export.sheet(table, part[~chinese], world)
            export.write_xlsx(target / "raw" / english_file, {table.files[1]: sheet})


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(_plain(content), ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 (JSON is any of its kinds)
    """Return plain Python numbers with so many significant digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, str) else value


def _truth(
    made: Run, planned: list[dict[str, Any]], improved: dict[str, dict[str, Any]],
    sd: Mapping[str, Floats],
) -> dict[str, Any]:  # fmt: skip
    world, base = made.world, made.base
    ids, people = base.store_ids, base.team.people
    facing = people[people["role"].isin(["sales", "service"])]
    adviser_sd = world.section("survey")["adviser_sd"]
    store, day = care.burst_place(world, base.share)
    burst = world.section("complaints")["burst"]
    ready = world.section("process")["ready_on_time"]["store_sd"] * world.store_scores(
        "ready_on_time"
    )
    return {
        "seed": world.seed, "config": dataclasses.asdict(world.config),
        "as_of": str(world.as_of), "planted": [_entry(made, entry, sd) for entry in planned],
        "drift_months": world.section("planted")["drift_months"],
        "nulls": _nulls(made, planned, improved),
        "store_month_sd": {kpi: dict(zip(ids, values, strict=True)) for kpi, values in sd.items()},
        "improvements": {name: _improvement(made, m, sd) for name, m in improved.items()},
        "segments": _segments(made), "risks": _risks(made),
        "burst": {
            "store_id": ids[store], "first_day": str(world.first + timedelta(days=day)),
            "last_day": str(world.first + timedelta(days=day + burst["days"])),
            "subtype": burst["subtype"], "complaints": burst["complaints"],
        },
        "satisfaction": _satisfaction(made),
        "advisers": {
            base.team.ids[person]: {
                "role": row.role, "effect": adviser_sd * row.effect, "gaming": bool(row.gaming),
            }
            for person, row in zip(facing.index, facing.itertuples(), strict=True)
        },
        "informative_stores": list(ids[survey.biased_stores(world, base.share)]),
        "campaign_uplift": world.section("contacts")["uplift"],
        "case_mix": {
            name: {"hardness": hard, "ready": own}
            for name, hard, own in zip(ids, base.stores["hardness"], ready, strict=True)
        },
    }  # fmt: skip


def _entry(made: Run, entry: dict[str, Any], sd: Mapping[str, Floats]) -> dict[str, Any]:
    kpi, months = entry["kpi"], made.world.month_names
    worth = sd[kpi][entry["store"]]
    sign = -1.0 if kpi in plant.RATES else 1.0
    return {
        "kind": entry["kind"], "kpi": kpi, "store_id": made.base.store_ids[entry["store"]],
        "first_month": months[entry["first"]], "last_month": months[entry["last"]],
        "size_sd": entry["size"], "sd": worth, "size": sign * entry["size"] * worth,
    }  # fmt: skip


def _nulls(
    made: Run, planned: list[dict[str, Any]], improved: dict[str, dict[str, Any]]
) -> dict[str, list[str]]:
    """Return the stores in which neither a KPI nor one of its family was planted."""
    world = made.world
    touched = {(entry["kpi"], entry["store"]) for entry in planned}
    touched |= {(m["kpi"], s) for m in improved.values() if m["size"] for s in m["start"]}
    touched.add(("complaint_rate", care.burst_place(world, made.base.share)[0]))
    families, ids = world.section("planted")["families"], made.base.store_ids
    out = {}
    for kpi in world.section("planted")["null_kpis"]:
        kin = {kpi}.union(*(family for family in families if kpi in family))
        hit = {store for other, store in touched if other in kin}
        out[kpi] = [name for store, name in enumerate(ids) if store not in hit]
    return out


def _improvement(made: Run, entry: dict[str, Any], sd: Mapping[str, Floats]) -> dict[str, Any]:
    months, ids = made.world.month_names, made.base.store_ids
    return {
        "id": entry["id"], "kpi": entry["kpi"], "size_sd": entry["size"],
        "start": {ids[store]: months[month] for store, month in entry["start"].items()},
        "size": {ids[store]: entry["size"] * sd[entry["kpi"]][store] for store in entry["start"]},
        "fade": entry.get("fade", 1.0),
        "selection_months": [months[month] for month in entry.get("selection", [])],
    }  # fmt: skip


def _segments(made: Run) -> dict[str, Any]:
    world, order = made.world, made.order
    done = order[world.inside(order["opened_at"]) & (order["status"] == "closed")]
    visits = done.groupby("customer").size()
    enough = visits.index[visits >= world.section("sample")["least_visits"]].to_numpy()
    segment = made.base.customers["segment"].to_numpy()[enough]
    ids = tables.ids(made).customer[enough]
    words = world.section("segment_truth")
    return {
        "names": world.section("segments")["names"], **words,
        "members": dict(zip(ids.tolist(), segment.tolist(), strict=True)),
    }  # fmt: skip


def _risks(made: Run) -> list[dict[str, Any]]:
    """Return the risks with their rates: the complaints of their side in their shares."""
    world, told = made.world, made.told
    plain = told[world.inside(told["received_at"]) & (told["subtype"] != care.BURST)]
    years = (world.days - world.burn) / YEAR
    tables_ = {"orders": made.order["opened_at"], "leads": made.lead["created_at"]}
    rows = []
    for risk in care.risks():
        column = {"orders": "order", "leads": "lead"}[risk["side"]]
        mine = [other["share"] for other in care.risks() if other["side"] == risk["side"]]
        count = (plain[column] >= 0).sum() * risk["share"] / sum(mine)
        per = int(world.inside(tables_[risk["side"]]).sum())
        rows.append({
            "id": risk["id"], "subtype": risk["subtype"], "count": count, "per": risk["side"],
            "rate": plant.PER * count / per, "impact": risk["impact"],
            "annual_loss": count * risk["impact"] / years,
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["annual_loss"])


def _satisfaction(made: Run) -> dict[str, dict[str, dict[str, float]]]:
    world = made.world
    rows = made.asked[world.inside(made.asked["invited_at"])]
    quarter = world.month(rows["invited_at"]) // 3
    cell = rows["store"].to_numpy() * len(world.quarters) + quarter
    size = world.config.stores * len(world.quarters)
    n = np.bincount(cell, minlength=size).reshape(world.config.stores, -1)
    good = np.bincount(cell, expit(rows["latent"].to_numpy()), minlength=size).reshape(n.shape)
    return {
        name: {
            q.key: {"n": int(n[store, i]), "share": good[store, i] / max(n[store, i], 1)}
            for i, q in enumerate(world.quarters)
        }
        for store, name in enumerate(made.base.store_ids)
    }
