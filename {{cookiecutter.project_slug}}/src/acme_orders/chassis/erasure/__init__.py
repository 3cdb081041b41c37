"""Erasing a person: which data is personal, where it stands, and how it goes."""
