# feature: tracing
"""The trace that is being recorded, named in lines of the log and in histograms.

So the way from a line, or from a point on a dashboard, to its trace is one click.
"""

from typing import Any

from opentelemetry import trace
from prometheus_client import Histogram
from structlog.typing import EventDict


def in_log(_: Any, __: str, event: EventDict) -> EventDict:
    """Add `trace_id` and `span_id` to a line; nothing outside of a trace, or if it is not kept."""
    event.update(_recorded("trace_id", "span_id"))
    return event


class TracedHistogram(Histogram):
    """Shows with each bucket the trace of its last value, as an exemplar of OpenMetrics."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count a value, and keep the trace that it was measured in."""
        super().observe(amount, exemplar or _recorded("trace_id"))


def _recorded(*names: str) -> dict[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.trace_flags.sampled:
        return {}
    ids = (trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))
    return dict(zip(names, ids, strict=False))
