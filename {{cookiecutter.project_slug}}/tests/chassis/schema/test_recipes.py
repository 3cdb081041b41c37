"""What is refused comes with SQL to paste: it passes, and PostgreSQL takes it, there and back."""

from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.kinds import is_alone
from acme_orders.chassis.migrations.lint.linter import lint
from acme_orders.chassis.migrations.recipes import Part
from acme_orders.chassis.migrations.trees import statement_sql

from readiness.catalog import schema_of
from tests.chassis.integration.migrating import emptied, empty_database
from tests.chassis.schema.shop import ROWS, SHOP, UNSAFE, Project

# What backfills do between the files of a recipe.
FILLED = {
    "a column that cannot be empty": "UPDATE sales SET region = ''",
    "a random default": "UPDATE sales SET token = gen_random_uuid()",
}
# Where a sentence says what helps: the statement without it, or what it is replaced with.
FOLLOWED = {
    "a domain with a check": "CREATE DOMAIN cents AS bigint;",
    "json": "ALTER TABLE sales ADD COLUMN extra jsonb;",
    "a key of 32 bits": "CREATE TABLE tags (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
    "a time without a zone": "ALTER TABLE sales ADD COLUMN paid_at timestamptz;",
    "a limited text": "ALTER TABLE sales ADD COLUMN title text;",
    "a padded text": "ALTER TABLE sales ADD COLUMN title text;",
    "a serial key": "CREATE TABLE tags (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One database for all of them, emptied each time."""
    with empty_database() as url:
        yield url


@pytest.fixture
def shop(server: str) -> Iterator[Any]:
    """A cursor on the shop's tables, with rows; each statement commits."""
    url = emptied(server)
    with closing(open_blocking(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(SHOP)
        cursor.execute(ROWS)
        yield cursor


def followed(project: Project, name: str) -> list[Part]:
    """The files that the findings say, in their order; those that it is said twice once."""
    file = project.add(UNSAFE[name][1], head="-- reversible: yes\n\n")
    parts = [part for each in lint(project.folder) for part in each.refusal.recipe]
    if name in FOLLOWED:
        parts = [Part(FOLLOWED[name])]
    elif name in {"two tables at once", "kinds mixed"}:  # the rest stays where it is
        first, second = (statement_sql(each.stmt) for each in parse(UNSAFE[name][1]))
        parts = [Part(second if parts[0].up.startswith("CREATE INDEX") else first), *parts]
    elif name == "a table in another schema":
        parts = [
            Part("CREATE SCHEMA archive;"),
            Part(parts[0].up.partition(";")[2], "", parts[0].head),
        ]
    for each in ("up", "down"):
        file.with_name(f"0002_change.{each}.sql").unlink()
    return list(dict.fromkeys(parts))


def run(cursor: Any, sql: str) -> None:
    """As the runner does: in one transaction, or each statement by itself."""
    statements = [each.stmt for each in parse(sql)]
    if any(map(is_alone, statements)):
        for each in statements:
            cursor.execute(statement_sql(each))
    elif statements:
        cursor.execute(f"BEGIN;{sql};COMMIT")


@pytest.mark.parametrize("name", UNSAFE)
def test_the_recipe_passes_and_runs(shop: Any, server: str, tmp_path: Path, name: str) -> None:
    """Each file of it, with rows in the tables, and its way back where one is promised."""
    project = Project(tmp_path)
    parts = followed(project, name)
    if not parts:  # it is left out, or becomes a backfill
        return
    for part in parts:
        project.add(part.text, part.down or "SELECT 1;")

    assert [str(each) for each in lint(tmp_path)] == []

    states = [schema_of(server)]
    for number, part in enumerate(parts):
        if number == 1 and name in FILLED:
            shop.execute(FILLED[name])
        run(shop, part.up)
        states.append(schema_of(server))
    back = list(takewhile(lambda each: each.down and "reversible: yes" in each.head, parts[::-1]))
    for part in back:
        states.pop()
        run(shop, part.down)
        assert differing(schema_of(server), states[-1]) == {}, part.down


def differing(found: Any, wanted: Any) -> dict[str, tuple[str, str]]:
    """What is not the same."""
    names = found.keys() | wanted.keys()
    both = {name: (found.get(name, ""), wanted.get(name, "")) for name in names}
    return {name: each for name, each in both.items() if each[0] != each[1]}
