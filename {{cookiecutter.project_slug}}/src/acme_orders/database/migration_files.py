"""The migrations of this project: pairs of files `NNNN_name.up.sql` and `NNNN_name.down.sql`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from acme_orders.errors import ConfigurationError

FOLDER = Path("migrations")
_EACH_TENANT = re.compile(r"^-- applies to: each tenant\s*$", re.MULTILINE)  # feature: schema


@dataclass(frozen=True)
class Migration:
    """A pair of files."""

    id: str
    up: Path
    down: Path

    @property
    def checksum(self) -> str:
        """Of what is applied; a file must not change after that."""
        return hashlib.sha256(self.up.read_bytes()).hexdigest()

    # feature: schema {
    @property
    def each_tenant(self) -> bool:
        """Whether it is for the schema of each tenant, and not for what they share."""
        return _EACH_TENANT.search(self.up.read_text(encoding="utf-8")) is not None

    # feature: schema }


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations, in order.

    Raises:
        ConfigurationError: no folder, a name of another form, a number twice, or no down file.
    """
    found: dict[str, Migration] = {}
    for up in sorted(folder.glob("*.up.sql")):
        identity = up.name.removesuffix(".up.sql")
        number = re.match(r"(\d{4})_[a-z0-9_]+$", identity)
        if number is None:
            raise ConfigurationError(f"{up}: call it like 0007_what_it_does.up.sql")
        if number[1] in found:
            raise ConfigurationError(f"{up}: number {number[1]} is taken by {found[number[1]].id}")
        down = folder / f"{identity}.down.sql"
        if not down.exists():
            raise ConfigurationError(f"{down} is missing: write how to take {up.name} back")
        found[number[1]] = Migration(identity, up, down)
    if not found:
        raise ConfigurationError(
            f"no migrations in {folder.resolve()}: run in the project's folder"
        )
    return list(found.values())
