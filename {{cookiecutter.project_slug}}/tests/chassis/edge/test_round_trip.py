"""What the edge accepts makes the whole round: stored, read, published, decoded again, equal."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import create_model

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.envelope import Handler, Payload, decode
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import Connect
from tests.chassis.edge.costs import ignore
from tests.chassis.edge.kinds import KINDS, Kind, comparable
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver
from tests.chassis.integration.reference import Reference, model_of

TYPE, QUEUE = "round.trip", "round"
MB = 1 << 20


class Round:
    """A payload with one field, a table with a column for it, and a queue."""

    def __init__(self, kind: Kind, service: Service, manager: Manager) -> None:
        self.kind, self._service, self._manager = kind, service, manager
        payload: Any = create_model("Sent", __base__=Payload, value=(kind.type, ...))
        self._handlers = {TYPE: Handler(payload, ignore)}
        self._published: list[Delivery] = []

        self._table = model_of(kind.column)

    async def open(self, database_url: str) -> None:
        """Make the table and the queue."""
        rows_of(database_url, "CREATE EXTENSION IF NOT EXISTS hstore")  # the reference reads it
        reference = Reference(database_url, psycopg3=False)
        reference.create(self._table)
        reference.close()
        rows_of(database_url, "GRANT USAGE ON SEQUENCE probe_id_seq TO PUBLIC")
        broker = self._service.broker
        topology = Topology.of(QUEUE, [TYPE], ladder=[1], delivery_limit=9, suspect_deliveries=9)
        await broker.declare("events", topology)
        await broker.consume(QUEUE, prefetch=1000, deliver=self._published.append)

    def decoded(self, body: bytes) -> Any:
        """The payload; None if it is refused, and then it is said what is wrong."""
        message = Message(
            body,
            str(uuid4()),
            TYPE,
            "test",
            headers={"tenant": str(TENANT)},  # feature: row, rls, schema
        )
        return self._decoded(message)

    def _decoded(self, message: Message) -> Any:
        try:
            return decode(message, self._handlers, max_body_bytes=MB, max_header_bytes=1024).payload
        except Malformed as error:
            if "value" not in str(error) and "JSON" not in str(error):
                pytest.fail(f"it does not say what is wrong: {error}")
            return None

    async def stored(self, payloads: Sequence[Any]) -> list[Any]:
        """What is read after they were written."""
        repository = Repository(self._manager)
        table: Any = self._table
        scope = ExitStack()
        scope.enter_context(tenant_scope(TENANT))  # feature: row, rls, schema
        with scope:
            async with self._manager.transaction("store"):
                values = [self.kind.stored(each.value) for each in payloads]
                rows = [{"number": number, "value": each} for number, each in enumerate(values)]
                await repository.insert_all(table, rows)
                select = table.select(table.number, table.value).order_by(table.number)
                found = await repository.fetch_all(select.limit(1000))
                await self._manager.execute(table.delete())
        return [row["value"] for row in found]

    async def published(self, payloads: Sequence[Any]) -> list[Any]:
        """What somebody decodes who listens."""
        service = self._service
        outbox = next(each for each in service.repositories if type(each).__name__ == "Outbox")
        scope = ExitStack()
        scope.enter_context(tenant_scope(TENANT))  # feature: row, rls, schema
        with scope:
            async with service.manager.transaction("publish"):
                for payload in payloads:
                    await outbox.add(TYPE, payload)  # type: ignore[attr-defined]
        while await service.relay.run_once():
            pass
        arrived = [self._decoded(each.message) for each in self._published]
        for each in self._published:
            await each.ack()
        self._published.clear()
        return arrived


@pytest.fixture(params=DRIVERS)
async def service(
    request: pytest.FixtureRequest, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """The service in memory."""
    use_driver(request.param, monkeypatch)
    async with connect() as connected:
        yield connected


@pytest.fixture(params=KINDS)
async def trip(
    request: pytest.FixtureRequest, service: Service, database_url: str
) -> AsyncIterator[Round]:
    """For values of one kind."""
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(
            Manager(DatabaseSettings(database_url=database_url, pool_size=2), Metrics())
        )
        made = Round(KINDS[request.param], service, manager)
        await made.open(database_url)
        yield made


def examples(number: int) -> settings:
    """So many, of up to twenty values each."""
    unlike = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=number, deadline=None, suppress_health_check=unlike)


@examples(4)
@given(data=st.data())
async def test_what_is_accepted_is_stored_and_published_as_it_came(
    trip: Round, data: st.DataObject
) -> None:
    """Over the whole range of each type; what could not make it is refused before."""
    await go(trip, data)


@pytest.mark.long
@examples(50)
@given(data=st.data())
async def test_many_values_make_the_round(trip: Round, data: st.DataObject) -> None:
    """The same, for longer."""
    await go(trip, data)


async def go(trip: Round, data: st.DataObject) -> None:
    """One round of some values."""
    kind = trip.kind
    sent = data.draw(st.lists(kind.sent, min_size=1, max_size=20))
    payloads = [trip.decoded(f'{{"value":{each}}}'.encode()) for each in sent]
    payloads = [each for each in payloads if each is not None]
    if not payloads:
        return
    expected = [comparable(kind, kind.stored(each.value)) for each in payloads]
    assert [comparable(kind, each) for each in await trip.stored(payloads)] == expected
    if kind is not KINDS["secret"]:
        assert await trip.published(payloads) == payloads
