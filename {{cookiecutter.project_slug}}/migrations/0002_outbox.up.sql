-- reversible: yes

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),  -- feature: row, rls
    message_id uuid NOT NULL,
    ordering_key text,
    type text NOT NULL,
    body text NOT NULL,
    extensions jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    lease uuid,
    last_error text,
    UNIQUE (
        tenant_id,  -- feature: row, rls
        message_id
    )
);
CREATE INDEX outbox_available ON outbox (available_at, id);
-- Finds whether an older event of the same key still waits.
CREATE INDEX outbox_ordered ON outbox (ordering_key, id) WHERE ordering_key IS NOT NULL;
