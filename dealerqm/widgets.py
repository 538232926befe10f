"""Widgets of the notebooks: the same calls as the static cells, by choosing instead of typing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w

from dealerqm import labels, registers, store
from dealerqm.errors import DealerqmError
from dealerqm.result import Result, spell
from dealerqm.review import Review, chart, choices, finding_text, open_register, why
from dealerqm.rules.sets import SETS
from dealerqm.spc.named import ALLOWED, AUTO, CALIBRATED
from dealerqm.spc.stack import scale_of
from dealerqm.survey import Analysis

ALL = "all"
WIDE = w.Layout(width="auto", min_width="16em")
FITTED = '<svg style="max-width:100%;height:auto" '
DECISIONS = ("remark", "exclusion", "accept", "refuse")
SIGNALS = ["period", "rule", "side", "start", "members"]
WHY = ["chart", "reasons", "points", "dispersion", "season_p", "phi"]
_HEADS = {"item": "item", "by": "split", "weighting": "weighting"}
SCORES = ["unit", "n", "raw", "value", "low", "high", "state"]


def table(result: Result, lang: str, columns: list[str] | None = None) -> str:
    """Return a result as an HTML table for a widget.

    Parameters
    ----------
    result : Result
        Any result.
    lang : str
        Language.
    columns : list of str or None
        Columns to show; None means all.

    Returns
    -------
    str
        Escaped; a sentence where there are no rows.
    """
    if result.frame.empty:
        return f"<p>{escape(labels.text('widget.none', lang))}</p>"
    return str(result.show(lang, columns=columns or ()).to_html(index=False, border=0))


def chart_desk(
    review: Review, *, kpi: str, unit: str = "group", project: str | Path = ".",
    lang: str = "zh", today: Callable[[], date] = date.today,
) -> ChartDesk:  # fmt: skip
    """Open a desk on which to choose a chart, see why it signals, and write down decisions.

    Parameters
    ----------
    review : Review
        The review whose charts are shown.
    kpi, unit : str
        Where to begin.
    project : str or Path
        Project folder; decisions are written to its register.
    lang : str
        Language.
    today : callable
        Supplies the date of a decision.

    Returns
    -------
    ChartDesk
        Shown by naming it at the end of a cell.
    """
    folder = Path(project)
    register = open_register(folder, store.open_snapshot(folder), review.plan)
    return ChartDesk(review, (kpi, unit), register, lang, today)


class ChartDesk(w.VBox):  # type: ignore[misc]
    """A chart with its choices, its signals and a form for decisions.

    Parameters
    ----------
    review : Review
        The review.
    start : (str, str)
        KPI and unit to begin with.
    register : Register
        Where decisions are written.
    lang : str
        Language.
    today : callable
        Supplies the date of a decision.
    """

    def __init__(
        self, review: Review, start: tuple[str, str], register: registers.Register, lang: str,
        today: Callable[[], date],
    ) -> None:  # fmt: skip
        self.review, self.register, self.lang, self.today = review, register, lang, today
        self.units = choices(review)
        names = {kpi: review.plan.kpis[kpi].label[lang] for kpi in self.units}
        self.kpi = self._choice("kpi", [(label, kpi) for kpi, label in names.items()], start[0])
        self.unit = self._choice("unit", self._units(start[0]), start[1])
        self.how = self._choice("chart", self._charts(start[0]), AUTO)
        self.rules = self._choice("rules", self._rules(), CALIBRATED)
        self.phase = self._choice("phase", [(self._word("all"), ALL)], ALL)
        self.picture, self.signals, self.reason, self.said = (w.HTML() for _ in range(4))
        self.line = w.Text(disabled=True, layout=w.Layout(width="100%"))
        self.decision = self._choice(
            "decision", [(self._word(name), name) for name in DECISIONS], DECISIONS[0]
        )
        self.period = self._choice("period", [], None)
        self.because = w.Text(description=self._word("reason"), layout=WIDE)
        self.by = w.Text(description=self._word("by"), layout=WIDE)
        self.write = w.Button(description=self._word("write"))
        self.write.on_click(lambda _: self.decide())
        for choice in (self.unit, self.how, self.rules, self.phase):
            choice.observe(lambda _: self.draw(), "value")
        self.kpi.observe(lambda _: self._other_kpi(), "value")
        super().__init__([
            w.HBox([self.kpi, self.unit]), w.HBox([self.how, self.rules, self.phase]),
            self.picture, self.line, self.signals, self.reason,
            w.HBox([self.decision, self.period]), w.HBox([self.because, self.by, self.write]),
            self.said,
        ])  # fmt: skip
        self.draw()

    def _word(self, name: str) -> str:
        return labels.text(f"widget.{name}", self.lang)

    def _choice(self, name: str, options: list[Any], value: Any) -> Any:  # noqa: ANN401
        return w.Dropdown(
            options=options, value=value, description=self._word(name), layout=WIDE
        )  # fmt: skip

    def _units(self, kpi: str) -> list[tuple[str, str]]:
        group = labels.text("unit_type.group", self.lang)
        return [(group if unit == "group" else unit, unit) for unit in self.units[kpi]]

    def _charts(self, kpi: str) -> list[tuple[str, str]]:
        allowed = ALLOWED[scale_of(self.review.plan.kpis[kpi])]
        named = [(spell(name, "word:chart", self.lang), name) for name in allowed]
        return [(self._word("auto"), AUTO), *named]

    def _rules(self) -> list[tuple[str, str]]:
        return [(self._word("calibrated"), CALIBRATED), *((name, name) for name in SETS)]

    def _other_kpi(self) -> None:
        kpi, unit = self.kpi.value, self.unit.value
        with self.unit.hold_trait_notifications(), self.how.hold_trait_notifications():
            self.unit.options, self.how.options = self._units(kpi), self._charts(kpi)
            self.unit.value = unit if unit in self.units[kpi] else self.units[kpi][0]
            self.how.value = AUTO
        self.draw()

    def draw(self) -> None:
        """Draw what is chosen; a choice that does not fit is answered in words."""
        kpi, unit = self.kpi.value, self.unit.value
        try:
            found = chart(self.review, kpi, unit, how=self.how.value, rules=self.rules.value)
            asked = why(self.review, kpi, unit)
        except DealerqmError as error:
            self.said.value = f"<p>{escape(str(error))}</p>"
            return
        phases = [str(phase) for phase in sorted(set(found.table["phase"]))]
        kept = self.phase.value if self.phase.value in phases else ALL
        with self.phase.hold_trait_notifications():
            self.phase.options = [(self._word("all"), ALL), *((p, p) for p in phases)]
            self.phase.value = kept
        one = found if kept == ALL else found.where(phase=int(kept))
        self.period.options = list(found.table["period"])[::-1]
        self.picture.value = one.plot(self.lang).svg.replace("<svg ", FITTED, 1)
        self.signals.value = self._told(kpi, unit) + table(found.signals, self.lang, SIGNALS)
        self.reason.value = table(asked, self.lang, WHY)
        self.line.value = (
            f'kpi, unit, how, rules = "{kpi}", "{unit}", "{self.how.value}", "{self.rules.value}"'
        )

    def _told(self, kpi: str, unit: str) -> str:
        """Return what the board says of this chart, in sentences."""
        own = [f for f in self.review.findings if (f.kpi, f.unit) == (kpi, unit)]
        said = [finding_text(f, self.review.plan, self.lang) for f in own if f.onset or f.q_value]
        return "".join(f"<p>{escape(text)}</p>" for text in said)

    def decide(self) -> None:
        """Write the decision to the register, and draw the chart as it then is."""
        chart_, period = (self.kpi.value, self.unit.value), self.period.value
        decision = registers.Decision(self.because.value, self.by.value, self.today())
        try:
            key = _WRITERS[self.decision.value](self.register, chart_, period, decision)
        except DealerqmError as error:
            self.said.value = f"<p>{escape(str(error))}</p>"
            return
        self.review = replace(self.review, notes=registers.chart_notes(self.register))
        self.said.value = f"<p>{escape(labels.text('widget.written', self.lang, name=key))}</p>"
        self.because.value = ""
        self.draw()


def survey_desk(
    done: Analysis, *, item: str = "", by: str = "store", weighting: str = "on", lang: str = "zh"
) -> SurveyDesk:
    """Open a desk on which to choose an item of the survey, a subgroup, and weights or none.

    Parameters
    ----------
    done : Analysis
        The survey of a wave.
    item, by, weighting : str
        Where to begin, one of ``done.choices``; no item means the overall one.
    lang : str
        Language.

    Returns
    -------
    SurveyDesk
        Shown by naming it at the end of a cell.
    """
    return SurveyDesk(done, (item or done.choices["item"][0], by, weighting), lang)


class SurveyDesk(w.VBox):  # type: ignore[misc]
    """Scores of one item by subgroup, with the line of parameters that gives the same.

    Parameters
    ----------
    done : Analysis
        The survey of a wave.
    start : (str, str, str)
        Item, subgroup and weighting to begin with.
    lang : str
        Language.
    """

    def __init__(self, done: Analysis, start: tuple[str, str, str], lang: str) -> None:
        self.done, self.lang = done, lang
        self.item, self.by, self.weighting = (
            w.Dropdown(
                options=[(self._name(kind, value), value) for value in values], value=begin,
                description=labels.text(f"widget.{_HEADS[kind]}", lang), layout=WIDE,
            )
            for (kind, values), begin in zip(done.choices.items(), start, strict=True)
        )  # fmt: skip
        self.picture, self.scores = w.HTML(), w.HTML()
        self.line = w.Text(disabled=True, layout=w.Layout(width="100%"))
        for choice in (self.item, self.by, self.weighting):
            choice.observe(lambda _: self.draw(), "value")
        super().__init__([
            w.HBox([self.item, self.by, self.weighting]), self.line, self.picture, self.scores,
        ])  # fmt: skip
        self.draw()

    def _name(self, kind: str, value: str) -> str:
        if kind == "item":
            return str(self.done.survey.instrument.measures[value]["label"][self.lang])
        return (
            labels.text(f"survey_{kind}.{value}", self.lang)
            if (
                f"survey_{kind}.{value}" in labels.keys()  # noqa: SIM118  no mapping
            )
            else value
        )

    def draw(self) -> None:
        """Draw what is chosen; a choice that does not fit is answered in words."""
        item, by, weighting = self.item.value, self.by.value, self.weighting.value
        self.line.value = f'item, by, weighting = "{item}", "{by}", "{weighting}"'
        try:
            view = self.done.view(item, by, weighting)
        except DealerqmError as error:
            self.picture.value, self.scores.value = f"<p>{escape(str(error))}</p>", ""
            return
        self.picture.value = view.plot(self.lang).svg.replace("<svg ", FITTED, 1)
        self.scores.value = table(view, self.lang, SCORES)


_WRITERS: dict[str, Callable[[registers.Register, tuple[str, str], str, Any], str]] = {
    "remark": lambda log, chart_, at, decision: registers.annotate(log, chart_, at, at, decision),
    "exclusion": registers.exclude,
    "accept": lambda log, chart_, at, why_: registers.rebase(log, chart_, at, why_, accepted=True),
    "refuse": lambda log, chart_, at, why_: registers.rebase(log, chart_, at, why_, accepted=False),
}
