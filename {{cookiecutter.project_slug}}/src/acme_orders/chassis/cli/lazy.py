"""Commands that are imported when they are called, or when somebody asks for their help."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


class LazyGroup(TyperGroup):
    """It lists its `later` commands, and completes their names, without importing any of them.

    Each is a function, or a group, in a module of this folder; both are named as the command is,
    with `_` for `-`. Beside its name stands the first line of its help, which a list shows.
    """

    later: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, line in self.later.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, with all that it needs."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, _imported(name) if name and name in self.later else found, rest


def _imported(name: str) -> Any:
    stem = name.replace("-", "_")
    found = getattr(import_module(f"{__package__}.{stem}"), stem)
    alone = typer.Typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
