"""Rows that have to be there before examples, because no message of the service leads to them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID  # feature: row, rls, schema

from acme_orders.chassis.database import driver
from acme_orders.chassis.process.service import Service

from readiness.migrated import NoSchema
from readiness.scratch import session
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_OF_TENANTS = """
SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'tenant_id'
"""


def give(
    service: Service,
    url: str,
    # feature: row, rls, schema {
    *,
    tenant: UUID = TENANT,
    # feature: row, rls, schema }
) -> None:
    """Insert the rows that handlers and queries name in `given`; those that are there stay.

    Raises:
        NoSchema: PostgreSQL refuses one of them.
    """
    rows = list(_rows(service))
    if not rows:
        return
    with session(url) as cursor:
        cursor.execute(f"SET app.tenant_id = '{tenant}'")  # feature: rls
        cursor.execute(f"SET search_path = tenant_{tenant.hex}, public")  # feature: schema
        for who, table, given in rows:
            row = dict(given)
            try:
                # feature: row, rls {
                cursor.execute(_OF_TENANTS, (table,))
                if cursor.fetchall():
                    row["tenant_id"] = tenant
                # feature: row, rls }
                cursor.execute(_insert(table, row), (json.dumps(row, default=str),))
            except driver.DriverError as error:
                cause = str(error).partition("\n")[0]
                raise NoSchema(
                    f"{who} has given={{{table!r}: [{given}]}}, and PostgreSQL refuses it: {cause}"
                ) from error


def _rows(service: Service) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Who needs it, its table, and a row."""
    needs = [(type_, each.given) for type_, each in service.handlers.items()]
    needs += [
        (query.name, query.given) for each in service.repositories for query, _ in each.queries()
    ]
    for who, given in needs:
        for table, rows in given.items():
            yield from ((who, table, row) for row in rows)


def _insert(table: str, row: Mapping[str, Any]) -> str:
    """Values come as JSON, so that each column reads them as it stores them."""
    columns = ", ".join('"' + each.replace('"', '""') + '"' for each in row)
    return (
        f"INSERT INTO {table} ({columns}) SELECT {columns} "
        f"FROM jsonb_populate_record(NULL::{table}, %s::jsonb) ON CONFLICT DO NOTHING"
    )
