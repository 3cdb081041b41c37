"""Where a slice knows people, and what becomes of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.policy import Named, table_name


@dataclass(frozen=True)
class Subject:
    """A table with a row for each person.

    Args:
        table: a model, or the name of a table.
        by: the columns by which one is found, such as an email. Their values are searched for
            everywhere, so nobody else has the same.
        delete: the row is deleted. Without it the row stays, and so does what refers to it; what is
            personal or free text there is overwritten.
        children: with `delete`, the tables, at any depth, whose rows go with the row.

    Raises:
        ConfigurationError: no column finds anybody, or children go where nothing is deleted.
    """

    table: Named
    by: Sequence[str]
    delete: bool = False
    children: Sequence[Named] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", table_name(self.table))
        object.__setattr__(self, "children", tuple(map(table_name, self.children)))
        if isinstance(self.by, str) or not self.by:
            raise ConfigurationError(
                f"Subject({self.table!r}, …) names no columns: say by which somebody is found, "
                'such as by=("email",)'
            )
        if self.children and not self.delete:
            raise ConfigurationError(
                f"Subject({self.table!r}, …) has children and deletes nothing: say delete=True, or "
                "leave them out; what refers to the row is overwritten anyway"
            )

    @property
    def name(self) -> str:
        """That of its table."""
        return str(self.table)
