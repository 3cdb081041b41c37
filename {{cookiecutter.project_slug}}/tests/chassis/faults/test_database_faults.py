"""F23 to F30 and F41: PostgreSQL fails under load, and no message loses an attempt by it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.driver import DriverError
from acme_orders.chassis.errors import DatabaseUnavailable

from dev.postgres import Postgres
from readiness.scratch import session
from tests.chassis.conftest import eventually, migrate
from tests.chassis.faults.conditions import arrived, at_least
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site
from tests.chassis.service import SERVICE

ADD = "acme_orders.chassis.messaging.outbox:Outbox.add"
ACK = "acme_orders.chassis.rabbitmq.broker:RabbitBroker.ack"
MOST = 40  # connections that the server allows
OURS = f"FROM pg_stat_activity WHERE application_name = '{SERVICE.name}'"
OTHERS = "FROM pg_stat_activity WHERE application_name = 'others'"
IN_A_BATCH = (
    f"before:{ADD}:kill@25",
    f"after:{ACK}:kill",
    pytest.param(f"before:{ACK}:kill", marks=pytest.mark.long),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of this module alone, which may be killed."""
    with Postgres(settings={"max_connections": str(MOST), "deadlock_timeout": "50ms"}) as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Postgres) -> str:
    """A database with the schema, to be copied."""
    url = server.create_database()
    migrate(url)
    return url


@pytest.fixture
def database_url(server: Postgres, template: str) -> Iterator[str]:
    """A database on this server, so that all fixtures use it."""
    url = server.create_database(template=template)
    yield url
    server.drop_database(url)


@pytest.fixture
def environment() -> dict[str, str]:
    """Limits that end every wait soon."""
    return {
        "ACQUIRE_TIMEOUT": "1s",
        "CONNECT_TIMEOUT": "1s",
        "STATEMENT_TIMEOUT": "1s",
        "LOCK_TIMEOUT": "500ms",
        "HANDLER_TIMEOUT": "15s",
    }


@pytest.fixture
async def pair(fleet: Fleet) -> Fleet:
    """Two processes at work."""
    await asyncio.gather(fleet.start(), fleet.start())
    return fleet


async def paused(fleet: Fleet) -> bool:
    """Whether all processes have stopped to consume."""
    states = [await member.metric("consumer_paused") for member in fleet.members]
    return all(states)


async def spent_nothing(fleet: Fleet, site: Site, load: Load) -> None:
    """All has arrived, nobody pauses any more, and it has cost no message an attempt."""
    await eventually(lambda: arrived(site, load))
    await eventually(lambda: _resumed(fleet))
    assert await fleet.metric("message_retries_total") == 0
    assert await fleet.metric("dead_letters_total") == 0
    for member in fleet.members:
        assert member.lives == 1
        assert not member.records("message.failed")


@pytest.mark.parametrize("seconds", [2, pytest.param(25, marks=pytest.mark.long)])
@pytest.mark.fault("F23", "PostgreSQL is killed and comes back")
async def test_killed(
    seconds: float, server: Postgres, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Messages are held, and not one of them loses an attempt."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(200, duplicates=20, rate=60))
        await eventually(lambda: site.count("sales"))
        await asyncio.to_thread(server.kill)
        try:
            await eventually(lambda: paused(pair))
            await asyncio.sleep(seconds)  # so long it is away
        finally:
            await asyncio.to_thread(server.start)
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F24", "all sessions are ended, again and again")
async def test_ended_sessions(
    server: Postgres, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Whoever was inside a transaction starts anew; nothing happens twice."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(load.send(300, rate=60))
        ended = 0
        while not sending.done():
            ended += len(await site.rows(f"SELECT pg_terminate_backend(pid) {OURS}"))
            await asyncio.sleep(0.2)
    assert ended > 10
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F25", "PostgreSQL stands still")
async def test_frozen(
    server: Postgres, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """No answer is an outage too, though nothing is closed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(200, rate=60))
        await eventually(lambda: site.count("sales"))
        server.pause()
        try:
            await eventually(lambda: paused(pair))
        finally:
            server.resume()
    await spent_nothing(pair, site, load)
    (await settle()).check()


@contextmanager
def full(server: Postgres) -> Iterator[None]:
    """Others have every connection that the server allows, those of the service included."""
    with ExitStack() as stack:
        others = f"{server.url}?application_name=others"
        first = stack.enter_context(closing(open_blocking(others)))
        while True:
            with first.cursor() as cursor:
                cursor.execute(f"SELECT pg_terminate_backend(pid, 5000) {OURS}")
            with suppress(DatabaseUnavailable):
                while True:
                    stack.enter_context(closing(open_blocking(others)))
            with first.cursor() as cursor:
                cursor.execute(f"SELECT count(*) {OTHERS}")
                if cursor.fetchall() == [(MOST,)]:
                    break
        yield


@pytest.mark.long
@pytest.mark.fault("F27", "no connection is left")
async def test_too_many_connections(
    server: Postgres, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Others have them all: an outage, and no fault of the messages."""
    with full(server):
        await load.send(100)
        await eventually(lambda: paused(pair))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F28", "somebody has locked the inbox")
async def test_a_locked_table(site: Site, load: Load, pair: Fleet, settle: Settle) -> None:
    """Each attempt ends with a conflict, more often than the ladder has steps; none is counted."""
    with session(site.database_url) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
        await load.send(20)
        await eventually(at_least(20 * 5, pair, "message_retries_total"))
        cursor.execute("COMMIT")
    await eventually(lambda: arrived(site, load))
    assert await pair.metric("dead_letters_total") == 0
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F29", "a storm of deadlocks")
async def test_deadlocks(site: Site, load: Load, pair: Fleet, settle: Settle) -> None:
    """Somebody locks two tables in the other sale; the unit of work is run again."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(load.send(300, rate=50))
        while not sending.done():
            await asyncio.to_thread(_lock_in_the_other_order, site.database_url)
    await eventually(lambda: arrived(site, load))
    assert await pair.metric("db_transaction_retries_total", reason="deadlock") > 0
    assert await pair.metric("dead_letters_total") == 0
    (await settle()).check()


@pytest.mark.fault("F30", "eight copies of each message at once")
async def test_concurrent_duplicates(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Two processes with single messages: one of eight counts, whoever has it."""
    sales = await load.send(20)
    for sent in sales:
        await asyncio.gather(*(load.publish(sent) for _ in range(7)))
    alone = {"BATCH_SIZE": "1", "CONCURRENCY": "8"}
    await asyncio.gather(fleet.start(environment=alone), fleet.start(environment=alone))
    await eventually(at_least(20 * 7, fleet, "messages_processed_total", outcome="duplicate"))
    assert await fleet.metric("messages_processed_total", outcome="done") == 20
    (await settle()).check()


@pytest.fixture
def one_batch() -> dict[str, str]:
    """All that waits in one transaction."""
    return {"BATCH_SIZE": "50", "CONCURRENCY": "1"}


@pytest.mark.fault("F41", "some of a batch fail")
async def test_some_of_a_batch_fail(
    load: Load, fleet: Fleet, settle: Settle, one_batch: dict[str, str]
) -> None:
    """Each is judged for itself; a bad one never hurts its neighbours."""
    await load.send(40)
    await load.send(6, fate="fail-1")
    await load.send(4, fate="refuse", expected="dead letter")
    await fleet.start(environment=one_batch)
    account = await settle()
    account.check()
    assert account.dead.total() == 4


@pytest.mark.parametrize("point", IN_A_BATCH)
@pytest.mark.fault("F41", "crash within a batch, and after its commit")
async def test_a_crash_in_a_batch(
    point: str, site: Site, load: Load, fleet: Fleet, settle: Settle, one_batch: dict[str, str]
) -> None:
    """All of it or nothing is committed; what was committed is not done again."""
    await load.send(50)
    await fleet.start(point, supervised=True, ready=False, environment=one_batch)
    account = await settle()
    account.check()
    assert len(fleet.members[0].statuses) == 2


def _lock_in_the_other_order(url: str) -> None:
    with session(url) as cursor, suppress(DriverError):
        cursor.execute("BEGIN; LOCK TABLE sales IN EXCLUSIVE MODE")
        cursor.execute("SELECT pg_sleep(0.02)")
        cursor.execute("LOCK TABLE inbox IN EXCLUSIVE MODE; COMMIT")


async def _resumed(fleet: Fleet) -> bool:
    return await fleet.metric("consumer_paused") == 0
