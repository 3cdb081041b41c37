"""Rows for every table, so that migrations, plans and queries are judged on data."""
