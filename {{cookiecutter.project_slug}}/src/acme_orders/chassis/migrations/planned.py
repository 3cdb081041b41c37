"""Shows what pending migrations would do, and which locks they would take."""

import textwrap
from collections.abc import Iterator, Sequence

from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.kinds import is_alone
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.locks import locks
from acme_orders.chassis.migrations.statements import Statement, statements_of
from acme_orders.chassis.migrations.table_locks import READ

_WIDTH = 80


def planned(every: Sequence[Migration], pending: Sequence[Migration]) -> Iterator[str]:
    """Lines of at most 80 characters, for each statement of `pending` its lock and its work.

    Args:
        every: all migrations, in order; the earlier ones say what is there already.
        pending: those to show.
    """
    known = Known()
    for migration in every:
        known.new = set()
        statements = list(statements_of(migration))
        shown = migration in pending
        alone = any(is_alone(each.node) for each in statements)
        if shown:
            yield from _head(migration, alone=alone)
        for statement in statements:
            if shown:
                yield from _statement(statement, known)
            known.apply(statement.node)


def _head(migration: Migration, *, alone: bool) -> Iterator[str]:
    header = migration.header
    requires = [f"backfill {each}" for each in header.backfills]
    requires += [f"release {header.release}"] if header.release else []
    yield migration.id
    said = [f"phase {header.phase}"] if header.phase != "plain" else []
    said += [f"requires {', '.join(requires)}"] if requires else []
    said += ["each statement by itself" if alone else "in one transaction"]
    yield from textwrap.wrap("; ".join(said), _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _statement(statement: Statement, known: Known) -> Iterator[str]:
    sql = " ".join(statement.sql.split())
    yield f"    {sql if len(sql) <= _WIDTH - 4 else sql[: _WIDTH - 5] + '…'}"
    taken = [each for each in locks(statement.node, known) if each.mode != READ]
    for lock in taken:
        new = " (new)" if lock.table in known.new else ""
        yield from textwrap.wrap(f"{lock}{new}", _WIDTH, initial_indent=" " * 6)
