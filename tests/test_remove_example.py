"""The example goes by one verb, and what is left is green and does not speak of it."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import git
from tests.test_service import edit, passes, python, red
from tests.test_slices import add

Bake = Callable[..., Path]
# What only the example says; "in order" and ORDER BY are English and SQL.
WORDS = re.compile(
    r"\b(?:orders|order[._](?:id|lines?|placed|accepted)|Order[A-Z]\w*|ORDER_[PA]\w+|customers?"
    r"|audit_log|place_order)\b|(?:#|<!--) example\b"
)
NAMES = {
    "project_name": "My Shop",
    "project_slug": "my-shop",
    "package_name": "my_shop",
    "description": "It sells.",
}


def committed(project: Path) -> Path:
    """The project in a repository of its own."""
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=All")
    return project


def removed(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Take the example away."""
    return python(project, "-m", "dev.remove_example", *arguments)


def said(project: Path) -> Iterator[str]:
    """Every line that speaks of it."""
    for name in git(project, "ls-files", "--cached", "--others", "--exclude-standard").split("\n"):
        file = project / name
        if file.exists() and name != ".cruft.json" and "parcels" not in file.parts:
            lines = enumerate(file.read_text("utf-8").splitlines(), 1)
            yield from (f"{name}:{number}: {line}" for number, line in lines if WORDS.search(line))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("tenancy", "driver", "http_api", "with_another"),
    [
        ("none", "aiopg", True, False),
        ("rls", "psycopg", False, True),
        *(
            pytest.param(*each, marks=pytest.mark.matrix)
            for each in (
                ("none", "psycopg", False, True),
                ("row", "aiopg", True, True),
                ("row", "psycopg", False, False),
                ("rls", "aiopg", True, False),
                ("schema", "aiopg", False, False),
                ("schema", "psycopg", True, True),
            )
        ),
    ],
)
def test_the_example_goes(
    bake_fresh: Bake, tenancy: str, driver: str, http_api: bool, with_another: bool
) -> None:
    """With its slice, its tables and its words; another slice stays as it is."""
    project = bake_fresh(**NAMES, tenancy=tenancy, database_driver=driver, http_api=http_api)
    if with_another:
        add(project, "parcels", tenancy=tenancy)
        python(project, "-m", "ruff", "check", "--fix", ".")
        python(project, "-m", "ruff", "format", ".")
    committed(project)

    ended = removed(project)

    assert ended.returncode == 0, ended.stderr
    assert list(said(project)) == []
    listed = re.search(r"slices=\((.*)\)", (project / "src/my_shop/service.py").read_text("utf-8"))
    assert listed
    assert listed[1] == ("parcels," if with_another else "")
    changed = git(project, "status", "--porcelain").splitlines()
    assert [line for line in changed if "parcels" in line] == []
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        assert python(project, "-m", *tool).returncode == 0
    for tool in ("dev.lint", "dev.slices"):
        ended = python(project, "-m", tool)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert red(project) == []
    servers = ["-m", "dev.servers", "--broker", "memory", "--", "python", "-m"]
    ended = python(project, *servers, "dev.demo", ENVIRONMENT="development")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ("lost" if with_another else "no handler yet") in ended.stdout
    passes(project, "tests")


def test_tables_that_may_be_in_use_go_by_a_migration(bake_fresh: Bake) -> None:
    """A remote branch has what makes them; back, the migration makes them as they were."""
    project = committed(bake_fresh(**NAMES, tenancy="rls"))
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")

    ended = removed(project)

    assert ended.returncode == 0, ended.stderr
    assert "origin/main has the example's migrations" in ended.stdout
    assert (project / "migrations/0005_orders.up.sql").exists()
    assert "DROP TABLE orders;" in (project / "migrations/0007_drop_orders.up.sql").read_text()
    assert red(project) == []


@pytest.mark.parametrize(("applied", "stays"), [("yes", True), ("no", False)])
def test_somebody_may_know_better(bake_fresh: Bake, applied: str, stays: bool) -> None:
    """Than git, which does not know where a migration was applied."""
    project = bake_fresh(**NAMES)
    assert removed(project, "--applied", applied).returncode == 0
    assert (project / "migrations/0005_orders.up.sql").exists() == stays


def test_nothing_is_changed_where_something_would_be_lost(bake_fresh: Bake) -> None:
    """Work that is not committed, and code that needs the example; both with their place."""
    project = committed(bake_fresh(**NAMES))
    edit(project, "src/my_shop/orders/handlers.py", "Accept an order", "Take an order")
    (project / "src/my_shop/other.py").write_text("from my_shop.orders.models import Order\n")

    ended = removed(project)

    assert ended.returncode == 1
    assert "src/my_shop/orders/handlers.py has changes that are not committed" in ended.stderr
    assert "src/my_shop/other.py:1 needs the example" in ended.stderr
    assert (project / "src/my_shop/orders/slice.py").exists()


def test_it_goes_once(bake_fresh: Bake) -> None:
    """Whoever has kept the tool is told."""
    project = bake_fresh(**NAMES)
    tool = (project / "dev/remove_example.py").read_text()
    assert removed(project).returncode == 0
    (project / "dev/remove_example.py").write_text(tool)
    ended = removed(project)
    assert ended.returncode == 1
    assert "the example has gone already" in ended.stderr
