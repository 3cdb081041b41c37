"""Each verb that `make help` lists runs, wherever the clone lies and whatever the shell has set."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Bake, git
from tests.machine import Machine, impossible, python_here
from tests.workplace import PATH, Workplace, verbs

# What a shell, an activated environment or CI may have set for others. PYTHONHOME, for example,
# keeps every other Python from starting; PIP_TARGET has pip install elsewhere.
SET = {
    **{"PYTHON": "3.11", "VENV": "/nowhere", "BIN": "/nowhere", "READY": "/nowhere", "LIVE": "/x"},
    **{"WORKERS": "many", "SEED": "x", "MESSAGES": "de_DE", "MINUTES": "x", "ROUNDS": "x"},
    **{"SHELL": "/bin/false", "MAKEFLAGS": "-j4", "MAKELEVEL": "7", "CDPATH": "/tmp:/"},
    **{"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONOPTIMIZE": "1"},
    **{"PYTHONWARNINGS": "error", "VIRTUAL_ENV": "/nowhere", "CONDA_PREFIX": "/nowhere"},
    **{"PIP_USER": "1", "PIP_TARGET": "/nowhere", "PIP_PREFIX": "/nowhere", "PIP_NO_DEPS": "1"},
    **{"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "3.6", "PGSSLMODE": "require", "PGHOST": "db.example"},
    **{"PGOPTIONS": "-c default_transaction_read_only=on", "RABBITMQ_NODENAME": "x@elsewhere"},
    **{"ERL_FLAGS": "-s nonsense", "MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"},
}
PORTS = {"OPERATIONS_PORT": "0", "HTTP_PORT": "0"}
WHO = {
    f"GIT_{who}_{what}": "x@localhost"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}
FOLDER = "/home/somebody/Büro (alt)/acme orders"
Verb = Callable[[Workplace], None]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One for each test."""
    if why := impossible():
        pytest.skip(f"no ordinary user can be made here: {why}")
    with Machine(tmp_path / "machine") as machine:
        yield machine
    shutil.rmtree(tmp_path / "machine")


def make(*arguments: str, says: str = "", tests: str = "") -> Verb:
    """A verb that ends well by itself, with few tests and small numbers."""

    def verb(place: Workplace) -> None:
        few = {"PYTEST_ADDOPTS": f"-p no:cacheprovider {tests}"} if tests else {}
        assert says in place.run("make", *arguments, **{**SET, **few})

    return verb


def dev(place: Workplace) -> None:
    """`make dev`, until Ctrl-C when it is ready."""
    command = place.command("make", "dev", **{**SET, **PORTS})
    said = ""
    with subprocess.Popen(
        command, env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said += line
            if "service.ready" in line or "ended with status" in line:
                inside = psutil.Process(running.pid).children(recursive=True)
                (it,) = (each for each in inside if "dev.start" in each.cmdline()[:3])
                it.send_signal(signal.SIGINT)
    assert running.returncode == 0, said
    assert "service.ready" in said


def rehearse(place: Workplace) -> None:
    """`make deploy-rehearsal`, over a release that is the same."""
    place.run("git", "tag", "1.0")
    assert " GO: both releases ran" in place.run("make", "deploy-rehearsal", **SET)


def release(place: Workplace) -> None:
    """`make contracts-release`, of what has been recorded."""
    place.run("make", "contracts-update", **SET)
    assert "migrations of version" in place.run("make", "contracts-release", **SET)


def template_update(place: Workplace) -> None:
    """`make template-update`, to what the project has: tests/test_template_update.py goes on."""
    place.run(
        "sh",
        "-c",
        "git init -q t && cd t && git commit -q --allow-empty -m x",
        folder="/tmp",
        **WHO,
    )
    commit = place.run("git", "rev-parse", "HEAD", folder="/tmp/t").strip()
    known = {"template": "/tmp/t", "commit": commit, "context": {"cookiecutter": {}}}
    place.run(
        "sh",
        "-c",
        f"echo '{json.dumps(known)}' >.cruft.json && git add -A && git commit -qm x",
        **WHO,
    )
    said = place.run("make", "template-update", **SET)
    assert "up to date" in said
    assert "the project starts" in said


ONE_FAULT = "-k test_twice_and_in_any_order"
SMALL = ("MINUTES=0.2", "MESSAGES=500")
SHORT: dict[str, Verb] = {
    "help": make("help", says="make"),
    "setup": make("setup"),
    "demo": make("demo", says="lost"),
    "dev": dev,
    "dev-stop": make("dev-stop", says="for the next"),
    "dev-reset": make("dev-reset", says="gone"),
    "test": make("test", tests="tests/contracts", says="passed"),
    "readiness": make("readiness", says="K1"),
    "mutations": make("mutations", says="nothing of a slice has changed"),
    "contracts-update": make("contracts-update", says="contracts are up to date"),
    "contracts-release": release,
    "verify": make("verify", says="passed"),
    "new": make("new", "slice=parcels", says="parcels"),
    "template-proof": make("template-proof", says="the project starts"),
    "template-update": template_update,
}
LONG: dict[str, Verb] = {
    "check": make("check", says="Contracts: "),
    "deploy-rehearsal": rehearse,
    "faults": make("faults", tests=ONE_FAULT, says="passed"),
    "remove-example": make("remove-example", "APPLIED=no", says="no longer speaks of it"),
}
LONG_OF_CHASSIS: dict[str, Verb] = {
    "soak": make("soak", *SMALL),
    "attack": make("attack", "MINUTES=0.3", "GOOD=60", "LATEST=60", says="accounted for"),
    "bench": make("bench", "ROUNDS=1", "MESSAGES=2000", "BACKLOG=0", "ROWS=0", says="messages/s"),
}


# These need an environment that is really installed.
INSTALLED: dict[str, Verb] = {"lock": make("lock", says="commit uv.lock")}
ELSEWHERE = {"audit"}  # it asks the network: tests/test_lock.py answers it


def bake_one(place: Workplace) -> None:
    """`make bake`, with the default for each question."""
    assert "make demo" in place.run("make", "bake", typed="\n" * 20, **SET)
    assert "acme-orders" in place.run("ls", "build")


def test_readme_tells_of_each_verb(bake: Bake) -> None:
    """And of none that is not there."""
    for answers in ({}, {"chassis_tests": True}):
        project = bake(**answers)
        rows = re.findall(r"^\| `make .*", (project / "README.md").read_text("utf-8"), re.MULTILINE)
        told = {verb for row in rows for verb in re.findall(r"`make ([a-z-]+)", row)}
        assert told == verbs(project / "Makefile") - {"help"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mutations", "minutes=soon"], "--minutes: invalid float value"),
        (["mutations", "since=nowhere"], "nowhere"),
        (["deploy-rehearsal", "FROM=nowhere"], "nowhere"),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_told_before_a_server_starts(
    bake_fresh: Bake, arguments: list[str], says: str
) -> None:
    """Nobody waits for PostgreSQL to hear of a slip of the pen."""
    project, venv = bake_fresh(), Path(sys.prefix)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "one")
    command = ["make", f"VENV={venv}", "-o", str(venv / ".ready"), *arguments]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert says in ended.stderr
    assert "PostgreSQL" not in ended.stderr


FEW = "-k 'every_alert_is_read or hooks_know_the_questions'"  # one of each suite
SHORT_OF_TEMPLATE: dict[str, Verb] = {
    "help": make("help", says="bake"),
    "setup": make("setup"),
    "demo": make("demo", says="lost"),
    "dev": dev,
    "dev-stop": make("dev-stop", says="for the next"),
    "dev-reset": make("dev-reset", says="gone"),
    "bake": bake_one,
}
LONG_OF_TEMPLATE: dict[str, Verb] = {
    "readiness": make("readiness", says="K1"),
    "test": make("test", tests=FEW, says="passed"),
    "verify": make("verify", says="passed"),
    "test-template": make("test-template", tests="-k hooks_know_the_questions", says="passed"),
    "matrix": make("matrix", tests="tests/test_refusals.py -k lpt9-newest", says="passed"),
    "check": make("check", says="Contracts: "),
    "pictures": make("pictures"),
    "faults": make("faults", tests=ONE_FAULT, says="passed"),
    "versions": make("versions", tests=ONE_FAULT, says="RabbitMQ 4.3"),
    "soak": make("soak", *SMALL),
    "attack": make("attack", "MINUTES=0.3", "GOOD=60", "LATEST=60", says="accounted for"),
    "bench": make("bench", "ROUNDS=1", "MESSAGES=2000", "BACKLOG=0", "ROWS=0", says="written"),
}


def test_the_verbs_of_a_project(machine: Machine, bake: Bake) -> None:
    """As an ordinary user, in a folder of an odd name, in a shell full of variables."""
    place = Workplace(machine, bake(), FOLDER, "somebody")

    for verb in SHORT.values():
        verb(place)

    assert verbs(bake() / "Makefile") == {*SHORT, *LONG, *INSTALLED, *ELSEWHERE}
    known = {*SHORT, *LONG, *INSTALLED, *ELSEWHERE, *LONG_OF_CHASSIS}
    assert verbs(bake(chassis_tests=True) / "Makefile") == known


@pytest.mark.matrix
def test_the_long_verbs_of_a_project(machine: Machine, bake: Bake) -> None:
    """With the smallest numbers."""
    place = Workplace(machine, bake(chassis_tests=True), FOLDER, "somebody")

    for verb in [*LONG_OF_CHASSIS.values(), *LONG.values()]:
        verb(place)


def test_the_verbs_of_the_template(machine: Machine, template: Path) -> None:
    """Likewise; what it does with the live project finds its environment in the same odd folder."""
    place = Workplace(machine, template, FOLDER, "somebody")

    for verb in SHORT_OF_TEMPLATE.values():
        verb(place)

    assert verbs(template / "Makefile") == {*SHORT_OF_TEMPLATE, *LONG_OF_TEMPLATE}


@pytest.mark.matrix
def test_the_long_verbs_of_the_template(machine: Machine, template: Path) -> None:
    """With the smallest numbers."""
    place = Workplace(machine, template, FOLDER, "somebody")

    for verb in LONG_OF_TEMPLATE.values():
        verb(place)


@pytest.mark.matrix
@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("what", ["project", "template"])
def test_an_environment_is_installed(
    machine: Machine, bake: Bake, template: Path, what: str, installer: str
) -> None:
    """Really, by pip or by uv, in the same odd place; and what it has does."""
    source = bake(database_driver="psycopg") if what == "project" else template
    place = Workplace(machine, source, FOLDER, "somebody", python_here())
    if installer == "uv":
        get = "python3 -m venv /opt/uv && /opt/uv/bin/pip install -q uv"
        link = "ln -s /opt/uv/bin/uv /usr/local/bin/uv"
        known = {"PATH": PATH, "HOME": "/nonexistent"}
        machine.run("sh", "-c", f"{get} && {link}", variables=known, network=True)

    locked = list(INSTALLED.values()) if what == "project" else []
    for verb in (make("setup"), *locked, make("setup"), make("verify", says="passed")):
        verb(place)

    has_pip = place.run("ls", ".venv/bin").split().count("pip")
    assert has_pip == (installer == "pip")
