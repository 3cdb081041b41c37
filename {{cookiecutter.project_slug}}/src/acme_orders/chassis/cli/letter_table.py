"""Dead letters as a table on the terminal."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from acme_orders.chassis.dead_letters.store import Group, Summary

_TIME = "%Y-%m-%d %H:%M:%S%z"
_PLAIN = 10_000  # characters of a line where no terminal is: a line for each
_COLUMNS = {
    Group: ("count", "reason", "type", "error_type", "first", "last", "fingerprint", "example"),
    Summary: ("id", "archived_at", "reason", "type", "error_type", "message_id", "replays"),
}


def show_all(found: Sequence[Group | Summary]) -> None:
    """A table; nothing is cut off, because fingerprints and ids are given to the next command."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN)
    names = _COLUMNS[type(found[0])]
    table = Table(box=None, pad_edge=False)
    for name in names:
        whole = name in {"id", "fingerprint", "example", "count"}
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=whole)
    for one in found:
        table.add_row(*(Text(_printable(_told(getattr(one, name)))) for name in names))
    console.print(table)


def _told(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:{_TIME}}"
    return "" if value is None else str(value)


def _printable(text: str) -> str:
    """What a terminal shows as it is; a text from outside could move the cursor."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
