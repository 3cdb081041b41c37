"""A record is one line that can be read, whatever is in it, and never an error of whoever logs."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any, NoReturn

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from acme_orders.chassis.errors import Refused
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.redaction import Redactor

from tests.chassis.hostile_passwords import PASSWORDS, leaks

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes()
    | st.uuids(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.text())
    ),
    max_leaves=5,
)
Start = Callable[..., StringIO]


class Unshowable:
    """A value of somebody's own, which fails whenever it is looked at."""

    def __repr__(self) -> NoReturn:
        raise RuntimeError("never")

    __str__ = __repr__


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Set the log up; returns what it writes."""
    handlers = logging.getLogger().handlers

    def configure(style: str = "json", **options: Any) -> StringIO:
        stream = StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(level="INFO", style=style, burst=10_000, **options)
        return stream

    yield configure
    logging.getLogger().handlers = handlers


def fail(error: Exception) -> NoReturn:
    """Raise it."""
    raise error


def told(log: Any, error: Exception) -> None:
    """Raise it and write it with its traceback."""
    try:
        fail(error)
    except type(error) as raised:
        log.warning("message.failed", exc_info=raised)


def records(stream: StringIO) -> list[dict[str, Any]]:
    """The records, each on a line of its own and as strict JSON."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    lines = stream.getvalue().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


@hypothesis(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text(min_size=1), ANYTHING, max_size=5), st.text(st.characters()))
def test_a_record_is_one_line_of_json(start: Start, fields: dict[str, Any], event: str) -> None:
    """Whatever it has."""
    stream = start()
    names = ("event", "level", "timestamp", "exc_info", "stack_info", "self")
    fields = {name: value for name, value in fields.items() if name not in names}
    structlog.get_logger().warning(event, **fields)
    (record,) = records(stream)
    assert record["level"] == "warning"
    stream.getvalue().encode()  # no lone surrogates


@hypothesis(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters()), st.text(st.characters()))
def test_a_terminal_shows_what_is_there(start: Start, event: str, value: str) -> None:
    """Nothing moves its cursor, changes its colours or looks like another line."""
    stream = start("console")
    structlog.get_logger().warning(event, why=value, more=[value, {value: value}])
    (line,) = stream.getvalue().removesuffix("\n").split("\n")
    assert line.isprintable()


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        Unshowable(),
        [Unshowable()],
        {"a": Unshowable()},
        b"\xff" * 10,
        "\ud800",
        "x" * 50_000_000,
        ["x"] * 1_000_000,
        10**10_000,
        -(10**10_000),
        float("nan"),
        float("inf"),
        "\x1b[2J\x07\r\u202e",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_shown_costs_no_record(
    start: Start, style: str, value: object
) -> None:
    """And no memory, no time, no error."""
    stream = start(style)
    structlog.get_logger().warning("message.failed", value=value, type="sale.made")
    text = stream.getvalue()
    assert "message.failed" in text
    assert "sale.made" in text
    assert len(text) < 40_000


def test_a_value_that_contains_itself_is_shown(start: Start) -> None:
    """As deep as anybody looks."""
    value: list[Any] = []
    value.append(value)
    stream = start()
    structlog.get_logger().warning("message.failed", value=value)
    assert len(records(stream)) == 1


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_error_that_cannot_be_shown_costs_no_record(start: Start, style: str) -> None:
    """Where it happened is shown all the same."""

    class Silent(Exception):
        __str__ = Unshowable.__repr__

    stream = start(style)
    told(structlog.get_logger(), Silent())
    assert "in fail" in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_the_end_of_a_long_traceback_is_shown(start: Start, style: str) -> None:
    """It names the error."""
    stream = start(style)
    told(structlog.get_logger(), Refused("x" * 100_000 + "the end"))
    assert "Traceback" in stream.getvalue()
    assert "the end" in stream.getvalue()
    assert len(stream.getvalue()) < 40_000


def test_libraries_write_records_too(start: Start) -> None:
    """With their name; a mistake in their arguments is not ours."""
    stream = start()
    logging.getLogger("library").warning("%s and %s", "one", "two")
    logging.getLogger("library").warning("%s and %s", "one")  # noqa: PLE1206  somebody does
    logging.getLogger("library").error("%r", Unshowable())
    logging.getLogger("library").log(35, "odd level")
    logging.getLogger("library").info("nobody wants to know")
    found = [(each["event"], each["level"], each["logger"]) for each in records(stream)]
    assert found == [
        ("one and two", "warning", "library"),
        ("%s and %s", "warning", "library"),
        ("%r", "error", "library"),
        ("odd level", "warning", "library"),
    ]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_no_secret_is_written(start: Start, style: str, password: str) -> None:
    """Whoever says it, in whichever form: in a text, a value of any kind, a name, a traceback."""
    stream = start(style, redact=Redactor([password]))
    log = structlog.get_logger()
    said = f"cannot log in with {password}"
    log.warning(said, why=repr(password), url=f"amqp://me:{password}@h")
    log.warning("nested", value=[{"password": password}, (password,)], **{f"x {password}": 1})
    logging.getLogger("library").error("refused: %s", password)
    error = RuntimeError(f"for {password}")
    error.__cause__ = ValueError(f"bad address {password!r}")
    told(log, error)
    assert leaks(password, stream.getvalue()) == []
    assert len(re.findall(r"\*\*\*", stream.getvalue())) >= 8
    if style == "json":
        assert len(records(stream)) == 4


MARK = "ada@mark.example"


def refused_by_somebody() -> None:
    """An error of another one, behind one of ours, behind a group."""
    try:
        try:
            fail(KeyError(MARK))
        except KeyError as error:
            raise Refused("no such customer") from error
    except Refused as error:
        raise ExceptionGroup(MARK, [error, ValueError(MARK)]) from None


@pytest.mark.parametrize("logger", ["message.failed", "uvicorn.error"])
def test_what_others_say_of_a_message_or_request_is_in_no_log(start: Start, logger: str) -> None:
    """It may be a value of it; what this service says itself is there, and so is the place."""
    stream = start()
    try:
        refused_by_somebody()
    except ExceptionGroup as error:
        if logger == "message.failed":
            structlog.get_logger().error(logger, exc_info=error)
        else:
            logging.getLogger(logger).exception("Exception in ASGI application")
    (record,) = records(stream)
    assert MARK not in stream.getvalue()
    told = record["exception"].splitlines()
    assert "ExceptionGroup: ***" in told
    assert "  | KeyError: ***" in told
    assert "  | Refused: no such customer" in told
    assert "  | ValueError: ***" in told
    assert any("in refused_by_somebody" in line for line in told)


def test_a_developer_sees_it(start: Start) -> None:
    """And so does everybody where an error is of no message: an address in use, say."""
    for style, event in (("console", "message.failed"), ("json", "process.crashed")):
        stream = start(style)
        try:
            fail(OSError("address in use"))
        except OSError as error:
            structlog.get_logger().error(event, exc_info=error)
        assert "OSError: address in use" in stream.getvalue()
