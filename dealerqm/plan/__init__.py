"""The quality plan: every number with a business meaning, read from ``plan.toml`` and checked.

``load`` refuses a plan with an unknown key, a column that does not exist, a KPI that cannot be
computed or a label that lacks a language, and names the key and the nearest valid words.
"""

from dealerqm.plan.model import UNITS, Exposure, Factor, Goal, Kpi, Plan, digest
from dealerqm.plan.read import load, read

__all__ = ["UNITS", "Exposure", "Factor", "Goal", "Kpi", "Plan", "digest", "load", "read"]
