"""Log records: one line of JSON each, or coloured text for people."""

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from acme_orders.chassis.observability import sink
from acme_orders.chassis.observability.limiter import Limiter
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.recorded import in_log  # feature: tracing
from acme_orders.chassis.observability.rendering import Presentable
from acme_orders.chassis.observability.sink import Sink
from acme_orders.chassis.observability.tracebacks import without_values


def configure(
    *,
    level: str,
    style: str,
    burst: int = 10,
    interval: float = 1.0,
    redact: Callable[[str], str] = str,
    metrics: Metrics | None = None,
) -> None:
    """Set the process's logging up, once, at start.

    Args:
        level: the least that is shown, such as `INFO`.
        style: `json` or `console`.
        burst: lines about one cause that are written at once.
        interval: seconds between those that are written afterwards.
        redact: takes secrets out of a text.
        metrics: where lines are counted that nobody sees.
    """
    stream = sys.stderr
    presentable = Presentable(redact, terminal=style == "console")
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        in_log,  # feature: tracing
    ]
    rendering: list[Processor] = [
        # A console is a developer's; elsewhere nobody may read personal data in a log.
        without_values if style == "json" else structlog.processors.format_exc_info,
        presentable,
        _renderer(style, colors=stream is not None and stream.isatty()),
    ]
    limiter = Limiter(
        burst=burst,
        interval=interval,
        on_suppressed=metrics.log_lines_suppressed.inc if metrics else lambda: None,
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, limiter, *stamps, *rendering],
        wrapper_class=_unfailing(level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    if isinstance(stream, Sink):
        stream.redact = redact
        stream.about_dropped = _about_dropped([*stamps, *rendering])
        if metrics:
            stream.on_drop = metrics.log_lines_dropped.inc
    # Libraries: warnings and worse, in the same form.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
    # aio-pika reports each reconnect attempt with a traceback; the probes say the same.
    for noisy in ("aio_pika", "aiormq"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def end(seconds: float) -> None:
    """Write what is not written yet, for so many seconds at most; then the process may end."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, Limiter):
            processor.tell()
    sink.end(seconds)


class _Lines:
    """What structlog hands finished lines to."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        if isinstance(self._stream, Sink):
            self._stream.line(line)
        elif self._stream is not None:
            self._stream.write(f"{line}\n")

    def lost(self) -> None:
        if isinstance(self._stream, Sink):
            self._stream.lost()

    debug = info = warning = error = critical = msg


class _Forward(logging.Handler):
    """Hands the records of libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # its arguments do not fit, or cannot be shown
            event = str(record.msg)
        log = structlog.get_logger()
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        fields = {"exc_info": record.exc_info, "stack": record.stack_info}
        tell(event, logger=record.name, **{key: each for key, each in fields.items() if each})


def _renderer(style: str, *, colors: bool) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=colors,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _unfailing(level: str) -> Any:
    """A logger that counts what it cannot write instead of raising."""
    base: Any = structlog.make_filtering_bound_logger(level)

    class Unfailing(base):
        def _proxy_to_logger(self, how: str, event: Any = None, /, **fields: Any) -> None:
            try:
                super()._proxy_to_logger(how, event, **fields)
            except Exception:
                self._logger.lost()

    return Unfailing


def _about_dropped(processors: list[Processor]) -> Callable[[int], str]:
    def about(lines: int) -> str:
        event: Any = {"event": "log.lines_dropped", "lines": lines}
        for process in processors:
            event = process(None, "warning", event)
        return str(event)

    return about
