"""Evidence decides who is to blame: what only some messages meet is theirs, what all meet is not.

Everything here happens in a real PostgreSQL, with every driver that is here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import DatabaseUnavailable
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, eventually, rows, send, settled, sold
from tests.chassis.integration.blame import (
    all_judged,
    bad,
    ended,
    fates,
    meeting,
    of_type,
    put,
    untouched,
)
from tests.chassis.integration.hazards_bare import OFTEN_ONE, use_driver
from tests.chassis.integration.test_protection import everything, metric
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade
from tests.chassis.slices.sales.repository import Sales

LONG = 300.0  # seconds; each of these takes a few, on a machine that has nothing else to do
SOON = 60.0  # likewise five, after the cause has ended
OTHER = "sale.other"
FAIL = """
    CREATE FUNCTION fail(state text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'made to fail' USING ERRCODE = state; END $$
"""


@pytest.fixture(params=OFTEN_ONE)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each driver."""
    use_driver(request.param, monkeypatch)


@pytest.fixture
async def service(connect: Connect, driver: None) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        await rows(connected, FAIL)
        yield connected


@pytest.fixture(autouse=True)
def logs() -> Any:
    """Nobody reads hundreds of tracebacks, and to print them takes longer than all the rest."""
    with capture_logs() as logs:
        yield logs


# What only some messages meet


def statement(sql: str) -> Callable[[Sales, str], Any]:
    """Send this to PostgreSQL."""

    async def meet(sales: Sales, _: str) -> None:
        await sales.fetch_sql(sql)

    return meet


THEIRS = {
    "a statement that is not supported": "SELECT count(*) FROM pg_class GROUP BY oid FOR UPDATE",
    "a table that is not there": "SELECT 1 FROM nowhere",
    "a column that is not there": "SELECT nothing FROM pg_class",
    "a right that is not given": "SELECT rolpassword FROM pg_authid",
    "a function that is not there": "SELECT nothing()",
    "an object in another state": "SELECT currval('outbox_id_seq')",
    "its session is ended": "SELECT pg_terminate_backend(pg_backend_pid())",
    "too large a temporary file": "SELECT fail('53400')",
    "an error of the disk": "SELECT fail('58030')",
    "an internal error": "SELECT fail('XX000')",
    "a write that is not allowed": "SELECT fail('25006')",
}


@pytest.mark.parametrize(
    ("sql", "handlers"),
    [
        pytest.param(
            sql,
            handlers,
            id=f"{name}-{handlers}",
            marks=[pytest.mark.long] if (place + number) % 3 else [],
        )
        for place, (name, sql) in enumerate(THEIRS.items())
        for number, handlers in enumerate(["of one", "of many"])
    ],
)
async def test_what_only_some_messages_meet_is_theirs(
    service: Service, sql: str, handlers: str
) -> None:
    """They are dead letters in the end, and the others are done; some before, some after them."""
    meeting(service, statement(sql), together=handlers == "of many")
    async with everything(service):
        await send(service, *(bad() for _ in range(8)))
        await eventually(lambda: metric(service, "db_client_errors_total", **failed(service)) >= 3)
        await all_judged(service, dead=8, within=LONG)
    assert (await fates(service)).dead == {"retries_exhausted": 8}
    found = await rows(service, "SELECT DISTINCT error_type FROM dead_letters")
    assert {name for (name,) in found} <= {"DatabaseError", "DatabaseUnavailable"}
    assert metric(service, "consumer_paused", reason="failures") == 0
    assert metric(service, "consumer_paused", reason="outage") == 0


def failed(service: Service) -> dict[str, str]:
    """The labels of the errors of unregistered statements."""
    for each in service.metrics.registry.collect():
        for sample in each.samples:
            if sample.name == "db_client_errors_total" and sample.labels["query"] == "unregistered":
                return sample.labels
    return {}


async def test_a_session_that_takes_too_long(service: Service) -> None:
    """PostgreSQL ends it (25P03); slow messages are theirs, and no outage for the others."""

    async def idle(sales: Sales, _: str) -> None:
        await sales.fetch_sql("SET LOCAL idle_in_transaction_session_timeout = 100")
        await asyncio.sleep(0.3)

    meeting(service, idle)
    async with everything(service):
        await send(service, *(bad() for _ in range(4)), *(sold() for _ in range(40)))
        await all_judged(service, done=40, dead=4, within=LONG)
    assert settled(service, "put_back") == 0


async def test_rows_of_others_that_a_check_refuses(service: Service) -> None:
    """A value that never fits says nothing about the others: no circuit opens, however many."""
    meeting(service, statement("SELECT 1 / 0"))
    async with everything(service):
        await send(service, *(bad() for _ in range(110)))
        await send(service, *(sold() for _ in range(20)))
        await eventually(lambda: ended(service, 20, 110), within=LONG)
    assert (await fates(service)).dead == {"constraint": 110}
    assert settled(service, "retried") == 0


async def test_our_own_statement_that_only_some_messages_break(service: Service) -> None:
    """A check that somebody has added to the outbox refuses what these announce."""
    await rows(service, """ALTER TABLE outbox ADD CHECK (body NOT LIKE '%"total_cents":1}')""")
    async with everything(service):
        await send(service, *(bad() for _ in range(4)), *(sold() for _ in range(20)))
        await all_judged(service, done=20, dead=4, within=LONG)
    assert (await fates(service)).dead == {"constraint": 4}


# What nobody can do


BROKEN = {
    "the inbox is renamed": (
        "ALTER TABLE inbox RENAME TO gone",
        "ALTER TABLE gone RENAME TO inbox",
    ),
    "the outbox is renamed": (
        "ALTER TABLE outbox RENAME TO gone",
        "ALTER TABLE gone RENAME TO outbox",
    ),
    "a table of the business is renamed": (
        "ALTER TABLE sale_lines RENAME TO gone",
        "ALTER TABLE gone RENAME TO sale_lines",
    ),
    "a column is renamed": (
        "ALTER TABLE sales RENAME made_at TO gone",
        "ALTER TABLE sales RENAME gone TO made_at",
    ),
    "no right to the outbox": (
        "REVOKE INSERT ON outbox FROM acme_orders_service",
        "GRANT INSERT ON outbox TO acme_orders_service",
    ),
    "no right to a table of the business": (
        "REVOKE SELECT ON buyers FROM acme_orders_service",
        "GRANT SELECT ON buyers TO acme_orders_service",
    ),
    "a sequence that is behind its rows": (
        "SELECT setval('outbox_id_seq', 1)",
        "SELECT setval('outbox_id_seq', 1000)",
    ),
    "a sequence that is used up": (
        "ALTER SEQUENCE outbox_id_seq MAXVALUE 1000; SELECT setval('outbox_id_seq', 1000)",
        "ALTER SEQUENCE outbox_id_seq NO MAXVALUE",
    ),
    "a trigger on the inbox": (
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'no' USING ERRCODE = 'P0001'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
        "DROP TRIGGER refuse ON inbox",
    ),
    "a deferred trigger on the outbox": (
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'no' USING ERRCODE = '23514'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
        "DROP TRIGGER refuse ON outbox",
    ),
    "a check on the inbox": (
        "ALTER TABLE inbox ADD CONSTRAINT never CHECK (false) NOT VALID",
        "ALTER TABLE inbox DROP CONSTRAINT never",
    ),
    "the disk is full": (
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON sales FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
        "DROP TRIGGER refuse ON sales",
    ),
    "all sessions are ended at once": (
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON sales FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
        "DROP TRIGGER refuse ON sales",
    ),
}


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        pytest.param(*each, id=name, marks=[pytest.mark.long] if place % 2 else [])
        for place, (name, each) in enumerate(BROKEN.items())
    ],
)
async def test_what_nobody_can_do_spends_no_attempt(
    service: Service, broken: str, mended: str, logs: list[Any]
) -> None:
    """It is waited out in the middle of the work, said twice, and all goes on soon after it."""
    async with everything(service):
        await send(service, *(sold() for _ in range(20)))
        await eventually(lambda: ended(service, 20, 0), within=LONG)
        await rows(service, broken)
        await send(service, *(sold() for _ in range(20)))
        await eventually(lambda: metric(service, "consumer_paused", reason="failures") == 1)
        told = await state(service)
        await asyncio.sleep(2)  # so long it lasts
        assert untouched(service)
        await rows(service, mended)
        began = time.monotonic()
        await eventually(lambda: ended(service, 40, 0), within=LONG)
        assert time.monotonic() - began < SOON
        await eventually(lambda: metric(service, "consumer_paused", reason="failures") == 0)
    assert untouched(service)
    assert "sale.made for" in told
    lines = [each["event"] for each in logs if each["event"].startswith("consumer.")]
    assert lines == ["consumer.paused", "consumer.resumed"]


async def test_a_duplicate_says_nothing(service: Service) -> None:
    """Nothing is done for it, so it neither closes a circuit nor makes another message guilty."""
    done = [sold() for _ in range(4)]
    async with everything(service):
        await send(service, *done)
        await eventually(lambda: ended(service, 4, 0), within=LONG)
        await rows(service, "ALTER TABLE sale_lines RENAME TO gone")
        await send(service, *(sold() for _ in range(20)))
        await eventually(lambda: metric(service, "consumer_paused", reason="failures") == 1)
        await send(service, *done)
        await eventually(lambda: settled(service, "duplicate") == len(done), within=LONG)
        assert untouched(service)
        await rows(service, "ALTER TABLE gone RENAME TO sale_lines")
        await eventually(lambda: ended(service, 24, 0), within=LONG)
    assert untouched(service)


async def state(service: Service) -> str:
    """What `/ready` says about the consumer."""
    try:
        return await service.triage.check()
    except DatabaseUnavailable as error:
        return str(error)


async def test_ready_is_red_if_nothing_at_all_can_be_processed(service: Service) -> None:
    """And stays green if messages of one kind cannot: there may be others, and an API."""
    await rows(service, "ALTER TABLE sale_lines RENAME TO gone")
    async with everything(service):
        await send(service, *(sold() for _ in range(5)))
        await eventually(service.triage.check)
        await rows(service, "ALTER TABLE gone RENAME TO sale_lines")
        await eventually(lambda: ended(service, 5, 0), within=LONG)
        await rows(service, "ALTER TABLE outbox RENAME TO gone")
        await send(service, sold())
        with pytest.raises(DatabaseUnavailable, match=r"nor does a harmless message pass"):
            while True:
                await service.triage.check()
                await asyncio.sleep(0.02)
        await rows(service, "ALTER TABLE gone RENAME TO outbox")
        await eventually(lambda: ended(service, 6, 0), within=LONG)
    assert await service.triage.check() == ""


# Who is alone, who is in a crowd


async def test_who_is_alone_spends_an_attempt_after_a_while(connect: Connect, driver: None) -> None:
    """There is no evidence either way, and it must not wait for ever."""
    async with connect(hold_timeout=1.0) as service:
        meeting(service, statement("SELECT 1 FROM nowhere"))
        async with everything(service):
            began = time.monotonic()
            await send(service, bad())
            await eventually(lambda: ended(service, 0, 1), within=LONG)
            assert time.monotonic() - began > 3  # three attempts
    assert (await fates(service)).dead == {"retries_exhausted": 1}


async def test_other_kinds_go_on(service: Service) -> None:
    """A table that only one kind needs is gone: the others do not wait for it."""
    good = service.handlers[SALE_MADE]

    async def nowhere(sale: SaleMade) -> None:
        await Sales(service.manager).fetch_sql("SELECT 1 FROM nowhere")

    service.handlers[OTHER] = Handler(SaleMade, nowhere)
    async with everything(service):
        await put(service, *(of_type(OTHER, sold()) for _ in range(20)))
        await eventually(lambda: metric(service, "consumer_paused", reason="failures") == 1)
        await send(service, *(sold() for _ in range(50)))
        await eventually(lambda: ended(service, 50, 0), within=LONG)
        assert untouched(service)
        assert metric(service, "consumer_paused", reason="failures") == 1
        service.handlers[OTHER] = good
        await eventually(lambda: ended(service, 70, 0), within=SOON)
    assert untouched(service)


async def test_bad_ones_at_the_head_do_not_keep_out_good_ones(
    connect: Connect, driver: None
) -> None:
    """More of them than are ever in hand: they go to the end of the queue, in turn."""
    async with connect(prefetch=10, concurrency=2, batch_size=5) as service:
        meeting(service, statement("SELECT 1 FROM nowhere"))
        async with everything(service):
            await send(service, *(bad() for _ in range(25)))
            await eventually(lambda: metric(service, "consumer_paused", reason="failures") == 1)
            await all_judged(service, dead=25, within=LONG)
    assert settled(service, "put_back") >= 10


async def test_sessions_that_are_ended_at_random(connect: Connect, driver: None) -> None:
    """Whoever it hits is not to blame."""
    async with connect(batch_size=5, concurrency=4) as service, everything(service):
        sent = killed = 0
        while killed < 10:
            if sent - settled(service, "done") < 100:  # the last few would be hit each time
                await send(service, *(sold() for _ in range(300)))
                sent += 300
            killed += len(await rows(service, KILL_ONE))
            await asyncio.sleep(0.02)
        await eventually(lambda: ended(service, sent, 0), within=LONG)
    assert untouched(service)


KILL_ONE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY random() LIMIT 1
"""


async def test_several_processes(connect: Connect, broker_url: str, driver: None) -> None:
    """Each gathers evidence of its own, and both come to the same end."""
    async with connect(broker_url=broker_url) as one, connect(broker_url=broker_url) as other:
        for each in (one, other):
            meeting(each, statement("SELECT pg_terminate_backend(pg_backend_pid())"))
        async with everything(one), everything(other):
            await send(one, *(bad() for _ in range(6)))
            done = await all_judged(one, dead=6, within=LONG)
        assert settled(one, "done") + settled(other, "done") == done
