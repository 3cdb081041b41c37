"""A type of events that nobody takes is parked as a type, and in nobody's way.

One event of it is tried, one line of the log says so, and the others lose nothing by it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import BrokerUnavailable, Unconfirmed
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.rabbitmq.publisher import Publisher
from acme_orders.chassis.relay import settlement
from acme_orders.chassis.tenancy.scope import system_scope  # feature: row, rls, schema

from dev.virtual_hosts import VirtualHosts
from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.integration.outbox_events import (
    HEARD,
    UNHEARD,
    add,
    is_empty,
    listen,
    many,
    metric,
    numbers,
    relays,
    unbind,
)

PARKED = "outbox WHERE available_at = 'infinity'"


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ."""
    async with connect(broker_url=broker_url, relay_batch=50) as connected:
        yield connected


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with capture_logs() as records:
        yield records


async def parked(service: Service, how_many: int) -> bool:
    """Whether so many events are parked, and no other waits."""
    found = await count(service, PARKED), await count(service, "outbox")
    return found == (how_many, how_many)


def told(log: list[Any], event: str) -> list[Any]:
    """The records of this event."""
    return [each for each in log if each["event"] == event]


async def test_it_costs_one_try_and_one_line(service: Service, log: list[Any]) -> None:
    """Two relays, a thousand events, half of them for nobody; then somebody listens."""
    heard = await listen(service, HEARD)
    for _ in range(5):
        await add(service, *many(UNHEARD, 100), *many(HEARD, 100), ordered=False)
    async with relays(service, 2):
        await eventually(lambda: parked(service, 500))
        await eventually(lambda: len(heard) == 500)
        assert await rows(service, "SELECT DISTINCT attempts, last_error FROM outbox") == [
            (0, None)
        ]
        tried = metric(service, "outbox_publish_failures_total")
        await eventually(
            lambda: metric(service, "outbox_publish_failures_total", reason="unheard") > tried + 2
        )
        ((probes, seconds),) = await rows(
            service, "SELECT probes, extract(epoch FROM now() - since)::float FROM parked_types"
        )
        assert probes <= 5 + seconds / 0.7  # 0.2, 0.4, 0.8, and every second; three quarters
        await eventually(lambda: metric(service, "outbox_parked", type=UNHEARD) == 500)
        assert metric(service, "outbox_parked_types", reason="unheard", needed="no") == 1
        await eventually(lambda: metric(service, "outbox_pending") == 0)
        assert metric(service, "outbox_oldest_seconds") == 0
        assert metric(service, "outbox_parked_oldest_seconds") > 0

        now_heard = await listen(service, UNHEARD, queue="late")
        await eventually(lambda: now_heard)
        await eventually(lambda: is_empty(service))
        await eventually(lambda: not metric(service, "outbox_parked_types"))
    await eventually(lambda: len(now_heard) >= 500)
    assert len({each.id for each in now_heard}) == len(now_heard) == 500
    assert metric(service, "outbox_published_total", type=UNHEARD) == 500
    (line,) = told(log, "relay.type_parked")
    assert (line["log_level"], line["type"], line["reason"]) == ("info", UNHEARD, "unheard")
    assert "bind a queue" in line["why"]
    assert len(told(log, "relay.type_resumed")) == 1
    loud = {each["event"] for each in log if each["log_level"] in {"warning", "error"}}
    assert loud <= {"database.slow_statement"}  # of a busy machine


async def test_of_a_parked_type_every_key_keeps_its_order(service: Service) -> None:
    """While they are offered again new ones come, and none overtakes."""
    stored = 60
    await add(service, *many(UNHEARD, stored, key="one"))
    async with relays(service, 2):
        await eventually(lambda: parked(service, stored))
        await rows(service, "UPDATE parked_types SET portion = 3")
        heard, number = await listen(service, UNHEARD), stored
        while len(heard) < stored:
            await add(service, (UNHEARD, "one", number), (UNHEARD, f"other {number}", number))
            number += 1
        await eventually(lambda: is_empty(service))
    await eventually(lambda: len(heard) == number + (number - stored))
    assert [each.number for each in heard if each.key == "one"] == list(range(number))


async def test_a_type_is_parked_for_whoever_comes_later(service: Service, log: list[Any]) -> None:
    """For a process that starts anew, and rows that one wrote that never saw it parked."""
    await add(service, (UNHEARD, "any", 0))
    async with relays(service):
        await eventually(lambda: parked(service, 1))
    await rows(service, "UPDATE parked_types SET probe_at = 'infinity'")  # nobody may try it
    tried = metric(service, "outbox_publish_failures_total")
    await add(service, *many(UNHEARD, 200), ordered=False)
    async with relays(service, 2):
        await eventually(lambda: parked(service, 201))
    assert metric(service, "outbox_publish_failures_total") == tried
    assert len(told(log, "relay.type_parked")) == 1


async def test_bound_and_unbound_again(service: Service) -> None:
    """Those that found nobody any more are parked anew; each arrives once."""
    await add(service, *many(UNHEARD, 2000), ordered=False)
    async with relays(service, 2):
        await eventually(lambda: parked(service, 2000))
        heard = await listen(service, UNHEARD)
        await eventually(lambda: heard)
        await unbind(service, UNHEARD)
        await add(service, (UNHEARD, "any", 2000))
        await eventually(lambda: _nothing_finite(service))
        assert await count(service, PARKED) > 0
        await service.broker.declare("events", [])  # each queue with its bindings
        await eventually(lambda: is_empty(service))
    await eventually(lambda: len(heard) >= 2001)
    assert sorted(numbers(heard, UNHEARD)) == list(range(2001))


async def test_with_an_alternate_exchange_nothing_is_parked(
    service: Service, broker_url: str
) -> None:
    """What nobody is bound to goes where the administrator wants it."""
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    host = urlsplit(broker_url).path[1:]
    connection = await aio_pika.connect(broker_url)
    async with connection, connection.channel() as channel:
        other = await channel.declare_exchange("others", "fanout", durable=True)
        queue = await channel.declare_queue("others", durable=True)
        await queue.bind(other)
        policy = {"pattern": "^events$", "definition": {"alternate-exchange": "others"}}
        path = f"/api/policies/{host}/others"
        await asyncio.to_thread(hosts.ask, "PUT", path, {**policy, "apply-to": "exchanges"})
        await eventually(lambda: _has_policy(hosts, host))
        await add(service, *many(UNHEARD, 20), ordered=False)
        async with relays(service):
            await eventually(lambda: is_empty(service))
        declared = await channel.declare_queue("others", durable=True, passive=True)
        assert declared.declaration_result.message_count == 20
    assert metric(service, "outbox_publish_failures_total") == 0


async def test_a_full_queue_parks_its_type_only(
    service: Service, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ refuses what does not fit; when there is room all goes on by itself."""
    monkeypatch.setattr(settlement, "_TOLD_EVERY", 3600)  # however long the consumer takes
    heard = await listen(service, HEARD)
    connection = await aio_pika.connect(service.settings.broker_url)
    async with connection, connection.channel() as channel:
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-max-length": 5,
            "x-overflow": "reject-publish",
        }
        full = await channel.declare_queue("full", durable=True, arguments=arguments)
        await full.bind("events", UNHEARD)
        await add(service, *many(UNHEARD, 300), *many(HEARD, 300), ordered=False)
        async with relays(service, 2):
            await eventually(lambda: len(heard) == 300)
            await eventually(lambda: metric(service, "outbox_parked_types", reason="refused"))
            taken: set[str | None] = set()

            async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                taken.add(message.message_id)
                await message.ack()

            await full.consume(take)
            await eventually(lambda: is_empty(service))
        await eventually(lambda: len(taken) == 300)
    assert len(told(log, "relay.type_parked")) <= 2  # one of each relay
    assert await count(service, "dead_letters") == 0


async def test_a_queue_that_never_answers_parks_its_type_only(
    connect: Connect, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one without a majority does; RabbitMQ itself is well, and so is every other type."""
    publish, silent, tried = Publisher.publish, asyncio.Event(), asyncio.Event()

    async def hanging(
        self: Publisher, message: Message, *, exchange: str, routing_key: str
    ) -> None:
        if routing_key == UNHEARD and not silent.is_set():
            if tried.is_set():
                await silent.wait()
            raise Unconfirmed("no confirm")
        await publish(self, message, exchange=exchange, routing_key=routing_key)

    monkeypatch.setattr(Publisher, "publish", hanging)
    async with connect(broker_url=broker_url, relay_batch=50) as service:
        heard = await listen(service, HEARD, UNHEARD)
        await add(service, *many(UNHEARD, 200), *many(HEARD, 200), ordered=False)
        async with relays(service):
            await eventually(lambda: parked(service, 200))
            await eventually(lambda: metric(service, "outbox_parked_types", reason="unconfirmed"))
            tried.set()  # the next probe gets no answer at all
            await add(service, *many(HEARD, 200), ordered=False)
            await eventually(lambda: len(numbers(heard, HEARD)) == 400)
            silent.set()
            await eventually(lambda: is_empty(service))
        await eventually(lambda: len(numbers(heard, UNHEARD)) == 200)


async def test_an_outage_parks_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """If RabbitMQ itself does not answer, it is no type's fault."""

    async def silent(self: Publisher, message: Message, *, exchange: str, routing_key: str) -> None:
        raise Unconfirmed("no confirm")

    async def unwell() -> None:
        raise BrokerUnavailable

    await add(service, *many(HEARD, 5), ordered=False)
    monkeypatch.setattr(Publisher, "publish", silent)
    monkeypatch.setattr(service.broker, "ping", unwell)
    with pytest.raises(BrokerUnavailable):
        await service.relay.run_once()
    waiting = "outbox WHERE attempts = 0 AND available_at <= now()"
    assert (await count(service, waiting), await count(service, "parked_types")) == (5, 0)


async def test_what_nobody_listens_to_is_dropped_in_the_end(
    connect: Connect, broker_url: str, log: list[Any]
) -> None:
    """It is counted and said; a type that needs a listener is kept."""
    async with connect(broker_url=broker_url, unheard_retention=3600) as service:
        service.relay.needed = frozenset()
        await add(service, *many(UNHEARD, 30), *many("needed", 30), ordered=False)
        async with relays(service):
            await eventually(lambda: parked(service, 60))
        old = "created_at = now() - interval '61 minutes'"
        await rows(service, f"UPDATE outbox SET {old} WHERE body LIKE '%:1%'")  # 1, 10 to 19
        service.relay._prober._needed = frozenset({"needed"})
        await _tidy(service)
    assert await rows(service, "SELECT type, count(*) FROM outbox GROUP BY 1 ORDER BY 1") == [
        ("needed", 30),
        (UNHEARD, 19),
    ]
    (line,) = told(log, "relay.events_dropped")
    assert (line["type"], line["events"]) == (UNHEARD, 11)
    assert metric(service, "outbox_dropped_total", type=UNHEARD) == 11


async def test_a_type_that_needs_a_listener_is_told_of_as_such(
    connect: Connect, broker_url: str, log: list[Any]
) -> None:
    """The slice has declared `sale.made` so; an alert looks at the gauge."""
    async with connect(broker_url=broker_url) as service:
        await unbind(service, "sale.made", service.topology.main.name)
        await add(service, ("sale.made", "any", 0))
        async with relays(service):
            await eventually(
                lambda: metric(service, "outbox_parked_types", reason="unheard", needed="yes") == 1
            )
    assert [each["log_level"] for each in told(log, "relay.type_parked")] == ["warning"]


async def test_rows_that_nobody_tries_any_more_are_found(service: Service) -> None:
    """Somebody has emptied the table of parked types by hand."""
    await add(service, *many(UNHEARD, 20), *many("thing.other", 20), ordered=False)
    async with relays(service):
        await eventually(lambda: parked(service, 40))
    await rows(service, "DELETE FROM parked_types")
    heard = await listen(service, UNHEARD)
    async with relays(service):  # it looks at its start, and every minute
        await eventually(lambda: parked(service, 20))
    await eventually(lambda: len(heard) == 20)


async def _tidy(service: Service) -> None:
    scope = ExitStack()
    scope.enter_context(system_scope("test"))  # feature: row, rls, schema
    with scope:
        await service.relay._prober.tidy()


async def _nothing_finite(service: Service) -> bool:
    return await count(service, "outbox WHERE available_at < 'infinity'") == 0


async def _has_policy(hosts: VirtualHosts, host: str) -> bool:
    exchange = await asyncio.to_thread(hosts.ask, "GET", f"/api/exchanges/{host}/events")
    return bool(exchange.get("policy") == "others")
