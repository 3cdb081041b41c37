"""Runs a backfill: portion after portion, each in one transaction with its checkpoint."""

import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import walk_tb

from acme_orders.chassis.backfills.files import FOLDER, found
from acme_orders.chassis.backfills.pace import Limits, Pace
from acme_orders.chassis.backfills.places import entered, places
from acme_orders.chassis.backfills.rows import Key, Rows
from acme_orders.chassis.backfills.runs import Run
from acme_orders.chassis.backfills.session import (
    BackfillSession,
    backfill_session,
    explained,
    told,
)
from acme_orders.chassis.backfills.throttle import Throttle
from acme_orders.chassis.database import driver
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.tenancy.system_role import refuse_hidden  # feature: rls

_HELD = {"40001", "40P01", "55P03"}  # somebody else was in the way
_OF_ROWS = ("22", "23", "57014", "P0")  # these rows are too many, or one of them is wrong


class Failed(ServiceError):
    """It cannot go on, or rows remain."""


@dataclass(frozen=True)
class Progress:
    """How far a place is.

    Args:
        place: schema of the table.
        rows: that are done.
        estimate: of all of them.
        size: of the next portion.
        waits: why it waits; empty if it does not.
        completed: the verify query says so.
    """

    place: str
    rows: int
    estimate: int
    size: int
    waits: str = ""
    completed: bool = False


class Runner:
    """Runs backfills of one database; blocking, because nothing else runs beside it.

    Args:
        url: of the role that owns the tables.
        folder: with the backfills.
        limits: of what one may take.
    """

    def __init__(self, url: str, *, folder: Path = FOLDER, limits: Limits | None = None) -> None:
        self._url, self._folder, self._limits = url, folder, limits or Limits()

    def run(self, name: str, *, restart: bool = False) -> Generator[Progress]:
        """Go on where it was left, until the verify query counts 0; yields after each portion.

        Close it to leave the rest to another runner.

        Raises:
            ConfigurationError: nothing was done, because somebody else runs it, or its file or
                the schema are not fit for it.
            Failed: it has stopped, or rows remain; says what to do.
            Cancelled: somebody has cancelled it.
            DatabaseUnavailable: PostgreSQL went away.
        """
        what = found(name, self._folder)
        with backfill_session(self._url) as session:
            run = Run(session, what, self._limits)
            where = places(session.rows, what.backfill)
            if not run.take(where, restart=restart):
                return
            failed = []
            try:
                for place in where:
                    try:
                        yield from _Walk(session, run, place).go()
                    except Failed as error:
                        failed.append(f"{place}: {error}" if place != SHARED else str(error))
                if SHARED not in where:
                    run.settle(SHARED, "failed" if failed else "completed", "; ".join(failed))
                if failed:
                    raise Failed("\n".join(failed))
            finally:
                with suppress(driver.DriverError):  # its session has ended, and so has its lease
                    run.leave()


class _Walk:
    """Goes through the rows of one place."""

    def __init__(self, session: BackfillSession, run: Run, place: str) -> None:
        self._session, self._run, self._place = session, run, place
        self._name, self._backfill = run.found.name, run.found.backfill
        self._limits = run.limits
        self._throttle = Throttle(session, self._backfill, run.limits)
        self._look_at = 0.0

    def go(self) -> Iterator[Progress]:
        begun = self._run.begun(self._place)
        if begun.state == "completed":
            return
        try:
            with self._transaction():
                rows = Rows.of(self._session, self._backfill)
                refuse_hidden(self._session.rows, rows.table)  # feature: rls
                upper = begun.upper or rows.last()
                estimate = begun.estimate or rows.estimate()
            self._run.begin(self._place, upper, estimate)
            self._progress = Progress(self._place, begun.rows_done, estimate, begun.size)
            if upper is not None:
                yield from self._rows(rows, begun.cursor, upper)
            self._verify()
            yield replace(self._progress, completed=True)
        except ConfigurationError as error:
            raise self._failed(str(error)) from error
        except driver.DriverError as error:
            if self._session.ended(error):
                raise
            raise self._failed(explained(error)) from error

    def _rows(self, rows: Rows, cursor: Key | None, upper: Key) -> Iterator[Progress]:
        pace, state = Pace(self._limits, self._progress.size), ""
        while True:
            yield from self._wait(rows, state)
            began = time.monotonic()
            try:
                with self._transaction():
                    portion = rows.ahead(cursor, upper, pace.size)
                    if portion is None:
                        return
                    rows.change(cursor, portion.end)
                    self._session.rows("RESET ROLE")
                    state = self._run.checkpoint(self._place, portion, pace.size)
            except ServiceError:
                raise
            except Exception as error:
                rest = pace.failed(held=self._held(error))
                if rest is None:
                    cursor, state = self._set_aside(rows, cursor, upper, error)
                    continue
            else:
                cursor, rest = portion.end, pace.took(time.monotonic() - began)
                done = self._progress.rows + portion.rows
                self._progress = replace(self._progress, rows=done, size=pace.size)
                yield self._progress
            time.sleep(rest)

    def _wait(self, rows: Rows, state: str) -> Iterator[Progress]:
        while state != "running" or time.monotonic() >= self._look_at:
            why = self._throttle.reason(rows.table, self._place)
            state = self._run.beat(why)
            if state == "paused":
                why = f"paused; `backfill resume {self._name}` lets it go on"
            self._look_at = time.monotonic() + self._limits.look
            if why:
                yield replace(self._progress, waits=why)
                time.sleep(self._limits.look)

    def _held(self, error: Exception) -> bool:
        """Whether somebody else was in the way; raises what is neither that nor about rows."""
        code = driver.sqlstate(error) or ""
        ours = isinstance(error, driver.DriverError) and not code.startswith(_OF_ROWS)
        if ours and code not in _HELD and (code or self._session.ended(error)):
            raise error
        return code in _HELD

    def _set_aside(
        self, rows: Rows, cursor: Key | None, upper: Key, error: Exception
    ) -> tuple[Key | None, str]:
        with self._transaction():
            portion = rows.ahead(cursor, upper, 1)
            if portion is None:
                return cursor, ""
            self._session.rows("RESET ROLE")
            state = self._run.checkpoint(self._place, portion, 1)
            about = _about(error)
            self._run.tell("set aside", place=self._place, key=portion.end, detail=about)
            aside = self._run.aside(self._place)
        if aside > self._limits.aside:
            raise self._failed(f"{aside} rows were set aside, the last one for {about}") from error
        self._progress = replace(self._progress, rows=self._progress.rows + portion.rows)
        return portion.end, state

    def _verify(self) -> None:
        with self._session.transaction(entered(self._place), self._limits, statement=0):
            found = self._session.rows(self._backfill.verify)
        match found:
            case [(0,)]:
                return self._run.settle(self._place, "completed")
            case [(int() as remaining,)]:
                aside = self._run.aside(self._place)
                raise self._failed(
                    f"its verify query counts {remaining} rows that still need it, of which "
                    f"{aside} may be those that were set aside (backfill_event has their keys). "
                    "Correct what is wrong with these; let no code run that still writes others"
                )
        raise ConfigurationError("`verify` does not give one number: write SELECT count(*) …")

    def _failed(self, reason: str) -> Failed:
        self._run.settle(self._place, "failed", reason)
        return Failed(
            f"{self._name} has failed: {reason}; then `backfill run {self._name}` goes on where "
            "it was, and with --restart goes through all rows again"
        )

    def _transaction(self) -> AbstractContextManager[None]:
        # A table that is read as a whole for each portion would make it take for ever.
        begin = f"SET LOCAL enable_seqscan = off; {entered(self._place)}"
        return self._session.transaction(begin, self._limits, statement=self._limits.statement)


def _about(error: Exception) -> str:
    """What is wrong with a row, without a value of it."""
    code = driver.sqlstate(error) or ""
    if code and not code.startswith("22"):
        return told(error)
    lines = [line for _, line in walk_tb(error.__traceback__)]
    return f"{type(error).__name__} {code or f'at line {lines[-1]} of its file'}"
