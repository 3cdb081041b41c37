# feature: row, rls, schema
"""Deliberate defects in how tenants are kept apart."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from acme_orders.chassis.process.service import Service

from tests.chassis.slices.sales.messages import SaleMade
from tests.chassis.slices.sales.repository import Revenue, Sales


class Reading(Sales):
    """A read that forgets the tenant."""

    table = "sales"

    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Sum up the sales of everybody."""
        with self.manager.named("sales.revenue"):
            sql = f"SELECT sum(total_cents) FROM {self.table} WHERE made_at >= %s LIMIT %s"
            rows: Any = await self.manager.fetch_sql(sql, since, limit)
            return list(rows)


class ReadingElsewhere(Reading):
    """A read that names a schema, and so escapes the one that was chosen."""

    table = "tenant_00000000000000000000000000000002.sales"


class Failing(Sales):
    """A read that ends with an error for everybody, and so shows nothing."""

    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Fail."""
        with self.manager.named("sales.revenue"):
            rows: Any = await self.manager.fetch_sql("SELECT %s::date, %s / 0", since, limit)
            return list(rows)


class Writing(Sales):
    """A write that forgets the tenant."""

    async def add_all(self, sales: Sequence[SaleMade]) -> list[bool]:
        """Change the sales of everybody."""
        added = await super().add_all(sales)
        with self.manager.named("sales.add"):
            await self.manager.fetch_sql("UPDATE sales SET status = 'cancelled' RETURNING id")
        return added


def becomes(careless: type[Sales]) -> Any:
    """Put a careless repository into each assembled service, with the same registered queries."""

    def prepare(service: Service) -> None:
        for query, method in Sales.queries():
            getattr(careless, method).__dict__["query"] = query
        for repository in service.repositories:
            if isinstance(repository, Sales):
                repository.__class__ = careless

    return prepare


CARELESS: dict[str, type[Sales]] = {"read that fails": Failing}
ALTERED: dict[str, str] = {}
# feature: row, rls {
KEY = "ALTER TABLE sales ADD UNIQUE (id)"
CARELESS |= {"read without tenant": Reading, "write without tenant": Writing}
ALTERED |= {
    "key without tenant": KEY,
    "reference without tenant": f"{KEY}; ALTER TABLE sale_lines ADD FOREIGN KEY (sale_id) "
    "REFERENCES sales (id)",
}
# feature: row, rls }
# feature: rls {
ALTERED |= {
    "policy for everybody": "ALTER POLICY tenant ON sales USING (true)",
    "policy replaced": "DROP POLICY tenant ON journal; "
    "CREATE POLICY everybody ON journal USING (true)",
    "owner exempt": "ALTER TABLE sales NO FORCE ROW LEVEL SECURITY",
    "policies off": "ALTER TABLE sales DISABLE ROW LEVEL SECURITY",
}
# feature: rls }
CARELESS |= {"schema named": ReadingElsewhere}  # feature: schema
