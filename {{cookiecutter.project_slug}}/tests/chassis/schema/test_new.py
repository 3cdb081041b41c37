"""`migrate new` writes what the models lack, and `migrate plan` shows what it would lock."""

from pathlib import Path

from acme_orders.chassis.migrations.files import FOLDER, migrations
from acme_orders.chassis.migrations.new import drafted, write
from acme_orders.chassis.migrations.planned import planned
from acme_orders.chassis.migrations.recipes import Part, contract, not_null

from tests.chassis.schema.shop import Project


def test_models_and_migrations_say_the_same(database_url: str) -> None:
    """On a database that is made for it and dropped again."""
    assert drafted(database_url, FOLDER) == drafted(database_url, FOLDER)
    assert drafted(database_url, FOLDER).parts == ()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Under the next numbers; one file needs none behind its name."""
    project = Project(tmp_path)
    project.add("ALTER TABLE sales ADD COLUMN title text;")

    files = list(write("note", tuple(not_null("sales", "note")), tmp_path))
    assert [each.name for each in files[::2]] == [
        *("0003_note_1.up.sql", "0004_note_2.up.sql", "0005_note_3.up.sql")
    ]
    first = migrations(tmp_path)[2]
    assert first.header.backfills == ("sales_note",)
    assert [each.name for each in write("more", (Part("SELECT 1;"),), tmp_path)] == [
        *("0006_more.up.sql", "0006_more.down.sql")
    ]


def test_a_plan_shows_locks_and_what_has_to_be_done_before(tmp_path: Path) -> None:
    """Of pending files only, in lines that fit on a narrow terminal."""
    project = Project(tmp_path)
    drop = contract("ALTER TABLE sales DROP COLUMN note;", "", "gone", backfill="notes")
    project.add(drop.text)
    project.add("-- reversible: yes\nCREATE INDEX CONCURRENTLY a ON sales (currency);\n" + LONG)
    every = migrations(tmp_path)

    lines = list(planned(every, every[1:]))

    assert lines[0] == "0002_change"
    assert lines[1].startswith("  phase contract; requires backfill notes, release ")
    assert lines[1].endswith("; in one transaction")
    assert lines[2:6] == [
        "    ALTER TABLE sales DROP COLUMN note",
        "      ACCESS EXCLUSIVE on sales",
        "0003_change",
        "  each statement by itself",
    ]
    assert "      SHARE UPDATE EXCLUSIVE on sales, reads all of it" in lines
    assert max(map(len, lines)) <= 80


LONG = (
    f"CREATE INDEX CONCURRENTLY b ON sales (currency) WHERE {' OR '.join(['note <> $$a$$'] * 9)};"
)
