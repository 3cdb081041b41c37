"""Single mistakes in what handlers, routes and writes do, and the check that tells of each."""

from tests.chassis.readiness.change import (
    HEAD,
    KEY,
    Change,
    Edit,
    asked,
    cancelled,
    child_of,
    counted,
    handled,
    method,
    read_and_written,
    route,  # feature: http_api
)

_END = "def _booked(sale: SaleMade) -> SaleBooked:\n"
_TAKES = "async def close(sale: SaleMade, *, manager: Manager, sales: Sales) -> None:"
_ADDS = "await sales.add_all([sale])"
_READS = 'async with manager.transaction("close", read_only=True):'
_SALE = '{"sale_id": _EXAMPLE.sale_id}'
_SENDS = (
    "return await self.fetch_all(Sale.select(Sale.id).order_by(Sale.made_at, Sale.id).limit(9))"
)
_LARGE = "if sale.total_cents > 10**9:\n        "
_WAITS = "raise TryLater(f'no sale {message.sale_id} yet')"
_NOTE = '{"id": new_id(), "event_type": f"noted {sale_id}", "payload": {}}'
_NOTED = 'JournalEntry.select(JournalEntry.id).where(JournalEntry.event_type == f"noted {sale_id}")'
_NOTES = f"await self.insert_all(JournalEntry, [{_NOTE}])"
_ANNOUNCES = "            await outbox.add(SALE_MADE, sale)\n"  # feature: http_api
_WRITES = "        async with manager.transaction('write'):\n"  # feature: http_api
_APART = f"            await sales.add_all([sale])\n{_WRITES}"  # feature: http_api
_SHOWN = "JournalEntry.select(JournalEntry.id).order_by(JournalEntry.id).limit(99)"
_SHOWS = (
    '    @query("sales.notes", example={})\n    async def notes(self) -> Any:\n'
    f"        return await self.fetch_all({_SHOWN})\n"
)
_UNIQUE = "CREATE UNIQUE INDEX CONCURRENTLY"
_CONDITION = "await outbox.add(SALE_BOOKED, _booked(sale), provided=new)"


def desk(*lines: str) -> Edit:
    """Another module of the slice."""
    return "desk", "", "\n".join((*lines, ""))


def helper(*lines: str) -> Edit:
    """Another function beside the handlers."""
    return "handlers", _END, "\n".join((*lines, "", "", _END))


def tally(takes: str, inside: str = "pass") -> Edit:
    """A class of the slice with a method called as the outbox's is."""
    lines = (
        "class Tally:",
        "    async def add(self, sale, sales: Sales):",
        "        await self.write(sale, sales)",
        "    async def write(self, sale, sales: Sales):",
        f"        {_ADDS}",
        f"async def tally(sale, sales: Sales, tally: {takes}):",
        '    async with manager.transaction("tally"):',
        f"        {inside}",
        "    await tally.add(sale, sales)",
    )
    return "tally", "", "\n".join((*lines, ""))


def noting(*lines: str) -> tuple[Edit, Edit]:
    """A write of its own, which the handler calls."""
    body = "\n        ".join(lines)
    return (
        asked(body, example=_SALE, writes=True),
        handled("await sales.asked(sale_id=sale.sale_id)"),
    )


def writing(statement: str) -> tuple[Edit, Edit]:
    """The same for a single statement."""
    return noting(f"await self.manager.execute({statement})")


def unique(name: str, table: str, columns: str) -> Change:
    """Another key that the message decides about."""
    up = f"{HEAD}\n{_UNIQUE} changed ON {table} ({KEY}{columns});\n"
    says = f"rows of {table} are inserted once by ("
    return Change("K3", name, says, (), up, "DROP INDEX CONCURRENTLY changed;\n")


AT_WORK = (
    # Transactions
    *(
        Change("K2", name, says, (edit,))
        for name, says, edit in (
            (
                "a write in a read-only transaction",
                "desk.py:3 writes in a read-only transaction",
                desk(_TAKES, f"    {_READS}", f"        {_ADDS}"),
            ),
            (
                "a function that is called in a read-only transaction",
                "desk.py:2 writes in a read-only transaction",
                desk(
                    _TAKES,
                    f"    {_ADDS}",
                    "async def shut():",
                    f"    {_READS}",
                    "        await close()",
                ),
            ),
            (
                "a savepoint in a read-only transaction",
                "desk.py:4 writes in a read-only transaction",
                desk(
                    _TAKES,
                    f"    {_READS}",
                    "        async with manager.savepoint():",
                    f"            {_ADDS}",
                ),
            ),
            (
                "a function of handlers.py outside any transaction",
                "writes outside a transaction, by add_all",
                helper(_TAKES.replace("Manager", "object"), f"    {_ADDS}"),
            ),
            (
                "a function that is called inside and outside",
                "desk.py:2 writes outside a transaction",
                desk(
                    _TAKES,
                    f"    {_ADDS}",
                    "async def inside():",
                    '    async with manager.transaction("close"):',
                    "        await close()",
                    "async def outside():",
                    "    await close()",
                ),
            ),
            (
                "a function that is called outside by another",
                "desk.py:2 writes outside a transaction",
                desk(_TAKES, f"    {_ADDS}", "async def outer():", "    await close()"),
            ),
            (
                "after the transaction",
                "desk.py:4 writes outside a transaction",
                desk(
                    _TAKES,
                    '    async with manager.transaction("close"):',
                    "        pass",
                    f"    {_ADDS}",
                ),
            ),
            *(
                (f"a class that writes outside, {name}", "tally.py:5 writes outside a", edit)
                for name, edit in (
                    ("which nobody calls inside", tally("object")),
                    ("which another is named like", tally("Tally", "await sales.add(sale)")),
                )
            ),
            (
                "SQL in a handler",
                "sends SQL outside a repository",
                handled('await sales.manager.fetch_sql("SELECT 1")'),
            ),
            # feature: http_api {
            (
                "a route without a transaction",
                "writes outside a transaction, by add",
                ("api", 'async with manager.transaction("make_sale"):', "if True:"),
            ),
            (
                "a route that only reads",
                "writes in a read-only transaction, by add",
                ("api", 'transaction("make_sale")', 'transaction("make_sale", read_only=True)'),
            ),
            # feature: http_api }
        )
    ),
    # feature: http_api {
    # What only a route does
    Change(
        "K2",
        "a write that the source does not show",
        "a transaction that only reads writes: ",
        (
            route(
                "/by/day",
                "",
                "await getattr(outbox, 'add')(SALE_MADE, SaleMade(**SaleMade.example()))",
            ),
        ),
    ),
    Change(
        "K1",
        "a rare query that a route calls",
        "sales.revenue is called for every GET /sales/by/day, and is registered as rare",
        (route("/by/day", "since: date", "await sales.revenue(since=since)"),),
    ),
    Change(
        "K1",
        "a rare query that a route calls if it is asked to",
        "sales.revenue is called for every GET /sales/by/day, and is registered as rare",
        (
            route(
                "/by/day",
                "*, details: bool = False",
                "await sales.revenue(since=date.today()) if details else None",
            ),
        ),
    ),
    Change(
        "Q1",
        "a query for each row of a list that a route shows",
        "GET /sales/by/day: one call sends a statement 100 times",
        (route("/by/day", "", "[await sales.by_id(each.id) for each in await sales.page()]"),),
    ),
    Change(
        "H1",
        "a route that sleeps inside its transaction",
        "sleeps for 0.01 s inside a transaction",
        (route("/by/day", "", "await asyncio.sleep(0.01)"),),
    ),
    Change(
        "K2",
        "a route that adds its event in another transaction",
        "POST /sales stores rows in the transaction 'make_sale', and its events in 'write'",
        (("api", _ANNOUNCES, _APART + _ANNOUNCES),),
    ),
    Change(
        "K3",
        "a GET that adds an event",
        "GET /sales/by/day: changes outbox: a GET comes again",
        (
            route("/by/day", "", "pass"),
            (
                "api",
                "            pass\n",
                f"            pass\n{_WRITES}{_ANNOUNCES}".replace(
                    "sale)", "SaleMade(**SaleMade.example()))"
                ),
            ),
        ),
    ),
    Change(
        "K3",
        "a GET that fails",
        "GET /sales/by/day: ends with ZeroDivisionError: ",
        (route("/by/day", "", "1 / len(await sales.lines_of([]))"),),
    ),
    Change(
        "K3",
        "a route behind one that takes all its requests",
        "GET /sales/today: is never asked: GET /sales/{sale_id}, which comes before it",
        (route("/today", "", "await sales.page()"),),
    ),
    # feature: http_api }
    # What an example needs and nobody has given
    Change(
        "K1",
        "a child without its parent",
        "sales.asked fails with its example",
        (child_of("UUID(int=7)"),),
    ),
    # Names of statements
    *(
        Change("K4", name, says, edits)
        for name, says, edits in (
            (
                "an event that no slice names",
                "sale.booked is published, and no slice names it",
                (("slice", "            Event(SALE_BOOKED, SaleBooked),\n", ""),),
            ),
            (
                "an event that nothing publishes",
                "sale.lost is named among the `publishes` of a slice, and nothing publishes it",
                (
                    ("messages", '"sale.booked"\n', '"sale.booked"\nSALE_LOST = "sale.lost"\n'),
                    ("slice", "    SALE_BOOKED,\n", "    SALE_BOOKED,\n    SALE_LOST,\n"),
                    (
                        "slice",
                        "Event(SALE_BOOKED, SaleBooked),",
                        "Event(SALE_BOOKED, SaleBooked), Event(SALE_LOST, SaleBooked),",
                    ),
                ),
            ),
            (
                "an event with the payload of another",
                "sale.booked is published without buyer_email",
                (("slice", "Event(SALE_BOOKED, SaleBooked)", "Event(SALE_BOOKED, SaleMade)"),),
            ),
            (
                "a method without a name",
                "Sales.peek sends statements under no name",
                (method(f"    async def peek(self) -> Any:\n        {_SENDS}\n"),),
            ),
            (
                "a method without a name that a handler calls",
                "Sales.peek sends statements under no name",
                (
                    method(f"    async def peek(self) -> Any:\n        {_SENDS}\n"),
                    handled("await sales.peek()"),
                ),
            ),
            (
                "a handler that calls what is private",
                "sends a statement under 'unregistered'",
                (handled("await sales._known({sale.buyer_email})"),),
            ),
            (
                "a name that stands twice",
                "is the name of 2 queries",
                (asked(_SENDS), ("repository", '"sales.asked"', '"sales.page"')),
            ),
            (
                "a name that somebody made up",
                "sends a statement under 'sales.more'",
                (asked(f'with self.manager.named("sales.more"):\n            {_SENDS}'),),
            ),
        )
    ),
    # The same again
    unique("a second key", "sales", "currency, made_at"),
    unique("a key of another column", "sales", "made_at"),
    unique("a key of what many share", "sales", "total_cents, currency"),
    *(
        Change("K3", name, says, edits)
        for name, says, edits in (
            (
                "a look before an insert",
                "two new messages with the same content at once leave other numbers of rows",
                noting(f"if not await self.fetch_one({_NOTED}):", f"    {_NOTES}"),
            ),
            (
                "a count before an insert",
                "two new messages with the same content at once leave other numbers of rows",
                noting(f"if len(await self.fetch_all({_NOTED}.limit(2))) < 1:", f"    {_NOTES}"),
            ),
            (
                "a row each time",
                "the same content under another id changes journal",
                noting(_NOTES),
            ),
            (
                "a row each time, which a read shows",
                "the same content under another id changes journal",
                (*noting(_NOTES), method(_SHOWS)),
            ),
            (
                "an event each time",
                "the same content under another id changes outbox",
                (("handlers", _CONDITION, _CONDITION.replace(", provided=new", "")),),
            ),
        )
    ),
    # Another order
    *(
        Change("K3", name, says, edits)
        for name, says, edits in (
            (
                "a message that comes again and opens what is closed",
                "sale.made: the same content, again after the messages that follow it, changes",
                (
                    *cancelled(_WAITS),
                    *writing("Sale.update(status='booked').where(Sale.id == sale_id)"),
                ),
            ),
            (
                "an early message that is dropped",
                "what it should do to sales is lost: raise TryLater",
                cancelled("return"),
            ),
            (
                "an early message that changes nothing",
                "what it should do to sales is lost: raise TryLater",
                cancelled(),
            ),
            (
                "an early message that is refused",
                "it becomes a dead letter, by Refused: no sale",
                cancelled(_WAITS.replace("TryLater", "Refused")),
            ),
        )
    ),
    Change(
        "K3",
        "a row that is read to be changed, and is not locked",
        "at once leave other values in sales.currency, sales.status than one after the other",
        read_and_written(""),
    ),
    Change(
        "K3",
        "a number that is made of the row before, without a lock",
        "sale.made and sale.made at once leave other values in sales.total_cents than",
        counted(),
    ),
    # What no example leads to
    *(
        Change("H2", name, "statements of make_sale(), and not sales/handlers.py:", edits)
        for name, edits in (
            ("a branch", (handled(f"{_LARGE}await outbox.add(SALE_BOOKED, _booked(sale))"),)),
            ("a loop", (handled("for _ in sale.lines[5:]:\n        await outbox.flush()"),)),
            (
                "an answer to an error",
                (
                    handled(
                        "try:\n        int(sale.currency, 36)\n"
                        "    except ValueError:\n        sales.add(sale)"
                    ),
                ),
            ),
            (
                "an end before its time",
                (handled(f"{_LARGE}sales.add(sale)\n        return"),),
            ),
        )
    ),
    Change(
        "H2",
        "ways of a query",
        "statements of Sales, and not sales/repository.py:",
        (
            asked(
                "if self is None:\n            "
                + "\n            ".join(f"number = {each}" for each in range(12))
                + f"\n        {_SENDS}"
            ),
        ),
    ),
)
