"""`doctor --live` on a server of its own: what is well, and each thing that is not, planted."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from acme_orders.chassis.cli.live import Large, looked
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.operations.queries import Queries

from dev.postgres import Postgres
from readiness.scratch import rows_of, session
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.acceptance.test_command_line import run
from tests.chassis.conftest import migrate
from tests.chassis.integration.migrating import wait_until

SOON = Large(rows=1000, scans=3, days=0)
KNOWN = "SELECT type FROM inbox WHERE consumer = 'c' AND source = 's' AND id = '1'"
OTHERS = """
SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
STRANGE = "SELECT count(*) FROM inbox WHERE type LIKE '%strange'"
TENANT_COLUMN, TENANT_VALUE = "", ""
TENANT_COLUMN, TENANT_VALUE = "tenant_id, ", f"'{TENANT}', "  # feature: row, rls
PLANTED = (
    "ALTER SYSTEM SET autovacuum = off",
    "SELECT pg_reload_conf()",
    "CREATE TABLE planted (id integer, n integer) WITH (autovacuum_enabled = off)",
    "INSERT INTO planted SELECT n, n % 10 FROM generate_series(1, 5000) AS n",
    "CREATE INDEX planted_short ON planted (n)",
    "CREATE INDEX planted_long ON planted (n, id)",
    "CREATE UNIQUE INDEX CONCURRENTLY planted_broken ON planted (n)",
    "UPDATE planted SET n = n",
    "SELECT sum(id) FROM planted",
    "SELECT sum(id) FROM planted",
    "SELECT sum(id) FROM planted",
    "ANALYZE planted",
    f"""INSERT INTO outbox ({TENANT_COLUMN}message_id, type, body, created_at)
        VALUES ({TENANT_VALUE}gen_random_uuid(), 'planted', '{{}}', now() - interval '1 hour')""",
)


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A database with the schema, on a server that counts statements."""
    settings = {"shared_preload_libraries": "pg_stat_statements", "full_page_writes": "on"}
    with Postgres(settings={**settings, "fsync": "on"}) as running:
        url = running.create_database()
        migrate(url)
        rows_of(url, "CREATE EXTENSION pg_stat_statements")
        yield url


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """The folder with what one query sends."""
    sql = KNOWN.replace("'c'", "$1").replace("'s'", "$2").replace("'1'", "$3").split(" FROM ")
    text = json.dumps({"statements": [{"sql": [sql[0], f"FROM {sql[1]}"]}]})
    (tmp_path / "inbox.find.json").write_text(text, "utf-8")
    return tmp_path


def test_a_database_that_is_well_and_one_that_is_not(database_url: str, contracts: Path) -> None:
    """Each finding has the name of what it is about, and what helps."""
    _send(database_url, KNOWN)
    well = looked(database_url, contracts, SOON)
    assert [each for each in well if each.wrong] == []
    assert ("statements", "the 1 that take longest have contracts", False) in well

    for sql in PLANTED:
        with suppress(*([driver.DriverError] if "broken" in sql else [])):
            rows_of(database_url, sql)
        # A session counts in its end what it has done, and ANALYZE counts all of that.
        wait_until(lambda: not rows_of(database_url, OTHERS))
    _send(database_url, STRANGE)
    told = {each.part: each.says for each in looked(database_url, contracts, SOON) if each.wrong}

    for part, says, helps in (
        ("settings of PostgreSQL", "autovacuum is off", "ALTER SYSTEM SET"),
        ("invalid indexes", "planted_broken ", "DROP INDEX CONCURRENTLY"),
        ("unused indexes", "planted_long ", "DROP INDEX CONCURRENTLY"),
        ("duplicate indexes", "planted_short is the beginning of planted_long", "a migration"),
        ("whole tables that are read", "planted ", "an index begins with"),
        ("bloat", "planted 5000 dead rows beside 5000", "VACUUM"),
        ("statements", "FROM inbox WHERE type LIKE", "make contracts-update"),
    ):
        found = told.pop(part)
        assert says in found
        assert helps in found
    assert told == {}

    ended = run("doctor", "--live", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "waits  outbox: 1 events wait, the oldest for 1:0" in ended.stdout
    assert "waits  invalid indexes: planted_broken " in ended.stdout
    ended = run("doctor", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert "indexes:" not in ended.stdout
    assert ended.stderr == ""


async def test_it_can_do_without_the_statements(database_url: str, contracts: Path) -> None:
    """It says why they cannot be seen; the operations page shows them as long as they are there."""
    nothing: Any = None  # that it asks about the statements
    page = Queries(nothing, nothing, {}, url=database_url)
    _send(database_url, STRANGE.replace("%", "<b>"))
    shown = await page.busiest()
    assert shown is not None
    statement = "<td><code>SELECT count(*) FROM inbox WHERE type LIKE $1</code></td>"
    measured = r"<td>1</td><td>\d+\.\d ms</td><td>\d+\.\d s</td>"
    assert re.search(re.escape(statement) + measured, shown)
    rows_of(database_url, "DROP EXTENSION pg_stat_statements")
    assert await page.busiest() is None
    says = {each.part: each.says for each in looked(database_url, contracts)}["statements"]
    rows_of(database_url, "CREATE EXTENSION pg_stat_statements")  # for the other test
    assert "CREATE EXTENSION pg_stat_statements" in says


def _send(url: str, sql: str) -> None:
    with session(url) as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")
        cursor.execute(f"SET ROLE {SERVICE_ROLE}")
        cursor.execute(sql)
