# feature: schema
"""A backfill goes through the schema of each tenant, and is told of each."""

from pathlib import Path

import pytest

from acme_orders.chassis.backfills import places
from acme_orders.chassis.backfills.control import everywhere
from acme_orders.chassis.backfills.runner import Failed
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.database.access import SERVICE_ROLE

from readiness.scratch import rows_of
from tests.chassis.backfills.tickets import FILL, TABLE, Tickets
from tests.chassis.tenancy.several import ADA, BOB, EVE, register, schemas

if not hasattr(places, "_SCHEMAS"):
    pytest.skip("tenants share one schema in this project", allow_module_level=True)


def test_each_schema_is_gone_through(database_url: str, tmp_path: Path) -> None:
    """One that fails stops no other; the next run goes on there alone; a new tenant comes later."""
    register(database_url, [ADA, BOB])
    where = schemas(database_url)
    for schema in where.values():
        table = TABLE.partition("CREATE FUNCTION")[0]
        rows_of(database_url, f"SET search_path = {schema}; {table}")
        filled = "SELECT number, 'title ' || number FROM generate_series(1, 3000) AS number"
        rows_of(database_url, f"INSERT INTO {schema}.ticket (id, title) {filled}")
    tickets = Tickets(database_url, tmp_path)
    tickets.sql("DROP TABLE ticket")
    tickets.write(f"{FILL}    each_tenant = True\n")
    tickets.sql(f"ALTER TABLE {where[ADA]}.ticket RENAME TO hidden")
    with pytest.raises(Failed, match=f"{where[ADA]}: .*there is no table ticket"):
        tickets.run()
    states = {place: state for place, state in _states(database_url) if place != "public"}
    assert states == {**dict.fromkeys(where.values(), "completed"), where[ADA]: "failed"}
    tickets.sql(f"ALTER TABLE {where[ADA]}.hidden RENAME TO ticket")
    assert {step.place for step in tickets.run()} == {where[ADA]}
    assert {state for _, state in _states(database_url)} == {"completed"}
    for schema in where.values():
        left = f"SELECT count(*) FROM {schema}.ticket WHERE note IS DISTINCT FROM upper(title)"
        assert tickets.sql(left) == [(0,)]
        writes = f"has_table_privilege('{SERVICE_ROLE}', '{schema}.backfill_run', 'UPDATE')"
        assert tickets.sql(f"SELECT {writes}") == [(False,)]
    assert tickets.run() == []
    register(database_url, [EVE])
    new = schemas(database_url)[EVE]
    rows_of(database_url, f"CREATE TABLE {new}.ticket (LIKE {where[ADA]}.ticket INCLUDING ALL)")
    assert {step.place for step in tickets.run()} == {new}


def _states(url: str) -> list[tuple[str, str]]:
    with backfill_session(url) as session:
        return [(each.place, each.state) for each in everywhere(session)]
