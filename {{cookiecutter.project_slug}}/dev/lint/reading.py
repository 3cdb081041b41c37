"""What stands in a syntax tree."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from dev.lint.source import Found, Source

ORM = {"peewee", "peewee_async", "playhouse"}
_NO_SQL = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)  # values and comments


def last_name(node: ast.AST) -> str:
    """The name, or that of the attribute; empty if it is neither."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.AST) -> Found:
    """Every imported name in full; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((node, f"{module}{alias.name}") for alias in node.names)


def names_in_full(tree: ast.Module) -> dict[str, str]:
    """What a name in a file stands for, where it is imported."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if module or alias.asname:
                    found[alias.asname or alias.name] = module + alias.name
    return found


def in_full(node: ast.AST, names: Mapping[str, str]) -> str:
    """A name with the module that it comes from, such as `asyncio.gather`."""
    first, dot, rest = ast.unparse(node).partition(".")
    return names.get(first, first) + dot + rest


def within(source: Source, name: str) -> list[str]:
    """An imported name inside the package, without the name of the package; else nothing."""
    dots = len(name) - len(name.lstrip("."))
    if dots:
        return [*source.parts[:-dots], *name[dots:].split(".")]
    first, *inside = name.split(".")
    return inside if first == source.package else []


def names_of_the_orm(tree: ast.AST) -> Found:
    """Names that come from peewee: imported ones, and all attributes, whatever they belong to."""
    for place, name in imports(tree):
        if name.split(".")[0] in ORM:
            yield place, name.rpartition(".")[2]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node, node.attr


def calls(tree: ast.AST, names: Collection[str]) -> Iterator[ast.Call]:
    """Every call of something of such a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and last_name(node.func) in names:
            yield node


def first_argument(call: ast.Call) -> ast.expr | None:
    """What stands where SQL does: the first argument, or the one called `sql` or `query`."""
    named = (keyword.value for keyword in call.keywords if keyword.arg in {"sql", "query"})
    return next(chain(call.args, named), None)


def texts(node: ast.AST) -> Found:
    """Every text as a whole, also one that is put together; docstrings are prose."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and (text := _text(child)) is not None:
            yield child, text
        elif not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from texts(child)


def _text(node: ast.AST) -> str | None:
    """A text with `_` for what is not known; None if it is none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "_" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = _text(left), _text(right)
            return None if both == (None, None) else "".join(part or "_" for part in both)
        case (
            ast.BinOp(left=value, op=ast.Mod())
            | ast.Call(func=ast.Attribute(value=value, attr="format"))
        ):
            return _text(value)
    return None


def without_values(text: str) -> str:
    """SQL without its values and comments."""
    return _NO_SQL.sub(" ", text)
