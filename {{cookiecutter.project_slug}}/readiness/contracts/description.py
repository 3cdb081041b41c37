"""Asks PostgreSQL what a statement takes, what it gives, and how it would be run."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache  # feature: row, rls, schema
from typing import Any
from uuid import UUID, uuid4

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.tenancy.guard import judged, tenant_tables  # feature: row, rls, schema

from readiness.contracts import sql
from readiness.contracts.contract import Sent
from readiness.contracts.plan import SETTINGS, Index, shape
from readiness.contracts.stable import Stable

_TYPES = """
SELECT format_type(type, -1) FROM pg_prepared_statements,
unnest(parameter_types) WITH ORDINALITY AS given (type, place)
WHERE name = %s ORDER BY place
"""
_LEADING = "SELECT pg_get_indexdef(to_regclass(quote_ident(%s)), 1, false)"
_COLUMNS = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
"""
# A parameter without a type, or a function or operator that is several for unknown types.
_UNTYPED = {"42P18", "42725", "42883"}
# What PostgreSQL takes a value for that both drivers send with a type; bool is an int in Python.
_KNOWN = (
    *((bool, "boolean"), (int, "bigint"), (float, "double precision"), (Decimal, "numeric")),
    *((str, "text"), (bytes, "bytea"), (UUID, "uuid"), (datetime, "timestamp with time zone")),
    *((date, "date"), (time, "time"), (timedelta, "interval")),
)


class Describer:
    """Describes statements inside a transaction, and lets each of them have its effect.

    Args:
        manager: with an open transaction, in the scope that the statements need.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._indexes: dict[str, Index] = {}
        self._columns: dict[str, frozenset[str]] = {}

    async def prepare(self) -> None:
        """Let the planner show what could serve, until the transaction ends."""
        async with self._manager.connection() as lease:
            await lease.send("; ".join(f"SET LOCAL {name} = {SETTINGS[name]}" for name in SETTINGS))

    async def describe(self, statement: Statement, again: Statement, stable: Stable) -> Sent:
        """All that is known about a statement; afterwards it has run.

        Args:
            statement: as it was sent.
            again: the same as it was sent in another run.
            stable: makes its values the same in each run.

        Raises:
            DatabaseError: PostgreSQL refuses it.
            ValueError: it cannot be read.
        """
        read = sql.read(statement.sql, statement.parameters)
        async with self._manager.connection() as lease:
            name, types = await prepared(
                lease, self._manager, "\n".join(read.lines), statement.parameters
            )
            nothing = f"({', '.join(['NULL'] * len(types))})" if types else ""
            explain = f"EXPLAIN (VERBOSE, COSTS off, FORMAT json) EXECUTE {name}{nothing}"
            ((plans,),) = await lease.rows(explain)
            values = [await _texts(lease, each.parameters, types) for each in (statement, again)]
            settled = [stable.text(*pair) for pair in zip(*values, strict=True)]
            columns = await columns_of(
                lease, sql.without_cursor(statement.sql), statement.parameters
            )
        example = [text for text, _ in settled]
        limit = read.limit
        if isinstance(limit, str):
            text = example[int(limit[1:]) - 1]
            limit = int(text) if text is not None else None
        return Sent(
            sql=read.lines,
            parameters=[f"${number} {type_}" for number, type_ in enumerate(types, 1)],
            example=example,
            executable=all(same for _, same in settled),
            columns=columns,
            tables=read.tables,
            writes=read.writes,
            tenant_pinned=_is_pinned(statement),  # feature: row, rls, schema
            max_rows=limit,
            plan=await shape(plans[0]["Plan"], self._index, self._columns_named),
        )

    async def _index(self, name: str) -> Index:
        if name not in self._indexes:
            async with self._manager.connection() as lease:
                ((leading,),) = await lease.rows(_LEADING, (name,))
            self._indexes[name] = Index(leading, await self._columns_named(name))
        return self._indexes[name]

    async def _columns_named(self, table: str) -> frozenset[str]:
        if table not in self._columns:
            async with self._manager.connection() as lease:
                rows = await lease.rows(_COLUMNS, (table,))
            self._columns[table] = frozenset(name for (name,) in rows)
        return self._columns[table]


async def prepared(
    lease: Lease, manager: Manager, text: str, values: Sequence[Any] = (), types: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Prepare a statement; its name, and the types that PostgreSQL gives its parameters.

    Where nothing but the value tells a type, those of the values count, or `types`.

    Raises:
        DatabaseError: PostgreSQL refuses it.
    """
    name = f"contract_{uuid4().hex}"  # no rollback takes it back
    try:
        async with manager.savepoint():
            await lease.send(f"PREPARE {name} AS {text}")
    except DatabaseError as error:
        known = list(types) or [_type_of(each) for each in values]
        if error.sqlstate not in _UNTYPED or not known:
            raise
        await lease.send(f"PREPARE {name} ({', '.join(known)}) AS {text}")
    return name, [type_ for (type_,) in await lease.rows(_TYPES, (name,))]


async def columns_of(lease: Lease, text: str, values: Sequence[Any] = ()) -> list[str]:
    """Run a statement; the names and types of the columns that it gives."""

    async def described(cursor: Any) -> list[tuple[str, int]]:
        return [(each[0], each[1]) for each in cursor.description or ()]

    found = await lease.send(text, values, described)
    if not found:
        return []
    codes = ", ".join(f"format_type({code}, -1)" for _, code in found)
    (types,) = await lease.rows(f"SELECT {codes}")
    return [f"{name} {type_}" for (name, _), type_ in zip(found, types, strict=True)]


async def _texts(lease: Lease, values: Sequence[Any], types: Sequence[str]) -> Sequence[str | None]:
    """The values as PostgreSQL writes them, whatever the driver sends."""
    if not types:
        return ()
    casts = ", ".join(f"(%s)::{type_}::text" for type_ in types)
    (texts,) = await lease.rows(f"SELECT {casts}", tuple(values))
    found: Sequence[str | None] = texts
    return found


def _type_of(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{_type_of(value[0])}[]" if value else "unknown"
    return next((type_ for kind, type_ in _KNOWN if isinstance(value, kind)), "unknown")


# feature: row, rls, schema {
@cache
def _tables() -> frozenset[str]:
    return tenant_tables()


def _is_pinned(statement: Statement) -> bool:
    return not judged(statement.sql, _tables(), filled=bool(statement.parameters)).problems


# feature: row, rls, schema }
