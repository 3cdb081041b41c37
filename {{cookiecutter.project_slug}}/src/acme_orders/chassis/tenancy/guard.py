# feature: row, rls, schema
"""Looks at every statement in the scope of a tenant before it is sent."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import structlog

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import TransactionMisused
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.rows import foreign, found_tables
from acme_orders.chassis.tenancy.scope import current_scope

Mode = Literal["off", "log", "raise"]

log = structlog.get_logger()


class Judgement(NamedTuple):
    """What is wrong with an SQL text, and which of its constants have to be the tenant.

    Args:
        problems: one text for each.
        pins: numbers of parameters, from 0, and texts.
    """

    problems: tuple[str, ...]
    pins: tuple[int | str, ...] = ()


class TenantGuard:
    """Refuses SQL that is not kept to one tenant.

    Args:
        mode: `raise`; or `log`, to find such SQL where there is nothing to protect; or `off`, for
            the checklist, which looks by itself.
        metrics: where violations are counted.
    """

    def __init__(self, mode: Mode, metrics: Metrics) -> None:
        self._mode, self._metrics = mode, metrics
        self._found: frozenset[str] = frozenset()
        self._tables: frozenset[str] | None = None

    async def learn(self, lease: Lease) -> None:
        """Look which tables belong to tenants, whatever their models are."""
        self._found = await found_tables(lease)

    def look_at(self, sql: str, query: str, parameters: Sequence[Any]) -> None:
        """Look at a statement.

        Raises:
            TransactionMisused: in mode `raise`, if it is not kept to one tenant.
        """
        tenant = current_scope().tenant
        if self._mode == "off" or tenant is None:
            return
        if self._tables is None:  # at the first statement, when every model has been imported
            self._tables = tenant_tables() | self._found
        found, pins = judged(sql, self._tables, filled=bool(parameters))
        found = found or foreign(sql, parameters, pins, tenant)
        if not found:
            return
        self._metrics.db_guard_violations.labels("tenant").inc()
        if self._mode == "raise":
            raise TransactionMisused(f"{query}: {'; '.join(found)}")
        log.error("database.tenant_violation", query=query, found=found)


def judged(sql: str, tables: frozenset[str], *, filled: bool) -> Judgement:
    """What is wrong with one SQL text; see `chassis/tenancy/lint.py`."""
    # The parser takes a tenth of a second to import: the first statement has time for that.
    from acme_orders.chassis.tenancy import lint as tenant_lint  # noqa: PLC0415

    return tenant_lint.judged(sql, tables, filled=filled)


def tenant_tables(model: type[Table] = Table) -> frozenset[str]:
    """The names of all tables that belong to tenants."""
    tables: set[str] = set()
    for each in model.__subclasses__():
        tables |= {each._meta.table_name, *tenant_tables(each)}  # noqa: SLF001
    return frozenset(tables)
