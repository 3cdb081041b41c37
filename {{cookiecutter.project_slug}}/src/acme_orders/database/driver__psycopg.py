"""What differs between drivers, for psycopg 3."""

import asyncio
from typing import Any

import psycopg
from peewee_async import Psycopg3Database as Database
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async

__all__ = ["Database"]

DriverError = psycopg.Error


class _Connection(psycopg.AsyncConnection[Any]):
    """psycopg's, where a cancellation does not wait for the server."""

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        # psycopg would ask the server to end the statement and wait up to ten seconds for that:
        # while nothing answers, no time limit would hold.
        try:
            return await wait_async(gen, self.pgconn.socket, *args, **{"interval": 0.1, **kwargs})
        except asyncio.CancelledError:
            self.pgconn.finish()  # the server notices, and ends the statement
            raise


async def open_connection(url: str, **parameters: Any) -> Any:
    """Open a connection for one task at a time; `parameters` are those of libpq."""
    return await _Connection.connect(
        url, autocommit=True, cursor_factory=psycopg.AsyncClientCursor, **parameters
    )


def connect(url: str, **parameters: Any) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=10,
        cursor_factory=psycopg.ClientCursor,
        **parameters,
    )


def fileno(connection: Any) -> int:
    """The socket of an open connection."""
    return int(connection.fileno())


def is_idle(connection: Any) -> bool:
    """Whether no transaction and no statement is open, as far as the client knows."""
    return bool(connection.info.transaction_status == TransactionStatus.IDLE)


def discard(connection: Any) -> None:
    """Close a connection at once; the server rolls back what is open."""
    connection.pgconn.finish()


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "sqlstate", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)
