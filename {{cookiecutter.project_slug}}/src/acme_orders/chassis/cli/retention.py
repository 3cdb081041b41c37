"""Commands that delete what has been kept long enough, and say what they would delete."""

import json as json_text
import signal
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import unconnected
from acme_orders.chassis.process.retained import holds_of, policies_of, runner_of
from acme_orders.chassis.retention import verify as verification
from acme_orders.chassis.retention.holds import Holds
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition

retention = typer.Typer(help="Delete what has been kept long enough.", no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="For programs.")]
_Only = Annotated[str | None, typer.Option("--policy", help="This one alone.")]


@retention.command()
def plan(context: typer.Context, *, policy: _Only = None, json: _Json = False) -> None:
    """Count what would be deleted now, and delete nothing."""
    with explained():
        settings = command_settings(context.obj)
        chosen, holds = _chosen(context, settings, policy)
        planned = list(verification.plan(settings.session_url, chosen, holds))
        if json:
            typer.echo(json_text.dumps([asdict(each) for each in planned], indent=2))
        else:
            table = Table("policy", "older than", "rows")
            for each in planned:
                counts = "\n".join(f"{name}: {count}" for name, count in each.rows.items())
                table.add_row(each.policy, each.cutoff, counts or each.refused.replace("[", r"\["))
            Console().print(table)
        if any(each.refused for each in planned):
            raise typer.Exit(1)


@retention.command()
def run(
    context: typer.Context,
    *,
    policy: _Only = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="However many rows of a table go: RETENTION_MOST.")
    ] = False,
) -> None:
    """Delete it, in small portions. Ctrl-C is safe at any time."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with explained():
        settings = command_settings(context.obj)
        runner = runner_of(settings, *_chosen(context, settings, policy))
        rows, good = 0, True
        try:
            with closing(runner.run(anyway=anyway)) as steps:
                for step in steps:
                    rows += step.rows
                    if step.waits:
                        typer.echo(f"{step.policy} waits: {step.waits}", err=True)
                    elif step.state:
                        why = f": {step.why}" if step.why else ""
                        typer.echo(f"{step.policy} is {step.state}, {rows} rows went{why}")
                        rows, good = 0, good and step.state == "ok"
        except KeyboardInterrupt:
            typer.echo("left; the next pass goes on", err=True)
            raise typer.Exit(130) from None
        if not good:
            raise typer.Exit(1)


@retention.command()
def verify(context: typer.Context, *, policy: _Only = None, json: _Json = False) -> None:
    """Find what has expired, refers to what is gone, was never run or is overdue; 1 if anything."""
    with explained():
        settings = command_settings(context.obj)
        chosen, holds = _chosen(context, settings, policy)
        url, interval = settings.session_url, settings.retention_interval
        found = list(verification.verify(url, chosen, interval=interval, holds=holds))
        if json:
            typer.echo(json_text.dumps([asdict(each) for each in found], indent=2))
        else:
            lines = "\n".join(each.text for each in found)
            typer.echo(lines or "nothing has been kept for too long")
        if found:
            raise typer.Exit(1)


def _chosen(
    context: typer.Context, settings: ChassisSettings, name: str | None
) -> tuple[list[Retention], Holds]:
    definition: Definition[Any] = context.obj
    slices = unconnected(definition, settings)
    policies = policies_of(settings, slices)
    chosen = [each for each in policies if name in (None, each.name)]
    if not chosen:
        known = ", ".join(each.name for each in policies)
        raise ConfigurationError(f"no policy {name!r}; there is {known}")
    return chosen, holds_of(slices)
