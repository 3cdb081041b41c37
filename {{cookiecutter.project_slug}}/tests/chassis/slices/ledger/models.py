"""Accounts and what was booked on them."""

import peewee
from peewee import SQL, Check

from acme_orders.chassis.database.table import Table


class AccountRow(Table):
    """An account and its balance, which may not fall below its limit."""

    number = peewee.TextField(primary_key=True)
    balance = peewee.DecimalField(max_digits=16, decimal_places=2, constraints=[SQL("DEFAULT 0")])
    credit = peewee.DecimalField(
        max_digits=16, decimal_places=2, constraints=[SQL("DEFAULT 1000"), Check("credit >= 0")]
    )

    class Meta:
        table_name = "accounts"
        personal = ("number",)
        constraints = (Check("balance >= -credit"),)


class Entry(Table):
    """One side of a payment; both sides add up to nothing."""

    payment_id = peewee.UUIDField()
    account = peewee.ForeignKeyField(AccountRow, backref="entries", on_update="CASCADE")
    amount = peewee.DecimalField(max_digits=16, decimal_places=2)
    booked_on = peewee.DateField()
    note = peewee.TextField(null=True)

    class Meta:
        table_name = "ledger_entries"
        free_text = ("note",)
        primary_key = peewee.CompositeKey("payment_id", "account")
        indexes = ((("account", "booked_on", "payment_id"), False),)


Entry.add_index(Entry.index(Entry.booked_on, using="brin", name="ledger_entries_booked_on"))
