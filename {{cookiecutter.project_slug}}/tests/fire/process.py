"""A process of the service in which something goes wrong at a known point.

The points are counted from outside, in the code of the chassis; no handler knows of them.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process import run as app
from acme_orders.chassis.rabbitmq.broker import RabbitBroker
from acme_orders.chassis.relay.pending import Pending
from acme_orders.service import SERVICE

Place = Literal["statement", "ack", "publish", "published", "forget"]
Action = Literal["kill", "terminate", "cut", "conflict"]
UNIT = "consume"  # the unit of work in which handlers run
_CONFLICT = "DO $$ BEGIN RAISE EXCEPTION 'under fire' USING ERRCODE = '40001'; END $$"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when.

    Args:
        place: before a statement of a handler's transaction, before acks are sent, before an event
            is published, after it was confirmed, before its row is deleted.
        number: of the statement in its transaction, or of the call; from 1.
        action: SIGKILL to the process; the backend ended by the server; the connection closed on
            our side; a serialization failure.
        transaction: number of the transaction, from 1.
    """

    place: Place
    number: int
    action: Action = "kill"
    transaction: int = 1

    def __str__(self) -> str:
        return f"{self.action} at {self.place} {self.number}"


def start(
    environment: Mapping[str, str], *faults: Fault, only: str | None = None, plant: str = ""
) -> "multiprocessing.process.BaseProcess":
    """Start a process; it ends with SIGTERM, or at a fault that kills it.

    Args:
        environment: its settings.
        faults: what goes wrong.
        only: the part that it runs.
        plant: `module:function` that is called first; for tests of the tests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_run, args=(dict(environment), faults, only, plant))
    process.start()
    return process


def _run(
    environment: dict[str, str], faults: tuple[Fault, ...], only: str | None, plant: str
) -> None:
    os.environ.update(environment)
    settings = SERVICE.load_settings(_env_file=None)
    logs.configure(level="CRITICAL", style="json")
    if plant:
        module, _, name = plant.partition(":")
        getattr(import_module(module), name)()
    _Points(faults).arm()
    asyncio.run(app.run(SERVICE, settings, Metrics(), only=only))


class _Points:
    """Counts the places that a process passes, and lets go wrong what is due."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self._due = {(each.place, each.transaction, each.number): each.action for each in faults}
        self._transactions = 0
        self._statements = 0
        self._current: object = None
        self._calls: dict[str, int] = {}

    def arm(self) -> None:
        """Put counters around the methods of the chassis."""
        send = Lease.send

        async def counted(lease: Lease, sql: str, *rest: Any) -> Any:
            await self._statement(lease, sql, send)
            return await send(lease, sql, *rest)

        Lease.send = counted  # type: ignore[method-assign, assignment]
        self._around(RabbitBroker, "ack", before="ack")
        self._around(RabbitBroker, "publish", before="publish", after="published")
        self._around(Pending, "published", before="forget")

    async def _statement(self, lease: Lease, sql: str, send: Callable[..., Any]) -> None:
        transaction = lease.transaction
        if transaction is None or transaction.name != UNIT:
            return
        if transaction is not self._current:
            self._current, self._statements = transaction, 0
            self._transactions += 1
        self._statements += 1
        match self._due.get(("statement", self._transactions, self._statements)):
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "cut":
                driver.discard(lease.connection)
            case "terminate":
                await send(lease, "SELECT pg_terminate_backend(pg_backend_pid())")
            case "conflict":
                await send(lease, _CONFLICT)

    def _around(self, owner: type, name: str, *, before: str, after: str = "") -> None:
        method = getattr(owner, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._call(before)
            result = await method(*args, **kwargs)
            self._call(after)
            return result

        setattr(owner, name, counted)

    def _call(self, place: Any) -> None:
        self._calls[place] = number = self._calls.get(place, 0) + 1
        if self._due.get((place, 1, number)):
            os.kill(os.getpid(), signal.SIGKILL)
