"""What the tests read out of Python files without running them."""

import ast
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache  # most files are the same in every project that is generated
def imported(code: str) -> frozenset[str]:
    """The top-level names of everything that this code imports absolutely."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return frozenset(names)


@cache
def modules(code: str) -> frozenset[str]:
    """The modules from which this code imports something, by their whole names."""
    found = (each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.ImportFrom))
    return frozenset(each.module for each in found if each.module and not each.level)


@cache
def overwritten(code: str) -> tuple[str, ...]:
    """Names that get a value, and another one in the next statement, which makes nothing of it.

    `None` is no value: it stands for the next one, should that fail.
    """
    return tuple(
        name
        for node in ast.walk(ast.parse(code))
        for _, body in ast.iter_fields(node)
        if isinstance(body, list)
        for one, other in itertools.pairwise(body)
        if isinstance(one, ast.Assign) and isinstance(other, ast.Assign)
        if ast.unparse(one.value) != "None"
        for name in _names(*one.targets) & _names(*other.targets)
        if not any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(other.value))
    )


def _names(*targets: ast.expr) -> set[str]:
    parts = [getattr(target, "elts", [target]) for target in targets]
    return {each.id for some in parts for each in some if isinstance(each, ast.Name)} - {"_"}


def public(path: Path) -> set[str]:
    """What others may use: `name`, and `Class.name` for its public methods and attributes."""
    return set(_public(ast.parse(path.read_bytes(), str(path)).body))


def _public(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        for name in _bound(node):
            if not name.startswith("_"):
                yield prefix + name
                if isinstance(node, ast.ClassDef):
                    yield from _public(node.body, f"{prefix}{name}.")


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]
