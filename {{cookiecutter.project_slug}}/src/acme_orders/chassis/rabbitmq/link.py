"""A connection to RabbitMQ that is opened anew whenever it is lost."""

import asyncio
import math
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import structlog
from aio_pika.abc import AbstractChannel
from yarl import URL

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq.addresses import redactor
from acme_orders.chassis.rabbitmq.answers import answered
from acme_orders.chassis.rabbitmq.connection import Connection
from acme_orders.chassis.supervision import Supervisor

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two attempts to connect
_STEADY = 10.0  # seconds that a connection lasts if the network is well
_UNSTEADY_PAUSE = 1.0  # seconds before the first attempt if it is not

log = structlog.get_logger()


class Link:
    """One connection, and the task that keeps it.

    Args:
        nodes: of the cluster; any will do.
        name: as RabbitMQ's management shows it.
        role: what it is for, in metrics and logs.
        heartbeat: seconds; a silent network is noticed after three of them and a bit.
        metrics: where reconnects are counted.
        supervisor: of the task.
    """

    def __init__(
        self,
        nodes: Sequence[URL],
        *,
        name: str,
        role: str,
        heartbeat: int,
        metrics: Metrics,
        supervisor: Supervisor,
    ) -> None:
        self._nodes = random.sample(list(nodes), len(nodes))  # not everybody to the same node
        self._redact = redactor(nodes)
        self._properties: dict[str, Any] = {
            "connection_name": f"{name} {role} {socket.gethostname()} {os.getpid()}"
        }
        self._role, self._heartbeat, self._metrics = role, heartbeat, metrics
        self._up, self._supervisor = asyncio.Event(), supervisor
        metrics.broker_reconnects.labels(role)

    async def __aenter__(self) -> Self:
        self._connection = await self._connect()
        keeping = self._supervisor.keep(f"link {self._role}", self._keep)
        self._keeper = asyncio.create_task(keeping)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keeper.cancel()
        try:
            await asyncio.wait([self._keeper])
        finally:
            await self._connection.close()

    @property
    def connected(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return self._up.is_set()

    async def restored(self) -> None:
        """Return when the connection is there."""
        await self._up.wait()

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel.

        Args:
            confirms: whether publishes are confirmed; then a returned message raises as well.

        Raises:
            BrokerUnavailable: there is no connection, or no answer.
        """
        if not self.connected:
            raise BrokerUnavailable(f"there is no connection to RabbitMQ (to {self._role})")
        with answered(f"no channel (to {self._role})"):
            return await self._connection.channel(confirms=confirms)

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Connection]:
        """A connection beside this one, for this block alone; it is not opened anew.

        Raises:
            BrokerUnavailable: RabbitMQ does not answer or refuses us.
        """
        connection = await self._reach()
        try:
            yield connection
        finally:
            await connection.close()

    async def _keep(self) -> None:
        began = -math.inf
        while True:
            await self._connection.lost()
            self._up.clear()
            steady = time.monotonic() - began > _STEADY
            self._metrics.broker_connected.labels(self._role).set(0)
            log.warning("broker.disconnected", role=self._role)
            await self._connection.close()
            await self._reconnect(_FIRST_PAUSE if steady else _UNSTEADY_PAUSE)
            began = time.monotonic()
            self._metrics.broker_reconnects.labels(self._role).inc()
            log.info("broker.reconnected", role=self._role)

    async def _reconnect(self, pause: float) -> None:
        """Connect, after a pause that grows with every attempt.

        It begins with a long one if connections break soon: each time, all that is not settled
        comes back one delivery closer to its limit.
        """
        failures = 0
        while not self.connected:
            # Half of it by chance: all processes lost their connection in the same moment.
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                self._connection = await self._connect()
            except BrokerUnavailable as error:
                failures += 1
                if failures & (failures - 1) == 0:  # 1, 2, 4, 8 …: a long outage is no flood
                    log.warning("broker.unreachable", role=self._role, why=str(error))

    async def _connect(self) -> Connection:
        connection = await self._reach()
        self._up.set()
        self._metrics.broker_connected.labels(self._role).set(1)
        return connection

    async def _reach(self) -> Connection:
        failures = []
        for _ in self._nodes:
            node = self._nodes.pop(0)
            self._nodes.append(node)
            try:
                with answered(f"{node.host}:{node.port or 5672}"):
                    return await Connection.open(
                        node, properties=self._properties, heartbeat=self._heartbeat
                    )
            except Exception as error:  # whatever it is, the keeper tries the next one
                failures.append(self._redact(str(error) or repr(error)))
        raise BrokerUnavailable(
            f"cannot reach RabbitMQ (BROKER_URL) at {'; '.join(failures)}; "
            "start it or correct the address"
        )
