"""Where the rows of a sample are."""

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.sample.part import Part

_TENANTS = """
SELECT id::text, schema_name FROM public.tenants
WHERE %s::text IN ('', id::text) AND to_regnamespace(schema_name) IS NOT NULL ORDER BY id LIMIT %s
"""


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
