"""An event on its way from the outbox to the broker."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.errors import Unpublishable
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import encode

EXAMPLE_LEASE = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way, as its row says. Nothing of it is trusted: SQL by hand may have made it.

    Args:
        id: of the row.
        message_id: that it is published under.
        type: its routing key; of one that is too long, the beginning.
        body: None if it is larger than MAX_BODY_BYTES.
        extensions: a JSON object; None if it is too large for any frame.
        created_at: seconds since 1970.
        attempts: how often it was tried alone, and the connection was lost.
    """

    id: int
    message_id: str
    type: str
    body: str | None
    extensions: str | None
    created_at: float
    attempts: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """A row as `Pending.lease` reads it."""
        id_, message_id, *others = row
        return cls(id_, str(message_id), *others)

    def message(self, source: str) -> Message:
        """What is published.

        Raises:
            Unpublishable: it cannot be made.
        """
        if self.body is None:
            raise Unpublishable("its body is larger than MAX_BODY_BYTES")
        if self.extensions is None:
            raise Unpublishable("its extensions are larger than a frame of RabbitMQ")
        try:
            extensions = json.loads(self.extensions)
            time = datetime.fromtimestamp(self.created_at, UTC)
        except (ValueError, OverflowError, OSError, RecursionError) as error:
            raise Unpublishable(f"its extensions or its time cannot be read: {error}") from error
        if not isinstance(extensions, Mapping):
            raise Unpublishable(f"its extensions are no JSON object: {self.extensions:.60}")
        return encode(
            self.message_id,
            self.type,
            source,
            time,
            self.body.encode(),
            extensions=extensions,
        )


class OutboxTable(Repository):
    """The base of all that relays ask of the outbox, whoever its events belong to.

    Args:
        manager: of the database.
        largest_body: bytes; a larger body is not read.
    """

    machinery = True
    across_tenants = True  # feature: row, rls, schema

    def __init__(self, manager: Manager, *, largest_body: int = 1024 * 1024) -> None:
        super().__init__(manager)
        self.largest_body = largest_body
