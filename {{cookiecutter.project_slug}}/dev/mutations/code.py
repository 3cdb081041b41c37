"""What can be taken out of the Python of a slice."""

import ast
import copy
import re  # feature: row, rls
from collections.abc import Iterator
from pathlib import Path

from dev.mutations.mutant import Edit, Mutant, taken
from dev.mutations.source import Source

# Parts of a query of the ORM, and what goes with them.
_PARTS = {
    "limit": "limit",
    "where": "condition",
    "having": "condition",
    "order_by": "order",
    "for_update": "lock",
}
_SCOPES = {"transaction", "savepoint"}
_TENANT = re.compile(r"\btenant_id = %s")  # feature: row, rls


def in_code(file: Path, text: str) -> Iterator[Mutant]:
    """Each mutant of a module."""
    source = Source(file, text)
    for node in ast.walk(source.tree):
        match node:
            case ast.Call():
                yield from _in_call(source, node)
            case ast.AsyncWith() | ast.With():
                yield from _in_block(source, node)
            case ast.Expr(value=ast.Await(value=ast.Call() as call)):
                kind = "event" if source.is_of_outbox(call.func) else "effect"
                yield taken(kind, text, source.edit(node, "pass"))
            case ast.Raise():
                yield taken("refusal", text, source.edit(node, "pass"))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _decorators(source, node)
            # feature: row, rls {
            case ast.Constant(value=str() as sql):
                yield from _tenants(source, node, sql)
            # feature: row, rls }


def _in_call(source: Source, call: ast.Call) -> Iterator[Mutant]:
    if isinstance(call.func, ast.Attribute) and (kind := _PARTS.get(call.func.attr)):
        whole = call.func.value
        for number, argument in enumerate(call.args if len(call.args) > 1 else []):
            fewer = copy.copy(call)
            fewer.args = [each for at, each in enumerate(call.args) if at != number]
            yield source.replaced(kind, call, fewer, shown=argument)
        if len(call.args) <= 1:
            begin, end = source.span(whole)[1], source.span(call)[1]
            yield taken(kind, source.text, Edit(source.file, begin, end))
    for keyword in call.keywords:
        if keyword.arg == "provided":
            yield source.replaced("provided", call, _without(call, keyword), shown=keyword)
        match keyword:
            case ast.keyword(
                arg="limit", value=ast.Call(func=ast.Name(id="min"), args=[wanted, _]) as least
            ):
                yield source.replaced("limit", least, wanted, shown=least)
    if isinstance(call.func, ast.Name) and call.func.id in source.from_module("chassis.slice"):
        yield from _registered(source, call)


def _registered(source: Source, call: ast.Call) -> Iterator[Mutant]:
    """What a slice names, and which slices the service names."""
    for keyword in call.keywords:
        kind = "retention" if keyword.arg == "retention" else "registration"
        match keyword.value:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) as named:
                for part in parts:
                    rest = copy.copy(named)
                    rest.elts = [each for each in parts if each is not part]
                    yield source.replaced(kind, named, rest, shown=part)
            case ast.Dict(keys=keys, values=values) as named:
                for key in filter(None, keys):
                    at = keys.index(key)
                    fewer = ast.Dict(keys[:at] + keys[at + 1 :], values[:at] + values[at + 1 :])
                    yield source.replaced(kind, named, fewer, shown=key)
            case ast.Call():
                yield source.replaced(kind, call, _without(call, keyword), shown=keyword)


def _in_block(source: Source, block: ast.AsyncWith | ast.With) -> Iterator[Mutant]:
    for item in block.items:
        match item:
            case ast.withitem(
                context_expr=ast.Call(func=ast.Attribute(attr=kind)) as call, optional_vars=None
            ) if kind in _SCOPES:
                rest = [ast.unparse(each) for each in block.items if each is not item]
                word = "async with" if isinstance(block, ast.AsyncWith) else "with"
                begin, end = source.header(block, call)
                new = f"{word} {', '.join(rest)}:" if rest else "if True:"
                yield taken(kind, source.text, Edit(source.file, begin, end, new))


def _decorators(
    source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Mutant]:
    """Without one that is called with something, nobody knows the function any more."""
    for each in function.decorator_list:
        if isinstance(each, ast.Call):
            begin, end = source.span(each)
            yield taken("registration", source.text, Edit(source.file, begin - len("@"), end))


# feature: row, rls {
def _tenants(source: Source, node: ast.Constant, sql: str) -> Iterator[Mutant]:
    """SQL by hand; as many parameters are left as it is called with."""
    for found in _TENANT.finditer(sql):
        new = f"{sql[: found.start()]}%s::text IS NOT NULL{sql[found.end() :]}"
        yield source.replaced("tenant", node, ast.Constant(new), shown=node)


# feature: row, rls }


def _without(call: ast.Call, keyword: ast.keyword) -> ast.Call:
    fewer = copy.copy(call)
    fewer.keywords = [each for each in call.keywords if each is not keyword]
    return fewer
