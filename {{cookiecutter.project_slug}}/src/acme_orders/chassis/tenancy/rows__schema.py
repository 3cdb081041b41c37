"""Whose rows a statement is about: no row says it, because each tenant has tables of its own."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.lease import Lease


async def found_tables(lease: Lease) -> frozenset[str]:  # noqa: ARG001
    """None: those with a model are known, and no SQL may name the schema of another."""
    return frozenset()


def foreign(
    sql: str,  # noqa: ARG001
    parameters: Sequence[Any],  # noqa: ARG001
    pinned: Iterable[int | str],  # noqa: ARG001
    tenant: UUID,  # noqa: ARG001
) -> tuple[str, ...]:
    """Nothing: `search_path` has decided."""
    return ()
