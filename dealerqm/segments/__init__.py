"""Customers: their file, stage, scores, segments, service due, and what to do next."""
