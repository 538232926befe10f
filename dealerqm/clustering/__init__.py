"""Segments as arrays: distances, partitions, how many there are, whether they are real, names that last."""
