-- reversible: yes

-- Backfills, and how far they are. Whoever migrates writes here; the service reads it for its metrics.
CREATE TABLE backfill_run (
    name text PRIMARY KEY,
    state text NOT NULL DEFAULT 'pending' CHECK (
        state IN ('pending', 'running', 'paused', 'throttled', 'failed', 'completed', 'cancelled')
    ),
    -- Keys as texts: the last row that is done, and the last one that there was at the start.
    cursor jsonb,
    upper_bound jsonb,
    batch_size integer NOT NULL CHECK (batch_size > 0),
    rows_done bigint NOT NULL DEFAULT 0 CHECK (rows_done >= 0),
    rows_estimate bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    -- Who is running it, and with which session: a session that has ended leaves it to the next one.
    owner text,
    session integer,
    heartbeat_at timestamptz,
    moved_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    checksum text NOT NULL
);

-- What happened to them, and the keys of rows that were set aside.
CREATE TABLE backfill_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    place text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    what text NOT NULL,
    key jsonb,
    detail text
);
CREATE INDEX backfill_event_name ON backfill_event (name, id);

REVOKE ALL ON backfill_run, backfill_event FROM acme_orders_service;
GRANT SELECT ON backfill_run, backfill_event TO acme_orders_service;
-- feature: rls {
REVOKE ALL ON backfill_run, backfill_event FROM acme_orders_system;
GRANT SELECT ON backfill_run, backfill_event TO acme_orders_system;
-- feature: rls }
