"""The KPIs of the plan: values with intervals, goal verdicts, and changes beyond noise."""

from dealerqm.kpi.estimate import values
from dealerqm.kpi.scorecard import Scorecard, scorecard

__all__ = ["Scorecard", "scorecard", "values"]
