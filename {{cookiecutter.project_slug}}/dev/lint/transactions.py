"""Rules D6, D8 and D9: what a transaction must not contain, and waits that may never end."""

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeGuard

from acme_orders.chassis import errors

from dev.lint.reading import calls, imports, in_full, last_name, names_in_full
from dev.lint.source import CHASSIS, Found, Source

_DATABASE_ERRORS = tuple(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.DatabaseError)
)
_DRIVERS = {"aiopg", "peewee", "psycopg", "psycopg2"}
_BROAD = {"BaseException", "DatabaseError", "Exception", "ServiceError"}
_TASKS = {"TaskGroup", "as_completed", "create_task", "ensure_future", "gather", "wait_for"}
_MORE_TASKS = {"asyncio.Task", "asyncio.shield"}  # others may have such names for something else
_WAIT = {"aio_pika", "aiormq"}  # with asyncio.wait_for; clients of HTTP and the like do not


def swallowed_errors(source: Source, tree: ast.Module) -> Found:
    """After an error PostgreSQL rolls the whole transaction back, whoever catches it inside.

    Raise it again, or put what may fail into `async with manager.savepoint()` inside the try.
    """
    named, around = _Errors(tree), set[ast.AST]()
    for node in _inside(source, tree):
        if isinstance(node, ast.Try | ast.TryStar) and _awaits(node.body):
            for handler in node.handlers:
                caught = named.caught(handler.type)
                if caught and not _raises(handler.body):
                    yield handler, f"except {caught} goes on in a transaction that is lost"
                if caught in _BROAD:
                    break  # no error of the database gets further
        elif isinstance(node, ast.With) and not _awaits(node.body):
            around.update(item.context_expr for item in node.items)
        elif named.suppresses(node) and node not in around:
            yield node, "suppress() goes on in a transaction that is lost"


def tasks_inside_transactions(source: Source, tree: ast.Module) -> Found:
    """A child task has no part in its parent's transaction, and is refused when it tries.

    Await one after the other, with asyncio.timeout for a limit, or start it after the transaction.
    """
    names = names_in_full(tree)
    for node in _inside(source, tree):
        name = in_full(node.func, names) if isinstance(node, ast.Call) else ""
        *_, last = name.rpartition(".")
        if isinstance(node, ast.Call) and (name in _MORE_TASKS or last in _TASKS):
            yield node, f"{last}() starts a task inside a transaction"


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


class _Errors:
    """The errors that a file names."""

    def __init__(self, tree: ast.Module) -> None:
        self._names = names_in_full(tree)
        assigned = (each for each in ast.walk(tree) if isinstance(each, ast.Assign))
        self._tuples = {last_name(each.targets[0]): each.value for each in assigned}

    def caught(self, kind: ast.expr | None) -> str:
        """The first of the database among these; without a name all are caught."""
        if kind is None:
            return "BaseException"
        if isinstance(kind, ast.Name):
            kind = self._tuples.get(kind.id, kind)
        each = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        return next(filter(_of_the_database, map(self._in_full, each)), "").rpartition(".")[2]

    def suppresses(self, node: ast.AST) -> TypeGuard[ast.Call]:
        """Whether it is a call of `suppress` with one of the database."""
        called = isinstance(node, ast.Call) and self._in_full(node.func).endswith("suppress")
        return isinstance(node, ast.Call) and called and any(map(self.caught, node.args))

    def _in_full(self, node: ast.expr) -> str:
        return in_full(node, self._names)


def _of_the_database(name: str) -> bool:
    first, last = name.partition(".")[0], name.rpartition(".")[2]
    known = last in _BROAD or last.endswith((*_DATABASE_ERRORS, "IntegrityError"))
    return known or first in _DRIVERS


def _raises(body: Sequence[ast.stmt]) -> bool:
    """Whether there is no way through it but `raise`."""
    parts = chain.from_iterable(map(ast.walk, body))
    leaves = any(isinstance(part, ast.Return | ast.Continue | ast.Break) for part in parts)
    return isinstance(body[-1], ast.Raise) and not leaves
