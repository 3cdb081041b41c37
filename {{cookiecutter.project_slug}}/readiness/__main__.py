"""The command that goes through the checklist: `python -m readiness`."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from acme_orders.chassis.cli.session import (
    command_settings,
    explained,
    standard_error,
)
from acme_orders.chassis.observability import logs
from acme_orders.service import SERVICE  # lint: D10 (it is what is inspected)

from readiness import report
from readiness.checklist import go_through
from readiness.contracts.folder import Folder
from readiness.rehearsal import Subject
from readiness.strays import refuse_strays


def main(*, json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Inspect what this project has become; status 1 if it is not ready for production."""
    with explained():
        settings = command_settings(SERVICE)
        logs.configure(level="CRITICAL", style=settings.log_format)  # defects are tried on purpose
        refuse_strays(SERVICE)
        subject = Subject(SERVICE, settings)
        results = asyncio.run(go_through(subject))
        if json:
            typer.echo(report.as_json(results))
        else:
            Console().print(report.as_table(results))
            if not Folder(subject.contracts).recorded:
                typer.echo("K6 compares nothing yet: `make contracts-update` records contracts/")
        if not all(result.passed for result in results):
            raise typer.Exit(1)


if __name__ == "__main__":
    with standard_error():
        typer.run(main)
