"""A slice of business that only tests have: all that the chassis promises is tried on it."""
