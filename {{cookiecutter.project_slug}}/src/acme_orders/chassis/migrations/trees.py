"""Small readings of PostgreSQL's own syntax trees."""

from collections.abc import Iterable, Iterator
from typing import Any

import postgast
from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import called, descendants
from acme_orders.chassis.migrations.ddl import quoted

# What one statement finds the same however often it asks; all other functions may be volatile.
_STABLE = frozenset(
    {"now", "transaction_timestamp", "statement_timestamp", "current_setting", "lower", "upper"}
    | {"to_jsonb", "jsonb_build_object", "jsonb_build_array", "make_interval", "concat", "length"}
    | {"md5", "array_fill", "coalesce", "timezone", "date_trunc", "current_database", "abs"}
)
_SERIALS = frozenset({"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"})


def table_of(relation: Any) -> str:
    """The name of a table, quoted where it needs it; of `public`, where all is, without schema."""
    schema = "" if relation.schemaname in {"", "public"} else f"{quoted(relation.schemaname)}."
    return f"{schema}{quoted(relation.relname)}"


def names_of(object_: Any) -> str:
    """The same of what `DROP` and `COMMENT` name, which is a list of words."""
    words = [each.sval for each in descendants(object_) if isinstance(each, ast.String)]
    words = words[1:] if len(words) > 1 and words[0] == "public" else words
    return ".".join(map(quoted, words))


def words_of(nodes: Iterable[Any]) -> tuple[str, ...]:
    """The texts of a list of names, as of the columns of a key."""
    return tuple(each.sval for each in nodes)


def read_by(node: Any) -> Iterator[str]:
    """Tables that a statement names; what WITH names is none."""
    every = list(descendants(node))
    named = {each.ctename for each in every if isinstance(each, ast.CommonTableExpr)}
    tables = (each for each in every if isinstance(each, ast.RangeVar))
    yield from dict.fromkeys(table_of(each) for each in tables if each.relname not in named)


def kind_of(node: Any) -> str:
    """The kind of a constraint, or of a part of ALTER TABLE, such as `CHECK` or `AddColumn`."""
    if isinstance(node, ast.Constraint):
        return str(enums.ConstrType.Name(node.contype)).removeprefix("CONSTR_")
    return str(enums.AlterTableType.Name(node.subtype)).removeprefix("AT_")


def constraints_of(column: Any) -> dict[str, Any]:
    """Those of a column, by their kind."""
    return {kind_of(each): each for each in column.constraints}


def type_of(type_name: Any) -> str:
    """A type as SQL, such as `numeric(10, 2)`."""
    tree = postgast.parse("SELECT NULL::integer")
    cast = tree.stmts[0].stmt.select_stmt.target_list[0].res_target.val.type_cast
    cast.type_name.CopyFrom(type_name._pb)  # noqa: SLF001
    return postgast.deparse(tree).partition("::")[2].removeprefix("pg_catalog.")


def expression(node: Any) -> str:
    """An expression as SQL."""
    tree = postgast.parse("SELECT 1")
    target = tree.stmts[0].stmt.select_stmt.target_list[0].res_target.val
    kind = next(
        each.name
        for each in target.DESCRIPTOR.fields
        if each.message_type and each.message_type.name == type(node).__name__
    )
    getattr(target, kind).CopyFrom(node._pb)  # noqa: SLF001
    return postgast.deparse(tree).removeprefix("SELECT ")


def statement_sql(node: Any) -> str:
    """A statement as SQL, in one line."""
    tree = postgast.parse("SELECT 1; SELECT 1")
    del tree.stmts[1]
    whole = tree.stmts[0].stmt
    kind = next(
        each.name
        for each in whole.DESCRIPTOR.fields
        if each.message_type and each.message_type.name == type(node).__name__
    )
    getattr(whole, kind).CopyFrom(node._pb)  # noqa: SLF001
    return f"{postgast.deparse(tree)};"


def changed(node: Any, **fields: Any) -> Any:
    """A copy of a node, in which some fields have other values."""
    copy = type(node._pb)()  # noqa: SLF001
    copy.CopyFrom(node._pb)  # noqa: SLF001
    for name, value in fields.items():
        if isinstance(value, list):
            copy.ClearField(name)
            getattr(copy, name).extend(value)
        else:
            setattr(copy, name, value)
    return type(node)(copy)


def is_volatile(default: Any) -> bool:
    """Whether a default may differ from row to row, so that each row has to be written."""
    return any(called(each) not in {"", *_STABLE} for each in descendants(default))


def is_serial(column: Any) -> bool:
    """Whether its type is a serial, which is a default that counts."""
    return bool(column.type_name) and column.type_name.names[-1].sval in _SERIALS


def columns_of(condition: Any) -> set[str]:
    """The columns that an expression names."""
    references = [each for each in descendants(condition) if isinstance(each, ast.ColumnRef)]
    last = [each.fields[-1] for each in references]
    return {each.sval for each in last if isinstance(each, ast.String)}


def not_null(condition: Any) -> frozenset[str]:
    """The columns of which a check says that they are not NULL."""
    match condition:
        case ast.NullTest(nulltesttype=enums.IS_NOT_NULL, arg=ast.ColumnRef(fields=[name])):
            return frozenset({name.sval} if isinstance(name, ast.String) else ())
        case ast.BoolExpr(boolop=enums.AND_EXPR):
            return frozenset().union(*map(not_null, condition.args))
    return frozenset()


def wants(options: Iterable[Any], name: str) -> bool:
    """Whether an option such as FULL or CONCURRENTLY is given."""
    return any(each.defname == name for each in options)
