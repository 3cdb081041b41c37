"""What one difference between the models and the schema asks of the schema.

Each kind of difference has one function; `draft.py` puts what they say into files.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from postgast import nodes as ast

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations import recipes, replacements
from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.drift import Drift
from acme_orders.chassis.migrations.recipes import Part, Recipe, contract, short
from acme_orders.chassis.migrations.type_changes import Anew, anew

NOTES = {
    "table": "drop it in a file of its own with `phase: contract`, if nothing uses it",
    "default": "a generated column cannot be changed, only made anew",
    "exclusion": "it cannot be made while the table is used; see docs/schema-changes.md",
    "row-level security": "by hand, with ALTER TABLE … ENABLE and FORCE ROW LEVEL SECURITY",
    "policy": "by hand, with CREATE POLICY or DROP POLICY",
}
_ENDINGS = {"check": "check", "foreign key": "fkey", "exclusion": "excl"}
_PLAIN = re.compile(r"btree \(([a-z0-9_]+(?:, [a-z0-9_]+)*)\)")


def undone(each: Drift) -> Recipe:
    """A constraint or an index that no model has."""
    if each.drop.startswith("DROP INDEX"):
        name = each.drop.removeprefix("DROP INDEX ").rstrip(";")
        unique = "UNIQUE " if each.kind == "unique index" else ""
        make = f"CREATE {unique}INDEX CONCURRENTLY {name} ON {each.table} USING {each.what};"
        return (Part(f"DROP INDEX CONCURRENTLY {name};", make),)
    name = each.drop.rpartition(" ")[2].rstrip(";")
    definition = each.what
    if each.kind in {"unique index", "primary key"}:
        kind = "UNIQUE" if each.kind == "unique index" else "PRIMARY KEY"
        definition = f"{kind} {each.what.removeprefix('btree ')}"
    back = f"ALTER TABLE {each.table} ADD CONSTRAINT {name} {definition};"
    if each.kind == "check":
        return (Part(each.drop, back),)
    return (contract(each.drop, back, ""),)


def under_old_name(each: Drift, changed: Sequence[Drift]) -> Recipe:
    """A column that goes where one of the same type comes: probably it has another name now."""
    if each.kind == "column" and each.model is None:
        type_ = _only_type(each.database)
        for other in changed:
            new = other.kind == "column" and other.database is None and other.table == each.table
            if new and _only_type(other.model) == type_:
                _, last = replacements.other_column(each.table, each.what, other.what, type_, type_)
                remark = (
                    f"If {other.what} is another name of {each.what}, the release between writes\n"
                    f"both, and the backfill copies the values; otherwise require the release only."
                )
                return (replace(last, remark=remark),)
    return ()


def is_left(each: Drift) -> bool:
    """Whether it is for somebody's hands."""
    values = (each.model or "", each.database or "")
    generated = any(value.startswith("GENERATED ALWAYS AS (") for value in values)
    return (
        (each.kind == "table" and each.model is None)
        or (each.kind == "default" and generated)
        or (each.kind == "exclusion" and each.database is None)
        or each.kind in {"row-level security", "policy"}
    )


def _only_type(definition: str | None) -> str:
    return re.split(r" (?:NOT NULL|DEFAULT|GENERATED|COLLATE)\b", definition or "")[0]


def _column(each: Drift) -> Recipe:
    name = quoted(each.what)
    column = f"ALTER TABLE {each.table} %s COLUMN {name}"
    if each.database is None:
        (raw,) = parse(f"{column % 'ADD'} {each.model};")
        match raw.stmt:
            case ast.AlterTableStmt(cmds=[ast.AlterTableCmd(def_=definition)]):
                return recipes.new_column(each.table, definition)
    if each.model is None:
        back = f"{column % 'ADD'} {(each.database or '').replace(' NOT NULL', '')};"
        return (contract(f"{column % 'DROP'};", back, f"the values of {each.what} are gone"),)
    old, new = _short_type(each.database or ""), _short_type(each.model or "")
    if anew(old, new) == Anew.NOTHING:
        change = f"{column % 'ALTER'} TYPE %s;"
        return (Part(change % each.model, change % each.database),)
    other = short(each.what, new.partition("(")[0])
    parts = replacements.other_column(
        each.table, each.what, other, each.model or "", each.database or ""
    )
    said = f'The field says column_name="{other}" from now on.\n'
    return (replace(parts[0], remark=said + parts[0].remark), *parts[1:])


def _short_type(type_: str) -> str:
    return type_.replace("character varying", "varchar").replace("integer", "int")


def _nullability(each: Drift) -> Recipe:
    if each.model == "NOT NULL":
        return recipes.not_null(each.table, each.what)
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"
    return (contract(f"{column} DROP NOT NULL;", f"{column} SET NOT NULL;", ""),)


def _default(each: Drift) -> Recipe:
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"

    def become(value: str | None, other: str | None) -> str:
        if value is None:
            identity = (other or "").startswith("GENERATED")
            return f"{column} DROP {'IDENTITY' if identity else 'DEFAULT'};"
        return f"{column} {'ADD' if value.startswith('GENERATED') else 'SET DEFAULT'} {value};"

    if is_left(each):
        return ()
    there, back = become(each.model, each.database), become(each.database, each.model)
    return (contract(there, back, ""),) if each.model is None else (Part(there, back),)


def _index(each: Drift) -> Recipe:
    unique = "UNIQUE " if each.kind == "unique index" else ""
    name, columns = _name(each, "key" if unique else "idx"), _PLAIN.fullmatch(each.what)
    if unique and columns:
        return recipes.unique(each.table, columns[1].split(", "), name=name)
    make = f"CREATE {unique}INDEX CONCURRENTLY {name} ON {each.table} USING {each.what};"
    return (Part(make, f"DROP INDEX CONCURRENTLY {name};"),)


def _primary_key(each: Drift) -> Recipe:
    columns = _PLAIN.fullmatch(each.what)
    listed = columns[1].split(", ") if columns else []
    return recipes.unique(each.table, listed, name=_name(each, "pkey"), kind="PRIMARY KEY")


def _constraint(each: Drift) -> Recipe:
    if is_left(each):
        return ()
    return recipes.validated(each.table, _name(each, _ENDINGS[each.kind]), each.what)


def _nothing(_: Drift) -> Recipe:
    return ()


def _name(each: Drift, ending: str) -> str:
    """A name like those that PostgreSQL chooses: table, columns, kind."""
    inside = re.search(r"\((.*)\)", each.what)
    words = re.findall(r"[a-z_][a-z0-9_]*", inside[1] if inside else each.what)
    plain = each.table.rpartition(".")[2].strip('"')
    return "_".join([plain, *words])[: 62 - len(ending)] + f"_{ending}"


CHANGES: dict[str, Callable[[Drift], Recipe]] = {
    "table": _nothing,
    "column": _column,
    "nullability": _nullability,
    "default": _default,
    "primary key": _primary_key,
    "unique index": _index,
    "check": _constraint,
    "exclusion": _constraint,
    "foreign key": _constraint,
    "index": _index,
    "row-level security": _nothing,
    "policy": _nothing,
}
