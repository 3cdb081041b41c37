"""The command line."""

import asyncio
import difflib
import json as json_text
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4  # feature: row, rls, schema

import typer
from rich.console import Console
from rich.table import Table

from acme_orders.chassis.cli.asyncapi import asyncapi
from acme_orders.chassis.cli.backfill import backfills
from acme_orders.chassis.cli.dead_letters import dead_letters
from acme_orders.chassis.cli.doctor import examine, inspect_topology
from acme_orders.chassis.cli.erase import erase
from acme_orders.chassis.cli.migrate import migrations
from acme_orders.chassis.cli.migrate import migrator as migrator_of  # feature: schema
from acme_orders.chassis.cli.openapi import openapi  # feature: http_api
from acme_orders.chassis.cli.reproduce import reproduce
from acme_orders.chassis.cli.retention import retention
from acme_orders.chassis.cli.sample import export_sample
from acme_orders.chassis.cli.send import send
from acme_orders.chassis.cli.session import (
    MISCONFIGURED,
    command_settings,
    explained,
    standard_error,
)
from acme_orders.chassis.database.explain import explain as explain_query
from acme_orders.chassis.database.repository import Query, Repository  # feature: row, rls, schema
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.topology import MISSING, State
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process import run as process
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

cli = typer.Typer(
    help="Takes messages from a queue, stores their effects and publishes what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cli.add_typer(migrations, name="migrate")
cli.add_typer(backfills, name="backfill")
cli.add_typer(retention, name="retention")
cli.add_typer(erase, name="erase")
cli.add_typer(dead_letters, name="dead-letters")
dead_letters.command()(reproduce)
cli.command()(send)
cli.command()(export_sample)
cli.command()(asyncapi)
cli.command()(openapi)  # feature: http_api


def _say_version(context: typer.Context, asked: bool) -> None:  # noqa: FBT001
    if asked:
        typer.echo(f"{context.obj.name} {version(context.obj.name)}")
        raise typer.Exit


@cli.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """What goes before a command."""


class Part(StrEnum):
    """What can run alone."""

    consumer = "consumer"
    relay = "relay"
    retention = "retention"
    api = "api"  # feature: http_api


@cli.command()
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


@cli.command()
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
        if problems := [finding.problem for finding in findings if finding.problem]:
            bad = any(isinstance(problem, ConfigurationError) for problem in problems)
            raise typer.Exit(MISCONFIGURED if bad else 1)


@cli.command()
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
                table.add_row(state.name, *counts, says or "ok")
            Console().print(table)
            if unseen:
                typer.echo(f"bindings and policies cannot be seen: {unseen}", err=True)
        if any(problem != MISSING for state in states for problem in state.problems):
            raise typer.Exit(MISCONFIGURED)


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


# feature: row, rls, schema {
_Whose = Annotated[UUID | None, typer.Option(help="Whose data; `tenants list` shows them.")]


def _work_for(tenant: UUID | None, repository: Repository, query: Query) -> None:
    if tenant is None and not repository.across_tenants:
        raise ConfigurationError(
            f"{query.name} works for one tenant: name it with --tenant; `tenants list` shows them"
        )
    work_for(None if repository.across_tenants else tenant)


# feature: row, rls, schema }


@cli.command()
def explain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of a registered query, such as outbox.lease.")],
    *,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, measure it, and roll it back.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tenant: _Whose = None,  # feature: row, rls, schema
) -> None:
    """Show how PostgreSQL runs a query with its example."""

    async def look() -> None:
        settings = command_settings(context.obj).model_copy(update={"broker_url": "memory://"})
        async with connected(context.obj, settings, Metrics()) as service:
            known = service.queries()
            if name not in known:
                near = difflib.get_close_matches(name, known, cutoff=0.4) or sorted(known)
                raise ConfigurationError(f"no query {name!r}; there is {', '.join(near)}")
            _work_for(tenant, *known[name][:2])  # feature: row, rls, schema
            plans = await explain_query(service.manager, *known[name], analyze=analyze)
        if not plans:
            raise ConfigurationError(f"{name} sends no query with its example: give it another")
        if json:
            found = [{"sql": plan.sql, "plan": plan.lines} for plan in plans]
            typer.echo(json_text.dumps(found, indent=2))
            return
        shown = ("\n".join((typer.style(plan.sql, bold=True), *plan.lines)) for plan in plans)
        typer.echo("\n\n".join(shown))

    with explained():
        asyncio.run(look())


# feature: row, rls, schema {
tenants = typer.Typer(help="Register whose data is kept apart.", no_args_is_help=True)
cli.add_typer(tenants, name="tenants")


@tenants.command("add")
def add_tenant(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    identity: Annotated[UUID | None, typer.Option("--id", help="A new one without it.")] = None,
) -> None:
    """Register a tenant and print its id, which messages and requests name."""
    with explained():
        tenant = identity or uuid4()
        Tenants(command_settings(context.obj).owner_url).add(tenant, name)
        list(migrator_of(context).up())  # feature: schema
        typer.echo(tenant)


@tenants.command("list")
def list_tenants(context: typer.Context) -> None:
    """Show every tenant."""
    with explained():
        known = Tenants(command_settings(context.obj).owner_url).all()
        for tenant, name in known:
            typer.echo(f"{tenant}  {name}")
        if not known:
            typer.echo("there is none yet: `tenants add NAME` registers one", err=True)


# feature: row, rls, schema }


def command_line(definition: Definition[Any]) -> None:
    """Run the command line of a service."""
    with standard_error():
        cli(obj=definition)
