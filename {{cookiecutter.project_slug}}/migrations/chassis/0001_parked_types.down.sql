DROP INDEX dead_letters_outgoing;
ALTER TABLE dead_letters DROP COLUMN outgoing;

-- What was parked is tried like all others again.
UPDATE outbox SET available_at = now() WHERE available_at = 'infinity';
CREATE INDEX outbox_ordered ON outbox (ordering_key, id) WHERE ordering_key IS NOT NULL;
DROP INDEX outbox_keys;
DROP INDEX outbox_parked;

DROP TABLE parked_types;
