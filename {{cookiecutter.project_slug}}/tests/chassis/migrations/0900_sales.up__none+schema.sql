-- reversible: yes
-- applies to: each tenant  -- feature: schema

CREATE TABLE buyers (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (length(email) BETWEEN 3 AND 320),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sales (
    id uuid PRIMARY KEY,
    buyer_id uuid NOT NULL REFERENCES buyers (id),
    status text NOT NULL CHECK (status IN ('booked', 'cancelled')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_cents bigint NOT NULL CHECK (total_cents >= 0),
    made_at timestamptz NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sales_buyer_id ON sales (buyer_id);
CREATE INDEX sales_made_at ON sales (made_at, id);

CREATE TABLE sale_lines (
    sale_id uuid NOT NULL REFERENCES sales (id),
    position integer NOT NULL CHECK (position > 0),
    sku text NOT NULL CHECK (sku <> ''),
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price_cents bigint NOT NULL CHECK (unit_price_cents >= 0),
    PRIMARY KEY (sale_id, position)
);

CREATE TABLE journal (
    id uuid PRIMARY KEY,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL
);
CREATE INDEX journal_event_type_occurred_at ON journal (event_type, occurred_at);
