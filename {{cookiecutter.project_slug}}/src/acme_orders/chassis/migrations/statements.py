"""The statements of a migration, with their places and what is said above them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.files import Migration


@dataclass(frozen=True)
class Statement:
    """One statement of a file.

    Args:
        node: of the syntax tree.
        sql: its text.
        line: where it begins.
        above: the comments right above it.
    """

    node: Any
    sql: str
    line: int
    above: str


def statements_of(migration: Migration) -> Iterator[Statement]:
    """Those of the up file, in order."""
    text, end = migration.text.encode(), 0
    for raw in parse(migration.text):
        begin = raw.stmt_location
        stop = begin + raw.stmt_len if raw.stmt_len else len(text)
        between, sql = text[end:begin].decode(), text[begin:stop].decode()
        comments = re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*", sql, re.DOTALL)
        lead = comments[0] if comments else ""
        line = (text[:begin].decode() + lead).count("\n") + 1
        yield Statement(raw.stmt, sql[len(lead) :].strip(), line, between + lead)
        end = stop
