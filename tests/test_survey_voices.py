"""What comments and staff say: coded sets, suppression, nothing personal."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from survey_hand import answer, made, staff_answer

from dealerqm.errors import MethodError, PlanError
from dealerqm.fieldwork.instrument import themes
from dealerqm.psychometrics.agreement import cross_table, kappa
from dealerqm.stats import text
from dealerqm.survey import voices
from dealerqm.world import settings

KNOWN = themes()
NAMES = list(KNOWN.labels)

# The simulator's comments, coded by hand: what each pattern says by itself, and what its words add.
PATTERNS = {
    "zh_good": [("attitude", "thing"), ("thing",), ("minor",), ("thing", "loyalty"),
                ("communication", "price", "loyalty"), ],
    "zh_bad": [("thing",), ("waiting", "communication", "thing"), ("repair", "thing"),
               ("delivery", "attitude"), ("thing", "loyalty"), ("price",)],
    "zh_slow": [("waiting",), ("waiting", "communication")],
    "zh_again": [("repair",), ("repair",)],
    "en_slow": [("waiting",)],
    "en_again": [("repair",)],
    "zh_more": [("attitude",), ("minor",), ("thing",), ("price",), ("booking", "waiting"),
                ("waiting",), ("communication",), ("facilities",)],
    "en_more": [("booking",), ("facilities",), ("price",), ("communication",)],
    "zh_mid": [("thing", "minor"), ("minor",), ("thing",)],
    "en_good": [("en_thing", "loyalty"), ("en_thing",), ("communication", "loyalty")],
    "en_bad": [("waiting", "en_thing"), ("repair", "en_thing"), ("price", "en_never")],
    "en_mid": [("en_thing", "waiting"), ()],
}  # fmt: skip
WORDS = {
    "维修质量": "repair", "保养流程": "repair", "休息区": "facilities", "交车过程": "delivery",
    "试驾安排": "test_drive", "沟通": "communication", "配件供应": "parts", "洗车": "washing",
    "空调维修": "repair", "钣金喷漆": "repair", "等待时间有点长": "waiting",
    "停车不太方便": "facilities", "茶水一般": "facilities", "价格稍微贵了点": "price",
    "洗车不太干净": "washing", "repair": "repair", "service": "", "waiting area": "facilities",
    "delivery": "delivery", "test drive": "test_drive", "invoice": "price",
    "never again": "loyalty", "very disappointed": "", "not transparent": "price",
    "thank you": "", "will come back": "loyalty", "would recommend": "loyalty",
}  # fmt: skip


def said(rng, pattern, codes, words):
    """One sentence of the simulator's grammar, and its themes."""
    found, slots = set(codes) & set(NAMES), {}
    while "{" in pattern:
        before, rest = pattern.split("{", 1)
        name, after = rest.split("}", 1)
        word = words[name][rng.integers(len(words[name]))]
        slots[name] = word
        pattern = before + word + after
    for name in ("thing", "minor", "en_thing", "en_never", "en_again"):
        if name in slots:
            found |= {WORDS[slots[name]]} if name in codes or name == "en_again" else set()
    if "en_again" in slots and not WORDS[slots["en_again"]]:
        found -= {"loyalty"}
    return pattern, found - {""}


def simulated_comments(n=600):
    rng = np.random.default_rng(20)
    grammar = settings()["comments"]
    texts, codes = [], []
    for i in range(n):
        language = "en" if i % 8 == 0 else "zh"
        parts, found = [], set()
        kinds = [("good", "mid", "bad")[rng.integers(3)], *["more"] * rng.integers(3)]
        kinds += ["slow"] * (rng.random() < 0.2) + ["again"] * (rng.random() < 0.1)
        for kind in kinds:
            listed = grammar[f"{language}_{kind}"]
            at = int(rng.integers(len(listed)))
            sentence, themes_ = said(rng, listed[at], PATTERNS[f"{language}_{kind}"][at],
                                     grammar["words"])  # fmt: skip
            parts.append(sentence)
            found |= themes_
        texts.append(" ".join(parts))
        codes.append([name in found for name in NAMES])
    return pd.Series(texts), np.array(codes)


# ---------------------------------------------------------------- coding


def test_the_hand_coding_covers_the_whole_grammar():
    grammar = settings()["comments"]
    assert {key: len(value) for key, value in PATTERNS.items()} == {
        key: len(value) for key, value in grammar.items() if key[:3] in ("zh_", "en_")
    }


def test_comments_of_the_simulator_are_coded_as_by_hand():
    texts, truth = simulated_comments()
    found = voices.coded(texts, KNOWN)
    agree = {
        name: float(kappa(cross_table(truth[:, i], found[:, i])[0]).kappa.estimate)
        for i, name in enumerate(NAMES)
    }
    assert np.mean(list(agree.values())) > 0.75, agree
    assert min(agree.values()) > 0.5, agree


def test_agreement_with_the_coded_clauses_is_reported_for_clauses_never_seen():
    table = voices.agreement(KNOWN).set_index("kpi")
    assert list(table.index) == NAMES
    assert table["kappa"].mean() > 0.65
    assert table["kappa"].mean() > table[["dictionary", "model"]].mean().max()
    assert (table["low"] < table["kappa"]).all()


@pytest.mark.parametrize(
    ("comment", "named"),
    [
        ("等了两个小时，价格倒是公道", {"waiting", "price"}),
        ("The mechanic could not find the fault; nobody called me back.",
         {"repair", "communication"}),
        ("非常满意！", set()),
        ("不会再来了，停车也难", {"loyalty", "facilities"}),
    ],
)  # fmt: skip
def test_a_comment_may_hold_several_themes_or_none(comment, named):
    found = voices.coded(pd.Series([comment]), KNOWN)[0]
    assert {name for name, there in zip(NAMES, found, strict=True) if there} == named


def test_an_edited_dictionary_is_read_and_a_broken_one_refused(tmp_path):
    source = (Path(voices.__file__).parents[1] / "themes.toml").read_text(encoding="utf-8")
    path = tmp_path / "own.toml"
    path.write_text(source.replace('"等了"', '"磨洋工"'), encoding="utf-8")
    assert "磨洋工" in themes(path).words["waiting"]
    parts = '[themes.parts]\nlabel = { en = "Parts", zh = "配件" }'
    for old, new, message in (
        ("threshold = 0.5", "threshold = 5", r"own.toml \[model\] threshold: found 5, expected"),
        ("[themes.parts]", "[themes.Parts]", r"own.toml \[themes\]: found the name 'Parts'"),
        ("booking = [\n", "bookings = [\n", r"\[coded\]: 'bookings' is not known. Nearest: booki"),
        (parts, "[themes.parts]", r"own.toml \[themes.parts\]: label is missing"),
        ("[model]", "[model", "own.toml: is no valid TOML"),
    ):
        assert old in source
        path.write_text(source.replace(old, new, 1), encoding="utf-8")
        themes.cache_clear()
        with pytest.raises(PlanError, match=message):
            themes(path)


def test_a_theme_needs_two_coded_clauses():
    with pytest.raises(MethodError, match="theme 0 has 1 of 3 coded clauses; expected at least 2"):
        text.train(["a", "b", "c"], np.array([[True], [False], [False]]))


# ---------------------------------------------------------------- comments


def comment_rows():
    rows = [answer(comment="等待时间太长", overall=5)] * 8
    rows += [answer(comment="价格合理 13800138000", overall=10)] * 12
    rows += [answer(comment="Parts not in stock", store_id="S2")] * 3 + [answer()] * 5
    return rows


def complaints():
    days = pd.to_datetime(["2026-08-01"] * 7 + ["2026-05-01"])
    return pd.DataFrame({
        "event_id": None, "store_id": ["S1"] * 6 + ["S2"] * 2, "subtype": ["slow_response"] * 8,
        "received_at": days, "received_at_day": days,
    })  # fmt: skip


def test_mentions_are_counted_and_few_ones_suppressed():
    found = voices.comments(made(comment_rows(), complaints=complaints()))
    group = found.where(unit="group").table.set_index("kpi")
    assert (group.loc["waiting", "n"], group.loc["waiting", "mentions"]) == (23, 8)
    assert group.loc["waiting", "gap"] == pytest.approx(0 - 12 / 15)
    assert group.loc["price", "gap"] == pytest.approx(1.0)
    assert np.isnan(group.loc["parts", "mentions"])  # three people
    assert group.loc["washing", "mentions"] == 0
    assert found.where(unit="S2").table["n"].isna().all()
    assert list(group.index)[:2] == ["price", "waiting"]
    assert group.loc["waiting", "complaints"] == 7  # those of the quarter
    store = found.where(unit="S1").table.set_index("kpi")
    assert store.loc["waiting", "complaints"] == 6


def test_nothing_personal_and_no_quote_passes_through():
    found = voices.comments(made(comment_rows()))
    shown = found.table.to_string() + str(dict(found.note)) + found.show("zh").to_string()
    assert "138" not in shown
    assert "合理" not in shown
    assert "Parts not in stock" not in shown


def test_a_wave_without_comments_has_empty_counts():
    found = voices.comments(made([answer()] * 8))
    assert found.table["mentions"].isna().all()
    assert found.note["no_theme"] is None


# ---------------------------------------------------------------- staff


def staff_rows(sizes, level=lambda store: 8.0):
    rows = [answer()] * 6
    for store, (answers, invited) in sizes.items():
        for i in range(invited):
            gone = {} if i < answers else dict.fromkeys(
                ("staff_culture", "staff_training", "staff_incentives", "staff_career"), np.nan
            ) | {"hours": np.nan}  # fmt: skip
            own = {"staff_culture": level(store) + i % 2} if i < answers else {}
            rows.append({**staff_answer(store_id=store), **own, **gone})
    return rows


def test_stores_with_few_staff_answers_are_suppressed_and_not_given_away_by_the_total():
    sizes = {"S1": (9, 12), "S2": (6, 8), "S3": (3, 9)}
    table = voices.staff(made(staff_rows(sizes)), {}).table
    culture = table[table["kpi"] == "staff_culture"].set_index("unit")
    assert culture.loc["S3", ["n", "value", "low"]].isna().all()
    assert culture.loc["S2", ["n", "value", "low"]].isna().all()  # else 18 - 15 gives S3 away
    assert (culture.loc["group", "n"], culture.loc["S1", "n"]) == (18, 9)
    assert culture.loc["S3", "invited"] == 9


def test_two_suppressed_stores_hide_each_other():
    sizes = {"S1": (9, 12), "S2": (4, 8), "S3": (3, 9)}
    table = voices.staff(made(staff_rows(sizes)), {}).table
    culture = table[table["kpi"] == "staff_culture"].set_index("unit")
    assert culture["n"].isna().tolist() == [False, False, True, True]


def test_answers_of_all_staff_leave_no_doubt_and_silence_widens():
    whole = voices.staff(made(staff_rows({"S1": (10, 10)})), {}).table.iloc[1]
    assert (whole["unit"], whole["low"], whole["high"]) == ("S1", whole["value"], whole["value"])
    half = voices.staff(made(staff_rows({"S1": (10, 20)})), {}).table.iloc[1]
    assert half["low"] < half["value"] < half["high"]


def test_staff_and_customers_are_linked_by_store_only():
    level = {f"S{i}": 3.0 + i for i in range(1, 6)}
    regions = dict.fromkeys(level, "North")
    rows = staff_rows(dict.fromkeys(level, (8, 10)), level.get)
    found = voices.staff(made(rows, regions=regions), {s: v / 10 for s, v in level.items()})
    first = found.table.iloc[0]
    assert (first["unit"], first["correlation"]) == ("group", pytest.approx(1))
    assert first["correlation_low"] > 0
    assert found.table.loc[found.table["unit"] != "group", "correlation"].isna().all()
    none = voices.staff(made([answer()] * 6), {})
    assert none.table.empty
