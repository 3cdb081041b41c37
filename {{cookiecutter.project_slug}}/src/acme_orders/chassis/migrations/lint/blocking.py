"""M11, M13, M14: what holds a lock on a table in use while it works, or for no good reason."""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.migrations import recipes
from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.lint.columns import parts_of
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet, in_quiet
from acme_orders.chassis.migrations.recipes import Part
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.table_locks import (
    ALL,
    MODES,
    SCANS,
    SHARE,
    Lock,
    part_locks,
)
from acme_orders.chassis.migrations.trees import (
    constraints_of,
    expression,
    kind_of,
    names_of,
    table_of,
    wants,
)

_NO_WRITES = "No row can be written until all of the table has been read."
_LIMITS = {"lock_timeout", "statement_timeout", "transaction_timeout"}
_NOBODY = "Nobody can even read the table until all of it has been read."


def indexes_block(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`CREATE INDEX`, `DROP INDEX` and `REINDEX` without `CONCURRENTLY` on a table in use."""
    node = statement.node
    match node:
        case ast.IndexStmt(concurrent=False, relation=relation):
            if sheet.is_used(table_of(relation)):
                lock = sheet.lock(node, table_of(relation))
                yield Refusal(_NO_WRITES, recipes.index(node), lock)
        case ast.DropStmt(remove_type=enums.OBJECT_INDEX, concurrent=False, objects=objects):
            names = [name for name in map(names_of, objects) if sheet.is_used(_table(sheet, name))]
            if names:
                why = "It waits for every query of the table, and all others wait behind it."
                parts = [
                    Part(f"DROP INDEX CONCURRENTLY {n};", _made_again(sheet, n)) for n in names
                ]
                yield Refusal(why, parts, Lock(_table(sheet, names[0]), ALL))
        case ast.ReindexStmt(params=params) if not wants(params, "concurrently"):
            lock = sheet.locks(node)[0]
            if sheet.is_used(lock.table):
                why = f"{_NO_WRITES} Queries that would use the index wait as well."
                yield Refusal(why, recipes.concurrently(node), lock)


def _table(sheet: Sheet, index: str) -> str:
    return sheet.known.indexes.get(index, f"the table of {index}")


def _made_again(sheet: Sheet, index: str) -> str:
    made = sheet.known.made.get(index)
    return recipes.index(made)[0].up if made is not None else ""


def rows_are_checked(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """A constraint that reads the whole table under its lock: no `NOT VALID`, no index to use."""
    for table, part in parts_of(sheet, statement, "AddConstraint"):
        locks = list(part_locks(table, part, sheet.known))
        if any(each.work for each in locks) and kind_of(part.def_) != "NOTNULL":  # that is M5
            why = _NOBODY if locks[-1].mode == ALL else _NO_WRITES
            also = ""
            if kind_of(part.def_) == "EXCLUSION":
                also = "An exclusion constraint cannot be made while the table is used."
            yield Refusal(why, recipes.constraint(table, part.def_), locks[-1], also)
    for table, part in parts_of(sheet, statement, "AddColumn"):
        kinds = {"CHECK", "FOREIGN", "UNIQUE", "PRIMARY"} & constraints_of(part.def_).keys()
        if kinds:
            yield Refusal(_NOBODY, recipes.new_column(table, part.def_), Lock(table, ALL, SCANS))
    yield from _partitions(sheet, statement)
    yield from _domains(sheet, statement.node)


def _partitions(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    for table, part in parts_of(sheet, statement, "AttachPartition", "DetachPartition"):
        partition = table_of(part.def_.name)
        first = next(iter(part_locks(table, part, sheet.known)))
        if kind_of(part) == "DetachPartition" and not part.def_.concurrent:
            why = "Nobody can read either table meanwhile, and it waits for every query before."
            up = f"ALTER TABLE {table} DETACH PARTITION {partition} CONCURRENTLY;"
            yield Refusal(
                why, (Part(up, "", ("reversible: no (attach it again)",)),), Lock(table, ALL)
            )
        elif first.work and sheet.is_used(partition):
            bound = _bound(sheet, table, part.def_.bound)
            detach = f"ALTER TABLE {table} DETACH PARTITION {partition};"
            also = "A check of the partition that proves its bound spares reading it."
            if not bound:
                yield Refusal(_NOBODY, in_quiet(statement, "M13", "window", detach), first, also)
                continue
            name, check = recipes.short(partition, "bound"), f"CHECK ({bound})"
            attach = Part(f"{statement.sql.rstrip(';')};", detach)
            checked = recipes.validated(partition, name, check)
            yield Refusal(_NOBODY, (*checked, attach), first)


def _bound(sheet: Sheet, table: str, bound: Any) -> str:
    """The condition of a partition, of a key with one column; empty: it is of another kind."""
    column = quoted(sheet.known.table(table).partition_key)
    values = [expression(each) for each in bound.listdatums]
    ends = [*bound.lowerdatums, *bound.upperdatums]
    if values:
        return f"{column} IS NOT NULL AND {column} IN ({', '.join(values)})"
    if len(ends) != len(("lower", "upper")) or any(isinstance(e, ast.ColumnRef) for e in ends):
        return ""  # of several columns, from MINVALUE, by a hash, or the default
    lower, upper = map(expression, ends)
    return f"{column} IS NOT NULL AND {column} >= {lower} AND {column} < {upper}"


def _domains(sheet: Sheet, node: Any) -> Iterator[Refusal]:
    match node:
        case ast.CreateDomainStmt(constraints=[_, *_]):
            name = names_of(node.domainname)
            why = (
                "Its check can never change without reading every table that has the domain, under "
                "a lock of all of them."
            )
            also = f"Write the type and a CHECK at each column instead of {name}."
            yield Refusal(why, also=also)
        case ast.AlterDomainStmt(
            subtype="C", def_=ast.Constraint(skip_validation=False) as constraint
        ):
            name, domain = constraint.conname or "checked", names_of(node.type_name)
            add = f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} {recipes.definition(constraint)}"
            drop = f"ALTER DOMAIN {domain} DROP CONSTRAINT {name};"
            validate = f"ALTER DOMAIN {domain} VALIDATE CONSTRAINT {name};"
            parts = (
                Part(f"{add} NOT VALID;", drop),
                Part(validate, f"{drop}\n{add} NOT VALID;"),
            )
            used = [each for each in sheet.locks(node) if sheet.is_used(each.table)]
            if used:
                yield Refusal(_NO_WRITES, parts, used[0])


def locks_are_held(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`LOCK TABLE`, a trigger or rule on a table in use, `REFRESH` alone, a limit of its own."""
    node: Any = statement.node
    match statement.node:
        case ast.LockStmt():
            for lock in sheet.locks(node):
                if sheet.is_used(lock.table) and MODES.index(lock.mode) >= MODES.index(SHARE):
                    why = "It is held until COMMIT. Each statement takes the lock that it needs."
                    yield Refusal(why, lock=lock, also="Leave it out.")
        case ast.VariableSetStmt(name=str(name)) if name in _LIMITS:
            why = "The runner limits how long each statement waits, or others would wait behind it."
            yield Refusal(why, also="Leave it out; MIGRATION_LOCK_TIMEOUT is the limit.")
        case ast.CreateTrigStmt(relation=relation) | ast.RuleStmt(relation=relation):
            table = table_of(relation)
            if sheet.is_used(table):
                why = (
                    "Each write of the release before runs it from now on, in its transaction: it "
                    "slows all of them down, and fails them when it fails."
                )
                rule = isinstance(node, ast.RuleStmt)
                name = f"RULE {node.rulename}" if rule else f"TRIGGER {node.trigname}"
                down = f"DROP {name} ON {table};"
                quiet = in_quiet(statement, "M14", "each writer is known to bear it", down)
                also = "Let the code do it; a release is taken back more easily than a trigger."
                yield Refusal(why, quiet, sheet.lock(node, table), also)
        case ast.RefreshMatViewStmt(concurrent=False, relation=relation):
            if sheet.is_used(table_of(relation)):
                why = "Nobody can read it while its query runs."
                also = "It needs a unique index on the view."
                held = sheet.lock(node, table_of(relation))
                yield Refusal(why, recipes.concurrently(node), held, also)
        case ast.AlterEnumStmt(old_val=str(old)) if old:
            name = names_of(node.type_name)
            up = f"ALTER TYPE {name} ADD VALUE '{node.new_val}' AFTER '{old}';"
            part = Part(up, "", ("reversible: no (an enum cannot lose a value)", recipes.EXPAND))
            why = f"The release before still writes '{old}', which is refused from now on."
            yield Refusal(why, (part,), also=f"New code reads both; a backfill replaces '{old}'.")


def something_else_blocks(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """Whatever else reads or rewrites a table in use under a lock that keeps writers waiting."""
    for lock in sheet.locks(statement.node):
        waits = MODES.index(lock.mode) >= MODES.index(SHARE) and lock.table not in sheet.known.views
        if lock.work and waits and sheet.is_used(lock.table):
            quiet = in_quiet(statement, "M14", "maintenance window")
            yield Refusal("Whoever writes the table waits that long.", quiet, lock)
