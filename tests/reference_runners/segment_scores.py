"""Cases of this part of the segments by their fields."""

RULES = ()  # (fits(case) -> bool, run(case, folder) -> list of differences)
