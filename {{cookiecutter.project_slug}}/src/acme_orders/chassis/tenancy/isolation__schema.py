# feature: row, rls, schema
"""How PostgreSQL keeps a transaction to the schema of one tenant."""

from uuid import UUID

from acme_orders.chassis.database.lease import Lease

# The name comes from the registry, never from outside. Transaction-local, so the next user of the
# connection finds nothing of it. `public` holds what all tenants share.
_ENTER = """
SELECT set_config('search_path', quote_ident(schema_name) || ', public', true)
FROM public.tenants WHERE id = %s
"""


async def enter(lease: Lease, tenant: UUID | None) -> bool:
    """Keep the open transaction to the tenant's schema, or to what is shared; False if unknown."""
    if tenant is None:
        return True
    return bool(await lease.rows(_ENTER, (str(tenant),)))
