"""The backfills of this project: modules in the folder `backfills`, beside `migrations`."""

import ast
import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import text_of

FOLDER = Path("backfills")
NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
_PACKAGE, _BASE = __name__.partition(".")[0], Backfill.__module__
_REFUSED = {_PACKAGE, "backfills", "dev", "importlib", "readiness", "tests"}


@dataclass(frozen=True)
class Found:
    """A backfill, read from its file.

    Args:
        name: of the file.
        backfill: what it says.
        checksum: of its text; it must not change while it is being run.
    """

    name: str
    backfill: Backfill
    checksum: str


def names(folder: Path = FOLDER) -> list[str]:
    """Of all backfills; none where there is no folder."""
    return sorted(file.stem for file in folder.glob("*.py") if NAME.fullmatch(file.stem))


def found(name: str, folder: Path = FOLDER) -> Found:
    """Read a backfill.

    Raises:
        ConfigurationError: there is none of this name, or it cannot be run; says why.
    """
    if name not in (known := names(folder)):
        near = difflib.get_close_matches(name, known, cutoff=0.4) or known
        meant = f"there is {', '.join(near)}" if near else f"{folder.resolve()} has none"
        raise ConfigurationError(
            f"no backfill {name!r}; {meant}: run in the project's folder; `backfill new` makes one"
        )
    file = folder / f"{name}.py"
    text = text_of(file)
    if problems := list(_imports(file, text)):
        raise ConfigurationError("\n".join(problems))
    backfill = _made(file, text)
    for problem in _problems(backfill):
        raise ConfigurationError(f"{file}: {problem}")
    return Found(name, backfill, hashlib.sha256(text.encode()).hexdigest())


def _imports(file: Path, text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigurationError(f"{file}:{line}: {getattr(error, 'msg', error)}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["backfills" if node.level else node.module or ""]
        else:
            continue
        for module in modules:
            if module != _BASE and module.partition(".")[0] in _REFUSED:
                yield (
                    f"{file}:{node.lineno}: imports {module}: a backfill is run when the code has "
                    f"long changed; write here what it needs, and import {_BASE} alone"
                )


def _made(file: Path, text: str) -> Backfill:
    module = ModuleType(f"backfills.{file.stem}")
    module.__file__ = str(file)
    try:
        exec(compile(text, file, "exec"), vars(module))  # noqa: S102
        classes = [
            each
            for each in vars(module).values()
            if isinstance(each, type)
            and issubclass(each, Backfill)
            and each.__module__ == module.__name__
        ]
        if len(classes) == 1:
            return classes[0]()
    except Exception as error:
        raise ConfigurationError(
            f"{file} cannot be imported: {type(error).__name__}: {error}; correct it"
        ) from error
    raise ConfigurationError(
        f"{file} has {len(classes)} subclasses of Backfill: give each a file of its own"
    )


def _problems(backfill: Backfill) -> Iterator[str]:
    processes = type(backfill).process is not Backfill.process
    if not backfill.table:
        yield "it says no `table`: name the one whose rows are changed"
    if isinstance(backfill.key, str) or not backfill.key:
        yield "its `key` is no tuple of columns: write key = ('id',)"
    if processes == bool(backfill.set):
        yield "it needs either `set` or `process`: write what becomes of a row"
    if processes and (isinstance(backfill.columns, str) or not backfill.columns):
        yield "`process` gets no `columns`: name those that it reads, as a tuple"
    if not backfill.verify:
        yield (
            "it has no `verify`: write the SQL that counts the rows that still need it; without "
            "it nobody knows that all is done, and no migration may rely on it"
        )
    for what, sql in (
        ("table", f"SELECT FROM {backfill.table}"),
        ("where", f"SELECT WHERE ({backfill.where})"),
        ("set", f"UPDATE it SET {backfill.set}" if backfill.set else ""),
        ("verify", backfill.verify),
        ("throttle", backfill.throttle),
    ):
        if sql and (why := _unreadable(sql)):
            yield f"its `{what}` is not one piece of SQL: {why}"


def _unreadable(sql: str) -> str:
    # Their parser takes a tenth of a second to import, and most commands read no SQL.
    from postgast.errors import PgQueryError  # noqa: PLC0415

    from acme_orders.chassis.database.sql_text import parse  # noqa: PLC0415

    try:
        count = len(parse(sql))
    except (PgQueryError, RecursionError) as error:
        return str(error)
    return "" if count == 1 else f"it has {count} statements"
