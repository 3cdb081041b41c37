# feature: http_api
"""Clients of the API: good ones that try again, and those that behave as nobody should."""

import asyncio
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from tests.chassis.attack.messages import MB
from tests.chassis.attack.sales import PERSON, Sales
from tests.chassis.edge.process import head
from tests.chassis.slices.sales.messages import SaleForm

_PATIENCE = 15.0  # seconds for an answer; who waits longer asks another process
_HELD = 6.0  # seconds, at least so long as the service is patient with a part of it
REFUSALS = frozenset({400, 408, 413, 422, 431, 503})
CUT = 0  # no answer, or not the whole
_STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


async def ask(port: int, sent: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body; CUT if the answer has no end."""
    received = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                with suppress(ConnectionError):  # it was answered before its end
                    await writer.drain()
                received = await reader.read()
            finally:
                writer.close()
    top, _, body = received.partition(b"\r\n\r\n")
    status, length = _STATUS.match(top), _LENGTH.search(top)
    # A process that is killed between head and body has said 202 without a sale's id.
    if status is None or (length and len(body) < int(length[1])):
        return CUT, b""
    return int(status[1]), body


def post(body: bytes, **headers: str) -> bytes:
    """A request that places a sale."""
    length = {"Content_Length": str(len(body))} | headers
    return head("POST", "/sales", Connection="close", **length) + body


@dataclass
class Clients:
    """Of all processes of the service.

    Args:
        ports: of their APIs.
        sales: where good ones are noted.
        seed: of everything.
        answers: to bad requests, by status.
        texts: the different bodies of these answers, those of 200 aside.
    """

    ports: Sequence[int]
    sales: Sales
    seed: int
    answers: Counter[int] = field(default_factory=Counter)
    texts: set[bytes] = field(default_factory=set)

    async def place(self, count: int, *, seconds: float) -> None:
        """Place so many sales at a steady rate; returns when all are accepted."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._place(number))
                await asyncio.sleep(seconds / count)

    async def _place(self, number: int) -> None:
        attempt = 0
        while True:
            article = f"http-{number}-{attempt}"
            line = {"sku": article, "quantity": 1, "unit_price_cents": 450}
            email = {"buyer_email": f"{PERSON}+{number % 50}@example.com"}
            form = {**SaleForm.example(), **email, "lines": [line]}
            port = self.ports[(number + attempt) % len(self.ports)]
            self.sales.tried.add(article)
            status, body = await ask(port, post(json.dumps(form).encode()))
            if status == 202:
                self.sales.tried.remove(article)
                self.sales.accepted[json.loads(body)["sale_id"]] = time.monotonic()
                return
            attempt += 1
            await asyncio.sleep(0.2)

    async def ask_for_trouble(self, bodies: Sequence[bytes], *, pause: float, until: float) -> None:
        """These bodies, and requests that are none."""
        chance = random.Random(self.seed)
        while time.monotonic() < until:
            if chance.random() < 0.5:
                sent = post(chance.choice(bodies))
            else:
                sent = chance.choice(NO_REQUESTS)
            status, body = await ask(chance.choice(self.ports), sent)
            self.answers[status] += 1
            self.texts.add(body[:10_000])
            await asyncio.sleep(pause)

    async def hold(self, number: int, *, until: float) -> None:
        """So many sockets at a time, of one process, in one way."""
        chance = random.Random(self.seed + 1)
        while time.monotonic() < until:
            port, sent = chance.choice(self.ports), chance.choice(PARTS)
            with ExitStack() as clients:
                for _ in range(number):
                    await _send(clients.enter_context(socket.socket()), port, sent)
                await asyncio.sleep(min(_HELD, max(0, until - time.monotonic())))


async def _send(client: socket.socket, port: int, sent: bytes) -> None:
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):  # it was killed, or does not want us
        async with asyncio.timeout(1):
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, sent)


# What a client sends before it falls silent: nothing, half a head, half a body, and requests whose
# answers it does not read.
PARTS = (
    b"",
    b"POST /sales HTTP/1.1\r\nHost: ",
    head("POST", "/sales", Content_Length="100000") + b"{" * 100,
    head("GET", "/openapi.json") * 20,
)
_PERSONAL = json.dumps({**SaleForm.example(), "buyer_email": f"{PERSON} no address"}).encode()
NO_REQUESTS = (
    b"no HTTP at all\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    head("POST", "/sales", Content_Length=str(500 * MB)) + bytes(MB),
    head("POST", "/sales", Transfer_Encoding="chunked") + b"1\r\na\r\n" * 2000,
    post(bytes(2 * MB)),
    post(_PERSONAL),
    post(_PERSONAL[:-20]),
    post(f'{{"{PERSON}": "{PERSON}"}}'.encode()),
)
