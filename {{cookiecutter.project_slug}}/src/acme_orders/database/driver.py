"""What differs between drivers, for aiopg on psycopg2."""

import asyncio
from typing import Any

import aiopg
import psycopg2
from peewee_async import PostgresqlDatabase as Database
from psycopg2.extensions import POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE

__all__ = ["Database"]

DriverError = psycopg2.Error


class _Connection(aiopg.Connection):
    """aiopg's, where an error of the server stays an error and a cancellation a cancellation."""

    async def _connect(self) -> aiopg.Connection:
        # With several hosts in the URL libpq goes from one to the next, each on a socket of its
        # own. aiopg watches the first one only, and would wait for ever.
        self._loop.remove_reader(self._conn.fileno())
        self._fileno = None
        try:
            while (state := self._conn.poll()) != POLL_OK:
                await self._socket_ready(writing=state == POLL_WRITE)
        except BaseException:
            self._conn.close()
            raise
        self._fileno = self._conn.fileno()
        self._loop.add_reader(self._fileno, self._ready, self._weakref)
        return await super()._connect()

    async def _socket_ready(self, *, writing: bool) -> None:
        loop, socket, ready = self._loop, self._conn.fileno(), self._loop.create_future()
        add = loop.add_writer if writing else loop.add_reader
        remove = loop.remove_writer if writing else loop.remove_reader

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(socket, wake)
        try:
            await ready
        finally:
            remove(socket)

    async def _poll(
        self,
        waiter: "asyncio.Future[None]",
        timeout: float,  # noqa: ARG002, ASYNC109
    ) -> None:
        # aiopg would make a cancellation that nobody asked for out of a statement timeout: a
        # TaskGroup ends as if all were well, and the work is lost.
        self._ready(self._weakref)
        try:
            await waiter
        except asyncio.CancelledError:
            self._close()  # the statement still runs; nobody may use this session meanwhile
            raise
        finally:
            self._waiter = None


async def open_connection(url: str, **parameters: Any) -> Any:
    """Open a connection for one task at a time; `parameters` are those of libpq."""
    # With `enable_hstore` every connection would ask the catalog for a type we do not use.
    return await _Connection(url, 0, enable_hstore=False, **parameters)


def connect(url: str, **parameters: Any) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    connection = psycopg2.connect(url, connect_timeout=10, **parameters)
    connection.autocommit = True
    return connection


def fileno(connection: Any) -> int:
    """The socket of an open connection."""
    return int(connection.raw.fileno())


def is_idle(connection: Any) -> bool:
    """Whether no transaction and no statement is open, as far as the client knows."""
    return bool(connection.raw.get_transaction_status() == TRANSACTION_STATUS_IDLE)


def discard(connection: Any) -> None:
    """Close a connection at once; the server rolls back what is open."""
    connection.close()


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.raw.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "pgcode", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)
