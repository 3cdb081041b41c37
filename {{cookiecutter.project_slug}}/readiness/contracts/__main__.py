"""The command that keeps contracts: `python -m readiness.contracts`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import typer

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.cli.standard_error import standard_error
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.observability import logs
from acme_orders.service import SERVICE  # lint: D10 (its queries are recorded)

from readiness.contracts import release
from readiness.contracts.compatibility import column_types
from readiness.contracts.documents import KeptDocuments, documents_of
from readiness.contracts.folder import Folder
from readiness.contracts.recording import Recording, record
from readiness.contracts.release import Release
from readiness.rehearsal import Rehearsal, Subject, rehearse
from readiness.scratch import scratch_database

app = typer.Typer(no_args_is_help=True, add_completion=False)
Work = Callable[[Rehearsal, Recording], Awaitable[None]]


@app.command()
def update() -> None:
    """Record what each query sends in `contracts/`, for review; status 1 if one cannot be."""
    _carry_out(_update)


@app.command("release")
def keep_release() -> None:
    """Keep the contracts and the schema of this version in `contracts/released/`.

    What changes the schema later is tried with them. Status 1 if `contracts/` is not up to date.
    """
    _carry_out(_release)


async def _update(rehearsal: Rehearsal, recording: Recording) -> None:
    for line in Folder(rehearsal.subject.contracts).write(recording.contracts):
        typer.echo(line)
    for line in KeptDocuments(rehearsal.subject.contracts).write(documents_of(SERVICE)):
        typer.echo(line)
    typer.echo(f"{len(recording.contracts)} contracts are up to date")


async def _release(rehearsal: Rehearsal, recording: Recording) -> None:
    subject, contracts = rehearsal.subject, recording.contracts
    folder, kept = Folder(subject.contracts), KeptDocuments(subject.contracts)
    documents = documents_of(SERVICE)
    if found := [*folder.differences(contracts), *kept.findings(documents)]:
        raise typer.Exit(_refused("\n".join(found)))
    columns = await column_types(rehearsal.service.manager, contracts)
    state = release.state_of(contracts, migrations(subject.migrations), columns)
    release.keep(folder, Release(state, contracts))
    kept.release(documents)
    typer.echo(
        f"kept {len(contracts)} contracts and {len(state.migrations)} migrations of version "
        f"{state.version} in {folder.released}: commit them with the release"
    )


def _carry_out(work: Work) -> None:
    with explained():
        settings = command_settings(SERVICE)
        logs.configure(level="CRITICAL", style=settings.log_format)  # examples may fail
        recording = asyncio.run(_recorded(Subject(SERVICE, settings), work))
        if recording.failures:
            raise typer.Exit(_refused("\n".join(recording.failures)))


async def _recorded(subject: Subject, work: Work) -> Recording:
    with scratch_database(subject.settings.session_url) as url:
        async with rehearse(subject, url, whole=False) as rehearsal:
            recording = await record(rehearsal)
            await work(rehearsal, recording)
            return recording


def _refused(text: Any) -> int:
    typer.echo(text, err=True)
    return 1


if __name__ == "__main__":
    with standard_error():
        app()
