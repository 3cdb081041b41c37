"""The clients of a port are as many as there are places, and each ends when its time is over."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from acme_orders.chassis.http.clients import ClientLimits, Clients
from acme_orders.chassis.http.server import listen, serve

from tests.chassis.conftest import eventually

PATIENCE, IDLE, LATE = 0.5, 1.5, 20.0  # seconds; the machine has other things to do
PATIENT = 60.0  # seconds, where it is no matter of time: the machine may stand still for a while
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Port:
    """A port with few places, and an application that answers when it is told to."""

    def __init__(self, patience: float = PATIENCE, idle: float = IDLE) -> None:
        self.go, self.stop, self.refused = asyncio.Event(), asyncio.Event(), list[str]()
        limits = ClientLimits(clients=5, patience=patience, idle=idle)
        self.clients = Clients(limits, self.refused.append)
        self.socket = listen("127.0.0.1", 0, "HTTP_PORT")
        self.at_work, self.peers = 0, list[Peer]()

    async def answer(self, request: Request) -> Response:
        """One request."""
        await request.body()
        self.at_work += 1
        await self.go.wait()
        return PlainTextResponse("x" * int(request.query_params.get("size", 1)))

    async def serve(self) -> None:
        """Until it is stopped."""
        app = Starlette(routes=[Route("/", self.answer, methods=["GET", "POST"])])
        await serve(app, self.socket, self.stop, self.clients)

    async def connect(self, sent: bytes = b"") -> "Peer":
        """A client that has sent this."""
        host, port = self.socket.getsockname()[:2]
        began = time.monotonic()  # before it is let in, or its time there may begin earlier
        peer = Peer(began, *await asyncio.open_connection(host, port, limit=2048))
        self.peers.append(peer)
        peer.writer.write(sent)
        return peer

    async def forget(self) -> None:
        """End all clients."""
        for peer in self.peers:
            peer.writer.transport.abort()
            with suppress(ConnectionError):
                await peer.writer.wait_closed()


class Peer:
    """A client."""

    def __init__(
        self, began: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer, self.began = reader, writer, began

    async def rest(self) -> bytes:
        """Everything that still comes, until the connection ends."""
        async with asyncio.timeout(LATE):
            try:
                return await self.reader.read(-1)
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def serving(port: Port) -> AsyncIterator[Port]:
    """It serves; at the end it stops, whatever its clients do."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(port.serve())
        yield port
        port.stop.set()
    await port.forget()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """One that cuts its clients off soon."""
    async with serving(Port()) as found:
        yield found


@pytest.fixture
async def patient() -> AsyncIterator[Port]:
    """One that cuts nobody off because of the time."""
    async with serving(Port(PATIENT, PATIENT)) as found:
        yield found


@pytest.mark.parametrize("trickle", [False, True])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"P", 408),
        (HEAD, 408),
        (HEAD + b"Content-Length: 100\r\n\r\nabc", 408),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 408),
    ],
)
async def test_a_client_that_is_slow_is_told_and_cut_off(
    port: Port, sent: bytes, status: int | None, *, trickle: bool
) -> None:
    """Also one that sends something now and then."""
    port.go.set()
    peer = await port.connect(sent)

    async def go_on() -> None:
        while sent and trickle:
            await asyncio.sleep(PATIENCE / 3)
            peer.writer.write(b"a" if b"\r\n\r\n" in sent else b"A: b\r\n"[:1])

    going_on = asyncio.create_task(go_on())
    answer = await peer.rest()
    going_on.cancel()
    assert time.monotonic() - peer.began > (PATIENCE if sent else IDLE)
    if status is None:
        assert answer == b""
    elif answer or not trickle:  # who still sends may not see it
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    await eventually(lambda: len(port.clients) == 0)


async def test_an_answer_that_nobody_takes_does_not_wait_for_ever(port: Port) -> None:
    """Nor those to what was asked for after it."""
    port.go.set()
    await port.connect(GET.replace(b"/ ", b"/?size=3000000 ") * 3)
    await eventually(lambda: port.refused == ["answer"])
    await eventually(lambda: len(port.clients) == 0)
    assert port.at_work < 3


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(port: Port) -> None:
    """If it takes some of it all the time."""
    port.go.set()
    peer = await port.connect(GET.replace(b"/ ", b"/?size=400000 "))
    received = 0
    while received < 400_000:
        received += len(await peer.reader.read(4_000))
        await asyncio.sleep(PATIENCE / 40)
    assert port.refused == []


async def test_the_slowest_makes_room_for_a_new_client(patient: Port) -> None:
    """Whatever it is slow with; not somebody who is being served."""
    served = await patient.connect(GET)
    await eventually(lambda: patient.at_work == 1)
    slow = [await patient.connect(HEAD) for _ in range(4)]
    await eventually(lambda: len(patient.clients) == 5)
    new = await patient.connect(GET)
    await eventually(lambda: patient.at_work == 2)
    assert await slow[0].rest() == b""
    assert patient.refused == ["clients"]
    patient.go.set()
    for each in (served, new):
        assert (await each.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_nobody_is_let_in_when_all_are_being_served(port: Port) -> None:
    """The new one is told so, at once."""
    served = [await port.connect(GET) for _ in range(5)]
    await eventually(lambda: port.at_work == 5)
    new = await port.connect()
    assert (await new.rest()).startswith(b"HTTP/1.1 503 ")
    port.go.set()
    for each in served:
        assert (await each.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_before_the_end_of_a_request_arrives(patient: Port) -> None:
    """Though the client is still sending, and nobody reads that; then the connection ends."""
    patient.go.set()
    chunks = b"1\r\na\r\n" * 30_000
    peer = await patient.connect(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    answer = await peer.rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"chunks" in answer


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n", GET.replace(b"/ ", b"/?size=3000000 ")],
)
async def test_clients_do_not_keep_the_process_from_ending(sent: bytes) -> None:
    """Their patience is short then; the fixture of the other tests demands it as well."""
    port = Port()
    port.clients = Clients(ClientLimits(clients=5, patience=60, idle=60), port.refused.append)
    port.go.set()
    async with asyncio.timeout(LATE), asyncio.TaskGroup() as group:
        group.create_task(port.serve())
        await port.connect(sent)
        await eventually(lambda: len(port.clients) == 1)
        port.stop.set()
    await port.forget()


async def test_a_connection_serves_one_request_after_the_other(port: Port) -> None:
    """Also if they came together."""
    port.go.set()
    peer = await port.connect(GET * 50)
    for _ in range(50):
        assert (await peer.reader.readuntil(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200 ")
    assert port.refused == []


async def test_answers_that_nobody_reads_take_only_so_much() -> None:
    """Whoever reads slowest pays for it, and who reads has the whole of a large answer."""
    port, most, large = Port(), 8_000_000, GET.replace(b"/ ", b"/?size=3000000 ")
    limits = ClientLimits(clients=50, patience=60, idle=60, unread=most)
    port.clients = Clients(limits, port.refused.append)
    port.go.set()
    async with asyncio.timeout(LATE), asyncio.TaskGroup() as group:
        group.create_task(port.serve())
        for number in range(1, 13):
            await port.connect(large)
            await eventually(lambda: port.at_work == number)  # noqa: B023
        reader = await port.connect(large.replace(b"3000000", b"9000000"))
        await reader.reader.readuntil(b"\r\n\r\n")
        assert len(await reader.reader.readexactly(9_000_000)) == 9_000_000
        assert port.clients.unread <= most
        assert 9 <= len(port.refused) < 13
        assert set(port.refused) == {"answer"}
        port.stop.set()
    await port.forget()
