"""The command that writes a small, anonymised part of the database for tests."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID  # feature: row, rls, schema

import typer
from rich.console import Console

from acme_orders.chassis.cli.bar import Step, watched
from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.erasure.classes import classes_of, models_beside
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import unconnected
from acme_orders.chassis.sample.export import Sample
from acme_orders.chassis.sample.progress import Progress
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition, Slice

_SHORTEST = 8  # characters of a secret
# feature: row, rls, schema {
_Whose = Annotated[UUID | None, typer.Option(help="Whose rows; without it those of all.")]
# feature: row, rls, schema }


def export_sample(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Such as tests/sample.jsonl.gz.")],
    *,
    rows: Annotated[
        int, typer.Option(min=1, max=10_000, help="Of each table; relatives come with them.")
    ] = 100,
    seed: Annotated[
        str | None,
        typer.Option(envvar="SAMPLE_SEED", help="A secret: the same one makes the same file."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    tenant: _Whose = None,  # feature: row, rls, schema
) -> None:
    """Write a small, anonymised part of the database, and prove that nobody's data is in it."""
    whose = ""  # feature: tenancy=none
    whose = str(tenant or "")  # feature: row, rls, schema
    with explained():
        if seed is not None and len(seed) < _SHORTEST:
            raise ConfigurationError(f"SAMPLE_SEED has fewer than {_SHORTEST} characters")
        definition: Definition[Any] = context.obj
        settings = command_settings(definition)
        slices = unconnected(definition, settings)
        sample = sample_of(settings, slices, seed or secrets.token_hex(16), whose=whose, most=rows)
        steps = steps_of(sample.write(file, overwrite=overwrite))
        watched("values compared", steps, Console(stderr=True))
        typer.echo(f"{file} has {file.stat().st_size} bytes, and nothing that is personal")


def steps_of(written: Iterator[Progress]) -> Iterator[Step]:
    """What a bar shows: what takes long is the search for what was left in the sample."""
    for at in written:
        if at.estimate:
            yield Step(at.compared, at.estimate, completed=at.completed)


def sample_of(
    settings: ChassisSettings, slices: tuple[Slice, ...], seed: str, *, whose: str, most: int
) -> Sample:
    """What is exported of the database of a service."""
    models = models_beside(each for one in slices for each in one.repositories)
    known = [classes_of(each) for each in models]
    said = {**{each.table: each.kinds for each in known}, **OWN}
    return Sample(settings.session_url, said, known, seed, whose=whose, most=most)
