"""Whether a text is put together from more than constants, as far as one file shows it."""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dev.lint.reading import last_name

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BUILDS = {"format", "format_map", "join"}
_KEEPS = {"cleandoc", "dedent", "list", "reversed", "set", "sorted", "tuple"}  # texts as they are
_MORE = {"append", "extend", "insert"}
_CONSTANT = ast.Constant("")


@dataclass(frozen=True)
class Scope:
    """What a function, or the module, knows of its names.

    Args:
        functions: of this file.
        values: what each name is given, in any order; None where nobody knows.
        seen: names that are being looked at.
        inside: functions that are being looked at.
    """

    functions: Mapping[str, Function]
    values: Mapping[str, Sequence[ast.expr | None]]
    seen: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()

    def within(self, node: ast.AST) -> "Scope":
        """What is known inside a function, of whose arguments nothing is."""
        return replace(self, values={**self.values, **_values(node)})

    def built(self, node: ast.AST | None) -> bool:
        """Whether something that is no constant was put into this text."""
        match node:
            case None | ast.Attribute():
                return False
            case ast.Name(id=name):
                inner = replace(self, seen=self.seen | {name})
                return name not in self.seen and any(map(inner.built, self.values.get(name, ())))
            case ast.Call() if not _builds(node):
                return self._returned(node) or any(map(self.built, _texts(node)))
            case ast.IfExp(body=one, orelse=other):
                return self.built(one) or self.built(other)
        if _builds(node):
            return not self._fixed(node)
        return any(map(self.built, ast.iter_child_nodes(node)))

    def _returned(self, call: ast.Call) -> bool:
        """Whether a function of this file puts something into what it returns."""
        name = last_name(call.func)
        function = self.functions.get(name)
        if function is None or name in self.inside:
            return False
        inner = replace(self.within(function), seen=frozenset(), inside=self.inside | {name})
        if all(map(self._fixed, _given(call))):
            taken = {each.arg: [_CONSTANT] for each in _taken(function)}
            inner = replace(inner, values={**inner.values, **taken})
        returns = (each for each in ast.walk(function) if isinstance(each, ast.Return))
        return any(inner.built(each.value) for each in returns)

    def _fixed(self, node: ast.AST | None) -> bool:
        """Whether nothing but constants of the source can be in it."""
        scope = self
        if isinstance(node, ast.Name) and node.id in self.values:
            scope = replace(self, seen=self.seen | {node.id})
            parts = [] if node.id in self.seen else self.values[node.id]
        elif isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            scope, parts = self.within(node), [node.elt]
        else:
            parts = _parts(node)
        return node is not None and all(map(scope._fixed, parts))  # noqa: SLF001


def _parts(node: ast.AST | None) -> Sequence[ast.expr | None]:
    """What has to be constant, if this is to be; None where nothing helps."""
    parts: Sequence[ast.expr | None] = [None]
    match node:
        case ast.Attribute(attr="value" | "name", value=ast.Attribute() as member):
            parts = [member]
        case ast.Name(id=name) | ast.Attribute(attr=name) if name.isupper():
            parts = []
        case ast.BinOp(op=ast.Mult(), left=one, right=other):  # placeholders, however many
            parts = [each for each in (one, other) if not isinstance(each, ast.Call)]
        case ast.IfExp(body=one, orelse=other):
            parts = [one, other]
        case ast.Subscript(value=choices):
            parts = [choices]
        case ast.Call(func=ast.Attribute(value=text)):
            parts = [text, *_given(node)]
        case ast.Call(func=called) if last_name(called) in _KEEPS:
            parts = _given(node)
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            parts = elements
        case ast.Constant() | ast.JoinedStr() | ast.FormattedValue() | ast.BinOp() | ast.Dict():
            parts = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
    return parts


def calls_in_scope(tree: ast.Module, names: Collection[str]) -> Iterator[tuple[ast.Call, Scope]]:
    """Every call of something of such a name, and what is known where it stands."""

    def visit(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
        if isinstance(node, ast.Call) and last_name(node.func) in names:
            yield node, scope
        for child in ast.iter_child_nodes(node):
            yield from visit(child, scope.within(child) if isinstance(child, Function) else scope)

    functions = {each.name: each for each in ast.walk(tree) if isinstance(each, Function)}
    return visit(tree, Scope(functions, _values(tree)))


def _builds(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.BinOp(op=ast.Add() | ast.Mod()):
            return True
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in _BUILDS
    return False


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(each.value for each in call.keywords)]


def _texts(call: ast.Call) -> Iterator[ast.expr]:
    """What becomes a part of what is called; a name may be that of a key, or a number."""
    keeps = last_name(call.func) in _KEEPS
    yield from (each for each in _given(call) if keeps or not isinstance(each, ast.Name))
    if isinstance(call.func, ast.Attribute):
        yield call.func.value


def _taken(function: Function) -> list[ast.arg]:
    given = function.args
    rest = [each for each in (given.vararg, given.kwarg) if each]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, but not in those inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own(child)


def _values(node: ast.AST) -> dict[str, list[ast.expr | None]]:
    found: dict[str, list[ast.expr | None]] = {}
    known = dict(_bound(node))
    for name in _own(node):
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
            found.setdefault(name.id, []).append(known.get(name))
        match name:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=id_), attr=how)) if how in _MORE:
                found.setdefault(id_, []).extend(name.args)
    if isinstance(node, Function):
        found |= {each.arg: [None] for each in _taken(node)}
    return found


def _bound(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr | None]]:
    """Each name that is given a value, or an element of it."""
    for each in _own(node):
        match each:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _pairs(target, value)
            case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target, value):
                yield target, value
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                yield target, ast.BinOp(ast.Name(name, ast.Load()), op, value)
            case (
                ast.For(target=target, iter=value)
                | ast.AsyncFor(target=target, iter=value)
                | ast.comprehension(target=target, iter=value)
            ):
                yield from ((inner, value) for inner in ast.walk(target))


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.AST, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts, strict=False)
    else:
        yield target, value
