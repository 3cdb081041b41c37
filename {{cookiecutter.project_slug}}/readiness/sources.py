"""Reading the source: which calls stand where, and what encloses them."""

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from readiness.receivers import Classes, Function, Kinds, within

_SCOPES = {"transaction", "savepoint"}
_RUNS = {"run", "Handler"}  # what is handed to these is called inside a transaction
_OPEN, _READ_ONLY = "open", "read-only"


@dataclass(frozen=True)
class Source:
    """A module of `package`; `parts` is its path, such as `("parcels", "api")`."""

    package: str
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
        owner: the class whose method it is; empty for a function, and if nobody knows.
        function: in which it is.
        method_of: the class, if that is a method.
        transaction: that encloses it: `open`, `read-only`, or empty if there is none.
        awaited: whether it is.
    """

    name: str
    source: Source
    line: int
    owner: str = ""
    function: str = ""
    method_of: str = ""
    transaction: str = ""
    awaited: bool = False


def sources(folder: Path) -> Iterator[Source]:
    """Every module below a folder."""
    for file in sorted(folder.rglob("*.py")):
        relative = file.relative_to(folder)
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        yield Source(folder.name, relative.with_suffix("").parts, str(relative), tree)


def calls(source: Source, names: Collection[str]) -> Iterator[ast.Call]:
    """Every call of a method by one of these names."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _method(node) in names:
            yield node


def exposed(modules: Sequence[Source], names: Collection[str]) -> Iterator[Use]:
    """Awaited calls of these methods that no transaction encloses.

    What encloses is `async with ….transaction(…)`, `async with ….savepoint()`, `….run(…)`, or a
    function all of whose callers in these modules do, or that is handed to a `Handler`. The method
    of a class of these modules is another one, unless the class inherits from the chassis.
    """
    classes = Classes((each.tree for each in modules), modules[0].package if modules else "")
    uses = [use for source in modules for use in _uses_of(source, classes)]
    by_name: dict[str, list[Use]] = {}
    for use in uses:
        by_name.setdefault(use.name, []).append(use)

    def enclosed(use: Use, seen: Collection[tuple[str, str]] = ()) -> str | None:
        """The weakest of what encloses it wherever it is reached from; None: only from itself."""
        here = (use.method_of, use.function)
        if use.transaction or not use.function:
            return use.transaction
        if here in seen:
            return None
        callers = [
            each
            for each in by_name.get(use.function, ())
            if not each.owner or (use.method_of and classes.related(each.owner, use.method_of))
        ]
        found = {enclosed(each, {*seen, here}) for each in callers}
        if found == {None}:
            return None
        return next((how for how in ("", _READ_ONLY, _OPEN) if how in found), "")

    for use in uses:
        if use.awaited and use.name in names and not classes.plain(use.owner):
            how = enclosed(use) or ""
            if how != _OPEN:
                yield replace(use, transaction=how)


def _uses_of(source: Source, classes: Classes) -> Iterator[Use]:
    libraries = classes.libraries(source.tree)

    def uses(node: ast.AST, here: Use, kinds: Kinds) -> Iterator[Use]:
        if isinstance(node, Function | ast.ClassDef):
            here, kinds = _entered(node, here), within(node, kinds, libraries)
        elif isinstance(node, ast.AsyncWith):
            here = replace(here, transaction=here.transaction or _opens(node))
        elif isinstance(node, ast.Assign) and _name(getattr(node.value, "func", node)) == "partial":
            here = replace(here, function=_name(node.targets[0]))  # whoever calls that calls it
        elif isinstance(node, ast.Await):
            here = replace(here, awaited=True)
        elif isinstance(node, ast.Call):
            called, owner = _name(node.func), classes.owner(node, kinds, libraries)
            yield replace(here, name=called, owner=owner, line=node.lineno)
            if called in _RUNS:
                here = replace(here, transaction=_OPEN)
            for name in _given(node) if here.transaction or called == "partial" else ():
                yield replace(here, name=name, line=node.lineno, awaited=False)
        for child in ast.iter_child_nodes(node):
            yield from uses(child, here, kinds)

    return uses(source.tree, Use("", source, 0), {})


def _entered(node: Function | ast.ClassDef, here: Use) -> Use:
    if isinstance(node, ast.ClassDef):
        return replace(here, function="", method_of=node.name)
    method_of = "" if here.function else here.method_of
    return replace(here, function=node.name, method_of=method_of, transaction="", awaited=False)


def _given(call: ast.Call) -> Iterator[str]:
    yield from filter(None, map(_name, (*call.args, *(each.value for each in call.keywords))))


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
