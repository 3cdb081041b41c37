"""Depots, parcels, what is in them, and where they were."""

import peewee
from peewee import SQL, Check
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.database.table import Table


class Depot(Table):
    """A place that parcels go through; there are a few dozen."""

    code = peewee.CharField(max_length=3, primary_key=True)
    city = peewee.TextField(constraints=[SQL("DEFAULT ''")])

    class Meta:
        table_name = "depots"
        not_personal = ("code", "city")


class Parcel(Table):
    """A parcel on its way."""

    id = peewee.UUIDField(primary_key=True)
    depot = peewee.ForeignKeyField(Depot, backref="parcels")
    depot_id: peewee.CharField
    state = peewee.TextField(constraints=[Check("state IN ('registered', 'moving', 'delivered')")])
    weight_grams = peewee.IntegerField(constraints=[Check("weight_grams > 0")])
    contents = peewee.JSONField()
    signature = peewee.TextField(null=True)
    registered_at = DateTimeTZField()
    delivered_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "parcels"
        personal = ("signature",)
        free_text = ("contents",)
        not_personal = ("state",)
        indexes = ((("registered_at", "id"), False),)
        constraints = (Check("(state = 'delivered') = (delivered_at IS NOT NULL)"),)


class Scan(Table):
    """That a parcel was seen in a depot."""

    id = peewee.UUIDField(primary_key=True)
    parcel = peewee.ForeignKeyField(Parcel, backref="scans", on_delete="CASCADE")
    parcel_id: peewee.UUIDField
    depot = peewee.ForeignKeyField(Depot)
    scanned_at = DateTimeTZField()

    class Meta:
        table_name = "parcel_scans"
        indexes = ((("parcel", "scanned_at"), False),)
