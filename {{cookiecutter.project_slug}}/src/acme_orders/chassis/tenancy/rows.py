# feature: row, rls, schema
"""Whose rows a statement is about, as far as PostgreSQL and its parameters say."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.placeholders import numbers
from acme_orders.chassis.database.sql_shape import shape

_TABLES = """
SELECT DISTINCT relname::text FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE attname = 'tenant_id' AND NOT attisdropped AND relkind IN ('r', 'p', 'f', 'v', 'm')
    AND nspname !~ '^pg_'
"""


async def found_tables(lease: Lease) -> frozenset[str]:
    """The tables and views that have a tenant in each row."""
    return frozenset(name for (name,) in await lease.rows(_TABLES))


def foreign(
    sql: str, parameters: Sequence[Any], pinned: Iterable[int | str], tenant: UUID
) -> tuple[str, ...]:
    """What is wrong with a statement that gives `tenant_id` another value than this tenant.

    Args:
        sql: as the driver gets it.
        parameters: of it.
        pinned: as `pins` has found them in its shape.
        tenant: that the scope is of.
    """
    spread = numbers(sql) if shape(sql) != sql else None
    for pin in pinned:
        if isinstance(pin, str):
            given: Iterable[Any] = (pin,)
        else:
            places = spread[pin] if spread else (pin,)  # the driver refuses where one is missing
            given = (parameters[each] for each in places if each < len(parameters))
        if any(not _is(value, tenant) for value in given):
            return ("tenant_id is given another tenant than that of the scope",)
    return ()


def _is(value: Any, tenant: UUID) -> bool:
    if isinstance(value, UUID):
        return value == tenant
    try:
        return UUID(str(value)) == tenant
    except ValueError:
        return False
