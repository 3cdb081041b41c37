"""A row that cannot be read is an error of that row, and not of those beside it; any driver.

PostgreSQL has values that Python has no form for, and a field may refuse what it finds.
"""

import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import peewee
import pytest
from playhouse.postgres_ext import ArrayField, BinaryJSONField, DateTimeTZField, IntervalField
from structlog.testing import capture_logs

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import UnreadableRow
from acme_orders.chassis.observability.metrics import Metrics

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

CREATE = """
    CREATE TABLE odd (
        id int PRIMARY KEY, number int, day date, hour time, at timestamp, moment timestamptz,
        moments timestamptz[], span interval, period tstzrange, document jsonb, name text
    )
"""
# feature: row, rls {
OWNED = f"""
    ALTER TABLE odd ADD tenant_id uuid NOT NULL DEFAULT '{TENANT}';
    ALTER TABLE odd ADD UNIQUE (tenant_id, id);
"""
# feature: row, rls }
# Columns, and values of them that cannot be read.
VALUES = [
    ("day", "'infinity'"),
    ("day", "'0044-03-15 BC'"),
    ("day", "'10000-01-01'"),
    ("hour", "'24:00'"),
    ("at", "'-infinity'"),
    ("at", "'10000-01-01 00:00'"),
    ("moment", "'infinity'"),
    ("moment", "'9999-12-31 23:59:59-14:00'"),
    ("moment", "'0001-01-01 00:00:00+14:00'"),
    ("moments", "'{2026-01-01,infinity}'"),
    ("span", "'10000000 years'"),
    ("period", "'[2026-01-01,10000-01-01)'"),
    ("document", f"'[{'1' * 5000}]'"),
]


class Strict(peewee.TextField):
    """A text that is refused when it is read, unless it is one that is known."""

    def python_value(self, value: str) -> str:
        """Refuse it, with its value in the text of the error."""
        if value != "known":
            raise ValueError(value)
        return value


class Odd(Table):
    """A table with columns of types that PostgreSQL has more values of than Python."""

    id = peewee.IntegerField(primary_key=True)
    number = peewee.IntegerField()
    day = peewee.DateField()
    hour = peewee.TimeField()
    at = peewee.DateTimeField()
    moment = DateTimeTZField(null=True)
    moments = ArrayField(DateTimeTZField)
    span = IntervalField()
    period = peewee.BareField()
    document = BinaryJSONField()
    name = Strict()


class Probe(Repository):
    """Reads in each way that there is."""

    @query("odd.all")
    async def all(self, column: str) -> list[int]:
        """As a list."""
        select = Odd.select(Odd.id, getattr(Odd, column)).order_by(Odd.id).limit(100)
        return [row["id"] for row in await self.fetch_all(select)]

    @query("odd.one")
    async def one(self, column: str, number: int) -> dict[str, Any] | None:
        """As the only one."""
        return await self.fetch_one(
            Odd.select(Odd.id, getattr(Odd, column)).where(Odd.id == number)
        )

    @query("odd.sql")
    async def sql(self, column: str, number: int | None = None) -> list[int]:
        """By hand."""
        sql = f"SELECT id, {column} FROM odd WHERE id = coalesce(%s, id) ORDER BY id"
        sql = sql.replace("WHERE", f"WHERE tenant_id = '{TENANT}' AND")  # feature: row, rls
        return [row[0] for row in await self.fetch_sql(sql, number)]

    @query("odd.children")
    async def children(self, column: str) -> list[int]:
        """As children of parents."""
        select = Odd.select(Odd.id, Odd.number, getattr(Odd, column)).order_by(Odd.id)
        found = await self.fetch_children(select, Odd.number, [7, 8])
        assert found[8] == []
        return [row["id"] for row in found[7]]

    @query("odd.stream")
    async def stream(self, column: str) -> list[int]:
        """Few at a time."""
        select = Odd.select(Odd.id, getattr(Odd, column)).order_by(Odd.id)
        return [row["id"] async for row in self.manager.stream(select.dicts(), batch=2)]

    @query("odd.pages")
    async def pages(self, *order: Any, limit: int) -> list[int]:
        """Page after page, until there is none."""
        found, after = list[int](), None
        names = [getattr(each, "node", each).name for each in order]
        while page := await self.fetch_page(
            Odd.select(Odd.id, Odd.number, Odd.moment), order=order, after=after, limit=limit
        ):
            found += [row["id"] for row in page]
            after = [page[-1][name] for name in names]
        return found


@dataclass(frozen=True)
class Site:
    """A database, and queries on it."""

    url: str
    probe: Probe
    metrics: Metrics

    @property
    def manager(self) -> Manager:
        """On this database."""
        return self.probe.manager

    def reading(self) -> AbstractAsyncContextManager[object]:
        """A transaction to read in."""
        return self.manager.transaction("test", read_only=True)

    def insert(self, *numbers: int, column: str = "number", value: str = "7") -> None:
        """Store rows with one value besides the key."""
        for number in numbers:
            column_, value_ = (f", {column}", f", {value}") if column != "number" else ("", "")
            rows_of(self.url, f"INSERT INTO odd (id, number{column_}) VALUES ({number}, 7{value_})")

    def counted(self, name: str) -> float:
        """How many rows of a query could not be read."""
        registry = self.metrics.registry
        return registry.get_sample_value("db_unreadable_rows_total", {"query": name}) or 0


@pytest.fixture(params=DRIVERS)
async def site(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """With a table of its own."""
    use_driver(request.param, monkeypatch)
    rows_of(database_url, CREATE)
    rows_of(database_url, OWNED)  # feature: row, rls
    metrics = Metrics()
    # On a busy machine any statement may be slow, and a record of that is none of these tests'.
    settings = DatabaseSettings(database_url=database_url, pool_size=1, slow_statement=60)
    async with Manager(settings, metrics) as manager:
        yield Site(database_url, Probe(manager), metrics)


@pytest.mark.parametrize(("column", "value"), VALUES)
async def test_such_a_row_hides_no_other(site: Site, column: str, value: str) -> None:
    """In each way to read; it is counted, and logged with its key and without its values."""
    site.insert(1, 3, 5)
    site.insert(2, 4, column=column, value=value)
    probe = site.probe
    async with site.reading():
        with capture_logs() as logs:
            assert await probe.all(column) == [1, 3, 5]
        assert logs == [
            {
                "event": "database.unreadable_rows",
                "log_level": "error",
                "query": "odd.all",
                "rows": 2,
                "columns": [column],
                "keys": [{"id": "2"}, {"id": "4"}],
            }
        ]
        assert site.counted("odd.all") == 2
        assert await probe.sql(column) == [1, 3, 5]
        assert await probe.children(column) == [1, 3, 5]
        assert await probe.stream(column) == [1, 3, 5]


@pytest.mark.parametrize(("column", "value"), VALUES)
async def test_such_a_row_alone_is_an_error(site: Site, column: str, value: str) -> None:
    """That says by name of which query and which column."""
    site.insert(1)
    site.insert(2, column=column, value=value)
    async with site.reading():
        with pytest.raises(UnreadableRow, match=rf"odd\.one: .* {column} ") as refused:
            await site.probe.one(column, 2)
        assert value.strip("'") not in str(refused.value)
        with pytest.raises(UnreadableRow, match=rf"odd\.sql: .* {column} "):
            await site.probe.sql(column, 2)
        assert (await site.probe.one(column, 1) or {})["id"] == 1


async def test_a_field_that_refuses_a_value_hides_no_other(site: Site) -> None:
    """What it says about the value is not repeated."""
    site.insert(1, 3, column="name", value="'known'")
    site.insert(2, column="name", value="'secret'")
    async with site.reading():
        with capture_logs() as logs:
            assert await site.probe.all("name") == [1, 3]
            assert await site.probe.children("name") == [1, 3]
            assert await site.probe.stream("name") == [1, 3]
        with pytest.raises(UnreadableRow, match=r"odd\.one: .* name ") as refused:
            await site.probe.one("name", 2)
        assert "secret" not in f"{logs} {traceback.format_exception(refused.value)}"


async def test_only_such_rows_are_an_empty_list(site: Site) -> None:
    """Whoever lists more than one row does not fail because of all of them."""
    site.insert(1, 2, column="moment", value="'infinity'")
    async with site.reading():
        assert await site.probe.all("moment") == []
        assert await site.probe.children("moment") == []
        assert await site.probe.stream("moment") == []
        assert await site.probe.pages(Odd.id, limit=2) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("order", [(Odd.id,), (Odd.number, Odd.id.desc())])
async def test_pages_go_on_behind_such_rows(site: Site, limit: int, order: tuple[Any, ...]) -> None:
    """Though they fill whole pages, the first and the last."""
    readable = {5, 6, 12, 20}
    site.insert(*readable)
    site.insert(*(set(range(1, 24)) - readable), column="moment", value="'infinity'")
    expected = sorted(readable, reverse=len(order) > 1)
    async with site.reading():
        assert await site.probe.pages(*order, limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_pages_in_the_order_of_such_values(site: Site, limit: int) -> None:
    """PostgreSQL knows where they are."""
    site.insert(1, 2, column="moment", value="'-infinity'")
    site.insert(3, 4, column="moment", value="'2026-01-01 00:00Z'")
    site.insert(5, 6, 7, column="moment", value="'9999-12-31 23:59:59-14:00'")
    site.insert(8, 9)
    async with site.reading():
        assert await site.probe.pages(Odd.moment, Odd.id, limit=limit) == [3, 4, 8, 9]
        assert await site.probe.pages(Odd.moment.desc(), Odd.id, limit=limit) == [8, 9, 3, 4]
        assert await site.probe.pages(Odd.moment.asc(nulls="first"), Odd.id, limit=limit) == [
            8,
            9,
            3,
            4,
        ]


async def test_a_write_that_returns_such_a_row_fails(site: Site) -> None:
    """Who got fewer rows back would take this one for a row that was there already."""
    row = {"id": 1, "number": 7, "moment": "infinity"}
    with pytest.raises(UnreadableRow, match=r"unregistered: .* moment "):
        async with site.manager.transaction("insert"):
            await site.probe.insert_all_once(Odd, [row], Odd.id, returning=(Odd.moment,))
    with pytest.raises(UnreadableRow, match=r"unregistered: .* moment "):
        async with site.manager.transaction("insert"):
            await site.probe.insert_all(Odd, [row])
            update = Odd.update(number=8).returning(Odd.id, Odd.moment)
            await site.probe.fetch_all(update)
    assert rows_of(site.url, "SELECT id FROM odd") == []
