"""A database that the first state of the template made, with rows in every table, comes along.

That of a whole project, with slices of its team, is in `test_template_update.py`.
"""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Bake, generate
from tests.first_state import arrives, code, empty_database, filled, first_state

# As it was made then; what has been added is carried over.
OLD_HISTORY = """
from readiness.scratch import rows_of
rows_of(url, "ALTER TABLE schema_migrations RENAME TO later")
rows_of(url, '''CREATE TABLE schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)''')
rows_of(url, '''INSERT INTO schema_migrations
    SELECT id, checksum, applied_at, duration_ms FROM later''')
rows_of(url, "DROP TABLE later")
"""


@pytest.fixture
def project(bake_fresh: Bake) -> Path:
    """Of today, with the migrations that came first alone; the others are beside it."""
    made = bake_fresh()
    chassis = made / "migrations/chassis"
    shutil.copytree(chassis, made / "later")
    for file in chassis.glob("*.sql"):
        if not file.name.startswith("0001_"):
            file.unlink()
    return made


def update(project: Path) -> None:
    """The later ones come."""
    shutil.copytree(project / "later", project / "migrations/chassis", dirs_exist_ok=True)


def test_a_database_of_the_first_migrations(project: Path) -> None:
    """They are the same files today, so the history of the template is not needed."""
    with empty_database() as url:
        before = filled(project, url)
        assert before.keys() >= {"orders", "outbox", "inbox", "dead_letters", "parked_types"}
        code(project, url, OLD_HISTORY)
        update(project)
        arrives(project, url, before)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("table", "loss"),
    [("order_lines", "DELETE FROM order_lines;"), ("outbox", "UPDATE outbox SET body = '{}';")],
)
def test_rows_that_are_lost_on_the_way_are_seen(project: Path, table: str, loss: str) -> None:
    """Gone, or with other values."""
    with empty_database() as url:
        before = filled(project, url)
        update(project)
        for way in ("up", "down"):
            (project / f"migrations/chassis/0099_loss.{way}.sql").write_text(loss, "utf-8")
        with pytest.raises(AssertionError, match=table):
            arrives(project, url, before)


@pytest.mark.matrix
@pytest.mark.parametrize("tenancy", ["none", "row", "rls", "schema"])
def test_a_database_of_the_first_state(bake: Bake, tmp_path: Path, tenancy: str) -> None:
    """Made by its own code, however tenants are kept apart."""
    old = generate(first_state(tmp_path), tmp_path / "out", tenancy=tenancy)
    with empty_database() as url:
        before = filled(old, url)
        arrives(bake(tenancy=tenancy), url, before)
