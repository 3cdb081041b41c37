"""The image is built, and runs as compose.yaml and the manifests for Kubernetes say."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests import customer
from tests.answers import PROJECT, ROOT
from tests.conftest import Bake
from tests.image import Image, sent
from tests.machine import impossible

IMAGES = [
    {"database_driver": "psycopg", "kubernetes": True},
    *(
        pytest.param({"kubernetes": True, **each}, marks=pytest.mark.matrix)
        for each in ({"database_driver": "aiopg"}, {"tenancy": "rls", "tracing": True})
    ),
    pytest.param({"kubernetes": True, "http_api": False}, marks=pytest.mark.matrix),
]
PROXY = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
TENANT = "00000000-0000-0000-0000-000000000001"
EXAMPLE = "from acme_orders.orders.messages import OrderPlaced as O; import json; e = O.example(); "
EXAMPLE += "del e['order_id']; print(json.dumps(e))"

pytestmark = pytest.mark.timeout(900)


class Built:
    """A project and its image."""

    def __init__(self, project: Path, image: Image, answers: Mapping[str, Any]) -> None:
        self.project, self.image, self.machine = project, image, image.last.machine
        self.answers = answers
        self.tenant = TENANT if answers.get("tenancy", "none") != "none" else ""

    def outside(self, *command: str, **variables: str) -> list[str]:
        """A command with this environment's Python, in the network of the image."""
        live = str(ROOT / PROJECT)
        known = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": f"{ROOT}:{live}"}
        known |= {"HOME": "/root", **variables}
        return self.machine.command([sys.executable, *command], variables=known)

    @contextmanager
    def neighbours(self, database: Any, broker: Any) -> Iterator[dict[str, str]]:
        """The servers; what their own programs need."""
        arguments = map(json.dumps, (database, broker))
        running = subprocess.Popen(
            self.outside("-m", "tests.neighbours", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, "the servers did not start"
        try:
            yield json.loads(line)
        finally:
            running.communicate(timeout=60)

    @contextmanager
    def container(self, grace: float, command: list[str]) -> Iterator[None]:
        """It runs until the block ends; then it gets SIGTERM, and has to end well in time."""
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield
        finally:
            for inside in psutil.Process(running.pid).children(recursive=True)[-1:]:
                inside.send_signal(signal.SIGTERM)
            began = time.monotonic()
            said, _ = running.communicate(timeout=120)
        assert running.returncode == 0, said
        assert time.monotonic() - began < grace

    def serve(self, operations: int, api: int) -> None:
        """A customer of it is served."""
        http = self.answers.get("http_api", True)
        body = self.machine.run("python", "-c", EXAMPLE, variables=self.image.last.variables)
        places = [f"http://127.0.0.1:{operations}", f"http://127.0.0.1:{api}" if http else ""]
        command = self.outside(str(ROOT / "tests/customer.py"), *places, body, self.tenant)
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("accepted" in done.stdout) == http


@pytest.fixture(scope="module", params=IMAGES, ids=lambda answers: ",".join(map(str, answers)))
def built(
    request: pytest.FixtureRequest, bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """The image of a project; building it is the first test."""
    if why := impossible():
        pytest.skip(f"an image can't be built here: {why}")
    project, folder = bake(**request.param), tmp_path_factory.mktemp("image")
    with Image(project, folder) as image:
        yield Built(project, image, request.param)
    shutil.rmtree(folder)


def done(command: list[str]) -> str:
    """It ends well."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def eventually(attempts: int, every: float, command: list[str]) -> None:
    """As a health check is asked again."""
    for _ in range(attempts):
        if subprocess.run(command, capture_output=True).returncode == 0:
            return
        time.sleep(every)
    pytest.fail(f"not healthy: {' '.join(command[-4:])}")


def seconds(text: str) -> float:
    """A duration such as 30s."""
    assert text.endswith("s")
    return float(text[:-1])


# compose.yaml


@pytest.fixture
def composed(built: Built, tmp_path: Path) -> dict[str, Any]:
    """The services of compose.yaml, with the variables of `.env` in their places."""
    shutil.copytree(built.project, tmp_path / "copy")
    subprocess.run(["make", "--silent", ".env"], cwd=tmp_path / "copy", check=True)
    lines = (tmp_path / "copy/.env").read_text().splitlines()
    known = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    text = (built.project / "compose.yaml").read_text()
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: known[match[1]], text)
    text = re.sub(r"\$\{\w+:-\}", "", text)
    assert "$" not in text
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def test_compose_runs_what_it_says(built: Built, composed: dict[str, Any]) -> None:
    """In the order of its conditions; a proxy, which engines pass on, is no matter."""
    postgres, rabbitmq, migrate, service = (
        composed[name] for name in ("postgres", "rabbitmq", "migrate", "service")
    )
    assert migrate["depends_on"].keys() == {"postgres"}
    assert service["depends_on"].keys() == {"migrate", "rabbitmq"}
    built.machine.path("/etc/hosts").write_text("127.0.0.1 localhost postgres rabbitmq service\n")
    ports = [int(each.split(":")[2]) for each in service["ports"]]
    with built.neighbours(postgres["environment"], rabbitmq["environment"]) as programs:
        for each in (postgres, rabbitmq):
            kind, *command = each["healthcheck"]["test"]
            assert kind == "CMD"
            every = seconds(each["healthcheck"]["interval"])
            asked = built.machine.command(command, variables=programs)
            eventually(each["healthcheck"]["retries"], every, asked)
        variables = {**migrate["environment"], **PROXY}
        assert "applied" in done(built.image.start(migrate["command"], variables))
        if built.tenant:
            adding = ["tenants", "add", "first", "--id", TENANT]
            done(built.image.start(adding, variables))
        grace = seconds(service["stop_grace_period"])
        variables = {**service["environment"], **PROXY}
        with built.container(grace, built.image.start(service.get("command"), variables)):
            eventually(30, 1, built.image.check(variables))
            built.serve(ports[0], ports[-1])
        unhealthy = subprocess.run(built.image.check(variables), capture_output=True)
        assert unhealthy.returncode == 1
        assert set(ports) == set(built.image.last.settings["EXPOSE"])


# Kubernetes


def manifest(built: Built, name: str) -> dict[str, Any]:
    """The first of a file: in others the API stands alone, which needs nothing else."""
    text = (built.project / "deploy/kubernetes" / name).read_text()
    found: dict[str, Any] = next(yaml.safe_load_all(text))
    first: dict[str, Any] = found.get("items", [found])[0]
    return first


def as_told(built: Built, kind: dict[str, Any], secrets: Mapping[str, Any]) -> list[str]:
    """The command of its only container, with its environment, its user and its restrictions."""
    pod = kind["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    security, limits = pod["securityContext"], container["securityContext"]
    assert built.image.last.user == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert security["runAsNonRoot"]
    assert limits["readOnlyRootFilesystem"]
    assert limits["capabilities"]["drop"] == ["ALL"]
    variables: dict[str, str] = {}
    for source in container["envFrom"]:
        variables |= secrets[source["secretRef"]["name"]]
    for each in container.get("env", []):
        reference = each["valueFrom"]["secretKeyRef"]
        variables[each["name"]] = secrets[reference["name"]][reference["key"]]
    return built.image.start(container["args"], variables, restricted=True)


def documented(built: Built, number: int) -> str:
    """The SQL of docs/database.md that makes the roles of production."""
    text = (built.project / "docs/database.md").read_text()
    section = text.partition("## Roles in production")[2].partition("\n## ")[0]
    found: list[str] = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return found[number].replace("…", "s3cret-of-it")


def test_kubernetes_runs_what_it_says(built: Built) -> None:
    """With the roles of the documentation, in production, where no file can be written."""
    account = {"POSTGRES_USER": "root", "POSTGRES_DB": "root", "POSTGRES_PASSWORD": "s3cret"}
    queue = {"RABBITMQ_DEFAULT_USER": "orders", "RABBITMQ_DEFAULT_PASS": "s3cret-of-it"}
    place = "s3cret-of-it@127.0.0.1:5432/acme_orders"
    owner = f"postgresql://acme_orders_owner:{place}"
    secrets = {
        "acme-orders": {
            "DATABASE_URL": f"postgresql://acme_orders_login:{place}",
            "BROKER_URL": "amqp://orders:s3cret-of-it@127.0.0.1:5672/",
        },
        "acme-orders-migrate": {"MIGRATION_DATABASE_URL": owner},
    }
    deployment, service = manifest(built, "deployment.yaml"), manifest(built, "service.yaml")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    with built.neighbours(account, queue) as programs:

        def sql(url: str, text: str) -> None:
            for statement in text.split(";\n"):
                asked = ["psql", url, "-v", "ON_ERROR_STOP=1", "-c", statement]
                built.machine.run(*asked, variables=programs)

        superuser, *_ = documented(built, 0).partition("-- in that database")
        sql("postgresql://root:s3cret@127.0.0.1:5432/root", superuser)
        done(as_told(built, manifest(built, "migrate-job.yaml"), secrets))
        sql(owner, documented(built, 1))
        if built.tenant:
            adding = ["tenants", "add", "first", "--id", TENANT]
            done(built.image.start(adding, secrets["acme-orders"] | secrets["acme-orders-migrate"]))
        grace = pod["terminationGracePeriodSeconds"]
        with built.container(grace, as_told(built, deployment, secrets)):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = container[probe]["httpGet"]
                url = f"http://127.0.0.1:{ports[get['port']]}{get['path']}"
                code = "from tests import customer as c; c.until(200, lambda: c.ask('GET', {0!r}))"
                done(built.outside("-c", code.format(url)))
            built.serve(ports["operations"], 8000)
    assert {each["targetPort"] for each in service["spec"]["ports"]} == set(ports)


def test_the_builder_gets_no_more_than_it_needs(built: Built) -> None:
    """No secret, no cache and no history can end in a layer."""
    (extra := built.project / "src/__pycache__").mkdir(exist_ok=True)
    (extra / "x.pyc").write_text("")
    try:
        files = sent(built.project)
    finally:
        shutil.rmtree(extra)
    tops = {file.parts[0] for file in files}
    assert tops == {"LICENSE", "README.md", "backfills", "migrations", "pyproject.toml", "src"}
    assert not [file for file in files if "__pycache__" in file.parts]
    inside = {path.name for path in built.image.last.place("/app").iterdir()}
    assert inside == {"backfills", "migrations"}
    beside = {path.parent.name for path in built.project.glob("*/__init__.py")}
    assert {"dev", "readiness", "tests"} <= beside
    library = built.image.last.place("/opt/venv/lib")
    installed = {path.parent.name for path in library.glob("*/site-packages/*/__init__.py")}
    assert "acme_orders" in installed
    assert not installed & beside


def test_a_customer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for ever tells nobody anything."""
    monkeypatch.setattr(customer, "PATIENCE", 0.3)
    with pytest.raises(AssertionError, match="not 200 in time, but"):
        customer.ready("http://127.0.0.1:1")
