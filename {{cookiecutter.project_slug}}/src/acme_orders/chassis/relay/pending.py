"""Events that wait for a relay: taken for a while, then forgotten or offered again."""

from collections.abc import Sequence
from uuid import UUID

from acme_orders.chassis.database.repository import among, query
from acme_orders.chassis.messaging.outbox import OutboxRow
from acme_orders.chassis.relay.outgoing import (
    EXAMPLE_LEASE,
    OutboxTable,
    Outgoing,
)


class Pending(OutboxTable):
    """Events that wait for a relay."""

    @query(
        "outbox.lease",
        traffic="high",
        writes=True,
        example={"lease": EXAMPLE_LEASE, "seconds": 30, "limit": 10, "parked": ["example"]},
    )
    async def lease(
        self, lease: UUID, *, seconds: float, limit: int, parked: Sequence[str]
    ) -> tuple[list[Outgoing], int]:
        """Take the oldest rows for a while; rows that another relay is taking are passed over.

        Of the rows with the same key only the oldest is taken, so the others wait until it is gone
        or parked.

        Args:
            lease: a new id; it proves later that the rows are still ours.
            seconds: after which another relay may take them.
            limit: most rows.
            parked: types whose rows are parked instead.

        Returns:
            The rows that were taken, and how many were parked.
        """
        rows = await self.fetch_sql(
            """
            UPDATE outbox SET lease = %s, available_at = CASE
                WHEN type = ANY (%s::text[]) THEN 'infinity'
                ELSE now() + %s * interval '1 second'
            END
            WHERE id = ANY (ARRAY(
                SELECT id FROM outbox AS due WHERE available_at <= now() AND (
                    ordering_key IS NULL OR type = ANY (%s::text[]) OR NOT EXISTS (
                        SELECT FROM outbox AS older
                        WHERE older.ordering_key = due.ordering_key
                            AND isfinite(older.available_at) AND older.id < due.id
                    )
                )
                ORDER BY available_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            ))
            RETURNING isfinite(available_at), id, message_id, left(type, 256),
                CASE WHEN octet_length(body) <= %s AND isfinite(available_at) THEN body END,
                CASE WHEN pg_column_size(extensions) < 131072 THEN extensions::text END,
                extract(epoch FROM created_at)::float8, attempts
            """,
            lease,
            list(parked),
            seconds,
            list(parked),
            limit,
            self.largest_body,
        )
        taken = [Outgoing.of(row[1:]) for row in rows if row[0]]
        taken.sort(key=lambda each: each.id)
        return taken, len(rows) - len(taken)

    @query(
        "outbox.published",
        traffic="high",
        writes=True,
        example={"lease": EXAMPLE_LEASE, "rows": [1]},
    )
    async def published(self, lease: UUID, rows: Sequence[int]) -> int:
        """Forget confirmed rows; those whose lease has passed to another relay stay."""
        return await self.manager.execute(
            OutboxRow.delete().where(among(OutboxRow.id, rows, "bigint"), OutboxRow.lease == lease)
        )

    @query(
        "outbox.failed",
        writes=True,
        example={"lease": EXAMPLE_LEASE, "row": 1, "error": "example", "seconds": 1.0},
    )
    async def failed(self, lease: UUID, row: int, *, error: str, seconds: float) -> None:
        """Count an attempt at a row, and offer it again after some seconds."""
        await self.fetch_sql(
            """
            UPDATE outbox SET
                lease = NULL, attempts = attempts + 1, last_error = left(%s, 500),
                available_at = CASE
                    WHEN isfinite(available_at) THEN now() + %s * interval '1 second'
                    ELSE available_at
                END
            WHERE id = %s AND lease = %s RETURNING id
            """,
            error.replace("\x00", "\ufffd"),
            seconds,
            row,
            lease,
        )

    @query("outbox.give_back", writes=True, example={"lease": EXAMPLE_LEASE})
    async def give_back(self, lease: UUID) -> None:
        """Offer all that this lease still holds again at once; it has spent no attempt."""
        await self.fetch_sql(
            """
            UPDATE outbox SET available_at = now(), lease = NULL
            WHERE lease = %s AND available_at > now() AND available_at < 'infinity' RETURNING id
            """,
            lease,
        )
