"""Whole processes, killed and started again."""
