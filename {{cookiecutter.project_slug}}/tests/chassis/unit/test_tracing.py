# feature: tracing
"""Every handled message and every statement is a span."""

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.observability.tracing import Tracing


async def test_a_handled_message_and_its_statements_are_spans() -> None:
    """Spans are named after the message's type and the query, and hold no values."""
    exporter = InMemorySpanExporter()
    tracing = Tracing("test", exporter)

    async def handle(_: object) -> None:
        tracing.statement(Statement("sales.add", "SELECT %s", ["secret"], 0.1, "unit", None))

    await tracing.handler("sale.made", handle)(object())
    tracing.close()

    statement, message = exporter.get_finished_spans()
    assert (statement.name, message.name) == ("sales.add", "process sale.made")
    assert statement.parent is not None
    assert statement.parent.span_id == message.context.span_id
    assert "secret" not in statement.to_json()
