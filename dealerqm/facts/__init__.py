"""Questions to row-level data, answered by small frames of sufficient statistics.

The only package that queries rows. It is written once over narwhals; DuckDB over the snapshot's
Parquet is the default engine, pandas frames serve tests, Spark tables can be handed over.
"""

from dealerqm.facts.engine import Ask, Flag
from dealerqm.facts.questions import MINUTE, ROWS_CAP, Facts

__all__ = ["MINUTE", "ROWS_CAP", "Ask", "Facts", "Flag"]
