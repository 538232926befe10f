"""Weights of a sample: raking, calibration, non-response, and how large a sample must be."""
