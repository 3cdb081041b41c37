# feature: row, rls, schema
"""The rows that say in a column which tenant they belong to."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.blocks import blocks_of, within
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.closure import Reference, references
from acme_orders.chassis.retention.target import quoted

_TABLES = """
SELECT pg_class.oid::bigint, format('%I.%I', nspname, relname), relkind = 'm' FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id' AND NOT attisdropped
WHERE nspname !~ '^pg_' AND relkind IN ('r', 'p', 'm') AND NOT relispartition ORDER BY 2
"""
_OWNER = "t.tenant_id = %s::uuid"


class _Table(NamedTuple):
    """One of them.

    Args:
        oid: of it.
        table: its name, as SQL writes it.
        view: it is a materialized view, which nobody writes.
    """

    oid: int
    table: str
    view: bool


class _OwnedTable:
    """One from which the rows of a tenant go.

    Args:
        table: its name, as SQL writes it.
        whose: rows go.
        unused: SQL for those that no row of the table itself refers to.
    """

    def __init__(self, table: str, whose: str, unused: str) -> None:
        self.table, self._whose, self._unused = table, whose, unused

    def blocks(self, rows: Rows) -> int:
        """How many it has.

        Raises:
            ConfigurationError: its rows may not be seen, or not be deleted.
        """
        count, writable = blocks_of(rows, self.table, "DELETE")
        if not writable:
            raise ConfigurationError(
                f"rows of {self.table} may not be deleted: GRANT DELETE ON {self.table} to the "
                "roles of the service, for as long as a tenant is erased"
            )
        return count

    def erase(self, rows: Rows, first: int, last: int) -> int:
        """Delete those in these blocks; returns how many."""
        return self._delete(rows, f"{within(first, last)}{self._unused}")

    def rest(self, rows: Rows) -> int:
        """Delete all others as well."""
        return self._delete(rows, "true")

    def _delete(self, rows: Rows, where: str) -> int:
        sql = f"DELETE FROM {self.table} AS t WHERE {_OWNER} AND {where} RETURNING 1"
        return int(rows(f"WITH gone AS ({sql}) SELECT count(*) FROM gone", (self._whose,))[0][0])


class Owned:
    """All rows of one tenant.

    Args:
        rows: runs SQL in the open transaction.
        whose: they are.
    """

    def __init__(self, rows: Rows, whose: str) -> None:
        self._rows, self._whose = rows, whose

    def names(self) -> set[str]:
        """The tables that have some."""
        return {each.table for each in self._all()}

    def tables(self) -> list[_OwnedTable]:
        """The same, each before those that it refers to.

        Raises:
            ConfigurationError: they cannot be emptied one after the other; names each reason.
        """
        known = {each.oid: each.table for each in self._all() if not each.view}
        inside = [each for each in references(self._rows) if each.parent in known]
        if problems := list(_problems(known, inside)):
            raise ConfigurationError("\n".join(problems))
        return [
            _OwnedTable(known[oid], self._whose, "".join(map(_unused, _to_itself(oid, inside))))
            for oid in _leaf_first(known, inside)
        ]

    def rest(self) -> Iterator[tuple[str, int]]:
        """Delete what is there now; yields how many rows of which table."""
        for each in self.tables():
            yield each.table, each.rest(self._rows)

    def left(self) -> dict[str, int]:
        """How many rows are left where."""
        count = "SELECT count(*) FROM {} AS t WHERE " + _OWNER
        found = {
            each.table: int(self._rows(count.format(each.table), (self._whose,))[0][0])
            for each in self._all()
        }
        return {table: number for table, number in found.items() if number}

    def drop(self) -> None:
        """Nothing: the tables have rows of others."""

    def _all(self) -> list[_Table]:
        return [_Table(*row) for row in self._rows(_TABLES)]


def _problems(known: dict[int, str], inside: list[Reference]) -> Iterator[str]:
    for each in inside:
        if each.child not in known and not each.forgets:
            yield (
                f"{each.table} refers to {each.parent_table} ({each.name}), and has no tenant_id "
                "that says whose its rows are: add the column, or let it refer with ON DELETE SET "
                "NULL"
            )
        if not each.covered:
            columns = ", ".join(each.columns)
            yield (
                f"no index of {each.table} begins with ({columns}), so each row of "
                f"{each.parent_table} that goes would read all of it: CREATE INDEX CONCURRENTLY "
                f"{each.name.removesuffix('_fkey')} ON {each.short} ({columns})"
            )


def _leaf_first(known: dict[int, str], inside: list[Reference]) -> list[int]:
    """Without those that forget their parents, if these lead into a circle."""
    others = [each for each in inside if each.child in known and each.child != each.parent]
    circle: list[int] = []
    for some in (others, [each for each in others if not each.forgets]):
        order = TopologicalSorter[int](dict.fromkeys(known, ()))
        for each in some:
            order.add(each.parent, each.child)
        try:
            return list(order.static_order())
        except CycleError as error:
            circle = error.args[1]
    names = ", ".join(sorted({known[oid] for oid in circle}))
    raise ConfigurationError(
        f"{names} refer to each other in a circle, so none of them can be emptied first: let one "
        "refer with ON DELETE SET NULL"
    )


def _to_itself(oid: int, inside: list[Reference]) -> Iterator[Reference]:
    return (each for each in inside if each.parent == each.child == oid and not each.forgets)


def _unused(each: Reference) -> str:
    pairs = zip(each.columns, each.referred, strict=True)
    same = " AND ".join(f"below.{quoted(one)} = t.{quoted(two)}" for one, two in pairs)
    others = f"SELECT FROM {each.table} AS below WHERE {same} AND below.ctid <> t.ctid"
    return f" AND NOT EXISTS ({others})"
