# feature: http_api
"""K3 over HTTP: what happens when a request comes again under its Idempotency-Key."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any
from uuid import uuid4

from acme_orders.chassis.errors import ServiceError, WriteOutsideTransaction
from acme_orders.chassis.http.keyed import HEADER, METHODS

from readiness.rehearsal import Rehearsal
from readiness.routes import Operation, ask, operations
from readiness.watch import is_read_only, told

Growth = Callable[[Rehearsal], Coroutine[Any, Any, Any]]
_REFUSED, _BROKEN = 400, 500
_AGAIN = "a GET comes again whenever a browser, a cache or a proxy likes; let a POST do it"


async def repeated(
    serial: Rehearsal, race: Rehearsal, contents: Growth, grown: Callable[[Any, Any], Any]
) -> AsyncGenerator[tuple[str, str], None]:
    """Each route that changes something, and what is wrong with it, if something is.

    Args:
        serial: where requests come one after the other.
        race: where they come at once.
        contents: of a database.
        grown: by how many rows tables have grown between two of them.
    """
    for operation in await operations(serial):
        if operation.method not in METHODS:
            continue
        failures = serial.watch.failures
        seen = len(failures)
        try:
            request = (operation.method, *operation.example())
            empty, key = await contents(serial), str(uuid4())
            first = await ask(serial, *request, {HEADER: key})
            once = await contents(serial)
            again = await ask(serial, *request, {HEADER: key})
            later = await contents(serial)
            before = await contents(race)
            key = str(uuid4())
            pair = await asyncio.gather(*(ask(race, *request, {HEADER: key}) for _ in range(2)))
            after = await contents(race)
        except WriteOutsideTransaction:
            continue  # K2 tells of it
        except Exception as error:
            yield str(operation), f"cannot be tried: {error!r}"
            continue
        if any(map(is_read_only, failures[seen:])):
            continue  # likewise
        yield str(operation), ""
        if first.status >= _REFUSED:
            yield str(operation), f"the example is refused with {first.status}: {first.json}"
        if later != once:
            yield str(operation), f"the same {HEADER} again has its effects again"
        if again != first or pair[0] != pair[1]:
            yield str(operation), f"the same {HEADER} again gets another answer"
        if grown(before, after) != grown(empty, once):
            yield str(operation), "two requests at once leave other numbers of rows than one"


async def read(rehearsal: Rehearsal, contents: Growth) -> AsyncGenerator[tuple[str, str], None]:
    """Each route that only reads, and what is wrong with it: anybody may ask it at any time."""
    known = await operations(rehearsal)
    for operation in known:
        if operation.method == "GET":
            yield str(operation), ""
            before = await contents(rehearsal)
            if finding := await _answered(rehearsal, operation, known):
                yield str(operation), finding
            after = await contents(rehearsal)
            if changed := sorted(table for table in after if after[table] != before.get(table)):
                finding = f"changes {', '.join(changed)}: {_AGAIN}"
                yield str(operation), finding


async def _answered(rehearsal: Rehearsal, operation: Operation, known: Sequence[Operation]) -> str:
    seen = len(rehearsal.watch.failures)
    try:
        path, body = operation.example()
    except LookupError:
        return ""  # nobody can ask it without a value
    try:
        status = (await ask(rehearsal, operation.method, path, body)).status
    except ServiceError:
        return ""  # K1 tells of a query that fails, K2 of a write without its transaction
    except Exception as error:
        return f"ends with {told(error)}"
    if status >= _REFUSED and (first := operation.behind(known, path)):
        return f"is never asked: {first}, which comes before it, is asked instead. Declare it first"
    if status >= _BROKEN and not rehearsal.watch.failures[seen:]:
        return f"{path} is answered with {status}"
    return ""
