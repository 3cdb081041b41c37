"""What one transaction collects before it is committed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import peewee
from peewee_async.utils import sort_models


class Transaction:
    """An open transaction, and the rows that it writes set-wise just before COMMIT.

    A row for every message of a batch goes into one INSERT instead of one each.

    Args:
        name: of the unit of work, for metrics and logs.
        items: how many things it handles that need statements of their own, such as messages.
    """

    def __init__(self, name: str, *, items: int = 1) -> None:
        self.name, self.items = name, items
        self.depth = 0  # of savepoints
        self.streams = 0
        self.scope: object = None  # feature: row, rls, schema
        self.statements: Counter[tuple[str, str]] = Counter()  # by name of the query, and SQL
        self.after_commit: set[Callable[[], None]] = set()
        self._rows: dict[tuple[type[peewee.Model], str], list[Mapping[str, Any]]] = {}

    def add(self, model: type[peewee.Model], row: Mapping[str, Any], *, query: str) -> None:
        """Insert `row` with the next flush, at the latest before COMMIT, under this query name."""
        self._rows.setdefault((model, query), []).append(row)

    def take(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the INSERT for all rows so far, parents before their children."""
        rows, self._rows = self._rows, {}
        order = sort_models([model for model, _ in rows])
        for model, query in sorted(rows, key=lambda key: order.index(key[0])):
            yield query, model.insert_many(rows[model, query])

    def repeated(self, most: int) -> Iterator[tuple[str, str, int]]:
        """Name, SQL and count of each statement that ran more than `most` times for each item."""
        for (query, sql), count in self.statements.items():
            if count > most * self.items:
                yield query, sql, count

    def forget(self) -> None:
        """Drop the rows that were not flushed yet."""
        self._rows.clear()
