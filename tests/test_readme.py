"""The README of a generated project leads to all that is in it."""

import re
from pathlib import Path

import pytest

from tests.answers import Answers
from tests.conftest import Bake


def unnamed(project: Path) -> list[str]:
    """Verbs, documents and folders of which the README says nothing."""
    text = (project / "README.md").read_text("utf-8")
    verbs = re.findall(r"^([a-z-]+):.*## ", (project / "Makefile").read_text("utf-8"), re.MULTILINE)
    said = set(re.findall(r"make ([a-z-]+)", text))
    places = [f"docs/{each.name}" for each in project.glob("docs/*.md")]
    places += [f"`{each.name}/" for each in project.glob("[!.]*/")]
    return [*(set(verbs) - said), *(each for each in places if each not in text)]


@pytest.mark.parametrize(
    "answers",
    [{}, {"tenancy": "schema", "kubernetes": True, "chassis_tests": True}, {"http_api": False}],
    ids=["default", "more", "less"],
)
def test_the_readme_names_each_verb_and_each_place(answers: Answers, bake: Bake) -> None:
    """Whoever looks for what there is reads it first."""
    assert unnamed(bake(**answers)) == []
