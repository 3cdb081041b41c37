"""Dead letters: archived, looked at, replayed."""
