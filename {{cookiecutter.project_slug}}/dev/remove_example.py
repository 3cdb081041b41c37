"""Takes the example away, and itself with it: `make remove-example`.

Its slice, its tests, its tables and what is said about it go; whatever you have added stays. Tables
that may be in use go by a new migration; where they never were, the migrations that make them go.
"""

import argparse
import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path("src/acme_orders")
SLICE = PACKAGE / "orders"
TESTS = Path("tests/orders")
SERVICE = PACKAGE / "service.py"
MIGRATIONS = Path("migrations")
MADE_BY = "0005_orders"
POLICIES = "0006_row_level_security"  # feature: rls
TABLES = ("audit_log", "order_lines", "orders", "customers")
_BEFORE = r"\b(?:TABLE|ON|ONLY|EXISTS|REFERENCES|INTO|UPDATE|FROM|JOIN)\s+(?:\w+\.)?"
TABLE = re.compile(rf'(?i){_BEFORE}"?({"|".join(TABLES)})\b')
NAMED = re.compile(rf"""["'](?:\w+\.)?({"|".join(TABLES)})["']""")
CODE = ("src", "tests", "dev", "readiness", "backfills", "benchmarks")
ITSELF = Path("dev/remove_example.py")
WORDS = ("README.md", "AGENTS.md", "CHANGELOG.md", "Makefile", "docs/*.md")
EXAMPLE = ("acme_orders.orders.", "tests.orders.")
# A line that ends with this mark, or a block between two of them, is about the example.
MARK = re.compile(r"[ \t]*(?:<!--|#) example ?(?P<brace>[{}]?)(?: -->)?$")


def main() -> int:
    """Read the arguments, take the example away, and return the exit status."""
    parser = argparse.ArgumentParser(prog="make remove-example", description=__doc__)
    parser.add_argument(
        "--applied",
        choices=["yes", "no", "ask-git"],
        default="ask-git",
        help="whether its migrations may have been applied elsewhere than on this machine",
    )
    arguments = parser.parse_args()
    if problems := list(refusals()):
        print("nothing was changed:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    applied, why = was_applied(arguments.applied)
    print(f"{why}: its tables " + ("get a migration that drops them" if applied else "go"))
    for line in [*(drop_tables() if applied else forget_tables()), *remove_the_rest()]:
        print(f"  {line}")
    print("now: make check test readiness; then commit, and write a slice of your own")
    print(
        "before the new migration runs, stop what still has the example: its queries would fail"
        if applied
        else "a database of yours that has the tables has to be made anew: its history knows them"
    )
    return 0


def refusals() -> Iterator[str]:
    """Why nothing can be done."""
    if not SLICE.is_dir():
        yield f"{SLICE} is not there: the example has gone already"
        return
    for file in sorted(path for top in CODE for path in Path(top).rglob("*.py")):
        if not {SLICE, TESTS} & set(file.parents) and file not in (SERVICE, ITSELF):
            yield from (f"{file}:{number} imports the example" for number in imports(file))
    later = {*MIGRATIONS.glob("[0-9]*.up.sql")} - {MIGRATIONS / f"{MADE_BY}.up.sql"}
    later.discard(MIGRATIONS / f"{POLICIES}.up.sql")  # feature: rls
    for file in sorted(later):
        sql = re.sub("--.*", "", file.read_text("utf-8"))
        for found in TABLE.finditer(sql):
            number = 1 + sql.count("\n", 0, found.start(1))
            yield f"{file}:{number} needs {found[1]}, a table of the example"
    places = [str(SLICE), str(TESTS), str(MIGRATIONS), str(SERVICE), str(ITSELF), *WORDS]
    for file in sorted(Path("backfills").glob("*.py")):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if named := NAMED.search(line):
                yield f"{file}:{number} needs {named[1]}, a table of the example"
    for changed in git("status", "--porcelain", "--", *places).splitlines():
        yield f"{changed[3:]} has changes that are not committed"


def imports(file: Path) -> Iterator[int]:
    """The lines of a file that import something of the example."""
    package = file.parts[file.parts[0] == "src" : -1]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join(filter(None, (*above, node.module)))
            names = [f"{module}.{name.name}" for name in node.names]
        else:
            continue
        if any(f"{name}.".startswith(EXAMPLE) for name in names):
            yield node.lineno


def was_applied(said: str) -> tuple[bool, str]:
    """Whether others may have the tables, and why we think so."""
    if said != "ask-git":
        return said == "yes", f"APPLIED={said}"
    file = str(MIGRATIONS / f"{MADE_BY}.up.sql")
    added = git("log", "--diff-filter=A", "--format=%H", "--", file).split()
    if not added:
        return False, "git does not know the example's migrations"
    kinds = (("branch", "--remotes"), ("tag",))
    if places := [place for kind in kinds for place in git(*kind, "--contains", added[-1]).split()]:
        return True, f"{places[0]} has the example's migrations (APPLIED=no if nobody applied them)"
    return False, "no remote branch and no tag has the example's migrations"


def drop_tables() -> Iterator[str]:
    """Write the migration that drops them, and one back that makes them as they were."""
    number = 1 + max(int(file.name[:4]) for file in MIGRATIONS.glob("[0-9]*_*.up.sql"))
    name = f"{number:04}_drop_{MADE_BY[5:]}"
    made = (MIGRATIONS / f"{MADE_BY}.up.sql").read_text("utf-8")
    head, _, body = made.partition("\n\n")
    head = head.replace("reversible: yes", "reversible: no (the rows are lost)")
    head += "".join(f"\n-- small: {table} (no release uses it)" for table in TABLES)
    allow = "-- allow: M3 (stop every release that has the example before this runs)"
    drop = "\n".join(f"{allow}\nDROP TABLE {table};" for table in TABLES)
    # feature: rls {
    policies = (MIGRATIONS / f"{POLICIES}.up.sql").read_text("utf-8")
    body += "".join(f"\n{each.strip()}\n" for each in statements(policies) if about_it(each))
    # feature: rls }
    for end, text in (("up", f"{head}\n\n{drop}\n"), ("down", body)):
        file = MIGRATIONS / f"{name}.{end}.sql"
        file.write_text(text, "utf-8")
        yield f"wrote {file}"


def forget_tables() -> Iterator[str]:
    """Take away what makes them."""
    for file in sorted(MIGRATIONS.glob(f"{MADE_BY}.*")):
        yield remove(file)
    # feature: rls {
    for file in sorted(MIGRATIONS.glob(f"{POLICIES}.*")):
        kept = "".join(each for each in statements(file.read_text("utf-8")) if not about_it(each))
        file.write_text(kept.rstrip("\n") + "\n", "utf-8")
        yield f"its policies are no longer in {file}"


def statements(sql: str) -> list[str]:
    """The statements of a file, each with what stands before it."""
    return re.findall(r".+?;|.+\Z", sql, re.DOTALL)


def about_it(statement: str) -> bool:
    """Whether it is about a table of the example."""
    return TABLE.search(re.sub(r"--.*", "", statement)) is not None


# feature: rls }


def remove_the_rest() -> Iterator[str]:
    """The slice, its line, its tests, the words about it, and this tool."""
    yield remove(SLICE)
    yield remove(TESTS)
    text = SERVICE.read_text("utf-8")
    text = re.sub(r"(?m)^from acme_orders\.orders\..*\n", "", text)
    SERVICE.write_text(re.sub(r"slices=\(([^)]*)\)", others, text), "utf-8")
    yield f"{SERVICE} no longer lists it"
    for file in sorted(path for pattern in WORDS for path in Path().glob(pattern)):
        text = file.read_text("utf-8")
        if (kept := without_example(text)) != text:
            file.write_text(kept, "utf-8")
            yield f"{file} no longer speaks of it"
    yield remove(ITSELF)


def others(listed: re.Match[str]) -> str:
    """The tuple of the other slices."""
    names = [name.strip() for name in listed[1].split(",")]
    names = [name for name in names if name not in ("", SLICE.name)]
    return f"slices=({', '.join(names)}{',' * (len(names) == 1)})"


def without_example(text: str) -> str:
    """Without marked lines and blocks; no two empty lines come together where one went."""
    kept: list[str] = []
    inside = gone = False
    for line in text.split("\n"):
        mark = MARK.search(line)
        if mark and mark["brace"]:
            inside = mark["brace"] == "{"
        if mark or inside:
            gone = True
        elif line or not gone or kept[-1:] != [""]:
            kept.append(line)
            gone = False
    return "\n".join(kept)


def remove(path: Path) -> str:
    """Remove a file or a folder; says so."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return f"removed {path}"


def git(*arguments: str) -> str:
    """What git says; nothing where this is no repository. Ends the program where git fails."""
    here = Path.cwd()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return ""
    try:
        ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"nothing was changed: {getattr(error, 'stderr', '') or error}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
