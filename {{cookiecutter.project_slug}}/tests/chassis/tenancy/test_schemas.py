# feature: schema
"""The schemas of tenants: made, migrated and taken back, each with a history of its own."""

import shutil
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import ConfigurationError, DatabaseError
from acme_orders.chassis.migrations import runner as migrate
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import tenant_scope

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT
from tests.chassis.conftest import Connect, home
from tests.chassis.integration.migrating import Migrations, holding, run_command, wait_until
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, EVE

if not hasattr(migrate, "_up"):
    pytest.skip("tenants share one schema in this project", allow_module_level=True)

NEW = (ADA, BOB, EVE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations, to be added to."""
    return Path(shutil.copytree(home() / "migrations", tmp_path / "migrations"))


@pytest.fixture
def migrator(database_url: str, folder: Path) -> Migrator:
    """Of a database with one tenant, whose schema is there."""
    return Migrator(database_url, folder=folder)


@pytest.fixture
def places(database_url: str, migrator: Migrator) -> dict[UUID, str]:
    """Three more tenants, whose schemas nobody has made yet."""
    for tenant in NEW:
        rows_of(
            database_url,
            "INSERT INTO tenants (id, name) VALUES (%s, %s)",
            (str(tenant), f"tenant {tenant}"),
        )
    return {tenant: f"tenant_{tenant.hex}" for tenant in (TENANT, *NEW)}


def of_each(folder: Path) -> list[str]:
    """The ids of those that each tenant's schema gets, in order."""
    return [each.id for each in migrations(folder) if each.each_tenant]


def after_sales(folder: Path) -> list[str]:
    """Those of them that come later than 0900_sales; an API has one of the chassis there."""
    return of_each(folder)[of_each(folder).index("0900_sales") + 1 :]


def add(folder: Path, number: int, up: str = "", *, shared: bool = False) -> str:
    """Add a migration for each tenant, or for what they share; returns its id."""
    identity = f"{number:04}_more"
    head = "" if shared else "-- applies to: each tenant\n"
    up = f"{head}-- reversible: yes\n{up or f'CREATE TABLE more_{number} (id int);'}\n"
    (folder / f"{identity}.up.sql").write_text(up, encoding="utf-8")
    down = f"DROP TABLE more_{number};\n"
    (folder / f"{identity}.down.sql").write_text(down, encoding="utf-8")
    return identity


def tables(url: str) -> dict[str, set[str]]:
    """The tables of each schema that is a tenant's."""
    found = rows_of(
        url,
        "SELECT nspname, array_agg(relname::text) FROM pg_class "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE relkind = 'r' AND nspname LIKE 'tenant_%' GROUP BY nspname",
    )
    return {schema: set(names) for schema, names in found}


def names(done: Any) -> list[str]:
    """What was applied or taken back, and where."""
    return [name for name, _ in done]


def test_a_new_tenant_gets_its_schema(
    migrator: Migrator, places: dict[UUID, str], database_url: str
) -> None:
    """With the same tables as every other; who has them already is left alone."""
    done = names(migrator.up())
    assert sorted({name.partition(" in ")[2] for name in done}) == [places[each] for each in NEW]
    found = tables(database_url)
    assert found.keys() == set(places.values())
    assert {"sales", "sale_lines", "buyers", "inbox"} <= found[places[ADA]]
    assert "outbox" not in found[places[ADA]]
    assert all(found[schema] == found[places[TENANT]] for schema in found)
    assert names(migrator.up()) == []
    migrator.verify()


def test_nobody_starts_while_a_schema_lags(
    migrator: Migrator, places: dict[UUID, str], folder: Path
) -> None:
    """The refusal names each migration and the schemas."""
    assert [each.id for each in migrator.pending()] == of_each(folder)
    with pytest.raises(ConfigurationError, match="`migrate up`") as refused:
        migrator.verify()
    for lacking in of_each(folder):
        assert f"{lacking} in {places[ADA]}, {places[BOB]}, {places[EVE]}" in str(refused.value)
    assert places[TENANT] not in str(refused.value)


def test_hundreds_of_lagging_schemas_are_counted(migrator: Migrator, database_url: str) -> None:
    """A message names some and says how many more there are."""
    rows_of(
        database_url,
        "INSERT INTO tenants (id, name) SELECT gen_random_uuid(), n FROM generate_series(1, 103) n",
    )
    with pytest.raises(ConfigurationError, match=r"0003_inbox in .* and 100 more;"):
        migrator.verify()


async def test_the_service_does_not_start_while_a_schema_lags(
    connect: Connect, places: dict[UUID, str]
) -> None:
    """It would fail for this tenant only, and later."""
    with pytest.raises(ConfigurationError, match=places[ADA]):
        async with connect():
            pytest.fail("the service started")


def test_a_migration_that_fails_in_one_schema_is_done_in_the_others(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """The error names the schema; after it was put right the next run does what is left."""
    more, bad = add(folder, 9000), places[BOB]
    rows_of(database_url, f"CREATE SCHEMA {bad}")
    rows_of(database_url, f"CREATE TABLE {bad}.sales (by_hand int)")
    with pytest.raises(ConfigurationError) as failed:
        list(migrator.up())
    assert bad in str(failed.value)
    assert "0900_sales.up.sql" in str(failed.value)
    assert "already exists" in str(failed.value)
    assert places[ADA] not in str(failed.value)
    found = tables(database_url)
    assert {"schema_migrations", "inbox", "sales"} <= found[bad]
    for tenant in (ADA, EVE):
        assert found[places[tenant]] == {*found[bad], "buyers", "sale_lines", "journal"}
    with pytest.raises(ConfigurationError, match=f"0900_sales in {bad};"):
        migrator.verify()

    rows_of(database_url, f"DROP TABLE {bad}.sales")
    done = names(migrator.up())
    assert done[0] == f"0900_sales in {bad}"
    later = [line for line in done[1:] if line.startswith(f"{more} ")]
    assert sorted(later) == sorted(f"{more} in {schema}" for schema in places.values())
    assert {line.partition(" ")[0] for line in done[1:]} == {*after_sales(folder)}
    migrator.verify()


def test_all_is_taken_back_and_applied_again(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """One step is one migration, in every schema that has it."""
    list(migrator.up())
    before, steps = tables(database_url), len(of_each(folder))
    more = add(folder, 9000)
    assert names(migrator.up(count=1)) == [f"{more} in {schema}" for schema in places.values()]
    assert all("more_9000" in found for found in tables(database_url).values())
    assert names(migrator.down()) == [f"{more} in {schema}" for schema in places.values()]
    assert tables(database_url) == before
    back = names(migrator.down(count=steps + 1))
    assert len(back) == steps * len(places) + 1  # one is for what is shared
    assert all(found == {"schema_migrations"} for found in tables(database_url).values())
    for file in folder.glob(f"{more}.*"):
        file.unlink()
    list(migrator.up())
    assert tables(database_url) == before
    migrator.verify()


def test_what_cannot_be_taken_back_in_one_schema_is_taken_back_in_the_others(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """The error names the schema, and the next run takes back what is left."""
    list(migrator.up())
    for _ in after_sales(folder):
        list(migrator.down())
    bad = places[BOB]
    rows_of(database_url, f"CREATE VIEW {bad}.by_hand AS SELECT id FROM {bad}.sales")
    with pytest.raises(ConfigurationError, match=r"0900_sales\.down\.sql") as failed:
        list(migrator.down())
    assert bad in str(failed.value)
    assert {schema for schema, found in tables(database_url).items() if "sales" in found} == {bad}
    rows_of(database_url, f"DROP VIEW {bad}.by_hand")
    assert names(migrator.down()) == [f"0900_sales in {bad}"]


def test_a_migration_whose_files_are_gone_is_not_passed_over(
    migrator: Migrator, folder: Path, database_url: str
) -> None:
    """Taking back the one before it would pull the floor from under it."""
    more = add(folder, 9000)
    list(migrator.up())
    before = tables(database_url)
    for file in folder.glob(f"{more}.*"):
        file.unlink()
    with pytest.raises(ConfigurationError, match=f"tenant_.*: {more} is applied, and its files"):
        list(migrator.down())
    assert tables(database_url) == before


def test_a_hole_in_the_history_of_a_tenant_is_refused(migrator: Migrator, folder: Path) -> None:
    """Before a file of any kind: what all share comes after it as well."""
    more = add(folder, 9000)
    add(folder, 9001, shared=True)
    list(migrator.up())
    migrator.verify()
    for file in folder.glob(f"{more}.*"):
        file.unlink()
    for look in (migrator.pending, migrator.verify, lambda: list(migrator.up())):
        with pytest.raises(ConfigurationError, match=f"^tenant_.*: {more} is applied, and its"):
            look()


def test_a_file_that_is_for_others_now_is_refused(migrator: Migrator, folder: Path) -> None:
    """It would be applied to what all share."""
    more = add(folder, 9000)
    list(migrator.up())
    file = folder / f"{more}.up.sql"
    file.write_text(file.read_text("utf-8").replace("-- applies to: each tenant\n", ""), "utf-8")
    with pytest.raises(ConfigurationError, match=f"^tenant_.*: .*{more}.up.sql was changed after"):
        list(migrator.up())


def test_the_service_changes_no_schema_and_no_history(
    migrator: Migrator, places: dict[UUID, str], database_url: str
) -> None:
    """It reads and writes rows, and may look which migrations there are."""
    list(migrator.up())
    for schema in places.values():
        history = f"'{SERVICE_ROLE}', '{schema}.schema_migrations'"
        assert rows_of(
            database_url,
            f"SELECT has_schema_privilege('{SERVICE_ROLE}', '{schema}', 'USAGE'), "
            f"has_schema_privilege('{SERVICE_ROLE}', '{schema}', 'CREATE'), "
            f"has_table_privilege({history}, 'SELECT'), "
            f"has_table_privilege({history}, 'INSERT, UPDATE, DELETE, TRUNCATE'), "
            f"has_table_privilege('{SERVICE_ROLE}', '{schema}.sales', 'UPDATE')",
        ) == [(True, False, True, False, True)]


async def test_a_tenant_without_a_schema_finds_no_tables(
    places: dict[UUID, str], database_url: str
) -> None:
    """Rather than those of somebody else."""
    async with Manager(
        DatabaseSettings(database_url=database_url, pool_size=1), Metrics(), role=SERVICE_ROLE
    ) as manager:
        with tenant_scope(ADA), pytest.raises(DatabaseError, match="does not exist") as refused:
            async with manager.transaction("test", read_only=True):
                await Sales(manager).page()
    assert refused.value.sqlstate == "42P01"


def test_a_schema_can_be_made_by_somebody_who_was_interrupted(
    migrator: Migrator, places: dict[UUID, str], folder: Path
) -> None:
    """Each step is committed by itself, and the next run goes on behind the last one."""
    steps = migrator.up()
    first, _ = next(steps)
    del steps
    assert first == f"0003_inbox in {places[ADA]}"
    done = names(migrator.up())
    assert first not in done
    assert len(done) == len(of_each(folder)) * len(NEW) - 1
    migrator.verify()


@pytest.mark.parametrize("change", ["SET search_path = public", "SET ROLE pg_monitor", "RESET ALL"])
def test_what_a_migration_sets_reaches_no_other_schema(
    migrator: Migrator,
    places: dict[UUID, str],
    folder: Path,
    database_url: str,
    change: str,
) -> None:
    """Each schema gets its own tables, and the history of each is in it."""
    list(migrator.up())
    before = rows_of(database_url, "SELECT count(*) FROM public.schema_migrations")
    more = [
        add(folder, 9000, f"CREATE TABLE more_9000 (id int); {change};"),
        add(folder, 9001),
    ]
    assert len(names(migrator.up())) == len(more) * len(places)
    assert names(migrator.up()) == []
    for schema, found in tables(database_url).items():
        assert {"more_9000", "more_9001"} <= found
        history = f"SELECT id FROM {schema}.schema_migrations WHERE id ~ '^9' ORDER BY id"
        assert rows_of(database_url, history) == [(each,) for each in more]
    assert rows_of(database_url, "SELECT count(*) FROM public.schema_migrations") == before


@pytest.mark.parametrize("late_is_shared", [True, False])
@pytest.mark.parametrize("newer_is_shared", [True, False])
def test_a_number_that_comes_too_late_is_refused_in_every_schema(
    migrator: Migrator,
    places: dict[UUID, str],
    folder: Path,
    *,
    late_is_shared: bool,
    newer_is_shared: bool,
) -> None:
    """Also where one of the two is for what all share; both numbers are of one sale."""
    list(migrator.up())
    newer = add(folder, 9001, shared=newer_is_shared)
    list(migrator.up())
    late = add(folder, 9000, shared=late_is_shared)
    for look in (migrator.pending, migrator.verify, lambda: list(migrator.up())):
        with pytest.raises(ConfigurationError, match=f"{late} is pending, but {newer} is") as told:
            look()
    assert "call its files 9002_more" in str(told.value)


def test_a_tenant_that_comes_later_gets_the_older_ones(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """Though newer ones are applied elsewhere; also when it is interrupted in between."""
    add(folder, 9000)
    add(folder, 9001, shared=True)
    add(folder, 9002)
    list(migrator.up())
    eve = UUID(int=77)
    sql = "INSERT INTO tenants (id, name) VALUES (%s, 'later')"
    rows_of(database_url, sql, (str(eve),))
    for expected in of_each(folder):
        assert f"{expected} in tenant_{eve.hex}" in names(migrator.up(count=1))
    assert names(migrator.up()) == []
    assert tables(database_url)[f"tenant_{eve.hex}"] == tables(database_url)[places[ADA]]


def test_an_applied_file_that_was_changed_is_refused_in_every_direction(
    migrator: Migrator, places: dict[UUID, str], folder: Path
) -> None:
    """It names a schema that it was applied to, and nothing is taken back anywhere."""
    more = add(folder, 9000)
    list(migrator.up())
    add(folder, 9000, "CREATE TABLE more_9000 (id bigint);")
    for look in (migrator.pending, migrator.verify, lambda: list(migrator.down())):
        with pytest.raises(
            ConfigurationError, match=rf"tenant_.*{more}\.up\.sql was changed after"
        ):
            look()
    add(folder, 9000)
    assert names(migrator.down()) == [f"{more} in {schema}" for schema in places.values()]


def test_a_statement_of_its_own_goes_through_every_schema(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """Where it fails nothing is left behind, and `repair` does what is left, in each schema."""
    list(migrator.up())
    bad = places[BOB]
    rows_of(
        database_url,
        f"INSERT INTO {bad}.inbox (consumer, source, id, type, payload_hash) "
        "VALUES ('a', 'b', '1', 'c', ''), ('a', 'b', '2', 'c', '')",
    )
    index = add(folder, 9000, "CREATE UNIQUE INDEX CONCURRENTLY more ON inbox (type);")
    (folder / f"{index}.down.sql").write_text("DROP INDEX CONCURRENTLY more;\n", "utf-8")
    with pytest.raises(ConfigurationError, match=f"{bad}: .*could not create unique index"):
        list(migrator.up())
    found = migrator.findings()
    assert len(found) == 1
    assert found[0].startswith(f"{bad}: {index} could not be applied at")
    assert [each.id for each in migrator.pending()] == [index]
    rows_of(database_url, f"DELETE FROM {bad}.inbox WHERE id = '2'")
    ((place, _, done),) = (each.partition(": ") for each in migrator.repair())
    assert place == bad
    assert done.startswith(f"{index}: applied (")
    assert migrator.findings() == []
    assert len(names(migrator.down())) == len(places)


def test_a_contract_waits_for_the_backfill_of_each_schema(
    migrator: Migrator, places: dict[UUID, str], folder: Path, database_url: str
) -> None:
    """One tenant without rows, one that is done, one that is not: only that one is refused."""
    list(migrator.up())
    values = "VALUES ('a', 'b', '1', 'c', '')"
    for tenant in (ADA, BOB):
        schema = places[tenant]
        columns = "(consumer, source, id, type, payload_hash)"
        rows_of(database_url, f"INSERT INTO {schema}.inbox {columns} {values}")
        rows_of(
            database_url,
            f"CREATE TABLE {schema}.backfill_run (LIKE public.backfill_run INCLUDING ALL)",
        )
        rows_of(
            database_url,
            f"INSERT INTO {schema}.backfill_run (name, state, batch_size, checksum) "
            f"VALUES ('fill', '{'completed' if tenant == ADA else 'running'}', 1, '')",
        )
    contract = add(folder, 9000, "-- requires: backfill fill\nALTER TABLE inbox ADD more int;")
    with pytest.raises(ConfigurationError, match="the backfill fill, which is running") as refused:
        list(migrator.up())
    assert str(refused.value).count("requires the backfill") == 1
    assert f"{places[BOB]}: " in str(refused.value)
    rows_of(database_url, f"UPDATE {places[BOB]}.backfill_run SET state = 'completed'")
    assert names(migrator.up()) == [f"{contract} in {places[BOB]}"]


def test_old_histories_are_carried_over_in_each_schema(
    migrator: Migrator, places: dict[UUID, str], database_url: str
) -> None:
    """Also where nothing is pending; and they are read before."""
    list(migrator.up())
    for schema in ("public", *places.values()):
        columns = ("direction", "status", "attempts", "waited_ms", "applied_by", "app_version")
        drop = ", ".join(f"DROP {each}" for each in (*columns, "error"))
        rows_of(database_url, f"ALTER TABLE {schema}.schema_migrations {drop}")
    migrator.verify()
    assert migrator.findings() == []
    assert names(migrator.up()) == []
    carried = "SELECT count(*) FROM pg_attribute WHERE attname = 'waited_ms'"
    assert rows_of(database_url, carried) == [(len(places) + 1,)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [12, pytest.param(500, marks=pytest.mark.long)])
def test_a_runner_that_is_killed_between_tenants_is_followed_by_one_that_goes_on(
    migrator: Migrator, folder: Path, database_url: str, count: int
) -> None:
    """Where the first one was: none twice, each by name."""
    rows_of(
        database_url,
        "INSERT INTO tenants (id, name) SELECT gen_random_uuid(), n FROM generate_series(1, %s) n",
        (count,),
    )
    list(migrator.up())
    more = add(folder, 9000, "ALTER TABLE inbox ADD more int;")
    project = Migrations(database_url, folder)
    having = (
        "SELECT relnamespace::regnamespace::text FROM pg_class "
        "JOIN pg_attribute ON attrelid = pg_class.oid WHERE attname = 'more'"
    )
    middle = sorted(tables(database_url))[count // 2]
    with holding(database_url, f"SELECT FROM {middle}.inbox"):
        first = run_command(project, "migrate", "up")
        waiting = (
            "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'relation' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        wait_until(lambda: rows_of(database_url, waiting), within=400)
        first.kill()
        first.communicate()
    done = {schema for (schema,) in rows_of(database_url, having)}
    assert 0 < len(done) < count
    assert middle not in done
    next_one = run_command(project, "migrate", "up")
    said, told = next_one.communicate(timeout=400)
    assert next_one.returncode == 0, told
    for schema in tables(database_url):
        assert said.count(f"{more} in {schema}") == (schema not in done)
    migrator.verify()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_hundreds_of_tenants_take_as_long_each_as_a_few(
    migrator: Migrator, folder: Path, database_url: str
) -> None:
    """The time for each does not grow."""
    rows_of(
        database_url,
        "INSERT INTO tenants (id, name) SELECT gen_random_uuid(), n FROM generate_series(1, 500) n",
    )
    list(migrator.up())
    add(folder, 9000, "ALTER TABLE inbox ADD more int;")
    began = time.monotonic()
    times = [time.monotonic() - began for _ in migrator.up()]
    assert len(times) == 501
    assert times[-1] - times[-51] < 3 * (times[99] - times[49])
