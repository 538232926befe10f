"""What the intervals and the wave test of the sampling kernels promise, measured.

Run by hand: ``python tests/sampling_simulations.py [replications]``; it prints tables.
"""

import sys
import time

import numpy as np
from scipy import special

from dealerqm.psychometrics.answers import at_least
from dealerqm.sampling.compare import change
from dealerqm.sampling.design import design
from dealerqm.sampling.estimate import mean, nps
from dealerqm.sampling.replicate import Statistic, bootstrap, replicate

SEED = 20
REPLICATIONS = 2000
CLUSTERS = {10: (5, 2), 30: (10, 3), 100: (20, 5)}  # answers -> stores × answers each
PROFILES = {"good": (0.60, 0.15), "mixed": (0.40, 0.30), "excellent": (0.85, 0.05)}
ICC = (0.0, 0.05, 0.15)
WAVE = {"stores": 40, "answers": 12, "icc": 0.15, "rise": 0.25}


def answers(rng, size, shares, icc):
    """Scores 10, 8, 3 of stores × answers with these shares of promoters and detractors."""
    store = rng.standard_normal((*size[:-1], 1)) * np.sqrt(icc)
    x = store + rng.standard_normal(size) * np.sqrt(1 - icc)
    up, down = special.ndtri(1 - shares[0]), special.ndtri(shares[1])
    return np.where(x > up, 10.0, np.where(x < down, 3.0, 8.0))


def coverage(replications):
    """Share of 95 % intervals that hold the truth, of NPS and top-2-box."""
    print(
        f"coverage of 95 % intervals, {replications} samples each, weights unequal between stores"
    )
    print(f"{'n':>4} {'profile':>10} {'icc':>5} | {'NPS':>6} {'t':>6} | {'top-2':>6} {'t':>6}")
    worst = {"NPS": [], "top-2": []}
    for n, (stores, each) in CLUSTERS.items():
        for name, shares in PROFILES.items():
            for icc in ICC:
                rng = np.random.default_rng([SEED, n, int(100 * icc)])
                hits = np.zeros(4)
                unit = np.repeat(np.arange(stores), each)
                for _ in range(replications):
                    y = answers(rng, (stores, each), shares, icc).ravel()
                    w = np.repeat(np.exp(0.3 * rng.standard_normal(stores)), each)
                    sample = design(w, psu=unit)
                    top = at_least(y, 9)
                    found = [
                        (nps(sample, y), shares[0] - shares[1]),
                        (nps(sample, y, small=0), shares[0] - shares[1]),
                        (mean(sample, top, method="wilson"), shares[0]),
                        (mean(sample, top), shares[0]),
                    ]  # fmt: skip
                    hits += [e.low[0] <= truth <= e.high[0] for e, truth in found]
                part = 100 * hits / replications
                worst["NPS"].append(part[0])
                worst["top-2"].append(part[2])
                print(
                    f"{n:>4} {name:>10} {icc:>5} | {part[0]:6.1f} {part[1]:6.1f} | "
                    f"{part[2]:6.1f} {part[3]:6.1f}"
                )
    for name, parts in worst.items():
        print(f"{name}: {min(parts):.1f} to {max(parts):.1f} %, mean {np.mean(parts):.1f} %")


def waves(replications):
    """Size and power of the wave test, and of the one that forgets the shared stores."""
    stores, each = WAVE["stores"], WAVE["answers"]
    print(f"\nwave test at 5 %, {replications} pairs of waves, {stores} stores × {each} answers")
    unit = np.tile(np.repeat(np.arange(stores), each), 2)
    wave = np.repeat([0, 1], stores * each)
    sample = design(np.ones(unit.size), psu=unit, strata=unit % 4)
    for label, rise in (("no change", 0.0), (f"rise of {WAVE['rise']} sd", WAVE["rise"])):
        for shared in ("same stores", "other stores"):
            rng = np.random.default_rng([SEED, int(100 * rise), len(shared)])
            seen = np.zeros(2)
            for _ in range(replications):
                level = rng.standard_normal((stores, 1)) * np.sqrt(WAVE["icc"])
                fresh = rng.standard_normal((stores, 1)) * np.sqrt(WAVE["icc"])
                other = level if shared == "same stores" else fresh
                noise = rng.standard_normal((2, stores, each)) * np.sqrt(1 - WAVE["icc"])
                # stores drift a little from wave to wave
                drift = rng.standard_normal((2, stores, 1)) * 0.1
                y = np.concatenate(
                    [
                        (level + noise[0] + drift[0]).ravel(),
                        (other + rise + noise[1] + drift[1]).ravel(),
                    ]
                )
                found = change(sample, *(mean(sample, y, domain=wave == k) for k in (0, 1)))
                reach = special.stdtrit(found.df[0], 0.975)
                seen += [found.p[0] < 0.05, abs(found.estimate[0]) > reach * found.independent[0]]
            part = 100 * seen / replications
            words = f"signals {part[0]:5.1f} %, if independent {part[1]:5.1f} %"
            print(f"{label:>18}, {shared:>12}: {words}")


def errors(replications):
    """Mean of estimated standard errors over the true one: influence and bootstrap."""
    rng = np.random.default_rng(SEED)
    unit = np.repeat(np.arange(20), 5)
    sample = design(np.ones(100), psu=unit)
    found = []
    for place in range(replications):
        y = answers(rng, (20, 5), PROFILES["good"], 0.1).ravel()
        score = (y >= 9) * 1.0 - (y <= 6)
        one = mean(sample, score)
        draws = bootstrap(sample, replicates=200, seed=place)
        two = replicate(sample, draws, Statistic.means(score))
        found.append((one.estimate[0], one.se[0], two.se[0]))
    truth = np.std([f[0] for f in found])
    ratio = [
        np.sqrt(np.mean(np.square(part))) / truth for part in list(zip(*found, strict=True))[1:]
    ]
    words = f"influence {ratio[0]:.3f}, bootstrap {ratio[1]:.3f}"
    print(f"\nstandard error of NPS over its truth: {words}")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else REPLICATIONS
    begun = time.perf_counter()
    coverage(count)
    waves(count)
    errors(count // 4)
    print(f"\n{time.perf_counter() - begun:.0f} s")
