"""Sessions are the same whatever database, role, server and environment say."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from acme_orders.chassis.database import session
from acme_orders.chassis.database.access import SERVICE_ROLE, verify_access
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.environment import take_out
from acme_orders.chassis.database.explain import explain
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema

from dev.databases import Databases
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import PROJECT, consuming, eventually, home, send, settled, sold
from tests.chassis.service import SERVICE

# What a database or a role can set, generated from the catalog: each switch is turned, of each
# choice another one is taken. These would not end with another result but with no session at all,
# or only write to the server's log.
LEFT_ALONE = (
    "debug_", "log_", "trace_", "track_", "transaction_", "session_replication_role", "jit",
    "is_superuser", "in_hot_standby", "zero_damaged_pages", "ignore_checksum_failure",
    "backtrace", "wal_", "update_process_title", "compute_query_id", "local_preload",
)  # fmt: skip
GENERATED = """
SELECT name, setting, enumvals FROM pg_settings
WHERE context IN ('user', 'superuser') AND vartype IN ('bool', 'enum') ORDER BY name
"""
CHOSEN = {
    "client_encoding": "LATIN1",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "Australia",
    "DateStyle": "German, DMY",
    "extra_float_digits": "-15",
    "search_path": "hostile",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "transaction_timeout": "10min",
    "gin_fuzzy_search_limit": "1",
    "restrict_nonsystem_relation_kind": "view",
    "application_name": "hostile",
    "default_text_search_config": "pg_catalog.german",
    "lc_messages": "C.UTF-8",
    "lc_monetary": "C",
    "work_mem": "64kB",
    "role": "none",
}
TIMES = [
    ("2026-01-30T23:59:59.999999Z", 100), ("2026-01-31T00:00:00Z", 200),
    ("2026-01-31T05:15:00+05:45", 400), ("2026-01-31T23:59:59-14:00", 800),
    ("2026-02-01T00:00:00Z", 1600), ("1999-12-31T23:59:59.000001Z", 3200),
]  # fmt: skip
TEXTS = ("plain", "Grüße", "日本", "😀", "back\\slash 'quoted'", "e\u0301")


def hostile(url: str) -> dict[str, str]:
    """Other values than a server begins with."""
    known = {name for (name,) in rows_of(url, "SELECT name FROM pg_settings")}
    found = {name: value for name, value in CHOSEN.items() if name in known}
    for name, value, choices in rows_of(url, GENERATED):
        if name not in found and not name.startswith(LEFT_ALONE):
            others = [each for each in choices or ("on", "off") if each != value]
            if others:
                found[name] = others[-1]
    return found


def set_all(url: str, whom: str, settings: dict[str, str]) -> None:
    """As somebody does who set up this database, or this role, for other programs."""
    for name, value in settings.items():
        if name == "role":
            continue
        shown = f"'{value}'" if name != "search_path" else value
        rows_of(url, f"ALTER {whom} SET {name} = {shown}")


@asynccontextmanager
async def service_on(settings: ChassisSettings, url: str) -> AsyncIterator[Service]:
    """The service on this database."""
    changed = settings.model_copy(update={"database_url": url})
    async with connected(SERVICE, changed, Metrics()) as service:
        yield service


async def seen(settings: ChassisSettings, url: str) -> dict[str, Any]:
    """What comes out of a sale with each time and text, after the whole round."""
    sales = [
        sold(
            sale_id=str(UUID(int=number)),
            made_at=time,
            lines=[{"sku": TEXTS[number], "quantity": 1, "unit_price_cents": cents}],
        )
        for number, (time, cents) in enumerate(TIMES)
    ]
    async with service_on(settings, url) as service:
        async with consuming(service):
            await send(service, *sales)
            await eventually(lambda: settled(service, "done") == len(sales))
        assert await service.relay.run_once() == len(sales)
        return await read(service)


async def read(service: Service) -> dict[str, Any]:
    """Pages, sums and values of the stored sales."""
    repository = service.queries()["sales.page"][0]
    pages: list[Any] = []
    async with AsyncExitStack() as stack:
        stack.enter_context(tenant_scope(TENANT))  # feature: row, rls, schema
        await stack.enter_async_context(service.manager.transaction("test", read_only=True))
        after = None
        while page := await repository.page(after=after, limit=2):  # type: ignore[attr-defined]
            pages += page
            after = (page[-1].made_at, page[-1].id)
        details = [await repository.by_id(each.id) for each in pages]  # type: ignore[attr-defined]
        revenue = await repository.revenue(since=date(1990, 1, 1))  # type: ignore[attr-defined]
        values = await service.manager.fetch_sql(
            "SELECT '2026-01-31 12:00'::timestamptz, '1 day 2 hours'::interval, "
            r"'\xdeadbeef'::bytea, 0.1::float8 + 0.2::float8, 1.10::numeric, "
            r"'a\b', NULL = NULL, current_setting('TimeZone'), '{NULL}'::text[]"
        )
    assert all(str(each.made_at.utcoffset()) == "0:00:00" for each in pages)
    return {
        "pages": [(each.id, each.made_at.isoformat(), each.total_cents) for each in pages],
        "texts": [[line.sku for line in each.lines] for each in details],
        "revenue": [(each.day, each.sales, each.total_cents) for each in revenue],
        "values": [bytes(each) if isinstance(each, memoryview) else each for each in values[0]],
    }


async def plans(service: Service) -> Sequence[str]:
    """Explain works in the same sessions."""
    repository, query, method = service.queries()["sales.revenue"]
    stack = ExitStack()
    stack.enter_context(tenant_scope(TENANT))  # feature: row, rls, schema
    with stack:
        return (await explain(service.manager, repository, query, method))[0].lines


@pytest.mark.parametrize("whom", ["database", "role", "role in database"])
async def test_what_others_have_set_changes_nothing(
    whom: str, driver: str, settings: ChassisSettings, database_url: str, login: str, migrated: str
) -> None:
    """Sales make the whole round; pages, sums per day and values are the same."""
    databases = Databases(os.environ["DATABASE_URL"])
    usual = databases.create(template=migrated)
    expected = await seen(settings, usual)
    databases.drop(usual)

    name = database_url.rpartition("/")[2]
    changes = hostile(database_url)
    assert len(changes) > 60
    rows_of(database_url, "CREATE SCHEMA hostile; CREATE TABLE hostile.sales (id int)")
    rows_of(database_url, f"GRANT USAGE ON SCHEMA hostile TO {SERVICE_ROLE}")
    targets = {
        "database": f"DATABASE {name}",
        "role": f"ROLE {login}",
        "role in database": f"ROLE {login} IN DATABASE {name}",
    }
    set_all(database_url, targets[whom], changes)
    url = database_url.replace("postgres@", f"{login}:x@")
    assert await seen(settings, url) == expected
    async with service_on(settings, url) as service:
        assert await plans(service)
        async with service.manager.connection() as lease:
            await verify_access(lease)
            ((found,),) = await lease.rows(
                "SELECT ARRAY[current_setting('application_name'), "
                "coalesce(current_setting('transaction_timeout', true), '0')]"
            )
    # How long a transaction may take is for whoever runs the database to say.
    assert found == ["acme-orders", changes.get("transaction_timeout", "0")]


async def test_migrations_are_the_same_in_a_hostile_database(
    driver: str, settings: ChassisSettings
) -> None:
    """From an empty database on."""
    databases = Databases(os.environ["DATABASE_URL"])
    url = databases.create()
    try:
        set_all(url, f"DATABASE {url.rpartition('/')[2]}", hostile(url))
        migrator = Migrator(url, folder=home() / "migrations")
        list(migrator.up())
        Tenants(url).add(TENANT, "test")  # feature: row, rls, schema
        list(migrator.up())  # feature: schema
        assert migrator.pending() == []
        with closing(open_blocking(url)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT current_setting('transaction_timeout', true)")
            assert cursor.fetchone()[0] in {"0", None}  # older servers have none
        found = await seen(settings, url)
        assert found["values"][3:5] == [0.1 + 0.2, Decimal("1.10")]
        assert [sku for (sku,) in found["texts"]] == [TEXTS[n] for n in (5, 2, 0, 1, 4, 3)]
    finally:
        databases.drop(url)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
async def test_a_database_that_cannot_store_every_text_is_refused(
    encoding: str, driver: str, settings: ChassisSettings
) -> None:
    """By `migrate` and by the service, before a message becomes a dead letter."""
    name = f"test_{uuid4().hex}"
    server = os.environ["DATABASE_URL"]
    rows_of(
        server,
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
        "LOCALE 'C' LOCALE_PROVIDER 'libc'",
    )
    url = f"{server.rpartition('/')[0]}/{name}"
    try:
        with pytest.raises(ConfigurationError, match=f"as {encoding}.*ENCODING 'UTF8'"):
            Migrator(url, folder=PROJECT / "migrations").pending()
        async with (
            Manager(DatabaseSettings(database_url=url, pool_size=1), Metrics()) as manager,
            manager.connection() as one,
        ):
            with pytest.raises(ConfigurationError, match=f"as {encoding}"):
                await verify_access(one)
    finally:
        Databases(server).drop(url)


async def test_what_cannot_be_set_back_is_refused(
    driver: str, settings: ChassisSettings, database_url: str, login: str
) -> None:
    """Without triggers there are no foreign keys."""
    rows_of(database_url, f"ALTER ROLE {login} SET session_replication_role = 'replica'")
    url = database_url.replace("postgres@", f"{login}:x@")
    with pytest.raises(ConfigurationError, match=r"session_replication_role.*ALTER ROLE"):
        async with service_on(settings, url):
            pass


async def test_a_proxy_that_drops_startup_options_is_noticed(
    driver: str, settings: ChassisSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions would be as the database sets them."""
    rows_of(
        database_url, f"ALTER DATABASE {database_url.rpartition('/')[2]} SET xmloption = document"
    )
    monkeypatch.setattr(session, "startup_options", lambda _: "")
    with pytest.raises(ConfigurationError, match=r"xmloption.*PgBouncer|proxy"):
        async with service_on(settings, database_url):
            pass


async def test_options_of_the_address_count(driver: str, database_url: str) -> None:
    """Where they are not ours; a name of one's own is shown."""
    options = quote("-c work_mem=77MB -c app.name=a\\ b", safe="")
    url = f"{database_url}?options={options}&application_name=mine"
    manager = Manager(
        DatabaseSettings(database_url=url, pool_size=1), Metrics(), application="ours"
    )
    async with manager, manager.connection() as lease:
        ((found,),) = await lease.rows(
            "SELECT ARRAY[current_setting('work_mem'), current_setting('app.name'), "
            "current_setting('application_name'), current_setting('TimeZone')]"
        )
    assert found == ["77MB", "a b", "mine", "UTC"]


KEPT = (
    "PGPASSWORD PGPASSFILE PGSERVICEFILE PGSYSCONFDIR PGSSLMODE PGSSLROOTCERT PGGSSENCMODE "
    "PGKRBSRVNAME PGREQUIREAUTH PGCHANNELBINDING PGMINPROTOCOLVERSION PATH PGX1 pghost"
)
LOST = (
    "PGAPPNAME PGCLIENTENCODING PGCONNECT_TIMEOUT PGDATABASE PGDATESTYLE PGGEQO PGHOST PGHOSTADDR "
    "PGLOADBALANCEHOSTS PGLOCALEDIR PGOPTIONS PGPORT PGREQUIRESSL PGSERVICE PGTARGETSESSIONATTRS "
    "PGTZ PGUSER"
)


def test_variables_of_libpq_about_other_servers_are_taken_out() -> None:
    """Those about passwords, certificates and encryption count."""
    kept = dict.fromkeys(KEPT.split(), "x")
    environment = {**kept, **dict.fromkeys(LOST.split(), "x")}
    assert take_out(environment) == LOST.split()
    assert environment == kept
