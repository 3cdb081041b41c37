"""Made-up rows: as many as wanted, allowed by every key and check, and the same ones each time."""

from typing import Any

import pytest

from readiness.scratch import session
from tests.chassis.seed import Filled, fill

TABLES = """
CREATE TYPE seed_size AS ENUM ('small', 'large');
CREATE TABLE seed_lanes (code varchar(2) PRIMARY KEY);
CREATE TABLE seed_boxes (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    lane varchar(2) NOT NULL REFERENCES seed_lanes,
    label text NOT NULL UNIQUE CHECK (label ~ '^[A-Z]{4}-[0-9]{3}$'),
    state text NOT NULL CHECK (state IN ('open', 'shut')),
    shut_at timestamptz,
    size seed_size NOT NULL,
    grams integer NOT NULL CHECK (grams BETWEEN 0 AND 5000),
    note text,
    half_grams numeric GENERATED ALWAYS AS (grams / 2.0) STORED,
    content jsonb NOT NULL,
    CHECK ((state = 'shut') = (shut_at IS NOT NULL))
);
CREATE TABLE seed_moves (
    box uuid REFERENCES seed_boxes,
    step integer CHECK (step > 0),
    before_box uuid REFERENCES seed_boxes,
    moved_on date NOT NULL,
    PRIMARY KEY (box, step)
);
CREATE TABLE seed_empty (id integer PRIMARY KEY);
INSERT INTO seed_lanes VALUES ('A1'), ('B2'), ('C3');
INSERT INTO seed_boxes (id, lane, label, state, shut_at, size, grams, content) VALUES
    (md5('1')::uuid, 'A1', 'TEAS-001', 'open', NULL, 'small', 10, '{"a": 1}'),
    (md5('2')::uuid, 'A1', 'TEAS-002', 'shut', '2026-01-31', 'large', 20, '{}');
INSERT INTO seed_moves SELECT id, 1, NULL::uuid, '2026-01-31' FROM seed_boxes
"""
ROWS = 2000


@pytest.fixture
def cursor(database_url: str) -> Any:
    """On a database with these tables."""
    with session(database_url) as opened:
        opened.execute(TABLES)
        yield opened


def filled(cursor: Any, seed: int = 1) -> dict[str, Filled]:
    """How far it came with each of these tables."""
    found = fill(cursor, ROWS, seed=seed, small=["seed_lanes"])
    return {each.table: each for each in found if each.table.startswith("seed_")}


def asked(cursor: Any, sql: str) -> Any:
    """The first row of an answer."""
    cursor.execute(sql)
    return cursor.fetchall()[0]


def test_each_table_has_as_many_rows_as_wanted(cursor: Any) -> None:
    """But small ones, and those that nobody has stored a row in."""
    found = filled(cursor)
    assert {name: each.rows for name, each in found.items()} == {
        "seed_lanes": 3,
        "seed_boxes": ROWS,
        "seed_moves": ROWS,
        "seed_empty": 0,
    }
    assert found["seed_empty"].wanted == ROWS


def test_values_differ_and_children_are_skewed(cursor: Any) -> None:
    """Otherwise every plan would look alike."""
    filled(cursor)
    assert asked(
        cursor,
        "SELECT count(DISTINCT state), count(DISTINCT size), count(DISTINCT lane) FROM seed_boxes",
    ) == (2, 2, 3)
    grams, notes, nothing = asked(
        cursor,
        """SELECT count(DISTINCT grams), count(DISTINCT note), count(*) FILTER (WHERE note IS NULL)
        FROM seed_boxes""",
    )
    assert grams > 50
    assert notes > 50
    assert 0.1 * ROWS < nothing < 0.4 * ROWS
    cursor.execute("SELECT count(*) FROM seed_boxes GROUP BY lane ORDER BY 1 DESC")
    most, *_, least = [count for (count,) in cursor.fetchall()]
    assert most > 1.5 * least
    ends = asked(cursor, "SELECT min(moved_on)::text, max(moved_on)::text FROM seed_moves")
    assert ends == ("0001-01-01", "9999-12-30")


def test_the_same_seed_makes_the_same_rows(cursor: Any) -> None:
    """Another one makes others; what was there before is not of our making."""
    digest = """
        SELECT md5(string_agg(concat_ws('|', label, grams, note, moved_on, step), ','
            ORDER BY label, step))
        FROM seed_boxes JOIN seed_moves ON box = id
    """
    found = []
    for seed in (1, 1, 2):
        cursor.execute("DROP TABLE seed_moves, seed_boxes, seed_lanes, seed_empty")
        cursor.execute("DROP TYPE seed_size")
        cursor.execute(TABLES)
        filled(cursor, seed)
        found.append(asked(cursor, digest))
    assert found[0] == found[1] != found[2]
