"""Migrations go up, down and up again with rows in every table, and none of these is harmed."""

from pathlib import Path

import pytest

from readiness.reversibility import stairway
from readiness.scratch import scratch_database
from tests.conftest import server

BOXES = """
CREATE TABLE boxes (
    id uuid PRIMARY KEY,
    label text NOT NULL CHECK (label <> ''),
    grams integer NOT NULL,
    note text,
    price numeric(8, 2) NOT NULL
);
CREATE TABLE moves (box uuid REFERENCES boxes, step integer, PRIMARY KEY (box, step));
"""
DROPPED = (
    "ALTER TABLE boxes DROP COLUMN note",
    "ALTER TABLE boxes ADD COLUMN note text",
)
ROTATED = """
UPDATE boxes SET grams = other.grams FROM (
    SELECT id, lead(grams, 1, (SELECT grams FROM boxes ORDER BY id LIMIT 1)) OVER (ORDER BY id)
        AS grams FROM boxes
) AS other WHERE other.id = boxes.id
"""


def findings(folder: Path, up: str, down: str) -> list[str]:
    """What is found of a second migration."""
    for name, text in {
        "0001_boxes.up.sql": f"-- reversible: yes\n{BOXES}",
        "0001_boxes.down.sql": "DROP TABLE moves, boxes",
        "0002_next.up.sql": f"-- reversible: yes\n{up}",
        "0002_next.down.sql": down,
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    with scratch_database(server("DATABASE_URL")) as url:
        return list(stairway(url, folder))


@pytest.mark.parametrize(
    ("up", "down", "wanted"),
    [
        (
            "CREATE TABLE lanes (grams integer CHECK (grams > 0)); CREATE INDEX ON lanes (grams)",
            "SELECT 1",
            "0002_next.down.sql leaves relation lanes",
        ),
        (
            "ALTER TABLE boxes ADD COLUMN lane text NOT NULL",
            "ALTER TABLE boxes DROP COLUMN lane",
            "0002_next.up.sql fails if there are rows: they have no value for boxes.lane",
        ),
        (*DROPPED, "does not bring back what was in boxes.note (other values)"),
        (
            "ALTER TABLE boxes ALTER COLUMN price TYPE numeric(8, 0)",
            "ALTER TABLE boxes ALTER COLUMN price TYPE numeric(8, 2)",
            "does not bring back what was in boxes.price (other values)",
        ),
        (
            "CREATE TABLE lanes (id integer PRIMARY KEY)",
            "DROP TABLE lanes; DELETE FROM moves WHERE step > (SELECT min(step) FROM moves)",
            "does not bring back what was in moves (",
        ),
        (
            "CREATE INDEX boxes_grams ON boxes (grams)",
            f"DROP INDEX boxes_grams; {ROTATED}",
            "does not bring back what was in boxes (values of some rows stand in others)",
        ),
        (
            "ALTER TABLE boxes ALTER COLUMN label DROP NOT NULL; UPDATE boxes SET label = NULL",
            "ALTER TABLE boxes ALTER COLUMN label SET NOT NULL",
            "contains null values",
        ),
        (
            DROPPED[0],
            f"-- loses: boxes.note, boxes.label (nobody reads them)\n{DROPPED[1]}",
            "0002_next.down.sql says that boxes.label is lost, and it is not",
        ),
    ],
    ids=[
        "forgets",
        "demands",
        "drops",
        "rounds",
        "deletes",
        "mixes up",
        "cannot go back",
        "says too much",
    ],
)
def test_rows_are_harmed(tmp_path: Path, up: str, down: str, wanted: str) -> None:
    """Each by one finding, which names what is harmed."""
    (finding,) = findings(tmp_path, up, down)
    assert wanted in finding


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (
            "ALTER TABLE boxes ADD COLUMN lane text NOT NULL DEFAULT 'A1'",
            "ALTER TABLE boxes DROP COLUMN lane",
        ),
        (DROPPED[0], f"-- loses: boxes.note (nobody reads it)\n{DROPPED[1]}"),
        # Rows in production may all be like this.
        (
            "ALTER TABLE boxes ADD CHECK (label ~ '^[A-Z]{9}$')",
            "ALTER TABLE boxes DROP CONSTRAINT boxes_label_check1",
        ),
        (
            "ALTER TABLE boxes RENAME COLUMN grams TO weight",
            "ALTER TABLE boxes RENAME COLUMN weight TO grams",
        ),
        (
            "ALTER TABLE boxes ALTER COLUMN grams TYPE bigint",
            "ALTER TABLE boxes ALTER COLUMN grams TYPE integer",
        ),
    ],
    ids=["adds", "says what it loses", "presumes", "renames", "widens"],
)
def test_rows_are_kept(tmp_path: Path, up: str, down: str) -> None:
    """Then there is no finding."""
    assert findings(tmp_path, up, down) == []
