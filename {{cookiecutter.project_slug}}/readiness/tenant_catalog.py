# feature: row, rls, schema
"""What PostgreSQL itself says about tables that belong to tenants."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.access import SERVICE_ROLE  # feature: rls
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

from readiness.scratch import session
from readiness.two_tenants import OTHER, TENANT  # feature: rls

_TABLES = """
SELECT attrelid::regclass::text FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
WHERE attname = 'tenant_id' AND relkind IN ('r', 'p') AND NOT attisdropped ORDER BY 1
"""
# By a conflict one tenant learns that a row of another exists. What the table numbers itself and
# nobody can choose is no such key.
_UNIQUE = """
SELECT indexrelid::regclass || ' is unique without tenant_id' FROM pg_index
WHERE indrelid = %s::regclass AND indisunique AND NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey::smallint[])
        AND (attname = 'tenant_id' OR attidentity <> '')
)
"""
# The check of a foreign key sees the rows of every tenant.
_REFERENCES = """
SELECT conrelid::regclass || ' (' || (
    SELECT string_agg(attname, ', ' ORDER BY place) FROM unnest(conkey) WITH ORDINALITY
        AS keys (key, place) JOIN pg_attribute ON attrelid = conrelid AND attnum = key
) || ') refers to rows of any tenant, by ' || conname FROM pg_constraint
WHERE conrelid = %s::regclass AND contype = 'f'
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attname = 'tenant_id')
    AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = conrelid AND attname = 'tenant_id' AND attnum = ANY (conkey)
    )
"""
_LEADING = """
SELECT %s::regclass || ' has no index that begins with tenant_id' WHERE NOT EXISTS (
    SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = %s::regclass AND attname = 'tenant_id' AND indisvalid
)
"""
# feature: rls {
_SECURITY = """
SELECT relname || ' lacks ' || missing FROM pg_class CROSS JOIN LATERAL (VALUES
    (relrowsecurity, 'ENABLE ROW LEVEL SECURITY'),
    (relforcerowsecurity, 'FORCE ROW LEVEL SECURITY')
) AS wanted (there, missing)
WHERE pg_class.oid = %s::regclass AND NOT there
"""
# feature: rls }


def owned_by(url: str, tenant: UUID) -> Mapping[str, Counter[str]]:
    """The rows of one tenant in every table, as text."""
    owned = {}
    with session(url) as cursor:
        cursor.execute(f"SET app.tenant_id = '{tenant}'")  # feature: rls
        for table in _names(cursor):
            cursor.execute(f"SELECT t::text FROM {table} AS t WHERE tenant_id = %s", (str(tenant),))
            owned[table] = Counter(text for (text,) in cursor.fetchall())
    return owned


def holes(url: str) -> Iterator[str]:
    """Where the schema lets one tenant reach another."""
    others = owned_by(url, OTHER)  # feature: rls
    with session(url) as cursor:
        for table in _names(cursor):
            for sql in (_UNIQUE, _REFERENCES, _LEADING):
                cursor.execute(sql, (table,) * sql.count("%s"))
                yield from (finding for (finding,) in cursor.fetchall())
            yield from _let_through(cursor, table, shared=bool(others[table]))  # feature: rls


def _names(cursor: Any) -> list[str]:
    cursor.execute(_TABLES)
    return [table for (table,) in cursor.fetchall()]


# feature: rls {
def _let_through(cursor: Any, table: str, *, shared: bool) -> Iterator[str]:
    """What the policies of a table let the service see and change when a statement forgets.

    Args:
        cursor: of a session.
        table: whose policies they are.
        shared: whether another tenant has rows there too; if a key refuses them, nothing is hidden.
    """
    cursor.execute(_SECURITY, (table,))
    yield from (finding for (finding,) in cursor.fetchall())
    for setting, own in ((str(TENANT), str(TENANT)), ("", str(UUID(int=0)))):
        cursor.execute(f"BEGIN; SET LOCAL ROLE {SERVICE_ROLE}")
        cursor.execute("SELECT set_config('app.tenant_id', %s, true)", (setting,))
        whose = f"of {setting or 'nobody'}"
        cursor.execute(f"SELECT count(*) FROM {table} WHERE tenant_id <> %s", (own,))
        if cursor.fetchone() != (0,):
            yield f"the policies of {table} show rows of others in the scope {whose}"
        cursor.execute(f"UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id <> %s", (own,))
        if cursor.rowcount:
            yield f"the policies of {table} let rows of others be changed in the scope {whose}"
        cursor.execute("ROLLBACK")
    cursor.execute(f"BEGIN; SET LOCAL ROLE {SYSTEM_ROLE}")
    cursor.execute(f"SELECT count(DISTINCT tenant_id) FROM {table}")
    if cursor.fetchone() == (1,) and shared:
        yield f"the policies of {table} hide rows from {SYSTEM_ROLE}, which works for all tenants"
    cursor.execute("ROLLBACK")


# feature: rls }
