"""Time to the next purchase, visits still to come, and what they are worth, as arrays."""
