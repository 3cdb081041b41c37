"""Slices that nobody here has seen in a project: they come by their folder and one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.answers import PROJECT, ROOT
from tests.conftest import git
from tests.test_service import python, red

Bake = Callable[..., Path]
SLICES = ("parcels", "ledger")
OWN = ROOT / PROJECT / "tests" / "chassis" / "slices"
TESTS = ROOT / "tests" / "slices"  # what a team would write beside them

# Prints the SQL that makes the tables of a slice, and what takes it back.
TABLES = """
import importlib, json, peewee, sys
from peewee_async.utils import sort_models
from my_shop.chassis.migrations.ddl import table_sql
found = vars(importlib.import_module(f"my_shop.{sys.argv[1]}.models")).values()
models = [each for each in found if isinstance(each, type) and issubclass(each, peewee.Model)]
models = [each for each in models if each.__module__.endswith(f"{sys.argv[1]}.models")]
tables = [table_sql(each) for each in sort_models(models)]
up = [sql for each in tables for sql in (each.create(), *each.indexes, *each.policies)]
down = [f"DROP TABLE {each.name};" for each in reversed(tables)]
print(json.dumps(["\\n".join(up), "\\n".join(down)]))
"""


def add(project: Path, name: str, *, tenancy: str) -> None:
    """Do by hand what somebody does who adds this slice to a project of the package `my_shop`."""
    target = project / "src" / "my_shop" / name
    target.mkdir()
    for file in (OWN / name).glob("*.py"):
        text = file.read_text("utf-8").replace("acme_orders.", "my_shop.")
        text = text.replace("tests.chassis.slices.", "my_shop.")
        (target / file.name).write_text(text, "utf-8")
    tests = project / "tests" / name
    tests.mkdir()
    (tests / "__init__.py").write_text('"""Tests of a slice."""\n', "utf-8")
    for file in (TESTS / "conftest.py.txt", *(TESTS / name).glob("*.py.txt")):
        text = file.read_text("utf-8")
        if tenancy == "none":
            text = re.sub(r".*TENANT.*\n", "", text)
        (tests / file.stem).write_text(text, "utf-8")
    service = project / "src" / "my_shop" / "service.py"
    text = service.read_text("utf-8").replace("slices=(", f"slices=({name}, ")
    lines = text.split("\n")
    lines.insert(2, f"from my_shop.{name}.slice import {name}")
    service.write_text("\n".join(lines), "utf-8")
    ended = python(project, "-c", TABLES, name)
    assert ended.returncode == 0, ended.stderr
    up, down = json.loads(ended.stdout)
    made = python(project, "-m", "my_shop", "migrate", "new", f"add_{name}", "--empty")
    assert made.returncode == 0, made.stdout + made.stderr
    first, second = (project / line for line in made.stdout.split())
    header = first.read_text("utf-8")
    if tenancy == "schema":
        header += "-- applies to: each tenant\n\n"
    first.write_text(header + up, "utf-8")
    second.write_text(down, "utf-8")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("tenancy", "driver", "http_api"),
    [
        ("rls", "psycopg", True),
        pytest.param("none", "aiopg", True, marks=pytest.mark.matrix),
        pytest.param("row", "aiopg", False, marks=pytest.mark.matrix),
        pytest.param("schema", "psycopg", False, marks=pytest.mark.matrix),
    ],
)
def test_two_more_slices_touch_nothing_else(
    bake_fresh: Bake, tenancy: str, driver: str, http_api: bool
) -> None:
    """Every proof covers them without an edit: check, checklist, and their handlers under fire.

    So do the tests that a team would write, with nothing but `chassis/testing.py`.
    """
    project = bake_fresh(
        project_name="My Shop",
        project_slug="my-shop",
        package_name="my_shop",
        tenancy=tenancy,
        database_driver=driver,
        http_api=http_api,
    )
    for name in SLICES:
        add(project, name, tenancy=tenancy)
    for tool in ("dev.lint", "dev.slices"):
        ended = python(project, "-m", tool)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert red(project) == []
    ended = python(
        project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/parcels", "tests/ledger"
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    fire = ["-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/test_under_fire.py", "-m"]
    ended = python(project, *fire, "", "-k", "twice or parcel.scanned or payment.submitted")
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert "3 passed" in ended.stdout


@pytest.mark.matrix
@pytest.mark.timeout(20_000)
def test_what_is_taken_out_of_them_is_noticed(bake_fresh: Bake) -> None:
    """At least 95 % of all that `make mutations` takes out of two slices that nobody here knows."""
    project = bake_fresh(project_name="My Shop", project_slug="my-shop", package_name="my_shop")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=as it was made")
    for name in SLICES:
        add(project, name, tenancy="none")
    ended = python(project, "-m", "dev.mutations", "--minutes", "300")
    found = re.search(r"(\d+) mutations: (\d+) noticed .*, 0 not asked about", ended.stdout)
    assert found, ended.stdout + ended.stderr
    wanted, noticed = map(int, found.groups())
    assert wanted >= 80
    assert noticed / wanted >= 0.95, ended.stdout
