# feature: rls
"""A backfill works for all tenants on purpose, and says so where policies would hide rows of it."""

from pathlib import Path

import pytest

from acme_orders.chassis.backfills import places
from acme_orders.chassis.backfills.runner import Failed

from readiness.two_tenants import TENANT
from tests.chassis.backfills.tickets import Tickets
from tests.chassis.tenancy.several import ADA, register

if not hasattr(places, "SYSTEM_ROLE"):
    pytest.skip("no policies keep tenants apart in this project", allow_module_level=True)


def test_rows_of_all_tenants_are_changed(database_url: str, tmp_path: Path) -> None:
    """FORCE is on; without the policy of the system role it is refused."""
    tickets = Tickets(database_url, tmp_path)
    tickets.write()
    register(database_url, [ADA])
    tickets.sql("ALTER TABLE ticket ADD tenant_id uuid")
    tickets.add(1000)
    whose = "UPDATE ticket SET tenant_id = CASE WHEN id > 500 THEN %s::uuid ELSE %s::uuid END"
    tickets.sql(whose, str(ADA), str(TENANT))
    tickets.sql(
        "ALTER TABLE ticket ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
        "CREATE POLICY tenant ON ticket USING (tenant_id = (SELECT NULLIF("
        "current_setting('app.tenant_id', true), '')::uuid)); "
        "GRANT SELECT, UPDATE ON ticket TO acme_orders_system"
    )
    with pytest.raises(Failed, match="CREATE POLICY system ON ticket TO acme_orders_system"):
        tickets.run()
    tickets.sql("CREATE POLICY system ON ticket TO acme_orders_system USING (true)")
    tickets.run()
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note = upper(title)") == [(1000,)]
