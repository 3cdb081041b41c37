"""The development servers come up, keep data and port through a kill, and leave nothing."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import psutil
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.commands import Basic

from dev.child import ServerFailed
from dev.databases import Databases
from dev.environment import OTHER_ADDRESSES
from dev.postgres import Postgres
from dev.postgres_binaries import installed_binaries
from dev.rabbitmq import NoRabbitMQ, RabbitMQ
from dev.scratch import memory
from dev.servers import servers
from dev.virtual_hosts import VirtualHosts

PROJECT = Path(__file__).parents[3]
NO_RABBITMQ = {"PATH": "/nonexistent", "TEST_RABBITMQ_SERVER": ""}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One server for this file; its tests leave it running."""
    with Postgres(settings={"max_connections": "17"}) as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """One node for this file; its tests leave it running."""
    try:
        broker = RabbitMQ()
    except NoRabbitMQ as missing:
        pytest.skip(str(missing))
    with broker:
        yield broker


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have temporary folders made in one of our own, and find it empty at the end."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server may run as another user
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        eventually(lambda: not list(Path(folder).iterdir()))


def ask(url: str, sql: str) -> str:
    """Run SQL with PostgreSQL's own client: the project has one driver or the other."""
    command = [str(installed_binaries() / "psql"), "--no-psqlrc", "-At", "-c", sql, url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def family() -> list[psutil.Process]:
    """Return everything that we have started and that has been started by it."""
    return psutil.Process().children(recursive=True)


def left(processes: list[psutil.Process]) -> list[str]:
    """Those that still run; a zombie runs no more, it only waits for its parent to look."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
    return found


def eventually(condition: Callable[[], bool], *, within: float = 60) -> None:
    """Wait for a condition, and fail when it doesn't come."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.02)


async def _keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Neither ack nor reject it."""


def run_servers(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run the command line of the servers, as make does."""
    return subprocess.Popen(
        [sys.executable, "-m", "dev.servers", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_database_is_a_copy_of_its_template(postgres: Postgres) -> None:
    """A copy starts with the template's rows and changes without it; a drop may be repeated."""
    template = postgres.create_database()
    ask(template, "create table t (i int); insert into t values (42)")

    copy = postgres.create_database(template=template)
    ask(copy, "insert into t values (43)")

    assert ask(template, "select i from t") == "42"
    postgres.drop_database(copy)
    postgres.drop_database(copy)
    with pytest.raises(subprocess.CalledProcessError):
        ask(copy, "select 1")


def test_only_databases_of_this_server_are_dropped(postgres: Postgres) -> None:
    """A URL of another server is refused before anything is dropped."""
    with pytest.raises(ValueError, match=r"db\.example"):
        postgres.drop_database("postgresql://postgres@db.example/sales")


def test_settings_reach_the_server(postgres: Postgres) -> None:
    """What the caller sets overrides our own settings."""
    assert ask(postgres.url, "show max_connections") == "17"


def test_postgres_keeps_data_and_port_when_it_is_killed(postgres: Postgres) -> None:
    """What was committed before a kill is found under the same URL after the start."""
    url, pid = postgres.create_database(), postgres.pid
    ask(url, "create table t (i int); insert into t values (1)")

    postgres.kill()
    postgres.kill()
    postgres.start()

    assert ask(url, "select i from t") == "1"
    assert postgres.pid != pid


def test_postgres_may_be_stopped_twice_but_not_started_twice(postgres: Postgres) -> None:
    """A second stop is no error; a second start is one, and harms nothing."""
    postgres.stop()
    postgres.stop()
    with pytest.raises(ServerFailed, match=r"isn't running"):
        _ = postgres.pid

    postgres.start()
    with pytest.raises(ServerFailed, match="running already"):
        postgres.start()
    assert ask(postgres.url, "select 1") == "1"


@pytest.mark.usefixtures("nothing_left")
def test_a_postgres_that_cannot_start_says_why_and_leaves_nothing() -> None:
    """The error carries the server's log, and the folder is gone."""
    server = Postgres(settings={"shared_buffers": "plenty"})

    with pytest.raises(ServerFailed, match='invalid value for parameter "shared_buffers"'):
        server.__enter__()


@pytest.mark.long
async def test_a_quorum_queue_survives_the_death_of_its_broker(rabbitmq: RabbitMQ) -> None:
    """A confirmed message in a quorum queue is there after SIGKILL and start."""
    url = rabbitmq.create_virtual_host()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            "sales", durable=True, arguments={"x-queue-type": "quorum"}
        )
        message = aio_pika.Message(b"hello", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue.name)
    eventually(rabbitmq.queues_written)  # see RabbitMQ.kill

    pid = rabbitmq.pid
    rabbitmq.kill()
    rabbitmq.start()

    assert rabbitmq.pid != pid
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            "sales", durable=True, arguments={"x-queue-type": "quorum"}
        )
        kept = await queue.get(timeout=10)
        assert kept is not None
        assert kept.body == b"hello"
        await kept.ack()


async def test_a_consumer_timeout_is_noticed_within_seconds(rabbitmq: RabbitMQ) -> None:
    """Who keeps a message for too long loses the channel, or from 4.3 on the consumer."""
    reasons = asyncio.Queue[object]()
    set_timeout = "application:set_env(rabbit, consumer_timeout, {})."
    rabbitmq.ctl("eval", set_timeout.format(1000))
    try:
        async with await aio_pika.connect(rabbitmq.create_virtual_host()) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(
                "sales", durable=True, arguments={"x-queue-type": "quorum"}
            )
            await channel.default_exchange.publish(aio_pika.Message(b"hello"), queue.name)
            inner = await channel.get_underlay_channel()
            inner.on_consumer_cancel_callbacks.add(reasons.put_nowait)
            inner.closing.add_done_callback(lambda end: reasons.put_nowait(end.exception()))
            await queue.consume(_keep)
            async with asyncio.timeout(40):  # it takes two; without our setting a minute
                assert isinstance(await reasons.get(), ChannelPreconditionFailed | Basic.Cancel)
    finally:
        rabbitmq.ctl("eval", set_timeout.format(1_800_000))


def test_a_paused_rabbitmq_answers_nobody(rabbitmq: RabbitMQ) -> None:
    """It accepts connections as the kernel does, and goes on after that."""
    rabbitmq.pause()
    try:
        place = urlsplit(rabbitmq.url)
        with socket.create_connection((place.hostname, place.port or 0), timeout=0.5) as session:
            session.sendall(b"AMQP\0\0\x09\x01")
            with pytest.raises(TimeoutError):
                session.recv(1)
    finally:
        rabbitmq.resume()
    assert rabbitmq.create_virtual_host()


async def test_a_dropped_virtual_host_is_gone(rabbitmq: RabbitMQ) -> None:
    """Virtual hosts come and go, whatever characters their names have."""
    url = rabbitmq.create_virtual_host("a/b")
    assert "a/b" in rabbitmq.ctl("list_vhosts")

    rabbitmq.drop_virtual_host(url)
    rabbitmq.drop_virtual_host(url)

    assert "a/b" not in rabbitmq.ctl("list_vhosts")


def test_ctl_repeats_what_rabbitmqctl_complains_about(rabbitmq: RabbitMQ) -> None:
    """The error has the words of rabbitmqctl."""
    with pytest.raises(RuntimeError, match="no_such_user"):
        rabbitmq.ctl("clear_password", "no_such_user")


def test_data_that_need_not_last_is_in_memory(postgres: Postgres) -> None:
    """Where that has room for it."""
    data = Path(ask(postgres.url, "show data_directory"))
    assert data.is_relative_to(memory() or tempfile.gettempdir())


@pytest.mark.usefixtures("nothing_left")
def test_both_servers_leave_no_process_and_no_folder() -> None:
    """When the block ends, every process and folder of both servers is gone."""
    before, lines = set(family()), list[str]()
    with servers(report=lines.append) as running:
        ours = [process for process in family() if process not in before]
        assert running.environment()["DATABASE_URL"] == running.database_url
        assert "1" in ask(Databases(running.database_url).create(), "select 1")
        if running.management_url:
            hosts = VirtualHosts(running.broker_url, running.management_url)
            assert hosts.create().startswith(running.broker_url)

    assert any(line.startswith("PostgreSQL 18") for line in lines)
    assert not left(ours)


@pytest.mark.usefixtures("nothing_left")
def test_servers_die_with_whoever_started_them() -> None:
    """SIGKILL for the starter, who can't clean up any more, ends the servers too."""
    user = run_servers("--", sys.executable, "-c", "print('up', flush=True); input()")
    assert user.stdout is not None
    assert user.stdout.readline() == "up\n"
    orphans = psutil.Process(user.pid).children(recursive=True)

    user.kill()
    user.communicate()

    eventually(lambda: not left(orphans))


@pytest.mark.usefixtures("nothing_left")
def test_the_command_finds_the_server_and_its_status_is_ours() -> None:
    """The command gets the URLs, we get its exit status, progress goes to standard error."""
    code = (
        "import os, sys; print(os.environ['DATABASE_URL'], os.environ['BROKER_URL']); sys.exit(7)"
    )
    user = run_servers("--broker", "memory", "--", sys.executable, "-c", code)
    printed, progress = user.communicate(timeout=60)

    assert user.returncode == 7, progress
    assert printed.startswith("postgresql://postgres@127.0.0.1:")
    assert printed.endswith(" memory://\n")
    assert "PostgreSQL 18" in progress


@pytest.mark.usefixtures("nothing_left")
def test_only_postgres_leaves_the_broker_of_the_environment_alone() -> None:
    """Without a broker of ours, BROKER_URL is the caller's."""
    code = "import os; print(os.environ['BROKER_URL'])"
    command = ("--only", "postgres", "--", sys.executable, "-c", code)
    printed, _ = run_servers(*command, BROKER_URL="amqp://theirs/").communicate(timeout=60)

    assert printed == "amqp://theirs/\n"


# What a developer may have for other servers: libpq refuses private ones with the first four, and
# the rest changes what sessions say. RabbitMQ's scripts also obey names without a prefix.
OTHERS = {
    "PGSSLMODE": "verify-full",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSERVICE": "nowhere",
    "PGHOST": "db.example",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "secret",
    "PGDATABASE": "nothing",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "German",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATA": "/nonexistent",
    "MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "DATABASE_SESSION_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "RABBITMQ_NODENAME": "other@elsewhere",
    "RABBITMQ_CONFIG_FILE": "/nonexistent/rabbitmq.conf",
    "RABBITMQ_USE_LONGNAME": "true",
    "RABBITMQ_CTL_ERL_ARGS": "-nonsense",
    "RABBITMQ_SERVER_START_ARGS": "-s nonsense",
    "BOOT_MODULE": "nonsense",
    "SERVER_ERL_ARGS": "+nonsense",
    "ERL_FLAGS": "-s nonsense",
    "ERL_LIBS": "/nonexistent",
    "ERL_EPMD_PORT": "1",
}
ABOUT_OTHERS = ("PG", "RABBITMQ_", "ERL_", *OTHER_ADDRESSES)
VARIABLES = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.mark.usefixtures("nothing_left", "rabbitmq")
@pytest.mark.long
def test_private_servers_do_not_care_about_variables_of_others() -> None:
    """They start, and their command gets none of them, nor any other that it didn't have."""
    user = run_servers("--broker", "rabbitmq", "--", sys.executable, "-c", VARIABLES, **OTHERS)
    printed, progress = user.communicate(timeout=90)

    assert user.returncode == 0, progress
    found = json.loads(printed)
    assert [name for name in found if name.startswith(ABOUT_OTHERS)] == ["RABBITMQ_MANAGEMENT_URL"]
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.usefixtures("nothing_left")
def test_somebodys_own_server_keeps_its_variables() -> None:
    """PGPASSWORD may be what it takes to connect to TEST_DATABASE_URL."""
    command = ("--broker", "memory", "--", sys.executable, "-c", VARIABLES)
    user = run_servers(*command, TEST_DATABASE_URL="postgresql://db.example/sales", **OTHERS)
    printed, progress = user.communicate(timeout=60)

    assert user.returncode == 0, progress
    kept = OTHERS.keys() - set(OTHER_ADDRESSES)
    found = json.loads(printed)
    assert {name: found.get(name) for name in kept} == {name: OTHERS[name] for name in kept}
    assert not set(OTHER_ADDRESSES) & found.keys()


@pytest.mark.usefixtures("nothing_left")
def test_another_postgresql_has_to_be_there() -> None:
    """It was meant, so that of the environment is not taken in its place."""
    user = run_servers("--broker", "memory", "--", "true", TEST_POSTGRES="/nowhere")
    _, progress = user.communicate(timeout=60)

    assert user.returncode == 78
    assert "TEST_POSTGRES is /nowhere, and the program postgres is not in there" in progress


def test_a_server_of_a_test_does_not_care_either(
    monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """Its programs connect, whatever the process has."""
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)

    url = postgres.create_database()

    assert postgres.ask("SELECT 1") == "1"
    postgres.drop_database(url)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_signals_reach_the_command_and_the_servers_end_after_it(number: signal.Signals) -> None:
    """The command decides how it ends; the servers are stopped after that."""
    code = (
        "import signal, sys, time\n"
        f"signal.signal({number:d}, lambda *_: sys.exit(5))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    user = run_servers("--only", "postgres", "--", sys.executable, "-c", code)
    assert user.stdout is not None
    user.stdout.readline()
    processes = psutil.Process(user.pid).children(recursive=True)

    user.send_signal(number)
    user.communicate(timeout=30)

    assert user.returncode == 5
    assert not left(processes)


@pytest.mark.usefixtures("nothing_left")
def test_a_signal_during_the_start_ends_everything() -> None:
    """Servers that are just being started are stopped as well; the command never runs."""
    user = run_servers("--broker", "memory", "--", sys.executable, "-c", "print('too late')")
    eventually(lambda: len(psutil.Process(user.pid).children()) >= 2)
    processes = psutil.Process(user.pid).children(recursive=True)

    user.send_signal(signal.SIGTERM)
    printed, _ = user.communicate(timeout=60)

    assert user.returncode == 128 + signal.SIGTERM
    assert printed == ""
    assert not left(processes)


@pytest.mark.usefixtures("nothing_left")
def test_without_rabbitmq_the_status_is_78_and_the_remedies_are_named() -> None:
    """One who asked for RabbitMQ and can't have it is told every way to get it."""
    user = run_servers("--broker", "rabbitmq", "--", "true", **NO_RABBITMQ)
    _, text = user.communicate(timeout=60)

    assert user.returncode == 78
    for remedy in ("BROKER_URL", "install rabbitmq-server", "as root", "docker run"):
        assert remedy in text


@pytest.mark.usefixtures("nothing_left")
def test_without_rabbitmq_auto_says_so_and_uses_memory() -> None:
    """A missing RabbitMQ is no error by default, but never a secret."""
    command = ("--", sys.executable, "-c", "import os; print(os.environ['BROKER_URL'])")
    printed, text = run_servers(*command, **NO_RABBITMQ).communicate(timeout=60)

    assert printed == "memory://\n"
    assert "No RabbitMQ" in text
