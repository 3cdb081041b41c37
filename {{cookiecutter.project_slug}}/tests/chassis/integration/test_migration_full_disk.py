"""The disk under PostgreSQL is full in the middle of a migration; room lets the next run end it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable

from dev.postgres import Postgres
from dev.postgres_binaries import server_user
from dev.small_disk import NoSmallDisk, PostgresOnDisk, SmallDisk
from tests.chassis.integration.migrating import Migrations

pytestmark = pytest.mark.long

INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
STATES = "SELECT id, status FROM schema_migrations WHERE status <> 'ok'"


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    """The disk of the server."""
    try:
        with SmallDisk(256, user=server_user()) as mounted:
            yield mounted
    except NoSmallDisk as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def server(disk: SmallDisk) -> Iterator[Postgres]:
    """A server of this module alone."""
    with PostgresOnDisk(disk) as running:
        yield running


@pytest.fixture
def project(server: Postgres, disk: SmallDisk, tmp_path: Path) -> Iterator[Migrations]:
    """A table with rows, an index of which is larger than what a full disk has left."""
    (tmp_path / "migrations").mkdir()
    url = server.create_database()
    project = Migrations(url, tmp_path / "migrations")
    project.write(
        "0001_tables",
        "CREATE TABLE fine (n integer, x text);\n"
        "INSERT INTO fine SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n;\n",
    )
    project.up()
    yield project
    disk.free()
    server.drop_database(url)


def fill(server: Postgres, disk: SmallDisk) -> None:
    """No table can grow; what is written ahead has a file of 16 MB that is there."""
    server.ask("CHECKPOINT")
    server.ask("SELECT pg_switch_wal()")
    server.ask("SELECT pg_logical_emit_message(true, 'next', 'file')")
    disk.fill()


def test_a_file_that_is_one_transaction(
    project: Migrations, server: Postgres, disk: SmallDisk
) -> None:
    """Nothing of it is there, and the next run applies it."""
    project.write("0002_copy", "ALTER TABLE fine ADD y text; CREATE TABLE copy AS TABLE fine;\n")
    fill(server, disk)

    with pytest.raises(ConfigurationError, match="No space left") as refused:
        project.up()

    assert "0002_copy.up.sql" in str(refused.value)
    assert "free space on the server's disk, and run the command again" in str(refused.value)
    disk.free()
    assert project.applied() == ["0001_tables"]
    assert project.tables() == ["public.fine", "public.schema_migrations"]
    assert project.up() == ["0002_copy"]
    assert project.findings() == []


def test_an_index_that_is_built_beside_the_work(
    project: Migrations, server: Postgres, disk: SmallDisk
) -> None:
    """It is under way in the history, or has failed; the next run takes away what it left."""
    project.write("0002_index", "CREATE INDEX CONCURRENTLY fine_x ON fine (x, n);\n")
    fill(server, disk)

    with pytest.raises(ConfigurationError, match="No space left") as refused:
        project.up()

    assert "free space on the server's disk, and run the command again" in str(refused.value)
    assert "owner of the tables" not in str(refused.value)
    disk.free()
    assert [state for state, _ in project.rows(STATES)] in ([], ["0002_index"])
    assert project.up() == ["0002_index"]
    assert project.rows(INVALID) == [(0,)]
    assert project.rows(STATES) == []
    assert project.findings() == []


def test_the_server_ends_for_want_of_room(
    project: Migrations, server: Postgres, disk: SmallDisk
) -> None:
    """What is written ahead finds no room; started again with some, all goes on."""
    ahead = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 10000000));\n" * 4
    file = project.write("0002_ahead", f"ALTER TABLE fine ADD y text;\n{ahead}")
    fill(server, disk)

    with pytest.raises(DatabaseUnavailable, match="has room") as refused:
        project.up()

    assert "0002_ahead.up.sql" in str(refused.value)
    disk.free()
    server.stop()
    server.start()
    assert project.applied() == ["0001_tables"]
    file.write_text("ALTER TABLE fine ADD y text;\n", "utf-8")
    assert project.up() == ["0002_ahead"]
    assert project.findings() == []
