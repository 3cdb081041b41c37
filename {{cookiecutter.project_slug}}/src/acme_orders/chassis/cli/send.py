"""The command that sends messages made from an example, and says what became of them."""

import asyncio
import difflib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from acme_orders.chassis.cli.form import Form, field, named
from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.dead_letters.store import Selection
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.rabbitmq.settings import MEMORY
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

_LOOK = 0.1  # seconds between two looks at what became of them
_SHOWN = 3  # of what is wrong with a body, and of dead letters
_AT_ONCE = 100  # messages asked for together
Fates = dict[str, float | str]  # by the id of a message: seconds until it was processed, or why not


def send(
    context: typer.Context,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Of a message that has a handler.")],
    *,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Such as lines.0.quantity=3."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A body in JSON, instead of the example.", dir_okay=False)
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Such as tenant=ID.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="So many, about other ids.")] = 1,
    invalid: Annotated[
        bool, typer.Option("--invalid", help="With a body that is cut off.")
    ] = False,
    within: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for what becomes of it.")
    ] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Also in production.")] = False,
) -> None:
    """Send a message made from the example of its type, and say what becomes of it.

    Every id in it is a new one, unless --set or --file names it: it is about something new.
    """
    with explained():
        own = dict(map(named, headers or ()))
        form = Form(type_, dict(map(field, fields or ())), file, invalid, own)
        settings = command_settings(context.obj)
        if settings.environment == "production" and not yes:
            raise ConfigurationError(
                "ENVIRONMENT is production, and this would be a made-up message: say --yes if you "
                "mean it"
            )
        if settings.broker_url == MEMORY:
            raise ConfigurationError(
                "with BROKER_URL=memory:// a message reaches nobody but the process that sends it: "
                "install RabbitMQ (`make test` does where you are root), and `make dev` uses it"
            )
        # feature: row, rls, schema {
        if "tenant" not in own:
            own["tenant"] = str(Tenants(settings.owner_url).only())
        # feature: row, rls, schema }
        if not asyncio.run(_send(context, settings, form, count, within)):
            raise typer.Exit(1)


async def _send(
    context: typer.Context, settings: Any, form: Form, count: int, within: float
) -> bool:
    async with connected(context.obj, settings, Metrics()) as service:
        handler = service.handlers.get(form.type)
        if handler is None:
            near = difflib.get_close_matches(form.type, service.handlers)
            known = ", ".join(near or sorted(service.handlers)) or "none"
            raise ConfigurationError(f"no handler takes {form.type!r}; there is one for {known}")
        work_for(None)  # feature: row, rls, schema
        largest = settings.max_body_bytes
        messages = [form.message(handler, largest=largest) for _ in range(count)]
        for place in form.unread(handler, messages[0], largest=largest):
            typer.echo(f"--set {place}: {form.type} has no such field; it is ignored", err=True)
        began = time.monotonic()
        for message in messages:
            await service.broker.publish(
                message, exchange=service.topology.exchange, routing_key=form.type
            )
        fates = await _watched(service, messages, began, within)
        await _tell(service, form, messages, fates)
    return all(isinstance(fate, float) for fate in fates.values()) and len(fates) == count


async def _watched(
    service: Service, messages: Sequence[Message], began: float, within: float
) -> Fates:
    fates: Fates = {}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal or len(messages) == 1) as bar:
        task = bar.add_task("sent", total=len(messages))
        while len(fates) < len(messages) and time.monotonic() - began < within:
            for some in _batches([each for each in messages if each.message_id not in fates]):
                fates |= await _looked(service, some, began)
                bar.update(task, completed=len(fates))
            await asyncio.sleep(_LOOK)
    return fates


async def _looked(service: Service, messages: Sequence[Message], began: float) -> Fates:
    """What became of those that came to an end."""
    fates: Fates = {}
    for each in messages:
        if await service.consumer.has_processed(each):
            fates[str(each.message_id)] = time.monotonic() - began
    ids = tuple(str(each.message_id) for each in messages)
    async with service.manager.transaction("send", read_only=True):
        dead = await service.dead_letters.page(
            Selection(None, message_ids=ids), limit=len(messages)
        )
    told = {
        str(each.message_id): f"{each.reason}: `dead-letters show {each.id}` says more"
        for each in dead
    }
    return told | fates


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), _AT_ONCE):
        yield messages[start : start + _AT_ONCE]


async def _tell(service: Service, form: Form, messages: Sequence[Message], fates: Fates) -> None:
    seconds = sorted(fate for fate in fates.values() if isinstance(fate, float))
    dead = [fate for fate in fates.values() if isinstance(fate, str)]
    if seconds and len(messages) == 1:
        typer.echo(f"{form.type} {messages[0].message_id} processed in {seconds[0] * 1000:.0f} ms")
    elif seconds:
        typer.echo(
            f"{len(seconds)} of {len(messages)} {form.type} processed, the last of them after "
            f"{seconds[-1]:.1f} s"
        )
    for fate in dead[:_SHOWN]:
        typer.echo(f"dead letter: {fate}")
    if len(dead) > _SHOWN:
        typer.echo(f"and {len(dead) - _SHOWN} more: `dead-letters list --each`")
    if missing := len(messages) - len(fates):
        waiting = await service.broker.count(service.topology.main.name)
        later = sum([await service.broker.count(each.name) for each in service.topology.ladder])
        running = "is the service running (`make dev`)?"
        why = "`message.failed` in the service's log says why" if later else running
        typer.echo(
            f"{missing} not processed yet; messages in the queue: {waiting}, "
            f"waiting for another attempt: {later}; {why}",
            err=True,
        )
