"""What the tests of this folder wait for, and what an outage must not have cost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.client import HTTPException

from tests.chassis.conftest import eventually
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site


@asynccontextmanager
async def busy(load: Load) -> AsyncIterator[None]:
    """Sales come in while the block runs, some of them twice."""
    over = asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            await load.send(20, duplicates=2, rate=20)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        try:
            yield
        finally:
            over.set()


def at_least(
    number: float, fleet: Fleet, name: str, **labels: str
) -> Callable[[], Awaitable[bool]]:
    """Whether a metric, over all processes, has come so far."""

    async def reached() -> bool:
        return await fleet.metric(name, **labels) >= number

    return reached


def connected(fleet: Fleet) -> Callable[[], Awaitable[bool]]:
    """Whether all connections of all processes are there."""

    async def there() -> bool:
        return await fleet.metric("broker_connected") == 3 * len(fleet.members)

    return there


async def answers(member: Member, status: int) -> bool:
    """Whether `/ready` of a process answers with this status; not while nothing answers."""
    try:
        return await member.status("/ready") == status
    except (OSError, HTTPException):
        return False


def readiness(fleet: Fleet, status: int) -> Callable[[], Awaitable[bool]]:
    """Whether `/ready` of all processes answers with this status."""

    async def same() -> bool:
        return all([await answers(member, status) for member in fleet.members])

    return same


async def told(fleet: Fleet, status: int, words: str) -> bool:
    """Whether `/ready` of all processes answers with this status, and in these words."""
    answers = [await member.answer("/ready") for member in fleet.members]
    return all(found == status and words in text for found, text in answers)


async def entered(site: Site) -> set[str]:
    """The ids of the messages that were processed."""
    return {identity for (identity,) in await site.rows("SELECT id FROM inbox")}


async def arrived(site: Site, load: Load) -> bool:
    """Whether all that was acknowledged is in the inbox."""
    return load.acknowledged <= await entered(site)


async def published(site: Site) -> bool:
    """Whether no event waits in the outbox."""
    return await site.count("outbox") == 0


async def spent_nothing(fleet: Fleet, site: Site, load: Load) -> None:
    """All has arrived, nobody has died of it, and it has cost no message an attempt."""
    await eventually(lambda: arrived(site, load))
    assert await fleet.metric("message_retries_total") == 0
    assert await fleet.metric("dead_letters_total") == 0
    for member in fleet.members:
        assert member.running
        assert member.lives == 1
        assert not member.records("message.failed")
