"""In which schemas the data of a person is looked for."""

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED


def schemas_of(rows: Rows, whose: str) -> list[str]:
    """Those that may have some: what tenants share, and that of this one."""
    named = "SELECT schema_name FROM public.tenants WHERE id::text = %s"
    return [SHARED, *(schema for (schema,) in rows(named, (whose,)))]
