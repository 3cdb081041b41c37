"""Turns the verbatim copy of Acme Orders into the project that was asked for (docs/adr/0001).

Three rules, in this order: variants, features, names. Standard library only, no network, nothing
random, nothing outside the project.
"""

import json
import os
import re
import runpy
import shutil
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ANSWERS = r"""{{ cookiecutter | tojson }}"""

# The questions with several values, as in cookiecutter.json (a test compares them).
CHOICES = {
    "license": ["MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"],
    "database_driver": ["aiopg", "psycopg"],
    "tenancy": ["none", "row", "rls", "schema"],
    "ci": ["github", "gitlab", "none"],
}
PLACEHOLDERS = {
    "project_name": "Acme Orders",
    "project_slug": "acme-orders",
    "package_name": "acme_orders",
    "description": "Takes messages from a queue, stores what they say and announces what happened.",
    "author_name": "Acme Team",
    "author_email": "team@acme.example",
}
LEFTOVERS = """
    .venv __pycache__ .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .env
    .env.running .dev build dist *.egg-info
"""
NEXT = """
  cd {project_slug}
  make demo         see it work
  make test         run its tests
  make readiness    ask what production would still ask
"""

VALUES = "|".join(re.escape(value) for values in CHOICES.values() for value in values)
VARIANT = re.compile(rf"(?P<stem>.+)__(?P<values>(?:{VALUES})(?:\+(?:{VALUES}))*)(?P<ext>\..*)?")
MARK = re.compile(
    r"[ \t]*(#|--|<!--) *feature *: *(?P<names>.*?) *(?P<brace>[{}]?) *(-->)?\s*$", re.MULTILINE
)
ESCAPED = {".toml", ".json", ".yaml", ".yml", ".py"}


class TemplateError(Exception):
    """The template breaks one of its own rules; says where."""


def walk(root: Path) -> Iterator[Path]:
    """Everything below, parents first, but `.git` and links, which are not ours to change."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(set(names) - {".git"})
        paths = (Path(directory, name) for name in [*names, *sorted(files)])
        yield from (path for path in paths if path.name != ".git" and not path.is_symlink())


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def drop_leftovers(root: Path, source: Path | None) -> None:
    """Removes what a contributor left in the template, but nothing that was here before."""
    for path in walk(root):
        ours = source is None or (source / path.relative_to(root)).exists()
        if ours and any(fnmatch(path.name, pattern) for pattern in LEFTOVERS.split()):
            remove(path)


def choose_variants(root: Path, answers: Mapping[str, Any]) -> None:
    """`stem__value.ext` replaces `stem.ext` when that value was chosen, and goes otherwise.

    `stem__one+other.ext` serves several values of a question.
    """
    replaced = set()
    for path in walk(root):
        if not (match := VARIANT.fullmatch(path.name)):
            continue
        base = path.with_name(match["stem"] + (match["ext"] or ""))
        values = match["values"].split("+")
        asked = [question for question in CHOICES if set(values) <= set(CHOICES[question])]
        if len(asked) > 1:
            asked = [question for question in asked if question == match["stem"]]
        if not asked:
            raise TemplateError(f"{path}: {match['values']} answers several questions or none")
        if not base.exists():
            raise TemplateError(f"{path}: there is no {base.name} beside it")
        if answers[asked[0]] not in values:
            remove(path)
        elif base in replaced:
            raise TemplateError(f"{path}: a second chosen variant of {base.name}")
        else:
            replaced.add(base)
            remove(base)
            path.rename(base)


def features(answers: Mapping[str, Any]) -> dict[str, bool]:
    """Every name a pragma may use, and whether it is on; `none` alone says too little."""
    states = {name: answer for name, answer in answers.items() if isinstance(answer, bool)}
    offered = [(question, value) for question, values in CHOICES.items() for value in values]
    for question, value in offered:
        states[f"{question}={value}"] = answers[question] == value
        if sum(value == other for _, other in offered) == 1:
            states[value] = answers[question] == value
    return states


def select(content: str, states: Mapping[str, bool], where: object = "") -> str | None:
    """Only what belongs to features that are on; None when the whole file belongs to another.

    Where something is cut out from between blank lines, the longer of the two runs stays.
    """
    if not MARK.search(content):
        return content
    newline = "\r\n" if "\r\n" in content else "\n"
    kept: list[str] = []
    blocks: list[tuple[str, bool, int]] = []
    spare = 0  # blank lines to swallow after a cut, because as many stand before it
    for number, line in enumerate(content.split(newline), 1):
        mark, here = MARK.search(line), f"{where}:{number}"
        keep = all(on for _, on, _ in blocks)
        if mark:
            line, brace, names = line[: mark.start()], mark["brace"], mark["names"]
            alone, on = not line.strip(), is_on(names, states, here)
            if bool(brace) != alone and not (alone and number == 1):
                raise TemplateError(f"{here}: a block's mark stands alone, any other ends a line")
            if brace == "{":
                blocks.append((names, on, number))
            elif brace == "}" and (not blocks or blocks[-1][0] != names):
                raise TemplateError(f"{here}: closes {names!r}, which is not the open block")
            elif brace == "}":
                blocks.pop()
            elif alone and not on:
                return None
            keep = keep and on and not alone
        if not keep:
            spare = next((count for count, text in enumerate(reversed(kept)) if text), len(kept))
        elif not line and spare:
            spare -= 1
        else:
            kept.append(line)
            spare = 0
    if blocks:
        raise TemplateError(f"{where}:{blocks[-1][2]}: {blocks[-1][0]!r} is never closed")
    return newline.join(kept).strip(newline) + newline if any(kept) else ""


def drop_packages(root: Path, states: Mapping[str, bool]) -> None:
    """A package whose `__init__.py` belongs to a feature that is off goes as a whole."""
    for path in list(walk(root)):
        if path.name != "__init__.py" or not path.exists():
            continue
        if select(path.read_text("utf-8"), states, path.relative_to(root)) is None:
            remove(path.parent)


def is_on(names: str, states: Mapping[str, bool], here: str) -> bool:
    """Whether any of the features named in a pragma is on."""
    listed = [name.strip() for name in names.split(",")]
    if unknown := [name for name in listed if name not in states]:
        raise TemplateError(f"{here}: unknown feature {unknown[0]!r}")
    return any(states[name] for name in listed)


def rename(content: str, names: Mapping[str, str], suffix: str = "") -> str:
    """All names in one pass, so that an inserted one is never renamed again."""

    def new(match: re.Match[str]) -> str:
        name = names[match[0]]
        return json.dumps(name, ensure_ascii=False)[1:-1] if suffix in ESCAPED else name

    return re.sub("|".join(map(re.escape, names)), new, content)


def apply_rules(root: Path, answers: Mapping[str, Any]) -> None:
    """Makes a copy of the running project the project that was asked for."""
    choose_variants(root, answers)
    states = features(answers)
    names = {PLACEHOLDERS[question]: answers[question] for question in PLACEHOLDERS}
    drop_packages(root, states)
    for path in filter(Path.is_file, walk(root)):
        try:
            before = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture or the like
        after = select(before, states, path.relative_to(root))
        if after is None:
            path.unlink()
        elif before != (after := rename(after, names, path.suffix)):
            path.write_bytes(after.encode())
    in_paths = {old: new for old, new in names.items() if old in ("acme-orders", "acme_orders")}
    for path in sorted(walk(root), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif (name := rename(path.name, in_paths)) != path.name:
            path.replace(path.with_name(name))


def checkout(answers: Mapping[str, Any]) -> Path | None:
    """The template's folder, if known; a relative one was meant from where the user stood."""
    for start in (os.environ.get("PWD", "."), answers.get("_output_dir", ".")):
        place = Path(start, answers.get("_repo_dir", "unknown")).resolve()
        if (place / "cookiecutter.json").exists():
            return place
    return None


def main() -> None:
    answers, root = json.loads(ANSWERS), Path.cwd()
    repo = checkout(answers)
    drop_leftovers(root, next(repo.glob("*cookiecutter.project_slug*"), None) if repo else None)
    try:
        apply_rules(root, answers)
    except TemplateError as error:
        sys.exit(f"The template is broken: {error}")
    if "_output_dir" not in answers:
        return  # cruft compares; it writes its file itself, and there is nothing to go to
    message = f"{answers['project_name']} is in {root}\n" + NEXT.format_map(answers)
    source = runpy.run_path(str(repo / "hooks" / "source.py")) if repo else None
    message += source["remember"](root, repo, answers) if source else ""
    sys.stdout.buffer.write(message.encode(sys.stdout.encoding, "backslashreplace"))


if __name__ == "__main__":
    main()
