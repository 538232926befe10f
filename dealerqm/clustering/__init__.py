"""Segments as arrays: distances, partitions, how many there are, and names that last."""
