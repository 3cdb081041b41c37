"""Whose people a command is about."""

from typing import Annotated, Any
from uuid import UUID

import typer


def _tenant(text: str) -> str:
    return str(UUID(text))


Whose = Annotated[str, typer.Option("--tenant", parser=_tenant, help="Whose person.")]
ANYBODY: Any = ...  # it has to be said
