"""H2: how much of the business examples lead to."""

import inspect
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from acme_orders.chassis.database.repository import Repository

from readiness.check import Check
from readiness.lines import Function, Reached, functions_of
from readiness.rehearsal import Rehearsal
from readiness.seeded import rehearse_handlers
from readiness.watch import short

_ENOUGH = 0.9  # of the statements of each handler, and of each repository


class ExamplesReachTheCode(Check):
    """Examples lead to what handlers and queries do."""

    id = "H2"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Give the payload an example for each way that its handler goes, in `examples`.

        Give a query an example that finds what a write above it in its repository has stored. What
        no example leads to, no other check has seen. Lines that only raise need none.
        """
        handlers = [each for file in _handlers(rehearsal) for each in functions_of(file)]
        parts = [(f"{each.name}()", [each]) for each in handlers]
        parts += _repositories(rehearsal)
        reached = Reached({each.file for _, functions in parts for each in functions})
        with reached.watching():
            async with rehearsal.another() as together:
                await _in_batches(together)
            await rehearse_handlers(rehearsal)
            for repository, query, method in rehearsal.queries():
                await rehearsal.call(repository, query, method)
        self.inspected = 1  # a service without slices has nothing to reach
        for name, functions in parts:
            total = sum(len(each.statements) for each in functions)
            self.inspected += total
            missing = [
                f"{short(each.file)}:{line}" for each in functions for line in reached.missing(each)
            ]
            # A function beside the handlers that nothing reaches is called by a route, or by
            # nobody; K3 tells of a handler without an example.
            if total and len(missing) == total:
                self.left_out.append((name, "no handler with an example calls it"))
            if (1 - _ENOUGH) * total < len(missing) < total:
                yield (
                    f"examples reach {total - len(missing)} of {total} statements of {name}, and "
                    f"not {', '.join(missing)}"
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
    return sorted(str(sys.modules[each].__file__) for each in modules)


def _repositories(rehearsal: Rehearsal) -> Iterator[tuple[str, list[Function]]]:
    """The methods of each, those that it inherits among them."""
    for one in rehearsal.service.slices:
        for kind in map(type, one.repositories):
            methods: dict[str, Function] = {}
            for each in kind.__mro__[: kind.__mro__.index(Repository)]:
                for method in functions_of(inspect.getfile(each), each.__name__):
                    methods.setdefault(method.name, method)
            yield kind.__name__, list(methods.values())


def _plain(function: Any) -> Any:
    return _plain(function.func) if isinstance(function, partial) else function
