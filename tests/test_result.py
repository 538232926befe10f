"""Results and findings: declared columns, private tables, stable ids, spelling for readers."""

import json
import math
from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import date, datetime
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm import labels
from dealerqm.errors import MethodError
from dealerqm.result import Finding, Result, Unit, plain, spell, spell_kpi


@dataclass(frozen=True, kw_only=True)
class Table(Result):
    """A result for tests."""

    COLUMNS = MappingProxyType(
        {
            "kpi": Unit("kpi_name", "column.kpi"),
            "unit": Unit("unit_name", "column.unit"),
            "value": Unit("kpi", "column.value"),
            "low": Unit("kpi", "column.low"),
            "change_low": Unit("kpi_change", "column.low"),
        }
    )
    SUMMARY = ("kpi", "value")


WORDS = {
    "csat": {"label": {"en": "Satisfied", "zh": "满意"}, "measure": "share", "unit": ""},
    "wait": {"label": {"en": "Wait", "zh": "等待"}, "measure": "value", "unit": "min"},
    "nps": {"label": {"en": "NPS", "zh": "净推荐值"}, "measure": "score", "unit": ""},
}


def table(rows=1):
    frame = pd.DataFrame(
        {
            "kpi": ["csat", "wait", "nps", "other"] * rows,
            "unit": ["group", "S1", "S2", "S3"] * rows,
            "value": [0.9123, 12.34, 0.5, 1234.5] * rows,
            "low": [0.9, np.nan, 0.4, 0.001] * rows,
            "change_low": [-0.0123, 1.5, 0.1, -2.0] * rows,
        }
    )
    return Table(frame=frame, note={"kpis": WORDS})


def finding(**other):
    fields = {
        "quarter": "2026Q3", "subject": "kpi", "rule": "goal_missed", "kpi": "csat",
        "unit_type": "store", "unit": "S1", "period_start": date(2026, 7, 1),
        "period_end": date(2026, 9, 30), "severity": "act",
    }  # fmt: skip
    return Finding(**{**fields, **other})


# ---------------------------------------------------------------- findings


def test_a_finding_is_about_the_same_thing_whatever_its_numbers():
    same = finding(value=0.5, severity="watch", direction="worse", p_value=0.01)
    assert same.finding_id == finding().finding_id
    assert len(finding().finding_id) == 12


@pytest.mark.parametrize("field", ["quarter", "subject", "rule", "kpi", "unit"])
def test_another_thing_has_another_id(field):
    assert finding(**{field: "other"}).finding_id != finding().finding_id


def test_the_id_is_the_digest_that_other_programs_can_compute():
    # printf '2026Q3|kpi|goal_missed|csat|store|S1' | sha256sum
    assert finding().finding_id == "335328c052e9"


@pytest.mark.parametrize(
    ("field", "value", "near"),
    [("severity", "acts", "act"), ("direction", "worst", "worse"), ("unit_type", "shop", "")],
)
def test_words_outside_the_closed_lists_are_refused(field, value, near):
    with pytest.raises(MethodError, match=f"finding {field}: '{value}' is not known.*{near}"):
        finding(**{field: value})


def test_a_finding_is_json_without_loss_of_meaning():
    said = finding(
        value=1 / 3, low=float("nan"), onset=(date(2026, 8, 1),) * 3,
        evidence={"rows": (1, 2), "p": np.float64(0.25)},
    ).as_dict()  # fmt: skip
    again = json.loads(json.dumps(said, allow_nan=False))
    assert again["value"] == 0.333333333333
    assert again["low"] is None
    assert again["onset"] == ["2026-08-01"] * 3
    assert again["evidence"] == {"rows": [1, 2], "p": 0.25}
    assert again["period_end"] == "2026-09-30"


# ---------------------------------------------------------------- plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), (pd.NA, None), (pd.NaT, None), (float("inf"), None), (np.nan, None),
        (np.int64(3), 3), (np.bool_(True), True), (True, True), ("x", "x"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.float32(0.5), 0.5), ((1, (2,)), [1, [2]]), ({1: date(2026, 1, 1)}, {"1": "2026-01-01"}),
        (0.1 + 0.2, 0.3), (123456789.123456789, 123456789.123),
    ],
)  # fmt: skip
def test_plain_values(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


@given(st.floats())
def test_plain_floats_keep_twelve_digits_and_are_the_same_when_read_again(value):
    found = plain(value)
    if math.isfinite(value):
        assert found == pytest.approx(value, rel=1e-11, abs=0)
        assert plain(found) == found
    else:
        assert found is None


# ---------------------------------------------------------------- results


def test_a_table_of_other_columns_is_refused():
    frame = table().table
    with pytest.raises(MethodError, match="Table: has columns"):
        Table(frame=frame.drop(columns="low"))
    with pytest.raises(MethodError, match="Table: has columns"):
        Table(frame=frame[["value", "kpi", "unit", "low", "change_low"]])


def test_editing_a_table_reaches_neither_the_result_nor_its_source():
    source = table().table
    result = Table(frame=source)
    copy = result.table
    copy.loc[0, "value"] = 0.0
    source.loc[0, "value"] = 0.0
    assert result.table.loc[0, "value"] == 0.9123
    with pytest.raises(FrozenInstanceError):
        result.frame = source


def test_rows_are_numbered_anew_and_summaries_are_short():
    result = table(rows=5)
    part = result.where(kpi=["csat", "nps"])
    assert list(part.table.index) == list(range(10))
    assert set(part.table["kpi"]) == {"csat", "nps"}
    assert result.where(kpi="csat", unit="S1").table.empty
    assert list(result.summary().columns) == ["kpi", "value"]
    assert len(result.summary()) == 12
    assert part.note == result.note


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(MethodError, match=r"Table column: 'kpis' is not known. Nearest: kpi"):
        table().where(kpis="csat")


@pytest.mark.parametrize(
    ("lang", "names", "units"),
    [("en", ["Satisfied", "Wait", "NPS", "other"], ["Group", "S1", "S2", "S3"]),
     ("zh", ["满意", "等待", "净推荐值", "other"], ["集团", "S1", "S2", "S3"])],
)  # fmt: skip
def test_show_gives_words_and_rounded_numbers(lang, names, units):
    shown = table().show(lang)
    assert shown.iloc[:, 0].tolist() == names
    assert shown.iloc[:, 1].tolist() == units
    assert shown.iloc[:, 2].tolist() == ["91.2%", "12.3", "50", "1,234.5"]
    assert shown.iloc[:, 3].tolist() == ["90.0%", "–", "40", "0.001"]
    assert shown.iloc[:, 4].tolist() == ["-1.2", "+1.50", "+10.0", "-2.00"]
    assert len(set(shown.columns)) == 5


def test_show_takes_some_columns():
    headings = [labels.text(f"column.{name}", "en") for name in ("value", "unit")]
    assert list(table().show("en", columns=["value", "unit"]).columns) == headings


def test_html_is_the_summary():
    html = table()._repr_html_()
    assert "0.9123" in html
    assert "change_low" not in html


def test_a_result_without_rows_can_be_shown():
    empty = replace(table(), frame=table().table.iloc[:0])
    assert empty.show("zh").empty
    assert next(iter(empty.show("zh").columns)) == labels.text("column.kpi", "zh")


# ---------------------------------------------------------------- spelling


@pytest.mark.parametrize(
    ("value", "measure", "expected"),
    [
        (0.9125, "share", "91.2%"), (1.0, "share", "100.0%"), (-0.0123, "points", "-1.2"),
        (0.5, "score", "50"), (1234567, "count", "1,234,567"), (12.0, "count", "12"),
        (0.0004, "p", "<0.001"), (0.0436, "p", "0.044"), (True, "flag", "yes"),
        (False, "flag", "no"), (date(2026, 9, 30), "date", "2026-09-30"), ("x", "text", "x"),
        ("met", "word:verdict", "met"), (0.12345, "value", "0.123"), (1.2345, "value", "1.23"),
        (12.345, "value", "12.3"), (12345.6, "value", "12,346"), (-12345.6, "value", "-12,346"),
        (2.5, "signed", "+2.50"), (-2.5, "signed", "-2.50"), (0, "signed", "0.000"),
        (None, "share", "–"), (pd.NA, "count", "–"), (np.nan, "value", "–"), (pd.NaT, "date", "–"),
    ],
)  # fmt: skip
def test_spelling(value, measure, expected):
    assert spell(value, measure, "en") == expected


def test_words_are_spelled_in_the_language():
    assert spell("missed", "word:verdict", "zh") == "未达标"
    assert spell(True, "flag", "zh") == "是"


@pytest.mark.parametrize(
    ("measure", "expected"), [("share", "+2.0"), ("score", "+2.0"), ("value", "+0.020")]
)
def test_changes_of_shares_and_scores_are_points(measure, expected):
    assert spell_kpi(0.02, "kpi_change", {"measure": measure}, "en") == expected


def test_an_unknown_kpi_is_shown_by_its_key():
    assert spell_kpi("churn", "kpi_name", {}, "en") == "churn"
    assert spell_kpi(2.0, "kpi", {}, "en") == "2.00"
