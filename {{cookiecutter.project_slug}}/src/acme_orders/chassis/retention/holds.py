"""What keeps old rows: somebody else knows it, and says it in SQL."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.closure import Chain


class Stays(NamedTuple):
    """Which rows stay.

    Args:
        where: SQL that is true for a row `t0` that does.
        reads: the tables that it reads, by their oid, as SQL writes them.
    """

    where: str = "false"
    reads: Mapping[int, str] = MappingProxyType({})


# Given what runs SQL in the open transaction, the schema and the oid of a table, and the chains of
# references to all that goes with a row of it.
Holds = Callable[[Rows, str, int, Sequence[Chain]], Stays]


def nobody(*_: object) -> Stays:
    """No row stays."""
    return Stays()
