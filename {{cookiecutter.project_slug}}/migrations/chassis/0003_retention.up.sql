-- reversible: yes

-- What was deleted because it was old: a row for each pass of a policy. It counts with each portion, in the same
-- transaction, so that it is right even if the process is killed; once it has ended, nobody changes it any more.
CREATE TABLE retention_run (
    id uuid PRIMARY KEY,
    trace_id text NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    policy text NOT NULL,
    actor text NOT NULL,
    cutoff timestamptz NOT NULL,
    -- Rows by table.
    deleted jsonb NOT NULL DEFAULT '{}',
    -- The sum of the SHA-256 of the keys of all rows of the policy's table that went, modulo 2^256.
    digest text CHECK (digest ~ '^[0-9a-f]{64}$'),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'ok', 'partial', 'refused', 'failed')),
    error text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL))
);
CREATE INDEX retention_run_policy ON retention_run (policy, started_at);
CREATE INDEX retention_run_started_at ON retention_run (started_at);

CREATE FUNCTION retention_run_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what retention_run says of a pass that has ended stays as it is, for 30 days at least'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER retention_run_ended BEFORE UPDATE ON retention_run
FOR EACH ROW WHEN (old.state <> 'running') EXECUTE FUNCTION retention_run_stays();
CREATE TRIGGER retention_run_young BEFORE DELETE ON retention_run
FOR EACH ROW WHEN (old.started_at > now() - interval '30 days') EXECUTE FUNCTION retention_run_stays();

-- Events of backfills go when they are old; whoever migrates writes them. Who may update nothing of a row cannot lock it.
GRANT DELETE, UPDATE (detail) ON backfill_event TO acme_orders_service;
-- feature: rls {
GRANT DELETE, UPDATE (detail) ON backfill_event TO acme_orders_system;
-- Since when nothing has been deleted, if nothing ever was.
GRANT SELECT ON schema_migrations TO acme_orders_system;

-- No policy for tenants, as for dead letters: only work for all of them sees it.
ALTER TABLE retention_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention_run FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON retention_run TO acme_orders_system USING (true);
-- feature: rls }
