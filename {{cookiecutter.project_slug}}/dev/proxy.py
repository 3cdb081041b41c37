# feature: chassis_tests
"""A network that fails on command: a TCP proxy between a service and its server."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from dev.proxy_link import Link, Network, Rules

ANSWER_WITHIN = 10.0


class Proxy:
    """Forwards connections on a port of 127.0.0.1 to a server, and breaks them as told.

    `with Proxy("127.0.0.1", 5672) as proxy:` and connect to `proxy.url(broker_url)`. It runs in a
    thread of its own, and every method may be called from any thread; on return it has happened.
    A rule holds for open and for new connections, together with the others, until `pass_on`.
    """

    port: int

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._network = Network(Rules())
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop, self._ended, self.port = self._started.result(ANSWER_WITHIN)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(ANSWER_WITHIN)

    def url(self, url: str) -> str:
        """Return the same URL, `amqp://` or `postgresql://`, through the proxy."""
        found = urlsplit(url)
        user, at, _ = found.netloc.rpartition("@")
        return found._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    @property
    def connections(self) -> int:
        """How many are open, those that hang included."""
        return len(self._links)

    @property
    def cuts(self) -> int:
        """How many were cut by `cut_after` and `cut_before_reply`."""
        return self._network.cuts

    def pass_on(self) -> None:
        """Drop all rules; connections of which something was swallowed are reset."""
        self._change(Rules())

    def black_hole(self, *, up: bool = True, down: bool = True) -> None:
        """Swallow what is sent in these directions, ends included; new connections hang."""
        self._change(replace(self._network.rules, up=not up, down=not down))

    def refuse(self) -> None:
        """Reset all connections, and new ones at once."""
        self._change(replace(self._network.rules, refused=True))

    def delay(self, seconds: float) -> None:
        """Hold back each chunk so long, in both directions."""
        self._change(replace(self._network.rules, delay=seconds))

    def cut_after(self, count: int | None) -> None:
        """Cut each connection when the server has got so many bytes of it; None: never."""
        self._change(replace(self._network.rules, limit=count))

    def cut_before_reply(self, after: bytes) -> None:
        """Cut each connection when the server answers to these bytes: the client never knows.

        After COMMIT and a zero byte, PostgreSQL has committed by then. (COMMITTED has no zero.)
        """
        self._change(replace(self._network.rules, fatal=after))

    def reset(self) -> None:
        """Reset all connections (RST), on both sides."""
        self._do(self._reset)

    def half_close(self) -> None:
        """End all streams towards clients, who can still send."""

        def act() -> None:
            for link in self._links:
                link.half_close()

        self._do(act)

    def _change(self, rules: Rules) -> None:
        def change() -> None:
            self._network.rules = rules
            if rules.refused:
                self._reset()
            for link in self._links:
                if link.torn and rules.passing:
                    link.reset()

        self._do(change)

    def _reset(self) -> None:
        for link in self._links:
            link.reset()

    def _do(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(ANSWER_WITHIN)

    async def _run(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        ended = asyncio.Event()
        port = server.sockets[0].getsockname()[1]
        self._started.set_result((asyncio.get_running_loop(), ended, port))
        await ended.wait()
        server.close()
        self._reset()
        await asyncio.gather(*self._links.values())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self._network, reader, writer)
        self._links[link] = task = asyncio.create_task(link.run(*self._target))
        try:
            await task
        finally:
            del self._links[link]
