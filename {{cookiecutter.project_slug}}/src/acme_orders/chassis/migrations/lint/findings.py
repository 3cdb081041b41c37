"""What a rule finds, and what it looks at."""

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.header import KEYS, Header
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.locks import locks
from acme_orders.chassis.migrations.recipes import Part, Recipe
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.table_locks import Lock

_WIDTH, _SHOWN = 96, 72
_KEY = re.compile(f"(?:{'|'.join(KEYS)}): ")


@dataclass(frozen=True)
class Refusal:
    """What one rule says of one statement.

    Args:
        why: it hurts.
        recipe: what to write instead; empty: leave the statement out.
        lock: the one that it would hold; None: it is not the lock that hurts.
        also: what else helps, where no SQL alone does.
    """

    why: str
    recipe: Recipe = ()
    lock: Lock | None = None
    also: str = ""


@dataclass(frozen=True)
class Finding:
    """A refusal with its place."""

    file: Path
    line: int
    rule: str
    statement: str
    refusal: Refusal

    def __str__(self) -> str:
        said = self.refusal
        holds = f"It takes {said.lock}. " if said.lock else ""
        text = [f"{self.file}:{self.line}: {self.rule} `{self.statement}`"]
        text += textwrap.wrap(holds + said.why, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        if said.also:
            lines = textwrap.wrap(said.also, _WIDTH - 2)
            text += [f"  {line}" for line in lines]
        for number, part in enumerate(said.recipe, 1):
            several = f"File {number} of {len(said.recipe)}" if len(said.recipe) > 1 else "Instead"
            text += [f"  {several}:", textwrap.indent(part.text.rstrip(), "    ")]
            text += ["    -- and down:", textwrap.indent(part.down, "    ")] if part.down else []
        return "\n".join(text)


@dataclass(frozen=True)
class Sheet:
    """A migration that is looked at, and what those before it have made.

    Args:
        migration: its files.
        header: what its head says.
        statements: of the up file.
        known: the state before the statement that a rule is asked about.
        alone: each statement is sent by itself, not all in one transaction.
        taken: tables in use that the statements so far have locked against everybody.
    """

    migration: Migration
    header: Header
    statements: tuple[Statement, ...]
    known: Known
    alone: bool
    taken: set[str] = field(default_factory=set)

    def is_used(self, table: str) -> bool:
        """Whether a table may have rows and users: it is not new in this file, nor small."""
        return table not in self.known.new and table not in self.header.small

    def locks(self, node: Any) -> list[Lock]:
        """The locks that a statement takes."""
        return locks(node, self.known)

    @property
    def head(self) -> tuple[str, ...]:
        """Its keys, for a file that takes over some of its statements."""
        lines = (line.removeprefix("-- ") for line in self.migration.text.splitlines())
        return tuple(line for line in lines if _KEY.match(line))

    def at(self, line: int) -> Statement:
        """The statement that a line belongs to."""
        before = [each for each in self.statements if each.line <= line]
        return before[-1] if before else self.statements[0]

    def lock(self, node: Any, table: str) -> Lock | None:
        """The lock that a statement takes on a table."""
        return next((each for each in self.locks(node) if each.table == table), None)


@dataclass(frozen=True)
class Rule:
    """What is refused.

    Args:
        code: for waivers.
        look: at one statement; its docstring is the line of the rule in the docs.
        whole: it looks at the file, and is asked once.
        last: it looks at statements of which no other rule has said anything.
    """

    code: str
    look: Callable[[Sheet, Statement], Iterator[Refusal]]
    whole: bool = False
    last: bool = False


def head_of(sql: str) -> str:
    """The beginning of a statement, in one line."""
    line = " ".join(sql.split()).rstrip(";")
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def in_quiet(statement: Statement, rule: str, reason: str, down: str = "") -> Recipe:
    """The same statement with a waiver, where there is no way to avoid it."""
    up = f"-- allow: {rule} ({reason})\n{statement.sql.rstrip(';').rstrip()};"
    return (Part(up, down),)
