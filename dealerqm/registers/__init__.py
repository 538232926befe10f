"""What people write down: an append-only, hash-chained log that Excel can edit."""

from dealerqm.registers.charts import (
    Decision,
    Evidence,
    annotate,
    chart_notes,
    exclude,
    rebase,
    scope,
    withdraw,
)
from dealerqm.registers.checks import Change, Scope
from dealerqm.registers.kinds import Kind, kinds
from dealerqm.registers.log import FILE, LOG_COLUMNS, Register

__all__ = [
    "FILE",
    "LOG_COLUMNS",
    "Change",
    "Decision",
    "Evidence",
    "Kind",
    "Register",
    "Scope",
    "annotate",
    "chart_notes",
    "exclude",
    "kinds",
    "rebase",
    "scope",
    "withdraw",
]
