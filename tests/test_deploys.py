"""`make deploy-rehearsal`: go and no-go for changes of the schema, on a project with a history."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dev.databases import Databases

from tests.conftest import Bake, git
from tests.test_service import edit
from tests.test_slices import add

UNUSED = "0090_unused"
CHANGE = "0091_change"
# The release before has columns that its code does not use: that is what a first step leaves.
FIRST_STEP = (
    "ALTER TABLE orders ADD COLUMN unit text, ADD COLUMN channel text DEFAULT 'shop', "
    "ADD COLUMN total bigint, ADD COLUMN total_small integer;"
)
LAST_STEP = (
    "ALTER TABLE orders DROP COLUMN unit, DROP COLUMN total;"
    "UPDATE orders SET channel = 'shop' WHERE channel IS NULL;"
    "ALTER TABLE orders ALTER COLUMN channel SET NOT NULL;"
)
NO_GO = {
    "rename": ("ALTER TABLE orders RENAME COLUMN currency TO unit;", "orders.add"),
    "dropped column": ("ALTER TABLE orders DROP COLUMN currency;", "orders.add"),
    "new NOT NULL": (
        "ALTER TABLE orders ADD COLUMN channel text; UPDATE orders SET channel = 'shop';"
        "ALTER TABLE orders ALTER COLUMN channel SET NOT NULL;",
        "orders.add",
    ),
    "narrowed type": (
        "ALTER TABLE order_lines ALTER COLUMN sku TYPE varchar(4) USING left(sku, 4);",
        "orders.add",
    ),
}
GO = {
    "first steps": ("SELECT 1;", FIRST_STEP),
    "last steps": (FIRST_STEP, LAST_STEP),
}
# The code of a rename, step by step: what is replaced in which file.
MODELS, REPOSITORY = (f"src/acme_orders/orders/{each}.py" for each in ("models", "repository"))
CURRENCY = """currency = peewee.TextField(constraints=[Check("currency ~ '^[A-Z]{3}$'")])"""
ROW = '"currency": order.currency,'
WRITES_BOTH = [
    (MODELS, CURRENCY, f"{CURRENCY}\n    unit = peewee.TextField(null=True)"),
    (REPOSITORY, ROW, f'{ROW} "unit": order.currency,'),
]
USES_THE_NEW = [
    (MODELS, CURRENCY, "unit = peewee.TextField()"),
    (REPOSITORY, ROW, '"unit": order.currency,'),
    (REPOSITORY, "Order.status, Order.currency,", 'Order.status, Order.unit.alias("currency"),'),
]
# The same of a slice of another shape: the release before, the change, and the query that breaks.
PARCELS_FIRST = (
    "ALTER TABLE parcels ADD COLUMN signed text, ADD COLUMN lane text DEFAULT '', "
    "ADD COLUMN grams integer, ADD COLUMN grams_small numeric(3);"
)
PARCELS = {
    "rename": (
        "SELECT 1;",
        "ALTER TABLE parcels RENAME COLUMN registered_at TO handed_in_at;",
        "parcels.register",
    ),
    "dropped column": (
        "SELECT 1;",
        "ALTER TABLE parcels DROP COLUMN contents;",
        "parcels.register",
    ),
    "new NOT NULL": (
        "SELECT 1;",
        "ALTER TABLE parcels ADD COLUMN lane text; UPDATE parcels SET lane = '';"
        "ALTER TABLE parcels ALTER COLUMN lane SET NOT NULL;",
        "parcels.register",
    ),
    "narrowed type": (
        "SELECT 1;",
        "ALTER TABLE parcels ALTER COLUMN weight_grams TYPE numeric(3) "
        "USING least(weight_grams, 999);",
        "parcels.register",
    ),
    "first steps": ("SELECT 1;", PARCELS_FIRST, ""),
    "last steps": (
        PARCELS_FIRST,
        "ALTER TABLE parcels DROP COLUMN signed, DROP COLUMN grams;"
        "UPDATE parcels SET lane = '' WHERE lane IS NULL;"
        "ALTER TABLE parcels ALTER COLUMN lane SET NOT NULL;",
        "",
    ),
}

# What production has beside what examples lead to; the dead letter speaks against no release.
ROWS = (
    "INSERT INTO customers"
    " VALUES ('c0ffee00-0000-4000-8000-000000000000', 'zoe-1234-5678@shop.example');"
    "INSERT INTO dead_letters (id, reason, body, body_bytes, failed_at)"
    " VALUES ('c0ffee00-0000-4000-8000-000000000000', 'malformed', '', 0, now());"
)

pytestmark = pytest.mark.timeout(900)
Rehearse = Callable[..., subprocess.CompletedProcess[str]]


def migrate(project: Path, name: str, sql: str, head: str = "") -> None:
    """Write a migration; it is not taken back here."""
    up = project / "migrations" / f"{name}.up.sql"
    up.write_text(f"-- reversible: no (a rehearsal goes one way)\n{head}{sql}\n", "utf-8")
    up.with_name(f"{name}.down.sql").write_text("", "utf-8")


def export(project: Path) -> None:
    """Write a sample of a database with these rows."""
    databases = Databases(os.environ["DATABASE_URL"])
    url = databases.create()
    try:
        settings = {"ENVIRONMENT": "test", "DATABASE_URL": url, "MIGRATION_DATABASE_URL": url}
        for arguments in (
            ("-m", "acme_orders", "migrate", "up"),
            ("-c", f"from readiness.scratch import rows_of; rows_of({url!r}, {ROWS!r})"),
            ("-m", "acme_orders", "export-sample", "tests/sample.jsonl.gz"),
        ):
            ended = python(project, *arguments, **settings)
            assert ended.returncode == 0, ended.stdout + ended.stderr
    finally:
        databases.drop(url)


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the rehearsal with the servers of these tests, which are real."""
    return python(project, "-m", "dev.deploy", *arguments)


def python(project: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run something of the project."""
    paths = os.pathsep.join(map(str, (project / "src", project)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )


def prepare(project: Path, before: str, change: str, head: str = "") -> None:
    """Release a project with a migration, and change its schema by another."""
    migrate(project, UNUSED, before, head)
    git(project, "init", "--quiet")
    git(project, "add", "--all", "--force")
    git(project, "commit", "--quiet", "--message=Release")
    git(project, "tag", "1.0")
    migrate(project, CHANGE, change, head)


def rehearsed(
    project: Path, before: str, change: str, head: str = ""
) -> subprocess.CompletedProcess[str]:
    """Prepare it, and rehearse."""
    prepare(project, before, change, head)
    return run(project)


@pytest.fixture
def rehearse(bake_fresh: Bake) -> Rehearse:
    """Rehearse with a project of the example."""

    def rehearse(
        before: str, change: str, *, sample: bool = False
    ) -> subprocess.CompletedProcess[str]:
        project = bake_fresh()
        migrate(project, UNUSED, before)
        if sample:
            export(project)
        return rehearsed(project, before, change)

    return rehearse


def refused(rehearse: Rehearse, change: str) -> None:
    """See the verdict of a change of the example."""
    sql, query = NO_GO[change]
    is_no_go(rehearse("SELECT 1;", sql), query)


def is_no_go(ended: subprocess.CompletedProcess[str], query: str) -> None:
    """The verdict names the release, the query, the error and the statement."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "NO-GO" in ended.stdout
    where = r"on the new schema: .* \(SQLSTATE \w{5}\) in: \w+ "
    assert re.search(rf"1\.0 cannot run {re.escape(query)} {where}", ended.stdout)


def allowed(rehearse: Rehearse, change: str) -> None:
    """See the verdict of a step of the example."""
    is_go(rehearse(*GO[change]))


def is_go(ended: subprocess.CompletedProcess[str], files: int = 2) -> None:
    """Every message comes to an end, and nothing speaks against it."""
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " GO: both releases ran" in ended.stdout
    assert f"with {files} files that are not committed" in ended.stdout
    assert "each has come to an end" in ended.stdout


def test_a_dropped_column_is_no_go(rehearse: Rehearse) -> None:
    """The old release still writes it."""
    refused(rehearse, "dropped column")


def test_a_first_step_is_go(rehearse: Rehearse) -> None:
    """The old release does not notice."""
    allowed(rehearse, "first steps")


@pytest.mark.matrix
@pytest.mark.parametrize("change", [each for each in NO_GO if each != "dropped column"])
def test_what_breaks_the_old_release_is_no_go(rehearse: Rehearse, change: str) -> None:
    """While it runs beside the new one."""
    refused(rehearse, change)


@pytest.mark.matrix
def test_a_last_step_is_go(rehearse: Rehearse) -> None:
    """The old release uses nothing of what is taken away."""
    allowed(rehearse, "last steps")


@pytest.mark.matrix
def test_a_rename_begins_with_a_release_that_writes_both(bake_fresh: Bake) -> None:
    """The old one reads and writes what it knows; nothing is renamed."""
    project = bake_fresh()
    prepare(project, "SELECT 1;", "ALTER TABLE orders ADD COLUMN unit text;")
    for file, old, new in WRITES_BOTH:
        edit(project, file, old, new)
    is_go(run(project), files=4)


@pytest.mark.matrix
def test_a_rename_ends_when_no_release_uses_the_old_name(bake_fresh: Bake) -> None:
    """The release before knows the new one alone."""
    project = bake_fresh()
    for file, old, new in USES_THE_NEW:
        edit(project, file, old, new)
    both = "ALTER TABLE orders ADD COLUMN unit text, ALTER COLUMN currency DROP NOT NULL;"
    is_go(rehearsed(project, both, "ALTER TABLE orders DROP COLUMN currency;"))


@pytest.mark.matrix
@pytest.mark.parametrize(("digits", "status"), [(5, 0), (4, 1)])
def test_the_rows_of_a_sample_are_there(rehearse: Rehearse, digits: int, status: int) -> None:
    """A migration has to get along with them; what waits among them speaks against nobody."""
    check = f"ALTER TABLE customers ADD CHECK (email !~ '-[0-9]{{4}}-[0-9]{{{digits}}}@');"
    ended = rehearse("SELECT 1;", check, sample=True)
    assert "the rows of tests/sample.jsonl.gz are there" in ended.stdout
    assert ended.returncode == status, ended.stdout + ended.stderr


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("tenancy", "change"),
    [*(("rls", each) for each in PARCELS), ("schema", "dropped column"), ("schema", "last steps")],
)
def test_a_slice_of_another_shape(bake_fresh: Bake, tenancy: str, change: str) -> None:
    """Beside the example, without an API, with the other driver, and tenants kept apart."""
    project = bake_fresh(
        project_name="My Shop",
        project_slug="my-shop",
        package_name="my_shop",
        tenancy=tenancy,
        database_driver="psycopg",
        http_api=False,
    )
    add(project, "parcels", tenancy=tenancy)
    before, sql, query = PARCELS[change]
    ended = rehearsed(
        project, before, sql, "-- applies to: each tenant\n" if tenancy == "schema" else ""
    )
    is_no_go(ended, query) if query else is_go(ended)


# What would make the verdict another one: file, old and new text.
LOOKS_AWAY = {
    "examples": (
        "dev/deploy/rehearsal.py",
        'if each["query"] not in known and of_schema:',
        'if each["query"] in known and of_schema:',
    ),
    "reasons": (
        "dev/deploy/__main__.py",
        "    if rehearsal.reasons:\n        say(",
        "    if rehearsal.reasons and not rehearsal.begun:\n        say(",
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("defect", LOOKS_AWAY)
def test_a_rehearsal_that_looks_away_is_noticed(bake_fresh: Bake, defect: str) -> None:
    """The assertions above can fail."""
    project, (sql, query) = bake_fresh(), NO_GO["dropped column"]
    edit(project, *LOOKS_AWAY[defect])
    ended = rehearsed(project, "SELECT 1;", sql)
    with pytest.raises(AssertionError):
        is_no_go(ended, query)


def test_a_release_to_begin_with_is_needed(bake_fresh: Bake) -> None:
    """A repository, a tag, a reference that there is; each is asked for in words."""
    project = bake_fresh()
    outside = run(project, "--check")
    git(project, "init", "--quiet")
    git(project, "add", "--all", "--force")
    git(project, "commit", "--quiet", "--message=Release")
    untagged, unknown = run(project, "--check"), run(project, "--check", "--from", "1.0")
    git(project, "tag", "1.0")
    found = run(project, "--check")

    assert [each.returncode for each in (outside, untagged, unknown, found)] == [78, 78, 78, 0]
    assert "is in no git repository" in outside.stderr
    assert "git tag 1.0" in untagged.stderr
    assert "git knows no '1.0'" in unknown.stderr
