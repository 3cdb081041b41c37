"""What a release leaves for the next one: its contracts, and the schema that it runs on."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration

from readiness.contracts.contract import Contract, as_text
from readiness.contracts.folder import Folder

_FILE = "release.json"


class State(BaseModel):
    """The schema of a release.

    Args:
        version: of the project.
        migrations: the checksum of each that the release needs.
        order: the names of its queries as the source has them; later ones find what earlier wrote.
        columns: the type of each column that its queries reach, such as `sales.id`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    migrations: Mapping[str, str]
    order: Sequence[str]
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Release:
    """The last release: its schema and its contracts, in the order of the source."""

    state: State
    contracts: Sequence[Contract]


def keep(folder: Folder, release: Release) -> None:
    """Replace what the release before has left."""
    released = Folder(folder.released)
    released.empty()
    folder.released.mkdir(parents=True)
    released.write(release.contracts)
    text = as_text(release.state.model_dump(mode="json"))
    (folder.released / _FILE).write_text(text, encoding="utf-8")


def last(folder: Folder) -> Release | None:
    """The last release; None if there was none yet.

    Raises:
        ConfigurationError: what it has left cannot be read.
    """
    file = folder.released / _FILE
    if not file.exists():
        return None
    try:
        state = State.model_validate_json(file.read_text(encoding="utf-8"))
        contracts = {each.name: each for each in Folder(folder.released).contracts()}
        return Release(state, [contracts[name] for name in state.order])
    except (ValidationError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"{folder.released} is not what a release has left: {reason}; restore it from git"
        ) from error


def state_of(
    contracts: Sequence[Contract], known: Sequence[Migration], columns: Mapping[str, str]
) -> State:
    """The state of the schema that is released now.

    Raises:
        ConfigurationError: pyproject.toml does not say the version.
    """
    return State(
        version=_version(Path("pyproject.toml")),
        migrations={each.id: each.checksum for each in known},
        order=[each.name for each in contracts],
        columns=columns,
    )


def _version(file: Path) -> str:
    try:
        return str(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{file.resolve()} does not say the version of the project: {error}"
        ) from error
