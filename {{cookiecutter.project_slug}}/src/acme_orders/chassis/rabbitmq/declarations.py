"""Exchanges and queues in RabbitMQ: declared, looked at, and declared again when they are gone.

On a connection of its own: RabbitMQ ends whole connections because of some mistakes, and nothing
that is under way on the others may be lost by that.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.exceptions import ChannelLockedResource
from pamqp.commands import Queue as QueueCommands

from acme_orders.chassis.errors import BrokerUnavailable, ConfigurationError
from acme_orders.chassis.messaging.topology import (
    EXCHANGE_TYPE,
    GRACE,
    MISSING,
    Problem,
    Queue,
    State,
)
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq import differences
from acme_orders.chassis.rabbitmq.answers import (
    ANSWER,
    answered,
    goodbye,
    within,
)
from acme_orders.chassis.rabbitmq.link import Link
from acme_orders.chassis.rabbitmq.management import Management

_CLOSE = 1.0  # seconds; a channel is closed in milliseconds, or with its connection

log = structlog.get_logger()


class Declarations:
    """What this process declares.

    Args:
        link: of its own.
        management: sees bindings and policies; None if nobody said where it is.
        metrics: where it counts what was declared again.
    """

    def __init__(self, link: Link, management: Management | None, metrics: Metrics) -> None:
        self._link, self._management, self._metrics = link, management, metrics
        self._queues: dict[str, tuple[str, Queue]] = {}
        self._restoring, self._restored = asyncio.Lock(), 0
        self.unseen: str | None = None

    def __contains__(self, queue: str) -> bool:
        return queue in self._queues

    async def declare(self, exchange: str, queues: Iterable[Queue]) -> None:
        """Create what is missing, now and whenever it turns out to have been deleted.

        Raises:
            ConfigurationError: something of that name is there with other arguments.
            BrokerUnavailable: no answer.
        """
        self._queues |= {queue.name: (exchange, queue) for queue in queues}
        states = await self._declare([exchange], self._queues.values())
        if wrong := [f"{state.part}: {state.problem}" for state in states if state.problem]:
            raise ConfigurationError(
                "RabbitMQ has something else than this version declares:\n  "
                + "\n  ".join(wrong)
                + "\nDelete it when it is empty, or set it right; `topology` shows all of it"
            )

    async def restore(self) -> None:
        """Declare again what has been deleted, and bind it; whatever else is there stays.

        One after the other: RabbitMQ says that a quorum queue is there before it takes messages,
        to all but the one that creates it.

        Raises:
            BrokerUnavailable: no answer.
        """
        restored = self._restored
        async with self._restoring:
            if self._restored != restored:  # by somebody else, who missed the same
                return
            if await self._missing():
                await asyncio.sleep(GRACE)
            missing = await self._missing()
            exchanges = [name for name in missing if name not in self._queues]
            queues = [  # the bindings of an exchange are gone with it
                (exchange, queue)
                for exchange, queue in self._queues.values()
                if queue.name in missing or (exchange in missing and queue.bindings)
            ]
            for state in await self._declare(exchanges, queues):
                if state.name in missing and not state.problems:
                    log.warning("topology.restored", part=state.part, what=MISSING.what)
                    self._metrics.topology_restored.labels(state.name).inc()
            self._restored += 1

    async def bind(self, queues: Iterable[Queue]) -> None:
        """Bind queues again; nothing changes where they are bound. Raises BrokerUnavailable."""
        for queue in queues:
            async with self._channel() as channel:
                await _bind(channel, self._queues[queue.name][0], queue)

    async def inspect(self, exchange: str, queues: Iterable[Queue]) -> list[State]:
        """Look at the exchange and at each queue without creating or changing any.

        Raises:
            BrokerUnavailable: no answer.
        """
        states = [await self._look_at_exchange(exchange)]
        states += [await self._look_at_queue(queue) for queue in queues]
        if self._management is None:
            self.unseen = "RABBITMQ_MANAGEMENT_URL is not set"
            return states
        try:
            states = [await self._management.complete(state, exchange) for state in states]
        except BrokerUnavailable as error:
            if self.unseen is None:
                log.warning("topology.partly_unseen", why=str(error))
            self.unseen = str(error)
        else:
            self.unseen = None
        return states

    async def count(self, queue: str) -> int:
        """How many messages wait in a queue; none in a queue that is not there."""
        found = await self._find_queue(queue)
        return (found.message_count or 0) if found else 0

    async def _missing(self) -> set[str]:
        exchanges = {exchange for exchange, _ in self._queues.values()}
        missing = {name for name in exchanges if not await self._find_exchange(name)}
        return missing | {name for name in self._queues if not await self._find_queue(name)}

    async def _declare(
        self, exchanges: Iterable[str], queues: Iterable[tuple[str, Queue]]
    ) -> list[State]:
        states = []
        for name in exchanges:
            async with self._channel() as channel:
                states.append(State(name, None, await _accepted(_exchange(channel, name))))
        for exchange, queue in queues:
            async with self._channel() as channel:
                problems = await _accepted(_queue(channel, queue), queue)
                states.append(State(queue.name, queue, problems))
                if not problems:
                    await _bind(channel, exchange, queue)
        return states

    async def _look_at_exchange(self, name: str) -> State:
        if not await self._find_exchange(name):
            return State(name, None, (MISSING,))
        (state,) = await self._declare([name], [])
        return state

    async def _look_at_queue(self, queue: Queue) -> State:
        try:
            found = await self._find_queue(queue.name)
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, ChannelLockedResource):
                return State(queue.name, queue, (differences.of_declaration(error, queue),))
            raise
        if found is None:
            return State(queue.name, queue, (MISSING,))
        async with self._channel() as channel:
            problems = await _accepted(_queue(channel, queue), queue)
        return State(
            queue.name, queue, problems, found.message_count or 0, found.consumer_count or 0
        )

    async def _find_exchange(self, name: str) -> bool:
        async with self._channel() as channel:
            try:
                await within(ANSWER, channel.declare_exchange(name, passive=True))
            except ChannelNotFoundEntity:
                return False
            return True

    async def _find_queue(self, name: str) -> QueueCommands.DeclareOk | None:
        async with self._channel() as channel:
            try:
                found = await within(ANSWER, channel.declare_queue(name, passive=True))
            except ChannelNotFoundEntity:
                return None
            return found.declaration_result

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel that RabbitMQ may close, as it does when a declaration does not fit."""
        channel = await self._link.channel()
        try:
            with answered("RabbitMQ does not answer or refuses"):
                yield channel
        finally:
            await goodbye(_CLOSE, channel.close())


def _exchange(channel: AbstractChannel, name: str) -> Coroutine[Any, Any, AbstractExchange]:
    return channel.declare_exchange(name, EXCHANGE_TYPE, durable=True)


def _queue(channel: AbstractChannel, queue: Queue) -> Coroutine[Any, Any, AbstractQueue]:
    return channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))


async def _bind(channel: AbstractChannel, exchange: str, queue: Queue) -> None:
    declared = await channel.get_queue(queue.name, ensure=False)
    for type_ in queue.bindings:
        await within(ANSWER, declared.bind(exchange, type_))


async def _accepted(
    declaration: Coroutine[Any, Any, object], queue: Queue | None = None
) -> tuple[Problem, ...]:
    """Declare; returns what RabbitMQ has instead, if it refuses."""
    try:
        await within(ANSWER, declaration)
    except ChannelPreconditionFailed as error:
        return (differences.of_declaration(error, queue),)
    return ()
