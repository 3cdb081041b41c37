"""The table of what was applied, `schema_migrations`; each schema has one."""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Any

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import Applied

SHARED = "public"
_DISTRIBUTION = "acme-orders"

# Came later: a table that was made before is carried over, and read as it is until then.
_LATER = (
    "direction text NOT NULL DEFAULT 'up'",
    "status text NOT NULL DEFAULT 'ok'",
    "attempts integer NOT NULL DEFAULT 1",
    "waited_ms integer NOT NULL DEFAULT 0",
    "applied_by text",
    "app_version text",
    "error text",
)
TABLE = f"""
CREATE TABLE IF NOT EXISTS {{schema}}.schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL,
    {", ".join(_LATER)}
)
"""
CARRY_OVER = "ALTER TABLE {schema}.schema_migrations " + ", ".join(
    f"ADD COLUMN IF NOT EXISTS {column}" for column in _LATER
)
OUTDATED = """
SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'schema_migrations' AND relkind = 'r' AND nspname = ANY (%s) AND NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'error')
"""
# A document has whatever columns there are.
_LINES = "SELECT to_jsonb(line)::text FROM {schema}.schema_migrations AS line ORDER BY id"
_RECORD = """
INSERT INTO {schema}.schema_migrations AS line (
    id, checksum, duration_ms, status, attempts, waited_ms, applied_by, app_version
) VALUES (%s, %s, %s, %s, %s, %s, session_user || ' from ' || %s, %s)
ON CONFLICT (id) DO UPDATE SET checksum = excluded.checksum, applied_at = now(),
    duration_ms = excluded.duration_ms, status = excluded.status, direction = 'up',
    attempts = excluded.attempts, waited_ms = excluded.waited_ms,
    applied_by = excluded.applied_by, app_version = excluded.app_version, error = NULL
"""
_BEGIN_BACK = """
UPDATE {schema}.schema_migrations SET status = 'running', direction = 'down', error = NULL
WHERE id = %s
"""
_FAIL = "UPDATE {schema}.schema_migrations SET status = 'failed', error = %s WHERE id = %s"
_FORGET = "DELETE FROM {schema}.schema_migrations WHERE id = %s"
_ACCEPT = "UPDATE {schema}.schema_migrations SET checksum = %s WHERE id = %s"


@dataclass
class Effort:
    """What a file took.

    Attributes:
        attempts: of the statement or transaction that was tried most often.
        waited: seconds of attempts that came to nothing, and of the pauses behind them.
    """

    attempts: int = 1
    waited: float = 0.0


class Records:
    """The lines of one schema, written by whatever session the rows are read with.

    Args:
        rows: runs SQL.
        schema: whose history it is.
    """

    def __init__(self, rows: Rows, schema: str) -> None:
        self._rows, self._schema = rows, schema

    def make(self) -> None:
        """Make the table, if it is not there."""
        self._run(TABLE)

    def lines(self) -> list[Applied]:
        """All of them, in order of their ids; the table has to be there."""
        documents = self._rows(_LINES.format(schema=self._schema))
        return [_applied(json.loads(text)) for (text,) in documents]

    def write(
        self, migration: Migration, seconds: float, effort: Effort, *, status: str = "ok"
    ) -> None:
        """Record that a migration is applied, or that it has begun."""
        self._run(
            _RECORD,
            *(migration.id, migration.checksum, _ms(seconds), status),
            *(effort.attempts, _ms(effort.waited), socket.gethostname(), app_version()),
        )

    def begin_back(self, migration: Migration) -> None:
        """Record that it is being taken back."""
        self._run(_BEGIN_BACK, migration.id)

    def fail(self, migration: Migration, error: str) -> None:
        """Record how it ended."""
        self._run(_FAIL, error, migration.id)

    def forget(self, migration: Migration) -> None:
        """Record that it is taken back."""
        self._run(_FORGET, migration.id)

    def accept(self, migration: Migration) -> None:
        """Record the checksum that its file has now."""
        self._run(_ACCEPT, migration.checksum, migration.id)

    def _run(self, sql: str, *parameters: Any) -> None:
        self._rows(sql.format(schema=self._schema), parameters or None)


def app_version() -> str | None:
    """Of the service that runs; None where it is not installed."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _applied(line: dict[str, Any]) -> Applied:
    return Applied(
        id=line["id"],
        checksum=line["checksum"],
        at=datetime.fromisoformat(line["applied_at"]),
        milliseconds=line["duration_ms"],
        status=line.get("status", "ok"),
        direction=line.get("direction", "up"),
        error=line.get("error"),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
