"""The servers of `make dev` stay, with data and ports, whatever ends whom."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from acme_orders.chassis.settings import ChassisSettings

from dev.environment import OTHER_ADDRESSES
from dev.places import service_ports
from dev.postgres_binaries import server_user
from dev.virtual_hosts import VirtualHosts
from tests.chassis.integration.test_dev_servers import NO_RABBITMQ, OTHERS, ask, eventually, left
from tests.chassis.place import SERVICE, START, Place, place

__all__ = ["place"]

QUEUE = "/api/queues/%2F/kept"


def killed(processes: list[psutil.Process]) -> None:
    """End all of them at once, as a power failure does."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def port_of(url: str) -> int:
    """Where a server listens."""
    return urlsplit(url).port or 0


def test_data_and_ports_are_there_the_next_day(place: Place) -> None:
    """Also the messages, whose broker is another node to them if it has another name."""
    found = place.start(PATH=os.environ["PATH"])
    assert place.start(PATH=os.environ["PATH"]) == found
    hosts = VirtualHosts(found["BROKER_URL"], found["RABBITMQ_MANAGEMENT_URL"])
    hosts.ask("PUT", QUEUE, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    message = {"properties": {"delivery_mode": 2}, "payload": "hello", "payload_encoding": "string"}
    hosts.ask("POST", "/api/exchanges/%2F/amq.default/publish", message | {"routing_key": "kept"})
    ask(found["DATABASE_URL"], "create table t (i int); insert into t values (42)")
    by_hand = ". .dev/rabbitmq/env && rabbitmqctl --quiet list_queues name"  # as in the runbook
    listed = subprocess.run(
        ["sh", "-c", by_hand], cwd=place.folder, capture_output=True, text=True, check=False
    )
    assert "kept" in listed.stdout, listed.stderr

    place.stop()
    assert not (place.folder / ".env.running").exists()
    broker = port_of(found["BROKER_URL"])
    with socket.create_server(("127.0.0.1", broker)):  # somebody else has it by now
        again = place.start(PATH=os.environ["PATH"])

    assert again["DATABASE_URL"] == found["DATABASE_URL"]
    assert again["RABBITMQ_MANAGEMENT_URL"] == found["RABBITMQ_MANAGEMENT_URL"]
    assert port_of(again["BROKER_URL"]) != broker
    assert ask(again["DATABASE_URL"], "select i from t") == "42"
    hosts = VirtualHosts(again["BROKER_URL"], again["RABBITMQ_MANAGEMENT_URL"])
    wanted = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    eventually(lambda: bool(hosts.ask("GET", QUEUE).get("leader")))
    (kept,) = hosts.ask("POST", f"{QUEUE}/get", wanted)
    assert kept["payload"] == "hello"


def test_two_terminals_get_the_same_servers(place: Place) -> None:
    """Whoever comes second waits for those of the first."""
    both = [place.terminal("-c", START, variables=NO_RABBITMQ) for _ in range(2)]

    (first, _), (second, _) = (each.communicate(timeout=120) for each in both)

    assert [each.returncode for each in both] == [0, 0]
    assert first == second


@pytest.mark.long
def test_a_machine_that_died_leaves_nothing_in_the_way(place: Place) -> None:
    """Not even a process that has the number of its PostgreSQL by now, and is left alone."""
    url = place.start()["DATABASE_URL"]
    ask(url, "create table t (i int); insert into t values (42)")
    folder = (place.folder / ".dev/postgres").resolve()
    killed(place.family())
    user = server_user()
    with subprocess.Popen(["sleep", "60"], user=user and user.pw_uid) as somebody:
        file = folder / "data/postmaster.pid"
        file.write_text(f"{somebody.pid}\n" + file.read_text().partition("\n")[2])
        (folder / "processes.json").write_text(f"[{somebody.pid}]")

        assert place.start()["DATABASE_URL"] == url

        assert somebody.poll() is None
        somebody.kill()
    assert ask(url, "select i from t") == "42"


@pytest.mark.long
def test_servers_that_outlived_who_ran_them_are_replaced(place: Place) -> None:
    """SIGKILL for it and for the guard that would have ended them."""
    url = place.start()["DATABASE_URL"]
    server = place.postgres()
    killed([each for each in place.family() if "postgres" not in each.name()])
    assert server.is_running()

    assert place.start()["DATABASE_URL"] == url

    assert not left([server])
    assert ask(url, "select 1") == "1"


def test_a_server_that_is_killed_comes_back(place: Place) -> None:
    """On the same port, for a service that goes on."""
    url = place.start()["DATABASE_URL"]
    server = place.postgres()

    server.send_signal(signal.SIGKILL)

    eventually(lambda: not left([server]) and _answers(url))


def test_data_of_a_server_that_was_never_ready_is_made_anew(place: Place) -> None:
    """Somebody pressed Ctrl-C while the cluster was being made."""
    folder = place.folder / ".dev/postgres/data"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("18\n")

    assert ask(place.start()["DATABASE_URL"], "select 1") == "1"


def test_the_command_line_finds_them_without_a_variable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before those of `.env`, whose owner of the tables owns those of another server."""
    (place.folder / ".env").write_text(
        "DATABASE_URL=postgresql://a@db.example/x\n"
        "DATABASE_SESSION_URL=postgresql://a@db.example/x\n"
        "MIGRATION_DATABASE_URL=postgresql://b@db.example/x\n"
    )
    found = place.start()
    for name in ("DATABASE_URL", "BROKER_URL", "RABBITMQ_MANAGEMENT_URL", "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(place.folder)

    settings = ChassisSettings()  # type: ignore[call-arg]

    urls = {settings.database_url, settings.session_url, settings.owner_url}
    assert urls == {found["DATABASE_URL"]}
    assert (settings.broker_url, settings.environment) == ("memory://", "development")
    assert (place.folder / ".env.running").stat().st_mode & 0o777 == 0o600


def test_make_dev_runs_the_service_on_them(place: Place) -> None:
    """It migrates their database, says where everything is, and runs once in a folder."""
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    lines = (f"{name}={url}\n" for name in OTHER_ADDRESSES)
    (place.folder / ".env").write_text("".join(lines))
    first = place.terminal("-m", "dev.start", variables={**OTHERS, **SERVICE, **NO_RABBITMQ})
    said = until_ready(first)

    second = place.terminal("-m", "dev.start", variables={**SERVICE, **NO_RABBITMQ})
    _, refusal = second.communicate(timeout=60)
    first.send_signal(signal.SIGTERM)
    said += first.communicate(timeout=60)[1].splitlines(keepends=True)

    assert (first.returncode, second.returncode) == (0, 1), "".join(said)
    assert any("service.ready" in line for line in said), "".join(said)
    assert f"as process {first.pid}" in refusal
    for each in ("queues, dead letters", "metrics and probes  ", "PostgreSQL          "):
        assert any(line.startswith(f"{each} ") and "://" in line for line in said)
    assert "`make dev-stop`" in said[-1]
    assert place.start()["DATABASE_URL"] in "".join(said)


def test_whoever_stops_the_servers_ends_the_service_first(place: Place) -> None:
    """Otherwise it would complain, and a second one could run beside it after `make dev-reset`."""
    service = place.terminal("-m", "dev.start", variables={**SERVICE, **NO_RABBITMQ})
    said = until_ready(service)

    place.stop("reset")

    said += service.communicate(timeout=60)[1].splitlines(keepends=True)
    assert service.returncode == 0, "".join(said)
    assert not [line for line in said if "unreachable" in line or "refused" in line]


def until_ready(service: subprocess.Popen[str]) -> list[str]:
    """What `make dev` has said by then."""
    said = list[str]()
    for line in service.stderr or ():
        said.append(line)
        if "service.ready" in line or "ended with status" in line:
            break
    return said


def test_ports_of_the_service_are_remembered_and_never_those_of_others(tmp_path: Path) -> None:
    """The settings say which; a project beside this one may be there already."""
    memory = tmp_path / "memory"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        first = service_ports({"OPERATIONS_PORT": str(taken)}, memory)

    assert taken < int(first["OPERATIONS_PORT"]) < taken + 100
    assert service_ports({"OPERATIONS_PORT": str(taken)}, memory) == first
    assert service_ports({"OPERATIONS_PORT": "0"}, memory)["OPERATIONS_PORT"] == "0"


def _answers(url: str) -> bool:
    with suppress(subprocess.CalledProcessError):
        return ask(url, "select 1") == "1"
    return False
