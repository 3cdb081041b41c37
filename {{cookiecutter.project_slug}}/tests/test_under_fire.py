"""Your handlers under fire: each is killed, cut off and interrupted at every statement.

Afterwards the tables and the published events are those of a calm run, but for ids and times that
the service makes itself. The messages are made from the examples of the payloads.
"""

import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.process.described import unconnected
from acme_orders.service import SERVICE

from dev.databases import Databases
from dev.stories import Shot, stories
from dev.virtual_hosts import VirtualHosts
from tests.fire.process import Action, Fault
from tests.fire.range import Range, opened

MOST = 60  # statements in one transaction
Ranges = Callable[[], AbstractAsyncContextManager[Range]]


def handlers() -> dict[str, Handler]:
    """Of the service, by the type of their messages; nothing is connected for it."""
    slices = unconnected(SERVICE)
    return {type_: each for one in slices for type_, each in one.handlers.items()}


TYPES = sorted(handlers())


@pytest.fixture
def ranges(migrated: str) -> Ranges:
    """A new database and virtual host, each time."""
    databases = Databases(os.environ["DATABASE_URL"])
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])

    @asynccontextmanager
    async def open_range() -> AsyncIterator[Range]:
        database, host = databases.create(template=migrated), hosts.create()
        try:
            async with opened(database, host) as found:
                yield found
        finally:
            hosts.drop(host)
            databases.drop(database)

    return open_range


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("type_", TYPES)
async def test_killed_at_every_statement(ranges: Ranges, type_: str) -> None:
    """And between COMMIT and ack, and at each step of the relay."""
    first, second = stories(handlers(), 2)
    async with ranges() as fire:
        for story, faults in ((first, _each_statement()), (second, _each_step())):
            number = next(n for n, shot in enumerate(story) if shot.type == type_)
            await fire.send(*story[:number])
            await fire.calm()
            await fire.send(story[number])
            for fault in faults:
                if await fire.under(fault):
                    break
            await fire.send(*story[number + 1 :])
            await fire.calm()
        await _compare(ranges, fire, [*first, *second])


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", ["conflict", "terminate", "cut"])
async def test_interrupted_at_every_statement(ranges: Ranges, action: Action) -> None:
    """One story after the other, each interrupted at its next statement."""
    told = list(stories(handlers(), 12))
    shots = [shot for story in told for shot in story]
    # What was interrupted runs again in a transaction of its own.
    faults = [
        Fault("statement", 1 + number // len(told[0]), action, 2 * number + 1)
        for number in range(len(shots))
    ]
    async with ranges() as fire:
        await fire.send(*shots)
        assert await fire.under(*faults)
        await _compare(ranges, fire, shots)


@pytest.mark.timeout(300)
async def test_twice_and_in_any_order(ranges: Ranges) -> None:
    """With several workers and batches, as in production."""
    shots = [shot for story in stories(handlers(), 8) for shot in story]
    mixed = [*shots, *shots]
    random.Random(1).shuffle(mixed)
    async with ranges() as fire:
        await fire.send(*mixed)
        await fire.calm(CONCURRENCY="4", BATCH_SIZE="10")
        await _compare(ranges, fire, shots)


async def _compare(ranges: Ranges, fire: Range, shots: Sequence[Shot]) -> None:
    states = []
    for _ in range(2):
        async with ranges() as calm:
            await calm.send(*shots)
            await calm.calm()
            states.append(await calm.state())
    found = (await fire.state()).differences(states[0], states[0].changing(states[1]))
    assert not found, "\n".join(["not as after a calm run:", *found])


def _each_statement() -> list[Fault]:
    return [Fault("statement", number) for number in range(1, MOST)]


def _each_step() -> list[Fault]:
    return [Fault("ack", 1), Fault("publish", 1), Fault("published", 1), Fault("forget", 1)]
