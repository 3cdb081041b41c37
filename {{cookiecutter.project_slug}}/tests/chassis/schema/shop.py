"""A project with tables of its own, and statements that somebody might send to them."""

from pathlib import Path

SHOP = """
-- reversible: yes

CREATE TYPE sale_status AS ENUM ('booked', 'cancelled');
CREATE DOMAIN percentage AS integer;
CREATE TABLE buyers (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    nickname varchar(20)
);
CREATE TABLE sales (
    id uuid PRIMARY KEY,
    buyer_id uuid NOT NULL,
    status sale_status NOT NULL DEFAULT 'booked',
    currency text NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
    total_cents integer NOT NULL,
    rebate numeric(6, 2),
    share percentage,
    note text,
    made_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sales_note_short CHECK (length(note) < 1000)
);
CREATE INDEX sales_buyer ON sales (buyer_id);
CREATE INDEX sales_made_at ON sales (made_at);
CREATE TABLE sale_lines (
    sale_id uuid NOT NULL REFERENCES sales (id),
    position integer NOT NULL,
    sku text NOT NULL,
    PRIMARY KEY (sale_id, position)
);
CREATE TABLE journal (at timestamptz NOT NULL, entry text NOT NULL, number integer NOT NULL);
CREATE TABLE bookings (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, room int4range NOT NULL);
CREATE TABLE visits (day date NOT NULL, path text NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE visits_2025 (day date NOT NULL, path text NOT NULL);
CREATE MATERIALIZED VIEW totals AS SELECT currency, sum(total_cents) AS cents FROM sales GROUP BY 1;
CREATE UNIQUE INDEX totals_currency ON totals (currency);
CREATE VIEW cheap AS SELECT id FROM sales WHERE total_cents < 100;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
"""
ROWS = """
INSERT INTO buyers SELECT gen_random_uuid(), n || '@example.com', 'n' || n
    FROM generate_series(1, 50) AS n;
INSERT INTO sales (id, buyer_id, total_cents, share, note)
    SELECT gen_random_uuid(), id, 100, 1, 'x' FROM buyers;
INSERT INTO sale_lines SELECT id, 1, 'a' FROM sales;
INSERT INTO journal SELECT now(), 'e', n FROM generate_series(1, 50) AS n;
INSERT INTO bookings (room) SELECT int4range(n, n + 1) FROM generate_series(1, 50) AS n;
INSERT INTO visits VALUES ('2026-05-05', '/');
INSERT INTO visits_2025 VALUES ('2025-05-05', '/');
REFRESH MATERIALIZED VIEW totals;
"""

# The rule, and the statements of a migration that it refuses.
UNSAFE = {
    "an index": ("M11", "CREATE INDEX sales_currency ON sales (currency);"),
    "an index without a name": ("M11", "CREATE INDEX ON sales (currency, made_at DESC);"),
    "a partial index of an expression": (
        "M11",
        "CREATE INDEX sales_low ON sales (lower(note)) WHERE note IS NOT NULL;",
    ),
    "a unique index": ("M11", "CREATE UNIQUE INDEX buyers_email ON buyers (email);"),
    "an index if there is none": ("M11", "CREATE INDEX IF NOT EXISTS sales_note ON sales (note);"),
    "an index goes": ("M11", "DROP INDEX sales_buyer;"),
    "two indexes go": ("M11", "DROP INDEX sales_buyer, sales_made_at;"),
    "a table's indexes made anew": ("M11", "REINDEX TABLE sales;"),
    "an index made anew": ("M11", "REINDEX INDEX sales_buyer;"),
    "unique": ("M13", "ALTER TABLE buyers ADD CONSTRAINT buyers_email_key UNIQUE (email);"),
    "unique without a name": ("M13", "ALTER TABLE buyers ADD UNIQUE (email);"),
    "a primary key": ("M13", "ALTER TABLE journal ADD PRIMARY KEY (number);"),
    "an exclusion": (
        "M13",
        "ALTER TABLE bookings ADD CONSTRAINT bookings_apart EXCLUDE USING gist (room WITH &&);",
    ),
    "a check": ("M13", "ALTER TABLE sales ADD CONSTRAINT sales_paid CHECK (total_cents >= 0);"),
    "a check without a name": ("M13", "ALTER TABLE sales ADD CHECK (total_cents >= 0);"),
    "a foreign key": (
        "M13",
        (
            "ALTER TABLE sales ADD CONSTRAINT sales_buyer_fkey FOREIGN KEY (buyer_id) "
            "REFERENCES buyers (id) ON DELETE CASCADE;"
        ),
    ),
    "a foreign key without a name": (
        "M13",
        "ALTER TABLE sales ADD FOREIGN KEY (buyer_id) REFERENCES buyers (id);",
    ),
    "a column that refers": (
        "M13",
        "ALTER TABLE sales ADD COLUMN seller_id uuid REFERENCES buyers (id);",
    ),
    "a column with a check": ("M13", "ALTER TABLE sales ADD COLUMN vat integer CHECK (vat > 0);"),
    "a unique column": ("M13", "ALTER TABLE sales ADD COLUMN slug text UNIQUE;"),
    "a partition that is read": (
        "M13",
        (
            "ALTER TABLE visits ATTACH PARTITION visits_2025 "
            "FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        ),
    ),
    "a partition that leaves": ("M13", "ALTER TABLE visits DETACH PARTITION visits_2026;"),
    "a domain with a check": (
        "M13",
        "CREATE DOMAIN cents AS bigint CHECK (value >= 0);",
    ),
    "a check for a domain": (
        "M13",
        "ALTER DOMAIN percentage ADD CONSTRAINT below CHECK (value <= 100);",
    ),
    "a column that cannot be empty": ("M5", "ALTER TABLE sales ADD COLUMN region text NOT NULL;"),
    "NOT NULL": ("M5", "ALTER TABLE sales ALTER COLUMN note SET NOT NULL;"),
    "a random default": (
        "M12",
        "ALTER TABLE sales ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();",
    ),
    "a moving default": (
        "M12",
        "ALTER TABLE sales ADD COLUMN seen_at timestamptz DEFAULT clock_timestamp();",
    ),
    "a serial column": ("M12", "ALTER TABLE sales ADD COLUMN number bigserial;"),
    "an identity column": (
        "M12",
        "ALTER TABLE sales ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;",
    ),
    "a stored generated column": (
        "M12",
        "ALTER TABLE sales ADD COLUMN euros int GENERATED ALWAYS AS (total_cents / 100) STORED;",
    ),
    "a wider integer": ("M12", "ALTER TABLE journal ALTER COLUMN number TYPE bigint;"),
    "another type": (
        "M12",
        "ALTER TABLE sales ALTER COLUMN note TYPE jsonb USING to_jsonb(note);",
    ),
    "a text with a check": ("M12", "ALTER TABLE sales ALTER COLUMN note TYPE varchar;"),
    "another order of texts": (
        "M12",
        'ALTER TABLE buyers ALTER COLUMN email TYPE text COLLATE "C";',
    ),
    "a number with more digits behind the point": (
        "M12",
        "ALTER TABLE sales ALTER COLUMN rebate TYPE numeric(8, 3);",
    ),
    "a narrower number": ("M3", "ALTER TABLE sales ALTER COLUMN rebate TYPE numeric(4, 2);"),
    "a narrower text": ("M3", "ALTER TABLE buyers ALTER COLUMN nickname TYPE varchar(10);"),
    "VACUUM FULL": ("M12", "VACUUM FULL sales;"),
    "CLUSTER": ("M12", "CLUSTER sales USING sales_made_at;"),
    "another tablespace": ("M12", "ALTER TABLE sales SET TABLESPACE pg_default;"),
    "an unlogged table": ("M12", "ALTER TABLE journal SET UNLOGGED;"),
    "a dropped table": ("M3", "DROP TABLE sale_lines;"),
    "a dropped view": ("M3", "DROP VIEW cheap;"),
    "a dropped column": ("M3", "ALTER TABLE sales DROP COLUMN rebate;"),
    "a dropped key": ("M3", "ALTER TABLE sale_lines DROP CONSTRAINT sale_lines_pkey;"),
    "a dropped reference": (
        "M3",
        "ALTER TABLE sale_lines DROP CONSTRAINT sale_lines_sale_id_fkey;",
    ),
    "a dropped default": ("M3", "ALTER TABLE sales ALTER COLUMN currency DROP DEFAULT;"),
    "a column that may be empty": ("M3", "ALTER TABLE sales ALTER COLUMN buyer_id DROP NOT NULL;"),
    "numbers are no longer given out": (
        "M3",
        "ALTER TABLE bookings ALTER COLUMN id DROP IDENTITY;",
    ),
    "a renamed column": ("M3", "ALTER TABLE sales RENAME COLUMN note TO remark;"),
    "a renamed table": ("M3", "ALTER TABLE buyers RENAME TO customers;"),
    "a renamed type": ("M3", "ALTER TYPE sale_status RENAME TO status;"),
    "an emptied table": ("M3", "TRUNCATE journal;"),
    "a table in another schema": (
        "M3",
        "CREATE SCHEMA archive; ALTER TABLE journal SET SCHEMA archive;",
    ),
    "a check that no value is missing": (
        "M3",
        "ALTER TABLE sales ADD CONSTRAINT sales_noted CHECK (note IS NOT NULL) NOT VALID;",
    ),
    "all rows written": ("M1", "UPDATE sales SET note = '' WHERE note IS NULL;"),
    "rows deleted": ("M1", "DELETE FROM journal WHERE at < now() - interval '1 year';"),
    "rows copied": ("M1", "INSERT INTO journal SELECT made_at, note, 1 FROM sales;"),
    "rows merged": (
        "M1",
        (
            "MERGE INTO journal USING buyers ON buyers.email = journal.entry "
            "WHEN MATCHED THEN UPDATE SET number = 0;"
        ),
    ),
    "rows written in WITH": (
        "M1",
        "WITH gone AS (DELETE FROM journal RETURNING at) SELECT count(*) FROM gone;",
    ),
    "rows written in DO": ("M1", "DO $$ BEGIN UPDATE sales SET note = ''; END $$;"),
    "rows written by EXECUTE": (
        "M1",
        "DO $$ BEGIN EXECUTE format('UPDATE %I SET note = %L', 'sales', ''); END $$;",
    ),
    "an index in DO": ("M11", "DO $$ BEGIN CREATE INDEX sales_x ON sales (note); END $$;"),
    "rows deleted by EXECUTE": ("M1", "DO $$ BEGIN EXECUTE 'DELETE FROM ' || 'sales'; END $$;"),
    "rows selected into a table": ("M1", "SELECT * INTO old_sales FROM sales;"),
    "what cannot be known": (
        "M14",
        "DO $$ DECLARE s text; BEGIN s := 'SELECT 1'; EXECUTE s; END $$;",
    ),
    "a unique key with all that it can say": (
        "M13",
        "ALTER TABLE buyers ADD UNIQUE NULLS NOT DISTINCT (email) INCLUDE (nickname) DEFERRABLE;",
    ),
    "a partition of all others": (
        "M13",
        "ALTER TABLE visits ATTACH PARTITION visits_2025 DEFAULT;",
    ),
    "a table made of another": ("M1", "CREATE TABLE old_sales AS SELECT * FROM sales;"),
    "a locked table": ("M14", "LOCK TABLE sales;"),
    "a limit of its own": ("M14", "SET LOCAL lock_timeout = 0;"),
    "a trigger": (
        "M14",
        (
            "CREATE TRIGGER sales_touched BEFORE UPDATE ON sales "
            "FOR EACH ROW EXECUTE FUNCTION touched();"
        ),
    ),
    "a rule": ("M14", "CREATE RULE sales_kept AS ON DELETE TO sales DO INSTEAD NOTHING;"),
    "a view read while it is filled": ("M14", "REFRESH MATERIALIZED VIEW totals;"),
    "another name of a value": ("M14", "ALTER TYPE sale_status RENAME VALUE 'booked' TO 'made';"),
    "json": ("M10", "ALTER TABLE sales ADD COLUMN extra json;"),
    "a key of 32 bits": (
        "M10",
        "CREATE TABLE tags (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
    ),
    "a time without a zone": (
        "prefer-timestamp-tz",
        "ALTER TABLE sales ADD COLUMN paid_at timestamp;",
    ),
    "a limited text": ("prefer-text-field", "ALTER TABLE sales ADD COLUMN title varchar(40);"),
    "a padded text": ("ban-char-field", "ALTER TABLE sales ADD COLUMN title char(3);"),
    "a serial key": ("prefer-identity", "CREATE TABLE tags (id bigserial PRIMARY KEY);"),
    "two tables at once": (
        "M9",
        "ALTER TABLE sales ADD COLUMN extra jsonb;\nALTER TABLE buyers ADD COLUMN extra jsonb;",
    ),
    "kinds mixed": (
        "M7",
        (
            "CREATE INDEX CONCURRENTLY sales_note ON sales (note);\n"
            "ALTER TABLE sales ADD COLUMN extra jsonb;"
        ),
    ),
}
SAFE = {
    "a table with all that belongs to it": """
        CREATE TABLE tags (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
            sale_id uuid NOT NULL REFERENCES sales (id), UNIQUE (name));
        CREATE INDEX tags_name ON tags (lower(name));
        ALTER TABLE tags ALTER COLUMN name TYPE text COLLATE "C", ADD CHECK (name <> '');
        INSERT INTO tags (name, sale_id) SELECT 'a', gen_random_uuid() WHERE false;
        UPDATE tags SET name = 'b'; CREATE TRIGGER t BEFORE UPDATE ON tags
            FOR EACH ROW EXECUTE FUNCTION touched(); DROP TABLE tags;""",
    "a table with a limited text": (
        "CREATE TABLE lanes (id bigint PRIMARY KEY, code varchar(3) NOT NULL);"
    ),
    "a column": "ALTER TABLE sales ADD COLUMN extra jsonb;",
    "a column with a constant": "ALTER TABLE sales ADD COLUMN extra jsonb NOT NULL DEFAULT '{}';",
    "a column with the time of now": (
        "ALTER TABLE sales ADD COLUMN seen_at timestamptz NOT NULL DEFAULT now();"
    ),
    "two columns of one table": (
        "ALTER TABLE sales ADD COLUMN extra jsonb; ALTER TABLE sales ADD COLUMN title text;"
    ),
    "an index": "CREATE INDEX CONCURRENTLY sales_note ON sales (note);",
    "an index that may be there": (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS sales_note ON sales (note);"
    ),
    "an index of a table of six rows": "CREATE INDEX CONCURRENTLY buyers_email ON buyers (email);",
    "a unique index": "CREATE UNIQUE INDEX CONCURRENTLY buyers_email ON buyers (email);",
    "an index goes": "DROP INDEX CONCURRENTLY sales_buyer;",
    "an index made anew": "REINDEX INDEX CONCURRENTLY sales_buyer;",
    "a check for new rows": (
        "ALTER TABLE sales ADD CONSTRAINT sales_paid CHECK (total_cents >= 0) NOT VALID;"
    ),
    "a reference for new rows": (
        "ALTER TABLE sales ADD CONSTRAINT sales_buyer_fkey FOREIGN KEY (buyer_id) "
        "REFERENCES buyers (id) NOT VALID;"
    ),
    "rows are validated": "ALTER TABLE sales VALIDATE CONSTRAINT sales_note_short;",
    "a text without limit": "ALTER TABLE buyers ALTER COLUMN nickname TYPE text;",
    "another name of a text": "ALTER TABLE buyers ALTER COLUMN email TYPE varchar;",
    "a wider text, cast": (
        "ALTER TABLE buyers ALTER COLUMN nickname TYPE text USING nickname::text;"
    ),
    "a number without limits": "ALTER TABLE sales ALTER COLUMN rebate TYPE numeric;",
    "the same type": "ALTER TABLE sales ALTER COLUMN made_at TYPE timestamp with time zone;",
    "a wider number": "ALTER TABLE sales ALTER COLUMN rebate TYPE numeric(8, 2);",
    "a default": "ALTER TABLE sales ALTER COLUMN note SET DEFAULT '';",
    "one more value": "ALTER TYPE sale_status ADD VALUE 'returned' AFTER 'booked';",
    "a row": "INSERT INTO journal VALUES (now(), 'from here on', 51);",
    "a view": "CREATE VIEW dear AS SELECT id FROM sales WHERE total_cents > 100;",
    "a view in place of one": "CREATE OR REPLACE VIEW cheap AS SELECT id FROM sales;",
    "a function": "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';",
    "a check goes": "ALTER TABLE sales DROP CONSTRAINT sales_note_short;",
    "statistics": "CREATE STATISTICS sales_both ON currency, status FROM sales;",
    "a setting of storage": "ALTER TABLE sales SET (fillfactor = 90);",
    "a name of an index": "ALTER INDEX sales_buyer RENAME TO sales_buyer_id;",
    "a remark": "COMMENT ON COLUMN sales.note IS 'what the buyer wrote';",
    "a partition of the future": (
        "CREATE TABLE visits_2027 PARTITION OF visits "
        "FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');"
    ),
    "a view that is filled beside the old one": "REFRESH MATERIALIZED VIEW CONCURRENTLY totals;",
    "a role": "DO $$ BEGIN IF false THEN CREATE ROLE nobody; END IF; END $$;",
    "space for new rows": "VACUUM (ANALYZE) sales;",
}


class Project:
    """A folder of migrations: the shop's, and those that a test adds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 1
        self.add(SHOP, "DROP SCHEMA public CASCADE;")
        (folder / "unlinted.txt").write_text("0001_change (older than these rules)\n", "utf-8")

    def add(self, up: str, down: str = "SELECT 1;", *, head: str = "") -> Path:
        """Write the next one; returns its up file."""
        name = f"{self._number:04}_change"
        self._number += 1
        file = self.folder / f"{name}.up.sql"
        file.write_text(f"{head}{up}\n", "utf-8")
        (self.folder / f"{name}.down.sql").write_text(f"{down}\n", "utf-8")
        return file
