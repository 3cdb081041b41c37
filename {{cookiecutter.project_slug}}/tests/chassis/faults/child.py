"""Runs the command line with failpoints: `python -m tests.chassis.faults.child FAILPOINT … -- …`.

A failpoint `WHEN:MODULE:CLASS.METHOD:ACTION@N` replaces an async method from outside. WHEN is
`before` or `after`; without `@N` the action is taken at every call, with it at the Nth only.
Actions: `kill` (SIGKILL), `stop` (SIGSTOP), `sleep=SECONDS`, `block=SECONDS` (the event loop stands
still), `clock=SECONDS` (the wall clock jumps), `raise=ERROR` (a name in `errors.py`, a RuntimeError
without).

A sale has its fate in the address of its buyer, `FATE[-NUMBER][+anything]@…`: see `FATES`.
"""

import asyncio
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Self

from structlog.contextvars import bound_contextvars, get_contextvars

from acme_orders.chassis import errors
from acme_orders.chassis.cli import commands as cli
from acme_orders.chassis.messaging.envelope import Envelope
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.faults.clock import jump
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SaleMade

_SPARE = 64 << 20  # bytes that a process may still take before it is out of memory


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What goes wrong, and where."""

    when: str
    module: str
    owner: str
    method: str
    action: str
    call: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one such as `before:asyncio.tasks:Task.cancel:kill@3`."""
        point, _, call = text.partition("@")
        when, module, path, action = point.split(":")
        owner, _, method = path.rpartition(".")
        if when not in {"before", "after"}:
            raise ValueError(f"{text}: {when!r} is neither before nor after")
        return cls(when, module, owner, method, action, int(call) if call else None)

    def arm(self) -> None:
        """Replace the method."""
        owner = getattr(importlib.import_module(self.module), self.owner)
        method, calls = getattr(owner, self.method), 0

        @wraps(method)
        async def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            due = self.call in {None, calls}
            if due and self.when == "before":
                await act(self.action)
            result = await method(*args, **kwargs)
            if due and self.when == "after":
                await act(self.action)
            return result

        setattr(owner, self.method, failing)


async def act(action: str) -> None:
    """Do what a failpoint or a fate says; see the module."""
    verb, _, value = action.partition("=")
    match verb:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            await asyncio.sleep(float(value))
        case "block":
            time.sleep(float(value))  # noqa: ASYNC251  that is the fault
        case "clock":
            jump(float(value))
        case "raise":
            raise getattr(errors, value, RuntimeError)(f"failpoint {action}")
        case _:
            raise ValueError(f"{action!r} is no action; see the module")


def _memory(_: float) -> None:
    pages = int(open("/proc/self/statm").read().split()[0])  # noqa: PTH123, SIM115
    most = pages * resource.getpagesize() + _SPARE
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    eaten = []
    try:
        while True:
            eaten.append(bytearray(_SPARE // 8))
    finally:  # what it has eaten is given back with the error
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def _fail(attempts: float) -> None:
    if get_contextvars()["attempt"] <= attempts:
        await act("raise")


async def _cancelled(_: float) -> None:
    request = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_later(0.02, request.cancel)
    await request  # a client library does this when its connection closes


FATES: dict[str, Callable[[float], Any]] = {
    "kill": lambda _: act("kill"),  # the process dies of it
    "stop": lambda _: act("stop"),
    "slow": lambda seconds: act(f"sleep={seconds}"),
    "block": lambda seconds: act(f"block={seconds}"),
    "fail": _fail,  # at the first so many attempts
    "cancel": _cancelled,
    "exit": lambda _: sys.exit(3),
    "refuse": lambda _: act("raise=Refused"),
    "later": lambda _: act("raise=TryLater"),
    "oom": _memory,
}


def fateful(handle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A handler that first handles the sale, and then meets its fate before the commit."""

    @wraps(handle)
    async def meet(sale: SaleMade) -> None:
        await handle(sale)
        await _meet(sale)

    return meet


def fateful_all(handle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A handler of many that stores the sales, and then meets the fate of each."""

    @wraps(handle)
    async def meet(received: Sequence[Envelope]) -> None:
        await handle(received)
        for message in received:
            assert isinstance(message.payload, SaleMade)
            with bound_contextvars(attempt=message.attempt):
                await _meet(message.payload)

    return meet


async def _meet(sale: SaleMade) -> None:
    mark = sale.buyer_email.partition("@")[0].partition("+")[0]
    name, _, number = mark.partition("-")
    if fate := FATES.get(name):
        met = fate(float(number or "inf"))
        if met is not None:
            await met


def meeting_fates(make: Callable[[Chassis[Any]], Slice]) -> Callable[[Chassis[Any]], Slice]:
    """A slice whose handlers all do."""

    def made(chassis: Chassis[Any]) -> Slice:
        one = make(chassis)
        handlers = {
            type_: replace(
                each,
                handle=fateful(each.handle),
                handle_all=each.handle_all and fateful_all(each.handle_all),
            )
            for type_, each in one.handlers.items()
        }
        return replace(one, handlers=handlers)

    return made


def main(arguments: list[str]) -> None:
    """Arm the failpoints and run the command line."""
    divided = arguments.index("--")
    for text in arguments[:divided]:
        Failpoint.parse(text).arm()
    service = replace(SERVICE, slices=tuple(map(meeting_fates, SERVICE.slices)))
    cli.cli(arguments[divided + 1 :], obj=lambda: service)


if __name__ == "__main__":
    main(sys.argv[1:])
