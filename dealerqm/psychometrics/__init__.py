"""Questionnaires as measurements: reliability, factors, agreement, importance of items."""
