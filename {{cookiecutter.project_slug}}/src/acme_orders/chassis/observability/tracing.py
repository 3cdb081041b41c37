# feature: tracing
"""Spans for each handled message and each statement, sent by OTLP.

Where to is said by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from structlog.contextvars import get_contextvars

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.messaging.envelope import Handler

_CLOSE = 1.0  # seconds; spans are not worth a late end of the process


class Tracing:
    """Makes spans; `close` sends the last of them.

    Args:
        service: the name that spans go by.
        exporter: where they go; OTLP over HTTP by default.
    """

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(__name__)

    def close(self) -> None:
        """Send what is still waiting, as far as the collector takes it soon."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE)

    def watch(self, handlers: dict[str, Handler], manager: Manager) -> None:
        """Make spans for every message that these handle, and for every statement."""
        for type_, handler in handlers.items():
            handlers[type_] = replace(
                handler,
                handle=self.handler(type_, handler.handle),
                handle_all=handler.handle_all and self.handler(type_, handler.handle_all),
            )
        manager.observe(self.statement)

    def handler(
        self, type_: str, handle: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """The same handler, in a span of its own."""

        async def traced(payload: Any) -> None:
            message = get_contextvars().get("message_id", "")
            with self._tracer.start_as_current_span(
                f"process {type_}",
                kind=SpanKind.CONSUMER,
                attributes={"messaging.system": "rabbitmq", "messaging.message.id": message},
            ):
                await handle(payload)

        return traced

    def statement(self, statement: Statement) -> None:
        """A span for a statement that ran just now; its SQL has no values in it."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            statement.query,
            kind=SpanKind.CLIENT,
            start_time=ended - int(statement.seconds * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": statement.sql},
        )
        if statement.error is not None:
            span.set_status(Status(StatusCode.ERROR, type(statement.error).__name__))
        span.end(ended)
