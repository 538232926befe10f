"""Design-based survey statistics: designs, estimates, cells, replicates and weights on arrays."""
