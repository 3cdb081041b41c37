# feature: row, rls, schema
"""Messages and their tenants: each tenant of a batch has a transaction of its own."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.messaging.envelope import Envelope
from acme_orders.chassis.messaging.waiting_room import Held
from acme_orders.chassis.tenancy.scope import tenant_scope

Owner = TypeVar("Owner")
Batch = Mapping[Delivery, Envelope]


def per_tenant(
    commit: Callable[[Owner, Batch, Held], Awaitable[None]],
) -> Callable[[Owner, Batch, Held], Awaitable[None]]:
    """Call a method once for each tenant of the batch, in the tenant's scope."""

    @functools.wraps(commit)
    async def split(self: Owner, batch: Batch, held: Held) -> None:
        shares: dict[UUID, dict[Delivery, Envelope]] = {}
        for delivery, envelope in batch.items():
            shares.setdefault(envelope.tenant, {})[delivery] = envelope
        for tenant, share in shares.items():
            with tenant_scope(tenant):
                await commit(self, share, held)

    return split


def in_its_tenant(
    look: Callable[[Owner, Envelope], Awaitable[bool]],
) -> Callable[[Owner, Envelope], Awaitable[bool]]:
    """Call a method in the scope of the tenant whose message it is given."""

    @functools.wraps(look)
    async def scoped(self: Owner, envelope: Envelope) -> bool:
        with tenant_scope(envelope.tenant):
            return await look(self, envelope)

    return scoped
