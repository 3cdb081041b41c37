"""Deliveries are settled together, and none of them twice or for somebody else."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, repeat
from typing import Any, Literal, cast

import pytest
from aiormq.abc import AbstractChannel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.rabbitmq.ledger import Ledger

MOST = 12  # deliveries; enough for groups that overlap in every way

Kind = Literal["ack", "release"]


@dataclass(frozen=True)
class Step:
    """What one task does next: after a pause, with those of these tags that have arrived."""

    kind: Kind
    tags: Sequence[int]
    pause: int


@dataclass
class Channel:
    """Settles as RabbitMQ does: frames go out one after the other, some time after the call.

    `multiple` settles all that is outstanding up to a tag, whether or not the client has read it.
    """

    pauses: Iterator[int] = field(default_factory=lambda: repeat(0))  # turns of the loop
    outstanding: set[int] = field(default_factory=set)
    acked: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    frames: int = 0
    is_closed: bool = False
    _queue: deque[tuple[Kind, int, bool, asyncio.Future[None]]] = field(default_factory=deque)

    async def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        """Settle for good."""
        await self._send("ack", delivery_tag, multiple)

    async def basic_nack(self, delivery_tag: int, *, requeue: bool) -> None:
        """Give back."""
        assert requeue
        await self._send("release", delivery_tag, False)

    async def write(self) -> None:
        """Send what is queued, until it is cancelled."""
        while True:
            await turns(next(self.pauses))
            if self._queue:
                kind, tag, multiple, sent = self._queue.popleft()
                self._settle(kind, tag, multiple=multiple)
                sent.set_result(None)
            else:
                await turns(1)

    async def _send(self, kind: Kind, tag: int, multiple: bool) -> None:  # noqa: FBT001
        sent = asyncio.get_running_loop().create_future()
        self._queue.append((kind, tag, multiple, sent))
        await sent
        await turns(next(self.pauses))

    def _settle(self, kind: Kind, tag: int, *, multiple: bool) -> None:
        self.frames += 1
        if tag not in self.outstanding:
            self.is_closed = True
            return
        settled = {each for each in self.outstanding if each <= tag} if multiple else {tag}
        self.outstanding -= settled
        (self.acked if kind == "ack" else self.released).extend(sorted(settled))


async def turns(number: int) -> None:
    """Let others run so often."""
    for _ in range(number):
        await asyncio.sleep(0)


def ledger_of(channel: Channel) -> Ledger:
    """A ledger that takes it for the channel of a connection."""
    return Ledger(cast("AbstractChannel", channel))


def arrived(channel: Channel, *tags: int) -> Ledger:
    """A ledger of these deliveries."""
    ledger = ledger_of(channel)
    for tag in tags:
        channel.outstanding.add(tag)
        ledger.enter(tag)
    return ledger


def run(channel: Channel, *tasks: Coroutine[Any, Any, None]) -> None:
    """Run tasks at once while the channel writes."""

    async def all_of_them() -> None:
        writer = asyncio.create_task(channel.write())
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
        writer.cancel()

    asyncio.run(all_of_them())


@dataclass
class Workers:
    """Tasks that settle deliveries while more of them arrive, and what each has decided first."""

    channel: Channel
    ledger: Ledger
    arrived: set[int] = field(default_factory=set)
    decided: dict[int, Kind] = field(default_factory=dict)

    async def read(self, pauses: Sequence[int]) -> None:
        """Enter deliveries in their order, each some time after RabbitMQ has sent it."""
        for tag, pause in enumerate(pauses, start=1):
            self.channel.outstanding.add(tag)
            await turns(pause)
            self.ledger.enter(tag)
            self.arrived.add(tag)

    async def work(self, steps: Sequence[Step]) -> None:
        """Settle some; the first who does so decides what becomes of a delivery."""
        for step in steps:
            await turns(step.pause)
            tags = [tag for tag in step.tags if tag in self.arrived]
            for tag in tags if step.kind == "ack" else tags[:1]:
                self.decided.setdefault(tag, step.kind)
            if step.kind == "ack":
                await self.ledger.ack(tags)
            elif tags:
                await self.ledger.release(tags[0])


STEPS = st.builds(
    Step,
    st.sampled_from(("ack", "ack", "release")),
    st.lists(st.integers(1, MOST), max_size=8),
    st.integers(0, 6),
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from((0, 0, 0, 1, 5)), min_size=1, max_size=MOST),
    st.lists(st.lists(STEPS, min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 5), min_size=1, max_size=10),
)
def test_each_delivery_ends_as_was_decided(
    arrivals: list[int], tasks: list[list[Step]], pauses: list[int]
) -> None:
    """Whatever several workers do at once, and however late it is sent.

    An ack of what is settled would close the channel, and so would one of what was taken along.
    """
    channel = Channel(pauses=cycle(pauses))
    workers = Workers(channel, ledger_of(channel))
    with capture_logs():  # of what is settled twice
        run(channel, workers.read(arrivals), *(workers.work(steps) for steps in tasks))
    assert not channel.is_closed
    for kind, settled in (("ack", channel.acked), ("release", channel.released)):
        expected = sorted(tag for tag, decided in workers.decided.items() if decided == kind)
        assert sorted(settled) == expected
    left = set(range(1, len(arrivals) + 1)) - workers.decided.keys()
    assert channel.outstanding == left
    assert all(workers.ledger.is_open(tag) for tag in left)


@settings(deadline=None)
@given(
    st.sets(st.integers(1, MOST), min_size=1),
    st.sets(st.integers(1, MOST)),
    st.sets(st.integers(1, MOST)),
    st.integers(1, MOST),
    st.randoms(use_true_random=False),
)
def test_the_oldest_deliveries_are_one_frame(
    tags: set[int], acked: set[int], released: set[int], last: int, random: Any
) -> None:
    """However many, in whatever sale they are named, and whatever was settled before."""
    channel = Channel()
    ledger = arrived(channel, *sorted(tags))
    left = sorted(tags - acked - released)
    batch = [tag for tag in left if tag <= max(last, *left[:1], 0)]
    random.shuffle(batch)

    async def settle() -> None:
        await ledger.ack(sorted(tags & acked))
        for tag in tags & released - acked:
            await ledger.release(tag)
        before = channel.frames
        await ledger.ack(batch)
        assert channel.frames - before == (1 if batch else 0)

    run(channel, settle())
    assert not channel.is_closed
    assert sorted(channel.acked) == sorted({*tags & acked, *batch})


def test_what_somebody_else_has_in_hand_is_left_out() -> None:
    """All up to it is one frame, and the others are one each."""
    channel = Channel()
    ledger = arrived(channel, *range(1, 8))
    run(channel, ledger.ack([7, 1, 2, 5, 3]))
    assert channel.acked == [1, 2, 3, 5, 7]
    assert channel.frames == 3
    assert channel.outstanding == {4, 6}


def test_settling_twice_is_logged_and_harmless() -> None:
    """Nothing is sent, and the neighbours are settled as they should be."""
    channel = Channel()
    ledger = arrived(channel, 1, 2, 3)

    async def settle() -> None:
        await ledger.ack([1])
        await ledger.release(2)
        await ledger.ack([1, 2, 3, 3])
        await ledger.release(1)

    with capture_logs() as logs:
        run(channel, settle())
    assert [(record["event"], record["tag"]) for record in logs] == [
        ("delivery.settled_twice", tag) for tag in (1, 2, 3, 1)
    ]
    assert not channel.is_closed
    assert (channel.acked, channel.released, channel.frames) == ([1, 3], [2], 3)


def test_a_delivery_can_be_settled_once() -> None:
    """It is open from its arrival until somebody settles it, or the channel is gone."""
    channel = Channel()
    ledger = arrived(channel, 1, 2, 3)
    assert not ledger.is_open(4)
    run(channel, ledger.ack([1]), ledger.release(2))
    assert [ledger.is_open(tag) for tag in (1, 2, 3)] == [False, False, True]
    channel.is_closed = True
    assert not ledger.is_open(3)


@pytest.mark.parametrize("kind", ["ack", "release"])
def test_a_closed_channel_is_an_outage(kind: Kind) -> None:
    """Nothing is sent; the broker delivers the messages again."""
    channel = Channel(is_closed=True)
    ledger = arrived(channel, 1)

    async def settle() -> None:
        with pytest.raises(BrokerUnavailable, match="channel of this delivery is closed"):
            await (ledger.ack([1]) if kind == "ack" else ledger.release(1))

    run(channel, settle())
    assert channel.frames == 0


@pytest.mark.parametrize("closed", [False, True])
def test_no_deliveries_are_nothing_to_do(*, closed: bool) -> None:
    """Not even on a channel that is gone."""
    channel = Channel(is_closed=closed)
    ledger = arrived(channel, 1)
    run(channel, ledger.ack([]))
    assert channel.frames == 0
    assert channel.outstanding == {1}
