"""What the migrations so far have made, as far as their text says it; no database is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.migrations.trees import (
    columns_of,
    constraints_of,
    kind_of,
    names_of,
    not_null,
    table_of,
    type_of,
    words_of,
)

# Other things may have the name of one, such as a function, or an index of another schema.
_TABLES = {
    enums.OBJECT_TABLE,
    enums.OBJECT_FOREIGN_TABLE,
    enums.OBJECT_VIEW,
    enums.OBJECT_MATVIEW,
}
_KEYS = {"PRIMARY", "UNIQUE", "EXCLUSION", "FOREIGN", "CHECK"}
_ENDINGS = {"PRIMARY": "pkey", "UNIQUE": "key", "FOREIGN": "fkey", "CHECK": "check"}


@dataclass
class Constraint:
    """A key, a reference or a check.

    Args:
        kind: as the grammar names it, such as `FOREIGN`.
        columns: that it is about, where they are listed.
        refers: to this table.
        valid: whether all rows have been checked.
        not_null: columns of which a check says that they are not NULL.
        node: of the syntax tree.
    """

    kind: str
    columns: tuple[str, ...]
    refers: str
    valid: bool
    not_null: frozenset[str]
    node: Any


@dataclass
class Table:
    """What is known of a table; its constraints by name."""

    columns: dict[str, str] = field(default_factory=dict)
    not_null: set[str] = field(default_factory=set)
    defaults: dict[str, Any] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    partition_key: str = ""


class Known:
    """The tables so far, indexes with their table and what made them, and what is new in a file."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.indexes: dict[str, str] = {}
        self.made: dict[str, Any] = {}
        self.views: set[str] = set()
        self.new: set[str] = set()

    def table(self, name: str) -> Table:
        """What is known of a table; nothing, if no migration made it."""
        return self.tables.get(name) or Table()

    def having(self, type_: str) -> list[str]:
        """Tables with a column of a type."""
        return [name for name, each in self.tables.items() if type_ in each.columns.values()]

    def proved(self, table: str, column: str) -> bool:
        """Whether PostgreSQL knows without reading that a column has no NULL."""
        known = self.table(table)
        checks = [each for each in known.constraints.values() if each.valid]
        return column in known.not_null or any(column in each.not_null for each in checks)

    def checks(self, table: str, column: str) -> dict[str, Any]:
        """The checks of a column that have been validated, with their node."""
        return {
            name: each.node
            for name, each in self.table(table).constraints.items()
            if each.kind == "CHECK" and each.valid and column in columns_of(each.node.raw_expr)
        }

    def references(self, table: str) -> Iterator[tuple[str, str, Constraint]]:
        """Foreign keys of a table and to it: the name, the other table, and the constraint."""
        for owner, known in self.tables.items():
            for name, each in known.constraints.items():
                if each.refers and table in {owner, each.refers}:
                    yield name, each.refers if owner == table else owner, each

    def apply(self, statement: Any) -> None:  # noqa: C901  # a table
        """Take in what a statement makes and takes away."""
        match statement:
            case ast.CreateStmt(relation=relation):
                self._create(statement, table_of(relation))
            case ast.CreateForeignTableStmt(base_stmt=ast.CreateStmt() as table):
                self._create(table, table_of(table.relation))
            case ast.CreateTableAsStmt(into=ast.IntoClause(rel=relation), objtype=kind):
                self._made(table_of(relation))
                if kind == enums.OBJECT_MATVIEW:
                    self.views.add(table_of(relation))
            case ast.ViewStmt(view=view):
                self._made(table_of(view))
                self.views.add(table_of(view))
            case ast.IndexStmt(relation=ast.RangeVar() as relation, idxname=name):
                name = name or f"{relation.relname}_idx"
                self.indexes[name] = table_of(relation)
                self.made[name] = statement
            case ast.AlterTableStmt(relation=relation):
                name = table_of(relation)
                for part in statement.cmds:
                    self._alter(name, self.tables.setdefault(name, Table()), part)
            case ast.RenameStmt():
                self._rename(statement)
            case ast.DropStmt():
                self._drop(statement)

    def _drop(self, statement: Any) -> None:
        for name in map(names_of, statement.objects):
            if statement.remove_type == enums.OBJECT_INDEX:
                self.indexes.pop(name, None)
            elif statement.remove_type in _TABLES:
                self.tables.pop(name, None)
                self.views.discard(name)

    def _made(self, name: str) -> Table:
        self.new.add(name)
        return self.tables.setdefault(name, Table())

    def _create(self, statement: Any, name: str) -> None:
        table = self._made(name)
        if statement.partspec is not None:
            table.partition_key = statement.partspec.part_params[0].name
        for part in [*statement.table_elts, *statement.constraints]:
            if isinstance(part, ast.ColumnDef):
                self._column(name, table, part)
            elif isinstance(part, ast.Constraint):
                self._constraint(name, table, part)

    def _column(self, name: str, table: Table, column: Any) -> None:
        table.columns[column.colname] = type_of(column.type_name) if column.type_name else ""
        for kind, each in constraints_of(column).items():
            if kind in {"NOTNULL", "PRIMARY", "IDENTITY"}:
                table.not_null.add(column.colname)
            if kind == "DEFAULT":
                table.defaults[column.colname] = each.raw_expr
            if kind in _KEYS:
                self._constraint(name, table, each, (column.colname,))

    def _constraint(
        self, name: str, table: Table, node: Any, columns: tuple[str, ...] = ()
    ) -> None:
        kind = kind_of(node)
        columns = columns or words_of(node.fk_attrs or node.keys)
        words = columns if kind != "PRIMARY" else ()
        if kind == "CHECK" and len(named := columns_of(node.raw_expr)) == 1:
            words = tuple(named)
        plain = name.rpartition(".")[2].strip('"')
        default = "_".join([plain, *words, _ENDINGS.get(kind, "excl")])
        refers = table_of(node.pktable) if kind == "FOREIGN" else ""
        checked = not_null(node.raw_expr) if kind == "CHECK" else frozenset()
        if kind == "PRIMARY":
            table.not_null.update(columns)
        if node.indexname:  # it goes by the name of the constraint from now on
            self.indexes.pop(node.indexname, None)
        table.constraints[node.conname or default] = Constraint(
            kind, columns, refers, not node.skip_validation, checked, node
        )
        if kind in {"PRIMARY", "UNIQUE", "EXCLUSION"}:
            self.indexes[node.conname or default] = name

    def _alter(self, name: str, table: Table, part: Any) -> None:  # noqa: C901  # a table
        match kind_of(part):
            case "AddColumn":
                self._column(name, table, part.def_)
            case "AddConstraint":
                self._constraint(name, table, part.def_)
            case "ValidateConstraint" if part.name in table.constraints:
                table.constraints[part.name].valid = True
            case "DropConstraint":
                table.constraints.pop(part.name, None)
            case "DropColumn":
                table.columns.pop(part.name, None)
                gone = [n for n, each in table.constraints.items() if part.name in each.columns]
                for constraint in gone:
                    del table.constraints[constraint]
            case "SetNotNull":
                table.not_null.add(part.name)
            case "DropNotNull":
                table.not_null.discard(part.name)
            case "ColumnDefault" if part.def_ is None:
                table.defaults.pop(part.name, None)
            case "ColumnDefault":
                table.defaults[part.name] = part.def_
            case "AlterColumnType":
                table.columns[part.name] = type_of(part.def_.type_name)

    def _rename(self, statement: Any) -> None:
        if statement.rename_type in _TABLES:
            old = table_of(statement.relation)
            new = ".".join([*old.split(".")[:-1], statement.newname])
            self.tables[new] = self.tables.pop(old, Table())
            if old in self.new:
                self.new.add(new)
        elif statement.rename_type == enums.OBJECT_INDEX:
            old = statement.relation.relname
            self.indexes[statement.newname] = self.indexes.pop(old, "")
        elif statement.rename_type == enums.OBJECT_COLUMN and statement.relation is not None:
            columns = self.table(table_of(statement.relation)).columns
            columns[statement.newname] = columns.pop(statement.subname, "")
