"""A module, with the places of its parts."""

import ast
from functools import cached_property
from pathlib import Path

from dev.mutations.mutant import Edit, Mutant, taken

Part = ast.expr | ast.stmt | ast.keyword


class Source:
    """Knows by which bytes of a file each part of its tree is written.

    Args:
        file: relative to the project.
        text: of it.
    """

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text, self.tree = file, text, ast.parse(text)
        self._lines = [0]
        for line in text.encode().splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def span(self, part: Part) -> tuple[int, int]:
        """The byte that it begins with, and the one behind it."""
        assert part.end_lineno is not None
        assert part.end_col_offset is not None
        begin = self._lines[part.lineno - 1] + part.col_offset
        return begin, self._lines[part.end_lineno - 1] + part.end_col_offset

    def edit(self, part: Part, new: str) -> Edit:
        """What replaces a part."""
        return Edit(self.file, *self.span(part), new)

    def replaced(self, kind: str, part: ast.expr, new: ast.expr, *, shown: Part) -> Mutant:
        """The mutant that has another expression there; `shown` is what it lacks."""
        mutant = taken(kind, self.text, self.edit(part, ast.unparse(new)))
        begin, end = self.span(shown)
        what = self.text.encode()[begin:end].decode()
        return Mutant(kind, mutant.edits, shown.lineno, what)

    def header(self, block: ast.AsyncWith | ast.With, last: ast.expr) -> tuple[int, int]:
        """Where `async with …:` stands."""
        end = max(self.span(each.optional_vars or each.context_expr)[1] for each in block.items)
        assert end >= self.span(last)[1]
        return self.span(block)[0], self.text.encode().index(b":", end) + 1

    def from_module(self, module: str) -> set[str]:
        """The names that are imported from a module of the package."""
        return {
            name.asname or name.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and f".{node.module}".endswith(f".{module}")
            for name in node.names
        }

    def is_of_outbox(self, function: ast.expr) -> bool:
        """Whether it is a method of something that is an outbox by its type or its name."""
        match function:
            case ast.Attribute(value=ast.Name(id=name)):
                return name in self._outboxes
            case ast.Attribute(value=ast.Attribute(attr=name)):
                return name.endswith("outbox")
        return False

    @cached_property
    def _outboxes(self) -> set[str]:
        return {
            node.arg
            for node in ast.walk(self.tree)
            if isinstance(node, ast.arg)
            and isinstance(node.annotation, ast.Name)
            and node.annotation.id in self.from_module("messaging.outbox")
        }
