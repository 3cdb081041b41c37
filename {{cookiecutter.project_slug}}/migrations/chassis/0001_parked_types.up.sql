-- reversible: yes

-- Types of events that RabbitMQ does not take now, mostly because nobody listens yet. Their rows in the outbox have
-- `available_at` infinity, and are no longer in the way of others.
CREATE TABLE parked_types (
    type text PRIMARY KEY CHECK (octet_length(type) <= 255),
    reason text NOT NULL CHECK (reason IN ('unheard', 'refused', 'unconfirmed')),
    error text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    probes integer NOT NULL DEFAULT 0 CHECK (probes >= 0),
    probe_at timestamptz NOT NULL DEFAULT now(),
    portion integer NOT NULL DEFAULT 200 CHECK (portion > 0)
);
-- feature: rls {

-- No policy for tenants, as for dead letters: only work for all of them sees it.
ALTER TABLE parked_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE parked_types FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON parked_types TO acme_orders_system USING (true);
-- feature: rls }

-- Finds the oldest event of a parked type.
CREATE INDEX outbox_parked ON outbox (type, id) WHERE available_at = 'infinity';
-- Finds an older event of the same key that is not parked. It serves the version before this one as well.
CREATE INDEX outbox_keys ON outbox (ordering_key, isfinite(available_at), id) WHERE ordering_key IS NOT NULL;
DROP INDEX outbox_ordered;

-- Events that no broker takes, such as one whose headers are larger than a frame. A replay puts them into the outbox.
ALTER TABLE dead_letters ADD COLUMN outgoing boolean NOT NULL DEFAULT false;
CREATE INDEX dead_letters_outgoing ON dead_letters (message_id) WHERE outgoing;
