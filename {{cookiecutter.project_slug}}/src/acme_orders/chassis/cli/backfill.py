"""Commands that change many rows while the service runs."""

import json as json_text
import signal
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from acme_orders.chassis.backfills import control, runner
from acme_orders.chassis.backfills.files import FOLDER, NAME, found, names
from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.cli.bar import Step, watched
from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED

backfill = typer.Typer(
    help="Change many rows in portions, while the service runs.", no_args_is_help=True
)
_TEMPLATE = '''"""{name}: why these rows are changed."""

from acme_orders.chassis.backfills.backfill import Backfill


class {title}(Backfill):
    """From what, to what; `docs/backfills.md` says what is possible."""

    table = ""
    where = ""  # which rows still need it, such as "note IS NULL"
    set = ""  # what is assigned, such as "note = ''"
    verify = ""  # what remains, such as "SELECT count(*) FROM … WHERE note IS NULL"
'''
_Name = Annotated[str, typer.Argument(help="Of a file in backfills/, without .py.")]


@backfill.command()
def run(
    context: typer.Context,
    name: _Name,
    *,
    restart: Annotated[
        bool, typer.Option("--restart", help="Go through all rows again, from the first one.")
    ] = False,
) -> None:
    """Go on where it was left, until its verify query counts 0. Ctrl-C is safe at any time."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with explained():
        settings = command_settings(context.obj)
        limits = Limits(
            share=settings.backfill_share,
            max_lag=settings.backfill_max_lag,
            oldest=settings.backfill_oldest_transaction,
            wal=settings.backfill_wal_rate * 2**20,
        )
        work = runner.Runner(settings.owner_url, limits=limits).run(name, restart=restart)
        console = Console()
        try:
            with closing(work) as steps:
                done = watched(name, map(_step, steps), console)
        except KeyboardInterrupt:
            typer.echo(f"left; `backfill run {name}` goes on where it was", err=True)
            raise typer.Exit(130) from None
        typer.echo(f"{name} is completed" if done else f"{name} was completed before")


@backfill.command()
def status(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show each backfill, how far it is, who runs it, and what it waits for."""
    with explained():
        with backfill_session(command_settings(context.obj).owner_url) as session:
            begun = control.everywhere(session)
        known = {each.name for each in begun}
        begun += [control.Status(each) for each in names() if each not in known]
        if json:
            typer.echo(json_text.dumps([asdict(each) for each in begun], indent=2, default=str))
            return
        table = Table("backfill", "state", "rows", "set aside", "run by", "why")
        for each in begun:
            ahead = each.rows_estimate and each.state != "completed"
            share = f" of about {each.rows_estimate}" if ahead else ""
            place = "" if each.place == SHARED else f" in {each.place}"
            table.add_row(
                each.name + place,
                each.state,
                f"{each.rows_done}{share}",
                str(each.set_aside),
                each.runner or "nobody",
                each.why or "",
            )
        Console().print(table)


@backfill.command()
def pause(context: typer.Context, name: _Name) -> None:
    """Let a backfill wait after its portion, until `resume`."""
    _move(context, name, "pause", "waits; `backfill resume` lets it go on")


@backfill.command()
def resume(context: typer.Context, name: _Name) -> None:
    """Let a paused backfill go on."""
    _move(context, name, "resume", "goes on")


@backfill.command()
def cancel(context: typer.Context, name: _Name) -> None:
    """End a backfill for good; what it has done stays."""
    _move(context, name, "cancel", "was cancelled; `backfill run --restart` would begin it anew")


@backfill.command()
def new(name: Annotated[str, typer.Argument(help="What it does, such as fill_note.")]) -> None:
    """Make the file of a new backfill."""
    with explained():
        file = FOLDER / f"{name}.py"
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r}: lower-case letters, digits and underscores, please"
            )
        if file.exists():
            raise ConfigurationError(f"{file} is there already: take another name")
        FOLDER.mkdir(exist_ok=True)
        title = "".join(map(str.capitalize, name.split("_")))
        text = _TEMPLATE.format(name=name, title=title)
        file.write_text(text, encoding="utf-8", newline="\n")
        typer.echo(file)


def _move(context: typer.Context, name: str, how: str, says: str) -> None:
    with explained(), backfill_session(command_settings(context.obj).owner_url) as session:
        if name not in (known := {each.name for each in control.statuses(session)}):
            found(name)  # says what there is
            raise ConfigurationError(
                f"{name} has not begun; begun are {', '.join(known) or 'none'}"
            )
        moved = control.move(session, name, how)
        typer.echo(f"{name} {says}")
        if how == "resume" and moved.runner is None:
            typer.echo(f"nobody runs it now: `backfill run {name}` does", err=True)


def _step(step: runner.Progress) -> Step:
    part = "" if step.place == SHARED else step.place
    return Step(step.rows, step.estimate, step.waits, step.completed, part)
