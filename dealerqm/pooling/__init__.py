"""Units that borrow from each other: shrinkage, partial pooling, levels and ranks."""
