"""Scores by rank, and movements between classes from one period to the next, as arrays."""
