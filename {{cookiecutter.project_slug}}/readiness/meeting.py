"""Lets two transactions meet before either commits, whatever the machine does meanwhile."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from readiness.scratch import rows_of

Result = TypeVar("Result")

_UNIT = "consume"  # in which handlers work
_PAUSE = 0.005  # seconds between two looks
_LONGEST = 10.0  # seconds; then one of them waits for something that is not the other
_BLOCKED = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


class Meeting:
    """Of the first two transactions that come to their COMMIT.

    The first one waits there until the second has come as well, waits for a lock of the first, or
    has ended. So each reads what the other has not committed yet, in every run.

    Args:
        url: of the database where they are.
        parties: how many work at the same time; one has nobody to wait for.
    """

    def __init__(self, url: str, parties: int) -> None:
        self._url, self._others = url, parties - 1
        self._over = asyncio.Event()
        self._one_is_there = asyncio.Event()

    async def come(self, unit: str) -> None:
        """Wait for the other one before COMMIT."""
        if unit != _UNIT or self._over.is_set():
            return
        if not self._others:
            self._over.set()
            return
        self._others -= 1
        self._one_is_there.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST):
                while not (self._over.is_set() or await self._is_waited_for()):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_PAUSE):
                            await self._over.wait()
        self._over.set()

    async def after_the_other(self, work: Awaitable[Result]) -> Result:
        """Begin when the other one has come to its COMMIT, or will not."""
        await self._one_is_there.wait()
        return await self.attended(work)

    async def attended(self, work: Awaitable[Result]) -> Result:
        """Do the work of one; after it the other one waits no longer."""
        try:
            return await work
        finally:
            self._over.set()
            self._one_is_there.set()

    async def _is_waited_for(self) -> bool:
        return bool(await asyncio.to_thread(rows_of, self._url, _BLOCKED))
