"""Writes new migrations: drafted from the models, or empty."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID  # feature: schema

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.table import models_in
from acme_orders.chassis.migrations.draft import Draft, draft
from acme_orders.chassis.migrations.drift import drift
from acme_orders.chassis.migrations.files import FOLDER, migrations, numbered
from acme_orders.chassis.migrations.recipes import Part
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.migrations.scratch import scratch_database
from acme_orders.chassis.tenancy.registry import Tenants  # feature: schema

# The models of the chassis.
_SAY_NOTHING_OF_KEYS = {
    "inbox",
    "outbox",
    "dead_letters",
    "idempotency_keys",  # feature: http_api
}


def drafted(url: str, folder: Path = FOLDER) -> Draft:
    """What the models of this process say and the migrations do not make.

    Args:
        url: of a role that may create databases; its own database is not touched.
        folder: with the migrations.

    Raises:
        ConfigurationError: the role may not, or a migration fails.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    models = list(models_in(__name__.partition(".")[0]))
    with scratch_database(url, "draft_") as scratch:
        list(Migrator(scratch, folder=folder).up())
        # feature: schema {
        tenant = UUID(int=1)
        Tenants(scratch).add(tenant, "draft")
        list(Migrator(scratch, folder=folder).up())
        # feature: schema }
        with closing(open_blocking(scratch)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SET search_path = tenant_{tenant.hex}, public")  # feature: schema
            found = drift(cursor, models)
    ours = [each for each in found if each.table not in _SAY_NOTHING_OF_KEYS]
    head: tuple[str, ...] = ()
    head = ("applies to: each tenant",)  # feature: schema
    return draft(ours, models, head)


def write(name: str, parts: tuple[Part, ...], folder: Path = FOLDER) -> Iterator[Path]:
    """Write both files of each part, under the next numbers; yields what was written."""
    taken = [numbered(each.id) for each in migrations(folder)]
    first = max(number for series, number in taken if not series) + 1
    for number, part in enumerate(parts):
        stem = f"{first + number:04}_{name}" + (f"_{number + 1}" if len(parts) > 1 else "")
        down = f"{part.down}\n" if part.down else ""
        for direction, text in (("up", part.text), ("down", down)):
            file = folder / f"{stem}.{direction}.sql"
            file.write_text(text, encoding="utf-8", newline="\n")
            yield file
