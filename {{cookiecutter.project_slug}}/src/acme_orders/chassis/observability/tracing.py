# feature: tracing
"""Where spans go: to a collector, by OTLP.

Its address is said by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT. What
spans there are is said in `spans.py`; a handler of yours makes more with OpenTelemetry's API.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode

from acme_orders.chassis.database.statements import Statement

log = structlog.get_logger()

# Seconds; spans are not worth a late end of the process, nor that it ends with an error.
_CLOSE = 1.0
_SPARE = 0.3  # of the time that the process has left


class Tracing:
    """Sends the spans of this process; `close` sends the last of them.

    Args:
        service: the name that spans go by.
        share: of the traces that begin here, so many are recorded, 0 to 1; others bring it along.
        exporter: where they go; OTLP over HTTP by default.
    """

    def __init__(
        self, service: str, share: float = 1, exporter: SpanExporter | None = None
    ) -> None:
        # It tells of every attempt to reach a collector that is not there; `_Calm` does it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({SERVICE_NAME: service, "process.pid": os.getpid()}),
        )
        calm = _Calm(exporter or OTLPSpanExporter())
        self._provider.add_span_processor(BatchSpanProcessor(calm))
        self._tracer = self._provider.get_tracer(__name__)
        trace.set_tracer_provider(self._provider)

    def close(self, *, within: float) -> None:
        """Send what is still waiting, as far as the collector takes it soon.

        Args:
            within: the seconds that the process has left.
        """
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(max(0.0, min(_CLOSE, within - _SPARE)))

    def statement(self, statement: Statement) -> None:
        """A span for a statement that ran just now; its SQL has no values in it.

        Not for one that belongs to nothing, such as those of a relay that looks for events.
        """
        if not trace.get_current_span().is_recording():
            return
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


class _Calm(SpanExporter):
    """Says once that nobody takes spans, and once that somebody does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._lost = exporter, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("tracing.resumed", lost=self._lost)
            self._lost = 0
        else:
            if not self._lost:
                helps = "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT"
                log.warning(
                    "tracing.spans_lost", why="the collector does not take them", helps=helps
                )
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
