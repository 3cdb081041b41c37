"""The schema that has all that a tenant owns."""

from collections.abc import Iterator, Mapping

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.portions import Walked

_NAME = "'tenant_' || replace(%s, '-', '')"
_TABLES = f"""
SELECT format('%%I.%%I', nspname, relname) FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = {_NAME} AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1
"""
# Views and references of others, which would go with the schema.
_OTHERS = f"""
SELECT DISTINCT format('%%I.%%I', space.nspname, other.relname) FROM pg_depend
    LEFT JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid
    LEFT JOIN pg_constraint ON classid = 'pg_constraint'::regclass AND pg_constraint.oid = objid
    JOIN pg_class AS other ON other.oid IN (ev_class, conrelid)
    JOIN pg_namespace AS space ON space.oid = other.relnamespace
    JOIN pg_class AS ours ON refclassid = 'pg_class'::regclass AND ours.oid = refobjid
    JOIN pg_namespace AS own ON own.oid = ours.relnamespace
WHERE own.nspname = {_NAME} AND space.oid <> own.oid
"""


class Owned:
    """All that one tenant owns.

    Args:
        rows: runs SQL in the open transaction.
        whose: it is.
    """

    def __init__(self, rows: Rows, whose: str) -> None:
        self._rows, self._whose = rows, whose

    def names(self) -> set[str]:
        """What tenants share says by a text whose it is."""
        return set()

    def tables(self) -> list[Walked]:
        """None: the schema goes as a whole."""
        return []

    def rest(self) -> Iterator[tuple[str, int]]:
        """How many rows go with the schema, by table; with their names, the id of the tenant."""
        for (table,) in self._rows(_TABLES, (self._whose,)):
            name = table.partition(".")[2]
            yield name, int(self._rows(f"SELECT count(*) FROM {table}")[0][0])

    def left(self) -> Mapping[str, int]:
        """Others that refer to what is in the schema."""
        return {other: 1 for (other,) in self._rows(_OTHERS, (self._whose,))}

    def drop(self) -> None:
        """Drop the schema; its name is of our own making."""
        name = self._whose.replace("-", "")
        self._rows(f"DROP SCHEMA IF EXISTS tenant_{name} CASCADE")
