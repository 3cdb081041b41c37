"""How much waits in the outbox, for metrics: what is behind, and what is parked."""

from dataclasses import dataclass

from acme_orders.chassis.database.repository import query
from acme_orders.chassis.relay.outgoing import OutboxTable

_COUNTED = 10_000  # rows; counting all of a million every few seconds would be work too


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the relay is behind; parked events do not count.

    Args:
        rows: that wait: counted up to 10,000, then estimated.
        oldest_seconds: the age of the oldest.
    """

    rows: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked type.

    Args:
        type: of events.
        reason: `unheard`, `refused` or `unconfirmed`.
        rows: that wait; counted up to 10,000.
        oldest_seconds: the age of the oldest of them.
    """

    type: str
    reason: str
    rows: int
    oldest_seconds: float


class OutboxBacklog(OutboxTable):
    """Counts what waits."""

    @query("outbox.backlog")
    async def pending(self, *, parked: int = 0) -> Backlog:
        """How much waits, for metrics.

        Args:
            parked: rows that are known to be; PostgreSQL's estimate is of all.
        """
        rows = await self.fetch_sql(
            """
            SELECT count(*),
                coalesce(extract(epoch FROM now() - min(created_at)
                    FILTER (WHERE isfinite(created_at))), 0)::float8,
                (SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'outbox'::regclass),
                (SELECT reltuples::bigint FROM pg_class WHERE oid = 'outbox_parked'::regclass)
            FROM (
                SELECT created_at FROM outbox WHERE available_at < 'infinity'
                ORDER BY available_at LIMIT %s
            ) AS waiting
            """,
            _COUNTED,
        )
        ((count, oldest, live, parked_estimate),) = rows
        if count == _COUNTED:
            count = max(count, live - max(parked, parked_estimate))
        return Backlog(count, oldest)

    @query("outbox.parked")
    async def parked(self) -> list[Parked]:
        """All that are parked, for metrics; the events of each are counted up to 10,000."""
        rows = await self.fetch_sql(
            """
            SELECT type, reason, waiting.rows,
                coalesce(extract(epoch FROM now() - oldest.created_at), 0)::float8
            FROM parked_types CROSS JOIN LATERAL (
                SELECT count(*) AS rows FROM (
                    SELECT FROM outbox
                    WHERE outbox.type = parked_types.type AND available_at = 'infinity' LIMIT %s
                ) AS counted
            ) AS waiting LEFT JOIN LATERAL (
                SELECT created_at FROM outbox
                WHERE outbox.type = parked_types.type AND available_at = 'infinity'
                    AND isfinite(created_at)
                ORDER BY id LIMIT 1
            ) AS oldest ON true
            ORDER BY since LIMIT 1000
            """,
            _COUNTED,
        )
        return [Parked(*row) for row in rows]
