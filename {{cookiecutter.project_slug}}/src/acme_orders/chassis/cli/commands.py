"""The command line, all of it on a page. What a command needs is imported when it is called."""

from collections.abc import Callable, Mapping
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from acme_orders.chassis.cli.lazy import LazyGroup
from acme_orders.chassis.cli.standard_error import standard_error

if TYPE_CHECKING:
    from acme_orders.chassis.slice import Definition


class _Commands(LazyGroup):
    """What the service and its tools can be told to do."""

    later: ClassVar[Mapping[str, str]] = {
        "run": "Run the service until SIGTERM or Ctrl-C; then finish what has been delivered.",
        "send": "Send a message made from the example of its type, and say what becomes of it.",
        "dead-letters": "Look at messages that could not be processed, replay or discard them.",
        "doctor": "Check settings, PostgreSQL, schema and queues, and say what is wrong and what "
        "helps.",
        "topology": "Show exchange and queues as declared and as RabbitMQ has them; 78 if they "
        "differ.",
        "explain": "Show how PostgreSQL runs a query with its example.",
        "migrate": "Change the schema of the database.",
        "backfill": "Change many rows in portions, while the service runs.",
        "retention": "Delete what has been kept long enough.",
        "erase": "Erase a person from all tables.",
        "tenants": "Register whose data is kept apart.",  # feature: row, rls, schema
        "export-sample": "Write a small, anonymised part of the database, and prove that nobody's "
        "data is in it.",
        "asyncapi": "Print the AsyncAPI document: which messages it takes and publishes; needs no "
        "server.",
        # feature: http_api {
        "openapi": "Print the OpenAPI document: which requests it answers, and how; needs no "
        "server.",
        # feature: http_api }
    }


cli = typer.Typer(
    cls=_Commands,
    help="Takes messages from a queue, stores their effects and publishes what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:  # noqa: FBT001
    if asked:
        installed = distribution(__name__.partition(".")[0])
        typer.echo(f"{installed.name} {installed.version}")
        raise typer.Exit


@cli.callback()
def _options(
    context: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which release it is."
        ),
    ] = False,
) -> None:
    """What goes before a command, which then finds the definition of the service in `obj`."""
    context.obj = context.obj()


def command_line(service: "Callable[[], Definition[Any]]") -> None:
    """Run the command line of a service.

    Args:
        service: imports its definition; called by a command, and neither by `--help` nor by
            `--version`, which need nothing of it.
    """
    with standard_error():
        cli(obj=service)
