"""What breaks servers and networks for the tests does what it says."""

import asyncio
import importlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError
from pamqp.common import FieldTable

from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.driver import DriverError

from dev.postgres import Postgres
from dev.proxy import Proxy
from dev.rabbitmq_cluster import RabbitMQCluster
from dev.small_disk import NoSmallDisk, SmallDisk
from dev.standby import PostgresPair
from tests.chassis.conftest import eventually
from tests.chassis.integration.hazards_bare import DRIVERS
from tests.chassis.integration.migrating import wait_until

QUORUM: FieldTable = {"x-queue-type": "quorum"}
TIMEOUT = 60.0  # seconds for what takes a millisecond


@pytest.fixture
def echo() -> Iterator[tuple[Proxy, list[bytes]]]:
    """A proxy in front of a server that answers with what it got, and all that it got."""
    got: list[bytes] = []

    def answer(session: socket.socket) -> None:
        with session, suppress(OSError):
            while data := session.recv(1024):
                got.append(data)
                session.sendall(data)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                session, _ = listener.accept()
                threading.Thread(target=answer, args=(session,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        with Proxy(*listener.getsockname()) as proxy:
            yield proxy, got
        listener.shutdown(socket.SHUT_RDWR)


def client(proxy: Proxy) -> socket.socket:
    """A connection through the proxy, with a time limit for each answer."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT)


def hangs(session: socket.socket) -> bool:
    """Whether nothing comes, neither bytes nor an end."""
    session.settimeout(0.2)
    try:
        session.recv(1)
    except TimeoutError:
        return True
    finally:
        session.settimeout(TIMEOUT)
    return False


def echoed(session: socket.socket, data: bytes = b"hello") -> bool:
    """Whether what we send comes back."""
    session.sendall(data)
    return session.recv(1024) == data


Echo = tuple[Proxy, list[bytes]]


def test_bytes_pass_and_connections_are_counted(echo: Echo) -> None:
    """Without a rule it is as if the proxy weren't there, ends included."""
    proxy, _ = echo
    with client(proxy) as first, client(proxy) as second:
        assert echoed(first)
        assert echoed(second)
        assert proxy.connections == 2
        first.shutdown(socket.SHUT_WR)
        assert first.recv(1) == b""


async def test_an_end_is_passed_on(echo: Echo) -> None:
    """A connection that the client has closed is no longer there."""
    proxy, _ = echo
    with client(proxy) as session:
        assert echoed(session)
    await eventually(lambda: proxy.connections == 0)


@pytest.mark.parametrize(("up", "arrives"), [(True, False), (False, True)])
def test_a_black_hole_swallows_one_direction(echo: Echo, *, up: bool, arrives: bool) -> None:
    """Requests or replies are lost, the connection hangs, and is reset when the hole is gone."""
    proxy, got = echo
    with client(proxy) as session:
        assert echoed(session, b"before")
        proxy.black_hole(up=up, down=not up)
        session.sendall(b"lost")
        if arrives:
            wait_until(lambda: b"lost" in got)
        assert hangs(session)
        assert (b"lost" in got) is arrives
        with client(proxy) as new:
            assert hangs(new)
            proxy.pass_on()
            for each in (session, new):
                with pytest.raises(ConnectionResetError):
                    each.recv(1)
    with client(proxy) as session:
        assert echoed(session)


def test_a_connection_that_lost_nothing_in_a_black_hole_goes_on(echo: Echo) -> None:
    """TCP itself would have kept it as well."""
    proxy, _ = echo
    with client(proxy) as session:
        assert echoed(session)
        proxy.black_hole()
        proxy.pass_on()
        assert echoed(session)


def test_refused_connections_are_reset(echo: Echo) -> None:
    """Old and new ones, until the rule is gone."""
    proxy, _ = echo
    with client(proxy) as session:
        assert echoed(session)
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            session.recv(1)
    with pytest.raises(ConnectionResetError), client(proxy) as session:
        session.recv(1)
    proxy.pass_on()
    with client(proxy) as session:
        assert echoed(session)


def test_a_reset_leaves_room_for_new_connections(echo: Echo) -> None:
    """RST for what is open, and nothing else."""
    proxy, _ = echo
    with client(proxy) as session:
        assert echoed(session)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            session.recv(1)
    with client(proxy) as session:
        assert echoed(session)


async def test_a_half_closed_connection_still_sends(echo: Echo) -> None:
    """The client sees the end, and the server what the client sends after it."""
    proxy, got = echo
    with client(proxy) as session:
        assert echoed(session)
        proxy.half_close()
        assert session.recv(1) == b""
        session.sendall(b"after")
        await eventually(lambda: b"after" in got)


def test_chunks_are_delayed_each_way(echo: Echo) -> None:
    """A round trip takes twice the delay."""
    proxy, _ = echo
    with client(proxy) as session:
        assert echoed(session)
        proxy.delay(0.1)
        began = time.monotonic()
        assert echoed(session)
        assert time.monotonic() - began >= 0.2


async def test_a_connection_is_cut_after_so_many_bytes(echo: Echo) -> None:
    """The server gets these bytes and no more; the client gets a reset."""
    proxy, got = echo
    proxy.cut_after(7)
    with client(proxy) as session:
        assert echoed(session)
        session.sendall(b"12345")
        with pytest.raises(ConnectionResetError):
            while session.recv(1024):
                pass
    await eventually(lambda: b"".join(got) == b"hello12")
    assert proxy.cuts == 1
    proxy.cut_after(None)
    with client(proxy) as session:
        assert echoed(session, b"longer than before")


def test_a_commit_whose_reply_is_lost_has_happened(postgres: Postgres) -> None:
    """The client gets an error, and the row is there."""
    with Proxy("127.0.0.1", postgres.port) as proxy:
        with closing(open_blocking(proxy.url(postgres.url))) as session:
            session.autocommit = True
            cursor = session.cursor()
            cursor.execute("CREATE TABLE committed AS SELECT 1 AS n")
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO committed VALUES (2)")
            proxy.cut_before_reply(b"COMMIT")
            with pytest.raises(DriverError):
                cursor.execute("COMMIT")
        assert proxy.cuts == 1
    assert postgres.ask("SELECT max(n) FROM committed") == "2"


def test_a_paused_postgres_answers_nobody(postgres: Postgres) -> None:
    """Sessions wait while it is paused, and go on afterwards."""
    answered = threading.Event()
    postgres.pause()
    try:

        def ask() -> None:
            postgres.ask("SELECT 1")
            answered.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert not answered.wait(0.3)
    finally:
        postgres.resume()
    asking.join(TIMEOUT)
    assert answered.is_set()


def test_a_full_disk_takes_no_more_until_it_is_freed() -> None:
    """Only programs inside see it, and nothing of it is left afterwards."""
    try:
        with SmallDisk(4) as disk:
            write = ["dd", "if=/dev/zero", f"of={disk.path / 'written'}", "bs=1024k", "count=1"]
            disk.fill(leave=100_000)
            assert 0 <= disk.left - 100_000 < 4096
            disk.fill()
            assert disk.left == 0
            full = subprocess.run(disk.inside(write), capture_output=True, text=True, check=False)
            assert "No space left on device" in full.stderr
            disk.free()
            subprocess.run(disk.inside(write), capture_output=True, check=True)
            assert disk.seen(disk.path / "written").stat().st_size == 1024 * 1024
            assert list(disk.path.iterdir()) == []
    except NoSmallDisk as why:
        pytest.skip(str(why))
    assert not disk.path.exists()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One server for this file; its tests leave it running."""
    with Postgres() as server:
        yield server


@pytest.mark.long
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_promoted_standby_has_what_was_acknowledged(
    driver: str,
) -> None:
    """The same URL reaches the primary first and the new one later, with either driver."""
    chosen = importlib.import_module(f"acme_orders.chassis.database.{driver}")

    async def port(url: str) -> int:
        async with asyncio.timeout(5):
            session = await chosen.open_connection(**DatabaseAddress.parse(url).parameters({}))
        try:
            info = getattr(session, "info", None) or session.raw.info
            return int(info.port)
        finally:
            chosen.discard(session)

    with PostgresPair() as pair:
        url = pair.databases.create()
        pair.primary.ask("CREATE TABLE kept AS SELECT 1 AS n")
        assert await port(url) == pair.primary.port
        pair.primary.kill()
        pair.promote()
        assert pair.standby.ask("INSERT INTO kept VALUES (2) RETURNING n").startswith("2")
        assert pair.standby.ask("SELECT sum(n) FROM kept") == "3"
        assert await port(url) == pair.standby.port
        assert await port(pair.databases.create()) == pair.standby.port


@pytest.mark.long
async def test_a_quorum_queue_survives_the_death_of_a_node() -> None:
    """Messages can be stored and read with two of three nodes; the third comes back."""
    with RabbitMQCluster() as cluster:
        url = cluster.create_virtual_host()
        places, path = url.partition("@")[2].split("/")
        hosts = [f"amqp://guest:guest@{place}/{path}" for place in places.split(",")]
        async with await aio_pika.connect(hosts[0]) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("sales", durable=True, arguments=QUORUM)
            await channel.default_exchange.publish(aio_pika.Message(b"1"), queue.name)
        await eventually(cluster.queues_written)

        await asyncio.to_thread(cluster.nodes[0].kill)
        assert cluster.management_url == cluster.nodes[1].management_url
        await eventually(lambda: len(cluster.members()) == 2)

        async def stored() -> bool:
            # The broker refuses while no new leader is known, and a channel from then for ever.
            async with await aio_pika.connect(hosts[1]) as connection:
                channel = await connection.channel()
                with suppress(DeliveryError):
                    return bool(
                        await channel.default_exchange.publish(aio_pika.Message(b"2"), "sales")
                    )
            return False

        await eventually(stored)
        async with await aio_pika.connect(hosts[1]) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("sales", durable=True, arguments=QUORUM)
            for body in (b"1", b"2"):
                message = await queue.get(timeout=20)
                assert message.body == body
                await message.ack()

        await asyncio.to_thread(cluster.nodes[0].start)
        assert cluster.members() == {node.name for node in cluster.nodes}
        async with await aio_pika.connect(hosts[0]) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("sales", durable=True, arguments=QUORUM)
            assert await queue.get(timeout=20, fail=False) is None
