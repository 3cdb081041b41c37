"""A generated project on other servers: the RabbitMQ of a newer Debian, an older PostgreSQL."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.answers import ROOT
from tests.debian import rabbitmq, works_here
from tests.test_deploys import GO, NO_GO, prepare
from tests.test_service import python

Bake = Callable[..., Path]

# The port, and a process that dies at the worst moment.
MESSAGING = [
    "tests/chassis/contracts/test_broker.py",
    "tests/chassis/faults/test_crash_points.py::test_between_commit_and_ack",
]

# What changes a schema, fills it and says whether two releases can share it.
SCHEMA = [
    "tests/chassis/acceptance/test_backfill_command.py",
    "tests/chassis/backfills",
    "tests/chassis/integration/test_drift.py",
    "tests/chassis/readiness/test_contracts.py",
    "tests/chassis/readiness/test_staging.py",
    "tests/chassis/readiness/test_stairway.py",
    "tests/chassis/schema",
    *(
        f"tests/chassis/integration/test_migration{each}.py"
        for each in (
            *("s", "_files", "_full_disk", "_gates", "_history", "_kills", "_kinds", "_locks"),
        )
    ),
]
OF_TENANTS = {
    "none": [],
    "row": [],
    "rls": ["tests/chassis/tenancy/test_backfills.py"],
    "schema": [
        "tests/chassis/tenancy/test_backfills_of_schemas.py",
        "tests/chassis/tenancy/test_schemas.py",
    ],
}
POSTGRES = Path(os.environ.get("TEST_POSTGRES") or "/usr/lib/postgresql/15/bin")


@pytest.mark.timeout(600)
def test_messaging_on_rabbitmq_4(bake_fresh: Bake) -> None:
    """One declaration and one meaning from 3.10 on; `make versions` does all faults."""
    if not works_here():
        pytest.skip("needs apt-get, and the right to mount in a namespace of its own")
    server = rabbitmq("trixie", ROOT / "build" / "rabbitmq")
    ended = python(
        bake_fresh(chassis_tests=True),
        *["-m", "dev.servers", "--broker", "rabbitmq", "--"],
        *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *MESSAGING],
        TEST_RABBITMQ_SERVER=str(server),
        TEST_DATABASE_URL=os.environ["DATABASE_URL"],
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert "RabbitMQ 4." in ended.stderr


def on_postgresql_15(project: Path, *arguments: str, status: int = 0) -> str:
    """Run a module of a project on a server of its own, which is older; returns what it says."""
    if not (POSTGRES / "postgres").exists():
        pytest.skip(f"no postgres in {POSTGRES}: install postgresql-15, or set TEST_POSTGRES")
    ended = python(
        project,
        *["-m", "dev.servers", "--broker", "rabbitmq", "--", sys.executable, "-m", *arguments],
        TEST_POSTGRES=str(POSTGRES),
        TEST_BROKER_URL=os.environ["BROKER_URL"],
        TEST_RABBITMQ_MANAGEMENT_URL=os.environ["RABBITMQ_MANAGEMENT_URL"],
    )
    assert ended.returncode == status, ended.stdout[-10_000:] + ended.stderr
    assert "PostgreSQL 15." in ended.stderr
    return ended.stdout


@pytest.mark.timeout(900)
def test_the_checklist_on_postgresql_15(bake: Bake) -> None:
    """Migrations there and back with rows, and how each query is found."""
    on_postgresql_15(bake(), "readiness")


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tenancy", OF_TENANTS)
def test_changes_of_the_schema_on_postgresql_15(bake_fresh: Bake, tenancy: str) -> None:
    """What waits, blocks, is killed and goes on; also where the disk is full."""
    options = ["-q", "-p", "no:cacheprovider", "-m", ""]
    project = bake_fresh(chassis_tests=True, tenancy=tenancy)
    on_postgresql_15(project, "pytest", *options, *SCHEMA, *OF_TENANTS[tenancy])


@pytest.mark.matrix
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("change", ["dropped column", "last steps"])
def test_the_rehearsal_on_postgresql_15(bake_fresh: Bake, change: str) -> None:
    """Go and no-go are the same."""
    project = bake_fresh()
    if change in GO:
        prepare(project, *GO[change])
        assert " GO: both releases ran" in on_postgresql_15(project, "dev.deploy")
    else:
        sql, query = NO_GO[change]
        prepare(project, "SELECT 1;", sql)
        assert f"cannot run {query}" in on_postgresql_15(project, "dev.deploy", status=1)
