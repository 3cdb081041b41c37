"""A runner that is killed leaves a state that the next one repairs."""

import random
import time
from pathlib import Path

import pytest

from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.migrations.lock import HOLD_FILE
from acme_orders.chassis.migrations.settings import MigrationSettings

from tests.chassis.integration.migrating import (
    Migrations,
    building,
    emptied,
    holding,
    run_command,
    wait_until,
)

ROWS = 100_000
FILES = {
    "0002_column": "ALTER TABLE fine ADD y text;",
    "0003_index": "CREATE INDEX CONCURRENTLY one ON fine (n);\n"
    "CREATE UNIQUE INDEX CONCURRENTLY two ON fine (n, x);",
    "0004_check": "ALTER TABLE fine ADD CONSTRAINT small CHECK (n >= 0) NOT VALID;",
    "0005_valid": "ALTER TABLE fine VALIDATE CONSTRAINT small;",
    "0006_drop": "DROP INDEX CONCURRENTLY one;",
    "0007_again": "REINDEX INDEX CONCURRENTLY two;",
    "0008_last": "UPDATE fine SET y = x WHERE n < 20000;",
}
UNUSED = """
SELECT (SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready OR NOT indislive),
    (SELECT count(*) FROM schema_migrations WHERE status <> 'ok')
"""


@pytest.fixture
def project(empty: str, tmp_path: Path) -> Migrations:
    """A table with rows, and migrations of all kinds."""
    (tmp_path / "migrations").mkdir()
    made = Migrations(
        emptied(empty),
        tmp_path / "migrations",
        MigrationSettings(migration_lock_timeout=2, migration_wait=60),
    )
    made.write("0001_tables", "CREATE TABLE fine (n integer, x text);\n")
    made.up()
    return made


def fill(project: Migrations, rows: int) -> None:
    """Rows to be read."""
    sql = "INSERT INTO fine SELECT n, md5(n::text) FROM generate_series(1, {}) AS n"
    project.rows(sql.format(rows))


def shape(project: Migrations) -> list[tuple[object, ...]]:
    """Columns, indexes and checks of the table."""
    return project.rows(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'fine'::regclass AND attnum > 0 "
        "UNION ALL SELECT pg_get_indexdef(indexrelid) || indisvalid FROM pg_index "
        "WHERE indrelid = 'fine'::regclass "
        "UNION ALL SELECT conname || convalidated FROM pg_constraint "
        "WHERE conrelid = 'fine'::regclass AND contype = 'c' ORDER BY 1"
    )


def test_a_runner_that_is_killed_while_an_index_waits_is_followed_by_one_that_ends_it(
    project: Migrations,
) -> None:
    """Its last statement is still under way; the next one waits for that, and then begins anew."""
    fill(project, 10)
    project.write("0003_index", FILES["0003_index"])
    with holding(project.url, "INSERT INTO fine VALUES (0, 'x')") as other:
        runner = run_command(project, "migrate", "up")
        wait_until(lambda: building(project))
        runner.kill()
        runner.communicate()
        next_one = run_command(project, "migrate", "up")
        assert project.rows("SELECT status FROM schema_migrations ORDER BY id DESC LIMIT 1") == [
            ("running",)
        ]
        assert "0003_index was begun to be applied at" in str(project.findings())
        other.execute("COMMIT")
        said, told = next_one.communicate(timeout=60)
    assert next_one.returncode == 0, told
    assert "0003_index" in said
    assert project.rows(UNUSED) == [(0, 0)]
    assert project.findings() == []


def test_the_last_statement_of_a_runner_that_was_killed_is_waited_for(project: Migrations) -> None:
    """PostgreSQL goes on with it, though the lock of the runner is free."""
    project.write("0002_more", "SELECT 1;\n")
    impatient = Migrations(project.url, project.folder, MigrationSettings(migration_wait=0.1))
    with (
        holding(project.url, HOLD_FILE),
        pytest.raises(Conflict, match=r"0.1 s \(MIGRATION_WAIT\)"),
    ):
        impatient.up()
    assert project.applied() == ["0001_tables"]
    assert project.up() == ["0002_more"]


def test_a_file_that_is_one_transaction_is_applied_or_not(project: Migrations) -> None:
    """Killed before COMMIT: nothing of it is there, and no line says otherwise."""
    project.write("0002_slow", "ALTER TABLE fine ADD y text; SELECT pg_sleep(600);\n")
    runner = run_command(project, "migrate", "up")
    slow = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = "
    wait_until(lambda: project.rows(f"{slow}current_database()"))
    runner.kill()
    runner.communicate()
    assert project.applied() == ["0001_tables"]
    project.write("0002_slow", "ALTER TABLE fine ADD y text;\n")
    assert project.up() == ["0002_slow"]


@pytest.mark.long
@pytest.mark.timeout(600)  # ten processes and more begin, one after the other
@pytest.mark.parametrize("seed", range(10))
def test_a_runner_that_is_killed_at_any_time(project: Migrations, seed: int) -> None:
    """Again and again, until all is done; and all is as if nobody had been killed."""
    random_ = random.Random(seed)
    fill(project, ROWS)
    for identity, sql in FILES.items():
        project.write(identity, f"{sql}\n")
    killed = 0
    while True:
        runner = run_command(project, "migrate", "up")
        wait_until(lambda: migrating(project) or runner.poll() is not None)  # noqa: B023
        # Longer each time: an index that takes longer than any of its runners lives never comes.
        time.sleep(random_.uniform(0, 0.3 * (killed + 1)))
        runner.kill()
        _, told = runner.communicate()
        if runner.returncode == 0:
            break
        assert runner.returncode == -9, told
        killed += 1
    assert killed > 0
    assert project.applied() == ["0001_tables", *FILES]
    assert project.rows(UNUSED) == [(0, 0)]
    assert project.findings() == []
    assert shape(project) == [
        ("CREATE UNIQUE INDEX two ON public.fine USING btree (n, x)true",),
        ("n",),
        ("smalltrue",),
        ("x",),
        ("y",),
    ]
    assert project.rows("SELECT count(*) FROM fine WHERE y = x") == [(19_999,)]


def migrating(project: Migrations) -> list[tuple[object, ...]]:
    """Who holds the lock of runners."""
    return project.rows(
        "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
