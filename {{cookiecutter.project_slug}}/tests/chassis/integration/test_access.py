"""What PostgreSQL lets the service do: read and write rows, and nothing else. Who may migrate."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from acme_orders.chassis.database import sessions
from acme_orders.chassis.database.access import SERVICE_ROLE, verify_access
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import ConfigurationError, DatabaseError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.scope import system_scope  # feature: rls
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

from dev.postgres import Postgres
from readiness.checklist import CHECKS, go_through
from readiness.rehearsal import Subject
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.conftest import (
    PROJECT,
    Connect,
    consuming,
    count,
    eventually,
    home,
    migrate,
    send,
    settled,
    sold,
)
from tests.chassis.service import SERVICE

SCHEMA_CHANGES = [
    "CREATE TABLE public.mine (id integer)",
    "CREATE SCHEMA mine",
    "ALTER TABLE sales ADD note text",
    "DROP TABLE sales",
    "CREATE INDEX ON sales (status)",
    "TRUNCATE sales",
    "CREATE RULE mine AS ON DELETE TO sales DO INSTEAD NOTHING",
    "CREATE ROLE mine",
    "INSERT INTO schema_migrations (id, checksum, duration_ms) VALUES ('9999_mine', '', 0)",
    "DELETE FROM schema_migrations",
    "CREATE POLICY mine ON sales USING (true)",  # feature: rls
    "ALTER TABLE sales DISABLE ROW LEVEL SECURITY",  # feature: rls
    "UPDATE tenants SET name = 'mine'",  # feature: row, rls, schema
    "DELETE FROM tenants",  # feature: row, rls, schema
]
# What would be too much for the role, and how it is called.
TOO_MUCH = [
    (f"GRANT CREATE ON SCHEMA public TO {SERVICE_ROLE}", "can create objects in schema public"),
    (f"GRANT TRUNCATE ON sales TO {SERVICE_ROLE}", "owns or can truncate .*sales"),
    (f"ALTER TABLE sales OWNER TO {SERVICE_ROLE}", "owns or can truncate .*sales"),
]


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        yield connected


@pytest.fixture
def login(database_url: str) -> Iterator[str]:
    """The database for a role that may log in and act as the service, and is nobody else."""
    name = f"login_{uuid4().hex}"
    rows_of(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE {SERVICE_ROLE}")
    rows_of(database_url, f"GRANT {SYSTEM_ROLE} TO {name}")  # feature: rls
    yield as_role(database_url, name)
    rows_of(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(url: str, name: str, database: str | None = None) -> str:
    """The same server with another login, and another database if one is named."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    path = parts.path if database is None else f"/{database}"
    return urlunsplit(parts._replace(netloc=f"{name}:x@{place}", path=path))


async def refused(manager: Manager, sql: str) -> None:
    """Run SQL in a transaction, and see that PostgreSQL forbids it."""
    with pytest.raises(DatabaseError, match=r"permission denied|must be owner") as forbidden:
        async with manager.transaction("test"), manager.connection() as lease:
            await lease.send(sql)
    assert forbidden.value.sqlstate == "42501"


@pytest.mark.usefixtures("tenant")  # feature: row, rls, schema
@pytest.mark.parametrize("sql", SCHEMA_CHANGES)
async def test_the_service_can_change_no_schema(service: Service, sql: str) -> None:
    """Though a superuser logged in: the session acts as a role that may do none of this."""
    await refused(service.manager, sql)


# feature: rls {
@pytest.mark.parametrize("sql", SCHEMA_CHANGES)
async def test_neither_can_work_for_all_tenants(service: Service, sql: str) -> None:
    """The role that sees the rows of every tenant may do no more with them."""
    with system_scope("test"):
        await refused(service.manager, sql)


# feature: rls }
async def test_a_role_that_reads_and_writes_rows_is_accepted(service: Service) -> None:
    """It is what the service acts as."""
    async with service.manager.connection() as lease:
        assert await lease.rows("SELECT current_user") == [(SERVICE_ROLE,)]
        await verify_access(lease)


@pytest.mark.parametrize(("sql", "reason"), TOO_MUCH)
async def test_a_role_that_may_do_too_much_is_refused(
    connect: Connect, database_url: str, sql: str, reason: str
) -> None:
    """At start, with what it may do."""
    rows_of(database_url, sql)
    with pytest.raises(ConfigurationError, match=f"acts as {SERVICE_ROLE}, which .*{reason}"):
        async with connect():
            pass


async def test_a_superuser_is_refused(database_url: str) -> None:
    """With all that is too much."""
    manager = Manager(DatabaseSettings(database_url=database_url, pool_size=1), Metrics())
    async with manager, manager.connection() as lease:
        with pytest.raises(ConfigurationError) as too_much:
            await verify_access(lease)
    said = str(too_much.value)
    for reason in ("is a superuser", "bypasses row-level security", "can create objects", "owns"):
        assert reason in said
    assert "MIGRATION_DATABASE_URL" in said


async def test_a_login_that_is_nobody_else_runs_the_service(connect: Connect, login: str) -> None:
    """A message is processed, and its event is relayed."""
    async with connect(database_url=login) as service:
        await works(service)


async def works(service: Service) -> None:
    """Process a message, and offer its event to the broker."""
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
    assert await count(service, "sales") == 1
    assert await service.relay.run_once() == 1


async def test_a_login_that_may_not_act_as_the_service_is_told_so(
    connect: Connect, database_url: str, login: str
) -> None:
    """With the GRANT that helps."""
    name = urlsplit(login).username
    rows_of(database_url, f"REVOKE {SERVICE_ROLE} FROM {name}")
    with pytest.raises(ConfigurationError, match=f"DATABASE_URL.*GRANT {SERVICE_ROLE} TO"):
        async with connect(database_url=login):
            pass


async def test_a_server_that_is_too_old_is_refused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its version, the setting and the reason."""
    monkeypatch.setattr(sessions, "OLDEST_SERVER", 99)
    expected = r"\(DATABASE_URL\) is version \d\d: 99 or newer is needed, so that the query"
    with pytest.raises(ConfigurationError, match=expected):
        async with connect():
            pass


class Owned:
    """A server of its own, on which nobody is a superuser but the one who made these roles.

    Attributes:
        owner: URL for who runs the migrations.
        login: URL for the service.
    """

    def __init__(self, server: str, more: str = "") -> None:
        rows_of(server, f"CREATE ROLE owner LOGIN PASSWORD 'x' CREATEROLE CREATEDB {more}")
        rows_of(server, "CREATE DATABASE sales OWNER owner")
        self.owner = as_role(server, "owner", "sales")
        self.login = as_role(server, "login", "sales")
        migrate(self.owner)
        rows_of(self.owner, f"CREATE ROLE login LOGIN PASSWORD 'x' IN ROLE {SERVICE_ROLE}")
        rows_of(self.owner, f"GRANT {SYSTEM_ROLE} TO login")  # feature: rls


@pytest.fixture(scope="module")
def owned() -> Iterator[Owned]:
    """Started for these tests: roles belong to a whole server, and there they are made anew."""
    with Postgres() as server:
        yield Owned(server.url)


async def test_an_owner_that_is_no_superuser_prepares_all_that_the_service_needs(
    owned: Owned, settings: ChassisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an empty server to a message that is processed by a login of the service's own."""
    monkeypatch.chdir(PROJECT)
    changed = settings.model_copy(update={"database_url": owned.login})
    async with connected(SERVICE, changed, Metrics()) as service:
        await works(service)


async def test_an_owner_that_is_no_superuser_passes_the_checklist(
    owned: Owned, settings: ChassisSettings
) -> None:
    """Each check, in scratch databases that it makes itself."""
    changed = settings.model_copy(update={"database_url": owned.owner})
    results = await go_through(Subject(SERVICE, changed, migrations=home() / "migrations"))
    found: list[tuple[str, Any]] = [(each.id, each.findings) for each in results]
    assert found == [(each.id, ()) for each in CHECKS]


def sql_of_the_runbook() -> list[list[str]]:
    """The statements of each block, and each query in a sentence."""
    text = (PROJECT / "docs/runbook.md").read_text("utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    found = [re.sub(r" *--.*", "", each).strip(" \n;").split(";") for each in blocks]
    return found + [[each] for each in re.findall(r"`(SELECT [^`]+)`", text)]


def test_the_sql_of_the_runbook_finds_what_it_is_about() -> None:
    """As an owner that has no right of another role without SET ROLE, and knows of no tenant."""
    tenant = ("", "")
    tenant = ("tenant_id, ", f"'{TENANT}', ")  # feature: row, rls
    add = f"INSERT INTO outbox ({tenant[0]}message_id, type, body) VALUES ({tenant[1]}%s, 'a', '')"
    with ExitStack() as stack:
        owned = Owned(stack.enter_context(Postgres()).url, "NOINHERIT")
        psql = stack.enter_context(closing(open_blocking(owned.owner)))
        cursor = psql.cursor()

        def at_work(*rows: tuple[str, ...]) -> None:
            cursor.execute(f"SET ROLE {SYSTEM_ROLE}")  # feature: rls
            for sql, *values in rows:
                cursor.execute(sql, values)
            cursor.execute("RESET ROLE")

        for reason in ("unheard", "refused"):
            parked = "INSERT INTO parked_types (type, reason, error) VALUES (%s, %s, '')"
            at_work((parked, reason, reason), (add, str(uuid4())))
        cursor.execute("SELECT setval('outbox_id_seq', 1)")
        for block in sql_of_the_runbook():
            for statement in block:
                cursor.execute(statement)
            found = cursor.description and cursor.fetchall()
            assert found or re.search("_progress_|_slots", block[-1]), block
            cursor.execute("RESET ROLE")
        at_work((add, str(uuid4())))
