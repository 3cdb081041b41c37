"""What comes from outside: it costs what its size allows, and holds nothing that others need."""
