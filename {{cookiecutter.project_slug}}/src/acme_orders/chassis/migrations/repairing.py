"""Puts right what an interrupted migration left, and says what it did."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.applying import Applying
from acme_orders.chassis.migrations.execution import explained
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import gone_text
from acme_orders.chassis.migrations.records import Records
from acme_orders.chassis.migrations.session import MigrationSession, check


def repair(
    session: MigrationSession,
    applying: Applying,
    known: Sequence[Migration],
    schema: str,
    accept: Sequence[str],
) -> Iterator[str]:
    """Repair one schema; yields what was done.

    Raises:
        ConfigurationError: a migration failed again, its files are gone, or an index cannot be
            built.
    """
    migrations = {each.id: each for each in known}
    history = session.history(schema)
    for line in history:
        if line.id in accept and not migrations[line.id].has(line.checksum):
            Records(session.rows, schema).accept(migrations[line.id])
            yield f"{line.id}: recorded the checksum of the file as it is now"
    for line in history:
        if line.status == "ok":
            continue
        if line.id not in migrations:
            raise ConfigurationError(gone_text(line, known))
        back = line.direction == "down"
        check([migrations[line.id]], back=back)
        finish = applying.down if back else applying.up
        seconds = finish(migrations[line.id], schema)
        yield f"{line.id}: {'taken back' if back else 'applied'} ({seconds:.2f} s)"
    for name in session.invalid_indexes(schema):
        with explained(Path(name)):
            if _is_copy(name):
                session.rows(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                yield f"{name}: removed, a leftover of REINDEX CONCURRENTLY"
            else:
                session.rows(f"REINDEX INDEX CONCURRENTLY {name}")
                yield f"{name}: built anew, and valid"


def _is_copy(name: str) -> bool:
    stem = name.strip('"').rstrip("0123456789")
    return stem.endswith(("_ccnew", "_ccold"))
