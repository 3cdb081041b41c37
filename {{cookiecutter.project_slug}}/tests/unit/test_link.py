"""An outage and a cancellation at once: aiormq takes the one for the other, and we do not."""

import asyncio

import pytest
from aiormq.base import FutureStore

from acme_orders.errors import BrokerUnavailable
from acme_orders.messaging.link import answered, answered_or_not


async def waits(error: type[BaseException]) -> None:
    """Wait for ever, and make of a cancellation what aiormq makes of it when a connection broke."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as cancelled:
        raise error from cancelled


@pytest.mark.parametrize("error", [ConnectionResetError, Exception, asyncio.CancelledError])
async def test_a_cancellation_stays_one(error: type[BaseException]) -> None:
    """Otherwise a worker would go on when its process has to end."""

    async def ask() -> None:
        with answered("no answer"):
            await waits(error)

    async def say_goodbye() -> None:
        with answered_or_not():
            await waits(error)

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
    with answered_or_not():
        raise error


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
