"""The questions, and which answers are refused."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException

from hooks.pre_gen_project import FLAGS, problems
from tests import answers as asked
from tests.answers import CHOICES, DEFAULTS, HOSTILE, LONGEST, QUESTIONS, SHORTEST, complete
from tests.conftest import Sample, generate
from tests.source import imported

FILES: dict[str, str | bytes] = {"README.md": "# Acme Orders\n"}


def test_the_questions_are_those_of_the_design() -> None:
    """In this order; a removed one or a removed choice would break updates."""
    assert [question for question in QUESTIONS if question[0] != "_"] == [
        "project_name",
        "project_slug",
        "package_name",
        "description",
        "author_name",
        "author_email",
        "license",
        "database_driver",
        "tenancy",
        "http_api",
        "tracing",
        "kubernetes",
        "ci",
        "chassis_tests",
    ]
    assert CHOICES["license"] == ["MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"]
    assert CHOICES["database_driver"] == ["aiopg", "psycopg"]
    assert CHOICES["tenancy"][0] == "none"
    assert CHOICES["ci"] == ["github", "gitlab", "none"]
    assert [QUESTIONS[flag] for flag in asked.FLAGS] == [True, False, False, False]
    assert QUESTIONS["_copy_without_render"] == ["*"]


def test_every_question_is_asked_in_words() -> None:
    """One line each, every choice with a label; Rich would take brackets for markup."""
    prompts: dict[str, Any] = QUESTIONS["__prompts__"]
    assert list(prompts) == [question for question in QUESTIONS if question[0] != "_"]

    lines: list[str] = []
    for question, prompt in prompts.items():
        if question in CHOICES:
            assert list(prompt) == ["__prompt__", *CHOICES[question]]
        lines += prompt.values() if isinstance(prompt, dict) else [prompt]

    assert [line for line in lines if not re.fullmatch(r"[^\[\]\n]{3,70}", line)] == []


def test_the_booleans_are_checked() -> None:
    """All of them."""
    assert list(FLAGS) == asked.FLAGS


GOOD: list[dict[str, Any]] = [
    DEFAULTS,
    SHORTEST,
    LONGEST,
    HOSTILE,
    {"project_name": "42"},
    {"project_name": "A1 -_.&'()+,"},
    *({"project_name": name} for name in ("Größe", "Gro\u0308ße", "Commandes d'été", "Żółta Łódź")),
    *({"project_name": name} for name in ("Заказы", "注文" * 12, "طلبات", "आदेश सेवा", "คำสั่ง")),
    {"project_slug": "a1", "package_name": "a1"},
    {"project_slug": "a-1", "package_name": "a_1"},
    {"project_slug": "orders", "package_name": "orders"},
    {"package_name": "acme"},
    {"description": "ß" * 200},
    {"author_name": "-"},
    {"author_name": "山田 太郎"},
    {"author_email": "a+b.c'd@e-f.example.org"},
]

BAD: dict[str, list[object]] = {
    "project_name": [
        *["", "A" * 51, "注" * 26, " Acme", "Acme ", "-Acme", "(Acme)"],
        *["Acme/Orders", "Acme\\Orders", 'Acme "Orders"', "Acme\nOrders", "Acme\tOrders"],
        *[
            "Acme\0",
            "Acme: Orders",
            "Acme #1",
            "Acme $x",
            "Acme <b>",
            "Acme\u200b",
            "Acme 😀",
            "`Acme`",
        ],
        *["Acme {x}", "Acme*", None, 5],
    ],
    "project_slug": [
        *["", "a" * 31, "Acme", "acme_orders", "1acme", "-acme", "acme-", "acme--orders"],
        *["acme orders", "acme/orders", "../acme", "..", "/tmp/acme", "acme\\x", "acme\n", "acmé"],
        *["acme.orders", "peewee", "aio-pika", "psycopg2-binary", "import-linter", "no", "null"],
        *["con", None, ["acme"]],
    ],
    "package_name": [
        *["", "a" * 31, "Acme", "acme-orders", "1acme", "_acme", "acme_", "acme__orders"],
        *["acme.orders", "acme orders", "acme/orders", "acme\n", "acmé", "\uff41cme"],
        *["class", "match", "case", "type", "async", "json", "asyncio", "abc", "test"],
        *["peewee", "peewee_async", "aiopg", "psycopg", "psycopg2", "psycopg_pool", "aio_pika"],
        *["aiormq", "pydantic", "pydantic_settings", "prometheus_client", "structlog", "typer"],
        *["rich", "click", "fastapi", "starlette", "uvicorn", "opentelemetry", "squawk"],
        *["postgast", "google", "protobuf", "pytest", "hypothesis", "playhouse", "yaml"],
        *["tests", "dev", "src", "migrations", "backfills", "deploy", "docs", "build", "dist"],
        *["site", "main", "pg_orders", "postgres", "true", "off", None, True],
    ],
    "description": [
        *["", "   ", "x" * 201, " x", "x ", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\x7fb", "a\x85b"],
        *["a\u2028b", "a\u202eb", "a\udcffb", "a\ufeffb", "{{ x }}", "{% x %}", "{# x #}", None],
    ],
    "author_name": ["", " ", "x" * 101, "a\nb", "a\tb", "{{ 7 * 7 }}", "Ann ", 1],
    "author_email": [
        *["", "a", "a@b", "@b.c", "a@.c", "a b@c.d", "a@b.c ", "a@b c.d", "a@b@c.d", '"a"@b.c'],
        *["a@b.c\n", "a\\@b.c", "<a@b.c>", "a@b..c", "a" * 251 + "@b.c", None],
    ],
    "http_api": ["n", "y", "False", "", 1, None],
    "tracing": ["n"],
    "kubernetes": ["true"],
    "chassis_tests": ["no"],
}


@pytest.mark.parametrize("answers", GOOD, ids=range(len(GOOD)))
def test_a_good_answer_is_accepted(answers: dict[str, Any]) -> None:
    """The shortest, the longest, and what only looks dangerous."""
    assert problems(complete(answers)) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [(question, answer) for question, answers in BAD.items() for answer in answers],
    ids=lambda value: ascii(value)[:30],
)
def test_a_bad_answer_is_refused(question: str, answer: object) -> None:
    """On one line, with the answer, a reason and an answer that would do."""
    (line,) = problems(complete({question: answer}))

    shown, reason, example = re.fullmatch(
        rf"{question}=(.*): (.+); for example (.+)", line, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    assert shown == ascii(answer)[:60]
    assert line.isascii()
    assert line.isprintable()
    assert reason
    assert example == "yes" or problems(complete({question: example})) == []


WRITTEN = [
    ("project_slug", "größe", "groesse"),
    ("project_slug", "gro\u0308ße", "groesse"),
    ("project_slug", "żółta-łódź", "zolta-lodz"),
    ("project_slug", "smørrebrød-æbler", "smoerrebroed-aebler"),
    ("project_slug", "aufträge", "auftraege"),
    ("package_name", "señales", "senales"),
    ("package_name", "klasße", "klassse"),
    # Nobody here knows how these are written, or the result would not do either.
    ("project_slug", "заказы", "acme-orders"),
    ("project_slug", "注文", "acme-orders"),
    ("package_name", "clàss", "acme_orders"),
    ("author_email", "müller@acme.example", "team@acme.example"),
]


@pytest.mark.parametrize(("question", "answer", "other"), WRITTEN)
def test_letters_of_other_languages_are_refused_with_a_name_that_would_do(
    question: str, answer: str, other: str
) -> None:
    """The same in letters from a to z; an address would be somebody else's."""
    (line,) = problems(complete({question: answer}))

    assert line.endswith(f"; for example {other}")


def test_every_bad_answer_is_named_at_once() -> None:
    """One line each, in the order of the questions."""
    bad = {question: answers[-1] for question, answers in BAD.items()}

    assert [line.split("=")[0] for line in problems(complete(bad))] == list(BAD)


def test_an_old_cookiecutter_is_named_as_the_reason() -> None:
    """Before 2.7 it read `http_api=n` as text, which is true."""
    (line,) = problems(complete({"http_api": "n"}))

    assert "needs cookiecutter 2.7 or newer" in line


def test_a_missing_answer_is_refused() -> None:
    """As from a replay of an older version's answers."""
    answers = complete()
    del answers["author_email"], answers["tracing"]

    assert [line.split("=")[0] for line in problems(answers)] == ["author_email", "tracing"]


def test_the_user_reads_our_text_first_and_finds_nothing_written(
    sample: Sample, tmp_path: Path
) -> None:
    """Ours comes before cookiecutter's own traceback."""
    template, output = sample(FILES), tmp_path / "out"
    output.mkdir()
    command = [sys.executable, "-m", "cookiecutter", str(template), "--no-input"]
    command += ["--default-config", "--output-dir", str(output)]
    command += ["project_name=Größe?", "package_name=json", "author_email=nobody", "tracing=yes"]

    done = subprocess.run(
        command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, encoding="utf-8"
    )

    assert done.returncode == 1
    assert [line.split("=")[0] for line in done.stderr.splitlines()[:4]] == [
        "Nothing was generated:",
        "  project_name",
        "  package_name",
        "  author_email",
    ]
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    "answers",
    [
        {"package_name": "class"},
        {"project_name": "", "project_slug": "acme-orders"},
        {"project_slug": "Acme"},
        {"description": 'a\n"""\nb'},
        {"description": "x" * 201},
        {"author_name": '"""\nimport os\n"""\0'},
        {"author_email": "no"},
        {"database_driver": "oracle"},
        {"license": "GPL"},
        {"ci": "None"},
        {"tenancy": ""},
        {"http_api": "perhaps"},
        {"kubernetes": ""},
    ],
    ids=ascii,
)
def test_nothing_is_written_for_a_bad_answer(
    sample: Sample, tmp_path: Path, answers: dict[str, str]
) -> None:
    """Choices and booleans are refused by cookiecutter, the others by us."""
    output = tmp_path / "out"
    output.mkdir()

    with pytest.raises((FailedHookException, ValueError)):
        generate(sample(FILES), output, **answers)

    assert list(output.iterdir()) == []


@pytest.mark.parametrize("given", ["n", "no", "N", "false", "0", "off"])
def test_a_boolean_is_read_from_the_command_line(
    sample: Sample, tmp_path: Path, given: str
) -> None:
    """`http_api=n` means no."""
    files = {**FILES, "api.py": "# feature: http_api\n"}

    made = generate(sample(files), tmp_path, http_api=given)

    assert not (made / "api.py").exists()


def test_the_default_names_follow_the_project_name(sample: Sample, tmp_path: Path) -> None:
    """Slug and package are derived, and can be changed."""
    files = {**FILES, "acme_orders/x": ""}

    made = generate(sample(files), tmp_path, project_name="Billing & Dunning (EU)")

    assert made.name == "billing-dunning-eu"
    assert (made / "billing_dunning_eu/x").exists()


def test_what_the_service_depends_on_is_refused(project: Path) -> None:
    """By the names under which it is installed, and by those under which it is imported."""
    pyproject = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    metadata = pyproject["project"]
    groups = [metadata["dependencies"], *metadata.get("optional-dependencies", {}).values()]
    groups += pyproject.get("dependency-groups", {}).values()
    installed = {
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        for group in groups
        for requirement in group
        if isinstance(requirement, str) and not requirement.startswith("types-")
    }
    own = {"acme_orders", *(path.stem for path in project.iterdir())}
    code = (path.read_text("utf-8") for path in project.rglob("*.py"))
    packages = set().union(*map(imported, code)) - own

    assert installed
    assert [name for name in sorted(installed) if accepted(project_slug=name)] == []
    assert [name for name in sorted(packages) if accepted(package_name=name)] == []


def accepted(**answers: str) -> bool:
    """Whether the hook lets these pass."""
    return not problems(complete(answers))


def test_the_folders_of_the_project_are_refused_as_packages(project: Path) -> None:
    """A package of the same name would hide them, or they it."""
    folders = {path.name for path in project.iterdir() if path.is_dir() and path.name.isalpha()}

    assert "src" in folders
    assert [name for name in folders if accepted(package_name=name)] == []


def test_the_defaults_are_written_once(template: Path) -> None:
    """What --no-input answers is what the running project is called."""
    questions = json.loads((template / "cookiecutter.json").read_text("utf-8"))

    assert questions["project_name"] == DEFAULTS["project_name"]
    assert questions["description"] == DEFAULTS["description"]
