"""Tests, models, reliability, drivers and fair comparison of stores: kernels on arrays."""
