"""Faults at random, as long as it lasts; each ends, and is undone before the next of its kind."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dev.postgres import Postgres
from dev.proxy import Proxy
from dev.rabbitmq import RabbitMQ
from readiness.scratch import session
from tests.chassis.conftest import eventually
from tests.chassis.faults.fleet import Member
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_BOOKED

_OURS = f"FROM pg_stat_activity WHERE application_name = '{SERVICE.name}'"
_RESETS = 10


@dataclass(frozen=True)
class Scene:
    """All that can be hurt.

    Args:
        site: directly, past the proxies.
        members: processes that may be killed; each is supervised.
        postgres: the server.
        rabbitmq: likewise.
        to_postgres: the network between the processes and it.
        to_rabbitmq: likewise.
        choice: of who is hit, and how long it lasts.
    """

    site: Site
    members: Sequence[Member]
    postgres: Postgres
    rabbitmq: RabbitMQ
    to_postgres: Proxy
    to_rabbitmq: Proxy
    choice: random.Random

    async def victim(self) -> Member:
        """One of the processes, while it runs."""
        member = self.choice.choice(self.members)
        await eventually(lambda: member.running, within=60)
        return member

    async def lasting(self, longest: float = 6.0) -> None:
        """Let a fault go on for a while."""
        await asyncio.sleep(self.choice.uniform(0.5, longest))


Fault = Callable[[Scene], Awaitable[None]]


async def haunt(
    scene: Scene, faults: Sequence[Fault], *, pause: float, until: float, done: Counter[str]
) -> None:
    """Produce one fault after the other, all of them before one comes again.

    Args:
        scene: what is hurt.
        faults: that it chooses from.
        pause: seconds at most between two, in which what was hurt recovers, or does not.
        until: the time of `time.monotonic()` at which no other one begins.
        done: counts those that are over.
    """
    due: list[Fault] = []
    while True:
        await scene.lasting(pause)
        if time.monotonic() > until:
            return
        due = due or scene.choice.sample(faults, len(faults))
        fault = due.pop()
        await fault(scene)
        done[fault.__name__] += 1


# Processes


async def process_killed(scene: Scene) -> None:
    """SIGKILL; another one takes its place."""
    await _ends(await scene.victim(), signal.SIGKILL)


async def process_terminated(scene: Scene) -> None:
    """SIGTERM, as in a deployment."""
    await _ends(await scene.victim(), signal.SIGTERM)


async def process_stopped(scene: Scene) -> None:
    """SIGSTOP, longer than some of its leases and time limits."""
    member = await scene.victim()
    member.send_signal(signal.SIGSTOP)
    try:
        await scene.lasting()
    finally:
        member.send_signal(signal.SIGCONT)


# The network


async def database_unreachable(scene: Scene) -> None:
    """What is sent to or by PostgreSQL, or both, is swallowed."""
    await _black_hole(scene, scene.to_postgres)


async def broker_unreachable(scene: Scene) -> None:
    """What is sent to or by RabbitMQ, or both, is swallowed."""
    await _black_hole(scene, scene.to_rabbitmq)


async def database_resets(scene: Scene) -> None:
    """All connections to PostgreSQL are reset, again and again."""
    await _reset(scene, scene.to_postgres)


async def broker_resets(scene: Scene) -> None:
    """All connections to RabbitMQ are reset, again and again."""
    await _reset(scene, scene.to_rabbitmq)


async def slow_network(scene: Scene) -> None:
    """Everything takes a while."""
    proxies = (scene.to_postgres, scene.to_rabbitmq)
    try:
        for proxy in proxies:
            proxy.delay(scene.choice.uniform(0.02, 0.2))
        await scene.lasting()
    finally:
        for proxy in proxies:
            proxy.pass_on()


async def commits_unanswered(scene: Scene) -> None:
    """PostgreSQL commits, and nobody hears of it."""
    proxy, before = scene.to_postgres, scene.to_postgres.cuts
    proxy.cut_before_reply(b"COMMIT\0")
    try:
        await eventually(lambda: proxy.cuts > before)
        await scene.lasting(3)
    finally:
        proxy.pass_on()


# PostgreSQL


async def sessions_ended(scene: Scene) -> None:
    """An administrator ends all sessions."""
    for _ in range(_RESETS):
        await scene.site.rows(f"SELECT pg_terminate_backend(pid) {_OURS}")
        await asyncio.sleep(0.2)


async def database_killed(scene: Scene) -> None:
    """PostgreSQL dies, and comes back after a while."""
    await asyncio.to_thread(scene.postgres.kill)
    try:
        await scene.lasting()
    finally:
        await asyncio.to_thread(scene.postgres.start)


async def database_frozen(scene: Scene) -> None:
    """PostgreSQL gives no answer."""
    scene.postgres.pause()
    try:
        await scene.lasting()
    finally:
        scene.postgres.resume()


async def inbox_locked(scene: Scene) -> None:
    """Somebody's migration holds a lock for longer than we wait for it."""
    with session(scene.site.database_url) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
        await scene.lasting()
        cursor.execute("COMMIT")


# RabbitMQ


async def connections_closed(scene: Scene) -> None:
    """An administrator closes all connections."""
    await asyncio.to_thread(scene.rabbitmq.ctl, "close_all_connections", "a fault")


async def broker_stopped(scene: Scene) -> None:
    """RabbitMQ is stopped in order, and started again."""
    await asyncio.to_thread(scene.rabbitmq.ctl, "stop_app")
    try:
        await scene.lasting(3)
    finally:
        await asyncio.to_thread(scene.rabbitmq.ctl, "start_app")


async def broker_killed(scene: Scene) -> None:
    """RabbitMQ dies, and is started again."""
    await asyncio.to_thread(scene.rabbitmq.kill)
    await asyncio.to_thread(scene.rabbitmq.start)


async def broker_frozen(scene: Scene) -> None:
    """RabbitMQ gives no answer."""
    scene.rabbitmq.pause()
    try:
        await scene.lasting()
    finally:
        scene.rabbitmq.resume()


async def broker_short_of_memory(scene: Scene) -> None:
    """RabbitMQ blocks those who publish."""
    await _watermark(scene, "0.000001")
    try:
        await scene.lasting()
    finally:
        await _watermark(scene, "0.4")


async def nobody_listens(scene: Scene) -> None:
    """The binding of the only consumer of our events is gone for a while."""
    await _listen(scene, begin=False)
    try:
        await scene.lasting()
    finally:
        await _listen(scene, begin=True)


PROCESSES: tuple[Fault, ...] = (process_killed, process_terminated, process_stopped)
SURROUNDINGS: tuple[Fault, ...] = (
    database_unreachable,
    broker_unreachable,
    database_resets,
    broker_resets,
    slow_network,
    commits_unanswered,
    sessions_ended,
    database_killed,
    database_frozen,
    inbox_locked,
    connections_closed,
    broker_stopped,
    broker_killed,
    broker_frozen,
    broker_short_of_memory,
    nobody_listens,
)


async def _ends(member: Member, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has just ended by itself
        member.send_signal(number)
    await member.ended()


async def _black_hole(scene: Scene, proxy: Proxy) -> None:
    up, down = scene.choice.choice([(True, True), (True, False), (False, True)])
    proxy.black_hole(up=up, down=down)
    try:
        await scene.lasting()
    finally:
        proxy.pass_on()


async def _reset(scene: Scene, proxy: Proxy) -> None:
    for _ in range(_RESETS):
        proxy.reset()
        await asyncio.sleep(scene.choice.uniform(0.05, 0.5))


async def _watermark(scene: Scene, share: str) -> None:
    await asyncio.to_thread(scene.rabbitmq.ctl, "set_vm_memory_high_watermark", share)


async def _listen(scene: Scene, *, begin: bool) -> None:
    async with scene.site.channel() as channel:
        queue = await channel.get_queue(LISTENER, ensure=False)
        change = queue.bind if begin else queue.unbind
        await change(scene.site.topology.exchange, SALE_BOOKED)
