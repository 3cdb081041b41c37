"""Reading the source: which calls stand where, and what encloses them."""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_SCOPES = {"transaction", "savepoint"}
_RUNS = {"run", "Handler"}  # what is handed to these is called inside a transaction
_OPEN, _READ_ONLY = "open", "read-only"


@dataclass(frozen=True)
class Source:
    """A module of the package; `parts` is its path, such as `("parcels", "api")`."""

    parts: tuple[str, ...]
    path: str
    tree: ast.Module


@dataclass(frozen=True)
class Use:
    """A place where a function is called, or handed to somebody who calls it.

    Args:
        name: of the function.
        source: where it is.
        line: in the source.
        function: in which it is.
        transaction: that encloses it: `open`, `read-only`, or empty if there is none.
        awaited: whether it is.
    """

    name: str
    source: Source
    line: int
    function: str = ""
    transaction: str = ""
    awaited: bool = False


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


def exposed(modules: Iterable[Source], names: Collection[str]) -> Iterator[Use]:
    """Awaited calls of these methods that no transaction encloses.

    What encloses is `async with ….transaction(…)`, `async with ….savepoint()`, `….run(…)`, or a
    function all of whose callers in these modules do, or that is handed to a `Handler`.
    """
    uses = [use for source in modules for use in _uses(source.tree, Use("", source, 0))]
    by_name: dict[str, list[Use]] = {}
    for use in uses:
        by_name.setdefault(use.name, []).append(use)
    for use in uses:
        if use.awaited and use.name in names and (how := _enclosed(use, by_name)) != _OPEN:
            yield replace(use, transaction=how)


def _enclosed(use: Use, uses: Mapping[str, Sequence[Use]], seen: Collection[str] = ()) -> str:
    """The weakest of what encloses it wherever it is reached from."""
    if use.transaction or not use.function or use.function in seen:
        return use.transaction
    callers = uses.get(use.function, ())
    found = {_enclosed(each, uses, {*seen, use.function}) for each in callers}
    return next((how for how in ("", _READ_ONLY, _OPEN) if how in found), "")


def _uses(node: ast.AST, here: Use) -> Iterator[Use]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        here = replace(here, function=node.name, transaction="", awaited=False)
    elif isinstance(node, ast.AsyncWith):
        here = replace(here, transaction=here.transaction or _opens(node))
    elif isinstance(node, ast.Assign) and _name(getattr(node.value, "func", node)) == "partial":
        here = replace(here, function=_name(node.targets[0]))  # whoever calls that calls it
    elif isinstance(node, ast.Await):
        here = replace(here, awaited=True)
    elif isinstance(node, ast.Call):
        called = _name(node.func)
        yield replace(here, name=called, line=node.lineno)
        if called in _RUNS:
            here = replace(here, transaction=_OPEN)
        if here.transaction or called == "partial":
            given = (*node.args, *(each.value for each in node.keywords))
            for name in filter(None, map(_name, given)):
                yield replace(here, name=name, line=node.lineno, awaited=False)
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, here)


def _opens(node: ast.AsyncWith) -> str:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and _method(call) in _SCOPES:
            refuses = any(
                word.arg == "read_only" and getattr(word.value, "value", True) is not False
                for word in call.keywords
            )
            return _READ_ONLY if refuses else _OPEN
    return ""


def _method(call: ast.Call) -> str:
    return _name(call.func) if isinstance(call.func, ast.Attribute) else ""


def _name(node: ast.AST) -> str:
    return str(getattr(node, "attr", "") or getattr(node, "id", ""))
