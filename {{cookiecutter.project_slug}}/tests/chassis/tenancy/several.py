# feature: row, rls, schema
"""Several tenants in one database, and what each of them has there."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from readiness.scratch import rows_of
from tests.chassis.conftest import apply_migrations
from tests.chassis.slices.sales.messages import SaleMade

ADA, BOB, EVE, NOBODY = (UUID(int=number) for number in (0xADA, 0xB0B, 0xE5E, 0xDEAD))


def register(url: str, tenants: Sequence[UUID]) -> None:
    """Register tenants, all in one statement, and make all of them ready for work."""
    rows_of(
        url,
        "INSERT INTO tenants (id, name) SELECT unnest(%s::uuid[]), unnest(%s::text[])",
        ([str(tenant) for tenant in tenants], [f"tenant {tenant}" for tenant in tenants]),
    )
    apply_migrations(url)


def schemas(url: str) -> dict[UUID, str]:
    """The schema of each tenant, where they have schemas of their own."""
    found = rows_of(
        url,
        "SELECT id::text, nspname::text FROM tenants "
        "JOIN pg_namespace ON nspname = 'tenant_' || replace(id::text, '-', '')",
    )
    return {UUID(identity): schema for identity, schema in found}


def owned(url: str, columns: str, table: str) -> dict[UUID, list[tuple[Any, ...]]]:
    """What is committed in a table: the rows of each tenant that has any."""
    places = schemas(url)
    found: dict[UUID, list[tuple[Any, ...]]] = {
        tenant: rows_of(url, f"SELECT {columns} FROM {schema}.{table}")
        for tenant, schema in places.items()
    }
    if not places:
        for identity, *row in rows_of(url, f"SELECT tenant_id::text, {columns} FROM {table}"):
            found.setdefault(UUID(identity), []).append(tuple(row))
    return {tenant: rows for tenant, rows in found.items() if rows}


def sale(total_cents: int, **changes: Any) -> SaleMade:
    """The same sale for everybody, but for its total."""
    line = {"sku": "TEA-1", "quantity": 1, "unit_price_cents": total_cents}
    return SaleMade.model_validate({**SaleMade.example(), "lines": [line], **changes})
