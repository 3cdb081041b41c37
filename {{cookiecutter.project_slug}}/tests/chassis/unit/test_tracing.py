# feature: tracing
"""What is a span, whose child it is, and what a message carries of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once
from structlog.testing import capture_logs

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.observability import spans
from acme_orders.chassis.observability.tracing import Tracing, _Calm

RECORDED, DROPPED = "01", "00"


def context(number: int, flags: str = RECORDED) -> dict[str, str]:
    """That of the trace with this number."""
    return {"traceparent": f"00-{number:032x}-{number:016x}-{flags}", "tracestate": "a=1"}


@dataclass(frozen=True)
class Some:
    """A message."""

    id: str
    trace: dict[str, str] = field(default_factory=dict)
    type: str = "thing.done"


class Collected:
    """A process whose spans stay here."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, str]] = {}
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("test", exporter=self._exporter)

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """Those that have ended."""
        self.tracing._provider.force_flush()
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name."""
        return [each for each in self.ended if each.name == name]

    def ask(self, query: str, error: Any = None) -> None:
        """A statement that ran."""
        self.tracing.statement(Statement(query, "SELECT %s", ["secret"], 0.1, "unit", error))

    @spans.of_batch
    async def run(self, messages: Sequence[Some]) -> None:
        """Handle messages."""
        self.ask("claim")
        for each in messages:
            await self.handle(each, None)
        self.ask("flush")

    @spans.of_message
    async def handle(self, message: Some, _: Any) -> None:
        """Handle one."""
        self.ask(f"of {message.id}")
        self.events[message.id] = spans.current()


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    """The provider of spans belongs to this test alone."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    found = Collected()
    yield found
    found.tracing.close(within=10)


def trace_of(span: ReadableSpan) -> int:
    """The number of its trace."""
    return int(span.context.trace_id)


async def test_a_message_continues_the_trace_that_it_came_with(collected: Collected) -> None:
    """Its span is a child of the sender's, its SQL and its events are children of its span."""
    await collected.run([Some("a", context(7))])
    (message,) = collected.named("process thing.done")
    assert (trace_of(message), message.parent and message.parent.span_id) == (7, 7)
    for name in ("claim", "of a", "flush"):
        (sql,) = collected.named(name)
        assert sql.parent is not None
        assert sql.parent.span_id == message.context.span_id
    assert collected.events["a"] == {
        "traceparent": f"00-{7:032x}-{message.context.span_id:016x}-01",
        "tracestate": "a=1",
    }
    assert not [each for each in collected.ended if "secret" in each.to_json()]


async def test_each_message_of_a_batch_stays_in_its_trace(collected: Collected) -> None:
    """What is done for all of them is one span, that each is linked with."""
    await collected.run([Some("a"), Some("b", context(2, DROPPED)), Some("c", context(3)),
                         Some("d", context(4))])  # fmt: skip
    (batch,) = collected.named("process batch")
    assert trace_of(batch) == 3  # of the first that is recorded
    assert {each.context.trace_id for each in batch.links} == {2, 3, 4}
    assert [trace_of(each) for each in collected.named("flush")] == [3]
    own = {trace_of(each): each for each in collected.named("process thing.done")}
    assert own.keys() == {3, 4}
    for number, name in ((3, "of c"), (4, "of d")):
        (sql,) = collected.named(name)
        assert sql.parent is not None
        assert sql.parent.span_id == own[number].context.span_id
        assert [each.context.span_id for each in own[number].links] == [batch.context.span_id]
    assert collected.events["b"]["traceparent"].startswith(f"00-{2:032x}-")
    assert collected.events["b"]["traceparent"].endswith(DROPPED)


async def test_a_failure_is_told_by_its_type(collected: Collected) -> None:
    """Its text may hold values, and so may a traceback."""

    @spans.of_batch
    async def fail(_: Any, __: Sequence[Some]) -> None:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        await fail(None, [Some("a")])
    (span,) = collected.ended
    assert span.status.description == "ValueError"
    assert "secret" not in span.to_json()


async def test_what_belongs_to_nothing_is_no_span(collected: Collected) -> None:
    """A relay looks for events all the time."""
    collected.ask("relay.lease")
    await collected.run([Some("a", context(7, DROPPED))])
    assert collected.ended == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "no trace at all"},
        {"traceparent": 7, "tracestate": b"a"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "0" * 100_000},
        {"cloudEvents:traceparent": None, "tracestate": "x" * 100_000},
        {"traceparent": "00-é-é-01"},
    ],
)
async def test_whatever_stands_in_the_headers_the_message_is_handled(
    collected: Collected, headers: dict[str, Any]
) -> None:
    """Then it begins a trace of its own."""
    await collected.run([Some("a", spans.carried(headers))])
    (message,) = collected.named("process thing.done")
    assert message.parent is None


@pytest.mark.parametrize("prefix", ["", "cloudEvents:", "cloudEvents_"])
def test_a_context_is_found_wherever_senders_put_it(prefix: str) -> None:
    """Plain, as OpenTelemetry does, or as an extension of CloudEvents."""
    sent = {f"{prefix}{name}": value for name, value in context(7).items()}
    assert spans.carried({"other": 1} | sent) == context(7)


class Down(SpanExporter):
    """A collector that is not there, and later is."""

    result = SpanExportResult.FAILURE

    def export(self, _: Any) -> SpanExportResult:
        """Take them, or not."""
        return self.result


def test_without_a_collector_the_log_stays_readable() -> None:
    """It says once that spans are lost, and once when it is over."""
    down = Down()
    calm, some = _Calm(down), [object()] * 3
    with capture_logs() as logs:
        for _ in range(50):
            calm.export(some)  # type: ignore[arg-type]
        down.result = SpanExportResult.SUCCESS
        for _ in range(2):
            calm.export(some)  # type: ignore[arg-type]
    assert [each["event"] for each in logs] == ["tracing.spans_lost", "tracing.resumed"]
    assert logs[1]["lost"] == 150
