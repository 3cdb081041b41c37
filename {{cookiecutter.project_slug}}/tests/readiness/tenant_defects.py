# feature: row, rls, schema
"""Deliberate defects in how tenants are kept apart."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from acme_orders.chassis.process.service import Service
from acme_orders.orders.messages import OrderPlaced
from acme_orders.orders.repository import Orders, Revenue


class Reading(Orders):
    """A read that forgets the tenant."""

    table = "orders"

    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Sum up the orders of everybody."""
        with self.manager.named("orders.revenue"):
            sql = f"SELECT sum(total_cents) FROM {self.table} WHERE placed_at >= %s LIMIT %s"
            rows: Any = await self.manager.fetch_sql(sql, (since, limit))
            return list(rows)


class ReadingElsewhere(Reading):
    """A read that names a schema, and so escapes the one that was chosen."""

    table = "tenant_00000000000000000000000000000002.orders"


class Failing(Orders):
    """A read that ends with an error for everybody, and so shows nothing."""

    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Fail."""
        with self.manager.named("orders.revenue"):
            rows: Any = await self.manager.fetch_sql("SELECT %s::date, %s / 0", (since, limit))
            return list(rows)


class Writing(Orders):
    """A write that forgets the tenant."""

    async def add_all(self, orders: Sequence[OrderPlaced]) -> list[bool]:
        """Change the orders of everybody."""
        added = await super().add_all(orders)
        with self.manager.named("orders.add"):
            await self.manager.fetch_sql("UPDATE orders SET status = 'cancelled' RETURNING id")
        return added


def becomes(careless: type[Orders]) -> Any:
    """Put a careless repository into each assembled service, with the same registered queries."""

    def prepare(service: Service) -> None:
        for query, method in Orders.queries():
            getattr(careless, method).__dict__["query"] = query
        for repository in service.repositories:
            if isinstance(repository, Orders):
                repository.__class__ = careless

    return prepare


CARELESS: dict[str, type[Orders]] = {"read that fails": Failing}
ALTERED: dict[str, str] = {}
# feature: row, rls {
KEY = "ALTER TABLE orders ADD UNIQUE (id)"
CARELESS |= {"read without tenant": Reading, "write without tenant": Writing}
ALTERED |= {
    "key without tenant": KEY,
    "reference without tenant": f"{KEY}; ALTER TABLE order_lines ADD FOREIGN KEY (order_id) "
    "REFERENCES orders (id)",
}
# feature: row, rls }
# feature: rls {
ALTERED |= {
    "policy for everybody": "ALTER POLICY tenant ON orders USING (true)",
    "policy replaced": "DROP POLICY tenant ON audit_log; "
    "CREATE POLICY everybody ON audit_log USING (true)",
    "owner exempt": "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
    "policies off": "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
}
# feature: rls }
CARELESS |= {"schema named": ReadingElsewhere}  # feature: schema
