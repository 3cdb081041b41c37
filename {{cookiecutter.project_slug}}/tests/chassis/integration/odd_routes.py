# feature: http_api
"""Routes that do more than one plain transaction."""

from uuid import uuid4

from fastapi import APIRouter, HTTPException, Response

from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.database.settings import Timeouts
from acme_orders.chassis.messaging.outbox import Outbox

from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade

SALE = SaleMade.model_validate(SaleMade.example())


class Odd:
    """A slice of its own.

    Args:
        manager: of the database.
        outbox: where its effects go.
    """

    def __init__(self, manager: Manager, outbox: Outbox) -> None:
        self._manager, self._outbox = manager, outbox

    def router(self) -> APIRouter:
        """Each method that is public, under its name."""
        routes = APIRouter(prefix="/odd")
        for each in (self.twice, self.caught, self.late, self.refused, self.serializable):
            routes.post(f"/{each.__name__}")(each)
        for other in (self.outside, self.reading):
            routes.post(f"/{other.__name__}")(other)
        routes.post("/run", status_code=201)(self.run)
        routes.post("/nothing", status_code=204)(self.nothing)
        routes.patch("/patched")(self.patched)
        return routes

    async def announce(self) -> None:
        """An effect."""
        await self._outbox.add(SALE_MADE, SALE)

    async def twice(self) -> str:
        """Two transactions, and one that only reads in between."""
        async with self._manager.transaction("first"):
            await self.announce()
        async with self._manager.transaction("between", read_only=True, timeouts=Timeouts()):
            pass
        async with self._manager.transaction("second", timeouts=Timeouts(lock_timeout=1)):
            await self.announce()
        return "both"

    async def caught(self) -> str:
        """A transaction that fails, and one that does not."""
        try:
            await self._fail()
        except LookupError:
            async with self._manager.transaction("works"):
                await self.announce()
        return "one"

    async def late(self) -> None:
        """An error after the effect."""
        async with self._manager.transaction("first"):
            await self.announce()
        raise ZeroDivisionError

    async def refused(self, *, effect: bool) -> None:
        """A refusal, with an effect or without one."""
        if effect:
            async with self._manager.transaction("first"):
                await self.announce()
        raise HTTPException(409, "no")

    async def serializable(self) -> str:
        """A stronger isolation than that of most."""
        async with self._manager.transaction("first"):
            await self.announce()
        async with self._manager.transaction("second", isolation="SERIALIZABLE"):
            ((level,),) = await self._manager.fetch_sql("SHOW transaction_isolation")
        return str(level)

    async def run(self, response: Response) -> None:
        """A unit of work that may run again, and a header."""
        response.headers["Location"] = "/odd/run/1"
        await self._manager.run("unit", self._unit)

    async def nothing(self) -> None:
        """No transaction, and no content."""

    async def outside(self) -> None:
        """A write outside of a transaction, which is a bug."""
        await self.announce()

    async def reading(self) -> None:
        """A write in a transaction that only reads, which is a bug."""
        async with self._manager.transaction("reads", read_only=True):
            await self.announce()

    async def patched(self) -> str:
        """Not only POST."""
        async with self._manager.transaction("patch"):
            await self.announce()
        return str(uuid4())

    @retryable
    async def _unit(self) -> None:
        await self.announce()

    async def _fail(self) -> None:
        async with self._manager.transaction("fails"):
            await self.announce()
            raise LookupError
