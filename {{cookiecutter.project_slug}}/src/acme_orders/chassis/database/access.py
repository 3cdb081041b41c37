"""What the service may do in the database: read and write rows, and nothing else."""

from acme_orders.chassis.database import session
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.errors import ConfigurationError

SERVICE_ROLE = "acme_orders_service"

_TOO_MUCH = """
SELECT 'is not ' || %s || ' (a pooler that drops startup options?)' WHERE current_user <> %s
UNION ALL
SELECT 'may write outside a transaction'
WHERE current_setting('default_transaction_read_only') <> 'on'
UNION ALL
SELECT 'is a superuser' FROM pg_roles WHERE rolname = current_user AND rolsuper
UNION ALL
SELECT 'bypasses row-level security' FROM pg_roles WHERE rolname = current_user AND rolbypassrls
UNION ALL
SELECT 'can create objects in schema ' || nspname FROM pg_namespace
WHERE nspname !~ '^pg_' AND has_schema_privilege(oid, 'CREATE')
UNION ALL
(SELECT 'owns or can truncate ' || pg_class.oid::regclass FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND (pg_has_role(relowner, 'USAGE') OR has_table_privilege(pg_class.oid, 'TRUNCATE'))
LIMIT 3)
"""


async def verify_access(lease: Lease) -> None:
    """Check that the guards hold: no mistake of ours may change the schema or empty a table.

    Raises:
        ConfigurationError: the role that sessions act as may do more than read and write rows, or
            they are not as we set them up.
    """
    session.refuse_others(dict(await lease.rows(session.SETTINGS)))
    if found := await lease.rows(_TOO_MUCH, (SERVICE_ROLE, SERVICE_ROLE)):
        ((role,),) = await lease.rows("SELECT current_user")
        raise ConfigurationError(
            f"the service acts as {role}, which {', '.join(reason for (reason,) in found)}: "
            "revoke that, and let migrations run as another role (MIGRATION_DATABASE_URL)"
        )
