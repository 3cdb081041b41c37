"""Commands that erase a person, and say what became of it."""

import getpass
import json as json_text
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.cli.whose import ANYBODY, Whose
from acme_orders.chassis.erasure.eraser import Eraser
from acme_orders.chassis.erasure.requests import Request
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import unconnected
from acme_orders.chassis.process.erased import eraser_of
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema


class _Named(TyperGroup):
    """`erase ann@example.org` is `erase subject ann@example.org`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["subject", *args]
        return super().parse_args(ctx, args)


erase = typer.Typer(help="Erase a person from all tables.", no_args_is_help=True, cls=_Named)
_Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="An email; - reads it.")]
_HELP = "An email; - reads it."  # feature: tenancy=none
_HELP = "An email; - reads it. Without it, the tenant as a whole."  # feature: row, rls, schema
_Held = Annotated[str, typer.Argument(metavar="SUBJECT", help=_HELP)]
_Days = Annotated[float, typer.Option(min=0, help="Until it is due.")]


@erase.command()
def subject(
    context: typer.Context,
    name: _Subject,
    *,
    whose: Whose = ANYBODY,
    also: Annotated[
        list[str] | None, typer.Option(help="Another value of the person to search for.")
    ] = None,
    days: _Days = 30,
) -> None:
    """Enter a request to be erased, and carry it out."""
    with explained():
        eraser, name = _eraser(context), _read(name)
        with eraser.requests(whose) as requests:
            identity = requests.receive(name, actor=_actor(), days=days)
        _tell([eraser.carry_out(eraser.named(identity), (name, *(also or ())))])


# feature: row, rls, schema {
@erase.command()
def tenant(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TENANT", help="Its id, or its name.")],
    *,
    days: _Days = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a tenant as a whole, with all its people; needs the role that owns the tables."""
    with explained():
        eraser = _eraser(context)
        whose = str(Tenants(command_settings(context.obj).owner_url).named(name))
        if not (yes or typer.confirm(f"Erase all data of the tenant {name} ({whose}) for good?")):
            raise typer.Exit(1)
        with eraser.requests(whose) as requests:
            identity = requests.receive(whose, actor=_actor(), days=days)
        _tell([eraser.carry_out(eraser.named(identity))])


# feature: row, rls, schema }
@erase.command()
def run(
    context: typer.Context,
    *,
    after_restore: Annotated[
        Path | None, typer.Option(help="What `erase list --json` has written before a restore.")
    ] = None,
) -> None:
    """Carry out all requests that are open; with a file, those as well that a restore has lost."""
    with explained():
        eraser = _eraser(context)
        with eraser.requests() as requests:
            for each in _listed(after_restore) if after_restore else ():
                requests.restored(each)
            open_ = [each for each in requests.all() if each.ended_at is None]
        _tell([eraser.carry_out(each) for each in open_])


@erase.command("list")
def list_(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="To be kept.")] = False,
) -> None:
    """Show all requests; nothing in them tells who it is."""
    with explained():
        with _eraser(context).requests() as requests:
            found = requests.all()
        if json:
            typer.echo(json_text.dumps([asdict(each) for each in found], default=str, indent=2))
        else:
            _show(found)


@erase.command()
def status(context: typer.Context) -> None:
    """Show the requests that are open; 1 if one is overdue, and not held, or has failed."""
    with explained():
        with _eraser(context).requests() as requests:
            found = [each for each in requests.all() if each.ended_at is None]
        _show(found)
        now = datetime.now(UTC)
        late = [each for each in found if each.due_at < now and each.state != "held"]
        if late or any(each.state == "failed" for each in found):
            raise typer.Exit(1)


@erase.command()
def hold(
    context: typer.Context,
    name: _Held = "",
    *,
    whose: Whose = ANYBODY,
    reason: Annotated[str, typer.Option(help="Why the data has to stay.")],
    by: Annotated[str, typer.Option(help="Who says so.")],
) -> None:
    """Let nobody erase this person until `erase release`, and let no old rows of theirs go."""
    with explained(), _eraser(context).requests(whose) as requests:
        requests.hold(_read(name, whose), actor=by, reason=reason)


@erase.command()
def release(
    context: typer.Context,
    name: _Held = "",
    *,
    whose: Whose = ANYBODY,
) -> None:
    """End the legal holds of this person."""
    with explained(), _eraser(context).requests(whose) as requests:
        if not requests.release(_read(name, whose)):
            raise ConfigurationError("nobody holds them")


def _eraser(context: typer.Context) -> Eraser:
    definition: Definition[Any] = context.obj
    settings = command_settings(definition)
    return eraser_of(settings, unconnected(definition, settings))


def _read(name: str, otherwise: str = "") -> str:
    name = (sys.stdin.readline() if name == "-" else name or otherwise).strip()
    if not name:
        raise ConfigurationError("name the person, such as by an email")
    return name


def _actor() -> str:
    return f"{getpass.getuser()} on {socket.gethostname()}"


def _listed(file: Path) -> list[Request]:
    try:
        return [Request(**each) for each in json_text.loads(file.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{file} is not what `erase list --json` writes: {error}"
        ) from error


def _tell(ended: list[Request]) -> None:
    for each in ended:
        rows = ", ".join(f"{table}: {count}" for table, count in each.evidence.items())
        why = f": {each.error}" if each.error else ""
        typer.echo(f"{each.id} is {each.state}{why}; rows {rows or 'none'}; trace {each.trace}")
    if any(each.state != "verified" for each in ended):
        raise typer.Exit(1)


def _show(found: list[Request]) -> None:
    table = Table("request", "state", "due", "rows", "why")
    for each in found:
        rows = "\n".join(f"{name}: {count}" for name, count in each.evidence.items())
        why = (each.error or "").replace("[", r"\[")
        table.add_row(each.id, each.state, str(each.due_at.date()), rows, why)
    Console().print(table)
