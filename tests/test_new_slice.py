"""`make new slice=NAMES`: a slice that works at once, whatever was chosen."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dev.new import singular

from tests.answers import CHOICES, every
from tests.test_service import edit, passes, python, red

Bake = Callable[..., Path]
NAMES = {"project_name": "My Shop", "project_slug": "my-shop", "package_name": "my_shop"}


def new(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command behind the verb says."""
    return python(project, "-m", "dev.new", *arguments)


COMBINATIONS = list(
    every(
        {
            "tenancy": CHOICES["tenancy"],
            "database_driver": CHOICES["database_driver"],
            "http_api": [True, False],
        }
    )
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(each, marks=[pytest.mark.matrix] if place else [])
        for place, each in enumerate(COMBINATIONS)
    ],
    ids=lambda each: ",".join(map(str, each.values())),
)
def test_a_new_slice_is_green(bake_fresh: Bake, answers: dict[str, object]) -> None:
    """Also beside a second one: every check, its own tests, and the checklist."""
    project = bake_fresh(**NAMES, **answers)
    for name in ("parcels", "storage_boxes"):
        made = new(project, "--slice", name)
        assert made.returncode == 0, made.stdout + made.stderr
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        done = python(project, "-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr
    for module in ("dev.lint", "dev.slices"):
        assert python(project, "-m", module).returncode == 0
    assert red(project) == []
    passes(project, "tests/parcels", "tests/storage_boxes", "tests/contracts/test_models.py")


@pytest.mark.matrix
@pytest.mark.timeout(1200)
def test_its_routes_answer_as_they_are_documented(bake_fresh: Bake) -> None:
    """Whatever is asked: no error of the service, and nothing that the document does not have."""
    project = bake_fresh(**NAMES)
    assert new(project, "--slice", "parcels").returncode == 0
    passes(project, "-m", "", "tests/test_routes.py")


@pytest.mark.parametrize(
    ("place", "old", "broken", "test"),
    [
        (
            "repository.py",
            "await self.insert_all(Item, [row for each in stored for row in _items(each)])",
            "list(stored)",
            "stored_and_announced",
        ),
        ("handlers.py", ", provided=new", "", "same_id_in_another_message"),
    ],
)
def test_its_tests_see_what_is_broken(
    bake_fresh: Bake, place: str, old: str, broken: str, test: str
) -> None:
    """Parts that are lost, and an event that is announced twice."""
    project = bake_fresh(**NAMES)
    assert new(project, "--slice", "parcels").returncode == 0
    edit(project, f"src/my_shop/parcels/{place}", old, broken)
    ended = python(project, "-m", "pytest", "-q", "tests/parcels/test_handlers.py", "-k", test)
    assert ended.returncode == 1, ended.stdout
    assert "1 failed" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--slice", "Parcels"], "write it like parcels"),
        (["--slice", "../parcels"], "write it like parcels"),
        (["--slice", "class"], "a word of Python"),
        (["--slice", "tables", "--one", "table"], "a word of SQL"),
        (["--slice", "sheep"], "say both, such as slice=people one=person"),
        (["--slice", "orders"], "is there already"),
        (["--slice", "chassis", "--one", "part"], "is there already"),
        (["--slice", "customers"], "has a table customers already"),
        (["--slice", "a" * 31], "at most 30"),
    ],
)
def test_what_cannot_be_made_is_explained(bake: Bake, arguments: list[str], says: str) -> None:
    """And nothing is changed."""
    project = bake(**NAMES)
    before = sorted(project.rglob("*"))
    ended = new(project, *arguments)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    problem = ended.stderr.removeprefix("nothing was changed:\n")
    assert says in problem
    assert problem.count("\n") == 1, problem
    assert [each for each in sorted(project.rglob("*")) if "__pycache__" not in str(each)] == [
        each for each in before if "__pycache__" not in str(each)
    ]


def test_without_a_name_it_says_how_to_give_one(bake: Bake) -> None:
    """In the words of the verb."""
    ended = new(bake(**NAMES), "--slice", "")
    assert ended.returncode == 2
    assert "usage: make new slice=NAMES" in ended.stderr
    assert "say which: make new slice=parcels" in ended.stderr


def test_one_of_many_is_named_in_english() -> None:
    """As far as that goes by the ending."""
    found = {
        many: singular(many) for many in ("parcels", "companies", "boxes", "classes", "losses")
    }
    assert found == {
        "parcels": "parcel",
        "companies": "company",
        "boxes": "box",
        "classes": "class",
        "losses": "loss",
    }
