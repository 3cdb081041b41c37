"""What the tests about blame share: sales that meet something, and what became of all sales."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, Received
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import count, eventually, rows, send, settled, sold
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade
from tests.chassis.slices.sales.repository import Sales

Meet = Callable[[Sales, str], Awaitable[object]]


def bad(mark: str = "BAD", **changes: object) -> Message:
    """A sale that meets something."""
    line = {"sku": mark, "quantity": 1, "unit_price_cents": 1}
    return sold(lines=[line], **changes)


def mark_of(sale: SaleMade) -> str:
    """What it was made with by `bad`; that of a good one says nothing."""
    return "" if sale.lines[0].sku.startswith("TEA") else sale.lines[0].sku


def meeting(service: Service, meet: Meet, *, together: bool = False) -> None:
    """Have bad sales meet something before they are stored, in a handler of many as well."""
    good, sales = service.handlers[SALE_MADE], Sales(service.manager)

    async def handle(sale: SaleMade) -> None:
        if mark := mark_of(sale):
            await meet(sales, mark)
        await good.handle(sale)

    async def handle_all(received: Sequence[Received[SaleMade]]) -> None:
        for each in received:
            if mark := mark_of(each.payload):
                await meet(sales, mark)
        assert good.handle_all is not None
        await good.handle_all(received)

    service.handlers[SALE_MADE] = Handler(SaleMade, handle, handle_all if together else None)


@dataclass(frozen=True)
class Fates:
    """What became of messages: how many were stored, and the reasons of the dead letters."""

    sales: int
    dead: Mapping[str, int]


async def fates(service: Service) -> Fates:
    """As they are committed."""
    found = await rows(service, "SELECT reason, count(*) FROM dead_letters GROUP BY 1")
    return Fates(await count(service, "sales"), dict(found))


async def ended(service: Service, sales: int, dead: int) -> bool:
    """Whether so many sales are stored and so many dead letters are in the archive."""
    found = await fates(service)
    return (found.sales, sum(found.dead.values())) == (sales, dead)


async def all_judged(service: Service, *, done: int = 0, dead: int, within: float) -> int:
    """Good ones keep coming until the bad ones are dead letters; how many were done in the end.

    With no good one between its failures, nobody can tell whose fault they are, and a bad one
    waits for HOLD_TIMEOUT.

    Args:
        service: at work.
        done: good ones that were sent before.
        dead: bad ones.
        within: seconds.
    """
    async with asyncio.timeout(within):
        judged = False
        while not judged:
            judged = sum((await fates(service)).dead.values()) >= dead
            await send(service, *(sold() for _ in range(4)))  # the last ones close the circuit
            done += 4
            await asyncio.sleep(0.4)
    await eventually(lambda: ended(service, done, dead), within=within)
    return done


async def put(service: Service, *messages: Message) -> None:
    """Send messages straight to the queue, whatever their type is."""
    for each in messages:
        queue = service.topology.main.name
        await service.broker.publish(each, exchange=DEFAULT_EXCHANGE, routing_key=queue)


def of_type(type_: str, message: Message) -> Message:
    """The same as a message of another type."""
    return replace(message, type=type_)


def total(message: Message) -> int:
    """The total of a sale, as the service computes it."""
    return SaleMade.model_validate(json.loads(message.body)).total_cents


def untouched(service: Service) -> bool:
    """Whether no message has spent an attempt."""
    return not (settled(service, "retried") or settled(service, "dead_lettered"))
