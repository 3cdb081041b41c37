"""What happens to messages."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import consuming, count, eventually, send, settled, sold
from tests.chassis.integration.causes import moves
from tests.chassis.integration.test_protection import delivery, everything, handle
from tests.chassis.slices.sales.messages import SALE_BOOKED


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
