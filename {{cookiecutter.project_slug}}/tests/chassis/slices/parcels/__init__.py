"""Several messages about one thing, in any order; children, and a table to look things up in."""
