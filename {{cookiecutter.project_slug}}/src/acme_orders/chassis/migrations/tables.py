"""Which tables and views the migrations leave, as far as their text says it."""

from collections.abc import Sequence
from pathlib import Path

from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.lint.inside import statements_inside
from acme_orders.chassis.migrations.sql import statements_of as read
from acme_orders.chassis.migrations.statements import statements_of


def tables_of(every: Sequence[Migration]) -> dict[str, Path]:
    """Their names, in small letters and without schema, each with the file that made it.

    Raises:
        ConfigurationError: a file cannot be read as SQL; says where.
    """
    known, made = Known(), dict[str, Path]()
    for migration in every:
        before = set(known.tables)
        read(migration.up)
        for statement in statements_of(migration):
            for inner in (statement, *statements_inside(statement)):
                known.apply(inner.node)
        made |= dict.fromkeys(known.tables.keys() - before, migration.up)
    return {name.rpartition(".")[2].strip('"').lower(): made[name] for name in known.tables}
