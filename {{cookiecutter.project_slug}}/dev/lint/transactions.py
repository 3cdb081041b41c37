"""Rules D6, D8 and D9: what a transaction must not contain, and waits that may never end."""

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from dev.lint.reading import calls, imports, last_name
from dev.lint.source import CHASSIS, Found, Source

_DATABASE_ERRORS = ("Conflict", "ConstraintViolated", "DatabaseError", "IntegrityError")
_BROAD = {"BaseException", "DatabaseError", "Exception", "ServiceError"}
_TASKS = {"TaskGroup", "as_completed", "create_task", "ensure_future", "gather", "wait_for"}
_WAIT = {"aio_pika", "aiormq"}  # with asyncio.wait_for; clients of HTTP and the like do not


def swallowed_errors(source: Source, tree: ast.Module) -> Found:
    """After an error PostgreSQL rolls the whole transaction back, whoever catches it inside.

    Raise it again, or put what may fail into `async with manager.savepoint()` inside the try.
    """
    for node in _inside(source, tree):
        if isinstance(node, ast.Try | ast.TryStar) and _awaits(node.body):
            for handler in node.handlers:
                caught = _caught(handler.type)
                if caught and not _raises(handler.body):
                    yield handler, f"except {caught} goes on in a transaction that is lost"
                if caught in _BROAD:
                    break  # no error of the database gets further
        elif isinstance(node, ast.With) and _awaits(node.body):
            for call in chain.from_iterable(calls(item, {"suppress"}) for item in node.items):
                if any(map(_caught, call.args)):
                    yield call, "suppress() goes on in a transaction that is lost"


def tasks_inside_transactions(source: Source, tree: ast.Module) -> Found:
    """A child task has no part in its parent's transaction, and is refused when it tries.

    Await one after the other, with asyncio.timeout for a limit, or start it after the transaction.
    """
    for node in _inside(source, tree):
        if isinstance(node, ast.Call) and last_name(node.func) in _TASKS:
            yield node, f"{last_name(node.func)}() starts a task inside a transaction"


def lost_cancellations(source: Source, tree: ast.Module) -> Found:
    """asyncio.wait_for of Python 3.11 swallows a cancellation that meets the answer.

    Use `async with asyncio.timeout(…)` around it, and messaging.answers.within for aio-pika.
    """
    used = {name.partition(".")[0] for _, name in imports(tree)}
    waits = source.parts[0] in CHASSIS or not used.isdisjoint(_WAIT)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))
    for node in set(chain.from_iterable(map(ast.walk, functions))):
        if isinstance(node, ast.Call) and (name := last_name(node.func)) != "wait":
            if name == "wait_for":
                yield node, "wait_for() may go on although it was cancelled"
            elif waits and any(keyword.arg == "timeout" for keyword in node.keywords):
                yield node, f"{name}(timeout=…) may wait with asyncio.wait_for"


def _inside(source: Source, tree: ast.Module) -> Iterator[ast.AST]:
    """What runs inside a transaction, as far as one file shows it.

    That is a block of `….transaction(…)` or `….savepoint()`, what is handed to `….run(name, …)`, a
    query with writes=True, and every handler.
    """
    units = chain.from_iterable(call.args[1:2] for call in calls(tree, {"run"}))
    handed = set(chain.from_iterable(map(ast.walk, units)))
    names = set(map(last_name, handed))

    def visit(node: ast.AST, *, inside: bool) -> Iterator[ast.AST]:
        if isinstance(node, ast.AsyncFunctionDef):
            writes = any("writes=True" in ast.unparse(each) for each in node.decorator_list)
            inside = writes or node.name in names or source.parts[-1] == "handlers"
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            inside = node in handed
        if inside:
            yield node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside=inside)
            inside = inside or (isinstance(node, ast.AsyncWith) and _opens(child))

    return visit(tree, inside=False)


def _opens(item: ast.AST, names: Collection[str] = ("transaction", "savepoint")) -> bool:
    call = item.context_expr if isinstance(item, ast.withitem) else None
    return isinstance(call, ast.Call) and last_name(call.func) in names


def _awaits(nodes: Iterable[ast.AST]) -> bool:
    """Whether something is awaited that no savepoint of its own protects."""
    for node in nodes:
        if isinstance(node, ast.Await | ast.AsyncFor):
            return True
        protects = isinstance(node, ast.AsyncWith) and any(
            _opens(item, {"savepoint"}) for item in node.items
        )
        if not protects and _awaits(ast.iter_child_nodes(node)):
            return True
    return False


def _caught(kind: ast.expr | None) -> str:
    """The first error of the database among those that are caught; all are, without a name."""
    if kind is None:
        return "BaseException"
    names = map(last_name, kind.elts if isinstance(kind, ast.Tuple) else [kind])
    return next((each for each in names if each in _BROAD or each.endswith(_DATABASE_ERRORS)), "")


def _raises(body: Sequence[ast.stmt]) -> bool:
    """Whether there is no way through it but `raise`."""
    parts = chain.from_iterable(map(ast.walk, body))
    leaves = any(isinstance(part, ast.Return | ast.Continue | ast.Break) for part in parts)
    return isinstance(body[-1], ast.Raise) and not leaves
