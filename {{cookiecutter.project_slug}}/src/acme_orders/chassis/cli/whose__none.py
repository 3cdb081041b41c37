"""Whose people a command is about: there is one kind alone."""

from typing import Annotated

import typer

Whose = Annotated[str, typer.Option(hidden=True)]
ANYBODY = ""
