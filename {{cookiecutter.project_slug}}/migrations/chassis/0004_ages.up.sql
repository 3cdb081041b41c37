-- reversible: yes

-- Find what is old enough to be deleted; a dead letter that waits has no time of a decision.
CREATE INDEX CONCURRENTLY dead_letters_decided_at ON dead_letters (decided_at) WHERE decided_at IS NOT NULL;
CREATE INDEX CONCURRENTLY backfill_event_at ON backfill_event (at);
