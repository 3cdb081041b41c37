"""Why rows may not be deleted as a policy says."""

from collections.abc import Iterable, Sequence
from typing import Self

from acme_orders.chassis.errors import ConfigurationError


class NoIndex(str):
    """The reason, in words, where an index is missing.

    Args:
        text: the reason.
        table: that lacks it, without its schema.
        columns: that it has to begin with.
    """

    __slots__ = ("columns", "table")
    table: str
    columns: tuple[str, ...]

    def __new__(cls, text: str, *, table: str, columns: Sequence[str]) -> Self:
        """The same text, with what it is about."""
        reason = super().__new__(cls, text)
        reason.table, reason.columns = table, tuple(columns)
        return reason


class NotDeletable(ConfigurationError):
    """Rows may not be deleted as a policy says.

    Args:
        reasons: each in words; those about an index are `NoIndex`.
    """

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(dict.fromkeys(reasons))
        super().__init__("\n".join(self.reasons))
