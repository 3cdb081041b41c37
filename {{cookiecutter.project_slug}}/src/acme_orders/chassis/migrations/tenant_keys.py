# feature: row, rls
"""Keys, references and policies that keep the rows of a table to one tenant."""

from collections.abc import Iterable, Sequence
from typing import Any

import peewee

from acme_orders.chassis.migrations.keys import Keys

_OWNER = "FOREIGN KEY (tenant_id) REFERENCES tenants (id)"
# feature: rls {
_POLICIES = """\
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {table}
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
CREATE POLICY system ON {table} TO acme_orders_system USING (true);"""
# feature: rls }


class TenantKeys(Keys):
    """Those of a tenant's table begin with the tenant: no row refers to one of another tenant."""

    first = "tenant_id"

    def within(self, model: Any, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns of a key or an index; a number that PostgreSQL gives out is unique alone."""
        key = model._meta.primary_key  # noqa: SLF001
        numbered = isinstance(key, peewee.AutoField) and tuple(columns) == (key.column_name,)
        return tuple(columns) if numbered or not _is_kept(model) else (self.first, *columns)

    def referring(
        self, model: Any, other: Any, column: str, referred: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns of a foreign key, here and there."""
        there = self.within(other, (referred,))
        return ((self.first, column) if len(there) > 1 and _is_kept(model) else (column,)), there

    def owner(self, model: Any, key: Iterable[str]) -> str | None:
        """A reference to the registry; a child whose key has its parent's needs none."""
        references = model._meta.refs  # noqa: SLF001
        parents = {field.column_name for field in references if _is_kept(field.rel_model)}
        return _OWNER if _is_kept(model) and not parents.intersection(key) else None

    # feature: rls {
    def policies(self, model: Any, table: str) -> list[str]:
        """A transaction sees the rows of its tenant, and the system role all of them."""
        return [_POLICIES.format(table=table)] if _is_kept(model) else []

    # feature: rls }


def _is_kept(model: Any) -> bool:
    return TenantKeys.first in model._meta.columns  # noqa: SLF001
