# feature: tracing
"""The spans of a request and of a message, and the context that leads from one to the other.

The context is that of W3C: `traceparent` and `tracestate`. It is taken from a request, stored with
each event in the outbox, sent with it, and stays in its copies for retries and dead letters.
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Message, Receive, Scope, Send

Result = TypeVar("Result")
_NAMES = ("traceparent", "tracestate")
_PREFIXES = ("", "cloudEvents:", "cloudEvents_")
_LONGEST = 512  # characters; W3C lets everybody forget a longer state
_FAILED = 500
_W3C = TraceContextTextMapPropagator()
_of_messages: ContextVar[Mapping[int, Span]] = ContextVar("spans of a batch")


class Traced(Protocol):
    """A message, as far as its span is concerned."""

    @property
    def id(self) -> str:
        """Of the message."""

    @property
    def type(self) -> str:
        """Of the message."""

    @property
    def trace(self) -> Mapping[str, str]:
        """The context that it came with."""


class Routed(Protocol):
    """What answers requests, and knows the templates of their routes."""

    port: str

    def route(self, scope: Scope) -> str:
        """Method and template."""


def current() -> dict[str, str]:
    """The context of what is being done, for what follows from it; empty outside of a trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """The context that came with these headers; anybody can send them, with anything in them."""
    found = {}
    for name in _NAMES:
        for prefix in _PREFIXES:
            value = headers.get(prefix + name)
            if isinstance(value, str) and len(value) <= _LONGEST:
                found[name] = value
                break
    return found


def of_request(
    answer: Callable[[Any, Scope, Receive, Send], Coroutine[Any, Any, None]],
) -> Callable[[Any, Scope, Receive, Send], Coroutine[Any, Any, None]]:
    """A span for each request to the API, in the trace of whoever asks."""

    @wraps(answer)
    async def traced(self: Routed, scope: Scope, receive: Receive, send: Send) -> None:
        if self.port != "api":  # probes ask all the time
            await answer(self, scope, receive, send)
            return
        headers = (
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]
        )
        with _span("request", _W3C.extract(carried(dict(headers))), SpanKind.SERVER) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _FAILED:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await answer(self, scope, receive, noted)
            finally:
                span.update_name(self.route(scope))

    return traced


def of_batch(
    run: Callable[[Any, Sequence[Any]], Coroutine[Any, Any, Result]],
) -> Callable[[Any, Sequence[Any]], Coroutine[Any, Any, Result]]:
    """A span for the transaction of some messages, and for each message one in its own trace.

    Of a single message that is one and the same. That of several belongs to the trace of the first
    one that is recorded, and is linked with the others.
    """

    @wraps(run)
    async def traced(self: Any, messages: Sequence[Traced]) -> Result:
        contexts = [_W3C.extract(each.trace) for each in messages]
        with ExitStack() as stack:
            if len(messages) == 1:
                stack.enter_context(_of_message(messages[0], contexts[0]))
                return await run(self, messages)
            parents = [_parent(each) for each in contexts]
            recorded = (
                context
                for context, parent in zip(contexts, parents, strict=True)
                if parent.trace_flags.sampled
            )
            batch = stack.enter_context(
                _span(
                    "process batch",
                    next(recorded, Context()),
                    SpanKind.CONSUMER,
                    attributes={"messaging.batch.message_count": len(messages)},
                    links=[Link(each) for each in parents if each.is_valid],
                )
            )
            link, found = [Link(batch.get_span_context())], dict[int, Span]()
            for message, context in zip(messages, contexts, strict=True):
                if _parent(context).is_valid:
                    with _of_message(message, context, links=link, end=False) as span:
                        found[id(message)] = span
                    stack.callback(span.end)
            token = _of_messages.set(found)
            stack.callback(_of_messages.reset, token)
            return await run(self, messages)

    return traced


def of_message(
    handle: Callable[[Any, Any, Any], Coroutine[Any, Any, None]],
) -> Callable[[Any, Any, Any], Coroutine[Any, Any, None]]:
    """What the handler of one message does, SQL included, belongs to the span of this message."""

    @wraps(handle)
    async def traced(self: Any, message: Traced, handler: Any) -> None:
        span = _of_messages.get({}).get(id(message), trace.get_current_span())
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            await handle(self, message, handler)

    return traced


def of_delivery(
    settle: Callable[[Any, Any, Exception], Coroutine[Any, Any, Result]],
) -> Callable[[Any, Any, Exception], Coroutine[Any, Any, Result]]:
    """What is said of a message after its own span ended belongs to the trace that it came with."""

    @wraps(settle)
    async def traced(self: Any, delivery: Any, error: Exception) -> Result:
        came_with = trace.get_current_span(_W3C.extract(carried(delivery.message.headers)))
        with trace.use_span(came_with):
            return await settle(self, delivery, error)

    return traced


def _of_message(message: Traced, context: Context, **more: Any) -> Any:
    about = {"messaging.system": "rabbitmq", "messaging.message.id": message.id}
    return _span(f"process {message.type}", context, SpanKind.CONSUMER, attributes=about, **more)


def _parent(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


@contextmanager
def _span(
    name: str, context: Context, kind: SpanKind, *, end: bool = True, **more: Any
) -> Iterator[Span]:
    """A span that is the current one in its block; of an error it has the type, and no values."""
    span = trace.get_tracer(__name__).start_span(name, context, kind, **more)
    with trace.use_span(
        span, end_on_exit=end, record_exception=False, set_status_on_exception=False
    ):
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
