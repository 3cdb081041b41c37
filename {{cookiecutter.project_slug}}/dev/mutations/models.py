"""What models say of their tables, as far as a migration says it too."""

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import postgast

from dev.mutations.mutant import Edit
from dev.mutations.source import Source


class Rule(NamedTuple):
    """An index, a key or a check, however it is written.

    Args:
        table: that has it.
        kind: index, unique or check.
        what: its columns without that of the tenant, or its condition.
    """

    table: str
    kind: str
    what: tuple[str, ...]


def check(table: str, condition: str) -> Rule:
    """A check; PostgreSQL writes the condition, so that spaces and brackets do not count."""
    return Rule(table, "check", (postgast.deparse(postgast.parse(f"SELECT {condition}")),))


def rules(file: Path, text: str) -> Iterator[tuple[Rule, Edit]]:
    """Each rule of the models in a module, and the edit that takes it away."""
    source, models = Source(file, text), dict[str, _Model]()
    for node in source.tree.body:
        match node:
            case ast.ClassDef(name=name) if meta := _named(node, "Meta"):
                models[name] = _Model(source, node, meta)
                yield from models[name].rules()
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="add_index"), args=[index])):
                yield from _whole(source, node, index, models)


def tables(text: str) -> set[str]:
    """The tables that models in a module describe."""
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return {_table(node, meta) for node in classes if (meta := _named(node, "Meta"))}


class _Model:
    def __init__(self, source: Source, node: ast.ClassDef, meta: ast.ClassDef) -> None:
        self._source, self._meta, self.table = source, meta, _table(node, meta)
        self._fields = {
            each.targets[0].id: each.value
            for each in node.body
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call)
            if isinstance(each.targets[0], ast.Name)
        }

    def rules(self) -> Iterator[tuple[Rule, Edit]]:
        for name, field in self._fields.items():
            said = {each.arg: each.value for each in field.keywords}
            if "constraints" in said:
                yield from self._checks(said["constraints"])
            for kind in ("unique", "index"):
                if isinstance(value := said.get(kind), ast.Constant) and value.value:
                    rule = Rule(self.table, kind, (self._column(name),))
                    yield rule, self._source.edit(value, "False")
            if _is_reference(field) and not said.keys() & {"index", "unique"}:
                bare = copy.copy(field)
                bare.keywords = [*field.keywords, ast.keyword("index", ast.Constant(value=False))]
                rule = Rule(self.table, "index", (self._column(name),))
                yield rule, self._source.edit(field, ast.unparse(bare))
        for key, value in _assigned(self._meta):
            if key == "constraints":
                yield from self._checks(value)
            elif key == "indexes":
                yield from self._indexes(value)

    def index(self, fields: Sequence[ast.expr], *, unique: bool) -> Rule:
        """The rule of an index on these fields of the model."""
        columns = [self._column(each.attr) for each in fields if isinstance(each, ast.Attribute)]
        return Rule(self.table, "unique" if unique else "index", tuple(columns))

    def _checks(self, listed: ast.expr) -> Iterator[tuple[Rule, Edit]]:
        for part in getattr(listed, "elts", []):
            match part:
                case ast.Call(args=[ast.Constant(value=str() as condition), *_]):
                    if getattr(part.func, "id", getattr(part.func, "attr", "")) == "Check":
                        yield check(self.table, condition), self._without(listed, part)

    def _indexes(self, listed: ast.expr) -> Iterator[tuple[Rule, Edit]]:
        for part in getattr(listed, "elts", []):
            match part:
                case ast.Tuple(elts=[ast.Tuple(elts=names), ast.Constant(value=unique)]):
                    fields = [str(each.value) for each in names if isinstance(each, ast.Constant)]
                    columns = tuple(map(self._column, fields))
                    rule = Rule(self.table, "unique" if unique else "index", columns)
                    yield rule, self._without(listed, part)

    def _without(self, listed: ast.expr, part: ast.expr) -> Edit:
        rest = copy.copy(listed)
        rest.elts = [each for each in listed.elts if each is not part]  # type: ignore[attr-defined]
        return self._source.edit(listed, ast.unparse(rest))

    def _column(self, name: str) -> str:
        field = self._fields.get(name)
        for each in field.keywords if field else ():
            if each.arg == "column_name" and isinstance(each.value, ast.Constant):
                return str(each.value.value)
        return f"{name}_id" if field and _is_reference(field) else name


def _whole(
    source: Source, statement: ast.stmt, index: ast.expr, models: Mapping[str, _Model]
) -> Iterator[tuple[Rule, Edit]]:
    """An index that was made with `Model.index(…)`: partial, of expressions, or with a method."""
    match index:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=fields) if name in models:
            unique = any(each.arg == "unique" for each in index.keywords)
            yield models[name].index(fields, unique=unique), source.edit(statement, "pass")


def _is_reference(field: ast.Call) -> bool:
    name = getattr(field.func, "attr", getattr(field.func, "id", ""))
    return str(name).endswith("ForeignKeyField")


def _table(node: ast.ClassDef, meta: ast.ClassDef) -> str:
    named = {key: value for key, value in _assigned(meta) if isinstance(value, ast.Constant)}
    return str(named["table_name"].value) if "table_name" in named else node.name.lower()


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for each in node.body:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value


def _named(node: ast.ClassDef, name: str) -> ast.ClassDef | None:
    inner = (each for each in node.body if isinstance(each, ast.ClassDef) and each.name == name)
    return next(inner, None)
