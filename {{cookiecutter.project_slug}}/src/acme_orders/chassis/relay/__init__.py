"""From the outbox to a confirmed publish, and what becomes of events that no broker takes."""
