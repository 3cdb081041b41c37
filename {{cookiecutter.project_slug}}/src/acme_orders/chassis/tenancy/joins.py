# feature: row, rls
"""A SELECT whose joined tables are pinned to the tenant, as its own table is.

Without it `Parcel.select(…).join(Depot)` finds the depots of other tenants too, wherever keys
are unique for one tenant only.
"""

from typing import Any

import peewee
from peewee_async.aio_model import AioModelSelect

from acme_orders.chassis.tenancy.scope import current_scope


class PinnedSelect(AioModelSelect):
    """Adds the tenant whose scope is open to the condition of every join."""

    def _normalize_join(self, src: Any, dest: Any, on: Any, attr: Any) -> Any:
        """Peewee asks here what a join is about, whichever method has made it."""
        on, attr, constructor = super()._normalize_join(src, dest, on, attr)
        tenant = current_scope().tenant
        model, _ = self._get_model(dest)
        owned = model is not None and "tenant_id" in model._meta.fields  # noqa: SLF001
        if tenant is not None and owned and isinstance(on, peewee.Node):
            on = on & (dest.tenant_id == tenant)
        return on, attr, constructor
