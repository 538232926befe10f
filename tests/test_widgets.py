"""The desk of control charts: choosing redraws, decisions are written and take effect."""

from datetime import date
from functools import cache

import pytest
import review_case

from dealerqm import labels, survey
from dealerqm import review as reviewing
from dealerqm.registers import Register, Scope, chart_notes
from dealerqm.widgets import ChartDesk, survey_desk, table


@cache
def review():
    return review_case.review()


def series():
    """A chart with a warning."""
    row = review().board.table.query("shown == 'act' and unit != 'group'").iloc[0]
    return row["kpi"], row["unit"]


@pytest.fixture
def desk(tmp_path):
    units = frozenset(unit for _, unit in review_case.UNITS)
    scope = Scope(frozenset(review().plan.kpis), units, date(2023, 10, 1), date(2026, 9, 30))
    register = Register(tmp_path / "state.sqlite", scope)
    return ChartDesk(review(), series(), register, "en", lambda: date(2026, 10, 8))


def test_the_desk_shows_the_chart_its_signals_and_why(desk):
    assert desk.picture.value.startswith('<svg style="max-width:100%')
    assert "changed since" in desk.signals.value
    assert "Autocorrelation" in desk.reason.value
    assert desk.line.value.endswith('"auto", "calibrated"')


def test_another_choice_draws_another_chart(desk):
    before = desk.picture.value
    desk.how.value = "xmr"
    assert desk.picture.value != before
    assert '"xmr"' in desk.line.value
    after = desk.picture.value
    desk.rules.value = "western_electric"
    assert "Western Electric" in desk.signals.value
    assert desk.picture.value != after or desk.signals.value


def test_another_kpi_brings_its_units_and_charts(desk):
    kpi, units = next((k, u) for k, u in desk.units.items() if k != desk.kpi.value)
    desk.kpi.value = kpi
    assert [value for _, value in desk.unit.options] == units
    assert desk.unit.value in units
    assert f'"{kpi}"' in desk.line.value


def test_an_exclusion_is_written_and_drawn(desk):
    desk.decision.value = "exclusion"
    desk.period.value = "2025-03"
    desk.because.value, desk.by.value = "fire in the workshop", "Ann"
    desk.write.click()
    (point,) = chart_notes(desk.register).exclusions
    assert (point.kpi, point.unit, point.period) == (*series(), "2025-03")
    assert (point.reason, point.by, point.at) == ("fire in the workshop", "Ann", "2026-10-08")
    assert "2025-03" in desk.said.value
    assert desk.review.notes.exclusions == (point,)


def test_an_accepted_rebase_gives_a_second_phase_to_choose(desk):
    kpi, unit = series()
    start = desk.review.board.where(kpi=kpi, unit=unit).table["rebase"].iloc[0]
    desk.decision.value, desk.period.value = "accept", start
    desk.because.value, desk.by.value = "new building", "Ann"
    desk.write.click()
    assert [value for _, value in desk.phase.options] == ["all", "1", "2"]
    desk.phase.value = "2"
    assert desk.picture.value.startswith("<svg")


@pytest.mark.parametrize("because", ["", "  "])
def test_a_decision_without_a_reason_is_refused_in_words(desk, because):
    desk.decision.value, desk.because.value, desk.by.value = "exclusion", because, "Ann"
    desk.write.click()
    assert chart_notes(desk.register).exclusions == ()
    assert desk.said.value.startswith("<p>")


def test_hostile_text_stays_text(desk):
    desk.because.value, desk.by.value = "<script>alert(1)</script>", "Ann"
    desk.write.click()
    assert "<script" not in desk.picture.value + desk.said.value + desk.signals.value


def test_no_rows_are_a_sentence(desk):
    empty = review().charts.signals.where(kpi="nothing")
    assert table(empty, "en").startswith("<p>No rule")


# ---------------------------------------------------------------- the desk of the survey


@pytest.fixture(scope="module")
def done(sample_project):
    return survey.analyse(*reviewing.prepare(reviewing.Parameters(project=str(sample_project))))


def test_the_survey_s_desk_shows_what_the_static_cell_shows(done):
    shown = survey_desk(done, lang="en")
    view = done.view("overall", "store", "on")
    assert shown.line.value == 'item, by, weighting = "overall", "store", "on"'
    assert view.plot("en").svg.split(">", 1)[1] in shown.picture.value
    assert "S01" in shown.scores.value


@pytest.mark.parametrize(
    ("widget", "value"), [("item", "price"), ("by", "channel"), ("weighting", "off")]
)
def test_each_choice_redraws_the_survey(done, widget, value):
    shown = survey_desk(done, lang="zh")
    before = (shown.picture.value, shown.scores.value)
    getattr(shown, widget).value = value
    assert f'"{value}"' in shown.line.value
    assert shown.picture.value != before[0] or shown.scores.value != before[1]
    wanted = done.view(shown.item.value, shown.by.value, shown.weighting.value)
    assert wanted.plot("zh").svg.split(">", 1)[1] in shown.picture.value


def test_the_survey_s_choices_have_names_in_both_languages(done):
    for lang in labels.languages():
        shown = survey_desk(done, lang=lang)
        names = [name for box in (shown.item, shown.by, shown.weighting) for name, _ in box.options]
        assert len(names) == sum(len(values) for values in done.choices.values())
        assert lang == "en" or not any(name.isascii() and "_" in name for name in names)
