"""Tells whether PostgreSQL does for anybody what it does for every message."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from acme_orders.chassis.database.failures import is_out_of_room
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.identifiers import new_id
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.inbox import Inbox
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.supervision import apart

_LONGEST = 2.0  # seconds; a server that is well answers in milliseconds
_NAME = "canary"
# A sort with so little memory needs a file of about a megabyte on the disk of the database, for as
# long as it runs; no right, table or WAL. A row says less: it may fit into a page that is there.
_FRUGAL = "SELECT set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)"
_SORT = (
    "SELECT count(*) FROM (SELECT g FROM generate_series(1, 30000) g ORDER BY random()) AS sorted"
)


class _Undone(Exception):
    """Rolls the transaction back."""


class Canary:
    """Asks PostgreSQL what it would do with a message that cannot be wrong.

    Args:
        manager: of the database.
        inbox: where every message is entered.
        outbox: where events are added.
    """

    def __init__(self, manager: Manager, inbox: Inbox, outbox: Outbox) -> None:
        self._manager, self._inbox, self._outbox = manager, inbox, outbox

    async def connects(self) -> str:
        """Why no transaction can be opened; empty if one can."""
        return await self._tried(self._manager.ping)

    async def processes(self) -> str:
        """Why no message at all can be processed in the present scope; empty if some can."""
        return await self._tried(self._process)

    async def finds_no_room(self) -> str:
        """Why the disk of PostgreSQL has no room for anybody; empty if it has some."""
        return await self._tried(self._sort)

    async def _sort(self) -> None:
        try:
            async with (
                self._manager.transaction("consume.canary", read_only=True),
                self._manager.connection() as lease,
            ):
                await lease.send(_FRUGAL)
                await lease.send(_SORT)
        except DatabaseError as error:
            if is_out_of_room(error):
                raise

    async def _process(self) -> None:
        row = {"source": _NAME, "id": str(new_id()), "type": _NAME, "payload_hash": b""}
        with suppress(_Undone):
            async with self._manager.transaction("consume.canary"):
                await self._inbox.enter([row])
                await self._outbox.add(_NAME, Payload())
                await self._manager.flush()
                async with self._manager.connection() as lease:
                    await lease.send("SET CONSTRAINTS ALL IMMEDIATE")  # as COMMIT does
                raise _Undone

    async def _tried(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> str:
        try:
            async with asyncio.timeout(_LONGEST):
                await apart(ask)
        except Exception as error:
            return str(error) or f"{type(error).__name__} after at most {_LONGEST:g} s"
        return ""
