"""Which columns the keys and references of a table have."""

from collections.abc import Iterable, Sequence
from typing import Any


class Keys:
    """As the models have them."""

    first = ""  # the column that a table begins with

    def within(self, _model: Any, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns of a key or an index."""
        return tuple(columns)

    def referring(
        self, _model: Any, _other: Any, column: str, referred: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns of a foreign key, here and there."""
        return (column,), (referred,)

    def owner(self, _model: Any, _key: Iterable[str]) -> str | None:
        """A reference to whoever owns the rows."""
        return None

    def policies(self, _model: Any, _table: str) -> list[str]:
        """What makes PostgreSQL itself show some of the rows only."""
        return []
