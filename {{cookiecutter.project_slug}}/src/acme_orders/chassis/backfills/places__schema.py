"""Where the rows of a backfill are: in what tenants share, or in the schema of each."""

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED

# Names come from the registry, never from outside.
_SCHEMAS = """
SELECT schema_name, to_regclass(schema_name || '.backfill_run') IS NOT NULL FROM public.tenants
WHERE to_regnamespace(schema_name) IS NOT NULL ORDER BY created_at, id
"""


def places(rows: Rows, backfill: Backfill) -> list[str]:
    """The schemas that have the table, the oldest first; what is written of a run has a place."""
    if not backfill.each_tenant:
        return [SHARED]
    schemas = rows(_SCHEMAS)
    for schema in (schema for schema, there in schemas if not there):
        rows(
            f"CREATE TABLE IF NOT EXISTS {schema}.backfill_run "
            "(LIKE public.backfill_run INCLUDING ALL); "
            f"REVOKE ALL ON {schema}.backfill_run FROM {SERVICE_ROLE}; "
            f"GRANT SELECT ON {schema}.backfill_run TO {SERVICE_ROLE}"
        )
    return [schema for schema, _ in schemas]


def all_places(rows: Rows) -> list[str]:
    """The schemas of tenants in which runs are written down."""
    return [schema for schema, there in rows(_SCHEMAS) if there]


def entered(place: str) -> str:
    """What begins a transaction there."""
    return f"SET LOCAL search_path = {place}, public"
