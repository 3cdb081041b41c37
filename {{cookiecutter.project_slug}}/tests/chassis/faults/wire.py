"""AMQP 0-9-1 by hand: messages that no client library would send, and many of them quickly."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, frame

_FRAME_MAX = 131_072
_METHOD, _CONTENT, _BODY, _END = 1, 2, 3, b"\xce"
_IN_FLIGHT = 2000
# The order of the flags of a content header, from the highest bit.
_NAMES = (
    "content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id",
    "reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id",
)  # fmt: skip


class Closed(ConnectionError):
    """RabbitMQ closed the channel or the connection."""


def short(text: bytes) -> bytes:
    """A short string, of at most 255 bytes of any kind."""
    return bytes([len(text)]) + text


def long(text: bytes) -> bytes:
    """A long string as the value of a header."""
    return b"S" + struct.pack(">I", len(text)) + text


def table(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers: names, and values with their type in front."""
    content = b"".join(short(name) + value for name, value in fields)
    return struct.pack(">I", len(content)) + content


def properties(fields: Mapping[str, bytes]) -> bytes:
    """Flags and fields of a content header; each field is encoded already."""
    found = {"delivery_mode": b"\x02", **fields}
    flags = sum(1 << (15 - bit) for bit, name in enumerate(_NAMES) if name in found)
    return struct.pack(">H", flags) + b"".join(found[each] for each in _NAMES if each in found)


class Wire:
    """One channel with confirms."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._sent = self._confirmed = self.returned = 0

    async def publish(
        self, content: bytes, body: bytes, *, exchange: str, routing_key: str
    ) -> None:
        """Write a message; `content` is what `properties` makes, or anything else."""
        method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        head = struct.pack(">HHQ", 60, 0, len(body)) + content
        step = _FRAME_MAX - 8
        parts = [frame.marshal(method, 1), _framed(_CONTENT, head)]
        parts += [_framed(_BODY, body[at : at + step]) for at in range(0, len(body), step)]
        self._writer.write(b"".join(parts))
        self._sent += 1
        await self._writer.drain()
        if self._sent - self._confirmed >= _IN_FLIGHT:
            await self.confirmed(down_to=_IN_FLIGHT // 2)

    async def confirmed(self, *, down_to: int = 0) -> None:
        """Wait until at most so many are not confirmed; raises Closed."""
        while self._sent - self._confirmed > down_to:
            match await self.read():
                case commands.Basic.Ack(delivery_tag=tag):
                    self._confirmed = max(self._confirmed, tag)
                case commands.Basic.Return():
                    self.returned += 1
                case commands.Basic.Nack() as nack:
                    raise Closed(f"refused: {nack}")

    async def call(self, method: base.Frame, channel: int = 1) -> None:
        """Send a method and wait for the answer."""
        self._writer.write(frame.marshal(method, channel))
        if method.synchronous:
            await self.read()

    async def read(self) -> base.Frame | None:
        """The next method; None for another frame. Raises Closed, also at the end."""
        try:
            head = await self._reader.readexactly(7)
            rest = await self._reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Closed("the connection was closed") from error
        if head[0] != _METHOD:
            return None
        _, _, found = frame.unmarshal(head + rest)
        if isinstance(found, commands.Channel.Close | commands.Connection.Close):
            raise Closed(f"{found.reply_code} {found.reply_text}")
        return found if isinstance(found, base.Frame) else None


def _framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + _END


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """Connect, and open a channel with confirms."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port or 5672)
    try:
        found = Wire(reader, writer)
        writer.write(b"AMQP\x00\x00\x09\x01")
        await found.read()
        login = f"\0{unquote(where.username or '')}\0{unquote(where.password or '')}"
        await found.call(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), 0)
        await found.read()  # Tune
        await found.call(commands.Connection.TuneOk(10, _FRAME_MAX, 0), 0)
        await found.call(commands.Connection.Open(unquote(where.path[1:]) or "/"), 0)
        await found.call(commands.Channel.Open())
        await found.call(commands.Confirm.Select())
        yield found
    finally:
        writer.close()
