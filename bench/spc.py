"""Control charts: many p' charts, one long XmR chart, calibrated limits, the quarter's board."""

from functools import cache

import numpy as np
import pandas as pd
from scipy import special

from bench.figure import Figure, Peer
from dealerqm.rules import calibrated, design
from dealerqm.series import board, scale
from dealerqm.spc import RULES, SETS, evaluate, p_prime, signals, xmr

CHARTS, PERIODS, POINTS = 2_000, 60, 100_000
BASELINE, BUDGET = 36, 1 / 36
KPIS, STORES, REGIONS, MONTHS = 20, 15, 3, 36
PEER_CHARTS = 100  # of the 2,000: a peer needs milliseconds for one
TOLERANCE = 1e-9
FASTER = 50


@cache
def counts():
    """Events and trials of all charts; more spread than chance alone, some with a shift."""
    rng = np.random.default_rng(20260930)
    n = rng.integers(80, 400, (PERIODS, CHARTS))
    p = rng.beta(88, 12, (PERIODS, CHARTS))
    p[48:, ::10] -= 0.08
    return rng.binomial(n, np.clip(p, 0, 1)).astype(float), n.astype(float)


@cache
def values():
    """One long series."""
    return np.random.default_rng(1).normal(300, 12, POINTS)


# ---------------------------------------------------------------- ours


def p_prime_board(rules):
    """Limits, every rule at every point, and the table of signals."""

    def make():
        k, n = counts()
        return lambda: listed(p_prime(k, n), rules)

    return make


def xmr_nelson():
    x = values()
    return lambda: evaluate(xmr(x), rules="nelson")


def listed(limits, rules):
    """All signals as a data frame, the rules by their names."""
    found = evaluate(limits, rules=rules)
    every = signals(found)
    rule = pd.Categorical.from_codes(every.rule, categories=found.names)
    return pd.DataFrame({**every._asdict(), "rule": rule})


def frozen_and_judged():
    points, early = scale.share(*counts()), np.arange(PERIODS)[:, None] < np.full(CHARTS, BASELINE)
    return lambda: calibrated.judge(points, calibrated.freeze(points, early, budget=BUDGET))


def rules_solved():
    """Limits from a budget as in a new process; later calls find them solved."""

    def call():
        design.solve.cache_clear()
        return design.solve(BUDGET, design.Baseline(BASELINE, BASELINE - 1))

    return call


def quarter_judged():
    x = np.random.default_rng(2).standard_normal((MONTHS, KPIS * STORES))
    x[-9:, 5::STORES] += 2
    kpi, store = np.divmod(np.arange(KPIS * STORES), STORES)
    charts = board.Charts(kpi, store % REGIONS, np.ones(kpi.size, int))
    points, rates = scale.value(x), board.Rates(0.05, 0.2)
    return lambda: board.judge(points, charts, rates=rates)


# ---------------------------------------------------------------- floors


def one_division():
    k, n = counts()
    out = np.empty_like(k)
    return lambda: np.divide(k, n, out=out)


def one_difference():
    x = values()
    out = np.empty(x.size - 1)
    return lambda: np.subtract(x[1:], x[:-1], out=out)


def one_sort():
    k, n = counts()
    p = k / n
    return lambda: np.sort(p, axis=0)


def hundred_sums():
    x = np.random.default_rng(2).standard_normal((MONTHS, KPIS * STORES))
    return lambda: [x.sum(axis=0) for _ in range(100)]


def thousand_normals():
    z = np.linspace(-4, 4, 1_000)
    return lambda: special.ndtr(z)


# ---------------------------------------------------------------- peers


def pccpy_p_prime(listed):
    """Charts with its four tests for shares; listed: with the table of what they found."""

    def make():
        import pccpy

        k, n = counts()

        def call():
            charts = [
                pccpy.laney_p_chart(k[:, i], n[:, i], tests=(1, 2, 3, 4))
                for i in range(PEER_CHARTS)
            ]
            return charts, [chart.violations() for chart in charts if listed]

        ours = p_prime(k[:, :PEER_CHARTS], n[:, :PEER_CHARTS])
        same("pccpy", [chart.panels[0].ucl for chart in call()[0]], ours.upper)
        return call

    return make


def shewhart_p_prime():
    import shewhart

    k, n = counts()
    index = range(PERIODS)

    def call():
        return [
            shewhart.laney_p(pd.Series(k[:, i], index), size=n[:, i], rules="nelson")
            for i in range(PEER_CHARTS)
        ]

    ours = p_prime(k[:, :PEER_CHARTS], n[:, :PEER_CHARTS])
    same("shewhart", [chart.table["ucl"] for chart in call()], ours.upper)
    return call


def pccpy_xmr():
    import pccpy

    x = values()

    def call():
        return pccpy.imr_chart(x, tests=tuple(range(1, 9)))

    same("pccpy", call().panels[0].ucl[None], xmr(x).upper)
    return call


def shewhart_xmr():
    import shewhart

    x = pd.Series(values())

    def call():
        return shewhart.imr(x, rules="nelson")

    same("shewhart", call().stats["i_ucl"], xmr(values()).upper)
    return call


def same(package, theirs, ours):
    """Refuse to time a peer that computes something else."""
    apart = np.abs(np.asarray(theirs, float).T - ours).max()
    if not apart <= TOLERANCE * np.abs(ours).max():
        raise ValueError(f"{package}: its upper limits differ from ours by {apart:g}")


FIGURES = {
    "p_prime_nelson": Figure(
        what="2,000 p' charts of 60 periods, Nelson 1-8, table of signals",
        work=p_prime_board(SETS["nelson"]),
        floor=("one division of the points", one_division),
        goal_ms=50,
        goal_mb=100,
        peers=(
            Peer(
                package="pccpy",
                work=pccpy_p_prime(listed=True),
                share=PEER_CHARTS / CHARTS,
                goal=FASTER,
            ),
            Peer(
                package="pccpy",
                what="without table",
                work=pccpy_p_prime(listed=False),
                share=PEER_CHARTS / CHARTS,
            ),
            Peer(
                package="shewhart", work=shewhart_p_prime, share=PEER_CHARTS / CHARTS, goal=FASTER
            ),
        ),
    ),
    "p_prime_all_rules": Figure(
        what=f"2,000 p' charts of 60 periods, all {len(RULES)} rules, table of signals",
        work=p_prime_board(tuple(RULES)),
        floor=("one division of the points", one_division),
        goal_ms=50,
        goal_mb=100,
    ),
    "xmr_nelson": Figure(
        what="one XmR chart of 100,000 points, Nelson 1-8",
        work=xmr_nelson,
        floor=("one difference of the points", one_difference),
        goal_ms=10,
        goal_mb=100,
        peers=(
            Peer(package="pccpy", work=pccpy_xmr, goal=FASTER),
            Peer(package="shewhart", work=shewhart_xmr, goal=FASTER),
        ),
    ),
    "calibrated": Figure(
        what="2,000 charts of 60 periods, limits frozen on 36 and all points judged",
        work=frozen_and_judged,
        floor=("one sort of the points", one_sort),
        goal_mb=100,
    ),
    "calibrated_rules": Figure(
        what="a calibrated rule set solved for a new baseline",
        work=rules_solved,
        floor=("1,000 normal probabilities", thousand_normals),
    ),
    "quarter_board": Figure(
        what="300 charts of 36 months judged at the newest quarter with regions and group",
        work=quarter_judged,
        floor=("100 sums of the points", hundred_sums),
        goal_mb=100,
    ),
}
