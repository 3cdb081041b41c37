# feature: tracing
"""One trace, from whoever asks or sends to the SQL of the handler in the process that consumes."""

import asyncio
import json  # feature: http_api
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack  # feature: http_api
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dev.ports import free_ports  # feature: http_api
from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.conftest import Connect, eventually, rows, sold
from tests.chassis.slices.sales.messages import (
    SALE_BOOKED,
    SALE_MADE,
    SaleForm,  # feature: http_api
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
UNSAMPLED = {"traceparent": f"00-{'1' * 32}-{PARENT}-00"}


class Collector:
    """Takes spans by OTLP, as OpenTelemetry's own does."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, Span]] = []  # with the id of the process that made it
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                collector._take(ExportTraceServiceRequest.FromString(self.rfile.read(size)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for each in request.resource_spans:
            about = {one.key: one.value for one in each.resource.attributes}
            for scope in each.scope_spans:
                self.spans += [(about["process.pid"].int_value, span) for span in scope.spans]

    def named(self, name: str) -> list[tuple[int, Span]]:
        """Spans of this name."""
        return [each for each in self.spans if each[1].name == name]

    def found(self, *names: str) -> Callable[[], bool]:
        """Whether there is one of each name."""
        return lambda: all(map(self.named, names))


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One for this test."""
    started = Collector()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def environment(database_url: str, broker_url: str, collector: Collector) -> dict[str, str]:
    """Settings of processes on servers of this test."""
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "RELAY_POLL": "50ms",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def is_child(span: Span, parent: Span) -> bool:
    """In the same trace, right below it."""
    return (span.trace_id, span.parent_span_id) == (parent.trace_id, parent.span_id)


async def exemplars_of(port: int) -> dict[str, set[str]]:
    """The traces that histograms name, as Prometheus asks for them."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Accept": "application/openmetrics-text; version=1.0.0"},
    )
    with await asyncio.to_thread(urllib.request.urlopen, request, timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar:
                found.setdefault(family.name, set()).add(sample.exemplar.labels["trace_id"])
    return found


async def test_a_message_continues_the_trace_of_its_sender(
    environment: dict[str, str], collector: Collector, connect: Connect, broker_url: str
) -> None:
    """Its SQL, its event, its copy for a retry, and its dead letter are in it; nothing else is."""
    async with process(environment, "--only", "consumer") as consumer:
        await consumer.ready()
        async with connect(broker_url=broker_url) as sender:

            async def stored(number: int) -> bool:
                return len(await rows(sender, "SELECT 1 FROM outbox")) == number

            for number, headers in enumerate((CONTEXT, UNSAMPLED), 1):  # not in one batch
                message = sold()
                message = replace(message, headers={**message.headers, **headers})
                await sender.broker.publish(message, exchange="events", routing_key=SALE_MADE)
                await eventually(partial(stored, number))
            bad = sold(lines=[])
            bad = replace(bad, headers={**bad.headers, **CONTEXT})
            await sender.broker.publish(bad, exchange="events", routing_key=SALE_MADE)
            await eventually(collector.found("sales.add", f"process {SALE_MADE}"))
            events = await rows(
                sender,
                "SELECT extensions ->> 'traceparent', extensions ->> 'tracestate' FROM outbox",
            )

            async def dead() -> list[Any]:
                return await rows(sender, "SELECT headers ->> 'traceparent' FROM dead_letters")

            await eventually(dead)
            assert await dead() == [(CONTEXT["traceparent"],)]
            assert (await consumer.says("message.dead_lettered"))["trace_id"] == TRACE
            exemplars = await exemplars_of(consumer.said("service.ready")["port"])
            assert {
                "handler_duration_seconds",
                "db_transaction_duration_seconds",
            } <= exemplars.keys()
            assert {each for some in exemplars.values() for each in some} == {TRACE}
    ((_, handling),) = collector.named(f"process {SALE_MADE}")
    assert (handling.trace_id.hex(), handling.parent_span_id.hex()) == (TRACE, PARENT)
    ((_, sql),) = collector.named("sales.add")[:1]
    assert is_child(sql, handling)
    assert {trace for trace, _ in events} == {
        f"00-{TRACE}-{handling.span_id.hex()}-01",
        next(trace for trace, _ in events if trace.endswith("-00")),
    }
    assert "vendor=1" in {state for _, state in events}
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}


# feature: http_api {
async def test_a_request_its_event_and_the_sql_of_the_handler_are_one_trace(
    environment: dict[str, str], collector: Collector
) -> None:
    """Three processes; a relay that finds nothing makes no trace of its own."""
    (port,) = free_ports(1)
    environment |= {"HTTP_PORT": str(port)}
    async with AsyncExitStack() as stack:
        running = {
            part: await stack.enter_async_context(process(environment, "--only", part))
            for part in ("api", "relay", "consumer")
        }
        for each in running.values():
            await each.ready()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/sales",
            json.dumps(SaleForm.example()).encode(),
            {
                "Content-Type": "application/json",
                "X-Tenant-ID": "00000000-0000-0000-0000-000000000001",  # feature: row, rls, schema
                **CONTEXT,
            },
        )
        answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=30)
        answer.close()
        steps = ("POST /sales", "outbox.add", f"process {SALE_MADE}", "sales.add")
        await eventually(collector.found(*steps))
        await asyncio.sleep(1)  # twenty looks of the relay
        pids = {part: each.process.pid for part, each in running.items()}
    (asked,), stored, (handled,) = (collector.named(name) for name in steps[:3])
    assert asked[0] == pids["api"]
    assert (asked[1].trace_id.hex(), asked[1].parent_span_id.hex()) == (TRACE, PARENT)
    assert is_child(handled[1], asked[1])
    assert handled[0] == pids["consumer"]
    by_process = dict(stored)
    assert is_child(by_process[pids["api"]], asked[1])
    assert is_child(by_process[pids["consumer"]], handled[1])  # the event that follows
    for pid, sql in collector.named("sales.add"):
        assert pid == pids["consumer"]
        assert is_child(sql, handled[1])
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}
    assert pids["relay"] not in {pid for pid, _ in collector.spans}
    assert "TEA-1" not in str(collector.spans)


# feature: http_api }
async def test_without_a_collector_the_log_says_it_once(
    environment: dict[str, str], connect: Connect, broker_url: str
) -> None:
    """And messages are processed as if nothing was."""
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    async with process(environment, "--only", "consumer") as consumer:
        await consumer.ready()
        async with connect(broker_url=broker_url) as sender:
            for number in range(1, 6):
                await sender.broker.publish(sold(), exchange="events", routing_key=SALE_MADE)

                async def stored() -> bool:
                    events = f"SELECT 1 FROM outbox WHERE type = '{SALE_BOOKED}'"
                    return len(await rows(sender, events)) == number  # noqa: B023

                await eventually(stored)
                await eventually(lambda: consumer.said("tracing.spans_lost"))
        about = [each["event"] for each in consumer.log]
        assert about.count("tracing.spans_lost") == 1
    assert "opentelemetry" not in consumer.text.lower()
    assert "Traceback" not in consumer.text
