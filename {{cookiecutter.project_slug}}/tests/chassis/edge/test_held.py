# feature: http_api
"""Clients hold what they can, of a real process with real servers; nobody else notices."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress

import pytest

from dev.databases import Databases
from dev.virtual_hosts import VirtualHosts
from readiness.scratch import rows_of
from tests.chassis.conftest import PROJECT, Connect, send, sold
from tests.chassis.edge.process import Running, head, held, running, soon
from tests.chassis.slices.sales.messages import SaleForm

FORM = json.dumps(dict(SaleForm.example())).encode()
FILES = 1024
MESSAGES = 100
HELD = 2.5  # seconds, at least, so that who waits for a second has waited


@pytest.fixture(scope="module")
def environment(migrated: str) -> Iterator[dict[str, str]]:
    """A database and a virtual host of this module alone."""
    databases = Databases(os.environ["DATABASE_URL"])
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    database, host = databases.create(template=migrated), hosts.create()
    yield {"ENVIRONMENT": "test", "DATABASE_URL": database, "BROKER_URL": host}
    hosts.drop(host)
    databases.drop(database)


@pytest.fixture(scope="module")
def service(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """The process that all tests of this module attack."""
    log = tmp_path_factory.mktemp("held") / "log"
    with running(environment, log, files=FILES) as found:
        yield found


def processed(environment: dict[str, str], ids: list[str]) -> bool:
    """Whether all of them were; sales that clients have made before may come in between."""
    counted = "SELECT count(*) FROM inbox WHERE id = ANY(%s)"
    ((found,),) = rows_of(environment["DATABASE_URL"], counted, (ids,))
    return bool(found == len(ids))


async def pace(connect: Connect, environment: dict[str, str]) -> float:
    """Seconds for some messages, from the first that is sent to the last that is stored."""
    messages = [sold() for _ in range(MESSAGES)]
    ids = [str(each.message_id) for each in messages]
    async with connect(broker_url=environment["BROKER_URL"]) as publisher:
        began = time.monotonic()
        await send(publisher, *messages)
        soon(lambda: processed(environment, ids), within=30)
        return time.monotonic() - began


def unfinished_bodies(service: Running) -> AbstractContextManager[object]:
    """More of them than the pool has connections."""
    part = head("POST", "/sales", Content_Length="100000") + b"x" * 100
    return held(service.port, 200, part)


def slow_heads(service: Running) -> AbstractContextManager[object]:
    """More of them than places."""
    return held(service.port, 600, b"POST /sales HTTP/1.1\r\nHost: ")


def idle_sockets(service: Running) -> AbstractContextManager[object]:
    """More of them than open files."""
    return held(service.port, 1100, b"")


def idle_sockets_for_operations(service: Running) -> AbstractContextManager[object]:
    """On the other port."""
    return held(service.operations, 300, b"")


def answers_that_nobody_reads(service: Running) -> AbstractContextManager[object]:
    """Of a megabyte each, asked for one after the other on each connection."""
    return held(service.port, 60, head("GET", "/forms/long?size=1000000") * 20)


def requests_that_take_long(service: Running) -> AbstractContextManager[object]:
    """Each with a statement that PostgreSQL works on."""
    return held(service.port, 60, head("GET", "/forms/slow?seconds=6"))


@contextmanager
def two_thousand_slow_clients(service: Running, port: int | None = None) -> Iterator[None]:
    """Byte by byte: heads, bodies and answers. Files are left for others while they arrive, too.

    Where they took all, the last of them would not arrive before the first have gone.
    """
    command = [sys.executable, "-m", "tests.chassis.edge.slow", str(port or service.port), "2000"]
    with (
        ThreadPoolExecutor(1) as reading,
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as clients,
    ):
        assert clients.stdout
        try:
            line = reading.submit(clients.stdout.readline)
            while not line.done():
                assert service.files < FILES
                time.sleep(0.1)
            assert line.result() == "all of them have been connected\n"
            yield
            assert clients.poll() is None
        finally:
            clients.kill()


def two_thousand_slow_clients_for_operations(service: Running) -> AbstractContextManager[None]:
    """On the port with few places."""
    return two_thousand_slow_clients(service, service.operations)


@contextmanager
def endless_bodies(service: Running) -> Iterator[None]:
    """Of 500 MB, announced or not."""
    over, threads = threading.Event(), list[threading.Thread]()
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"

    def send_it(**headers: str) -> None:
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", service.port)) as client, suppress(OSError):
                client.sendall(head("POST", "/forms/raw", **headers))
                for _ in range(500 * 16):
                    client.sendall(chunk)
                pytest.fail("somebody has read 500 MB")

    for headers in ({"Content_Length": str(500 << 20)}, {"Transfer_Encoding": "chunked"}) * 4:
        threads.append(threading.Thread(target=send_it, kwargs=headers))
        threads[-1].start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def a_flood_of_requests(service: Running) -> Iterator[None]:
    """Good ones and bad ones, as fast as 30 clients can."""
    over, seen = threading.Event(), set[int]()
    bad = b'{"lines": [' + b",".join([b"{}"] * 20_000) + b"]}"

    def ask() -> None:
        while not over.is_set():
            for body in (FORM, bad, b"no JSON"):
                answer = service.ask("POST", "/sales", body)
                seen.add(answer.status)
                assert answer.seconds < 15, answer

    with ThreadPoolExecutor(30) as clients:
        asking = [clients.submit(ask) for _ in range(30)]
        try:
            yield
        finally:
            over.set()
        for each in asking:
            each.result()
    assert seen <= {202, 422, 503}
    assert seen >= {202, 422}


Hold = Callable[[Running], AbstractContextManager[object]]
HOLDS: tuple[Hold, ...] = (
    unfinished_bodies,
    idle_sockets,
    answers_that_nobody_reads,
    endless_bodies,
    a_flood_of_requests,
)
LONG: tuple[Hold, ...] = (
    slow_heads,
    idle_sockets_for_operations,
    requests_that_take_long,
    two_thousand_slow_clients,
    two_thousand_slow_clients_for_operations,
)


@pytest.mark.parametrize(
    "hold",
    [*HOLDS, *(pytest.param(each, marks=pytest.mark.long) for each in LONG)],
    ids=lambda hold: hold.__name__,
)
async def test_messages_and_probes_go_on_whatever_clients_hold(
    service: Running,
    connect: Connect,
    environment: dict[str, str],
    hold: Hold,
) -> None:
    """At the usual pace; and whoever behaves is served, at the latest when it is over."""
    usual, lines = await pace(connect, environment), log_size(service)
    with hold(service):
        until = time.monotonic() + HELD
        assert await pace(connect, environment) < 5 * usual + 15
        while time.monotonic() < until:
            for path in ("/live", "/ready", "/metrics"):
                answer = service.operation(path)
                assert (answer.status, answer.seconds < 3) == (200, True), answer
            assert service.files < FILES
        if hold not in {requests_that_take_long, *LONG}:  # those take all places again and again
            assert service.ask("POST", "/sales", FORM).status in {202, 503}

    soon(lambda: service.ask("POST", "/sales", FORM).status == 202, within=30)
    assert service.memory < 250
    assert log_size(service) - lines < 300_000


def log_size(service: Running) -> int:
    """Bytes."""
    return service.log.stat().st_size
