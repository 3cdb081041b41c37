"""For your tests: the service in memory, on a real database and without RabbitMQ.

    async with testing.service(SERVICE, settings) as service:
        outcome = await service.process(parcel)
        assert outcome.status == "done"
        assert service.published(ParcelStored) == [ParcelStored(…)]

A message is decoded, entered in the inbox, handled, committed and acknowledged as in production,
and the relay publishes its events. Nothing happens by itself: what you do not ask for waits.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.by_hand import ByHand, Content, MessageOutcome
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.exchange import Reply, exchange  # feature: http_api
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.rabbitmq.settings import MEMORY
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema

Body = TypeVar("Body", bound=Payload)


@dataclass(frozen=True)
class ServiceUnderTest:
    """A service that moves when a test tells it to.

    Args:
        running: its parts.
        hand: that moves them.
        extensions: of its messages and events.
        headers: of its requests.
        scope: of its transactions.
    """

    running: Service
    hand: ByHand
    extensions: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    scope: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def manager(self) -> Manager:
        """Of the database, for repositories."""
        return self.running.manager

    def message(
        self, content: Content, *, type_: str | None = None, identity: str | UUID | None = None
    ) -> Message:
        """A message as another service sends it.

        Args:
            content: a payload; or whatever body a message of `type_` may have, also a bad one.
            type_: unset: that of the handler that takes this payload.
            identity: unset: a new one.

        Raises:
            LookupError: it cannot be told which handler.
        """
        return self.hand.message(content, type_, identity, self.extensions)

    async def process(self, content: Content | Message) -> MessageOutcome:
        """Process one message, and publish the events that it leads to."""
        sent = content if isinstance(content, Message) else self.message(content)
        (outcome,) = await self.hand.process([sent])
        return outcome

    async def process_all(self, messages: Sequence[Message]) -> list[MessageOutcome]:
        """Process messages in one batch, as under load: so a handler of many is called."""
        return await self.hand.process(messages)

    async def drain(self) -> list[MessageOutcome]:
        """Publish what is in the outbox, and process what the service sends to itself, to the end.

        What has failed is not tried again.
        """
        return await self.hand.drain()

    def published(self, kind: type[Body]) -> list[Body]:
        """All events of this kind so far, the oldest first.

        Raises:
            LookupError: no slice says that it publishes them.
        """
        return self.hand.published(kind, self.extensions)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction of your own, to store what a test begins with, or to look at the end."""
        with self.scope():
            async with self.manager.transaction("testing") as transaction:
                yield transaction

    # feature: http_api {
    async def request(
        self,
        method: str,
        path: str,
        body: Content | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask the API, without a socket; what would be answered with 500 is raised."""
        said = {**self.headers, **(headers or {})}
        return await exchange(self.running, method, path, body, said)

    # feature: http_api }
    # feature: row, rls, schema {
    def of(self, tenant: UUID) -> "ServiceUnderTest":
        """The same for this tenant: its messages, events, requests and transactions."""
        said = str(tenant)
        headers, scope = {"X-Tenant-ID": said}, lambda: tenant_scope(tenant)
        return ServiceUnderTest(self.running, self.hand, {"tenant": said}, headers, scope)

    # feature: row, rls, schema }


@asynccontextmanager
async def service(
    definition: Definition[Any],
    settings: ChassisSettings,
    # feature: row, rls, schema {
    *,
    tenant: UUID,
    # feature: row, rls, schema }
) -> AsyncIterator[ServiceUnderTest]:
    """The service, put together as always, on the database of these settings.

    Whatever BROKER_URL says, its broker is in memory.

    Raises:
        ConfigurationError: slices do not go together, or migrations are pending.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    settings = settings.model_copy(update={"broker_url": MEMORY})
    async with connected(definition, settings, Metrics()) as running:
        found = ServiceUnderTest(running, ByHand(running))
        await found.hand.listen()
        found = found.of(tenant)  # feature: row, rls, schema
        yield found
