"""For each metric the event that its help text names, made to happen to a running service."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.errors import BrokerUnavailable, Conflict, DatabaseError
from acme_orders.chassis.http.clients import ClientLimits
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.server import listen as listen_on
from acme_orders.chassis.http.server import serve
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.migrations.reported import MigrationReport
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.loop import watch_loop
from acme_orders.chassis.observability.probes import operations
from acme_orders.chassis.observability.sink import Sink
from acme_orders.chassis.process.run import _clients
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.process.shutdown import Shutdown
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import consuming, count, eventually, rows, send, settled, sold
from tests.chassis.integration.outbox_events import HEARD, POISON, UNHEARD, add, relays, smuggle
from tests.chassis.integration.test_protection import delivery, everything, handle
from tests.chassis.slices.sales.messages import SALE_BOOKED
from tests.chassis.slices.sales.repository import Sales

HOUR_AGO = "now() - interval '1 hour'"


@dataclass(frozen=True)
class Cause:
    """An event, and what it moves.

    Args:
        families: of metrics.
        happens: makes it happen; the metrics have moved before the end of its block.
        settings: of the service that it happens to.
        on_rabbitmq: whether it needs a real broker.
    """

    families: frozenset[str]
    happens: Callable[[Service], AbstractAsyncContextManager[None]]
    settings: dict[str, Any]
    on_rabbitmq: bool


CAUSES: dict[str, Cause] = {}


def moves(*families: str, on_rabbitmq: bool = False, **settings: Any) -> Callable[[Any], Any]:
    """This event moves these families."""

    def register(happens: Any) -> Any:
        made = asynccontextmanager(happens)
        CAUSES[happens.__name__] = Cause(frozenset(families), made, settings, on_rabbitmq)
        return happens

    return register


def dated() -> Message:
    """A message that says when it was sent."""
    return replace(sold(), timestamp=datetime.now(UTC))


@moves(
    *("messages_received", "messages_processed", "handler_duration_seconds", "batch_messages"),
    *("message_age_seconds", "outbox_published", "db_client_operation_duration_seconds"),
    *("db_client_connection_wait_time_seconds", "db_client_connection_use_time_seconds"),
    *("db_client_connection_create_time_seconds", "db_transaction_duration_seconds"),
    *("db_client_connections_max", "db_client_connections"),
)
async def a_message_is_processed(service: Service) -> AsyncIterator[None]:
    """And its event is published."""
    await service.broker.declare("events", [Queue("listener", bindings=(SALE_BOOKED,))])
    async with consuming(service):
        await send(service, dated())
        await eventually(lambda: settled(service, "done") == 1)
        await service.relay.run_once()
    yield


@moves("messages_in_flight", "part_heartbeat_timestamp_seconds")
async def a_message_is_in_its_handler(service: Service) -> AsyncIterator[None]:
    """It has been taken, and is not settled."""
    done = asyncio.Event()

    async def wait(_: Any) -> None:
        await done.wait()

    handle(service, wait)
    async with consuming(service):
        await send(service, sold())
        yield
        done.set()


@moves(
    *("message_retries", "dead_letters", "dead_letters_archived", "dead_letters_waiting"),
    "dead_letters_oldest_seconds",
)
async def messages_fail(service: Service) -> AsyncIterator[None]:
    """One that may succeed later, and one that never will, which waits for a decision."""

    async def fail(_: Any) -> None:
        raise ZeroDivisionError

    handle(service, fail)
    async with everything(service):
        await send(service, sold(), sold(lines=[]))

        async def stored() -> bool:
            return await count(service, "dead_letters") > 0

        await eventually(stored)
    async with everything(service):  # the next report
        yield


@moves(
    *("acks_lost", "late_acks", "messages_returned", "broker_reconnects", "broker_connected"),
    on_rabbitmq=True,
)
async def a_connection_breaks_before_an_ack(service: Service) -> AsyncIterator[None]:
    """What was committed is delivered again, on a new connection."""
    real, link = service.broker.ack, service.broker._consuming  # type: ignore[attr-defined]

    async def ack(deliveries: Any) -> Any:
        service.broker.ack = real  # type: ignore[method-assign]
        await link._connection.close()
        await eventually(lambda: not link.connected)
        return await real(deliveries)

    service.broker.ack = ack  # type: ignore[method-assign]
    async with consuming(service):
        await send(service, sold())
        yield


@moves("suspects")
async def a_message_comes_back_too_often(service: Service) -> AsyncIterator[None]:
    """It is set apart."""
    await service.consumer.process([delivery(sold(), returns=99)])
    yield


@moves("consumer_stalls", stall_timeout=0.2)
async def deliveries_stop(service: Service) -> AsyncIterator[None]:
    """Though a message waits, and a consumer is there."""
    async with consuming(service):
        (waiting,) = (
            each
            for name, each in service.broker._queues.items()  # type: ignore[attr-defined]
            if name == service.topology.main.name
        )
        await eventually(lambda: waiting.subscriptions)
        waiting.subscriptions[0].active = False
        await send(service, sold())
        try:
            yield
        finally:
            waiting.messages.clear()


@moves("queue_messages", "queue_consumers", "topology_restored", on_rabbitmq=True)
async def somebody_deletes_a_queue(service: Service) -> AsyncIterator[None]:
    """And another one has a message, and a consumer that is not ours."""
    declarations = service.broker._declarations  # type: ignore[attr-defined]
    async with declarations._channel() as channel:
        await channel.queue_delete(service.topology.suspects.name)
    await service.broker.publish(
        Message(b"{}", "1"), exchange="", routing_key=service.topology.ladder[-1].name
    )
    await service.broker.consume(
        service.topology.dead_letters.name, prefetch=1, deliver=lambda _: None
    )
    await service.topology_watch.look()
    yield


@moves("topology_problems")
async def a_queue_is_missing(service: Service) -> AsyncIterator[None]:
    """And cannot be declared again."""
    del service.broker._queues[service.topology.suspects.name]  # type: ignore[attr-defined]
    await service.topology_watch.look()
    yield


@moves("consumer_paused")
async def rabbitmq_takes_no_copies(service: Service) -> AsyncIterator[None]:
    """A message that failed has to wait in hand."""
    real = service.broker.publish

    async def publish(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("out of order")

    async with consuming(service):
        await send(service, sold(lines=[]))
        service.broker.publish = publish  # type: ignore[method-assign]
        yield
        service.broker.publish = real  # type: ignore[method-assign]


@moves("outbox_pending", "outbox_oldest_seconds")
async def events_wait(service: Service) -> AsyncIterator[None]:
    """For an hour already."""
    await smuggle(service, available_at="now() + interval '1 hour'", created_at=HOUR_AGO)
    async with relays(service):
        yield


@moves(
    *("outbox_parked", "outbox_parked_types", "outbox_parked_oldest_seconds"),
    *("outbox_publish_failures", "outbox_dropped"),
    unheard_retention=4000,
)
async def nobody_listens_to_events(service: Service) -> AsyncIterator[None]:
    """They are parked, and those that are too old are dropped."""
    await smuggle(service, type=f"'{UNHEARD}'", created_at=HOUR_AGO)
    async with relays(service):
        await eventually(lambda: _value(service, "outbox_publish_failures_total") > 0)
    await smuggle(
        service,
        type=f"'{UNHEARD}'",
        available_at="'infinity'",
        created_at="now() - interval '2 hours'",
    )
    async with relays(service):
        yield


@moves("outbox_set_aside")
async def an_event_can_never_be_published(service: Service) -> AsyncIterator[None]:
    """It goes to the dead letters."""
    await smuggle(service, **POISON["a body above the limit"])
    async with relays(service):
        yield


@moves("relay_paused")
async def a_part_of_the_relay_fails(service: Service) -> AsyncIterator[None]:
    """It has lost a right."""
    real = service.relay_queries.backlog.parked

    async def parked() -> Any:
        raise DatabaseError("no right to do this")

    service.relay_queries.backlog.parked = parked  # type: ignore[method-assign]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.relay.run(stop))
        yield
        stop.set()
    service.relay_queries.backlog.parked = real  # type: ignore[method-assign]


@moves("outbox_leases_lost")
async def another_relay_is_quicker(service: Service) -> AsyncIterator[None]:
    """When the broker confirms an event, its row is gone."""
    await service.broker.declare("events", [Queue("listener", bindings=(HEARD,))])
    await add(service, (HEARD, "one", 1))
    real = service.broker.publish

    async def publish(*args: Any, **more: Any) -> None:
        await real(*args, **more)
        await rows(service, "DELETE FROM outbox")

    service.broker.publish = publish  # type: ignore[method-assign]
    await service.relay.run_once()
    yield


@moves(
    *("db_client_errors", "db_slow_statements", "db_repeated_statements", "db_guard_violations"),
    slow_statement=0.1,
    repeated_statements=3,
)
async def statements_misbehave(service: Service) -> AsyncIterator[None]:
    """They fail, are slow, run again and again, or write without a transaction."""

    async def unit(manager: Manager) -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with manager.transaction("test", read_only=True):
            await manager.fetch_sql("SELECT pg_sleep(0.2), %s", (1,))
            for number in range(5):
                await manager.fetch_sql("SELECT %s", (number,))
        with suppress(DatabaseError):
            async with manager.transaction("test", read_only=True):
                await manager.fetch_sql("SELECT 1 / (%s - 1)", (1,))
        with suppress(Exception):
            async with manager.transaction("test", read_only=True):
                await manager.fetch_sql("SET work_mem = 64")

    await asyncio.create_task(unit(service.manager))
    yield


@moves("db_transaction_retries", "db_transaction_retries_exhausted")
async def transactions_conflict(service: Service) -> AsyncIterator[None]:
    """With each other, at each attempt."""
    await rows(
        service,
        "CREATE FUNCTION public.conflict() RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$",
    )

    async def unit() -> None:
        await service.manager.fetch_sql("SELECT public.conflict()")

    async def work() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        with suppress(Conflict):
            await service.manager.run("test", retryable(unit), retries=1)

    await asyncio.create_task(work())
    yield


@moves("db_rows_already_there")
async def a_sale_is_told_of_twice(service: Service) -> AsyncIterator[None]:
    """In two messages, so that the inbox does not know the second one."""
    first = sold()
    async with consuming(service):
        for number, each in enumerate((first, replace(sold(), body=first.body)), 1):
            await send(service, each)
            await eventually(lambda: settled(service, "done") == number)  # noqa: B023
    yield


@moves("db_unreadable_rows")
async def a_row_has_a_value_without_a_form_in_python(service: Service) -> AsyncIterator[None]:
    """A time without end."""
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
    await rows(service, "UPDATE sales SET made_at = 'infinity'")
    sales = next(each for each in service.repositories if isinstance(each, Sales))

    async def look() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with service.manager.transaction("test", read_only=True):
            await sales.page(after=None, limit=5)

    await asyncio.create_task(look())
    yield


@moves(
    *("db_client_connection_timeouts", "db_client_connections_pending_requests"),
    acquire_timeout=1.0,
    pool_size=2,
)
async def all_connections_are_taken(service: Service) -> AsyncIterator[None]:
    """Somebody waits for one, in vain."""
    free = asyncio.Event()

    async def hold() -> None:
        async with service.manager.connection():
            await free.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(hold())
        used = {"state": "used"}
        await eventually(lambda: _value(service, "db_client_connections", **used) == 2)
        waiting = asyncio.create_task(service.manager.ping())
        await eventually(lambda: _value(service, "db_client_connections_pending_requests") == 1)
        yield
        free.set()
        await asyncio.wait([waiting])
        waiting.exception()


@moves("db_client_connections_closed")
async def postgresql_ends_sessions(service: Service) -> AsyncIterator[None]:
    """The next one who takes such a connection finds out."""
    await service.manager.ping()
    await rows(
        service,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    with suppress(Exception):
        await service.manager.ping()
    yield


@moves("db_migration_duration_seconds")
async def migrations_were_applied(service: Service) -> AsyncIterator[None]:
    """By somebody who is gone."""
    await MigrationReport(Migrator(service.settings.database_url), service.metrics).update()
    yield


@moves(
    *("backfill_state", "backfill_rows_done", "backfill_rows", "backfill_still_seconds"),
    "backfill_silent_seconds",
)
async def a_backfill_stands_still(service: Service) -> AsyncIterator[None]:
    """Its runner was killed an hour ago."""
    await rows(
        service,
        "INSERT INTO backfill_run (name, state, batch_size, rows_done, rows_estimate, checksum, "
        f"heartbeat_at, moved_at) VALUES ('fill', 'running', 5, 1, 2, '', {HOUR_AGO}, {HOUR_AGO})",
    )
    await service.backfill_report.update()
    yield


@moves("part_restarts")
async def a_part_ends(service: Service) -> AsyncIterator[None]:
    """And is started again."""

    async def end() -> None:
        raise LookupError

    keeping = asyncio.create_task(service.supervisor.keep("part", end))
    yield
    keeping.cancel()


@moves("event_loop_lag_seconds", "event_loop_blocked")
async def something_blocks_the_loop(service: Service) -> AsyncIterator[None]:
    """For longer than the limit."""
    async with watch_loop(service.metrics, service.supervisor, limit=0.2):
        await asyncio.sleep(0.1)
        time.sleep(0.6)  # noqa: ASYNC251
        yield


@moves("log_lines_dropped", "log_lines_suppressed")
async def nobody_reads_the_log(service: Service) -> AsyncIterator[None]:
    """A pipe whose reader has gone; and one line again and again."""
    reader, writer = os.pipe()
    os.close(reader)
    before, error = structlog.get_config(), sys.stderr
    with os.fdopen(writer, "w") as stream:
        sys.stderr = Sink(stream)
        try:
            logs.configure(level="INFO", style="json", burst=1, metrics=service.metrics)
            for _ in range(3):
                structlog.get_logger().info("again")
            yield
        finally:
            sys.stderr = error
            structlog.configure(**before)


@moves("drain_duration_seconds")
async def the_process_is_told_to_stop(service: Service) -> AsyncIterator[None]:
    """And drains."""
    shutdown = Shutdown(60, service.metrics)
    shutdown._end_within = lambda _: None  # type: ignore[method-assign]  # it would end the tests
    shutdown.close()
    yield


@moves("http_clients", "http_refused", "http_requests", "http_request_duration_seconds")
async def clients_come(service: Service) -> AsyncIterator[None]:
    """One asks, one stays, and one speaks no HTTP."""
    listening, stop = listen_on("127.0.0.1", 0, "OPERATIONS_PORT"), asyncio.Event()
    address, app = listening.getsockname(), operations(service.metrics, {})
    measured = Measured(app, named(app.routes), port="operations", metrics=service.metrics)
    clients = _clients(service.metrics, "operations", ClientLimits())
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        group.create_task(serve(measured, listening, stop, clients))
        for said in (b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b""):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(said)
        try:
            yield
        finally:
            stop.set()


def _value(service: Service, name: str, **labels: str) -> float:
    found = service.metrics.registry.collect()
    return sum(
        sample.value
        for family in found
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
