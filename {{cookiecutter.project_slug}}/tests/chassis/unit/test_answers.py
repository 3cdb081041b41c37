"""An outage and a cancellation at once: aiormq takes the one for the other, and we do not."""

import asyncio

import pytest
from aiormq.base import FutureStore

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.rabbitmq.answers import answered, goodbye, within


async def waits(error: type[BaseException]) -> None:
    """Wait for ever, and make of a cancellation what aiormq makes of it when a connection broke."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as cancelled:
        raise error from cancelled


async def fails(error: type[BaseException]) -> None:
    """Fail at once."""
    raise error


@pytest.mark.parametrize("error", [ConnectionResetError, Exception, asyncio.CancelledError])
async def test_a_cancellation_stays_one(error: type[BaseException]) -> None:
    """Otherwise a worker would go on when its process has to end."""

    async def ask() -> None:
        with answered("no answer"):
            await waits(error)

    async def say_goodbye() -> None:
        await goodbye(30, waits(error))

    tasks = [asyncio.create_task(ask()), asyncio.create_task(say_goodbye())]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


@pytest.mark.parametrize("error", [ConnectionResetError, Exception, asyncio.CancelledError])
async def test_an_outage_is_no_cancellation(error: type[BaseException]) -> None:
    """Otherwise a worker would end without a word."""
    with pytest.raises(BrokerUnavailable, match="no answer"), answered("no answer"):
        raise error
    await goodbye(30, fails(error))


async def test_an_end_without_a_reason_is_an_outage() -> None:
    """Of it aiormq raises Exception itself. Otherwise it would end the process."""
    store = FutureStore(asyncio.get_running_loop())
    drained = store.create_future()
    await store.reject_all(None)  # as when the other side ends the stream
    with pytest.raises(BrokerUnavailable), answered("no answer"):
        await drained


async def test_a_mistake_is_no_outage() -> None:
    """Otherwise it would be waited out for ever."""
    with pytest.raises(TypeError), answered("no answer"):
        raise TypeError


@pytest.mark.parametrize("error", [ConnectionResetError, Exception, asyncio.CancelledError])
async def test_a_time_limit_is_an_outage(error: type[BaseException]) -> None:
    """Inside or around: nobody wants the task to end."""
    with pytest.raises(BrokerUnavailable), answered("no answer"):
        async with asyncio.timeout(0):
            await waits(error)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            with answered("no answer"):
                await waits(error)


async def stubborn(answer: asyncio.Event) -> str:
    """Return the answer, also when it is cancelled, as asyncio.wait_for of Python 3.11 does."""
    try:
        await answer.wait()
    except asyncio.CancelledError:
        await answer.wait()
    return "answer"


async def test_a_cancellation_that_meets_the_answer_is_kept() -> None:
    """Whichever of the two comes first."""
    for cancelled_first in (True, False):
        answer = asyncio.Event()
        task = asyncio.create_task(within(30, stubborn(answer)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for act in (task.cancel, answer.set) if cancelled_first else (answer.set, task.cancel):
            act()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_nobody_waits_for_what_swallows_its_cancellation() -> None:
    """Neither when the time is over, nor when the process has to end."""
    answer = asyncio.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        await within(0.01, stubborn(answer))
    task = asyncio.create_task(within(30, stubborn(answer)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    answer.set()


async def test_an_answer_in_time() -> None:
    """Is returned, and an error is raised."""
    answer = asyncio.Event()
    answer.set()
    assert await within(30, stubborn(answer)) == "answer"
    with pytest.raises(ConnectionResetError):
        await within(30, fails(ConnectionResetError))


async def test_a_goodbye_is_not_interrupted() -> None:
    """Whoever says it may be cancelled, or have waited long enough."""
    said = asyncio.Event()

    async def say() -> None:
        await asyncio.sleep(0.05)
        said.set()

    await goodbye(0.01, say())
    await said.wait()
    said.clear()
    task = asyncio.create_task(goodbye(30, say()))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await said.wait()
