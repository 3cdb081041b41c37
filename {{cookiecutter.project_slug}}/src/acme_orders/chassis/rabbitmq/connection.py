"""One connection to RabbitMQ, whose opening and closing end in time, whatever aiormq waits for."""

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import InvalidFrameError
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from acme_orders.chassis.rabbitmq.answers import ANSWER, goodbye, within

_CLOSE = 0.5  # seconds; all connections together have to fit into the end of a process


class Connection:
    """A connection of aio-pika, and the socket below.

    Without the socket its tasks end, and none is left behind: aiormq waits for a server that does
    not read, and drops a connection that is opened when nobody wants it any more.
    """

    def __init__(self, connection: aio_pika.Connection, wire: "_Wire") -> None:
        self._connection, self._wire = connection, wire

    @classmethod
    async def open(cls, node: URL, *, properties: Mapping[str, Any], heartbeat: int) -> Self:
        """Connect.

        Args:
            node: `amqp://user:password@host:port/vhost`.
            properties: what RabbitMQ's management shows.
            heartbeat: seconds; a silent network is noticed after three of them and a bit.

        Raises:
            Exception: any of `OUTAGES`.
        """
        url = node.update_query(heartbeat=str(heartbeat))
        connection = aio_pika.Connection(url, client_properties=dict(properties))
        connection.kwargs["transport_factory"] = wire = _Wire(tls=node.scheme == "amqps")
        try:
            await within(ANSWER, connection.connect())
        except BaseException as error:
            wire.cut()
            # Otherwise aio-pika closes it when it is collected, in whatever loop there is then.
            await goodbye(_CLOSE, connection.close())
            if not isinstance(error, InvalidFrameError):
                raise
            host = node.path.removeprefix("/")  # aiormq has thrown away what RabbitMQ said
            raise ConnectionRefusedError(
                f"the virtual host {host!r} is refused: it is missing or has too many connections, "
                "or this user has no permission for it"
            ) from error
        return cls(connection, wire)

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """Open a channel; raises any of `OUTAGES`.

        Args:
            confirms: whether publishes are confirmed; then a returned message raises as well.
        """
        channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        await within(ANSWER, channel.initialize())
        return channel

    async def lost(self) -> None:
        """Return when it is gone."""
        transport = self._connection.transport
        if transport is not None:
            await asyncio.wait([transport.connection.closing])

    async def close(self) -> None:
        """Say goodbye, and cut it off if there is no answer."""
        closing = asyncio.ensure_future(self._connection.close())
        try:
            await goodbye(_CLOSE, closing)
        finally:
            self._wire.cut()
            # aio-pika waits for ever if the end of the loop cancels it in the middle of this.
            await goodbye(_CLOSE, closing)


class _Wire(TransportFactory):
    """The socket of a connection of aiormq."""

    def __init__(self, *, tls: bool) -> None:
        self._factory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self._unwanted = False

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect the socket."""
        reader, self._writer = await self._factory.create(url, **kwargs)
        if self._unwanted:
            self.cut()
        return reader, self._writer

    def cut(self) -> None:
        """Close the socket at once, now or as soon as there is one."""
        self._unwanted = True
        if self._writer is not None:
            self._writer.transport.abort()
