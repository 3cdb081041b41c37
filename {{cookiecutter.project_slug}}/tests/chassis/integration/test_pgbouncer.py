"""Through PgBouncer, in both of its modes; with every driver that is here.

The hazards through it: `test_pgbouncer_hazards.py`; under faults: `faults/test_pgbouncer.py`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager

import pytest

from acme_orders.chassis.database import session
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.scope import system_scope  # feature: row, rls, schema

from dev.pgbouncer import CONFIGURATION, Mode, NoPgBouncer, PgBouncer
from readiness.scratch import rows_of
from tests.chassis.conftest import PROJECT, consuming, eventually, send, settled, sold
from tests.chassis.service import SERVICE

MODES: tuple[Mode, ...] = ("session", "transaction")
SIZE = 2  # sessions behind PgBouncer: fewer than there are clients


@contextmanager
def bouncing(
    url: str, mode: Mode, *, login: str = "postgres", size: int = SIZE
) -> Iterator[PgBouncer]:
    """PgBouncer before this database; the test is left out where there is none."""
    try:
        with PgBouncer(url, mode=mode, size=size, users=("postgres", login)) as found:
            yield found
    except NoPgBouncer as error:
        pytest.skip(str(error))


def as_login(url: str, login: str) -> str:
    """The same address with another login."""
    return url.replace("postgres@", f"{login}@")


async def altered(url: str, pooled: str, login: str) -> str:
    """Run the statements with which the service refuses to start; returns what it said."""
    manager = Manager(
        DatabaseSettings(database_url=pooled, database_session_url=url),
        Metrics(),
        role=SERVICE_ROLE,
        application="pooled",
    )
    with pytest.raises(ConfigurationError, match=r"do not begin with our .*role") as refused:
        async with manager:
            pass
    said = str(refused.value)
    alterations = re.search(r"ALTER ROLE.*;", said)
    assert alterations
    assert f'ALTER ROLE "{login}"' in said
    rows_of(url, alterations[0])
    return said


@pytest.fixture(params=MODES)
async def pooled(
    request: pytest.FixtureRequest, driver: str, database_url: str, login: str
) -> AsyncIterator[PgBouncer]:
    """PgBouncer, before which a service can start as `login`."""
    with bouncing(database_url, request.param, login=login) as bouncer:
        if bouncer.mode == "transaction":
            url = as_login(bouncer.url(database_url), login)
            await altered(database_url, url, login)
            bouncer.kill()  # its sessions are as they were
            bouncer.start()
        yield bouncer


async def test_a_message_goes_its_way(
    pooled: PgBouncer, settings: ChassisSettings, database_url: str, login: str
) -> None:
    """Consumed, stored and relayed by a service that has verified what it is allowed to."""
    places = {
        "database_url": as_login(pooled.url(database_url), login),
        "database_session_url": as_login(database_url, login),
        "pool_size": SIZE if pooled.mode == "session" else None,
    }
    changed = settings.model_copy(update=places)
    async with connected(SERVICE, changed, Metrics()) as service:
        async with consuming(service):
            await send(service, *(sold() for _ in range(5)))
            await eventually(lambda: settled(service, "done") == 5)
        assert await service.relay.run_once() == 5


async def test_nothing_of_a_transaction_is_seen_in_the_next(
    pooled: PgBouncer, database_url: str, login: str
) -> None:
    """On the same session of PostgreSQL, for the same client or for another one."""
    url = as_login(pooled.url(database_url), login)
    settings = DatabaseSettings(database_url=url, database_session_url=database_url, pool_size=SIZE)
    sessions, seen = set(), set()

    async def look(database: Manager, number: int) -> None:
        limits = Timeouts(statement_timeout=20 + number)
        async with AsyncExitStack() as stack:
            stack.enter_context(system_scope("test"))  # feature: row, rls, schema
            await stack.enter_async_context(database.transaction("a", timeouts=limits))
            await database.fetch_sql("SELECT set_config('leak.number', %s, true)", str(number))
            await database.fetch_sql("SET LOCAL work_mem = '1234kB'")
        async with database.connection() as lease:
            ((pid, *found),) = await lease.rows(
                "SELECT pg_backend_pid(), coalesce(current_setting('leak.number', true), ''), "
                "current_setting('work_mem') = '1234kB', current_setting('statement_timeout'), "
                "current_setting('default_transaction_read_only'), current_user, "
                "current_setting('TimeZone'), current_setting('role')"
            )
        sessions.add(pid)
        seen.add(tuple(found))

    # In session mode each client has one session for as long as it is there.
    count = 1 if pooled.mode == "session" else 3
    for _ in range(3):
        managers = [
            Manager(settings, Metrics(), role=SERVICE_ROLE, application="leak")
            for _ in range(count)
        ]
        for database in managers:
            await database.__aenter__()
        await asyncio.gather(*(look(each, number) for number in range(8) for each in managers))
        for database in managers:
            await database.__aexit__(None, None, None)
    assert seen == {("", False, "30s", "on", SERVICE_ROLE, "UTC", SERVICE_ROLE)}
    assert len(sessions) <= SIZE


async def test_a_pooler_that_the_address_does_not_name_is_named(
    driver: str, database_url: str
) -> None:
    """It refuses startup options; the error says what to write."""
    with bouncing(database_url, "session") as bouncer:
        url = bouncer.url(database_url).partition("?")[0]
        with pytest.raises(ConfigurationError, match=r"is a pooler.*\?pooler=session"):
            async with Manager(DatabaseSettings(database_url=url), Metrics()):
                pass


async def test_what_needs_a_session_is_refused_where_there_is_none(database_url: str) -> None:
    """Before anything is sent."""
    url = f"{database_url}?pooler=transaction"
    with pytest.raises(ConfigurationError, match="no session of one's own"):
        open_blocking(url)
    with pytest.raises(ValueError, match="DATABASE_SESSION_URL"):
        DatabaseSettings(database_url=url)


async def test_a_blocking_session_is_ours_through_a_pooler_of_sessions(
    driver: str, database_url: str
) -> None:
    """Its pins are there, and gone with it."""
    rows_of(
        database_url,
        f"ALTER DATABASE {database_url.rpartition('/')[2]} SET timezone = 'Asia/Tokyo'",
    )
    with bouncing(database_url, "session", size=1) as bouncer:
        for _ in range(2):
            with closing(open_blocking(bouncer.url(database_url))) as opened:
                cursor = opened.cursor()
                cursor.execute(session.SETTINGS)
                session.refuse_others(dict(cursor.fetchall()))


def test_the_documents_show_what_was_tested() -> None:
    """Each setting of the page is one of these tests."""
    page = (PROJECT / "docs" / "database.md").read_text("utf-8")
    shown = re.search(r"```ini\n(.*?)```", page, re.DOTALL)
    assert shown
    page_says, tested = (
        dict(re.findall(r"^(\w+) = (.*)$", text.partition("[pgbouncer]")[2], re.MULTILINE))
        for text in (shown[1], CONFIGURATION)
    )
    assert page_says.keys() <= tested.keys()
    for name in ("server_reset_query", "query_wait_timeout", "max_client_conn"):
        assert page_says[name] == tested[name]
