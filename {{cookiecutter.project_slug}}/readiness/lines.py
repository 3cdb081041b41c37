"""Sees which statements of some modules are reached."""

import ast
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# No example has to lead to a refusal; what is defined inside a function is looked at by itself.
_LEFT_OUT = (ast.Raise, ast.Pass, ast.Try, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Function:
    """A function, or a method, with all that is defined in it.

    Args:
        file: where it is.
        name: of it.
        statements: first and last line of each.
    """

    file: str
    name: str
    statements: tuple[tuple[int, int], ...]


@dataclass(eq=False)
class Reached:
    """Lines of these files that were reached."""

    files: Collection[str]
    lines: set[tuple[str, int]] = field(default_factory=set)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what this thread does in the block."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def missing(self, function: Function) -> list[int]:
        """The first line of each of its statements that was not reached."""
        return [
            first
            for first, last in function.statements
            if not any((function.file, line) in self.lines for line in range(first, last + 1))
        ]

    def _called(self, frame: Any, *_: Any) -> Any:
        return self._line if frame.f_code.co_filename in self.files else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def functions_of(file: str, class_: str = "") -> Iterator[Function]:
    """The functions of a module, or the methods of a class in it."""
    body = ast.parse(Path(file).read_text(encoding="utf-8")).body
    if class_:
        found = (each for each in body if isinstance(each, ast.ClassDef) and each.name == class_)
        body = next((each.body for each in found), [])
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(file, node.name, tuple(_statements(node)))


def _statements(function: ast.AST) -> Iterator[tuple[int, int]]:
    for node in ast.walk(function):
        if not isinstance(node, ast.stmt) or isinstance(node, _LEFT_OUT) or _is_silent(node):
            continue
        inner = getattr(node, "body", None)
        last = inner[0].lineno - 1 if inner else node.end_lineno or node.lineno
        yield node.lineno, max(node.lineno, last)


def _is_silent(node: ast.stmt) -> bool:
    """Whether nothing happens there: a text, a type without a value, the way out with nothing."""
    value = getattr(node, "value", None)
    if isinstance(node, ast.Expr | ast.Return):
        return value is None or isinstance(value, ast.Constant)
    return isinstance(node, ast.AnnAssign | ast.Global | ast.Nonlocal) and value is None
