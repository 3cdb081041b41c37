"""The command line lists, completes and explains all that it has, and imports what is called."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from acme_orders.chassis.cli.commands import cli

DEAR = (
    "acme_orders.service",
    "aio_pika",
    "peewee",
    "pydantic_settings",
    "rich.progress",
)


def groups(command: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each group, and its commands by name, with all that they need."""
    if found := getattr(command, "commands", {}):
        context = typer.Context(command)
        named = {name: command.resolve_command(context, [name])[1] for name in found}
        yield command, named
        for each in named.values():
            yield from groups(each)


def test_what_a_list_says_is_what_a_command_says() -> None:
    """Without being imported, a command has the help that it has afterwards."""
    lazy = 0
    for group, named in groups(typer.main.get_command(cli)):
        for name, command in named.items():
            listed = group.get_command(typer.Context(group), name)
            first = " ".join((command.help or "").partition("\n\n")[0].split())
            assert (listed.name, listed.help.partition("\n\n")[0]) == (command.name, first)
            lazy += name in getattr(group, "later", {})
    assert lazy > 1


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_needs_no_command_imports_none(asked: str) -> None:
    """Neither the service nor what is dear to import: completion asks with each key."""
    code = (
        "import sys\n"
        "from acme_orders.__main__ import main\n"
        "try:\n    main()\n"
        f"finally:\n    print([each for each in {DEAR} if each in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, asked], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_command_that_is_misspelt_is_told_of() -> None:
    """A name is known without being imported, and so is what is near it."""
    command = [sys.executable, "-m", "acme_orders", "migrat"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Did you mean 'migrate'?" in ended.stderr
