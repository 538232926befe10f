"""What people wrote that a review must know: notes on charts and alert cases."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dealerqm import registers, store
from dealerqm.plan import Plan
from dealerqm.spc import Notes


class Ledger(NamedTuple):
    """The part of the register that a review depends on.

    Attributes
    ----------
    notes : Notes
        Rebases, exclusions and remarks that hold.
    cases : DataFrame
        State of the alert cases.
    """

    notes: Notes
    cases: pd.DataFrame


def open_register(project: Path, snapshot: store.Snapshot, plan: Plan) -> registers.Register:
    """Open the register of a project with what notes on charts may name.

    Parameters
    ----------
    project : Path
        Project folder.
    snapshot : Snapshot
        Its stores, regions and days.
    plan : Plan
        Its KPIs.

    Returns
    -------
    Register
        The first entry makes the file.
    """
    return registers.Register(project / registers.FILE, registers.scope(snapshot, plan))


def ledger(register: registers.Register) -> Ledger:
    """Read what a review depends on.

    Parameters
    ----------
    register : Register
        May be one that nobody has written in.

    Returns
    -------
    Ledger
        Notes and cases.
    """
    return Ledger(registers.chart_notes(register), register.state("alert_case"))
