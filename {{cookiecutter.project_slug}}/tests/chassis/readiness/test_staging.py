"""K5 runs what a migration requires, on rows that were made up."""

from pathlib import Path

from readiness.reversibility import stairway
from readiness.scratch import rows_of
from readiness.staging import unfit
from tests.chassis.backfills.tickets import FILL, write
from tests.chassis.integration.migrating import Migrations, empty_database

CHASSIS = Path(__file__).parents[3] / "migrations"


def test_a_backfill_that_is_required_is_run_before(tmp_path: Path) -> None:
    """The migration that relies on it has rows then, and finds each as it needs it."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "backfills").mkdir()
    write(tmp_path / "backfills", FILL)
    with empty_database() as url:
        project = Migrations(url, tmp_path / "migrations")
        for way in ("up", "down"):
            for name, file in (("0001_access", ""), ("0002_backfills", "chassis/")):
                text = (CHASSIS / f"{file}{name}.{way}.sql").read_bytes()
                (tmp_path / f"migrations/{name}.{way}.sql").write_bytes(text)
        table = "CREATE TABLE ticket (id bigint PRIMARY KEY, title text NOT NULL, note text);\n"
        project.write("0003_tickets", f"-- reversible: yes\n\n{table}", "DROP TABLE ticket;\n")
        project.write(
            "0004_noted",
            "-- reversible: yes\n-- requires: backfill fill\n\n"
            "ALTER TABLE ticket ADD CHECK (note IS NOT NULL);\n",
            "ALTER TABLE ticket DROP CONSTRAINT ticket_note_check;\n",
        )
        assert list(stairway(url, project.folder)) == []
        state = "SELECT state FROM backfill_run WHERE name = 'fill'"
        assert rows_of(url, state) == [("completed",)]
        assert rows_of(url, "SELECT count(*) >= 1000 FROM ticket") == [(True,)]


def test_backfills_that_cannot_be_run_are_found(tmp_path: Path) -> None:
    """Long before somebody needs them."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "backfills").mkdir()
    project = Migrations("", tmp_path / "migrations")
    project.write("0001_noted", "-- requires: backfill fil\n\nSELECT 1;\n")
    write(tmp_path / "backfills", FILL)
    write(tmp_path / "backfills", FILL.replace("verify", "check"), "unverified")
    write(tmp_path / "backfills", "table = ", "unreadable")
    unreadable, unverified, missing = unfit(project.folder)
    assert "unreadable.py:2: invalid syntax" in unreadable
    assert "it has no `verify`" in unverified
    assert "requires the backfill fil, and" in missing
