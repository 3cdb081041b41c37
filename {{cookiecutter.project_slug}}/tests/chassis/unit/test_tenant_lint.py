# feature: row, rls, schema
"""SQL that could reach another tenant is refused, and so is SQL that nobody can read."""

import importlib
import itertools  # feature: row, rls
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acme_orders.chassis import tenancy
from acme_orders.chassis.database.placeholders import numbers  # feature: row, rls
from acme_orders.chassis.database.sql_shape import shape  # feature: row, rls

TABLES = {"orders", "lines", "customers"}


def violations(lint: ModuleType, sql: str, tables: Iterable[str]) -> list[str]:
    """What is wrong with SQL text that parameters go with."""
    return list(lint.judged(sql, frozenset(tables), filled=True).problems)


def is_by_column(lint: ModuleType) -> bool:
    """Whether it wants every table pinned by its column; the other wants no schema named."""
    return bool(violations(lint, "SELECT 1 FROM orders", TABLES))


LINTS = [
    importlib.import_module(f"{tenancy.__name__}.{file.stem}")
    for file in sorted(Path(tenancy.__path__[0]).glob("lint*.py"))
]


def title(value: object) -> str:
    """A test's name, of characters that every terminal and every report can hold."""
    return ascii(value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else value)[:80]


FINE_EVERYWHERE = [
    "SELECT 1",
    "",
    "SELECT * FROM plans p JOIN regions r USING (id) WHERE p.price > %s OR r.name = %(name)s",
    "SELECT relname FROM pg_catalog.pg_class WHERE relkind = 'r'",
    "SELECT * FROM information_schema.columns WHERE column_name LIKE 'a%%'",
    "SELECT 10 %% 3, E'it''s \\' ok', $tag$ it's $tag$ -- it's\n",
    "SELECT x FROM generate_series(1, %s) AS x, (VALUES (1), (2)) AS v(y)",
    "SET LOCAL lock_timeout = 5000",
    "SET TRANSACTION READ ONLY",
    "SHOW server_version",
    "FETCH 100 FROM c; CLOSE c",
    "EXPLAIN SELECT 1",
    (
        'SELECT "t1"."id" FROM "orders" AS "t1" '
        'WHERE (("t1"."tenant_id" = %s) AND ("t1"."id" = %s)) LIMIT %s'
    ),
    (
        'INSERT INTO "orders" ("tenant_id", "id") VALUES (%s, %s), (%s, %s) '
        'ON CONFLICT ("tenant_id", "id") DO NOTHING RETURNING "id"'
    ),
    'UPDATE "orders" SET "status" = %s WHERE ("orders"."tenant_id" = %s)',
    'DELETE FROM "orders" WHERE (("orders"."tenant_id" = %s) AND ("orders"."id" IN (%s, %s)))',
    'INSERT INTO "plans" ("id", "price") VALUES (%s, %s)',
]
REFUSED_EVERYWHERE = [
    "BEGIN",
    "SAVEPOINT a",
    "COMMIT",
    "ROLLBACK",
    "SET LOCAL ROLE other",
    "SET LOCAL ROLE NONE",
    "SET LOCAL row_security = off",
    "SET LOCAL app.tenant_id = 'other'",
    "SELECT set_config('app.tenant_id', %s, true)",
    "SELECT id FROM plans WHERE set_config('ROLE', %s, true) = 'x'",
    "SELECT set_config(%s, %s, true)",
    "SELEC 1",
    "SELECT 1; SELEC 2",
    "SELECT 'open",
    "SELECT 1 FROM (SELECT",
    "SELECT * FROM plans WHERE name = '%s'",
    'SELECT "%s" FROM plans',
    "SELECT 1 -- %s",
    "SELECT 1 /* %(name)s */",
    "SELECT $$ %s $$",
    "SELECT * FROM plans WHERE id = $1",
    "SELECT * FROM plans WHERE id%s",
    "SELECT 1; \0 DROP TABLE orders",
    "SELECT '\udc80'",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT " + "1 + " * 20_000 + "1",
    "SET search_path = other",
    "SET app.tenant_id = '1'",
    "SET SESSION AUTHORIZATION other",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "RESET ALL",
    "DISCARD ALL",
    "TRUNCATE orders",
    "TRUNCATE plans, orders",
    "LOCK TABLE orders",
    "COPY orders TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "CREATE TABLE copied AS SELECT 1",
    "SELECT 1 INTO copied",
    "ALTER TABLE orders ADD COLUMN x int",
    "DROP TABLE orders",
    "CREATE INDEX ON orders (id)",
    "VACUUM orders",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "CALL archive()",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN CREATE TABLE copied AS SELECT 1",
    "PREPARE TRANSACTION 'a'",
    "LISTEN orders",
]

PINNED = [
    # WHERE
    "SELECT * FROM orders WHERE tenant_id = %s",
    "SELECT * FROM orders WHERE orders.tenant_id = %(tenant)s",
    "SELECT * FROM public.orders WHERE tenant_id = %s",
    "SELECT * FROM orders AS o WHERE o.status = 'new' AND (o.total > 1 AND o.tenant_id = %s)",
    "SELECT * FROM orders WHERE %s = tenant_id",
    "SELECT * FROM orders WHERE tenant_id = %s::uuid AND (status = %s OR status = %s)",
    "SELECT * FROM orders WHERE tenant_id = '7'",
    "SELECT * FROM orders WHERE tenant_id = CAST('7' AS uuid)",
    "SELECT * FROM orders WHERE tenant_id = NULLIF(current_setting('a.tenant', true), '')::uuid",
    "SELECT * FROM orders WHERE tenant_id = (SELECT pg_catalog.current_setting('a.tenant')::uuid)",
    "SELECT * FROM orders WHERE (tenant_id, id) = (%s, %s)",
    "SELECT * FROM orders o WHERE ROW(o.id, o.tenant_id) = ROW(%s, %s::uuid)",
    "SELECT * FROM orders o WHERE o.tenant_id = %s AND o.id = %s FOR UPDATE OF o SKIP LOCKED",
    "SELECT * FROM orders TABLESAMPLE SYSTEM (1) WHERE tenant_id = %s",
    "DECLARE c CURSOR FOR SELECT * FROM orders WHERE tenant_id = %s",
    "EXPLAIN (ANALYZE) DELETE FROM orders WHERE tenant_id = %s",
    # joins
    (
        "SELECT * FROM orders o JOIN lines l ON l.order_id = o.id AND l.tenant_id = o.tenant_id"
        " WHERE o.tenant_id = %s"
    ),
    "SELECT * FROM orders o, lines l WHERE l.tenant_id = %s AND o.tenant_id = %s",
    "SELECT * FROM orders o JOIN lines l ON o.tenant_id = %s AND l.tenant_id = %s",
    "SELECT * FROM orders o JOIN plans p ON p.id = o.plan WHERE tenant_id = %s",
    "SELECT * FROM orders o LEFT JOIN lines l ON l.tenant_id = o.tenant_id WHERE o.tenant_id = %s",
    "SELECT * FROM lines l RIGHT JOIN orders o ON l.tenant_id = %s WHERE o.tenant_id = %s",
    "SELECT * FROM plans p LEFT JOIN orders o ON o.plan = p.id AND o.tenant_id = %s",
    (
        "SELECT * FROM orders o FULL JOIN lines l ON l.order_id = o.id"
        " WHERE o.tenant_id = %s AND l.tenant_id = %s"
    ),
    "SELECT * FROM orders o JOIN lines l USING (tenant_id, id) WHERE o.tenant_id = %s",
    (
        "SELECT * FROM orders JOIN lines USING (tenant_id) JOIN customers USING (tenant_id)"
        " WHERE tenant_id = %s"
    ),
    "SELECT * FROM orders o LEFT JOIN lines l USING (tenant_id) WHERE tenant_id = %s",
    "SELECT * FROM orders o RIGHT JOIN lines l USING (tenant_id) WHERE tenant_id = %s",
    (
        "SELECT * FROM orders o, lines l, customers c WHERE c.tenant_id = %s"
        " AND o.tenant_id = l.tenant_id AND l.tenant_id = c.tenant_id"
    ),
    "SELECT * FROM orders a JOIN orders b ON b.tenant_id = a.tenant_id WHERE a.tenant_id = %s",
    # queries inside
    (
        "SELECT * FROM orders o WHERE o.tenant_id = %s AND EXISTS"
        " (SELECT 1 FROM lines l WHERE l.tenant_id = o.tenant_id AND l.order_id = o.id)"
    ),
    "SELECT (SELECT count(*) FROM lines WHERE tenant_id = %s) FROM plans",
    "SELECT * FROM (SELECT id FROM orders WHERE tenant_id = %s) AS mine WHERE id > %s",
    (
        "SELECT * FROM orders o, LATERAL (SELECT 1 FROM lines l WHERE l.tenant_id = o.tenant_id) x"
        " WHERE o.tenant_id = %s"
    ),
    "SELECT id FROM orders WHERE tenant_id = %s UNION SELECT id FROM lines WHERE tenant_id = %s",
    "WITH mine AS (SELECT id FROM orders WHERE tenant_id = %s) SELECT * FROM mine",
    "WITH orders AS (SELECT id FROM plans) SELECT * FROM orders",
    "WITH orders AS (SELECT id FROM plans) SELECT * FROM (SELECT * FROM orders) AS x",
    (
        "WITH RECURSIVE tree AS (SELECT id FROM orders WHERE tenant_id = %s UNION ALL"
        " SELECT o.id FROM orders o JOIN tree ON o.parent = tree.id AND o.tenant_id = %s)"
        " SELECT * FROM tree"
    ),
    "WITH gone AS (DELETE FROM lines WHERE tenant_id = %s RETURNING id) SELECT count(*) FROM gone",
    # writes
    (
        "UPDATE orders SET status = %s WHERE id IN"
        " (SELECT id FROM orders WHERE tenant_id = %s LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " AND tenant_id = %s"
    ),
    (
        "UPDATE orders AS o SET total = l.sum FROM lines AS l"
        " WHERE l.tenant_id = o.tenant_id AND o.tenant_id = %s"
    ),
    "DELETE FROM lines USING orders o WHERE lines.tenant_id = o.tenant_id AND o.tenant_id = %s",
    "INSERT INTO orders (id, tenant_id) VALUES (%s, current_setting('app.tenant_id')::uuid)",
    "INSERT INTO orders (tenant_id, id) SELECT %s, id FROM plans",
    "INSERT INTO orders (tenant_id, id) SELECT l.tenant_id, l.id FROM lines l WHERE tenant_id = %s",
    (
        "INSERT INTO orders (tenant_id, id)"
        " SELECT %s, 1 UNION ALL SELECT tenant_id, id FROM lines WHERE tenant_id = %s"
    ),
    "INSERT INTO orders (tenant_id, id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
    (
        "INSERT INTO orders AS o (tenant_id, id) VALUES (%s, %s) ON CONFLICT (id, tenant_id)"
        " DO UPDATE SET status = excluded.status, total ="
        " (SELECT sum(l.price) FROM lines l WHERE l.tenant_id = excluded.tenant_id)"
    ),
    (
        "MERGE INTO orders o USING plans p ON o.plan = p.id AND o.tenant_id = %s"
        " WHEN MATCHED THEN UPDATE SET total = p.price"
        " WHEN NOT MATCHED THEN INSERT (id, tenant_id) VALUES (p.id, %s)"
    ),
]
UNPINNED = [
    # WHERE
    "TABLE orders",
    "SELECT * FROM orders",
    "SELECT * FROM public.orders",
    "SELECT * FROM other.orders WHERE id = %s",
    "SELECT * FROM plans; SELECT * FROM orders",
    "SELECT * FROM orders WHERE id = %s",
    "SELECT * FROM orders WHERE tenant_id = %s OR id = %s",
    "SELECT * FROM orders WHERE id = %s AND (tenant_id = %s OR true)",
    "SELECT * FROM orders WHERE NOT tenant_id = %s",
    "SELECT * FROM orders WHERE tenant_id != %s",
    "SELECT * FROM orders WHERE tenant_id >= %s",
    "SELECT * FROM orders WHERE tenant_id IN (%s)",
    "SELECT * FROM orders WHERE tenant_id = ANY(%s)",
    "SELECT * FROM orders WHERE tenant_id IN (SELECT id FROM tenants)",
    "SELECT * FROM orders WHERE tenant_id = (SELECT id FROM tenants LIMIT 1)",
    "SELECT * FROM orders WHERE (tenant_id, id) IN ((%s, %s))",
    "SELECT * FROM orders WHERE (tenant_id, id) > (%s, %s)",
    "SELECT * FROM orders WHERE tenant_id IS NOT DISTINCT FROM %s",
    "SELECT * FROM orders WHERE tenant_id LIKE %s",
    "SELECT * FROM orders WHERE tenant_id::text = %s",
    "SELECT * FROM orders WHERE lower(tenant_id) = %s",
    "SELECT * FROM orders WHERE tenant_id = lower(%s)",
    "SELECT * FROM orders WHERE tenant_id = tenant_id",
    "SELECT * FROM orders WHERE tenant_id = id",
    "SELECT * FROM orders WHERE (tenant_id = %s) IS NOT FALSE",
    "SELECT * FROM orders WHERE CASE WHEN %s THEN tenant_id = %s ELSE true END",
    "SELECT * FROM orders WHERE tenant_id OPERATOR(public.=) %s",
    "SELECT * FROM orders WHERE public.orders.tenant_id = %s",
    "SELECT * FROM orders GROUP BY tenant_id HAVING tenant_id = %s",
    "SELECT tenant_id = %s FROM orders",
    "SELECT * FROM orders AS o (tenant_id, id) WHERE o.tenant_id = %s",
    "SELECT * FROM orders WHERE 'tenant_id = %%s' = 'a' -- AND tenant_id = 1",
    "DECLARE c CURSOR FOR SELECT * FROM orders",
    "EXPLAIN SELECT * FROM orders",
    # joins
    "SELECT * FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.tenant_id = %s",
    "SELECT * FROM orders o JOIN lines l ON l.tenant_id = o.tenant_id",
    "SELECT * FROM orders o, lines l WHERE tenant_id = %s",
    "SELECT * FROM orders o, lines l WHERE o.tenant_id = %s OR l.tenant_id = o.tenant_id",
    "SELECT * FROM orders o LEFT JOIN lines l ON l.tenant_id = %s AND o.tenant_id = %s",
    "SELECT * FROM orders o LEFT JOIN lines l ON o.tenant_id = l.tenant_id WHERE l.tenant_id = %s",
    "SELECT * FROM orders o RIGHT JOIN lines l ON l.tenant_id = %s AND o.tenant_id = %s",
    "SELECT * FROM orders o FULL JOIN lines l ON l.tenant_id = %s AND o.tenant_id = %s",
    "SELECT * FROM orders o FULL JOIN lines l USING (tenant_id) WHERE o.tenant_id = %s",
    "SELECT * FROM orders o JOIN lines l USING (id) WHERE o.tenant_id = %s",
    "SELECT * FROM orders o JOIN lines l USING (tenant_id)",
    "SELECT * FROM orders o NATURAL JOIN lines l WHERE o.tenant_id = %s",
    (
        "SELECT * FROM orders o WHERE o.tenant_id = %s AND EXISTS"
        " (SELECT 1 FROM (orders o JOIN plans p ON true) AS j WHERE o.tenant_id = %s)"
    ),
    "SELECT * FROM a.orders, b.orders WHERE orders.tenant_id = %s",
    # queries inside
    "SELECT * FROM plans WHERE id IN (SELECT plan FROM orders)",
    "SELECT (SELECT count(*) FROM lines) FROM orders WHERE tenant_id = %s",
    "SELECT * FROM orders WHERE tenant_id = %s AND EXISTS (SELECT 1 FROM lines)",
    "SELECT * FROM plans p WHERE EXISTS (SELECT 1 FROM orders o WHERE o.tenant_id = p.tenant_id)",
    "SELECT * FROM (SELECT * FROM orders) AS o WHERE o.tenant_id = %s",
    "SELECT * FROM plans, LATERAL (SELECT * FROM lines) AS x",
    "SELECT * FROM plans ORDER BY (SELECT max(id) FROM orders)",
    "SELECT sum(x) FILTER (WHERE EXISTS (SELECT 1 FROM orders)) FROM plans",
    "SELECT id FROM orders WHERE tenant_id = %s UNION ALL SELECT id FROM lines",
    "WITH all_of_them AS (SELECT * FROM orders) SELECT * FROM all_of_them WHERE tenant_id = %s",
    "WITH orders AS (SELECT * FROM orders) SELECT * FROM orders",
    "WITH orders AS (SELECT id FROM plans) SELECT * FROM public.orders",
    "WITH orders AS (SELECT id FROM plans) DELETE FROM orders",
    "WITH a AS (SELECT * FROM lines), lines AS (SELECT 1) SELECT * FROM a",
    "WITH gone AS (DELETE FROM lines RETURNING id) SELECT count(*) FROM gone",
    # writes
    "UPDATE orders SET status = %s",
    "UPDATE orders SET status = %s WHERE id = %s",
    "UPDATE orders SET tenant_id = %s WHERE tenant_id = %s",
    "UPDATE orders SET (status, tenant_id) = (%s, %s) WHERE tenant_id = %s",
    "UPDATE orders SET status = %s WHERE CURRENT OF c",
    "UPDATE orders AS o SET total = 1 FROM lines AS l WHERE o.tenant_id = %s",
    "UPDATE plans SET price = (SELECT max(total) FROM orders)",
    "DELETE FROM orders",
    "DELETE FROM orders WHERE id = %s RETURNING *",
    "DELETE FROM lines USING orders o WHERE lines.order_id = o.id AND o.tenant_id = %s",
    "INSERT INTO orders VALUES (%s, %s)",
    "INSERT INTO orders DEFAULT VALUES",
    "INSERT INTO orders (id) VALUES (%s)",
    "INSERT INTO orders (tenant_id, id) VALUES (%s, %s), (DEFAULT, %s)",
    "INSERT INTO orders (id, tenant_id) VALUES (%s)",
    "INSERT INTO orders (tenant_id) VALUES ((SELECT id FROM tenants LIMIT 1))",
    "INSERT INTO orders (tenant_id, id) SELECT tenant_id, id FROM imported",
    "INSERT INTO orders (tenant_id, id) SELECT id, tenant_id FROM lines WHERE tenant_id = %s",
    "INSERT INTO orders (id, tenant_id) SELECT l.*, %s FROM lines l WHERE tenant_id = %s",
    "INSERT INTO orders (tenant_id, id) SELECT %s, id FROM lines",
    "INSERT INTO orders (tenant_id) SELECT %s UNION SELECT tenant_id FROM imported",
    "INSERT INTO orders (tenant_id, id) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING",
    (
        "INSERT INTO orders (tenant_id, id) VALUES (%s, %s)"
        " ON CONFLICT ON CONSTRAINT orders_pkey DO UPDATE SET status = 'new'"
    ),
    (
        "INSERT INTO orders (tenant_id, id) VALUES (%s, %s)"
        " ON CONFLICT (tenant_id, id) DO UPDATE SET tenant_id = excluded.tenant_id"
    ),
    (
        "INSERT INTO orders (tenant_id, id) VALUES (%s, %s) ON CONFLICT (tenant_id, id)"
        " DO UPDATE SET total = (SELECT max(price) FROM lines)"
    ),
    "INSERT INTO plans (id) SELECT plan FROM orders",
    "MERGE INTO orders o USING plans p ON o.plan = p.id WHEN MATCHED THEN DELETE",
    "MERGE INTO orders o USING plans p ON o.tenant_id = %s WHEN NOT MATCHED BY SOURCE THEN DELETE",
    (
        "MERGE INTO orders o USING lines l ON o.tenant_id = %s AND l.tenant_id = %s"
        " WHEN NOT MATCHED THEN DO NOTHING"
    ),
    (
        "MERGE INTO orders o USING plans p ON o.tenant_id = %s"
        " WHEN NOT MATCHED THEN INSERT (id) VALUES (p.id)"
    ),
    (
        "MERGE INTO orders o USING plans p ON o.tenant_id = %s"
        " WHEN MATCHED THEN UPDATE SET tenant_id = p.id"
    ),
]

IN_SCHEMA = [
    "SELECT * FROM orders",
    "SELECT orders.id, o.* FROM orders, orders AS o",
    "UPDATE orders SET status = %s",
    "DELETE FROM orders",
    "INSERT INTO orders VALUES (%s) ON CONFLICT (id) DO NOTHING",
    "SELECT * FROM public.plans",
    "SELECT pg_catalog.now(), %s::pg_catalog.int4, 1 OPERATOR(pg_catalog.+) 1",
    "SELECT set_config('lock_timeout', %s, true)",
    "SELECT current_setting('search_path')",
    "SET LOCAL statement_timeout = 1",
]
OUT_OF_SCHEMA = [
    "SELECT * FROM other.orders",
    "SELECT * FROM public.orders",
    "SELECT * FROM other.plans",
    "SELECT * FROM plans WHERE id IN (SELECT plan FROM other.orders)",
    "WITH x AS (DELETE FROM other.lines RETURNING 1) SELECT * FROM x",
    "INSERT INTO other.orders VALUES (%s)",
    "UPDATE other.orders SET status = %s",
    "DELETE FROM other.orders",
    "SELECT * FROM orders WHERE public.orders.id = %s",
    "SELECT other.orders.* FROM orders",
    "SELECT other.price(%s)",
    "SELECT %s::other.price",
    "SELECT 1 OPERATOR(other.+) 1",
    "SET LOCAL search_path = other",
    "SET LOCAL SCHEMA 'other'",
    "SET LOCAL SESSION AUTHORIZATION other",
    "SELECT set_config('search_path', 'other', true)",
    "SELECT pg_catalog.set_config('Search_Path', %s, true)",
    "SELECT set_config('role', %s, true)",
    "SELECT set_config(%s, %s, true)",
    "SELECT set_config(is_local => true, setting_name => 'search_path', new_value => 'other')",
    "EXPLAIN SELECT * FROM other.orders",
    "DECLARE c CURSOR FOR SELECT * FROM other.orders",
]

FINE = [
    (lint, sql)
    for lint in LINTS
    for sql in FINE_EVERYWHERE + (PINNED if is_by_column(lint) else IN_SCHEMA)
]
REFUSED = [
    (lint, sql)
    for lint in LINTS
    for sql in REFUSED_EVERYWHERE + (UNPINNED if is_by_column(lint) else OUT_OF_SCHEMA)
]


@pytest.mark.parametrize(("lint", "sql"), FINE, ids=title)
def test_sql_of_one_tenant_is_fine(lint: ModuleType, sql: str) -> None:
    """Nobody is kept from a query that stays with its tenant."""
    assert violations(lint, sql, TABLES) == []


@pytest.mark.parametrize(("lint", "sql"), REFUSED, ids=title)
def test_sql_that_could_reach_another_tenant_is_refused(lint: ModuleType, sql: str) -> None:
    """What reaches too far, or cannot be read, is never passed over."""
    assert violations(lint, sql, TABLES)


@pytest.mark.parametrize("lint", LINTS, ids=title)
def test_a_message_names_the_table_and_says_what_helps(lint: ModuleType) -> None:
    """Who reads it knows which part of the statement to change, and how."""
    found = violations(lint, "SELECT * FROM public.orders AS o", TABLES)
    if is_by_column(lint):
        assert found == [
            (
                "public.orders AS o is not pinned: "
                "add o.tenant_id = %s to its WHERE or ON, joined by AND"
            )
        ]
    else:
        assert found == ["public.orders names a schema: write orders, search_path finds it"]


@pytest.mark.parametrize("lint", LINTS, ids=title)
def test_each_fault_is_told(lint: ModuleType) -> None:
    """One fault does not hide the next."""
    found = violations(lint, "TRUNCATE orders; SELECT * FROM public.lines; SET a.b = 1", TABLES)
    assert [each.split()[0] for each in found] == ["TRUNCATE", "public.lines", "SET"]


@pytest.mark.parametrize("lint", LINTS, ids=title)
def test_tables_may_be_any_collection(lint: ModuleType) -> None:
    """The answer is the caller's own list, whatever the names come in."""
    sql = "SELECT * FROM public.orders"
    found = violations(lint, sql, list(TABLES))
    found.append("changed")
    assert violations(lint, sql, dict.fromkeys(TABLES)) == found[:-1]
    assert violations(lint, sql, set()) == []


OTHER_CONDITIONS = st.lists(
    st.sampled_from(
        [
            "t1.id = %s",
            "(t1.status = %s OR t1.tenant_id = %s)",
            "NOT t1.paid",
            "t1.total BETWEEN %s AND %s",
            "t1.id IN (%s, %s)",
            "t1.note LIKE 'a%%'",
            "t1.tenant_id != %s",
            "t1.plan = (SELECT max(id) FROM plans)",
            "t1.tenant_id IS NOT NULL",
        ]
    ),
    max_size=6,
)
STATEMENTS = st.sampled_from(
    [
        "SELECT * FROM {} AS t1 WHERE {} ORDER BY t1.id LIMIT %s",
        "UPDATE {} AS t1 SET status = %s WHERE {}",
        "DELETE FROM {} AS t1 WHERE {} RETURNING t1.id",
        "SELECT * FROM plans WHERE EXISTS (SELECT 1 FROM {} AS t1 WHERE {})",
        "WITH mine AS (SELECT * FROM {} AS t1 WHERE {}) SELECT * FROM mine",
        "SELECT id FROM plans UNION SELECT t1.id FROM {} AS t1 WHERE {}",
        "SELECT * FROM plans LEFT JOIN {} AS t1 ON {}",
    ]
)


@pytest.mark.parametrize("lint", LINTS, ids=title)
@settings(deadline=None)  # a busy machine is no fault
@given(statement=STATEMENTS, others=OTHER_CONDITIONS, data=st.data())
def test_the_tenants_condition_is_what_counts(
    lint: ModuleType, statement: str, others: list[str], data: st.DataObject
) -> None:
    """With it any other conditions may stand; without it, or with OR beside it, none helps."""
    place = data.draw(st.integers(0, len(others)))
    pinned = " AND ".join([*others[:place], "t1.tenant_id = %s", *others[place:]])
    without = " AND ".join(others) or "true"
    assert violations(lint, statement.format("orders", pinned), TABLES) == []
    if is_by_column(lint):
        damaged = [("orders", without), ("orders", f"({pinned}) OR {without}")]
    else:
        damaged = [("public.orders", pinned), ("other.orders", without)]
    for table, conditions in damaged:
        assert violations(lint, statement.format(table, conditions), TABLES)


# feature: row, rls {
PIECES = st.lists(
    st.one_of(
        st.integers(1, 5).map(lambda n: f"f({', '.join(['%s'] * n)}) %%s"),
        st.integers(1, 9).map(lambda n: f"x IN ({', '.join(['%s'] * n)})"),
        st.tuples(st.integers(1, 3), st.integers(1, 4)).map(
            lambda n: "VALUES " + ", ".join([f"({', '.join(['%s'] * n[0])})"] * n[1])
        ),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(PIECES)
def test_each_placeholder_is_found_again(pieces: list[str]) -> None:
    """Each of the text stands behind one of its shape."""
    sql = " AND ".join(pieces)
    found = numbers(sql)
    assert sorted(itertools.chain(*found)) == list(range(sql.replace("%%s", "").count("%s")))
    assert len(found) == shape(sql).replace("%%s", "").count("%s")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT %s, '%%s', %s", [[0], [1]]),
        ("SELECT %s WHERE x IN (%s, %s, %s) AND y = %s", [[0], [1, 2, 3], [4]]),
        ("VALUES (%s, %s), (%s, %s), (%s, %s); SELECT %s", [[0, 2, 4], [1, 3, 5], [6]]),
        ("WHERE x IN (%s) AND y IN (%s, %s)", [[0], [1, 2]]),
    ],
)
def test_a_place_stands_for_all_that_it_was_made_of(sql: str, expected: list[list[int]]) -> None:
    """In their order."""
    assert [list(each) for each in numbers(sql)] == expected


# feature: row, rls }
