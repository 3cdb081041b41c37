"""Events that no broker takes: from the outbox to the dead letters, and back.

Each move is one statement, so an event is in one of the two tables, and its body, however large,
stays in PostgreSQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from acme_orders.chassis.database.repository import query
from acme_orders.chassis.dead_letters.record import UNPUBLISHABLE
from acme_orders.chassis.relay.outgoing import EXAMPLE_LEASE, OutboxTable

_NOBODY = UUID(int=0)
_LONGEST_ERROR = 1000  # characters


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an event is set aside.

    Args:
        row: of the outbox.
        error_type: the class of the error.
        error: what it says.
        attempts: how often it was tried.
    """

    row: int
    error_type: str
    error: str
    attempts: int


class SetAside(OutboxTable):
    """Sets events aside and takes them back."""

    @query(
        "outbox.set_aside",
        writes=True,
        example={
            "lease": EXAMPLE_LEASE,
            "source": "example",
            "verdicts": [Verdict(1, "example", "example", 1)],
        },
    )
    async def set_aside(self, lease: UUID, source: str, verdicts: Sequence[Verdict]) -> int:
        """Move rows whose lease is ours to the dead letters; returns how many it moved."""
        rows = await self.fetch_sql(
            """
            WITH condemned AS (
                DELETE FROM outbox USING unnest(
                    %s::bigint[], %s::text[], %s::text[], %s::integer[]
                ) AS verdict (number, error_type, error, tried)
                WHERE outbox.id = verdict.number AND outbox.lease = %s
                RETURNING message_id::text AS message, left(type, 1000) AS kind, body, extensions,
                    error_type, error, tried,
                    to_jsonb(jsonb_populate_record(outbox, '{"body": ""}')) - 'extensions' AS rest
            )
            INSERT INTO dead_letters (
                id, outgoing, message_id, source, type, reason, fingerprint, error_type,
                error_message, attempts, replays, headers, properties, body, body_bytes, failed_at
            )
            SELECT gen_random_uuid(), true, message, %s, kind, %s,
                left(md5(error_type || ' ' || kind), 12), error_type, error, tried, (
                    SELECT count(*) FROM dead_letters AS earlier
                    WHERE earlier.outgoing AND earlier.message_id = message
                ),
                extensions, rest, convert_to(body, 'UTF8'), octet_length(body), now()
            FROM condemned RETURNING 1
            """,
            [each.row for each in verdicts],
            [each.error_type for each in verdicts],
            [each.error.replace("\x00", "\ufffd")[:_LONGEST_ERROR] for each in verdicts],
            [each.attempts for each in verdicts],
            lease,
            source,
            UNPUBLISHABLE,
        )
        return len(rows)

    @query("outbox.take_back", writes=True, example={"identity": _NOBODY})
    async def take_back(self, identity: UUID) -> bool:
        """Add a dead letter that is an event to the outbox again, under its message id.

        Its type, headers and body are those that the dead letter has now: whoever knows what is
        wrong with them can correct them there. Its row has the number that it had.

        Returns:
            False if it is no event.
        """
        rows = await self.fetch_sql(
            """
            INSERT INTO outbox OVERRIDING SYSTEM VALUE
            SELECT event.* FROM dead_letters CROSS JOIN LATERAL jsonb_populate_record(
                NULL::outbox, properties || jsonb_build_object(
                    'type', type, 'extensions', '{}'::jsonb, 'available_at', now(),
                    'attempts', 0, 'lease', NULL, 'last_error', NULL
                )
            ) AS event
            WHERE dead_letters.id = %s AND outgoing
            RETURNING id
            """,
            identity,
        )
        for (row,) in rows:
            await self.fetch_sql(
                """
                UPDATE outbox SET
                    body = convert_from(dead_letters.body, 'UTF8'), extensions = headers
                FROM dead_letters WHERE outbox.id = %s AND dead_letters.id = %s RETURNING 1
                """,
                row,
                identity,
            )
        return bool(rows)
