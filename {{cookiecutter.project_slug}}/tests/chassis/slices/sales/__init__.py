"""The business of this service. Rename it, change it, add others beside it."""
