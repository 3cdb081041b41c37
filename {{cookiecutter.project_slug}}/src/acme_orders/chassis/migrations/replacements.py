"""How a column or a table gets a successor: both are there until the old release is gone."""

from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.recipes import (
    EXPAND,
    YES,
    Part,
    Recipe,
    contract,
    short,
    validated,
)


def other_column(table: str, old: str, new: str, type_: str, old_type: str) -> Recipe:
    """Another name or type, as another column: both are there while releases change."""
    backfill, name = short(table, new), quoted(new)
    drop = f"ALTER TABLE {table} DROP COLUMN {quoted(old)};"
    back = f"ALTER TABLE {table} ADD COLUMN {quoted(old)} {old_type};"
    remark = (
        f"The next release writes {old} and {new} and reads {old}; the backfill {backfill}\n"
        f"copies {old} where {new} is empty. The release after it reads and writes {new} only.\n"
        f"What {old} has of keys, references, checks and indexes, {new} gets before that."
    )
    add = f"ALTER TABLE {table} ADD COLUMN {name} {type_};"
    return (
        Part(add, f"ALTER TABLE {table} DROP COLUMN {name};", (YES, EXPAND), remark),
        contract(drop, back, f"the values of {old} are gone", backfill=backfill),
    )


def narrowed(table: str, column: str, type_: str, old_type: str) -> Recipe:
    """A type with fewer values: for a text a check of its length, otherwise another column."""
    name, _, size = type_.rstrip(")").partition("(")
    if name == "varchar" and size:
        gate = contract("", "", "")
        check = f"CHECK (length({quoted(column)}) <= {size})"
        return validated(table, short(table, column, "length"), check, gate.head)
    return other_column(table, column, short(column, name), type_, old_type)


def renamed_table(old: str, new: str) -> Recipe:
    """Another name of a table; the view takes reads and writes under the new one meanwhile."""
    view = f"CREATE VIEW {new} WITH (security_invoker = true) AS SELECT * FROM {old};"
    remark = f"The next release uses {new}."
    there = f"DROP VIEW {new};\nALTER TABLE {old} RENAME TO {new};"
    back = f"ALTER TABLE {new} RENAME TO {old};\n{view}"
    first = Part(view, f"DROP VIEW {new};", (YES, EXPAND), remark)
    return first, contract(there, back, "")
