"""Customer and staff surveys: who answered, how satisfied they are, how sure that is, and why."""

from dealerqm.plan.instrument import Instrument
from dealerqm.survey.rows import Survey, load, read

__all__ = ["Instrument", "Survey", "load", "read"]
