"""The history of an earlier version is carried over; what is wrong in it is said and repaired."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from prometheus_client import generate_latest

from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable
from acme_orders.chassis.migrations.reported import MigrationReport
from acme_orders.chassis.migrations.settings import MigrationSettings
from acme_orders.chassis.observability.metrics import Metrics

from tests.chassis.integration.migrating import (
    Migrations,
    emptied,
    holding,
    run_command,
)

OLD = """
CREATE TABLE schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""
TABLE = "CREATE TABLE one (x text, n integer);\n"


@pytest.fixture
def project(blank: str, tmp_path: Path) -> Migrations:
    """One migration, not applied."""
    (tmp_path / "migrations").mkdir()
    made = Migrations(
        blank,
        tmp_path / "migrations",
        MigrationSettings(migration_lock_timeout=0.5, migration_attempts=2),
    )
    made.write("0001_one", TABLE, "DROP TABLE one;\n")
    return made


def make_old(project: Migrations) -> None:
    """A history as versions before this one made it, with what is applied."""
    project.up()
    project.rows("ALTER TABLE schema_migrations RENAME TO later")
    project.rows(OLD)
    project.rows(
        "INSERT INTO schema_migrations SELECT id, checksum, applied_at, duration_ms FROM later"
    )
    project.rows("DROP TABLE later")


def columns(project: Migrations) -> int:
    """How many columns the history has."""
    of = "attrelid = 'schema_migrations'::regclass AND attnum > 0"
    return len(project.rows(f"SELECT attname FROM pg_attribute WHERE {of}"))


def test_an_old_history_is_carried_over(project: Migrations) -> None:
    """By whoever may; its lines stay, and an earlier version still reads and writes it."""
    make_old(project)
    project.write("0002_two", "CREATE TABLE two (x text);\n", "DROP TABLE two;\n")
    assert project.up() == ["0002_two"]
    assert project.applied() == ["0001_one", "0002_two"]
    assert project.rows("SELECT status, direction, attempts FROM schema_migrations") == [
        ("ok", "up", 1),
        ("ok", "up", 1),
    ]
    ((by, version),) = project.rows(
        "SELECT applied_by, app_version FROM schema_migrations WHERE id = '0002_two'"
    )
    assert " from " in by
    assert version
    project.rows("INSERT INTO schema_migrations (id, checksum, duration_ms) VALUES ('x', 'y', 1)")


def test_an_old_history_is_carried_over_when_nothing_is_pending(project: Migrations) -> None:
    """And once only."""
    make_old(project)
    assert project.up() == []
    assert columns(project) == 11
    assert project.up() == []


def test_an_old_history_is_read_by_who_may_not_change_it(project: Migrations) -> None:
    """The service starts on it, and `verify` finds nothing wrong."""
    make_old(project)
    role = f"reader_{uuid4().hex}"
    project.rows(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    project.rows(f"GRANT USAGE ON SCHEMA public TO {role}")
    project.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    parts = urlsplit(project.url)
    mine = parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    reader = Migrations(mine, project.folder)
    try:
        reader.migrator.verify()
        assert reader.findings() == []
        assert reader.applied() == ["0001_one"]
        with pytest.raises(ConfigurationError, match="MIGRATION_DATABASE_URL"):
            reader.up()
        assert columns(project) == 4
    finally:
        project.rows(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_whoever_reads_the_old_history_is_waited_for(project: Migrations) -> None:
    """No longer than for any other table."""
    make_old(project)
    with (
        holding(project.url, "SELECT * FROM schema_migrations"),
        pytest.raises(Exception, match=r"public\.schema_migrations: others were in the way"),
    ):
        project.up()
    assert project.up() == []
    assert columns(project) == 11


def test_verify_says_all_that_is_wrong(project: Migrations) -> None:
    """Not only the first thing; each with what helps."""
    for number in (2, 3, 5):
        project.write(f"000{number}_more", f"CREATE TABLE more_{number} ();\n")
    project.up()
    assert project.findings() == []
    project.write("0002_more", "CREATE TABLE IF NOT EXISTS more_2 ();\n")
    for file in project.folder.glob("0003_more.*"):
        file.unlink()
    project.write("0004_late", "SELECT 1;\n")
    project.rows("UPDATE schema_migrations SET status = 'running' WHERE id = '0005_more'")
    project.rows("CREATE INDEX i ON one (n)")
    project.rows("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
    found = project.findings()
    expected = [
        "0002_more.up.sql was changed after it was applied",
        "0003_more is applied, and its files are not in",
        "0005_more was begun to be applied at",
        "the index i is invalid",
        "0004_late is pending, but 0005_more is applied",
    ]
    assert len(found) == len(expected), found
    assert all(text in each for text, each in zip(expected, found, strict=True)), found


def test_verify_and_repair_say_what_they_find_and_do(project: Migrations) -> None:
    """What can be put right is; what nobody has decided about is refused."""
    project.write("0002_index", "CREATE INDEX CONCURRENTLY i ON one (x);\n", "DROP INDEX i;\n")
    project.up()
    project.rows("UPDATE schema_migrations SET status = 'running' WHERE id = '0002_index'")
    project.rows("CREATE INDEX other ON one (n); CREATE INDEX j_ccnew1 ON one (n)")
    project.rows("UPDATE pg_index SET indisvalid = false WHERE indrelid = 'one'::regclass")
    project.write("0001_one", f"-- corrected\n{TABLE}", "DROP TABLE one;\n")
    assert len(project.findings()) == 5
    first, second, *others = project.repair("0001_one")
    assert first == "0001_one: recorded the checksum of the file as it is now"
    assert second.startswith("0002_index: applied (")
    assert others == [
        "j_ccnew1: removed, a leftover of REINDEX CONCURRENTLY",
        "other: built anew, and valid",
    ]
    assert project.findings() == []
    assert project.repair() == []
    for unknown in ("0009_none", "0001"):
        with pytest.raises(ConfigurationError, match=f"--accept {unknown}: no migration of this"):
            project.repair(unknown)


def test_an_index_that_cannot_be_built_is_explained(project: Migrations) -> None:
    """Its rows are not unique: nobody but people can decide about them."""
    project.up()
    project.rows("INSERT INTO one VALUES ('a', 1), ('a', 2)")
    with pytest.raises(Exception, match="could not create unique"):
        project.rows("CREATE UNIQUE INDEX CONCURRENTLY broken ON one (x)")
    with pytest.raises(ConfigurationError, match="broken: could not create unique index"):
        project.repair()


def test_the_commands_verify_and_repair(empty: str, tmp_path: Path) -> None:
    """1 for what is wrong, 0 when it is repaired."""
    (tmp_path / "migrations").mkdir()
    project = Migrations(emptied(empty), tmp_path / "migrations")
    project.write("0001_one", TABLE)
    project.up()
    project.rows("CREATE INDEX other ON one (n)")
    project.rows("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'other'::regclass")
    status, said, told = run(project, "verify")
    assert (status, told) == (1, "")
    assert "the index other is invalid" in said
    status, said, told = run(project, "repair")
    assert (status, told) == (0, "")
    assert said.endswith("other: built anew, and valid\n")
    assert run(project, "verify")[0] == 0


def run(project: Migrations, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    started = run_command(project, "migrate", *arguments)
    said, told = started.communicate(timeout=60)
    return started.returncode, said, told


def test_what_was_being_taken_back_is_finished(project: Migrations) -> None:
    """By `repair`; `up` would apply it again."""
    project.write(
        "0002_index",
        "CREATE INDEX CONCURRENTLY i ON one (x);\n",
        "DROP INDEX CONCURRENTLY i;\n",
    )
    project.up()
    project.rows("DROP INDEX i")
    project.rows(
        "UPDATE schema_migrations SET status = 'running', direction = 'down' "
        "WHERE id = '0002_index'"
    )
    assert [each.partition(" (")[0] for each in project.repair()] == ["0002_index: taken back"]
    assert project.applied() == ["0001_one"]


async def test_the_history_is_a_metric(project: Migrations) -> None:
    """Read when somebody asks, also from a history of an earlier version; and no more than that."""
    project.write("0002_index", "CREATE INDEX CONCURRENTLY i ON one (x);\n")
    make_old(project)
    metrics = Metrics()
    report = MigrationReport(project.migrator, metrics)

    async def shown() -> dict[str, float]:
        report._next = 0  # it would rest for a while
        await asyncio.gather(report.update(), report.update())
        lines = generate_latest(metrics.registry).decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("db_migration_dur"))
        return {name: float(value) for name, _, value in found}

    count = "db_migration_duration_seconds_count"
    assert (await shown())[f'{count}{{direction="up",outcome="ok"}}'] == 2
    project.up()
    project.rows(
        "UPDATE schema_migrations SET status = 'running', applied_at = now() - interval '1 h' "
        "WHERE id = '0002_index'"
    )
    project.rows("UPDATE schema_migrations SET duration_ms = 700 WHERE id = '0001_one'")
    found = await shown()
    assert found[f'{count}{{direction="up",outcome="ok"}}'] == 1
    assert found[f'{count}{{direction="up",outcome="running"}}'] == 1
    assert found['db_migration_duration_seconds_sum{direction="up",outcome="ok"}'] == 0.7
    running = 'db_migration_duration_seconds_sum{direction="up",outcome="running"}'
    assert 3600 <= found[running] < 4600
    bucket = 'db_migration_duration_seconds_bucket{{direction="up",le="{}",outcome="ok"}}'
    assert [found[bucket.format(le)] for le in ("0.5", "1", "+Inf")] == [0, 1, 1]
    project.rows("UPDATE schema_migrations SET status = 'ok'")
    assert (await shown())[running] == 0


async def test_an_outage_costs_a_scrape_nothing_but_these_numbers() -> None:
    """What was read before stays, and the next scrape tries again."""
    nowhere = Migrations("postgresql://nobody@127.0.0.1:1/none", Path())
    report = MigrationReport(nowhere.migrator, Metrics())
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await report.update()


def test_what_was_changed_is_accepted_only_by_name(project: Migrations) -> None:
    """`repair` alone does not make an edit right."""
    project.up()
    project.write("0001_one", f"-- corrected\n{TABLE}", "DROP TABLE one;\n")
    assert project.repair() == []
    assert "was changed after it was applied" in str(project.findings())
    assert len(project.repair("0001_one")) == 1
    assert project.findings() == []
    assert project.repair("0001_one") == []
