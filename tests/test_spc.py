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
from dealerqm.spc import control_charts, false_alarm_chance, p_prime, u_prime, xmr

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


def series(kpi, values, *, n=100, start=0, **other):
    """Monthly values of one store; a value of None is a month without rows."""
    keys = MONTHS[start : start + len(values)]
    rows = [
        {"unit_type": "store", "unit": "S1", "period": key, "kpi": kpi, "n": size, "missing": 0,
         "k": value * size if PLAN.kpis[kpi].is_share else np.nan, "value": value,
         "complete": True, **other}
        for key, value, size in zip(keys, values, np.broadcast_to(n, len(values)), strict=True)
        if value is not None
    ]  # fmt: skip
    return pd.DataFrame(rows)


def chart(table, plan=PLAN, period=QUARTER):
    return control_charts(table, plan, period)


STABLE = [0.5 + 0.02 * (-1) ** i + 0.01 * (i % 3) for i in range(30)]


def test_points_of_the_reviewed_period_never_enter_their_own_limits():
    quiet = chart(series("satisfaction", [*STABLE, 0.5, 0.5, 0.5]))
    loud = chart(series("satisfaction", [*STABLE, 0.9, 0.1, 0.9]))
    lines = ["centre", "lower", "upper", "judged"]
    pd.testing.assert_frame_equal(quiet.table[lines], loud.table[lines])
    assert quiet.findings == ()
    assert [f.evidence["period"] for f in loud.findings] == NOW


def test_only_the_newest_points_before_the_period_set_the_limits():
    old = [0.9, 0.1] * 3
    found = chart(series("satisfaction", [*old, *STABLE[6:], 0.5, 0.5, 0.5])).table
    kept = np.array(STABLE[6:])
    assert found["centre"].dropna().unique() == pytest.approx([kept.mean()])
    assert found.loc[found["period"] == "2024-01", "beyond"].all()


def test_findings_are_of_the_reviewed_period_only():
    found = chart(series("satisfaction", [0.9, *STABLE[1:], 0.5, 0.9, 0.5]))
    assert found.table["beyond"].sum() == 2
    assert [f.evidence["period"] for f in found.findings] == ["2026-08"]
    (finding,) = found.findings
    assert (finding.subject, finding.rule) == ("spc", "beyond_limits:2026-08")
    assert (finding.direction, finding.severity) == ("better", "watch")
    assert finding.low < finding.expected < finding.high < finding.value
    assert str(finding.period_start) == "2026-08-01"


@pytest.mark.parametrize(
    ("kpi", "value", "direction", "severity"),
    [("satisfaction", 0.1, "worse", "act"), ("repeat_complaints", 0.1, "better", "watch"),
     ("repeat_complaints", 0.9, "worse", "act"), ("after_sales_complaints", 0.9, "none", "watch")],
)  # fmt: skip
def test_what_is_worse_asks_for_action(kpi, value, direction, severity):
    (finding,) = chart(series(kpi, [*STABLE, 0.5, 0.5, value])).findings
    assert (finding.direction, finding.severity) == (direction, severity)


def test_a_short_baseline_is_shown_and_not_judged():
    minimum = PLAN.settings["charts"]["minimum_periods"]
    for count, judged in ((minimum - 1, False), (minimum, True)):
        values = [*STABLE[:count], 0.9, 0.5, 0.5]
        found = chart(series("satisfaction", values, start=33 - len(values)))
        now = found.table[found.table["period"].isin(NOW)]
        assert now["judged"].eq(judged).all()
        assert now["value"].notna().all()
        assert now["upper"].notna().eq(judged).all()
        assert bool(found.findings) == judged
        assert found.note["points_judged"] == (3 if judged else 0)


def test_gaps_shorten_the_baseline():
    values = [value if i % 2 else None for i, value in enumerate(STABLE)]
    assert sum(value is not None for value in values) > PLAN.settings["charts"]["minimum_periods"]
    found = chart(series("satisfaction", [*values, 0.9, 0.5, 0.5]))
    assert not found.table["judged"].any()


@pytest.mark.parametrize(
    ("kpi", "value"), [("satisfaction", 1.0), ("satisfaction", 0.0), ("satisfaction", 0.3),
                       ("waiting_time", 0.1), ("waiting_time", 17.3), ("nps", 1 / 3)]
)  # fmt: skip
def test_a_constant_series_raises_no_alarm(kpi, value):
    found = chart(series(kpi, [value] * 33))
    assert found.findings == ()
    assert not found.table["beyond"].any()


def test_months_with_fewer_than_k_rows_are_not_there():
    sizes = [100] * 31 + [4, 100]
    found = chart(series("satisfaction", [*STABLE, 0.5, 0.1, 0.5], n=sizes)).table
    row = worlds.one(found, period="2026-08")
    assert (row["n"], row["judged"], row["beyond"]) == (0, False, False)
    assert np.isnan(row["value"])
    none = chart(series("satisfaction", [*STABLE, 0.5, 0.1, 0.5], n=4))
    assert none.table.empty
    assert (none.note["points_judged"], none.note["expected_false_alarms"]) == (0, 0)


def test_a_spread_of_few_stores_has_its_chart():
    found = chart(series("satisfaction_spread", [v / 10 for v in STABLE] + [0.05, 0.05, 0.9], n=4))
    assert found.table["chart"].eq("xmr").all()
    assert [f.evidence["period"] for f in found.findings] == ["2026-09"]


def test_unfinished_follow_up_is_no_point():
    table = series("closing_rate", [*STABLE, 0.5, 0.1, 0.1])
    table["complete"] = table["period"] <= "2026-07"
    found = chart(table)
    assert found.findings == ()
    assert found.table.loc[found.table["period"] > "2026-07", "value"].isna().all()
    assert worlds.one(found.table, period="2026-07")["judged"]


@pytest.fixture(scope="module")
def small():
    """The charts of the small world."""
    return control_charts(worlds.small_values("month"), PLAN, QUARTER)


@pytest.mark.parametrize(
    ("kpi", "kind"),
    [("satisfaction", "p_prime"), ("complaint_response", "p_prime"), ("closing_rate", "p_prime"),
     ("complaint_rate", "u_prime"), ("nps", "xmr"), ("waiting_time", "xmr"),
     ("satisfaction_index", "xmr"), ("satisfaction_spread", "xmr")],
)  # fmt: skip
def test_every_statistic_has_its_chart(small, kpi, kind):
    found = small.table
    assert found.loc[found["kpi"] == kpi, "chart"].eq(kind).all()
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


def test_the_note_states_what_chance_alone_would_give(small):
    found, table = small, small.table
    now = table[table["judged"].astype(bool) & (table["period"] >= "2026-07")]
    assert found.note["points_judged"] == len(now) > 300
    low, high = (float(false_alarm_chance(m)) * len(now) for m in (24, 12))
    assert low <= found.note["expected_false_alarms"] <= high
    # the small world is independent noise: nothing but false alarms
    assert len(found.findings) < 3 * found.note["expected_false_alarms"] + 5


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
    assert [f.evidence["period"] for f in found.findings] == ["2026W40"]
    assert found.findings[0].direction == "worse"


def test_sigma_comes_from_the_plan():
    settings_ = {**PLAN.settings, "charts": {**PLAN.settings["charts"], "sigma": 1.0}}
    values = [*STABLE, 0.5, 0.58, 0.5]
    one = chart(series("satisfaction", values))
    two = chart(series("satisfaction", values), replace(PLAN, settings=settings_))
    assert len(two.findings) > len(one.findings)
    wide, narrow = ((t.table["upper"] - t.table["centre"]).to_numpy() for t in (one, two))
    assert narrow * 3 == pytest.approx(wide, rel=1e-9)


def test_no_values_give_no_charts():
    found = chart(worlds.small_values("month").iloc[:0])
    assert found.table.empty
    assert found.note["expected_false_alarms"] == 0
