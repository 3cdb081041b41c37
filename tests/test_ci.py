"""The steps of each CI file are carried out as their tool would, and so are those of pre-commit."""

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.answers import ROOT
from tests.conftest import Bake, git
from tests.machine import Machine, impossible, interpreter
from tests.workplace import Workplace

# Of the project's own tests these suffice to see that servers, environment and tests are there;
# tests/test_service.py runs the others.
FEW = "-n0 tests/contracts"

COMMIT = re.compile(r"[0-9a-f]{40}")

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One for each test."""
    if why := impossible():
        pytest.skip(f"CI files can't be carried out here: {why}")
    with Machine(tmp_path / "machine") as machine:
        yield machine
    shutil.rmtree(tmp_path / "machine")


def matrix(values: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every combination."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def load(path: Path) -> dict[Any, Any]:
    """A file of YAML; `on` is a boolean to it."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def python(version: str, real: bool) -> Path | None:
    """The bin folder of the Python that a job asks for, if it is really to be installed into."""
    found = interpreter(version)
    if real and not found:
        pytest.skip(f"Python {version} is not installed here")
    return found if real else None


def beside(address: str, host: str, image: str) -> bool:
    """Whether a step is for the PostgreSQL beside the job, which no container engine starts here.

    tests/test_versions.py does the same with programs of that version.
    """
    if address:
        assert (address, image) == (f"postgresql://postgres@{host}/postgres", "postgres:15")
    return bool(address)


def gitlab(machine: Machine, project: Path, number: int, real: bool) -> None:
    """One job of the matrix, in the container of its image, as root, its lines in one shell."""
    pipeline = load(project / ".gitlab-ci.yml")
    job = pipeline["test"]
    variables = {**pipeline.get("variables", {}), **job.get("variables", {})}
    variables |= matrix(job["parallel"]["matrix"][0])[number]
    image = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], job["image"])
    version = re.fullmatch(r"python:(\d+\.\d+)", image)
    assert version, image
    variables |= {"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": "/builds/acme/acme-orders"}
    place = Workplace(
        machine, project, "/builds/acme/acme-orders", "root", python(version[1], real)
    )
    (service,) = job["services"]
    script, last = job["script"][:-1], job["script"][-1]
    address, _, command = last.partition(" ")
    assert command == "make readiness"
    assert beside(address.removeprefix("TEST_DATABASE_URL="), service["alias"], service["name"])
    lines = [*pipeline.get("before_script", []), *job.get("before_script", []), *script]
    script = "\n".join(["set -eo pipefail", *lines])
    place.run("bash", "-c", script, PYTEST_ADDOPTS=FEW, **variables)


def github(machine: Machine, project: Path, number: int, real: bool) -> None:
    """One job of the matrix, each step in a shell of its own, as a user who may use sudo."""
    workflow = load(project / ".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    chosen = matrix(job["strategy"]["matrix"])[number]
    fill = {f"matrix.{name}": value for name, value in chosen.items()}

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ *([\w.]+) *\}\}", lambda match: fill[match[1]], text)

    folder = "/home/runner/work/acme-orders/acme-orders"
    asked = [step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-py")]
    version = filled(asked[0]["with"]["python-version"])
    place = Workplace(machine, project, folder, "somebody", python(version, real))
    allow_sudo(machine)
    variables = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": folder}
    variables |= {**workflow.get("env", {}), **job.get("env", {})}
    if not real:
        variables["MAKEFLAGS"] = "n"  # says what it would do; GitLab's job has done the same
    for step in job["steps"]:
        if action := step.get("uses"):
            name, _, commit = action.partition("@")
            assert name in ("actions/checkout", "actions/setup-python")
            assert COMMIT.fullmatch(commit), f"{action}: a tag can be moved to other code"
            continue
        address = step.get("env", {}).get("TEST_DATABASE_URL", "")
        if beside(address, "localhost", job["services"]["postgres"]["image"]):
            continue
        shell = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
        line = filled(step["run"])
        place.run(*shell, line, PYTEST_ADDOPTS=FEW, **variables, **step.get("env", {}))


def allow_sudo(machine: Machine) -> None:
    """As GitHub's runners do."""
    install = "apt-get update -q && apt-get install -q --yes --no-install-recommends sudo"
    known = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    machine.run("sh", "-c", install, variables=known, network=True)
    rules = machine.path("/etc/sudoers.d/somebody")
    rules.write_text("somebody ALL=(ALL) NOPASSWD:ALL\n")
    rules.chmod(0o440)


RUNS = [
    pytest.param(tool, number, real, marks=[pytest.mark.matrix] if real or number else [], id=name)
    for tool in (gitlab, github)
    for number, real in ((0, False), (0, True), (1, True))
    for name in [f"{tool.__name__}-{'installed' if real else 'shared'}-{number}"]
]


@pytest.mark.parametrize(("tool", "number", "real"), RUNS)
def test_a_pipeline_is_green(
    machine: Machine, bake: Bake, tool: Any, number: int, real: bool
) -> None:
    """From a clean clone to the tests, with every variable that the tool sets."""
    tool(machine, bake(ci=tool.__name__), number, real)


def test_the_template_s_own_pipeline_says_what_the_project_s_says(project: Path) -> None:
    """The same steps, which are carried out above; only it needs all of the history, and longer."""
    ours, theirs = (
        load(path / ".github/workflows/ci.yml")["jobs"]["test"] for path in (ROOT, project)
    )
    for job in (ours, theirs):
        job.pop("timeout-minutes")
        job["steps"][0]["with"].pop("fetch-depth", None)
    assert ours == theirs


def test_pre_commit_runs_what_it_says(bake_fresh: Bake) -> None:
    """Each hook on the files of its types, in the environment that `make setup` makes."""
    project = bake_fresh()
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    (project / ".venv").symlink_to(sys.prefix)
    files = git(project, "ls-files", "*.py").splitlines()
    (repository,) = load(project / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert (hook["language"], hook["types"]) == ("system", ["python"])
        named = files if hook.get("pass_filenames", True) else []
        command = [*shlex.split(hook["entry"]), *named]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, f"{hook['entry']}: {done.stdout}{done.stderr}"
        if named:
            (project / "bad.py").write_text("import os\nx  =  1\n")
            assert subprocess.run([*command, "bad.py"], cwd=project).returncode or (
                (project / "bad.py").read_text() != "import os\nx  =  1\n"
            )
            (project / "bad.py").unlink()
