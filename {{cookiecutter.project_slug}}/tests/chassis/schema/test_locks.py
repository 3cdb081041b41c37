"""The locks that we say a statement takes are those that PostgreSQL takes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.locks import locks
from acme_orders.chassis.migrations.table_locks import MODES, REWRITES, Lock

from tests.chassis.integration.migrating import empty_database
from tests.chassis.schema.shop import ROWS, SHOP

# What a session holds, of tables that were there before.
HELD = """
SELECT relname::text, mode FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE pid = %s AND locktype = 'relation' AND granted AND relname = ANY (%s)
"""
TABLES = (
    *("buyers", "sales", "sale_lines", "journal", "bookings", "visits", "visits_2025"),
    *("visits_2026", "totals", "cheap", "papers"),
)
STATEMENTS = """
ALTER TABLE sales ADD COLUMN extra jsonb
ALTER TABLE sales ADD COLUMN extra jsonb NOT NULL DEFAULT '{}'
ALTER TABLE sales ADD COLUMN extra timestamptz DEFAULT now()
ALTER TABLE sales ADD COLUMN extra timestamptz DEFAULT clock_timestamp()
ALTER TABLE sales ADD COLUMN extra uuid DEFAULT gen_random_uuid()
ALTER TABLE sales ADD COLUMN extra bigserial
ALTER TABLE sales ADD COLUMN extra bigint GENERATED ALWAYS AS IDENTITY
ALTER TABLE sales ADD COLUMN extra bigint GENERATED ALWAYS AS (total_cents * 2) STORED
ALTER TABLE sales ADD COLUMN extra uuid REFERENCES buyers (id)
ALTER TABLE sales ADD COLUMN extra int CHECK (extra > 0)
ALTER TABLE sales ADD COLUMN extra int UNIQUE
ALTER TABLE sales DROP COLUMN note
ALTER TABLE sale_lines DROP COLUMN sale_id
ALTER TABLE sales ALTER COLUMN note SET NOT NULL
ALTER TABLE sales ALTER COLUMN buyer_id DROP NOT NULL
ALTER TABLE sales ALTER COLUMN note SET DEFAULT ''
ALTER TABLE sales ALTER COLUMN currency DROP DEFAULT
ALTER TABLE bookings ALTER COLUMN id DROP IDENTITY
ALTER TABLE journal ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY
ALTER TABLE sales ALTER COLUMN note SET STATISTICS 200
ALTER TABLE sales ALTER COLUMN note SET (n_distinct = 5)
ALTER TABLE sales ALTER COLUMN note SET STORAGE EXTERNAL
ALTER TABLE sales ALTER COLUMN note SET COMPRESSION pglz
ALTER TABLE journal ALTER COLUMN number TYPE bigint
ALTER TABLE buyers ALTER COLUMN nickname TYPE varchar(40)
ALTER TABLE buyers ALTER COLUMN nickname TYPE text
ALTER TABLE buyers ALTER COLUMN nickname TYPE text USING nickname::text
ALTER TABLE buyers ALTER COLUMN nickname TYPE text USING upper(nickname)
ALTER TABLE buyers ALTER COLUMN email TYPE varchar
ALTER TABLE sales ALTER COLUMN note TYPE varchar
ALTER TABLE buyers ALTER COLUMN nickname TYPE varchar(10)
ALTER TABLE sales ALTER COLUMN rebate TYPE numeric(8, 2)
ALTER TABLE sales ALTER COLUMN rebate TYPE numeric(8, 3)
ALTER TABLE sales ALTER COLUMN rebate TYPE numeric
ALTER TABLE sales ADD CHECK (total_cents > 0)
ALTER TABLE sales ADD CHECK (total_cents > 0) NOT VALID
ALTER TABLE sales ADD FOREIGN KEY (buyer_id) REFERENCES buyers (id)
ALTER TABLE sales ADD FOREIGN KEY (buyer_id) REFERENCES buyers (id) NOT VALID
ALTER TABLE buyers ADD UNIQUE (email)
ALTER TABLE journal ADD PRIMARY KEY (number)
ALTER TABLE bookings ADD EXCLUDE USING gist (room WITH &&)
ALTER TABLE sale_lines DROP CONSTRAINT sale_lines_sale_id_fkey
ALTER TABLE papers VALIDATE CONSTRAINT papers_buyer
ALTER TABLE sales VALIDATE CONSTRAINT sales_note_short
ALTER TABLE sales DROP CONSTRAINT sales_note_short
ALTER TABLE sales RENAME CONSTRAINT sales_note_short TO short
ALTER TABLE sales RENAME COLUMN note TO remark
ALTER TABLE buyers RENAME TO customers
ALTER TABLE journal SET SCHEMA pg_temp_or_other
ALTER TABLE sales OWNER TO CURRENT_USER
ALTER TABLE sales SET (fillfactor = 90)
ALTER TABLE sales SET (autovacuum_enabled = false)
ALTER TABLE sales RESET (toast_tuple_target)
ALTER TABLE sales SET (user_catalog_table = true)
ALTER TABLE sales CLUSTER ON sales_buyer
ALTER TABLE sales SET WITHOUT CLUSTER
ALTER TABLE journal SET UNLOGGED
ALTER TABLE sales DISABLE TRIGGER ALL
ALTER TABLE sales ENABLE TRIGGER USER
ALTER TABLE sales REPLICA IDENTITY FULL
ALTER TABLE sales ENABLE ROW LEVEL SECURITY
ALTER TABLE sales FORCE ROW LEVEL SECURITY
ALTER TABLE visits ATTACH PARTITION visits_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
ALTER TABLE visits DETACH PARTITION visits_2026
ALTER INDEX sales_buyer RENAME TO other
CREATE INDEX ON sales (note)
CREATE UNIQUE INDEX ON buyers (email)
DROP INDEX sales_buyer
REINDEX TABLE sales
REINDEX INDEX sales_buyer
CREATE TABLE tags (sale_id uuid REFERENCES sales (id))
CREATE TABLE tags (LIKE sales)
CREATE TABLE papers_new () INHERITS (papers)
CREATE TABLE visits_2027 PARTITION OF visits FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')
CREATE TABLE tags AS SELECT * FROM sales
DROP TABLE sale_lines
DROP TABLE journal
DROP VIEW cheap
DROP MATERIALIZED VIEW totals
TRUNCATE journal
TRUNCATE sales CASCADE
LOCK TABLE sales
LOCK TABLE sales IN SHARE MODE
CLUSTER sales USING sales_made_at
REFRESH MATERIALIZED VIEW totals
REFRESH MATERIALIZED VIEW CONCURRENTLY totals
CREATE TRIGGER t BEFORE UPDATE ON sales FOR EACH ROW EXECUTE FUNCTION touched()
DROP TRIGGER there ON papers
CREATE RULE r AS ON DELETE TO sales DO INSTEAD NOTHING
CREATE POLICY p ON sales USING (true)
CREATE STATISTICS s ON currency, status FROM sales
CREATE VIEW dear AS SELECT id FROM sales
COMMENT ON TABLE sales IS 'x'
COMMENT ON COLUMN sales.note IS 'x'
ANALYZE sales
ALTER DOMAIN percentage ADD CHECK (value < 100)
UPDATE sales SET note = ''
DELETE FROM journal
INSERT INTO journal VALUES (now(), 'e', 1)
INSERT INTO journal SELECT made_at, note, 1 FROM sales
SELECT * FROM sales
SELECT * FROM sales FOR UPDATE
WITH gone AS (DELETE FROM journal RETURNING at) SELECT count(*) FROM gone
""".strip().splitlines()
# Each waits for the end of a transaction that reads, with its lock taken.
CONCURRENTLY = (
    "CREATE INDEX CONCURRENTLY later ON sales (note)",
    "DROP INDEX CONCURRENTLY sales_buyer",
    "REINDEX TABLE CONCURRENTLY sales",
)
PAPERS = """
CREATE TABLE papers (id bigint, buyer_id uuid);
ALTER TABLE papers ADD CONSTRAINT papers_buyer FOREIGN KEY (buyer_id) REFERENCES buyers NOT VALID;
CREATE TRIGGER there BEFORE UPDATE ON papers FOR EACH ROW EXECUTE FUNCTION touched();
"""


@contextmanager
def shop() -> Iterator[str]:
    """A database with the shop."""
    with empty_database() as database, closing(open_blocking(database)) as connection:
        for sql in (SHOP, PAPERS, ROWS):
            connection.cursor().execute(sql)
        yield database


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One that each test leaves as it was."""
    with shop() as database:
        yield database


def said(sql: str) -> list[Lock]:
    """What we say."""
    known = Known()
    for each in [*parse(SHOP), *parse(PAPERS)]:
        known.apply(each.stmt)
    known.new = set()
    (statement,) = parse(sql)
    return locks(statement.stmt, known)


def strongest(cursor: Any, pid: int) -> dict[str, str]:
    """The strongest lock that a session holds on each table."""
    cursor.execute(HELD, (pid, list(TABLES)))
    held: dict[str, str] = {}
    for table, mode in cursor.fetchall():
        name = MODE[mode]
        held[table] = max(held.get(table, name), name, key=MODES.index)
    return held


MODE = {f"{mode.title().replace(' ', '')}Lock": mode for mode in MODES}


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_locks_are_those_that_postgresql_holds(url: str, sql: str) -> None:
    """And a table is written anew exactly where we say so."""
    with closing(open_blocking(url)) as mine, closing(open_blocking(url)) as other:
        cursor, watch = mine.cursor(), other.cursor()
        sql = sql.replace("pg_temp_or_other", "elsewhere")
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        before = files(watch)
        cursor.execute("BEGIN; CREATE SCHEMA elsewhere")
        cursor.execute(sql)
        held = strongest(watch, pid)
        after = files(cursor)
        cursor.execute("ROLLBACK")

    named = {each.table: each for each in said(sql) if each.table in TABLES}
    names = {table: each.mode for table, each in named.items() if each.mode != MODES[0]}
    assert {t: mode for t, mode in held.items() if mode != MODES[0]} == names
    anew = {table for table in before if table in after and before[table] != after[table]}
    meant = {table for table, each in named.items() if each.work == REWRITES}
    if not sql.startswith("TRUNCATE"):  # which begins new files for no rows
        assert anew - {"totals"} == meant - {"totals"}


@pytest.mark.parametrize("sql", CONCURRENTLY)
def test_the_locks_of_what_waits_for_others(sql: str) -> None:
    """Seen while it waits for a transaction that has written or read before."""
    (lock,) = (each for each in said(sql) if each.table == "sales")
    with (
        shop() as url,  # what it does stays
        closing(open_blocking(url)) as mine,
        closing(open_blocking(url)) as other,
        closing(open_blocking(url)) as eyes,
        ThreadPoolExecutor() as pool,
    ):
        cursor, blocker, watch = mine.cursor(), other.cursor(), eyes.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        cursor.execute("SET statement_timeout = '20s'")
        blocker.execute("BEGIN; UPDATE sales SET note = note WHERE false")
        done = pool.submit(cursor.execute, sql)
        while lock.table not in (held := strongest(watch, pid)):
            assert not done.done(), done.result()
        blocker.execute("ROLLBACK")
        done.result()

    assert held[lock.table] == lock.mode == "SHARE UPDATE EXCLUSIVE"


def files(cursor: Any) -> dict[str, int]:
    """Where the rows of each table are."""
    cursor.execute(
        "SELECT relname::text, relfilenode FROM pg_class WHERE relname = ANY (%s)", (list(TABLES),)
    )
    return dict(cursor.fetchall())
