# feature: http_api
"""The command that prints which requests the service answers."""

import json

import typer

from acme_orders.chassis.cli.session import explained
from acme_orders.chassis.process.described_routes import routes_of


def openapi(context: typer.Context) -> None:
    """Print the OpenAPI document: which requests it answers, and how; needs no server."""
    with explained():
        typer.echo(json.dumps(routes_of(context.obj), indent=2, ensure_ascii=False))
