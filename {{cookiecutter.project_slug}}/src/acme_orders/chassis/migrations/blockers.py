"""Who is in the way of a session: looked up while it waits, because afterwards nobody can know."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import postgast
from postgast import pg_query_pb2 as enums
from postgast.errors import PgQueryError

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import Rows

_EVERY = 0.1  # seconds between two looks; a lock timeout is some of these
_LONGEST = 100  # characters of a query
_BLOCKING = """
SELECT blocking.pid, application_name, usename, query,
    to_char(coalesce(xact_start, query_start) AT TIME ZONE 'UTC', 'HH24:MI:SS'),
    extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::float8
FROM (SELECT DISTINCT unnest(pg_blocking_pids(%s)) AS pid) AS blocking
    LEFT JOIN pg_stat_activity USING (pid)
ORDER BY 6 DESC NULLS LAST, 1 LIMIT 3
"""
_VALUES = {
    *(enums.SCONST, enums.USCONST, enums.BCONST, enums.XCONST),
    *(enums.ICONST, enums.FCONST),
}
_COMMENTS = {enums.SQL_COMMENT, enums.C_COMMENT}


@dataclass(frozen=True)
class Blocker:
    """A session that another one waits for.

    Attributes:
        pid: of its process; 0: a prepared transaction.
        text: for people.
    """

    pid: int
    text: str

    def __str__(self) -> str:
        return self.text


class Watch:
    """Looks who blocks a session, until the block ends.

    Args:
        rows: runs SQL in a session that has nothing else to do meanwhile.
        pid: of the session that may wait.
        tell: gets the blockers that have been in the way for `after` seconds, each set once.
        after: seconds.
    """

    def __init__(
        self, rows: Rows, pid: int, tell: Callable[[list[Blocker]], object], after: float
    ) -> None:
        self._rows, self._pid, self._tell, self._after = rows, pid, tell, after
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: list[Blocker] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        told, since, before = set[int](), time.monotonic(), set[int]()
        with suppress(driver.DriverError):  # the session ended, and the other one will say so
            while not self._over.wait(_EVERY):
                found = [_blocker(row) for row in self._rows(_BLOCKING, (self._pid,))]
                self.seen = found or self.seen
                pids = {each.pid for each in found}
                if pids != before:
                    before, since = pids, time.monotonic()
                if pids - told and time.monotonic() - since > self._after:
                    told |= pids
                    self._tell(found)


def without_values(sql: str) -> str:
    """A query as it may be shown: neither values nor comments, which may have some too."""
    try:
        tokens = postgast.scan(sql).tokens
    except PgQueryError:  # cut off by track_activity_query_size, maybe within a value
        first = sql.split(maxsplit=1)[:1]
        return f"{first[0]} …" if first and first[0].isalpha() else "…"
    source, shown, last = sql.encode(), "", 0
    for each in tokens:
        gap = " " if each.start > last else ""
        last = each.end
        if each.token not in _COMMENTS:
            value = each.token in _VALUES
            shown += gap + ("?" if value else source[each.start : each.end].decode())
    return shown.strip() if len(shown) <= _LONGEST else f"{shown.strip()[:_LONGEST]}…"


def _blocker(row: Sequence[Any]) -> Blocker:
    pid, application, user, query, since, age = row
    if not pid:
        return Blocker(0, "a prepared transaction (pg_prepared_xacts)")
    who = f"pid {pid} ({application or 'no application name'}, user {user})"
    when = f" since {since} UTC ({age:.0f} s)" if since else ""
    return Blocker(pid, f"{who}{when}: `{without_values(query or '')}`")
