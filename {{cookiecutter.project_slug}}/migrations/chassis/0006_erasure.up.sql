-- reversible: yes

-- Who asked to be erased, and what became of it. A person is known by a digest alone: SHA-256 of the id of this row, a line
-- feed, and the value by which the person was named, in small letters.
CREATE TABLE erasure_request (
    id uuid PRIMARY KEY,
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    whose text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'held', 'running', 'verified', 'failed')),
    actor text NOT NULL,
    trace_id text NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    error text,
    -- Rows by table.
    evidence jsonb NOT NULL DEFAULT '{}',
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((state = 'verified') = (ended_at IS NOT NULL))
);
CREATE INDEX erasure_request_open ON erasure_request (due_at) WHERE ended_at IS NULL;

-- Whose data has to stay, who says so, and why.
CREATE TABLE legal_hold (
    id uuid PRIMARY KEY,
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    whose text NOT NULL DEFAULT '',
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz
);

REVOKE DELETE ON erasure_request, legal_hold FROM acme_orders_service;
-- feature: rls {
REVOKE DELETE ON erasure_request, legal_hold FROM acme_orders_system;

-- No policy for tenants, as for dead letters: only work for all of them sees it.
ALTER TABLE erasure_request ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_request FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON erasure_request TO acme_orders_system USING (true);
ALTER TABLE legal_hold ENABLE ROW LEVEL SECURITY;
ALTER TABLE legal_hold FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON legal_hold TO acme_orders_system USING (true);
-- feature: rls }
