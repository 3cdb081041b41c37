"""What has to be true before a migration runs, beyond the migrations before it."""

from collections.abc import Iterator, Sequence

from postgast import nodes as ast

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.records import SHARED, app_version
from acme_orders.chassis.migrations.sql import statements_of

_TABLE = "SELECT to_regclass('{schema}.backfill_run')"
_STATE = "SELECT state FROM {schema}.backfill_run WHERE name = %s"
# A table that never had a row has no page. Rows cannot be asked: policies may hide them.
_FILLED = """
SELECT bool_or(pg_relation_size(part.oid) > 0)
FROM (SELECT coalesce(index.indrelid, class.oid) AS oid FROM pg_class AS class
    LEFT JOIN pg_index AS index ON index.indexrelid = class.oid
    WHERE class.oid = to_regclass(%s)) AS named
CROSS JOIN LATERAL (
    SELECT named.oid UNION SELECT relid FROM pg_partition_tree(named.oid)) AS part (oid)
"""


def refuse_unfilled(rows: Rows, migration: Migration, schemas: Sequence[str]) -> None:
    """Check that the backfills that a migration requires are completed.

    On a database without a row, such as that of a test or of a new tenant, there is nothing to
    fill.

    Args:
        rows: runs SQL.
        migration: that is about to run.
        schemas: in which they must be.

    Raises:
        ConfigurationError: one is not; says what to run.
    """
    for name in migration.header.backfills:
        # One of rows that tenants share is recorded there, whoever requires it.
        for schema in (SHARED,) if _state(rows, name, SHARED) else schemas:
            state = _state(rows, name, schema)
            if state != "completed" and _filled(rows, migration, schema):
                where = f" in {schema}" if len(schemas) > 1 else ""
                raise ConfigurationError(
                    f"{migration.up}: it requires the backfill {name}, which "
                    f"{f'is {state}' if state else 'has not been run'}{where}: run "
                    f"`acme-orders backfill run {name}`, "
                    "and then `migrate up` again"
                )


def refuse_early(migration: Migration) -> None:
    """Check that the release that stopped using what is dropped is not newer than this one.

    Raises:
        ConfigurationError: it is.
    """
    stated, running = migration.header.release, app_version()
    if stated and running and numbers_of(stated) > numbers_of(running):
        raise ConfigurationError(
            f"{migration.up}: it requires the release {stated}, and this one is {running}: what it "
            "takes away is still in use; release that first, and migrate with it"
        )


def _state(rows: Rows, name: str, schema: str) -> str:
    if rows(_TABLE.format(schema=schema))[0][0] is None:
        return ""
    return str(next(iter(rows(_STATE.format(schema=schema), (name,))), [""])[0])


def _filled(rows: Rows, migration: Migration, schema: str) -> bool:
    """Whether a table that it is about may have rows; so it is if it names none that is there."""
    names = (name if "." in name else f"{schema}.{name}" for name in set(_named(migration)))
    found = {rows(_FILLED, (name,))[0][0] for name in names} - {None}
    return True in found or not found


def _named(migration: Migration) -> Iterator[str]:
    for statement in statements_of(migration.up)[1]:
        for node in descendants(statement.node):
            match node:
                case ast.RangeVar(schemaname=schema, relname=name):
                    yield _quoted(schema, name)
                case ast.DropStmt(objects=objects):
                    for each in objects:
                        if isinstance(each, ast.List):
                            yield _quoted(*(getattr(part, "sval", "") for part in each.items))


def _quoted(*parts: str) -> str:
    return ".".join('"' + each.replace('"', '""') + '"' for each in parts if each)


def numbers_of(version: str) -> tuple[int, ...]:
    """A version, to be compared: `1.10` is newer than `1.9`."""
    digits = []
    for part in version.split("."):
        if not part.isdigit():
            break
        digits.append(int(part))
    return tuple(digits)
