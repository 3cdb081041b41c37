"""What a person does about dead letters, and what is left when that is killed half-way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.process.service import Service

from tests.chassis.acceptance.test_command_line import run
from tests.chassis.conftest import (
    PROJECT,
    Connect,
    consuming,
    count,
    eventually,
    rows,
    settled,
    sold,
)
from tests.chassis.integration.dead_letter_queue import (
    archived,
    archiving,
    drained,
    failed,
    identity_of,
    set_aside,
)
from tests.chassis.integration.outbox_events import is_empty, relays, smuggle
from tests.chassis.slices.sales.messages import SALE_MADE

ACK = "acme_orders.chassis.rabbitmq.subscription:RabbitDelivery.ack"
MARK = "acme_orders.chassis.dead_letters.store:DeadLetters.decide"
STATES = "SELECT state, count(*) FROM dead_letters GROUP BY state ORDER BY state"

REPLAYED = "SELECT count(*) FROM dead_letters WHERE state = 'replayed'"


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """Our own view of the same database and broker."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


@asynccontextmanager
async def process(service: Service, broker_url: str, *command: str) -> AsyncIterator[Process]:
    """A process on this database and broker, killed at the end if it still runs."""
    environment = {
        **os.environ,
        "ENVIRONMENT": "test",
        "DATABASE_URL": service.settings.database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "HTTP_PORT": "0",
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=PROJECT, env=environment
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


class Commands:
    """The command line, on this database and broker."""

    def __init__(self, database_url: str, broker_url: str) -> None:
        self._settings = {"DATABASE_URL": database_url, "BROKER_URL": broker_url}

    async def __call__(self, *arguments: str) -> CompletedProcess[str]:
        """Run one."""
        return await asyncio.to_thread(run, "dead-letters", *arguments, **self._settings)

    async def well(self, *arguments: str) -> str:
        """Run one that succeeds, and return what it says."""
        ended = await self(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What `list` shows to programs."""
        found: list[dict[str, Any]] = json.loads(await self.well("list", "--json", *arguments))
        return found


@pytest.fixture
def commands(database_url: str, broker_url: str) -> Commands:
    """On RabbitMQ."""
    return Commands(database_url, broker_url)


@pytest.fixture
def without_broker(database_url: str) -> Commands:
    """As on a machine that does not reach RabbitMQ."""
    return Commands(database_url, "memory://")


def like(reason: str, fingerprint: str) -> Message:
    """A dead letter of this kind."""
    message = failed()
    headers = {**message.headers, "dl-reason": reason, "dl-fingerprint": fingerprint}
    return replace(message, headers=headers)


async def test_killed_between_commit_and_ack(service: Service, broker_url: str) -> None:
    """The archiver finds its row there when the message comes again."""
    await set_aside(service, failed())
    command = (
        "-m",
        "tests.chassis.faults.child",
        f"before:{ACK}:kill",
        "--",
        "run",
        "--only",
        "consumer",
    )
    async with process(service, broker_url, *command) as started:
        assert await asyncio.wait_for(started.wait(), 60) == -signal.SIGKILL
    assert await count(service, "dead_letters") == 1
    await eventually(lambda: _waiting(service))
    async with archiving(service):
        await eventually(lambda: drained(service))
    assert await drained(service)
    assert await count(service, "dead_letters") == 1


async def _waiting(service: Service) -> bool:
    return await service.broker.count(service.topology.dead_letters.name) == 1


async def test_an_event_that_no_broker_takes(service: Service, commands: Commands) -> None:
    """It is seen like all dead letters; mended and replayed it is in the outbox again."""
    for _ in range(2):
        await smuggle(service, type="repeat('t', 300)", ordering_key="'sale-1'")
    async with relays(service):
        await eventually(lambda: is_empty(service))
    (group,) = await commands.listed("--reason", "unpublishable")
    assert (group["count"], group["error_type"]) == (2, "Unpublishable")
    one, other = await commands.listed("--each", "--reason", "unpublishable")
    shown = json.loads(await commands.well("show", one["id"]))
    assert shown["outgoing"]
    assert shown["properties"]["ordering_key"] == "sale-1"
    assert "255" in shown["error_message"]
    assert "1 discarded" in await commands.well("discard", other["id"], "--yes")
    await rows(service, "UPDATE dead_letters SET type = 'thing.mended'")
    assert "1 replayed" in await commands.well("replay", "--reason", "unpublishable")
    written = "SELECT message_id::text, type, ordering_key, attempts FROM outbox"
    assert await rows(service, written) == [(one["message_id"], "thing.mended", "sale-1", 0)]
    assert "none of them waits" in await commands.well("replay", "--reason", "unpublishable")


async def test_the_consumer_archives_what_it_sets_aside(
    service: Service, broker_url: str, commands: Commands
) -> None:
    """From the queue of the service to the list, in one process."""
    bad = replace(sold(), body=b"no JSON")
    await service.broker.publish(bad, exchange="events", routing_key=SALE_MADE)
    command = ("-m", "tests.chassis", "run", "--only", "consumer")
    async with process(service, broker_url, *command) as started:
        await eventually(lambda: count(service, "dead_letters"))
        started.terminate()
        assert await asyncio.wait_for(started.wait(), 60) == 0
    (group,) = await commands.listed()
    assert (group["reason"], group["type"], group["count"]) == ("malformed", SALE_MADE, 1)


async def test_a_replay_that_is_killed_can_be_run_again(
    service: Service, commands: Commands, broker_url: str
) -> None:
    """At the worst point, after the confirm; and then in the middle. Each is processed once."""
    await archived(service, *[failed() for _ in range(10)])
    replay = ("dead-letters", "replay", "--all")
    at_the_worst = ("-m", "tests.chassis.faults.child", f"before:{MARK}:kill", "--", *replay)
    async with process(service, broker_url, *at_the_worst) as started:
        assert await asyncio.wait_for(started.wait(), 60) == -signal.SIGKILL
    assert await service.broker.count(service.topology.main.name) == 1
    assert await rows(service, STATES) == [("waiting", 10)]

    slow = ("-m", "tests.chassis", *replay, "--rate", "1")  # for seven seconds more
    async with process(service, broker_url, *slow) as started:
        await eventually(lambda: _replayed(service, 3))
        started.kill()
        await started.wait()
    assert not await _replayed(service, 10)

    assert "replayed" in await commands.well("replay", "--all", "--rate", "1000")
    assert await rows(service, STATES) == [("replayed", 10)]
    async with consuming(service):
        await eventually(lambda: settled(service, "done") == 10)
    assert settled(service, "duplicate") >= 1
    assert await count(service, "sales") == 10


async def _replayed(service: Service, wanted: int) -> bool:
    ((found,),) = await rows(service, REPLAYED)
    return int(found) >= wanted


async def test_the_rate_is_kept(service: Service, commands: Commands) -> None:
    """Six messages at ten a second take half a second at least."""
    await archived(service, *[failed() for _ in range(6)])
    await commands.well("replay", "--all", "--rate", "10")
    span = "SELECT extract(epoch FROM max(decided_at) - min(decided_at)) FROM dead_letters"
    ((seconds,),) = await rows(service, span)
    assert seconds >= 0.45


async def test_what_looks_alike_is_shown_and_replayed_together(
    service: Service, commands: Commands
) -> None:
    """By fingerprint, by reason, by id; a dry run changes nothing."""
    bug = [like("retries_exhausted", "f-1") for _ in range(3)]
    others = [like("refused", "f-2") for _ in range(2)]
    await archived(service, *bug, *others)
    groups = await commands.listed()
    assert [(each["reason"], each["count"]) for each in groups] == [
        ("retries_exhausted", 3),
        ("refused", 2),
    ]
    assert groups[0]["example"] in {each.headers["dl-id"] for each in bug}
    assert len(await commands.listed("--each", "--reason", "refused")) == 2
    assert len(await commands.listed("--each", "--limit", "4")) == 4

    names = await commands.well("replay", "--fingerprint", "f-1", "--dry-run")
    assert set(names.split()) == {str(identity_of(each)) for each in bug}
    assert await rows(service, STATES) == [("waiting", 5)]

    assert await commands.well("replay", "--fingerprint", "f-1", "--limit", "2") == "2 replayed\n"
    one = str(identity_of(others[0]))
    assert await commands.well("replay", one) == "1 replayed\n"
    assert await commands.well("replay", one) == "none of them waits\n"
    assert await service.broker.count(service.topology.main.name) == 3
    assert len(await commands.listed("--each", "--state", "replayed")) == 3


async def test_what_is_not_shown_is_counted_and_a_stranger_buries_nothing(
    service: Service, without_broker: Commands
) -> None:
    """Whatever he calls his messages they are one group; a list that is cut off says so."""
    strange = [replace(like("unknown_type", "f-1"), type=f"rubbish.{n}") for n in range(60)]
    nameless = [replace(like("malformed", "f-2"), type=f"rubbish.{n}") for n in range(2)]
    await archived(service, *strange, *nameless, like("refused", "f-3"))
    groups = await without_broker.listed()
    assert [(each["reason"], each["count"], each["type"]) for each in groups] == [
        ("unknown_type", 60, None),
        ("malformed", 2, None),
        ("refused", 1, SALE_MADE),
    ]
    ended = await without_broker("list", "--limit", "1")
    assert len(ended.stdout.splitlines()) == 2  # with the head
    said = "63 dead letters in 3 groups, and 2 more groups: --limit 3\n"
    assert ended.stderr.endswith(said)
    ended = await without_broker("list", "--each", "--json")
    assert len(json.loads(ended.stdout)) == 50
    assert ended.stderr.endswith("63 dead letters, and 13 more dead letters: --limit 63\n")
    ended = await without_broker("list", "--reason", "refused")
    assert ended.stderr == "1 dead letter in 1 group\n"
    (named,) = await without_broker.listed("--type", "rubbish.7", "--reason", "unknown_type")
    assert (named["count"], named["type"]) == (1, "rubbish.7")


async def test_one_is_shown_without_its_body_unless_asked_for(
    service: Service, without_broker: Commands
) -> None:
    """A body is personal data."""
    message = failed()
    await archived(service, message)
    identity = str(identity_of(message))
    shown = json.loads(await without_broker.well("show", identity))
    assert shown["error_message"] == "closed on Sundays"
    assert shown["headers"]["dl-attempts"] == 3
    assert "body" not in shown
    shown = json.loads(await without_broker.well("show", identity, "--body"))
    assert shown["body"] == message.body.decode()


async def test_one_becomes_a_test_that_make_check_takes(
    service: Service, without_broker: Commands, tmp_path: Path
) -> None:
    """With nobody's data; what it is made into has to be a new file."""
    message, file = failed(), tmp_path / "test_it.py"
    await archived(service, message)
    identity = str(identity_of(message))
    text = await without_broker.well("reproduce", identity)
    await without_broker.well("reproduce", identity, f"--output={file}")
    assert "ada@example.com" in message.body.decode()
    for each in (text, file.read_text("utf-8")):
        assert "ada@example.com" not in each
        assert '"sku": "TEA-1"' in each
        assert f"async def test_dead_letter_{identity[:8]}(" in each
    assert (
        "name a new file"
        in (await without_broker("reproduce", identity, f"--output={file}")).stderr
    )
    ended = await without_broker("reproduce", identity, f"--output={tmp_path}/none/test_it.py")
    assert ended.returncode == 1
    assert ended.stderr.endswith("test_it.py cannot be written: No such file or directory\n")
    for command in (["check"], ["format", "--check"]):
        name = f"--stdin-filename={PROJECT}/tests/sales/test_it.py"
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ruff", *command, name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stdout + said.stderr


async def test_a_text_from_outside_does_nothing_to_the_terminal(
    service: Service, without_broker: Commands
) -> None:
    """No escape sequence is printed; a line for each stays a line, with what to go on with."""
    message = failed(type="\x1b[2J\nx{0}")
    await archived(service, message)
    for arguments in (["list"], ["list", "--each"], ["show", str(identity_of(message))]):
        said = await without_broker.well(*arguments)
        assert "\x1b" not in said
        assert "[2J" in said
        assert str(identity_of(message)) in said
        assert len(said.splitlines()) == 2 or "show" in arguments  # with the head


async def test_a_list_is_a_table(service: Service, without_broker: Commands) -> None:
    """With a head, and columns that stand below each other."""
    await archived(service, *(like("refused", "f-1") for _ in range(12)), like("constraint", "f"))
    ended = await without_broker("list")
    assert ended.stderr == "13 dead letters in 2 groups\n"
    head, *lines = ended.stdout.splitlines()
    assert head.split()[:4] == ["count", "reason", "type", "error"]
    assert [line.split()[:2] for line in lines] == [["12", "refused"], ["1", "constraint"]]
    for column in ("type", "fingerprint", "example"):
        start = head.index(column)
        assert all(line[start] != " " and line[start - 1] == " " for line in lines), column


async def test_the_doctor_says_what_waits(service: Service, without_broker: Commands) -> None:
    """It works, and somebody has to decide."""
    assert "ok     dead letters: none waits" in (await _doctor(service))
    await archived(service, failed(), failed())
    said = await _doctor(service)
    assert "waits  dead letters: 2 wait for a decision, the oldest for 0:0" in said
    assert "`dead-letters list`" in said
    await without_broker.well("discard", "--all", "--yes")
    assert "ok     dead letters: none waits" in (await _doctor(service))


async def _doctor(service: Service) -> str:
    settings = service.settings
    servers = {"DATABASE_URL": settings.database_url, "BROKER_URL": settings.broker_url}
    ended = await asyncio.to_thread(run, "doctor", **servers)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


async def test_discarding_asks_and_keeps_the_reason(
    service: Service, without_broker: Commands
) -> None:
    """They stay stored; whoever does not answer discards nothing."""
    await archived(service, like("refused", "f-1"), like("refused", "f-1"), failed())
    unsure = await without_broker("discard", "--all")
    assert unsure.returncode == 1
    assert "Discard 3 dead letters?" in unsure.stdout + unsure.stderr
    assert await rows(service, STATES) == [("waiting", 3)]
    chosen = ("--fingerprint", "f-1", "--reason", "refused", "--limit", "2")
    said = await without_broker.well("discard", *chosen, "--reason-text", "a test", "--yes")
    assert said == "2 discarded\n"
    assert await rows(service, STATES) == [("discarded", 2), ("waiting", 1)]
    assert await rows(service, "SELECT DISTINCT note FROM dead_letters ORDER BY 1") == [
        ("a test",),
        (None,),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["replay"], 2, "say which"),
        (["discard"], 2, "say which"),
        (["replay", "--all", "--reason", "refused"], 2, "say which"),
        (["discard", str(uuid4()), "--all"], 2, "say which"),
        (["replay", "seven"], 2, "UUID"),
        (["replay", "--all", "--rate", "0"], 2, "--rate"),
        (["list", "--state", "lost"], 2, "discarded"),
        (["show", str(uuid4())], 1, "there is no dead letter"),
        (["reproduce", str(uuid4())], 1, "there is no dead letter"),
        (["discard", str(uuid4()), "--yes"], 1, "unknown"),
        (["replay", "--all"], 78, "BROKER_URL=memory://"),
    ],
)
async def test_bad_input_is_explained(
    without_broker: Commands, arguments: list[str], status: int, expected: str
) -> None:
    """In words, with the usual exit status."""
    ended = await without_broker(*arguments)
    assert ended.returncode == status, ended.stderr
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_nothing_is_an_answer_too(without_broker: Commands) -> None:
    """An empty list is no error."""
    assert await without_broker.listed() == []
    assert await without_broker.well("list") == ""
    assert await without_broker.well("discard", "--all", "--yes") == "0 discarded\n"


async def test_help_says_what_each_does(without_broker: Commands) -> None:
    """With a sentence for each."""
    said = await without_broker.well("--help")
    for command in ("list", "show", "replay", "discard", "reproduce"):
        assert command in said
