"""A clean copy of the template, uncommitted work included, and projects baked from it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cookiecutter import config
from cookiecutter.main import cookiecutter

from tests.answers import PROJECT, ROOT

Bake = Callable[..., Path]
Commit = Callable[[Path], str]
Sample = Callable[[Mapping[str, str | bytes]], Path]


def git(folder: Path, *arguments: str) -> str:
    """Runs git there, without this machine's settings or a surrounding git command's."""
    names = {"NAME": "template", "EMAIL": "template@localhost"}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        **{f"GIT_{who}_{what}": names[what] for who in ("AUTHOR", "COMMITTER") for what in names},
        **{"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    }
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those with a time limit of their own: at the end, one worker would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session")
def commit() -> Commit:
    """Makes a folder a repository whose only commit has all of it."""

    def commit(folder: Path) -> str:
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all", "--force")
        git(folder, "commit", "--quiet", "--message=Template")
        return git(folder, "rev-parse", "HEAD")

    return commit


@pytest.fixture(scope="session", autouse=True)
def home_is_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    """cookiecutter notes every run in the home directory; here it notes it elsewhere."""
    config.DEFAULT_CONFIG["replay_dir"] = str(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, commit: Commit) -> Path:
    """The template as a contributor would commit it now, without what git ignores."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    copy = tmp_path_factory.mktemp("template")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    commit(copy)
    return copy


@pytest.fixture(scope="session")
def project(template: Path) -> Path:
    """The running project inside the template."""
    return template / PROJECT


@pytest.fixture(scope="session")
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Generates a project with these answers, once; nobody may change it."""
    done: dict[str, Path] = {}

    def bake(**answers: Any) -> Path:
        key = json.dumps(answers, sort_keys=True)
        if key not in done:
            output = tmp_path_factory.mktemp("bake")
            done[key] = generate(template, output, **answers)
        return done[key]

    return bake


@pytest.fixture
def bake_fresh(template: Path, tmp_path: Path) -> Bake:
    """Bake a project that may be changed; nobody else has it."""

    def bake_fresh(**answers: Any) -> Path:
        return generate(template, tmp_path, **answers)

    return bake_fresh


def generate(template: Path, output: Path, **answers: Any) -> Path:
    """What `cookiecutter --no-input` does, whatever this user's configuration."""
    made = cookiecutter(
        str(template),
        no_input=True,
        default_config=True,
        extra_context=answers,
        output_dir=str(output),
    )
    return Path(made)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A tiny template of the given files with the real questions and hooks."""

    def sample(files: Mapping[str, str | bytes]) -> Path:
        template = tmp_path / "sample"
        shutil.copytree(ROOT / "hooks", template / "hooks")
        shutil.copy(ROOT / "cookiecutter.json", template)
        shutil.copy(ROOT / "cookiecutter_2_7_or_newer.py", template)
        write(template / PROJECT, files)
        return template

    return sample


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Creates the files, and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path) -> dict[str, str]:
    """The text of every file below, by its path; binary ones as their bytes are written."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(folder).parts:
            name = path.relative_to(folder).as_posix()
            files[name] = path.read_bytes().decode(errors="backslashreplace")
    return files
