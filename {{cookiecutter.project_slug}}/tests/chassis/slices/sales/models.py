"""The tables of this slice, with their keys, references, checks and indexes.

`migrations/` makes them; the readiness checks compare both.
"""

import peewee
from peewee import SQL, Check
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.database.table import Table

NOW = [SQL("DEFAULT now()")]


class Buyer(Table):
    """Somebody who buys, known by email."""

    id = peewee.UUIDField(primary_key=True)
    email = peewee.TextField(unique=True, constraints=[Check("length(email) BETWEEN 3 AND 320")])
    created_at = DateTimeTZField(constraints=NOW)

    class Meta:
        table_name = "buyers"
        personal = ("email",)


class Sale(Table):
    """A booked sale."""

    id = peewee.UUIDField(primary_key=True)
    buyer = peewee.ForeignKeyField(Buyer, backref="sales")
    buyer_id: peewee.UUIDField
    status = peewee.TextField(constraints=[Check("status IN ('booked', 'cancelled')")])
    currency = peewee.TextField(constraints=[Check("currency ~ '^[A-Z]{3}$'")])
    total_cents = peewee.BigIntegerField(constraints=[Check("total_cents >= 0")])
    made_at = DateTimeTZField()
    booked_at = DateTimeTZField(constraints=NOW)

    class Meta:
        table_name = "sales"
        not_personal = ("status", "currency")
        indexes = ((("made_at", "id"), False),)


class Line(Table):
    """One article of a sale."""

    sale = peewee.ForeignKeyField(Sale, backref="lines")
    sale_id: peewee.UUIDField
    position = peewee.IntegerField(constraints=[Check("position > 0")])
    sku = peewee.TextField(constraints=[Check("sku <> ''")])
    quantity = peewee.IntegerField(constraints=[Check("quantity > 0")])
    unit_price_cents = peewee.BigIntegerField(constraints=[Check("unit_price_cents >= 0")])

    class Meta:
        table_name = "sale_lines"
        not_personal = ("sku",)
        primary_key = peewee.CompositeKey("sale", "position")


class JournalEntry(Table):
    """Something that happened, for those who ask later."""

    id = peewee.UUIDField(primary_key=True)
    event_type = peewee.TextField()
    occurred_at = DateTimeTZField(constraints=NOW)
    payload = peewee.JSONField()

    class Meta:
        table_name = "journal"
        free_text = ("payload",)
        not_personal = ("event_type",)
        indexes = ((("event_type", "occurred_at"), False),)
