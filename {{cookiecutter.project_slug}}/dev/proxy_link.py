# feature: chassis_tests
"""One connection through a proxy, and the rules for what happens to its bytes."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 65_536
AT_ONCE = struct.pack("ii", 1, 0)  # a close that discards what is unsent and sends RST


@dataclass(frozen=True)
class Rules:
    """What happens to the bytes; `up` is towards the server, `down` towards the client."""

    up: bool = True
    down: bool = True
    refused: bool = False
    delay: float = 0.0
    limit: int | None = None
    fatal: bytes = b""

    @property
    def passing(self) -> bool:
        """Whether nothing is swallowed."""
        return self.up and self.down


@dataclass
class Network:
    """The rules in force, and how many connections they have cut."""

    rules: Rules
    cuts: int = 0


class Link:
    """One client's connection, and the one to the server that belongs to it.

    Args:
        network: whose rules it follows.
        reader: from the client.
        writer: to the client.
    """

    def __init__(
        self, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.torn = False  # bytes are missing: it can't go on
        self._network = network
        self._client, self._to_client = reader, writer
        self._to_server: asyncio.StreamWriter | None = None
        self._gone = asyncio.Event()
        self._closed_down = self._doomed = False
        self._sent, self._tail = 0, b""

    async def run(self, host: str, port: int) -> None:
        """Connect to the server; forward until both sides have ended, or until a reset."""
        if self._network.rules.refused:
            self.reset()
        elif not self._network.rules.passing:
            self.torn = True
            await self._gone.wait()
        else:
            try:
                server, self._to_server = await asyncio.open_connection(host, port)
            except OSError:
                self.reset()
                return
            if self._gone.is_set():
                _reset(self._to_server)
            await asyncio.gather(self._pump_up(self._to_server), self._pump_down(server))
            if self.torn:  # somebody has left, and the network still hides it
                await self._gone.wait()
            for writer in (self._to_client, self._to_server):
                if writer is not None:
                    writer.close()

    def reset(self) -> None:
        """Send RST to both."""
        self._gone.set()
        for writer in (self._to_client, self._to_server):
            if writer is not None:
                _reset(writer)

    def half_close(self) -> None:
        """Send the client nothing more but the end."""
        self._closed_down = True
        with suppress(OSError):
            self._to_client.write_eof()

    async def _pump_up(self, writer: asyncio.StreamWriter) -> None:
        chunk = b"?"
        while chunk and not self._gone.is_set():
            chunk = await self._read(self._client)
            rules = self._network.rules
            if not rules.up:
                self.torn = True
                continue
            if rules.fatal:
                self._tail += chunk
                self._doomed = self._doomed or rules.fatal in self._tail
                self._tail = self._tail[-len(rules.fatal) :]
            if rules.limit is not None and self._sent + len(chunk) >= rules.limit:
                if rules.limit > self._sent:
                    await self._write(writer, chunk[: rules.limit - self._sent])
                self._cut()
                return
            self._sent += len(chunk)
            await self._write(writer, chunk)

    async def _pump_down(self, reader: asyncio.StreamReader) -> None:
        chunk = b"?"
        while chunk and not self._gone.is_set():
            chunk = await self._read(reader)
            if self._doomed and not self._gone.is_set():
                self._cut()
            elif not self._network.rules.down:
                self.torn = True
            elif not self._closed_down:
                await self._write(self._to_client, chunk)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """Return what came; nothing when the stream has ended."""
        try:
            chunk = await reader.read(CHUNK)
        except OSError:
            if self._network.rules.passing:
                self.reset()
            return b""
        await asyncio.sleep(self._network.rules.delay)
        return chunk

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        try:
            if chunk:
                writer.write(chunk)
                await writer.drain()
            else:
                writer.write_eof()
        except OSError:
            self.reset()

    def _cut(self) -> None:
        # The server's side ends in order: a reset could overtake what it has yet to read.
        self._network.cuts += 1
        if self._to_server is not None:
            self._to_server.close()
            self._to_server = None
        self.reset()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        stream = writer.get_extra_info("socket")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.transport.abort()
