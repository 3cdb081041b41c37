"""Asking aio-pika: a call that gets no answer is an outage, and a cancellation is never lost."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from acme_orders.chassis.errors import BrokerUnavailable

Answer = TypeVar("Answer")

# What aio-pika raises when the connection or the channel is gone, or does not answer.
OUTAGES = (*CONNECTION_EXCEPTIONS, EOFError, asyncio.InvalidStateError, asyncio.QueueEmpty)
ANSWER = 10.0  # seconds; a broker that is well answers in milliseconds


@contextmanager
def answered(what: str) -> Iterator[None]:
    """Raise BrokerUnavailable for whatever aio-pika raises when it gets no answer.

    When a connection closes, aiormq takes the one for the other: it cancels what waits for it,
    although nobody has cancelled the task that waits, and of a task that was cancelled it raises
    what became of the connection. The one would end a worker without a word, and the other would
    keep it at work in a process that has to end.
    """
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        if not _is_outage(error):
            raise
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        if isinstance(error, asyncio.CancelledError):
            raise BrokerUnavailable(f"{what}: the connection was closed") from error
        raise BrokerUnavailable(f"{what}: {' '.join(str(error).split()) or error!r}") from error


def _is_outage(error: BaseException) -> bool:
    """Of a connection that ended without a reason aiormq raises Exception itself."""
    return isinstance(error, (*OUTAGES, asyncio.CancelledError)) or type(error) is Exception


async def within(seconds: float, call: Awaitable[Answer]) -> Answer:
    """Await a call of aio-pika that may lose a cancellation.

    asyncio.wait_for of Python 3.11 returns the answer when a cancellation meets it, and aiormq
    waits with it inside, whether a call has a time limit or not. Whoever was cancelled would go on
    for ever. So the call has a task of its own, and nobody waits for it longer than they want to.

    Raises:
        TimeoutError: there is no answer after so many seconds.
    """
    task = asyncio.ensure_future(call)
    task.add_done_callback(_retrieve)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError(f"no answer within {seconds:g} s")
        return task.result()
    finally:
        task.cancel()


async def goodbye(seconds: float, call: Awaitable[Any]) -> None:
    """Tell RabbitMQ that something is not needed any more; it may be gone already.

    Nobody waits longer than so many seconds, but the call itself goes on: aiormq closes a channel
    once more when its close is cancelled, and RabbitMQ then closes the connection.
    """
    task = asyncio.ensure_future(call)
    task.add_done_callback(_retrieve)
    await asyncio.wait([task], timeout=seconds)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Otherwise asyncio would log that nobody asked what became of it."""
    if not task.cancelled():
        task.exception()
