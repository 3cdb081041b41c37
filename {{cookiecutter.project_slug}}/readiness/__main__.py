"""The command that goes through the checklist: `python -m readiness`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.cli.standard_error import standard_error
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.redaction import Redactor
from acme_orders.service import SERVICE  # lint: D10 (it is what is inspected)

from readiness import report
from readiness.about import about
from readiness.check import Result
from readiness.checklist import CHECKS, go_through
from readiness.contracts.folder import Folder
from readiness.page import Page
from readiness.rehearsal import Subject
from readiness.strays import refuse_strays
from readiness.waivers import waivers_in

Html = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Write a page to attach to a release as well.")
]


def main(
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    html: Html = None,
) -> None:
    """Inspect what this project has become; status 1 if it is not ready for production."""
    with explained():
        settings = command_settings(SERVICE)
        logs.configure(level="CRITICAL", style=settings.log_format)  # defects are tried on purpose
        if html and not html.parent.is_dir():
            raise ConfigurationError(f"--html {html}: there is no folder {html.parent}; make it")
        refuse_strays(SERVICE)
        waivers = waivers_in(Path("pyproject.toml"), [each.id for each in CHECKS])
        subject = Subject(SERVICE, settings, waivers=waivers)
        results = _gone_through(subject)
        if html:
            page = Page(about(subject), results, Redactor(settings.passwords))
            html.write_text(str(page), encoding="utf-8")
        if json:
            typer.echo(report.as_json(results))
        else:
            report.show(Console(), results)
            if not Folder(subject.contracts).recorded:
                typer.echo("\nK6 compares nothing yet: `make contracts-update` records contracts/")
        if not all(result.passed for result in results):
            raise typer.Exit(1)


def _gone_through(subject: Subject) -> list[Result]:
    """On a terminal the line above the table says which check it is at."""
    with Console(stderr=True).status("the schema", refresh_per_second=4) as at:
        return asyncio.run(
            go_through(subject, begins=lambda check: at.update(f"{check.id} {check.title()}"))
        )


if __name__ == "__main__":
    with standard_error():
        typer.run(main)
