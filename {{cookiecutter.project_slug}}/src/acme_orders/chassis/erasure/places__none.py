"""Where the data of a person is looked for."""

from collections.abc import Mapping

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED


def schemas_of(rows: Rows, whose: str) -> list[str]:  # noqa: ARG001
    """The schemas that may have some."""
    return [SHARED]


def conditions(rows: Rows, place: str) -> Mapping[str, str]:  # noqa: ARG001
    """All rows are looked at."""
    return {}
