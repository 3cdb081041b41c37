"""Changes of a slice that are as they should be: nothing may turn red."""

from tests.chassis.readiness.change import (
    HEAD,
    KEY,
    SOLD,
    Change,
    Edit,
    another_example,
    asked,
    cancelled,
    child_of,
    counted,
    handled,
    method,
    read_and_written,
    route,  # feature: http_api
    unless_changed,
)
from tests.chassis.readiness.mistakes import summaries

_SALE = '{"sale_id": _EXAMPLE.sale_id}'
_SINCE = '{"since": _BEGINNING}'
_ORDER = ".order_by(Sale.made_at, Sale.id).limit(9)"
_SEVEN = "00000000-0000-0000-0000-000000000007"
_BUYER = f'{{"id": "{_SEVEN}", "email": "eve@example.com"}}'
_SOLD = (
    f'{{"id": "{_SEVEN}", "buyer_id": "{_SEVEN}", "status": "booked", "currency": "EUR", '
    '"total_cents": 1, "made_at": "2026-01-31T12:00:00Z"}'
)
_PARENT = f'{{"buyers": [{_BUYER}], "sales": [{_SOLD}]}}'
_BATCH = "                partial(make_sales, sales=repository, outbox=chassis.outbox),\n"
_DROP = "DROP INDEX CONCURRENTLY changed;"
_REFERENCE = (
    "ALTER TABLE journal ADD buyer_id uuid;\n"
    f"ALTER TABLE journal ADD CONSTRAINT changed FOREIGN KEY ({KEY}buyer_id) "
)
_NO_REFERENCE = "ALTER TABLE journal DROP buyer_id;"
_TALLY = """
class Tally:
    async def add(self, name: str) -> None:
        self.seen = name


class Tallies(Tally):
    def __init__(self, first: "Tally") -> None:
        self.first = first

    async def add_all(self, names: list[str]) -> None:
        for name in names:
            await self.first.add(name)


async def tally(names: list[str]) -> None:
    tallies = Tallies(Tally())
    await tallies.add(names[0])
    await tallies.add_all(names)
"""
_NUMBER = (
    "    payload = peewee.JSONField()\n"
    "    number = peewee.BigIntegerField(constraints=[SQL('GENERATED ALWAYS AS IDENTITY')])\n"
)
_CANCELS = "    await sales.cancel(message.sale_id)"
_SMALL = '        small = "a shop has few"\n'


def reads(name: str, body: str, example: str = "{}", traffic: str = "high") -> Change:
    """A query of its own."""
    return Change("", name, edits=(asked(body, traffic=traffic, example=example),))


def works(name: str, *edits: Edit) -> Change:
    """Something else in the code."""
    return Change("", name, edits=edits)


def migrates(name: str, up: str, down: str, *edits: Edit, head: str = HEAD) -> Change:
    """A migration, and what comes with it."""
    return Change("", name, "", edits, f"{head}\n{up}\n", f"{down}\n")


FINE = (
    # Queries
    reads("by key", summaries(".where(Sale.id == sale_id).limit(1)"), _SALE),
    reads("by several keys", summaries(".where(Sale.id.in_([sale_id])).limit(9)"), _SALE),
    reads("from a time on", summaries(f".where(Sale.made_at > since){_ORDER}"), _SINCE),
    # feature: http_api {
    works(
        "a route for a query that is not rare",
        route("/by/sale", "sale_id: UUID", "await sales.by_id(sale_id)"),
    ),
    works(
        "a route that is as rare as its query",
        route("/by/day", "since: date", "await sales.revenue(since=since)", rare="once a day"),
    ),
    works(
        "a route with an enumeration and a number",
        route(
            "/by/state/{state}",
            'state: Literal["a", "b"], most: Annotated[int, Query(ge=2)] = 9',
            "assert state == 'a'; assert most in (2, 9); await sales.page(limit=most)",
        ),
    ),
    # feature: http_api }
    reads("the newest", summaries(".order_by(Sale.made_at.desc(), Sale.id.desc()).limit(9)")),
    reads(
        "OR over two indexes",
        summaries(".where((Sale.id == sale_id) | (Sale.buyer_id == sale_id)).limit(9)"),
        _SALE,
    ),
    reads(
        "an anti-join",
        summaries(
            ".where(Sale.id == sale_id, ~peewee.fn.EXISTS(Line.select(Line.sku)"
            ".where(Line.sale_id == Sale.id))).limit(9)"
        ),
        _SALE,
    ),
    reads(
        "children with their parent",
        "return await self.fetch_all(Line.select(Line.sku, Sale.status).join(Sale)"
        ".where(Line.sale_id == sale_id).limit(99))",
        _SALE,
    ),
    reads(
        "a number of a few",
        "return await self.fetch_one(Line.select(peewee.fn.count(Line.sku).alias('n'))"
        ".where(Line.sale_id == sale_id))",
        _SALE,
    ),
    reads("a rare report", summaries('.where(Sale.status == "x").limit(9)'), traffic="low"),
    reads(
        "whether it is there",
        "return await self.fetch_one(Sale.select(Sale.id).where(Sale.id == sale_id)) is not None",
        _SALE,
    ),
    reads(
        "a number that is no limit",
        "return await self.fetch_all(Line.select(Line.sku).where(Line.sale_id == sale_id, "
        "Line.position == number).limit(99))",
        '{"sale_id": _EXAMPLE.sale_id, "number": 1}',
    ),
    reads(
        "as many as somebody wants, up to a hundred",
        summaries(".order_by(Sale.made_at, Sale.id).limit(min(most, 100))"),
        '{"most": 9}',
    ),
    reads("children of several", "return await self.lines_of([sale_id])", _SALE),
    reads(
        "a page",
        "return await self.fetch_page(_summaries(), SaleSummary, "
        "order=(Sale.made_at, Sale.id), after=None, limit=9)",
    ),
    works(
        "all rows as a stream",
        method(
            "    async def all(self) -> Any:\n"
            "        async for sale in self.manager.stream(Sale.select(Sale.id)):\n"
            "            yield sale.id\n"
        ),
    ),
    works(
        "a helper of a query",
        method(
            "    async def first(self, sale_id: UUID) -> Any:\n"
            "        return (await self.lines_of([sale_id]))[sale_id][0]\n"
        ),
    ),
    # Writes
    works(
        "a write in a savepoint",
        handled("async with sales.manager.savepoint():\n        await sales.by_id(sale.sale_id)"),
    ),
    works(
        "an upsert",
        asked(
            "return await self.upsert(Buyer, [{'id': _NOBODY, 'email': email}], Buyer.email, "
            "update=[Buyer.email])",
            example='{"email": "eve@example.com"}',
            writes=True,
        ),
    ),
    works(
        "a change of one row",
        asked(
            "return await self.manager.execute(Sale.update(status='cancelled')"
            ".where(Sale.id == sale_id))",
            example=_SALE,
            writes=True,
        ),
    ),
    works(
        "a row that goes",
        asked(
            "return await self.manager.execute(Line.delete().where(Line.sale_id == sale_id))",
            example=_SALE,
            writes=True,
        ),
    ),
    works(
        "SQL from constants",
        asked("return await self.fetch_sql(f'SELECT {_NUMBERS}, %s::int', 3)"),
        ("repository", "_NOBODY = UUID(int=0)", "_NOBODY, _NUMBERS = UUID(int=0), '1, 2'"),
    ),
    # What examples need
    works("a query that needs a parent", child_of("UUID(int=7)", given=_PARENT)),
    works(
        "a handler that needs a parent",
        child_of("UUID(int=7)"),
        handled("await sales.asked(sale_id=UUID(int=7))", "from uuid import UUID"),
        ("slice", _BATCH, f"{_BATCH}given={_PARENT},"),
    ),
    # Handlers
    works("a second example", another_example(buyer_email="eve@example.com")),
    works(
        "a refusal", handled('if sale.currency == "XXX":\n        raise ValueError(sale.currency)')
    ),
    works("an end with nothing", handled('if sale.currency == "XXX":\n        return')),
    works(
        "a helper of handlers",
        handled("await _note(sale, outbox)"),
        (
            "handlers",
            "def _booked(",
            (
                "async def _note(sale: SaleMade, outbox: Outbox) -> None:\n"
                "    assert sale.lines\n\n\ndef _booked("
            ),
        ),
    ),
    works(
        "a line in the log", handled('structlog.get_logger().info("sale.seen")', "import structlog")
    ),
    works(
        "a use case in another module, inside a transaction",
        (
            "desk",
            "",
            (
                "async def book(sale, *, sales):\n    await sales.add_all([sale])\n"
                "async def desk(sale, *, manager, sales):\n"
                '    async with manager.transaction("desk"):\n'
                "        await book(sale, sales=sales)\n"
            ),
        ),
    ),
    works(
        "a use case that is handed to run",
        (
            "desk",
            "",
            (
                "async def desk(sale, *, manager, sales):\n    @retryable\n    async def unit():\n"
                "        await sales.add_all([sale])\n\n"
                '    await manager.run("desk", unit)\n'
            ),
        ),
    ),
    works(
        "a use case of a class",
        (
            "desk",
            "",
            (
                "class Desk:\n    async def book(self, sale):\n"
                "        await self.sales.add_all([sale])\n"
                "    async def work(self, sale):\n"
                '        async with self.manager.transaction("desk"):\n'
                "            await self.book(sale)\n"
            ),
        ),
    ),
    works(
        "a savepoint in a transaction",
        (
            "desk",
            "",
            (
                "async def desk(sale, *, manager, sales):\n"
                '    async with manager.transaction("desk"):\n'
                "        async with manager.savepoint():\n            await sales.add_all([sale])\n"
            ),
        ),
    ),
    works(
        "a handler with the name of the write that it calls",
        ("handlers", "async def make_sales(", "async def add_all("),
        ("slice", "import make_sale, make_sales\n", "import add_all, make_sale\n"),
        ("slice", "partial(make_sales,", "partial(add_all,"),
    ),
    works("a class with a method called as a write is", ("tally", "", _TALLY)),
    works(
        "a library with a method called as a write is",
        (
            "cache",
            "",
            (
                "import aiomcache\n\n\n"
                "async def remember(name: str, cache: aiomcache.Client | None) -> None:\n"
                "    await cache.add(name, b'')\n"
                "    async with aiomcache.Client('localhost') as other:\n"
                "        await other.add(name, b'')\n"
            ),
        ),
    ),
    works(
        "a limit for somebody else's answer",
        ("desk", "", "async def ask(client, url):\n    return await client.get(url, timeout=5)\n"),
    ),
    works(
        "a second message, which waits for the first",
        *cancelled("raise TryLater(f'no sale {message.sale_id} yet')"),
    ),
    works(
        "a second message, which says that it came too early",
        *cancelled(
            "early = SaleBooked(sale_id=message.sale_id, total_cents=0)",
            "return await outbox.add(SALE_BOOKED, early)",
        ),
        ("messages", f"[{SOLD}]", f'[{SOLD}, {{"sale_id": "{_SEVEN}"}}]'),
    ),
    works(
        "a second message, which a foreign key lets wait",
        *cancelled(),
        child_of("_EXAMPLE.sale_id"),
        ("handlers", _CANCELS, _CANCELS.replace("sales.cancel(", "sales.asked(sale_id=")),
    ),
    works("a row that is read to be changed", *read_and_written(".for_update()")),
    works(
        "a number that is made of the row before, under a lock",
        *counted('await self.fetch_sql("SELECT pg_advisory_xact_lock(1)")'),
    ),
    migrates(
        "a row that is changed only if nobody else has, and a number of a sequence",
        "-- allow: M12 (the journal is short)\n"
        "ALTER TABLE journal ADD number bigint GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE journal DROP number;",
        *unless_changed(),
        ("models", "    payload = peewee.JSONField()\n", _NUMBER),
    ),
    # Migrations
    *(
        migrates(name, f"CREATE INDEX CONCURRENTLY changed ON {on};", _DROP)
        for name, on in (
            ("an index", f"sales ({KEY}status)"),
            ("a partial index", f"sales ({KEY}made_at) WHERE status = 'cancelled'"),
            ("a covering index", f"sales ({KEY}made_at, id) INCLUDE (status, total_cents)"),
            ("an index of an expression", f"buyers ({KEY}lower(email))"),
            ("an index of documents", "journal USING gin (payload)"),
        )
    ),
    # What refers to another table
    *(
        migrates(
            name,
            f"CREATE {index};\nDROP INDEX CONCURRENTLY sales_buyer_id;",
            f"CREATE INDEX CONCURRENTLY sales_buyer_id ON sales ({KEY}buyer_id);\n{_DROP}",
        )
        for name, index in (
            (
                "an index of all that refer to something",
                f"INDEX CONCURRENTLY changed ON sales ({KEY}buyer_id) WHERE buyer_id IS NOT NULL",
            ),
            (
                "an index that goes on behind the reference",
                f"INDEX CONCURRENTLY changed ON sales ({KEY}buyer_id, status)",
            ),
        )
    ),
    migrates(
        "a reference of a table that stays small",
        f"{_REFERENCE}REFERENCES buyers ({KEY}id) NOT VALID;",
        _NO_REFERENCE,
        (
            "models",
            '        free_text = ("payload",)\n',
            f'{_SMALL}        free_text = ("payload",)\n',
        ),
    ),
    migrates(
        "a reference to a table that stays small",
        f"{_REFERENCE}REFERENCES buyers ({KEY}id) NOT VALID;",
        _NO_REFERENCE,
        ("models", '        personal = ("email",)\n', f'{_SMALL}        personal = ("email",)\n'),
    ),
    *(
        migrates(name, f"ALTER TABLE {up};", f"ALTER TABLE {down};")
        for name, up, down in (
            ("a column", "sales ADD note integer", "sales DROP note"),
            (
                "a column with a value",
                "sales ADD note integer NOT NULL DEFAULT 0",
                "sales DROP note",
            ),
            (
                "a check for new rows",
                "sales ADD CONSTRAINT changed CHECK (total_cents < 10 ^ 15) NOT VALID",
                "sales DROP CONSTRAINT changed",
            ),
            (
                "a reference for new rows",
                (
                    f"sale_lines ADD CONSTRAINT changed FOREIGN KEY ({KEY}sale_id) "
                    f"REFERENCES sales ({KEY}id) NOT VALID"
                ),
                "sale_lines DROP CONSTRAINT changed",
            ),
            (
                "a value of its own",
                "sales ALTER status SET DEFAULT 'booked'",
                "sales ALTER status DROP DEFAULT",
            ),
        )
    ),
    migrates(
        "a view",
        "CREATE VIEW cancelled WITH (security_invoker = true) AS "
        "SELECT id FROM sales WHERE status = 'cancelled';",
        "DROP VIEW cancelled;",
    ),
    migrates(
        "a column that goes in steps",
        "ALTER TABLE buyers DROP created_at;",
        "",
        ("models", "    created_at = DateTimeTZField(constraints=NOW)\n", ""),
        head=HEAD.replace("yes", "no (nobody reads it)")
        + "-- phase: contract\n-- requires: release 0.1.0\n",
    ),
    migrates(
        "what cannot come back, and says so",
        "ALTER TABLE sales ADD note integer DEFAULT 1;",
        "",
        head=HEAD.replace("yes", "no (it is only the beginning)"),
    ),
)
