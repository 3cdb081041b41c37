"""Which columns an INSERT writes, and which it refuses; any driver."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import peewee
import pytest

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Insertion, Repository
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import QueryRefused
from acme_orders.chassis.observability.metrics import Metrics

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

OWNED = ""
OWNED = f", tenant_id uuid NOT NULL DEFAULT '{TENANT}'"  # feature: row, rls
OWNER = ""
OWNER = "tenant_id, "  # feature: row, rls
CREATE = f"""
    CREATE SCHEMA "we""ird";
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE DOMAIN amount AS bigint NOT NULL DEFAULT 7 CHECK (VALUE >= 0);
    CREATE TABLE "Select" (
        id int PRIMARY KEY, "sale" text, "100%" text {OWNED}, UNIQUE ({OWNER}id)
    );
    CREATE TABLE "we""ird"."Select" (LIKE "Select" INCLUDING ALL);
    CREATE TABLE thing (
        id int PRIMARY KEY, name text, parent_key int, mood mood DEFAULT 'good', amount amount,
        other amount DEFAULT 5, made serial, fixed text, called text, extra jsonb {OWNED},
        UNIQUE ({OWNER}id), UNIQUE ({OWNER}name, parent_key)
    )
"""
COUNTER = itertools.count(1)


class Weird(Table):
    """A table of a schema, with a twin of its name in another."""

    id = peewee.IntegerField(primary_key=True)
    sale = peewee.TextField()
    share = peewee.TextField(column_name="100%")

    class Meta:
        """Its names."""

        schema = 'we"ird'
        table_name = "Select"


class Thing(Table):
    """A table whose fields and columns have different names."""

    id = peewee.IntegerField(primary_key=True)
    label = peewee.TextField(column_name="name", null=True)
    parent = peewee.ForeignKeyField(
        "self", column_name="parent_key", object_id_name="parent_number", null=True
    )
    mood = peewee.TextField()
    amount = peewee.BigIntegerField()
    made = peewee.IntegerField()
    fixed = peewee.TextField(default="constant", null=True)
    extra = peewee.JSONField(null=True)
    called = peewee.TextField(default=lambda: f"call {next(COUNTER)}", null=True)

    class Meta:
        """Its name."""

        table_name = "thing"


@pytest.fixture(params=DRIVERS)
async def probe(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Repository]:
    """On a database of its own."""
    use_driver(request.param, monkeypatch)
    rows_of(database_url, CREATE)
    async with Manager(
        DatabaseSettings(database_url=database_url, pool_size=1), Metrics()
    ) as manager:
        yield Repository(manager)


@pytest.fixture
def url(database_url: str) -> str:
    """Of this database."""
    return database_url


async def write(probe: Repository, rows: Sequence[dict[str, Any]], **more: Any) -> None:
    """In a transaction of their own."""
    async with probe.manager.transaction("test"):
        await probe.insert_all_once(Thing, rows, Thing.id, **more)


# Which are written


async def test_a_table_of_a_schema_is_not_its_twin(probe: Repository, url: str) -> None:
    """Whatever is in its name, and in those of its columns."""
    row = {"id": 1, "sale": "a", "100%": "%s"}
    async with probe.manager.transaction("test"):
        assert await probe.insert_once(Weird, row, Weird.id) is Insertion.INSERTED
        changed = [{**row, "sale": "b"}]
        assert await probe.upsert(Weird, changed, Weird.id, update=[Weird.sale]) == 1
    sql = 'SELECT id, "sale", "100%" FROM '
    assert rows_of(url, f'{sql} "we""ird"."Select"') == [(1, "b", "%s")]
    assert rows_of(url, f'{sql} "Select"') == []


@pytest.mark.parametrize(
    "row",
    [
        {"id": 2, "label": "a", "parent": 1},
        {"id": 2, "name": "a", "parent_key": 1},
        {"parent": Thing(id=1), "label": "a", "id": 2},
    ],
)
async def test_a_column_has_the_name_of_its_field_too(
    probe: Repository, url: str, row: dict[str, Any]
) -> None:
    """And a reference takes what it refers to."""
    await write(probe, [row])
    found = rows_of(url, "DELETE FROM thing RETURNING id, name, parent_key")
    assert found == [(2, "a", 1)]
    await write(probe, [{"id": 2}], common={key: row[key] for key in row if key != "id"})
    assert rows_of(url, "SELECT id, name, parent_key FROM thing") == found


async def test_rows_may_have_their_columns_in_any_order(probe: Repository, url: str) -> None:
    """It is their names that count."""
    await write(probe, [{"id": 1, "label": "a"}, {"label": "b", "id": 2}])
    assert rows_of(url, "SELECT id, name FROM thing ORDER BY id") == [(1, "a"), (2, "b")]


async def test_a_column_that_is_not_given_gets_its_default(probe: Repository, url: str) -> None:
    """That of its field, made for each row, or else that of PostgreSQL: of a domain, too."""
    await write(probe, [{"id": 1}, {"id": 2}])
    await write(probe, [{"id": 3, "called": None}], common={"fixed": "given"})
    found = rows_of(url, "SELECT name, mood, amount, other, fixed, called FROM thing ORDER BY id")
    assert [row[:5] for row in found[:2]] == [(None, "good", 7, 5, "constant")] * 2
    one, other = (row[5] for row in found[:2])
    assert one.startswith("call ")
    assert one != other
    assert found[2] == (None, "good", 7, 5, "given", None)
    assert rows_of(url, "SELECT made FROM thing ORDER BY id") == [(1,), (2,), (3,)]


async def test_one_text_for_rows_with_values_of_their_own(probe: Repository) -> None:
    """Also of columns that fields convert or fill."""
    sent: list[str] = []
    probe.manager.observe(lambda statement: sent.append(statement.sql))
    for numbers in ([1], range(2, 90)):
        await write(probe, [{"id": n, "amount": n, "parent": Thing(id=n)} for n in numbers])
    inserts = [sql for sql in sent if sql.startswith("INSERT")]
    assert len(inserts) == 2
    assert len(set(inserts)) == 1


async def test_keys_may_be_told_by_name(probe: Repository) -> None:
    """As columns of rows are."""
    async with probe.manager.transaction("test"):
        rows = [{"id": 1, "label": "a", "parent": 1}]
        key = ("name", Thing.parent)
        new = await probe.insert_all_once(Thing, rows, *key, returning=("id", Thing.mood))
        assert new == {("a", 1, 1, "good")}
        assert await probe.insert_all_once(Thing, rows, *key) == set()


async def test_what_a_key_keeps_out_is_counted(probe: Repository) -> None:
    """By query, when the transaction has committed; a rollback has kept nothing out."""

    def counted() -> float:
        registry, labels = probe.manager._metrics.registry, {"query": "things.add"}
        return registry.get_sample_value("db_rows_already_there_total", labels) or 0

    async def add(*numbers: int) -> int:
        with probe.manager.named("things.add"):
            return len(await probe.insert_all_once(Thing, [{"id": n} for n in numbers], Thing.id))

    with suppress(ZeroDivisionError):
        async with probe.manager.transaction("test"):
            assert await add(1, 2, 1) == 2
            raise ZeroDivisionError
    assert counted() == 0
    async with probe.manager.transaction("test"):
        assert await add(1, 2, 1) == 2
        assert await add(2, 3, 4) == 2
        assert counted() == 0
    assert counted() == 2


# Which are refused


class Other(Table):
    """Another table."""

    id = peewee.IntegerField(primary_key=True)


ROW = {"id": 1, "label": "a"}
REFUSED: dict[str, tuple[Callable[[Repository], Awaitable[Any]], str]] = {
    "once without a key": (
        lambda probe: probe.insert_once(Thing, ROW),
        "does not say by which key: name the columns of a unique constraint",
    ),
    "all once without a key": (
        lambda probe: probe.insert_all_once(Thing, [ROW], common={"mood": "bad"}),
        "does not say by which key: name the columns of a unique constraint",
    ),
    "none once without a key": (
        lambda probe: probe.insert_all_once(Thing, []),
        "does not say by which key",
    ),
    "an upsert without a key": (
        lambda probe: probe.upsert(Thing, [ROW], update=[Thing.label]),
        "needs a key of Thing and the columns to update",
    ),
    "an upsert without columns": (
        lambda probe: probe.upsert(Thing, [ROW], Thing.id, update=[]),
        "to leave rows as they are, use insert_all_once",
    ),
    "an update of a column without a value": (
        lambda probe: probe.upsert(Thing, [ROW], Thing.id, update=[Thing.label, Thing.mood]),
        "update= of Thing names mood, and the rows do not",
    ),
    "an update of a column with a default only": (
        lambda probe: probe.upsert(Thing, [ROW], Thing.id, update=[Thing.fixed]),
        "update= of Thing names fixed, and the rows do not",
    ),
    "an update of a column of another": (
        lambda probe: probe.upsert(Thing, [ROW], Thing.id, update=[Other.id]),
        "Thing has no Other.id",
    ),
    "a key without a value": (
        lambda probe: probe.insert_once(Thing, ROW, Thing.label, Thing.parent),
        "the key of Thing has parent_key, and the rows do not: give it to each row",
    ),
    "a key of another": (lambda probe: probe.insert_once(Thing, ROW, Other.id), "no Other.id"),
    "a key that is not there": (lambda probe: probe.insert_once(Thing, ROW, "nick"), "no nick"),
    "a key that is no column": (
        lambda probe: probe.insert_once(Thing, ROW, peewee.fn.lower(Thing.label)),
        "Thing has no ",
    ),
    "a column of another to return": (
        lambda probe: probe.insert_all_once(Thing, [ROW], Thing.id, returning=[Other.id]),
        "Thing has no Other.id",
    ),
    "a document to return": (
        lambda probe: probe.insert_all_once(
            Thing, [{**ROW, "extra": {}}], Thing.id, returning=[Thing.extra]
        ),
        "returns documents or lists of Thing, which no set holds",
    ),
    "the same key twice": (
        lambda probe: probe.upsert(Thing, [ROW, ROW], Thing.id, update=[Thing.label]),
        "rows of Thing have the same id",
    ),
    "the same key told in two ways, far apart": (
        lambda probe: probe.upsert(
            Thing,
            [{"id": n, "label": "a"} for n in range(1500)] + [{"id": "7", "label": "b"}],
            Thing.id,
            update=[Thing.label],
        ),
        "rows of Thing have the same id",
    ),
    "a column by two names": (
        lambda probe: probe.insert_all(Thing, [{"id": 1, "label": "a", "name": "b"}]),
        "Thing gets name twice",
    ),
    "a column of each row and of all": (
        lambda probe: probe.insert_all_once(Thing, [ROW], Thing.id, common={"name": "b"}),
        "Thing gets name twice",
    ),
    "an expression": (
        lambda probe: probe.insert_all(Thing, [{"id": 1, "label": peewee.fn.now()}]),
        r"Thing\.label does not take a value of type Function: an SQL expression is no value",
    ),
    "an expression for all": (
        lambda probe: probe.insert_all_once(
            Thing, [{"id": 1}], Thing.id, common={"label": Thing.mood}
        ),
        r"Thing\.label does not take a value of type TextField: an SQL expression is no value",
    ),
    "a value that no driver knows": (
        lambda probe: probe.insert_all(Thing, [{"id": object(), "label": "a"}]),
        r"Thing\.id does not take a value of type object",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_would_lose_something_is_refused(probe: Repository, name: str) -> None:
    """Before it is there, with what helps."""
    work, remedy = REFUSED[name]
    sent: list[str] = []
    async with probe.manager.transaction("test"):
        probe.manager.observe(lambda statement: sent.append(statement.sql))
        with pytest.raises(QueryRefused, match=remedy):
            await work(probe)
    assert sent == [] or name == "a document to return"
