"""Measure the survey against simulated truth: weighting, coverage, biased stores, coached tens.

Run by hand, about ten minutes: ``.venv/bin/python tests/survey_simulations.py [seeds] [first]``.
Each seed is one simulated group of the sample's size with everything planted, its twelve waves read
in one survey. The rules were tuned on seeds 1 to 50; the figures that count come from later ones.
The planted sizes use the store-month spreads of seed 1, so that no null worlds have to be run.
Prints one line per figure; nothing is written.
"""

import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import survey_worlds

from dealerqm import plan
from dealerqm.fieldwork import quality
from dealerqm.simulate import plant, planted_world
from dealerqm.survey import scores
from dealerqm.world import Config

SEEDS, FIRST = 50, 201


def long_plan():
    """The default plan, all twelve waves at hand."""
    made = plan.load()
    settings = {**made.settings, "survey": {**made.settings["survey"], "waves": 12}}
    return replace(made, settings=settings)


def measured(seed, sd, made_plan):
    """Frames of one seed: group quarters, store quarters, and what was flagged."""
    world, *_ = planted_world(Config(), seed, sd)
    made = plant.run(world)
    survey = survey_worlds.read(made, made_plan)
    biased, truth = survey_worlds.biased(made), survey_worlds.truth(made)
    told = quality.weigh(survey).told
    fair = {store: region for store, region in survey.regions.items() if store not in biased}
    honest = truth[~truth["store_id"].isin(biased)]
    groups = honest.groupby("quarter")[["good", "n"]].sum()
    groups, stores, rows = groups["good"] / groups["n"], [], []
    for wave in survey.quarters:
        weighted = replace(
            quality.weigh(survey, waves=[wave]), survey=replace(survey, regions=fair)
        )
        one = scores.scores(weighted, by="group").table.iloc[0]
        rows.append([seed, wave, groups[wave], *one[["raw", "raw_low", "raw_high"]],
                     *one[["value", "low", "high"]]])  # fmt: skip
        each = scores.scores(weighted, by="store").table
        right = honest[honest["quarter"] == wave].set_index("store_id")["share"]
        stores.append(each.assign(seed=seed, truth=each["unit"].map(right)))
    named = quality.advisers(survey, hurried_tops(survey))
    people = made.base.team.people
    gaming = set(made.base.team.ids[people["gaming"].to_numpy()])
    found = set(named.loc[named["named"], "unit"])
    flags = {
        "seed": seed, "stores_found": len(told & biased),
        "stores_false": len(told - biased), "gaming_found": len(found & gaming),
        "gaming_false": len(found - gaming), "gaming": len(gaming), "advisers": len(named),
    }  # fmt: skip
    names = ["seed", "wave", "truth", "raw", "raw_low", "raw_high", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names), pd.concat(stores), flags


def hurried_tops(survey):
    """Answers with every item at the top in hardly any time."""
    marked = quality.flags(survey)
    top = survey.rows["overall"] == survey.plan.instrument["scale"]["max"]
    return (marked["straight"] & marked["hurried"] & top).to_numpy()


def covered(frame, low="low", high="high"):
    known = frame[frame[low].notna()]
    return ((known[low] <= known["truth"]) & (known["truth"] <= known[high])).mean()


def main(seeds, first):
    """Run the seeds and print the figures."""
    start, made_plan = time.process_time(), long_plan()
    sd = plant.spreads(Config(), 1)
    parts = [measured(seed, sd, made_plan) for seed in range(first, first + seeds)]
    group = pd.concat([part[0] for part in parts])
    store = pd.concat([part[1] for part in parts])
    flags = pd.DataFrame([part[2] for part in parts])
    error, raw = (group[name] - group["truth"] for name in ("value", "raw"))
    used = time.process_time() - start
    print(f"seeds {first} to {first + seeds - 1}, quarters {len(group)}, CPU {used:.0f} s")
    print(f"weighted closer than raw: {(error.abs() < raw.abs()).mean():.3f}")
    print(f"bias raw {raw.mean():+.4f}, weighted {error.mean():+.4f}")
    print(f"root mean square raw {np.sqrt((raw**2).mean()):.4f}, weighted "
          f"{np.sqrt((error**2).mean()):.4f}")  # fmt: skip
    print(f"coverage of 95 %: weighted {covered(group):.3f}, raw "
          f"{covered(group, 'raw_low', 'raw_high'):.3f}")  # fmt: skip
    known = store[store["value"].notna()]
    closer = (known["value"] - known["truth"]).abs() < (known["raw"] - known["truth"]).abs()
    print(f"store quarters {len(known)}: closer {closer.mean():.3f}, coverage weighted "
          f"{covered(known):.3f}, raw {covered(known, 'raw_low', 'raw_high'):.3f}, bias raw "
          f"{(known['raw'] - known['truth']).mean():+.4f}, weighted "
          f"{(known['value'] - known['truth']).mean():+.4f}")  # fmt: skip
    total = flags.sum()
    print(f"biased stores found {total['stores_found']} of {2 * seeds}, false "
          f"{total['stores_false']} of {14 * seeds}")  # fmt: skip
    print(f"gaming advisers found {total['gaming_found']} of {total['gaming']}, false "
          f"{total['gaming_false']} of {total['advisers'] - total['gaming']}")  # fmt: skip


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*given, *(SEEDS, FIRST)[len(given) :])
