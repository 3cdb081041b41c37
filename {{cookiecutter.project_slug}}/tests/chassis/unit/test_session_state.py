"""SQL that leaves something on its connection is refused, however it is written."""

import random

import postgast
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from acme_orders.chassis.database import session_state, sql_shape, statements
from acme_orders.chassis.database.session_state import problems
from acme_orders.chassis.database.sql_shape import remembered, shape
from acme_orders.chassis.database.statements import refuse_session_state
from acme_orders.chassis.errors import TransactionMisused

OUTLIVES = [
    "SET search_path = other",
    "/**/SET x.y = 1",
    "SET/**/SESSION/**/x.y = 1",
    "-- harmless\nset time zone 'UTC'",
    "SET NAMES 'latin1'",
    "SET SCHEMA 'other'",
    "SET ROLE other",
    "SET SESSION AUTHORIZATION other",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET x.y FROM CURRENT",
    "RESET ALL",
    "ReSeT work_mem",
    "SELECT 1; SET x.y = 1",
    "SELECT 1;; /* x */ ; RESET ROLE; SELECT 2",
    "LISTEN sales",
    "UNLISTEN *",
    "LOAD 'auto_explain'",
    "DISCARD ALL",
    "DISCARD TEMP",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE ALL",
    "EXPLAIN EXECUTE p",
    "EXPLAIN ANALYZE SELECT pg_advisory_lock(1)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "DECLARE c INSENSITIVE NO SCROLL CURSOR /**/ with\nhold for select 1",
    "SELECT pg_advisory_lock(1)",
    "SELECT PG_ADVISORY_LOCK(1, 2)",
    'SELECT "pg_advisory_lock"(%s)',
    "SELECT U&\"pg!005fadvisory_lock\" UESCAPE '!' (1)",
    "SELECT pg_catalog . /* here */ pg_try_advisory_lock_shared (1)",
    "SELECT 1 FROM pg_advisory_lock_shared(1)",
    "SELECT 1 FROM sales, LATERAL pg_try_advisory_lock(sales.id) AS got",
    "WITH x AS (SELECT pg_advisory_lock(1)) SELECT 1 FROM x",
    "SELECT CASE WHEN true THEN (SELECT pg_advisory_lock(1)) END",
    "INSERT INTO a SELECT pg_advisory_lock(1)",
    "UPDATE a SET b = 1 WHERE pg_try_advisory_lock(1)",
    "DELETE FROM a RETURNING pg_advisory_lock(1)",
    "VALUES (pg_advisory_lock(1))",
    "CALL p(pg_advisory_lock(1))",
    "DECLARE c CURSOR FOR SELECT pg_advisory_lock(1)",
    "SELECT set_config('a.b', 'x', false)",
    "SELECT set_config('a.b', 'x', 'f')",
    "SELECT set_config('a.b', 'x', NULL)",
    "SELECT set_config('a.b', %s, %s)",
    "SELECT set_config('a.b', %s, 1 = 1)",
    "SELECT \"set_config\"('a.b', 'x', false)",
    "SELECT set_config(is_local => false, setting_name => 'a.b', new_value => 'x')",
    "SELECT * FROM pg_catalog.set_config('a.b', 'x', false)",
    "SELECT setseed(0.5)",
    "SELECT dblink_connect('x')",
    "SELECT set_limit(0.5)",
    "SELECT pg_advisory_lock(1)" + " + 1" * 300,
]
MANAGED = [
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "SELECT 1; COMMIT; SELECT 2",
    "/**/ROLLBACK",
    "END",
    "ABORT",
    "COMMIT AND CHAIN",
    "SAVEPOINT a",
    "RELEASE a",
    "ROLLBACK TO SAVEPOINT a",
    "PREPARE TRANSACTION 'a'",
]
NO_QUERY = [
    "CREATE TEMP TABLE t (x int)",
    "create temporary table t as select 1",
    "CREATE LOCAL TEMP TABLE t (x int) ON COMMIT DELETE ROWS",
    "CREATE TABLE pg_temp.t (x int)",
    "CREATE UNLOGGED TABLE t (x int)",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TEMP SEQUENCE s",
    "CREATE FUNCTION pg_temp.f() RETURNS int RETURN 1",
    "SELECT 1 INTO TEMP t",
    "SELECT 1 INTO pg_temp.t",
    "ALTER TABLE sales ADD x int",
    "ALTER ROLE other SET work_mem = 1",
    "DO $$ BEGIN SET x.y = 1; END $$",
    "DO LANGUAGE plpgsql 'BEGIN EXECUTE ''SET x.y = 1''; END'",
    "VACUUM sales",
    "COPY sales TO STDOUT",
    "EXPLAIN CREATE TABLE t AS SELECT 1",
]
UNREADABLE = [
    "SELEC 1",
    "SELECT 1; SELEC 2",
    "SELECT 'open",
    "SELECT 1 /* open",
    "SELECT '\udc80'",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT 1; \0SET x.y = 1",
    "SELECT interval '%s days'",
    "SELECT 1 -- %s",
    "SELECT $$%s$$",
    "SELECT $1",
    "SET LOCAL standard_conforming_strings = off",
    "SELECT set_config('client_encoding', 'SJIS', true)",
]
FINE = [
    "",
    "SELECT 'SET x.y = 1; COMMIT', E'it\\'s; RESET ALL' -- ; COMMIT\n",
    'SELECT "set", "pg_advisory_lock" FROM "discard" AS "listen"',
    "SELECT 'pg_advisory_lock(1)', $a$ set_config('a', 'b', false) $a$",
    "UPDATE sales SET status = %s WHERE id = %s",
    "INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 1",
    "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN UPDATE SET y = 1",
    "TABLE sales",
    "SET LOCAL search_path = other",
    "SET LOCAL ROLE other; SELECT 1",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT set_config('a.b', %s, true), set_config('a.b', %s, 't'), set_config('a.b', 'x', TRUE)",
    "SELECT set_config(is_local => true, setting_name => 'a.b', new_value => 'x')",
    "SELECT pg_advisory_xact_lock(%s), pg_try_advisory_xact_lock_shared(1), pg_advisory_unlock(1)",
    "DECLARE c NO SCROLL CURSOR FOR SELECT 1; FETCH 10 FROM c; MOVE 1 FROM c; CLOSE c",
    "CREATE TEMP TABLE t (x int) ON COMMIT DROP",
    "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
    "LOCK TABLE sales IN SHARE MODE",
    "NOTIFY sales, 'x'",
    "SHOW work_mem",
    "EXPLAIN (ANALYZE) DELETE FROM sales",
    "CALL archive()",
    "TRUNCATE sales",
    "REFRESH MATERIALIZED VIEW a",
    "SELECT 10 %% 3, 'a%%' LIKE %(pattern)s",
    "SELECT 'a'" + " || 'b'" * 300,
    " UNION ALL ".join(["SELECT 1"] * 300),
]


def title(sql: object) -> str:
    """A test's name that every report can hold."""
    return ascii(sql)[:60]


@pytest.mark.parametrize("sql", OUTLIVES, ids=title)
def test_what_outlives_the_transaction_is_refused(sql: str) -> None:
    """With what to use instead."""
    with pytest.raises(TransactionMisused, match=r"outlives the transaction.*SET LOCAL"):
        refuse_session_state(sql, filled="%" in sql)


@pytest.mark.parametrize("sql", MANAGED, ids=title)
def test_transactions_are_the_managers(sql: str) -> None:
    """It would not know that one has ended, or has begun."""
    with pytest.raises(TransactionMisused, match=r"transaction: use manager.transaction\("):
        refuse_session_state(sql, filled=False)


@pytest.mark.parametrize("sql", NO_QUERY, ids=title)
def test_what_is_no_query_is_refused(sql: str) -> None:
    """Most of it stays, and some of it cannot be looked into."""
    with pytest.raises(TransactionMisused, match="belongs in a migration"):
        refuse_session_state(sql, filled=False)


@pytest.mark.parametrize("sql", UNREADABLE, ids=title)
def test_what_nobody_can_read_is_refused(sql: str) -> None:
    """Nothing is known about it; that is said with the reason."""
    with pytest.raises(
        TransactionMisused, match=r"read|NUL character|placeholder stands in quotes"
    ):
        refuse_session_state(sql, filled="%" in sql or "$1" in sql)


def test_the_place_is_told_that_cannot_be_read() -> None:
    """In characters, of which some are several bytes."""
    (found,) = problems("SELECT 'ä', '😀' FORM sales", filled=False)
    assert found.endswith('syntax error at or near "sales", at index 21')


@pytest.mark.parametrize("sql", FINE, ids=title)
def test_what_ends_with_the_transaction_is_let_through(sql: str) -> None:
    """Words in strings, comments and names are no statements."""
    refuse_session_state(sql, filled="%" in sql)


@pytest.mark.parametrize(
    "sql", ["SELECT 'a' LIKE '%s'", "SELECT 10 % 3", "SELECT 'x%%' -- %s", "SELECT interval '%s'"]
)
def test_without_parameters_a_percent_sign_is_one(sql: str) -> None:
    """The drivers read no placeholders then."""
    refuse_session_state(sql, filled=False)


def test_what_others_read_with_protobuf_is_not_read_deeper() -> None:
    """A hostile message could end the process."""
    deep = "SELECT 'a'" + " || 'b'" * 100
    refuse_session_state(deep, filled=False)
    with pytest.raises(DecodeError):
        postgast.parse(deep)


PIECES = """
SET RESET search_path LOCAL = 1 TO ALL COMMIT ; SELECT pg_advisory_lock(1) 'x' FROM a ,
/* */ -- %s " ' ( ) $$ U&
"""
WORDS = st.sampled_from(PIECES.split())


@settings(deadline=None)  # a machine may be busy
@given(words=st.lists(WORDS, max_size=12), filled=st.booleans())
def test_no_text_makes_the_guard_fail(words: list[str], *, filled: bool) -> None:
    """It says yes or no to whatever is written."""
    assert isinstance(problems(" ".join(words), filled=filled), tuple)


ROWS = st.integers(1, 30)


@settings(deadline=None)
@given(ROWS, ROWS, st.sampled_from(["IN", "NOT IN"]))
def test_lists_and_rows_of_any_length_are_one_shape(rows: int, values: int, word: str) -> None:
    """As Peewee writes them."""
    row = f"({', '.join(['%s'] * 3)})"
    listed = ", ".join(["%s"] * values)
    sql = f'INSERT INTO "a" ("x", "y", "z") VALUES {", ".join([row] * rows)}'
    assert shape(sql) == f'INSERT INTO "a" ("x", "y", "z") VALUES {row}'
    select = 'SELECT "x" FROM "a" WHERE ("x" {} ({})) AND f({})'
    assert shape(select.format(word, listed, listed)) == select.format(word, "%s", listed)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO a (x, y) SELECT (%s), (%s)",
        "INSERT INTO a (x, y) VALUES (%s, %s), (%s, 1)",
        "SELECT f(%s, %s), (%s), (%s)",
        "SELECT 1 WHERE (x, y) IN ((%s, %s), (%s, %s))",
        "SELECT '(%s), (%s)'",
    ],
)
def test_where_the_number_has_a_meaning_it_stays(sql: str) -> None:
    """A column that is not there would be taken for one that is."""
    assert shape(sql) == sql


def test_what_is_remembered_has_a_bound() -> None:
    """In number and in size, and what is in use is not forgotten."""
    judged: list[str] = []

    @remembered
    def judge(sql: str) -> tuple[str, ...]:
        judged.append(sql)
        return ()

    for number in range(3 * sql_shape._KEPT):
        judge(f"SELECT {number}")
        judge("SELECT 'always'")
        judge(f"SELECT 1 WHERE x IN ({', '.join(['%s'] * (2 + number % 500))})")
    assert judged.count("SELECT 'always'") == 1
    assert judged.count("SELECT 1 WHERE x IN (%s)") == 1
    judge("SELECT 0")
    assert judged.count("SELECT 0") == 2  # it had made room
    long = f"SELECT '{'x' * sql_shape._LONGEST}'"
    judge(long)
    judge(long)
    assert judged.count(long) == 2


def test_each_text_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser takes longer than many a statement."""
    parsed: list[str] = []

    def instead(sql: str, *, filled: bool) -> tuple[str, ...]:
        parsed.append(sql)
        return ()

    monkeypatch.setattr(session_state, "problems", instead)
    text = f"SELECT {random.random()}"
    for _ in range(100):
        statements.refuse_session_state(text, filled=False)
    assert parsed == [text]
