"""A project generated with the default answers is the template, minus what was not asked for.

What is kept is worked out here a second time, in another way than the hook does it.
"""

import re
from collections.abc import Callable
from pathlib import Path

from hooks.post_gen_project import LEFTOVERS, PLACEHOLDERS, rename
from tests.answers import CHOICES, LONGEST
from tests.conftest import Bake, read

ON = {"http_api", "MIT", "aiopg", "github"} | {
    *["license=MIT", "database_driver=aiopg", "tenancy=none", "ci=github"]
}
OFFERED = "|".join(re.escape(value) for values in CHOICES.values() for value in values)
PRAGMA = re.compile(r"(#|--|<!--)\s*feature\s*:", re.IGNORECASE)
MARK = re.compile(r"\s*(?:#|--|<!--) feature: ([^{}]*?)(?: ([{}]))?(?: -->)?$")
FREE_TEXT = ["description", "author_name", "author_email"]
CHOSEN = re.compile(r"(?<=tenancy)__none|__none\+schema")  # what a default project has
TENANCY = {"row", "rls", "schema", "tenancy=none"}
# Lines in src. Tenancy concerns every way to the data, and a project without it has nothing of it.
PRAGMA_BUDGET, TENANCY_BUDGET = 53, 140
LINE_LENGTH, FILE_LENGTH = 100, 250


def variant(path: str) -> bool:
    """Whether some part of the path is a variant's name."""
    parts = path.split("/")
    return any(re.search(rf"[^_]__({OFFERED})(\+({OFFERED}))*(\.|$)", part) for part in parts)


def kept(text: str) -> list[str] | None:
    """The lines that are not blank and belong to the default project; None when none does."""
    first, lines, off = True, [], 0
    for line in text.splitlines():
        mark = MARK.search(line)
        wanted = not mark or bool({name.strip() for name in mark[1].split(",")} & ON)
        alone = bool(mark and not line[: mark.start()].strip())
        if mark and alone and mark[2]:
            off += 0 if wanted else {"{": 1, "}": -1}[mark[2]]
        elif mark and alone and first and not wanted:
            return None
        elif wanted and not off and not alone and line.strip():
            lines.append(line[: mark.start()] if mark else line)
        first = False
    return lines


def dropped(path: str, project: Path) -> bool:
    """Whether a package around it belongs to a feature that is off."""
    folders = (project / folder / "__init__.py" for folder in Path(path).parents)
    return any(file.exists() and kept(file.read_text("utf-8")) is None for file in folders)


def test_the_default_project_is_the_template_minus_what_was_not_asked_for(
    project: Path, bake: Bake
) -> None:
    """Line by line, blank ones aside."""
    files = {path: text for path, text in read(project).items() if not dropped(path, project)}
    chosen = {path: CHOSEN.sub("", path) for path in files if CHOSEN.search(path)}
    expected = {
        chosen.get(path, path): lines
        for path, text in files.items()
        if path in chosen or not (variant(path) or path in chosen.values())
        if (lines := kept(text)) is not None
    }
    made = {
        path: [line for line in text.splitlines() if line.strip()]
        for path, text in read(bake()).items()
        if path != ".cruft.json"
    }

    assert sorted(made) == sorted(expected)
    assert [path for path in expected if expected[path] != made[path]] == []


def test_nothing_of_the_template_shows(bake: Bake) -> None:
    """No pragma, no variant."""
    files = read(bake())

    assert [path for path, text in files.items() if PRAGMA.search(text)] == []
    assert [path for path in files if variant(path)] == []


def test_permissions_are_kept(project: Path, bake: Bake) -> None:
    """Scripts stay scripts."""

    def scripts(folder: Path) -> set[Path]:
        return {
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file() and path.stat().st_mode & 0o100 and not variant(path.as_posix())
        }

    assert scripts(bake()) <= scripts(project)
    assert {path for path in scripts(project) if (bake() / path).exists()} <= scripts(bake())


def test_a_block_leaves_no_gap(project: Path, bake: Bake) -> None:
    """No file has more blank lines in a row than in the template, none at its ends."""
    before, after = read(project), read(bake())

    def gap(text: str) -> int:
        return max(map(len, re.findall(r"\n+", text)), default=0)

    assert [path for path in after.keys() & before if gap(after[path]) > gap(before[path])] == []


def test_pragmas_in_python_are_few(project: Path) -> None:
    """Code that is cut up is hard to read; a whole file or a variant is not."""
    marks = [
        (f"{path}:{number}", {name.strip() for name in mark[1].split(",")})
        for path, text in read(project).items()
        for number, line in enumerate(text.splitlines(), 1)
        if path.startswith("src/") and path.endswith(".py") and (mark := MARK.search(line))
        if not line.endswith("}") and (number > 1 or line.split("#")[0].strip())
    ]
    tenancy = [place for place, names in marks if names <= TENANCY]

    assert len(tenancy) <= TENANCY_BUDGET, tenancy
    assert len(marks) - len(tenancy) <= PRAGMA_BUDGET, marks


def test_files_are_short(project: Path) -> None:
    """A generated project has some of these lines; only tests of the chassis are longer."""
    lengths = {
        path: len(text.splitlines())
        for path, text in read(project).items()
        if path.endswith(".py") and not path.startswith("tests/chassis/")
    }

    assert {path.split("/")[0] for path in lengths} >= {"src", "dev", "readiness", "tests"}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LENGTH} == {}


def test_lines_leave_room_for_longer_names(project: Path) -> None:
    """Imports of a package are wrapped beforehand; a comma at the end keeps them so."""
    longest = {PLACEHOLDERS[question]: LONGEST[question] for question in PLACEHOLDERS}
    long = [
        f"{path}:{number}"
        for path, text in read(project).items()
        for number, line in enumerate(text.splitlines(), 1)
        if path.endswith(".py") and len(rename(MARK.sub("", line), longest)) > LINE_LENGTH
    ]

    assert long == []


def test_free_text_stands_where_it_cannot_do_harm(project: Path) -> None:
    """A quote, a `$` or 200 characters would break code, scripts and compose files."""
    harmless = {".md", ".toml", ""}
    texts = [PLACEHOLDERS[question] for question in FREE_TEXT]

    found = [
        path
        for path, text in read(project).items()
        if any(placeholder in text for placeholder in texts)
        and (Path(path).suffix not in harmless or Path(path).name in ("Makefile", "Dockerfile"))
        and not Path(path).name.startswith("LICENSE")
    ]

    assert found == []


def test_no_file_is_taken_for_a_leftover(project: Path) -> None:
    """The hook would silently drop a folder called `build`."""
    names = {part for path in project.rglob("*") for part in path.relative_to(project).parts}

    assert not names & set(LEFTOVERS.split())


def test_names_are_valid_everywhere(project: Path) -> None:
    """Windows forbids some characters, and cookiecutter evaluates braces in a name."""
    names = {part for path in project.rglob("*") for part in path.relative_to(project).parts}

    assert [name for name in names if not re.fullmatch(r"[\w.@+=-]+", name, re.ASCII)] == []


def test_kept_is_right() -> None:
    """The second reading is itself tried."""
    text = """\
a
b  # feature: http_api
c  # feature: tracing
# feature: tracing {
d
# feature: http_api {
e
# feature: http_api }
# feature: tracing }

# feature: gitlab, github {
f
# feature: gitlab, github }
"""
    read_again: Callable[[str], list[str] | None] = kept

    assert read_again(text) == ["a", "b", "f"]
    assert read_again("# feature: tracing\na\n") is None
    assert read_again("# feature: http_api\n\na\n") == ["a"]
