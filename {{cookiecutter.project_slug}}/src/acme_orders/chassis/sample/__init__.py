"""A small, anonymised part of a live database, for tests."""
