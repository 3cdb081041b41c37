"""Where the data of a person is looked for, and what says whose it is."""

from collections.abc import Mapping, Sequence

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED

_SCHEMA = "SELECT schema_name FROM public.tenants WHERE id::text = %s"
_NAMES = ("cloudEvents:tenant", "cloudEvents_tenant", "tenant")
_SAID = ", ".join(f"headers ->> '{name}'" for name in _NAMES)
_OTHER = f"SELECT FROM unnest(ARRAY[{_SAID}]) AS said WHERE said <> %s"


def schemas_of(rows: Rows, whose: str) -> list[str]:
    """The schemas that may have some: what tenants share, and that of this one."""
    return [SHARED, *(schema for (schema,) in rows(_SCHEMA, (whose,)))]


def owner(table: str, columns: Sequence[str], place: str) -> str:  # noqa: ARG001
    """SQL that says whose a row is; empty where nothing says it.

    Args:
        table: its name in the statement.
        columns: of it.
        place: its schema.
    """
    of_it = "SELECT id::text FROM public.tenants WHERE schema_name"
    return "" if place == SHARED else f"({of_it} = '{place}')"


def conditions(rows: Rows, place: str) -> Mapping[str, str]:  # noqa: ARG001
    """For a table `t`, SQL that is true for rows of one tenant, or of nobody."""
    return {
        "public.dead_letters": f"NOT EXISTS ({_OTHER})",
        "public.outbox": "extensions ->> 'tenant' = %s",
    }
