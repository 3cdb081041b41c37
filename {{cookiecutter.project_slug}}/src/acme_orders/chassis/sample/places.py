"""Where the rows of a sample are."""

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError  # feature: row, rls
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.sample.part import Part

# feature: tenancy=none {
_OWNER, _OWNERS = "", "SELECT %s::text, %s WHERE false"  # rows belong to nobody
# feature: tenancy=none }
# feature: row, rls {
_OWNER = "tenant_id"
_OWNERS = """
SELECT id::text FROM public.tenants WHERE %s::text IN ('', id::text) ORDER BY id LIMIT %s
"""
# feature: row, rls }


def parts(rows: Rows, whose: str, most: int) -> list[Part]:
    """What is taken.

    Args:
        rows: runs SQL.
        whose: rows are taken; empty for those of all.
        most: owners of whom something is taken.

    Raises:
        ConfigurationError: nobody has this id.
    """
    owners = [owner for (owner,) in rows(_OWNERS, (whose, most))]
    # feature: row, rls {
    if whose and not owners:
        raise ConfigurationError(f"no tenant {whose}: `tenants list` shows them")
    # feature: row, rls }
    shared = [] if whose else [Part(SHARED, without=_OWNER)]
    return [*shared, *(Part(SHARED, _OWNER, owner) for owner in owners)]
