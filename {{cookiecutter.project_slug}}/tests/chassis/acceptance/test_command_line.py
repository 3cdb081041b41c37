"""What a person sees who gives it bad settings, a missing server or an occupied port."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from uuid import UUID  # feature: row, rls, schema

import aio_pika
import pytest
from pamqp.common import FieldTable

from readiness.scratch import rows_of, scratch_database
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import PROJECT, home

QUEUE = "acme-orders"
FREE_PORTS = {"OPERATIONS_PORT": "0", "HTTP_PORT": "0"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with this environment."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chassis", *arguments],
        cwd=home(),
        env={**os.environ, "ENVIRONMENT": "test", "LISTEN_HOST": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_its_version() -> None:
    """That of pyproject.toml, without a setting and without a server."""
    ended = run("--version", DATABASE_URL="", BROKER_URL="")
    said = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert ended.stdout == f"{said['name']} {said['version']}\n"


def explain(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask how PostgreSQL runs a query."""
    whose: list[str] = []
    whose += ["--tenant", str(TENANT)]  # feature: row, rls, schema
    return run("explain", *arguments, *whose, DATABASE_URL=url, BROKER_URL="memory://")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://here", "DATABASE_URL"),
        ("BROKER_URL", "kafka://here", "amqp://"),
        ("CONCURRENCY", "many", "CONCURRENCY='many'"),
        ("POOL_SIZE", "3", "set POOL_SIZE to 14 or more"),
        ("RETRY_LADDER", "5s,soon", "RETRY_LADDER"),
        ("OPERATIONS_PORT", "123456", "OPERATIONS_PORT='123456'"),
        ("STATEMENT_TIMEOUT", "2h", "HANDLER_TIMEOUT"),
        ("LOCK_TIMEOUT", "31s", "must be below STATEMENT_TIMEOUT=30s"),
        ("HANDLER_TIMEOUT", "1h", "after which RabbitMQ gives the message to another"),
        ("LOG_LEVEL", "LOUD", "'INFO'"),
        ("ACQUIRE_TIMEOUT", "2m", "must be below HANDLER_TIMEOUT=60s"),
        ("HTTP_TIMEOUT", "20s", "must be below HTTP_TIMEOUT=20s"),  # feature: http_api
        ("SLOW_STATEMENT", "1m", "or no statement is ever logged as slow"),
        ("CONNECT_TIMEOUT", "1h", "less than or equal to 60"),
        ("CONNECTION_MAX_AGE", "1s", "greater than or equal to 10"),
        ("RELAY_POLL", "5m", "PartSilent warns"),
        ("HEARTBEAT", "3600", "a dead network is seen"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(
    setting: str, value: str, expected: str
) -> None:
    """One line, exit status 78."""
    ended = run("run", **{setting: value})
    assert ended.returncode == 78, ended.stderr
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_placeholder_password_is_refused_in_production() -> None:
    """A secret that everybody knows is none."""
    ended = run("run", ENVIRONMENT="production", DATABASE_URL="postgresql://a:change-me@b/c")
    assert ended.returncode == 78
    assert "change-me" in ended.stderr


def test_a_session_that_no_server_offers_is_refused(database_url: str) -> None:
    """Sessions begin read-only, so libpq would refuse every server."""
    url = f"{database_url}?target_session_attrs=read-write"
    ended = run("run", DATABASE_URL=url, BROKER_URL="memory://", **FREE_PORTS)
    assert ended.returncode == 78
    assert "target_session_attrs=primary" in ended.stderr


def test_a_missing_database_is_named(database_url: str) -> None:
    """With the setting, and without the password."""
    url = "postgresql://me:secret@127.0.0.1:1/none"
    ended = run("run", DATABASE_URL=url, BROKER_URL="memory://", **FREE_PORTS)
    assert ended.returncode == 1
    assert "127.0.0.1" in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_broker_is_named(database_url: str) -> None:
    """With the setting and the address."""
    url = "amqp://me:secret@127.0.0.1:1/"
    ended = run("run", DATABASE_URL=database_url, BROKER_URL=url, **FREE_PORTS)
    assert ended.returncode == 1
    assert "(BROKER_URL) at 127.0.0.1:1" in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_occupied_port_is_named(database_url: str) -> None:
    """With its setting, before anything is consumed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"OPERATIONS_PORT": str(port), "HTTP_PORT": "0"}
        ended = run("run", DATABASE_URL=database_url, BROKER_URL="memory://", **ports)
    assert ended.returncode == 78
    assert f"OPERATIONS_PORT={port} cannot be used" in ended.stderr


def test_one_part_alone_leaves_the_ports_of_the_others_free(database_url: str) -> None:
    """A relay and an API run side by side; this one goes on to find no broker."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"OPERATIONS_PORT": "0", "HTTP_PORT": str(taken.getsockname()[1])}
        url = "amqp://me@127.0.0.1:1/"
        ended = run("run", "--only", "relay", DATABASE_URL=database_url, BROKER_URL=url, **ports)
    assert ended.returncode == 1
    assert "BROKER_URL" in ended.stderr


def taken_back(database_url: str) -> str:
    """The migration that `migrate down` takes back."""
    ended = run("migrate", "down", DATABASE_URL=database_url)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()[0]


def test_a_schema_that_lacks_a_migration_is_refused(database_url: str) -> None:
    """Better not to start than to fail at the first message."""
    newest = taken_back(database_url)
    ended = run("run", DATABASE_URL=database_url, BROKER_URL="memory://", **FREE_PORTS)
    assert ended.returncode == 78
    assert newest in ended.stderr


def test_the_doctor_looks_at_each_part(database_url: str) -> None:
    """What is wrong with one does not hide the others."""
    newest = taken_back(database_url)
    ended = run("doctor", DATABASE_URL=database_url, BROKER_URL="amqp://me:secret@127.0.0.1:1/")
    assert ended.returncode == 78
    assert "wrong  PostgreSQL: " in ended.stdout
    assert newest in ended.stdout
    assert "wrong  RabbitMQ: cannot reach RabbitMQ (BROKER_URL) at 127.0.0.1:1" in ended.stdout
    assert "secret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("environment", ["development", "test"])
def test_the_doctor_says_what_starts_servers(environment: str) -> None:
    """Of a developer's machine; elsewhere nobody has `make dev`."""
    nobody = {
        "DATABASE_URL": "postgresql://me@127.0.0.1:1/x",
        "BROKER_URL": "amqp://me:secret@127.0.0.1:1/",
    }
    ended = run("doctor", ENVIRONMENT=environment, **nobody)
    assert ended.returncode == 1
    assert ("`make dev` starts" in ended.stdout) == (environment == "development")


@pytest.mark.long
@pytest.mark.parametrize(
    "command", [("retention", "plan"), ("erase", "list"), ("migrate", "status")]
)
def test_what_needs_a_session_has_one(database_url: str, command: tuple[str, ...]) -> None:
    """Behind a pooler of transactions: the address says so, and would be refused for a session."""
    ended = run(
        *command,
        DATABASE_URL=f"{database_url}?pooler=transaction",
        DATABASE_SESSION_URL=database_url,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_queue_that_somebody_changed_is_shown(database_url: str, broker_url: str) -> None:
    """Its name, what differs, and both values; the service does not start with it."""

    async def declare() -> None:
        async with (
            await aio_pika.connect(broker_url) as connection,
            connection.channel() as channel,
        ):
            arguments: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": 20}
            await channel.declare_queue(QUEUE, durable=True, arguments=arguments)

    asyncio.run(declare())
    servers = {"DATABASE_URL": database_url, "BROKER_URL": broker_url}
    shown = run("topology", "--json", **servers)
    assert shown.returncode == 78, shown.stderr
    states = {each.get("queue"): each["problem"] for each in json.loads(shown.stdout)}
    assert "x-dead-letter-exchange" in states[QUEUE]
    assert states[f"{QUEUE}.suspect"] == "is missing"
    refused = run("run", **servers, **FREE_PORTS)
    assert refused.returncode == 78
    assert f"queue {QUEUE}: x-dead-letter-exchange is" in refused.stderr
    assert f"{QUEUE}: x-dead-letter-exchange" in run("doctor", **servers).stdout


def test_help_names_every_command() -> None:
    """Each with a sentence."""
    ended = run("--help")
    assert ended.returncode == 0
    for command in ("run", "migrate", "doctor", "topology", "explain"):
        assert command in ended.stdout


def test_migrations_are_shown_applied_and_taken_back(database_url: str) -> None:
    """From an empty database, and step by step."""
    with scratch_database(database_url) as url:

        def migrate(*arguments: str) -> str:
            ended = run("migrate", *arguments, DATABASE_URL=url, BROKER_URL="memory://")
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        assert "pending" in migrate("status")
        assert "-- 0001_access\n-- reversible: yes" in migrate("plan", "--sql")
        assert migrate("plan").startswith("0001_access\n  in one transaction\n")
        assert max(map(len, migrate("plan").splitlines())) <= 80
        (only,) = migrate("up", "--count", "1").splitlines()
        assert re.match(r"0001_access .*applied \(\d", only)
        assert "0001_access" not in migrate("plan")
        migrate("up")
        assert migrate("up") == "nothing is pending\n"
        assert migrate("plan") == ""
        assert "pending" not in migrate("status")
        assert " taken back (" in migrate("down", "--count", "99")
        assert migrate("down") == "nothing was applied\n"


@pytest.mark.parametrize("arguments", [["up", "--count=0"], ["down", "--count=-1"]])
def test_fewer_than_one_migration_is_refused(database_url: str, arguments: list[str]) -> None:
    """Nobody means it, and -1 would be all but one."""
    ended = run("migrate", *arguments, DATABASE_URL=database_url, BROKER_URL="memory://")
    assert ended.returncode == 2, ended.stdout


def test_a_migration_whose_files_are_gone_is_not_taken_back(database_url: str) -> None:
    """It is named with what helps."""
    history = "public.schema_migrations (id, checksum, duration_ms)"
    rows_of(database_url, f"INSERT INTO {history} VALUES ('9999_later', '', 0)")
    ended = run("migrate", "down", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert ended.returncode == 78
    assert "9999_later is applied" in ended.stderr
    assert "its files are not in migrations" in ended.stderr


def test_a_plan_is_explained(database_url: str) -> None:
    """Below its SQL, which has a placeholder for each value; no line is broken."""
    name = database_url.rpartition("/")[2]
    rows_of(database_url, f"ALTER DATABASE {name} SET enable_seqscan = off")  # it is empty
    ended = explain(database_url, "sales.page")
    assert ended.returncode == 0, ended.stderr
    sql, *plan = ended.stdout.splitlines()
    assert sql.startswith("SELECT")
    assert sql.endswith("LIMIT %s")
    assert "sales_made_at" in "".join(plan)
    assert "actual" not in ended.stdout


def test_a_query_is_measured(database_url: str) -> None:
    """With the time and the rows of each step."""
    ended = explain(database_url, "sales.page", "--analyze")
    assert ended.returncode == 0, ended.stderr
    assert "actual time=" in ended.stdout
    assert "Execution Time" in ended.stdout


def test_a_plan_is_there_for_programs(database_url: str) -> None:
    """With the plan of each statement."""
    ended = explain(database_url, "sales.add", "--json")
    assert ended.returncode == 0, ended.stderr
    statements = json.loads(ended.stdout)
    assert any(each["sql"].startswith('INSERT INTO "sales"') for each in statements)
    assert all(each["plan"] for each in statements)


def test_measuring_a_write_leaves_nothing_behind(database_url: str) -> None:
    """It is carried out, and rolled back."""
    ended = explain(database_url, "sales.add", "--analyze")
    assert ended.returncode == 0, ended.stderr
    for table in ("buyers", "sales", "sale_lines", "journal"):
        assert f"Insert on {table}" in ended.stdout
        assert rows_of(database_url, f"SELECT count(*) FROM {table}") == [(0,)]


def test_an_unknown_query_is_named_with_those_that_are_near(database_url: str) -> None:
    """Somebody mistyped it."""
    ended = explain(database_url, "sale.page")
    assert ended.returncode == 78
    assert "no query 'sale.page'; there is sales.page" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bad_setting_is_named_by_explain_too(database_url: str) -> None:
    """Not only by what runs for long."""
    ended = explain("mysql://here", "sales.page")
    assert ended.returncode == 78
    assert "Traceback" not in ended.stderr


# feature: row, rls, schema {
def tenants(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask for tenants, or register one."""
    return run("tenants", *arguments, DATABASE_URL=url, BROKER_URL="memory://")


def test_a_tenant_is_registered_and_listed(database_url: str) -> None:
    """By its name; its id is printed, and no other text with it."""
    added = tenants(database_url, "add", "widgets")
    assert added.returncode == 0, added.stderr
    identity = UUID(added.stdout.strip())
    listed = tenants(database_url, "list")
    assert listed.stdout.splitlines() == [f"{TENANT}  test", f"{identity}  widgets"]


def test_a_tenant_that_cannot_be_is_refused(database_url: str) -> None:
    """With the reason in one line."""
    for expected, *arguments in (
        ("this name is taken", "test"),
        ("this id is taken", "other", "--id", str(TENANT)),
        ("a name is not empty", ""),
    ):
        ended = tenants(database_url, "add", *arguments)
        assert ended.returncode == 78
        assert expected in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert len(tenants(database_url, "list").stdout.splitlines()) == 1


@pytest.mark.parametrize("command", [["list"], ["add", "widgets"]])
def test_a_registry_that_is_not_there_is_named(database_url: str, command: list[str]) -> None:
    """With the command that makes it."""
    with scratch_database(database_url) as url:
        ended = tenants(url, *command)
    assert ended.returncode == 78
    assert "`migrate up` makes it" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("whose", "status", "expected"),
    [
        ([], 78, "name it with --tenant"),
        (["--tenant", "widgets"], 2, "UUID"),
        (["--tenant", str(UUID(int=99))], 1, "is not registered"),
    ],
)
def test_a_plan_is_that_of_one_tenant(
    database_url: str, whose: list[str], status: int, expected: str
) -> None:
    """Without one there is no plan that says anything about production."""
    settings = {"DATABASE_URL": database_url, "BROKER_URL": "memory://"}
    ended = run("explain", "sales.page", *whose, **settings)
    assert ended.returncode == status
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_query_across_tenants_needs_none(database_url: str) -> None:
    """The relay works for all of them."""
    settings = {"DATABASE_URL": database_url, "BROKER_URL": "memory://"}
    ended = run("explain", "outbox.lease", **settings)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("UPDATE outbox SET lease = %s")


# feature: row, rls, schema }
