"""The first state of the template that is looked after, and databases that it has made."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.databases import Databases

from tests.answers import ROOT
from tests.conftest import git
from tests.test_service import python

# With the verb that makes slices, and before the one that updates; a tag takes its place one day.
FIRST = "67a4227"
TENANT = "00000000-0000-0000-0000-000000000001"
# What it does in a project, to the database that DATABASE_URL names.
REGISTER = f"""
from readiness.scratch import rows_of
rows_of(url, "INSERT INTO tenants (id, name) VALUES ('{TENANT}', 'one')")
"""
FILL = """
from readiness.scratch import session
from readiness.seed.fill import fill
with session(url) as cursor:
    for each in fill(cursor, 100):
        assert each.rows, each
"""
LOOK = """
import dataclasses
from readiness.catalog import schema_of
from readiness.digest import digests
from readiness.scratch import session
with session(url) as cursor:
    found = digests(cursor)
rows = {table: dataclasses.asdict(each) for table, each in found.items()}
print(json.dumps({"rows": rows, "schema": schema_of(url)}))
"""
# It drops the tables of the models, to make them anew.
DRIFT = """
import tests.conftest  # the whole service, and so each model of it
from tests.contracts.test_models import test_models_say_what_the_migrations_have_made as compare
compare(url)
"""
Rows = Mapping[str, Mapping[str, Any]]
Found = Mapping[str, Rows]


def first_state(folder: Path) -> Path:
    """A repository of the template whose branch main is as the template was then."""
    assert git(ROOT, "cat-file", "-t", FIRST) == "commit", (
        "a clone with its whole history: --unshallow"
    )
    origin = folder / "template"
    git(folder, "clone", "--quiet", str(ROOT), str(origin))
    git(origin, "checkout", "--quiet", "-B", "main", FIRST)
    return origin


@contextmanager
def empty_database() -> Iterator[str]:
    """A database on the server of these tests, until the block ends."""
    databases = Databases(os.environ["DATABASE_URL"])
    url = databases.create()
    try:
        yield url
    finally:
        databases.drop(url)


def run(project: Path, url: str, *arguments: str) -> str:
    """Run Python in a project, with its database; returns what it says."""
    settings = {"DATABASE_URL": url, "MIGRATION_DATABASE_URL": url, "BROKER_URL": "memory://"}
    ended = python(project, *arguments, **settings)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
    return ended.stdout


def code(project: Path, url: str, *parts: str) -> str:
    """Run these lines in a project; returns what they print."""
    return run(project, url, "-c", f"import json\nurl = {url!r}\n{''.join(parts)}")


def migrate(project: Path, url: str, command: str = "up") -> str:
    """Run a command of its migrations; returns what it says."""
    (package,) = (each.parent.name for each in project.glob("src/*/__main__.py"))
    return run(project, url, "-m", package, "migrate", command)


def migrated(project: Path, url: str) -> None:
    """Give an empty database the schema, and a tenant where there are some."""
    migrate(project, url)
    if any(project.glob("src/*/chassis/tenancy/registry.py")):
        code(project, url, REGISTER)
        migrate(project, url)  # the schema of the tenant, if it has one


def filled(project: Path, url: str) -> Rows:
    """The same, and rows in each table; returns what they add up to."""
    migrated(project, url)
    return look(project, url, FILL, LOOK)["rows"]


def look(project: Path, url: str, *parts: str) -> Found:
    """What the rows of each table add up to, and its schema."""
    found: Found = json.loads(code(project, url, *parts))
    return found


def arrives(project: Path, url: str, before: Rows) -> None:
    """Migrate what was filled: the rows are those they were, the schema is that of a new one."""
    said = migrate(project, url)
    chassis = sorted((project / "migrations/chassis").glob("*.up.sql"))
    for file in chassis[1:]:  # those that came later
        assert f"chassis/{file.name.removesuffix('.up.sql')}" in said
    assert "all is applied as the files say" in migrate(project, url, "verify")
    after = look(project, url, LOOK, DRIFT)
    for table, was in before.items():
        assert after["rows"][table]["rows"] == was["rows"] > 0, table
        assert was["columns"].items() <= after["rows"][table]["columns"].items(), table
    with empty_database() as fresh:
        migrated(project, fresh)
        assert after["schema"] == look(project, fresh, LOOK)["schema"]
