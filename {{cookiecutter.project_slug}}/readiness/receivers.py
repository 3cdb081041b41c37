"""Whose method is called, as far as annotations, constructors and imports say."""

import ast
from collections.abc import Iterable, Mapping

import acme_orders

Function = ast.FunctionDef | ast.AsyncFunctionDef
# A variable or `self.x`, and the class of what it holds: of a library with a dot, such as
# `httpx.AsyncClient`; empty if nobody knows.
Kinds = Mapping[str, str]
_SAY_NOTHING = {"typing", "typing_extensions"}


class Classes:
    """The classes of a package, and what its modules import from libraries."""

    def __init__(self, trees: Iterable[ast.Module], package: str) -> None:
        self._not_libraries = {package, acme_orders.__name__, *_SAY_NOTHING}
        self._bases: dict[str, list[str]] = {}
        for node in (node for tree in trees for node in ast.walk(tree)):
            if isinstance(node, ast.ClassDef):
                # Which of two of one name is meant nobody knows.
                bases = [_last(base) for base in node.bases]
                twice = node.name in {*self._bases, *bases}
                self._bases[node.name] = [""] if twice else bases

    def owner(self, call: ast.Call, kinds: Kinds, libraries: Kinds) -> str:
        """The class whose method is called; empty for a function, and for what nobody knows."""
        on = call.func.value if isinstance(call.func, ast.Attribute) else None
        kind = _kind(on, kinds, libraries) if on else ""
        return kind if kind in self._bases or "." in kind else ""

    def plain(self, name: str) -> bool:
        """Whether nothing of what it does comes from the chassis, or from where nobody sees it."""
        return "." in name or all(each in self._bases for each in self._above(name))

    def related(self, one: str, other: str) -> bool:
        """Whether they are the same, or one inherits from the other."""
        return one in self._above(other) or other in self._above(one)

    def libraries(self, tree: ast.Module) -> Kinds:
        """What a module imports from them, and its name in full."""
        found = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for each in node.names:
                    path = "" if getattr(node, "level", 0) else module + each.name
                    if path.partition(".")[0] not in {*self._not_libraries, ""}:
                        found[each.asname or each.name.partition(".")[0]] = path
        return found

    def _above(self, name: str) -> list[str]:
        found = [name]
        for each in found:
            found += [base for base in self._bases.get(each, ()) if base not in found]
        return found


def within(node: Function | ast.ClassDef, around: Kinds, libraries: Kinds) -> Kinds:
    """What variables hold inside a function or a class: what they do around it, and its own."""
    if isinstance(node, ast.ClassDef):
        return {**around, **_attributes(node, around, libraries)}
    return {**around, **_held(node, around, libraries)}


def _attributes(node: ast.ClassDef, around: Kinds, libraries: Kinds) -> Kinds:
    found = {"self": {node.name}}
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            name = f"self.{ast.unparse(each.target)}"
            found.setdefault(name, set()).add(_class(each.annotation, libraries))
        elif isinstance(each, Function):
            for name, kind in _held(each, around, libraries).items():
                if name.startswith("self."):
                    found.setdefault(name, set()).add(kind)
    return _certain(found)


def _held(node: Function, around: Kinds, libraries: Kinds) -> Kinds:
    taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    given = {each.arg: _class(each.annotation, libraries) for each in taken}
    if "self" in around:
        given.pop("self", None)
    kinds, known = {**around, **given}, dict[ast.AST, str]()
    for each in ast.walk(node):
        match each:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.withitem(optional_vars=ast.expr() as target, context_expr=value)
            ):
                known[target] = _kind(value, kinds, libraries)
            case ast.AnnAssign(target=target, annotation=annotation):
                known[target] = _class(annotation, libraries)
    found: dict[str, set[str]] = {}
    for each in ast.walk(node):
        if isinstance(getattr(each, "ctx", None), ast.Store):
            found.setdefault(ast.unparse(each), set()).add(known.get(each, ""))
    return {**given, **_certain(found)}


def _kind(node: ast.AST, kinds: Kinds, libraries: Kinds) -> str:
    if isinstance(node, ast.Call):
        made = _class(node.func, libraries)
        return made if made.rpartition(".")[2][:1].isupper() else ""
    return kinds.get(ast.unparse(node), "")


def _certain(found: Mapping[str, set[str]]) -> dict[str, str]:
    return {name: kinds.pop() if len(kinds) == 1 else "" for name, kinds in found.items()}


def _class(node: ast.AST | None, libraries: Kinds) -> str:
    """The class that an annotation means, or the name of what is called."""
    found = ""
    match node:
        case ast.Constant(value=str(text)):
            found = _class(ast.parse(text, mode="eval").body, libraries)
        case ast.BinOp(left=kind, op=ast.BitOr(), right=ast.Constant(value=None)):
            found = _class(kind, libraries)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, *_])):
            found = _class(kind, libraries)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=kind) | ast.Subscript(value=kind):
            found = _class(kind, libraries)
        case ast.Name(id=name):
            found = libraries.get(name, name)
        case ast.Attribute(attr=name):
            root = ast.unparse(node).partition(".")[0]
            found = f"{libraries[root]}.{name}" if root in libraries else name
    return found


def _last(node: ast.AST) -> str:
    return ast.unparse(node).partition("[")[0].rpartition(".")[2]
