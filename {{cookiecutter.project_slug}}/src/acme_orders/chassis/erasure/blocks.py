"""A table, a few blocks at a time."""

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.hidden import DELETE, READ, WRITE, hidden

_BLOCKS = """
SELECT greatest(1, max(pg_relation_size(part) / current_setting('block_size')::bigint))
FROM (SELECT %s::oid::regclass UNION SELECT relid FROM pg_partition_tree(%s::oid::regclass))
    AS parts (part)
"""
# Who reads less than all would prove nothing.
_READS = """
SELECT has_table_privilege(%s::oid, 'SELECT'), has_table_privilege(%s::oid, %s), current_user::text
"""


def blocks_of(rows: Rows, table: str, needed: str) -> tuple[int, bool]:
    """How many blocks a table has, and whether its rows may be written.

    Args:
        rows: runs SQL in the open transaction.
        table: as SQL writes it.
        needed: the right to write: UPDATE or DELETE.

    Raises:
        ConfigurationError: not all of its rows can be seen.
    """
    ((oid,),) = rows("SELECT %s::text::regclass::oid::bigint", (table,))
    ((readable, writable, role),) = rows(_READS, (oid, oid, needed))
    if not readable:
        raise ConfigurationError(
            f"{role} may not read {table}, so nobody could say that nothing is left there: "
            f"GRANT SELECT ON {table} TO {role}"
        )
    if unseen := list(hidden(rows, oid, table, READ, WRITE if needed == "UPDATE" else DELETE)):
        raise ConfigurationError("\n".join(unseen))
    return int(rows(_BLOCKS, (oid, oid))[0][0]), bool(writable)


def within(first: int, last: int) -> str:
    """SQL for the rows of a table `t` in these blocks."""
    return f"t.ctid >= '({first},0)' AND t.ctid < '({last},0)'"
