"""Rows that have been kept long enough are deleted, in small portions, while the service runs."""
