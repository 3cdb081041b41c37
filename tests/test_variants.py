"""Variants can stand in for each other."""

from pathlib import Path

import pytest

from hooks.post_gen_project import VARIANT
from tests.answers import PROJECT, ROOT
from tests.conftest import git
from tests.source import public

FOUND = sorted(
    path
    for path in git(ROOT, "ls-files", "-co", "--exclude-standard", "--", PROJECT).splitlines()
    if (ROOT / path).exists() and VARIANT.fullmatch(Path(path).name)
)


def base(path: Path) -> Path:
    """The file a variant replaces."""
    match = VARIANT.fullmatch(path.name)
    assert match
    return path.with_name(match["stem"] + (match["ext"] or ""))


@pytest.mark.parametrize("path", FOUND)
def test_a_variant_stands_beside_what_it_replaces(path: str) -> None:
    """Or it would never be used."""
    assert base(ROOT / path).exists()


@pytest.mark.parametrize("path", [path for path in FOUND if path.endswith(".py")])
def test_a_variant_has_the_public_names_of_what_it_replaces(path: str) -> None:
    """Everything else is written against those."""
    variant, original = public(ROOT / path), public(base(ROOT / path))

    assert variant
    assert sorted(variant) == sorted(original)


def test_public_names_are_read_right(tmp_path: Path) -> None:
    """Constants, functions, classes and their methods, but nothing private or imported."""
    path = tmp_path / "a.py"
    path.write_text("""\
import os
LIMIT: int = 1
_private = plain = 2
def run(): ...
async def stop(): ...
class Pool:
    size: int = 1
    def open(self): local = 1
    def _close(self): ...
class _Hidden:
    def open(self): ...
""")

    assert public(path) == {"LIMIT", "plain", "run", "stop", "Pool", "Pool.size", "Pool.open"}
