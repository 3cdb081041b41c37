"""Bad answers are refused before anything is written, wherever they come from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.answers import QUESTIONS, complete
from tests.conftest import Sample

FILES: dict[str, str | bytes] = {"README.md": "# Acme Orders\n"}
CONFIGURATION = "cookiecutters_dir: {0}/clones\nreplay_dir: {0}/replay\n"


class Bench:
    """A folder in which cookiecutter is run, and what is in its output folder afterwards."""

    def __init__(self, template: Path, folder: Path, version: Path | None = None) -> None:
        self.template, self.folder, self.output = template, folder, folder / "out"
        self.output.mkdir()
        self.configure()
        self._version = version

    def configure(self, **defaults: Any) -> None:
        """The user's configuration file; YAML reads JSON."""
        (self.folder / "cookiecutter.yaml").write_text(
            CONFIGURATION.format(self.folder) + f"default_context: {json.dumps(defaults)}\n"
        )

    def run(self, *arguments: str, no_input: bool = True, typed: str = "") -> tuple[int, str]:
        """The exit status, and what is printed."""
        command = [sys.executable, "-m", "cookiecutter", str(self.template), *arguments]
        command += ["--config-file", "cookiecutter.yaml", "--output-dir", "out"]
        variables = {**os.environ, "HOME": str(self.folder), "PWD": str(self.folder)}
        if self._version:
            variables["PYTHONPATH"] = str(self._version)
        done = subprocess.run(
            [*command, *(["--no-input"] if no_input else [])],
            cwd=self.folder,
            env=variables,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        return done.returncode, done.stdout

    def refused(self, *arguments: str, **ways: Any) -> str:
        """What is printed by a run that must fail and leave nothing."""
        before = sorted(self.folder.rglob("*"))
        status, printed = self.run(*arguments, **ways)
        left = [str(path) for path in sorted(self.folder.rglob("*")) if path not in before]
        assert status == 1, printed
        assert [path for path in left if "/replay" not in path] == []
        assert "Nothing was generated:" in printed
        assert "Traceback" not in printed
        return printed


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest cookiecutter that README allows, over the libraries of the newest."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    command = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [sys.executable, "-m", *command, "--target", str(folder), "cookiecutter==2.7.0"], check=True
    )
    return folder


@pytest.fixture(params=["newest", pytest.param("oldest", marks=pytest.mark.matrix)])
def bench(request: pytest.FixtureRequest, sample: Sample, tmp_path: Path) -> Bench:
    """Of each version that has to do."""
    version = request.getfixturevalue("oldest") if request.param == "oldest" else None
    return Bench(sample(FILES), tmp_path, version)


# `problems` refuses them all, as tests/test_names.py shows; here it is about what is left behind.
SLUGS = [
    *("a/b", "..", "/tmp/a-b-c", "con", "a" * 300, "\u0430cme"),
    *(
        "../b",
        ".",
        "a/../../b",
        "a\\b",
        "C:\\a",
        "~/a",
        "a/",
        "./a",
        "a\tb",
        "a\nb",
        "a\x7fb",
        "aux",
    ),
    *("com1", "lpt9", "a.", "a ", " a", "a" * 31, "acme\u2010orders", "acme\u2044orders"),
    *("\uff41cme", "ac\u200bme", "acme\u0301"),
]
WAYS = [(), ("--overwrite-if-exists",), ("--keep-project-on-failure",), ("--accept-hooks", "no")]


def first(number: int, cases: list[Any]) -> list[Any]:
    """Cases of which `make test` runs so many."""
    others = [each if isinstance(each, tuple) else (each,) for each in cases[number:]]
    return cases[:number] + [pytest.param(*each, marks=pytest.mark.matrix) for each in others]


@pytest.mark.parametrize("slug", first(6, SLUGS), ids=ascii)
def test_a_bad_folder_is_not_made(bench: Bench, slug: str, request: pytest.FixtureRequest) -> None:
    """Nor one on the way to it; each slug is tried in one of the ways, and `a/b` in all."""
    ways = WAYS if slug == "a/b" else [WAYS[SLUGS.index(slug) % len(WAYS)]]
    for way in ways:
        printed = bench.refused(f"project_slug={slug}", *way)
        assert f"project_slug={slug!a:.60}: " in printed


def test_every_bad_answer_is_named(bench: Bench) -> None:
    """At once, also those from the configuration."""
    bench.configure(author_email="nobody")

    printed = bench.refused("project_name=Größe?", "package_name=json", "project_slug=a/b")

    named = [line.split("=")[0].strip() for line in printed.splitlines() if "=" in line]
    assert named == ["project_name", "project_slug", "package_name", "author_email"]


def test_what_was_typed_is_refused_too(bench: Bench) -> None:
    """At the prompt for the slug."""
    printed = bench.refused(no_input=False, typed="Shop\na/b\nshop\n" + "\n" * len(QUESTIONS))

    assert "project_slug='a/b': " in printed


def test_what_is_replayed_is_refused_too(bench: Bench) -> None:
    """An older version, or an editor, may have written it."""
    assert bench.run("project_name=Shop")[0] == 0
    file = bench.folder / "replay/sample.json"
    bad = json.loads(file.read_text())
    bad["cookiecutter"]["project_slug"] = "a/b"
    file.write_text(json.dumps(bad))

    for way in (["--replay"], ["--replay-file", str(file)]):
        printed = bench.refused(*way, no_input=False)
        assert "project_slug='a/b': " in printed


CHOICES: list[tuple[str, Any, str]] = [
    ("database_driver", "mysql", "aiopg, psycopg"),
    ("tenancy", None, "none, row, rls, schema"),
    ("http_api", "perhaps", "neither yes nor no"),
    ("tracing", 2, "neither yes nor no"),
    ("database_driver", "Psycopg", "aiopg, psycopg"),
    ("database_driver", "", "aiopg, psycopg"),
    ("tenancy", True, "none, row, rls, schema"),
    ("tenancy", [], "none, row, rls, schema"),
    ("license", ["MIT", "GPL"], "MIT, Apache-2.0, BSD-3-Clause, Proprietary"),
    ("ci", {"github": "gitlab"}, "github, gitlab, none"),
    ("http_api", "", "neither yes nor no"),
    ("tracing", None, "neither yes nor no"),
    ("kubernetes", ["yes"], "neither yes nor no"),
]


@pytest.mark.parametrize(("question", "answer", "allowed"), first(4, CHOICES), ids=ascii)
def test_a_bad_choice_in_the_configuration_is_refused(
    bench: Bench, question: str, answer: object, allowed: str
) -> None:
    """cookiecutter would take the default instead, and pass over what stands behind it."""
    bench.configure(**{"other_template": 1, question: answer, "author_name": "Me"})

    named = f"  {question}={answer!a} in default_context"
    (line,) = (each for each in bench.refused().splitlines() if each.startswith(named))
    assert allowed in line
    given = f"{question}={allowed.split(',')[0] if ',' in allowed else 'yes'}"
    if answer == []:
        return  # cookiecutter then has no choices at all
    if "author_name would be ignored" in line:
        assert question in bench.refused(given)
        status, printed = bench.run(given, "author_name=You")
        assert status == 0, printed
    else:  # what is no text stands in the way of what is given
        assert question in bench.refused(given, "author_name=You")


def test_a_good_choice_in_the_configuration_is_taken(bench: Bench) -> None:
    """In each form that means it."""
    bench.configure(
        database_driver="psycopg", tenancy=["row"], http_api="off", tracing=True, kubernetes="Y"
    )

    assert bench.run()[0] == 0
    (file,) = (bench.folder / "replay").glob("*.json")
    found = json.loads(file.read_text())["cookiecutter"]
    assert {name: found[name] for name in ("database_driver", "tenancy", "http_api")} == {
        "database_driver": "psycopg",
        "tenancy": "row",
        "http_api": False,
    }
    assert found["tracing"] is found["kubernetes"] is True


def test_a_misspelt_question_on_the_command_line_is_refused(bench: Bench) -> None:
    """Its default would be taken instead; in a configuration it may be another template's."""
    bench.configure(databse_driver="psycopg")
    assert bench.run()[0] == 0

    printed = bench.refused("databse_driver=psycopg", "--overwrite-if-exists")

    assert "'databse_driver': is no question of this template; there is database_driver" in printed


def test_a_bad_choice_on_the_command_line_is_an_error(bench: Bench) -> None:
    """cookiecutter says it itself."""
    for given in ["tenancy=Row", "http_api=perhaps", "tracing=", "kubernetes=2"]:
        question, answer = given.split("=")
        status, printed = bench.run(given)

        assert status == 1
        assert f"{answer} provided for " in printed
        assert f"variable {question}" in printed
        assert list(bench.output.iterdir()) == []


def test_the_same_rules_hold_for_a_program(sample: Sample, tmp_path: Path) -> None:
    """Through the interface for Python, as other tools use it."""
    template = sample(FILES)
    code = f"""
from cookiecutter.generate import generate_files
answers = {complete({"project_slug": "a/b"}) | {"_template": "x"}!r}
answers["_extensions"] = ["cookiecutter_2_7_or_newer.Answers"]
generate_files({str(template)!r}, {{"cookiecutter": answers}}, "out")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(template)},
        capture_output=True,
        text=True,
    )

    assert "project_slug='a/b': " in done.stderr
    assert "FailedHookException" in done.stderr
    assert not (tmp_path / "out").exists()
