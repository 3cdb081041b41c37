"""Backfills, on a table that only these tests have."""
