"""What every command does: read the settings, and explain what went wrong in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from acme_orders.errors import ConfigurationError, ServiceError
from acme_orders.observability import logs
from acme_orders.settings import Settings, load_settings

MISCONFIGURED = 78  # EX_CONFIG of sysexits.h


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


def command_settings() -> Settings:
    """The settings, with the log set up as they say; raises ConfigurationError."""
    settings = load_settings()
    logs.configure(level=settings.log_level, style=settings.log_format)
    return settings


def _leaves(group: BaseExceptionGroup[ServiceError]) -> Iterator[ServiceError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
