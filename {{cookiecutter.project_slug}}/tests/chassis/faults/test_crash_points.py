"""F1 to F6: a process dies between two steps of one message; a restart puts all in order."""

import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from dev.proxy import Proxy
from tests.chassis.conftest import eventually
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import LISTENER, Site

# The last step of a handler.
ADD = "acme_orders.chassis.messaging.outbox:Outbox.add"
ACK = "acme_orders.chassis.rabbitmq.broker:RabbitBroker.ack"
PUBLISH = "acme_orders.chassis.rabbitmq.broker:RabbitBroker.publish"
FORGET = "acme_orders.chassis.relay.pending:Pending.published"


async def crashed(fleet: Fleet, failpoint: str, *, only: str = "consumer") -> None:
    """Run a process until it dies of its failpoint."""
    member = await fleet.start(failpoint, only=only, ready=False)
    assert await member.ended() == -signal.SIGKILL


@pytest.mark.fault("F1", "crash before the commit")
async def test_before_the_commit(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Nothing of it is there, and the broker delivers again."""
    await load.send(5)
    await crashed(fleet, f"after:{ADD}:kill")
    assert await site.count("inbox") == 0
    await fleet.start()
    (await settle()).check()


@pytest.mark.fault("F2", "crash between commit and ack")
async def test_between_commit_and_ack(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """The effects are committed, the broker delivers again, and the inbox drops it."""
    await load.send(1)
    await crashed(fleet, f"before:{ACK}:kill")
    # This is what makes the point what its name says: committed, and not acknowledged.
    assert await site.count("sales") == 1
    await eventually(lambda: _back(site, 1))
    member = await fleet.start()
    await eventually(lambda: _settled(fleet, "duplicate", 1))
    assert member.lives == 1
    (await settle()).check()


@pytest.mark.fault("F3", "crash after the ack was written")
async def test_after_the_ack(load: Load, fleet: Fleet, settle: Settle) -> None:
    """Whether the broker has read it or not: one effect."""
    await load.send(5)
    await crashed(fleet, f"after:{ACK}:kill")
    await fleet.start()
    (await settle()).check()


@pytest.mark.fault("F4", "crash after the retry was confirmed, before the ack")
async def test_after_the_retry(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Two copies with one id; one of them counts, whichever comes first."""
    await load.send(1, fate="fail-1")
    await crashed(fleet, f"after:{PUBLISH}:kill")
    await eventually(lambda: _copies(site, 2))
    await fleet.start()
    await eventually(lambda: _settled(fleet, "duplicate", 1))
    (await settle()).check()


@pytest.mark.fault("F5", "crash after the dead letter was confirmed, before the ack")
async def test_after_the_dead_letter(load: Load, fleet: Fleet, settle: Settle) -> None:
    """The second copy is a dead letter, too: somebody looks at it anyway, and none is missing."""
    (sent,) = await load.send(1, fate="refuse", expected="dead letter")
    await crashed(fleet, f"after:{PUBLISH}:kill")
    await fleet.start()
    account = await settle()
    assert account.dead[sent.id] >= 1
    assert (account.lost, account.duplicated) == (0, 0)


@pytest.fixture
def between(site: Site) -> Iterator[Proxy]:
    """A network between the processes and PostgreSQL."""
    server = urlsplit(site.database_url)
    assert server.hostname is not None
    assert server.port is not None
    with Proxy(server.hostname, server.port) as proxy:
        yield proxy


@pytest.mark.fault("F6", "the answer to COMMIT is lost")
async def test_the_answer_to_commit_is_lost(
    site: Site, load: Load, fleet: Fleet, settle: Settle, between: Proxy
) -> None:
    """Nobody knows whether it is committed: neither acked nor retried; the inbox decides."""
    member = await fleet.start(
        only="consumer", environment={"DATABASE_URL": between.url(site.database_url)}
    )
    between.cut_before_reply(b"COMMIT\0")  # and not READ COMMITTED
    await load.send(1)
    await eventually(lambda: site.count("sales"))
    await eventually(lambda: between.cuts)  # the row is there before PostgreSQL answers
    between.pass_on()
    await eventually(lambda: _settled(fleet, "duplicate", 1))
    assert await member.metric("message_retries_total") == 0
    assert await member.metric("dead_letters_total") == 0
    await fleet.start()
    (await settle()).check()


@pytest.mark.fault("F38", "relay killed before the publish")
async def test_before_the_publish(load: Load, fleet: Fleet, settle: Settle) -> None:
    """The event waits in the outbox until the lease is over."""
    await fleet.start(only="consumer")
    await load.send(5)
    await crashed(fleet, f"before:{PUBLISH}:kill", only="relay")
    await fleet.start()
    (await settle()).check()


@pytest.mark.fault("F38", "relay killed between confirm and forgetting")
async def test_between_confirm_and_forgetting(
    site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """The event is published again under the same id; that is what its consumers' inbox is for."""
    await fleet.start(only="consumer")
    await load.send(1)
    await crashed(fleet, f"before:{FORGET}:kill", only="relay")
    await fleet.start()
    await eventually(lambda: _announced(site, 2))
    (await settle()).check()  # two copies of one id are one event


async def _back(site: Site, number: int) -> bool:
    return (await site.waiting()).get(site.topology.main.name) == number


async def _copies(site: Site, number: int) -> bool:
    waiting = await site.waiting()
    return sum(waiting.values()) == number


async def _announced(site: Site, number: int) -> bool:
    async with site.channel() as channel:
        declared = await channel.declare_queue(LISTENER, passive=True)
        return declared.declaration_result.message_count == number


async def _settled(fleet: Fleet, outcome: str, number: int) -> bool:
    return await fleet.metric("messages_processed_total", outcome=outcome) >= number
