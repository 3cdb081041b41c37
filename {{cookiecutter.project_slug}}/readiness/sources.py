"""Reading the source: which calls stand where."""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_SCOPES = {"transaction", "savepoint"}


@dataclass(frozen=True)
class Source:
    """A module of the package; `parts` is its path, such as `("parcels", "api")`."""

    parts: tuple[str, ...]
    path: str
    tree: ast.Module


def sources(folder: Path) -> Iterator[Source]:
    """Every module below a folder."""
    for file in sorted(folder.rglob("*.py")):
        relative = file.relative_to(folder)
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        yield Source(relative.with_suffix("").parts, str(relative), tree)


def calls(source: Source, names: Collection[str]) -> Iterator[ast.Call]:
    """Every call of a method by one of these names."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _method(node) in names:
            yield node


def exposed(source: Source, names: Collection[str]) -> Iterator[ast.Call]:
    """Awaited calls of these methods that no transaction encloses.

    What encloses is `async with ….transaction(…)`, `async with ….savepoint()`, or a function that
    the same module hands to `….run(…)`.
    """
    units = _units(source.tree)
    yield from _exposed(source.tree, names, units, awaited=False)


def _exposed(
    node: ast.AST, names: Collection[str], units: Collection[str], *, awaited: bool
) -> Iterator[ast.Call]:
    if _encloses(node, units):
        return
    if awaited and isinstance(node, ast.Call) and _method(node) in names:
        yield node
    lambdas = _lambdas(node)
    for child in ast.iter_child_nodes(node):
        if child not in lambdas:
            inside = awaited or isinstance(node, ast.Await)
            yield from _exposed(child, names, units, awaited=inside)


def _encloses(node: ast.AST, units: Collection[str]) -> bool:
    if isinstance(node, ast.AsyncWith):
        contexts = [item.context_expr for item in node.items]
        return any(isinstance(each, ast.Call) and _method(each) in _SCOPES for each in contexts)
    return isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name in units


def _units(tree: ast.Module) -> set[str]:
    """Names of functions that are handed to `….run(…)`."""
    return {
        argument.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _method(node) == "run"
        for argument in node.args
        if isinstance(argument, ast.Name)
    }


def _lambdas(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.Call) and _method(node) == "run":
        return [argument for argument in node.args if isinstance(argument, ast.Lambda)]
    return []


def _method(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else None
