"""Which messages were processed: their effects happen once, however often they are delivered."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import BeyondDedupWindow, PayloadMismatch
from acme_orders.chassis.messaging.envelope import Envelope

_AHEAD = timedelta(minutes=1)  # of PostgreSQL's clock; far below the least INBOX_MARGIN


class InboxEntry(Table):
    """A message that was processed; the row commits with its effects."""

    consumer = peewee.TextField()
    source = peewee.TextField()
    id = peewee.TextField()
    type = peewee.TextField()
    payload_hash = peewee.BlobField()
    processed_at = DateTimeTZField()

    class Meta:
        """The name of the table and its key."""

        table_name = "inbox"
        primary_key = peewee.CompositeKey("consumer", "source", "id")


class Inbox(Repository):
    """Claims messages for one consumer.

    Args:
        manager: in whose transaction they are claimed.
        consumer: name; each has its own view of what it has processed.
        window: seconds that entries are kept at least.
    """

    machinery = True

    def __init__(self, manager: Manager, consumer: str, *, window: float) -> None:
        super().__init__(manager)
        self._consumer, self._window = consumer, timedelta(seconds=window)

    async def claim(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Enter these messages and return those that were not processed before, in their order.

        A concurrent delivery of the same message waits here until the other transaction ends.

        Raises:
            PayloadMismatch: an id was seen with other content.
            BeyondDedupWindow: a message that is not known is so old that it may have been
                forgotten. One from the dead letters is exempt: somebody has decided about it.
        """
        first: dict[tuple[str, str], Envelope] = {}
        for each in envelopes:
            first.setdefault((each.source, each.id), each)
        # In the order of the key, or two workers could wait for each other.
        entered = await self.enter(rows=[_row(first[key]) for key in sorted(first)])
        seen = {key: each.payload_hash for key, each in first.items()}
        if known := sorted(first.keys() - entered.keys()):
            seen |= await self.hashes_of(keys=known)
        for each in envelopes:
            if seen[each.source, each.id] != each.payload_hash:
                raise PayloadMismatch(
                    f"message {each.id!r} of {each.source!r} came before with other content: "
                    "its producer uses one id for two messages"
                )
        fresh = [each for key, each in first.items() if key in entered]
        ahead = {
            key: each.time
            for key, each in first.items()
            if key in entered and each.time and each.time - entered[key] > _AHEAD
        }
        if ahead:  # they are refused later than the others, so their rows stay for longer
            await self.stay(keys=sorted(ahead), until=max(ahead.values()))
        for each in fresh:
            # PostgreSQL's time and the producer's: if our own clock jumps, it does not matter.
            now = entered[each.source, each.id]
            if each.time and now - each.time > self._window and not each.replays:
                raise BeyondDedupWindow(
                    f"message {each.id!r} of {each.source!r} was sent at {each.time:%F %T}, before "
                    "what the inbox remembers (INBOX_RETENTION): nobody knows whether it was "
                    "processed; replay it if it was not"
                )
        return fresh

    async def knows(self, envelope: Envelope) -> bool:
        """Whether this very message was processed."""
        key = (envelope.source, envelope.id)
        return (await self.hashes_of([key])).get(key) == envelope.payload_hash

    @query(
        "inbox.enter",
        traffic="high",
        writes=True,
        example={"rows": [{"source": "s", "id": "1", "type": "example", "payload_hash": b""}]},
    )
    async def enter(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], datetime]:
        """Insert what is not there yet; returns the keys of the inserted rows, and their time."""
        key = (InboxEntry.consumer, InboxEntry.source, InboxEntry.id)
        entered = await self.insert_all_once(
            InboxEntry,
            rows,
            *key,
            common={"consumer": self._consumer},
            returning=(InboxEntry.processed_at,),
        )
        return {(source, identity): at for _, source, identity, at in entered}

    @query(
        "inbox.stay",
        writes=True,
        example={"keys": [("example", "1")], "until": datetime(2026, 1, 1, tzinfo=UTC)},
    )
    async def stay(self, keys: Sequence[tuple[str, str]], until: datetime) -> None:
        """Let these rows count as processed when the clock of their producer has come."""
        await self.manager.execute(
            InboxEntry.update(processed_at=until).where(
                InboxEntry.consumer == self._consumer,
                peewee.Tuple(InboxEntry.source, InboxEntry.id).in_(list(keys)),
            )
        )

    @query("inbox.hashes_of", traffic="high", example={"keys": [("example", "1")]})
    async def hashes_of(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """The content that these messages had when they were processed."""
        rows = await self.fetch_all(
            InboxEntry.select(InboxEntry.source, InboxEntry.id, InboxEntry.payload_hash)
            .where(
                InboxEntry.consumer == self._consumer,
                peewee.Tuple(InboxEntry.source, InboxEntry.id).in_(list(keys)),
            )
            .limit(len(keys))
        )
        return {(row["source"], row["id"]): bytes(row["payload_hash"]) for row in rows}


def _row(envelope: Envelope) -> Mapping[str, Any]:
    return {
        "source": envelope.source,
        "id": envelope.id,
        "type": envelope.type,
        "payload_hash": envelope.payload_hash,
    }
