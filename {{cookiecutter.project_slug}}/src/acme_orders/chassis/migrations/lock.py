"""One runner at a time, and nobody else's statement is still under way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import Conflict

_RUNNER = 4_732_901  # any number, the same for every runner
_FILE = _RUNNER + 1
_POLL = 0.2  # seconds
_HOLDER = """
SELECT pid, application_name, usename, host(client_addr),
    to_char(backend_start AT TIME ZONE 'UTC', 'HH24:MI:SS')
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND objsubid = 1 AND granted
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Held by the session that runs a file. A runner that was killed leaves it with its last statement,
# which PostgreSQL goes on with until it notices. Waits, since PostgreSQL may still have to end the
# session of the file before, which is ours as well: nobody else has it for longer than a moment.
HOLD_FILE = f"SELECT pg_advisory_lock({_FILE})"
_FREE_FILE = f"SELECT pg_advisory_unlock({_FILE})"
log = structlog.get_logger()


@contextmanager
def alone(rows: Rows, patience: float) -> Iterator[None]:
    """Wait for other runners; the lock ends with the session.

    Polled outside of transactions: whoever waits inside of `pg_advisory_lock` holds a snapshot that
    CREATE INDEX CONCURRENTLY of the other runner waits for, and so both would wait.

    Raises:
        Conflict: another runner needs longer than `patience` seconds; names it.
    """
    deadline = time.monotonic() + patience
    for number in (_RUNNER, _FILE):
        _take(rows, number, deadline, patience)
    rows(_FREE_FILE)
    yield


def _take(rows: Rows, number: int, deadline: float, patience: float) -> None:
    told = False
    while not rows(f"SELECT pg_try_advisory_lock({number})")[0][0]:
        if not told:
            log.info("migration.waits_for_runner", runner=_holder(rows, number))
            told = True
        if time.monotonic() > deadline:
            raise Conflict(
                f"another migration has been running for {patience:g} s (MIGRATION_WAIT): "
                f"{_holder(rows, number)}; wait for it, and run the command again"
            )
        time.sleep(_POLL)


def _holder(rows: Rows, number: int) -> str:
    found = rows(_HOLDER, (number,))
    if not found:
        return "one that has just ended"
    pid, application, user, address, since = found[0]
    return f"pid {pid} ({application}, user {user}, from {address or 'a socket'}) since {since} UTC"
