"""Deliveries wait for company while others are under way, and for nothing if nobody is at work."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import cycle

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from acme_orders.chassis.messaging.batches import Batches
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.memory import MemoryDelivery

FOREVER = 3600.0  # seconds; whoever lingers so long is ended by a timeout
SOON = 10.0  # seconds; far more than anything here takes


def deliveries(number: int) -> list[Delivery]:
    """Some, each with a body of its own."""
    return [
        MemoryDelivery(Message(b"%d" % each), "work", 0, lambda *_: None) for each in range(number)
    ]


def put(batches: Batches, some: Sequence[Delivery]) -> None:
    """Let them wait, in this order."""
    for each in some:
        batches.put(each)


async def soon(batches: Batches) -> list[Delivery]:
    """The next batch, which does not let us wait."""
    async with asyncio.timeout(SOON):
        return await batches.take()


async def turns(number: int) -> None:
    """Let others run so often."""
    for _ in range(number):
        await asyncio.sleep(0)


class Taker:
    """A worker that asks for a batch meanwhile."""

    def __init__(self, batches: Batches) -> None:
        self._task = asyncio.create_task(soon(batches))

    async def waits(self) -> bool:
        """Whether it still does so when everybody has had a turn."""
        await turns(20)
        return not self._task.done()

    async def got(self) -> list[Delivery]:
        """Its batch."""
        return await self._task


async def under_way(number: int, *, size: int, linger: float) -> Batches:
    """Batches of which so many are being processed."""
    batches = Batches(size=size, linger=linger)
    for _ in range(number):
        put(batches, deliveries(size))
        assert len(await soon(batches)) == size
    return batches


@pytest.mark.parametrize("number", [1, 3, 10])
async def test_nobody_at_work_is_no_reason_to_wait(number: int) -> None:
    """What is there is taken at once, and so is what comes while a worker waits for it."""
    batches, some = Batches(size=10, linger=FOREVER), deliveries(number)
    put(batches, some)
    assert await soon(batches) == some
    batches.done()
    taker = Taker(batches)
    assert await taker.waits()
    put(batches, some[:1])
    assert await taker.got() == some[:1]


async def test_a_batch_is_never_larger_than_its_size() -> None:
    """The rest is the next one."""
    batches, some = Batches(size=4, linger=FOREVER), deliveries(11)
    put(batches, some)
    assert await soon(batches) == some[:4]
    assert await soon(batches) == some[4:8]
    batches.done()
    batches.done()
    assert await soon(batches) == some[8:]


async def test_company_is_waited_for_until_the_batch_is_full() -> None:
    """Not a moment longer."""
    batches, some = await under_way(1, size=3, linger=FOREVER), deliveries(3)
    taker = Taker(batches)
    for each in some[:2]:
        batches.put(each)
        assert await taker.waits()
    batches.put(some[2])
    assert await taker.got() == some


async def test_company_is_waited_for_until_the_last_batch_is_done() -> None:
    """While another one is under way, they still wait; then nobody is at work."""
    batches, some = await under_way(2, size=3, linger=FOREVER), deliveries(2)
    taker = Taker(batches)
    put(batches, some)
    assert await taker.waits()
    batches.done()
    assert await taker.waits()
    batches.done()
    assert await taker.got() == some


async def test_an_earlier_end_is_no_reason_to_go() -> None:
    """The last batch was done before; what came since then has to wait for company again."""
    batches, some = await under_way(1, size=2, linger=FOREVER), deliveries(2)
    batches.done()
    put(batches, deliveries(1))
    await soon(batches)
    taker = Taker(batches)
    batches.put(some[0])
    assert await taker.waits()
    batches.put(some[1])
    assert await taker.got() == some


@pytest.mark.parametrize("number", [1, 4])
async def test_company_is_waited_for_no_longer_than_this(number: int) -> None:
    """For each batch that is under way."""
    batches, some = await under_way(number, size=3, linger=0.05), deliveries(2)
    loop = asyncio.get_running_loop()
    put(batches, some)
    began = loop.time()
    assert await soon(batches) == some
    assert loop.time() - began >= number * 0.05 - 0.01  # the clock of a loop is coarse


async def test_a_worker_that_is_cancelled_takes_nothing_with_it() -> None:
    """Neither while it waits for a delivery nor while it waits for company."""
    batches, some = await under_way(1, size=3, linger=FOREVER), deliveries(1)
    for waiting in ([], some):
        put(batches, waiting)
        task = asyncio.create_task(batches.take())
        await turns(5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    batches.done()
    assert await soon(batches) == some


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # a machine may be busy
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink hangs would take long
)
@given(
    st.integers(1, 5),
    st.sampled_from((0.0, 0.0005, FOREVER)),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=6),
)
def test_several_workers_lose_nothing(
    size: int, linger: float, workers: int, arrivals: list[int], labours: list[int]
) -> None:
    """Nor do they take anything twice, or in another sale, or wait for what never comes."""
    sent = deliveries(len(arrivals))
    taken = asyncio.run(
        processed(Batches(size=size, linger=linger), sent, arrivals, workers, cycle(labours))
    )
    assert [each for batch in taken for each in batch] == sent
    assert all(1 <= len(batch) <= size for batch in taken)


async def processed(
    batches: Batches,
    sent: Sequence[Delivery],
    arrivals: Sequence[int],
    workers: int,
    labours: Iterator[int],
) -> list[list[Delivery]]:
    """What workers take, in its sale, while deliveries arrive after so many turns each."""
    taken: list[list[Delivery]] = []
    left, finished = len(sent), asyncio.Event()

    async def work() -> None:
        nonlocal left
        while True:
            batch = await batches.take()
            taken.append(batch)
            await turns(next(labours))
            batches.done()
            left -= len(batch)
            if left <= 0:
                finished.set()

    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(workers)]
        for delivery, pause in zip(sent, arrivals, strict=True):
            await turns(pause)
            batches.put(delivery)
        await finished.wait()
        await turns(3)  # in which nothing more is taken
        for task in tasks:
            task.cancel()
    return taken
