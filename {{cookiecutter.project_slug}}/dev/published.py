"""What is published, a line each; somebody has to listen, or events of the service wait."""

import asyncio
import threading
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from dev.servers import say

EXCHANGE = "events"
QUEUE = "dev.published"
KEPT = 1_000  # messages while nobody reads here; older ones go
LINES = 10  # in a second
BODY = 120  # characters


class Listener:
    """Reads a queue that is bound to whatever is published, in a thread that ends with us."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bound = threading.Event()
        self._lines = 0

    def start(self) -> None:
        """Return when the queue is bound; it stays with the server, and forgets what is old."""
        if urlsplit(self._url).scheme == "memory":
            return
        threading.Thread(target=asyncio.run, args=(self._listen(),), daemon=True).start()
        self._bound.wait()

    async def _listen(self) -> None:
        try:
            async with await aio_pika.connect_robust(self._url) as connection:
                channel = await connection.channel()
                topic = aio_pika.ExchangeType.TOPIC
                exchange = await channel.declare_exchange(EXCHANGE, topic, durable=True)
                limit = {"x-max-length": KEPT}
                queue = await channel.declare_queue(QUEUE, durable=True, arguments=limit)
                await queue.bind(exchange, "#")
                await queue.consume(self._show, no_ack=True)
                self._bound.set()
                await asyncio.Event().wait()
        finally:
            self._bound.set()

    async def _show(self, message: AbstractIncomingMessage) -> None:
        self._lines += 1
        if self._lines == 1:
            asyncio.get_running_loop().call_later(1, self._end_second)
        if self._lines <= LINES:
            body = message.body.decode(errors="replace")
            text = body if len(body) <= BODY else f"{body[:BODY]}…"
            say(f"published            {message.routing_key} {text}")

    def _end_second(self) -> None:
        if self._lines > LINES:
            say(f"published            and {self._lines - LINES} more")
        self._lines = 0
