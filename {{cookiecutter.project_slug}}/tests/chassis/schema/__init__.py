"""Schema changes on a busy database: what is refused, and what to write instead."""
