"""The command line."""

import asyncio
import difflib
import json as json_text
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated
from uuid import UUID, uuid4  # feature: row, rls, schema

import typer
from rich.console import Console
from rich.table import Table

from acme_orders import app as application
from acme_orders.database.explain import explain as explain_query
from acme_orders.database.migrate import Migrator
from acme_orders.database.migration_files import FOLDER
from acme_orders.database.migration_files import migrations as all_migrations
from acme_orders.database.repository import Query, Repository  # feature: row, rls, schema
from acme_orders.database.tenancy import work_for  # feature: row, rls, schema
from acme_orders.database.tenants import Tenants  # feature: row, rls, schema
from acme_orders.errors import ConfigurationError, ServiceError
from acme_orders.observability import logs
from acme_orders.observability.metrics import Metrics
from acme_orders.readiness import checklist, report
from acme_orders.readiness.rehearsal import Subject
from acme_orders.settings import Settings, load_settings

MISCONFIGURED = 78  # EX_CONFIG of sysexits.h

cli = typer.Typer(
    help="Takes messages from a queue, stores their effects and publishes what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
migrations = typer.Typer(help="Change the schema of the database.", no_args_is_help=True)
cli.add_typer(migrations, name="migrate")


class Part(StrEnum):
    """What can run alone."""

    consumer = "consumer"
    relay = "relay"
    api = "api"  # feature: http_api


@contextmanager
def _explained() -> Iterator[None]:
    """One clear line instead of a traceback, and the right exit status."""
    found: list[ServiceError] = []
    try:
        yield
    except* ServiceError as group:
        found = list(_leaves(group))
    if found:
        for error in found:
            typer.echo(str(error), err=True)
        bad = any(isinstance(error, ConfigurationError) for error in found)
        raise typer.Exit(MISCONFIGURED if bad else 1)


def _leaves(group: BaseExceptionGroup[ServiceError]) -> Iterator[ServiceError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _settings() -> Settings:
    settings = load_settings()
    logs.configure(level=settings.log_level, style=settings.log_format)
    return settings


def _migrator() -> Migrator:
    settings = _settings()
    return Migrator(settings.owner_url, lock_timeout=settings.migration_lock_timeout)


@cli.command()
def run(
    only: Annotated[Part | None, typer.Option(help="Run one part alone.")] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C; then finish what has been delivered."""
    with _explained():
        asyncio.run(application.run(_settings(), only=only.value if only else None))


@cli.command()
def doctor() -> None:
    """Check settings, PostgreSQL, schema and broker, and say what is wrong."""

    async def look() -> None:
        async with application.connected(_settings(), Metrics()) as service:
            typer.echo(f"settings, PostgreSQL, schema and broker are well; {service.topology.main}")

    with _explained():
        asyncio.run(look())


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
    name: Annotated[str, typer.Argument(help="Of a registered query, such as orders.page.")],
    *,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, measure it, and roll it back.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tenant: _Whose = None,  # feature: row, rls, schema
) -> None:
    """Show how PostgreSQL runs a query with its example."""

    async def look() -> None:
        settings = _settings().model_copy(update={"broker_url": "memory://"})
        async with application.connected(settings, Metrics()) as service:
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

    with _explained():
        asyncio.run(look())


@cli.command()
def readiness(
    *, json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Inspect what this project has become; status 1 if it is not ready for production."""
    with _explained():
        settings = _settings()
        logs.configure(level="CRITICAL", style=settings.log_format)  # defects are tried on purpose
        results = asyncio.run(checklist.go_through(Subject(settings)))
        if json:
            typer.echo(report.as_json(results))
        else:
            Console().print(report.as_table(results))
        if not all(result.passed for result in results):
            raise typer.Exit(1)


@migrations.command()
def plan() -> None:
    """Print the SQL that `up` would run."""
    with _explained():
        for migration in _migrator().pending():
            typer.echo(f"-- {migration.id}\n{migration.up.read_text(encoding='utf-8')}")


@migrations.command()
def up(
    count: Annotated[int | None, typer.Option(help="Only so many; all without it.", min=1)] = None,
) -> None:
    """Apply what is pending."""
    _report(lambda: _migrator().up(count=count), "applied", "nothing is pending")


@migrations.command()
def down(
    count: Annotated[int, typer.Option(help="How many to take back.", min=1)] = 1,
) -> None:
    """Take back the newest migrations."""
    _report(lambda: _migrator().down(count=count), "taken back", "nothing was applied")


@migrations.command()
def status() -> None:
    """Show which migrations are applied and which are pending."""
    with _explained():
        migrator = _migrator()
        table = Table("migration", "applied at", "ms")
        for identity, _, applied_at, milliseconds in migrator.applied():
            table.add_row(identity, f"{applied_at:%Y-%m-%d %H:%M:%S%z}", str(milliseconds))
        for migration in migrator.pending():
            table.add_row(migration.id, "pending", "")
        Console().print(table)


@migrations.command()
def new(name: Annotated[str, typer.Argument(help="What it does, such as add_order_note.")]) -> None:
    """Make the two files of a new migration."""
    with _explained():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,50}", name):
            raise ConfigurationError(
                f"{name!r}: lower-case letters, digits and underscores, please"
            )
        number = int(all_migrations()[-1].id[:4]) + 1
        for direction, text in (("up", "-- reversible: yes\n\n"), ("down", "")):
            file = FOLDER / f"{number:04}_{name}.{direction}.sql"
            file.write_text(text, encoding="utf-8")
            typer.echo(file)


# feature: row, rls, schema {
tenants = typer.Typer(help="Register whose data is kept apart.", no_args_is_help=True)
cli.add_typer(tenants, name="tenants")


@tenants.command("add")
def add_tenant(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    identity: Annotated[UUID | None, typer.Option("--id", help="A new one without it.")] = None,
) -> None:
    """Register a tenant and print its id, which messages and requests name."""
    with _explained():
        tenant = identity or uuid4()
        Tenants(_settings().owner_url).add(tenant, name)
        list(_migrator().up())  # feature: schema
        typer.echo(tenant)


@tenants.command("list")
def list_tenants() -> None:
    """Show every tenant."""
    with _explained():
        known = Tenants(_settings().owner_url).all()
        for tenant, name in known:
            typer.echo(f"{tenant}  {name}")
        if not known:
            typer.echo("there is none yet: `tenants add NAME` registers one", err=True)


# feature: row, rls, schema }


def _report(work: Callable[[], Iterator[tuple[str, float]]], verb: str, nothing: str) -> None:
    with _explained():
        done = 0
        for migration, seconds in work():
            typer.echo(f"{migration} {verb} ({seconds:.2f} s)")
            done += 1
        if not done:
            typer.echo(nothing)


def main() -> None:
    """Run the command line."""
    cli()
