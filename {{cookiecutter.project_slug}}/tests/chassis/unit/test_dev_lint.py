"""What goes around the guards of the database is found, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest

from dev.lint.__main__ import main
from dev.lint.rules import RULES, findings
from dev.lint.source import sources

Codes = Callable[[str, str], list[str]]

API = "src/shop/orders/api.py"
MODELS = "src/shop/orders/models.py"
REPOSITORY = "src/shop/orders/repository.py"
AROUND_THE_MANAGER = """
    aio_execute aio_create aio_save aio_delete_instance aio_get aio_get_or_none aio_get_or_create
    aio_fetch aio_first aio_scalar aio_count aio_exists aio_peek aio_prefetch aio_atomic
    aio_transaction aio_begin aio_savepoint aio_connection aio_m2m aio_create_table aio_drop_table
    aio_execute_sql execute_sql allow_sync set_allow_sync connection_context
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project whose package has nothing in it."""
    package = tmp_path / "src" / "shop"
    (package / "parcels").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Sells."""\n')
    (tmp_path / "src" / "shop.egg-info").mkdir()
    return tmp_path


@pytest.fixture
def codes(project: Path) -> Codes:
    """Write a file and return the codes of what is found in the project."""

    def find(path: str, text: str) -> list[str]:
        file = project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return [found.code for source in sources(project) for found in findings(source)]

    return find


def function(body: str) -> str:
    """Put lines into a coroutine function."""
    return "async def work(manager, orders):\n" + indent(dedent(body).strip("\n"), "    ") + "\n"


def transaction(body: str) -> str:
    """Put lines into a transaction."""
    inside = indent(dedent(body).strip("\n"), "    ")
    return function(f"async with manager.transaction('work'):\n{inside}\n")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (API, "import peewee\n"),
        (API, "import peewee as orm\n"),
        (API, "from peewee import TextField\n"),
        (API, "import peewee_async.utils\n"),
        (API, "from playhouse.postgres_ext import DateTimeTZField\n"),
        (API, "import shop.orders.models\n"),
        (API, "from shop.orders.models import Order\n"),
        (API, "from shop.orders import models\n"),
        (API, "from .models import Order\n"),
        (API, "from . import models\n"),
        (API, "from ..orders.models import Order\n"),
        (API, "def late():\n    from shop.orders.models import Order\n"),
        ("src/shop/models.py", "import peewee\n"),
        ("readiness/plans.py", "import peewee\n"),
    ],
)
def test_models_stay_in_repositories(codes: Codes, path: str, text: str) -> None:
    """However they are imported, and however far inside."""
    assert codes(path, text) == ["D1"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (MODELS, "import peewee\n"),
        (REPOSITORY, "import peewee\nfrom shop.orders.models import Order\n"),
        ("src/shop/chassis/database/manager.py", "import peewee_async\n"),
        ("src/shop/chassis/messaging/inbox.py", "import peewee\n"),
        (API, "import aio_pika\nfrom shop.orders.repository import Orders\n"),
        (API, "from fastapi.openapi.models import APIKey\nimport models_of_cars\n"),
        ("tests/integration/test_orders.py", "from shop.orders.models import Order\n"),
    ],
)
def test_repositories_and_machinery_may_use_models(codes: Codes, path: str, text: str) -> None:
    """Models of other packages are not meant, and tests may look at everything."""
    assert codes(path, text) == []


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        ("src/shop/chassis/cli/doctor.py", "from shop.orders.repository import Orders\n", ["D10"]),
        ("src/shop/chassis/errors.py", "import shop.orders\n", ["D10"]),
        ("src/shop/chassis/errors.py", "from shop import service\n", ["D10"]),
        ("src/shop/chassis/http/api.py", "from ...orders.api import router\n", ["D10"]),
        ("readiness/plans.py", "from shop.parcels import messages\n", ["D10"]),
        ("readiness/plans.py", "from shop.service import SERVICE\n", ["D10"]),
        ("src/shop/chassis/http/api.py", "from ..errors import Conflict\nimport shopping\n", []),
        ("readiness/plans.py", "import shop.chassis.errors\nfrom . import check\n", []),
        ("src/shop/service.py", "from shop.orders.slice import orders\n", []),
        (API, "from shop.parcels.handlers import send\n", ["D11"]),
        (API, "from shop.parcels.slice import parcels\n", ["D11"]),
        (API, "from shop import parcels\n", ["D11"]),
        (API, "from ..parcels.api import router\n", ["D11"]),
        (API, "from shop.service import SERVICE\n", ["D11"]),
        (REPOSITORY, "from shop.parcels.models import Parcel\n", ["D11"]),
        (API, "from shop.parcels.messages import Sent\n", []),
        (API, "from shop.parcels.repository import Parcels\n", []),
        (API, "from shop.parcels import messages\nfrom shop.settings import Settings\n", []),
        (API, "from shop.orders.handlers import place\nfrom . import handlers\n", []),
        ("tests/test_orders.py", "from shop.parcels.models import Parcel\n", []),
    ],
)
def test_who_may_know_whom(codes: Codes, path: str, text: str, code: list[str]) -> None:
    """However many slices there are, and whatever they are called."""
    assert codes(path, text) == code


@pytest.mark.parametrize("name", AROUND_THE_MANAGER.split())
def test_every_way_around_the_manager_is_found(codes: Codes, name: str) -> None:
    """Also where it is handed on and called elsewhere, and even in a repository."""
    assert codes(REPOSITORY, f"rows = await_(order.{name}())\nlater(order.{name})\n") == ["D2"] * 2


def test_an_imported_way_around_the_manager_is_found(codes: Codes) -> None:
    """A function needs no object in front of it."""
    text = "from peewee_async.connection import connection_context\n"
    assert codes(REPOSITORY, text) == ["D2"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/shop/chassis/database/manager.py", "database.aio_execute(query)\n"),
        (REPOSITORY, "self.manager.execute(query)\nself.manager.fetch(query)\n"),
        (REPOSITORY, "'''Never aio_execute.'''\nNAMES = {'aio_execute'}\n"),
        ("src/shop/chassis/rabbitmq/broker.py", "opentelemetry.instrumentation.aio_pika.on()\n"),
    ],
)
def test_the_managers_own_way_is_no_way_around_it(codes: Codes, path: str, text: str) -> None:
    """Neither are names in texts, nor a package that is called alike."""
    assert codes(path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "import peewee\nat = peewee.DateTimeField()\n",
        "import peewee as orm\nid = orm.AutoField()\n",
        "import peewee\nid = peewee.PrimaryKeyField()\n",
        "from peewee import TimestampField\n",
        "from peewee import ManyToManyField as Pairs\n",
        "from playhouse.postgres_ext import BinaryJSONField\n",
        "from playhouse import postgres_ext\nx = postgres_ext.HStoreField()\n",
    ],
)
def test_fields_that_do_not_fit_postgresql_are_found(codes: Codes, text: str) -> None:
    """Under whatever name peewee is imported."""
    assert codes(MODELS, text) == ["D3"]


def test_fields_that_fit_are_left_alone(codes: Codes) -> None:
    """Their names may end like those of others."""
    text = """
    import peewee
    from playhouse.postgres_ext import DateTimeTZField
    from shop.forms import DateTimeField

    id = peewee.BigAutoField()
    at = DateTimeTZField()
    payload = peewee.JSONField()
    amount = peewee.DecimalField()
    """
    assert codes(MODELS, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "SQL = 'SET search_path = other'\n",
        "SQL = 'SET search_path TO other'\n",
        "SQL = 'SET SESSION statement_timeout = 0'\n",
        "SQL = 'SET ROLE reader'\n",
        "SQL = \"SET TIME ZONE 'UTC'\"\n",
        "SQL = 'SELECT 1; SET search_path = other'\n",
        "SQL = '''\n  -- quick\n  SET work_mem = 1\n'''\n",
        "SQL = 'LISTEN orders'\n",
        "SQL = f'LISTEN {channel}'\n",
        "SQL = f'SET {name} = 1'\n",
        "SQL = 'SET %s = 1' % name\n",
        "SQL = 'LISTEN ' + channel\n",
        "SQL = 'LISTEN %s' % channel\n",
        "SQL = 'LISTEN {}'.format(channel)\n",
        "SQL = 'UNLISTEN *'\n",
        "SQL = 'PREPARE q AS SELECT 1'\n",
        "SQL = 'DISCARD ALL'\n",
        "SQL = 'CREATE TEMP TABLE t (x int)'\n",
        "SQL = 'CREATE TEMPORARY TABLE t AS SELECT 1'\n",
        "SQL = 'CREATE OR REPLACE TEMP VIEW v AS SELECT 1'\n",
        "SQL = 'SELECT pg_advisory_lock(%s)'\n",
        "SQL = 'select pg_try_advisory_lock_shared (1)'\n",
        "SQL = \"SELECT set_config('a.b', %s, false)\"\n",
        "SQL = \"SELECT set_config('a.b', lower(%s), FALSE)\"\n",
        "manager.fetch_sql('set search_path to other')\n",
        "self.sql('listen orders')\n",
        "self.sql(sql='discard all')\n",
        "peewee.SQL('create temp table t (x int)')\n",
        "Order.select(fn.pg_advisory_lock(1))\n",
        "Order.select(peewee.fn.set_config('a.b', value, False))\n",
    ],
)
def test_state_that_stays_on_a_connection_is_found(codes: Codes, text: str) -> None:
    """In upper case anywhere, in any case where a text is known to be SQL."""
    assert codes(REPOSITORY, text) == ["D4"]


@pytest.mark.parametrize(
    "text",
    [
        "SQL = 'SET LOCAL search_path = other'\n",
        "SQL = 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE'\n",
        "SQL = 'SET CONSTRAINTS ALL DEFERRED'\n",
        "SQL = 'UPDATE orders SET status = %s'\n",
        "SQL = '''\n  UPDATE orders\n  SET status = %s\n'''\n",
        "SQL = f'UPDATE {table} SET status = %s'\n",
        "SQL = 'UPDATE orders ' + 'SET status = %s'\n",
        "SQL = 'INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 1'\n",
        "SQL = \"SELECT '; SET x = 1; LISTEN y'\"\n",
        "SQL = 'SELECT 1 -- ; SET x = 1'\n",
        "SQL = 'CREATE TEMP TABLE t (x int) ON COMMIT DROP'\n",
        "SQL = 'SELECT pg_advisory_xact_lock(%s), pg_try_advisory_xact_lock(%s)'\n",
        "SQL = \"SELECT set_config('a.b', %s, true), f(1, false)\"\n",
        "self.sql('update orders set status = %s')\n",
        "Order.select(fn.set_config('a.b', value, True))\n",
        "structlog.set_config(app, debug)\n",
        "'''SET search_path = other'''\n",
        "def f():\n    '''LISTEN to what is said.'''\n",
        "LOG = 'set LOG_LEVEL to DEBUG'\n",
        "LOG = 'Set LISTEN_HOST = 127.0.0.1; listen to it'\n",
        "LOG = 'prepare the order; discard all others'\n",
        "LOG = 'LISTEN_HOST'\n",
    ],
)
def test_what_ends_with_the_transaction_is_left_alone(codes: Codes, text: str) -> None:
    """Neither prose nor docstrings are SQL."""
    assert codes(REPOSITORY, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "manager.fetch_sql('/**/set/**/search_path = other')\n",
        "manager.fetch_sql('SELECT \"pg_advisory_lock\"(%s)', 1)\n",
        "manager.fetch_sql('SELECT set_config(%s, %s, %s)', values)\n",
        "manager.fetch_sql('SELECT 1; commit')\n",
        "manager.fetch_sql('DO $$ BEGIN SET x.y = 1; END $$')\n",
        "manager.fetch_sql('create temp table t (x int)')\n",
        "manager.fetch_sql('SELEC 1')\n",
        "manager.fetch_sql(\"SELECT interval '%s days'\", 1)\n",
        "Q = 'select pg_catalog.pg_advisory_lock(1)'\ndef f(m): m.fetch_sql(Q)\n",
        "def f(m): m.fetch_sql(sql=Q)\nQ = 'listen orders'\n",
    ],
)
def test_a_whole_statement_is_read_by_a_parser(codes: Codes, text: str) -> None:
    """However it is written; also a constant that is sent elsewhere in the module."""
    assert codes(REPOSITORY, text) == ["D4"]


@pytest.mark.parametrize(
    "text",
    [
        "manager.fetch_sql(\"SELECT 'SET x = 1; COMMIT', 'a' LIKE '%s%'\")\n",
        "manager.fetch_sql('SELECT 10 %% %s', 3)\n",
        "manager.fetch_sql('CREATE TEMP TABLE t (x int) ON COMMIT DROP')\n",
        "manager.fetch_sql(made(1))\nmanager.fetch_sql(UNKNOWN)\nmanager.fetch_sql()\n",
    ],
)
def test_a_parser_is_not_deceived(codes: Codes, text: str) -> None:
    """What cannot be known is left to the guard, which reads what is sent."""
    assert codes(REPOSITORY, text) == []


@pytest.mark.parametrize("folder", ["src/shop/chassis/database", "readiness"])
def test_who_connects_for_itself_may_change_its_session(codes: Codes, folder: str) -> None:
    """Those connections serve nobody else."""
    assert codes(f"{folder}/x.py", "run('SET ROLE x')\nfetch_sql(f'{x}')\n") == []


@pytest.mark.parametrize(
    "argument",
    [
        "f'SELECT {column}'",
        "'SELECT %s' % value",
        "'SELECT ' + value",
        "SELECT + where",
        "'SELECT {}'.format(value)",
        "' AND '.join(conditions)",
        "dedent(f'SELECT {column}')",
        "'SELECT 1' if simple else f'SELECT {column}'",
        "sql=f'SELECT {column}'",
    ],
)
@pytest.mark.parametrize("door", ["self.manager.fetch_sql", "self.sql", "peewee.SQL"])
def test_sql_that_is_built_in_the_call_is_found(codes: Codes, door: str, argument: str) -> None:
    """However the text is put together, and through every door."""
    assert codes(REPOSITORY, f"{door}({argument})\n") == ["D5"]


@pytest.mark.parametrize(
    "call",
    [
        "self.sql('SELECT %s', (a + b,))",
        "self.sql('SELECT ' '1')",
        "self.sql(f'SELECT 1')",
        "self.sql(_SELECT, (f'{name}%',))",
        "self.sql()",
        "log.info(f'sent {sql}')",
        "session.execute(f'{x}')",
    ],
)
def test_parameters_may_be_built(codes: Codes, call: str) -> None:
    """Only the text is SQL."""
    assert codes(REPOSITORY, f"{call}\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "sql = 'SELECT ' + str(value)\nself.sql(sql)",
        "sql = 'SELECT 1'\nif value:\n    sql += f' WHERE x = {value}'\nself.sql(sql, 1)",
        "sql = 'SELECT %s' % value\nself.sql(dedent(sql))",
        "first = 'SELECT {}'.format(value)\nsql = first\nself.sql(sql)",
        "self.sql(sql := f'SELECT {value}')",
        "sql, limit = f'SELECT {value}', 1\nself.sql(sql, limit)",
        "where = ['a = 1']\nwhere.append(f'b = {value}')\nself.sql(' AND '.join(where))",
        "self.sql(' AND '.join(f'{name} = %s' for name in value))",
        "sql = f'SELECT {value}' if value else 'SELECT 1'\nself.sql(sql)",
        "sql = f'SELECT {value}'\nasync def work():\n    await self.sql(sql)",
        "for sql in ('SELECT 1', f'SELECT {value}'):\n    self.sql(sql)",
        "self.sql(_made(value))",
        "sql = self._made(value)\nself.sql(sql)",
        "self.sql('SELECT ' + _NOT_HERE.lower() + value)",
    ],
)
def test_sql_that_was_built_before_is_found(codes: Codes, body: str) -> None:
    """In a variable, and by a function of the same file."""
    made = "def _made(value):\n    sql = f'SELECT {value}'\n    return sql\n"
    text = f"{made}async def ask(self, value):\n{indent(body, '    ')}\n"
    assert codes(REPOSITORY, text) == ["D5"]
    assert codes("src/shop/orders/handlers.py", text) == ["D5"] * 2


@pytest.mark.parametrize(
    "body",
    [
        "self.sql(f'SELECT {_COLUMNS}, %s::int', 3)",
        "self.sql('SELECT ' + _COLUMNS + _TABLE)",
        "self.sql(f'SELECT {_COLUMNS} FROM {TABLE} ORDER BY {_ORDERS[value]}')",
        "self.sql('SELECT %s' % ', '.join(['%s'] * len(value)), *value)",
        "self.sql(f'SELECT {shop.TABLE} WHERE state = {State.SENT.value!r}')",
        "sql = 'SELECT 1'\nif value:\n    sql += ' WHERE x = %s'\nself.sql(sql, value)",
        "where = ['a = 1']\nif value:\n    where.append('b = %s')\nself.sql(' AND '.join(where))",
        "self.sql(' AND '.join(f'{name} = %s' for name in ('a', 'b')), *value)",
        "key = f'{value}-{value}'\nself.sql(statements(key))",
        "self.sql(_made('1'), value)",
        "self.sql(sql=value)",
        "sql = f'SELECT {value}'\nlog(sql)",
    ],
)
def test_sql_that_is_built_from_constants_is_left_alone(codes: Codes, body: str) -> None:
    """Nobody outside can say anything in it."""
    text = (
        "from shop.names import TABLE\n_COLUMNS, _TABLE = 'a, b', dedent(' FROM x')\n"
        "_ORDERS = {'new': 'at DESC', 'old': 'at'}\n"
        "def _made(value):\n    return f'SELECT {value}, %s'\n"
        f"async def ask(self, value):\n{indent(body, '    ')}\n"
    )
    assert codes(REPOSITORY, text) == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        " Exception",
        " BaseException as error",
        " DatabaseError",
        " errors.ConstraintViolated",
        " (ValueError, Conflict)",
        " peewee.IntegrityError",
        " psycopg.DatabaseError",
        "* Conflict",
        " (StatementTimeout, DatabaseUnavailable)",
        " QueryRefused",
        " psycopg2.Error",
        " psycopg2.errors.UniqueViolation",
        " peewee.PeeweeException",
        " Taken",
        " pg.Error",
        " _ALL",
    ],
)
def test_a_swallowed_error_of_the_database_is_found(codes: Codes, kind: str) -> None:
    """Whatever it is caught as."""
    body = f"""
    try:
        await orders.add()
    except{kind}:
        log.info("it was there")
    """
    imports = """
    import psycopg2 as pg
    from shop.chassis.errors import ConstraintViolated as Taken
    _ALL = (KeyError, Taken)
    """
    assert codes(API, dedent(imports) + transaction(body)) == ["D6"]


@pytest.mark.parametrize(
    "body",
    [
        """
        if order:
            for line in order:
                try:
                    await orders.add(line)
                except Conflict:
                    continue
        """,
        """
        try:
            await orders.add()
        except Conflict as error:
            if error.sqlstate == "40001":
                return
            raise
        """,
        """
        try:
            await orders.add()
        except Conflict:
            raise
        except Exception:
            pass
        """,
        """
        async with manager.savepoint():
            try:
                await orders.add()
            except Conflict:
                pass
        """,
        """
        try:
            await orders.begin()
            async with manager.savepoint():
                await orders.add()
        except Conflict:
            pass
        """,
        """
        with suppress(ConstraintViolated):
            await orders.add()
        """,
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(contextlib.suppress(Exception))
            await orders.add()
        """,
        """
        quietly = suppress(StatementTimeout)
        with quietly:
            await orders.add()
        """,
    ],
)
def test_an_error_is_swallowed_in_many_ways(codes: Codes, body: str) -> None:
    """On one way of several, too, and where the savepoint protects something else."""
    assert codes(API, transaction(body)) == ["D6"]


@pytest.mark.parametrize(
    "body",
    [
        """
        try:
            async with manager.savepoint():
                await orders.add()
        except ConstraintViolated:
            pass
        """,
        """
        try:
            async with asyncio.timeout(1), manager.savepoint():
                await orders.add()
        except DatabaseError:
            pass
        """,
        """
        try:
            await orders.add()
        except DatabaseError:
            log.warning("no")
            raise
        except Exception:
            pass
        """,
        """
        try:
            await orders.add()
        except ConstraintViolated as error:
            raise Refused from error
        """,
        """
        try:
            number = int(text)
        except Exception:
            number = 0
        await orders.add(number)
        """,
        """
        try:
            await orders.add()
        except (KeyError, errors.BadCursor, TryLater):
            pass
        """,
        """
        with suppress(Exception):
            number = int(text)
        stack.enter_context(suppress(KeyError))
        await orders.add(number)
        """,
        """
        with suppress(ConstraintViolated):
            async with manager.savepoint():
                await orders.add()
        """,
        """
        async def later():
            try:
                await orders.add()
            except Conflict:
                pass
        """,
    ],
)
def test_an_error_that_leaves_the_transaction_whole_is_left_alone(codes: Codes, body: str) -> None:
    """Behind a savepoint, raised again, or none of the database's."""
    assert codes(API, transaction(body)) == []


def test_outside_a_transaction_errors_may_be_caught(codes: Codes) -> None:
    """It has been rolled back by then."""
    body = """
    try:
        async with manager.transaction("work"):
            await orders.add()
    except Conflict:
        pass
    """
    assert codes(API, function(body)) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/integration/test_x.py", "from peewee_async.testing import TransactionTestCase\n"),
        ("tests/integration/test_x.py", "class T(testing.TransactionTestCase): ...\n"),
        (REPOSITORY, "from peewee_async.testing import TransactionTestCase\n"),
        (REPOSITORY, "for row in Order.select().iterator(): ...\n"),
        (REPOSITORY, "self.sql('DECLARE c CURSOR FOR SELECT 1')\n"),
        (REPOSITORY, "SQL = 'DECLARE c NO SCROLL CURSOR FOR SELECT 1'\n"),
    ],
)
def test_test_cases_and_cursors_of_the_orm_are_found(codes: Codes, path: str, text: str) -> None:
    """Each has something of ours in its place."""
    assert codes(path, text) == ["D7"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/unit/test_x.py", "'''No TransactionTestCase.'''\nBAD = 'TransactionTestCase'\n"),
        ("tests/unit/test_x.py", "rows.iterator()\nSQL = 'DECLARE c CURSOR FOR SELECT 1'\n"),
        ("src/shop/chassis/database/manager.py", "SQL = 'DECLARE c CURSOR FOR SELECT 1'\n"),
        (REPOSITORY, "async for row in self.manager.stream(query): ...\n"),
    ],
)
def test_streams_and_texts_are_left_alone(codes: Codes, path: str, text: str) -> None:
    """The Manager declares its own cursors."""
    assert codes(path, text.replace("async for", "for")) == []


@pytest.mark.parametrize(
    "text",
    [
        transaction("await asyncio.gather(orders.add(), orders.add())"),
        transaction("asyncio.create_task(orders.add())"),
        transaction("await asyncio.shield(orders.add())"),
        transaction("task = asyncio.Task(orders.add())"),
        "from asyncio import Task as Job\n" + transaction("Job(orders.add())"),
        "from asyncio import gather as both\n" + transaction("await both(orders.add(), x())"),
        transaction("await gather(orders.add())"),
        transaction("async with asyncio.TaskGroup() as group:\n    pass"),
        transaction("if order:\n    await asyncio.ensure_future(orders.add())"),
        function("async with manager.savepoint():\n    group.create_task(orders.add())"),
        function("async with manager.transaction('x'), asyncio.TaskGroup():\n    pass"),
        function("async with TaskGroup() as g, manager.transaction('x'):\n    g.create_task(x())"),
        function("await manager.run('x', lambda: asyncio.gather(orders.add(), orders.add()))"),
        function("await asyncio.gather(orders.add())") + "manager.run('x', work)\n",
        function("await asyncio.gather(orders.add())")
        + "manager.run('x', partial(self.work, 1))\n",
        "@query('x', writes=True)\n" + function("await asyncio.gather(orders.add())"),
    ],
)
def test_a_task_inside_a_transaction_is_found(codes: Codes, text: str) -> None:
    """In every kind of block and function that runs inside one."""
    assert codes(API, text) == ["D8"]


@pytest.mark.parametrize(
    "text",
    [
        function("await asyncio.gather(orders.add(), orders.add())"),
        function("async with manager.transaction('x'):\n    pass\nasyncio.create_task(x())"),
        function("async with asyncio.TaskGroup() as g, manager.transaction('x'):\n    await x()"),
        transaction("async def later():\n    await asyncio.gather(x(), y())"),
        "from shop.orders.messages import Task\n" + transaction("await orders.add(Task(1))"),
        transaction("manager.current_transaction().after_commit.add(lambda: create_task(x()))"),
        "@query('x')\n" + function("await asyncio.gather(orders.add())"),
        function("await asyncio.gather(orders.add())") + "asyncio.run(work())\n",
    ],
)
def test_tasks_beside_transactions_are_left_alone(codes: Codes, text: str) -> None:
    """Before it, after it, or in a function that only is written inside."""
    assert codes(API, text) == []


@pytest.mark.parametrize(
    "text",
    [
        function("await asyncio.wait_for(channel.close(), 1)"),
        function("await wait_for(asyncio.shield(channel.close()), timeout=1)"),
        function("await channel.declare_queue('orders', timeout=1)"),
        function("async with pool.acquire(timeout=ANSWER) as channel:\n    pass"),
        function("asyncio.gather(queue.get(timeout=1), queue.get())"),
    ],
)
def test_a_wait_that_may_lose_a_cancellation_is_found(codes: Codes, text: str) -> None:
    """Whether it waits itself, or tells a library to."""
    assert set(codes("src/shop/chassis/rabbitmq/link.py", text)) == {"D9"}
    assert set(codes(API, f"import aio_pika.abc\n{text}")) == {"D9"}


def test_a_client_of_something_else_may_have_a_limit(codes: Codes) -> None:
    """It is aio-pika that waits with asyncio.wait_for."""
    assert codes(API, function("await client.get(url, timeout=5)")) == []


@pytest.mark.parametrize(
    "text",
    [
        function("async with asyncio.timeout(1):\n    await channel.close()"),
        function("await asyncio.wait([task], timeout=1)"),
        function("await channel.close()"),
        "def ask():\n    return HTTPConnection('localhost', timeout=1)\n",
    ],
)
def test_a_wait_that_can_be_cancelled_is_left_alone(codes: Codes, text: str) -> None:
    """asyncio.wait keeps every cancellation, and a blocking call has none."""
    assert codes("src/shop/chassis/rabbitmq/link.py", text) == []


@pytest.mark.parametrize(
    "text",
    [
        function("async with manager.transaction(f'show_{orders}'):\n    pass"),
        function("async with manager.transaction(name='show' + orders):\n    pass"),
        function("name = 'show_%s' % orders\nawait self.manager.run(name, work)"),
        function("with self.manager.named('orders.{}'.format(orders)):\n    pass"),
        "@query(f'orders.{kind}')\n" + function("pass"),
        "from prometheus_client import Counter\n",
        "import prometheus_client.core\n",
    ],
)
def test_a_name_that_is_made_of_an_id_is_found(codes: Codes, text: str) -> None:
    """Of a transaction, a query, and in a metric of a slice's own."""
    assert codes(API, text) == ["D12"]


@pytest.mark.parametrize(
    "text",
    [
        function("async with manager.transaction('show_order', read_only=True):\n    pass"),
        function("await manager.run(name, work)\nasync with manager.transaction(_NAME): ..."),
        "_NAME = 'orders'\n" + function("with self.manager.named(f'{_NAME}.page'):\n    pass"),
        function("subprocess.run(f'ls {orders}')\nlog.info(f'{orders}')"),
        "from collections import Counter\nSEEN = Counter(f'{x}')\n",
    ],
)
def test_a_name_that_is_known_before_is_left_alone(codes: Codes, text: str) -> None:
    """Also a part of it that is a constant."""
    assert codes(API, text) == []


def test_a_handler_is_inside_a_transaction(codes: Codes) -> None:
    """Its caller has opened it."""
    body = """
    try:
        await asyncio.gather(orders.add(), orders.add())
    except Exception:
        pass
    """
    assert sorted(codes("src/shop/orders/handlers.py", function(body))) == ["D6", "D8"]


@pytest.mark.parametrize(
    "text",
    [
        "SQL = 'LISTEN x'  # lint: D4 (a connection of its own)\n",
        "SQL = 'LISTEN x'  # noqa: S608  # lint: D4 (see docs, under listen())\n",
        "SQL = '''\nLISTEN x\n'''  # lint: D4 (a connection of its own)\n",
        "self.sql(f'LISTEN {x}')  # lint: D4 (its own) # lint: D5 (from a constant)\n",
    ],
)
def test_a_note_with_a_reason_lets_a_line_pass(codes: Codes, text: str) -> None:
    """On the first or the last line of what it is about; several beside each other."""
    assert codes(REPOSITORY, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SQL = 'LISTEN x'  # lint: D4\n", ["D0"]),
        ("SQL = 'LISTEN x'  # lint: D4 ()\n", ["D0"]),
        ("SQL = 'SELECT 1'  # lint: D4 (no longer needed)\n", ["D0"]),
        ("SQL = 'LISTEN x'  # lint: D5 (another rule)\n", ["D4", "D0"]),
        ("SQL = 'LISTEN x'  # lint: off\n", ["D4", "D0"]),
        ("# lint: D4 (on a line of its own)\nSQL = 'LISTEN x'\n", ["D4", "D0"]),
    ],
)
def test_a_note_that_is_wrong_is_found_itself(codes: Codes, text: str, expected: list[str]) -> None:
    """Without a reason nobody knows when it may go; without effect it has to."""
    assert codes(REPOSITORY, text) == expected


def test_a_file_that_is_not_python_is_a_finding(codes: Codes) -> None:
    """The other files are looked at nevertheless."""
    assert codes(API, "def (\n") == ["D0"]


def test_findings_are_printed_in_order_with_what_helps(
    project: Path, codes: Codes, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, which editors can follow; the exit status says that there are some."""
    codes(REPOSITORY, "x = 1\nself.sql('LISTEN x')\n")
    codes(API, "import peewee\n")

    assert main([str(project)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{API}:1: D1 imports peewee — Import it in models.py")
    assert second == (
        f"{REPOSITORY}:2: D4 `LISTEN x` outlives the transaction — Use SET LOCAL, "
        "set_config(…, true), pg_advisory_xact_lock(…) or ON COMMIT DROP"
    )


def test_a_clean_project_is_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that nobody takes a folder without files for a clean one."""
    assert main([str(project)]) == 0
    assert capsys.readouterr().out == "nothing found in 1 files\n"


@pytest.mark.parametrize("packages", [[], ["shop", "shelf"]])
def test_which_package_is_meant_has_to_be_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packages: list[str]
) -> None:
    """With none or several below `src`, nothing is called clean."""
    for name in packages:
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "__init__.py").touch()

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == 2
    assert f"holds {len(packages)} packages instead of one" in capsys.readouterr().err


def test_the_help_gives_a_reason_for_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """And says what helps."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for rule in RULES:
        reason, helps = rule.reason_and_help
        assert f"{rule.code}  {reason}\n    {helps}.\n" in printed
        assert helps


def test_this_project_is_clean() -> None:
    """All of it; what has to be an exception carries its reason."""
    assert main([]) == 0
