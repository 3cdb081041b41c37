"""Blocking work beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


def begun(work: Callable[[], None]) -> asyncio.Future[None]:
    """Do this in a thread of its own; the future ends as it does.

    Not one of the loop's threads: the process would not end while PostgreSQL hangs.
    """
    future = asyncio.get_running_loop().create_future()

    def do() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            future.get_loop().call_soon_threadsafe(settle, error)

    def settle(error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # nobody may wait by now, and asyncio would log that as a bug
        else:
            future.set_result(None)

    threading.Thread(target=do, daemon=True).start()
    return future


async def ended(work: asyncio.Future[None]) -> None:
    """Wait until it ends, as others may; who gives up takes it from nobody. Raises its error."""
    await asyncio.wait([work])  # a shield would log an error that comes after its time
    work.result()
