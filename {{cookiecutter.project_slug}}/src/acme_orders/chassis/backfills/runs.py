"""What is written down of backfills: who runs one, how far it is, and what happened."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from acme_orders.chassis.backfills.files import Found
from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.rows import Key, Portion
from acme_orders.chassis.backfills.session import BackfillSession
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.records import SHARED

_FRESH = (
    "cursor = NULL, upper_bound = NULL, rows_done = 0, started_at = clock_timestamp(), "
    "checksum = %s, batch_size = %s"
)
_FREE = """
(owner IS NULL OR heartbeat_at < clock_timestamp() - make_interval(secs => %s)
    OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = session))
"""
_TAKE = f"""
UPDATE public.backfill_run SET owner = %s, session = pg_backend_pid(), last_error = NULL,
    heartbeat_at = clock_timestamp(), moved_at = clock_timestamp(), finished_at = NULL,
    started_at = coalesce(started_at, clock_timestamp()), attempts = attempts + 1,
    state = CASE WHEN state = 'paused' THEN state ELSE 'running' END
WHERE name = %s AND {_FREE}
"""
_BEAT = """
UPDATE public.backfill_run SET heartbeat_at = clock_timestamp(), last_error = %s,
    state = CASE WHEN state IN ('pending', 'running', 'throttled') THEN %s ELSE state END
WHERE name = %s AND owner = %s RETURNING state
"""
_EVENT = """
INSERT INTO public.backfill_event (name, place, what, key, detail) VALUES (%s, %s, %s, %s, %s)
"""


class LeaseLost(ServiceError):
    """Another runner has taken the backfill over; what was not committed is undone."""


class Cancelled(ServiceError):
    """Somebody has cancelled the backfill."""


class Begun(NamedTuple):
    """How far a place is."""

    state: str
    cursor: Key | None
    upper: Key | None
    size: int
    rows_done: int
    estimate: int


@dataclass
class Run:
    """A backfill that this process runs, and no other: the row of its name is the lease.

    Args:
        session: of it.
        found: what is run.
        limits: of it.
    """

    session: BackfillSession
    found: Found
    limits: Limits

    def __post_init__(self) -> None:
        ((backend,),) = self.session.rows("SELECT pg_backend_pid()")
        self.owner = f"{socket.gethostname()}, process {os.getpid()}, session {backend}"

    def take(self, places: Sequence[str], *, restart: bool) -> bool:
        """Take the lease, or that of a runner that is dead; False if nothing is left to do.

        Args:
            places: with rows.
            restart: begin anew.

        Raises:
            ConfigurationError: somebody else runs it, it was cancelled, or its file was changed.
        """
        name, checksum, first = self.found.name, self.found.checksum, self.limits.first
        with self.session.transaction("", self.limits, statement=0):
            for place in {SHARED, *places}:
                self.session.rows(
                    f"INSERT INTO {place}.backfill_run (name, batch_size, checksum) "
                    "VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (name, first, checksum),
                )
            before = self._refuse(restart=restart)
            if not restart and all(self.begun(each).state == "completed" for each in places):
                return False
            taken = f"{_TAKE} RETURNING 1"
            if not self.session.rows(taken, (self.owner, name, self.limits.lease)):
                raise ConfigurationError(self._held())
            for place in {SHARED, *places} if restart else ():
                self.session.rows(
                    f"UPDATE {place}.backfill_run SET {_FRESH}, state = 'running' WHERE name = %s",
                    (checksum, first, name),
                )
            taken_over = f"from {before}" if before else None
            self.tell("restarted" if restart else "started", detail=taken_over)
        return True

    def _refuse(self, *, restart: bool) -> str | None:
        name = self.found.name
        ((state, checksum, started, owner),) = self.session.rows(
            "SELECT state, checksum, started_at, owner FROM public.backfill_run "
            "WHERE name = %s FOR UPDATE",
            (name,),
        )
        again = f"`backfill run {name} --restart` goes through all rows again"
        if state == "cancelled" and not restart:
            raise ConfigurationError(f"{name} was cancelled: {again}")
        if started and checksum != self.found.checksum and not restart:
            raise ConfigurationError(
                f"{name} was changed after it began, so some rows would have been changed by "
                f"another version of it: restore the file, or {again}"
            )
        return owner if isinstance(owner, str) else None

    def _held(self) -> str:
        ((owner, began, beat),) = self.session.rows(
            "SELECT owner, (SELECT max(at) FROM public.backfill_event AS event "
            "WHERE event.name = run.name AND what IN ('started', 'restarted')), heartbeat_at "
            "FROM public.backfill_run AS run WHERE name = %s",
            (self.found.name,),
        )
        return (
            f"{self.found.name} is being run by {owner} since {_time(began)}, last seen at "
            f"{_time(beat)}: let it be, or end it; another one takes over when its session has "
            f"ended, or has been silent for {self.limits.lease:g} s"
        )

    def begun(self, place: str) -> Begun:
        """How far a place is."""
        ((state, *where),) = self.session.rows(
            "SELECT state, cursor, upper_bound, batch_size, rows_done, rows_estimate "
            f"FROM {place}.backfill_run WHERE name = %s",
            (self.found.name,),
        )
        return Begun(state, *where)

    def begin(self, place: str, upper: Key | None, estimate: int) -> None:
        """The rows up to this key will be gone through."""
        self.session.rows(
            f"UPDATE {place}.backfill_run SET upper_bound = %s, rows_estimate = %s, "
            "started_at = coalesce(started_at, clock_timestamp()) WHERE name = %s",
            (json.dumps(upper), estimate, self.found.name),
        )

    def checkpoint(self, place: str, portion: Portion, size: int) -> str:
        """This portion is done, if the open transaction is committed; returns the state.

        Raises:
            LeaseLost: this run is another's now.
            Cancelled: it was.
        """
        for each in dict.fromkeys((place, SHARED)):
            mine = " AND owner = %s" if each == SHARED else ""
            found = self.session.rows(
                f"UPDATE {each}.backfill_run SET cursor = %s, rows_done = rows_done + %s, "
                "batch_size = %s, heartbeat_at = clock_timestamp(), moved_at = clock_timestamp() "
                f"WHERE name = %s{mine} RETURNING state",
                (
                    *(json.dumps(portion.end), portion.rows, size, self.found.name),
                    *([self.owner] if mine else []),
                ),
            )
        return self._mine(found)

    def beat(self, why: str) -> str:
        """Give a sign of life; returns the state.

        Args:
            why: it waits; empty if it does not.

        Raises:
            LeaseLost: this run is another's now.
            Cancelled: it was.
        """
        state = "throttled" if why else "running"
        return self._mine(
            self.session.rows(_BEAT, (why or None, state, self.found.name, self.owner))
        )

    def settle(self, place: str, state: str, error: str | None = None) -> None:
        """A place, or all of it, is completed, or has failed."""
        self.session.rows(
            f"UPDATE {place}.backfill_run SET state = %s, last_error = %s, owner = NULL, "
            "finished_at = clock_timestamp(), heartbeat_at = clock_timestamp() WHERE name = %s"
            + (" AND owner = %s" if place == SHARED else ""),
            (state, error, self.found.name, *([self.owner] if place == SHARED else [])),
        )
        self.tell(state, place=place, detail=error)

    def leave(self) -> None:
        """Let the next runner go on at once; nothing is lost without it."""
        # Ctrl-C may come right after a BEGIN: what is written next would end with the session.
        self.session.rows("ROLLBACK")
        left = self.session.rows(
            "UPDATE public.backfill_run SET owner = NULL, state = CASE WHEN state IN "
            "('running', 'throttled') THEN 'pending' ELSE state END "
            "WHERE name = %s AND owner = %s RETURNING 1",
            (self.found.name, self.owner),
        )
        if left:
            self.tell("interrupted")

    def tell(
        self, what: str, *, place: str = SHARED, key: Key | None = None, detail: str | None = None
    ) -> None:
        """Write down what happened."""
        values = (self.found.name, place, what, json.dumps(key) if key else None, detail)
        self.session.rows(_EVENT, values)

    def aside(self, place: str) -> int:
        """How many rows were set aside since it began."""
        ((count,),) = self.session.rows(
            "SELECT count(*) FROM public.backfill_event WHERE name = %s AND place = %s "
            "AND what = 'set aside' AND id > (SELECT coalesce(max(id), 0) FROM "
            "public.backfill_event WHERE name = %s AND what = 'restarted')",
            (self.found.name, place, self.found.name),
        )
        return int(count)

    def _mine(self, found: Sequence[Any]) -> str:
        if not found:
            raise LeaseLost(
                f"{self.found.name} was taken over by another runner; what was not committed is "
                "undone, and it goes on there"
            )
        if found[0][0] == "cancelled":
            raise Cancelled(f"{self.found.name} was cancelled; what is done stays")
        return str(found[0][0])


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S%z}" if at else "never"
