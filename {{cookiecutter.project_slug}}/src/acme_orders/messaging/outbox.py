"""Events to be published: written in the transaction that makes them true."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField
from structlog.contextvars import get_contextvars

from acme_orders.database.manager import Manager
from acme_orders.database.repository import Repository, among, query
from acme_orders.database.table import Table
from acme_orders.database.tenancy import current_tenant  # feature: row, rls, schema
from acme_orders.database.unit_of_work import Later
from acme_orders.identifiers import new_id
from acme_orders.messaging.envelope import Payload

BLOCKED_AFTER = 20  # refusals; about an hour, longer than most deployments of a consumer

_EXAMPLE_LEASE = UUID(int=0)


class OutboxRow(Table):
    """An event that the broker has not confirmed yet; the row is deleted when it has."""

    id = peewee.BigAutoField()
    message_id = peewee.UUIDField()
    ordering_key = peewee.TextField(null=True)
    type = peewee.TextField()
    body = peewee.TextField()
    extensions = peewee.JSONField()
    created_at = DateTimeTZField()
    available_at = DateTimeTZField()
    attempts = peewee.IntegerField()
    lease = peewee.UUIDField(null=True)
    last_error = peewee.TextField(null=True)

    class Meta:
        """The name of the table."""

        table_name = "outbox"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way."""

    row: int
    message_id: str
    type: str
    body: str
    extensions: Mapping[str, str]
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the relay is behind.

    Args:
        rows: that wait; counted up to a limit.
        oldest_seconds: the age of the oldest.
        blocked: those among them that the broker has refused `BLOCKED_AFTER` times.
    """

    rows: int
    oldest_seconds: float
    blocked: int


class Outbox(Repository):
    """Collects events in the caller's transaction."""

    machinery = True

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self.committed = asyncio.Event()

    @query(
        "outbox.add",
        traffic="high",
        writes=True,
        example={"type_": "example", "payload": Payload()},
    )
    async def add(
        self,
        type_: str,
        payload: Payload,
        *,
        key: str | None = None,
        correlation_id: str | None = None,
        provided: Later | None = None,
    ) -> UUID:
        """Publish this event if, and only if, the open transaction commits; returns its id.

        Args:
            type_: its routing key.
            payload: its body.
            key: events with the same key, such as `order-17`, are published one after the other,
                in the order in which they were added. Two transactions that add to one key at the
                same time have no order: lock the row that it stands for, as an UPDATE does.
            correlation_id: of the message that it follows from; unset: that of the one in hand.
            provided: publish it only if this has had an effect.
        """
        message_id = new_id()
        key = None if key is None else f"{current_tenant()} {key}"  # feature: row, rls, schema
        self.add_later(
            OutboxRow,
            {
                "message_id": message_id,
                "ordering_key": key,
                "type": type_,
                "body": payload.model_dump_json(),
                "extensions": _inherited(correlation_id),
            },
            provided=provided,
        )
        self.manager.current_transaction().after_commit.add(self.committed.set)
        return message_id


class Pending(Repository):
    """Events that wait for a relay, whoever they belong to."""

    machinery = True

    across_tenants = True  # feature: row, rls, schema

    @query(
        "outbox.lease",
        traffic="high",
        writes=True,
        example={"lease": _EXAMPLE_LEASE, "seconds": 30, "limit": 10},
    )
    async def lease(self, lease: UUID, *, seconds: float, limit: int) -> list[Outgoing]:
        """Take the oldest rows for a while; rows that another relay is taking are passed over.

        Of the rows with the same key only the oldest is taken, so the others wait until it is gone.

        Args:
            lease: a new id; it proves later that the rows are still ours.
            seconds: after which another relay may take them.
            limit: most rows.
        """
        rows = await self.fetch_sql(
            """
            UPDATE outbox SET lease = %s, available_at = now() + %s * interval '1 second'
            WHERE id = ANY (ARRAY(
                SELECT id FROM outbox AS due WHERE available_at <= now() AND (
                    ordering_key IS NULL OR NOT EXISTS (
                        SELECT FROM outbox AS older
                        WHERE older.ordering_key = due.ordering_key AND older.id < due.id
                    )
                )
                ORDER BY available_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            ))
            RETURNING id, message_id, type, body, extensions, created_at, attempts
            """,
            lease,
            seconds,
            limit,
        )
        rows.sort(key=lambda row: row[0])
        return [
            Outgoing(row, str(message_id), type_, body, extensions, at.astimezone(UTC), attempts)
            for row, message_id, type_, body, extensions, at, attempts in rows
        ]

    @query(
        "outbox.published",
        traffic="high",
        writes=True,
        example={"lease": _EXAMPLE_LEASE, "rows": [1]},
    )
    async def published(self, lease: UUID, rows: Sequence[int]) -> int:
        """Forget confirmed rows; those whose lease has passed to another relay stay."""
        return await self.manager.execute(
            OutboxRow.delete().where(among(OutboxRow.id, rows, "bigint"), OutboxRow.lease == lease)
        )

    @query(
        "outbox.failed",
        writes=True,
        example={"lease": _EXAMPLE_LEASE, "row": 1, "error": "example", "seconds": 1.0},
    )
    async def failed(self, lease: UUID, row: int, *, error: str, seconds: float) -> None:
        """Keep a row that the broker did not take, and offer it again after some seconds."""
        await self.manager.execute(
            OutboxRow.update(
                attempts=OutboxRow.attempts + 1,
                last_error=error[:500],
                available_at=peewee.SQL("now() + %s * interval '1 second'", (seconds,)),
            ).where(OutboxRow.id == row, OutboxRow.lease == lease)
        )

    @query("outbox.give_back", writes=True, example={"lease": _EXAMPLE_LEASE, "rows": [1]})
    async def give_back(self, lease: UUID, rows: Sequence[int]) -> None:
        """Offer rows again at once, to any relay; they have spent no attempt."""
        await self.manager.execute(
            OutboxRow.update(available_at=peewee.fn.now()).where(
                among(OutboxRow.id, rows, "bigint"), OutboxRow.lease == lease
            )
        )

    @query("outbox.backlog")
    async def backlog(self) -> Backlog:
        """How much waits, for metrics; counts no further than 10,000."""
        rows = await self.fetch_sql(
            """
            SELECT
                count(*),
                coalesce(extract(epoch FROM now() - min(created_at)), 0),
                count(*) FILTER (WHERE attempts >= %s)
            FROM (SELECT created_at, attempts FROM outbox ORDER BY id LIMIT 10000) AS waiting
            """,
            BLOCKED_AFTER,
        )
        count, oldest, blocked = rows[0]
        return Backlog(int(count), float(oldest), int(blocked))


def _inherited(correlation_id: str | None) -> dict[str, Any]:
    """What an event has of the message or request that led to it."""
    inherited = {}
    if found := correlation_id or get_contextvars().get("correlation_id"):
        inherited["correlationid"] = found
    inherited["tenant"] = str(current_tenant())  # feature: row, rls, schema
    return inherited
