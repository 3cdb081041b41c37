"""Rows of one schema that a sample takes."""

from typing import NamedTuple


class Part(NamedTuple):
    """Rows of one schema.

    Args:
        place: the schema.
        column: by which they are chosen; empty for all rows.
        value: of that column.
        table: of these rows; empty for each that has the column.
        without: a column; tables that have it are left out. Empty for none.
    """

    place: str
    column: str = ""
    value: str = ""
    table: str = ""
    without: str = ""

    def has(self, table: str, columns: set[str]) -> bool:
        """Whether rows of this table are taken."""
        if self.column:
            return self.column in columns and self.table in {"", table}
        return self.without not in columns
