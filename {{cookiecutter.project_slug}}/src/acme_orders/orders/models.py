"""The tables of this slice. Constraints and indexes are written in `migrations/`."""

import peewee
from playhouse.postgres_ext import DateTimeTZField, JSONField

from acme_orders.database.table import Table


class Customer(Table):
    """Somebody who orders, known by email."""

    id = peewee.UUIDField(primary_key=True)
    email = peewee.TextField(unique=True)

    class Meta:
        """The name of the table."""

        table_name = "customers"


class Order(Table):
    """An accepted order."""

    id = peewee.UUIDField(primary_key=True)
    customer_id = peewee.UUIDField()
    status = peewee.TextField()
    currency = peewee.TextField()
    total_cents = peewee.BigIntegerField()
    placed_at = DateTimeTZField()

    class Meta:
        """The name of the table."""

        table_name = "orders"


class Line(Table):
    """One article of an order."""

    order_id = peewee.UUIDField()
    position = peewee.IntegerField()
    sku = peewee.TextField()
    quantity = peewee.IntegerField()
    unit_price_cents = peewee.BigIntegerField()

    class Meta:
        """The name of the table and its key."""

        table_name = "order_lines"
        primary_key = peewee.CompositeKey("order_id", "position")


class AuditEntry(Table):
    """Something that happened, for those who ask later."""

    id = peewee.UUIDField(primary_key=True)
    event_type = peewee.TextField()
    payload = JSONField()

    class Meta:
        """The name of the table."""

        table_name = "audit_log"
