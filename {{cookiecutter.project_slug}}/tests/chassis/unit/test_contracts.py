"""What contracts are made of: values that are the same in each run, SQL, types that get wider."""

from datetime import UTC, datetime

import pytest

from readiness.contracts.sql import read
from readiness.contracts.stable import Stable
from readiness.contracts.types import is_wider

ONE, OTHER = "0198f7c0-0f4f-7e57-9d0c-5f6b1c1f2a3d", "0198f7c0-0f4f-7e57-9d0c-5f6b1c1f2a3e"
FIRST = "00000000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("first", "second", "text", "same"),
    [
        ("EUR", "EUR", "EUR", True),
        (None, None, None, True),
        (None, "1", None, False),
        (ONE, ONE, ONE, True),  # of the example
        (ONE, OTHER, FIRST, True),
        (f'{{"id":"{ONE}"}}', f'{{"id":"{OTHER}"}}', f'{{"id":"{FIRST}"}}', True),
        ("2026-03-01T10:00:00.1Z", "2026-03-01T10:00:02Z", "2026-01-01 00:00:00+00", True),
        ("2026-03-01", "2026-03-02", "2026-01-01", True),
        ("2026-03-01", "2026-03-01", "2026-03-01", True),
        ("17", "18", "1", True),
        ("abc", "abd", None, False),
    ],
)
def test_what_varies_is_replaced(
    first: str | None, second: str | None, text: str | None, *, same: bool
) -> None:
    """Ids, times and numbers; what varies otherwise is left out."""
    assert Stable().text(first, second) == (text, same)


def test_a_clock_that_was_read_at_import_is_one() -> None:
    """The same in both runs, and another tomorrow."""
    now = datetime.now(UTC).isoformat(sep=" ", timespec="microseconds")
    assert Stable().text(now, now) == ("2026-01-01 00:00:00+00", True)


def test_an_id_is_replaced_by_the_same_one_each_time() -> None:
    """A row that refers to another goes on doing so."""
    stable = Stable()
    stable.text(OTHER, FIRST)
    second = stable.text(ONE, OTHER)
    assert second == stable.text(ONE, OTHER) == (f"{FIRST[:-1]}2", True)
    assert stable.text(f"{ONE} {OTHER}", f"{OTHER} {FIRST}") == (f"{FIRST[:-1]}2 {FIRST}", True)


@pytest.mark.parametrize(
    ("sql", "lines", "tables", "writes", "limit"),
    [
        (
            """SELECT "t1"."a" /* why */ FROM  "sales" AS "t1"\n WHERE "order" = %s LIMIT 5""",
            ("SELECT t1.a", "FROM sales AS t1", 'WHERE "order" = $1', "LIMIT 5"),
            ("sales",),
            False,
            5,
        ),
        (
            "DECLARE one NO SCROLL CURSOR FOR SELECT a FROM b LEFT JOIN c USING (d) LIMIT %s",
            ("SELECT a", "FROM b", "LEFT JOIN c", "USING (d)", "LIMIT $1"),
            ("b", "c"),
            False,
            "$1",
        ),
        (
            "WITH x AS (DELETE FROM a RETURNING id) SELECT count(*) FROM x WHERE t = %s",
            (
                "WITH x AS (DELETE",
                "FROM a",
                "RETURNING id)",
                "SELECT count(*)",
                "FROM x",
                "WHERE t = $1",
            ),
            ("a",),
            True,
            None,
        ),
    ],
)
def test_sql_has_one_spelling(
    sql: str,
    lines: tuple[str, ...],
    tables: tuple[str, ...],
    limit: int | str | None,
    *,
    writes: bool,
) -> None:
    """A line for each clause, and no quotes that Peewee alone wants."""
    assert read(sql, ["x"]) == (lines, tables, writes, limit)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("integer", "bigint", True),
        ("bigint", "integer", False),
        ("integer", "numeric", False),  # another class in Python
        ("text", "character varying", True),
        ("text", "character varying(9)", False),
        ("character varying(5)", "character varying(9)", True),
        ("character varying(9)", "character varying(5)", False),
        ("character varying(9)", "text", True),
        ("numeric(8,2)", "numeric(10,2)", True),
        ("numeric(8,2)", "numeric(8,3)", False),
        ("numeric(8,2)", "numeric", True),
        ("real", "double precision", True),
        ("timestamp without time zone", "timestamp with time zone", False),
        ("uuid", "text", False),
        ("jsonb", "jsonb", True),
    ],
)
def test_a_type_gets_wider_or_does_not(old: str, new: str, *, expected: bool) -> None:
    """Who knows the old type goes on only with a wider one."""
    assert is_wider(old, new) is expected
