"""Statements that are committed one by one: repeatable, patient, and never left half done."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import ConfigurationError, Conflict
from acme_orders.chassis.migrations.settings import MigrationSettings

from tests.chassis.integration.migrating import (
    Migrations,
    building,
    holding,
    wait_until,
)

TABLES = """
CREATE TABLE fine (x text NOT NULL, n integer CHECK (n > 0));
INSERT INTO fine VALUES ('a', 1), ('b', 2);
CREATE TYPE mood AS ENUM ('good');
CREATE TABLE whole (n integer) PARTITION BY LIST (n);
CREATE TABLE part PARTITION OF whole FOR VALUES IN (1);
CREATE INDEX old ON fine (n);
ALTER TABLE fine ADD CONSTRAINT checked CHECK (n < 100) NOT VALID;
"""
INDEX = "CREATE INDEX CONCURRENTLY new ON fine (lower(x), n DESC) WHERE x <> 'q' AND n IN (1, 2);"
# Each with what it makes true.
ALONE = {
    INDEX: "SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = 'new'::regclass",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS new ON fine (x);": (
        "SELECT indisvalid AND indisunique FROM pg_index WHERE indexrelid = 'new'::regclass"
    ),
    "DROP INDEX CONCURRENTLY old;": "SELECT to_regclass('old') IS NULL",
    "REINDEX INDEX CONCURRENTLY old;": (
        "SELECT count(*) = 1 FROM pg_index WHERE indrelid = 'fine'::regclass AND indisvalid"
    ),
    "REINDEX TABLE CONCURRENTLY fine;": (
        "SELECT count(*) = 1 FROM pg_index WHERE indrelid = 'fine'::regclass AND indisvalid"
    ),
    "ALTER TYPE mood ADD VALUE 'bad' BEFORE 'good';": (
        "SELECT enum_range(NULL::mood)::text = '{bad,good}'"
    ),
    "ALTER TABLE fine VALIDATE CONSTRAINT checked;": (
        "SELECT convalidated FROM pg_constraint WHERE conname = 'checked'"
    ),
    "ALTER TABLE whole DETACH PARTITION part CONCURRENTLY;": (
        "SELECT NOT EXISTS (SELECT FROM pg_inherits)"
    ),
    "VACUUM fine;": "SELECT pg_relation_size('fine', 'vm') > 0",
    "SET work_mem = '8MB'; VACUUM fine; ANALYZE fine;": "SELECT pg_relation_size('fine', 'vm') > 0",
}
MIXED = [
    "CREATE INDEX CONCURRENTLY a ON fine (x);\n\nALTER TABLE fine ADD y text;\n",
    "ALTER TABLE fine ADD y text;\n\nVACUUM fine;\n",
    "ALTER TYPE mood ADD VALUE 'bad';\n\nCREATE TABLE other (x mood);\n",
    "ALTER TABLE fine VALIDATE CONSTRAINT checked;\n\nALTER TABLE fine ALTER n SET NOT NULL;\n",
]


@pytest.fixture
def project(blank: str, tmp_path: Path) -> Migrations:
    """A schema with some rows."""
    made = Migrations(
        blank,
        tmp_path,
        MigrationSettings(migration_lock_timeout=0.5, migration_attempts=2, migration_wait=30),
    )
    made.write("0001_tables", TABLES)
    made.up()
    return made


def history(project: Migrations) -> list[tuple[object, ...]]:
    """Id, status and direction of each line."""
    return project.rows("SELECT id, status, direction FROM schema_migrations ORDER BY id")


@pytest.mark.parametrize("sql", ALONE)
def test_what_cannot_run_in_a_transaction_runs_without_a_word(
    project: Migrations, sql: str
) -> None:
    """Up, and again as somebody who was killed after it was done and before that was recorded."""
    project.write("0002_alone", f"{sql}\n")
    assert project.up() == ["0002_alone"]
    assert project.rows(ALONE[sql]) == [(True,)]
    assert history(project)[1:] == [("0002_alone", "ok", "up")]
    project.rows("UPDATE schema_migrations SET status = 'running' WHERE id = '0002_alone'")
    assert [each.id for each in project.migrator.pending()] == ["0002_alone"]
    assert project.up() == ["0002_alone"]
    assert project.rows(ALONE[sql]) == [(True,)]
    assert history(project)[1:] == [("0002_alone", "ok", "up")]
    assert project.up() == []


@pytest.mark.parametrize("sql", MIXED)
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_file_of_two_kinds_is_refused_before_anything_runs(
    project: Migrations, sql: str, way: str
) -> None:
    """Half of it would be committed when the other half fails. Both lines are named."""
    project.write("0002_first", "CREATE TABLE first (x text);\n")
    files = {"up": "SELECT 1;\n", "down": "SELECT 1;\n", way: sql}
    project.write("0003_mixed", files["up"], files["down"])
    with pytest.raises(ConfigurationError, match="split the file, each kind in a migration") as no:
        project.up()
    lines = [f"0003_mixed.{way}.sql:3: `", "in line 1 "]
    lines = lines if sql.startswith(("CREATE INDEX", "ALTER TYPE", MIXED[3][:30])) else []
    lines = lines or [f"0003_mixed.{way}.sql:1: `", "in line 3 "]
    assert all(line in str(no.value) for line in lines)
    assert project.applied() == ["0001_tables"]


def test_an_index_waits_for_others_as_long_as_it_takes(project: Migrations) -> None:
    """The lock timeout would end it on each busy database, and leave an invalid index."""
    project.write("0002_index", INDEX)
    with (
        ThreadPoolExecutor() as pool,
        holding(project.url, "INSERT INTO fine VALUES ('c', 3)") as (other),
    ):
        moved = pool.submit(project.up)
        wait_until(lambda: building(project))
        other.execute("SELECT pg_sleep(1)")  # twice the lock timeout
        assert building(project)
        other.execute("COMMIT")
        assert moved.result() == ["0002_index"]
    assert project.rows(ALONE[INDEX]) == [(True,)]


def test_of_two_runners_one_applies_and_one_waits(project: Migrations) -> None:
    """Without a deadlock: whoever waits holds nothing that an index waits for."""
    project.write("0002_index", INDEX)
    insert = "INSERT INTO fine VALUES ('c', 3)"
    with ThreadPoolExecutor() as pool, holding(project.url, insert) as other:
        first = pool.submit(project.up)
        wait_until(lambda: building(project))
        with capture_logs() as logged:
            second = pool.submit(project.up)
            wait_until(lambda: any("waits_for_runner" in line["event"] for line in logged))
        other.execute("COMMIT")
        assert first.result() == ["0002_index"]
        assert second.result() == []
    told = next(line for line in logged if "waits_for_runner" in line["event"])
    assert "acme-orders migrate, user " in told["runner"]
    assert project.rows(ALONE[INDEX]) == [(True,)]


def test_a_runner_that_waits_too_long_says_for_whom(project: Migrations) -> None:
    """Its patience is a setting."""
    impatient = Migrations(project.url, project.folder, MigrationSettings(migration_wait=0.1))
    for _ in project.migrator.up():
        pass
    project.write("0002_more", "SELECT 1;\n")
    for _ in project.migrator.up():
        with pytest.raises(Conflict, match=r"for 0.1 s \(MIGRATION_WAIT\): pid .* since .* UTC"):
            impatient.up()


def test_a_statement_that_fails_leaves_nothing_behind(project: Migrations) -> None:
    """An invalid index is removed, the history says what failed, and the next run goes on there."""
    project.rows("INSERT INTO fine VALUES ('a', 3)")
    project.write(
        "0002_unique",
        "CREATE INDEX CONCURRENTLY first ON fine (n);\n"
        "CREATE UNIQUE INDEX CONCURRENTLY second ON fine (x);\n",
        "DROP INDEX CONCURRENTLY second;\nDROP INDEX CONCURRENTLY first;\n",
    )
    with capture_logs() as logged, pytest.raises(ConfigurationError, match="could not create uniq"):
        project.up()
    assert [line["what"] for line in logged] == ["removed the invalid index second"]
    assert project.rows("SELECT to_regclass('second')::text") == [(None,)]
    assert history(project)[1:] == [("0002_unique", "failed", "up")]
    ((_, found),) = enumerate(project.findings())
    assert "0002_unique could not be applied at" in found
    assert "could not create unique index" in found
    project.rows("DELETE FROM fine WHERE n = 3")
    assert project.up() == ["0002_unique"]
    assert project.findings() == []
    assert project.down() == ["0002_unique"]
    assert project.rows("SELECT to_regclass('first')::text, to_regclass('second')::text") == [
        (None, None)
    ]


# An index that PostgreSQL makes without a complaint, and that no query would use.
SPOILED = """
CREATE FUNCTION spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('new'); END $$;
CREATE EVENT TRIGGER spoil ON ddl_command_end WHEN TAG IN ('CREATE INDEX')
EXECUTE FUNCTION spoil();
"""


def test_an_index_that_is_made_and_not_valid_is_refused(project: Migrations) -> None:
    """The history would say that it is there."""
    project.rows(SPOILED)
    project.write("0002_index", INDEX)
    with pytest.raises(ConfigurationError, match=r"0002_index.*: the index new is not valid"):
        project.up()
    assert project.rows("SELECT to_regclass('new')::text") == [(None,)]
    assert history(project)[1:] == [("0002_index", "failed", "up")]
    project.rows("DROP EVENT TRIGGER spoil")
    assert project.up() == ["0002_index"]


@pytest.mark.parametrize("guard", ["", "IF NOT EXISTS "])
def test_an_invalid_index_of_this_name_is_replaced(project: Migrations, guard: str) -> None:
    """IF NOT EXISTS would take it for the index."""
    project.rows("INSERT INTO fine VALUES ('a', 3)")
    index = "CREATE UNIQUE INDEX CONCURRENTLY {guard}left_over ON fine (x)"
    with pytest.raises(Exception, match="could not create unique"):
        project.rows(index.format(guard=""))
    assert "the index left_over is invalid" in str(project.findings())
    project.rows("DELETE FROM fine WHERE n = 3")
    project.write("0002_unique", f"{index.format(guard=guard)};\n")
    assert project.up() == ["0002_unique"]
    assert project.findings() == []


OTHERS = [
    ("CREATE INDEX new ON fine (x)", "is another one: CREATE INDEX new ON public.fine USING"),
    ("CREATE UNIQUE INDEX new ON fine (lower(x), n DESC) WHERE x <> 'q' AND n IN (1, 2)", "anoth"),
    ("CREATE INDEX new ON fine (lower(x), n) WHERE x <> 'q' AND n IN (1, 2)", "another one"),
    ("CREATE INDEX new ON whole (n)", "is there already, and is an index of whole"),
    ("CREATE TABLE new (x text)", "is there already, and is no index"),
]


@pytest.mark.parametrize(("sql", "reason"), OTHERS)
def test_another_index_of_this_name_is_refused(project: Migrations, sql: str, reason: str) -> None:
    """Nothing of it is touched."""
    project.rows(sql)
    project.write("0002_index", INDEX)
    with pytest.raises(ConfigurationError, match=rf"0002_index\.up\.sql:1: .*{reason}"):
        project.up()
    assert project.rows("SELECT to_regclass('new') IS NOT NULL") == [(True,)]


def test_the_same_index_is_taken_as_it_is(project: Migrations) -> None:
    """Somebody made it by hand, in an emergency; however he spelled it."""
    project.rows(
        "CREATE INDEX new ON public.fine USING btree (LOWER(x), n DESC) "
        "WHERE 'q' <> x IS TRUE AND false"
    )
    project.rows("DROP INDEX new")
    project.rows(
        "CREATE INDEX new ON public.fine USING btree (LOWER(x), n DESC NULLS FIRST) "
        "WHERE (x <> 'q'::text) AND n = ANY (ARRAY[1, 2])"
    )
    before = project.rows("SELECT 'new'::regclass::oid")
    project.write("0002_index", INDEX)
    assert project.up() == ["0002_index"]
    assert project.rows("SELECT 'new'::regclass::oid") == before


def test_leftovers_of_a_reindex_go_before_the_next_one(project: Migrations) -> None:
    """Each try would leave another copy, which each write pays for."""
    project.rows("CREATE INDEX old_ccnew ON fine (n)")
    project.rows("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'old_ccnew'::regclass")
    project.write("0002_again", "REINDEX INDEX CONCURRENTLY old;\n")
    assert project.up() == ["0002_again"]
    assert project.rows("SELECT to_regclass('old_ccnew')::text") == [(None,)]


def test_a_validation_waits_its_turn_like_others(project: Migrations) -> None:
    """It takes no lock that readers wait for, but somebody may hold one that it waits for."""
    project.write("0002_checked", "ALTER TABLE fine VALIDATE CONSTRAINT checked;\n")
    with holding(project.url, "LOCK TABLE fine IN ACCESS EXCLUSIVE MODE") as other:
        with pytest.raises(Conflict, match=r"0002_checked.* in all 2 attempts .*, 0.5 s each"):
            project.up()
        other.execute("COMMIT")
    assert history(project)[1:] == [("0002_checked", "failed", "up")]
    assert project.up() == ["0002_checked"]


def test_a_dropped_index_that_never_was_is_an_error(project: Migrations) -> None:
    """A slip of the pen; only an interrupted run may find it gone."""
    project.write("0002_gone", "DROP INDEX CONCURRENTLY nowhere;\n")
    with pytest.raises(ConfigurationError, match='index "nowhere" does not exist'):
        project.up()
