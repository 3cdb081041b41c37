"""What differs between drivers, for psycopg 3."""

import asyncio
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import IntervalLoader
from psycopg.types.json import Json, Jsonb
from psycopg.waiting import wait_async

DriverError = psycopg.Error
DOCUMENTS = (Json, Jsonb)

UNREADABLE = object()  # in place of a value that Python has no form for


class _Interval(IntervalLoader):
    """Reads spans in Python: what is too long is an error, where C makes another number of it."""


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


async def open_connection(**parameters: Any) -> Any:
    """Open a connection for one task at a time; `parameters` are those of libpq."""
    connection = await _Connection.connect(
        autocommit=True, cursor_factory=psycopg.AsyncClientCursor, **parameters
    )
    connection.adapters.register_loader("interval", _Interval)
    return connection


def connect(**parameters: Any) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    return psycopg.connect(
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
        **{"connect_timeout": "10"} | parameters,
    )


def knows(parameter: str) -> bool:
    """Whether libpq has a parameter of this name."""
    try:
        conninfo_to_dict(f"{parameter}=''")
    except psycopg.ProgrammingError:
        return False
    return True


def fileno(connection: Any) -> int:
    """The socket of an open connection."""
    return int(connection.fileno())


def is_idle(connection: Any) -> bool:
    """Whether no transaction and no statement is open, as far as the client knows."""
    return bool(connection.info.transaction_status == TransactionStatus.IDLE)


def discard(connection: Any) -> None:
    """Close a connection at once; the server rolls back what is open."""
    connection.pgconn.finish()


async def fetch(cursor: Any) -> tuple[list[Any], dict[int, int]]:
    """All rows, and which of them cannot be read: their numbers, each with that of its column."""
    try:
        return await cursor.fetchall(), {}
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.ProgrammingError):
        raise
    except Exception:  # Python has no form for a value
        return _one_by_one(cursor)


def _one_by_one(cursor: Any) -> tuple[list[Any], dict[int, int]]:
    result, transformer = cursor.pgresult, Transformer.from_context(cursor.connection)
    loaders = [
        transformer.get_loader(result.ftype(column), result.fformat(column))
        for column in range(result.nfields)
    ]
    rows, unreadable = [], {}
    for number in range(result.ntuples):
        row: list[Any] = []
        for column, loader in enumerate(loaders):
            data = result.get_value(number, column)
            try:
                row.append(None if data is None else loader.load(data))
            except Exception:
                unreadable[number] = column
                row.append(UNREADABLE)
        rows.append(tuple(row))
    return rows, unreadable


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "sqlstate", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)


def literal(value: Any) -> str:
    """What PostgreSQL reads as a value that only the driver knows.

    Raises:
        psycopg.ProgrammingError: the driver does not know it either.
    """
    if isinstance(value, psycopg.Binary):
        return "\\x" + bytes(value.obj).hex()
    data = Transformer().get_dumper(value, PyFormat.TEXT).dump(value)
    return bytes(data or b"").decode()
