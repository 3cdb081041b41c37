"""Tells somebody what is wrong with the migrations."""

from collections.abc import Callable
from pathlib import Path

from acme_orders.chassis.migrations.lint.linter import lint


def report(folder: Path, say: Callable[[str], object]) -> bool:
    """Say what is refused; returns whether nothing is.

    Raises:
        ConfigurationError: a file cannot be read, or squawk is missing.
    """
    found = list(lint(folder))
    for finding in found:
        say(f"{finding}\n")
    if found:
        say(f"{len(found)} refused; docs/schema-changes.md explains rules, recipes and waivers")
    return not found
