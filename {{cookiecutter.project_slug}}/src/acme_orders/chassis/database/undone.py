"""Transactions that leave nothing behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from acme_orders.chassis.database.manager import Manager


@asynccontextmanager
async def undone(manager: Manager, name: str) -> AsyncIterator[None]:
    """A transaction of this name that is rolled back at the end of the block, whatever it did."""
    with suppress(_Undo):
        async with manager.transaction(name):
            yield
            raise _Undo


class _Undo(Exception):
    """Ends a transaction without a COMMIT."""
