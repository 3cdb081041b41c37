"""Finds what stands in the package and hangs from no slice that `service.py` lists.

No query of such a repository is checked, measured or explained, no message reaches such a handler
and no request such a route; and nothing fails, so nobody would notice.
"""

import ast
import importlib
import inspect
import pkgutil
import sys  # feature: http_api
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from fastapi import APIRouter  # feature: http_api

import acme_orders
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.envelope import Payload, Received
from acme_orders.chassis.process.described import unconnected
from acme_orders.chassis.slice import Definition, Slice

_NO_SLICES = {"chassis", "service", "settings", "__main__"}


class Part(NamedTuple):
    """Something that a slice should know.

    Args:
        name: of it.
        kind: what it is.
        field: of `Slice`, where it is named.
        known: whether a slice does.
        table: of a model.
    """

    name: str
    kind: str
    field: str
    known: Callable[[Slice], bool]
    table: str = ""


def strays(
    definition: Definition[Any],
    package: ModuleType = acme_orders,
) -> list[str]:
    """What hangs from no slice, each with the line to add.

    Raises:
        ConfigurationError: the slices do not go together.
    """
    slices = unconnected(definition)
    known: dict[str, list[Slice]] = {}
    for make, one in zip(definition.slices, slices, strict=True):
        known.setdefault(_folder(make), []).append(one)
    found, tables, modules = [], dict[str, str](), list(_modules(package))
    used = set(_used(modules))
    for module in modules:
        folder = module.__name__.split(".")[1]
        for part in _parts(module, used):
            what = f"{module.__name__}.{part.name} is {part.kind}"
            if folder not in known:
                found.append(
                    f"{what} of no slice: list the slice of {folder}/ in `slices` in service.py"
                )
            elif not any(map(part.known, known[folder])):
                found.append(f"{what} of no slice: name it in `{part.field}` in {folder}/slice.py")
            if part.table and (other := tables.setdefault(part.table, folder)) != folder:
                found.append(
                    f"{what} of {part.table!r}, which {other}/ has too: one slice has a table, and "
                    "others ask its repository"
                )
    return found


def without_table(
    tables: Container[str],
    package: ModuleType = acme_orders,
) -> list[str]:
    """Models whose table no migration makes, each with what to do.

    Args:
        tables: that the migrations leave, in small letters.
        package: in which the models are.
    """
    return [
        f"{module.__name__}.{part.name} is a model of {part.table!r}, which no file in migrations/ "
        "makes, or a later one drops: "
        f"`acme-orders migrate new add_{part.table}` drafts one"
        for module in _modules(package)
        for part in _parts(module)
        # One from which others are derived may have no table of its own.
        if part.table
        and part.table.lower() not in tables
        and not vars(module)[part.name].__subclasses__()
    ]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        if found.name in _NO_SLICES:
            continue
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        yield module
        if found.ispkg:
            for inner in pkgutil.walk_packages(module.__path__, f"{module.__name__}."):
                yield importlib.import_module(inner.name)


def _used(modules: Iterable[ModuleType]) -> Iterator[str]:
    """What is called or handed on in these modules; an import is no use."""
    for file in filter(None, (module.__file__ for module in modules)):
        for node in ast.walk(ast.parse(Path(file).read_bytes())):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield getattr(node, "id", "") or getattr(node, "attr", "")


def _parts(module: ModuleType, used: Container[str] = ()) -> Iterator[Part]:
    """What a module has; a use case elsewhere than in handlers.py is a handler if none uses it."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__ or name.startswith("_"):
            continue
        if isinstance(thing, type):
            if issubclass(thing, Repository):
                yield Part(name, "a repository", "repositories", partial(_asks, thing))
            elif issubclass(thing, Table):
                table = thing._meta.table_name  # noqa: SLF001
                yield Part(name, "a model", "", lambda _: True, table)
        elif inspect.isfunction(thing):
            hints = get_type_hints(thing)
            first = next(iter(hints.values()), None)
            elsewhere = inspect.iscoroutinefunction(thing) and name not in used
            if _is_payload(first) and (module.__name__.endswith(".handlers") or elsewhere):
                yield Part(name, "a handler", "handlers", partial(_handles, thing))
            # feature: http_api {
            elif hints.get("return") is APIRouter:
                yield Part(name, "a router", "routes", partial(_includes, thing))
            # feature: http_api }


def _is_payload(hint: Any) -> bool:
    """Whether it is one, or many as a handler of many gets them."""
    for inner in get_args(hint):
        if get_origin(inner) is Received:
            return True
    return isinstance(hint, type) and issubclass(hint, Payload)


def _asks(repository: type, one: Slice) -> bool:
    return any(isinstance(each, repository) for each in one.repositories)


def _handles(handler: Callable[..., Any], one: Slice) -> bool:
    handles = [
        handle
        for each in one.handlers.values()
        for handle in (each.handle, each.handle_all)
        if handle is not None
    ]
    return handler in map(_plain, handles)


# feature: http_api {
def _includes(router: Callable[..., Any], one: Slice) -> bool:
    """Whether it runs where the slice makes its routes, however it is handed on."""
    ran, before, code = set[object](), sys.getprofile(), _plain(router).__code__
    if one.routes is not None:
        sys.setprofile(lambda frame, *_: ran.add(frame.f_code))
        try:
            one.routes()
        finally:
            sys.setprofile(before)
    return code in ran


# feature: http_api }
def _plain(function: Callable[..., Any]) -> Any:
    while isinstance(function, partial):
        function = function.func
    return inspect.unwrap(function)


def _folder(make: Callable[..., Any]) -> str:
    return str(_plain(make).__module__).split(".")[1]


def refuse_strays(definition: Definition[Any]) -> None:
    """Let nothing pass that no slice knows.

    Raises:
        ConfigurationError: names each, and the line to add.
    """
    if found := strays(definition):
        raise ConfigurationError("\n".join(found))
