-- feature: http_api
-- reversible: yes
-- applies to: each tenant  -- feature: schema

-- Requests with an Idempotency-Key, each stored with its effects, and the answer that it gets whenever it comes again.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL REFERENCES tenants (id),  -- feature: row, rls
    key text NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 255),
    -- SHA-256 of method, path, query and body.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- The answer, which the transaction that has entered the key adds before it is committed.
    status smallint CHECK (status BETWEEN 200 AND 499),
    headers jsonb,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (
        tenant_id,  -- feature: row, rls
        key
    )
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
-- feature: rls {

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
CREATE POLICY system ON idempotency_keys TO acme_orders_system USING (true);
-- feature: rls }
