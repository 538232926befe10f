"""The quality plan: the default is whole, and every typo is one message."""

import copy
import json
import tomllib
from datetime import date, datetime
from importlib import resources

import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from dealerqm import plan
from dealerqm.errors import PlanError
from dealerqm.period import parse as parse_period

DEFAULT_TEXT = resources.files("dealerqm").joinpath("plan.toml").read_text(encoding="utf-8")
DEFAULT = tomllib.loads(DEFAULT_TEXT)
PLAN = worlds.PLAN


def toml(value):
    """TOML text of anything that tomllib can return."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, date | datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def text_of(raw):
    return "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in raw.items())


def changed(path, value):
    """The default plan with one key changed; None takes it away."""
    raw = copy.deepcopy(DEFAULT)
    *parents, last = path.split("/")
    body = raw
    for part in parents:
        body = body[int(part) if part.isdigit() else part]
    if value is None:
        del body[last]
    else:
        body[last] = value
    return text_of(raw)


# ---------------------------------------------------------------- the default plan


def test_the_default_has_enough_kpis_over_all_areas_and_dimensions():
    assert len(PLAN.kpis) >= 26
    assert {kpi.area for kpi in PLAN.kpis.values()} == set(PLAN.settings["areas"])
    assert {kpi.dimension for kpi in PLAN.kpis.values()} == set(PLAN.settings["dimensions"])
    design = "response professionalism completeness satisfaction continuity consistency timeliness"
    assert set(PLAN.settings["dimensions"]) == {*design.split(), "cost"}


def test_every_kpi_has_a_source_a_definition_and_a_better_direction_beside_its_goal():
    for kpi in PLAN.kpis.values():
        assert kpi.source, kpi.name
        assert set(kpi.label) == set(kpi.about) == {"en", "zh"}
        assert not kpi.goal or kpi.better == kpi.goal.better, kpi.name


# Goals named in the manual that the product follows: satisfaction, complaints, enquiries.
@pytest.mark.parametrize(
    ("name", "value", "better"),
    [("satisfaction", 0.9, "up"), ("complaint_response", 0.98, "up"),
     ("enquiry_response", 0.95, "up"), ("first_time_fix", 0.9, "up")],
)  # fmt: skip
def test_goals_of_the_manual(name, value, better):
    goal = PLAN.kpi(name).goal
    assert (goal.value, goal.better) == (value, better)
    assert goal.since == date(2024, 1, 1)


def test_responses_are_due_in_24_hours():
    assert PLAN.kpi("complaint_response").limit == 24 * 3600
    assert PLAN.kpi("enquiry_response").limit == 24 * 3600


def test_outcomes_that_take_time_are_judged_at_an_age():
    days = {kpi.name: kpi.follow_up / 86400 for kpi in PLAN.kpis.values() if kpi.follow_up}
    assert days == {
        "test_drive_rate": 30, "closing_rate": 60, "cancellation_rate": 30, "first_time_fix": 100,
        "closed_loop": 30, "service_retention": 395, "churn": 548,
    }  # fmt: skip


def test_cohort_kpis_are_counted_from_the_lead_and_not_in_the_month_of_the_event():
    for name in ("test_drive_rate", "closing_rate"):
        assert PLAN.kpi(name).when == "created_at"


# The manual's own figures: satisfaction 85.6 % and after-sales 82.3 %, training 85 %, complaint
# rate 1.2 %, after-sales over 60 % of complaints, incidents 0.5 %, appraisals over 90 %.
def test_the_figures_of_the_manual_are_claimed_benchmarks():
    claimed = {b["value"] for b in PLAN.benchmarks.values() if b["status"] == "claimed"}
    assert {0.856, 0.823, 0.85, 12, 0.60, 0.005, 0.90} <= claimed
    assert all(b["status"] in ("claimed", "verified") for b in PLAN.benchmarks.values())


def test_no_benchmark_is_a_goal():
    same_by_chance = {"training_pass"}  # 90 %: the group plan's own goal
    for name, benchmark in PLAN.benchmarks.items():
        kpi = PLAN.kpis.get(benchmark.get("kpi", ""))
        if kpi and kpi.goal and kpi.name not in same_by_chance:
            assert kpi.goal.value != benchmark["value"], name
    assert not any("benchmark" in kpi.source.lower() for kpi in PLAN.kpis.values())


def test_a_changed_benchmark_changes_no_kpi():
    other = plan.read(changed("benchmark/satisfaction_2022/value", 0.5))
    assert other.kpis == PLAN.kpis
    assert other.digest != PLAN.digest


@pytest.mark.parametrize("engine", worlds.ENGINES)
def test_every_kpi_is_computable(engine):
    found = worlds.values(
        worlds.small_facts(engine), PLAN, worlds.REGIONS,
        span=worlds.Span("quarter", worlds.AS_OF),
    )  # fmt: skip
    group = found[(found["unit_type"] == "group") & (found["period"] == "2025Q2")]
    assert set(group["kpi"]) == set(PLAN.kpis)
    early = group["watched"].fillna(99) < PLAN.settings["statistics"]["minimum_at_risk"]
    assert group.loc[~early, ["value", "low", "high"]].notna().all(axis=None)
    assert ((group["low"] <= group["value"]) & (group["value"] <= group["high"]))[~early].all()


def test_published_weights_that_were_rounded_are_scaled_to_100():
    own = plan.read(changed("instrument/factors/offer/versions/0/items/price", 41))
    weights = next(f.items for f in own.factors if f.name == "offer")
    assert weights == pytest.approx({"product": 6000 / 101, "price": 4100 / 101})


def test_index_weights_of_every_factor_sum_to_100():
    for factor in PLAN.factors:
        assert sum(factor.items.values()) == 100
        parse_period(factor.from_wave)
    assert sum(factor.weight for factor in PLAN.factors) == 100


def test_scale_and_measure_follow_unit_and_statistic():
    assert PLAN.kpi("lead_contact_time").scale == 60
    assert PLAN.kpi("compensation_cost").scale == 100
    assert PLAN.kpi("satisfaction").measure == "share"
    assert PLAN.kpi("satisfaction_spread").measure == "share"
    assert PLAN.kpi("nps").measure == "score"
    assert PLAN.kpi("waiting_time").measure == "value"
    assert PLAN.words()["nps"]["label"] == PLAN.kpi("nps").label


def test_an_unknown_kpi_names_the_nearest():
    with pytest.raises(PlanError, match=r"'satisfation' is not known. Nearest: satisfaction"):
        PLAN.kpi("satisfation")


# ---------------------------------------------------------------- versions and digests


def test_words_goals_and_sources_are_no_part_of_a_definition():
    for key, value in {
        "label": {"en": "x", "zh": "x"}, "about": {"en": "x", "zh": "x"}, "source": "x",
        "goal": {"value": 0.5, "better": "up", "since": date(2025, 1, 1)}, "area": "service",
        "dimension": "cost",
    }.items():  # fmt: skip
        other = plan.read(changed(f"kpi/satisfaction/{key}", value)).kpi("satisfaction")
        assert other.version == PLAN.kpi("satisfaction").version, key


@pytest.mark.parametrize(
    ("key", "value"),
    [("value", "overall >= 8"), ("where", ""), ("when", "invited_at"), ("version", "2")],
)
def test_what_is_counted_is_the_definition(key, value):
    other = plan.read(changed(f"kpi/satisfaction/{key}", value)).kpi("satisfaction")
    assert other.version != PLAN.kpi("satisfaction").version


def test_the_digest_knows_no_order_of_keys():
    turned = text_of(dict(reversed(DEFAULT.items())))
    assert plan.read(turned).digest == plan.read(text_of(DEFAULT)).digest == PLAN.digest


# ---------------------------------------------------------------- plans of a group


def test_a_plan_of_one_section_takes_the_rest_from_the_default():
    own = plan.read("[publication]\nk = 11\n")
    assert own.settings["publication"]["k"] == 11
    assert own.kpis == PLAN.kpis
    assert own.benchmarks == PLAN.benchmarks
    assert own.factors == PLAN.factors
    assert own.digest != PLAN.digest


def test_an_empty_plan_is_the_default():
    assert plan.read("").digest == PLAN.digest


def test_a_plan_of_one_kpi_keeps_only_the_benchmarks_that_fit():
    own = plan.read(text_of({"kpi": {"satisfaction": DEFAULT["kpi"]["satisfaction"]}}))
    assert list(own.kpis) == ["satisfaction"]
    assert {b.get("kpi") for b in own.benchmarks.values()} == {"satisfaction", None}


def test_an_own_benchmark_beside_no_kpi_is_refused():
    raw = {
        "kpi": {"satisfaction": DEFAULT["kpi"]["satisfaction"]},
        "benchmark": {"ready_2006": DEFAULT["benchmark"]["ready_2006"]},
    }
    with pytest.raises(PlanError, match=r"\[benchmark.ready_2006\] kpi: 'ready_on_time'"):
        plan.read(text_of(raw))


def test_a_new_kpi_is_one_block():
    block = """
    [kpi.score]
    label = { en = "Exam score", zh = "考试成绩" }
    about = { en = "Mean score.", zh = "平均分。" }
    area = "people"
    dimension = "professionalism"
    table = "training"
    when = "held_on"
    stat = "mean"
    value = "score"
    better = "up"
    source = "Own"
    """
    own = plan.read(block)
    found = worlds.values(
        worlds.small_facts(), own, worlds.REGIONS, span=worlds.Span("year", worlds.AS_OF)
    )
    scores = worlds.small()["training"]
    mine = scores[scores["held_on_quarter"].str[:4] == "2025"]["score"].dropna()
    row = worlds.one(found, unit="group", period="2025")
    assert row["n"] == len(mine)
    assert row["value"] == pytest.approx(mine.mean(), rel=1e-12)


def test_a_file_may_start_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("\ufeff[publication]\nk = 7\n", encoding="utf-8")
    assert plan.load(path).settings["publication"]["k"] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("计划 = 1".encode("gb18030"), "own.toml: is not UTF-8"),
        (b"[kpi.x\n", "own.toml: is no valid TOML"),
        (b"k = 2026-02-30\n", "own.toml: is no valid TOML"),
        (b"[publication]\nk = 1\nk = 2\n", "own.toml: is no valid TOML"),
        (b"[publicaton]\nk = 1\n", "'publicaton' is not known. Nearest: publication"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        plan.load(path)
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(PlanError, match=r"found no file other.toml; expected a plan.toml"):
        plan.load(tmp_path / "other.toml")


# ---------------------------------------------------------------- typos and nonsense

ORDER_TEXT = {"en": "x", "zh": "甲"}
REFUSED = [
    # unknown keys, words and names, with the nearest
    ("kpi/satisfaction/wher", "x == y", "[kpi.satisfaction]: 'wher' is not known. Nearest: where"),
    ("kpi/satisfaction/stat", "shrae", "[kpi.satisfaction] stat: 'shrae' is not known. Nearest: s"),
    ("kpi/satisfaction/table", "survey", "table: 'survey' is not known. Nearest: survey_responses"),
    ("kpi/satisfaction/area", "surveys", "area: 'surveys' is not known. Nearest: survey"),
    ("kpi/satisfaction/dimension", "satisfied", "dimension: 'satisfied' is not known. Nearest: sa"),
    ("kpi/satisfaction/when", "respnded_at", "'respnded_at' is not known. Nearest: responded_at"),
    ("kpi/satisfaction/where", "respondent == custmer", "'custmer' is not known. Nearest: custome"),
    ("kpi/satisfaction/value", "ovrall >= 9", "'ovrall' is not known. Nearest: overall"),
    ("kpi/satisfaction/interval", "wald", "interval: 'wald' is not known. Allowed: wilson"),
    ("kpi/satisfaction/interval", "t", "interval: 't' is not known. Allowed: wilson"),
    ("kpi/satisfaction/better", "higher", "better: 'higher' is not known. Allowed: down, none, up"),
    ("kpi/waiting_time/unit", "minutes", "unit: 'minutes' is not known. Nearest: points, min"),
    ("kpi/waiting_time/value", "wait", "column of service_orders: 'wait' is not known. Nearest: w"),
    ("kpi/satisfaction_spread/of", "satisfactio", "of: 'satisfactio' is not known. Nearest: satis"),
    ("kpi/people_index/value", "peple", "value: 'peple' is not known. Nearest: people"),
    ("kpi/complaint_rate/per/tabel", "x", "per: 'tabel' is not known. Nearest: table"),
    ("kpi/complaint_rate/per/table", "orders", "per table: 'orders' is not known"),
    ("kpi/satisfaction/goal/valu", 1, "goal: 'valu' is not known. Nearest: value"),
    ("statistics/confidnce", 0.9, "[statistics]: 'confidnce' is not known. Nearest: confidence"),
    ("kpis", {}, "plan.toml: 'kpis' is not known. Nearest: kpi"),
    ("benchmark/ready_2006/kpi", "ready", "kpi: 'ready' is not known. Nearest: ready_on_time"),
    ("benchmark/ready_2006/status", "claim", "status: 'claim' is not known. Nearest: claimed"),
    ("benchmark/ready_2006/goal", 1, "[benchmark.ready_2006]: 'goal' is not known"),
    ("instrument/items/price/labl", "x", "[instrument.items.price]: 'labl' is not known"),
    ("instrument/items/price/respondent", "client", "respondent: 'client' is not known"),
    ("instrument/factors/offer/versions/0/wave", "x", "'wave' is not known. Nearest: from_wave"),
    ("instrument/factors/offer/versions/0/items/prise", 40, "'prise' is not known. Nearest: price"),
    ("instrument/factors/offer/versions/0/items/store_id", 1, "'store_id' is not known"),
    ("calendar/timezone", "Asia/Shangai", "timezone: 'Asia/Shangai' is not known. Nearest: Asia/S"),
    ("guarantee/major", {"days": 1, "km": 1}, "[guarantee]: 'major' is not known"),
    ("guarantee/minor/month", 1, "[guarantee] minor: 'month' is not known"),
    # missing keys and languages
    ("kpi/satisfaction/value", None, "value is missing; stat 'share' needs it"),
    ("kpi/satisfaction/table", None, "table is missing; stat 'share' needs it"),
    ("kpi/satisfaction/when", None, "when is missing; stat 'share' needs it"),
    ("kpi/satisfaction/stat", None, "[kpi.satisfaction] stat: None is not known"),
    ("kpi/satisfaction/area", None, "area is missing"),
    ("kpi/complaint_response/limit", None, "limit is missing; stat 'within' needs it"),
    ("kpi/complaint_response/age", None, "age is missing; stat 'within' needs it"),
    ("kpi/complaint_rate/per", None, "per is missing; stat 'rate' needs it"),
    ("kpi/complaint_rate/per/table", None, "per: table is missing"),
    ("kpi/complaint_rate/per/when", None, "per: when is missing"),
    ("kpi/waiting_time/quantile", None, "quantile is missing; stat 'quantile' needs it"),
    ("kpi/satisfaction_spread/of", None, "of is missing; stat 'spread' needs it"),
    ("kpi/closed_loop/follow_up", None, "(a follow-up share): follow_up is missing"),
    ("kpi/closed_loop/age", None, "(a follow-up share): age is missing"),
    ("kpi/closed_loop/event_after", None, "(a follow-up share): event_after is missing"),
    ("kpi/satisfaction/label/zh", None, "label: found {'en': 'Satisfied customers'}, expected a t"),
    ("kpi/satisfaction/about/en", None, "about: found"),
    ("kpi/satisfaction/label", "Satisfied", "label: found 'Satisfied', expected a text for each"),
    ("kpi/satisfaction/label/en", "", "label: found '', expected a text for each"),
    ("kpi/satisfaction/label/en", 5, "label: found 5, expected a text for each"),
    ("areas/sales/en", None, "[areas] sales: found {'zh': '销售'}, expected a text for each"),
    ("plan/name/zh", None, "[plan] name: found"),
    ("benchmark/ready_2006/population/zh", None, "population: found"),
    ("benchmark/ready_2006/value", None, "[benchmark.ready_2006]: value is missing"),
    ("benchmark/ready_2006/source", "", "source: found '', expected a text"),
    ("instrument/items/price/label/zh", None, "[instrument.items.price] label: found"),
    ("instrument/items/price/respondent", None, "respondent is missing"),
    ("instrument/factors/offer/label/en", None, "[instrument.factors.offer] label: found"),
    ("instrument/factors/offer/versions/0/weight", None, "weight is missing"),
    ("instrument/factors/offer/versions", [], "versions: found [], expected a list"),
    ("instrument/scale", None, "[instrument]: scale is missing"),
    ("statistics/seed", None, "[statistics]: seed is missing"),
    ("guarantee/minor/km", None, "[guarantee] minor: km is missing"),
    ("charts/false_alarms/years", None, "[charts] false_alarms: years is missing"),
    ("kpi/satisfaction/goal/since", None, "goal: since is missing"),
    # what cannot be computed
    ("kpi/waiting_time/when", "arrived_at", "when (a column with period keys): 'arrived_at'"),
    ("kpi/complaint_rate/per/when", "arrived_at", "per when (a column with period keys): 'arrived"),
    ("kpi/complaint_rate/per/times", 0, "times: found 0, expected a number above 0"),
    ("kpi/waiting_time/value", "kind", "value: kind is category, expected a number"),
    ("kpi/complaint_response/value", "compensation_fen", "(a duration in seconds): 'compensation_"),
    ("kpi/complaint_response/age", "compensation_fen", "age (a duration in seconds): 'compensatio"),
    ("kpi/lead_contact_time/value", "discount_fen", "value (a duration in seconds): 'discount_fen"),
    ("kpi/closed_loop/event_after", "compensation_fen", "event_after (a duration in seconds)"),
    ("kpi/closed_loop/value", "is_repeat", "expected one of present(close_s)"),
    ("kpi/closed_loop/value", "present(closed_at)", "expected one of present(close_s)"),
    ("kpi/first_time_fix/value", "has_comeback == false", "expected one of present(comeback_after"),
    ("kpi/closed_loop/value", "present(close_s) and reopened", "expected one of present(close_s)"),
    ("kpi/satisfaction/value", "", "value: found '', expected a text"),
    ("kpi/nps/value", "overall", "overall is no item from 0 to 10"),
    ("kpi/satisfaction_spread/of", "nps", "nps is no share; a spread needs a share"),
    ("kpi/satisfaction_spread/of", "satisfaction_spread", "satisfaction_spread is no share"),
    # what has no meaning
    ("kpi/satisfaction/quantile", 0.5, "stat 'share' does not use quantile; leave it out"),
    ("kpi/satisfaction/limit", "24h", "stat 'share' does not use limit"),
    ("kpi/nps/follow_up", "3d", "stat 'nps' does not use follow_up"),
    ("kpi/satisfaction_spread/where", "x", "stat 'spread' does not use where"),
    ("kpi/satisfaction_spread/table", "leads", "stat 'spread' does not use table"),
    ("kpi/satisfaction/unit", "h", "unit (of this value): 'h' is not known"),
    ("kpi/discount_per_car/unit", "h", "unit (of this value): 'h' is not known. Allowed: yuan"),
    ("kpi/waiting_time/unit", "yuan", "unit (of this value): 'yuan' is not known"),
    ("kpi/waiting_time/quantile", 1, "quantile: found 1, expected between 0 and 1"),
    ("kpi/waiting_time/quantile", 50, "quantile: found 50, expected a number from 0 to 1"),
    ("kpi/waiting_time/quantile", "half", "quantile: found 'half', expected a number"),
    ("kpi/lead_contact_time/interval", "lognormal", "with age it is Kaplan-Meier's"),
    ("kpi/satisfaction/better", "down", "better: found 'down', but the goal says 'up'"),
    ("kpi/satisfaction/goal/value", 90, "goal value: found 90, expected a number from 0 to 1"),
    ("kpi/nps/goal/value", 50, "goal value: found 50, expected a number from -1 to 1"),
    ("kpi/satisfaction/goal/value", "90%", "goal value: found '90%', expected a number"),
    ("kpi/satisfaction/goal/value", True, "goal value: found True, expected a number"),
    ("kpi/waiting_time/goal/value", float("nan"), "goal value: found nan, expected a number"),
    ("kpi/waiting_time/goal/value", float("inf"), "goal value: found inf, expected a number"),
    ("kpi/satisfaction/goal/better", "none", "goal better: 'none' is not known. Nearest: down"),
    ("kpi/satisfaction/goal/since", "2024-01-01", "since: found 2024-01-01, expected a date such"),
    ("kpi/satisfaction/goal/since", datetime(2024, 1, 1), "since: found 2024-01-01 00:00:00"),
    ("kpi/satisfaction/goal", 0.9, "goal: found 0.9, expected a table of keys"),
    ("kpi/complaint_response/limit", "24", "limit: found '24', expected minutes, hours or days"),
    ("kpi/complaint_response/limit", "1 week", "limit: found '1 week'"),
    ("kpi/complaint_response/limit", "0h", "limit: found '0h'"),
    ("kpi/complaint_response/limit", 24, "limit: found 24, expected minutes, hours or days"),
    ("kpi/closed_loop/follow_up", "-30d", "follow_up: found '-30d'"),
    ("kpi/Bad Name", {}, "[kpi]: found the name 'Bad Name'; expected small letters"),
    ("kpi/a.b", {}, "[kpi]: found the name 'a.b'"),
    ("kpi/satisfaction", 3, "[kpi.satisfaction]: found 3, expected a table of keys"),
    ("kpi/satisfaction/table", ["leads"], "table: ['leads'] is not known"),
    ("kpi/satisfaction/value", 9, "value: found 9, expected a text"),
    ("kpi/satisfaction/where", 5, "where: found 5, expected a condition"),
    ("kpi/satisfaction/source", 5, "source: found 5, expected a text"),
    ("kpi/waiting_time/value", 5, "column of service_orders: 5 is not known"),
    ("statistics", 3, "[statistics]: found 3, expected a table of keys"),
    ("kpi", 3, "[kpi]: found 3, expected a table of keys"),
    ("kpi", [], "[kpi]: found [], expected a table of keys"),
    ("benchmark", 3, "[benchmark]: found 3, expected a table of keys"),
    ("instrument", 3, "[instrument]: found 3, expected a table of keys"),
    ("areas", ["sales"], "[areas]: found ['sales'], expected a table of keys"),
    ("statistics/confidence", 95, "confidence: found 95, expected a number from 0 to 1"),
    ("statistics/confidence", 1.0, "confidence: found 1.0, expected a number between 0 and 1"),
    ("statistics/confidence", "0.95", "confidence: found '0.95', expected a number"),
    ("statistics/minimum_n", 0, "minimum_n: found 0, expected a whole number of 1 or more"),
    ("statistics/minimum_n", 9.5, "minimum_n: found 9.5, expected a whole number"),
    ("statistics/bootstrap_replicates", 10, "found 10, expected a whole number of 100 or more"),
    ("statistics/seed", -1, "seed: found -1"),
    ("publication/k", 0, "k: found 0, expected a whole number of 1 or more"),
    ("publication/k", True, "k: found True, expected a whole number"),
    ("charts/sigma", 0, "sigma: found 0, expected a number above 0"),
    ("charts/sigma", -3, "sigma: found -3"),
    ("charts/minimum_periods", 30, "minimum_periods: found 30, expected at most baseline_periods"),
    ("charts/false_alarms", 0.05, "false_alarms: found 0.05, expected a table of keys"),
    ("warning/miss_probability", 80, "miss_probability: found 80"),
    ("training/valid_months", 0, "valid_months: found 0"),
    ("calendar/timezone", "", "timezone: found '', expected a text"),
    ("calendar/timezone", 8, "timezone: found 8, expected a text"),
    ("calendar/spring_festival", [], "spring_festival: found [], expected a list of dates"),
    ("calendar/spring_festival", date(2026, 2, 17), "expected a list of dates, one a year"),
    ("calendar/spring_festival", ["2026-02-17"], "found 2026-02-17, expected a date such as"),
    ("calendar/spring_festival", [date(2026, 2, 17), date(2025, 1, 29)], "expected one day a year"),
    ("calendar/festival_reach", 400, "festival_reach: found 400"),
    ("instrument/scale", 10, "[instrument] scale: found 10, expected a table of keys"),
    ("instrument/scale", {"min": 10, "max": 1}, "scale max: found 1, expected a whole number of 1"),
    ("instrument/not_applicable", [5], "expected whole numbers outside 1 to 10"),
    ("instrument/index_points", 0, "index_points: found 0"),
    ("instrument/items/channel", {"label": ORDER_TEXT, "respondent": "customer"}, "is a column of"),
    ("instrument/items/price/label/en", "Comment", "label: 'Comment' already names comment"),
    ("instrument/items/price/label/en", "Product", "label: 'Product' already names product"),
    ("instrument/factors/offer/versions/0/items/price", 42, "item weights sum to 102, expected 10"),
    ("instrument/overall", "over", "[instrument] overall: 'over' is not known. Nearest: overall"),
    ("instrument/touchpoints", ["sale"], "touchpoints: 'sale' is not known. Nearest: sales"),
    (
        "instrument/items/price/touchpoints", "sales",
        "price] touchpoints: found 'sales', expected a",
    ),
    ("survey/margins/channel/column", "chanel", "channel column: 'chanel' is not known. Nearest:"),
    ("survey/margins/comeback/where", "is_comback", "comeback where: column of service_orders"),
    ("survey/margins/comeback/link", None, "[survey.margins] comeback: link is missing"),
    ("survey/margins/age_band/edges", [55, 35], "age_band: found edges [55, 35] and bands"),
    ("survey/margins/age_band", 3, "[survey.margins] age_band: found 3, expected a table of keys"),
    ("survey/call_back/within", "soon", "call_back within: found 'soon', expected minutes, hours"),
    ("survey/quality/treat/straight", "hide", "treat straight: 'hide' is not known"),
    ("survey/weighting/trim", 0.5, "weighting trim: found 0.5, expected a number of 1 or more"),
    ("survey/weighting/unmet", "acept", "weighting unmet: 'acept' is not known. Nearest: accept"),
    ("survey/weighting/lonely", "mean", "weighting lonely: 'mean' is not known"),
    ("survey/weighting/model_levels", 1, "model_levels: found 1, expected a whole number of 2"),
    ("survey/small_n", -1, "[survey] small_n: found -1, expected a number of 0 or more"),
    ("survey/max_rows", 0.5, "[survey] max_rows: found 0.5, expected a whole number of 1 or more"),
    ("instrument/factors/offer/versions/0/items/price", 0, "items price: found 0"),
    ("instrument/factors/offer/versions/0/weight", 52, "sum to 127 from wave '2023Q4', expected 1"),
    ("benchmark/ready_2006/value", "0.87", "value: found '0.87', expected a number"),
    ("benchmark/ready_2006/year", 2006.5, "year: found 2006.5, expected a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "message"), REFUSED, ids=[f"{p}={v!s:.20}" for p, v, _ in REFUSED]
)
def test_nonsense_is_one_message_that_names_the_key(path, value, message):
    with pytest.raises(PlanError) as caught:
        plan.read(changed(path, value))
    said = str(caught.value)
    assert message in said
    assert said.startswith("plan.toml")
    assert "\n" not in said
    assert path.split("/")[0] in said


def test_a_later_version_of_a_factor_keeps_the_earlier_one():
    later = {"from_wave": "2026Q1", "weight": 25, "items": {"price": 100}}
    raw = copy.deepcopy(DEFAULT)
    raw["instrument"]["factors"]["offer"]["versions"].append(later)
    offers = [f for f in plan.read(text_of(raw)).factors if f.name == "offer"]
    assert [f.from_wave for f in offers] == ["2023Q4", "2026Q1"]
    raw["instrument"]["factors"]["offer"]["versions"][1]["from_wave"] = "2023Q4"
    with pytest.raises(PlanError, match="has two versions from wave '2023Q4'"):
        plan.read(text_of(raw))


def test_weights_must_sum_to_100_from_every_wave_on():
    raw = copy.deepcopy(DEFAULT)
    later = {"from_wave": "2026Q1", "weight": 30, "items": {"price": 100}}
    raw["instrument"]["factors"]["offer"]["versions"].append(later)
    with pytest.raises(PlanError, match="sum to 105 from wave '2026Q1', expected 100"):
        plan.read(text_of(raw))


PLACES = [
    f"{section}/{name}/{key}"
    for section in ("kpi", "benchmark")
    for name, body in DEFAULT[section].items()
    for key in body
] + [f"{section}/{key}" for section in DEFAULT for key in DEFAULT[section]]
ODD = st.sampled_from(
    [None, 0, -1, 1.5, True, "", "x", "∞", [], [1], {}, {"x": 1}, [[]], ["a", "b"],
     date(2026, 1, 1), float("nan")]
)  # fmt: skip


@given(st.sampled_from(PLACES), ODD)
def test_any_key_may_hold_anything_and_the_answer_is_a_plan_or_a_message(path, value):
    try:
        assert plan.read(changed(path, value)).kpis
    except PlanError as error:
        assert str(error).startswith("plan.toml")
        assert "\n" not in str(error)
