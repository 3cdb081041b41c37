"""Runs the statements of a file: in one transaction, or each committed by itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import fetched
from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable
from acme_orders.chassis.migrations.hints import GONE, HINTS
from acme_orders.chassis.migrations.kinds import is_concurrent
from acme_orders.chassis.migrations.patience import Patience
from acme_orders.chassis.migrations.records import Effort
from acme_orders.chassis.migrations.repeat import Refused, clean, prepare, verify
from acme_orders.chassis.migrations.script import Script
from acme_orders.chassis.migrations.sql import Statement

Open = Callable[[], AbstractContextManager[Any]]
# What a file deferred is checked with its own settings; then they end.
_LEAVE = "SET CONSTRAINTS ALL IMMEDIATE; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"
log = structlog.get_logger()


def in_transaction(
    script: Script, session: Open, patience: Patience, finish: Callable[[Any, float, Effort], None]
) -> float:
    """Run a file as a whole, again as a whole where others are in its way; returns its seconds.

    Args:
        script: of the file.
        session: opens a clean one.
        patience: with others.
        finish: writes the line of the history in the same transaction.

    Raises:
        ConfigurationError: PostgreSQL refuses something; nothing of the file stays.
        Conflict: others were in the way, each time.
        DatabaseUnavailable: the session ended.
    """
    effort, seconds = Effort(), 0.0
    limit = patience.lock_timeout

    def work(cursor: Any) -> None:
        nonlocal seconds
        cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit}")
        began = time.monotonic()
        if script.sql:  # a driver refuses to send nothing
            cursor.execute(script.sql)
        cursor.execute(_LEAVE)
        seconds = time.monotonic() - began
        finish(cursor, seconds, effort)
        cursor.execute("COMMIT")

    with explained(script.file):
        patience.run(script.file, effort, session, work)
    return seconds


def one_by_one(
    script: Script, session: Open, patience: Patience, *, again: bool
) -> tuple[Effort, float]:
    """Run the statements of a file, each committed by itself; returns what it took, and seconds.

    Args:
        script: of the file.
        session: opens a clean one.
        patience: with others.
        again: another run may have done some of it.

    Raises:
        ConfigurationError: PostgreSQL refuses a statement, or what is there is something else;
            what it left is removed.
        Conflict: others were in the way, each time.
        DatabaseUnavailable: the session ended.
    """
    effort, began = Effort(), time.monotonic()
    with explained(script.file), session() as cursor:
        for each in script.statements:
            _commit(each, script.file, cursor, patience, effort, again=again)
    return effort, time.monotonic() - began - effort.waited


def _commit(
    statement: Statement,
    file: Path,
    cursor: Any,
    patience: Patience,
    effort: Effort,
    *,
    again: bool,
) -> None:
    # What waits without being in anybody's way has no limit: it would fail on a busy database.
    limit = 0 if is_concurrent(statement.node) else patience.lock_timeout

    rows = partial(fetched, cursor)

    def say(told: list[str]) -> None:
        for each in told:
            log.info("migration.repaired", file=f"{file}:{statement.line}", what=each)

    def work(_: Any) -> None:
        try:
            sql, told = prepare(statement, rows, again=again)
            say(told)
            if sql:
                rows(sql)
            verify(statement, rows)
        except (driver.DriverError, Refused):
            with suppress(driver.DriverError):  # the next run cleans it
                say(clean(statement, rows))
            raise

    rows(f"SET lock_timeout = {limit}")
    try:
        patience.run(file, effort, lambda: nullcontext(cursor), work)
    except Refused as refused:
        raise ConfigurationError(
            f"{file}:{statement.line}: `{statement.shown}`: {refused}"
        ) from None


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """The driver's errors as ours, with what helps."""
    try:
        yield
    except driver.DriverError as error:
        reason, state = str(error).strip(), driver.sqlstate(error)
        if state is None or state.startswith(("08", "57P")):
            raise DatabaseUnavailable(f"{file}: PostgreSQL went away: {reason}; {GONE}") from error
        hint = HINTS.get(state)
        raise ConfigurationError(f"{file}: {reason}" + (f"\n{hint}" if hint else "")) from error
