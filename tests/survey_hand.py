"""Surveys written by hand: a few rows, every column of the contract, any plan."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from dealerqm import plan as plans
from dealerqm import survey
from dealerqm.facts import Facts
from dealerqm.period import of, parse

PLAN = plans.load()
ITEMS = [
    "product", "price", "service", "after_sales", "communication", "attitude", "professionalism",
    "response_speed", "problem_solving", "overall",
]  # fmt: skip
AS_OF = date(2026, 9, 30)
REGIONS = {"S1": "North", "S2": "North", "S3": "South"}


def with_settings(**changes):
    """The default plan with keys of [survey] changed; a dict changes keys one level down."""
    section = dict(PLAN.settings["survey"])
    for key, value in changes.items():
        both = isinstance(value, dict) and key != "margins"
        section[key] = {**section[key], **value} if both else value
    return replace(PLAN, settings={**PLAN.settings, "survey": section})


def answer(**changes):
    """One complete answer of a customer about a service order, all items 8."""
    row = {
        "respondent": "customer", "customer_id": None, "store_id": "S1", "staff_id": "e1",
        "touchpoint": "service", "event_id": None, "wave": "2026Q3", "channel": "sms",
        "stratum": None, "psu": None, "base_weight": 1.0, "invited_at": "2026-08-03 10:00",
        "hours": 24.0, "duration_s": 200.0, "recommend": 8.0, "comment": None,
        **dict.fromkeys(ITEMS, 8.0),
    }  # fmt: skip
    return {**row, **changes}


def staff_answer(**changes):
    """One complete answer of an employee."""
    scores = {"staff_culture": 9.0, "staff_training": 8.0, "staff_incentives": 7.0,
              "staff_career": 8.0}  # fmt: skip
    empty = {**dict.fromkeys(ITEMS, np.nan), "recommend": np.nan}
    return answer(respondent="staff", touchpoint="staff", **empty, **scores) | changes


def silent(**changes):
    """One invitation without an answer."""
    gone = {**dict.fromkeys(ITEMS, np.nan), "recommend": np.nan, "duration_s": np.nan}
    return answer(hours=np.nan, **gone) | changes


def frame(rows):
    """The table that a snapshot would hold of these rows."""
    found = pd.DataFrame(rows)
    for column in PLAN.tables["survey_responses"].columns:
        if column not in found:
            found[column] = np.nan
    number = pd.Series(range(len(found))).astype(str).str.zfill(4)
    found["response_id"] = "Q" + number
    found["customer_id"] = found["customer_id"].fillna("c" + number)
    found["invited_at"] = pd.to_datetime(found["invited_at"], format="mixed")
    found["responded_at"] = found["invited_at"] + pd.to_timedelta(found["hours"], unit="h")
    found["answer_s"] = found["hours"] * 3600
    end = pd.Timestamp(AS_OF) + pd.Timedelta(days=1)
    found["invite_age_s"] = (end - found["invited_at"]).dt.total_seconds()
    found["invited_at_quarter"] = [of(at.date(), "quarter").key for at in found["invited_at"]]
    return found.drop(columns="hours")


def made(rows, plan=PLAN, regions=None, period="2026Q3", **tables):
    """The survey of these rows, and of other tables given as frames."""
    frames = {"survey_responses": frame(rows), **tables}
    return survey.load(
        Facts(frames.__getitem__), plan, parse(period), regions or REGIONS, as_of=AS_OF,
        tables=tuple(frames),
    )  # fmt: skip


def targets(quarter="2026Q3", **margins):
    """The table of targets: margin to level to count."""
    rows = [
        (quarter, margin, level, count)
        for margin, levels in margins.items()
        for level, count in levels.items()
    ]
    return pd.DataFrame(rows, columns=["quarter", "margin", "level", "count"])
