"""The example goes by one verb, and what is left is green and does not speak of it."""

import re
import subprocess
import sys
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
        *(
            pytest.param(*each, marks=pytest.mark.matrix)
            for each in (
                ("rls", "psycopg", False, True),
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
    venv = Path(sys.prefix)
    check = ["make", f"VENV={venv}", "-o", f"{venv}/.ready", "check"]
    ended = subprocess.run(check, cwd=project, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert red(project) == []
    servers = ["-m", "dev.servers", "--broker", "memory", "--", "python", "-m"]
    ended = python(project, *servers, "dev.demo", ENVIRONMENT="development")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ("lost" if with_another else "no handler yet") in ended.stdout
    passes(project, "tests")


@pytest.mark.timeout(900)
def test_tables_that_may_be_in_use_go_by_a_migration(bake_fresh: Bake) -> None:
    """A remote branch has what makes them; back, the migration makes them as they were."""
    project = committed(bake_fresh(**NAMES, tenancy="rls"))
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")

    ended = removed(project)

    assert ended.returncode == 0, ended.stderr
    assert "origin/main has the example's migrations" in ended.stdout
    assert (project / "migrations/0005_orders.up.sql").exists()
    dropped = "migrations/0007_drop_orders.up.sql"
    assert "DROP TABLE orders;" in (project / dropped).read_text()
    assert red(project) == []
    # The rows cannot come back, so the checklist asks no more; the tables come back as they were.
    edit(project, dropped, "reversible: no (the rows are lost)", "reversible: yes")
    back = project / dropped.replace(".up.", ".down.")
    lost = "-- loses: audit_log, customers, order_lines, orders (the rows)\n"
    back.write_text(lost + back.read_text("utf-8"), "utf-8")
    assert red(project) == []


@pytest.mark.parametrize(("applied", "stays"), [("yes", True), ("no", False)])
def test_somebody_may_know_better(bake_fresh: Bake, applied: str, stays: bool) -> None:
    """Than git, which does not know where a migration was applied."""
    project = bake_fresh(**NAMES)
    assert removed(project, "--applied", applied).returncode == 0
    assert (project / "migrations/0005_orders.up.sql").exists() == stays


NEEDED_BY = {
    "src/my_shop/other.py": "from my_shop.orders.models import Order\n",
    "src/my_shop/billing/handlers.py": "import os\n\nfrom ..orders import messages\n",
    "src/my_shop/billing/api.py": "from my_shop import orders, settings\n",
    "backfills/all.py": "async def run():\n    import my_shop.orders.repository\n",
    "backfills/notes.py": "class Notes:\n    table = 'orders'\n",
    "tests/billing/test_handlers.py": "from tests.orders.examples import PLACED\n",
    "migrations/0100_notes.up.sql": 'ALTER TABLE public."orders" ADD COLUMN note text;\n',
    "migrations/0101_bills.up.sql": "CREATE TABLE bills (\n  id uuid REFERENCES customers\n);\n",
}
NEEDED_BY_NOBODY = {
    "src/my_shop/billing/orders.py": "from my_shop.billing.orders import total  # of orders\n",
    "migrations/0102_counts.up.sql": "CREATE TABLE counts (orders int);  -- not FROM orders\n",
}


def test_what_needs_the_example_is_named(bake_fresh: Bake) -> None:
    """Imports in any form, and migrations that use its tables; with the line."""
    project = bake_fresh(**NAMES)
    for name, text in {**NEEDED_BY, **NEEDED_BY_NOBODY}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, "utf-8")
    committed(project)

    ended = removed(project)

    assert ended.returncode == 1
    named = {line.strip().split(" ")[0] for line in ended.stderr.splitlines()[1:]}
    lines = {"src/my_shop/billing/handlers.py": 3, "backfills/all.py": 2}
    lines["backfills/notes.py"] = 2
    lines["migrations/0101_bills.up.sql"] = 2
    assert named == {f"{name}:{lines.get(name, 1)}" for name in NEEDED_BY}
    assert git(project, "status", "--porcelain") == ""


def test_nothing_is_changed_where_git_does_not_answer(bake_fresh: Bake) -> None:
    """It cannot say what is not committed, nor who has the migrations."""
    project = committed(bake_fresh(**NAMES))

    assert "nothing was changed" in python(project, "-m", "dev.remove_example", PATH="").stderr
    (project / ".git/config").write_text("[broken", "utf-8")
    assert "nothing was changed" in removed(project).stderr
    assert (project / "src/my_shop/orders/slice.py").exists()


def test_nothing_is_changed_where_something_would_be_lost(bake_fresh: Bake) -> None:
    """Work that is not committed."""
    project = committed(bake_fresh(**NAMES))
    edit(project, "src/my_shop/orders/handlers.py", "Accept an order", "Take an order")

    ended = removed(project)

    assert ended.returncode == 1
    assert "src/my_shop/orders/handlers.py has changes that are not committed" in ended.stderr
    assert (project / "src/my_shop/orders/slice.py").exists()


@pytest.mark.timeout(900)
def test_the_tests_of_the_chassis_need_no_example(bake_fresh: Bake) -> None:
    """None of them imports it, and what it has in each tenant's schema may be missing there."""
    project = bake_fresh(**NAMES, tenancy="schema", chassis_tests=True)
    ended = removed(project)
    assert ended.returncode == 0, ended.stderr
    parts = ("tenancy", "for_tests", "integration/test_migrations.py")
    passes(project, *(f"tests/chassis/{each}" for each in parts))


def test_it_goes_once(bake_fresh: Bake) -> None:
    """Whoever has kept the tool is told."""
    project = bake_fresh(**NAMES)
    tool = (project / "dev/remove_example.py").read_text()
    assert removed(project).returncode == 0
    (project / "dev/remove_example.py").write_text(tool)
    ended = removed(project)
    assert ended.returncode == 1
    assert "the example has gone already" in ended.stderr
