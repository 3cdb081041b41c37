"""F57: the disk under a PostgreSQL of these tests alone is full: no room for rows, or for WAL."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from dev.child import ServerFailed
from dev.postgres import Postgres
from dev.postgres_binaries import server_user
from dev.small_disk import NoSmallDisk, PostgresOnDisk, SmallDisk
from readiness.scratch import session
from tests.chassis.conftest import eventually, migrate
from tests.chassis.faults.conditions import (
    at_least,
    busy,
    published,
    readiness,
    spent_nothing,
    told,
)
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

SOON = 20.0  # seconds until all goes on; a fifth on a machine that has nothing else to do
LARGE = """
    CREATE TABLE attachments (content text);
    CREATE FUNCTION attach() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF (SELECT email FROM buyers WHERE id = NEW.buyer_id) LIKE 'large%' THEN
            INSERT INTO attachments
            SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER attach AFTER INSERT ON sales FOR EACH ROW EXECUTE FUNCTION attach()
"""
# What an update leaves behind, VACUUM makes room for new rows of.
TABLES = {"buyers": "email", "sales": "status", "sale_lines": "sku", "journal": "payload",
          "inbox": "type"}  # fmt: skip


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    """The disk of the server."""
    try:
        with SmallDisk(256, user=server_user()) as mounted:
            yield mounted
    except NoSmallDisk as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def server(disk: SmallDisk) -> Iterator[Postgres]:
    """A server of this module alone, with all its data on the small disk."""
    with PostgresOnDisk(disk) as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Postgres) -> str:
    """A database with the schema, to be copied."""
    url = server.create_database()
    migrate(url)
    return url


@pytest.fixture
def database_url(server: Postgres, template: str) -> Iterator[str]:
    """A database on this server, so that all fixtures use it."""
    url = server.create_database(template=template)
    yield url
    server.drop_database(url)


@pytest.fixture
async def pair(fleet: Fleet) -> Fleet:
    """Two processes at work, which soon notice that a server is gone."""
    limits = {"CONNECT_TIMEOUT": "1s", "ACQUIRE_TIMEOUT": "2s"}
    await asyncio.gather(*(fleet.start(environment=limits) for _ in range(2)))
    return fleet


@asynccontextmanager
async def full(server: Postgres, disk: SmallDisk) -> AsyncIterator[None]:
    """Nothing can grow while the block runs; the WAL has one file of 16 MB that is there."""
    for begin in ("SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(true, 'next', 'file')"):
        await asyncio.to_thread(server.ask, begin)
    await asyncio.to_thread(disk.fill)
    try:
        yield
    finally:
        await asyncio.to_thread(disk.free)


@pytest.mark.long
@pytest.mark.fault("F57", "PostgreSQL has no room for rows")
async def test_no_room_for_rows(
    server: Postgres,
    disk: SmallDisk,
    site: Site,
    load: Load,
    pair: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """It runs and answers, and every message waits; none of them pays for it."""
    first = server.pid
    async with busy(load):
        await eventually(lambda: site.count("sales"))
        async with full(server, disk):
            await eventually(lambda: told(pair, 503, "No space left on device"), within=60)
        began = time.monotonic()
        await eventually(readiness(pair, 200), within=SOON)
        record_property("seconds until all went on", round(time.monotonic() - began, 1))
    await spent_nothing(pair, site, load)
    assert server.pid == first
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F57", "PostgreSQL has room for some rows, not for others")
async def test_room_for_some(
    server: Postgres, disk: SmallDisk, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Whose rows still fit into a page is chance: the others are not to blame."""
    await load.send(200)
    await spent_nothing(pair, site, load)
    await eventually(lambda: published(site))
    await asyncio.to_thread(_make_room, site.database_url)
    async with full(server, disk):
        large = await load.send(5, fate="large")
        before = await site.count("sales")
        async with busy(load):
            await eventually(at_least(20, pair, "db_client_errors_total"), within=60)
        assert await site.count("sales") > before
        assert not {each.sale for each in large} & await _sales(site)
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F57", "PostgreSQL has no room for WAL, and ends")
async def test_no_room_for_wal(
    server: Postgres,
    disk: SmallDisk,
    site: Site,
    load: Load,
    pair: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """Not even its recovery finds room; once it has, it is started again, and all goes on."""
    async with busy(load):
        await eventually(lambda: site.count("sales"))
        async with full(server, disk):
            await asyncio.to_thread(_use_wal_up, server)
            await eventually(readiness(pair, 503))
        await asyncio.to_thread(server.start)
        began = time.monotonic()
        await eventually(readiness(pair, 200), within=SOON)
        record_property("seconds until all went on", round(time.monotonic() - began, 1))
    await spent_nothing(pair, site, load)
    (await settle()).check()


def _make_room(url: str) -> None:
    """Have some sales need a large attachment, and leave room in all pages for small ones."""
    with session(url) as cursor:
        cursor.execute(LARGE)
        for table, column in TABLES.items():
            for _ in range(2):
                cursor.execute(f"UPDATE {table} SET {column} = {column}")
            cursor.execute(f"VACUUM (TRUNCATE FALSE) {table}")
        cursor.execute("VACUUM (TRUNCATE FALSE) outbox")


def _use_wal_up(server: Postgres) -> None:
    """Return when the server has ended: it writes WAL until it needs a new file."""
    while server.running:
        with suppress(ServerFailed):
            server.ask("SELECT pg_switch_wal()")


async def _sales(site: Site) -> set[str]:
    return {str(sale) for (sale,) in await site.rows("SELECT id FROM sales")}
