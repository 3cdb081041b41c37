"""All that relays ask of the database, in one piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.relay.leftovers import Leftovers
from acme_orders.chassis.relay.outgoing import OutboxTable
from acme_orders.chassis.relay.parked_types import ParkedTypes
from acme_orders.chassis.relay.pending import Pending
from acme_orders.chassis.relay.set_aside import SetAside


@dataclass(frozen=True)
class RelayQueries:
    """The repositories of a relay.

    Args:
        pending: events that wait.
        parked: types that the broker does not take now.
        leftovers: parked events that would wait for ever.
        set_aside: events that no broker takes.
        backlog: how much waits.
    """

    pending: Pending
    parked: ParkedTypes
    leftovers: Leftovers
    set_aside: SetAside
    backlog: OutboxBacklog

    @classmethod
    def of(cls, manager: Manager, *, largest_body: int) -> Self:
        """All of them; a body of more bytes is not read."""
        return cls(
            Pending(manager, largest_body=largest_body),
            ParkedTypes(manager, largest_body=largest_body),
            Leftovers(manager),
            SetAside(manager),
            OutboxBacklog(manager),
        )

    def __iter__(self) -> Iterator[OutboxTable]:
        yield from (self.pending, self.parked, self.leftovers, self.set_aside, self.backlog)
