"""The command that runs the service."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process import run as process


class Part(StrEnum):
    """What can run alone."""

    consumer = "consumer"
    relay = "relay"
    retention = "retention"
    api = "api"  # feature: http_api


def run(
    context: typer.Context,
    only: Annotated[Part | None, typer.Option(help="Run one part alone.")] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C; then finish what has been delivered."""
    # What is wrong is said before the loop is closed: a thread that hangs would keep it to itself.
    with asyncio.Runner() as runner, explained():
        metrics = Metrics()
        settings = command_settings(context.obj, metrics)
        part = only.value if only else None
        runner.run(process.run(context.obj, settings, metrics, only=part))
