"""One policy, gone through once, in each schema that has its table."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.backfills.pace import Limits, Pace
from acme_orders.chassis.backfills.session import BackfillSession, told
from acme_orders.chassis.backfills.throttle import Throttle
from acme_orders.chassis.database import driver
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.holds import Holds, nobody
from acme_orders.chassis.retention.log import Log
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.plausible import (
    Implausible,
    refuse_implausible,
    refuse_skewed,
)
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.portion import Doomed, Portion, Position
from acme_orders.chassis.retention.survey import survey

LIMITS = Limits(target=(0.1, 0.3), first=500, largest=20_000, look=5)
_TIMES = 2  # the second time for what somebody else had in hand
_HELD = {"23503", "40001", "40P01", "55P03", "57014"}  # others write, or it was too much at once
_MANY = 100_000  # rows; so many are as good as more
_COUNT = 60.0  # seconds; what takes longer to count is too much
Part = tuple[str, Doomed]  # rows, and their schema


@dataclass(frozen=True)
class Progress:
    """How far a pass is.

    Args:
        policy: of it.
        rows: of its table that the last portion had.
        waits: why it waits; empty if it does not.
        state: in which it has ended; empty before.
        why: it is not `ok`, or rows stay that are old enough.
        trace: id of the pass, as in `retention_run`.
    """

    policy: str
    rows: int = 0
    waits: str = ""
    state: str = ""
    why: str = ""
    trace: str = ""


class Pass:
    """Deletes what is too old by one policy.

    Args:
        session: of this runner, and of no other.
        policy: that says what.
        limits: of what it may take.
        holds: what stays nevertheless.
    """

    def __init__(
        self,
        session: BackfillSession,
        policy: Retention,
        limits: Limits,
        holds: Holds = nobody,
    ) -> None:
        self._session, self._policy, self._limits = session, policy, limits
        self._holds = holds
        self._throttle, self._look_at = Throttle(session, Backfill(), limits), 0.0
        self._pace = Pace(limits, limits.first)

    def go(self, *, most: float | None) -> Iterator[Progress]:
        """Delete; yields after each portion, while it waits, and at the end.

        Args:
            most: share of the table that may go; None for any.
        """
        with self._session.transaction(entered(SHARED), self._limits, statement=_COUNT):
            ((cutoff, now),) = self._session.rows(
                "SELECT (clock_timestamp() - %s)::text, clock_timestamp()", (self._policy.keep,)
            )
            self._log = Log(self._session.rows, self._policy.name, cutoff)
            self._log.begin()
        state, why = "partial", "it was interrupted, and the next pass goes on"
        try:
            refuse_skewed(now)
            parts = everything = self._parts(cutoff, most)
            for _ in range(_TIMES):
                for place, doomed in parts:
                    yield from self._walk(place, doomed)
                if not (parts := self._unfinished(parts)):
                    break
            state, why = "partial", "somebody else has rows in hand"
            if not parts:
                state, why = "ok", self._held(everything)
        except Implausible as error:
            state, why = "refused", str(error)
        except ConfigurationError as error:
            state, why = "failed", str(error)
        except driver.DriverError as error:
            if self._session.ended(error):
                raise
            state, why = "failed", told(error)
        finally:
            with suppress(driver.DriverError):  # its session has ended, and the next one tidies up
                self._session.rows("ROLLBACK")
                with self._transaction(SHARED):
                    self._log.end(state, why or None)
        yield Progress(self._policy.name, state=state, why=why, trace=self._log.trace)

    def _parts(self, cutoff: str, most: float | None) -> list[Part]:
        rows = self._session.rows
        with self._session.transaction(entered(SHARED), self._limits, statement=_COUNT):
            sites = survey(rows, self._policy, self._holds)
            parts = [(site.place, site.doomed(rows, cutoff)) for site in sites]
            if most is not None:
                refuse_implausible(rows, [doomed for _, doomed in parts], most)
        return parts

    def _walk(self, place: str, doomed: Doomed) -> Iterator[Progress]:
        position: Position | None = None
        portion: Portion | None = None
        while True:
            yield from self._wait(place, doomed)
            began = time.monotonic()
            try:
                with self._transaction(place):
                    portion = None
                    portion = doomed.ahead(position, self._pace.size)
                    if portion is None:
                        return
                    gone = Counter[str]()
                    for table, count in doomed.delete(portion):
                        gone[table] += count
                    written = self._log.checkpoint(gone, portion.digest)
            except driver.DriverError as error:
                if self._session.ended(error) or driver.sqlstate(error) not in _HELD:
                    raise
                rest = self._pace.failed(held=True)
                if rest is None:  # one row, which the second time is for
                    if portion is None:
                        raise
                    position, rest = portion.end, 0
            else:
                self._log.deleted, self._log.digest = written
                position, rest = portion.end, self._pace.took(time.monotonic() - began)
                yield Progress(self._policy.name, rows=len(portion.keys))
            time.sleep(rest)

    def _wait(self, place: str, doomed: Doomed) -> Iterator[Progress]:
        while time.monotonic() >= self._look_at:
            why = self._throttle.reason(doomed.target.table, place)
            if not why:
                self._look_at = time.monotonic() + self._limits.look
                return
            yield Progress(self._policy.name, waits=why)
            time.sleep(min(self._limits.look, 1))

    def _unfinished(self, parts: list[Part]) -> list[Part]:
        with self._transaction(SHARED):
            return [(place, doomed) for place, doomed in parts if doomed.count(1)]

    def _held(self, parts: list[Part]) -> str:
        with self._session.transaction(entered(SHARED), self._limits, statement=_COUNT):
            count = sum(doomed.held(_MANY) for _, doomed in parts)
        return f"{count} rows are on legal hold, and stay: docs/erasure.md" if count else ""

    def _transaction(self, place: str) -> AbstractContextManager[None]:
        # A table that is read as a whole for each portion would make it take for ever.
        begin = "; ".join(
            (
                "SET LOCAL enable_seqscan = off",
                f"SET LOCAL application_name = 'retention {self._log.trace}'",
                entered(place),
            )
        )
        return self._session.transaction(begin, self._limits, statement=self._limits.statement)
