"""What differs between drivers, for aiopg on psycopg2."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiopg
import psycopg2
from psycopg2 import extensions as ext
from psycopg2.extensions import POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE, parse_dsn
from psycopg2.extras import Json, Range, register_default_json, register_default_jsonb

DriverError = psycopg2.Error
DOCUMENTS = (Json,)

UNREADABLE = object()  # in place of a value that Python has no form for


def _time(text: str | None, cursor: Any) -> Any:
    if text is not None and text.startswith("24:"):
        raise ValueError  # psycopg2 would make the beginning of the day of its end
    return ext.PYTIME(text, cursor)


# Types with values that Python has no form for: their reader, their codes, those of arrays.
_FALLIBLE = (
    (ext.PYDATE, (1082,), (1182,)),
    (_time, (1083, 1266), (1183, 1270)),
    (ext.PYDATETIME, (1114,), (1115,)),
    (ext.PYDATETIMETZ, (1184,), (1185,)),
    (ext.PYINTERVAL, (1186,), (1187,)),
)
_LITERAL = re.compile(r"'((?:[^'\\]|'')*)'(?:::[\w ]+)?", re.DOTALL)


class _Connection(aiopg.Connection):
    """aiopg's, where an error of the server stays an error and a cancellation a cancellation.

    Attributes:
        unreadable: has something in it when a value was read that Python has no form for.
    """

    unreadable: list[object]

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
        _ = await super()._connect()  # this one
        self.unreadable = _guard_reading(self._conn)
        return self

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


def _guard_reading(connection: Any) -> list[object]:
    # psycopg2 would raise, and nobody could read the rows beside it; of `infinity` it would make
    # the last day of the year 9999.
    unreadable: list[object] = []

    def guarded(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def attempt(text: str | None, cursor: Any) -> Any:
            with suppress(Exception):
                if text is None or not text.endswith("infinity"):
                    return read(text, cursor)
            unreadable.append(UNREADABLE)
            return UNREADABLE

        return attempt

    for read, codes, codes_of_arrays in _FALLIBLE:
        type_ = ext.new_type(codes, "guarded", guarded(read))
        ext.register_type(type_, connection)
        ext.register_type(ext.new_array_type(codes_of_arrays, "guarded[]", type_), connection)
    loads = guarded(lambda text, _: json.loads(text))
    register_default_json(connection, loads=lambda text: loads(text, None))
    register_default_jsonb(connection, loads=lambda text: loads(text, None))
    return unreadable


async def open_connection(**parameters: Any) -> Any:
    """Open a connection for one task at a time; `parameters` are those of libpq."""
    # With `enable_hstore` every connection would ask the catalog for a type we do not use.
    return await _Connection(None, 0, enable_hstore=False, **parameters)


def connect(**parameters: Any) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    connection = psycopg2.connect(**{"connect_timeout": "10"} | parameters)
    connection.autocommit = True
    return connection


def knows(parameter: str) -> bool:
    """Whether libpq has a parameter of this name."""
    try:
        parse_dsn(f"{parameter}=''")
    except psycopg2.ProgrammingError:
        return False
    return True


def fileno(connection: Any) -> int:
    """The socket of an open connection."""
    return int(connection.raw.fileno())


def is_idle(connection: Any) -> bool:
    """Whether no transaction and no statement is open, as far as the client knows."""
    return bool(connection.raw.get_transaction_status() == TRANSACTION_STATUS_IDLE)


def discard(connection: Any) -> None:
    """Close a connection at once; the server rolls back what is open."""
    connection.close()


async def fetch(cursor: Any) -> tuple[list[Any], dict[int, int]]:
    """All rows, and which of them cannot be read: their numbers, each with that of its column."""
    rows, connection = await cursor.fetchall(), cursor.connection
    if not connection.unreadable:
        return rows, {}
    connection.unreadable.clear()
    places = ((number, each) for number, row in enumerate(rows) for each in enumerate(row))
    return rows, {number: column for number, (column, value) in places if _is_unreadable(value)}


def _is_unreadable(value: Any) -> bool:
    match value:
        case list():
            return any(map(_is_unreadable, value))
        case Range():
            return _is_unreadable(value.lower) or _is_unreadable(value.upper)
    return value is UNREADABLE


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.raw.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "pgcode", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)


def literal(value: Any) -> str:
    """What PostgreSQL reads as a value that only the driver knows.

    Raises:
        TypeError: the driver does not know it either.
    """
    match value:
        case Json():
            return str(value.dumps(value.adapted))
        case ext.Binary():
            return "\\x" + bytes(value.adapted).hex()
        case Range():
            return _range(value)
    if found := _LITERAL.fullmatch(ext.adapt(value).getquoted().decode()):
        return found[1].replace("''", "'")
    raise TypeError(f"{type(value).__name__} has no literal")


def _range(value: Any) -> str:
    if value.isempty:
        return "empty"
    lower, upper = ("" if each is None else f'"{each}"' for each in (value.lower, value.upper))
    opening, closing = ("[" if value.lower_inc else "("), ("]" if value.upper_inc else ")")
    return f"{opening}{lower},{upper}{closing}"
