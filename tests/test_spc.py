"""Control charts against R; baselines, gaps, and what the false alarms really are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from dealerqm.errors import MethodError
from dealerqm.period import parse, span
from dealerqm.spc import (
    NO_NOTES,
    Exclusion,
    How,
    Notes,
    Rebase,
    capability,
    collect,
    control_chart,
    control_charts,
    diagnosis,
    duration_spread,
    false_alarm_chance,
    p_chart,
    p_prime,
    stack,
    u_prime,
    xmr,
)

PLAN = worlds.PLAN
QUARTER = parse("2026Q3")
MONTHS = [p.key for p in span(parse("2024-01"), parse("2026-09"))]
NOW = ["2026-07", "2026-08", "2026-09"]


def numbers(text):
    return [float(word) for word in text.split()]


def flat(*parts):
    return [np.asarray(part)[:, 0] if np.ndim(part) == 2 else part for part in parts]


# ---------------------------------------------------------------- limits of R 4.2.2

# Detractor share of a group per month, over-dispersed: answers and detractors.
D1 = numbers("""
    663 685 473 812 702 802 473 486 601 659 591 408 638 711 717 904 621 585 613 559 532 485 805
    536 572 834 541 467 882 636 729 876 446 660 857 666
""")
N1 = numbers("""
    4650 4293 3174 6086 5417 5958 3695 3789 4180 4463 4010 2891 5242 4628 4626 6080 4300 4295 4462
    5228 3670 3385 5388 3954 4162 5952 3342 3382 5680 4253 4714 5747 3394 4311 5317 4732
""")
# Quota sample, under-dispersed.
D2 = numbers("""
    88 57 99 64 88 92 98 77 71 69 81 98 77 84 66 83 81 95 99 85 76 80 81 62 88 67 71 75 82 62
""")
N2 = numbers("""
    423 300 494 322 459 476 490 412 364 358 406 471 389 421 319 409 414 478 495 427 381 406 393
    325 450 340 353 380 401 327
""")
# Warranty claims per 1,000 orders.
D3 = numbers("""
    513 317 612 507 473 749 460 694 242 233 517 620 589 547 521 314 449 606 417 785 517 503 551
    406 468 532 261 798 422 831
""")
N3 = numbers("""
    23.31 10.45 19.2 15.52 18.6 25.59 17.36 17.38 8.67 9.06 15.8 18.47 23.74 16.35 14.46 16.51
    14.85 25.4 12.87 22.77 16.28 18.08 17.65 13.91 13.93 15.65 11.65 24.97 14.94 25.3
""")


# MRbar(z)/(2/sqrt(pi)), base R 4.2.2
@pytest.mark.parametrize(
    ("chart", "counts", "centre", "sigma_z", "limits", "beyond"),
    [
        (p_prime, (D1, N1), 0.14262818544673, 1.95584760892938,
         ([0.112538539929621, 0.111312414805802, 0.106208173272741],
          [0.172717830963839, 0.173943956087658, 0.179048197620719]), [19]),
        (p_prime, (D2, N2), 0.198295125382769, 0.276746996735682,
         ([0.182199892352457, 0.179183095085517, 0.183401378180723],
          [0.214390358413081, 0.217407155680021, 0.213188872584816]), []),
        (u_prime, (D3, N3), 29.7925663170882, 4.02496512008853,
         ([16.1415119435042, 9.40435209976717, 14.7512197162965],
          [43.4436206906722, 50.1807805344093, 44.8339129178799]), []),
    ],
)  # fmt: skip
def test_laney_is_that_of_r(chart, counts, centre, sigma_z, limits, beyond):
    found = chart(*counts)
    value, centres, low, high = flat(found.value, found.centre, found.lower, found.upper)
    assert centres == pytest.approx(np.full(len(counts[0]), centre), rel=1e-9)
    assert found.sigma_z[0] == pytest.approx(sigma_z, rel=1e-9)
    assert low[:3] == pytest.approx(limits[0], rel=1e-9)
    assert high[:3] == pytest.approx(limits[1], rel=1e-9)
    assert np.flatnonzero((value < low) | (value > high)).tolist() == beyond


WAIT = numbers("""
    41.1 45 50.1 44.9 44 43.6 42.1 43.8 38.2 78.4 47.5 46 39.9 43.2 55.7 38.9 45.6 39.6 43.3 48.5
    45.2 39.7 45.1 52.5 33.2 39.4 36.7 36.9 34.1 37.7 33.4 35.5 39.3 36.6 39.6 38.4 39.7 34.8 37.4
    32.6 44.3 37.5 37.9 39.7 28.2 35.7 32.6 38
""")
CSAT = numbers("""
    85.9 84.2 88.9 93 84.8 89.3 88.3 87.4 89.6 89 87.3 89.8 88.6 86.6 86.4 87.3 89.5 84 87 86.5 86
    90.3 81.8 85.7 87.7 86.7 86.5 84.1 84.3 92 86.8 86.6 88.6 90.3 83.3 87.3
""")
# Montgomery, Introduction to Statistical Quality Control: costs of mortgage loans
COSTS = numbers("""
    310 288 297 298 307 303 294 297 308 306 294 299 297 299 314 295 293 306 301 304
""")


# base R 4.2.2: mean, mean(abs(diff))/(2/sqrt(pi)); NA in place of the point left out
@pytest.mark.parametrize(
    ("x", "keep", "centre", "sigma", "lower", "upper"),
    [
        (CSAT, None, 87.2611111111111, 2.49156369898718, 79.7864200141496, 94.7358022080727),
        (COSTS, None, 300.5, 6.90324131405306, 279.790276057841, 321.209723942159),
        (WAIT, [i != 9 for i in range(48)], 40.4829787234043, 4.36023647322757, 27.4022693037215,
         53.563688143087),
        (WAIT, [i < 24 for i in range(48)], 45.9125, 6.88945105525883, 25.2441468342235,
         66.5808531657765),
        (WAIT, [i >= 24 for i in range(48)], 36.6333333333333, 3.63738355490176, 25.7211826686281,
         47.5454839980386),
    ],
)  # fmt: skip
def test_individuals_are_those_of_r(x, keep, centre, sigma, lower, upper):
    found = xmr(x, baseline=keep)
    ends = (found.centre[0, 0], found.sigma_z[0], found.lower[0, 0], found.upper[0, 0])
    assert ends == pytest.approx((centre, sigma, lower, upper), rel=1e-9)


def test_a_gap_is_never_bridged():
    x = [10.0, 12.0, np.nan, 20.0, 21.0]
    found = xmr(x)
    # by hand: ranges 2 and 1 only; the one over the gap would be 8
    assert found.sigma_z[0] == pytest.approx(1.5 / (2 / np.sqrt(np.pi)), rel=1e-12)
    assert found.centre[0, 0] == 15.75
    k, n = [10, 12, 0, 20, 21], [100, 100, 0, 100, 100]
    one, two = p_prime(k, n), p_prime([10, 12, np.nan, 20, 21], [100, 100, np.nan, 100, 100])
    assert one.sigma_z == pytest.approx(two.sigma_z)
    z = np.diff([10, 12]) / 100 / np.sqrt(0.1575 * 0.8425 / 100)
    y = np.diff([20, 21]) / 100 / np.sqrt(0.1575 * 0.8425 / 100)
    assert one.sigma_z[0] == pytest.approx((z + y)[0] / 2 / (2 / np.sqrt(np.pi)), rel=1e-12)
    assert np.isnan(one.value[2, 0])


@pytest.mark.parametrize(
    ("chart", "arguments"),
    [(u_prime, ([3], [2])), (xmr, ([5.0],)), (xmr, ([5.0, np.nan, 7.0],)),
     (xmr, ([np.nan, np.nan],))],
)  # fmt: skip
def test_without_spread_to_see_there_are_no_limits(chart, arguments):
    found = chart(*arguments)
    assert np.isnan(found.upper).all()
    assert np.isnan(found.lower).all()
    assert not found.judged.any()


@pytest.mark.parametrize(
    ("chart", "arguments"),
    [(p_prime, ([0, 0, 0], [9, 9, 9])), (p_prime, ([9, 9, 9], [9, 9, 9])),
     (u_prime, ([0, 0, 0], [2, 3, 2]))],
)  # fmt: skip
def test_a_baseline_that_does_not_vary_is_shown_but_not_judged(chart, arguments):
    found = chart(*arguments)
    assert (found.upper == found.lower).all()
    assert not found.judged.any()


def test_events_without_opportunities_are_refused():
    with pytest.raises(MethodError, match="no more events than n allows"):
        p_prime([1, 2], [0, 0])


def test_charts_side_by_side_are_each_their_own():
    k, n = np.array([D1[:30], D2]).T, np.array([N1[:30], N2]).T
    both = p_prime(k, n)
    for i, (d, size) in enumerate(((D1[:30], N1[:30]), (D2, N2))):
        one = p_prime(d, size)
        assert both.upper[:, i] == pytest.approx(one.upper[:, 0], rel=1e-12)


@settings(max_examples=40)
@given(st.floats(0.1, 1e3), st.floats(-50, 50))
def test_unit_and_origin_of_individuals_do_not_matter(unit, origin):
    x = np.array(COSTS, float)
    one, two = xmr(x), xmr(unit * x + origin)
    assert two.upper == pytest.approx(unit * one.upper + origin, rel=1e-9)
    assert two.sigma_z == pytest.approx(unit * one.sigma_z, rel=1e-7)


@settings(max_examples=20)
@given(st.integers(2, 9))
def test_laney_does_not_depend_on_how_exposure_is_counted(unit):
    one, two = u_prime(D3, N3), u_prime(D3, np.array(N3) * unit)
    assert two.upper * unit == pytest.approx(one.upper, rel=1e-9)
    assert two.sigma_z == pytest.approx(one.sigma_z, rel=1e-9)


# ---------------------------------------------------------------- false alarms


def alarms(limits, start):
    value = limits.value[start:]
    return ((value > limits.upper[start:]) | (value < limits.lower[start:])).mean()


@pytest.mark.parametrize("points", [12, 24, 36])
def test_stated_false_alarms_are_those_of_stable_processes(points):
    rng = np.random.default_rng(points)
    size = (points + 3, 40_000)
    baseline = np.broadcast_to(np.arange(size[0])[:, None] < points, size)
    stated = float(false_alarm_chance(points))
    found = {
        "xmr": alarms(xmr(rng.normal(size=size), baseline=baseline), points),
        "p_prime": alarms(
            p_prime(rng.binomial(200, 0.3, size), np.full(size, 200.0), baseline=baseline), points
        ),
        "u_prime": alarms(
            u_prime(rng.poisson(40, size), np.ones(size), baseline=baseline), points
        ),
    }  # fmt: skip
    for chart, rate in found.items():
        assert rate == pytest.approx(stated, rel=0.15), chart


def test_with_known_limits_the_chance_is_that_of_the_normal_law():
    assert false_alarm_chance(10**6) == pytest.approx(0.0026998, rel=1e-3)  # 2Φ(-3)
    assert false_alarm_chance(10**6, sigma=1.959964) == pytest.approx(0.05, rel=1e-3)


@given(st.integers(3, 200), st.floats(0.5, 4))
def test_more_points_and_wider_limits_make_fewer_false_alarms(points, sigma):
    assert false_alarm_chance(points + 1, sigma=sigma) < false_alarm_chance(points, sigma=sigma)
    assert false_alarm_chance(points, sigma=sigma + 0.1) < false_alarm_chance(points, sigma=sigma)


# ---------------------------------------------------------------- charts of KPIs


def series(kpi, values, *, n=100, start=0, unit="S1"):
    """Monthly values of one store; a value of None is a month without rows."""
    keys = MONTHS[start : start + len(values)]
    rows = [
        {"unit_type": "store", "unit": unit, "period": key, "kpi": kpi, "n": size, "missing": 0,
         "k": value * size if PLAN.kpis[kpi].is_share else np.nan, "value": value,
         "complete": True}
        for key, value, size in zip(keys, values, np.broadcast_to(n, len(values)), strict=True)
        if value is not None
    ]  # fmt: skip
    return pd.DataFrame(rows)


def chart(table, plan=PLAN, period=QUARTER, notes=NO_NOTES):
    return control_charts(table, plan, period, notes)


def beyond(found):
    return found.table.loc[found.table["beyond"], "period"].tolist()


def changed(section, **values):
    settings = {**PLAN.settings, section: {**PLAN.settings[section], **values}}
    return replace(PLAN, settings=settings)


STABLE = (0.5 + 0.02 * np.random.default_rng(11).standard_normal(30)).round(2).tolist()
LINES = ["centre", "lower", "upper"]


def test_points_of_the_reviewed_period_never_enter_their_own_limits():
    quiet = chart(series("satisfaction", [*STABLE, 0.5, 0.5, 0.5]))
    loud = chart(series("satisfaction", [*STABLE, 0.9, 0.1, 0.9]))
    columns = [*LINES, "judged"]
    pd.testing.assert_frame_equal(quiet.table[columns], loud.table[columns])
    assert beyond(quiet) == []
    assert beyond(loud) == NOW


def test_the_first_points_of_a_phase_set_the_limits_and_stay_frozen():
    late = chart(series("satisfaction", [*STABLE[:24], *[0.7] * 6, 0.5, 0.5, 0.5])).table
    kept = np.array(STABLE[:24])
    # by hand: arcsine scale of Anscombe, mean of the first 24, carried back at n = 100
    y = np.arcsin(np.sqrt((100 * kept + 3 / 8) / 100.75)).mean()
    centre = (100.75 * np.sin(y) ** 2 - 3 / 8) / 100
    assert late["centre"].unique() == pytest.approx([centre])
    assert late["status"].tolist() == ["baseline"] * 24 + ["judged"] * 9
    assert late.loc[24:29, "beyond"].all()


@pytest.mark.parametrize("count", [11, 12])
def test_a_short_baseline_is_shown_and_not_judged(count):
    assert PLAN.settings["charts"]["minimum_periods"] == 12
    values = [*STABLE[:count], 0.9, 0.5, 0.5]
    found = chart(series("satisfaction", values, start=33 - len(values)))
    now = found.table[found.table["period"].isin(NOW)]
    judged = count >= 12
    assert now["judged"].eq(judged).all()
    assert now["value"].notna().all()
    assert now["upper"].notna().eq(judged).all()
    assert beyond(found) == (["2026-07"] if judged else [])
    assert found.note["points_judged"] == (3 if judged else 0)
    assert judged or now["status"].eq("short").all()


def test_a_short_store_borrows_limits_from_the_others():
    rng = np.random.default_rng(5)
    others = [
        series("satisfaction", np.clip(rng.normal(0.6, 0.05, 33), 0, 1), unit=f"S{i}")
        for i in range(2, 10)
    ]
    young = series("satisfaction", [0.6, 0.62, 0.58, 0.61, 0.6, 0.2, 0.6, 0.6], start=25)
    found = worlds.rows(chart(pd.concat([young, *others])).table, unit="S1")
    assert found["judged"].sum() == 3
    assert found.loc[found["beyond"], "period"].tolist() == ["2026-07"]
    alone = worlds.rows(chart(young).table, unit="S1")
    assert not alone["judged"].any()


@pytest.mark.parametrize(
    ("kpi", "value"), [("satisfaction", 1.0), ("satisfaction", 0.0), ("satisfaction", 0.3),
                       ("waiting_time", 0.1), ("waiting_time", 17.3), ("nps", 1 / 3)]
)  # fmt: skip
def test_a_constant_series_raises_no_alarm(kpi, value):
    found = chart(series(kpi, [value] * 33))
    assert not found.table[["beyond", "run"]].any(axis=None)


def test_months_with_fewer_than_k_rows_are_not_there():
    sizes = [100] * 31 + [4, 100]
    found = chart(series("satisfaction", [*STABLE, 0.5, 0.1, 0.5], n=sizes)).table
    row = worlds.one(found, period="2026-08")
    assert (row["n"], row["status"], row["beyond"]) == (0, "gap", False)
    assert np.isnan(row["value"])
    none = chart(series("satisfaction", [*STABLE, 0.5, 0.1, 0.5], n=4))
    assert none.table.empty
    assert (none.note["points_judged"], none.note["expected_false_alarms"]) == (0, 0)


def test_a_spread_of_few_stores_has_its_chart():
    found = chart(series("satisfaction_spread", [v / 10 for v in STABLE] + [0.05, 0.05, 0.9], n=4))
    assert found.table["chart"].eq("xmr").all()
    assert beyond(found) == ["2026-09"]


def test_unfinished_follow_up_is_no_point():
    table = series("closing_rate", [*STABLE, 0.5, 0.1, 0.1])
    table["complete"] = table["period"] <= "2026-07"
    found = chart(table).table
    assert found.loc[found["period"] > "2026-07", "status"].eq("gap").all()
    assert worlds.one(found, period="2026-07")["judged"]


def test_a_run_on_one_side_signals_with_all_its_points():
    length = chart(series("satisfaction", STABLE)).note["run_length"]
    high = [*STABLE[:24], *[0.53] * 9]
    plan = changed("charts", false_alarms={"charts": 1, "years": 1})
    found = chart(series("satisfaction", high), plan)
    needed = found.note["run_length"]
    assert needed <= 9 < length
    fired = found.signals.table.query("rule == 'run'")
    assert len(fired) == 9 - needed + 1
    assert fired.iloc[0]["members"].split(", ") == MONTHS[24 : 24 + needed]
    assert fired["side"].eq("above").all()
    assert found.table.loc[found.table["run"], "period"].tolist() == MONTHS[24:33]


def test_the_budget_of_the_plan_sets_the_width():
    one = chart(series("satisfaction", [*STABLE, 0.5, 0.56, 0.5]))
    tight = changed("charts", false_alarms={"charts": 1, "years": 30})
    two = chart(series("satisfaction", [*STABLE, 0.5, 0.56, 0.5]), tight)
    assert (two.table["upper"] > one.table["upper"]).all()
    assert two.note["expected_false_alarms"] == pytest.approx(3 / 360)
    assert one.note["average_run_length"]["0"] > one.note["average_run_length"]["2"] > 1


# ---------------------------------------------------------------- what people decided


def rebase(period, *, accepted=True, unit="S1"):
    return Rebase("satisfaction", unit, period, accepted, "new building", "Ann", "2026-10-01")


def test_an_accepted_rebase_starts_a_phase_with_its_own_limits():
    values = [*STABLE[:15], *[v + 0.3 for v in STABLE[:15]], 0.8, 0.5, 0.8]
    table = series("satisfaction", values)
    plain = chart(table)
    assert "2025-04" in beyond(chart(table, period=parse("2025Q2")))
    found = chart(table, notes=Notes(rebases=(rebase("2025-04"),)))
    assert found.table["phase"].tolist() == [1] * 15 + [2] * 18
    assert beyond(found) == ["2026-08"]
    assert found.table["centre"].iloc[-1] == pytest.approx(0.81, abs=0.02)
    refused = chart(table, notes=Notes(rebases=(rebase("2025-04", accepted=False),)))
    pd.testing.assert_frame_equal(refused.table, plain.table)


def test_an_excluded_point_is_shown_and_neither_judged_nor_used():
    values = [*STABLE, 0.5, 0.5, 0.5]
    values[5] = 0.99
    out = Exclusion("satisfaction", "S1", MONTHS[5], "fire", "Ann", "2026-10-01")
    with_it, without = (
        chart(series("satisfaction", values)),
        chart(series("satisfaction", values), notes=Notes(exclusions=(out,))),
    )
    row = worlds.one(without.table, period=MONTHS[5])
    assert (row["status"], row["value"]) == ("excluded", 0.99)
    assert without.note["excluded_points"] == 1
    wide, narrow = (t.table["upper"] - t.table["lower"] for t in (with_it, without))
    assert (narrow < wide).all()


def test_notes_of_other_charts_change_nothing():
    table = series("satisfaction", [*STABLE, 0.5, 0.5, 0.5])
    notes = Notes(
        (rebase("2025-06", unit="S2"), rebase("2030-01")),
        (Exclusion("nps", "S1", "2025-06", "x", "y", "z"),),
    )
    pd.testing.assert_frame_equal(chart(table, notes=notes).table, chart(table).table)


# ---------------------------------------------------------------- season, memory, rare events


def stores(kpi, matrix, *, n=100):
    """Monthly values of several stores; one column each."""
    parts = [
        series(kpi, list(column), unit=f"S{i:02d}", n=n) for i, column in enumerate(matrix.T, 1)
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_season_that_all_stores_share_is_taken_out_and_drawn():
    rng = np.random.default_rng(2)
    wave = 5 * np.sin(2 * np.pi * np.arange(33) / 12)[:, None]
    found = chart(stores("waiting_time", 30 + wave + rng.normal(0, 1, (33, 8))))
    one = worlds.rows(found.table, unit="S01")
    assert one["centre"].max() - one["centre"].min() > 6
    assert (one["value"] - one["centre"]).std() < 2
    assert one["judged"].sum() == 9
    plain = control_chart(
        stores("waiting_time", 30 + wave + rng.normal(0, 1, (33, 8))), "waiting_time", PLAN,
        QUARTER, how=How(chart="xmr"),
    )  # fmt: skip
    assert len(set(worlds.rows(plain.table, unit="S01")["centre"])) == 1
    assert plain.note["season"] == "not taken out"


def test_memory_moves_the_expected_point():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(33, 20))
    for t in range(1, 33):
        x[t] = 0.7 * x[t - 1] + np.sqrt(1 - 0.49) * x[t]
    found = chart(stores("waiting_time", 30 + x)).table
    assert found["chart"].eq("residual_xmr").all()
    one = worlds.rows(found, unit="S01")
    assert np.corrcoef(one["value"].to_numpy()[:-1], one["centre"].to_numpy()[1:])[0, 1] > 0.95


def test_rare_events_get_limits_of_their_own_law():
    rng = np.random.default_rng(4)
    size = 60
    matrix = rng.binomial(size, 0.005, (33, 10)) / size
    matrix[-1, 0] = 6 / size
    found = chart(stores("repeat_complaints", matrix, n=size)).table
    one = worlds.rows(found, unit="S01")
    assert len(set(one["upper"])) == 1
    assert one["upper"].iloc[0] * size == pytest.approx(round(one["upper"].iloc[0] * size))
    assert one.loc[one["beyond"], "period"].tolist()[-1:] == ["2026-09"]
    assert not found["run"].any()
    judged = found[found["judged"]]
    assert judged["beyond"].mean() < 2 * 1 / 36


# ---------------------------------------------------------------- charts by name


@pytest.mark.parametrize(
    ("kpi", "name"),
    [("satisfaction", "p"), ("satisfaction", "p_prime"), ("satisfaction", "xmr"),
     ("satisfaction", "run"), ("nps", "i_prime"), ("nps", "ewma"),
     ("waiting_time", "residual_xmr")],
)  # fmt: skip
def test_a_chart_by_its_name_is_that_chart(kpi, name):
    values = [*STABLE, 0.5, 0.9, 0.5]
    found = control_chart(series(kpi, values), kpi, PLAN, QUARTER, how=How(chart=name))
    assert found.table["chart"].eq(name).all()
    assert found.note["chart"] == name
    assert found.table.loc[:23, "status"].eq("baseline").all()


def test_the_p_chart_by_name_is_the_kernels():
    values = [*STABLE, 0.5, 0.9, 0.5]
    found = control_chart(
        series("satisfaction", values), "satisfaction", PLAN, QUARTER,
        how=How(chart="p", rules="western_electric"),
    )  # fmt: skip
    base = np.arange(33) < 24
    plain = p_chart(100 * np.array(values), np.full(33, 100.0), baseline=base)
    for line in LINES:
        assert found.table[line].to_numpy() == pytest.approx(getattr(plain, line)[:, 0])
    assert beyond(found) == ["2026-08"]
    assert "western_electric_1" in set(found.signals.table["rule"])


def test_rules_without_a_name_for_the_chart_use_the_diagnosed_one():
    values = [*STABLE, 0.5, 0.9, 0.5]
    found = control_chart(
        series("satisfaction", values), "satisfaction", PLAN, QUARTER, how=How(rules="mdc")
    )
    assert found.note["chart"] == "p"
    assert found.note["rules"].startswith("mdc_limits")


@pytest.mark.parametrize(
    ("how", "words"),
    [(How(chart="u"), "'u' is not known"), (How(chart="p_prim"), "p_prime"),
     (How(rules="nelsn"), "nelson")],
)  # fmt: skip
def test_a_wrong_choice_is_refused_with_what_is_allowed(how, words):
    with pytest.raises(MethodError, match=words):
        control_chart(series("satisfaction", STABLE), "satisfaction", PLAN, QUARTER, how=how)


def test_by_default_the_chart_of_one_kpi_is_that_of_all():
    table = series("satisfaction", [*STABLE, 0.5, 0.9, 0.5])
    one = control_chart(table, "satisfaction", PLAN, QUARTER)
    pd.testing.assert_frame_equal(one.table, chart(table).table)


# ---------------------------------------------------------------- a small world


@pytest.fixture(scope="module")
def small():
    """The charts of the small world."""
    return control_charts(worlds.small_values("month"), PLAN, QUARTER)


@pytest.mark.parametrize(
    ("kpi", "kinds"),
    [("satisfaction", {"p", "p_prime"}), ("complaint_response", {"p", "p_prime"}),
     ("closing_rate", {"p", "p_prime"}), ("complaint_rate", {"u", "u_prime"}),
     ("nps", {"i_prime", "residual_xmr"}), ("waiting_time", {"i_prime", "residual_xmr"}),
     ("satisfaction_index", {"i_prime", "residual_xmr"}),
     ("satisfaction_spread", {"xmr", "residual_xmr"})],
)  # fmt: skip
def test_every_statistic_has_its_chart(small, kpi, kinds):
    found = small.table
    assert set(found.loc[found["kpi"] == kpi, "chart"]) <= kinds
    assert (found["kpi"] == kpi).any()


def test_limits_lie_on_the_scale(small):
    found = small.table
    measures = found["kpi"].map(lambda name: PLAN.kpis[name].measure)
    assert found[measures == "score"]["lower"].dropna().between(-1, 1).all()
    shares = found[measures == "share"]
    assert shares["upper"].dropna().between(0, 1).all()
    assert shares["lower"].dropna().between(0, 1).all()
    assert found[measures == "value"]["lower"].dropna().ge(0).all()


def test_rates_are_charted_in_the_unit_of_the_kpi(small):
    found = small.table
    mine = found[(found["kpi"] == "complaint_rate") & (found["unit"] == "group")]
    values = worlds.small_values("month")
    values = values[(values["kpi"] == "complaint_rate") & (values["unit"] == "group")]
    merged = mine.merge(values, on="period", suffixes=("", "_kpi"))
    assert len(merged) == 24
    assert merged["value"].tolist() == pytest.approx(merged["value_kpi"].tolist(), rel=1e-12)


def test_the_small_world_alarms_about_as_often_as_its_budget(small):
    table = small.table
    now = table[table["judged"].astype(bool) & (table["period"] >= "2026-07")]
    assert small.note["points_judged"] == len(now) > 300
    assert small.note["expected_false_alarms"] == pytest.approx(len(now) / 36)
    # independent noise, but the same rows serve several KPIs and units
    assert now["beyond"].sum() < 2 * small.note["expected_false_alarms"] + 5


@pytest.mark.parametrize(("key", "count"), [("2026-08", 1), ("2026Q3", 3), ("2026", 9)])
def test_the_reviewed_period_may_be_a_month_a_quarter_or_a_year(key, count):
    found = chart(series("satisfaction", [*STABLE, 0.9, 0.9, 0.9]), period=parse(key))
    assert found.note["points_judged"] == count
    assert found.table["period"].max() == min(parse(key).end.strftime("%Y-%m"), "2026-09")


def test_weeks_are_charted_too():
    weeks = [p.key for p in span(parse("2026W01"), parse("2026W40"))]
    rows = [
        {"unit_type": "store", "unit": "S1", "period": key, "kpi": "waiting_time", "n": 50,
         "missing": 0, "k": np.nan, "value": 20.0 + i % 3, "complete": True}
        for i, key in enumerate(weeks)
    ]  # fmt: skip
    rows[-1]["value"] = 60.0
    found = chart(pd.DataFrame(rows), period=parse("2026W40"))
    assert beyond(found) == ["2026W40"]
    assert found.note["false_alarms_per_point"] == pytest.approx(1 / 156)


def test_no_values_give_no_charts():
    found = chart(worlds.small_values("month").iloc[:0])
    assert found.table.empty
    assert found.note["expected_false_alarms"] == 0


def test_the_order_of_rows_does_not_matter():
    table = stores("satisfaction", np.random.default_rng(1).uniform(0.4, 0.6, (33, 4)))
    turned = table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(chart(table).table, chart(turned).table)


def test_the_diagnosis_says_why():
    rng = np.random.default_rng(8)
    share = np.clip(rng.normal(0.5, 0.15, (33, 6)), 0.05, 0.95)
    table = stores("satisfaction", share, n=400)
    found = diagnosis(stack(collect(table, PLAN, QUARTER), PLAN, QUARTER), PLAN)
    assert found.table["chart"].eq("p_prime").all()
    assert found.table["reasons"].str.contains("overdispersed").all()
    assert found.table["dispersion"].gt(10).all()
    assert "离散" in found.show("zh").to_string()


# ---------------------------------------------------------------- bad input, durations


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("period", "2024-01", "stands twice"), ("value", np.inf, "infinite"), ("n", -3, "negative"),
     ("k", -1.0, "negative")],
)  # fmt: skip
def test_values_that_no_chart_can_show_are_refused_by_name(column, value, words):
    table = series("satisfaction", [*STABLE, 0.5, 0.5, 0.5])
    table.loc[7, column] = value
    with pytest.raises(MethodError, match=rf"satisfaction, S1, 2024-0[18].*{words}"):
        chart(table)


def test_capability_of_durations_is_that_of_their_logarithms():
    rng = np.random.default_rng(6)
    seconds = np.exp(rng.normal(6, 0.5, 4000)).round()
    months = np.repeat(np.arange(8), 500)
    found = duration_spread(seconds, np.ones(4000), months)
    x = np.log1p(seconds)
    assert found.overall[0] == pytest.approx(x.std(ddof=1), rel=1e-12)
    groups = [x[months == m] for m in range(8)]
    assert found.within[0] == pytest.approx(np.sqrt(np.mean([g.var(ddof=1) for g in groups])))
    cpk = capability(found, upper=np.log1p(1800)).cpk
    assert cpk.low[0] < (np.log(1800) - 6) / 1.5 < cpk.high[0]
    values, counts = np.unique(seconds, return_counts=True)
    merged = duration_spread(values, counts, np.arange(values.size) % 2)
    assert merged.overall[0] == pytest.approx(found.overall[0])


@pytest.mark.parametrize(
    ("seconds", "period", "words"),
    [([1, -1], [1, 2], "negative or missing"), ([1, np.nan], [1, 2], "negative or missing"),
     ([1, 2, 3], [1, 1, 2], "found 1 periods")],
)  # fmt: skip
def test_durations_that_cannot_be_judged_are_refused(seconds, period, words):
    with pytest.raises(MethodError, match=words):
        duration_spread(seconds, np.ones(len(seconds)), period)
