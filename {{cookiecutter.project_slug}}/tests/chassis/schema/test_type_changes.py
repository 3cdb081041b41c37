"""What a change of a column's type writes anew, and what does not fit, is what PostgreSQL does."""

from collections.abc import Iterator
from contextlib import closing
from itertools import product
from typing import Any

import pytest

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.migrations.recipes import short
from acme_orders.chassis.migrations.type_changes import Anew, anew, is_narrower

from tests.chassis.integration.migrating import empty_database

# Kinds that PostgreSQL changes into each other by itself; of each type a value: the largest, the
# longest or the one with the most digits.
TEXTS = {
    "text": "repeat('x', 60)",
    "varchar": "repeat('x', 60)",
    "varchar(20)": "repeat('x', 20)",
    "character varying(40)": "repeat('x', 40)",
    "char(3)": "'xxx'",
    "char(8)": "'xxxxxxxx'",
}
NUMBERS = {
    "smallint": "32767",
    "integer": "2147483647",
    "int8": "9223372036854775807",
    "numeric": "12345678901234567890123.456789",
    "numeric(4)": "9999",
    "numeric(6, 2)": "9999.99",
    "numeric(8, 2)": "999999.99",
    "numeric(8, 4)": "9999.9999",
    "decimal(24, 0)": "999999999999999999999999",
}
FLOATS = {"real": "0.5", "double precision": "0.1"}
BITS = {
    "bit(3)": "B'111'",
    "bit(8)": "B'11111111'",
    "varbit": "repeat('1', 60)::varbit",
    "varbit(3)": "B'111'",
    "varbit(8)": "B'11111111'",
}
FITTING = (TEXTS, NUMBERS, FLOATS, BITS)
KINDS: list[list[str]] = [
    [*TEXTS, "inet", "cidr", "uuid"],
    [*NUMBERS, *FLOATS, "boolean"],
    [*BITS],
    [
        *("timestamp", "timestamp(3)", "timestamptz", "timestamptz(3)"),
        *("timestamp with time zone", "time", "time(2)", "timetz(3)", "interval", "interval(3)"),
        *("date",),
    ],
]
FILES = "SELECT relfilenode FROM pg_class WHERE relname IN (%s, %s) ORDER BY relname"


@pytest.fixture(scope="module")
def cursor() -> Iterator[Any]:
    """Of a session like those of migrations, in an empty database."""
    with empty_database() as url, closing(open_blocking(url)) as connection:
        yield connection.cursor()


def files(cursor: Any, table: str) -> list[int]:
    """Where the rows are, and the index of them."""
    cursor.execute(FILES, (table, f"{table}_i"))
    return [number for (number,) in cursor.fetchall()]


def written(before: list[int], after: list[int]) -> Anew:
    """What has another file than before."""
    rows, index = (one != other for one, other in zip(before, after, strict=True))
    return Anew.TABLE if rows else Anew.INDEXES if index else Anew.NOTHING


def test_what_is_written_anew_is_what_we_say(cursor: Any) -> None:
    """Of every type to every other one that PostgreSQL takes without being told how."""
    found, said, refused = {}, {}, set()
    for kind in KINDS:
        for old in kind:
            table = short("t", old)
            cursor.execute(f"CREATE TABLE {table} (c {old})")
            cursor.execute(f"CREATE INDEX {table}_i ON {table} (c)")
            before = files(cursor, table)
            for new in kind:
                cursor.execute("BEGIN")
                try:
                    cursor.execute(f"ALTER TABLE {table} ALTER COLUMN c TYPE {new}")
                    rows, index = (
                        a != b for a, b in zip(before, files(cursor, table), strict=True)
                    )
                    found[old, new] = (
                        Anew.TABLE if rows else Anew.INDEXES if index else Anew.NOTHING
                    )
                    said[old, new] = anew(old, new)
                except driver.DriverError as error:  # there is no way that it finds by itself
                    refused.add(driver.sqlstate(error))
                cursor.execute("ROLLBACK")

    assert len(found) > 200
    assert set(found.values()) == set(Anew)
    assert refused == {"42804"}
    assert {each: (said[each], found[each]) for each in found if said[each] != found[each]} == {}


def test_what_does_not_fit_is_what_we_say(cursor: Any) -> None:
    """The largest value of one type, written into a column of another: there, and the same."""
    wrong, seen = {}, set()
    for values, (old, new) in ((kind, pair) for kind in FITTING for pair in product(kind, kind)):
        extremes = [values[old], *(["B'1'"] if old.startswith("varbit") else [])]
        fits = all(is_there(cursor, each, old, new) for each in extremes)
        seen.add(fits)
        if fits == is_narrower(old, new):
            wrong[old, new] = fits

    assert seen == {True, False}
    assert wrong == {}


def is_there(cursor: Any, value: str, old: str, new: str) -> bool:
    """Whether PostgreSQL stores a value of one type in a column of another, and it is the same."""
    cursor.execute("BEGIN")
    try:
        cursor.execute(f"CREATE TABLE one (c {old}); INSERT INTO one VALUES ({value})")
        cursor.execute(f"CREATE TABLE other (c {new}); INSERT INTO other SELECT c FROM one")
        cursor.execute(f"SELECT other.c::{old}::text = one.c::text FROM one, other")
        return bool(cursor.fetchone()[0])
    except driver.DriverError:
        return False
    finally:
        cursor.execute("ROLLBACK")
