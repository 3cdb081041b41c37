"""How to change a table that is in use: each change as the files of migrations that it takes.

No step blocks the table for longer than a moment, and the release before still works after each one
that is not the last. `migrate lint` shows these recipes; `migrate new` writes them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import postgast

from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.records import app_version
from acme_orders.chassis.migrations.trees import (
    changed,
    constraints_of,
    expression,
    is_serial,
    is_volatile,
    kind_of,
    statement_sql,
    type_of,
    words_of,
)

EXPAND, CONTRACT = "phase: expand", "phase: contract"
YES = "reversible: yes"
_DOWN_WAITS = "-- While this is made, writes of the table wait.\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One migration.

    Args:
        up: its statements.
        down: those that take them back.
        head: what its head says, without `-- `.
        remark: what has to happen before or after it, elsewhere.
    """

    up: str
    down: str = ""
    head: tuple[str, ...] = (YES,)
    remark: str = ""

    @property
    def text(self) -> str:
        """The content of its up file."""
        lines = [f"-- {each}" for each in (*self.head, *self.remark.splitlines())]
        return "\n".join(lines) + "\n\n" + (f"{self.up}\n" if self.up else "")


Recipe = Sequence[Part]


def next_release() -> str:
    """The release after this one, which is the first that can stop using something."""
    try:
        major, minor, *_ = (app_version() or "").split(".")
        return f"{major}.{int(minor) + 1}"
    except ValueError:  # it is not installed, or its version is no release
        return "1.0"


def short(*words: str) -> str:
    """A name made of these words that fits into the 63 bytes of PostgreSQL."""
    return "_".join(re.sub(r"\W+", "_", each).strip("_") for each in words if each)[:63].lower()


def contract(up: str, down: str, lost: str, *, backfill: str = "", remark: str = "") -> Part:
    """What takes something away, after the last release that uses it is gone."""
    requires = [f"backfill {backfill}"] if backfill else []
    requires.append(f"release {next_release()}")
    back = f"reversible: no ({lost})" if lost else YES
    return Part(up, down, (back, CONTRACT, f"requires: {', '.join(requires)}"), remark)


def index(node: Any) -> Recipe:
    """An index, while the table is written."""
    name = node.idxname or short(
        node.relation.relname, *(each.name for each in node.index_params), "idx"
    )
    sql = statement_sql(changed(node, idxname=name, concurrent=True, if_not_exists=False))
    return (Part(sql, f"DROP INDEX CONCURRENTLY {quoted(name)};"),)


def unique(
    table: str, columns: Sequence[str], *, name: str = "", kind: str = "UNIQUE", node: Any = None
) -> Recipe:
    """A unique or primary key, whose index is made while the table is written.

    Args:
        table: its table.
        columns: of the key.
        name: of the key and its index.
        kind: `UNIQUE` or `PRIMARY KEY`.
        node: the constraint, if it says more than that.
    """
    name, more, when = quoted(name or short(table, *columns, "key")), "", ""
    if node is not None:
        included = ", ".join(map(quoted, words_of(node.including)))
        more += f" INCLUDE ({included})" if included else ""
        more += " NULLS NOT DISTINCT" if node.nulls_not_distinct else ""
        when += " DEFERRABLE" if node.deferrable else ""
        when += " INITIALLY DEFERRED" if node.initdeferred else ""
    make = f"INDEX CONCURRENTLY {name} ON {table} ({', '.join(map(quoted, columns))}){more};"
    key = f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name}{when};"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name};"
    again = f"CREATE UNIQUE {make.replace(' CONCURRENTLY', '')}"
    return (
        Part(f"CREATE UNIQUE {make}", f"DROP INDEX CONCURRENTLY {name};"),
        Part(key, f"{drop}\n{_DOWN_WAITS}{again}"),
    )


def validated(table: str, name: str, definition: str, head: tuple[str, ...] = (YES,)) -> Recipe:
    """A check or a foreign key: first for new rows, then for those that are there."""
    name = quoted(name)
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID;"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name};"
    validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};"
    return Part(add, drop, head), Part(validate, f"{drop}\n{add}")


def not_null(table: str, column: str, *, backfill: str = "") -> Recipe:
    """NOT NULL, which PostgreSQL takes without reading the table where a check has proved it."""
    name, column = short(table, column, "not_null"), quoted(column)
    definition = f"CHECK ({column} IS NOT NULL)"
    gate = contract("", "", "", backfill=backfill or short(table, column))
    set_, add = f"ALTER COLUMN {column} SET NOT NULL", f"ADD CONSTRAINT {name} {definition}"
    return (
        *validated(table, name, definition, gate.head),
        Part(
            f"ALTER TABLE {table} {set_};\nALTER TABLE {table} DROP CONSTRAINT {name};",
            f"{_DOWN_WAITS}ALTER TABLE {table} {add};\n"
            f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;",
        ),
    )


def new_column(table: str, column: Any) -> Recipe:
    """A column, its values, and what is said of them, each when it can be done at once."""
    parts = constraints_of(column)
    name = quoted(column.colname)
    default: Any = parts.get("DEFAULT")
    counted = is_serial(column) or "IDENTITY" in parts
    known = default is not None and not is_volatile(default.raw_expr)
    type_ = "bigint" if counted else type_of(column.type_name)
    if column.coll_clause is not None:
        type_ += f" COLLATE {'.'.join(map(quoted, words_of(column.coll_clause.collname)))}"
    add = f"ALTER TABLE {table} ADD COLUMN {name} {type_}"
    add += f" DEFAULT {expression(default.raw_expr)}" if known else ""
    filled = known and "NOTNULL" in parts
    ups, downs = [f"{add} NOT NULL;" if filled else f"{add};"], []
    alter = f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT"
    if counted:
        sequence = short(table, name, "seq")
        ups = [ups[0], f"CREATE SEQUENCE {sequence} OWNED BY {table}.{name};"]
        ups.append(f"{alter} nextval('{sequence}');")
    elif default is not None and not known:
        ups.append(f"{alter} {expression(default.raw_expr)};")
    downs.append(f"ALTER TABLE {table} DROP COLUMN {name};")
    backfill = short(table, name)
    fill = f"Then the backfill {backfill} gives the rows that are there their values."
    if "GENERATED" in parts:
        fill = f"The code computes it with each write; the backfill {backfill} does it once."
    empty = not known and bool({"NOTNULL", "PRIMARY", "GENERATED"} & parts.keys() or default)
    found = [
        Part("\n".join(ups), "\n".join(downs), (YES, EXPAND), fill if empty or counted else "")
    ]
    if not filled and {"NOTNULL", "PRIMARY"} & parts.keys():
        found += not_null(table, column.colname, backfill=backfill)
    for kind in ("UNIQUE", "PRIMARY"):
        if kind in parts:
            found += unique(table, [column.colname], kind=kind + " KEY" * (kind == "PRIMARY"))
    for kind, ending in (("CHECK", "check"), ("FOREIGN", "fkey")):
        if kind in parts:
            given = parts[kind].conname or short(table, column.colname, ending)
            found += validated(table, given, definition(parts[kind], [column.colname]))
    return found


def definition(constraint: Any, columns: Sequence[str] = ()) -> str:
    """A check or a foreign key as SQL, without its name."""
    bare = changed(constraint, conname="", skip_validation=False, initially_valid=True)
    if kind_of(constraint) == "FOREIGN" and columns:
        strings = postgast.parse(f"DROP TABLE {', '.join(map(quoted, columns))}")
        named = strings.stmts[0].stmt.drop_stmt.objects
        bare = changed(bare, fk_attrs=[each.list.items[0] for each in named])
    tree = postgast.parse("ALTER TABLE t ADD CHECK (true)")
    command = tree.stmts[0].stmt.alter_table_stmt.cmds[0].alter_table_cmd
    getattr(command, "def").constraint.CopyFrom(bare._pb)  # noqa: SLF001
    return postgast.deparse(tree).removeprefix("ALTER TABLE t ADD ")


def constraint(table: str, node: Any) -> Recipe:
    """A constraint of a table that is there."""
    kind, columns = kind_of(node), words_of(node.fk_attrs or node.keys)
    if kind in {"UNIQUE", "PRIMARY"}:
        name = node.conname or short(table, *columns, "key" if kind == "UNIQUE" else "pkey")
        return unique(
            table, columns, name=name, kind=kind + " KEY" * (kind == "PRIMARY"), node=node
        )
    ending = {"FOREIGN": "fkey", "CHECK": "check"}.get(kind, "excl")
    name = node.conname or short(table, *columns, ending)
    if kind == "EXCLUSION":
        new = short(table, "new")
        like = f"CREATE TABLE {new} (LIKE {table} INCLUDING ALL, CONSTRAINT {quoted(name)} "
        remark = f"Then the code writes both tables, and the backfill {new} copies the rows."
        sql = f"{like}{definition(node)});"
        return (Part(sql, f"DROP TABLE {new};", (YES, EXPAND), remark),)
    return validated(table, name, definition(node))


def unchecked(table: str, checks: Mapping[str, Any], change: str, back: str) -> Recipe:
    """A change of a column's type; its checks go and come again, as PostgreSQL would do it."""
    alter = f"ALTER TABLE {table}"
    drop = "\n".join(f"{alter} DROP CONSTRAINT {quoted(each)};" for each in checks)
    adds = [f"{alter} ADD CONSTRAINT {quoted(n)} {definition(each)}" for n, each in checks.items()]
    unread = "\n".join(f"{each} NOT VALID;" for each in adds)
    down = "\n".join([f"{_DOWN_WAITS}{drop}", f"{alter} {back};", *(f"{each};" for each in adds)])
    validate = "\n".join(f"{alter} VALIDATE CONSTRAINT {quoted(each)};" for each in checks)
    up = f"{drop}\n{alter} {change};\n{unread}"
    return Part(up, down), Part(validate, f"{drop}\n{unread}")


def concurrently(node: Any) -> Recipe:
    """The same statement with CONCURRENTLY."""
    match type(node).__name__:
        case "DropStmt" | "RefreshMatViewStmt":
            return (Part(statement_sql(changed(node, concurrent=True)), "SELECT 1;"),)
    sql = statement_sql(node)
    kind, _, rest = sql.removeprefix("REINDEX ").partition(" ")
    return (Part(f"REINDEX {kind} CONCURRENTLY {rest}", "SELECT 1;"),)
