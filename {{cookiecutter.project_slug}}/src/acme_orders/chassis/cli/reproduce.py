"""The command that makes a test of a dead letter."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from acme_orders.chassis.cli.dead_letters import service_of
from acme_orders.chassis.cli.session import explained
from acme_orders.chassis.dead_letters.choice import looking
from acme_orders.chassis.dead_letters.record import DELIVERY_LIMIT, DeadLetter
from acme_orders.chassis.erasure.classes import classes_of, models_beside
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.errors import Malformed, ServiceError
from acme_orders.chassis.messaging.decoder import Decoder
from acme_orders.chassis.messaging.json_text import parse
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.reproduce.case import case
from acme_orders.chassis.reproduce.reproduction import Reproduction
from acme_orders.chassis.reproduce.trial import try_again


def reproduce(
    context: typer.Context,
    identity: Annotated[UUID, typer.Argument(metavar="ID", help="As `list --each` shows.")],
    *,
    output: Annotated[
        Path | None, typer.Option(help="A new file, such as tests/parcels/test_it.py.")
    ] = None,
) -> None:
    """Write a test with the message and the rows that it is about, and nothing personal.

    Its handler is called once, in a transaction that is rolled back, to see what it asks for.
    """

    async def look() -> tuple[str, list[str]]:
        async with service_of(context) as service:
            async with looking(service.dead_letters):
                found = await service.dead_letters.by_id(identity)
            if found is None:
                raise ServiceError(f"there is no dead letter {identity}; `list --each` shows them")
            return await reproduced(service, found[0])

    with explained():
        if output is not None and output.exists():
            raise ServiceError(f"{output} is there already: name a new file")
        text, notes = asyncio.run(look())
        if output is None:
            typer.echo(text, nl=False)
        else:
            try:
                output.write_text(text, "utf-8")
            except OSError as error:
                raise ServiceError(f"{output} cannot be written: {error.strerror}") from error
        for each in notes:
            typer.echo(each, err=True)


async def reproduced(service: Service, letter: DeadLetter) -> tuple[str, list[str]]:
    """The test, and what whoever reads it should know.

    Raises:
        ServiceError: there is nothing that a handler could be given, or something personal would
            be left.
    """
    body, handler = _body(letter), service.handlers.get(letter.type or "")
    handle = letter.reason != DELIVERY_LIMIT
    trial = await try_again(
        service.manager, service.handlers, letter.message(), service.settings, handle=handle
    )
    if not handle:
        notes = ["it was not tried: it has ended processes, and may end the test as well"]
    elif trial.error:
        notes = [f"here it fails: {type(trial.error).__name__}"]
    else:
        notes = ["here it would be processed now: `dead-letters replay` sends it again"]
    models = models_beside(each for one in service.slices for each in one.repositories)
    known = [classes_of(each) for each in models]
    said = {**{each.table: each.kinds for each in known}, **OWN}
    made = Reproduction(service.settings.session_url, said, known)
    payload = handler.payload if handler else None
    masked, rows = await asyncio.to_thread(made.of, body, payload, trial)
    if handler and _fits(handler.decoder, body) and not _fits(handler.decoder, masked):
        notes.append(f"a pseudonym does not fit the form of {letter.type}: correct BODY by hand")
    counted = ", ".join(f"{len(some)} of {table}" for table, some in rows.items())
    return case(letter, masked, rows), [*notes, f"rows: {counted or 'none'}"]


def _body(letter: DeadLetter) -> Any:
    if letter.outgoing:
        raise ServiceError("it is an event of ours that no broker takes: no handler gets it")
    if not letter.type:
        raise ServiceError("it has no type, so no handler gets it: ask its sender for one")
    if not letter.whole:
        raise ServiceError("its body was too large to be kept: ask its sender for it")
    try:
        body = parse(letter.body)
    except Malformed as error:
        raise ServiceError(f"no handler would get it, because of its body: {error}") from error
    if not isinstance(body, dict):
        raise ServiceError("no handler would get it: its body is JSON, and no object")
    return body


def _fits(decoder: Decoder[Any], body: Any) -> bool:
    try:
        decoder.from_json(json.dumps(body).encode(), largest=2**31)
    except Malformed:
        return False
    return True
