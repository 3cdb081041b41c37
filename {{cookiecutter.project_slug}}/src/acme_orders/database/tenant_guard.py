# feature: row, rls, schema
"""Looks at every statement in the scope of a tenant before it is sent."""

from typing import Literal

import structlog

from acme_orders.database.table import Table
from acme_orders.database.tenancy import current_scope
from acme_orders.database.tenant_lint import violations
from acme_orders.errors import TransactionMisused
from acme_orders.observability.metrics import Metrics

Mode = Literal["off", "log", "raise"]

log = structlog.get_logger()


class TenantGuard:
    """Refuses or reports SQL that is not kept to one tenant.

    Args:
        mode: `off`, `log` or `raise`.
        metrics: where violations are counted.
    """

    def __init__(self, mode: Mode, metrics: Metrics) -> None:
        self._mode, self._metrics = mode, metrics
        self._tables: frozenset[str] | None = None

    def look_at(self, sql: str, query: str) -> None:
        """Look at a statement.

        Raises:
            TransactionMisused: in mode `raise`, if it is not kept to one tenant.
        """
        if self._mode == "off" or current_scope().tenant is None:
            return
        if self._tables is None:  # at the first statement, when every model has been imported
            self._tables = frozenset(tenant_tables())
        if not (found := violations(sql, self._tables)):
            return
        self._metrics.db_guard_violations.labels("tenant").inc()
        if self._mode == "raise":
            raise TransactionMisused(f"{query}: {'; '.join(found)}")
        log.error("database.tenant_violation", query=query, found=found)


def tenant_tables(model: type[Table] = Table) -> set[str]:
    """The names of all tables that belong to tenants."""
    tables: set[str] = set()
    for each in model.__subclasses__():
        tables |= {each._meta.table_name, *tenant_tables(each)}  # noqa: SLF001
    return tables
