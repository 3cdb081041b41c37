# feature: row, rls, schema
"""How PostgreSQL keeps a transaction to the rows of one tenant."""

from uuid import UUID

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

# Transaction-local, so the next user of the connection finds nothing of it.
_ENTER = """
SELECT
    set_config('app.tenant_id', id::text, true),  -- feature: rls
    id
FROM tenants WHERE id = %s
"""


async def enter(lease: Lease, tenant: UUID | None) -> bool:
    """Keep the open transaction to this tenant, or to none if it is None; False if unknown."""
    if tenant is None:
        await lease.send(f"SET LOCAL ROLE {SYSTEM_ROLE}")  # feature: rls
        return True
    return bool(await lease.rows(_ENTER, (str(tenant),)))
