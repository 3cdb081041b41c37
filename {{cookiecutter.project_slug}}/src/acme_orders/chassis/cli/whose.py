"""Whose people a command is about."""

from typing import Annotated, Any
from uuid import UUID  # feature: row, rls, schema

import typer

ANYBODY: Any
_OPTION: Any
# feature: tenancy=none {
ANYBODY = ""
_OPTION = typer.Option(hidden=True)
# feature: tenancy=none }
# feature: row, rls, schema {


def _tenant(text: str) -> str:
    return str(UUID(text))


ANYBODY = ...  # it has to be said
_OPTION = typer.Option("--tenant", parser=_tenant, help="Whose person; `tenants list` has ids.")
# feature: row, rls, schema }
Whose = Annotated[str, _OPTION]
