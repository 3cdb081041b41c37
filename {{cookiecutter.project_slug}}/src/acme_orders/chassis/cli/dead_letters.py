"""The commands for dead letters: look at them, replay them, discard them."""

import asyncio
import json as json_text
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, ClassVar
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import Progress

from acme_orders.chassis.cli.lazy import LazyGroup
from acme_orders.chassis.cli.letter_table import show_all
from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.dead_letters.choice import (
    AT_ONCE,
    MOST_LINES,
    choose,
    listed,
    looking,
)
from acme_orders.chassis.dead_letters.replay import Outcome, Replay
from acme_orders.chassis.dead_letters.store import (
    Selection,
    State,
)
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema


class _Commands(LazyGroup):
    """Those below, and one in a file of its own."""

    later: ClassVar[Mapping[str, str]] = {
        "reproduce": "Write a test with the message and the rows that it is about, and nothing "
        "personal.",
    }


dead_letters = typer.Typer(
    help="Look at messages that could not be processed, replay or discard them.",
    no_args_is_help=True,
    cls=_Commands,
)
_Ids = Annotated[list[UUID] | None, typer.Argument(help="Single ones, as `list --each` shows.")]
_Reason = Annotated[str | None, typer.Option(help="Such as retries_exhausted.")]
_Fingerprint = Annotated[str | None, typer.Option(help="Of failures that look alike.")]
_Type = Annotated[str | None, typer.Option("--type", help="Of the message.")]
_All = Annotated[bool, typer.Option("--all", help="All that wait.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")]
_Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@dead_letters.command("list")
def list_(
    context: typer.Context,
    *,
    reason: _Reason = None,
    fingerprint: _Fingerprint = None,
    type_: _Type = None,
    state: Annotated[State, typer.Option(help="What was decided about them.")] = State.waiting,
    each: Annotated[bool, typer.Option("--each", help="Single ones instead of groups.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LINES, help="At most so many lines.")] = 50,
    json: _Json = False,
) -> None:
    """Show what was set aside: groups that look alike, or single ones, the oldest first."""
    wanted = Selection(state, (), reason, fingerprint, type_)

    async def look() -> tuple[list[Any], str, int]:
        async with service_of(context) as service:
            return await listed(service.dead_letters, wanted, each=each, limit=limit)

    with explained():
        found, said, count = asyncio.run(look())
    if json:
        shown = [asdict(one) for one in found]
        typer.echo(json_text.dumps(shown, indent=2, default=str))
    elif found:
        show_all(found)
    if not found:
        said = f"no dead letter that is {state} fits"
    if more := count - len(found):
        what = "dead letters" if each else "groups"
        said += f", and {more} more {what}: --limit {min(count, MOST_LINES)}"
    if more or not json:
        typer.echo(said, err=True)


@dead_letters.command()
def show(
    context: typer.Context,
    identity: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` shows.")],
    *,
    body: Annotated[
        bool, typer.Option("--body", help="The body too; it may be personal data.")
    ] = False,
) -> None:
    """Show one dead letter: its error, its headers, and what was decided about it."""

    async def look() -> dict[str, Any]:
        async with service_of(context) as service, looking(service.dead_letters):
            found = await service.dead_letters.by_id(identity)
            if found is None:
                raise ServiceError(f"there is no dead letter {identity}; `list --each` shows them")
            letter, decision = found
            return {**asdict(letter), **asdict(decision)}

    with explained():
        found = asyncio.run(look())
        content = found.pop("body")
        if body:
            found["body"] = content.decode("utf-8", "backslashreplace")
        typer.echo(json_text.dumps(found, indent=2, default=str))


@dead_letters.command()
def replay(
    context: typer.Context,
    ids: _Ids = None,
    *,
    reason: _Reason = None,
    fingerprint: _Fingerprint = None,
    type_: _Type = None,
    all_: _All = False,
    rate: Annotated[float, typer.Option(min=0.01, help="Most messages in a second.")] = 10,
    limit: _Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Send dead letters to the queue of the service again, with all their attempts.

    Events of this service that could not be published go to the outbox instead. It can be
    interrupted and run again: what was processed already is dropped by the inbox.
    """
    wanted = _selection(ids, reason, fingerprint, type_, everything=all_)

    async def send() -> bool:
        settings = command_settings(context.obj)
        if settings.broker_url.startswith("memory:") and not dry_run:
            raise ConfigurationError(
                "BROKER_URL=memory:// has no queue that outlives this command: "
                "name the RabbitMQ of the service"
            )
        async with service_of(context, broker=not dry_run) as service:
            meant, chosen = await choose(service.dead_letters, wanted, limit)
            if dry_run:
                async for one in chosen:
                    typer.echo(str(one))
                typer.echo(f"{meant} would be replayed", err=True)
                return True
            sender = Replay(
                queue=service.topology.main.name,
                broker=service.broker,
                manager=service.manager,
                dead_letters=service.dead_letters,
                set_aside=service.relay_queries.set_aside,
                rate=rate,
            )
            return await _replay(sender, chosen, meant)

    with explained():
        if not asyncio.run(send()):
            raise typer.Exit(1)


@dead_letters.command()
def discard(
    context: typer.Context,
    ids: _Ids = None,
    *,
    reason: _Reason = None,
    fingerprint: _Fingerprint = None,
    type_: _Type = None,
    all_: _All = False,
    limit: _Limit = None,
    note: Annotated[str | None, typer.Option("--reason-text", help="Why, for others.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Decide that dead letters are not needed any more. They stay stored, as discarded."""
    wanted = _selection(ids, reason, fingerprint, type_, everything=all_)

    async def give_up() -> int:
        async with service_of(context) as service:
            meant, chosen = await choose(service.dead_letters, wanted, limit)
            found = [one async for one in chosen]
            if not found or not (yes or typer.confirm(f"Discard {meant} dead letters?")):
                return 0
            done = 0
            for start in range(0, len(found), AT_ONCE):
                async with service.manager.transaction("dead_letters.discard"):
                    done += await service.dead_letters.decide(
                        found[start : start + AT_ONCE], State.discarded, note=note
                    )
            return done

    with explained():
        typer.echo(f"{asyncio.run(give_up())} discarded")


def _selection(
    ids: list[UUID] | None,
    reason: str | None,
    fingerprint: str | None,
    type_: str | None,
    *,
    everything: bool,
) -> Selection:
    """What the options mean; nobody means all of them by saying nothing."""
    alike = any(each is not None for each in (reason, fingerprint, type_))
    if bool(ids) + alike + everything != 1:
        raise typer.BadParameter(
            "say which: either IDs, or --reason, --fingerprint and --type, or --all"
        )
    return Selection(State.waiting, tuple(ids or ()), reason, fingerprint, type_)


@asynccontextmanager
async def service_of(context: typer.Context, *, broker: bool = False) -> AsyncIterator[Service]:
    """The service, with a connection to RabbitMQ only where it is needed."""
    settings = command_settings(context.obj)
    if not broker:
        settings = settings.model_copy(update={"broker_url": "memory://"})
    work_for(None)  # feature: row, rls, schema
    async with connected(context.obj, settings, Metrics()) as service:
        yield service


async def _replay(sender: Replay, chosen: AsyncIterator[UUID], meant: int) -> bool:
    """Send them with a bar for whoever watches; False if some cannot be replayed."""
    done, console = dict.fromkeys(Outcome, 0), Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("replaying", total=meant)
        try:
            async for one in chosen:
                outcome = await sender.send(one)
                done[outcome] += 1
                if outcome is Outcome.IMPOSSIBLE:
                    typer.echo(
                        f"{one} cannot be replayed: ask its sender to send it anew", err=True
                    )
                bar.advance(task)
        finally:
            told = [f"{count} {each.value}" for each, count in done.items() if count]
            typer.echo(", ".join(told) or "none of them waits")
    return not done[Outcome.IMPOSSIBLE]
