"""The README of a generated project leads to all that is in it; its verbs are in test_verbs.py."""

import pytest

from tests.answers import Answers
from tests.conftest import Bake


@pytest.mark.parametrize(
    "answers",
    [{}, {"tenancy": "schema", "kubernetes": True, "chassis_tests": True}, {"http_api": False}],
    ids=["default", "more", "less"],
)
def test_the_readme_names_each_document_and_each_folder(answers: Answers, bake: Bake) -> None:
    """Whoever looks for what there is reads it first."""
    project = bake(**answers)
    places = [f"docs/{each.name}" for each in project.glob("docs/*.md")]
    places += [f"`{each.name}/" for each in project.glob("[!.]*/")]
    text = (project / "README.md").read_text("utf-8")
    assert [each for each in places if each not in text] == []
