"""Parked events that nobody tries any more, and those that nobody has listened to for too long."""

from collections import Counter
from collections.abc import Sequence

from acme_orders.chassis.database.repository import query
from acme_orders.chassis.relay.outgoing import OutboxTable
from acme_orders.chassis.relay.parked_types import UNHEARD

_SWEPT = 1000  # rows of one type that are looked at with one statement


class Leftovers(OutboxTable):
    """Finds parked events that would wait for ever."""

    @query("outbox.adopt", writes=True)
    async def adopt(self) -> list[str]:
        """Park the types of parked rows that nobody would try, as after a DELETE by hand."""
        rows = await self.fetch_sql(
            """
            WITH RECURSIVE found (type) AS (
                (SELECT type FROM outbox WHERE available_at = 'infinity' ORDER BY type LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT type FROM outbox WHERE available_at = 'infinity' AND type > found.type
                    ORDER BY type LIMIT 1
                ) FROM found WHERE found.type IS NOT NULL
            )
            INSERT INTO parked_types (type, reason, error)
            SELECT type, %s, 'its events were parked already' FROM found
            WHERE octet_length(type) <= 255
            ON CONFLICT DO NOTHING RETURNING type
            """,
            UNHEARD,
        )
        return [type_ for (type_,) in rows]

    @query("outbox.expire", writes=True, example={"seconds": 60.0, "but": ["example"]})
    async def expire(self, *, seconds: float, but: Sequence[str]) -> Counter[str]:
        """Drop the oldest events that nobody has listened to for so long; how many, by type.

        Args:
            seconds: since they were added.
            but: types that need a listener: these events wait until there is one.
        """
        rows = await self.fetch_sql(
            """
            DELETE FROM outbox WHERE id = ANY (ARRAY(
                SELECT oldest.id FROM parked_types CROSS JOIN LATERAL (
                    SELECT id, created_at FROM outbox
                    WHERE outbox.type = parked_types.type AND available_at = 'infinity'
                    ORDER BY id LIMIT %s
                ) AS oldest
                WHERE reason = %s AND type <> ALL (%s::text[])
                    AND created_at < now() - %s * interval '1 second'
            ))
            RETURNING type
            """,
            _SWEPT,
            UNHEARD,
            list(but),
            seconds,
        )
        return Counter(type_ for (type_,) in rows)
