"""Finds what goes around the guards of the database, waits that may never end, and wrong imports.

`# lint: D4 (why)` lets a line pass.
"""

import argparse
import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from acme_orders.chassis.database.session_state import problems

Place = ast.stmt | ast.expr | ast.ExceptHandler
Found = Iterator[tuple[Place, str]]

_ORM = {"peewee", "peewee_async", "playhouse"}
_AROUND = re.compile(r"aio_(?!pika$)\w+|execute_sql|(?:set_)?allow_sync|connection_context")
_UNFIT = {
    "AutoField": "is a serial of 32 bits",
    "BinaryJSONField": "wants a GIN index, and its == fails",
    "DateTimeField": "has no time zone",
    "HStoreField": "is a text in every expression",
    "ManyToManyField": "sends blocking statements (a model for the pairs does not)",
    "PrimaryKeyField": "is a serial of 32 bits",
    "TimestampField": "is an integer",
}
_DOORS = {"SQL", "execute_sql", "fetch_sql", "sql"}
_NO_SQL = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)  # values and comments
# At the start of a statement, because the SET of an UPDATE stands inside. In upper case, because
# prose begins with such words too; (?i) is added where a text is known to be SQL.
_STATEMENT = r"""(?:^|;)\s*(?:
    SET\s+(?!(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)(?:["\w.%{}]+\s*(?:=|TO\b)|(?:SESSION|ROLE|TIME)\s)
    | (?:DISCARD|LISTEN|PREPARE|UNLISTEN)\s+["\w*%{]+
    | DECLARE\s.*?\bWITH\s+HOLD\b
    | CREATE\s+(?:OR\s+REPLACE\s+|GLOBAL\s+|LOCAL\s+)*TEMP(?:ORARY)?\s(?!.*\bON\s+COMMIT\s+DROP\b)
    )"""
_LOCKS = {f"pg_{how}advisory_lock{mode}" for how in ("", "try_") for mode in ("", "_shared")}
_FUNCTION = rf"""\b(?:{"|".join(sorted(_LOCKS))})\s*\(
    | \bset_config\s*\((?:[^()]|\([^()]*\))*,\s*false\s*\)"""
_DATABASE_ERRORS = ("Conflict", "ConstraintViolated", "DatabaseError", "IntegrityError")
_BROAD = {"BaseException", "DatabaseError", "Exception", "ServiceError"}
_TASKS = {"TaskGroup", "as_completed", "create_task", "ensure_future", "gather", "wait_for"}
_NOTE = re.compile(r"# lint:\s*(\w*)\s*(\([^#]*?\w[^#]*?\))?")


@dataclass(frozen=True, order=True)
class Finding:
    """Something to change, and what helps."""

    path: str
    line: int
    code: str
    message: str
    helps: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.message} — {self.helps}"


@dataclass(frozen=True)
class Source:
    """A file of the package, of the checklist or of the tests.

    `parts` is its module, such as `("parcels", "api")`, or `("readiness", "plans")` beside it.
    """

    path: str
    package: str
    folders: frozenset[str]
    parts: tuple[str, ...]
    test: bool
    text: str


@dataclass(frozen=True)
class Rule:
    """What `look` finds; its docstring is the reason, and below that what helps.

    The folders in `exempt`, rooms of the chassis or the checklist, do it for all others.
    """

    code: str
    look: Callable[[Source, ast.Module], Found]
    exempt: frozenset[str] = frozenset()
    tests: bool = False

    @property
    def reason_and_help(self) -> tuple[str, str]:
        """Why it is a rule, and what to do instead."""
        reason, _, helps = inspect.cleandoc(self.look.__doc__ or "").partition("\n\n")
        return reason, helps.rstrip(".")

    def concerns(self, source: Source) -> bool:
        """Whether the rule looks at this file."""
        if source.test:
            return self.tests
        return not {source.parts[0], ".".join(source.parts[:2])} & self.exempt


def models_outside_repositories(source: Source, tree: ast.Module) -> Found:
    """A model that leaves its repository sends queries without a name, which nobody checks.

    Import it in models.py and repository.py of a slice only; these hand out plain data.
    """
    if len(source.parts) > 1 and source.parts[-1] in {"models", "repository"}:
        return
    for node, name in _imports(tree):
        first, *parts = name.split(".")
        if first in _ORM or (first in {source.package, ""} and "models" in parts):
            yield node, f"imports {name.lstrip('.')}"


def ways_around_the_manager(_: Source, tree: ast.Module) -> Found:
    """They know nothing of our transactions, use connections of other tasks, and may block.

    Use fetch and execute, transaction and savepoint of the Manager.
    """
    for node, name in _names(tree):
        if _AROUND.fullmatch(name):
            yield node, f"{name} is a way around the Manager"


def unfit_fields(_: Source, tree: ast.Module) -> Found:
    """Times lose their zone, keys run out, and statements block or fail.

    Use BigAutoField, UUIDField, peewee.JSONField, DateTimeTZField of playhouse.postgres_ext.
    """
    for node, name in _names(tree):
        if name in _UNFIT:
            yield node, f"{name} {_UNFIT[name]}"


def session_state(_: Source, tree: ast.Module) -> Found:
    """A connection goes back to the pool as it is; the next who gets it inherits the state.

    Use SET LOCAL, set_config(…, true), pg_advisory_xact_lock(…) or ON COMMIT DROP.
    """
    whole = {node: problems(sql, filled=filled) for node, sql, filled in _statements(tree)}
    for place, messages in whole.items():
        yield from ((place, message) for message in messages)
    doors = [_first(call) for call in _calls(tree, _DOORS)]
    functions = ((call, ast.unparse(call)) for call in _calls(tree, {*_LOCKS, "set_config"}))
    for node, text in chain(_texts(tree), functions):
        if node in whole:
            continue
        statement, sql = ("(?isx)" if node in doors else "(?sx)") + _STATEMENT, _sql(text)
        if found := re.search(statement, sql) or re.search("(?isx)" + _FUNCTION, sql):
            yield node, f"`{' '.join(found[0].strip('; ').split())}` outlives the transaction"


def sql_built_at_the_call(_: Source, tree: ast.Module) -> Found:
    """A value inside the text can end the statement and begin another; a parameter cannot.

    Write %s for each value and hand it over as a parameter; other parts belong into a constant.
    """
    for call in _calls(tree, _DOORS):
        text = _first(call)
        if text is not None and any(map(_builds, ast.walk(text))):
            yield text, f"the text for {_last(call.func)}() is put together in the call"


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
            for call in chain.from_iterable(_calls(item, {"suppress"}) for item in node.items):
                if any(map(_caught, call.args)):
                    yield call, "suppress() goes on in a transaction that is lost"


def results_and_tests_of_the_orm(source: Source, tree: ast.Module) -> Found:
    """They load the whole result, or test with transactions turned off.

    Read with Manager.stream; test on a database that belongs to the test.
    """
    for node, name in _names(tree):
        if name == "TransactionTestCase":
            yield node, "TransactionTestCase turns transactions off"
    if not source.test:
        yield from ((call, "iterator() loads every row") for call in _calls(tree, {"iterator"}))
        for node, text in _texts(tree):
            if re.search(r"(?s)(?:^|;)\s*DECLARE\s.*?\bCURSOR\b", _sql(text)):
                yield node, "a cursor is declared by hand"


def tasks_inside_transactions(source: Source, tree: ast.Module) -> Found:
    """A child task has no part in its parent's transaction, and is refused when it tries.

    Await one after the other, with asyncio.timeout for a limit, or start it after the transaction.
    """
    for node in _inside(source, tree):
        if isinstance(node, ast.Call) and _last(node.func) in _TASKS:
            yield node, f"{_last(node.func)}() starts a task inside a transaction"


def lost_cancellations(_: Source, tree: ast.Module) -> Found:
    """asyncio.wait_for of Python 3.11 swallows a cancellation that meets the answer.

    Use `async with asyncio.timeout(…)` around it, and messaging.answers.within for aio-pika.
    """
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))
    for node in set(chain.from_iterable(map(ast.walk, functions))):
        if isinstance(node, ast.Call) and (name := _last(node.func)) != "wait":
            if name == "wait_for":
                yield node, "wait_for() may go on although it was cancelled"
            elif any(keyword.arg == "timeout" for keyword in node.keywords):
                yield node, f"{name}(timeout=…) may wait with asyncio.wait_for"


def business_in_the_chassis(source: Source, tree: ast.Module) -> Found:
    """What knows one slice serves no other, and falls when that slice goes.

    Let the slice say in its slice.py what the chassis has to know.
    """
    if source.parts[0] in _CHASSIS:
        for node, name in _imports(tree):
            if (inside := _within(source, name)) and inside[0] not in _CHASSIS:
                yield node, f"imports {'.'.join(inside)}"


def insides_of_another_slice(source: Source, tree: ast.Module) -> Found:
    """Two slices that know each other's insides cannot change one without the other.

    Import its messages and its repository, and nothing else of it.
    """
    folder, *inner = source.parts
    if not inner or folder in _CHASSIS:
        return
    for node, name in _imports(tree):
        other, *of_it = [*_within(source, name), ""]
        if other == "service" or (
            other in source.folders - _CHASSIS - {folder}
            and of_it[0] not in {"messages", "repository"}
        ):
            yield node, f"imports {'.'.join(_within(source, name))}"


_CHASSIS = frozenset({"chassis", "readiness"})
_DATABASE = frozenset({"chassis.database", "chassis.migrations", "chassis.tenancy"})
_TABLES = frozenset({"chassis.messaging", "chassis.relay", "chassis.dead_letters"})
RULES = (
    Rule("D1", models_outside_repositories, exempt=_DATABASE | _TABLES),
    Rule("D2", ways_around_the_manager, exempt=_DATABASE),
    Rule("D3", unfit_fields, exempt=_DATABASE),
    Rule("D4", session_state, exempt=_DATABASE | {"readiness"}),
    Rule("D5", sql_built_at_the_call, exempt=_DATABASE | {"readiness"}),
    Rule("D6", swallowed_errors),
    Rule("D7", results_and_tests_of_the_orm, exempt=_DATABASE, tests=True),
    Rule("D8", tasks_inside_transactions),
    Rule("D9", lost_cancellations),
    Rule("D10", business_in_the_chassis),
    Rule("D11", insides_of_another_slice),
)


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _imports(tree: ast.AST) -> Found:
    """Every imported name in full; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((node, f"{module}{alias.name}") for alias in node.names)


def _within(source: Source, name: str) -> list[str]:
    """An imported name inside the package, without the name of the package; else nothing."""
    dots = len(name) - len(name.lstrip("."))
    if dots:
        return [*source.parts[:-dots], *name[dots:].split(".")]
    first, *inside = name.split(".")
    return inside if first == source.package else []


def _names(tree: ast.AST) -> Found:
    """Names that come from peewee: imported ones, and all attributes, whatever they belong to."""
    for place, name in _imports(tree):
        if name.split(".")[0] in _ORM:
            yield place, name.rpartition(".")[2]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node, node.attr


def _calls(tree: ast.AST, names: Collection[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) in names:
            yield node


def _statements(tree: ast.Module) -> Iterator[tuple[ast.Constant, str, bool]]:
    """Whole statements that are sent as they are, and whether parameters go with them.

    They are constants in a call, or constants of the module that a call names.
    """
    named = {
        _last(each.targets[0]): each.value for each in tree.body if isinstance(each, ast.Assign)
    }
    for call in _calls(tree, {"execute_sql", "fetch_sql"}):
        text = _first(call)
        if isinstance(text, ast.Name):
            text = named.get(text.id)
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text, text.value, len(call.args) + len(call.keywords) > 1


def _first(call: ast.Call) -> ast.expr | None:
    named = (keyword.value for keyword in call.keywords if keyword.arg in {"sql", "query"})
    return next(chain(call.args, named), None)


def _texts(node: ast.AST) -> Found:
    """Every text as a whole, also one that is put together; docstrings are prose."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and (text := _text(child)) is not None:
            yield child, text
        elif not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from _texts(child)


def _text(node: ast.AST) -> str | None:
    """A text with `_` for what is not known; None if it is none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "_" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = _text(left), _text(right)
            return None if both == (None, None) else "".join(part or "_" for part in both)
        case (
            ast.BinOp(left=value, op=ast.Mod())
            | ast.Call(func=ast.Attribute(value=value, attr="format"))
        ):
            return _text(value)
    return None


def _sql(text: str) -> str:
    return _NO_SQL.sub(" ", text)


def _builds(node: ast.AST) -> bool:
    match node:
        case ast.FormattedValue() | ast.BinOp(op=ast.Add() | ast.Mod()):
            return True
        case ast.Call(func=ast.Attribute(attr="format" | "format_map" | "join")):
            return True
    return False


def _inside(source: Source, tree: ast.Module) -> Iterator[ast.AST]:
    """What runs inside a transaction, as far as one file shows it.

    That is a block of `….transaction(…)` or `….savepoint()`, what is handed to `….run(name, …)`, a
    query with writes=True, and every handler.
    """
    units = chain.from_iterable(call.args[1:2] for call in _calls(tree, {"run"}))
    handed = set(chain.from_iterable(map(ast.walk, units)))
    names = set(map(_last, handed))

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
    return isinstance(call, ast.Call) and _last(call.func) in names


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
    names = map(_last, kind.elts if isinstance(kind, ast.Tuple) else [kind])
    return next((each for each in names if each in _BROAD or each.endswith(_DATABASE_ERRORS)), "")


def _raises(body: Sequence[ast.stmt]) -> bool:
    """Whether there is no way through it but `raise`."""
    parts = chain.from_iterable(map(ast.walk, body))
    leaves = any(isinstance(part, ast.Return | ast.Continue | ast.Break) for part in parts)
    return isinstance(body[-1], ast.Raise) and not leaves


def sources(root: Path) -> Iterator[Source]:
    """Every file of the one package below `src/`, of the checklist, and every test.

    Raises:
        LookupError: there is no package, or more than one.
    """
    packages = [file.parent for file in root.glob("src/*/__init__.py")]
    if len(packages) != 1:
        raise LookupError(f"{root / 'src'} holds {len(packages)} packages instead of one")
    package, checklist, tests = packages[0], root / "readiness", root / "tests"
    folders = frozenset(each.name for each in package.iterdir() if each.is_dir())
    for folder, base in ((package, package), (checklist, root), (tests, tests)):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(base).with_suffix("").parts
            path, test = str(file.relative_to(root)), folder == tests
            text = file.read_text(encoding="utf-8")
            yield Source(path, package.name, folders, parts, test, text)


def findings(source: Source) -> Iterator[Finding]:
    """What the rules find and no note lets pass, and notes that are wrong themselves."""
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        yield Finding(source.path, error.lineno or 1, "D0", "is not Python", error.msg)
        return
    notes, used = list(_notes(source.text)), set()
    for rule in RULES:
        for node, message in rule.look(source, tree) if rule.concerns(source) else ():
            lines = {node.lineno, node.end_lineno}
            passing = {note for note in notes if note[0] in lines and note[1] == rule.code}
            used |= passing
            if not passing:
                helps = rule.reason_and_help[1]
                yield Finding(source.path, node.lineno, rule.code, message, helps)
    for line, code, reason in notes:
        note = f"`# lint: {code}`"
        if (line, code, reason) not in used:
            yield Finding(source.path, line, "D0", f"{note} lets nothing pass", "remove it")
        elif not reason:
            yield Finding(source.path, line, "D0", f"{note} gives no reason", "add it: (why)")


def _notes(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, code and reason of each note."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for code, reason in _NOTE.findall(token.string):
                yield token.start[0], code, reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding; return 1 if there is one."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.lint",
        description=__doc__,
        epilog="\n".join(
            "{}  {}\n    {}.".format(each.code, *each.reason_and_help) for each in RULES
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    here = Path(__file__).parents[1]
    parser.add_argument("project", type=Path, nargs="?", default=here, help="its folder")
    try:
        files = list(sources(parser.parse_args(arguments).project))
    except LookupError as error:
        parser.error(str(error))
    found = sorted(chain.from_iterable(map(findings, files)))
    print("\n".join(map(str, found)) or f"nothing found in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
