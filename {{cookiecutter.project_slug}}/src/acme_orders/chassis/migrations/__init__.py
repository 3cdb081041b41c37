"""Changes of the schema: plain SQL files, applied in order; and what models say of it."""
