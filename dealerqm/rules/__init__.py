"""Detection rules: what signals on a chart, and how often it does without a cause."""
