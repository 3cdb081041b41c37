"""Which locks a statement takes on which tables, and what it does while it holds them.

After PostgreSQL's documentation (Explicit Locking, ALTER TABLE, CREATE INDEX and others), from 15
to 18; the strongest lock on each table is named. What is not known counts as the strongest.
"""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.table_locks import (
    ALL,
    EXCLUSIVE,
    MAINTAIN,
    MODES,
    READ,
    REWRITES,
    SCANS,
    SELECTING,
    SHARE,
    TRIGGER,
    WRITE,
    Lock,
    part_locks,
)
from acme_orders.chassis.migrations.trees import (
    kind_of,
    names_of,
    read_by,
    table_of,
    wants,
)

_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_ON_A_TABLE = {enums.OBJECT_TABLE, enums.OBJECT_MATVIEW, enums.OBJECT_VIEW}


def locks(statement: Any, known: Known) -> list[Lock]:
    """The strongest lock of a statement on each table, strongest first."""
    strongest: dict[str, Lock] = {}
    for each in _locks(statement, known):
        there = strongest.get(each.table)
        strongest[each.table] = max(there or each, each, key=lambda lock: lock.strength)
    return sorted(strongest.values(), key=lambda lock: lock.strength, reverse=True)


def _locks(statement: Any, known: Known) -> Iterator[Lock]:  # noqa: C901, PLR0912, PLR0915
    match statement:
        case ast.AlterTableStmt(relation=relation):
            name = table_of(relation)
            name = known.indexes.get(name, name)
            for part in statement.cmds:
                yield from part_locks(name, part, known)
        case ast.IndexStmt(relation=relation, concurrent=concurrent):
            yield Lock(table_of(relation), MAINTAIN if concurrent else SHARE, SCANS)
        case ast.DropStmt():
            yield from _drop(statement, known)
        case ast.CreateStmt():
            yield from _create(statement)
        case ast.ReindexStmt(relation=relation, params=params):
            table = table_of(relation) if relation else statement.name or "the whole database"
            concurrent = wants(params, "concurrently")
            yield Lock(known.indexes.get(table, table), MAINTAIN if concurrent else SHARE, SCANS)
        case ast.ClusterStmt(relation=relation):
            yield Lock(table_of(relation) if relation else "every table", ALL, REWRITES)
        case ast.AlterTableMoveAllStmt():
            yield Lock("every table", ALL, REWRITES)
        case ast.VacuumStmt(rels=rels, options=options):
            full = wants(options, "full")
            vacuumed: list[Any] = list(rels)
            for name in [table_of(each.relation) for each in vacuumed] or ["every table"]:
                yield Lock(name, *((ALL, REWRITES) if full else (MAINTAIN, SCANS)))
        case ast.TruncateStmt(relations=relations, behavior=behavior):
            for name in map(table_of, relations):
                yield Lock(name, ALL)
                if behavior == enums.DROP_CASCADE:
                    yield from (Lock(other, ALL) for _, other, _ in known.references(name))
        case ast.LockStmt(relations=relations, mode=mode):
            yield from (Lock(table_of(each), MODES[mode - 1]) for each in relations)
        case ast.RefreshMatViewStmt(relation=relation, concurrent=concurrent):
            yield Lock(table_of(relation), EXCLUSIVE if concurrent else ALL, REWRITES)
        case ast.CreateTrigStmt(relation=relation):
            yield Lock(table_of(relation), TRIGGER)
        case ast.CreatePolicyStmt(table=table) | ast.AlterPolicyStmt(table=table):
            yield Lock(table_of(table), ALL)
        case ast.RuleStmt(relation=relation):
            yield Lock(table_of(relation), ALL)
        case ast.CreateStatsStmt(relations=relations):
            yield from (Lock(table_of(each), MAINTAIN) for each in relations)
        case ast.CommentStmt(objtype=kind, object=named) if kind in _ON_A_TABLE:
            yield Lock(names_of(named), MAINTAIN)
        case ast.CommentStmt(objtype=enums.OBJECT_COLUMN, object=named):
            yield Lock(names_of(named).rpartition(".")[0], MAINTAIN)
        case ast.RenameStmt(rename_type=enums.OBJECT_INDEX):
            return  # of the index alone, and no statement has to wait for it
        case (
            ast.RenameStmt(relation=relation)
            | ast.AlterObjectSchemaStmt(relation=relation)
            | ast.AlterOwnerStmt(relation=relation)
        ) if relation is not None:
            yield Lock(table_of(relation), ALL)
        case ast.AlterDomainStmt(subtype="C", type_name=domain, def_=ast.Constraint() as check):
            if not check.skip_validation:
                yield from (Lock(name, SHARE, SCANS) for name in known.having(names_of(domain)))
        case ast.CreateTableAsStmt(query=query):
            yield from (Lock(name, READ, SCANS) for name in read_by(query))
        case ast.ViewStmt(query=query):
            yield from (Lock(name, READ) for name in read_by(query))
        case ast.SelectStmt() | ast.InsertStmt() | ast.UpdateStmt() | ast.DeleteStmt():
            yield from _rows(statement)
        case ast.MergeStmt():
            yield from _rows(statement)


def _rows(statement: Any) -> Iterator[Lock]:
    for each in descendants(statement):
        if isinstance(each, _WRITES):
            query: Any = each.select_stmt if isinstance(each, ast.InsertStmt) else each
            values = query is None or bool(getattr(query, "values_lists", None))
            yield Lock(table_of(each.relation), WRITE, "" if values else SCANS)
        elif isinstance(each, ast.SelectStmt):
            mode = SELECTING if each.locking_clause else READ
            yield from (Lock(name, mode, SCANS) for name in read_by(each.from_clause))


def _drop(statement: Any, known: Known) -> Iterator[Lock]:
    names = [names_of(each) for each in statement.objects]
    match statement.remove_type:
        case enums.OBJECT_INDEX:
            mode = MAINTAIN if statement.concurrent else ALL
            yield from (
                Lock(known.indexes.get(name, f"the table of {name}"), mode) for name in names
            )
        case enums.OBJECT_TABLE | enums.OBJECT_VIEW | enums.OBJECT_MATVIEW:
            for name in names:
                yield Lock(name, ALL)
                yield from (Lock(other, ALL) for _, other, _ in known.references(name))
        case enums.OBJECT_TRIGGER | enums.OBJECT_POLICY | enums.OBJECT_RULE:
            yield from (Lock(name.rpartition(".")[0], ALL) for name in names)


def _create(statement: Any) -> Iterator[Lock]:
    for parent in statement.inh_relations:
        yield Lock(table_of(parent), ALL if statement.partbound else MAINTAIN)
    for each in descendants(statement):
        if isinstance(each, ast.Constraint) and kind_of(each) == "FOREIGN":
            yield Lock(table_of(each.pktable), TRIGGER)
        elif isinstance(each, ast.TableLikeClause):
            yield Lock(table_of(each.relation), READ)
