"""Retention, on tables that only these tests have, and on those of every service."""
