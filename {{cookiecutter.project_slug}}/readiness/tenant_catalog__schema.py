# feature: row, rls, schema
"""What PostgreSQL itself says about the schemas of tenants."""

from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import UUID

from readiness.scratch import session
from readiness.two_tenants import OTHER, TENANT

_TABLES = """
SELECT quote_ident(tablename) FROM pg_tables
WHERE schemaname = %s AND tablename <> 'schema_migrations' ORDER BY 1
"""
_REFERENCES = """
SELECT conname || ' of ' || conrelid::regclass || ' refers to another schema' FROM pg_constraint
    JOIN pg_class AS one ON one.oid = conrelid
    JOIN pg_class AS other ON other.oid = confrelid
    JOIN pg_namespace ON pg_namespace.oid = one.relnamespace
WHERE contype = 'f' AND nspname = %s AND other.relnamespace <> one.relnamespace
"""


def owned_by(url: str, tenant: UUID) -> Mapping[str, Counter[str]]:
    """The rows of one tenant in every table, as text."""
    schema, owned = _schema(tenant), {}
    with session(url) as cursor:
        cursor.execute(_TABLES, (schema,))
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {schema}.{table} AS t")
            owned[table] = Counter(text for (text,) in cursor.fetchall())
    return owned


def holes(url: str) -> Iterator[str]:
    """Where the schema of one tenant reaches that of another."""
    with session(url) as cursor:
        for tenant in (TENANT, OTHER):
            cursor.execute(_REFERENCES, (_schema(tenant),))
            yield from (finding for (finding,) in cursor.fetchall())
    if owned_by(url, TENANT).keys() != owned_by(url, OTHER).keys():
        yield "the schemas of two tenants have different tables"


def _schema(tenant: UUID) -> str:
    return f"tenant_{tenant.hex}"
