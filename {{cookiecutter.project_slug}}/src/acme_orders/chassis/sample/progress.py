"""How far a sample is."""

from typing import NamedTuple


class Progress(NamedTuple):
    """How far it is.

    Args:
        name: of a table that is written, or of a column that is compared with what was written.
        rows: of it that are done.
        compared: values of all columns.
        estimate: of all values that are to be compared; 0 while tables are written.
        completed: none is left.
    """

    name: str
    rows: int
    compared: int = 0
    estimate: int = 0
    completed: bool = False
