"""What one transaction collects before it is committed."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peewee
from peewee_async.utils import sort_models

from acme_orders.chassis.errors import DatabaseUnavailable, TransactionAborted

Row = Mapping[str, Any]
Work = Callable[[Sequence[Any]], Awaitable[Sequence[bool]]]


@dataclass(eq=False, slots=True)
class Later:
    """Something that will be done before COMMIT; then `happened` says whether it had an effect."""

    happened: bool = False


class Transaction:
    """An open transaction, and what it does set-wise just before COMMIT.

    What every message of a batch asks for is done for all of them together, and their rows go into
    one INSERT. That is quicker, and locks are taken in one order, whatever that of the messages.

    Args:
        name: of the unit of work, for metrics and logs.
        items: how many things it handles that need statements of their own, such as messages.

    One that `encloses` others, and says so by its isolation, takes them for parts of itself. It
    counts those that will be committed with it.
    """

    def __init__(self, name: str, *, items: int = 1) -> None:
        self.name, self.items = name, items
        self.encloses: str | None = None
        self.depth = self.parts = 0  # savepoints within one another; transactions that became parts
        self.streams = 0
        self.scope: object = None  # feature: row, rls, schema
        self.statements: Counter[tuple[str, str]] = Counter()  # by name of the query, and SQL
        self.after_commit: set[Callable[[], None]] = set()
        self._works: dict[Work, list[tuple[Any, Later]]] = {}
        self._rows: dict[tuple[type[peewee.Model], str], list[tuple[Row, Later | None]]] = {}
        self._lost = False  # something that waited could not be done

    def do(self, work: Work, item: Any) -> Later:
        """Call `work` with this and all other items with the next flush, before rows are added."""
        later = Later()
        self._works.setdefault(work, []).append((item, later))
        return later

    def add(
        self,
        model: type[peewee.Model],
        row: Row,
        *,
        query: str,
        provided: Later | None = None,
    ) -> None:
        """Insert `row` with the next flush, at the latest before COMMIT, under this query name.

        With `provided` only if that has happened by then.
        """
        self._rows.setdefault((model, query), []).append((row, provided))

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """What fails in the block is not done later, so nothing is committed without it.

        Raises:
            TransactionAborted: something has failed, and its error was swallowed.
        """
        if self._lost:
            raise TransactionAborted
        try:
            yield
        except DatabaseUnavailable:  # COMMIT says so as well
            raise
        except BaseException:
            self._lost = True
            raise

    async def work(self) -> None:
        """Do what was asked for so far."""
        while self._works:
            works, self._works = self._works, {}
            for work, asked in works.items():
                outcomes = await work([item for item, _ in asked])
                for (_, later), outcome in zip(asked, outcomes, strict=True):
                    later.happened = outcome

    def take(self) -> Iterator[tuple[str, type[peewee.Model], list[Row]]]:
        """Yield query, model and all its rows so far, parents before their children."""
        added, self._rows = self._rows, {}
        order = sort_models([model for model, _ in added])
        for model, query in sorted(added, key=lambda key: order.index(key[0])):
            if rows := [row for row, on in added[model, query] if on is None or on.happened]:
                yield query, model, rows

    def repeated(self, most: int) -> Iterator[tuple[str, str, int]]:
        """Name, SQL and count of each statement that ran more than `most` times for each item."""
        for (query, sql), count in self.statements.items():
            if count > most * max(1, self.items):  # one for nothing is no repetition
                yield query, sql, count

    def forget(self) -> None:
        """Drop what was not flushed yet; PostgreSQL undoes the rest."""
        self._lost = False
        self._works.clear()
        self._rows.clear()
