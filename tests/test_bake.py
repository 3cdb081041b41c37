"""What is generated is sound, whatever was answered.

Every combination is made in this process and read by every cheap check; a few in which all pairs of
answers meet come from cookiecutter itself; four are checked by mypy, which takes its time.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.post_gen_project import apply_rules
from tests.answers import (
    CHOICES,
    FLAGS,
    HOSTILE,
    LONGEST,
    NAMES,
    OPPOSITE,
    PROJECT,
    SHORTEST,
    Answers,
    complete,
    every,
    pairwise,
)
from tests.conftest import Bake, Commit, git, read
from tests.source import imported, modules, overwritten
from tests.test_identity import PRAGMA, variant

# What an answer brings in, by import name; it must not be mentioned without that answer.
BRINGS: list[tuple[str, object, set[str]]] = [
    ("http_api", True, {"fastapi"}),
    ("tracing", True, {"opentelemetry"}),
    ("database_driver", "aiopg", {"aiopg"}),
    ("database_driver", "psycopg", {"psycopg"}),
]
JINJA = re.compile(r"\{\{|\{%|\{#")
SWITCHES = {question: [False, True] for question in FLAGS}


# Reads YAML with tags of any tool, such as GitLab's `!reference`.
LOADER: Any = type("Loader", (yaml.SafeLoader,), {})
LOADER.add_multi_constructor("!", lambda _, tag, node: [tag, yaml.serialize(node)])


def parse(path: Path) -> object:
    """What a file of data says; None for any other file."""
    text = path.read_bytes().decode()
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix in (".yaml", ".yml"):
        return list(yaml.load_all(text, LOADER))
    return None


def demand(folder: Path, *command: str) -> None:
    """Runs a Python tool there, which must not complain."""
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def findings(project: Path, answers: Answers, template: dict[str, str]) -> Iterator[str]:
    """Everything wrong with a generated project that can be found by reading it."""
    files, imports = read(project), dict[str, frozenset[str]]()
    jinja = sum(len(JINJA.findall(text)) for text in files.values())
    renamed = "acme" not in " ".join(map(str, answers.values())).lower()
    if jinja > sum(len(JINJA.findall(text)) for text in template.values()):
        yield "braces of Jinja which the template does not have"
    for path, text in files.items():
        if PRAGMA.search(text):
            yield f"{path}: a pragma is left"
        if variant(path):
            yield f"{path}: a variant is left"
        if renamed and "acme" in (path + text).lower():
            yield f"{path}: a placeholder is left"
        if re.search(r"\{\{ *cookiecutter", path + text):
            yield f"{path}: expects cookiecutter to insert something"
        try:
            parse(project / path)
            if path.endswith(".py"):
                imports[path] = imported(text)
                for name in overwritten(text) if not path.startswith("tests/") else ():
                    yield f"{path}: {name} gets a value, and another one in the next line"
        except (ValueError, SyntaxError, yaml.YAMLError) as error:
            yield f"{path}: {error}"
    own = set(places(path.removeprefix("src/") for path in imports))
    for path in imports:
        for module in modules(files[path]) - own:
            if module.partition(".")[0] in own:
                yield f"{path}: imports {module}, which is not there"
    for folder in project.rglob("*"):
        if folder.is_dir() and not any(folder.iterdir()):
            yield f"{folder.relative_to(project)}: an empty folder"
    for question, answer, brought in BRINGS:
        for module in brought if answers[question] != answer else ():
            if users := [path for path, modules in imports.items() if module in modules]:
                yield f"{users}: import {module} without {question}={answer}"
            if normal(module) in required(project):
                yield f"pyproject.toml: requires {module} without {question}={answer}"


def places(paths: Iterable[str]) -> Iterator[str]:
    """The modules in these files, and the packages around them."""
    for path in paths:
        parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def required(project: Path) -> set[str]:
    """What the project installs along with itself."""
    text = (project / "pyproject.toml").read_text("utf-8")
    dependencies = tomllib.loads(text)["project"]["dependencies"]
    return {normal(re.split(r"[^\w.-]", dependency)[0]) for dependency in dependencies}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(answers: Answers) -> str:
    """A combination, in few words."""
    words = [f"{key}={value}" if key in FLAGS else value for key, value in answers.items()]
    return ",".join(words)


# Every combination.

BATCHES = {"database_driver": CHOICES["database_driver"], "ci": CHOICES["ci"], "names": list(NAMES)}
# `make test` takes every answer once, and the drivers in turns; `make matrix` all of them.
OFTEN = [
    {"database_driver": driver, "ci": ci, "names": names}
    for driver, ci, names in zip(
        itertools.cycle(CHOICES["database_driver"]), CHOICES["ci"], reversed(NAMES), strict=False
    )
]
BATCHED = [
    pytest.param(batch, id=named(batch), marks=[] if batch in OFTEN else [pytest.mark.matrix])
    for batch in every(BATCHES)
]
# The tests of the chassis are half of all files: they come with every second combination.
INSIDE = {
    "tenancy": CHOICES["tenancy"],
    **{question: values for question, values in SWITCHES.items() if question != "chassis_tests"},
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", BATCHED)
def test_every_combination_is_sound(batch: Answers, project: Path, tmp_path: Path) -> None:
    """Readable, complete, without traces of the template, linted and formatted."""
    template, found = read(project), []
    for number, inside in enumerate(every(INSIDE)):
        licence = CHOICES["license"][number % len(CHOICES["license"])]
        chosen = {**batch, **inside, "license": licence, "chassis_tests": inside["kubernetes"]}
        answers = complete(NAMES[chosen.pop("names")], chosen)
        made = tmp_path / named(inside)
        shutil.copytree(project, made)
        apply_rules(made, answers)
        found += [f"{line}, with {chosen}" for line in findings(made, answers, template)]

    assert found == []
    demand(tmp_path, "ruff", "check", "--no-cache", "--output-format=concise", ".")
    demand(tmp_path, "ruff", "format", "--no-cache", "--check", ".")


# All pairs, as a user makes them.

PAIRS = pairwise({**CHOICES, **SWITCHES, "names": list(NAMES)})


@pytest.mark.parametrize("chosen", PAIRS, ids=named)
def test_cookiecutter_makes_the_same(
    chosen: Answers, project: Path, bake: Bake, tmp_path: Path
) -> None:
    """Its copying and its way of passing answers change nothing."""
    answers = dict(chosen)
    answers |= NAMES[answers.pop("names")]
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    apply_rules(copy, complete(answers))

    made = bake(**answers)

    files = read(made)
    assert json.loads(files.pop(".cruft.json"))["context"]["cookiecutter"].items() >= (
        answers.items()
    )
    assert files == read(copy)
    assert list(findings(made, complete(answers), read(project))) == []


# Names.


def leaves(value: object, old: Answers, new: Answers) -> object:
    """The data with every placeholder in its strings replaced, after parsing."""
    if isinstance(value, dict):
        return {leaves(key, old, new): leaves(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [leaves(item, old, new) for item in value]
    if not isinstance(value, str):
        return value
    names = {old[question]: new[question] for question in old if old[question] in value}
    pattern = "|".join(map(re.escape, names)) or "(?!)"
    return re.sub(pattern, lambda match: str(names[match[0]]), value)


NUMBERS = {
    "project_name": "1.5",
    "project_slug": "e5",
    "package_name": "e5",
    "description": "no",
    "author_name": "null",
    "author_email": "1@2.3",
}


@pytest.mark.parametrize(
    "names",
    [HOSTILE, NUMBERS, LONGEST, SHORTEST],
    ids=["hostile", "numbers", "longest", "shortest"],
)
@pytest.mark.parametrize("choices", [{}, OPPOSITE], ids=["default", "opposite"])
def test_names_are_only_ever_text(names: Answers, choices: Answers, bake: Bake) -> None:
    """Renaming and then reading a file of data is the same as reading and then renaming."""
    renamed, plain = bake(**choices, **names), bake(**choices)
    old = {question: complete()[question] for question in SHORTEST}

    for path in read(plain):
        target = renamed / str(leaves(path, old, names))
        assert target.is_file(), path
        if path != ".cruft.json":
            assert parse(target) == leaves(parse(plain / path), old, names), path
    assert len(read(plain)) == len(read(renamed))


def test_hostile_names_leave_code_and_makefile_sound(bake: Bake) -> None:
    """All but the length of lines, for which a long name is enough."""
    made = bake(**OPPOSITE, **HOSTILE)

    assert list(findings(made, complete(OPPOSITE, HOSTILE), {"": "{{" * 199})) == []
    demand(made, "ruff", "check", "--no-cache", "--ignore=E501", ".")
    if (made / "Makefile").exists() and shutil.which("make"):
        done = subprocess.run(["make", "--dry-run", "help"], cwd=made, capture_output=True)
        assert done.returncode == 0, done.stderr


# Dependencies.


@pytest.mark.parametrize("answers", [{}, OPPOSITE], ids=["default", "opposite"])
def test_what_is_imported_is_required(answers: Answers, bake: Bake) -> None:
    """Not merely installed because something else requires it, for now."""
    made = bake(**answers)
    distributions = packages_distributions()
    own = sys.stdlib_module_names | {"acme_orders"}

    undeclared = {
        f"{path.relative_to(made)}: {module}"
        for path in (made / "src").rglob("*.py")
        for module in imported(path.read_text("utf-8")) - own
        if not {normal(owner) for owner in distributions.get(module, [module])} & required(made)
        if not any(name.startswith(normal(module)) for name in required(made))
    }

    assert sorted(undeclared) == []


# Types.


@pytest.mark.parametrize(
    "answers",
    [{}, SHORTEST, LONGEST, OPPOSITE],
    ids=["default", "shortest", "longest", "opposite"],
)
def test_mypy_finds_nothing(
    answers: dict[str, Any], bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the project's own, strict, configuration."""
    cache = tmp_path_factory.getbasetemp() / "mypy"

    demand(bake(**answers), "mypy", "--cache-dir", str(cache))


def test_the_checks_find_what_they_should(project: Path, tmp_path: Path) -> None:
    """Each turns red when what it is about is broken."""
    shutil.copytree(project, tmp_path / PROJECT)
    made = tmp_path / PROJECT
    answers = complete(OPPOSITE, SHORTEST)
    apply_rules(made, answers)
    broken = {
        "a.py": "x = (",
        "b.py": "import aiopg\n",
        "c.py": "x = 1  # feature: tracing\n",
        "h.py": "x = 1\nx = 2\n",
        "d.yaml": "a: [",
        "e.toml": "a = acme\n",
        "f.json": "{",
        "g__gitlab.py": "",
        "i.txt": "{{ cookiecutter.x }}",
    }
    for name, text in broken.items():
        (made / name).write_text(text)
    (made / "empty").mkdir()

    found = "\n".join(findings(made, answers, {}))

    for name in [*broken, "empty"]:
        assert name in found
    assert "a placeholder is left" in found
    assert "braces of Jinja" in found


def test_a_checkout_on_windows_has_the_same_files(
    bake_fresh: Bake, commit: Commit, tmp_path: Path
) -> None:
    """Or its migrations would be others than those that were applied."""
    project = bake_fresh()
    commit(project)
    there = tmp_path / "windows"
    windows = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    git(project, *windows, "clone", "--quiet", str(project), str(there))
    assert read(there) == read(project)


def test_settings_get_passwords_of_their_own(bake_fresh: Bake) -> None:
    """Only the values change: the head of the file still names what has been replaced."""
    project = bake_fresh()
    subprocess.run(["make", "--silent", ".env"], cwd=project, check=True)
    old = (project / ".env.example").read_text("utf-8").splitlines()
    new = (project / ".env").read_text("utf-8").splitlines()
    changed = [(was, line) for was, line in zip(old, new, strict=True) if was != line]
    assert [was for was, _ in changed] == [line for line in old if line.endswith("=change-me")]
    assert all(re.fullmatch(r"\w+=[\w-]{24}", line) for _, line in changed)
