"""In which schemas rows are deleted, and as whom."""

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED

# Names come from the registry, never from outside.
_SCHEMAS = """
SELECT schema_name FROM public.tenants WHERE to_regnamespace(schema_name) IS NOT NULL
ORDER BY created_at, id
"""


def schemas(rows: Rows) -> list[str]:
    """Those that may have the table of a policy: what tenants share, and that of each."""
    return [SHARED, *(schema for (schema,) in rows(_SCHEMAS))]


def entered(place: str) -> str:
    """What begins a transaction there: it may do what the service may do, and no more."""
    return f"SET LOCAL search_path = {place}, public; SET LOCAL ROLE {SERVICE_ROLE}"
