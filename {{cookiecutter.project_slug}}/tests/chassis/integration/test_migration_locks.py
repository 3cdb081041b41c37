"""A migration does not queue others behind it, says who is in its way, and tries again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.migrations.blockers import without_values
from acme_orders.chassis.migrations.settings import MigrationSettings

from tests.chassis.integration.migrating import (
    Migrations,
    holding,
    wait_until,
)

LOCK = 0.5
READ = "LOCK TABLE fine IN ACCESS SHARE MODE; SELECT 'a secret', 4711 FROM fine /* a secret */"
QUERIES = {
    "SELECT 'a', -1.5, E'b', $$c$$, x FROM t -- d": "SELECT ?, -?, ?, ?, x FROM t",
    "SELECT 'cut off": "SELECT …",
    "  UPDATE t SET a = 'cut /*": "UPDATE …",
    "<insufficient privilege>": "<insufficient privilege>",
    "": "",
    "'": "…",
    f"SELECT {'x, ' * 60}x": f"SELECT {'x, ' * 31}…",
}


@pytest.fixture
def project(blank: str, tmp_path: Path) -> Migrations:
    """A table, and a migration that wants all of it for a moment."""
    made = Migrations(
        blank,
        tmp_path,
        MigrationSettings(migration_lock_timeout=LOCK, migration_attempts=2, migration_wait=30),
    )
    made.write("0001_fine", "CREATE TABLE fine (x text);\n", "DROP TABLE fine;\n")
    made.up()
    made.write("0002_more", "ALTER TABLE fine ADD y text;\n", "ALTER TABLE fine DROP y;\n")
    return made


@pytest.mark.parametrize("sql", QUERIES)
def test_values_and_comments_are_not_shown(sql: str) -> None:
    """Also where PostgreSQL cut the query off within one."""
    assert without_values(sql) == QUERIES[sql]


def longest_read(url: str, begun: threading.Event, over: threading.Event) -> float:
    """Seconds of the slowest of many reads."""
    slowest = 0.0
    connection = open_blocking(url)
    cursor = connection.cursor()
    while not over.is_set():
        began = time.monotonic()
        cursor.execute("SELECT count(*) FROM fine")
        slowest = max(slowest, time.monotonic() - began)
        begun.set()
    connection.close()
    return slowest


def test_a_blocker_is_named_and_nobody_waits_longer_than_the_lock_timeout(
    project: Migrations,
) -> None:
    """It gives up, says who it was without a value of the query, and succeeds afterwards."""
    begun, over = threading.Event(), threading.Event()
    with ThreadPoolExecutor() as pool, holding(project.url, READ) as blocker:
        pid = blocker.connection.info.backend_pid
        reading = pool.submit(longest_read, project.url, begun, over)
        begun.wait()
        began = time.monotonic()
        with capture_logs() as logged, pytest.raises(Conflict) as given_up:
            project.up()
        took = time.monotonic() - began
        over.set()
        assert LOCK / 2 < reading.result() < LOCK + 15
    assert 2 * LOCK < took < 2 * LOCK + 15
    ((event, file, blockers),) = [
        (line["event"], line["file"], line["blocked_by"]) for line in logged
    ]
    assert event == "migration.blocked"
    assert file.endswith("0002_more.up.sql")
    for text in (str(given_up.value), *blockers):
        assert f"pid {pid} (acme-orders migrate, user " in text
        assert "UTC (" in text
        assert "SELECT ?, ? FROM fine`" in text
        assert "secret" not in text
        assert "4711" not in text
    assert f"pg_terminate_backend({pid})" in str(given_up.value)
    assert project.applied() == ["0001_fine"]
    assert project.up() == ["0002_more"]
    assert project.rows("SELECT attempts, waited_ms FROM schema_migrations") == [(1, 0), (1, 0)]


@pytest.mark.parametrize("way", ["up", "down"])
def test_it_succeeds_when_the_blocker_has_gone(project: Migrations, way: str) -> None:
    """As a whole, in a session of its own; the history says what it took."""
    once = "CREATE TEMP TABLE once (x text); INSERT INTO once VALUES ('x');\n"
    project.write("0002_more", f"{once}ALTER TABLE fine ADD y text;\n", "DROP TABLE fine;\n")
    if way == "down":
        project.up()
        project.write(
            "0002_more", f"{once}ALTER TABLE fine ADD y text;\n", once + "DROP TABLE fine"
        )
    with (
        ThreadPoolExecutor() as pool,
        holding(project.url, READ) as blocker,
        capture_logs() as logged,
    ):
        moved = pool.submit(getattr(project, way))
        wait_until(lambda: any(line["event"] == "migration.blocked" for line in logged))
        blocker.execute("COMMIT")
        assert moved.result() == ["0002_more"]
    if way == "up":
        ((attempts, waited),) = project.rows(
            "SELECT attempts, waited_ms FROM schema_migrations WHERE id = '0002_more'"
        )
        assert attempts == 2
        assert waited >= LOCK * 1000


def test_the_pauses_between_the_tries_grow(project: Migrations) -> None:
    """Whoever was in the way has more and more time to end."""
    settings = MigrationSettings(migration_lock_timeout=0.05, migration_attempts=4)
    with (
        holding(project.url, READ),
        capture_logs() as logged,
        pytest.raises(Conflict, match="all 4 attempts"),
    ):
        Migrations(project.url, project.folder, settings).up()
    first, _, third = (line["again_in"] for line in logged)
    assert 0.2 <= first <= 0.5
    assert 1 <= third <= 2


def test_a_deadlock_is_tried_again(project: Migrations) -> None:
    """PostgreSQL ends one of the two, and the other one is done at once."""
    project.rows("CREATE TABLE other (x text); CREATE TABLE gate (x text)")
    project.write(
        "0002_more",
        "SET LOCAL lock_timeout = 0; SET LOCAL deadlock_timeout = '100ms';\n"
        "LOCK TABLE other; LOCK TABLE gate; ALTER TABLE fine ADD y text;\n",
    )
    with (
        ThreadPoolExecutor() as pool,
        holding(project.url, READ) as blocker,
        holding(project.url, "LOCK TABLE gate") as gate,
    ):
        blocker.execute("SET LOCAL deadlock_timeout = '1h'")
        moved = pool.submit(project.up)
        wait_until(lambda: waiting(project, "gate"))
        blocked = pool.submit(blocker.execute, "SELECT FROM other")
        wait_until(lambda: waiting(project, "other"))
        gate.execute("COMMIT")  # PostgreSQL looks once, 100 ms later: by then it is a deadlock
        blocked.result()
        blocker.execute("COMMIT")
        assert moved.result() == ["0002_more"]


def waiting(project: Migrations, table: str) -> list[tuple[Any, ...]]:
    """Who waits for a table."""
    return project.rows(
        f"SELECT pid FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    )


def test_any_other_error_is_not_tried_again(project: Migrations) -> None:
    """It would only fail once more, later."""
    project.write("0002_more", "ALTER TABLE fine ADD x text;\n")
    with capture_logs() as logged, pytest.raises(Exception, match="already exists"):
        project.up()
    assert logged == []
