"""Sees what handlers and transactions do beside their statements: what no rollback undoes."""

import asyncio
import functools
import os
import re
import sys
import sysconfig
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acme_orders import chassis
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.observability.metrics import Metrics

from readiness.meeting import Meeting

WRITE = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE\s+\S+.*?\sSET|DELETE\s+FROM|MERGE\s+INTO)\b",
    re.IGNORECASE | re.DOTALL,
)
_INSIDE: ContextVar["Watch | None"] = ContextVar("inside", default=None)
_READ_ONLY = "25006"  # feature: http_api
_HERE = str(Path(__file__).parent)
_CHASSIS = str(Path(chassis.__file__).parent)
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
# Events of the interpreter (PEP 578), and what they are in plain words.
_ACTS = {
    "socket.connect": "opens a connection",
    "socket.sendto": "sends a datagram",
    "socket.getaddrinfo": "looks up a host",
    "subprocess.Popen": "starts a program",
    "os.system": "starts a program",
    "os.posix_spawn": "starts a program",
    "os.fork": "starts a process",
    "_thread.start_new_thread": "starts a thread",
    "os.mkdir": "makes a folder",
    "os.rmdir": "removes a folder",
    "os.utime": "touches a file",
    "os.chmod": "changes who may read a file",
    "os.link": "links a file",
    "os.symlink": "links a file",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.truncate": "truncates a file",
    "shutil.copyfile": "copies a file",
    "sqlite3.connect": "opens another database",
}


@dataclass(eq=False)
class Watch:
    """What was seen; `where` of each is file and line of the code that did it.

    Args:
        acts: what happened inside a transaction that a rollback does not undo.
        failures: what transactions ended with, such as the errors of handlers.
        named: where in a slice the first statement under each name was sent.
        meeting: where transactions wait for each other before they commit.
    """

    acts: dict[str, None] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    meeting: Meeting | None = None

    def sent(self, statement: Statement) -> None:
        """Note who sends it, if its name is new."""
        if statement.query not in self.named:
            self.named[statement.query] = _place(sys._getframe(1))  # noqa: SLF001

    def saw(self, what: str) -> None:
        """Note what somebody does now."""
        if where := _place(sys._getframe(1)):  # noqa: SLF001  # the only way to a frame
            self.acts.setdefault(f"{where} {what} inside a transaction")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Look at what is done in the block."""
        token = _INSIDE.set(self)
        try:
            yield
        finally:
            _INSIDE.reset(token)


class WatchedManager(Manager):
    """Runs transactions under watch, and keeps what they fail with."""

    def __init__(
        self,
        settings: Any,
        metrics: Metrics,
        watch: Watch,
        *,
        observers: Sequence[Callable[[Statement], None]],
    ) -> None:
        super().__init__(settings, metrics, role=SERVICE_ROLE, observers=observers)
        self._watch = watch

    @asynccontextmanager
    async def transaction(self, name: str, **options: Any) -> AsyncIterator[Transaction]:
        """Commit all that happens inside, or nothing."""
        async with super().transaction(name, **options) as transaction:
            try:
                with self._watch.inside():
                    yield transaction
                    await self.flush()
                if meeting := self._watch.meeting:
                    await meeting.come(name)
            except Exception as error:
                self._watch.failures.append(error)
                raise


class WatchedBroker(MemoryBroker):
    """Queues in memory; what is published inside a transaction is noticed."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Hand the message on."""
        if _INSIDE.get() is self._watch:
            self._watch.saw(f"publishes {message.type}, which no rollback takes back,")
        await super().publish(message, exchange=exchange, routing_key=routing_key)


@contextmanager
def installed() -> Iterator[None]:
    """Let the interpreter and the event loop tell of what happens in the block."""
    _listen()
    loop = asyncio.get_running_loop()
    if "call_later" in loop.__dict__:  # a rehearsal inside another one
        yield
        return
    thread, later, sleep = loop.run_in_executor, loop.call_later, time.sleep

    def slept(seconds: float) -> None:
        if seen := _INSIDE.get():
            seen.saw(f"blocks for {seconds:g} s")
        sleep(seconds)

    def run_in_executor(*args: Any) -> Any:
        if seen := _INSIDE.get():
            seen.saw("hands work to a thread")
        return thread(*args)

    def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> Any:
        # What asyncio.sleep waits for; time limits have other callbacks.
        if (seen := _INSIDE.get()) and callback.__name__ == "_set_result_unless_cancelled":
            seen.saw(f"sleeps for {delay:g} s")
        return later(delay, callback, *args, **options)

    loop.__dict__.update(run_in_executor=run_in_executor, call_later=call_later)
    # Python tells of it itself from 3.13 on only. `from time import sleep` has it in other modules.
    places = [
        (known, name)
        for module in [*sys.modules.values()]
        for known in [getattr(module, "__dict__", {})]
        for name, value in [*known.items()]
        if value is sleep
    ]
    for known, name in places:
        known[name] = slept
    try:
        yield
    finally:
        for known, name in places:
            known[name] = sleep
        del loop.__dict__["run_in_executor"], loop.__dict__["call_later"]


@functools.cache
def _listen() -> None:
    """Once, because such a hook stays until the process ends."""
    sys.addaudithook(_heard)


def _heard(event: str, args: tuple[Any, ...]) -> None:
    seen = _INSIDE.get()
    if seen is None:
        return
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR):
        seen.saw("writes a file")
    elif what := _ACTS.get(event):
        seen.saw(what)


def _place(frame: Any) -> str:
    """File and line of the innermost code of a slice, if one has led to this."""
    for each, line in traceback.walk_stack(frame):
        name = each.f_code.co_filename
        if name.startswith(_HERE) and name != __file__:
            break
        if name != __file__ and not name.startswith(("<", _CHASSIS, *_LIBRARIES)):
            return f"{short(name)}:{line}"
    return ""


def told(error: Exception) -> str:
    """An error with the place in a slice where it came up, if it did there."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_code.co_filename
        if not name.startswith(("<", _HERE, _CHASSIS, *_LIBRARIES)):
            return f"{text} ({short(name)}:{line})"
    return text


# feature: http_api {
def is_read_only(error: Exception) -> bool:
    """Whether PostgreSQL has refused a write because the transaction only reads."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


# feature: http_api }


def short(path: str) -> str:
    """As people name a file: from the folder of its package on."""
    *_, folder, file = Path(path).parts
    return f"{folder}/{file}"
