-- reversible: yes
-- applies to: each tenant  -- feature: schema

CREATE TABLE inbox (
    tenant_id uuid NOT NULL REFERENCES tenants (id),  -- feature: row, rls
    consumer text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    payload_hash bytea NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (
        tenant_id,  -- feature: row, rls
        consumer, source, id
    )
);
CREATE INDEX inbox_processed_at ON inbox (processed_at);
