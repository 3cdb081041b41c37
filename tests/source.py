"""What the tests read out of Python files without running them."""

import ast
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
