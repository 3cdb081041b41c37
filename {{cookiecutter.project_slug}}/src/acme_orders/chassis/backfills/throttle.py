"""What a backfill waits for: signs that others need the database more."""

import time
from collections import deque
from collections.abc import Iterator

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.places import entered
from acme_orders.chassis.backfills.session import BackfillSession

_SIGNS = """
WITH part (oid) AS (
    SELECT to_regclass(%s)::oid UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(%s))
)
SELECT
    (SELECT count(DISTINCT waiting.pid) FROM pg_locks AS waiting
        WHERE NOT waiting.granted AND waiting.pid <> pg_backend_pid() AND EXISTS (
            SELECT FROM pg_locks AS used WHERE used.pid = waiting.pid
                AND used.relation IN (SELECT oid FROM part)
        )),
    (SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid IN (SELECT oid FROM part)),
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
            AND datname = current_database()),
    pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8,
    (SELECT min(pg_wal_lsn_diff(replay_lsn, '0/0'))::float8 FROM pg_stat_replication)
"""


class Throttle:
    """Looks for reasons to wait.

    Args:
        session: of the backfill.
        backfill: with its own reasons.
        limits: beyond which it waits.
    """

    def __init__(self, session: BackfillSession, backfill: Backfill, limits: Limits) -> None:
        self._session, self._backfill, self._limits = session, backfill, limits
        # Where the log was, and when: PostgreSQL's own figure stands still when a replica does.
        self._log = deque[tuple[float, float]](maxlen=3600)

    def reason(self, table: str, place: str) -> str:
        """Why to wait; empty if there is no reason.

        Args:
            table: that is being changed, with its schema.
            place: in which the backfill asks.
        """
        return next(self._reasons(table, place), "")

    def _reasons(self, table: str, place: str) -> Iterator[str]:
        ((waiting, vacuums, oldest, written, replayed),) = self._session.rows(_SIGNS, (table,) * 2)
        now, limits = time.monotonic(), self._limits
        since, before = self._log[-1] if self._log else (now - 1, written)
        self._log.append((now, written))
        if waiting:
            yield f"sessions that use {table} wait for a lock: {waiting}"
        most = limits.max_lag if self._backfill.max_lag is None else self._backfill.max_lag
        behind = [at for at, position in self._log if replayed is not None and position > replayed]
        if behind and now - behind[0] > most:
            yield f"a replica is {now - behind[0]:.0f} s behind, more than {most:g} s"
        if vacuums:
            yield f"a vacuum cleans {table}"
        if oldest > limits.oldest:
            yield f"a transaction is {oldest:.0f} s old, more than {limits.oldest:g} s"
        if (rate := (written - before) / max(now - since, 0.01)) > limits.wal:
            yield f"{rate / 2**20:.0f} MiB/s of write-ahead log, more than {limits.wal / 2**20:g}"
        if self._backfill.throttle:
            with self._session.transaction(entered(place), limits, statement=limits.statement):
                ((asked,),) = self._session.rows(self._backfill.throttle)
            if asked and asked > 0:
                yield f"its own throttle says {asked}"
