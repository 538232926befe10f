"""The review of the sample: equal to plain SQL, traced, suppressed, the same every time."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import sql_kpis

from dealerqm import labels, plan, store, subjects
from dealerqm.errors import ParameterError, SnapshotError
from dealerqm.facts import Facts
from dealerqm.kpi import values
from dealerqm.kpi.cells import Span
from dealerqm.period import parse
from dealerqm.registers import Register
from dealerqm.report import evidence
from dealerqm.review import (
    Parameters,
    finding_text,
    ledger,
    prepare,
    run,
    sentences,
    start,
    verdict,
)

# The two computations differ only in the order of floating-point sums.
CLOSE = 1e-9


@pytest.fixture(scope="module")
def compared(snapshot):
    """Our values of every KPI, store and quarter beside the ones from plain SQL."""
    default = plan.load()
    regions = prepare(Parameters(project=str(snapshot.path.parents[1])))[3]
    facts = Facts(lambda table: store.relation(snapshot, table))
    ours = values(facts, default, regions, span=Span("quarter", snapshot.as_of))
    ours = ours[ours["unit_type"] == "store"].rename(columns={"unit": "store", "period": "quarter"})
    theirs = sql_kpis.recompute(lambda table: store.relation(snapshot, table), default)
    key = ["kpi", "store", "quarter"]
    return ours.merge(theirs, on=key, how="outer", suffixes=("", "_sql"), indicator=True)


@pytest.mark.parametrize("name", [n for n, k in plan.load().kpis.items() if k.stat != "spread"])
def test_every_kpi_store_and_quarter_equals_plain_sql(compared, name):
    rows = compared[compared["kpi"] == name]
    assert len(rows) >= 16
    known = rows["n"].fillna(0) > 0
    assert (rows.loc[known, "_merge"] == "both").all()
    assert (rows.loc[known, "n"] == rows.loc[known, "n_sql"]).all()
    ours, theirs = rows.loc[known, "value"], rows.loc[known, "value_sql"]
    assert (ours.isna() == theirs.isna()).all()
    assert ((ours - theirs).abs().dropna() <= CLOSE * theirs.abs().clip(lower=1).dropna()).all()


def test_the_latest_quarter_is_the_newest_complete_one(reviewed, snapshot):
    assert reviewed.period.key == "2026Q3"
    assert reviewed.period.end <= snapshot.as_of


def test_every_kpi_has_a_row_for_group_regions_and_stores(reviewed):
    table = reviewed.scorecard.table
    for name, kpi in reviewed.plan.kpis.items():
        rows = table[table["kpi"] == name]["unit_type"].value_counts()
        assert rows["group"] == 1
        assert rows["region"] == 4
        assert rows.get("store", 0) == (0 if kpi.stat == "spread" else 16)


def test_most_kpis_of_the_group_have_a_value_and_an_interval(reviewed):
    group = reviewed.scorecard.table.query("unit_type == 'group'")
    valued = group[group["value"].notna()]
    assert len(valued) == len(group) - (group["verdict"] == "too_early").sum()
    assert (group["verdict"] == "too_early").sum() == 3
    assert (valued["low"] <= valued["value"]).all()
    assert (valued["value"] <= valued["high"]).all()


def test_a_young_follow_up_kpi_is_too_early_beside_its_last_complete_quarter(reviewed):
    table = reviewed.scorecard.table.query("unit_type == 'group' and kpi == 'service_retention'")
    row = table.iloc[0]
    assert row["verdict"] == "too_early"
    assert math.isnan(row["value"])
    assert row["complete_period"] == "2025Q2"
    assert 0 < row["complete_low"] < row["complete_value"] < row["complete_high"] < 1


def test_nothing_is_said_about_fewer_than_k_rows(reviewed):
    k = reviewed.plan.settings["publication"]["k"]
    for result in (reviewed.scorecard, reviewed.charts):
        table = result.table
        spread = table["kpi"].map(lambda name: reviewed.plan.kpis[name].stat == "spread")
        table = table[~spread]  # a spread counts stores, not people
        assert not ((table["n"] > 0) & (table["n"] < k)).fillna(value=False).any()
        assert table.loc[table["n"].isna(), "value"].isna().all()


def test_every_sentence_is_there_in_both_languages_and_traced(reviewed):
    known = {finding.finding_id for finding in reviewed.findings}
    for lang in labels.languages():
        told = sentences(reviewed, lang)
        assert 3 <= len(told) <= 8
        assert all(text and "{" not in text for text, _ in told)
        assert {ref for _, ref in told if ref} <= known
        assert len(verdict(reviewed, lang)) == len(told)
        assert all(finding_text(f, reviewed.plan, lang) for f in reviewed.findings)


def test_finding_ids_are_unique_and_findings_are_ranked(reviewed):
    ids = [finding.finding_id for finding in reviewed.findings]
    assert len(ids) == len(set(ids)) > 0
    severities = [finding.severity for finding in reviewed.findings]
    assert severities == sorted(severities, key=["act", "watch", "info"].index)


def test_facts_are_json_with_interval_n_and_definition_version(reviewed):
    text = json.dumps(reviewed.facts, sort_keys=True, allow_nan=False)
    facts = json.loads(text)
    assert facts["satisfaction.group"]["unit"] == "share"
    assert {"value", "low", "high", "n", "version", "period"} <= set(facts["nps.S01"])
    assert len(facts) == len(reviewed.scorecard.table)


def test_rows_of_every_file_are_accounted_for(reviewed):
    table = reviewed.counts.table
    parts = table.drop(columns=["file", "table", "rows"]).sum(axis=1)
    assert (parts == table["rows"]).all()
    assert len(table) >= 30


def test_a_rerun_gives_the_same_review(sample_project, reviewed):
    again = start(project=str(sample_project))
    pd.testing.assert_frame_equal(again.scorecard.table, reviewed.scorecard.table)
    pd.testing.assert_frame_equal(again.charts.table, reviewed.charts.table)
    assert again.findings == reviewed.findings
    assert again.stamp == reviewed.stamp


@pytest.mark.parametrize("key", ["2026-02", "2026W06", "2026"])
def test_weeks_months_and_years_give_the_early_warning_part(sample_project, key):
    review = start(project=str(sample_project), period=key)
    assert review.period.key == key
    assert review.scorecard.note["aligned"] is (key != "2026")
    assert review.scorecard.table.query("kpi == 'ready_on_time'")["n"].notna().any()


def test_stores_can_be_chosen_by_region_and_by_id(sample_project, reviewed):
    store_id, region = next(iter(prepare(Parameters(project=str(sample_project)))[3].items()))
    by_region = start(project=str(sample_project), stores=region)
    by_id = start(project=str(sample_project), stores=store_id)
    assert set(by_id.scorecard.table["unit"]) == {"group", region, store_id}
    assert len(set(by_region.scorecard.table["unit"])) == 6
    everything = reviewed.scorecard.table.set_index(["kpi", "unit"])["n"]
    alone = by_id.scorecard.table.set_index(["kpi", "unit"])["n"]
    assert alone["ready_on_time", "group"] == everything["ready_on_time", store_id]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"period": "2026Q3 "[:-2]}, "no data|expected a week"),
        ({"stores": "S01, nowhere"}, "'nowhere' is not known"),
        ({"language": "de"}, "'de' is not known"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(sample_project, wrong, told):
    with pytest.raises(ParameterError, match=told):
        start(project=str(sample_project), **wrong)


def test_a_changed_snapshot_is_refused(sample_project, tmp_path):
    import shutil

    shutil.copytree(sample_project / "snapshots", tmp_path / "snapshots")
    place = next((tmp_path / "snapshots").glob("*/leads.parquet"))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.chmod(0o644)
    place.write_bytes(bytes(content))
    with pytest.raises(SnapshotError, match="leads"):
        start(project=str(tmp_path))


def test_run_does_not_need_optional_tables(snapshot, tmp_path):
    asked = prepare(Parameters(project=str(snapshot.path.parents[1])))
    review = run(*asked, ledger(Register(tmp_path / "nobody-wrote")))
    assert "parts_lines" in snapshot.tables
    assert review.scorecard.table.query("kpi == 'parts_first_fill'")["n"].notna().any()


# ---------------------------------------------------------------- subjects beside the KPIs


def test_subjects_bring_their_findings_into_the_review_and_its_report(reviewed):
    done = reviewed.subjects["survey"]
    ids = {found.finding_id for found in (*done.headline, *done.findings)}
    assert len(ids) == len(done.headline) + len(done.findings) >= 3
    assert ids <= {found.finding_id for found in reviewed.findings}
    told = {one["id"]: one["text"] for one in evidence.subjects(reviewed)[0]["headline"]}
    assert set(told) == {found.finding_id for found in done.headline}
    assert all(text["zh"] != text["en"] for text in told.values())
    level = done.headline[0]
    assert level.low <= level.value <= level.high
    assert {"survey_scores", "survey_drivers"} <= set(done.sheets)


def test_a_subject_without_data_says_why(snapshot, reviewed):
    kept = {n: t for n, t in snapshot.manifest["tables"].items() if n != "survey_responses"}
    bare = replace(snapshot, manifest={**snapshot.manifest, "tables": kept})
    found = subjects.analyses(bare, reviewed.plan, reviewed.period, {"S01": "R1"})
    assert found["survey"].reason == "survey_responses: is not in the snapshot."
    early = subjects.analyses(snapshot, reviewed.plan, parse("2019Q1"), {"S01": "R1"})
    assert "no wave by the end of 2019Q1" in early["survey"].reason
    assert early["survey"].findings == early["survey"].headline == ()
