"""Sums that must stay right: rows that several transactions change, decimals, days, a report."""
