"""Makes a slice that works, to be changed: `make new slice=parcels`.

Messages with examples, tables with their migration, a repository, a handler, routes and tests, all
from `dev/slice`, and one line in `service.py`. Nothing that is there is written over.
"""

import argparse
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER, migrations, numbered
from acme_orders.chassis.migrations.tables import tables_of

PACKAGE = Path("src/acme_orders")
SERVICE = PACKAGE / "service.py"
CONTRACTS = Path("contracts/asyncapi.json")
PATTERN = Path(__file__).parent / "slice"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 30  # characters; indexes and tests are named after it
_WORD = re.compile(r"(?<![a-z])(thing|THING)(s?)(?![a-rt-z])|(Thing)(s?)")
_LIST = re.compile(r"\(\n\s+((?:\w+,\s+)*\w+)\n\s*\)")  # in SQL, where a line of it may be gone
_SLICES = re.compile(r"slices=\((?P<named>[^)]*)\)")


def main() -> int:
    """Read the arguments, write the slice, and return the exit status."""
    usage = "make new slice=NAMES [one=NAME]"
    parser = argparse.ArgumentParser(prog="make new", usage=usage, description=__doc__)
    parser.add_argument("--slice", metavar="NAMES", help="such as parcels")
    parser.add_argument("--one", metavar="NAME", help="one of them; derived without it")
    arguments = parser.parse_args()
    if not arguments.slice:
        parser.error("say which: make new slice=parcels")
    many, one = arguments.slice, arguments.one or singular(arguments.slice)
    try:
        files = dict(made(many, one))
        problems = list(refusals(many, one, files))
    except ConfigurationError as error:
        files, problems = {}, [str(error)]
    if problems:
        print("nothing was changed:", *problems, sep="\n  ", file=sys.stderr)
        return 2
    for file, text in sorted(files.items()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(f"  {file}")
    list_it(many)
    print(f"  {SERVICE}: one line")
    tidy([str(file) for file in [*files, SERVICE] if file.suffix == ".py"])
    print("now: make check test readiness, and change it; a message of it, while `make dev` runs:")
    print(f"  acme-orders send {one}.recorded")
    if CONTRACTS.exists():
        print("contracts/ has files: `make contracts-update` adds what others may rely on now")
    return 0


def singular(many: str) -> str:
    """One of them, as English mostly has it."""
    for end, one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if many.endswith(end):
            return many.removesuffix(end) + one
    return many if many.endswith("ss") else many.removesuffix("s")


def refusals(many: str, one: str, files: Mapping[Path, str]) -> Iterator[str]:
    """Why nothing can be written."""
    if problem := _unusable(many) or _taken(many) or _unusable(one):
        yield problem  # alone: what follows from it says nothing
        return
    if many == one:
        yield f"{many!r} names many and one alike: say both, such as slice=people one=person"
    yield from (f"{file} is there already" for file in files if file.exists())
    taken = tables_of(migrations())
    for table in (many, f"{one}_items"):
        if table in taken:
            yield f"{taken[table]} has a table {table} already"
    if not _SLICES.search(SERVICE.read_text("utf-8")):
        yield f"{SERVICE} has no slices=(…) to which {many} could be added"


def _unusable(name: str) -> str | None:
    """Why nothing can have that name."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        return (
            f"{name!r}: write it like parcels or parcel_scans: small letters, digits and _, at "
            f"most {_LONGEST}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"{name!r} is a word of Python: take another"
    if not _is_name_in_sql(name):
        return f"{name!r} is a word of SQL: take another"
    return None


def _taken(many: str) -> str | None:
    """What has that name."""
    there = (each for each in (PACKAGE / many, PACKAGE / f"{many}.py") if each.exists())
    return next((f"{each} is there already" for each in there), None)


def made(many: str, one: str) -> Iterator[tuple[Path, str]]:
    """Each file with its text."""
    number = 1 + max(
        (at for series, at in (numbered(each.id) for each in migrations()) if not series), default=0
    )
    for pattern in sorted(PATTERN.rglob("*.txt")):
        text = named(pattern.read_text("utf-8"), many, one)
        name = pattern.name.removesuffix(".txt")
        if name.endswith(".sql"):
            yield FOLDER / f"{number:04}_{many}.{name}", _LIST.sub(_in_one_line, text)
        elif pattern.parent == PATTERN:
            yield PACKAGE / many / name, text
        else:
            yield Path("tests") / many / name, text


def named(text: str, many: str, one: str) -> str:
    """The text about these instead of things."""

    def replaced(found: re.Match[str]) -> str:
        word = many if found[2] or found[4] else one
        if found[3]:
            return "".join(part.capitalize() for part in word.split("_"))
        return word.upper() if found[1].isupper() else word

    return _WORD.sub(replaced, text)


def list_it(many: str) -> None:
    """Let the service have it."""
    text = SERVICE.read_text("utf-8")
    found = _SLICES.search(text)
    assert found is not None
    named = "".join(f"{each.strip()}, " for each in found["named"].split(",") if each.strip())
    text = text[: found.start()] + f"slices=({named}{many},)" + text[found.end() :]
    line = f"from acme_orders.{many}.slice import {many}\n"
    place = text.index("from acme_orders.")
    SERVICE.write_text(text[:place] + line + text[place:], encoding="utf-8")


def tidy(files: list[str]) -> None:
    """Sort imports and break lines: names are longer or shorter than that of the pattern."""
    for command in (["check", "--quiet", "--fix", "--select", "I"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *files], check=True)


def _is_name_in_sql(name: str) -> bool:
    try:
        parse(f"CREATE TABLE {name} ({name} text)")
    except Exception:  # whatever its parser says of it
        return False
    return True


def _in_one_line(found: re.Match[str]) -> str:
    return "(" + ", ".join(re.split(r",?\s+", found[1])) + ")"


if __name__ == "__main__":
    raise SystemExit(main())
