"""A queue that says nothing: RabbitMQ's own end of it is gone, and our side does not know."""

import pytest

from acme_orders.chassis.errors import TopologyDiffers
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq.topology_watch import TopologyWatch

TOPOLOGY = Topology.of(
    "shop", ["thing.done"], ladder=[60], delivery_limit=100, suspect_deliveries=3
)


class Deaf(MemoryBroker):
    """Believes that it consumes from some queues, whatever the queues say."""

    def __init__(self) -> None:
        super().__init__()
        self.believes: set[str] = set()

    @property
    def consuming(self) -> set[str]:
        """What it believes."""
        return self.believes


async def test_who_consumes_from_a_queue_without_consumers_is_not_ready() -> None:
    """After some looks, because a consumer may begin between two of them; and ready again."""
    broker, name = Deaf(), TOPOLOGY.main.name
    await broker.declare("events", TOPOLOGY)
    watch = TopologyWatch(broker, TOPOLOGY, every=1, metrics=Metrics())
    await watch.look()  # somebody else may consume from it
    broker.believes = {name}
    for _ in range(2):
        await watch.look()
        assert await watch.check() is None
    await watch.look()
    with pytest.raises(TopologyDiffers, match=f"queue {name}: this process consumes from it"):
        await watch.check()
    await broker.consume(name, prefetch=1, deliver=lambda _: None)
    await watch.look()
    assert await watch.check() is None
