"""What the schema guarantees, whatever the code does: PostgreSQL itself refuses each bad row."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from acme_orders.chassis.errors import ConstraintViolated
from acme_orders.chassis.process.service import Service

from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.conftest import Connect, count

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

ONE, TWO = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
AT = "2026-01-31T12:00:00Z"

# A good row for each table, those first that others refer to.
GOOD: dict[str, dict[str, Any]] = {
    "buyers": {"id": ONE, "email": "ada@example.com"},
    "sales": {
        "id": ONE,
        "buyer_id": ONE,
        "status": "booked",
        "currency": "EUR",
        "total_cents": 900,
        "made_at": AT,
    },
    "sale_lines": {
        "sale_id": ONE,
        "position": 1,
        "sku": "TEA-1",
        "quantity": 2,
        "unit_price_cents": 450,
    },
    "journal": {"id": ONE, "event_type": "sale.booked", "payload": "{}"},
    "inbox": {
        "consumer": "acme-orders",
        "source": "test",
        "id": "1",
        "type": "sale.made",
        "payload_hash": b"hash",
    },
    "outbox": {"message_id": ONE, "type": "sale.booked", "body": "{}"},
}

# How a second row differs from the good one, and how the name of the broken constraint ends.
TWICE = [
    ("buyers", {"email": "grace@example.com"}, "pkey"),
    ("buyers", {"id": TWO}, "email_key"),
    ("sales", {}, "pkey"),
    ("sale_lines", {}, "pkey"),
    ("journal", {}, "pkey"),
    ("inbox", {}, "pkey"),
    ("outbox", {}, "message_id_key"),
]
# How a row differs from a good one that the schema has no place for.
BAD = [
    ("buyers", {"email": "a@"}, "email_check"),
    ("buyers", {"email": "a" * 321}, "email_check"),
    ("sales", {"buyer_id": TWO}, "buyer_id_fkey"),
    ("sales", {"status": "lost"}, "status_check"),
    ("sales", {"currency": "Euro"}, "currency_check"),
    ("sales", {"total_cents": -1}, "total_cents_check"),
    ("sale_lines", {"sale_id": TWO}, "sale_id_fkey"),
    ("sale_lines", {"position": 0}, "position_check"),
    ("sale_lines", {"sku": ""}, "sku_check"),
    ("sale_lines", {"quantity": 0}, "quantity_check"),
    ("sale_lines", {"unit_price_cents": -1}, "unit_price_cents_check"),
    ("outbox", {"attempts": -1}, "attempts_check"),
]
WITHOUT = [(table, column) for table, row in GOOD.items() for column in row]


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory, with all the rows that others refer to."""
    async with connect() as connected:
        for table in ("buyers", "sales"):
            await insert(connected, table)
        yield connected


async def insert(service: Service, table: str, **changes: Any) -> None:
    """Insert a row as the service may, in a transaction of its own."""
    row = GOOD[table] | changes
    row["tenant_id"] = str(TENANT)  # feature: row, rls
    columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    async with service.manager.transaction("test"):
        await service.manager.fetch_sql(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", *row.values()
        )


async def present(service: Service, table: str) -> None:
    """Insert the good row, unless it is one of those that are there."""
    if await count(service, table) == 0:
        await insert(service, table)


@pytest.mark.parametrize("table", GOOD)
async def test_a_good_row_is_accepted(service: Service, table: str) -> None:
    """So what is refused below is refused for the difference."""
    await present(service, table)
    assert await count(service, table) == 1


@pytest.mark.parametrize(("table", "changes", "constraint"), TWICE)
async def test_a_key_is_there_once(
    service: Service, table: str, changes: dict[str, Any], constraint: str
) -> None:
    """The second row is refused, by the name of the key."""
    await present(service, table)
    with pytest.raises(ConstraintViolated) as refused:
        await insert(service, table, **changes)
    expect(refused.value, "23505", table, constraint)


@pytest.mark.parametrize(("table", "changes", "constraint"), BAD)
async def test_a_bad_value_is_refused(
    service: Service, table: str, changes: dict[str, Any], constraint: str
) -> None:
    """One that is out of range, or that refers to nothing; by the name of the constraint."""
    if table in {"buyers", "sales"}:
        changes = {"id": TWO, **changes}
    with pytest.raises(ConstraintViolated) as refused:
        await insert(service, table, **changes)
    expect(refused.value, "23503" if constraint.endswith("fkey") else "23514", table, constraint)


@pytest.mark.parametrize(("table", "column"), WITHOUT)
async def test_a_missing_value_is_refused(service: Service, table: str, column: str) -> None:
    """Every column that the code writes has one; the error names it."""
    with pytest.raises(ConstraintViolated, match=f'"{column}"') as refused:
        await insert(service, table, **{column: None})
    assert refused.value.sqlstate == "23502"


def expect(refused: ConstraintViolated, sqlstate: str, table: str, constraint: str) -> None:
    """The kind of error, and which constraint it was."""
    assert refused.sqlstate == sqlstate
    assert refused.constraint is not None
    assert refused.constraint.startswith(f"{table}_")
    assert refused.constraint.endswith(f"_{constraint}")
