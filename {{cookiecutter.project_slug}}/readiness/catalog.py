"""What PostgreSQL itself says about a schema and its contents."""

from collections import Counter

from acme_orders.chassis.migrations.drift import POLICY, ROW_SECURITY

from readiness.scratch import rows_of, session

INBOX_KEY = (
    "tenant_id",  # feature: row, rls
    "consumer",
    "source",
    "id",
)

_SCHEMA = f"""
WITH schema AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relation AS (
    SELECT pg_class.oid, concat_ws('.', nullif(nspname, 'public'), relname) AS relname, relkind
    FROM pg_class JOIN schema ON schema.oid = relnamespace
    WHERE relname NOT LIKE 'schema_migrations%'
)
SELECT 'relation ' || relname, relkind::text FROM relation WHERE relkind <> 'i'
UNION ALL
SELECT 'column ' || relname || '.' || attname,
    concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
        attidentity, attgenerated, 'DEFAULT ' || pg_get_expr(adbin, adrelid))
FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'constraint ' || relname || '.' || conname, pg_get_constraintdef(pg_constraint.oid)
FROM relation JOIN pg_constraint ON conrelid = relation.oid
UNION ALL
SELECT 'index ' || relname, pg_get_indexdef(indexrelid) || indisvalid
FROM relation JOIN pg_index ON indexrelid = relation.oid
UNION ALL
SELECT 'trigger ' || relname || '.' || tgname, pg_get_triggerdef(pg_trigger.oid)
FROM relation JOIN pg_trigger ON tgrelid = relation.oid WHERE NOT tgisinternal
UNION ALL
SELECT 'view ' || relname, pg_get_viewdef(oid) FROM relation WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'function ' || oid::regprocedure, md5(pg_get_functiondef(oid)) FROM pg_proc
WHERE pronamespace IN (SELECT oid FROM schema) AND prokind <> 'a'
UNION ALL
SELECT concat('policy ', relname, '.', polname), {POLICY}
FROM relation JOIN pg_policy ON polrelid = relation.oid
UNION ALL
SELECT 'row-level security ' || relation.relname, {ROW_SECURITY}
FROM relation JOIN pg_class USING (oid) WHERE relrowsecurity OR relforcerowsecurity
UNION ALL
SELECT 'type ' || typname, string_agg(enumlabel, ',' ORDER BY enumsortorder)
FROM pg_type JOIN pg_enum ON enumtypid = pg_type.oid GROUP BY typname
"""

_UNIQUE = """
SELECT array_agg(attname::text) FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey::smallint[])
WHERE indrelid = to_regclass('inbox') AND indisunique AND indisvalid AND indimmediate
    AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = indnatts
GROUP BY indexrelid
"""

_TABLES = """
SELECT concat_ws('.', nullif(schemaname, 'public'), tablename),
    concat_ws('.', quote_ident(schemaname), quote_ident(tablename))
FROM pg_tables
WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'
    AND tablename <> 'schema_migrations'
ORDER BY 1
"""


_NAMES = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"


def schema_of(url: str) -> dict[str, str]:
    """The definition of every object that is ours, except the history of migrations."""
    return {name: definition or "" for name, definition in rows_of(url, _SCHEMA)}


def tables_of(url: str) -> set[str]:
    """The names of all tables, as SQL in a session has to write them."""
    return {name for (name,) in rows_of(url, _NAMES)}


def contents_of(url: str) -> dict[str, Counter[str]]:
    """The rows of every table, as text, with how often each is there."""
    with session(url) as cursor:
        cursor.execute(_TABLES)
        contents = {}
        for table, quoted in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {quoted} AS t")
            contents[table] = Counter(text for (text,) in cursor.fetchall())
    return contents


def has_inbox_key(url: str) -> bool:
    """Whether PostgreSQL itself refuses to enter a message twice for one consumer."""
    return any(sorted(columns) == sorted(INBOX_KEY) for (columns,) in rows_of(url, _UNIQUE))


def restore_inbox_key(url: str) -> None:
    """Make up for a missing key, so that only the check whose subject it is reports it."""
    if not has_inbox_key(url):
        rows_of(url, f"CREATE UNIQUE INDEX ON inbox ({', '.join(INBOX_KEY)})")
