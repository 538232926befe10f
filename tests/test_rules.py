"""Signal rules against plain loops, runs against enumeration, the NHS verdict case by case."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm import spc
from dealerqm.errors import MethodError
from dealerqm.limits.base import Limits
from dealerqm.rules.design import Zone, zone_arl
from dealerqm.rules.runs import Box, crossings_and_runs
from dealerqm.rules.sets import Window

NAN = np.nan
ALL = sum(spc.SETS.values(), ())


# ---------------------------------------------------------------- plain loops, one chart


def plain_window(z, rule, t):
    """(fires above, fires below, members) of a window that ends at t."""
    if t < rule.span - 1:
        return False, False, set()
    window = range(t - rule.span + 1, t + 1)
    found = []
    for side in (1, -1):
        hit = [i for i in window if side * z[i] > rule.low and side * z[i] < rule.high]
        fires = len(hit) >= rule.hits and (rule.demand != "last" or t in hit)
        if rule.demand == "same":
            hit = [i for i in hit if side * z[i] <= 3]
            fires = len(hit) >= rule.hits and all(side * z[i] > 0 for i in window)
        found.append((fires, set(hit) if fires else set()))
    return found[0][0], found[1][0], found[0][1] | found[1][1]


def plain_both(z, rule, t):
    if t < rule.span - 1:
        return False, False, set()
    window = range(t - rule.span + 1, t + 1)
    hit = [i for i in window if rule.low < abs(z[i]) < rule.high]
    fires = len(hit) >= rule.hits
    if rule.demand == "both":
        fires &= not all(z[i] > 0 for i in window) and not all(z[i] < 0 for i in window)
    return fires, fires, set(hit) if fires else set()


def plain_trend(z, rule, t):
    if t < rule.span - 1:
        return False, False, set()
    window = list(range(t - rule.span + 1, t + 1))
    up = all(z[b] > z[a] for a, b in itertools.pairwise(window))
    down = all(z[b] < z[a] for a, b in itertools.pairwise(window))
    return up, down, set(window) if up or down else set()


def plain_zigzag(z, rule, t):
    if t < rule.span - 1:
        return False, False, set()
    window = list(range(t - rule.span + 1, t + 1))
    steps = [np.sign(z[b] - z[a]) for a, b in itertools.pairwise(window)]
    fires = all(a * b == -1 for a, b in itertools.pairwise(steps))
    return fires, fires, set(window) if fires else set()


def plain(z, name):
    rule = spc.RULES[name]
    kind = type(rule).__name__
    if kind == "Beyond":
        return [(v > 3, v < -3, {t} if abs(v) > 3 else set()) for t, v in enumerate(z)]
    way = {"Trend": plain_trend, "Zigzag": plain_zigzag}.get(kind)
    way = way or (plain_window if rule.sided else plain_both)
    return [way(z, rule, t) for t in range(len(z))]


def noise(seed, size=600):
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(0, 1.3, size), 1) + 1.5 * (np.arange(size) // 40 % 3 - 1)
    z[100:140] = np.where(np.arange(40) % 2, 0.4, -0.4) + np.arange(40) / 500
    z[200:230] = np.round(rng.uniform(-0.9, 0.9, 30), 2)
    z[300:320] = rng.choice([-1.4, 1.6], 20)
    z[400:412] = np.linspace(-2, 2, 12)
    z[440:452] = np.linspace(2, -2, 12)
    z[rng.random(size) < 0.03] = NAN
    return z


@pytest.mark.parametrize("name", [name for name in spc.RULES if "anhoej" not in name])
def test_rules_are_those_of_plain_loops(name):
    z = np.stack([noise(seed) for seed in (1, 2, 3)], axis=1)
    found = spc.evaluate(spc.given(z, centre=0, sd=1), rules=[name])
    fired = 0
    for chart in range(3):
        expected = plain(z[:, chart], name)
        up, down = ([row[side] for row in expected] for side in (0, 1))
        np.testing.assert_array_equal(found.up[:, chart], up)
        np.testing.assert_array_equal(found.down[:, chart], down)
        members = set().union(*(row[2] for row in expected))
        assert set(np.flatnonzero(found.members[:, chart]).tolist()) == members
        fired += sum(up) + sum(down)
    assert fired > 0


def test_every_signal_lists_its_members():
    z = noise(4)
    found = spc.evaluate(spc.given(z, centre=0, sd=1), rules=ALL[:-2])
    listed = spc.signals(found)
    expected = {name: plain(z, name) for name in ALL[:-2]}
    assert listed.chart.size == sum(
        bool(row[0] or row[1]) for rows in expected.values() for row in rows
    )
    for row, (rule, period) in enumerate(zip(listed.rule, listed.period, strict=True)):
        up, down, members = expected[found.names[rule]][period]
        assert listed.side[row] == int(up) - int(down)
        assert set(spc.members(found, listed, row).tolist()) == members
        assert listed.start[row] <= min(members)


def test_signals_are_sorted_and_empty_where_nothing_fires():
    z = np.stack([noise(5), noise(6)], axis=1)
    listed = spc.signals(spc.evaluate(spc.given(z, centre=0, sd=1)))
    keys = list(zip(listed.chart, listed.rule, listed.period, strict=True))
    assert keys == sorted(keys)
    quiet = spc.signals(spc.evaluate(spc.given([0.1, -0.2, 0.3], centre=0, sd=1)))
    assert [column.size for column in quiet] == [0] * 5


def test_one_rule_does_not_hide_another():
    found = spc.evaluate(spc.given([2.5, 2.6, 3.5, 2.5, 2.7, 2.8, 2.6, 2.7, 2.9], centre=0, sd=1))
    last = found.up[8, 0]
    assert [name for bit, name in enumerate(found.names) if last >> np.uint32(bit) & 1] == [
        "nelson_2", "nelson_5", "nelson_6", "nelson_8",
    ]  # fmt: skip


def test_rule_one_looks_at_the_limits_as_drawn():
    chart = spc.p_chart([0, 1, 0, 2, 0, 6], [9, 9, 9, 9, 9, 9], limits="probability")
    found = spc.evaluate(chart, rules=["nelson_1"])
    np.testing.assert_array_equal(found.up > 0, chart.value > chart.upper)


def test_runs_of_a_truncated_chart_count_from_the_true_standard_error():
    chart = spc.p_chart([1, 0, 1, 0, 1, 0, 2, 1], [50] * 8)
    assert chart.lower.max() == 0
    np.testing.assert_allclose(chart.z * chart.sd, chart.value - chart.centre)


def test_rules_are_silent_and_say_so_with_too_few_points():
    found = spc.evaluate(spc.given([1, 2, 3, NAN, 4], centre=0, sd=1))
    enough = dict(zip(found.names, found.judged[:, 0].tolist(), strict=True))
    assert enough == {
        "nelson_1": True, "nelson_2": False, "nelson_3": False, "nelson_4": False,
        "nelson_5": True, "nelson_6": False, "nelson_7": False, "nelson_8": False,
    }  # fmt: skip
    assert spc.evaluate(spc.xmr([])).up.shape == (0, 1)


def test_a_constant_series_is_not_judged():
    found = spc.evaluate(spc.xmr([5.0] * 40), rules=ALL)
    assert not (found.up | found.down | found.members).any()
    assert not found.judged.any()


def test_rules_of_ones_own():
    found = spc.evaluate(
        spc.given([0.6, 0.7, -0.1, 0.8], centre=0, sd=1),
        rules={"3 of 4 beyond 0.5": Window(4, 3, 0.5)},
    )
    assert found.up[:, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [("nelsen", "nelson"), (["nelson_9"], "nelson_"),
     ({str(n): Window(1, 1, 1.0) for n in range(33)}, "at most 32")],
)  # fmt: skip
def test_unknown_rules_are_refused(rules, message):
    with pytest.raises(MethodError, match=message):
        spc.evaluate(spc.given([1, 2], centre=0, sd=1), rules=rules)


def test_detection_takes_as_long_as_the_chain_says():
    rng = np.random.default_rng(11)
    z = rng.normal(1, 1, (400, 4000))
    names = ["western_electric_1", "western_electric_2", "western_electric_4"]
    found = spc.evaluate(spc.given(z, centre=0, sd=1), rules=names)
    first = ((found.up | found.down) > 0).argmax(axis=0) + 1
    exact = zone_arl([Zone(1, 1, 3.0), Zone(2, 3, 2.0), Zone(8, 8, 0.0)], [1])[0]
    assert first.mean() == pytest.approx(exact, rel=0.03)


# ---------------------------------------------------------------- runs


def plain_runs(deviation):
    """Longest run, crossings and chances of one chart; gaps end a run."""
    pieces, longest, crossings, chances = [[]], 0, 0, 0
    for value in deviation:
        if np.isnan(value):
            pieces.append([])
        elif value != 0:
            pieces[-1].append(value > 0)
    for piece in pieces:
        runs = [len(list(group)) for _, group in itertools.groupby(piece)]
        longest = max([longest, *runs])
        crossings += max(len(runs) - 1, 0)
        chances += max(len(piece) - 1, 0)
    return sum(map(len, pieces)), longest, crossings, chances


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -1.0, 0.0, 1.0, 1.0, NAN]), max_size=40))
def test_runs_are_those_of_a_plain_loop(deviation):
    found = spc.count_runs(np.array(deviation, float))
    n, longest, crossings, chances = plain_runs(deviation)
    assert (found.n_useful[0], found.longest[0], found.crossings[0]) == (n, longest, crossings)
    limits = spc.run_limits([n], [chances])
    np.testing.assert_array_equal(found.longest_limit, limits[0])
    np.testing.assert_array_equal(found.crossings_limit, limits[1])


def test_runs_of_many_charts_are_those_of_each():
    deviation = np.round(np.random.default_rng(3).normal(size=(50, 8)), 0)
    together = spc.count_runs(deviation)
    for chart in range(8):
        alone = spc.count_runs(deviation[:, chart])
        for left, right in zip(together[3:], alone[3:], strict=True):
            assert left[chart] == right[0]


def test_anhoej_rules_fire_where_the_tests_say():
    x = np.array([3, 1, 2, 1, 3, 2, 1, 3, 1, 2, *[4.0] * 9, 0])
    chart = spc.run_chart(x)
    found = spc.evaluate(chart, rules="anhoej")
    runs = spc.count_runs(chart.value - chart.centre)
    assert runs.signal[0]
    listed = spc.signals(found)
    assert found.names[listed.rule[0]] == "anhoej_run"
    assert listed.period.tolist()[0] == 10 + int(runs.longest_limit[0])
    assert spc.members(found, listed, 0)[0] == listed.start[0] == 10
    assert (found.members[10:19, 0] & 1).all()
    assert not (found.members[:10, 0] & 1).any()


def test_few_crossings_fire_at_the_last_useful_point():
    chart = spc.run_chart([1.0] * 5 + [3] * 5 + [1] * 5 + [3] * 5 + [2])
    found = spc.evaluate(chart, rules="anhoej")
    listed = spc.signals(found)
    crossing = listed.rule == 1
    assert (listed.period[crossing].tolist(), listed.start[crossing].tolist()) == ([19], [0])
    assert listed.side[crossing].tolist() == [0]


def test_fewer_than_ten_useful_points_are_not_judged():
    found = spc.count_runs([1.0] * 9)
    assert found.longest[0] > found.longest_limit[0]
    assert not found.judged[0]
    assert not found.signal[0]
    assert not spc.evaluate(spc.run_chart([2.0, 1] * 4), rules="anhoej").judged.any()


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_joint_distribution_is_that_of_all_series(share):
    n, expected = 9, np.zeros((9, 9))
    for series in itertools.product([True, False], repeat=n):
        runs = [len(list(group)) for _, group in itertools.groupby(series)]
        chance = share ** sum(series) * (1 - share) ** (n - sum(series))
        expected[len(runs) - 1, max(runs) - 1] += chance
    np.testing.assert_allclose(crossings_and_runs(n, share), expected, atol=1e-15)


@pytest.mark.parametrize(  # Anhøj and Wentzel-Larsen (2020), supplement
    ("n", "box"),
    [(10, (2, 6, 3, 5)), (12, (3, 6, 3, 6)), (24, (6, 7, 7, 6)), (50, (19, 9, 19, 9)),
     (74, (30, 10, 30, 10)), (100, (41, 10, 42, 9))],
)  # fmt: skip
def test_boxes_are_those_published(n, box):
    assert tuple(spc.cut_box(n)) == box
    assert tuple(spc.best_box(n))[:2] == box[:2]


def test_boxes_judge():
    box = Box(6, 7, 8, 6)
    outside = [(5, 3), (9, 8), (7, 7), (6, 7)]
    assert [box.signal(*pair) for pair in outside] == [True] * 4
    assert [box.signal(*pair) for pair in [(8, 7), (6, 6), (12, 2)]] == [False] * 3
    with pytest.raises(MethodError, match="10 to 100"):
        spc.best_box(101)


# ---------------------------------------------------------------- NHS Making Data Count


def causes(x, **options):
    found = spc.mdc(x, screen="none", **options)
    return found.cause[:, 0].tolist(), found.point_type[:, 0].tolist()


def judged(z, **options):
    """A series with known standardised points, after a long stable stretch that sets the limits."""
    calm = np.tile([1.0, -1.0], 40)
    half = 2.66 * 2 / 3  # mean moving range of the stretch is 2
    x = np.concatenate([calm, [NAN], np.array(z) * half])
    cause, kind = causes(x, fix_after=80, **options)
    return cause[81:], kind[81:]


def test_nhs_names_the_first_cause_that_holds():
    cause, _ = judged([0.1, 2.5, 2.6, 0.2, -0.1, 3.5, -3.5])
    expected = [
        "common",
        "two_above",
        "two_above",
        "common",
        "common",
        "above_limit",
        "below_limit",
    ]
    assert cause == expected


def test_nhs_two_in_three_needs_the_third_on_the_same_side():
    assert judged([2.5, -0.1, 2.6])[0] == ["common"] * 3
    assert judged([2.5, 0.1, 2.6])[0] == ["two_above", "common", "two_above"]
    assert judged([-2.5, -2.2, -0.3, 0.5])[0] == ["two_below", "two_below", "common", "common"]


def test_nhs_runs_and_trends_need_seven():
    assert judged([0.5, 0.2] * 3 + [-0.1])[0] == ["common"] * 7
    assert judged([0.5, 0.2] * 3 + [0.5, -0.1])[0] == ["run_above"] * 7 + ["common"]
    rising = [-0.6, -0.4, -0.2, 0.1, 0.2, 0.4]
    assert judged(rising)[0] == ["common"] * 6
    assert judged([*rising, 0.6])[0] == ["rising"] * 7
    assert judged([-v for v in [*rising, 0.6]])[0] == ["falling"] * 7


def test_nhs_turning_point_of_two_trends_belongs_to_the_second():
    rising = np.linspace(-1.2, 1.2, 7)
    cause, _ = judged([*rising, *rising[::-1][1:]])
    assert cause == ["rising"] * 6 + ["falling"] * 7


@pytest.mark.parametrize(
    ("better", "high", "low"),
    [("up", "special_cause_improvement", "special_cause_concern"),
     ("down", "special_cause_concern", "special_cause_improvement"),
     ("none", "special_cause_neutral_high", "special_cause_neutral_low")],
)  # fmt: skip
def test_nhs_direction(better, high, low):
    assert judged([3.5, 0.1, -3.5], better=better)[1] == [high, "common_cause", low]


@pytest.mark.parametrize(
    ("better", "goal", "expected"),
    [("up", 50, "consistent_fail"), ("up", -50, "consistent_pass"), ("up", 0, "inconsistent"),
     ("down", 50, "consistent_pass"), ("down", -50, "consistent_fail"),
     ("none", 50, ""), ("up", NAN, "")],
)  # fmt: skip
def test_nhs_assurance(better, goal, expected):
    found = spc.mdc(np.tile([1.0, -1.0], 20), better=better, goal=goal)
    assert found.assurance.tolist() == [expected]


def test_nhs_phases_judge_by_themselves():
    x = np.concatenate([np.tile([1.0, -1.0], 10), np.tile([11.0, 9.0], 10)])
    joined, split = spc.mdc(x, screen="none"), spc.mdc(x, starts=[20], screen="none")
    assert "common" not in joined.cause
    assert set(split.cause[:, 0]) == {"common"}
    assert np.unique(split.chart.centre).tolist() == [0, 10]


def test_nhs_without_points_gives_no_verdict():
    found = spc.mdc([NAN, NAN, NAN], better="up", goal=1)
    assert found.assurance.tolist() == [""]
    assert found.chart.status.tolist() == ["no_points"]
    assert found.cause[:, 0].tolist() == ["common"] * 3


def test_nhs_of_many_charts_is_that_of_each():
    x = np.random.default_rng(8).normal(size=(40, 5)).cumsum(axis=0)
    together = spc.mdc(x, better="up", goal=0)
    for chart in range(5):
        alone = spc.mdc(x[:, chart], better="up", goal=0)
        assert alone.cause[:, 0].tolist() == together.cause[:, chart].tolist()
        assert alone.assurance[0] == together.assurance[chart]


def test_limits_are_one_shape_for_all_charts():
    data = {"p": 2, "np": 2, "u": 2, "p_prime": 2, "u_prime": 2, "i_prime": 2}
    k, n = np.array([3.0, 5, 4, 6]), np.array([9.0, 9, 8, 9])
    for name, chart in spc.CHARTS.items():
        if name in ("xbar_r", "xbar_s", "r", "s"):
            found = chart(spc.subgroups([[1, 2], [2, 4], [3, 3]]))
        elif name in ("ewma", "cusum"):
            found = chart(spc.xmr(k))
        elif name in ("t2", "mewma"):
            x = np.random.default_rng(1).normal(size=(9, 2))
            found = chart(x) if name == "t2" else chart(x, h=9)
        elif name.startswith("cusum_"):
            found = chart(k, n, **{"rate" if name == "cusum_poisson" else "share": 0.4})
        elif name.startswith("funnel"):
            found = chart(k, n)
        else:
            found = chart(*(k, n)[: data.get(name, 1)])
        assert isinstance(found, Limits), name
        shapes = {field.shape for field in (*found[:4], found.sd)}
        assert shapes == {(len(found.value), 1)}, name
        assert found.sigma_z.shape == (1,), name
        assert found.status.tolist() == ["ok"], name
