"""Commands that change the schema."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER
from acme_orders.chassis.migrations.files import migrations as all_migrations
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.migrations.session import check as check_files

_STATES = {
    ("up", "ok"): "applied",
    ("up", "running"): "is being applied, or was interrupted",
    ("up", "failed"): "failed",
    ("down", "running"): "is being taken back, or was interrupted",
    ("down", "failed"): "failed to be taken back",
}
migrate = typer.Typer(help="Change the schema of the database.", no_args_is_help=True)


def migrator(context: typer.Context) -> Migrator:
    """Of the database that the settings name, as its owner."""
    settings = command_settings(context.obj)
    return Migrator(settings.owner_url, settings=settings)


@migrate.command()
def plan(
    context: typer.Context,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="The whole SQL instead.")] = False,
) -> None:
    """Show what `up` would run, with the lock of each statement and what it does under it."""
    from acme_orders.chassis.migrations.planned import (  # noqa: PLC0415
        planned,
    )

    with explained():
        pending = migrator(context).pending()
        check_files(pending)
        whole = (f"-- {each.id}\n{each.text}" for each in pending)
        for line in whole if sql else planned(all_migrations(), pending):
            typer.echo(line)


@migrate.command()
def up(
    context: typer.Context,
    count: Annotated[int | None, typer.Option(help="Only so many; all without it.", min=1)] = None,
) -> None:
    """Apply what is pending."""
    _report(lambda: migrator(context).up(count=count), "applied", "nothing is pending")


@migrate.command()
def down(
    context: typer.Context,
    count: Annotated[int, typer.Option(help="How many to take back.", min=1)] = 1,
) -> None:
    """Take back the newest migrations."""
    _report(lambda: migrator(context).down(count=count), "taken back", "nothing was applied")


@migrate.command()
def status(context: typer.Context) -> None:
    """Show which migrations are applied, under way and pending."""
    with explained():
        runner = migrator(context)
        table = Table("migration", "state", "since", "ms")
        for line in runner.applied():
            state = _STATES[line.direction, line.status]
            table.add_row(line.id, state, f"{line.at:%Y-%m-%d %H:%M:%S%z}", str(line.milliseconds))
        try:
            for migration in runner.pending():
                table.add_row(migration.id, "pending", "", "")
        finally:  # what is applied helps to understand why the files do not fit
            Console().print(table)


@migrate.command()
def verify(context: typer.Context) -> None:
    """Check files, history and indexes; 1 if something is not as it should be."""
    with explained():
        found = migrator(context).findings()
        for each in found:
            typer.echo(each)
        if found:
            raise typer.Exit(1)
        typer.echo("all is applied as the files say, and every index is valid")


@migrate.command()
def repair(
    context: typer.Context,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Applied, and its file was changed: take it as it is.", metavar="ID"),
    ] = None,
) -> None:
    """Finish what was interrupted, remove what it left, and say what was done."""
    with explained():
        done = 0
        for each in migrator(context).repair(accept or ()):
            typer.echo(each)
            done += 1
        if not done:
            typer.echo("nothing is to be repaired")


@migrate.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it does, such as add_note.")],
    *,
    empty: Annotated[bool, typer.Option("--empty", help="Draft nothing, ask no server.")] = False,
) -> None:
    """Write new migrations: what the models say and the schema lacks, in the safe form."""
    from acme_orders.chassis.migrations.new import (  # noqa: PLC0415
        drafted,
        write,
    )
    from acme_orders.chassis.migrations.recipes import Part  # noqa: PLC0415

    with explained():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,50}", name):
            raise ConfigurationError(
                f"{name!r}: lower-case letters, digits and underscores, please"
            )
        parts: tuple[Part, ...] = ()
        if not empty:
            draft = drafted(command_settings(context.obj).owner_url)
            parts = draft.parts
            for note in draft.notes:
                typer.echo(f"left to you: {note}", err=True)
        if not parts and not empty:
            typer.echo("models and migrations say the same: the files are empty", err=True)
        for file in write(name, parts or (Part(""),)):
            typer.echo(file)


@migrate.command("lint")
def lint_files(
    folder: Annotated[Path, typer.Argument(help="With the migrations.")] = FOLDER,
) -> None:
    """Refuse what a busy database does not survive, and show what to write instead."""
    # The parser takes a tenth of a second to import, and the service has no use for it.
    from acme_orders.chassis.migrations.lint.report import (  # noqa: PLC0415
        report,
    )

    with explained():
        if not report(folder, typer.echo):
            raise typer.Exit(1)


def _report(work: Callable[[], Iterator[tuple[str, float]]], verb: str, nothing: str) -> None:
    with explained():
        done = 0
        for migration, seconds in work():
            typer.echo(f"{migration} {verb} ({seconds:.2f} s)")
            done += 1
        if not done:
            typer.echo(nothing)
