"""The migrations of this project: pairs of files `NNNN_name.up.sql` and `NNNN_name.down.sql`.

Those in the folder `chassis` are numbered by themselves: they come with an update of the template,
whose numbers would otherwise be taken by the project's own.
"""

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.header import Header, header_of

FOLDER = Path("migrations")
_CHASSIS = "chassis"
# What somebody may have meant as a migration; by another name it would silently never be applied.
_MEANT = re.compile(r"(?!\.)(?:[^.]*|.*\.(?:up|down))\.sql", re.IGNORECASE)
_NAME = re.compile(r"((?P<number>[0-9]{4})_[a-z0-9_]+)\.(?:up|down)\.sql")
_REVERSIBLE = re.compile(r"^-- reversible: yes\s*$", re.MULTILINE)
_EACH_TENANT = re.compile(r"^-- applies to: each tenant\s*$", re.MULTILINE)  # feature: schema


@dataclass(frozen=True)
class Migration:
    """A pair of files."""

    id: str
    up: Path
    down: Path

    @cached_property
    def text(self) -> str:
        """What is applied."""
        return text_of(self.up)

    @cached_property
    def header(self) -> Header:
        """What its head says.

        Raises:
            ConfigurationError: a line of it cannot be understood.
        """
        return header_of(self.up, self.text)

    @cached_property
    def checksum(self) -> str:
        """Of the text, however its lines end; it must not change after it was applied."""
        return _sha256((self.text.rstrip("\n") + "\n").encode())

    def has(self, checksum: str) -> bool:
        """Whether its text has this checksum, or had it when a history held that of the bytes.

        These had a byte-order mark or none, ended lines in one of two ways, and the last or not.
        """
        if checksum == self.checksum:
            return True
        bare = self.text.rstrip("\n")
        written = product(("", "\ufeff"), ("\n", "\r\n"), (f"{bare}\n", bare, self.text))
        spellings = [(mark + each.replace("\n", end)).encode() for mark, end, each in written]
        return checksum in map(_sha256, [*spellings, self.up.read_bytes()])

    @property
    def reversible(self) -> bool:
        """Whether its head promises that the down file takes back what the up file did."""
        return _REVERSIBLE.search(self.text) is not None

    # feature: schema {
    @cached_property
    def each_tenant(self) -> bool:
        """Whether it is for the schema of each tenant, and not for what they share."""
        return _EACH_TENANT.search(self.text) is not None

    # feature: schema }


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations, in order: the project's own, then those of the chassis.

    Raises:
        ConfigurationError: there is none; or a file has a name of another form, a number that is
            taken, or no counterpart; or it is no file.
    """
    found = _series(folder)
    if not found:
        raise ConfigurationError(
            f"no migrations in {folder.resolve()}: run in the project's folder"
        )
    chassis = folder / _CHASSIS
    return [*found, *(_series(chassis, f"{_CHASSIS}/") if chassis.is_dir() else ())]


def numbered(identity: str) -> tuple[str, int]:
    """Which series a migration belongs to, and its number there."""
    series, _, name = identity.rpartition("/")
    return series, int(name[:4])


def _series(folder: Path, prefix: str = "") -> list[Migration]:
    found: dict[str, Migration] = {}
    for file in _files(folder):
        name = _NAME.fullmatch(file.name)
        if name is None:
            raise ConfigurationError(
                f"{file}: call it like 0007_what_it_does.up.sql and .down.sql, in lower case; "
                "what is no migration belongs elsewhere"
            )
        other = found.setdefault(name["number"], _pair(folder, prefix, name[1]))
        if other.id != prefix + name[1]:
            raise ConfigurationError(
                f"{file}: number {name['number']} is taken by {other.id}: take the next free one"
            )
    for each in found.values():
        for file, missing in (
            (each.up, f"write what {each.down.name} takes back"),
            (each.down, f"write how to take {each.up.name} back"),
        ):
            if not file.is_file():
                there = file.exists() or file.is_symlink()
                state = "is a folder, or a link that leads nowhere" if there else "is missing"
                raise ConfigurationError(f"{file} {state}: {missing}")
    return list(found.values())


def text_of(file: Path) -> str:
    """What a file says, without a byte-order mark and with lines as Unix ends them.

    Raises:
        ConfigurationError: it cannot be read, or is not UTF-8; says where.
    """
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
        return content.decode().replace("\r\n", "\n")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, byte = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigurationError(
            f"{file}:{line}: byte {byte} of this line, 0x{content[error.start]:02X}, is not UTF-8: "
            "save the file as UTF-8"
        ) from None


def _files(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigurationError(
            f"no migrations in {folder.resolve()}: {error.strerror}; run in the project's folder"
        ) from error
    return (file for file in names if _MEANT.fullmatch(file.name))


def _pair(folder: Path, prefix: str, name: str) -> Migration:
    return Migration(prefix + name, folder / f"{name}.up.sql", folder / f"{name}.down.sql")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
