"""The rows of a survey: who was invited, who answered what, and what is never asked.

Everything else in this package takes a ``Survey``: the invitations of the newest waves up to the
reviewed one, scores cleaned as the instrument says, with the margins of the weighting beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dealerqm import store
from dealerqm.conditions import Term, parse
from dealerqm.errors import MethodError, ParameterError, unknown
from dealerqm.facts import Ask, Facts
from dealerqm.fieldwork.instrument import CUSTOMER, RECOMMEND, STAFF, TABLE, Instrument
from dealerqm.period import Period, of
from dealerqm.period import parse as parse_period
from dealerqm.plan import Plan
from dealerqm.result import Finding, Result, Unit

Array = NDArray[np.float64]
UNKNOWN, YES, NO = "unknown", "yes", "no"
ROWS_CAP = 30_000_000  # of tables in which something is looked up: two or three columns
DAY = 86_400  # seconds
_COLUMNS = (
    "respondent", "customer_id", "store_id", "staff_id", "touchpoint", "event_id", "channel",
    "stratum", "psu", "base_weight", "invited_at", "invite_age_s", "responded_at", "answer_s",
    "duration_s", RECOMMEND,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Invitations of the newest waves up to the reviewed one.

    Attributes
    ----------
    plan : Plan
        Instrument, thresholds, margins.
    quarters : mapping of str to str
        Wave to the quarter in which most of it was sent out, oldest first, the reviewed one last.
    regions : mapping of str to str
        Store to region: the stores that tables show; weights always come from all stores.
    rows, staff : DataFrame
        Customers and staff, one row per invitation: the contract's columns, scores as floats with
        NaN where there is none, ``disposition``, ``answered``, ``region`` and the margins.
    targets : DataFrame
        ``quarter, margin, level, count``.
    facts, tables : Facts, tuple of str
        For what joins the survey, and which tables can be asked.
    note : mapping
        What was set aside, and which margins could not be found.
    """

    plan: Plan
    quarters: Mapping[str, str]
    regions: Mapping[str, str]
    rows: pd.DataFrame
    staff: pd.DataFrame
    targets: pd.DataFrame
    facts: Facts
    tables: tuple[str, ...]
    note: Mapping[str, Any]

    @property
    def instrument(self) -> Instrument:
        """What is asked of whom."""
        return Instrument(self.plan)

    @property
    def wave(self) -> str:
        """The reviewed wave."""
        return list(self.quarters)[-1]

    @property
    def period(self) -> Period:
        """The quarter of the reviewed wave."""
        return parse_period(self.quarters[self.wave])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The section ``survey`` of the plan."""
        return dict(self.plan.settings["survey"])

    @property
    def confidence(self) -> float:
        """Level of all intervals."""
        return float(self.plan.settings["statistics"]["confidence"])

    @property
    def k(self) -> int:
        """Nothing is said about fewer people."""
        return int(self.plan.settings["publication"]["k"])

    def of_wave(self, wave: str) -> pd.DataFrame:
        """Return the customers' rows of one wave, numbered from 0."""
        if wave not in self.quarters:
            raise ParameterError(unknown("wave", wave, self.quarters))
        return self.rows[self.rows["wave"] == wave].reset_index(drop=True)


def finding(
    survey: Survey, rule: str, unit: tuple[str, str], numbers: Mapping[str, Any],
    *, kpi: str = "share", severity: str = "watch",
) -> Finding:  # fmt: skip
    """Return a finding of the reviewed wave.

    Parameters
    ----------
    survey : Survey
        For the wave and the KPI.
    rule : str
        Key below ``finding`` in ``labels.toml``.
    unit : (str, str)
        Type of unit and unit.
    numbers : mapping
        ``value, expected, low, high, p_value, q_value, direction`` as far as they exist, and
        ``form`` and ``place_of``, which ``wording.finding_text`` reads.
    kpi : str
        Statistic of the KPI that it is about.
    severity : str
        ``act``, ``watch`` or ``info``.

    Returns
    -------
    Finding
        About the quarter of the wave.
    """
    known = {name: value for name, value in numbers.items() if value is not None}
    spelled: dict[str, Any] = {n: known.pop(n) for n in ("form", "place_of") if n in known}
    return Finding(
        quarter=survey.period.key, subject="survey", rule=rule, kpi=survey.instrument.kpi(kpi),
        unit_type=unit[0], unit=unit[1], period_start=survey.period.start,
        period_end=survey.period.end, severity=severity,
        evidence={"table": "survey_responses", "wave": survey.wave, **spelled}, **known,
    )  # fmt: skip


def read(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str]
) -> Survey:
    """Read the waves of a survey up to a period of a snapshot.

    Parameters
    ----------
    snapshot, plan : Snapshot, Plan
        The data; instrument, thresholds, margins.
    period : Period
        The reviewed wave is the newest that was mainly sent out by the end of it.
    regions : mapping of str to str
        Store to region: the stores that tables show.

    Returns
    -------
    Survey
        See ``load``.
    """
    facts = Facts(lambda table: store.relation(snapshot, table))
    return load(facts, plan, period, regions, as_of=snapshot.as_of, tables=snapshot.tables)


def load(
    facts: Facts, plan: Plan, period: Period, regions: Mapping[str, str],
    *, as_of: date, tables: tuple[str, ...] = (TABLE,),
) -> Survey:  # fmt: skip
    """Read the waves of a survey up to a period from any engine.

    Parameters
    ----------
    facts, plan, period, regions
        The questions; the others as for ``read``.
    as_of : date
        Last day of the data; ages are counted in whole years over by the start of its year.
    tables : tuple of str
        Tables that can be asked; margins that need others are left out and named in the note.

    Returns
    -------
    Survey
        Weights, sampling units and strata that an export lacks are 1, the row and one stratum.

    Raises
    ------
    ParameterError, MethodError
        If no wave was sent out by then; if some rows have a weight and others have none; if there
        are more invitations than the plan analyses at once.
    """
    made = plan.settings["survey"]
    quarters = _waves(facts, plan, period)
    first = parse_period(min(quarters.values())).start - timedelta(days=made["event_days"])
    days = (first, parse_period(max(quarters.values())).end)
    found, note = _rows(facts, plan, list(quarters))
    every = dict(regions)
    if "stores" in tables:
        known = facts.rows(Ask("stores", ("store_id",)), ["region"])
        every = dict(zip(known["store_id"], known["region"], strict=True))
    found["region"] = found["store_id"].map(every)
    usable = {n: s for n, s in made["margins"].items() if s.get("table", TABLE) in tables}
    for name, spec in usable.items():
        found[name] = _margin(facts, plan, (name, spec), found, (*days, as_of))
    margins = ("quarter", "margin", "level")
    targets = pd.DataFrame(columns=[*margins, "count"])
    if "targets" in tables:
        targets = facts.rows(Ask("targets", margins), ["count"], cap=ROWS_CAP)
    staff = found["respondent"] == STAFF
    return Survey(
        plan=plan, quarters=MappingProxyType(quarters), regions=MappingProxyType(dict(regions)),
        rows=found[~staff].reset_index(drop=True), staff=found[staff].reset_index(drop=True),
        targets=targets, facts=facts, tables=tuple(tables),
        note=MappingProxyType({**note, "no_margin": sorted(set(made["margins"]) - set(usable))}),
    )  # fmt: skip


def _waves(facts: Facts, plan: Plan, period: Period) -> dict[str, str]:
    """Return the waves up to the end of the period, oldest first, with their main quarters."""
    customers = (Term("respondent", "==", (CUSTOMER,)),)
    sent = facts.counts(Ask(TABLE, ("wave", "invited_at_quarter"), customers), {})
    sent = sent.sort_values(["wave", "rows", "invited_at_quarter"], ascending=[True, False, True])
    main = sent.drop_duplicates("wave").sort_values(["invited_at_quarter", "wave"])
    main = main[main["invited_at_quarter"] <= of(period.end, "quarter").key].astype("str")
    if main.empty:
        known = ", ".join(sorted(sent["wave"].unique())) or "none"
        raise ParameterError(f"survey: no wave by the end of {period.key}. In the data: {known}.")
    main = main.tail(plan.settings["survey"]["waves"])
    return dict(zip(main["wave"], main["invited_at_quarter"], strict=True))


def _rows(facts: Facts, plan: Plan, waves: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the invitations with clean scores, and how many scores were set aside."""
    instrument = Instrument(plan)
    names = [*_COLUMNS, *instrument.items(), *instrument.items(STAFF), "comment"]
    inside, most = (Term("wave", "in", tuple(waves)),), plan.settings["survey"]["max_rows"]
    count = int(facts.counts(Ask(TABLE, (), inside), {})["rows"].sum())
    if count > most:
        raise MethodError(
            f"survey: {count:,} invitations in {len(waves)} waves, from {waves[0]} on; the plan "
            f"analyses at most {most:,} at once. Set fewer [survey] waves, raise max_rows where "
            "the memory allows, or estimate from cells: survey.estimates.cells takes any number."
        )
    found = facts.rows(Ask(TABLE, ("wave", "response_id"), inside), names, cap=most)
    note = dict.fromkeys(("not_applicable", "out_of_scale", "not_asked"), 0)
    for name in instrument.scored:
        given = np.asarray(found[name].astype("float64"), np.float64)
        score, code, outside = instrument.clean(name, given)
        foreign = np.isfinite(score) & ~instrument.asked(found, name)
        for word, gone in zip(tuple(note), (code, outside, foreign), strict=True):
            note[word] += int(gone.sum())
        found[name] = np.where(foreign, np.nan, score)
    for name in ("base_weight", "duration_s", "answer_s", "invite_age_s"):
        found[name] = found[name].astype("float64")
    return _designed(_disposed(found, instrument), note), note


def _designed(found: pd.DataFrame, note: dict[str, Any]) -> pd.DataFrame:
    """Fill in what an export says nothing about: weights, sampling units, strata."""
    weight = found["base_weight"].where(found["respondent"] == CUSTOMER, 1.0)
    note["no_design"] = [n for n in ("base_weight", "psu", "stratum") if found[n].isna().all()]
    gone = found.loc[weight.isna(), "response_id"]
    if len(gone) and "base_weight" not in note["no_design"]:
        raise MethodError(
            f"{TABLE} base_weight: {len(gone)} of {len(found)} invitations have none, first "
            f"{gone.iloc[0]}. Export all weights, or none when everybody was asked."
        )
    return found.assign(
        base_weight=weight.fillna(1.0), psu=found["psu"].fillna(found["response_id"]),
        stratum=found["stratum"].fillna("all"),
    )  # fmt: skip


def _disposed(found: pd.DataFrame, instrument: Instrument) -> pd.DataFrame:
    """Add what became of each invitation; an answer must hold enough of what was asked."""
    made, scored = instrument.plan.settings["survey"], instrument.scored
    asked = np.column_stack([instrument.asked(found, name) for name in scored])
    said = np.isfinite(found[scored].to_numpy(float))
    share = said.sum(axis=1) / np.maximum(asked.sum(axis=1), 1)
    replied = found["responded_at"].notna().to_numpy()
    young = (found["invite_age_s"] < made["field_days"] * DAY).to_numpy()
    disposition = np.select(
        [replied & (share >= made["complete"]), replied & (share >= made["partial"]), replied,
         young],
        ["complete", "partial", "break_off", "pending"], "none",
    )  # fmt: skip
    answered = np.isin(disposition, ["complete", "partial"])
    return found.assign(disposition=disposition, answered=answered)


def _margin(
    facts: Facts, plan: Plan, margin: tuple[str, Mapping[str, Any]], rows: pd.DataFrame,
    days: tuple[date, date, date],
) -> pd.Series:  # fmt: skip
    """Return the level of one margin for every row."""
    name, spec = margin
    if "column" in spec:
        return pd.Series(rows[spec["column"]].fillna(UNKNOWN), dtype="str")
    table, key, link = plan.tables[spec["table"]], spec["key"], rows[spec["link"]]
    if "where" in spec:
        terms = parse(spec["where"], table, f"{plan.source} [survey.margins] {name} where")
        born = [n for n, c in table.columns.items() if c.keys and c.required]
        window = (f"{born[0]}_day", *days[:2]) if born else None
        keys = facts.rows(Ask(spec["table"], (key,), terms, window), [], cap=ROWS_CAP)[key]
        level = np.where(link.isin(keys), YES, NO)
    else:
        ask = Ask(spec["table"], (key, spec["birth_year"]))
        known = facts.rows(ask, [], cap=ROWS_CAP).drop_duplicates(key).set_index(key)
        age = days[2].year - 1 - link.map(known[spec["birth_year"]]).astype("float64")
        band = np.searchsorted(spec["edges"], age.fillna(0), side="right")
        level = np.where(age.isna(), UNKNOWN, np.array(spec["bands"])[band])
    if spec.get("touchpoints"):
        level = np.where(rows["touchpoint"].isin(spec["touchpoints"]), level, NO)
    return pd.Series(level, index=rows.index, dtype="str")


@dataclass(frozen=True, kw_only=True)
class Coverage(Result):
    """Touchpoints that a store never surveyed in all waves at hand."""

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType(
        {
            "unit": Unit("unit_name", "column.unit"),
            "touchpoint": Unit("word:touchpoint", "survey.touchpoint"),
            "waves": Unit("count", "survey.waves"),
        }
    )


def coverage(survey: Survey) -> Coverage:
    """List the touchpoints that a store never surveys.

    Parameters
    ----------
    survey : Survey
        The waves.

    Returns
    -------
    Coverage
        One row per store and touchpoint without a single invitation; empty when all are asked.
    """
    asked = set(zip(survey.rows["store_id"], survey.rows["touchpoint"], strict=True))
    never = [
        (store, touchpoint, len(survey.quarters))
        for store in sorted(survey.regions)
        for touchpoint in survey.instrument.touchpoints
        if (store, touchpoint) not in asked
    ]
    told = tuple(
        finding(survey, f"survey_never:{place}", ("store", store),
                {"direction": "none", "place_of": "touchpoint"}, kpi="within")
        for store, place, _ in never
    )  # fmt: skip
    table = pd.DataFrame(never, columns=list(Coverage.COLUMNS))
    return Coverage(frame=table, findings=told, note={"waves": list(survey.quarters)})
