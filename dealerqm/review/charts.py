"""One chart of a review by choice, and what people and the board say on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from dealerqm import spc
from dealerqm.errors import ParameterError, unknown
from dealerqm.review.model import Review
from dealerqm.signals import Board
from dealerqm.spc import ControlCharts, Diagnosis, How, Notes


def chart(
    review: Review, kpi: str, unit: str = "group", *, how: str = "auto", rules: str = "calibrated"
) -> ControlCharts:
    """Draw one chart of a review, by the diagnosis or by the name of a chart.

    Parameters
    ----------
    review : Review
        The review.
    kpi, unit : str
        Which; the unit is ``group``, a region or a store.
    how, rules : str
        ``auto`` or a chart's name, and ``calibrated`` or the name of a rule set.

    Returns
    -------
    ControlCharts
        Rows and signals of this unit, with the change that the board dates and people's notes.

    Raises
    ------
    ParameterError
        If the KPI has no such unit.
    MethodError
        If the chart does not fit the KPI, or the rules are not known.
    """
    found = spc.control_chart(
        review.monthly, kpi, review.plan, review.period, notes=review.notes, how=How(how, rules)
    )
    units = list(dict.fromkeys(found.table["unit"]))
    if unit not in units:
        raise ParameterError(unknown(f"unit of {kpi}", unit, units))
    one = found.where(unit=unit)
    one = replace(one, signals=found.signals.where(unit=unit))
    return marked(one, review.board, review.notes)


def why(review: Review, kpi: str, unit: str = "group") -> Diagnosis:
    """Say what the baseline of a chart asks for.

    Parameters
    ----------
    review : Review
        The review.
    kpi, unit : str
        Which chart.

    Returns
    -------
    Diagnosis
        One row.
    """
    values = review.monthly[review.monthly["kpi"] == kpi]
    cells = spc.collect(values, review.plan, review.period)
    stacked = spc.stack(cells, review.plan, review.period, review.notes)
    return spc.diagnosis(stacked, review.plan).where(unit=unit)


def marked(charts: ControlCharts, board: Board, notes: Notes) -> ControlCharts:
    """Note on charts what is to be drawn on them besides points and limits.

    Parameters
    ----------
    charts : ControlCharts
        The charts.
    board : Board
        Dated changes and proposed rebases.
    notes : Notes
        Remarks, exclusions and rebases.

    Returns
    -------
    ControlCharts
        ``note["marks"]``: KPI to unit to ``onset`` (earliest, likeliest, latest period) and
        ``notes`` (period, end, kind, text).
    """
    marks: dict[str, dict[str, dict[str, Any]]] = {}
    for row in board.table.to_dict("records"):
        place = marks.setdefault(row["kpi"], {}).setdefault(row["unit"], _blank())
        if row["onset"]:
            place["onset"] = (row["onset_first"], row["onset"], row["onset_last"])
        if row["rebase"]:
            place["notes"].append((row["rebase"], row["rebase"], "proposal", ""))
    for kpi, unit, told in _written(notes):
        marks.setdefault(kpi, {}).setdefault(unit, _blank())["notes"].append(told)
    return replace(charts, note={**charts.note, "marks": marks})


def _blank() -> dict[str, Any]:
    return {"onset": None, "notes": []}


def _written(notes: Notes) -> Iterator[tuple[str, str, tuple[str, str, str, str]]]:
    for one in notes.remarks:
        yield one.kpi, one.unit, (one.start, one.end, "remark", _signed(one.text, one))
    for point in notes.exclusions:
        told = (point.period, point.period, "exclusion", _signed(point.reason, point))
        yield point.kpi, point.unit, told
    for base in notes.rebases:
        if base.accepted:
            told = (base.period, base.period, "rebase", _signed(base.reason, base))
            yield base.kpi, base.unit, told


def _signed(text: str, note: Any) -> str:  # noqa: ANN401  any kind of note
    return f"{text} ({note.by}, {note.at})"


def proposals(review: Review) -> pd.DataFrame:
    """Return the rebases that the program proposes and nobody has decided.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    DataFrame
        Rows of the board.
    """
    table = review.board.table
    return table[table["rebase"] != ""].reset_index(drop=True)


def choices(review: Review) -> Mapping[str, list[str]]:
    """Return the KPIs and units that have charts.

    Parameters
    ----------
    review : Review
        The review.

    Returns
    -------
    mapping of str to list of str
        KPI to its units, group first.
    """
    table = review.charts.table[["kpi", "unit_type", "unit"]].drop_duplicates()
    order = {"group": 0, "region": 1, "store": 2}
    table = table.assign(rank=table["unit_type"].map(order)).sort_values(["kpi", "rank", "unit"])
    return {str(kpi): list(part["unit"]) for kpi, part in table.groupby("kpi", sort=True)}
