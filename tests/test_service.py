"""A generated project keeps its promises; and the proofs in it can fail."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Bake = Callable[..., Path]

MUTANTS = {
    "K1": (
        "migrations/0005_orders.up.sql",
        "CREATE INDEX orders_placed_at ON orders (placed_at, id);",
        "",
    ),
    "K2": (
        "src/acme_orders/orders/api.py",
        'async with manager.transaction("place_order"):',
        "if True:",
    ),
    "K3": (
        "migrations/0003_inbox.up.sql",
        "    PRIMARY KEY (\n        consumer, source, id\n    )",
        "    CHECK (true)",
    ),
    "K4": (
        "src/acme_orders/chassis/observability/database_metrics.py",
        '"db_client_operation_duration_seconds"',
        '"db_client_duration_seconds"',
    ),
}


def python(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a generated project, with its own code and this environment's libraries."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}",
        "ENVIRONMENT": "test",
        **variables,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=7000,
    )


def red(project: Path) -> list[str]:
    """The checks that fail in this project."""
    ended = python(project, "-m", "readiness", "--json", BROKER_URL="memory://")
    assert ended.stdout, ended.stderr
    checks = json.loads(ended.stdout)["checks"]
    assert ended.returncode == (0 if all(check["passed"] for check in checks) else 1)
    return [check["id"] for check in checks if not check["passed"]]


def edit(project: Path, file: str, old: str, new: str) -> None:
    """Change a file; the place must be there."""
    path = project / file
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("driver", "tenancy"),
    [
        pytest.param("psycopg", "none", marks=pytest.mark.matrix),
        ("aiopg", "row"),
        ("psycopg", "rls"),
        ("aiopg", "schema"),
        pytest.param("psycopg", "schema", marks=pytest.mark.matrix),
    ],
)
def test_the_checklist_of_a_generated_project_passes(bake: Bake, driver: str, tenancy: str) -> None:
    """Under another name, with either driver, however tenants are kept apart."""
    project = bake(
        project_name="My Shop",
        project_slug="my-shop",
        package_name="my_shop",
        database_driver=driver,
        tenancy=tenancy,
        http_api=driver == "aiopg",
    )
    assert red(project) == []


LEAKS = {
    "row": (
        "src/acme_orders/chassis/database/table.py",
        "pinned: peewee.ModelSelect[Self] = cls._pinned(select)",
        "pinned: peewee.ModelSelect[Self] = select",
    ),
    "rls": (
        "migrations/0006_row_level_security.up.sql",
        "ALTER TABLE orders FORCE ROW LEVEL SECURITY;",
        "",
    ),
}


# The running project has these defects and more; the default answers, which most have, one of each.
@pytest.mark.parametrize(
    "check",
    ["K1", *(pytest.param(each, marks=pytest.mark.matrix) for each in MUTANTS if each > "K1")],
)
def test_a_deliberate_defect_turns_exactly_its_check_red(bake_fresh: Bake, check: str) -> None:
    """A checklist that cannot fail says nothing."""
    project = bake_fresh()
    edit(project, *MUTANTS[check])
    assert red(project) == [check]


@pytest.mark.parametrize("tenancy", ["row", "rls"])
def test_a_leak_between_tenants_turns_its_check_red(bake_fresh: Bake, tenancy: str) -> None:
    """A predicate, or what makes a policy hold for the owner of a table.

    Without the predicate no index serves the query any more, which K1 finds.
    """
    project = bake_fresh(tenancy=tenancy)
    edit(project, *LEAKS[tenancy])
    assert "N1" in red(project)


# What choices change. All the rest, such as what is done with bodies, values and errors, is the
# same as in the running project, whose tests come first; `make matrix` runs that too.
CHASSIS_TESTS = {
    "none": [
        *["contracts", "for_tests", "integration/test_access.py", "integration/test_api.py"],
        *["integration/test_consumer.py", "integration/test_dead_letters.py"],
        *["integration/test_handlers.py", "integration/test_inserts.py"],
        *["integration/test_migrations.py", "integration/test_relay.py"],
        *["integration/test_repository.py"],
    ],
    "row": ["tenancy", "integration/test_consumer.py"],
    "schema": [
        *["tenancy", "acceptance/test_command_line.py"],
        *["integration/test_migrations.py", "integration/test_relay.py"],
    ],
}


# A word that tests/test_readiness.py has, too.
THEIRS = """
import pytest

@pytest.mark.parametrize("check", [1, 2])
def test_theirs(check):
    assert check
"""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "tenancy",
    ["none", "schema", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("row", "rls"))],
)
def test_a_generated_project_passes_its_own_tests(bake_fresh: Bake, tenancy: str) -> None:
    """All that it has, if nobody asks for the tests of the chassis; beside one of a team's own."""
    project = bake_fresh(tenancy=tenancy)
    (project / "tests/test_theirs.py").write_text(THEIRS, "utf-8")
    passes(project, "tests")


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "tenancy",
    # Without tenants there is only less: its own tests and the checklist have been through that.
    # tests/test_remove_example.py runs those of schemas, in a project that has no example.
    ["row", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("none", "schema"))],
)
def test_a_generated_project_passes_the_tests_of_the_chassis(
    bake_fresh: Bake, tenancy: str
) -> None:
    """What the running project in the template, which keeps tenants apart, does not show."""
    project = bake_fresh(tenancy=tenancy, chassis_tests=True)
    passes(project, *(f"tests/chassis/{each}" for each in CHASSIS_TESTS[tenancy]))


@pytest.mark.matrix
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("tenancy", CHASSIS_TESTS)
def test_a_generated_project_passes_all_tests(bake_fresh: Bake, tenancy: str) -> None:
    """Also those that no choice changes, and every fault."""
    passes(bake_fresh(tenancy=tenancy, chassis_tests=True), "tests")


def passes(project: Path, *tests: str) -> None:
    """Run these tests of a generated project, one after the other."""
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = python(project, *options, *tests)
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert " passed" in ended.stdout


def test_an_empty_down_migration_turns_exactly_its_check_red(bake_fresh: Bake) -> None:
    """A migration that cannot be taken back has to say so."""
    project = bake_fresh()
    (project / "migrations/0005_orders.down.sql").write_text("", "utf-8")
    assert red(project) == ["K5"]


@pytest.mark.timeout(1800)
def test_the_verbs_of_a_generated_project(bake_fresh: Bake) -> None:
    """`check`, `readiness` and `demo` succeed; the environment is shared to save its making."""
    project = bake_fresh(project_name="My Shop", project_slug="my-shop", package_name="my_shop")
    venv = Path(sys.prefix)
    for verb in ("check", "readiness", "demo"):
        command = ["make", f"VENV={venv}", "-o", f"{venv}/.ready", verb]
        ended = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=900)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "│ lost" in ended.stdout
