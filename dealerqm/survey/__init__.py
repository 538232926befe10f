"""Customer and staff surveys: who answered, how satisfied they are, how sure that is, and why."""

from dealerqm.survey.rows import Instrument, Survey, load, read

__all__ = ["Instrument", "Survey", "load", "read"]
