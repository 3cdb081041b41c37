"""What is erased in small portions, each with the count of what went; at the end comes a proof."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from acme_orders.chassis.backfills.pace import Limits, Pace
from acme_orders.chassis.backfills.session import BackfillSession
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.requests import Request, Requests
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered

_TIMES = 5  # what comes in while it is searched for is found the next time
_BUSY = {"40001", "40P01", "55P03", "57014"}  # others write, or it was too much at once


class LeftError(Exception):
    """Something still stands somewhere: how often in which place."""

    def __init__(self, places: Mapping[str, int]) -> None:
        super().__init__()
        self.places = places

    def __str__(self) -> str:
        return ", ".join(f"{place} ({count})" for place, count in self.places.items())


class Walked(Protocol):
    """A table from which something goes."""

    @property
    def table(self) -> str:
        """Its name, as SQL writes it."""

    def blocks(self, rows: Rows) -> int:
        """How many it has."""

    def erase(self, rows: Rows, first: int, last: int) -> int:
        """Erase what is found in these blocks; returns in how many rows."""


class Portions:
    """Erases, and counts what went in the request.

    Args:
        session: of this eraser, and of no other.
        request: that is carried out.
        limits: of what a portion may take.
    """

    def __init__(self, session: BackfillSession, request: Request, limits: Limits) -> None:
        self._session, self._limits = session, limits
        self.rows, self.request = session.rows, request
        self._evidence = Counter[str](request.evidence)

    def transaction(self, *, statement: float | None = None) -> AbstractContextManager[None]:
        """One that the trace of the request can be seen at."""
        trace = f"SET LOCAL application_name = 'erase {self.request.trace}'"
        seconds = self._limits.statement if statement is None else statement
        begin = f"{trace}; {entered(SHARED)}"
        return self._session.transaction(begin, self._limits, statement=seconds)

    def until_nothing_is_left(
        self, search: Callable[[], None], end: Callable[[], None]
    ) -> LeftError | None:
        """Search and end again, while the end finds what came in meanwhile.

        Args:
            search: erases in portions.
            end: erases the rest in one transaction, in which nothing is left.

        Returns:
            What is always left.
        """
        left: LeftError | None = None
        for _ in range(_TIMES):
            try:
                search()
                end()
            except LeftError as error:
                left = error
            except driver.DriverError as error:
                if not self._busy(error):
                    raise
                left = LeftError({"rows that somebody else has in hand": 1})
            else:
                return None
        return left

    def walk(self, table: Walked) -> None:
        """Erase what is found in a table, some blocks at a time."""
        with self.transaction():
            blocks = table.blocks(self.rows)
        pace, at = Pace(self._limits, self._limits.first), 0
        while at < blocks:
            began, last = time.monotonic(), min(blocks, at + pace.size)
            try:
                with self.transaction():
                    count = table.erase(self.rows, at, last)
                    evidence = self.counted({table.table: count})
            except driver.DriverError as error:
                if not self._busy(error):
                    raise
                rest = pace.failed(held=True)
                if rest is None:
                    raise
            else:
                self._evidence = evidence
                at, rest = last, pace.took(time.monotonic() - began)
            time.sleep(rest)

    def counted(self, gone: Mapping[str, int]) -> Counter[str]:
        """What the evidence says if the open transaction is committed."""
        evidence = self._evidence + Counter(gone)
        if evidence != self._evidence:
            Requests(self.rows).count(self.request.id, evidence)
        return evidence

    def _busy(self, error: driver.DriverError) -> bool:
        return not self._session.ended(error) and driver.sqlstate(error) in _BUSY
