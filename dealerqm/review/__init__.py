"""The quarterly review: from a snapshot and a plan to everything that the report shows.

``run`` is a pure function of the snapshot, the plan and the parameters; ``start`` is its door for
notebooks and the command line, which checks the parameters first.
"""

from dealerqm.review.charts import chart, choices, proposals, why
from dealerqm.review.ledger import Ledger, ledger, open_register
from dealerqm.review.model import Counts, Quality, Review
from dealerqm.review.run import Parameters, prepare, project_plan, run, start
from dealerqm.review.stamp import code_digest, lock_digest
from dealerqm.review.words import sentences, verdict
from dealerqm.wording import finding_text

__all__ = [
    "Counts",
    "Ledger",
    "Parameters",
    "Quality",
    "Review",
    "chart",
    "choices",
    "code_digest",
    "finding_text",
    "ledger",
    "lock_digest",
    "open_register",
    "prepare",
    "project_plan",
    "proposals",
    "run",
    "sentences",
    "start",
    "verdict",
    "why",
]
