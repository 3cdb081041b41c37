"""Where the rows of a sample are."""

from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED

_TENANTS = """
SELECT id::text, schema_name FROM public.tenants
WHERE %s::text IN ('', id::text) AND to_regnamespace(schema_name) IS NOT NULL ORDER BY id LIMIT %s
"""


class Part(NamedTuple):
    """Rows of one schema.

    Args:
        place: the schema.
        column: by which they are chosen; empty for all rows.
        value: of that column.
        table: of these rows; empty for each that has the column.
    """

    place: str
    column: str = ""
    value: str = ""
    table: str = ""

    def has(self, table: str, columns: set[str]) -> bool:
        """Whether rows of this table are taken."""
        return not self.column or (self.column in columns and self.table in {"", table})


def parts(rows: Rows, whose: str, most: int) -> list[Part]:
    """What is taken: the tenants, what is in their schemas, and what they share.

    Args:
        rows: runs SQL.
        whose: rows are taken; empty for those of all tenants.
        most: tenants of whom something is taken.

    Raises:
        ConfigurationError: no tenant has this id.
    """
    tenants = rows(_TENANTS, (whose, most))
    if whose and not tenants:
        raise ConfigurationError(f"no tenant {whose}: `tenants list` shows them")
    known = [Part(SHARED, "id", tenant, "tenants") for tenant, _ in tenants]
    shared = [] if whose else [Part(SHARED)]
    return [*known, *shared, *(Part(schema) for _, schema in tenants)]
