"""Single mistakes in a slice, and the check that has to tell of each."""

from tests.chassis.readiness.change import Change, asked, handled

# Beside the tenant, by which every index can be read, only rows that are read in vain are seen.
FILTER = "K1"
FILTER = "Q1"  # feature: row, rls
_ALL = "Sale.id, Sale.status, Sale.currency, Sale.total_cents, Sale.made_at"


def asks(check: str, name: str, says: str, body: str, traffic: str = "high") -> Change:
    """A query of its own, `sales.asked`, whose body sends this."""
    return Change(check, name, says, (asked(body, traffic=traffic),))


def handles(check: str, name: str, says: str, line: str, imports: str = "") -> Change:
    """A line at the beginning of the handler."""
    return Change(check, name, says, (handled(line, imports),))


def keeps(name: str, says: str, old: str, new: str) -> Change:
    """Another rule about how long rows are kept."""
    return Change("R1", name, says, (("slice", old, new),))


def names(name: str, says: str, old: str, new: str) -> Change:
    """Something else is said about the data in a column."""
    return Change("R2", name, says, (("models", old, new),))


def summaries(rest: str, into: str = "SaleSummary") -> str:
    """A read of some columns."""
    return f"return await self.fetch_all(Sale.select({_ALL}){rest}, {into})"


_BUYERS = "Sale.select(Sale.buyer_id).where(Sale.id == _EXAMPLE.sale_id)"
_OF_A_BUYER = f".where(Sale.buyer_id.in_({_BUYERS}))"
_IDS = "await self.fetch_all(Sale.select(Sale.id).order_by(Sale.made_at, Sale.id).limit(50))"
_SKU = "await self.fetch_one(Line.select(Line.sku).where(Line.sale_id == row['id']))"
_FIRST = "Sale.select().order_by(Sale.made_at, Sale.id)"
_ONE = f"(await self.manager.fetch({_FIRST}.limit(1)))[0]"
_SORTED = ".order_by(Sale.made_at, Sale.id)"
_LATER = "Sale.select(Sale.id).where(Sale.made_at > _BEGINNING)"
_OR = "(Sale.id == _NOBODY) | (Sale.buyer_id == _NOBODY)"
_COUNT, _SUM = "peewee.fn.count(Sale.id)", "peewee.fn.sum(Sale.total_cents)"
_LOOK_UP = "await asyncio.get_running_loop().getaddrinfo('localhost', 80)"
_CONNECT = "with socket.socket(type=socket.SOCK_DGRAM) as it: it.connect(('127.0.0.1', 9))"
_STREAM = "with contextlib.suppress(OSError):\n"
_STREAM += "        await asyncio.open_connection('127.0.0.1', 9)"
_JOURNAL = 'Keep("journal", "audits ask about all the years that the books are about"),'
_SALES = '"made_at", timedelta(days=999_999), children=("sale_lines",)'
_EMAIL = '        personal = ("email",)\n'
_FIRST_IMPORT = "import itertools\n"
_ERRORS = "from acme_orders.chassis.errors import Refused, TryLater"

MISTAKES = (
    # Filters
    asks(FILTER, "filter", "sales.asked: ", summaries('.where(Sale.status == "x").limit(9)')),
    asks(
        FILTER,
        "filter by a function of a column",
        "sales.asked: ",
        summaries(".where(peewee.fn.date(Sale.made_at) == date(1999, 1, 1)).limit(9)"),
    ),
    *(
        asks(FILTER, name, "sales.asked: ", summaries(f".where({where}).limit(9)"))
        for name, where in (
            ("one side of OR", "(Sale.id == _NOBODY) | (Sale.total_cents == -7)"),
            ("the other side of OR", '(Sale.status == "x") | (Sale.id == _NOBODY)'),
            ("one of three sides of OR", f"{_OR} | (Sale.booked_at < _BEGINNING)"),
            ("two filters without index", '(Sale.status == "x") & (Sale.total_cents == -7)'),
        )
    ),
    *(
        asks("Q1", f"a filter behind {name}", "as a whole", summaries(f".where({where}).limit(9)"))
        for name, where in (
            ("an index", "(Sale.made_at > _BEGINNING) & (Sale.total_cents < 0)"),
            ("the key", '(Sale.id > _NOBODY) & (Sale.status == "x")'),
        )
    ),
    # What handlers call
    handles(
        "K1",
        "busy query registered as rare",
        "is called for every sale.made",
        "await sales.revenue(since=sale.made_at.date())",
    ),
    # Reads
    *(
        asks(
            "Q1", f"order {name}", "to sort them by", summaries(f"{where}.order_by({by}).limit(9)")
        )
        for name, where, by in (
            ("without index", "", "Sale.total_cents"),
            ("of two columns, of which the first has an index", "", "Sale.status, Sale.made_at"),
            ("by an expression", "", "Sale.total_cents * -1"),
            ("behind an indexed filter", _OF_A_BUYER, "Sale.booked_at"),
        )
    ),
    *(
        asks("Q1", f"{name} of all", "is read as a whole", f"return await self.{body}")
        for name, body in (
            ("count", f"fetch_one(Sale.select({_COUNT}.alias('n')))"),
            ("sum", f"fetch_one(Sale.select({_SUM}.alias('n')))"),
            ("distinct values", "fetch_all(Sale.select(Sale.status).distinct().limit(9))"),
        )
    ),
    Change(
        "Q1",
        "a page as large as somebody asks for",
        "sales.page: as many rows are returned as limit says, however many: limit=min(limit, 100)",
        (("repository", "limit=min(limit, LARGEST_PAGE)", "limit=limit"),),
    ),
    *(
        Change("Q1", name, "as many rows are returned as most says", (edit,))
        for name, edit in (
            (
                "a list as long as somebody asks for",
                asked(summaries(f"{_SORTED}.limit(most)"), example='{"most": 9}'),
            ),
            (
                "a list that is cut behind PostgreSQL",
                asked(
                    f"return (await self.manager.fetch(Sale.select(Sale.id){_SORTED}.limit(most)"
                    ".tuples()))[:100]",
                    example='{"most": 9}',
                ),
            ),
            (
                "a limit that is the larger of two",
                asked(summaries(f"{_SORTED}.limit(max(most, 100))"), example='{"most": 9}'),
            ),
        )
    ),
    asks("K1", "a list without a limit", "has no limit", f"return await self.fetch_all({_LATER})"),
    asks("Q1", "no limit", "is read", f"return await self.manager.fetch({_LATER}.tuples())"),
    asks(
        "Q1",
        "a late page by OFFSET",
        "are read to return",
        summaries(".order_by(Sale.made_at, Sale.id).limit(9).offset(5000)"),
    ),
    asks(
        "Q1",
        "a limit that is none",
        "rows are returned at once: its limit is above 1000",
        summaries(f"{_SORTED}.limit(5000)"),
    ),
    Change(
        "Q1",
        "an OFFSET that somebody chooses",
        "sales.asked: with start=1000000: sales is read as a whole",
        (asked(summaries(f"{_SORTED}.limit(9).offset(start)"), example='{"start": 0}'),),
    ),
    *(
        asks(
            "Q1",
            f"a query for each row, {traffic}",
            "one call sends a statement 50 times",
            f"return [{_SKU} for row in {_IDS}]",
            traffic,
        )
        for traffic in ("high", "low")
    ),
    asks(
        "Q1", "models", "out Sale, a model", f"return await self.manager.fetch({_FIRST}.limit(9))"
    ),
    asks(
        "Q1",
        "one model",
        "hands out Sale, a model",
        f"return (await self.manager.fetch({_FIRST}.limit(1)))[0]",
    ),
    *(
        asks("Q1", f"a model inside {name}", "hands out Sale, a model", f"return {holder}")
        for name, holder in (
            ("a mapping", f"{{'first': {_ONE}}}"),
            ("a dataclass", f"SaleSummary({_ONE}, 'booked', 'EUR', 0, _BEGINNING)"),
            ("a list of a mapping", f"{{'first': [None, {_ONE}]}}"),
        )
    ),
    handles(
        "Q1",
        "a query for each number in a handler",
        "50 times",
        "for _ in range(50):\n        await sales.by_id(sale.sale_id)",
    ),
    # What no rollback undoes
    *(
        handles("H1", name, f"{says} inside a transaction", line, imports)
        for name, says, line, imports in (
            ("sleeps", "sleeps for 0.01 s", "await asyncio.sleep(0.01)", "import asyncio"),
            ("blocks", "blocks for 0.001 s", "time.sleep(0.001)", "import time"),
            ("thread", "work to a thread", "await asyncio.to_thread(str)", "import asyncio"),
            ("host name", "hands work to a thread", _LOOK_UP, "import asyncio"),
            ("connection", "opens a connection", _CONNECT, "import socket"),
            ("stream", "opens a connection", _STREAM, "import asyncio, contextlib"),
            ("file", "writes a file", "open('/dev/null', 'w').close()", ""),
            (
                "path",
                "writes a file",
                "Path('/dev/null').write_text('')",
                "from pathlib import Path",
            ),
            ("touch", "touches a file", "Path('/dev/null').touch()", "from pathlib import Path"),
            (
                "descriptor",
                "writes a file",
                "os.close(os.open('/dev/null', os.O_RDWR))",
                "import os",
            ),
            ("program", "starts a program", "subprocess.run(['true'])", "import subprocess"),
        )
    ),
    Change(
        "H1",
        "blocks, by a name of its own",
        "blocks for 0.001 s inside a transaction",
        (
            handled("sleep(0.001)"),
            ("handlers", _FIRST_IMPORT, f"{_FIRST_IMPORT}from time import sleep\n"),
        ),
    ),
    # How long rows are kept
    keeps("nobody has decided", 'write Retention("journal", "occurred_at"', _JOURNAL, ""),
    keeps(
        "lines that nobody has thought of",
        'write children=("sale_lines",) in Retention(',
        _SALES,
        '"made_at", timedelta(days=999_999)',
    ),
    keeps(
        "an age without an index",
        "no index of public.sales begins with booked_at",
        _SALES,
        _SALES.replace("made_at", "booked_at"),
    ),
    keeps("an age that is none", "no column mad_at", _SALES, _SALES.replace("made_at", "mad_at")),
    keeps(
        "a child that is none",
        "journal is among the children",
        _SALES,
        _SALES.replace('",)', '", "journal")'),
    ),
    keeps(
        "an archive without a model",
        "old_sales, where rows of sales are kept, has no model",
        _SALES,
        f'{_SALES}, archive={{"sales": "old_sales"}}',
    ),
    keeps("a table that is none", "there is no such table", '"journal"', '"jornal"'),
    # Errors of handlers
    *(
        handles("K3", f"handler raises {says}", f"{says} (sales/handlers.py:", line, _ERRORS)
        for says, line in (
            ("ZeroDivisionError: division by zero", "1 / 0"),
            ("Refused: no", "raise Refused('no')"),
            ("TryLater: not yet", "raise TryLater('not yet')"),
        )
    ),
    # Personal data
    names(
        "nobody says whether",
        'write personal, free_text or not_personal = ("email",) in',
        _EMAIL,
        "",
    ),
    names(
        "text for a list",
        'write personal = ("email",)',
        _EMAIL,
        _EMAIL.replace('("email",)', '"email"'),
    ),
    names(
        "no such column",
        "has 'e_mail', and there is no such column",
        _EMAIL,
        _EMAIL.replace("email", "e_mail"),
    ),
    names(
        "document that nobody has read", "payload (jsonb)", '        free_text = ("payload",)\n', ""
    ),
    Change(
        "R1",
        "a table that is small for no reason",
        'write small = "the reason" in its Meta',
        (("models", _EMAIL, f"        small = True\n{_EMAIL}"),),
    ),
    Change(
        "R2",
        "people whom nobody finds",
        'write subjects=(Subject("buyers", by=("email",)),) in slice.py',
        (("slice", '        subjects=(Subject("buyers", by=("email",)),),\n', ""),),
    ),
    *(
        Change(
            "R2",
            f"an e-mail in the log, {name}",
            "the log has buyers.email, which is personal, in 'noted",
            (handled(f"structlog.get_logger().info({what})", "import structlog"),),
        )
        for name, what in (
            ("as a field", "'noted', to=sale.buyer_email"),
            ("with all of the message", "'noted', sale=sale.model_dump()"),
            ("in the event", "f'noted for {sale.buyer_email}'"),
        )
    ),
    names(
        "an email that is said to be nobody's",
        "buyers.email is not_personal, and its name says",
        _EMAIL,
        _EMAIL.replace("personal", "not_personal"),
    ),
    names(
        "two answers",
        "email is personal and free_text",
        _EMAIL,
        _EMAIL + _EMAIL.replace("personal", "free_text"),
    ),
)
