# feature: row, rls, schema
"""Whose data is whose: scopes, what keeps them apart, and what finds SQL that does not."""
