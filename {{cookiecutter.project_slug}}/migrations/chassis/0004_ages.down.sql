DROP INDEX CONCURRENTLY backfill_event_at;
DROP INDEX CONCURRENTLY dead_letters_decided_at;
