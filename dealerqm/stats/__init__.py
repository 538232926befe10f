"""Kernels that several subjects share: intervals, shrinkage, survival, change, text."""
