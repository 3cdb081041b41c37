"""What is written down of each pass; the table lets nobody change what has ended."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.portion import DIGESTS

_BEGIN = """
INSERT INTO public.retention_run (id, trace_id, policy, actor, cutoff)
VALUES (%s, %s, %s, %s, %s)
"""
_CHECKPOINT = """
UPDATE public.retention_run SET deleted = %s, digest = %s WHERE id = %s AND state = 'running'
RETURNING 1
"""
_END = """
UPDATE public.retention_run SET state = %s, error = %s, ended_at = clock_timestamp()
WHERE id = %s AND state = 'running'
"""
_ABANDONED = """
UPDATE public.retention_run SET state = 'partial', ended_at = clock_timestamp(),
    error = 'its process ended before it did; what it counts was deleted'
WHERE state = 'running'
"""
_DUE = """
SELECT coalesce(max(started_at) < clock_timestamp() - make_interval(secs => %s), true)
FROM public.retention_run WHERE policy = %s AND state <> 'running'
"""


@dataclass
class Log:
    """The line of one pass.

    Args:
        rows: runs SQL in the open transaction.
        policy: whose pass it is.
        cutoff: rows that are older go.
    """

    rows: Rows
    policy: str
    cutoff: str
    trace: str = field(default_factory=lambda: uuid4().hex)
    deleted: dict[str, int] = field(default_factory=dict)
    digest: int = 0

    def __post_init__(self) -> None:
        self._id = str(uuid4())

    def begin(self) -> None:
        """The pass has begun."""
        actor = f"{socket.gethostname()}, process {os.getpid()}"
        self.rows(_BEGIN, (self._id, self.trace, self.policy, actor, self.cutoff))

    def checkpoint(self, deleted: Mapping[str, int], digest: int) -> "tuple[dict[str, int], int]":
        """A portion is gone, if the open transaction is committed; returns what to keep then."""
        tables = {**dict.fromkeys(deleted, 0), **self.deleted}
        counts = {table: count + deleted.get(table, 0) for table, count in tables.items()}
        digest = (self.digest + digest) % DIGESTS
        self.rows(_CHECKPOINT, (json.dumps(counts), f"{digest:064x}", self._id))
        return counts, digest

    def end(self, state: str, error: str | None = None) -> None:
        """The pass is `ok`, `partial`, `refused` or `failed`."""
        self.rows(_END, (state, error, self._id))


def tidy(rows: Rows) -> None:
    """End the lines of those that were killed; nobody else runs now."""
    rows(_ABANDONED)


def is_due(rows: Rows, policy: str, interval: float) -> bool:
    """Whether nobody has tried it for so many seconds."""
    return bool(rows(_DUE, (interval, policy))[0][0])
