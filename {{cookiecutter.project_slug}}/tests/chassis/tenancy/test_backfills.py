# feature: rls
"""A backfill works for all tenants on purpose, and says so where policies would hide rows of it."""

import re
from pathlib import Path

import pytest

from acme_orders.chassis.backfills import places
from acme_orders.chassis.backfills.runner import Failed
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE

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
        f"GRANT SELECT, UPDATE ON ticket TO {SYSTEM_ROLE}"
    )
    policy = f"CREATE POLICY system ON ticket TO {SYSTEM_ROLE} USING (true)"
    with pytest.raises(Failed, match=re.escape(policy)):
        tickets.run()
    tickets.sql(policy)
    tickets.run()
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note = upper(title)") == [(1000,)]
