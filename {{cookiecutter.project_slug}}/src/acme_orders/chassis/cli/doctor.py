"""The command that says what is wrong. Each part is looked at, whatever the others say."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from acme_orders.chassis.cli.live import looked
from acme_orders.chassis.cli.session import (
    MISCONFIGURED,
    command_settings,
    explained,
)
from acme_orders.chassis.cli.topology import inspect_topology
from acme_orders.chassis.dead_letters.choice import looking
from acme_orders.chassis.dead_letters.store import DeadLetters, Selection
from acme_orders.chassis.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    ServiceError,
)
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.messaging.topology import MISSING, UNCONSUMED, State
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import database, verify
from acme_orders.chassis.process.service import Service, assemble
from acme_orders.chassis.relay.backlog import Parked
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

_AWAY = (DatabaseUnavailable, BrokerUnavailable)
_LATE = 10.0  # seconds; a relay that is well needs one or two
_PARKED = {
    "refused": "a queue that is bound to it is full, or the user of BROKER_URL may not publish it",
    "unconfirmed": "a queue that is bound to it does not answer: `rabbitmq-queues quorum_status`",
    "unheard": "somebody has to listen to it, and no queue is bound to it",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part.

    Args:
        part: that was looked at.
        says: what is there.
        problem: why the service can't work with it, and what helps.
        waits: whether somebody has to do something, although the service works.
    """

    part: str
    says: str = ""
    problem: ServiceError | None = None
    waits: bool = False

    @property
    def mark(self) -> str:
        """What stands before it."""
        return "wrong" if self.problem else "waits" if self.waits else "ok"


def doctor(
    context: typer.Context,
    *,
    live: Annotated[bool, typer.Option("--live", help="What a database in use says too.")] = False,
) -> None:
    """Check settings, PostgreSQL, schema and queues, and say what is wrong and what helps."""
    with explained():
        settings, contracts = command_settings(context.obj), Path("contracts") if live else None
        findings = asyncio.run(examine(context.obj, settings, live=contracts))
        for finding in findings:
            typer.echo(f"{finding.mark:7}{finding.part}: {finding.problem or finding.says}")
        away = any(isinstance(finding.problem, _AWAY) for finding in findings)
        if away and settings.environment == "development":
            typer.echo("`make dev` starts PostgreSQL and RabbitMQ, and commands find them")
        if problems := [finding.problem for finding in findings if finding.problem]:
            bad = any(isinstance(problem, ConfigurationError) for problem in problems)
            raise typer.Exit(MISCONFIGURED if bad else 1)


async def examine(
    definition: Definition[Any], settings: ChassisSettings, *, live: Path | None = None
) -> list[Finding]:
    """Look at PostgreSQL, the schema, RabbitMQ and its queues.

    Args:
        definition: of the service.
        settings: of the process.
        live: folder of contracts, to look at what a database that is in use says about itself.
    """
    return [
        Finding("settings", f"can be read; ENVIRONMENT={settings.environment}"),
        *await _tried("PostgreSQL", lambda: _postgresql(definition, settings)),
        *(await _tried("in use", lambda: _in_use(settings, live)) if live else []),
        *await _tried("RabbitMQ", lambda: _rabbitmq(definition, settings)),
    ]


async def _postgresql(definition: Definition[Any], settings: ChassisSettings) -> list[Finding]:
    metrics = Metrics()
    async with database(definition.name, settings, metrics) as manager:
        await manager.ping()
        await verify(settings, manager)
        service = assemble(
            definition, settings, metrics=metrics, manager=manager, broker=MemoryBroker()
        )
        work_for(None)  # feature: row, rls, schema
        waiting = [await _undecided(service.dead_letters), *await _behind(service)]
    return [
        Finding("PostgreSQL", "answers, takes writes, has the schema of this version"),
        *waiting,
    ]


async def _in_use(settings: ChassisSettings, contracts: Path) -> list[Finding]:
    told = await asyncio.to_thread(looked, settings.session_url, contracts)
    return [Finding(each.part, each.says, waits=each.wrong) for each in told]


async def _undecided(dead_letters: DeadLetters) -> Finding:
    async with looking(dead_letters):
        count, _ = await dead_letters.count(Selection())
        oldest = _age((await dead_letters.backlog()).oldest_seconds)
    if not count:
        return Finding("dead letters", "none waits for a decision")
    says = f"{count} wait for a decision, the oldest for {oldest}"
    return Finding("dead letters", f"{says}: `dead-letters list` shows them", waits=True)


async def _behind(service: Service) -> list[Finding]:
    outbox, needed = service.relay_queries.backlog, service.relay.needed
    async with outbox.manager.transaction("doctor", read_only=True):
        parked = await outbox.parked()
        backlog = await outbox.pending(parked=sum(each.rows for each in parked))
    says = "no event waits"
    if backlog.rows:
        says = f"{backlog.rows} events wait, the oldest for {_age(backlog.oldest_seconds)}"
    if late := backlog.oldest_seconds >= _LATE:
        says += ": does a process with the relay run, and is RabbitMQ there?"
    missed = [each for each in parked if each.reason != "unheard" or each.type in needed]
    return [Finding("outbox", says, waits=late), *map(_untaken, missed)]


def _untaken(parked: Parked) -> Finding:
    age = _age(parked.oldest_seconds)
    says = f"{parked.rows} events are parked as {parked.reason}, the oldest for {age}"
    return Finding(f"outbox, {parked.type}", f"{says}: {_PARKED[parked.reason]}", waits=True)


def _age(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


async def _rabbitmq(definition: Definition[Any], settings: ChassisSettings) -> list[Finding]:
    states, unseen = await inspect_topology(definition, settings)
    found = [finding for state in states for finding in _findings(state)]
    return [*found, _seen(unseen, wanted=settings.rabbitmq_management_url is not None)]


def _findings(state: State) -> Iterator[Finding]:
    if not state.problems:
        says = f"{state.messages} messages, {state.consumers} consumers"
        if state.unconsumed:
            says += f": {UNCONSUMED}"
        yield Finding(state.part, says if state.queue else "is there", waits=state.unconsumed)
    for problem in state.problems:
        if problem == MISSING:
            yield Finding(state.part, f"{problem.what}; {problem.helps}")
        else:
            error = ConfigurationError(f"{problem.what}; {problem.helps}")
            yield Finding(state.part, problem=error)


def _seen(unseen: str | None, *, wanted: bool) -> Finding:
    part = "bindings and policies"
    if unseen and wanted:
        helps = "its user needs the right password, and the tag `management`"
        return Finding(part, problem=ServiceError(f"cannot be seen: {unseen}; {helps}"))
    return Finding(part, f"cannot be seen: {unseen}" if unseen else "were looked at")


async def _tried(part: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await look()
    except ServiceError as error:
        return [Finding(part, problem=error)]
