"""Where the data of a person is looked for, and what says whose it is."""

from collections.abc import Mapping, Sequence

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED

_OWNED = """
SELECT format('%%I.%%I', nspname, relname) FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid
WHERE nspname = %s AND attname = %s AND NOT attisdropped
"""
_COLUMN, _OTHERS = "", "SELECT"  # feature: tenancy=none
# feature: row, rls {
_COLUMN = "tenant_id"
_NAMES = ("cloudEvents:tenant", "cloudEvents_tenant", "tenant")
_SAID = ", ".join(f"headers ->> '{name}'" for name in _NAMES)
_OTHERS = f"SELECT FROM unnest(ARRAY[{_SAID}]) AS said WHERE said <> %s"
# feature: row, rls }


def schemas_of(rows: Rows, whose: str) -> list[str]:  # noqa: ARG001
    """The schemas that may have some."""
    return [SHARED]


def owner(table: str, columns: Sequence[str], place: str) -> str:  # noqa: ARG001
    """SQL that says whose a row is; empty where nothing says it.

    Args:
        table: its name in the statement.
        columns: of it.
        place: its schema.
    """
    return f"{table}.{_COLUMN}::text" if _COLUMN in columns else ""


def conditions(rows: Rows, place: str) -> Mapping[str, str]:
    """For a table `t`, SQL that is true for rows of somebody, or of nobody."""
    owned = {table: f"t.{_COLUMN} = %s::uuid" for (table,) in rows(_OWNED, (place, _COLUMN))}
    return {"public.dead_letters": f"NOT EXISTS ({_OTHERS})", **owned}
