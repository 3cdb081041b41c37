"""The books in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import peewee

from acme_orders.chassis.database.repository import Repository, query

from tests.chassis.slices.ledger.messages import PaymentSubmitted
from tests.chassis.slices.ledger.models import AccountRow, Entry

_EXAMPLE = PaymentSubmitted.model_validate(PaymentSubmitted.example())


@dataclass(frozen=True)
class Month:
    """What an account received and paid in one month."""

    month: date
    received: Decimal
    paid: Decimal


class Books(Repository):
    """Books payments; balances and entries always agree."""

    @query("ledger.open", traffic="high", writes=True, example={"accounts": ["ADA-1", "BOB-2"]})
    async def open(self, accounts: Sequence[str]) -> None:
        """Open those accounts that are not there yet, in the order of their numbers."""
        rows = [{"number": number} for number in sorted(set(accounts))]
        await self.insert_all_once(AccountRow, rows, AccountRow.number)

    @query("ledger.is_booked", traffic="high", example={"payment": _EXAMPLE})
    async def is_booked(self, payment: PaymentSubmitted) -> bool:
        """Whether this payment is in the books."""
        found = await self.fetch_one(
            Entry.select(Entry.payment_id).where(
                Entry.payment_id == payment.payment_id, Entry.account == payment.payer
            )
        )
        return found is not None

    @query("ledger.book", traffic="high", writes=True, example={"payment": _EXAMPLE})
    async def book(self, payment: PaymentSubmitted) -> None:
        """Move the amount; the account with the lower number first, as every payment does."""
        moves = {payment.payer: -payment.amount, payment.payee: payment.amount}
        for number in sorted(moves):
            await self.manager.execute(
                AccountRow.update(balance=AccountRow.balance + moves[number]).where(
                    AccountRow.number == number
                )
            )
        rows = [
            {
                "payment_id": payment.payment_id,
                "account_id": number,
                "amount": moves[number],
                "booked_on": payment.booked_on,
                "note": payment.note,
            }
            for number in sorted(moves)
        ]
        await self.insert_all(Entry, rows)

    @query("ledger.balance", traffic="high", example={"account": "ADA-1"})
    async def balance(self, account: str) -> Decimal | None:
        """What an account has."""
        row = await self.fetch_one(
            AccountRow.select(AccountRow.balance).where(AccountRow.number == account)
        )
        return None if row is None else row["balance"]

    @query("ledger.months", example={"account": "ADA-1"})
    async def months(self, account: str, *, limit: int = 120) -> Sequence[Month]:
        """What came and went in each month: a report."""
        month: Any = peewee.fn.date_trunc("month", Entry.booked_on).cast("date")
        return await self.fetch_all(
            Entry.select(
                month.alias("month"),
                peewee.fn.coalesce(
                    peewee.fn.sum(Entry.amount).filter(Entry.amount > 0), Decimal(0)
                ).alias("received"),
                peewee.fn.coalesce(
                    peewee.fn.sum(Entry.amount * -1).filter(Entry.amount < 0), Decimal(0)
                ).alias("paid"),
            )
            .where(Entry.account == account)
            .group_by(month)
            .order_by(month)
            .limit(limit),
            Month,
        )
