"""Simulated surveys of stores, and the figures of the inference kernels measured on them.

Every figure comes with its standard error; docs/methods.md states what the full run prints.

    python tests/inference_simulations.py [tests shrunken ranks outliers drivers waves]
"""

import sys
from typing import NamedTuple

import numpy as np
from scipy import special

from dealerqm.inference.compare import outliers, shrink_means, shrink_shares
from dealerqm.inference.drivers import drivers, stability
from dealerqm.inference.tests import association, rank_test, t_test
from dealerqm.pooling import pool
from dealerqm.pooling.levels import draw_means, draw_shares, places, rank_intervals
from dealerqm.psychometrics.importance import importance
from dealerqm.sampling.design import design

SEED = 41
STORES = 56
BATCH = 20  # quarters of a batch
LEVELS = {  # how true levels of stores spread, standard deviation 1
    "normal": lambda rng, k: rng.standard_normal(k),
    "skewed": lambda rng, k: 1 - rng.exponential(size=k),
    "two kinds": lambda rng, k: (
        np.where(rng.random(k) < 0.2, -1.9, 0.475) + 0.3 * rng.standard_normal(k)
    ),
}
LIKE = np.array([0.45, 0.3, 0.15, 0.05, 0.0])  # effect of five items on the overall score


class Figure(NamedTuple):
    """A measured figure and its standard error."""

    value: float
    se: float

    def __str__(self):
        return f"{self.value:.3f}±{self.se:.3f}"


def averaged(values):
    """Mean of one value per batch with its standard error."""
    each = np.asarray(values, float)
    return Figure(float(each.mean()), float(each.std(ddof=1) / np.sqrt(each.size)))


# ---------------------------------------------------------------- worlds


def scored(rng, kind, spread=0.4, stores=STORES):
    """Answers of 1-10 per store: true means, and n, mean and variance of what was answered."""
    true = 7.9 + spread * LEVELS[kind](rng, stores)
    n = rng.integers(5, 40, stores)
    answers = [np.clip(np.round(rng.normal(m, 1.3, 400)), 1, 10) for m in true]
    seen = [a[:size] for a, size in zip(answers, n, strict=True)]
    level = np.array([expected(m) for m in true])
    return level, n, np.array([a.mean() for a in seen]), np.array([a.var(ddof=1) for a in seen])


def expected(mean):
    """Mean of a rounded and clipped normal answer."""
    cuts = np.arange(1.5, 10)
    return float(10 - special.ndtr((cuts - mean) / 1.3).sum())


def items(rng, stores, answers, like=LIKE):
    """Five correlated items and an overall score, clustered in stores, on 1-10."""
    root = np.linalg.cholesky(0.45 + 0.55 * np.eye(like.size))
    at_store, own = (
        rng.normal(size=(stores, 1, like.size)),
        rng.normal(size=(stores, answers, like.size)),
    )
    x = (np.sqrt(0.15) * at_store + np.sqrt(0.85) * own) @ root.T
    noise = np.sqrt(0.15) * rng.normal(size=(stores, 1)) + np.sqrt(0.85) * rng.normal(
        size=(stores, answers)
    )
    both = np.concatenate([x, (x @ like + np.sqrt(0.5) * noise)[..., None]], axis=2)
    flat = np.clip(np.round(7.5 + 1.8 * both), 1, 10).reshape(-1, like.size + 1)
    return flat[:, :-1], flat[:, -1], np.repeat(np.arange(stores), answers)


# ---------------------------------------------------------------- measured


def test_sizes(samples, stores=40, answers=10):
    """Share of tests at 5 % that find a difference where none is, stores as sampling units."""
    rng, hits = np.random.default_rng(SEED), []
    store = np.repeat(np.arange(stores), answers)
    for _ in range(samples):
        y = rng.normal(size=store.size) + rng.normal(size=stores)[store] / 2
        group = rng.permutation(np.arange(stores) % 2)[store]
        made = design(rng.uniform(1, 2, store.size), psu=store)
        found = (t_test(y, made, group=group), rank_test(np.round(y), group, made),
                 association(np.clip(np.round(y), -1, 1), group, made))  # fmt: skip
        hits.append([part.p < 0.05 for part in found])
    return dict(zip(("t", "rank", "chi-square"), map(averaged, np.transpose(hits)), strict=True))


def shrunken_errors(kind, batches, method="REML"):
    """Mean squared error of shrunken over raw store means, one value per simulated quarter."""
    rng, ratios, own = np.random.default_rng(SEED), [], []
    for _ in range(batches):
        true, n, mean, variance = scored(rng, kind)
        pooled = pool.variances(variance, n - 1.0).variance / n
        found = shrink_means(mean, pooled, method=method).level
        raw = ((mean - true) ** 2).mean()
        ratios.append(((found.estimate - true) ** 2).mean() / raw)
        own.append(((found.low <= true) & (true <= found.high)).mean())
    return ratios, averaged(own)


def shrunken_shares(batches):
    rng, ratios, own = np.random.default_rng(SEED), [], []
    for _ in range(batches):
        true, n = rng.beta(12, 4, STORES), rng.integers(5, 40, STORES)
        k = rng.binomial(n, true)
        found = shrink_shares(k, n).level
        ratios.append(((found.estimate - true) ** 2).mean() / ((k / n - true) ** 2).mean())
        own.append(((found.low <= true) & (true <= found.high)).mean())
    return ratios, averaged(own)


def rank_coverage(kind, batches, stores=STORES, spread=0.4):
    """Share of true ranks inside their 95 % intervals, and the mean width in ranks."""
    rng, hits, widths = np.random.default_rng(SEED), [], []
    for batch in range(batches):
        true, n, mean, variance = scored(rng, kind, spread, stores)
        pooled = pool.variances(variance, n - 1.0).variance / n
        found = rank_intervals(draw_means(mean, pooled, draws=1000, seed=batch)).rank
        rank = places(true)
        hits.append(((found.low <= rank) & (rank <= found.high)).mean())
        widths.append((found.high - found.low).mean())
    return averaged(hits), averaged(widths)


def share_rank_coverage(batches):
    rng, hits = np.random.default_rng(SEED), []
    for batch in range(batches):
        true, n = rng.beta(12, 4, STORES), rng.integers(5, 40, STORES)
        draws = draw_shares(rng.binomial(n, true), n, draws=1000, seed=batch)
        found, rank = rank_intervals(draws).rank, places(true)
        hits.append(((found.low <= rank) & (rank <= found.high)).mean())
    return averaged(hits)


def false_outliers(batches, stores, planted=0):
    """Share of false names among those named (0 where none), and of planted stores found."""
    rng, false, found = np.random.default_rng(SEED), [], []
    for _ in range(batches):
        v = rng.uniform(0.02, 0.3, stores)
        y = 0.4 * rng.normal(size=stores) + np.sqrt(v) * rng.normal(size=stores)
        y[:planted] -= 2.5
        named = outliers(y, v, rate=0.1).outlier
        false.append(named[planted:].sum() / max(named.sum(), 1))
        found.append(named[:planted].mean() if planted else np.nan)
    return averaged(false), averaged(found)


def driver_coverage(samples, stores, answers, measure="lmg"):
    """Share of the 95 % intervals that cover, by driver: of importance, its share, and R²."""
    rng = np.random.default_rng(SEED)
    x, y, _ = items(rng, 40_000, 12)
    r = np.corrcoef(np.column_stack([x, y]).T)
    whole = getattr(importance(r), measure)
    true = (whole, whole / whole.sum(), whole.sum())
    hits = []
    for _ in range(samples):
        x, y, store = items(rng, stores, answers)
        found = drivers(x, y, design(rng.uniform(0.7, 1.4, y.size), psu=store), measure=measure)
        ends = (found.value, found.share, found.r2)
        hits.append(
            np.hstack([(e.low <= t) & (t <= e.high) for e, t in zip(ends, true, strict=True)])
        )
    each = [averaged(column) for column in np.transpose(hits)]
    return {"value": each[:5], "share": each[5:10], "r2": each[10:]}


def stability_size(samples, stores=STORES, answers=16):
    """Share of tests at 5 % that see a change of importance between two waves that are alike."""
    rng, hits = np.random.default_rng(SEED), []
    for _ in range(samples):
        x, y, store = items(rng, stores, answers)
        made, wave = design(np.ones(y.size), psu=store), np.arange(y.size) % 2
        parts = (drivers(x, y, made, domain=wave == w) for w in (0, 1))
        found = stability(*parts)
        hits.append([found.overall.p < 0.05, *(found.p < 0.05)])
    overall, *each = (averaged(column) for column in np.transpose(hits))
    return overall, each


# ---------------------------------------------------------------- printed


def show(what, *figures):
    print(f"{what}: {', '.join(str(figure) for figure in figures)}", flush=True)


def run_tests():
    for name, figure in test_sizes(2000).items():
        show(f"size of the {name} test at 5 %", figure)


def run_shrunken():
    worlds = {kind: shrunken_errors(kind, 400) for kind in LEVELS} | {
        "shares": shrunken_shares(400)
    }
    for kind, (ratios, cover) in worlds.items():
        batches = np.reshape(ratios, (-1, BATCH)).mean(axis=1)
        show(
            f"MSE shrunken/raw, {kind}", averaged(ratios),
            f"worst batch of {BATCH} quarters {batches.max():.3f}",
            f"single quarters where raw is better {averaged(np.array(ratios) > 1)}",
            f"coverage of the stores' intervals {cover}",
        )  # fmt: skip


def run_ranks():
    for kind in LEVELS:
        cover, width = rank_coverage(kind, 200)
        show(f"coverage of 95 % rank intervals, {kind}", cover, f"mean width {width}")
    for stores, spread in ((10, 0.4), (200, 0.4), (STORES, 0.15)):
        cover, width = rank_coverage("normal", 100, stores, spread)
        show(f"coverage, {stores} stores, spread {spread}", cover, f"mean width {width}")
    show("coverage of rank intervals of shares", share_rank_coverage(200))


def run_outliers():
    for stores in (10, STORES):
        show(f"false discoveries at 10 %, {stores} stores", false_outliers(1000, stores)[0])
    show("with three planted of 56: false, found", *false_outliers(500, STORES, planted=3))


def run_drivers():
    for measure, stores, answers in (
        ("lmg", 20, 12),
        ("lmg", STORES, 18),
        ("relative", STORES, 18),
    ):
        for what, figures in driver_coverage(600, stores, answers, measure).items():
            show(f"coverage of {measure} {what}, {stores} stores", *figures)


def run_waves():
    overall, each = stability_size(600)
    show("size of the stability test at 5 %", overall, *each)


PARTS = {
    "tests": run_tests, "shrunken": run_shrunken, "ranks": run_ranks, "outliers": run_outliers,
    "drivers": run_drivers, "waves": run_waves,
}  # fmt: skip


def main():
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
