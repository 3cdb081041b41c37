-- reversible: yes

-- Messages that need somebody's decision. One that cannot be read says nothing that could be relied on,
-- so nearly everything may be missing.
CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    message_id text,
    source text,
    type text,
    queue text,
    reason text NOT NULL,
    fingerprint text,
    error_type text,
    error_message text,
    attempts integer,
    replays integer NOT NULL DEFAULT 0 CHECK (replays >= 0),
    headers jsonb NOT NULL DEFAULT '{}',
    properties jsonb NOT NULL DEFAULT '{}',
    body bytea NOT NULL,
    body_bytes bigint NOT NULL CHECK (body_bytes >= length(body)),
    failed_at timestamptz NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replayed', 'discarded')),
    decided_at timestamptz,
    note text,
    CHECK ((state = 'waiting') = (decided_at IS NULL))
);
CREATE INDEX dead_letters_archived_at ON dead_letters (state, archived_at, id);
CREATE INDEX dead_letters_fingerprint ON dead_letters (fingerprint, reason) WHERE state = 'waiting';
CREATE INDEX dead_letters_reason ON dead_letters (reason) WHERE state = 'waiting';
