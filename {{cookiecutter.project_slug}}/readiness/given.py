"""Rows that have to be there before examples, because no message of the service leads to them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
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
    _insert(
        list(_rows(service)),
        url,
        tenant=tenant,  # feature: row, rls, schema
    )


def store(url: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Insert rows by the name of their table, parents first; those that are there stay.

    Raises:
        NoSchema: PostgreSQL refuses one of them.
    """
    _insert(
        [("this test", table, some) for table, some in rows.items()],
        url,
        tenant=TENANT,  # feature: row, rls, schema
    )


def _insert(
    given: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]],
    url: str,
    # feature: row, rls, schema {
    *,
    tenant: UUID,
    # feature: row, rls, schema }
) -> None:
    if not given:
        return
    with session(url) as cursor:
        cursor.execute(f"SET app.tenant_id = '{tenant}'")  # feature: rls
        cursor.execute(f"SET search_path = tenant_{tenant.hex}, public")  # feature: schema
        for who, table, rows in given:
            whole = [dict(row) for row in rows]
            try:
                # feature: row, rls {
                cursor.execute(_OF_TENANTS, (table,))
                if cursor.fetchall():
                    for row in whole:
                        row["tenant_id"] = tenant
                # feature: row, rls }
                for columns, alike in groupby(whole, key=tuple):
                    # In one statement, because rows of a table may refer to each other.
                    cursor.execute(_sql(table, columns), (json.dumps(list(alike), default=str),))
            except driver.DriverError as error:
                cause = str(error).partition("\n")[0]
                raise NoSchema(
                    f"{who} has given={{{table!r}: {list(rows)}}}, and PostgreSQL refuses it: "
                    f"{cause}"
                ) from error


def _rows(service: Service) -> Iterator[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    """Who needs it, its table, and its rows."""
    needs = [(type_, each.given) for type_, each in service.handlers.items()]
    needs += [
        (query.name, query.given) for each in service.repositories for query, _ in each.queries()
    ]
    for who, given in needs:
        yield from ((who, table, rows) for table, rows in given.items())


def _sql(table: str, names: Sequence[str]) -> str:
    """Values come as JSON, so that each column reads them as it stores them."""
    columns = ", ".join('"' + each.replace('"', '""') + '"' for each in names)
    return (
        f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} "
        f"FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb) ON CONFLICT DO NOTHING"
    )
