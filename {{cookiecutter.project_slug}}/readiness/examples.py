"""H2: how much of the business examples lead to."""

import inspect
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from readiness.check import Check
from readiness.lines import Function, Reached, functions_of
from readiness.rehearsal import Rehearsal
from readiness.seeded import rehearse_handlers
from readiness.watch import short

_ENOUGH = 0.9  # of the statements of each handler, and of each module of repositories


class ExamplesReachTheCode(Check):
    """Examples lead to what handlers and queries do."""

    id = "H2"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Give the payload an example for each way that its handler goes, in `examples`.

        Give a query an example that finds what a write above it in its repository has stored. What
        no example leads to, no other check has seen. Lines that only raise need none.
        """
        handlers, repositories = _handlers(rehearsal), _repositories(rehearsal)
        reached = Reached({*handlers, *repositories})
        with reached.watching():
            async with rehearsal.another() as together:
                await _in_batches(together)
            await rehearse_handlers(rehearsal)
            for repository, query, method in rehearsal.queries():
                await rehearsal.call(repository, query, method)
        for file in handlers:
            for each in functions_of(file):
                self.inspected += len(each.statements)
                if len(reached.missing(file, each)) == len(each.statements):
                    continue  # a route calls it, or nobody; K3 tells of a handler
                for finding in _judged(reached, file, each.name, [each]):
                    yield finding
        for file in repositories:
            functions = list(functions_of(file))
            self.inspected += sum(len(each.statements) for each in functions)
            for finding in _judged(reached, file, "all methods", functions):
                yield finding


def _judged(reached: Reached, file: str, what: str, functions: list[Function]) -> Iterator[str]:
    missing = [line for each in functions for line in reached.missing(file, each)]
    total = sum(len(each.statements) for each in functions)
    if len(missing) > (1 - _ENOUGH) * total:
        lines = ", ".join(map(str, sorted(missing)))
        yield (
            f"{short(file)}: of {total} statements of {what}, examples reach "
            f"{total - len(missing)}, and not those in the lines {lines}"
        )


async def _in_batches(rehearsal: Rehearsal) -> None:
    """Send all examples of a payload at once, and the first one twice."""
    for type_, handler in rehearsal.service.handlers.items():
        with suppress(LookupError):  # K3 tells of a payload without an example
            examples = list(handler.payload.examples())
            await rehearsal.service.consumer.process(
                [
                    rehearsal.letter(type_, f"batch-{type_}-{number}", example=example)
                    for number, example in enumerate([*examples, *examples[:1]])
                ]
            )


def _handlers(rehearsal: Rehearsal) -> list[str]:
    modules = {
        inspect.unwrap(_plain(handle)).__module__
        for one in rehearsal.service.slices
        for each in one.handlers.values()
        for handle in (each.handle, each.handle_all)
        if handle
    }
    return _files(modules)


def _repositories(rehearsal: Rehearsal) -> list[str]:
    slices = rehearsal.service.slices
    return _files({type(each).__module__ for one in slices for each in one.repositories})


def _files(modules: set[str]) -> list[str]:
    return sorted(str(sys.modules[each].__file__) for each in modules)


def _plain(function: Any) -> Any:
    return _plain(function.func) if isinstance(function, partial) else function
