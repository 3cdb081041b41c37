"""Runs what one release sends on the schema of another."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.contracts.contract import Contract, Sent
from readiness.contracts.description import columns_of, prepared
from readiness.contracts.types import is_wider
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_COLUMNS = """
SELECT relname || '.' || attname, format_type(atttypid, atttypmod)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE pg_class.oid = ANY (SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
    AND attnum > 0 AND NOT attisdropped
ORDER BY 1
"""


class Place(NamedTuple):
    """A statement of a query; the first is 1."""

    query: str
    statement: int


class Failure(NamedTuple):
    """What PostgreSQL says to a statement, and its SQLSTATE; empty if it is no error there."""

    reason: str
    sqlstate: str = ""


Failures = Mapping[Place, Failure]


async def failures(manager: Manager, contracts: Sequence[Contract]) -> Failures:
    """Which statements fail on the schema that is there; what they write is rolled back.

    Those of a repository run in one transaction, because later ones may need the rows of earlier
    ones.

    Args:
        manager: of a database without data.
        contracts: in the order of the source.
    """
    found: dict[Place, Failure] = {}
    for _, group in itertools.groupby(contracts, key=lambda each: (each.chassis, each.repository)):
        some = list(group)
        work_for(None if some[0].across_tenants else TENANT)  # feature: row, rls, schema
        async with undone(manager, "contracts"):
            found |= {place: failure async for place, failure in _failures(manager, some)}
    return found


async def column_types(manager: Manager, contracts: Sequence[Contract]) -> Mapping[str, str]:
    """The type of each column of the tables that contracts reach."""
    tables = {name for each in contracts for sent in each.statements for name in sent.tables}
    work_for(TENANT)  # feature: row, rls, schema
    async with manager.transaction("contracts", read_only=True), manager.connection() as lease:
        return dict(await lease.rows(_COLUMNS, (sorted(tables),)))


def changed_types(
    before: Mapping[str, str], after: Mapping[str, str], contracts: Sequence[Contract]
) -> Failures:
    """The statements that name a column whose type has become another, but not a wider one."""
    changed = {
        name: type_
        for name, type_ in before.items()
        if name in after and not is_wider(type_, after[name])
    }
    found: dict[Place, Failure] = {}
    for name, old in changed.items():
        table, _, column = name.partition(".")
        for contract in contracts:
            for number, sent in enumerate(contract.statements, 1):
                if table in sent.tables and _names(sent, column):
                    found[Place(contract.name, number)] = Failure(
                        f"{name} was {old} and becomes {after[name]}"
                    )
    return found


async def _failures(
    manager: Manager, contracts: Sequence[Contract]
) -> AsyncIterator[tuple[Place, Failure]]:
    for contract in contracts:
        for number, sent in enumerate(contract.statements, 1):
            place = Place(contract.name, number)
            try:
                async with manager.savepoint():
                    given = await _run(manager, sent)
            except DatabaseError as error:
                yield place, Failure(str(error).strip().partition("\n")[0], error.sqlstate or "")
                break  # a call ends here as well; what follows may need the rows
            else:
                if given is not None and (reason := _difference(sent.columns, given)):
                    yield place, Failure(reason)


async def _run(manager: Manager, sent: Sent) -> Sequence[str] | None:
    """Prepare a statement and run it with its example; the columns that it gives."""
    types = [each.partition(" ")[2] for each in sent.parameters]
    async with manager.connection() as lease:
        name, _ = await prepared(lease, manager, sent.text, types=types)
        if not sent.executable:
            return None
        # Without a type, as drivers send them: the schema decides what they are read as.
        values = ", ".join("NULL" if each is None else _quoted(each) for each in sent.example)
        return await columns_of(lease, f"EXECUTE {name}{f'({values})' if values else ''}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _difference(before: Sequence[str], after: Sequence[str]) -> str:
    for one, other in itertools.zip_longest(before, after):
        if one is None or other is None or not _goes_on(one, other):
            return f"gives the column {other or 'no more'}, where {one or 'none'} is read"
    return ""


def _goes_on(one: str, other: str) -> bool:
    (name, _, old), (other_name, _, new) = one.partition(" "), other.partition(" ")
    return one == other or (name == other_name and is_wider(old, new))


def _names(sent: Sent, column: str) -> bool:
    words = sent.text.replace('"', " ")
    for sign in "(),.":
        words = words.replace(sign, " ")
    return column in words.split()
