"""The same examples in every run, no time limit per example, nothing left on disk."""

from hypothesis import settings

settings.register_profile("dealerqm", deadline=None, derandomize=True, database=None)
settings.load_profile("dealerqm")
