"""The whole survey of the sample: every part in both languages, what it says, the same bytes."""

import pytest
import survey_worlds

from dealerqm import labels, survey
from dealerqm.errors import ParameterError
from dealerqm.result import plain
from dealerqm.review import Parameters, prepare
from dealerqm.survey import _PARTS

PARTS = (*_PARTS, "standard")
DRAWN = ("scores", "changes", "stores", "drivers", "comments", "response", "audit", "modes")


@pytest.fixture(scope="module")
def done(sample_project):
    """The survey of the sample's newest quarter."""
    return survey.analyse(*prepare(Parameters(project=str(sample_project))))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("lang", labels.languages())
def test_every_part_is_shown_in_every_language(done, part, lang):
    result = getattr(done, part)
    shown = result.show(lang)
    assert len(shown) == len(result.table)
    assert not shown.astype(str).apply(lambda column: column.str.contains("nan")).any(axis=None)


@pytest.mark.parametrize("part", DRAWN)
def test_every_picture_says_what_it_shows(done, part):
    picture = getattr(done, part).plot("en")
    assert picture.svg.startswith("<svg")
    assert "intervals, from" in picture.alt
    assert len(picture.data) == min(40, getattr(done, part).table["value"].notna().sum()) or (
        part in ("comments", "modes")
    )


def test_findings_are_sentences_in_every_language_and_name_no_person(done):
    for lang in labels.languages():
        told = done.told(lang)
        assert len(told) == len(done.findings) > 0
        assert not told.iloc[:, 1].str.contains(r"\b[cs]_[0-9a-f]{16}\b").any()
    kinds = {found.rule.partition(":")[0] for found in done.findings}
    assert {"survey_telling", "survey_coached", "survey_mode"} <= kinds
    assert len({found.finding_id for found in done.findings}) == len(done.findings)


def test_the_stores_of_the_sample_with_biased_silence_are_named(done):
    named = {f.unit for f in done.findings if f.rule == "survey_telling"}
    assert named == {"S07", "S11"}
    states = done.scores.table.set_index("unit")["state"]
    assert set(states[states == "telling"].index) == {"S07", "S11"}
    assert set(done.stores.where(state="telling").table["unit"]) == {"S07", "S11"}


def test_no_table_holds_a_pseudonym_or_a_comment(done):
    said = done.survey.rows["comment"].dropna().iloc[:200]
    for part in PARTS:
        text = getattr(done, part).table.to_string() + str(plain(dict(getattr(done, part).note)))
        assert not any(comment in text for comment in said)
        assert not any(who in text for who in done.survey.rows["staff_id"].dropna().unique())


def test_the_standard_has_a_line_for_every_requirement(done):
    assert list(done.standard.table["line"]) == [
        "expectations", "population", "sampling", "response", "method", "instrument", "analysis",
        "reliability", "doubts", "reporting",
    ]  # fmt: skip
    shown = done.standard.show("en").set_index("Requirement")["Statement"]
    assert "S07, S11" in shown["Doubtful answers"]
    assert "α" in shown["Reliability"]


def test_views_answer_the_widgets(done):
    choices = done.choices
    assert choices["by"][:3] == ["group", "region", "store"]
    on, off = (done.view("recommend", "channel", weighting) for weighting in choices["weighting"])
    assert (off.table["value"] == off.table["raw"]).all()
    assert on.table["raw"].tolist() == off.table["raw"].tolist()
    with pytest.raises(ParameterError, match=r"weighting: 'of' is not known. Nearest: off"):
        done.view(weighting="of")


def test_a_choice_of_stores_shows_these_and_weighs_all(sample_project, done):
    chosen = Parameters(project=str(sample_project), stores="S03, S04")
    part = survey.analyse(*prepare(chosen))
    assert part.scores.table["unit"].tolist() == ["S03", "S04"]
    whole = done.scores.where(unit=["S03", "S04"]).table
    assert part.scores.table["value"].tolist() == pytest.approx(whole["value"].tolist())


def test_the_same_snapshot_gives_the_same_tables(sample_project, done):
    again = survey.analyse(*prepare(Parameters(project=str(sample_project))))
    for part in ("scores", "changes", "stores", "comments"):
        assert getattr(again, part).table.equals(getattr(done, part).table)


def test_an_earlier_quarter_sees_nothing_later(sample_project):
    early = survey.analyse(*prepare(Parameters(project=str(sample_project), period="2025Q1")))
    assert early.survey.wave == "2025Q1"
    assert early.survey.rows["wave"].max() == "2025Q1"
    assert early.changes.note["waves"] == ["2024Q4", "2025Q1"]


def test_the_simulated_margins_are_those_of_the_exported_tables():
    made, found = survey_worlds.simulated(2)
    asked = found.rows[found.rows["wave"] == found.wave]
    wanted = found.targets[found.targets["quarter"] == found.wave]
    for margin in ("channel", "age_band", "waited_long"):
        share = asked.groupby(margin)["base_weight"].sum() / asked["base_weight"].sum()
        right = wanted[wanted["margin"] == margin].set_index("level")["count"]
        assert (share - right / right.sum()).abs().max() < 0.05
    assert len(made.answers)
