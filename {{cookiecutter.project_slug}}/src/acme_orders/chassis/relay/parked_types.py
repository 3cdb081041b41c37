"""Types of events that the broker does not take now, and their rows in the outbox.

Whether anybody listens is a property of the type. So the type is parked, and not each of its rows:
`available_at` of these is infinity, which takes them out of the way of all others, and one of them
is tried from time to time. Each relay sees it in the table, whoever wrote it there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from acme_orders.chassis.database.repository import query
from acme_orders.chassis.relay.outgoing import (
    EXAMPLE_LEASE,
    OutboxTable,
    Outgoing,
)

UNHEARD = "unheard"
_LARGEST_PORTION = 5000  # rows that are offered again with one statement
_LONGEST_WAIT = 1.0  # seconds between two probes of a type; its first listener waits no longer
_UNDER_WAY = 3.0  # seconds after which another relay may try a type whose probe has not ended


@dataclass(frozen=True, slots=True)
class Release:
    """What became of a type that the broker takes again.

    Args:
        rows: that are offered again.
        ended: whether these were the last.
        seconds: for how long it was parked.
        reason: why it was.
    """

    rows: int
    ended: bool
    seconds: float
    reason: str


class ParkedTypes(OutboxTable):
    """Parks types of events, and tries one event of each."""

    @query("outbox.parked_types", writes=True)
    async def types(self) -> list[str]:
        """All that are parked now, until COMMIT: nobody can offer their rows meanwhile.

        Without the lock a row that is parked now could stay behind those that are offered again.
        """
        rows = await self.fetch_sql("SELECT type FROM parked_types ORDER BY type FOR KEY SHARE")
        return [type_ for (type_,) in rows]

    @query(
        "outbox.park",
        writes=True,
        example={"lease": EXAMPLE_LEASE, "why": {"example": ("unheard", "")}, "rows": [1]},
    )
    async def park(
        self, lease: UUID, why: Mapping[str, tuple[str, str]], rows: Sequence[int]
    ) -> list[str]:
        """Park types with the rows that were refused; returns those types that were not before.

        Args:
            lease: of the rows.
            why: reason and error, by type.
            rows: that the broker did not take.
        """
        types = sorted(why)  # the order of the locks, in each relay
        new = await self.fetch_sql(
            """
            INSERT INTO parked_types (type, reason, error)
            SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])
            ON CONFLICT (type) DO UPDATE SET
                reason = excluded.reason, error = excluded.error, portion = excluded.portion,
                probe_at = now() + interval '1 second' * (0.75 + random() / 4)
                    * least(%s, 0.2 * 2 ^ least(parked_types.probes, 10))
            RETURNING type, since = now()
            """,
            types,
            [why[type_][0] for type_ in types],
            [why[type_][1] for type_ in types],
            _LONGEST_WAIT,
        )
        await self.fetch_sql(
            """
            UPDATE outbox SET available_at = 'infinity', lease = NULL, attempts = 0
            WHERE id = ANY (%s::bigint[]) AND lease = %s RETURNING id
            """,
            list(rows),
            lease,
        )
        return [type_ for type_, is_new in new if is_new]

    @query(
        "outbox.probe",
        writes=True,
        example={"lease": EXAMPLE_LEASE, "limit": 10, "but": [""]},
    )
    async def probe(
        self, lease: UUID, *, limit: int, but: Sequence[str]
    ) -> tuple[list[Outgoing], list[str], float | None]:
        """Take the oldest row of each type that is due, so that no other relay does.

        Args:
            lease: of these rows.
            limit: most types.
            but: types that are being tried already.

        Returns:
            The rows, the types that are due and have none, and the seconds until the next is due;
            None if no type is parked.
        """
        due = await self.fetch_sql(
            """
            UPDATE parked_types SET
                probes = probes + 1, probe_at = now() + %s * interval '1 second'
            WHERE type = ANY (ARRAY(
                SELECT type FROM parked_types WHERE probe_at <= now() AND type <> ALL (%s::text[])
                ORDER BY probe_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
            ))
            RETURNING type
            """,
            _UNDER_WAY,
            list(but),
            limit,
        )
        types = [type_ for (type_,) in due]
        rows = await self.fetch_sql(
            """
            UPDATE outbox SET lease = %s WHERE id = ANY (ARRAY(
                SELECT (
                    SELECT id FROM outbox AS oldest
                    WHERE oldest.type = due.type AND oldest.available_at = 'infinity' AND (
                        ordering_key IS NULL OR NOT EXISTS (
                            SELECT FROM outbox AS older
                            WHERE older.ordering_key = oldest.ordering_key
                                AND isfinite(older.available_at) AND older.id < oldest.id
                        )
                    )
                    ORDER BY id LIMIT 1
                ) FROM unnest(%s::text[]) AS due (type)
            ))
            RETURNING id, message_id, type,
                CASE WHEN octet_length(body) <= %s THEN body END,
                CASE WHEN pg_column_size(extensions) < 131072 THEN extensions::text END,
                extract(epoch FROM created_at)::float8, attempts
            """,
            lease,
            types,
            self.largest_body,
        )
        ((seconds,),) = await self.fetch_sql(
            "SELECT extract(epoch FROM min(probe_at) - now())::float8 FROM parked_types"
        )
        found = [Outgoing.of(row) for row in rows]
        return found, sorted({*types} - {each.type for each in found}), seconds

    @query("outbox.release", writes=True, example={"type_": "example"})
    async def release(self, type_: str) -> Release | None:
        """Offer the oldest rows of a type again, each time twice as many.

        The type is parked until its last rows are offered, so that they keep their order.

        Returns:
            None if somebody else has done it.
        """
        found = await self.fetch_sql(
            """
            SELECT portion, reason, extract(epoch FROM now() - since)::float8
            FROM parked_types WHERE type = %s FOR UPDATE
            """,
            type_,
        )
        if not found:
            return None
        ((portion, reason, seconds),) = found
        rows = await self.fetch_sql(
            """
            UPDATE outbox SET available_at = now(), lease = NULL WHERE id = ANY (ARRAY(
                SELECT id FROM outbox WHERE type = %s AND available_at = 'infinity'
                ORDER BY id LIMIT %s FOR UPDATE
            ))
            RETURNING 1
            """,
            type_,
            portion,
        )
        if ended := len(rows) < portion:
            await self.fetch_sql("DELETE FROM parked_types WHERE type = %s RETURNING 1", type_)
        else:
            await self.fetch_sql(
                """
                UPDATE parked_types SET
                    portion = least(2 * portion, %s), probes = 0, probe_at = now()
                WHERE type = %s RETURNING 1
                """,
                _LARGEST_PORTION,
                type_,
            )
        return Release(len(rows), ended, seconds, reason)

    @query("outbox.forget_type", writes=True, example={"type_": "example"})
    async def forget(self, type_: str) -> None:
        """Park a type no longer, if none of its events is left."""
        await self.fetch_sql("SELECT 1 FROM parked_types WHERE type = %s FOR UPDATE", type_)
        await self.fetch_sql(
            """
            DELETE FROM parked_types WHERE type = %s AND NOT EXISTS (
                SELECT FROM outbox WHERE outbox.type = %s AND available_at = 'infinity'
            ) RETURNING type
            """,
            type_,
            type_,
        )
