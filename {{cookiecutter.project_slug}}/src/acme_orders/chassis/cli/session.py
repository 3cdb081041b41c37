"""What every command does: read the settings, and explain what went wrong in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import typer

from acme_orders.chassis.database.environment import take_out
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.lookalikes import lookalikes
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.redaction import Redactor
from acme_orders.chassis.slice import Definition, Settings

MISCONFIGURED = 78  # EX_CONFIG of sysexits.h
log = structlog.get_logger()


@contextmanager
def explained() -> Iterator[None]:
    """One clear line instead of a traceback, and the right exit status."""
    found: list[ServiceError] = []
    try:
        yield
    except* ServiceError as group:
        found = list(_leaves(group))
    if found:
        for error in found:
            typer.echo(str(error), err=True)
        bad = any(isinstance(error, ConfigurationError) for error in found)
        raise typer.Exit(MISCONFIGURED if bad else 1)


def command_settings(definition: Definition[Settings], metrics: Metrics | None = None) -> Settings:
    """The settings, with the log set up as they say.

    Args:
        definition: of the service.
        metrics: of a process that has some, for the lines that are not written.

    Raises:
        ConfigurationError: a variable is missing, or has a value that is not allowed.
    """
    settings = definition.load_settings()
    logs.configure(
        level=settings.log_level,
        style=settings.log_format,
        burst=settings.log_burst,
        interval=settings.log_interval,
        redact=Redactor(settings.passwords),
        metrics=metrics,
    )
    if ignored := take_out(os.environ):
        log.info("database.variables_ignored", names=ignored, why="DATABASE_URL says all of it")
    for name, near in lookalikes(definition.settings, os.environ).items():
        log.warning("settings.unknown", variable=name, why=f"nobody reads it; is it {near}?")
    return settings


def _leaves(group: BaseExceptionGroup[ServiceError]) -> Iterator[ServiceError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
