"""The customers on a day: their file, their habits, their stage, and when their service is due."""
