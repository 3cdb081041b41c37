"""A migration that requires a backfill or a release refuses to run before it."""

from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError

from tests.chassis.integration.migrating import Migrations, emptied

TABLES = "CREATE TABLE fine (x text, y text); CREATE INDEX by_x ON fine (x);\n"
RUNS = "CREATE TABLE backfill_run (name text PRIMARY KEY, state text NOT NULL);\n"
HEAD = "-- phase: contract\n-- requires: backfill fill_y\n"
CONTRACTS = [
    "ALTER TABLE fine DROP x;\n",
    "ALTER TABLE public.fine DROP x;\n",
    "DROP TABLE fine;\n",
    "DROP INDEX CONCURRENTLY by_x;\n",
    "CREATE TABLE new (x text); ALTER TABLE fine DROP x;\n",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE fine DROP x'; END $$;\n",
]


@pytest.fixture
def project(empty: str, tmp_path: Path) -> Migrations:
    """A table with a row."""
    made = Migrations(emptied(empty), tmp_path)
    made.write("0001_tables", TABLES)
    made.up()
    made.rows("INSERT INTO fine VALUES ('x')")
    return made


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_contract_waits_for_its_backfill(project: Migrations, contract: str) -> None:
    """No table of runs, no run, one that goes on, one of another name: not completed."""
    project.write("0002_before", "SELECT 1;\n")
    project.write("0003_contract", HEAD + contract)
    runs = [
        ("SELECT 1", "has not been run"),
        (RUNS, "has not been run"),
        ("INSERT INTO backfill_run VALUES ('other', 'completed')", "has not been run"),
        ("INSERT INTO backfill_run VALUES ('fill_y', 'running')", "is running"),
    ]
    for sql, state in runs:
        project.rows(sql)
        with pytest.raises(ConfigurationError) as refused:
            project.up()
        assert f"it requires the backfill fill_y, which {state}: run" in str(refused.value)
        assert "`acme-orders backfill run fill_y`" in str(refused.value)
        assert project.applied() == ["0001_tables", "0002_before"]
    project.rows("UPDATE backfill_run SET state = 'completed' WHERE name = 'fill_y'")
    assert project.up() == ["0003_contract"]


@pytest.mark.parametrize("contract", CONTRACTS[:-1])
def test_where_there_never_was_a_row_nothing_is_to_be_filled(
    project: Migrations, contract: str
) -> None:
    """The database of a test, or of a new tenant."""
    project.rows("TRUNCATE fine")
    project.write("0002_contract", HEAD + contract)
    assert project.up() == ["0002_contract"]


def test_rows_in_a_partition_are_rows(project: Migrations) -> None:
    """A partitioned table has no page of its own."""
    project.rows("CREATE TABLE whole (n integer) PARTITION BY LIST (n)")
    project.rows("CREATE TABLE part PARTITION OF whole FOR VALUES IN (1)")
    project.write("0002_contract", f"{HEAD}ALTER TABLE whole ADD m integer;\n")
    project.rows("INSERT INTO whole VALUES (1)")
    with pytest.raises(ConfigurationError, match="has not been run"):
        project.up()
    project.rows("TRUNCATE whole")
    assert project.up() == ["0002_contract"]


def test_a_release_that_is_not_yet_is_refused(project: Migrations) -> None:
    """What it stopped using is still used by this one; nothing is run."""
    project.write("0002_first", "SELECT 1;\n")
    project.write("0003_early", "-- requires: release 99.1\nALTER TABLE fine DROP x;\n")
    with pytest.raises(ConfigurationError, match=r"requires the release 99\.1, and this one is"):
        project.up()
    assert project.applied() == ["0001_tables"]
    project.write("0003_early", "-- requires: release 0.0.1\nALTER TABLE fine DROP x;\n")
    assert project.up() == ["0002_first", "0003_early"]


def test_a_head_that_cannot_be_understood_is_refused(project: Migrations) -> None:
    """Before anything is run; a file that is applied already is left alone."""
    project.write("0002_first", "SELECT 1;\n")
    project.write("0003_slip", "-- phase: contrakt\nALTER TABLE fine DROP x;\n")
    with pytest.raises(ConfigurationError, match=r"0003_slip\.up\.sql:1: `-- phase: contrakt`"):
        project.up()
    assert project.applied() == ["0001_tables"]
