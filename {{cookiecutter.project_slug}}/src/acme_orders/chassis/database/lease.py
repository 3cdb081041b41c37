"""A connection while one task holds it, and the transaction on it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.failures import translate
from acme_orders.chassis.database.settings import Timeouts
from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.errors import (
    CommitUnknown,
    DatabaseError,
    DatabaseUnavailable,
    TransactionAborted,
)
from acme_orders.chassis.supervision import cancelled

Fetch = Callable[[Any], Awaitable[Any]]
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
LEVELS: tuple[Isolation, ...] = get_args(Isolation)  # the weakest first

_UNDO = 1.0  # seconds for a rollback, which needs no time; a process that stops has no more
_GRACE = 5.0  # seconds beyond its own time limit after which the server is taken for gone


@dataclass(slots=True)
class Lease:
    """A connection while a task holds it; `statement` is the time limit of a statement."""

    connection: Any
    owner: asyncio.Task[Any] | None
    statement: float
    transaction: Transaction | None = None

    @property
    def broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return bool(self.connection.closed)

    async def send(
        self, sql: str, parameters: Sequence[Any] = (), fetch: Fetch | None = None
    ) -> Any:
        """Run one statement; returns what `fetch` makes of the cursor, or the command tag.

        Raises:
            DatabaseError: whichever kind `failures.translate` finds it to be.
        """
        try:
            async with asyncio.timeout(self.statement + _GRACE), self.connection.cursor() as cursor:
                # Without parameters a percent sign is one; with them it has to be doubled.
                await cursor.execute(sql, parameters or None)
                return await fetch(cursor) if fetch else driver.command_tag(cursor)
        except TimeoutError as error:
            driver.discard(self.connection)
            raise DatabaseUnavailable(
                f"no answer within {self.statement + _GRACE:g} s, though PostgreSQL ends "
                f"statements after {self.statement:g} s (STATEMENT_TIMEOUT): the network is cut"
            ) from error
        except (driver.DriverError, OSError, ValueError, TypeError, IndexError) as error:
            inside = self.transaction is not None
            raise translate(error, in_transaction=inside, broken=self.broken) from error

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return its rows as tuples."""
        rows: list[Any] = await self.send(sql, parameters, all_rows)
        return rows

    async def begin(self, isolation: Isolation, limits: Timeouts, *, read_only: bool) -> None:
        """Open a transaction, in one round trip; its settings are gone with it."""
        begin = f"BEGIN ISOLATION LEVEL {isolation} READ {'ONLY' if read_only else 'WRITE'}"
        try:
            await self.send(f"{begin}; {_settings(limits)}")
        except DatabaseUnavailable:
            raise
        except DatabaseError as error:  # a standby says that it does not support this, for one
            refused = DatabaseUnavailable(str(error))
            refused.sqlstate = error.sqlstate
            raise refused from error.__cause__

    async def limit(self, limits: Timeouts) -> None:
        """Give the open transaction other limits from here on."""
        await self.send(_settings(limits))

    async def commit(self) -> None:
        """End the transaction.

        Raises:
            TransactionAborted: PostgreSQL rolled it back, because an error inside was swallowed.
            CommitUnknown: the connection broke, and nobody knows what became of it.
            CancelledError: with CommitUnknown as its cause, because nobody knows either.
        """
        if cancelled():  # long ago, but nothing had to be waited for since
            await asyncio.sleep(0)
        try:
            tag = await self.send("COMMIT")
        except asyncio.CancelledError as error:
            raise error from CommitUnknown("it was cancelled while COMMIT was under way")
        except DatabaseUnavailable as error:
            raise CommitUnknown from error
        except DatabaseError as error:  # deferred constraints and triggers, on any table
            error.own = True
            raise
        if tag != "COMMIT":
            raise TransactionAborted

    async def undo(self, sql: str) -> None:
        """Roll back; a closed connection has been rolled back by the server already."""
        if self.broken:
            return
        try:
            async with asyncio.timeout(_UNDO):
                await self.send(sql)
        except BaseException as error:
            # Nobody knows what is open now, and the pool would hand it out.
            driver.discard(self.connection)
            if not isinstance(error, DatabaseError | TimeoutError):
                raise


def _settings(limits: Timeouts) -> str:
    seconds = {
        "statement_timeout": limits.statement_timeout,
        "lock_timeout": limits.lock_timeout,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction_timeout,
    }
    return "; ".join(f"SET LOCAL {name} = {1000 * limit:.0f}" for name, limit in seconds.items())


async def all_rows(cursor: Any) -> list[Any]:
    """What a cursor has; nothing after a statement that returns no rows."""
    return list(await cursor.fetchall()) if cursor.description else []
