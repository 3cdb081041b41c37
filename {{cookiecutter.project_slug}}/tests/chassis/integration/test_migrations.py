"""A migration is applied and recorded, or neither; and each begins in a clean session."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations import lock

from tests.chassis.integration.migrating import Migrations, holding, wait_until

FINE = "-- reversible: yes\n\nCREATE TABLE fine (id integer);\n"
LOCKS = "FROM pg_locks JOIN pg_database ON oid = database AND datname = current_database()"
# What the next file would find, and what it sees of that.
STATE = [
    ("SET search_path = pg_catalog", "current_setting('search_path')"),
    ("SET work_mem = '1234kB'", "current_setting('work_mem')"),
    ("SET app.mine = 'x'", "current_setting('app.mine', true)"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "current_setting('work_mem')"),
    ("SELECT set_config('statement_timeout', '1h', false)", "current_setting('statement_timeout')"),
    ("SET ROLE pg_monitor", "current_user"),
    ("SET SESSION AUTHORIZATION pg_monitor", "session_user"),
    ("CREATE TEMP TABLE schema_migrations (id text)", "to_regclass('pg_temp.schema_migrations')"),
    ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements"),
    ("LISTEN mine", "SELECT count(*) FROM pg_listening_channels()"),
    ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors"),
    ("SELECT pg_advisory_lock(7)", f"SELECT count(*) {LOCKS} WHERE objid = 7"),
]


@pytest.fixture
def project(blank: str, tmp_path: Path) -> Migrations:
    """A folder with one migration, and an empty database."""
    made = Migrations(blank, tmp_path)
    made.write("0001_fine", FINE, "DROP TABLE fine;\n")
    return made


@pytest.mark.parametrize("way", ["up", "down"])
def test_nothing_is_run_when_a_file_is_not_fit_for_it(project: Migrations, way: str) -> None:
    """Neither those before it, nor its own first half. Its line is named."""
    files = {"up": FINE, "down": "SELECT 1;\n", way: "CREATE TABLE half (id int);\nCOMMIT;\n"}
    project.write("0002_half", files["up"], files["down"])
    with pytest.raises(ConfigurationError, match=rf"0002_half\.{way}\.sql:2: `COMMIT`: "):
        project.up()
    assert project.tables() == []


def test_a_way_back_that_became_unfit_is_not_begun(project: Migrations) -> None:
    """Neither is that of a newer one, which was fine."""
    project.write("0002_second", "CREATE TABLE second (id integer);\n", "DROP TABLE second;\n")
    project.up()
    project.write("0001_fine", FINE, "DROP TABLE fine;\nROLLBACK;\n")
    with pytest.raises(ConfigurationError, match=r"0001_fine\.down\.sql:2: `ROLLBACK`: "):
        project.down(2)
    assert project.applied() == ["0001_fine", "0002_second"]


@pytest.mark.parametrize(
    "sql",
    [
        "DO $$ BEGIN CREATE TABLE half (id integer); COMMIT; END $$",
        (
            "CREATE PROCEDURE half() LANGUAGE plpgsql AS "
            "$$ BEGIN CREATE TABLE half (id integer); COMMIT; END $$; CALL half()"
        ),
    ],
)
def test_code_that_ends_the_transaction_fails_and_leaves_nothing(
    project: Migrations, sql: str
) -> None:
    """Nobody can see into it beforehand; PostgreSQL refuses it, and the message says why."""
    project.up()
    project.write("0002_code", f"{sql};\n")
    with pytest.raises(
        ConfigurationError, match="each file is one transaction: no COMMIT"
    ) as failed:
        project.up()
    assert "0002_code.up.sql: invalid transaction termination" in str(failed.value)
    assert project.applied() == ["0001_fine"]
    assert project.tables() == ["public.fine", "public.schema_migrations"]


@pytest.mark.parametrize(("change", "seen"), STATE)
def test_nothing_of_a_session_reaches_the_next_file(
    project: Migrations, change: str, seen: str
) -> None:
    """Up and down. The history is where it was, whatever the file has set."""
    look = f"INSERT INTO public.seen SELECT ({seen})::text;\n"
    project.write("0002_before", f"CREATE TABLE seen (x text);\n{look}", "SELECT 1;\n")
    project.write("0003_change", f"{change};\n", f"{change};\n")
    project.write("0004_after", look, look)
    project.write("0005_last", "SELECT 1;\n", f"{change};\n")
    assert project.up() == ["0001_fine", "0002_before", "0003_change", "0004_after", "0005_last"]
    assert project.down(3) == ["0005_last", "0004_after", "0003_change"]
    assert project.applied() == ["0001_fine", "0002_before"]
    assert len(project.rows("SELECT DISTINCT x FROM seen")) == 1
    assert len(project.rows("SELECT x FROM seen")) == 3
    histories = "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    assert project.rows(f"{histories} WHERE relname = 'schema_migrations'") == [("public",)]


@pytest.mark.parametrize(
    "of", ["ROLE {role}", "DATABASE {database}", "ROLE {role} IN DATABASE {database}"]
)
def test_a_search_path_of_role_or_database_moves_neither_history_nor_tables(
    project: Migrations, of: str
) -> None:
    """Who applies and who looks may be different roles. What lies behind it is still found."""
    role, database = f"owner_{uuid4().hex}", urlsplit(project.url).path[1:]
    project.rows(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'x'; CREATE SCHEMA extra")
    project.rows("CREATE TYPE extra.mood AS ENUM ('good')")
    where = of.format(role=role, database=database)
    project.rows(f"ALTER {where} SET search_path = extra, public")
    parts = urlsplit(project.url)
    mine = parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    project.write("0002_mood", "CREATE TABLE moods (mood mood);\n", "DROP TABLE moods;\n")
    try:
        assert Migrations(mine, project.folder).up() == ["0001_fine", "0002_mood"]
        assert project.tables() == ["public.fine", "public.moods", "public.schema_migrations"]
        for each in (mine, project.url):
            assert Migrations(each, project.folder).up() == []
            Migrations(each, project.folder).migrator.verify()
    finally:
        project.rows(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")


@pytest.mark.parametrize(
    "sql",
    ["ALTER TABLE fine ADD y text;\n", "CREATE INDEX CONCURRENTLY fine_id ON fine (id);\n"],
)
def test_a_role_that_may_not_do_it_changes_nothing(project: Migrations, sql: str) -> None:
    """It is told whose it is; the owner goes on where it was."""
    project.write("0002_more", sql)
    list(project.migrator.up(count=1))
    role = f"other_{uuid4().hex}"
    project.rows(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    project.rows(f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    project.rows(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    parts = urlsplit(project.url)
    theirs = parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    try:
        with pytest.raises(ConfigurationError, match="must be owner of table fine") as refused:
            Migrations(theirs, project.folder).up()
        assert "0002_more.up.sql" in str(refused.value)
        assert "need the owner of the tables (MIGRATION_DATABASE_URL)" in str(refused.value)
        assert project.up() == ["0002_more"]
        assert project.findings() == []
    finally:
        project.rows(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_history_in_another_schema_is_not_passed_over(project: Migrations) -> None:
    """All would be applied once more, to tables that nobody fills."""
    project.up()
    database = urlsplit(project.url).path[1:]
    project.rows("CREATE SCHEMA other; ALTER TABLE schema_migrations SET SCHEMA other")
    project.rows(f"ALTER DATABASE {database} SET search_path = other, public")
    with pytest.raises(
        ConfigurationError, match=r"schema_migrations is in schema other.*belongs in"
    ):
        project.up()
    assert "public.schema_migrations" not in project.tables()


def test_what_is_checked_at_the_end_fails_like_the_file(project: Migrations) -> None:
    """A deferred constraint; nothing of the file stays, and the next run is not hindered."""
    project.write(
        "0002_deferred",
        "CREATE TABLE half (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO half VALUES (1), (1);\n",
    )
    with pytest.raises(ConfigurationError, match=r"0002_deferred\.up\.sql: duplicate key value"):
        project.up()
    assert project.tables() == ["public.fine", "public.schema_migrations"]
    project.write("0002_deferred", "CREATE TABLE half (id integer);\n")
    assert project.up() == ["0002_deferred"]


@pytest.mark.parametrize(
    "nothing", ["", "\n", "-- data only: nothing to take back", "/* no */;;\n"]
)
def test_a_file_without_a_statement_is_recorded(project: Migrations, nothing: str) -> None:
    """Up and down; a driver would refuse to send it."""
    project.write("0002_nothing", nothing, nothing)
    assert project.up() == ["0001_fine", "0002_nothing"]
    assert project.down() == ["0002_nothing"]
    assert project.up() == ["0002_nothing"]


def test_a_way_back_that_was_promised_and_is_not_there_is_refused(project: Migrations) -> None:
    """It would be gone from the history and still in the schema. Nothing is taken back."""
    project.write("0002_promised", FINE.replace("fine", "promised"), "-- later\n")
    project.write("0003_fine", FINE.replace("fine", "third"), "DROP TABLE third;\n")
    project.up()
    expected = r"0002_promised\.down\.sql has no statement, though .* says `reversible: yes`"
    with pytest.raises(ConfigurationError, match=expected):
        project.down(2)
    assert project.applied() == ["0001_fine", "0002_promised", "0003_fine"]
    assert project.down(1) == ["0003_fine"]


def test_nobody_else_migrates_between_two_files(project: Migrations) -> None:
    """Not even when a file gives up every lock of its session."""
    project.write("0002_unlock", "SELECT pg_advisory_unlock_all();\n")
    project.write("0003_last", "SELECT 1;\n")
    held = f"SELECT count(*) {LOCKS} WHERE locktype = 'advisory' AND granted"
    runner = f"{held} AND objid = {lock._RUNNER}"
    for _ in project.migrator.up():
        assert project.rows(runner) == [(1,)]
    wait_until(lambda: project.rows(held) == [(0,)])  # with its session, which PostgreSQL ends


def test_a_file_waits_for_the_session_of_the_one_before(project: Migrations) -> None:
    """PostgreSQL may take its time to end that; the lock tells of a last statement that goes on."""
    project.write("0002_more", "SELECT 1;\n")
    files = project.migrator.up()
    next(files)
    with ThreadPoolExecutor() as pool, holding(project.url, lock.HOLD_FILE) as before:
        more = pool.submit(next, files)
        wait_until(lambda: project.rows(f"SELECT pid {LOCKS} WHERE NOT granted") or more.done())
        assert not more.done()
        before.execute("SELECT pg_advisory_unlock_all()")
        assert more.result()[0].startswith("0002_more")
    assert list(files) == []
