"""The command that prints which messages the service takes and publishes."""

import json

import typer

from acme_orders.chassis.cli.session import explained
from acme_orders.chassis.process.described import messages_of


def asyncapi(context: typer.Context) -> None:
    """Print the AsyncAPI document: which messages it takes and publishes; needs no server."""
    with explained():
        typer.echo(json.dumps(messages_of(context.obj), indent=2, ensure_ascii=False))
