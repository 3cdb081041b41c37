"""For whom a query is asked that works for one tenant, where somebody looks who is none."""

from contextlib import AbstractContextManager, nullcontext

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.tenancy.scope import tenant_scope

_OLDEST = "SELECT id::text FROM public.tenants ORDER BY created_at, id LIMIT 1"


async def scope_for(repository: Repository, manager: Manager) -> AbstractContextManager[None]:
    """That of all tenants, which is open, or of the oldest, whose tables are as full as any.

    Raises:
        ConfigurationError: there is none yet.
    """
    if repository.across_tenants:
        return nullcontext()
    async with manager.transaction("operations.look", read_only=True):
        with manager.named("operations.look"):
            found = await manager.fetch_sql(_OLDEST)
    if not found:
        raise ConfigurationError("there is no tenant yet: `tenants add NAME` registers one")
    return tenant_scope(str(found[0][0]))
