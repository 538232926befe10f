"""Series of charts: working scales, changes and their dates, diagnosis, the board of all charts."""
