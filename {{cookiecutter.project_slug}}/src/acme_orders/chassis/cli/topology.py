"""The command that shows exchange and queues, as declared and as RabbitMQ has them."""

import asyncio
import json as json_text
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from acme_orders.chassis.cli.session import (
    MISCONFIGURED,
    command_settings,
    explained,
)
from acme_orders.chassis.messaging.topology import MISSING, UNCONSUMED, State
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import database, message_broker
from acme_orders.chassis.process.service import assemble
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition


def topology(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show exchange and queues as declared and as RabbitMQ has them; 78 if they differ."""
    with explained():
        states, unseen = asyncio.run(inspect_topology(context.obj, command_settings(context.obj)))
        if json:
            typer.echo(json_text.dumps([_as_json(state) for state in states], indent=2))
        else:
            table = Table("name", "messages", "consumers", "state")
            for state in states:
                counts = (str(state.messages), str(state.consumers)) if state.queue else ("", "")
                says = "\n".join(f"{each.what}: {each.helps}" for each in state.problems)
                well = UNCONSUMED if state.unconsumed else "ok"
                table.add_row(state.name, *counts, says or well)
            Console().print(table)
            if unseen:
                typer.echo(f"bindings and policies cannot be seen: {unseen}", err=True)
        if any(problem != MISSING for state in states for problem in state.problems):
            raise typer.Exit(MISCONFIGURED)


async def inspect_topology(
    definition: Definition[Any], settings: ChassisSettings
) -> tuple[list[State], str | None]:
    """The exchange and each queue as they should be and as they are; nothing is changed.

    Returns:
        All of them, and why bindings and policies were not seen, if they were not.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer.
    """
    name, metrics = definition.name, Metrics()
    manager = database(name, settings, metrics)  # never opened
    async with message_broker(name, settings, metrics) as broker:
        service = assemble(definition, settings, metrics=metrics, manager=manager, broker=broker)
        whole = service.topology
        return await broker.inspect(whole.exchange, whole), broker.unseen


def _as_json(state: State) -> dict[str, object]:
    declared: dict[str, object] = {"exchange": state.name}
    if state.queue is not None:
        declared = {
            "queue": state.name,
            "arguments": dict(state.queue.arguments),
            "bindings": list(state.queue.bindings),
            "messages": state.messages,
            "consumers": state.consumers,
        }
    helps = [
        {"what": each.what, "helps": each.helps, "loses": each.loses} for each in state.problems
    ]
    return {**declared, "problem": state.problem, "problems": helps}
